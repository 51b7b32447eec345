package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/secret"
)

// keySource is where a key comes from. There is no flag that takes the
// key itself: a command line is seen by everybody on the machine.
type keySource struct {
	KeyFile  string `placeholder:"FILE" xor:"key" help:"File that holds the key."`
	KeyStdin bool   `xor:"key" help:"Read the key from standard input."`
}

// longestKey bounds what is read of a key or a password; register keys have some 50
// characters.
const longestKey = 4096

// read gives the key, empty where none was asked for.
func (k keySource) read(a *app) (secret.Text, error) { return k.readA(a, "register key") }

func (k keySource) readA(a *app, what string) (secret.Text, error) {
	var raw []byte
	var err error
	from := "standard input"
	switch {
	case k.KeyFile != "":
		from = k.KeyFile
		raw, err = readKeyFile(k.KeyFile)
	case k.KeyStdin && a.inTerminal:
		raw, err = a.hidden("The " + what + " (it is not shown): ")
	case k.KeyStdin:
		raw, err = io.ReadAll(io.LimitReader(bufio.NewReader(a.in), longestKey+1))
	default:
		return secret.Text{}, nil
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the %s: %w", what, err)
	}
	key := bytes.TrimRight(raw, "\r\n")
	switch {
	case len(key) == 0:
		return secret.Text{}, fmt.Errorf("read the %s from %s: there is none; it must be the key and nothing else", what, from)
	case len(key) > longestKey || bytes.ContainsAny(key, " \t\r\n\x00"):
		return secret.Text{}, fmt.Errorf("read the %s from %s: that is no key; it must be one line with the key and nothing else", what, from)
	}
	return secret.New(key), nil
}

// must gives the key where one is needed.
func (k keySource) must(a *app, what string) (secret.Text, error) {
	if k.KeyFile == "" && !k.KeyStdin {
		return secret.Text{}, usage("where is the %s? Give --key-file FILE or --key-stdin", what)
	}
	return k.readA(a, what)
}

// unreadable says what to do about a file that a person named.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s here; check its name and the folder", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("you may not read %s; run this as its owner, or as root", path)
	}
	return err
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return io.ReadAll(io.LimitReader(f, longestKey+1))
}

type keyCmd struct {
	Set    keySetCmd    `cmd:"" help:"Store a new register key for the register of a device, or for a register by its own id."`
	Check  keyCheckCmd  `cmd:"" help:"Ask OpenFiskal about the keys that are stored for a register."`
	Issue  keyIssueCmd  `cmd:"" help:"Have OpenFiskal fiscalize a register and make its first key, with a platform key that is used once and not kept."`
	Rotate keyRotateCmd `cmd:"" help:"Have OpenFiskal make a new key for a register, with a platform key that is used once and not kept. The key in use ends at once."`
}

// keyOf names whose key it is.
type keyOf struct {
	ID       string `arg:"" optional:"" completion:"device,register" help:"Device, or the register (reg_…) where no device has it any more."`
	Register string `placeholder:"REG" completion:"register" help:"Register, instead of a device."`
}

type keySetCmd struct {
	keyOf
	Platform bool `help:"The site's platform key, instead of a register key (openfiskal.topology: server_side)."`
	keySource
	Forget     bool `help:"With --platform: remove it from this box, where the site does not send with it any more."`
	Unverified bool `help:"Store a key that OpenFiskal refuses, too."`
	JSON       bool `help:"Print JSON."`
}

// Run stores the key.
func (c *keySetCmd) Run(a *app) error {
	switch {
	case c.Forget && (!c.Platform || c.KeyFile != "" || c.KeyStdin || c.ID != "" || c.Register != ""):
		return usage("to remove the platform key from this box: edgegw key set --platform --forget")
	case c.Forget:
		return a.with(true, func(b admin.Backend) error {
			err := b.ForgetPlatformKey(a.ctx, admin.LocalUser())
			if err == nil && !c.JSON {
				a.say("The platform key is removed from this box. Where somebody else may have it, revoke it at OpenFiskal.")
			}
			return err
		})
	case c.Platform:
		return c.setPlatform(a)
	}
	if err := c.check(); err != nil {
		return err
	}
	key, err := c.must(a, "register key")
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		of, err := c.target(a, b)
		if err != nil {
			return err
		}
		result, err := b.SetKey(a.ctx, admin.SetKey{DeviceID: of.DeviceID, RegisterID: of.RegisterID, Key: key, Unverified: c.Unverified}, admin.LocalUser())
		return showKey(a, result, err, c.JSON)
	})
}

func (c *keySetCmd) setPlatform(a *app) error {
	if c.ID != "" || c.Register != "" || c.Unverified {
		return usage("a platform key opens all registers: give --platform alone, with --key-file FILE or --key-stdin")
	}
	key, err := c.must(a, "platform key")
	if err != nil {
		return err
	}
	return a.with(true, func(b admin.Backend) error {
		result, err := b.SetPlatformKey(a.ctx, key, admin.LocalUser())
		return showKey(a, result, err, c.JSON)
	})
}

func showKey(a *app, result admin.KeyResult, err error, asJSON bool) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(result)
	}
	whose := "The key of register " + string(result.RegisterID)
	if result.RegisterID == sale.PlatformKey {
		whose = "The platform key"
	}
	a.say(strings.TrimSpace(fmt.Sprintf("%s is stored: %s. %s", whose, result.Key, result.Notice)))
	return nil
}

// platform is where the platform key of issue and rotate comes from.
type platform struct {
	keySource
	NewKEK       bool   `name:"new-kek" help:"Seal the new key with the key-encryption key that is given now; the one that sealed the key before is lost for good."`
	Organization string `placeholder:"ORG" help:"Organization that the platform key acts for (default: openfiskal.organization)."`
}

type keyIssueCmd struct {
	keyOf
	platform
	JSON bool `help:"Print JSON."`
}

// Run has OpenFiskal make the register's fiscal unit and first key.
func (c *keyIssueCmd) Run(a *app) error { return c.ask(a, &c.keyOf, sale.KeyIssue, c.JSON) }

type keyRotateCmd struct {
	keyOf
	platform
	JSON bool `help:"Print JSON."`
}

// Run has OpenFiskal replace the register's key.
func (c *keyRotateCmd) Run(a *app) error { return c.ask(a, &c.keyOf, sale.KeyRotate, c.JSON) }

func (p *platform) ask(a *app, of *keyOf, kind sale.KeyRequestKind, asJSON bool) error {
	if err := of.check(); err != nil {
		return err
	}
	if noKey(p.Organization) != nil {
		return noKey(p.Organization)
	}
	key, err := p.must(a, "platform key")
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		whose, err := of.target(a, b)
		if err != nil {
			return err
		}
		result, err := b.RequestKey(a.ctx, admin.KeyRequest{KeyOf: whose, Kind: kind, PlatformKey: key, Organization: p.Organization, NewKEK: p.NewKEK}, admin.LocalUser())
		return showKey(a, result, err, asJSON)
	})
}

type keyCheckCmd struct {
	keyOf
	JSON bool `help:"Print JSON."`
}

// Run asks about each key; 1 where none of them is accepted.
func (c *keyCheckCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		of, err := c.target(a, b)
		if err != nil {
			return err
		}
		all, err := b.CheckKey(a.ctx, of)
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(list(all))
		} else {
			rows := [][]string{{"REGISTER", "VERSION", "KEY", "STATE", "OPENFISKAL", "DETAIL"}}
			for _, k := range all {
				rows = append(rows, []string{string(k.RegisterID), strconv.FormatInt(k.Version, 10), dash(k.KeyHint), k.State, k.Verdict, dash(clean(k.Detail))})
			}
			table(a.out, rows...)
		}
		if err == nil && !slices.ContainsFunc(all, func(k admin.KeyCheck) bool { return k.Verdict == "accepted" }) {
			err = errSaid
		}
		return err
	})
}

// check refuses what cannot be before anything is read, opened or sent.
func (c *keyOf) check() error {
	if (c.ID == "") == (c.Register == "") {
		return usage("whose key is it? Give a device, or --register REG")
	}
	if c.Register != "" {
		_, err := registerID(c.Register)
		return err
	}
	if err := noKey(c.ID); err != nil {
		return err
	}
	if !sale.DeviceID(c.ID).Valid() && !sale.RegisterID(c.ID).Valid() {
		return usage("%q is neither a device id nor a register id", c.ID)
	}
	return nil
}

// target says whether the id names a device or a register. Where it could be
// both, only a register that this site has counts: a mistyped device must not
// make a new register.
func (c *keyOf) target(a *app, b admin.Backend) (admin.KeyOf, error) {
	if c.Register != "" {
		return admin.KeyOf{RegisterID: sale.RegisterID(c.Register)}, nil
	}
	device, register := sale.DeviceID(c.ID), sale.RegisterID(c.ID)
	if !device.Valid() {
		return admin.KeyOf{RegisterID: register}, nil
	}
	_, err := b.Device(a.ctx, device)
	if r := (*admin.Refusal)(nil); err == nil || !errors.As(err, &r) || r.Code != "not_found" {
		return admin.KeyOf{DeviceID: device}, err
	}
	s, err := b.Status(a.ctx)
	if slices.ContainsFunc(s.Registers, func(r admin.Register) bool { return r.RegisterID == register }) {
		return admin.KeyOf{RegisterID: register}, err
	}
	return admin.KeyOf{DeviceID: device}, err // it says that there is none
}

// listForRotation is what a person at the back office works down after a theft.
func listForRotation(a *app, asJSON bool) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.ForRotation(a.ctx)
		switch {
		case err != nil:
			return err
		case asJSON:
			return a.printJSON(list(all))
		case len(all) == 0:
			fmt.Fprintln(a.out, "There is no register key on this box.")
			return nil
		}
		rows := [][]string{{"REGISTER", "DEVICES", "KEY", "STATE", "ADDED", "WAITING", "LABEL"}}
		for _, k := range all {
			var devices []string
			for _, d := range k.DeviceIDs {
				devices = append(devices, string(d))
			}
			rows = append(rows, []string{string(k.RegisterID), dash(strings.Join(devices, ", ")), dash(k.KeyHint), k.Key, a.when(k.AddedAt),
				strconv.FormatInt(k.Waiting, 10), dash(strings.Join(k.Labels, ", "))})
		}
		table(a.out, rows...)
		fmt.Fprintln(a.out, "\nWhoever has this box has these keys. Have each one rotated at OpenFiskal in the back office, which ends it at once, and enter the new one on the new box, once its devices are added there:")
		fmt.Fprintln(a.out, "  edgegw key set --register REGISTER --key-stdin")
		fmt.Fprintln(a.out, "Or let the new box ask for it, which does both:")
		fmt.Fprintln(a.out, "  edgegw key rotate --register REGISTER --key-file platform.key --organization ORG")
		fmt.Fprintln(a.out, "A platform key (@platform) is revoked at OpenFiskal. Sales that wait are on this box only.")
		return nil
	})
}
