package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/sale"
)

// certificate is where a client certificate goes.
type certificate struct {
	Cert bool   `help:"The device logs in with a client certificate, and has no password."`
	Out  string `default:"." placeholder:"DIR" help:"Folder for the certificate's files."`
}

// handed is what a command says of credentials: with a certificate, its files.
type handed struct {
	admin.Credentials
	Certificate *certificateFiles `json:"client_certificate,omitempty"`
}

type certificateFiles struct {
	Serial      string `json:"serial"`
	CertFile    string `json:"cert_file"`
	KeyFile     string `json:"key_file"`
	P12File     string `json:"p12_file"`
	P12Password string `json:"p12_password"` // the file's, this once
	CAFile      string `json:"ca_file"`
}

// files are the paths that a certificate of the device gets.
func (c certificate) files(id sale.DeviceID) certificateFiles {
	at := func(name string) string { return absolute(filepath.Join(c.Out, string(id)+name)) }
	return certificateFiles{CertFile: at(".pem"), KeyFile: at("-key.pem"), P12File: at(".p12"), CAFile: at("-ca.pem")}
}

// check refuses what would fail after the certificate was made.
func (c certificate) check(id sale.DeviceID) error {
	if !c.Cert {
		return nil
	}
	for _, path := range c.files(id).paths() {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("write the certificate: %s is there already; move it away, or give another folder with --out", path)
		}
	}
	if info, err := os.Stat(c.Out); err != nil || !info.IsDir() {
		return fmt.Errorf("write the certificate: %s is no folder; make it, or give another with --out", c.Out)
	}
	return nil
}

// handOver writes the certificate's files, and then the credentials in one
// piece: whoever reads has all of it, or there is an error and no file.
func (c certificate) handOver(a *app, headline string, made admin.Credentials, asJSON bool) (err error) {
	h := handed{Credentials: made}
	if h.CAFile != "" {
		h.CAFile = absolute(h.CAFile)
	}
	if made.Certificate != nil {
		f, bad := c.write(made.DeviceID, made.Certificate)
		if bad != nil {
			return bad
		}
		defer func() {
			if err != nil {
				f.remove()
			}
		}()
		h.Certificate, h.Credentials.Certificate = &f, nil
	}
	var text bytes.Buffer
	if asJSON {
		if err := (&app{out: &text}).printJSON(h); err != nil {
			return err
		}
	} else {
		h.words(&text, headline, widthOf(a.out))
	}
	_, err = a.out.Write(text.Bytes())
	return err
}

func (h handed) words(text *bytes.Buffer, headline string, width int) {
	fmt.Fprintf(text, "%s\n\n", wrap(headline, width, 0, 0))
	rows := [][]string{{"  user name", h.Username}}
	if h.Password != "" {
		rows = append(rows, []string{"  password", h.Password + "   (shown this once)"})
	}
	rows = append(rows, []string{"  client id", h.Username}, []string{"  MQTT URL", dash(h.MQTTURL)}, []string{"  CA file", dash(h.CAFile)})
	if f := h.Certificate; f != nil {
		rows = append(rows, []string{"  certificate", f.CertFile}, []string{"  its key", f.KeyFile}, []string{"  both, PKCS#12", f.P12File},
			[]string{"  its password", f.P12Password + "   (shown this once)"}, []string{"  serial", f.Serial})
	}
	table(text, rows...)
	if u, err := url.Parse(h.MQTTURL); err == nil && u.Hostname() == "localhost" {
		fmt.Fprintf(text, "\n%s\n", wrap("localhost is this box. In a device, put the address that the box has in the site's network in its place: hostname -I", width, 0, 0))
	}
	if h.Notice != "" {
		fmt.Fprintf(text, "\n%s\n", wrap(clean(h.Notice), width, 0, 0))
	}
}

// write makes the files, readable by their owner only, and never over others.
func (c certificate) write(id sale.DeviceID, made *admin.ClientCertificate) (f certificateFiles, err error) {
	f = c.files(id)
	f.Serial, f.P12Password = made.Serial, rand.Text()
	p12, err := bundle(made, f.P12Password)
	if err != nil {
		return f, err
	}
	for i, data := range [][]byte{[]byte(made.PEM), []byte(made.Key), p12, []byte(made.CA)} {
		if err := writeNew(f.paths()[i], data); err != nil {
			for _, path := range f.paths()[:i] {
				_ = os.Remove(path) // a left-over would only be in the way of the next attempt
			}
			return f, fmt.Errorf("write the certificate: %w", err)
		}
	}
	return f, nil
}

func (f certificateFiles) paths() []string {
	return []string{f.CertFile, f.KeyFile, f.P12File, f.CAFile}
}

func (f certificateFiles) remove() {
	for _, path := range f.paths() {
		_ = os.Remove(path) // its certificate is revoked
	}
}

// bundle is PKCS#12: one file for devices that take nothing else.
func bundle(made *admin.ClientCertificate, password string) ([]byte, error) {
	parse := func(text string) ([]byte, error) {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, errors.New("read the certificate: it is no PEM")
		}
		return block.Bytes, nil
	}
	der, err := parse(made.PEM)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if der, err = parse(made.CA); err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the site CA: %w", err)
	}
	if der, err = parse(made.Key); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("read the certificate's key: it is damaged") // the cause may quote it
	}
	return pkcs12.Modern.Encode(key, cert, []*x509.Certificate{ca}, password)
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // half a key is no use
		return err
	}
	return config.SyncDir(filepath.Dir(path)) // a key without its name is no use either
}

// oneDevice is what most device commands take.
type oneDevice struct {
	ID   string `arg:"" completion:"device" help:"Device."`
	JSON bool   `help:"Print JSON."`
}

// act does something to a device and says so.
func (c oneDevice) act(a *app, state, says string, do func(admin.Backend, sale.DeviceID) error) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		if err := do(b, id); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"device_id": string(id), "state": state})
		}
		fmt.Fprintf(a.out, says+"\n", id)
		return nil
	})
}

type deviceDisableCmd struct{ oneDevice }

// Run disables a device.
func (c *deviceDisableCmd) Run(a *app) error {
	return c.act(a, "disabled", "Device %s is disabled, and its connection has ended. Sales it reported stay and are sent.", func(b admin.Backend, id sale.DeviceID) error {
		return b.DisableDevice(a.ctx, id, admin.LocalUser())
	})
}

type deviceEnableCmd struct{ oneDevice }

// Run enables a device.
func (c *deviceEnableCmd) Run(a *app) error {
	return c.act(a, "enabled", "Device %s may connect again.", func(b admin.Backend, id sale.DeviceID) error {
		return b.EnableDevice(a.ctx, id, admin.LocalUser())
	})
}

type deviceForgetCardsCmd struct{ oneDevice }

// Run takes off that a device sent card data.
func (c *deviceForgetCardsCmd) Run(a *app) error {
	return c.act(a, "card data seen to", "That %s sent card data is taken off; it is in the audit trail.", func(b admin.Backend, id sale.DeviceID) error {
		return b.ForgetCards(a.ctx, id, admin.LocalUser())
	})
}

type deviceRevokeCmd struct {
	oneDevice
	Serial string `placeholder:"NUMBER" help:"One certificate (default: all of the device)."`
}

// Run revokes certificates.
func (c *deviceRevokeCmd) Run(a *app) error {
	return c.act(a, "revoked", "What was to be revoked of device %s is revoked. A connection by it has ended; one by anything else goes on.", func(b admin.Backend, id sale.DeviceID) error {
		return b.RevokeCertificate(a.ctx, id, strings.ToLower(c.Serial), admin.LocalUser())
	})
}

// What became of the credentials that a device had when it got new ones.
const (
	oldEnded = "what it had before has ended: run this again where its output can be read"
	oldStays = "what it had before still works: run this again where its output can be read"
)

// renew makes new credentials and hands them over; old says what becomes of
// those before.
func (c oneDevice) renew(a *app, to certificate, headline, old string, do func(admin.Backend, sale.DeviceID) (admin.Credentials, error)) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	if err := to.check(id); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that left must not end us between the making and the showing
	return a.with(false, func(b admin.Backend) error {
		made, err := do(b, id)
		if err != nil {
			return err
		}
		if err := to.handOver(a, fmt.Sprintf(headline, id), made, c.JSON); err != nil {
			return errors.Join(fmt.Errorf("the new credentials of %s could not be handed over (%w); %s", id, err, old), revokeAgain(a, b, made))
		}
		return nil
	})
}

// revokeAgain ends a certificate that nobody holds, so that nobody can find it.
func revokeAgain(a *app, b admin.Backend, made admin.Credentials) error {
	if made.Certificate == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), usualPatience)
	defer cancel()
	if err := b.RevokeCertificate(ctx, made.DeviceID, made.Certificate.Serial, admin.LocalUser()); err != nil {
		return fmt.Errorf("its new certificate could not be revoked (%w): edgegw device revoke %s --serial %s", err, made.DeviceID, made.Certificate.Serial)
	}
	return nil
}

type devicePasswordCmd struct{ oneDevice }

// Run gives a device a new password.
func (c *devicePasswordCmd) Run(a *app) error {
	return c.renew(a, certificate{}, "Device %s has a new password. The old one has ended, and its connection too.", oldEnded, func(b admin.Backend, id sale.DeviceID) (admin.Credentials, error) {
		return b.RenewPassword(a.ctx, id, admin.LocalUser())
	})
}

type deviceReplaceCmd struct {
	oneDevice
	certificate
}

// Run gives new hardware the place of a device.
func (c *deviceReplaceCmd) Run(a *app) error {
	return c.renew(a, c.certificate, "Device %s is replaced. What the old hardware logged in with has ended, its connection too; register, queue, numbering and history go on.", oldEnded,
		func(b admin.Backend, id sale.DeviceID) (admin.Credentials, error) {
			return b.ReplaceDevice(a.ctx, id, c.Cert, admin.LocalUser())
		})
}

type deviceCertCmd struct {
	oneDevice
	Out string `default:"." placeholder:"DIR" help:"Folder for the certificate's files."`
}

// Run issues a certificate.
func (c *deviceCertCmd) Run(a *app) error {
	return c.renew(a, certificate{Cert: true, Out: c.Out}, "Device %s has a certificate, beside what it had.", oldStays, func(b admin.Backend, id sale.DeviceID) (admin.Credentials, error) {
		return b.IssueCertificate(a.ctx, id, admin.LocalUser())
	})
}

// logsInWith says how a device may prove itself.
func logsInWith(d admin.Device) string {
	var ways []string
	if d.Password {
		ways = append(ways, "password")
	}
	valid := int64(0)
	for _, c := range d.Certificates {
		if c.State == "valid" {
			valid++
		}
	}
	if valid > 0 {
		ways = append(ways, count(valid, "certificate"))
	}
	return dash(strings.Join(ways, ", "))
}

// certificates lists what was ever issued to a device.
func (a *app) certificates(d admin.Device) {
	if len(d.Certificates) == 0 {
		return
	}
	rows := [][]string{{"CERTIFICATE", "STATE", "ISSUED", "ENDS", "REVOKED"}}
	for _, c := range d.Certificates {
		rows = append(rows, []string{c.Serial, c.State, a.when(c.IssuedAt), c.NotAfter.Format(time.DateOnly), a.when(c.RevokedAt)})
	}
	fmt.Fprintln(a.out)
	table(a.out, rows...)
}
