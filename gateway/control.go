package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/siteca"
	"edgegw/store"
)

// ErrRunning is given where another gateway, or a command, has the data
// directory.
var ErrRunning = errors.New("another edgegw is using it: stop that one, or give this one another data_dir")

// control is what people can do to a site, whether its gateway runs or not. It
// is an admin.Backend.
type control struct {
	config     config.Config
	options    Options
	log        *slog.Logger
	since      time.Time
	db         *store.DB
	ring       *devicekeys.Ring
	kek        devicekeys.Source
	kekProblem error
	authority  *siteca.Authority
	fiscal     *fiscal.Client
	relay      *relay.Relay // nil without a gateway
	running    *Gateway     // nil without one
	tlsAddr    net.Addr
	plainAddr  net.Addr

	closing sync.Once
	undos   []func() error
	closed  error
}

var _ admin.Backend = (*control)(nil)

// OpenOffline opens the data for a command where no gateway runs. ErrRunning
// if one does.
func OpenOffline(ctx context.Context, c config.Config, o Options) (admin.Backend, error) {
	k, err := open(ctx, c, o)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// undo notes how to take back what was just opened.
func (k *control) undo(f func() error) { k.undos = append(k.undos, f) }

// Close lets go of everything, in the reverse order of opening. Safe twice.
func (k *control) Close() error {
	k.closing.Do(func() {
		var errs []error
		for i := len(k.undos) - 1; i >= 0; i-- {
			errs = append(errs, k.undos[i]())
		}
		k.closed = errors.Join(errs...)
	})
	return k.closed
}

// CAFile is the site CA's certificate, which devices trust.
func (k *control) CAFile() string { return k.authority.CAFile() }

// MQTTURL is the address devices of this machine can use; "" without a gateway
// and without a port in the configuration.
func (k *control) MQTTURL() string {
	if urls := k.mqttURLs(); len(urls) > 0 {
		return urls[0]
	}
	return ""
}

func (k *control) mqttURLs() (urls []string) {
	add := func(scheme string, bound net.Addr, configured string) {
		addr := configured
		if bound != nil {
			addr = bound.String()
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		urls = append(urls, scheme+"://"+net.JoinHostPort(host, port))
	}
	add("mqtts", k.tlsAddr, k.config.MQTT.TLSListen)
	add("mqtt", k.plainAddr, k.config.MQTT.PlainListen)
	return urls
}

// AddDevice makes a device. A key that came along is checked first: one that
// OpenFiskal refuses stores nothing (ruling 17).
func (k *control) AddDevice(ctx context.Context, a admin.AddDevice, by string) (admin.Credentials, error) {
	if _, err := k.ring.Get(a.DeviceID); err == nil {
		return admin.Credentials{}, &admin.Refusal{Code: "exists", Message: fmt.Sprintf("there is a device %s already", a.DeviceID),
			Remedy: "Choose another id, or remove it first: edgegw device remove " + string(a.DeviceID)}
	}
	var result admin.KeyResult
	state := sale.KeyStateUnverified
	if !a.Key.Empty() {
		var err error
		if state, result.Notice, err = k.checkKey(ctx, a.RegisterID, a.Key, a.Unverified); err != nil {
			return admin.Credentials{}, err
		}
	}
	password, err := k.ring.Add(ctx, devicekeys.NewDevice{ID: a.DeviceID, Register: a.RegisterID, Kind: a.Kind, Label: a.Label}, by)
	if err != nil {
		return admin.Credentials{}, refusal(err)
	}
	result.Key = "missing"
	if !a.Key.Empty() {
		if result, err = k.storeKey(ctx, a.RegisterID, a.Key, state, result.Notice, by); err != nil {
			// The secret is shown once: a device without it would be no use.
			return admin.Credentials{}, errors.Join(err, k.ring.Remove(ctx, a.DeviceID, by))
		}
	} else if info, err := k.ring.KeyInfo(a.RegisterID); err == nil {
		result.Key = string(info.State)
	} else {
		result.Notice = "This register has no key yet: sales are taken and wait. Give it one: edgegw key set " + string(a.DeviceID) + " --key-stdin"
	}
	return admin.Credentials{DeviceID: a.DeviceID, Username: string(a.DeviceID), Password: string(password.Reveal()), MQTTURL: k.MQTTURL(),
		CAFile: k.CAFile(), Key: result.Key, Notice: result.Notice}, nil
}

// SetKey gives a device's register a new key.
func (k *control) SetKey(ctx context.Context, s admin.SetKey, by string) (admin.KeyResult, error) {
	d, err := k.ring.Get(s.DeviceID)
	if err != nil {
		return admin.KeyResult{}, unknown(s.DeviceID)
	}
	state, notice, err := k.checkKey(ctx, d.Register, s.Key, s.Unverified)
	if err != nil {
		return admin.KeyResult{}, err
	}
	return k.storeKey(ctx, d.Register, s.Key, state, notice, by)
}

func (k *control) storeKey(ctx context.Context, r sale.RegisterID, key secret.Text, s sale.KeyState, notice, by string) (admin.KeyResult, error) {
	if _, err := k.ring.SetKey(ctx, r, key, s, by); err != nil {
		return admin.KeyResult{}, refusal(err)
	}
	if k.relay != nil {
		k.relay.Wake(r)
	}
	return admin.KeyResult{RegisterID: r, Key: string(s), Notice: notice}, nil
}

// checkKey asks OpenFiskal, read-only, whether the key opens the register.
func (k *control) checkKey(ctx context.Context, r sale.RegisterID, key secret.Text, unverified bool) (sale.KeyState, string, error) {
	if err := devicekeys.CheckRegisterKey(key); err != nil {
		return "", "", refusal(err)
	}
	err := k.fiscal.Probe(ctx, r, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return sale.KeyStateActive, "", nil
	case !errors.As(err, &p):
		return "", "", err
	case unverified:
		return sale.KeyStateUnverified, "OpenFiskal did not confirm this key (" + p.Error() + "); it was stored because you said so.", nil
	case p.Class == sale.KeyRefused || p.Class == sale.RegisterUnknown || p.Class == sale.Poison:
		return "", "", &admin.Refusal{Code: "key_refused", Message: fmt.Sprintf("OpenFiskal refuses this key for register %s: %s", r, p.Error()),
			Remedy: "Nothing was stored. Check the register id and the key, or store it all the same with --unverified"}
	}
	return sale.KeyStateUnverified, "OpenFiskal could not be asked (" + p.Error() + "): the key is stored as unverified.", nil
}

// RemoveDevice takes a device from the site and ends its connection at once.
func (k *control) RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	if err := k.ring.Remove(ctx, id, by); err != nil {
		return err
	}
	if k.running != nil {
		k.running.broker.Disconnect(id)
	}
	return nil
}

func unknown(id sale.DeviceID) error {
	return &admin.Refusal{Code: "not_found", Message: fmt.Sprintf("there is no device %q", string(id)), Remedy: "See all of them: edgegw device list"}
}

// refusal marks an error that the person caused.
func refusal(err error) error {
	return &admin.Refusal{Code: "invalid", Message: err.Error()}
}
