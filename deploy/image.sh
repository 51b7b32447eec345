#!/usr/bin/env bash
# Builds the image of edgegw from deploy/balena/Dockerfile.
#
#   deploy/image.sh                        for this machine, as edgegw:latest
#   deploy/image.sh -t edgegw:1.0.0        under another name
#   deploy/image.sh -t edgegw:1.0.0 amd64 arm64 arm/v7
#                                          for several: edgegw:1.0.0-amd64, …
#
# The build stage is golang:1.26. Where that cannot be had, because no registry
# can be reached, it is made from the Go toolchain of this machine, with busybox
# for its shell (Debian: apt-get install busybox-static), and the script says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tag=edgegw:latest version=
while getopts t:v: option; do
	case $option in
	t) tag=$OPTARG ;;
	v) version=$OPTARG ;;
	*) sed -n '2,13p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
: "${version:=$([[ $tag == *:latest ]] || echo "${tag##*:}")}"
commit=$(git rev-parse HEAD 2>/dev/null || true)

docker version >/dev/null || { echo "no Docker engine answers: start one, or give its address in DOCKER_HOST" >&2; exit 1; }

stage=golang:1.26
# from_toolchain makes a build stage of what is installed here.
from_toolchain() {
	local root busybox
	busybox=$(command -v busybox) || { echo "busybox is missing: apt-get install busybox-static" >&2; return 1; }
	stage=edgegw-build:$(go env GOVERSION)
	docker image inspect "$stage" >/dev/null 2>&1 && return
	root=$(mktemp -d)
	mkdir -p "$root"/{bin,tmp,root,usr/local,etc/ssl/certs}
	cp "$busybox" "$root/bin/busybox"
	for applet in sh mkdir cp; do ln -s busybox "$root/bin/$applet"; done
	cp -rL "$(go env GOROOT)" "$root/usr/local/go"
	cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local' - "$stage" >/dev/null
	rm -rf "$root"
}
if ! docker image inspect "$stage" >/dev/null 2>&1 && ! timeout 120 docker pull -q "$stage" >/dev/null 2>&1; then
	echo "$stage cannot be had: the build stage is made from the Go toolchain of this machine ($(go env GOVERSION))"
	from_toolchain
fi

# build makes one image for an architecture, "" for the builder's own.
build() {
	local arch=${1%%/*} variant= name=$2
	[[ $1 == */* ]] && variant=${1##*/}
	# The classic builder knows no target: it is told, and the label is mended.
	docker build --network host -f deploy/balena/Dockerfile -t "$name" \
		--build-arg GO_IMAGE="$stage" --build-arg GOPROXY="$(go env GOPROXY)" \
		--build-arg VERSION="$version" --build-arg COMMIT="$commit" \
		--build-arg TARGETARCH="$arch" --build-arg TARGETVARIANT="$variant" .
	[ -z "$arch" ] || relabel "$name" "$arch" "$variant"
	printf '%s: %s, %s MB\n' "$name" "$(docker image inspect "$name" --format '{{.Os}}/{{.Architecture}}{{.Variant}}')" \
		"$(($(docker image inspect "$name" --format '{{.Size}}') / 1000000))"
}

# relabel says in the image what its program is for.
relabel() {
	local at config
	at=$(mktemp -d)
	docker save "$1" | tar -C "$at" -x
	config=$(sed -n 's/.*"Config":"\([^"]*\)".*/\1/p' "$at/manifest.json")
	[ -n "$config" ] || { echo "the engine saves images in a form that is not known here" >&2; return 1; }
	sed -i "s/\"architecture\":\"[^\"]*\"/\"architecture\":\"$2\"${3:+,\"variant\":\"$3\"}/" "$at/$config"
	tar -C "$at" -c . | docker load -q >/dev/null
	rm -rf "$at"
}

if [ $# -eq 0 ]; then
	build "" "$tag"
else
	for one in "$@"; do build "$one" "$tag-${one//\//}"; done
fi
