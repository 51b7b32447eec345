package relay

import (
	"context"
	"time"
)

// Where several queues send, the commit of an attempt's begin or end may wait for those
// of others, which change the same pages of the disk: by a small part of what a request
// takes, so that the queue is not slower for it. A backlog that the site's rate holds up
// may wait longer, because others use the rate meanwhile; what happens now does not.
const (
	severalQueues = 4
	patiencePart  = 64
	mostPatience  = 5 * time.Millisecond
	heldUpPart    = 4
	mostHeldUp    = 20 * time.Millisecond
)

func (r *Relay) patience(q *queue) time.Duration {
	if r.busy.Load() < severalQueues {
		return 0
	}
	d := min(mostPatience, time.Duration(r.took.Load())/patiencePart)
	if !q.live {
		d = max(d, min(mostHeldUp, r.pace.heldUp()/heldUpPart))
	}
	return d
}

// timed takes into account how long a request took that was answered.
func (r *Relay) timed(took time.Duration) {
	before := r.took.Load()
	r.took.Store(before + (took.Nanoseconds()-before)/8) // whoever comes in between is forgotten: it is an estimate
}

// endGrace is what a request under way may still take once the relay is told to end:
// an answer that comes is recorded, and nobody waits for one that does not, because
// whoever runs the process kills it for that.
const endGrace = 5 * time.Second

// lastly gives a context that ends so much later than ctx.
func lastly(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		grace := time.NewTimer(endGrace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-own.Done():
		}
	})
	return own, func() {
		stop()
		cancel()
	}
}
