package gateway

import "testing"

func TestMountedAs(t *testing.T) {
	const table = `overlay / fuse.fuse-overlayfs rw 0 0
proc /proc proc rw 0 0
/dev/sda1 /data ext4 rw 0 0
/dev/sda2 /data/mirror vfat rw 0 0
/dev/sda3 /data/mirror exfat rw 0 0
broken
`
	for path, want := range map[string]string{"/own": "fuse.fuse-overlayfs", "/": "fuse.fuse-overlayfs", "/data": "ext4", "/data/db": "ext4", "/database": "fuse.fuse-overlayfs", "/data/mirror/x": "exfat"} {
		if got := mountedAs(table, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
