package fleet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

var (
	limits  = []Limit{PerKey, Shared, Shed}
	clients = []Client{Product, NoJitter, Naive}
)

// simulate runs a scenario on simulated time.
func simulate(t *testing.T, sc Scenario) (r Result) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { r = Run(sc) })
	t.Logf("%s, %s: %d requests taken, %d refused; %d at most in a second", sc.Limit, sc.Client, r.after(taken), r.after(refused), r.peak())
	return r
}

// A small fleet, of which everything can be asked: nothing is lost, nothing is
// out of order, and what the service took is what the sites were told.
func TestASmallFleet(t *testing.T) {
	peaks := map[Client]int32{}
	for _, limit := range limits {
		for _, client := range clients {
			t.Run(string(limit)+", "+string(client), func(t *testing.T) {
				r := simulate(t, Scenario{Sites: 100, Registers: 4, Every: 10 * time.Minute, Outage: time.Hour, Lead: 3 * time.Minute, After: 20 * time.Minute, Limit: limit, PerSecond: 500, Client: client, Seed: 7})
				if r.Disorder != 0 {
					t.Errorf("%d calls out of order", r.Disorder)
				}
				if r.Sold < 100*4*6 || r.Sold != r.Confirmed+r.LeftOver {
					t.Errorf("%d sold, %d confirmed, %d wait", r.Sold, r.Confirmed, r.LeftOver)
				}
				if r.LeftOver > 20 || len(r.Drained) != r.Sites {
					t.Errorf("%d sales wait twenty minutes after the outage; %d of %d sites are done", r.LeftOver, len(r.Drained), r.Sites)
				}
				if calls, n := 3*r.Confirmed, r.after(taken); n < calls || n > calls+calls/10+60 {
					t.Errorf("the service took %d requests for %d calls", n, calls)
				}
				if limit == PerKey {
					peaks[client] = r.peak()
				}
			})
		}
	}
	if peaks[Product] == 0 || 2*peaks[Product] > peaks[NoJitter] {
		t.Errorf("jitter does not spread the return of the sites: %d requests in the fullest second, %d without", peaks[Product], peaks[NoJitter])
	}
}

// Sites that share a limit find their share of it: they do not run against it
// again and again.
func TestAFleetBehindOneLimit(t *testing.T) {
	r := simulate(t, Scenario{Sites: 100, Registers: 4, Every: 10 * time.Minute, Outage: time.Hour, Lead: 3 * time.Minute, After: 30 * time.Minute, Limit: Shared, PerSecond: 10, Client: Product, Seed: 7})
	if part := float64(r.after(refused)) / float64(r.after(taken)); part > 1 {
		t.Errorf("%.2f requests were refused for each that was taken", part)
	}
	if len(r.Drained) != r.Sites || r.last() > 1.4*15*60 {
		t.Errorf("%d sites are done, the last after %s: the limit gives way to all in 15 min", len(r.Drained), length(r.last()))
	}
}

// A service that sheds what it cannot do is not kept busy with look-ups of what it
// has shed.
func TestAFleetBehindAServiceThatSheds(t *testing.T) {
	r := simulate(t, Scenario{Sites: 100, Registers: 8, Every: 30 * time.Minute, Outage: 2 * time.Hour, Lead: 3 * time.Minute, After: 60 * time.Minute, Limit: Shed, PerSecond: 10, Client: Product, Seed: 7})
	if len(r.Drained) != r.Sites || r.last() > 2*18.5*60 {
		t.Errorf("%d of %d sites are done, the last after %s: the service has worked for all in 18.5 min", len(r.Drained), r.Sites, length(r.last()))
	}
	if r.Disorder != 0 || r.Sold != r.Confirmed+r.LeftOver {
		t.Errorf("%d sold, %d confirmed, %d wait, %d out of order", r.Sold, r.Confirmed, r.LeftOver, r.Disorder)
	}
}

// The fleet of docs/fleet.md: EDGEGW_FLEET names the folder for pictures, table
// and figures.
func TestTheFleet(t *testing.T) {
	dir := os.Getenv("EDGEGW_FLEET")
	if dir == "" {
		t.Skip("a quarter of an hour: EDGEGW_FLEET=DIR says where pictures and figures go")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // not after minutes
		t.Fatal(err)
	}
	names := map[Limit]string{PerKey: "fleet-each-key.svg", Shared: "fleet-one-limit.svg", Shed: "fleet-sheds.svg"}
	var all []Result
	for _, limit := range limits {
		var of []Result
		for _, client := range clients {
			of = append(of, simulate(t, Scenario{Sites: 5000, Registers: 8, Every: 30 * time.Minute, Outage: 2 * time.Hour, Lead: 3 * time.Minute, After: 40 * time.Minute, Limit: limit, PerSecond: 500, Client: client, Seed: 1}))
		}
		write(t, filepath.Join(dir, names[limit]), []byte(pictureOf(limit, of)))
		all = append(all, of...)
	}
	write(t, filepath.Join(dir, "fleet.md"), []byte(table(all)))
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "fleet.json"), text)
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
