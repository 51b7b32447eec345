#!/usr/bin/env bash
# Makes a release of the commit that is checked out, on this machine alone.
#
#   deploy/release.sh 1.0.0 [DIR]        into DIR (release-1.0.0)
#   deploy/release.sh -i 1.0.0 [DIR]     with the images, where a Docker engine answers
#   deploy/release.sh -c DIR             builds a release that is there again, and compares
#
# In it: the source, a static binary for each board, a list of what each is made of
# (SBOM, CycloneDX), the images, and SHA256SUMS. Every binary is built twice, from two
# copies of the source in two folders, the second time from nothing that was compiled
# before; where the two differ there is no release. -c does the same for whoever has the
# source and wants to know whether a binary is of it: same Go (RELEASE names it), same
# bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
boards=(amd64 arm64 armv7)
# What lies on no sale's way is compiled without inlining, which makes it smaller; as in
# deploy/balena/Dockerfile.
small=(-gcflags=github.com/eclipse/...=-l -gcflags=go.yaml.in/...=-l)
images= check=
while getopts ic option; do
	case $option in
	i) images=yes ;;
	c) check=yes ;;
	*) sed -n '2,16p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { sed -n '2,16p' "$0" >&2; exit 2; }

scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT

# compile builds one board from a folder of source.
compile() {
	local from=$1 board=$2 to=$3 arch=${2/armv7/arm} arm=
	[ "$board" = armv7 ] && arm=7
	(cd "$from" && CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOARM=$arm GOFLAGS='' GOWORK=off GOTOOLCHAIN=local \
		go build -trimpath -buildvcs=false "${small[@]}" -ldflags "-s -w -X main.version=$version -X main.commit=$commit" -o "$to" ./cmd/edgegw)
}

# unpack makes a copy of the source.
unpack() { mkdir -p "$2" && tar -xzf "$1" -C "$2" --strip-components 1; }

sums() { (cd "$1" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum); }

if [ -n "$check" ]; then
	dir=$1
	(cd "$dir" && sha256sum --quiet --strict -c SHA256SUMS)
	# shellcheck disable=SC1091
	version=$(sed -n 's/^version //p' "$dir/RELEASE") commit=$(sed -n 's/^commit //p' "$dir/RELEASE") with=$(sed -n 's/^go //p' "$dir/RELEASE")
	[ "$with" = "$(go env GOVERSION)" ] || { echo "it was built with $with, and here is $(go env GOVERSION): take that one" >&2; exit 1; }
	unpack "$dir/edgegw-$version-source.tar.gz" "$scratch/source"
	for board in "${boards[@]}"; do
		compile "$scratch/source" "$board" "$scratch/edgegw"
		cmp "$scratch/edgegw" "$dir/edgegw-$version-linux-$board" || { echo "edgegw-$version-linux-$board is not of this source" >&2; exit 1; }
		echo "edgegw-$version-linux-$board: the same bytes"
	done
	exit
fi

version=$1 out=${2:-release-$1}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || { echo "a version is like 1.0.0 or 1.0.0-rc.1" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || { echo "there are changes that are not committed: nobody could build this release again" >&2; exit 1; }
[ ! -e "$out" ] || { echo "$out is there already" >&2; exit 1; }
commit=$(git rev-parse HEAD)
mkdir -p "$scratch/out"
source=$scratch/out/edgegw-$version-source.tar.gz
git archive --format tar --prefix "edgegw-$version/" HEAD | gzip -n > "$source"
printf 'version %s\ncommit %s\ngo %s\n' "$version" "$commit" "$(go env GOVERSION)" > "$scratch/out/RELEASE"

unpack "$source" "$scratch/one"
unpack "$source" "$scratch/another/place"
for board in "${boards[@]}"; do
	name=edgegw-$version-linux-$board
	compile "$scratch/one" "$board" "$scratch/out/$name"
	GOCACHE=$scratch/cache compile "$scratch/another/place" "$board" "$scratch/again"
	cmp "$scratch/out/$name" "$scratch/again" || { echo "$name comes out differently each time" >&2; exit 1; }
	size=$(stat -c %s "$scratch/out/$name")
	[ "$size" -lt 23500000 ] || { echo "$name has $size bytes" >&2; exit 1; }
	go run "$sbom" bin -json -noserial -notimestamp -version "v$version" -output "$scratch/out/$name.cdx.json" "$scratch/out/$name" 2>/dev/null
	echo "$name: $size bytes, the same twice"
done
case $(go env GOHOSTARCH) in amd64 | arm64) "$scratch/out/edgegw-$version-linux-$(go env GOHOSTARCH)" version ;; esac

if [ -n "$images" ]; then
	deploy/image.sh -t "edgegw:$version" amd64 arm64 arm/v7
	for board in "${boards[@]}"; do
		docker save "edgegw:$version-$board" | gzip -n > "$scratch/out/edgegw-$version-image-$board.tar.gz"
	done
fi
sums "$scratch/out" > "$scratch/SHA256SUMS"
mv "$scratch/SHA256SUMS" "$scratch/out/"
mv "$scratch/out" "$out"
echo "$out:"
cat "$out/SHA256SUMS"
