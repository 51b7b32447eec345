//go:build !linux

package store

// useDataVFS leaves SQLite its own way to files.
func useDataVFS() (string, error) { return "", nil }
