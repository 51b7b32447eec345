package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// serve is a broker until ctx ends.
func serve(ctx context.Context, o options) error {
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	switch o.serve {
	case raw:
		return serveRaw(ctx, l, o.dir, o.devices)
	case mochi:
		return serveMochi(ctx, l)
	}
	return fmt.Errorf("there is no broker %q", o.serve)
}

// serveRaw is the product's own broker on a log that can do nothing but grow: the
// ceiling of an acknowledgement that means "on disk".
func serveRaw(ctx context.Context, l net.Listener, dir string, devices int) error {
	log, err := brokertest.RawLog(dir)
	if err != nil {
		return err
	}
	var ids []sale.DeviceID
	for i := range devices {
		ids = append(ids, sale.DeviceID(device(i)))
	}
	b, err := broker.New(broker.Options{Plain: l, MessagesPerSecond: -1, Log: slog.New(slog.DiscardHandler)},
		brokertest.NewGuard(ids...), log, brokertest.NewMailbox(), brokertest.NewSessions())
	if err != nil {
		return errors.Join(err, log.Close())
	}
	return errors.Join(b.Run(ctx), log.Close())
}

// serveMochi is mochi with its defaults, which lets everybody in and stores nothing.
func serveMochi(ctx context.Context, l net.Listener) error {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), SysTopicResendInterval: 1 << 30})
	if err := server.AddHook(new(openDoor), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewNet("plain", l)); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return server.Close()
}

type openDoor struct{ mqtt.HookBase }

func (*openDoor) ID() string { return "open" }
func (*openDoor) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck}, []byte{b})
}
func (*openDoor) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*openDoor) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }
