//go:build !linux

package main

// harden has nothing to set on systems that are no gateway's home.
func harden() error { return nil }
