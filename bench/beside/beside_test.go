package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/bench"
	"edgegw/broker/brokertest"
)

// asBroker is set for a process of this test that is a broker.
const asBroker = "RUN_AS_BESIDE"

func TestMain(m *testing.M) {
	if os.Getenv(asBroker) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestSpread(t *testing.T) {
	if got := spreadOf([]float64{9, 1, 5}); got != (spread{5, 1, 9}) {
		t.Errorf("%+v", got)
	}
	if got := spreadOf([]float64{4, 1, 2, 9}).String(); got != "3.00 [1.00–9.00]" {
		t.Errorf("%v", got)
	}
	// A ratio is of two turns of one round: here the rounds differ tenfold, and it is 2 in each.
	a := Row{Rounds: []Cell{{CPU: 20}, {CPU: 200}, {CPU: 2}}}
	b := Row{Rounds: []Cell{{CPU: 10}, {CPU: 100}, {CPU: 1}}}
	if got := ratio(a, b, cpu); got != (spread{2, 2, 2}) {
		t.Errorf("%+v", got)
	}
}

func TestTheRarestTimesAreOfAllRounds(t *testing.T) {
	c := Case{Peers: []Row{{}}}
	for round := range 5 {
		var cell Cell
		for i := range 200 {
			cell.took = append(cell.took, time.Duration(round*200+i)*time.Millisecond)
		}
		c.Peers[0].Rounds = append(c.Peers[0].Rounds, cell)
	}
	if c.sum(); c.Peers[0].P999 != 999e3 {
		t.Errorf("%v", c.Peers[0].P999)
	}
}

func TestGoals(t *testing.T) {
	row := func(peer string, rate float64) Row {
		return Row{Peer: peer, Rounds: []Cell{{Times: bench.Times{PerSecond: rate, P50: 1000, P99: 2000}}}}
	}
	r := Report{Cases: []Case{
		{Name: "100x1", Disk: "ext4", Peers: []Row{row(raw, 100), row(always, 10), row(product, 76)}},
		{Name: "1x64", Disk: "ext4", Peers: []Row{row(product, 30)}},
	}}
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| rate ÷ raw log ≥ 0.75 | 100 devices × 1 in flight (ext4) | 0.76 [0.76–0.76] | met |",
		"| rate ÷ NATS `always` ≥ 8 | 100 devices × 1 in flight (ext4) | 7.60 [7.60–7.60] | **missed** |",
		"| rate of one device × 64 ÷ 100 devices × 1 ≥ 0.4 | edgegw alone | 0.39 [0.39–0.39] | **missed** |",
		"| edgegw | **on disk**, checked, queued | 76 | 1.00 | 2.00 | 0.00 |  |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "mochi") {
		t.Error("mochi was not measured")
	}
}

func TestJoin(t *testing.T) {
	one := Report{Machine: "a", Versions: map[string]string{"nats": "1"}, Cases: []Case{{Name: "one"}}}
	dir := t.TempDir()
	var files []string
	for i, r := range []Report{one, {Machine: "a", Versions: map[string]string{"mosquitto": "2"}, Cases: []Case{{Name: "open50"}}}, {Machine: "b"}, {Machine: "a", Versions: map[string]string{"nats": "2"}}} {
		text, _ := json.Marshal(r)
		files = append(files, filepath.Join(dir, string(rune('a'+i))))
		if err := os.WriteFile(files[i], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := read(files[:2])
	if err != nil || len(r.Cases) != 2 || r.Versions["nats"] != "1" || r.Versions["mosquitto"] != "2" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := read([]string{files[0], files[2]}); err == nil {
		t.Error("two machines are one table")
	}
	if _, err := read([]string{files[0], files[3]}); err == nil {
		t.Error("two versions are one table")
	}
}

func TestConfigurations(t *testing.T) {
	o := options{edgegw: "edgegw", mosquitto: "mosquitto", nats: "nats-server"}
	for _, p := range allPeers {
		var texts []string
		for range 2 { // a peer is started for each turn
			dir := t.TempDir()
			args, err := p.command(o, dir, 1883)
			if err != nil {
				t.Fatalf("%s: %v", p.key, err)
			}
			text := strings.Join(args, " ")
			for _, name := range []string{"mosquitto.conf", "nats.conf"} {
				file, _ := os.ReadFile(filepath.Join(dir, name))
				text += "\n" + string(file)
			}
			texts = append(texts, strings.ReplaceAll(text, dir, "DIR"))
		}
		has := func(what string) bool {
			return strings.Contains(texts[0], what) && strings.Count(texts[1], what) == strings.Count(texts[0], what)
		}
		if !has("1883") || strings.Contains(texts[0], "0.0.0.0") {
			t.Errorf("%s listens elsewhere: %s", p.key, texts[0])
		}
		if got := has("autosave_on_changes true\nautosave_interval 1\n"); got != (p.key == "mosquitto-persist") {
			t.Errorf("%s: saved on each change: %v", p.key, got)
		}
		if got := has("sync_interval: always"); got != (p.key == always) {
			t.Errorf("%s: synced always: %v: %s", p.key, got, texts[0])
		}
	}
}

func TestPick(t *testing.T) {
	got, err := pick(allCases, "1x64,100x1")
	if err != nil || !slices.Equal(names(got), []string{"100x1", "1x64"}) {
		t.Errorf("%v, %v", names(got), err)
	}
	if _, err := pick(allCases, "100x2"); err == nil || !strings.Contains(err.Error(), `"100x2"`) {
		t.Errorf("%v", err)
	}
}

func TestSectors(t *testing.T) {
	if n, err := sectors(" 1 2 3 4 5 6 2048 8 9 10 11\n"); err != nil || n != 1<<20 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := sectors("1 2 3"); err == nil {
		t.Error("that is no statistic")
	}
}

// The names of sales lie across the pieces in which a file is read, and are there twice.
func TestSalesAreFoundOnce(t *testing.T) {
	const name = `"sale_id":"019ac2f0-0000-7000-8000-00000000000`
	var text []byte
	for _, digit := range "12345671" {
		text = append(append(text, name...), byte(digit), '"')
		text = append(text, bytes.Repeat([]byte("x"), 1<<20-70)...)
	}
	seen := map[string]bool{}
	if err := salesOf(bytes.NewReader(text), seen); err != nil || len(seen) != 7 {
		t.Errorf("%d, %v", len(seen), err)
	}
}

func TestTheProofFails(t *testing.T) {
	one := Proof{Acknowledged: 500, Found: 499}
	if one.judge(peerOf(raw), 500) == nil {
		t.Error("a sale that is not on disk is no matter")
	}
	if err := one.judge(peerOf(mochi), 500); err != nil {
		t.Errorf("who promises nothing: %v", err)
	}
	if one.judge(peerOf(mochi), 501) == nil {
		t.Error("a sale that was not acknowledged is no matter")
	}
}

// The raw log, in a process of its own, under both loads, and killed.
func TestBesideARawLog(t *testing.T) {
	t.Setenv(asBroker, "1")
	ctx, dir := t.Context(), t.TempDir()
	self := peerOf(raw)
	s, err := start(ctx, options{}, self, dir, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop(syscall.SIGKILL)
	for _, c := range []load{{key: "closed", devices: 20, window: 4}, {key: "open", devices: 10, rate: 200}} {
		cell, err := s.measure(ctx, c, 300*time.Millisecond, false)
		if err != nil || cell.P50 <= 0 || c.rate > 0 && cell.Count != 60 {
			t.Errorf("%s: %+v, %v", c.key, cell, err)
		}
	}
	m := meter{dir: dir, peers: []peer{self}}
	found, err := m.prove(ctx, load{devices: 5, window: 1})
	if want := 5 * provedSales; err != nil || len(found) != 1 || found[0].Found != want || found[0].Acknowledged != want {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := start(ctx, options{mosquitto: "/nonexistent"}, peerOf("mosquitto"), dir, 1); err == nil {
		t.Error("a peer that is not there was started")
	}
}

// A broker that answers nothing for a while: those that were due meanwhile have waited.
func TestAnOpenLoopCountsFromWhenASaleWasDue(t *testing.T) {
	const stall = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		stalling(conn, stall)
	}()
	lo := &bench.Load{Dial: func(ctx context.Context) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }}
	defer lo.Close()
	if err := lo.Connect(t.Context(), loginList{{ID: "p", Secret: "any"}}); err != nil {
		t.Fatal(err)
	}
	took, err := lo.Open(t.Context(), 1, 100, 400*time.Millisecond)
	if err != nil || len(took) != 40 {
		t.Fatalf("%d, %v", len(took), err)
	}
	slices.Sort(took)
	// Twenty are due while it stalls: the first has waited for all of it, the last for nearly none.
	if took[39] < stall || took[30] < stall/2 {
		t.Errorf("the longest %v, the tenth longest %v", took[39], took[30])
	}
	if _, err := lo.Open(t.Context(), 1, 2000, time.Second); err == nil {
		t.Error("more than can be in flight is no matter")
	}
}

// stalling lets one device in, takes a while to answer its first PUBLISH, and says nothing
// after 40.
func stalling(conn net.Conn, stall time.Duration) {
	r := bufio.NewReader(conn)
	for n := 0; ; {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		answer := []byte{0x20, 2, 0, 0}
		if first>>4 == brokertest.PUBLISH {
			if n++; n == 1 {
				<-time.After(stall)
			}
			at := 2 + int(binary.BigEndian.Uint16(body))
			answer = append([]byte{0x40, 2}, body[at:at+2]...)
		}
		if n > 40 {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
