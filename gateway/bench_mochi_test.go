//go:build linux

package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/bench"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// mochiLoad is n devices of mochi as it stands on the raw log, with the acknowledgement
// deferred until the fdatasync: the yardstick of PERFORMANCE.md, whose broker
// was mochi's own. Ours answers several packets in one write and asks more of
// the disk for the same load.
func mochiLoad(b *testing.B, n int) *bench.Load {
	log, err := brokertest.RawLog(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), SysTopicResendInterval: 1 << 30})
	server.Options.Capabilities.MaximumClientWritesPending = 64
	if err := server.AddHook(&mochiHook{log: log}, nil); err != nil {
		b.Fatal(err)
	}
	if err := server.AddListener(listeners.NewNet("raw", l)); err != nil {
		b.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close(); log.Close() })
	return newLoad(b, n, dialPlain(l.Addr().String()), func(sale.DeviceID) string { return "any" })
}

type mochiHook struct {
	mqtt.HookBase
	log  *brokertest.Log
	acks sync.Map // *mqtt.Client → chan owed
}

type owed struct {
	id      uint16
	verdict <-chan sale.Verdict
}

func (h *mochiHook) ID() string { return "raw" }
func (h *mochiHook) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnDisconnect}, []byte{b})
}
func (h *mochiHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (h *mochiHook) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

func (h *mochiHook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	v, known := h.acks.Load(cl)
	if !known {
		v = make(chan owed, 1024)
		h.acks.Store(cl, v)
		go acknowledge(cl, v.(chan owed))
	}
	verdict := h.log.Accept(context.Background(), sale.Message{Device: sale.DeviceID(cl.ID), Kind: sale.Whole, Payload: pk.Payload, QoS: 1})
	v.(chan owed) <- owed{pk.PacketID, verdict}
	return pk, packets.ErrRejectPacket
}

func acknowledge(cl *mqtt.Client, acks chan owed) {
	for a := range acks {
		if v := <-a.verdict; v.Err == nil {
			cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: a.id})
		}
	}
}

func (h *mochiHook) OnDisconnect(cl *mqtt.Client, _ error, _ bool) {
	if v, ok := h.acks.LoadAndDelete(cl); ok {
		close(v.(chan owed))
	}
}
