package gateway

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
)

func asksHealth(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url + admin.HealthPath)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(said)
}

// Health is what a message proves that went the whole way, and nothing else.
func TestHealthIsAMessageThatCameThrough(t *testing.T) {
	ill := &atomic.Bool{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = func(c driver.Connector) driver.Connector { return sickDisk{c, ill} }
	s.on()
	defer s.off()
	url := "http://" + s.page.Addr().String()
	client, err := admin.Dial(filepath.Join(s.dir, admin.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if code, said := asksHealth(t, url); code != 200 || said != "ok\n" {
		t.Errorf("a site that is well: %d %q", code, said)
	}
	if err := client.Healthy(t.Context()); err != nil {
		t.Errorf("over the socket: %v", err)
	}
	ill.Store(true)
	if code, said := asksHealth(t, url); code != 200 { // that canary is still fresh
		t.Errorf("at once: %d %q", code, said)
	}
	s.pulse.mu.Lock()
	s.pulse.last = s.pulse.last.Add(-pulseFresh)
	s.pulse.mu.Unlock()
	if code, said := asksHealth(t, url); code != 503 || !strings.HasPrefix(said, "not well: ") || strings.Contains(said, "sick") {
		t.Errorf("while nothing can be stored: %d %q", code, said)
	}
	if err := client.Healthy(t.Context()); err == nil {
		t.Error("over the socket it is well, though nothing can be stored")
	}
	ill.Store(false)
	s.pulse.mu.Lock()
	s.pulse.tried = s.pulse.tried.Add(-pulseAgain)
	s.pulse.mu.Unlock()
	if code, said := asksHealth(t, url); code != 200 {
		t.Errorf("when the disk is well again: %d %q", code, said)
	}
	if st, err := s.Status(t.Context()); err != nil || st.Totals != (admin.Totals{}) || st.Online != 0 {
		t.Errorf("canaries have left something: %+v, %d online, %v", st.Totals, st.Online, err)
	}
}

// Canaries fly often enough for /healthz, not more often because many ask, and not
// in a row where they fail.
func TestCanariesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flown atomic.Int64
		var bad atomic.Bool
		refused := errors.New("no answer")
		p := newPulse(func(context.Context) error {
			flown.Add(1)
			if bad.Load() {
				return refused
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		for range 3600 {
			<-time.After(time.Second)
			if err := p.healthy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n, most := flown.Load(), int64(time.Hour/pulseEvery)+1; n > most || n < most-1 {
			t.Errorf("%d canaries in an hour, want %d", n, most)
		}
		cancel()
		<-done
		<-time.After(pulseFresh)
		flown.Store(0)
		bad.Store(true)
		for range 60 {
			if err := p.healthy(t.Context()); !errors.Is(err, refused) {
				t.Errorf("healthy says %v", err)
			}
			<-time.After(time.Second)
		}
		if n, most := flown.Load(), int64(time.Minute/pulseAgain); n > most {
			t.Errorf("%d canaries in a minute in which they fail, want %d", n, most)
		}
	})
}

func TestTheWatchdog(t *testing.T) {
	type world struct {
		missed  int
		refuses bool
		busy    bool
		ended   int64
	}
	for _, row := range []struct {
		name  string
		every func(w *world, look int)
		ends  int // the look that ends the gateway; 0: none in two hours
	}{
		{"nothing to do", func(*world, int) {}, 0},
		{"canaries come back", func(w *world, look int) { w.missed = look % mostMissed }, 0},
		{"canaries do not come back", func(w *world, look int) { w.missed = look }, mostMissed},
		{"the disk is full, and devices know it", func(w *world, look int) { w.missed, w.refuses = look, true }, 0},
		{"a busy site", func(w *world, look int) { w.busy, w.ended = true, int64(look) }, 0},
		{"a slow site", func(w *world, look int) { w.busy, w.ended = true, int64(look/(mostStill-1)) }, 0},
		{"nothing is sent", func(w *world, _ int) { w.busy = true }, mostStill},
		{"nothing is sent, and nothing wants to", func(w *world, look int) { w.busy = look%mostStill != 0 }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, look, told := &world{}, 0, 0
				d := &watchdog{pulse: func() (int, error) { look++; row.every(w, look); return w.missed, errors.New("no answer") },
					refuses: func() bool { return w.refuses }, busy: func() bool { return w.busy }, ended: func() int64 { return w.ended },
					notify: func(string) { told++ }, every: watchEvery}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				err := d.run(ctx)
				switch {
				case row.ends == 0 && err != nil:
					t.Errorf("ended at look %d: %v", look, err)
				case row.ends == 0 && told < 200:
					t.Errorf("the service manager was told %d times in two hours", told)
				case row.ends > 0 && (err == nil || look != row.ends || told != row.ends-1):
					t.Errorf("look %d: %v; told %d times", look, err, told)
				}
			})
		})
	}
}

// stuckWay is a way to OpenFiskal that hangs for ever, whatever it is told.
type stuckWay struct{ let chan struct{} }

func (w stuckWay) RoundTrip(*http.Request) (*http.Response, error) {
	<-w.let
	return nil, errors.New("let go")
}

// A gateway whose queue hangs ends by itself and says why; a part that does not end
// even then does not keep the process.
func TestAGatewayThatHangsIsEnded(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.off()
	way := stuckWay{make(chan struct{})}
	s.options.Transport = way
	aborted := make(chan error, 1)
	s.options.Abort = func(cause error) { aborted <- cause }
	s.flags["openfiskal.timeout"] = "1s"
	s.on()
	if s.relay.Busy() {
		t.Error("a relay without work is busy")
	}
	c := s.connect("pump-01", 4)
	if err := c.Publish(topic("pump-01", "sale"), 1, 1, strings.Replace(wholeEvent, "%q", `"s1"`, 1)); err != nil {
		t.Fatal(err)
	}
	await(t, "the queue to be busy", s.relay.Busy)
	d := s.newWatchdog()
	for look := 1; ; look++ {
		err := d.look()
		if err == nil && look < mostStill+2 {
			continue
		}
		if err == nil || look < mostStill {
			t.Fatalf("look %d: %v", look, err)
		}
		break
	}
	close(way.let)
	await(t, "the queue to rest", func() bool { return !s.relay.Busy() })
	s.off()
	s.mustEnd(errors.New("for a test"))() // its timer is stopped: nothing may come
	select {
	case err := <-aborted:
		t.Errorf("aborted: %v", err)
	default:
	}
}

// A run that did not end cleanly is told of, and checked, and no other.
func TestHowTheLastRunEnded(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	path := filepath.Join(s.dir, runningFile)
	condition := func() *health.Condition {
		t.Helper()
		st, err := s.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range st.Conditions {
			if c.Code == "unclean_end" {
				return &c
			}
		}
		return nil
	}
	for _, row := range []struct {
		name, left string // in the file, before the start
		severity   health.Severity
		says       string
	}{
		{"the first start", "", 0, ""},
		{"after a clean end", "", 0, ""},
		{"killed", `{"since":"2026-11-22T08:00:00Z","times":0}`, health.Notice, "the power was cut"},
		{"torn", `{"sin`, health.Notice, "the power was cut"},
		{"ended by itself", `{"since":"2026-11-22T08:00:00Z","ended":"2026-11-22T08:10:00Z","cause":"relay: it hangs","times":1}`, health.Notice, "relay: it hangs"},
		{"again and again", `{"since":"2026-11-22T08:00:00Z","ended":"2026-11-22T08:10:00Z","cause":"relay: it hangs","times":2}`, health.Attention, "3 times in a row"},
		{"after a long while", `{"since":"2026-11-22T08:00:00Z","ended":"2026-11-22T11:10:00Z","cause":"relay: it hangs","times":2}`, health.Notice, "relay: it hangs"},
		{"after a clean end again", "", 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.left != "" {
				must(t, os.WriteFile(path, []byte(row.left), 0o600))
			}
			s.on()

			c := condition()
			switch {
			case row.says == "" && c != nil:
				t.Errorf("it says %q", c.Title)
			case row.says != "" && (c == nil || c.Severity != row.severity || !strings.Contains(c.Title, row.says)):
				t.Errorf("it says %+v, want %q", c, row.says)
			}
			if row.says != "" {
				await(t, "the journal to be checked", func() bool { return strings.Contains(s.logs.String(), "and is whole") })
			}
			s.off()
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after a clean end: %v", err)
			}
		})
	}
}

// The service manager hears of the gateway that is the service, and of no other in the
// same process: a test sale that ends must not look like the end of the service.
func TestOnlyTheServiceTellsItsManager(t *testing.T) {
	at := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", at.Name)
	newSite(t, sandbox.Options{}).on().off()
	end, err := net.DialUnix("unixgram", nil, at)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if _, err := end.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, 100)
	if n, err := manager.Read(heard); err != nil || string(heard[:n]) != "the end" {
		t.Errorf("a gateway that is no service has told %q, %v", heard[:n], err)
	}
	var told []string
	s := newSite(t, sandbox.Options{})
	s.options.Notify = func(state string) { told = append(told, state) }
	s.on()
	await(t, "the gateway to run", func() bool { return strings.Contains(s.logs.String(), "the gateway runs") })
	s.off()
	if want := []string{"READY=1", "STOPPING=1"}; !slices.Equal(told, want) {
		t.Errorf("the manager of the service was told %q, want %q", told, want)
	}
}

// heldDisk holds each commit for as long as it is told.
type heldDisk struct {
	driver.Connector
	hold *atomic.Int64 // nanoseconds
}

func (d heldDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	return heldConn{c, d.hold}, err
}

type heldConn struct {
	driver.Conn
	hold *atomic.Int64
}

func (c heldConn) Prepare(text string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(text)
	if text != "COMMIT" || err != nil {
		return s, err
	}
	return heldCommit{s, c.hold}, nil
}

type heldCommit struct {
	driver.Stmt
	hold *atomic.Int64
}

func (s heldCommit) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	<-time.After(time.Duration(s.hold.Load()))
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// A disk whose syncs take longer than anybody wants to wait is slow, not dead: the
// watchdog does not end a gateway for it.
func TestASlowDiskIsNotADeadGateway(t *testing.T) {
	hold := &atomic.Int64{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = func(c driver.Connector) driver.Connector { return heldDisk{c, hold} }
	s.on()
	defer s.off()
	hold.Store(int64(canaryLimit + time.Second))
	err := s.pulse.beat(t.Context())
	hold.Store(0)
	if missed, why := s.pulse.failures(); err != nil || missed != 0 {
		t.Errorf("%v; %d missed: %v", err, missed, why)
	}
}

// A note that cannot be written, as on a full disk, keeps no site from starting, nor from
// a clean end.
func TestASiteStartsWithoutItsNote(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	must(t, os.MkdirAll(filepath.Join(s.dir, runningFile+".new"), 0o700)) // in its way
	s.on()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	s.off()
	if !strings.Contains(s.logs.String(), "cannot be noted") {
		t.Error("nothing in the log")
	}
}
