package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

// killsVariable names how often TestKilledAtRandomMoments kills: 50, or 10,000
// for the heavy proof.
const killsVariable = "EDGEGW_TEST_KILLS"

// A real gateway process is killed at random moments while pumps and chargers
// sell over TLS and the stand-in answers over HTTPS, and ignores idempotency:
// the worst case. After the last kill everything settles, and each sale that
// was acknowledged is fiscalized exactly once, in order, to the cent.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 5
	}
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	flags, service := uplink(t, sandbox.Options{Idempotency: sandbox.Ignore})
	b := newBox(t, append(flags, "--set", "openfiskal.requests_per_second=2000", "--set", "mqtt.messages_per_second=1000")...)
	b.fixPort()
	fleet, registers := b.fleet(service, 8)
	service.SetLatency(5 * time.Millisecond) // so that a kill meets requests under way

	// How long this machine takes to a gateway that answers, with all else it does:
	// kills must come before and after that.
	began := time.Now()
	b.start()()
	lives := 400 + int(2*time.Since(began).Milliseconds())

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	chance := rand.New(rand.NewPCG(1, uint64(kills)))
	var logs bytes.Buffer
	for range kills {
		logs.Reset()
		c := command(ctx, append(append([]string{}, b.flags...), "run")...)
		c.Stderr = &logs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		pause(time.Duration(20+chance.IntN(lives)) * time.Millisecond)
		_ = c.Process.Kill()
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != -1 {
			t.Fatalf("the gateway ended by itself: %v\n%s", err, logs.String())
		}
	}
	sum := b.settles(ctx, fleet, registers, service)
	cancel()
	<-sold
	t.Logf("%d kills, %d sales, %d receipts, %v minor units, %d requests at OpenFiskal", kills, sum.Ended, sum.Receipts, sum.MoneySold, len(service.Requests()))
	if sum.Ended < kills {
		t.Errorf("only %d sales for %d kills: this proves little", sum.Ended, kills)
	}
}

// settles runs a gateway until everything that was sold is settled.
func (b *box) settles(ctx context.Context, fleet *simulator.Fleet, registers map[sale.DeviceID]sale.RegisterID, service *sandbox.Service) simulator.Summary {
	b.t.Helper()
	return b.settled(ctx, fleet, registers, service, b.start())
}

// settled lets the gateway that runs settle everything that was sold, ends it, and
// compares what the devices, the gateway and the stand-in hold: each sale once, in
// order, to the cent.
func (b *box) settled(ctx context.Context, fleet *simulator.Fleet, registers map[sale.DeviceID]sale.RegisterID, service *sandbox.Service, stop func()) simulator.Summary {
	t := b.t
	t.Helper()
	settle, done := context.WithTimeout(ctx, 3*time.Minute)
	defer done()
	if err := fleet.StopSelling(settle, simulator.Receipted); err != nil {
		t.Errorf("not settled: %v", err)
	}
	var st admin.Status
	await(t, "the last PUBACK of a receipt to be noted", func() bool {
		st = decode[admin.Status](t, b.edgegw("status", "--json"))
		return st.Totals.Receipts == 0
	})
	stop()
	sum := fleet.Reconcile()
	if !sum.Balanced() {
		t.Errorf("the devices miss something: %s", sum)
	}
	var expect []sandbox.Expect
	for _, r := range fleet.Sales() {
		if r.End != 0 {
			expect = append(expect, sandbox.Expect{Register: string(registers[r.Device]), ExternalID: r.SaleID, Total: r.Amount, Cancelled: r.End == sale.Cancel})
		}
	}
	if err := service.Check(expect); err != nil {
		t.Error(err)
	}
	if err := service.CheckFrozen(); err != nil {
		t.Error(err)
	}
	if tt := st.Totals; tt.Waiting != 0 || tt.Accepted != tt.Confirmed || tt.Accepted != int64(len(expect)) {
		t.Errorf("the gateway counts %+v, %d sales were made", tt, len(expect))
	}
	return sum
}

// fleet adds devices to a box where no gateway runs and makes their simulators.
func (b *box) fleet(service *sandbox.Service, n int, tune ...func(*simulator.Config)) (*simulator.Fleet, map[sale.DeviceID]sale.RegisterID) {
	b.t.Helper()
	registers := map[sale.DeviceID]sale.RegisterID{}
	var configs []simulator.Config
	for i := range n {
		id := sale.DeviceID(fmt.Sprintf("pump-%02d", i+1))
		register, err := service.AddRegister("", "DE")
		if err != nil {
			b.t.Fatal(err)
		}
		file := filepath.Join(b.t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(register.Key+"\n"), 0o600); err != nil {
			b.t.Fatal(err)
		}
		o := b.edgegw("device", "add", string(id), "--register", register.ID, "--key-file", file, "--json")
		o.want(b.t, 0)
		c := decode[admin.Credentials](b.t, o)
		registers[id] = sale.RegisterID(register.ID)
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			b.t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		kind, style := simulator.KindPump, simulator.Steps
		switch i % 4 {
		case 1:
			kind = simulator.KindCharger
		case 2:
			kind, style = simulator.KindKiosk, simulator.Whole
		}
		one := simulator.Config{DeviceID: id, Secret: secret.FromString(c.Password), URL: c.MQTTURL, Roots: roots, Kind: kind, Style: style,
			Pace: 60 * time.Millisecond, Fill: 30 * time.Millisecond, Until: simulator.Receipted, Linger: true,
			Backoff: func(int) time.Duration { return time.Duration(10+rand.IntN(40)) * time.Millisecond }}
		for _, f := range tune {
			f(&one)
		}
		configs = append(configs, one)
	}
	fleet, err := simulator.NewFleet(configs...)
	if err != nil {
		b.t.Fatal(err)
	}
	return fleet, registers
}

// freePort finds an address that is free now, for a gateway that must come back
// to it.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pause lets a real process live for a while: which moment it is killed at is
// the point of the test, and nothing is asserted of it.
func pause(d time.Duration) { <-time.After(d) }
