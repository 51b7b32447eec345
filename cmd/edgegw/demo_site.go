package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

// demo is a whole site on one machine: the stand-in for OpenFiskal behind
// HTTPS, a gateway as in production, and devices that speak MQTT over TLS.
type demo struct {
	dir, logFile string
	plain        bool

	log       *os.File
	cloud     *sandbox.Service
	server    *sandbox.Server
	gate      *gateway.Gateway
	fleet     *simulator.Fleet
	registers map[sale.DeviceID]sale.RegisterID

	life  sync.WaitGroup
	ended chan struct{} // closed when the gateway has ended
	died  error         // its cause; read it after ended

	mu     sync.Mutex
	notice []string // what the devices found, for the next frame
}

// build opens everything; nothing sells yet.
func (c *demoCmd) build(a *app, dir string, plan script) (_ *demo, err error) {
	d := &demo{dir: dir, plain: c.Plain, logFile: filepath.Join(dir, "gateway.log"),
		registers: map[sale.DeviceID]sale.RegisterID{}, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.log, err = os.OpenFile(d.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return d, fmt.Errorf("make the gateway's log: %w", err)
	}
	d.cloud = sandbox.New(sandbox.Options{})
	if c.tamper != nil {
		c.tamper(d.cloud)
	}
	if d.server, err = d.cloud.ListenTLS("127.0.0.1:0"); err != nil {
		return d, fmt.Errorf("start the stand-in for OpenFiskal: %w", err)
	}
	conf, err := d.config(a, c.Devices)
	if err != nil {
		return d, err
	}
	d.gate, err = gateway.New(a.ctx, conf, gateway.Options{Log: slog.New(slog.NewTextHandler(d.log, nil)), Version: versionText(), Rehearse: rehearse})
	if err != nil {
		return d, err
	}
	devices, err := d.addDevices(a.ctx, c.Devices, plan.tempo())
	if err != nil {
		return d, err
	}
	d.fleet, err = simulator.NewFleet(devices...)
	return d, err
}

func (d *demo) config(a *app, devices int) (config.Config, error) {
	ca := filepath.Join(d.dir, "openfiskal-ca.pem")
	if err := os.WriteFile(ca, d.server.CAPEM(), 0o600); err != nil {
		return config.Config{}, fmt.Errorf("write the stand-in's CA: %w", err)
	}
	flags := map[string]string{
		"site.name": "demo", "data_dir": d.dir, "allow_volatile_data": "true", "store.min_free_bytes": "0",
		"mqtt.tls_listen": "127.0.0.1:0", "http.listen": "127.0.0.1:0",
		"openfiskal.requests_per_second": strconv.Itoa(max(100, 20*devices)), // a big site has a bigger quota
		"openfiskal.base_url":            d.server.URL(), "openfiskal.ca_file": ca, "openfiskal.proxy": config.ProxyNone,
	}
	given, err := globals{Set: a.globals.Set}.flags()
	if err != nil {
		return config.Config{}, err
	}
	maps.Copy(flags, given)
	return config.Load(config.Options{Flags: flags, Search: []string{}})
}

// currency is what all devices of the demo sell in.
const currency = "EUR"

// addDevices makes two pumps for each charger, each on a register of its own.
func (d *demo) addDevices(ctx context.Context, n int, tempo time.Duration) ([]simulator.Config, error) {
	var configs []simulator.Config
	made := map[simulator.Kind]int{}
	for i := range n {
		kind := simulator.KindPump
		if i%3 == 2 {
			kind = simulator.KindCharger
		}
		made[kind]++
		id := sale.DeviceID(fmt.Sprintf("%s-%d", kind, made[kind]))
		register, err := d.cloud.AddRegister("reg_"+fmt.Sprintf("%s_%d", kind, made[kind]), "DE")
		if err != nil {
			return nil, err
		}
		creds, err := d.gate.AddDevice(ctx, admin.AddDevice{DeviceID: id, RegisterID: sale.RegisterID(register.ID), Kind: string(kind),
			Key: secret.FromString(register.Key)}, "demo")
		if err != nil {
			return nil, fmt.Errorf("add %s: %w", id, err)
		}
		d.registers[id] = sale.RegisterID(register.ID)
		configs = append(configs, simulator.Config{DeviceID: id, Secret: secret.FromString(creds.Password), URL: creds.MQTTURL, Kind: kind, Currency: currency,
			Pace: tempo, Fill: 2 * tempo, Until: simulator.Receipted, OnNotice: d.hear,
			Backoff: simulator.FullJitter(100*time.Millisecond, 2*time.Second)})
	}
	roots, err := readRoots(d.gate.CAFile())
	for i := range configs {
		configs[i].Roots = roots
	}
	return configs, err
}

// hear keeps what of a device's feed belongs into the list of events.
func (d *demo) hear(n simulator.Notice) {
	switch n.What {
	case simulator.WentOffline, simulator.KeptBack, simulator.SiteSays, simulator.Identify, simulator.Unreadable, simulator.ItsFault:
	default:
		return
	}
	if n.What == simulator.SiteSays && n.Text == "yes" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notice = append(d.notice, fmt.Sprintf("%s: %s %s", n.Device, n.What, n.Text))
}

func (d *demo) heard() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.notice
	d.notice = nil
	return all
}

// start lets gateway and devices live until ctx ends; d.life waits for both.
func (d *demo) start(ctx context.Context) {
	d.life.Go(func() {
		d.died = d.gate.Run(ctx)
		close(d.ended)
	})
	d.life.Go(func() { _ = d.fleet.Run(ctx) }) // what was not done stands in the ledgers
}

// cause is why the gateway ended by itself.
func (d *demo) cause() error {
	if d.died != nil {
		return fmt.Errorf("the gateway ended: %w", d.died)
	}
	return errors.New("the gateway ended without a cause")
}

func (d *demo) stopSelling(ctx context.Context) {
	_ = d.fleet.StopSelling(ctx, simulator.Receipted) // the same
}

// close lets go of everything, also where build got half-way.
func (d *demo) close() error {
	var errs []error
	if d.gate != nil {
		errs = append(errs, d.gate.Close())
	}
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	return errors.Join(errs...)
}
