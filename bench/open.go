package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Open lets the first n devices, in turn, publish perSecond sales a second in all, each
// at its moment whatever became of those before, and waits for every PUBACK. The times
// are from the moment that a sale was due: a broker that stalls pays for all that should
// have been sent meanwhile, and so does a load that is late.
func (l *Load) Open(ctx context.Context, n, perSecond int, lasts time.Duration) ([]time.Duration, error) {
	if n > len(l.all) || n < 1 || perSecond < 1 {
		return nil, fmt.Errorf("there are %d devices, and %d of them cannot publish %d sales a second", len(l.all), n, perSecond)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &open{all: l.all[:n], sales: int(lasts * time.Duration(perSecond) / time.Second), perSecond: perSecond,
		due: make([][mostInFlight + 1]atomic.Int64, n), began: time.Now()}
	var wg sync.WaitGroup
	errs := make([]error, n+1)
	for i, d := range o.all {
		_ = d.conn.SetDeadline(o.began.Add(lasts + time.Minute))
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = d.conn.SetReadDeadline(time.Now()) })()
			if errs[i] = o.read(i); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Go(func() {
		if errs[n] = o.send(ctx); errs[n] != nil {
			cancel()
		}
	})
	wg.Wait()
	var all []time.Duration
	for _, d := range o.all {
		all = append(all, d.took...)
		d.took = d.took[:0]
	}
	return all, errors.Join(errs...)
}

// open is one run of an open loop.
type open struct {
	all              []*loader
	sales, perSecond int
	due              [][mostInFlight + 1]atomic.Int64 // by packet identifier: nanoseconds after began, plus 1; 0 is free
	began            time.Time
}

// send publishes every sale when it is due. One thread sleeps for all devices: the
// runtime's timers are up to a millisecond late on an idle machine, which is longer than
// a quick broker takes.
func (o *open) send(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range o.sales {
		due := time.Duration(i) * time.Second / time.Duration(o.perSecond)
		for rest := due - time.Since(o.began); rest > 0; rest = due - time.Since(o.began) {
			sleep(ctx, min(rest, 20*time.Millisecond))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		d, id := o.all[i%len(o.all)], uint16(i/len(o.all)%mostInFlight+1)
		if !o.due[i%len(o.all)][id].CompareAndSwap(0, int64(due)+1) {
			return fmt.Errorf("%s has %d sales without a PUBACK: it is too slow for %d a second", d.id, mostInFlight, o.perSecond)
		}
		d.out = d.out[:0]
		d.add(id, time.Now())
		if _, err := d.conn.Write(d.out); err != nil {
			return fmt.Errorf("%s: publish: %w", d.id, err)
		}
	}
	return nil
}

// read takes every PUBACK of device i.
func (o *open) read(i int) error {
	d := o.all[i]
	for range (o.sales - i + len(o.all) - 1) / len(o.all) {
		id, err := d.puback()
		if err != nil {
			return fmt.Errorf("%s: wait for a PUBACK: %w", d.id, err)
		}
		due := o.due[i][id].Swap(0)
		if due == 0 {
			return fmt.Errorf("%s: a PUBACK for %d, which is not in flight", d.id, id)
		}
		d.took = append(d.took, time.Since(o.began)-time.Duration(due-1))
	}
	return nil
}
