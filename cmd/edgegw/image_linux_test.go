package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

// imagesVariable names two images, the second an update of the first. `.ci/run image`
// builds them and sets it.
const imagesVariable = "EDGEGW_TEST_IMAGES"

// The image as it is shipped: read-only, as its own user, without capabilities, on
// networks of its own beside the stand-in. Pumps sell while its uplink is cut, while it
// is killed, while it is updated and while it is rolled back: each sale is fiscalized
// once, in order, to the cent.
func TestImage(t *testing.T) {
	tags := strings.Fields(os.Getenv(imagesVariable))
	if len(tags) != 2 {
		t.Skip("NOT TESTED: " + imagesVariable + " names no two images, so the container is not tried; .ci/run image builds them")
	}
	s := newImageSite(t, tags[0])
	fleet, registers := s.fleet(4)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	defer func() { cancel(); <-sold }()

	s.sells(fleet, 20)
	s.isHealthy()
	s.docker("network", "disconnect", s.uplink, s.gate)
	s.sells(fleet, 40)
	if st := s.status(); st.Totals.Waiting < 20 {
		t.Errorf("the uplink is cut, and %+v", st.Totals)
	}
	s.docker("network", "connect", "--ip", s.at(s.uplinkNet, 20), s.uplink, s.gate)
	s.sells(fleet, 10)
	for range 2 {
		s.docker("kill", "--signal", "KILL", s.gate)
		s.docker("start", s.gate)
		s.sells(fleet, 20)
	}
	for _, tag := range []string{tags[1], tags[0]} { // an update, and back
		s.replace(tag)
		s.sells(fleet, 20)
	}
	settle, done := context.WithTimeout(ctx, 3*time.Minute)
	defer done()
	if err := fleet.StopSelling(settle, simulator.Receipted); err != nil {
		t.Errorf("not settled: %v\n%s", err, s.docker("logs", s.gate))
	}
	sum := fleet.Reconcile()
	if !sum.Balanced() {
		t.Errorf("the devices miss something: %s", sum)
	}
	s.compare(fleet, registers)
	if tt := s.status().Totals; tt.Waiting != 0 || tt.Accepted != tt.Confirmed || tt.Accepted != int64(sum.Ended) {
		t.Errorf("the gateway counts %+v, %d sales were made", tt, sum.Ended)
	}
	t.Logf("%d sales, %d receipts, %v minor units", sum.Ended, sum.Receipts, sum.MoneySold)
}

// What is in the image, and where it refuses to run.
func TestImageIsBare(t *testing.T) {
	tags := strings.Fields(os.Getenv(imagesVariable))
	if len(tags) != 2 {
		t.Skip("NOT TESTED: " + imagesVariable + " names no two images; .ci/run image builds them")
	}
	d := dockerHost{t}
	for _, tag := range tags {
		size, err := strconv.Atoi(d.docker("image", "inspect", "--format", "{{.Size}}", tag))
		if err != nil || size > 23_500_000 {
			t.Errorf("%s has %d bytes, %v", tag, size, err)
		}
		if user := d.docker("image", "inspect", "--format", "{{.Config.User}}", tag); user != "10001:10001" {
			t.Errorf("%s runs as %q", tag, user)
		}
	}
	if a, b := d.docker("run", "--rm", tags[0], "version"), d.docker("run", "--rm", tags[1], "version"); a == b || strings.Contains(a+b, "devel") {
		t.Errorf("two versions: %q, %q", a, b)
	}
	made := d.docker("create", tags[0])
	t.Cleanup(func() { d.docker("rm", "-v", made) })
	c := exec.Command("docker", "export", made)
	text, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && h.Size > 0 {
			files = append(files, h.Name)
		}
	}
	if !slices.Equal(files, []string{"edgegw", "etc/ssl/certs/ca-certificates.crt"}) {
		t.Errorf("the image holds %v", files)
	}
	for _, row := range []struct {
		name, says string
		args       []string
	}{
		{"on tmpfs", "tmpfs", []string{"--read-only", "--tmpfs", "/data:uid=10001,mode=700", tags[0]}},
		{"on the container's own layer", "overlay", []string{"--user", "0", "-e", "EDGEGW_DATA_DIR=/own", tags[0]}},
		{"where it may not write", "permission denied", []string{"--read-only", "--user", "20001:20001", "-v", "edgegw-test-none:/data", tags[0]}},
	} {
		text, err := d.run("", append([]string{"run", "--rm", "--network", "none"}, row.args...)...)
		if err == nil || !strings.Contains(text, row.says) {
			t.Errorf("%s: %v, %s", row.name, err, text)
		}
	}
	d.docker("volume", "rm", "edgegw-test-none")
}

// dockerHost runs the engine's command.
type dockerHost struct{ t *testing.T }

func (d dockerHost) docker(args ...string) string {
	d.t.Helper()
	text, err := d.run("", args...)
	if err != nil {
		d.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return text
}

func (d dockerHost) run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "docker", args...)
	c.Stdin = strings.NewReader(stdin)
	text, err := c.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// imageSite is a container that is the gateway, one that is the stand-in, a network for
// the devices and one for the uplink.
type imageSite struct {
	dockerHost
	name, gate, cloud       string
	forecourt, uplink       string
	forecourtNet, uplinkNet string
	volume, keys            string
}

// hardened is how the compose files run it; not every engine may raise the limit of descriptors.
var hardened = []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--pids-limit", "256", "--memory", "256m"}

func newImageSite(t *testing.T, tag string) *imageSite {
	name := "edgegw-test-" + strings.ToLower(rand.Text()[:8])
	s := &imageSite{dockerHost: dockerHost{t}, name: name, gate: name, cloud: name + "-cloud", forecourt: name + "-forecourt", uplink: name + "-uplink", volume: name, keys: t.TempDir()}
	if err := os.Chmod(s.keys, 0o777); err != nil { // the container's user writes there
		t.Fatal(err)
	}
	s.forecourtNet, s.uplinkNet = s.network(s.forecourt), s.network(s.uplink)
	s.docker("volume", "create", s.volume)
	t.Cleanup(func() { s.docker("volume", "rm", s.volume) })
	cloud := append([]string{"run", "-d", "--name", s.cloud, "--network", s.uplink, "--ip", s.at(s.uplinkNet, 10), "-v", s.keys + ":/keys", "--health-interval", "1s", "--health-retries", "2", "--health-start-period", "0s"}, hardened...)
	cloud = append(cloud, tag, "sandbox", "--listen", s.at(s.uplinkNet, 10)+":8443", "--key-dir", "/keys")
	for _, r := range []string{"reg_1", "reg_2", "reg_3", "reg_4"} {
		cloud = append(cloud, "--register", r+":DE")
	}
	s.docker(cloud...)
	t.Cleanup(func() { s.docker("rm", "-f", "-v", s.cloud) })
	s.await("the stand-in", func() bool {
		_, err := os.Stat(filepath.Join(s.keys, "platform.key"))
		return err == nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := s.run("", "logs", s.gate)
			t.Log(text)
		}
		s.docker("rm", "-f", s.gate)
	})
	s.begin(tag)
	return s
}

// network makes one and gives its first three numbers.
func (s *imageSite) network(name string) string {
	s.t.Helper()
	for third := range 200 {
		net := "10.213." + strconv.Itoa(third)
		if _, err := s.run("", "network", "create", "--internal", "--subnet", net+".0/24", name); err == nil {
			s.t.Cleanup(func() { s.docker("network", "rm", name) })
			return net
		}
	}
	s.t.Fatal("there is no network that is free")
	return ""
}

func (s *imageSite) at(net string, host int) string { return net + "." + strconv.Itoa(host) }

// begin starts the gateway as the compose files do.
func (s *imageSite) begin(tag string) {
	s.t.Helper()
	args := append([]string{"run", "-d", "--name", s.gate, "--network", s.forecourt, "--ip", s.at(s.forecourtNet, 20), "-v", s.volume + ":/data", "-v", s.keys + ":/keys:ro",
		"--stop-timeout", "30", "--health-interval", "2s", "--health-start-period", "1s",
		"-e", "EDGEGW_SITE_NAME=Station 12", "-e", "EDGEGW_MQTT_TLS_HOSTS=edgegw.local," + s.at(s.forecourtNet, 20), "-e", "EDGEGW_OPENFISKAL_BASE_URL=https://" + s.at(s.uplinkNet, 10) + ":8443/v1",
		"-e", "EDGEGW_OPENFISKAL_CA_FILE=/keys/openfiskal-ca.pem", "-e", "EDGEGW_OPENFISKAL_PROXY=none", "-e", "EDGEGW_STORE_MIN_FREE_BYTES=0"}, hardened...)
	s.docker(append(args, tag)...)
	s.docker("network", "connect", "--ip", s.at(s.uplinkNet, 20), s.uplink, s.gate)
	s.await("the gateway", func() bool {
		_, err := s.run("", "exec", s.gate, "/edgegw", "status")
		return err == nil
	})
}

// replace stops the container cleanly and starts another image on its volume.
func (s *imageSite) replace(tag string) {
	s.t.Helper()
	s.docker("stop", s.gate)
	if code := s.docker("inspect", "--format", "{{.State.ExitCode}}", s.gate); code != "0" {
		s.t.Errorf("it ended with %s", code)
	}
	s.docker("rm", s.gate)
	s.begin(tag)
	if ours, image := s.docker("exec", s.gate, "/edgegw", "version"), s.docker("run", "--rm", "--network", "none", tag, "version"); ours != image {
		s.t.Errorf("version %q runs, not %q", ours, image)
	}
}

// fleet adds devices inside the container, and makes their simulators outside.
func (s *imageSite) fleet(n int) (*simulator.Fleet, map[sale.DeviceID]string) {
	s.t.Helper()
	registers := map[sale.DeviceID]string{}
	var configs []simulator.Config
	for i := range n {
		id, register := "pump-0"+strconv.Itoa(i+1), "reg_"+strconv.Itoa(i+1)
		key, err := os.ReadFile(filepath.Join(s.keys, register+".key"))
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := s.run(string(key), "exec", "-i", s.gate, "/edgegw", "device", "add", id, "--register", register, "--key-stdin", "--json")
		var c admin.Credentials
		if err := errors.Join(err, json.Unmarshal([]byte(text), &c)); err != nil {
			s.t.Fatalf("%v\n%s", err, text)
		}
		registers[c.DeviceID] = register
		kind, style := simulator.KindPump, simulator.Steps
		if i%2 == 1 {
			kind, style = simulator.KindKiosk, simulator.Whole
		}
		configs = append(configs, simulator.Config{DeviceID: c.DeviceID, Secret: secret.FromString(c.Password), URL: "mqtts://" + s.at(s.forecourtNet, 20) + ":8883", Kind: kind, Style: style,
			Pace: 200 * time.Millisecond, Fill: 30 * time.Millisecond, Until: simulator.Receipted, Backoff: func(int) time.Duration { return 100 * time.Millisecond }})
	}
	ca := filepath.Join(s.t.TempDir(), "site-ca.pem")
	s.docker("cp", s.gate+":/data/site-ca.pem", ca)
	roots, err := readRoots(ca)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range configs {
		configs[i].Roots = roots
	}
	fleet, err := simulator.NewFleet(configs...)
	if err != nil {
		s.t.Fatal(err)
	}
	return fleet, registers
}

// sells waits until n more sales have ended, each of them acknowledged.
func (s *imageSite) sells(fleet *simulator.Fleet, n int) {
	s.t.Helper()
	ended := func() (n int) {
		for _, d := range fleet.Snapshot() {
			n += d.Counts.Sold + d.Counts.Cancelled - d.Unacknowledged
		}
		return n
	}
	from := ended()
	s.await(strconv.Itoa(n)+" sales", func() bool { return ended() >= from+n })
}

func (s *imageSite) await(what string, done func() bool) {
	s.t.Helper()
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			text, _ := s.run("", "logs", s.gate)
			s.t.Fatalf("%s: there is none\n%s", what, text)
		}
	}
}

func (s *imageSite) status() admin.Status {
	s.t.Helper()
	var st admin.Status
	if err := json.Unmarshal([]byte(s.docker("exec", s.gate, "/edgegw", "status", "--json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// isHealthy waits until the engine says so of the gateway, and the opposite of the
// stand-in, which is no gateway.
func (s *imageSite) isHealthy() {
	s.t.Helper()
	for container, want := range map[string]string{s.gate: "healthy", s.cloud: "unhealthy"} {
		s.await(container+": "+want, func() bool { return s.docker("inspect", "--format", "{{.State.Health.Status}}", container) == want })
	}
}

// compare looks at what the stand-in holds: each sale once, in the order in which its
// device made them, to the cent.
func (s *imageSite) compare(fleet *simulator.Fleet, registers map[sale.DeviceID]string) {
	s.t.Helper()
	pem, err := os.ReadFile(filepath.Join(s.keys, "openfiskal-ca.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + s.at(s.uplinkNet, 10) + ":8443/_sandbox/ledger")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var ledger struct {
		Operations []sandbox.Operation `json:"operations"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&ledger); err != nil {
		s.t.Fatal(err)
	}
	type line struct {
		id, state string
		total     int64
	}
	want, got := map[string][]line{}, map[string][]line{}
	for _, r := range fleet.Sales() {
		l := line{r.SaleID, "completed", r.Amount}
		if r.End == sale.Cancel {
			l = line{r.SaleID, "cancelled", 0}
		}
		if r.End != 0 {
			want[registers[r.Device]] = append(want[registers[r.Device]], l)
		}
	}
	for _, o := range ledger.Operations {
		l := line{o.ExternalID, o.State, o.Total}
		if o.State == "cancelled" {
			l.total = 0
		}
		got[o.Register] = append(got[o.Register], l)
	}
	for register, lines := range want {
		if !slices.Equal(got[register], lines) {
			s.t.Errorf("%s: the stand-in holds %d sales, %d were made:\n%v\n%v", register, len(got[register]), len(lines), got[register], lines)
		}
	}
}
