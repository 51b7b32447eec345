package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/sale"
	"edgegw/store"
)

// open begins a whole gateway on a state. With drain it lives: the devices report
// what was not acknowledged and all that comes after it, and the queues run dry
// against the stand-in as it was at the cut, which is given back.
func (m *moment) open(ctx context.Context, data string, drain bool) (*sandbox.Service, error) {
	flags := map[string]string{"data_dir": data, "allow_volatile_data": "true", "http.listen": "", "mqtt.tls_listen": "", "mqtt.plain_listen": "127.0.0.1:0",
		"openfiskal.proxy": "none", "store.min_free_bytes": "0", "mqtt.messages_per_second": "100000", "openfiskal.requests_per_second": "10000",
		"openfiskal.base_url": "https://sandbox.test/v1"}
	c, err := config.Load(config.Options{Flags: flags, Search: []string{}})
	if err != nil {
		return nil, fmt.Errorf("the configuration does not load: %w", err)
	}
	var after *sandbox.Service
	o := gateway.Options{Version: "powercut", Jitter: func(time.Duration) time.Duration { return time.Millisecond }}
	var mqtt atomic.Value
	o.Listen = func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		if err == nil {
			mqtt.Store(l.Addr().String())
		}
		return l, err
	}
	if drain {
		after = sandbox.New(sandbox.Options{Idempotency: sandbox.Ignore})
		to := way{after, map[string]string{}}
		for register, key := range m.keys {
			to.keys[key] = after.MustAddRegister(register)
		}
		if err := m.repeat(after, to); err != nil {
			return nil, err
		}
		o.Transport = to
	}
	g, err := gateway.New(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("the gateway does not open: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !drain {
		err := m.settings(ctx, c, g)
		cancel() // it ends as it begins: nothing of the world is there
		return nil, errors.Join(err, g.Run(ctx))
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	err = m.goOn(ctx, g, mqtt.Load().(string), after)
	cancel()
	return after, errors.Join(err, <-ended)
}

// way leads to a stand-in whose keys are others.
type way struct {
	to   *sandbox.Service
	keys map[string]string
}

const registerKey = "X-Register-Api-Key"

func (w way) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if key, ok := w.keys[r.Header.Get(registerKey)]; ok {
		r.Header.Set(registerKey, key)
	}
	return w.to.RoundTrip(r)
}

// repeat brings the stand-in to where it was: every request whose bytes had left
// has arrived.
func (m *moment) repeat(after *sandbox.Service, to way) error {
	done := map[string]int{}
	for _, q := range m.script.Requests {
		if q.IdempotencyKey == "" || done[q.IdempotencyKey] >= m.sent[q.IdempotencyKey] {
			continue
		}
		done[q.IdempotencyKey]++
		r, err := http.NewRequest(q.Method, "https://sandbox.test"+q.Path, bytes.NewReader(q.Body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", q.IdempotencyKey)
		r.Header.Set(registerKey, after.Key(q.Register))
		res, err := to.to.RoundTrip(r)
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		if res.StatusCode != q.Status {
			return fmt.Errorf("the rig: the stand-in answers %s %s with %d, before it was %d", q.Method, q.Path, res.StatusCode, q.Status)
		}
	}
	return nil
}

// settings checks what was confirmed of them, and that keys still open.
func (m *moment) settings(ctx context.Context, c config.Config, g *gateway.Gateway) error {
	least := 0
	for _, p := range m.notes {
		switch p.note {
		case "setting":
			n, err := strconv.Atoi(strings.TrimPrefix(p.values["value"], "Station "))
			if err != nil {
				return err
			}
			least = n
		case "device":
			if m.restores > 0 {
				continue
			}
			d, err := g.Device(ctx, sale.DeviceID(p.values["device"]))
			if err != nil || d.Key == "missing" || d.Key == "refused" {
				return errors.Join(err, fmt.Errorf("lost: the key of %s is %s", p.values["device"], d.Key))
			}
		}
	}
	if n, _ := strconv.Atoi(strings.TrimPrefix(c.Site.Name, "Station ")); n < least {
		return fmt.Errorf("lost: the setting site.name was confirmed as Station %d, and is %q", least, c.Site.Name)
	}
	return nil
}

// goOn has every device go on where it was, and waits until all is done.
func (m *moment) goOn(ctx context.Context, g *gateway.Gateway, addr string, after *sandbox.Service) error {
	for d := range m.script.Secrets {
		if err := m.rest(d, addr); err != nil {
			return err
		}
	}
	want := len(m.ends(""))
	return until("the queues run dry", func() bool {
		st, err := g.Status(ctx)
		return err == nil && st.Totals.Waiting == 0 && st.Totals.Confirmed == int64(want)
	})
}

// rest reports a device's events from the first one that was not acknowledged.
func (m *moment) rest(device, addr string) error {
	var left []claim
	for _, c := range m.events {
		if c.Device == device && !c.Again && !c.Bad && (len(left) > 0 || !c.acked) {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return nil
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := brokertest.Connect(conn, brokertest.Login{ClientID: device, Secret: m.script.Secrets[device], Clean: true})
	if err != nil || c.Ack.Code != 0 {
		return errors.Join(fmt.Errorf("lost: %s cannot log in: code %d", device, c.Ack.Code), err)
	}
	for i, e := range left {
		if err := c.Publish("edgegw/v1/"+device+"/"+e.Kind, 1, uint16(i+1), e.Payload); err != nil {
			return err
		}
		p, _, err := c.Await(brokertest.PUBACK)
		if err != nil || p.Code >= 0x80 {
			return errors.Join(fmt.Errorf("%s reports %s of %s again: code %d", device, e.Kind, e.Sale, p.Code), err)
		}
	}
	return nil
}

// ends gives the events that end a sale; of all devices where none is named.
func (m *moment) ends(device string) (ends []claim) {
	for _, c := range m.events {
		if (device == "" || c.Device == device) && !c.Again && !c.Bad && (c.Total > 0 || c.Kind == "sale/cancel") {
			ends = append(ends, c)
		}
	}
	return ends
}

// reconcile asks the stand-in: each sale once, ended, in the journal's order, with
// its money, and nothing else; and each has its receipt.
func (m *moment) reconcile(ctx context.Context, db *store.DB, after *sandbox.Service) error {
	totals := map[string]claim{}
	for _, c := range m.ends("") {
		totals[c.Sale] = c
	}
	var expect []sandbox.Expect
	err := db.Snapshot(ctx, func(s *store.Snapshot) error {
		return s.Events(ctx, store.Period{To: time.Now().AddDate(100, 0, 0)}, func(e *store.EventRecord) error {
			if c, ok := totals[e.SaleID]; ok && e.Kind.Opens() {
				expect = append(expect, sandbox.Expect{Register: string(e.Register), ExternalID: e.SaleID, Total: c.Total, Cancelled: c.Kind == "sale/cancel"})
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := errors.Join(after.Check(expect), after.CheckFrozen()); err != nil {
		return fmt.Errorf("the stand-in: %w", err)
	}
	mail, err := db.Mail(ctx)
	if err != nil {
		return err
	}
	had := map[string]int{}
	for _, p := range m.notes {
		if p.note == "receipt" {
			had[p.values["device"]]++
		}
	}
	for d := range m.script.Secrets {
		ended, waiting := len(m.ends(d)), int(mail[sale.DeviceID(d)])
		if waiting > ended || waiting < ended-had[d] {
			return fmt.Errorf("lost: of %d receipts %s had %d, and %d wait", ended, d, had[d], waiting)
		}
	}
	return nil
}
