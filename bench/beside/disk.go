package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceBytes brings what waits to the disk that dir lies on, and gives what was ever
// written to that.
func deviceBytes(dir string) (int64, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return 0, fmt.Errorf("sync the file system of %s: %w", dir, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return 0, fmt.Errorf("ask the device below %s: %w", dir, err)
	}
	return sectors(string(text))
}

// sectors reads what a device's stat says of writing: the seventh figure, in units of 512
// bytes, whatever the device's own.
func sectors(stat string) (int64, error) {
	words := strings.Fields(stat)
	if len(words) < 7 {
		return 0, fmt.Errorf("%q is no statistic of a device", stat)
	}
	n, err := strconv.ParseInt(words[6], 10, 64)
	return n * 512, err
}

// fileSystem names what dir lies on.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs, which syncs nothing"
	}
	return fmt.Sprintf("file system %#x", st.Type)
}
