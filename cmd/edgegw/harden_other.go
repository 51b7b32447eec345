//go:build !linux

package main

// These have nothing to do on systems that are no gateway's home.
func harden() error        { return nil }
func anew() bool           { return false }
func startAnew() error     { return nil }
func forgetSecrets() error { return nil }
