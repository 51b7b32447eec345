package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/sale"
	"edgegw/simulator"
)

// Login is how a device of the load gets in.
type Login struct {
	ID     sale.DeviceID
	Secret string
}

// Logins has n devices added, several at a time, and gives how each gets in. add is told
// which one.
func Logins(ctx context.Context, n int, add func(i int) (Login, error)) ([]Login, error) {
	logins, errs := make([]Login, n), make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(8, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				logins[i], errs[i] = add(i)
			}
		})
	}
	wg.Wait()
	return logins, errors.Join(append(errs, ctx.Err())...)
}

// Load is devices that are connected and publish whole sales of 1 KiB (QoS 1, MQTT
// 3.1.1), each with a number of sales in flight. It is cheaper than real devices, so that
// the load leaves the processor to what is measured.
type Load struct {
	Dial func(context.Context) (net.Conn, error)
	Seed uint64 // of what is sold; 0: another one each time
	all  []*loader
}

// mostInFlight is the largest window of a device.
const mostInFlight = 64

// Connect logs further devices in, several at a time.
func (l *Load) Connect(ctx context.Context, logins []Login) error {
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range min(16, len(logins)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(logins) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				d, err := l.login(ctx, logins[i])
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					l.all = append(l.all, d)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(ctx.Err(), first(errs))
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// Close ends all connections.
func (l *Load) Close() {
	for _, d := range l.all {
		_ = d.conn.Close() // nothing is waited for
	}
}

func (l *Load) login(ctx context.Context, who Login) (*loader, error) {
	conn, err := l.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", who.ID, err)
	}
	d := &loader{conn: conn, r: bufio.NewReaderSize(conn, 4<<10), id: who.ID, topic: "edgegw/v1/" + string(who.ID) + "/sale",
		bulk: simulator.NewBulk(simulator.Source(cmp.Or(l.Seed, uint64(time.Now().UnixNano())), string(who.ID)), "EUR")}
	for i := range mostInFlight {
		d.free = append(d.free, uint16(i+1))
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = conn.Write(connectPacket(who))
	var ack [4]byte
	if err == nil {
		_, err = io.ReadFull(d.r, ack[:])
	}
	if err == nil && ack != [4]byte{0x20, 2, 0, 0} {
		err = fmt.Errorf("CONNACK % x", ack)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log %s in: %w", who.ID, err), conn.Close())
	}
	return d, conn.SetDeadline(time.Time{})
}

// connectPacket asks for a clean session without keep-alive [MQTT-3.1].
func connectPacket(who Login) []byte {
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 0} // user name, password, clean session
	for _, text := range []string{string(who.ID), string(who.ID), who.Secret} {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(text))), text...)
	}
	return append(appendLength([]byte{0x10}, len(body)), body...)
}

func appendLength(out []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// Run lets the first n devices publish with window sales in flight each, until it has
// lasted as long or most sales are acknowledged, and gives the times from PUBLISH to
// PUBACK. Whatever is in flight at the end is waited for, and counts.
func (l *Load) Run(ctx context.Context, n, window int, lasts time.Duration, most int64) (Times, error) {
	var left atomic.Int64
	left.Store(most)
	return l.together(ctx, n, window, func(ctx context.Context, _ int, d *loader, began time.Time) error {
		return d.run(ctx, window, began.Add(lasts), &left)
	})
}

// Each lets every device publish so many sales, with window of them in flight, however
// long it takes.
func (l *Load) Each(ctx context.Context, window, sales int) (Times, error) {
	return l.together(ctx, len(l.all), window, func(ctx context.Context, _ int, d *loader, began time.Time) error {
		var left atomic.Int64
		left.Store(int64(sales))
		return d.run(ctx, window, began.Add(longest), &left)
	})
}

// longest is how long a load lasts that ends by its number.
const longest = 24 * time.Hour

// Pace lets every device publish a sale at a time, as often as that, and gives the times
// from PUBLISH to PUBACK. The devices do not all begin at once.
func (l *Load) Pace(ctx context.Context, every, lasts time.Duration) (Times, error) {
	return l.together(ctx, len(l.all), 1, func(ctx context.Context, i int, d *loader, began time.Time) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every * time.Duration(i) / time.Duration(len(l.all))):
		}
		tick, end := time.NewTicker(every), began.Add(lasts)
		defer tick.Stop()
		for time.Now().Before(end) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			var one atomic.Int64
			one.Store(1)
			if err := d.run(ctx, 1, end.Add(every), &one); err != nil {
				return err
			}
		}
		return nil
	})
}

// together has the first n devices do something side by side, and sums up what they have
// taken. Where one fails the others end.
func (l *Load) together(ctx context.Context, n, window int, do func(ctx context.Context, i int, d *loader, began time.Time) error) (Times, error) {
	if n > len(l.all) || window > mostInFlight {
		return Times{}, fmt.Errorf("there are %d devices with a window of at most %d", len(l.all), mostInFlight)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, n)
	began := time.Now()
	for i, d := range l.all[:n] {
		wg.Go(func() {
			if errs[i] = do(ctx, i, d, began); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	var all []time.Duration
	for _, d := range l.all[:n] {
		all = append(all, d.took...)
		d.took = d.took[:0]
	}
	return Sum(all, took), errors.Join(errs...)
}

// loader is one device.
type loader struct {
	conn net.Conn
	r    *bufio.Reader
	bulk *simulator.Bulk
	id   sale.DeviceID
	free []uint16 // packet identifiers
	at   [mostInFlight + 1]time.Time
	took []time.Duration

	topic        string
	payload, out []byte // used again: where the load is in the process that is measured, it counts as little as it can
}

func (d *loader) run(ctx context.Context, window int, until time.Time, left *atomic.Int64) error {
	// A connection that says nothing for a minute is an error, not a wait.
	defer context.AfterFunc(ctx, func() { _ = d.conn.SetReadDeadline(time.Now()) })()
	for flying := 0; ; {
		d.out = d.out[:0]
		for flying < window && time.Now().Before(until) && left.Add(-1) >= 0 {
			d.publish()
			flying++
		}
		if flying == 0 {
			return nil
		}
		_ = d.conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := d.conn.Write(d.out); err != nil {
			return fmt.Errorf("%s: publish: %w", d.id, err)
		}
		for more := true; more && flying > 0; more = d.r.Buffered() >= 4 {
			if err := d.acked(); err != nil {
				return fmt.Errorf("%s: wait for a PUBACK: %w", d.id, err)
			}
			flying--
		}
	}
}

// publish appends the next sale to what is sent.
func (d *loader) publish() {
	id := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.at[id] = time.Now()
	d.add(id, d.at[id])
}

// add appends a PUBLISH of a new sale to what is sent.
func (d *loader) add(id uint16, now time.Time) {
	d.payload, _ = d.bulk.Append(d.payload[:0], now)
	d.out = appendLength(append(d.out, 0x32), 2+len(d.topic)+2+len(d.payload))
	d.out = append(binary.BigEndian.AppendUint16(d.out, uint16(len(d.topic))), d.topic...)
	d.out = append(binary.BigEndian.AppendUint16(d.out, id), d.payload...)
}

// acked takes one PUBACK.
func (d *loader) acked() error {
	id, err := d.puback()
	if err != nil {
		return err
	}
	d.took = append(d.took, time.Since(d.at[id]))
	d.free = append(d.free, id)
	return nil
}

// puback reads one, and gives its packet identifier.
func (d *loader) puback() (uint16, error) {
	var p [4]byte
	if _, err := io.ReadFull(d.r, p[:]); err != nil {
		return 0, err
	}
	id := binary.BigEndian.Uint16(p[2:])
	if p[0] != 0x40 || p[1] != 2 || id == 0 || id > mostInFlight {
		return 0, fmt.Errorf("% x is no PUBACK of ours", p)
	}
	return id, nil
}

// Len is how many devices are connected.
func (l *Load) Len() int { return len(l.all) }
