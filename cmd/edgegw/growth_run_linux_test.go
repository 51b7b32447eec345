package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/bench"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/store"
)

// growthFolder names the folder on the disk that BenchmarkGrowth asks about.
const growthFolder = "EDGEGW_BENCH_DIR"

// growthSite is a site of the shipped program, with its data and who may enter.
type growthSite struct {
	b             *testing.B
	program, dir  string
	mqtt, page    string // addresses
	roots         *x509.CertPool
	browser       *http.Client // of the owner
	cloud         *sandbox.Service
	devices       []sale.Device
	logins        []bench.Login
	sales         int
	oldest        string // sale id
	receipt       string // number; "": none has been answered
	settings      []string
	size, perSale float64 // of the database, bytes, when it was last filled
}

// newGrowthSite makes a site with so many devices on so many registers, and its owner.
// Its uplink leads to a port on which nobody listens.
func newGrowthSite(b *testing.B, program string, registers, devices int) *growthSite {
	dir, err := os.MkdirTemp(os.Getenv(growthFolder), "growth-") // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &growthSite{b: b, program: program, dir: filepath.Join(dir, "data"), cloud: sandbox.New(sandbox.Options{KeepRequests: 1})}
	s.mqtt, s.page = freePort(b), freePort(b)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		b.Fatal(err)
	}
	s.open(func(j *journal) { j.add(registers, devices) })
	r := s.start()
	s.claim()
	r.stop()
	return s
}

// claim makes anna the owner, with the code that the box shows, and learns whom devices
// must trust.
func (s *growthSite) claim() {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.b.Fatal(err)
	}
	s.browser = &http.Client{Jar: jar, Timeout: time.Minute}
	st := s.status()
	if st.Claim.Code == "" {
		s.b.Fatal("the site shows no code that claims it")
	}
	form := url.Values{"code": {st.Claim.Code}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}}
	answer, err := s.browser.PostForm("http://"+s.page+"/claim", form)
	if err != nil {
		s.b.Fatal(err)
	}
	_ = answer.Body.Close()
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(s.get("/site-ca.pem")) {
		s.b.Fatal("the site gives no certificate of its CA")
	}
	if text := s.get("/"); !bytes.Contains(text, []byte("anna")) {
		s.b.Fatalf("the overview does not know its owner: %s", text)
	}
}

// status asks for what the overview's page is made of, as commands do.
func (s *growthSite) status() admin.Status {
	client, err := admin.Dial(filepath.Join(s.dir, admin.SocketName))
	for limit := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(limit); { // it is bound after the MQTT port
		pause(time.Millisecond)
		client, err = admin.Dial(filepath.Join(s.dir, admin.SocketName))
	}
	if err != nil {
		s.b.Fatal(err)
	}
	defer client.Close()
	st, err := client.Status(context.Background())
	if err != nil {
		s.b.Fatal(err)
	}
	return st
}

// get reads a page as the owner.
func (s *growthSite) get(path string) []byte {
	answer, err := s.browser.Get("http://" + s.page + path)
	if err != nil {
		s.b.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || answer.Request.URL.Path == "/login" {
		s.b.Fatalf("%s: %s, at %s: %v", path, answer.Status, answer.Request.URL.Path, err)
	}
	return text
}

// weigh notes the size of the database while no gateway runs.
func (s *growthSite) weigh() {
	s.size = 0
	for _, end := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(filepath.Join(s.dir, store.FileName+end)); err == nil {
			s.size += float64(info.Size())
		}
	}
	if s.sales > 0 {
		s.perSale = s.size / float64(s.sales)
	}
}

// running is a gateway process, watched from its start.
type running struct {
	s         *growthSite
	process   *exec.Cmd
	log       bytes.Buffer
	listening time.Duration // from its start until its MQTT port takes a connection
	began     time.Time
}

// start starts the program as an operator does, and waits until its MQTT port answers.
func (s *growthSite) start() *running {
	none := filepath.Join(filepath.Dir(s.dir), "none.yaml")
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		s.b.Fatal(err)
	}
	args := []string{"run", "--config", none}
	for _, one := range append([]string{"site.name=growth", "data_dir=" + s.dir, "allow_volatile_data=true", "store.min_free_bytes=0", "log.level=warn",
		"mqtt.tls_listen=" + s.mqtt, "http.listen=" + s.page, "mqtt.max_connections=10100", "mqtt.max_connections_per_address=10100",
		"mqtt.messages_per_second=1000000", "openfiskal.base_url=https://127.0.0.1:9/v1", "openfiskal.proxy=none"}, s.settings...) {
		args = append(args, "--set", one)
	}
	r := &running{s: s, process: exec.Command(s.program, args...)}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EDGEGW_") {
			r.process.Env = append(r.process.Env, e)
		}
	}
	r.process.Stderr = &r.log
	r.began = time.Now()
	if err := r.process.Start(); err != nil {
		s.b.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := r.began.Add(20 * time.Second); ; <-tick.C {
		c, err := net.Dial("tcp", s.mqtt)
		if err == nil {
			r.listening = time.Since(r.began)
			_ = c.Close()
			return r
		}
		if time.Now().After(limit) {
			_ = r.process.Process.Kill()
			_ = r.process.Wait()
			s.b.Fatalf("the gateway does not listen: %v\n%s", err, r.log.String())
		}
	}
}

// stop ends the gateway cleanly.
func (r *running) stop() {
	_ = r.process.Process.Signal(syscall.SIGTERM)
	limit := time.AfterFunc(time.Minute, func() { _ = r.process.Process.Kill() })
	defer limit.Stop()
	if err := r.process.Wait(); err != nil {
		r.s.b.Fatalf("the gateway ended with %v\n%s", err, r.log.String())
	}
}

func (r *running) usage() bench.Usage {
	u, err := bench.UsageOf(r.process.Process.Pid)
	if err != nil {
		r.s.b.Fatalf("%v\n%s", err, r.log.String())
	}
	return u
}

// connect logs the first n devices in over TLS.
func (r *running) connect(n int) *bench.Load {
	dial := tls.Dialer{Config: &tls.Config{RootCAs: r.s.roots}}
	l := &bench.Load{Dial: func(ctx context.Context) (net.Conn, error) { return dial.DialContext(ctx, "tcp", r.s.mqtt) }}
	if err := l.Connect(context.Background(), r.s.logins[:n]); err != nil {
		r.s.b.Fatalf("%v\n%s", err, r.log.String())
	}
	return l
}

// firstAck sells one sale, and gives the time from the process's start to its PUBACK.
func (r *running) firstAck() time.Duration {
	l := r.connect(1)
	defer l.Close()
	r.sell(l, 1, 1, 1)
	return time.Since(r.began)
}

// sell has the first n devices sell so many sales in all.
func (r *running) sell(l *bench.Load, n, window, sales int) bench.Times {
	t, err := l.Run(context.Background(), n, window, time.Hour, int64(sales))
	if err != nil {
		r.s.b.Fatalf("%v\n%s", err, r.log.String())
	}
	r.s.sales += t.Count
	return t
}

// asked is how long a page took: the first time, and the median of twenty more.
type asked struct{ first, again time.Duration }

func (a asked) String() string {
	if a == (asked{}) {
		return "–" // there was nothing to ask for
	}
	return fmt.Sprintf("%s / %s", inMS(a.first), inMS(a.again))
}

// inMS prints milliseconds with three digits or so.
func inMS(d time.Duration) string { return fmt.Sprintf("%.3g", d.Seconds()*1000) }

// ask times one question.
func ask(question func()) asked {
	var all []time.Duration
	for range 21 {
		began := time.Now()
		question()
		all = append(all, time.Since(began))
	}
	return asked{all[0], middleOf(all[1:])}
}

func middleOf(all []time.Duration) time.Duration {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}
