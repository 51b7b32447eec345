package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

// A gateway works for a while, with every kind of secret, and comes to rest.
// None of them is then in its data, its log, what its commands print, its
// metrics, its API, its memory, or what it says when it dies.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("a gateway is at rest after 40 seconds")
	}
	t.Parallel()
	var all sync.WaitGroup
	defer all.Wait()
	for _, row := range []struct {
		name string
		kek  func(l *leakSite, text string)
	}{
		{"KEK from the environment", func(l *leakSite, text string) { l.env = append(l.env, "EDGEGW_VAULT_KEK="+text) }},
		{"KEK from a file", func(l *leakSite, text string) {
			l.flags = append(l.flags, "--set", "vault.kek_file="+l.file(text+"\n"))
		}},
		{"KEK from the configuration", func(l *leakSite, text string) {
			l.flags = append(l.flags, "--config", l.file("vault:\n  kek: "+text+"\n"))
		}},
		{"self-made KEK", nil},
	} {
		run := func(t *testing.T) {
			l := newLeakSite(t)
			if row.kek != nil {
				kek := random(32)
				l.secrets.add("KEK", kek, 0)
				row.kek(l, hex.EncodeToString(kek))
			}
			l.begin()
			if row.kek == nil {
				text, err := os.ReadFile(filepath.Join(l.dir, "kek"))
				kek, bad := hex.DecodeString(strings.TrimSpace(string(text)))
				if err != nil || bad != nil || len(kek) != 32 {
					t.Fatalf("no KEK was made: %v, %v", err, bad)
				}
				l.secrets.add("KEK", kek, 0)
			}
			l.work()
			l.commands(row.kek == nil) // once is enough for those that are wrong
			l.ask()
			l.rest()
			l.look()
			l.die()
		}
		all.Go(func() { t.Run(row.name, run) }) // all at once: they wait more than they work
	}
}

// leakSite is a gateway in a process of its own, what must not be found, and
// where it is looked for.
type leakSite struct {
	*box
	service  *sandbox.Service
	env      []string
	log      *os.File
	process  *exec.Cmd
	secrets  needles
	canary   needles       // what must be found, by the same search
	register string        // of pump-01; a canary
	stranger sale.DeviceID // who has another device's secret; a canary
	page     string        // http.listen
	printed  bytes.Buffer
	answers  bytes.Buffer
	metrics  bytes.Buffer
	keys     map[sale.DeviceID]string
	logins   map[sale.DeviceID]admin.Credentials
}

func newLeakSite(t *testing.T) *leakSite {
	flags, service := uplink(t, sandbox.Options{})
	l := &leakSite{box: newBox(t, append(flags, "--set", "log.level=debug", "--set", "http.tls_listen=127.0.0.1:0")...), service: service, page: freePort(t),
		register: "reg_" + word(), stranger: sale.DeviceID("pump-" + word()), keys: map[sale.DeviceID]string{}, logins: map[sale.DeviceID]admin.Credentials{}}
	l.flags[slices.Index(l.flags, "http.listen=127.0.0.1:0")] = "http.listen=" + l.page
	l.canary.put("the id of a register", []byte(l.register))
	l.canary.put("the id of a device", []byte(l.stranger))
	l.secrets.add("platform key", []byte(service.PlatformKey()), strings.LastIndexByte(service.PlatformKey(), '_')+1)
	return l
}

// word is one that nobody else says. It has few digits: what looks like the number
// of a card is masked, ids included.
func word() string { return strings.ToLower(rand.Text()) }

func (l *leakSite) file(text string) string {
	path := filepath.Join(l.t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *leakSite) key(what, key string) string {
	l.secrets.add(what, []byte(key), strings.LastIndexByte(key, '_')+1)
	return key
}

// begin starts the gateway, in a place where the system writes core dumps and
// with a runtime that asks for one.
func (l *leakSite) begin() {
	t := l.t
	args := append(append([]string{}, l.flags...), "run")
	c := command(context.WithoutCancel(t.Context()), args...)
	c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", `ulimit -c unlimited && exec "$0" "$@"`, os.Args[0]}, args...)
	c.Env, c.Dir = append(append(c.Env, "GOTRACEBACK=crash"), l.env...), filepath.Dir(l.dir)
	var err error
	if l.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = l.log, l.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	l.process, l.pid = c, c.Process.Pid
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended, unless the test failed before
		_ = c.Wait()
	})
	l.await("the gateway to run", func() bool { return strings.Contains(l.logged(), "the gateway runs") })
}

func (l *leakSite) logged() string {
	b, err := os.ReadFile(l.log.Name())
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}

func (l *leakSite) await(what string, ok func() bool) {
	l.t.Helper()
	until := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-until:
			l.t.Fatalf("waited in vain for %s:\n%s", what, l.logged())
		}
	}
}

// says runs a command and keeps what it prints.
func (l *leakSite) says(stdin string, args ...string) outcome {
	l.t.Helper()
	o := edgegw(l.t, stdin, append(append([]string{}, l.flags...), args...)...)
	fmt.Fprintf(&l.printed, "%s%s", o.out, o.err)
	return o
}

// device is added over the socket, with its key. What that prints is shown this
// once, so it is the one thing that is not searched.
func (l *leakSite) device(id sale.DeviceID, register string) {
	l.t.Helper()
	l.keys[id] = l.key("key of "+string(id), l.service.MustAddRegister(register))
	o := edgegw(l.t, l.keys[id], append(append([]string{}, l.flags...), "device", "add", string(id), "--register", register, "--key-stdin", "--json")...)
	c := decode[admin.Credentials](l.t, o)
	l.logins[id] = c
	l.secrets.add("secret of "+string(id), []byte(c.Password), 0)
}

// work handles every kind of secret in every way there is.
func (l *leakSite) work() {
	t := l.t
	l.device("pump-01", l.register)
	l.device("charger-02", "reg_2")
	l.device("kiosk-03", "reg_3")
	l.device("pump-04", "reg_4")
	l.device("pump-05", "reg_5")
	l.device(l.stranger, "reg_6")
	for _, style := range []simulator.Config{{DeviceID: "pump-01", Kind: simulator.KindPump}, {DeviceID: "charger-02", Kind: simulator.KindCharger}} {
		l.sell(style)
	}
	old := l.login(brokertest.Login{Version: 4, ClientID: "kiosk-03", Keepalive: 600}, "kiosk-03", nil)
	l.publish(old, "kiosk-03", "sale", fmt.Sprintf(wholeSale, "k1"))
	l.publish(old, "kiosk-03", "sale", `{"sale_id":"k2"`) // to the quarantine

	// Whatever comes in one piece with a CONNECT, or in half a piece, must not
	// keep it in a buffer.
	quiet := brokertest.New(nil, true)
	l.login(brokertest.Login{ClientID: "pump-04", Keepalive: 600}, "pump-04", quiet.SubscribeBytes(1, 1, "edgegw/v1/pump-04/receipt"))
	l.login(brokertest.Login{ClientID: "pump-05", Keepalive: 600}, "pump-05", quiet.SubscribeBytes(1, 1, "edgegw/v1/pump-05/receipt")[:9])

	// A device with the secret of another one.
	wrong := l.dial(l.stranger)
	if c, err := brokertest.Connect(wrong, brokertest.Login{ClientID: string(l.stranger), Secret: l.logins["pump-05"].Password}); err == nil && c.Ack.Code == 0 {
		t.Error("a device logged in with the secret of another one")
	}
	_ = wrong.Close()

	// A key that OpenFiskal refuses while a sale waits, and one that it refuses
	// before it is stored; one that takes the place of another.
	l.key("key that nobody brought", l.service.Rotate("reg_3"))
	l.publish(old, "kiosk-03", "sale", fmt.Sprintf(wholeSale, "k3"))
	l.await("the key to be refused", func() bool { return strings.Contains(l.says("", "status").out, "kiosk-03") && l.blocked() })
	l.says(l.keys["pump-01"], "key", "set", "pump-05", "--key-stdin").want(t, 1)
	l.says(l.key("new key", l.service.Rotate("reg_4")), "key", "set", "pump-04", "--key-stdin").want(t, 0)
	l.says("", "device", "remove", string(l.stranger)).want(t, 0)
	l.provision()
	l.pushed()
	l.backUp()
}

// backUp makes a backup, and puts it back beside: what it leaves is searched as well.
func (l *leakSite) backUp() {
	phrase := rand.Text() // a constant would stand in the test itself
	l.secrets.add("passphrase", []byte(phrase), 0)
	file := filepath.Join(l.t.TempDir(), "site.backup")
	l.says(phrase, "backup", "-o", file, "--passphrase-stdin").want(l.t, 0)
	elsewhere := filepath.Join(filepath.Dir(file), "restored")
	l.says(phrase, "restore", file, "--passphrase-stdin", "--data-dir", elsewhere).want(l.t, 0)
	paths, err := filepath.Glob(filepath.Join(elsewhere, "*.db*"))
	if err != nil || len(paths) == 0 {
		l.t.Fatalf("nothing was put back: %v", err)
	}
	for _, path := range append(paths, file) {
		text, err := os.ReadFile(path)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, h := range l.secrets.in(text) {
			l.t.Errorf("%s: %+v", path, h)
		}
	}
}

// pushed has a back office bring a device with its key over the network, and
// leaves its connections open.
func (l *leakSite) pushed() {
	t := l.t
	made := decode[admin.MadeToken](t, edgegw(t, "", append(append([]string{}, l.flags...), "token", "add", "back-office", "--scope", "provision", "--json")...))
	const shown = len("edgegw_") + 8 // its id is no secret
	l.secrets.add("token", []byte(made.Secret), shown)
	for id, http2 := range map[string]bool{"pump-31": false, "pump-32": true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.roots("pump-01"), ServerName: "localhost"}, ForceAttemptHTTP2: http2}
		t.Cleanup(tr.CloseIdleConnections)
		for range 2 { // what stands twice is what tables of compression are for
			body := fmt.Sprintf(`{"device_id":%q,"register_id":"reg_%s","kind":"pump","register_key":%q}`, id, id, l.key("key that was pushed", l.service.MustAddRegister("reg_"+id)))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, made.URL+"/devices", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+made.Secret)
			r.Header.Set("Content-Type", "application/json")
			answer, err := (&http.Client{Transport: tr}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var c admin.Credentials
			err = errors.Join(json.NewDecoder(answer.Body).Decode(&c), answer.Body.Close())
			if err != nil || answer.StatusCode != http.StatusOK || c.Password == "" || answer.ProtoMajor == 2 != http2 {
				t.Fatalf("pushed over %s: %s, %v", answer.Proto, answer.Status, err)
			}
			l.key("secret of "+id, c.Password)
			id += "-b"
		}
	}
}

// provision has keys made and brought in bulk, in clear and for this box alone,
// and devices proved anew.
func (l *leakSite) provision() {
	t := l.t
	kept := filepath.Join(t.TempDir(), "credentials")
	l.says(l.service.PlatformKey(), "key", "rotate", "pump-04", "--key-stdin", "--organization", "org_sandbox").want(t, 0)
	l.key("key that OpenFiskal made", l.service.Key("reg_4"))
	const head = "device_id,register_id,register_key\n"
	l.says(head+"pump-21,reg_21,"+l.key("key in a CSV", l.service.MustAddRegister("reg_21"))+"\n", "import", "-", "--credentials", kept).want(t, 0)
	to, err := age.ParseX25519Recipient(strings.TrimSpace(l.says("", "import", "--recipient").out))
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	w, err := age.Encrypt(&bundle, to)
	if err == nil {
		_, err = io.WriteString(w, head+"pump-22,reg_22,"+l.key("key in a bundle", l.service.MustAddRegister("reg_22"))+"\n")
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	l.says(bundle.String(), "import", "-", "--credentials", kept).want(t, 0)
	lines, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var c admin.Credentials
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Password == "" {
			t.Fatalf("credentials: %v", err)
		}
		l.key("secret of "+string(c.DeviceID), c.Password)
	}
	dir := t.TempDir()
	l.says("", "device", "cert", "pump-04", "--out", dir).want(t, 0)
	pem, err := os.ReadFile(filepath.Join(dir, "pump-04-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l.key("key of a certificate", strings.Split(string(pem), "\n")[2]) // the first line is the same in all
}

func (l *leakSite) blocked() bool {
	st := decode[admin.Status](l.t, l.says("", "status", "--json"))
	return slices.ContainsFunc(st.Conditions, func(c health.Condition) bool { return strings.Contains(c.Code, "key_refused") })
}

func (l *leakSite) roots(id sale.DeviceID) *x509.CertPool {
	pem, err := os.ReadFile(l.logins[id].CAFile)
	if err != nil {
		l.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return roots
}

// sell makes a few sales, and leaves the device connected.
func (l *leakSite) sell(c simulator.Config) {
	t := l.t
	login := l.logins[c.DeviceID]
	c.Secret, c.URL, c.Roots = secret.FromString(login.Password), login.MQTTURL, l.roots(c.DeviceID)
	c.Sales, c.Pace, c.Fill, c.Until, c.Linger = 4, 5*time.Millisecond, 5*time.Millisecond, simulator.Receipted, true
	d, err := simulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	l.await("the sales of "+string(c.DeviceID), func() bool {
		all := d.Sales()
		return len(all) == c.Sales && !slices.ContainsFunc(all, func(r simulator.Record) bool { return r.Receipts == 0 })
	})
}

func (l *leakSite) dial(id sale.DeviceID) net.Conn {
	l.t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(l.logins[id].MQTTURL, "mqtts://"), &tls.Config{RootCAs: l.roots(id), ServerName: "localhost"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// login sends a CONNECT, and more behind it in the same record of TLS.
func (l *leakSite) login(how brokertest.Login, id sale.DeviceID, more []byte) *brokertest.Client {
	l.t.Helper()
	how.Secret = l.logins[id].Password
	c := brokertest.New(l.dial(id), how.Version != 4)
	if err := c.Send(append(how.Bytes(), more...)); err != nil {
		l.t.Fatal(err)
	}
	if p, _, err := c.Await(brokertest.CONNACK); err != nil || p.Code != 0 {
		l.t.Fatalf("%s did not get in: %v, code %d", id, err, p.Code)
	}
	return c
}

func (l *leakSite) publish(c *brokertest.Client, id sale.DeviceID, topic, payload string) {
	l.t.Helper()
	if err := c.Publish("edgegw/v1/"+string(id)+"/"+topic, 1, 7, payload); err != nil {
		l.t.Fatal(err)
	}
	if _, _, err := c.Await(brokertest.PUBACK); err != nil {
		l.t.Fatal(err)
	}
}

const wholeSale = `{"sale_id":%q,"occurred_at":"2026-11-22T08:33:00+01:00","currency":"EUR","line_items":[{"description":"Super E10","quantity":"42.37","unit":"l","unit_price":"1.799","amount":7622,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":7622}]}`

// rest waits until the gateway has nothing to do and has tidied its memory.
func (l *leakSite) rest() {
	before := strings.Count(l.logged(), tidied)
	l.await("rest", func() bool { return strings.Count(l.logged(), tidied) > before })
}

const tidied = "memory was tidied"

// look searches everywhere. The canary must be found by the same search, or the
// place proves nothing.
func (l *leakSite) look() {
	t := l.t
	l.search("what commands print", l.printed.Bytes())
	l.search("the API's answers", l.answers.Bytes())
	l.search("the metrics", l.metrics.Bytes())
	l.search("the log", []byte(l.logged()))
	l.search("the command line and environment", l.proc("cmdline"), l.proc("environ"))
	l.search("the data", l.files(l.dir)...)
	l.search("a copy of the data", l.copied()...)

	memory, err := memoryOf(l.pid)
	if err != nil {
		t.Logf("THE MEMORY OF THE GATEWAY IS NOT SEARCHED: %v", err)
		return
	}
	var texts [][]byte
	hits, size := 0, 0
	for _, m := range memory {
		texts = append(texts, m.text)
		size += len(m.text)
		for _, h := range l.secrets.in(m.text) {
			if hits++; hits < 60 {
				t.Errorf("memory %s at %#x: %s\n\t%s", m.name, m.at+uint64(h.at), h.what, h.near)
			}
		}
	}
	t.Logf("%d forms of secrets are %d times in %d MiB of memory", l.secrets.n, hits, size>>20)
	l.canaryIn("the memory", texts...)
}

func (l *leakSite) canaryIn(place string, texts ...[]byte) {
	l.t.Helper()
	if !slices.ContainsFunc(texts, func(b []byte) bool { return len(l.canary.in(b)) > 0 }) {
		l.t.Errorf("%s: what must be there was not found, so the search proves nothing", place)
	}
}

func (l *leakSite) search(place string, texts ...[]byte) {
	l.t.Helper()
	for _, b := range texts {
		for _, h := range l.secrets.in(b) {
			l.t.Errorf("%s: %s\n\t%s", place, h.what, h.near)
		}
	}
	if place != "the command line and environment" {
		l.canaryIn(place, texts...)
	}
}

func (l *leakSite) proc(name string) []byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", l.pid, name))
	if err != nil || len(b) == 0 {
		l.t.Errorf("read %s: %d bytes, %v", name, len(b), err)
	}
	return b
}

// files reads all files below a directory but the KEK that was made there.
func (l *leakSite) files(dir string) (texts [][]byte) {
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "kek" {
			return err
		}
		b, err := os.ReadFile(path)
		texts, found[d.Name()] = append(texts, []byte(path), b), true
		return err
	})
	if err != nil {
		l.t.Error(err)
	}
	for _, want := range []string{"edgegw.db", "edgegw.db-wal", "edgegw.db-shm"} {
		if !found[want] {
			l.t.Errorf("%s has no %s: %v", dir, want, slices.Collect(maps.Keys(found)))
		}
	}
	return texts
}

// copied opens a copy of the data, as somebody would who has stolen one.
func (l *leakSite) copied() [][]byte {
	to := filepath.Join(l.t.TempDir(), "c")
	if err := exec.Command("cp", "-r", l.dir, to).Run(); err != nil && !strings.Contains(err.Error(), "exit status") { // it copies no sockets
		l.t.Fatal(err)
	}
	return l.files(to)
}

// dumps reports whether a process that crashes as the gateway does leaves a core
// dump on this system.
func (l *leakSite) dumps() bool {
	c := exec.Command("/bin/sh", "-c", "ulimit -c unlimited && kill -ABRT $$")
	c.Dir = l.t.TempDir()
	_ = c.Run() // it dies
	return c.ProcessState.Sys().(syscall.WaitStatus).CoreDump()
}

// die lets the gateway crash as Go programs do, with all it has to say.
func (l *leakSite) die() {
	before := len(l.logged())
	if err := l.process.Process.Signal(syscall.SIGQUIT); err != nil {
		l.t.Fatal(err)
	}
	_ = l.process.Wait()
	status := l.process.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		l.t.Errorf("the gateway ended with %v, core dump %t; want an abort without one", l.process.ProcessState, status.CoreDump())
	}
	if !l.dumps() {
		l.t.Log("this system writes no core dumps at all, so that this gateway left none proves nothing")
	}
	if cores, _ := filepath.Glob(filepath.Join(filepath.Dir(l.dir), "*core*")); len(cores) > 0 {
		l.t.Errorf("there are core dumps: %v", cores)
	}
	trace := l.logged()[before:]
	if n := strings.Count(trace, "\ngoroutine "); n < 20 || !strings.Contains(trace, "SIGQUIT") {
		l.t.Errorf("no trace worth searching:\n%s", trace)
	}
	for _, h := range l.secrets.in([]byte(trace)) {
		l.t.Errorf("the trace of a crash: %s\n\t%s", h.what, h.near)
	}
	l.search("the data after a crash", l.files(l.dir)...)
}
