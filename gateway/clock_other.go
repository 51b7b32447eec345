//go:build !linux

package gateway

func kernelSynchronised() bool { return false }
