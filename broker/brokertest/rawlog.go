package brokertest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgegw/sale"
)

// rawLogBytes is the length of the preallocated file. The log starts over at its
// end: it is a yardstick, not a store.
const rawLogBytes = 64 << 20

// Log is an Acceptor that writes framed payloads into a file whose blocks exist
// already, with one fdatasync for all that wait, and gives the verdicts after
// it. It keeps the promise of an acknowledgement and nothing else (no
// duplicates, no calls, no order), so it is what the product's acceptance is
// measured against.
type Log struct {
	f  *os.File
	in chan entry

	stop chan struct{}
	once sync.Once
	done chan error
}

type entry struct {
	m  sale.Message
	ch chan sale.Verdict
}

// RawLog makes a log in dir.
func RawLog(dir string) (*Log, error) {
	f, err := os.OpenFile(filepath.Join(dir, "raw.log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zero := make([]byte, 1<<20)
	for at := int64(0); at < rawLogBytes; at += int64(len(zero)) {
		if _, err := f.WriteAt(zero, at); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("preallocate the raw log: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("preallocate the raw log: %w", err)
	}
	l := &Log{f: f, in: make(chan entry, 4096), stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { l.done <- l.run() }()
	return l, nil
}

// Accept implements broker.Acceptor.
func (l *Log) Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict {
	ch := make(chan sale.Verdict, 1)
	select {
	case l.in <- entry{m, ch}:
	case <-ctx.Done():
		ch <- sale.Verdict{Err: ctx.Err()}
	case <-l.stop:
		ch <- sale.Verdict{Err: os.ErrClosed}
	}
	return ch
}

// Close stops the log and removes nothing.
func (l *Log) Close() error {
	var err error
	l.once.Do(func() {
		close(l.stop)
		err = <-l.done
	})
	return err
}

func (l *Log) run() error {
	defer l.f.Close()
	var batch []entry
	var buf []byte
	var at int64
	for {
		batch, buf = batch[:0], buf[:0]
		select {
		case e := <-l.in:
			batch = append(batch, e)
		case <-l.stop:
			return nil
		}
	gather:
		for len(batch) < 1000 {
			select {
			case e := <-l.in:
				batch = append(batch, e)
			default:
				break gather
			}
		}
		for _, e := range batch {
			buf = binary.BigEndian.AppendUint32(buf, uint32(len(e.m.Payload)))
			buf = append(buf, byte(e.m.Kind), byte(len(e.m.Device)))
			buf = append(buf, e.m.Device...)
			buf = append(buf, e.m.Payload...)
		}
		if at+int64(len(buf)) > rawLogBytes {
			at = 0
		}
		_, err := l.f.WriteAt(buf, at)
		if err == nil {
			err = datasync(l.f)
		}
		at += int64(len(buf))
		now := time.Now()
		for _, e := range batch {
			v := sale.Verdict{Err: err}
			v.Ack = sale.Ack{Event: e.m.Kind, Status: sale.Queued, AcceptedAt: now}
			e.ch <- v
		}
	}
}
