package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/health"
	"edgegw/sale"
)

// into runs the command with its standard output going to f.
func (b *box) into(f *os.File, args ...string) outcome {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), deadline)
	defer cancel()
	c := command(ctx, append(append([]string{}, b.flags...), args...)...)
	var errs bytes.Buffer
	c.Stdout, c.Stderr = f, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return outcome{code: c.ProcessState.ExitCode(), err: errs.String()}
}

// TestOutputThatIsLost: what could not be written was not shown, and a password
// that was not shown is lost, so the device must not stay.
func TestOutputThatIsLost(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer func() { _ = full.Close() }()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close() // nobody reads
	defer func() { _ = writer.Close() }()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.edgegw("device", "add", "pump-1", "--register", "reg_1").want(t, 0)
	for i, f := range []*os.File{full, writer} {
		for _, form := range [][]string{nil, {"--json"}} {
			b.into(f, append([]string{"device", "add", "pump-8", "--register", "reg_8"}, form...)...).
				want(t, 1, "the credentials of pump-8 could not be handed over", "is removed again")
			if all := decode[[]admin.Device](t, b.edgegw("device", "list", "--json")); len(all) != 1 {
				t.Errorf("output %d, %v: a device stayed whose password nobody knows: %+v", i, form, all)
			}
		}
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"device", "list"}, {"device", "show", "pump-1"}, {"sales"}, {"version"}, {"--help"}} {
		b.into(full, args...).want(t, 1, "write the output", "no space left")
	}
}

func TestLookingIntoAnEmptyFolderLeavesItEmpty(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"sales"}, {"device", "list"}, {"device", "show", "pump-1"}, {"device", "remove", "pump-1"}} {
		b.edgegw(args...).want(t, 1, "there is no data", "edgegw run")
	}
	if left, err := os.ReadDir(b.dir); err != nil || len(left) != 0 {
		t.Errorf("a look made a site: %v, %v", left, err)
	}
}

// inProcess runs a command in the test's own process.
func (b *box) inProcess(ctx context.Context, a *app, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	a.in, a.out, a.err = strings.NewReader(""), &o, &e
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	code = a.main(ctx, stop, append(append([]string{}, b.flags...), args...))
	return code, o.String(), e.String()
}

// run runs the gateway in the test's own process, without its hardening, which
// child processes of other tests would inherit.
func (b *box) run(ctx context.Context, a *app) (code int, errs string) {
	var e bytes.Buffer
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.out, a.err, a.ctx, a.stop = &e, &e, ctx, stop
	a.globals = globals{DataDir: b.dir, Set: []string{"allow_volatile_data=true", "http.listen=", "mqtt.tls_listen=127.0.0.1:0",
		"openfiskal.proxy=none", "store.min_free_bytes=0", "log.level=error"}}
	conf, err := a.load()
	if err == nil {
		err = (&runCmd{}).serve(a, conf, nil)
	}
	code = a.report(err)
	return code, e.String()
}

// TestRunWaitsForACommand: a command that has the data for a moment is no
// reason to fail; one that keeps it is, with one line.
func TestRunWaitsForACommand(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c, err := config.Load(config.Options{Search: []string{}, Flags: map[string]string{"data_dir": b.dir, "allow_volatile_data": "true", "store.min_free_bytes": "0"}})
	if err != nil {
		t.Fatal(err)
	}
	held, err := gateway.OpenOffline(t.Context(), c, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	code, errs := b.run(t.Context(), &app{patience: 200 * time.Millisecond})
	if code != exitFailed || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "another edgegw") || !strings.Contains(errs, b.dir) {
		t.Errorf("exit code %d: %q", code, errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	waits := 0
	code, errs = b.run(ctx, &app{patience: deadline, waits: func() {
		if waits++; waits == 2 {
			if err := held.Close(); err != nil {
				t.Error(err)
			}
			go func() { // it runs now, or never: ask it, and end it
				defer cancel()
				b.answers(ctx)
			}()
		}
	}})
	if code != exitDone || errs != "" || waits < 2 {
		t.Errorf("exit code %d after %d waits: %s", code, waits, errs)
	}
}

// answers waits until a gateway answers on the box's socket, or ctx ends.
func (b *box) answers(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := admin.Dial(filepath.Join(b.dir, admin.SocketName)); err == nil {
			s, err := c.Status(ctx)
			_ = c.Close()
			if err == nil && s.Running {
				return
			}
		}
		select {
		case <-ctx.Done():
			b.t.Error("no gateway came up")
			return
		case <-tick.C:
		}
	}
}

func TestOwnHintsAreNotRedacted(t *testing.T) {
	t.Parallel()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	o := edgegw(t, "ofk_platform_live_0123456789", append(append([]string{}, b.flags...), "device", "add", "pump-1", "--register", "reg_1", "--key-stdin")...)
	o.want(t, 1, "begins with ofk_reg_")
	if strings.Contains(o.err, "0123456789") {
		t.Errorf("the key is shown: %s", o.err)
	}
	for text, want := range map[string]string{
		"a key ofk_reg_live_abc, seen":   "a key [redacted], seen",
		"it begins with ofk_reg_":        "it begins with ofk_reg_",
		"ofk_reg_… is the form":          "ofk_reg_… is the form",
		"two: ofk_a_12345678 ofk_b_1-_4": "two: [redacted] ofk_b_1-_4",
	} {
		var errs bytes.Buffer
		(&app{err: &errs}).report(errors.New(text))
		if got := strings.TrimSpace(strings.TrimPrefix(errs.String(), "edgegw: ")); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestKeyGivenAsAnID: it is refused by what it is, before anything is opened,
// read or sent, and it is not shown again.
func TestKeyGivenAsAnID(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	const key = "ofk_reg_live_0123456789abcdef"
	for _, args := range [][]string{
		{"device", "add", "pump-1", "--register", key}, {"device", "add", "pump-1", "--register", strings.ToUpper(key)},
		{"device", "add", key, "--register", "reg_1"}, {"key", "set", key, "--key-file", "/nonexistent"},
		{"key", "set", "--register", key, "--key-file", "/nonexistent"},
	} {
		o := b.edgegw(args...)
		o.want(t, 2, "OpenFiskal key", "--key-file")
		if strings.Contains(strings.ToLower(o.out+o.err), "0123456789abcdef") {
			t.Errorf("%q shows the key: %s", args[:2], o.err)
		}
	}
	b.edgegw("key", "set", "../x", "--key-file", "/nonexistent").want(t, 2, "neither a device id nor a register id")
	b.edgegw("key", "set", "--register", "../x", "--key-file", "/nonexistent").want(t, 2, "not a register id")
	b.edgegw("key", "set", "--key-file", "/nonexistent").want(t, 2, "whose key", "--register")
	b.edgegw("key", "set", "pump-1", "--register", "reg_1", "--key-file", "/nonexistent").want(t, 2, "whose key")
	if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was opened: %v", err)
	}
}

func TestMistypedKEKIsWrongConfiguration(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	file := filepath.Join(t.TempDir(), "edgegw.yaml")
	if err := os.WriteFile(file, []byte("vault:\n  kek: 00112233CANARY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := b.edgegw("--config", file, "run")
	o.want(t, 2, "vault.kek", "32 random bytes")
	if strings.Contains(o.err, "CANARY") {
		t.Errorf("the KEK is shown: %s", o.err)
	}
}

func TestProxyPasswordOnTheCommandLine(t *testing.T) {
	t.Parallel()
	o := edgegw(t, "", "--set", "openfiskal.proxy=http://user:CANARY@proxy:3128", "status")
	o.want(t, 2, "openfiskal.proxy", "EDGEGW_OPENFISKAL_PROXY")
	if strings.Contains(o.err, "CANARY") {
		t.Errorf("the password is shown: %s", o.err)
	}
}

// answering is a gateway that says what the test wants, on a real socket.
type answering struct {
	admin.Backend
	status admin.Status
	set    chan admin.SetKey
}

func (a *answering) Status(context.Context) (admin.Status, error) { return a.status, nil }

func (a *answering) Device(_ context.Context, id sale.DeviceID) (admin.Device, error) {
	if id == "pump-1" {
		return admin.Device{DeviceID: id}, nil
	}
	return admin.Device{}, &admin.Refusal{Code: "not_found", Message: "there is no device " + string(id), Remedy: "List them"}
}

func (a *answering) SetKey(_ context.Context, k admin.SetKey, _ string) (admin.KeyResult, error) {
	a.set <- k
	return admin.KeyResult{RegisterID: k.RegisterID, Key: "active"}, nil
}

func (a *answering) serve(t *testing.T, b *box) {
	t.Helper()
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(b.dir, admin.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: admin.Handler(a), ReadHeaderTimeout: deadline}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func TestStatusCheckFollowsWhatNeedsAPerson(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(*admin.Status)
		code int
		want string
	}{
		{"fine", func(*admin.Status) {}, 0, ""},
		{"a notice alone", func(s *admin.Status) {
			s.Conditions = []health.Condition{{Code: "kek_self_made", Severity: health.Notice}}
		}, 0, ""},
		{"a standing condition", func(s *admin.Status) {
			s.Conditions = []health.Condition{{Code: "key_refused", Severity: health.Attention, Title: "t", Remedy: "r"}}
		}, 3, "key_refused"},
		{"a sale in quarantine", func(s *admin.Status) { s.Totals.Quarantined = 1 }, 3, "1 sale in quarantine"},
		{"a queue that is blocked raises its condition itself", func(s *admin.Status) {
			s.Registers = []admin.Register{{RegisterID: "reg_1", State: "blocked"}}
		}, 0, ""},
		{"a gateway that does not run", func(s *admin.Status) { s.Running = false }, 3, "no gateway runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			site := &answering{status: admin.Status{Site: "s", Running: true}}
			c.bend(&site.status)
			site.serve(t, b)
			for _, form := range []string{"--json=false", "--json"} {
				code, _, errs := b.inProcess(t.Context(), &app{}, "status", "--check", form)
				if code != c.code || !strings.Contains(errs, c.want) || (c.want == "") != (errs == "") {
					t.Errorf("exit code %d, want %d; %q lacks %q", code, c.code, errs, c.want)
				}
			}
			if code, _, errs := b.inProcess(t.Context(), &app{}, "status"); code != 0 || errs != "" {
				t.Errorf("without --check: exit code %d, %s", code, errs)
			}
		})
	}
}

// TestKeySetFindsDeviceOrRegister: a register id serves where no device has it.
func TestKeySetFindsDeviceOrRegister(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	site := &answering{set: make(chan admin.SetKey, 1), status: admin.Status{Running: true, Registers: []admin.Register{{RegisterID: "kasse-7"}}}}
	site.serve(t, b)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("ofk_reg_live_0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]admin.SetKey{
		"pump-1":   {DeviceID: "pump-1"},
		"reg_01HX": {RegisterID: "reg_01HX"},
		"kasse-7":  {RegisterID: "kasse-7"}, // it could be a device, and there is none
		"pump-9":   {DeviceID: "pump-9"},    // neither: the gateway says so
	} {
		if code, _, errs := b.inProcess(t.Context(), &app{}, "key", "set", id, "--key-file", file); code != 0 {
			t.Fatalf("%s: exit code %d: %s", id, code, errs)
		}
		if got := <-site.set; got.DeviceID != want.DeviceID || got.RegisterID != want.RegisterID || got.Key.Empty() {
			t.Errorf("%s: the gateway was asked for device %q, register %q", id, got.DeviceID, got.RegisterID)
		}
	}
}
