//go:build !linux

package gateway

import "testing"

func smallDisk(*testing.T, string, int64) bool { return false }
