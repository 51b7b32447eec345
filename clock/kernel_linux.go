package clock

import "golang.org/x/sys/unix"

// mostError is the kernel's bound on the clock's error, in microseconds, up to
// which systemd and others call it synchronised; STA_UNSYNC is not reliable.
const mostError = 16_000_000

// kernelSynchronised asks the kernel whether something keeps its clock right.
// Reading needs no privilege.
func kernelSynchronised() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Maxerror < mostError
}
