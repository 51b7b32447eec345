package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// atOnce is the cheapest Acceptor: it stores nothing.
type atOnce struct{}

func (atOnce) Accept(_ context.Context, m sale.Message) <-chan sale.Verdict {
	ch := make(chan sale.Verdict, 1)
	ch <- sale.Verdict{Ack: sale.Ack{Event: m.Kind, Status: sale.Queued, AcceptedAt: m.Received}}
	return ch
}

// BenchmarkPublish is the way of a sale through the broker: 1 KiB, QoS 1, so
// many connections with so many unanswered messages each, on loopback. The
// clients share the processors with the broker.
func BenchmarkPublish(b *testing.B) {
	for _, load := range []struct{ conns, window int }{{1, 64}, {100, 1}, {100, 16}} {
		for _, name := range []string{"at_once", "raw_log"} {
			b.Run(fmt.Sprintf("%s/c%d_w%d", name, load.conns, load.window), func(b *testing.B) {
				var a broker.Acceptor = atOnce{}
				if name == "raw_log" {
					l, err := brokertest.RawLog(b.TempDir())
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = l.Close() })
					a = l
				}
				benchPublish(b, a, load.conns, load.window)
			})
		}
	}
}

func benchPublish(b *testing.B, a broker.Acceptor, conns, window int) {
	ids := make([]sale.DeviceID, conns)
	for i := range ids {
		ids[i] = sale.DeviceID(fmt.Sprintf("pump-%03d", i))
	}
	s := &site{t: b, guard: brokertest.NewGuard(ids...), mail: brokertest.NewMailbox(), sessions: brokertest.NewSessions()}
	s.run(broker.Options{Plain: listen(b), MessagesPerSecond: -1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, a)
	clients := make([]*brokertest.Client, conns)
	for i, d := range ids {
		clients[i] = s.device(4, d)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		wg.Go(func() { pipeline(b, c, ids[i], n, window) })
	}
	wg.Wait()
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "allocs/msg")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N), "B/msg")
}

// pipeline keeps window messages unanswered until n are answered, in as few
// system calls as a client can.
func pipeline(b *testing.B, c *brokertest.Client, d sale.DeviceID, n, window int) {
	m := brokertest.Message{Topic: topic(d, "sale"), QoS: 1, ID: 1, Payload: make([]byte, 1024)}
	frame := m.Bytes(false)
	in := bufio.NewReaderSize(c.Conn, 4096)
	var out []byte
	ack := make([]byte, 4)
	for sent, answered := 0, 0; answered < n; {
		out = out[:0]
		for sent < n && sent-answered < window {
			out = append(out, frame...)
			sent++
		}
		if len(out) > 0 {
			if _, err := c.Conn.Write(out); err != nil {
				b.Error(err)
				return
			}
		}
		for again := true; again; again = in.Buffered() >= len(ack) {
			if _, err := io.ReadFull(in, ack); err != nil || ack[0] != brokertest.PUBACK<<4 || ack[3] != 1 {
				b.Errorf("% x, %v", ack, err)
				return
			}
			answered++
		}
	}
}
