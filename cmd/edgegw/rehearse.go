package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

// rehearse makes one sale of a device on a site of its own: a gateway as in
// production, with its journal in a folder that is thrown away and its MQTT port on
// loopback; a device that speaks MQTT over TLS; and the stand-in for OpenFiskal in
// place of the network, so that no request can get anywhere else.
func rehearse(ctx context.Context, r gateway.Rehearsal) (done gateway.Rehearsed, err error) {
	cloud := sandbox.New(sandbox.Options{})
	register, err := cloud.AddRegister(string(r.Device.Register), "")
	if err != nil {
		return done, err
	}
	conf, err := config.Load(config.Options{Search: []string{}, Flags: map[string]string{
		"site.name": "test sale", "data_dir": r.Dir, "allow_volatile_data": "true", "store.min_free_bytes": "0",
		"mqtt.tls_listen": "127.0.0.1:0", "mqtt.max_connections": "4", "http.listen": "", "http.tls_listen": "",
		"openfiskal.base_url": sandbox.BaseURL, "openfiskal.proxy": config.ProxyNone,
	}})
	if err != nil {
		return done, err
	}
	g, err := gateway.New(ctx, conf, gateway.Options{Transport: cloud, Version: versionText(), NoSocket: true})
	if err != nil {
		return done, err
	}
	living, kill := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		if died := g.Run(living); died != nil {
			err = errors.Join(err, died)
		}
		kill() // the device has nobody to talk to
	})
	done, sold := sellOnce(living, g, r, register.Key)
	kill()
	ended.Wait()
	return done, errors.Join(sold, err)
}

// sellOnce lets the device sell once.
func sellOnce(ctx context.Context, g *gateway.Gateway, r gateway.Rehearsal, key string) (done gateway.Rehearsed, err error) {
	id := r.Device.ID
	made, err := g.AddDevice(ctx, admin.AddDevice{DeviceID: id, RegisterID: r.Device.Register, Kind: r.Device.Kind, Label: r.Device.Label,
		Key: secret.FromString(key)}, "test")
	if err != nil {
		return done, err
	}
	roots, err := readRoots(g.CAFile())
	if err != nil {
		return done, err
	}
	f := &feed{}
	device, err := simulator.New(simulator.Config{DeviceID: id, Secret: secret.FromString(made.Password), URL: made.MQTTURL, Roots: roots,
		Kind: simulator.Kind(r.Device.Kind), Currency: r.Currency, Sales: 1, Cancels: -1, Until: simulator.Receipted,
		OnNotice: f.notice, OnReceipt: f.receipt, Backoff: simulator.FullJitter(50*time.Millisecond, time.Second)})
	if err != nil {
		return done, err
	}
	if err := device.Run(ctx); err != nil {
		return done, fmt.Errorf("the device got no receipt: %w%s", err, f.trouble())
	}
	return f.told(ctx, g, id)
}

// feed is what the device of a test sale has seen.
type feed struct {
	mu          sync.Mutex
	began, last time.Time
	what        string
	saleID      string
	body        []byte
	problem     string
}

func (f *feed) notice(n simulator.Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch n.What {
	case simulator.Began, simulator.Sold:
		if f.began.IsZero() {
			f.began = n.At
		}
		if n.What == simulator.Sold {
			f.what = n.Text
		}
	case simulator.GotReceipt:
		f.last = n.At
	case simulator.WentOffline, simulator.KeptBack, simulator.Unreadable, simulator.ItsFault:
		f.problem = n.Text
	}
}

func (f *feed) receipt(r simulator.Receipt) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saleID, f.body = r.SaleID, r.Raw
	return nil
}

// trouble is what went wrong last, where anything did.
func (f *feed) trouble() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == "" {
		return ""
	}
	return " (" + f.problem + ")"
}

// told asks the site what it knows of the sale, once the device's own acknowledgement
// of its receipt is a part of that.
func (f *feed) told(ctx context.Context, g *gateway.Gateway, id sale.DeviceID) (gateway.Rehearsed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := gateway.Rehearsed{What: f.what, Receipt: f.body, Took: f.last.Sub(f.began)}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		story, err := g.SaleStory(ctx, id, f.saleID, true)
		done.Parts = story.Parts
		if err != nil || slices.ContainsFunc(story.Parts, func(p admin.StoryPart) bool { return p.What == "delivered" }) {
			return done, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return done, fmt.Errorf("the receipt is not known to have come: %w", ctx.Err())
		}
	}
}
