package gateway

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"edgegw/doctor"
)

func space(dir string) *doctor.Space {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return nil
	}
	block := int64(s.Bsize)
	return &doctor.Space{Free: int64(s.Bavail) * block, Total: int64(s.Blocks) * block, FreeInodes: int64(s.Ffree), Inodes: int64(s.Files)}
}

// replacedOnDisk reports whether the program that runs is no longer the file that
// it was started from.
func replacedOnDisk() bool {
	path, err := os.Readlink("/proc/self/exe")
	return err == nil && strings.HasSuffix(path, " (deleted)")
}

func boxNow(dir string) doctor.Box {
	b := doctor.Box{Memory: memory(), Files: files(), Container: containerKind(), Root: os.Geteuid() == 0}
	if table, err := os.ReadFile("/proc/self/mounts"); err == nil {
		b.KnowsMount = true
		if whole, err := filepath.Abs(dir); err == nil {
			b.Mounted, b.ReadOnly = mounted(string(table), whole)
		}
	}
	return b
}

// mounted reports whether path lies on a mount other than the root, and whether the
// root cannot be written.
func mounted(table, path string) (apart, readOnly bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch at := f[1]; {
		case at == "/":
			readOnly = strings.HasPrefix(f[3]+",", "ro,")
		case path == at || strings.HasPrefix(path, at+"/"):
			apart = true
		}
	}
	return apart, readOnly
}

func containerKind() string {
	for _, c := range []struct{ path, kind string }{{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}} {
		if _, err := os.Stat(c.path); err == nil {
			return c.kind
		}
	}
	if os.Getenv("BALENA") != "" {
		return "balena"
	}
	return ""
}

// memory gives the container's limit and use, or those of the box. What the kernel
// can drop (inactive files) is not in use.
func memory() *doctor.Use {
	const group = "/sys/fs/cgroup/"
	if limit, ok := number(group + "memory.max"); ok {
		used, _ := number(group + "memory.current")
		return &doctor.Use{Used: max(0, used-field(group+"memory.stat", "inactive_file")), Limit: limit}
	}
	total, free := field("/proc/meminfo", "MemTotal:"), field("/proc/meminfo", "MemAvailable:")
	if total == 0 {
		return nil
	}
	return &doctor.Use{Used: (total - free) << 10, Limit: total << 10}
}

// number reads a file that holds one; "max" is none.
func number(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	n, bad := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, cmp.Or(err, bad) == nil
}

func field(path, name string) int64 {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

func files() *doctor.Use {
	var limit syscall.Rlimit
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return nil
	}
	return &doctor.Use{Used: int64(len(open)), Limit: int64(min(limit.Cur, 1<<40))}
}
