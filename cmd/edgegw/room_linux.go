package main

import "syscall"

// freeSpace is what may still be written on the disk of dir, in bytes.
func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return int64(s.Bavail) * int64(s.Bsize), err
}
