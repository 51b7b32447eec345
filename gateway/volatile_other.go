//go:build !linux

package gateway

func volatile(string) string { return "" }
