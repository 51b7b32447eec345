//go:build !linux

package bench

import (
	"context"
	"time"
)

// sleep waits by the runtime's timer.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
