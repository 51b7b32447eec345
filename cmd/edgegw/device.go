package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"strconv"
	"syscall"

	"edgegw/admin"
	"edgegw/sale"
)

type deviceCmd struct {
	Add    deviceAddCmd    `cmd:"" help:"Add a device and print its MQTT credentials, this once."`
	List   deviceListCmd   `cmd:"" help:"List all devices."`
	Show   deviceShowCmd   `cmd:"" help:"Show one device."`
	Remove deviceRemoveCmd `cmd:"" help:"Remove a device; its sales stay and are sent."`

	Identify deviceIdentifyCmd `cmd:"" help:"Ask a device to show itself, and say whether it has heard."`
	Test     deviceTestCmd     `cmd:"" help:"Say what keeps a device's next sale from going out, and show a sale of its kind on its whole way, against a stand-in: no fiscal record is made."`

	Disable  deviceDisableCmd  `cmd:"" help:"Refuse a device, and end its connection at once; its sales stay and are sent."`
	Enable   deviceEnableCmd   `cmd:"" help:"Let a disabled device in again."`
	Replace  deviceReplaceCmd  `cmd:"" help:"New hardware in an old place: new credentials, this once; the old ones end at once, register, queue, numbering and history go on."`
	Password devicePasswordCmd `cmd:"" help:"Give a device a new password, this once; the old one ends at once."`
	Cert     deviceCertCmd     `cmd:"" help:"Issue a client certificate to a device, beside what it has."`
	Revoke   deviceRevokeCmd   `cmd:"" help:"End client certificates of a device, and a connection by one of them, at once."`

	ForgetCards deviceForgetCardsCmd `cmd:"" help:"Say that somebody has seen to a device that sent card data."`

	ForgetGaps deviceForgetGapsCmd `cmd:"" help:"Say that somebody has looked into the events a device counted and did not report."`
}

type deviceAddCmd struct {
	ID       string `arg:"" help:"Name of the device: a-z, 0-9 and -, e.g. pump-07."`
	Register string `required:"" placeholder:"REG" help:"OpenFiskal register it sells on (reg_…)."`
	Kind     string `default:"pump" enum:"pump,charger,kiosk" help:"pump, charger or kiosk."`
	Label    string `help:"What people call it."`
	keySource
	Unverified bool `help:"Store a key that OpenFiskal refuses, too."`
	certificate
	JSON bool `help:"Print JSON."`
}

// Run adds the device. Its password is printed here and nowhere else again.
func (c *deviceAddCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	register, err := registerID(c.Register)
	if err != nil {
		return err
	}
	key, err := c.read(a)
	if err != nil {
		return err
	}
	if err := c.check(id); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that left must not end us between the adding and the showing
	return a.with(true, func(b admin.Backend) error {
		made, err := b.AddDevice(a.ctx, admin.AddDevice{DeviceID: id, RegisterID: register, Kind: c.Kind,
			Label: c.Label, Key: key, Unverified: c.Unverified, Cert: c.Cert}, admin.LocalUser())
		if err != nil {
			return err
		}
		headline := fmt.Sprintf("Device %s is added. It sells on register %s, whose key is %s.", made.DeviceID, register, made.Key)
		if err := c.handOver(a, headline, made, c.JSON); err != nil {
			return takeBack(a, b, id, err)
		}
		return nil
	})
}

// takeBack removes a device whose password nobody saw: it could never log in,
// and its id would be taken.
func takeBack(a *app, b admin.Backend, id sale.DeviceID, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), usualPatience)
	defer cancel()
	if err := b.RemoveDevice(ctx, id, admin.LocalUser()); err != nil {
		return fmt.Errorf("the credentials of %s could not be handed over (%w), and the device could not be removed again (%w): edgegw device remove %s", id, cause, err, id)
	}
	return fmt.Errorf("the credentials of %s could not be handed over (%w), so the device is removed again: add it once more where its output can be read", id, cause)
}

func deviceID(text string) (sale.DeviceID, error) {
	if err := noKey(text); err != nil {
		return "", err
	}
	if id := sale.DeviceID(text); id.Valid() {
		return id, nil
	}
	return "", usage("%q is not a device id: it has 1 to 63 of a-z, 0-9 and -, does not begin with -, and is not \"site\"", text)
}

func registerID(text string) (sale.RegisterID, error) {
	if err := noKey(text); err != nil {
		return "", err
	}
	if id := sale.RegisterID(text); id.Valid() {
		return id, nil
	}
	return "", usage("%q is not a register id: it has 1 to 128 letters, digits, _ and -, as in reg_01HXYZ", text)
}

// noKey refuses a key where an id belongs. It would pass for a register's id,
// and go into addresses, listings and logs.
func noKey(text string) error {
	if sale.LooksLikeKey(text) {
		return usage("that is an OpenFiskal key where an id belongs; give keys with --key-file or --key-stdin, and have this one replaced: a command line is seen by everybody on the machine")
	}
	return nil
}

type deviceListCmd struct {
	ForRotation bool `help:"List every register key on this box instead: what to rotate when it was stolen."`
	JSON        bool `help:"Print JSON."`
}

// Run lists all devices.
func (c *deviceListCmd) Run(a *app) error {
	if c.ForRotation {
		return listForRotation(a, c.JSON)
	}
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Devices(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			a.say("There is no device yet. Add one: edgegw device add pump-01 --register reg_… --key-stdin")
			return nil
		}
		rows := [][]string{{"DEVICE", "KIND", "REGISTER", "STATE", "SINCE", "KEY", "LAST SALE", "QUEUE", "WAITING", "RECEIPTS", "LABEL"}}
		for _, d := range all {
			rows = append(rows, []string{string(d.DeviceID), d.Kind, string(d.RegisterID), d.State, a.when(d.Since), d.Key, a.when(d.LastSaleAt), d.Queue,
				strconv.FormatInt(d.Waiting, 10), strconv.FormatInt(d.Receipts, 10), dash(d.Label)})
		}
		table(a.out, rows...)
		return nil
	})
}

type deviceShowCmd struct {
	ID   string `arg:"" completion:"device" help:"Device."`
	JSON bool   `help:"Print JSON."`
}

// Run shows one device.
func (c *deviceShowCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		d, err := b.Device(a.ctx, id)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(d)
		}
		state := d.State
		if !d.Since.IsZero() {
			state += " since " + a.when(d.Since)
		}
		if d.Remote != "" {
			state += " from " + d.Remote
		}
		key := d.Key
		if d.KeyHint != "" {
			key += " (" + d.KeyHint + ")"
		}
		table(a.out, []string{"device", string(d.DeviceID)}, []string{"label", dash(d.Label)}, []string{"kind", d.Kind},
			[]string{"register", string(d.RegisterID)}, []string{"register key", key}, []string{"state", state},
			[]string{"logs in with", logsInWith(d)}, []string{"last sale", a.when(d.LastSaleAt)}, []string{"queue", d.Queue + ", " + count(d.Waiting, "sale") + " of its register"}, []string{"mailbox", count(d.Receipts, "receipt") + " for the device"},
			[]string{"says", a.says(d)}, []string{"added", a.when(d.CreatedAt)})
		a.certificates(d)
		return nil
	})
}

// maxShownStatus is how much of a device's status is shown, in characters.
const maxShownStatus = 300

// says gives what the device said of itself, on one line.
func (a *app) says(d admin.Device) string {
	var line bytes.Buffer
	if string(d.Status) == "null" || json.Compact(&line, d.Status) != nil {
		return "-"
	}
	text := []rune(line.String())
	if len(text) > maxShownStatus {
		text = append(text[:maxShownStatus], []rune("… (all of it with --json)")...)
	}
	return fmt.Sprintf("%s (%s)", string(text), a.when(d.StatusAt))
}

type deviceRemoveCmd struct {
	ID   string `arg:"" completion:"device" help:"Device."`
	JSON bool   `help:"Print JSON."`
}

// Run removes a device.
func (c *deviceRemoveCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		if err := b.RemoveDevice(a.ctx, id, admin.LocalUser()); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"device_id": string(id), "state": "removed"})
		}
		fmt.Fprintf(a.out, "Device %s is removed. Sales it reported stay and are sent.\n", id)
		return nil
	})
}
