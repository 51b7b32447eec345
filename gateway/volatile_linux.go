package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const containersLayer = "overlay, the container's own layer"

// volatile names the file system of dir if it does not outlive a restart of
// the box or of its container, "" if it does or cannot be told.
func volatile(dir string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return ""
	}
	switch uint32(s.Type) {
	case 0x01021994:
		return "tmpfs"
	case 0x858458f6:
		return "ramfs"
	case 0x794c7630:
		return containersLayer
	case 0x65735546: // FUSE: an engine without privileges makes its layers so
		table, err := os.ReadFile("/proc/self/mounts")
		if whole, abs := filepath.Abs(dir); err == nil && abs == nil && strings.Contains(mountedAs(string(table), whole), "overlay") {
			return containersLayer
		}
	}
	return ""
}

// mountedAs is the type of the file system that path lies on, by the table of mounts.
func mountedAs(table, path string) (kind string) {
	longest := 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		if at := strings.TrimSuffix(f[1], "/"); (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= longest {
			kind, longest = f[2], len(at) // of two at one place the later one counts
		}
	}
	return kind
}
