package simulator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/sale"
)

func TestResendsTheSameBytesInOrder(t *testing.T) {
	for _, c := range []struct {
		name    string
		newSite bool // the gateway forgot the MQTT session
		wantDup bool
	}{
		{"the MQTT session is still there", false, true},
		{"the MQTT session is gone", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := startSite(t, nil)
			second := first
			var addr atomic.Value
			addr.Store(first.addr)
			first.answers(withhold)
			d := first.device(t, Config{Style: Whole, Sales: 3, Window: 3, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr.Load().(string))
			}})
			wait, _ := run(t, d)
			before := first.wait(t, 3)
			if c.newSite {
				second = startSite(t, nil)
				addr.Store(second.addr)
			} else {
				first.answers(nil)
			}
			d.Cut()
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			after := second.wait(t, 3)
			if !c.newSite {
				after = after[3:]
			}
			if len(before) != 3 || len(after) != 3 {
				t.Fatalf("got %d events before and %d after, want 3 and 3", len(before), len(after))
			}
			for i, m := range after {
				if !bytes.Equal(m.payload, before[i].payload) || m.topic != before[i].topic || m.id != before[i].id {
					t.Errorf("event %d was sent again with other bytes, topic or packet identifier", i)
				}
				if m.dup != c.wantDup || before[i].dup {
					t.Errorf("event %d: DUP is %v, then %v; want false, then %v", i, before[i].dup, m.dup, c.wantDup)
				}
			}
			if s := d.Reconcile(); s.Resent != 3 || s.Unacknowledged != 0 {
				t.Errorf("got %d resent and %d unacknowledged, want 3 and 0", s.Resent, s.Unacknowledged)
			}
		})
	}
}

func TestStepsLeaveOneAfterTheOther(t *testing.T) {
	s := startSite(t, nil)
	d := s.device(t, Config{Sales: 40, Window: 4, Cancels: 30})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	seq := int64(0)
	total := ""
	for _, m := range s.wait(t, 80) {
		var p struct {
			SaleID string `json:"sale_id"`
			Seq    int64
			Meter  *struct{ Begin, End string }
		}
		if err := json.Unmarshal(m.payload, &p); err != nil {
			t.Fatal(err)
		}
		if seq++; p.Seq != seq {
			t.Errorf("seq: got %d, want %d", p.Seq, seq)
		}
		was := states[p.SaleID]
		states[p.SaleID] = m.topic
		if ok := m.topic == "sale/start" && was == "" || m.topic != "sale/start" && (was == "sale/start" || was == "sale/update"); !ok {
			t.Errorf("%s after %q", m.topic, was)
		}
		if p.Meter != nil {
			if total != "" && p.Meter.Begin != total {
				t.Errorf("the totaliser jumped from %s to %s", total, p.Meter.Begin)
			}
			total = p.Meter.End
		}
	}
	sum := d.Reconcile()
	if sum.Sold == 0 || sum.Cancelled == 0 || sum.Sold+sum.Cancelled != 40 || sum.Acknowledged != 40 {
		t.Errorf("got %d sold, %d cancelled, %d acknowledged; want some of both, 40 in all", sum.Sold, sum.Cancelled, sum.Acknowledged)
	}
}

func TestNextEventOfASaleWaitsForThePuback(t *testing.T) {
	s := startSite(t, nil)
	s.answers(withhold)
	d := s.device(t, Config{Sales: 1, Window: 5, Cancels: -1})
	wait, _ := run(t, d)
	see(t, d, "the sale's end in the outbox", func(now Snapshot) bool { return now.Counts.Sold == 1 })
	if got := s.wait(t, 1); len(got) != 1 || got[0].topic != "sale/start" {
		t.Fatalf("got %d events, the first on %s; want the start alone", len(got), got[0].topic)
	}
	s.answers(nil)
	d.Cut()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	got := s.wait(t, 3)
	if got[1].topic != "sale/start" || got[len(got)-1].topic != "sale/complete" {
		t.Errorf("after the reconnect came %s … %s, want sale/start … sale/complete", got[1].topic, got[len(got)-1].topic)
	}
}

func TestRefusedEventIsKept(t *testing.T) {
	s := startSite(t, nil)
	var tries atomic.Int32
	s.answers(func(message) error {
		if tries.Add(1) <= 3 {
			return packets.ErrQuotaExceeded // PUBACK 0x97
		}
		return nil
	})
	d := s.device(t, Config{Style: Whole, Sales: 1})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	got := s.wait(t, 4)
	for i, m := range got {
		if !bytes.Equal(m.payload, got[0].payload) {
			t.Errorf("try %d has other bytes", i)
		}
		if m.dup {
			t.Errorf("try %d has DUP set: the refusal ended the exchange before it", i)
		}
	}
	if sum := d.Reconcile(); sum.Refused != 3 || sum.Acknowledged != 1 || len(got) != 4 {
		t.Errorf("got %d refused, %d acknowledged, %d sendings; want 3, 1, 4", sum.Refused, sum.Acknowledged, len(got))
	}
}

func TestEvidenceCountsAsStored(t *testing.T) {
	s := startSite(t, nil)
	s.answers(func(message) error { return packets.ErrPayloadFormatInvalid }) // PUBACK 0x99
	d := s.device(t, Config{Style: Whole, Sales: 2, Until: Receipted})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	sum := d.Reconcile()
	if sum.Evidence != 2 || sum.Quarantined != 2 || sum.Acknowledged != 2 || sum.Missing != 0 || len(s.wait(t, 2)) != 2 {
		t.Errorf("got %+v; want both sales stored, in front of a person, sent once each", sum)
	}
}

func TestSilentGatewayIsLeftAndTriedAgain(t *testing.T) {
	s := startSite(t, nil)
	var tries atomic.Int32
	s.answers(func(m message) error {
		if tries.Add(1) == 1 {
			return withhold(m)
		}
		return nil
	})
	d := s.device(t, Config{Style: Whole, Sales: 1, AnswerTimeout: 300 * time.Millisecond})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, 2); !bytes.Equal(got[0].payload, got[1].payload) {
		t.Error("the event was sent again with other bytes")
	}
}

func receiptJSON(saleID, state, fiscal, number string) string {
	return fmt.Sprintf(`{"sale_id":%q,"state":%q,"fiscal_state":%q,"document_number":%q,"delayed":false}`, saleID, state, fiscal, number)
}

func TestReceiptIsRecordedBeforeItsPuback(t *testing.T) {
	s := startSite(t, nil)
	var recorded atomic.Bool
	var calls, early atomic.Int32
	s.acked = func() {
		if !recorded.Load() {
			early.Add(1)
		}
	}
	d := s.device(t, Config{Style: Whole, Sales: 1, Until: Receipted, OnReceipt: func(r Receipt) error {
		if calls.Add(1) == 1 {
			return errors.New("the flash is busy") // no PUBACK: the gateway must send it again
		}
		recorded.Store(true)
		return nil
	}})
	s.answers(func(m message) error {
		var p struct {
			SaleID string `json:"sale_id"`
		}
		_ = json.Unmarshal(m.payload, &p)
		s.later.Go(func() {
			s.publish(t, topicRoot+"pump-07/receipt", receiptJSON(p.SaleID, "completed", "succeeded", "2026-1"), false)
		})
		return nil
	})
	// site/status is retained at QoS 1 and would be acknowledged too.
	if err := s.server.Publish("edgegw/v1/site/status", []byte(`{"accept":"yes"}`), true, 0); err != nil {
		t.Fatal(err)
	}
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the PUBACK of the receipt", func() bool { return s.pubacks > 0 })
	if calls.Load() < 2 || early.Load() != 0 {
		t.Errorf("offered %d times, acknowledged %d times before it was recorded; want 2 or more, and 0", calls.Load(), early.Load())
	}
	sum := d.Reconcile()
	if sum.Receipts != 1 || sum.MoneyReceipted["EUR"] != sum.MoneySold["EUR"] || !sum.Balanced() {
		t.Errorf("got %v", sum)
	}
}

func TestStopSellingFinishesTheOpenSaleAndWaits(t *testing.T) {
	s := startSite(t, nil)
	d := s.device(t, Config{Fill: time.Hour, Pace: 0, Cancels: -1})
	wait, _ := run(t, d)
	see(t, d, "an open sale", func(now Snapshot) bool { return now.State == Filling && now.Unacknowledged == 0 })
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- d.StopSelling(ctx, Receipted)
	}()
	see(t, d, "the sale's end, stored", func(now Snapshot) bool { return now.Counts.Sold == 1 && now.Unacknowledged == 0 })
	select {
	case err := <-stopped:
		t.Fatalf("StopSelling gave %v before the receipt came", err)
	default:
	}
	s.publish(t, topicRoot+"pump-07/receipt", receiptJSON(d.Sales()[0].SaleID, "completed", "succeeded", "2026-1"), false)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if sum := d.Reconcile(); sum.Ended != 1 || !sum.Balanced() {
		t.Errorf("got %v", sum)
	}
}

func TestStopSellingGivesUpWithItsContext(t *testing.T) {
	s := startSite(t, nil)
	s.answers(withhold)
	d := s.device(t, Config{Style: Whole})
	run(t, d)
	s.wait(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.StopSelling(ctx, Acknowledged); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestBeginsNoSaleWhileTheSiteSaysNo(t *testing.T) {
	s := startSite(t, nil)
	s.accept(t, "no")
	d := s.device(t, Config{Style: Whole, Sales: 1})
	wait, _ := run(t, d)
	see(t, d, "the site's no", func(now Snapshot) bool { return now.Online && now.Accept == "no" && now.State == Refrains })
	if n := len(d.Sales()); n != 0 {
		t.Fatalf("%d sales began while the site said no", n)
	}
	s.accept(t, "limited")
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(d.Sales()); n != 1 {
		t.Errorf("got %d sales, want 1", n)
	}
}

func TestWindowBoundsUnacknowledgedSales(t *testing.T) {
	s := startSite(t, nil)
	s.answers(withhold)
	d := s.device(t, Config{Style: Whole, Window: 4, Sales: 9})
	wait, _ := run(t, d)
	s.wait(t, 4)
	see(t, d, "a full outbox", func(now Snapshot) bool { return now.Unacknowledged == 4 && now.State == WaitingAck })
	if n := len(d.Sales()); n != 4 {
		t.Errorf("got %d sales, want 4", n)
	}
	s.answers(nil)
	d.Cut()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
}

func TestSwitchedOffAndOnKeepsTheOutbox(t *testing.T) {
	s := startSite(t, nil)
	s.answers(withhold)
	d := s.device(t, Config{Style: Whole, Sales: 1})
	wait, off := run(t, d)
	first := s.wait(t, 1)
	off()
	if err := wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	s.answers(nil)
	wait, _ = run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, 2); !bytes.Equal(got[1].payload, first[0].payload) {
		t.Error("the event was sent again with other bytes")
	}
}

func TestFleetOverTLS(t *testing.T) {
	borrowed := httptest.NewUnstartedServer(nil) // for its certificate
	borrowed.StartTLS()
	defer borrowed.Close()
	s := startSite(t, &tls.Config{Certificates: borrowed.TLS.Certificates})
	roots := x509.NewCertPool()
	roots.AddCert(borrowed.Certificate())
	var configs []Config
	for i, kind := range []Kind{KindPump, KindCharger, KindKiosk} {
		configs = append(configs, Config{
			DeviceID: sale.DeviceID(fmt.Sprintf("dev-%d", i)), URL: "mqtts://" + s.addr, Roots: roots, Kind: kind,
			Seed: 5, Sales: 5, Window: 2,
		})
	}
	fleet, err := NewFleet(configs...)
	if err != nil {
		t.Fatal(err)
	}
	wait, _ := run(t, fleet)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	sum := fleet.Reconcile()
	var money int64
	for _, r := range fleet.Sales() {
		money += r.Amount
	}
	if sum.Devices != 3 || sum.Acknowledged != 15 || sum.MoneyStored["EUR"] != money || sum.Missing != 15 || sum.Balanced() {
		t.Errorf("got %v; want 15 sales acknowledged, %d in all, and 15 receipts missing", sum, money)
	}
}

func TestDoesNotTrustAnUnknownGateway(t *testing.T) {
	borrowed := httptest.NewUnstartedServer(nil)
	borrowed.StartTLS()
	defer borrowed.Close()
	s := startSite(t, &tls.Config{Certificates: borrowed.TLS.Certificates})
	d := s.device(t, Config{URL: "mqtts://" + s.addr, Roots: x509.NewCertPool()})
	run(t, d)
	see(t, d, "the refused certificate", func(now Snapshot) bool { return !now.Online && now.Problem != "" })
	if got := d.Snapshot(); got.Online || got.Counts.Open != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{DeviceID: "pump-07", URL: "mqtt://127.0.0.1"}
	for _, c := range []struct {
		name  string
		spoil func(*Config)
	}{
		{"device id in capitals", func(c *Config) { c.DeviceID = "Pump" }},
		{"reserved device id", func(c *Config) { c.DeviceID = "site" }},
		{"other scheme", func(c *Config) { c.URL = "http://127.0.0.1" }},
		{"no host", func(c *Config) { c.URL = "mqtts://" }},
		{"secret in the URL", func(c *Config) { c.URL = "mqtts://a:b@host" }},
		{"unknown kind", func(c *Config) { c.Kind = "boat" }},
		{"unknown style", func(c *Config) { c.Style = "slow" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good
			c.spoil(&cfg)
			if _, err := New(cfg); err == nil {
				t.Error("got no error")
			}
		})
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	if _, err := NewFleet(good, good); err == nil {
		t.Error("two devices with one id: got no error")
	}
}

// A device that is asked to show itself says so in its feed, whatever stands in the
// message.
func TestShowsItself(t *testing.T) {
	s := startSite(t, nil)
	shown := make(chan string, 3)
	d := s.device(t, Config{Linger: true, OnNotice: func(n Notice) {
		if n.What == Identify {
			shown <- n.Text
		}
	}})
	run(t, d)
	see(t, d, "the device online", func(now Snapshot) bool { return now.Online })
	for body, want := range map[string]string{
		`{"requested_at":"2026-11-22T08:31:07Z","seconds":30}`: "here I am, for 30 s", `{}`: "here I am", `{"seconds":"x"}`: "here I am",
	} {
		s.publish(t, d.topic("identify"), body, false)
		select {
		case got := <-shown:
			if got != want {
				t.Errorf("%s: %q, want %q", body, got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s: nothing was shown", body)
		}
	}
}
