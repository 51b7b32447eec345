package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
)

type simulateCmd struct {
	URL         string        `placeholder:"URL" help:"The gateway: mqtts://host:8883, or mqtt:// for a plain listener (default: from --credentials)."`
	CAFile      string        `placeholder:"FILE" help:"CA of the site (default: from --credentials, else the system's)."`
	Credentials string        `placeholder:"FILE" help:"What edgegw device add --json printed, for one device or several."`
	Device      []string      `placeholder:"ID:FILE" help:"A device and the file with its password; may stand often."`
	Devices     int           `placeholder:"N" help:"Use only the first N of them."`
	Kind        string        `default:"auto" enum:"auto,pump,charger,kiosk" help:"What they sell; auto goes by the device's name, else pump."`
	Currency    string        `default:"EUR" help:"ISO 4217 code."`
	Sales       int           `placeholder:"N" help:"End each device after N sales."`
	Pace        time.Duration `default:"5s" help:"Mean time between two sales of a device."`
	Fill        time.Duration `default:"5s" help:"Mean length of a sale."`
	For         time.Duration `placeholder:"TIME" help:"End after that time (default: with Ctrl-C, or after --sales)."`
	Settle      time.Duration `default:"60s" help:"How long to wait for the last receipts, once the selling is over."`
	Quiet       bool          `help:"Print the summary only."`
}

// login is one device as edgegw device add --json prints it; other fields of
// that answer do not matter here.
type login struct {
	DeviceID sale.DeviceID `json:"device_id"`
	Password string        `json:"password"`
	MQTTURL  string        `json:"mqtt_url"`
	CAFile   string        `json:"ca_file"`
}

// Run sells until the end and compares what was sold with what came back.
func (c *simulateCmd) Run(a *app) error {
	logins, err := c.logins()
	if err != nil {
		return err
	}
	var configs []simulator.Config
	for _, l := range logins {
		one, err := c.config(a, l)
		if err != nil {
			return err
		}
		configs = append(configs, one)
	}
	fleet, err := simulator.NewFleet(configs...)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	sell(a.ctx, a.stop, fleet, c.For, c.Settle)
	summary := fleet.Reconcile()
	fmt.Fprint(a.out, summary)
	if summary.Ended == 0 {
		return nothing(fleet)
	}
	if !summary.Balanced() {
		return errors.New("what was sold and what came back differ; the gateway's side: edgegw status, edgegw sales")
	}
	return nil
}

// nothing explains a run without a sale: nothing lost, and nothing shown.
func nothing(fleet *simulator.Fleet) error {
	for _, s := range fleet.Snapshot() {
		switch {
		case s.Problem != "":
			return fmt.Errorf("no device sold anything; %s: %s; check --url, --ca-file and the password", s.Device, s.Problem)
		case s.Accept == "no":
			return fmt.Errorf("no device sold anything; the site takes no sales; see: edgegw status")
		}
	}
	return errors.New("no device sold anything; give it more time with --for")
}

// sell runs the fleet until its sales are made, limit is over or ctx ends, and
// then waits at most settle for the receipts.
func sell(ctx context.Context, stop func(), fleet *simulator.Fleet, limit, settle time.Duration) {
	selling, cancel := ctx, context.CancelFunc(func() {})
	if limit > 0 {
		selling, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	living, kill := context.WithCancel(context.WithoutCancel(ctx))
	ended, sold := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = fleet.Run(living) // what is not done stands in the ledgers
	}()
	go func() {
		defer close(sold)
		_ = fleet.SoldOut(living) // its error is the end of living
	}()
	defer func() { kill(); <-ended; <-sold }()
	select {
	case <-ended:
		return
	case <-sold:
	case <-selling.Done():
	}
	settling, enough := context.WithTimeout(living, settle)
	defer enough()
	if ctx.Err() == nil {
		defer context.AfterFunc(ctx, enough)() // Ctrl-C ends the waiting, and the summary still comes
	}
	defer context.AfterFunc(ctx, stop)()                 // a second one does not wait
	_ = fleet.StopSelling(settling, simulator.Receipted) // the same
}

func (c *simulateCmd) config(a *app, l login) (simulator.Config, error) {
	s := simulator.Config{DeviceID: l.DeviceID, Secret: secret.FromString(l.Password), URL: cmp.Or(c.URL, l.MQTTURL),
		Kind: c.kind(l.DeviceID), Currency: c.Currency, Sales: c.Sales, Pace: c.Pace, Fill: c.Fill, Until: simulator.Receipted}
	if s.URL == "" {
		return s, usage("where is the gateway? Give --url mqtts://host:8883")
	}
	if _, known := sale.Exponent(c.Currency); !known {
		return s, usage("--currency %s is no ISO 4217 code; give one such as EUR", c.Currency)
	}
	if !c.Quiet {
		s.OnNotice = func(n simulator.Notice) { fmt.Fprintln(a.out, clean(n.String())) }
	}
	if ca := cmp.Or(c.CAFile, l.CAFile); ca != "" && strings.HasPrefix(s.URL, "mqtts:") {
		roots, err := readRoots(ca)
		if err != nil {
			return s, err
		}
		s.Roots = roots
	}
	return s, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", unreadable(path, err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA: %s holds no PEM certificate", path)
	}
	return roots, nil
}

func (c *simulateCmd) kind(id sale.DeviceID) simulator.Kind {
	if c.Kind != "auto" {
		return simulator.Kind(c.Kind)
	}
	for _, k := range []simulator.Kind{simulator.KindCharger, simulator.KindKiosk} {
		if strings.HasPrefix(string(id), string(k)) {
			return k
		}
	}
	return simulator.KindPump
}

// logins collects the devices of --credentials and --device.
func (c *simulateCmd) logins() ([]login, error) {
	var all []login
	if c.Credentials != "" {
		f, err := os.Open(c.Credentials)
		if err != nil {
			return nil, fmt.Errorf("read --credentials: %w", unreadable(c.Credentials, err))
		}
		all, err = readLogins(f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("read --credentials %s: %w", c.Credentials, err)
		}
	}
	for _, d := range c.Device {
		id, file, ok := strings.Cut(d, ":")
		if !ok {
			return nil, usage("--device needs ID:FILE, the file holding the device's password")
		}
		password, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the password of %s: %w", clean(id), unreadable(file, err))
		}
		word := strings.TrimRight(string(password), "\r\n")
		if word == "" {
			return nil, fmt.Errorf("read the password of %s: %s is empty; it must hold what edgegw device add printed", clean(id), clean(file))
		}
		all = append(all, login{DeviceID: sale.DeviceID(id), Password: word})
	}
	switch {
	case len(all) == 0:
		return nil, usage("which devices? Give --credentials FILE or --device ID:FILE; edgegw device add --json makes one")
	case c.Devices < 0 || c.Devices > len(all):
		return nil, usage("--devices %d: there are credentials for %d", c.Devices, len(all))
	case c.Devices > 0:
		all = all[:c.Devices]
	}
	return all, nil
}

// readLogins reads objects one after the other, as repeated calls of device add
// leave them in a file, or one array of them. Its errors quote nothing: the
// file holds passwords.
func readLogins(r io.Reader) ([]login, error) {
	var all []login
	d := json.NewDecoder(r)
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, errors.New("that is not what edgegw device add --json prints")
		}
		var several []login
		if json.Unmarshal(raw, &several) != nil {
			var one login
			if json.Unmarshal(raw, &one) != nil || one.DeviceID == "" || one.Password == "" {
				return nil, errors.New("an entry lacks device_id or password")
			}
			several = []login{one}
		}
		all = append(all, several...)
	}
}
