package bench

import (
	"context"
	"syscall"
	"time"
)

// sleep waits by the kernel's own timer, some 50 µs too long.
func sleep(_ context.Context, d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // the caller looks at the clock again
}
