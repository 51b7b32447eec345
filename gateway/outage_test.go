package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// recorder notes what each attempt would have sent, also those that found no
// uplink.
type recorder struct {
	to http.RoundTripper

	mu       sync.Mutex
	attempts map[string][]string // by idempotency key
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if key := req.Header.Get("Idempotency-Key"); key != "" {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.attempts[key] = append(r.attempts[key], req.Method+" "+req.URL.String()+" "+string(body))
		r.mu.Unlock()
	}
	return r.to.RoundTrip(req)
}

// Six hours without uplink, a restart in the middle: everything is taken at
// once, nothing is lost, and every attempt of a call carries the same bytes.
func TestSixHoursWithoutUplink(t *testing.T) {
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := newWorld(t, dir, sandbox.Options{}, nil)
		rec := &recorder{to: w.sandbox, attempts: map[string][]string{}}
		w.north = rec
		first := w.start(newPower(0))
		for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
			if err := first.giveKey(r, secret.FromString(w.sandbox.MustAddRegister(string(r)))); err != nil {
				t.Fatal(err)
			}
		}
		w.sandbox.SetDown(true)
		w.on(first)
		const each = 120
		var expect []sandbox.Expect
		for d, r := range map[sale.DeviceID]string{"pump-1": "reg_1", "pump-2": "reg_2"} {
			var events []event
			for i := range each {
				id := fmt.Sprintf("%s-%03d", d, i)
				events = append(events, event{3 * time.Minute, sale.Whole, fmt.Sprintf(wholeEvent, id)})
				expect = append(expect, sandbox.Expect{Register: r, ExternalID: id, Total: 7622})
			}
			w.done.Go(func() { w.device(d, events) })
		}
		<-time.After(3 * time.Hour)
		w.off()
		first.end()
		second := w.start(newPower(0))
		w.on(second)
		<-time.After(3*time.Hour - time.Minute)
		if got := len(w.sandbox.Requests()); got != 0 {
			t.Errorf("%d requests came through a cut uplink", got)
		}
		if u := second.relay.Uplink(); u.Up || time.Since(u.Since) < 2*time.Hour {
			t.Errorf("the uplink is said to be %+v", u)
		}
		w.done.Wait()
		w.sandbox.SetDown(false)
		<-time.After(66 * time.Second) // ruling 9: used within 65 s at the latest, then 720 calls in no time
		if err := w.sandbox.Check(expect); err != nil {
			t.Error(err)
		}
		<-time.After(10 * time.Minute)
		second.end()
		if err := w.sandbox.CheckFrozen(); err != nil {
			t.Error(err)
		}
		w.frozen(t, rec, 2*each*3)
		w.delayed(t, each)
	})
}

// frozen compares the bytes attempt by attempt.
func (w *world) frozen(t *testing.T, rec *recorder, calls int) {
	t.Helper()
	most, repeated := 0, 0
	for key, all := range rec.attempts {
		most = max(most, len(all))
		if len(all) > 1 {
			repeated++
		}
		for _, a := range all[1:] {
			if a != all[0] {
				t.Errorf("idempotency key %s went out with\n%s\nand with\n%s", key, all[0], a)
			}
		}
	}
	if len(rec.attempts) != calls || most < 100 || repeated < 1 {
		t.Errorf("%d calls, at most %d attempts of one, %d repeated: the outage was not met", len(rec.attempts), most, repeated)
	}
	t.Logf("%d calls, at most %d attempts of one call", len(rec.attempts), most)
}

// delayed checks that every receipt waits, and says that it is late.
func (w *world) delayed(t *testing.T, each int) {
	t.Helper()
	db, err := store.Open(context.Background(), w.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, d := range []sale.DeviceID{"pump-1", "pump-2"} {
		letters, err := db.Letters(context.Background(), d, 0, 2*each)
		if err != nil || len(letters) != each {
			t.Errorf("%d receipts for %s, %v", len(letters), d, err)
		}
		for _, l := range letters[:len(letters)-1] {
			if !l.Delayed {
				t.Errorf("the receipt of %s is not said to be delayed", l.Sale)
			}
		}
	}
}

// queue reads a register's queue.
func (l *life) queue(t *testing.T, r sale.RegisterID) store.Queue {
	t.Helper()
	queues, err := l.db.Queues(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if q.Register == r {
			return q
		}
	}
	return store.Queue{}
}
