package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

// asCommand makes the test binary be edgegw itself. Its name must not begin as
// configuration keys do.
const asCommand = "RUN_AS_EDGEGW_COMMAND"

// deadline is how long a test waits for what must come; it decides only how
// long a broken build takes to say so.
const deadline = 5 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// box is a data directory and the flags that lead to it.
type box struct {
	t     *testing.T
	dir   string
	flags []string
	pid   int           // of the gateway, once started
	life  time.Duration // after which a gateway that is still there is killed; 0: deadline
}

func newBox(t *testing.T, flags ...string) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "edgegw-test-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &box{t: t, dir: filepath.Join(dir, "data"), flags: append([]string{"--data-dir", filepath.Join(dir, "data"),
		"--set", "allow_volatile_data=true", "--set", "http.listen=127.0.0.1:0", "--set", "mqtt.tls_listen=127.0.0.1:0",
		"--set", "openfiskal.proxy=none", "--set", "openfiskal.timeout=5s", "--set", "store.min_free_bytes=0"}, flags...)}
}

// fixPort gives its MQTT port a number, so that devices find it after a start.
func (b *box) fixPort() {
	b.t.Helper()
	for i, f := range b.flags {
		if strings.HasPrefix(f, "mqtt.tls_listen=") {
			b.flags[i] = "mqtt.tls_listen=" + freePort(b.t)
		}
	}
}

// uplink gives flags for a stand-in, and its register keys in files.
func uplink(t *testing.T, o sandbox.Options) (flags []string, service *sandbox.Service) {
	t.Helper()
	service = sandbox.New(o)
	server, err := service.ListenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, server.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--set", "openfiskal.base_url=" + server.URL(), "--set", "openfiskal.ca_file=" + ca}, service
}

// outcome is one run of the command.
type outcome struct {
	code     int
	out, err string
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EDGEGW_") {
			c.Env = append(c.Env, e)
		}
	}
	// The race detector lets a process linger for a second before its end.
	c.Env = append(c.Env, asCommand+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	c.Dir = os.TempDir()
	return c
}

func edgegw(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c := command(ctx, args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (b *box) edgegw(args ...string) outcome {
	b.t.Helper()
	return edgegw(b.t, "", append(append([]string{}, b.flags...), args...)...)
}

// want checks exit code and the one line on stderr.
func (o outcome) want(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.code, code, o.out, o.err)
	}
	if len(words) == 0 {
		return
	}
	if strings.Count(o.err, "\n") != 1 || !strings.HasPrefix(o.err, "edgegw: ") {
		t.Errorf("stderr is not one line that begins with edgegw: %q", o.err)
	}
	for _, w := range words {
		if !strings.Contains(o.err, w) {
			t.Errorf("stderr lacks %q: %s", w, o.err)
		}
	}
}

func decode[T any](t *testing.T, o outcome) (v T) {
	t.Helper()
	o.want(t, 0)
	if err := json.Unmarshal([]byte(o.out), &v); err != nil {
		t.Fatalf("stdout is not the JSON expected: %v\n%s", err, o.out)
	}
	return v
}

// start begins edgegw run and waits until its socket answers. stop ends it with
// SIGTERM and checks that this is a clean end.
func (b *box) start() (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), cmp.Or(b.life, deadline)) // it lives into the test's clean-up
	c := command(ctx, append(append([]string{}, b.flags...), "run")...)
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.pid = c.Process.Pid
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			b.t.Errorf("the gateway ended with %v:\n%s", err, log.String())
		}
		cancel()
	}
	b.t.Cleanup(stop)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		client, err := admin.Dial(filepath.Join(b.dir, admin.SocketName))
		if err == nil {
			_, err = client.Status(ctx)
			_ = client.Close()
		}
		if err == nil {
			return stop
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("the gateway does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// await polls until the condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit, tick := time.After(deadline), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func TestVersion(t *testing.T) {
	o := edgegw(t, "", "version")
	o.want(t, 0)
	if !strings.HasPrefix(o.out, "edgegw ") {
		t.Errorf("got %q", o.out)
	}
	if v := decode[map[string]string](t, edgegw(t, "", "version", "--json")); v["version"] == "" || v["go"] == "" {
		t.Errorf("got %v", v)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"nonsense"}, "nonsense"},
		{"no command", nil, "--help"},
		{"unknown flag", []string{"status", "--nonsense"}, "--nonsense"},
		{"device id", []string{"device", "add", "Pump_1", "--register", "reg_1"}, "not a device id"},
		{"register id", []string{"device", "add", "pump-1", "--register", "../x"}, "not a register id"},
		{"key twice", []string{"key", "set", "pump-1", "--key-stdin", "--key-file", "x"}, "key"},
		{"no key", []string{"key", "set", "pump-1"}, "--key-stdin"},
		{"state", []string{"sales", "--state", "lost"}, "quarantined"},
		{"limit", []string{"sales", "--limit", "0"}, "10000"},
		{"set without value", []string{"--set", "site.name", "status"}, "KEY=VALUE"},
		{"set twice", []string{"--set", "site.name=a", "--set", "site.name=b", "status"}, "twice"},
		{"data directory twice", []string{"--set", "data_dir=x", "status"}, "twice"},
		{"cut that does not fit", []string{"demo", "--for", "10s", "--cut-after", "8s", "--cut-for", "5s"}, "--for 13s"},
		{"no devices", []string{"demo", "--devices", "0"}, "--devices"},
		{"simulate nobody", []string{"simulate", "--url", "mqtts://127.0.0.1:1"}, "--credentials"},
		{"unknown key", []string{"--set", "mqtt.tls_lisen=:1", "run"}, "mqtt.tls_listen"},
		{"impossible value", []string{"--set", "openfiskal.concurrency=many", "status"}, "openfiskal.concurrency"},
		{"missing file", []string{"--config", "/nonexistent/edgegw.yaml", "run"}, "/nonexistent/edgegw.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			edgegw(t, "", append(append([]string{}, b.flags...), c.args...)...).want(t, 2, c.want)
		})
	}
	if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("wrong usage left a data directory behind: %v", err)
	}
}

func TestKeyOnTheCommandLineIsNotRepeated(t *testing.T) {
	for _, args := range [][]string{{"key", "set", "pump-1", "ofk_reg_live_abc"}, {"device", "show", "ofk_reg_live_abc"},
		{"--set", "ofk_reg_live_abc=1", "status"}, {"--config", "/nonexistent/ofk_reg_live_abc", "status"}} {
		o := edgegw(t, "", args...)
		o.want(t, 2)
		if strings.Contains(o.out+o.err, "live_abc") || o.err == "" {
			t.Errorf("%q: %q", args, o.err)
		}
	}
}

func TestBadConfigurationNamesEveryFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edgegw.yaml")
	if err := os.WriteFile(file, []byte("site:\n  name: x\nmqtt:\n  tls_lisen: ':1'\nopenfiskal:\n  timeout: 30\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := edgegw(t, "", "--config", file, "run")
	o.want(t, 2)
	lines := strings.Split(strings.TrimSpace(o.err), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], file+":4: mqtt.tls_lisen: unknown key") || !strings.Contains(lines[1], file+":6: openfiskal.timeout") {
		t.Errorf("got %q", lines)
	}
}

func TestLookingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, args := range [][]string{{"status"}, {"sales"}, {"device", "list"}, {"device", "show", "pump-1"}, {"device", "remove", "pump-1"}} {
		b.edgegw(args...).want(t, 1, "there is no data", "edgegw run")
	}
	if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a look left a data directory behind: %v", err)
	}
}

func TestDevicesWithoutAGateway(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.devices(service)
}

func TestDevicesWithAGateway(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.start()
	b.devices(service)
}

// devices is the life of a device, the same with and without a gateway.
func (b *box) devices(service *sandbox.Service) {
	t := b.t
	key, other := service.MustAddRegister("reg_1"), service.MustAddRegister("reg_2")
	said := ""
	run := func(stdin string, args ...string) outcome {
		t.Helper()
		o := edgegw(t, stdin, append(append([]string{}, b.flags...), args...)...)
		said += o.out + o.err
		return o
	}
	made := decode[map[string]any](t, run(key+"\r\n", "device", "add", "pump-1", "--register", "reg_1", "--label", "first", "--key-stdin", "--json"))
	for _, name := range []string{"device_id", "username", "password", "mqtt_url", "ca_file"} {
		if made[name] == "" || made[name] == nil {
			t.Errorf("device add --json lacks %s: %v", name, made)
		}
	}
	if made["key"] != "active" {
		t.Errorf("the key is %v, want active", made["key"])
	}
	run("", "device", "add", "pump-1", "--register", "reg_1").want(t, 1, "pump-1", "device replace")
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	run("", "device", "add", "charger-1", "--kind", "charger", "--register", "reg_1", "--key-file", file).want(t, 1, "refuses", "--unverified")
	run("", "device", "add", "charger-1", "--kind", "charger", "--register", "reg_2", "--key-file", file).want(t, 0)
	run("", "key", "set", "charger-1", "--key-file", filepath.Join(t.TempDir(), "none")).want(t, 1, "read the register key")
	run("two\nlines\n", "key", "set", "charger-1", "--key-stdin").want(t, 1, "one line")
	run("", "key", "set", "charger-1", "--key-stdin").want(t, 1, "there is none")
	rotated := service.Rotate("reg_2")
	if r := decode[map[string]any](t, run(rotated, "key", "set", "charger-1", "--key-stdin", "--json")); r["register_id"] != "reg_2" || r["key"] != "active" {
		t.Errorf("key set answered %v", r)
	}

	all := decode[[]map[string]any](t, run("", "device", "list", "--json"))
	if len(all) != 2 || all[1]["device_id"] != "pump-1" || all[1]["register_id"] != "reg_1" || all[1]["label"] != "first" {
		t.Errorf("device list: %v", all)
	}
	run("", "device", "list").want(t, 0)
	if one := decode[map[string]any](t, run("", "device", "show", "charger-1", "--json")); one["kind"] != "charger" {
		t.Errorf("device show: %v", one)
	}
	run("", "device", "show", "pump-1").want(t, 0)
	run("", "device", "show", "pump-9").want(t, 1, "pump-9", "device list")
	if e := decode[admin.Explanation](t, run("", "explain", "pump-1", "--json")); e.Kind != "device" || e.Sentence != "pump-1: no sale has been reported yet." {
		t.Errorf("explain: %+v", e)
	}
	run("", "explain").want(t, 0)
	run("", "explain", "reg_2").want(t, 0)
	run("", "explain", "pump-9/s1").want(t, 1, "pump-9/s1", "edgegw sales")
	run("", "explain", key).want(t, 2, "looks like a key")
	run("", "device", "forget-gaps", "pump-1").want(t, 0)
	run("", "device", "forget-gaps", "pump-9").want(t, 1, "pump-9", "device list")
	run("", "device", "remove", "pump-1").want(t, 0)
	run("", "device", "remove", "pump-1").want(t, 1, "pump-1", "device list")
	again := service.Rotate("reg_1") // its sales may still wait
	for _, form := range [][]string{{"reg_1"}, {"--register", "reg_1"}} {
		if r := decode[map[string]any](t, run(again, append([]string{"key", "set", "--key-stdin", "--json"}, form...)...)); r["register_id"] != "reg_1" || r["key"] != "active" {
			t.Errorf("key set %v answered %v", form, r)
		}
	}
	run(again, "key", "set", "reg_9", "--key-stdin").want(t, 1, "no register", "reg_9")
	run(again, "key", "set", "pump-9", "--key-stdin").want(t, 1, "no device", "pump-9")
	if left := decode[[]map[string]any](t, run("", "device", "list", "--json")); len(left) != 1 {
		t.Errorf("after the removal: %v", left)
	}
	if sales := decode[[]any](t, run("", "sales", "--json")); len(sales) != 0 {
		t.Errorf("sales: %v", sales)
	}
	for name, k := range map[string]string{"first": key, "second": other, "rotated": rotated, "rotated again": again} {
		if strings.Contains(said, k) {
			t.Errorf("the %s key was printed", name)
		}
	}
}

func TestStatusWithoutAGateway(t *testing.T) {
	t.Parallel()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.edgegw("device", "add", "pump-1", "--register", "reg_1").want(t, 0)
	s := decode[admin.Status](t, b.edgegw("status", "--json"))
	if s.Running || s.Devices != 1 {
		t.Errorf("status %+v", s)
	}
	b.edgegw("status").want(t, 0)
	b.edgegw("status", "--check").want(t, 3, "no gateway runs")
	b.edgegw("status", "--check", "--json").want(t, 3, "no gateway runs")
}

func TestSecondGatewayOnTheSameData(t *testing.T) {
	t.Parallel()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	stop := b.start()
	if code, errs := b.run(t.Context(), &app{patience: 200 * time.Millisecond}); code != 1 || strings.Count(errs, "\n") != 1 ||
		!strings.Contains(errs, "another edgegw") || !strings.Contains(errs, "data_dir") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if s := decode[admin.Status](t, b.edgegw("status", "--json")); !s.Running {
		t.Errorf("status says that no gateway runs: %+v", s)
	}
	stop()
	if s := decode[admin.Status](t, b.edgegw("status", "--json")); s.Running {
		t.Errorf("status says that a gateway runs: %+v", s)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b := newBox(t, "--set", "mqtt.plain_listen="+l.Addr().String())
	b.edgegw("run").want(t, 1, "mqtt.plain_listen", "address already in use")
}

func TestUnusableDataDirectory(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if err := os.WriteFile(b.dir, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.edgegw("run").want(t, 1, "data_dir", "choose another")
}
