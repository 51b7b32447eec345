package gateway

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/wording"
)

// RemoveDevice takes a device from the site and ends its connection at once.
func (k *control) RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error {
	return k.cutOff(ctx, id, by, k.ring.Remove)
}

// DisableDevice refuses a device and ends its connection at once.
func (k *control) DisableDevice(ctx context.Context, id sale.DeviceID, by string) error {
	return k.cutOff(ctx, id, by, k.ring.Disable)
}

// EnableDevice lets it in again.
func (k *control) EnableDevice(ctx context.Context, id sale.DeviceID, by string) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	return k.ring.Enable(ctx, id, by)
}

// cutOff does what ends a device's right to be connected, and then ends its
// connections: one that is just logging in is refused by the ring already.
func (k *control) cutOff(ctx context.Context, id sale.DeviceID, by string, do func(context.Context, sale.DeviceID, string) error) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	err := do(ctx, id, by)
	if k.running != nil {
		k.running.broker.Disconnect(id) // also after an error: it may have been stored
	}
	return err
}

// RenewPassword gives a device a new secret; the old one ends at once.
func (k *control) RenewPassword(ctx context.Context, id sale.DeviceID, by string) (c admin.Credentials, err error) {
	err = k.cutOff(ctx, id, by, func(ctx context.Context, id sale.DeviceID, by string) error {
		password, err := k.ring.Password(ctx, id, by)
		c = k.loginOf(id)
		c.Password = string(password.Reveal())
		if n := k.validCertificates(id); n > 0 {
			c.Note(wording.Of("%s. To end that, too: edgegw device revoke %s", oneOrMore(n, "%d certificate still lets it in", "%d certificates still let it in"), id))
		}
		return err
	})
	return c, err
}

func (k *control) validCertificates(id sale.DeviceID) (n int64) {
	for _, c := range k.ring.Certificates(id) {
		if c.RevokedAt.IsZero() {
			n++
		}
	}
	return n
}

// ReplaceDevice gives new hardware the place of a device.
func (k *control) ReplaceDevice(ctx context.Context, id sale.DeviceID, cert bool, by string) (c admin.Credentials, err error) {
	err = k.cutOff(ctx, id, by, func(ctx context.Context, id sale.DeviceID, by string) error {
		password, err := k.ring.Replace(ctx, id, cert, by)
		if err != nil {
			return err
		}
		c = k.loginOf(id)
		if c.Password = string(password.Reveal()); !cert {
			return nil
		}
		if c.Certificate, err = k.certify(context.WithoutCancel(ctx), id, by); err != nil {
			return fmt.Errorf("what %s had before has ended, and it has no certificate yet: %w: mend that, and then again: edgegw device replace %s --cert", id, err, id)
		}
		return nil
	})
	return c, err
}

// IssueCertificate makes a certificate beside what the device has.
func (k *control) IssueCertificate(ctx context.Context, id sale.DeviceID, by string) (admin.Credentials, error) {
	if _, err := k.ring.Get(id); err != nil {
		return admin.Credentials{}, unknown(id)
	}
	c := k.loginOf(id)
	var err error
	c.Certificate, err = k.certify(ctx, id, by)
	return c, err
}

// RevokeCertificate ends certificates, and the connection that was made with one
// of them. A device that is connected by something else notices nothing.
func (k *control) RevokeCertificate(ctx context.Context, id sale.DeviceID, serial, by string) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	err := k.ring.Revoke(ctx, id, serial, by)
	if k.running != nil { // also after an error: it may have been stored
		k.running.broker.DisconnectHolders(id, func(c *x509.Certificate) bool { return !k.ring.Lists(id, c) })
	}
	if errors.Is(err, sale.ErrNone) {
		return admin.Refuse("not_found", wording.Of("device %s has no such certificate that is valid", id), wording.Of("See them: edgegw device show %s", id))
	}
	return err
}

// certify makes a certificate and lists it, in this order: one that is listed
// and lost would let in whoever finds it.
func (k *control) certify(ctx context.Context, id sale.DeviceID, by string) (*admin.ClientCertificate, error) {
	text, key, err := k.authority.IssueDevice(id)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the certificate that was just made: %w", err)
	}
	c, err := k.ring.AddCertificate(ctx, id, cert, by)
	if err != nil {
		return nil, err
	}
	return &admin.ClientCertificate{Serial: c.Serial, NotAfter: c.NotAfter, PEM: string(text), Key: string(key.Reveal()), CA: string(k.authority.CAPEM())}, nil
}

// loginOf is what a device needs to know beside its secret.
func (k *control) loginOf(id sale.DeviceID) admin.Credentials {
	c := admin.Credentials{DeviceID: id, Username: string(id), MQTTURL: k.MQTTURL()}
	if d, err := k.ring.Get(id); err == nil {
		c.Key, _ = k.keyState(d.Register)
	}
	if k.config.MQTT.CertFile == "" {
		c.CAFile = k.CAFile() // with the operator's certificate it is his own CA that devices trust
	}
	return c
}

func (k *control) certificatesOf(id sale.DeviceID) []admin.CertificateInfo {
	list := []admin.CertificateInfo{}
	for _, c := range k.ring.Certificates(id) {
		i := admin.CertificateInfo{Serial: c.Serial, State: "valid", IssuedAt: c.IssuedAt, NotAfter: c.NotAfter, RevokedAt: c.RevokedAt}
		if !c.RevokedAt.IsZero() {
			i.State = "revoked"
		}
		list = append(list, i)
	}
	return list
}
