#!/bin/sh
# Measures edgegw beside mosquitto, NATS, mochi and a raw log; docs/benchmarks.md has figures.
#
#   bench/beside/run.sh -d DIR                      rates, and the quiet load, on the disk of DIR
#   bench/beside/run.sh -d DIR -j                   the quiet load on a journaled ext4 of its own, a loop
#                                                   device with direct I/O in DIR, whose sectors are counted (root)
#   bench/beside/run.sh -d DIR -o F -- -only 100x1  one part, with the command's own flags; figures go to F
#   go run ./bench/beside -tables F…                the tables of several parts
#
# mosquitto comes from its package, where it is not there (root); it is not left running.
# nats-server comes through Go's modules into a folder that is removed again.
set -eu
nats=v2.15.3
dir= out= journal=
while getopts d:o:j flag; do
	case $flag in
	d) dir=$OPTARG ;;
	o) out=$OPTARG ;;
	j) journal=1 ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if [ -z "$dir" ]; then
	echo "run.sh: name a folder on the disk that you ask about: -d DIR" >&2
	exit 2
fi
dir=$(cd "$dir" && pwd)
if [ -n "$out" ]; then
	case $out in /*) ;; *) out=$PWD/$out ;; esac
fi
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d) loop= mounted=
clean() {
	[ -z "$mounted" ] || umount "$tmp/mnt" || true
	[ -z "$loop" ] || losetup -d "$loop" || true
	rm -rf "$tmp" ${journal:+"$dir/beside.img"}
}
trap clean EXIT
trap 'exit 1' INT TERM

PATH=$PATH:/usr/sbin:/sbin
if ! command -v mosquitto >/dev/null; then
	apt-get update -q && apt-get install -y -q --no-install-recommends mosquitto
	systemctl disable --now mosquitto 2>/dev/null || true
fi
GOBIN=$tmp go install "github.com/nats-io/nats-server/v2@$nats"
go build -trimpath -ldflags=-s -o "$tmp/edgegw" ./cmd/edgegw
go build -o "$tmp/beside" ./bench/beside
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -H -n)" # a thousand connections to each

set -- -edgegw "$tmp/edgegw" -nats "$tmp/nats-server" "$@"
if [ -n "$journal" ]; then
	truncate -s 4G "$dir/beside.img"
	mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$dir/beside.img"
	loop=$(losetup --direct-io=on --find --show "$dir/beside.img")
	mkdir "$tmp/mnt"
	mount "$loop" "$tmp/mnt"
	mounted=1
	set -- -dir "$tmp/mnt" -device -disk "journaled ext4, loop device" -only open50,open500,one "$@"
else
	set -- -dir "$dir" -only 100x1,1000x1,100x16,1x64,open50,open500,proof "$@"
fi
"$tmp/beside" ${out:+-json "$out"} "$@"
