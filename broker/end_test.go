package broker

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

type memory = brokertest.Sessions

// patient reads its sessions as a database does: not any more once ctx ended.
type patient struct{ *memory }

func (p patient) Sessions(ctx context.Context) (map[sale.DeviceID][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.memory.Sessions(ctx)
}

// A gateway that is told to end while it starts has ended well.
func TestRunEndedAtItsStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Plain: l, Log: slog.New(slog.DiscardHandler)}, brokertest.NewGuard(), &brokertest.Acceptor{}, brokertest.NewMailbox(), patient{brokertest.NewSessions()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("ended with %v", err)
	}
}
