// Package pacing says when a request may begin: how fast a site sends, and how long it
// leaves alone what failed. It promises arithmetic only: the time and chance are arguments,
// nothing waits and nothing is locked. Who waits, and in which order, is the relay's
// business; a simulation of a whole fleet asks the same code.
package pacing

import "time"

// Jitter draws from [0, most).
type Jitter func(most time.Duration) time.Duration

// Backoff draws a wait of full jitter: up to a step that doubles from first to
// most. A tenth of first is the least, so that a run of small draws does not
// hammer.
func Backoff(first, most time.Duration, failures int, jitter Jitter) time.Duration {
	step := first
	for range failures {
		if step *= 2; step >= most {
			break
		}
	}
	step = min(step, most)
	return max(first/10, jitter(step))
}

// Probe draws the wait before the next probe of an uplink that has been down for so
// long: 1 s … 60 s, full jitter. A short outage is not made twice as long by an unlucky
// draw: no wait is longer than half of what it has lasted.
func Probe(down time.Duration, failures int, jitter Jitter) time.Duration {
	most := min(time.Minute, max(2*time.Second, down/2))
	return Backoff(time.Second, most, failures, jitter)
}

// Later is a wait that the service asked for (Retry-After), made longer by chance: what
// all were told at the same moment they do not do at the same moment.
func Later(wait, retryAfter time.Duration, jitter Jitter) time.Duration {
	if retryAfter <= 0 {
		return wait
	}
	return wait + jitter(max(retryAfter/4, time.Second/2))
}
