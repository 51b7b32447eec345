package gateway

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

// The site says no while its journal cannot be written, finds out by itself when
// it can, and one bad event says nothing about the site.
func TestAcceptance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sick atomic.Value // an error, in a slice so that it may be nil
		var canaries, changes atomic.Int32
		out := &lockedBuffer{}
		a := newAcceptance(func(context.Context) error {
			canaries.Add(1)
			return sick.Load().([]error)[0]
		}, func() { changes.Add(1) }, slog.New(slog.NewTextHandler(out, nil)))
		disk := func(err error) { sick.Store([]error{err}) }
		disk(nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.run(ctx) }()
		says := func(after time.Duration, accept, reason string, tries int32) {
			t.Helper()
			<-time.After(after)
			synctest.Wait()
			if gotA, gotR := a.words(); gotA != accept || gotR != reason || canaries.Load() != tries {
				t.Errorf("%s %q after %d canaries, want %s %q after %d", gotA, gotR, canaries.Load(), accept, reason, tries)
			}
		}
		says(time.Hour, "yes", "", 0)
		a.judged(nil)
		says(time.Hour, "yes", "", 0) // a site that is well writes no canaries
		a.judged(errors.New("the start of this sale was not stored"))
		says(0, "yes", "", 1)
		for range 100 { // a device in a loop
			a.judged(errors.New("again"))
		}
		says(canaryPause, "yes", "", 2)
		<-time.After(time.Hour)

		disk(errors.New("the disk is sick"))
		a.judged(errors.New("not stored"))
		says(0, "no", "storage_failed", 3)
		says(10*time.Minute, "no", "storage_failed", 63)
		disk(fmt.Errorf("append: %w", store.ErrFull))
		says(canaryEvery, "no", "storage_full", 64)
		a.judged(nil) // a small one got through
		says(canaryPause, "no", "storage_full", 65)
		disk(nil)
		says(canaryEvery, "yes", "", 66)
		if n := changes.Load(); n != 3 {
			t.Errorf("told of %d changes, want 3", n)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines in the log: %s", n, out.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// fullDisk has no page left for the database while full is set.
type fullDisk struct {
	driver.Connector
	full *atomic.Bool
}

func (d fullDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	return fullConn{c, d.full}, err
}

type fullConn struct {
	driver.Conn
	full *atomic.Bool
}

func (c fullConn) Prepare(text string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(text)
	if text != "BEGIN IMMEDIATE" || err != nil {
		return s, err
	}
	return fullBegin{s, c}, nil
}

type fullBegin struct {
	driver.Stmt
	c fullConn
}

// ExecContext bounds the file at the size it has, or not at all.
func (s fullBegin) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	most := "1073741823"
	if s.c.full.Load() {
		most = "1" // SQLite raises it to what there is
	}
	p, err := s.c.Conn.Prepare("PRAGMA max_page_count = " + most)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if _, err := p.(driver.StmtExecContext).ExecContext(ctx, nil); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// A device hears of a disk that cannot take its sales, by every way there is,
// and hears when it can again.
func TestDevicesAreToldNotToSellWhileNothingCanBeStored(t *testing.T) {
	for reason, disk := range map[string]func(driver.Connector, *atomic.Bool) driver.Connector{
		"storage_failed": func(c driver.Connector, sick *atomic.Bool) driver.Connector { return sickDisk{c, sick} },
		"storage_full":   func(c driver.Connector, full *atomic.Bool) driver.Connector { return fullDisk{c, full} },
	} {
		t.Run(reason, func(t *testing.T) {
			ill := &atomic.Bool{}
			s := newSite(t, sandbox.Options{})
			s.options.Disk = func(c driver.Connector) driver.Connector { return disk(c, ill) }
			s.on()
			s.add("pump-01")
			s.add("pump-02")
			c := s.connect("pump-01", 5, topic("pump-01", "sale/ack"))
			watch := s.connect("pump-02", 4, "edgegw/v1/site/status")
			if w := readSite(t, watch); w.Accept != "yes" || w.Reason != "" || w.Since.IsZero() {
				t.Errorf("at first: %+v", w)
			}
			ill.Store(true)
			sell := func(id uint16, sale string, code byte, status string) {
				t.Helper()
				large := strings.Replace(fmt.Sprintf(wholeEvent, sale), "{", `{"note":"`+strings.Repeat("x", 40_000)+`",`, 1) // no last free page takes it
				if err := c.Publish(topic("pump-01", "sale"), 1, id, large); err != nil {
					t.Fatal(err)
				}
				p, _, err := c.Await(brokertest.PUBACK)
				if err != nil || p.Code != code {
					t.Fatalf("PUBACK %#x, %v; want %#x", p.Code, err, code)
				}
				if got := readStatus(t, c, "/sale/ack"); got != status {
					t.Fatalf("sale/ack says %s, want %s", got, status)
				}
			}
			sell(1, "s1", map[string]byte{"storage_failed": 0x83, "storage_full": 0x97}[reason], "rejected")
			if w := readSite(t, watch); w.Accept != "no" || w.Reason != reason {
				t.Errorf("while nothing can be stored: %+v", w)
			}
			watch = s.connect("pump-02", 5, "edgegw/v1/site/status") // retained: whoever comes later hears it, too
			if w := readSite(t, watch); w.Accept != "no" {
				t.Errorf("a device that came later hears %+v", w)
			}
			if st, err := s.Status(t.Context()); err != nil || !hasCondition(st, reason) || strings.Contains(st.Sentence, "up to date") {
				t.Errorf("a technician sees %+v, %v", st.Conditions, err)
			}
			ill.Store(false)
			sell(2, "s1", 0, "queued")
			for w := readSite(t, watch); w.Accept != "yes"; w = readSite(t, watch) { // the uplink has words of its own
			}
			if st, err := s.Status(t.Context()); err != nil || hasCondition(st, reason) {
				t.Errorf("a technician still sees %+v, %v", st.Conditions, err)
			}
			s.off()
		})
	}
}

// readSite reads up to the next site/status.
func readSite(t *testing.T, c *brokertest.Client) (w siteWords) {
	t.Helper()
	if err := json.Unmarshal(readTopic(t, c, "/site/status").Payload, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// readStatus reads up to the next message there, and gives its `status`.
func readStatus(t *testing.T, c *brokertest.Client, suffix string) string {
	t.Helper()
	var m struct{ Status string }
	if err := json.Unmarshal(readTopic(t, c, suffix).Payload, &m); err != nil {
		t.Fatal(err)
	}
	return m.Status
}

// readTopic reads, and acknowledges, up to the next message there.
func readTopic(t *testing.T, c *brokertest.Client, suffix string) brokertest.Packet {
	t.Helper()
	for {
		p, err := c.Read(brokertest.Patience)
		if err != nil {
			t.Fatalf("nothing on …%s: %v", suffix, err)
		}
		if p.Type != brokertest.PUBLISH {
			continue
		}
		if p.QoS() == 1 {
			if err := c.Answer(brokertest.PUBACK, p.ID); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasSuffix(p.Topic, suffix) {
			return p
		}
	}
}
