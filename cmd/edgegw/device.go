package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/secret"
)

type deviceCmd struct {
	Add    deviceAddCmd    `cmd:"" help:"Add a device and print its MQTT credentials, this once."`
	List   deviceListCmd   `cmd:"" help:"List all devices."`
	Show   deviceShowCmd   `cmd:"" help:"Show one device."`
	Remove deviceRemoveCmd `cmd:"" help:"Remove a device; its sales stay and are sent."`
}

// keySource is where a register key comes from. There is no flag that takes the
// key itself: a command line is seen by everybody on the machine.
type keySource struct {
	KeyFile  string `placeholder:"FILE" xor:"key" help:"File that holds the register key."`
	KeyStdin bool   `xor:"key" help:"Read the register key from standard input."`
}

// longestKey bounds what is read; register keys have some 50 characters.
const longestKey = 4096

// read gives the key, empty where none was asked for.
func (k keySource) read(a *app) (secret.Text, error) {
	var raw []byte
	var err error
	from := "standard input"
	switch {
	case k.KeyFile != "":
		from = k.KeyFile
		raw, err = readKeyFile(k.KeyFile)
	case k.KeyStdin && a.inTerminal:
		fmt.Fprint(a.err, "Register key (it is not shown): ")
		raw, err = term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(a.err)
	case k.KeyStdin:
		raw, err = io.ReadAll(io.LimitReader(bufio.NewReader(a.in), longestKey+1))
	default:
		return secret.Text{}, nil
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the register key: %w", err)
	}
	key := bytes.TrimRight(raw, "\r\n")
	switch {
	case len(key) == 0:
		return secret.Text{}, fmt.Errorf("read the register key from %s: there is none; it must be the key and nothing else", from)
	case len(key) > longestKey || bytes.ContainsAny(key, " \t\r\n\x00"):
		return secret.Text{}, fmt.Errorf("read the register key from %s: that is no key; it must be one line with the key and nothing else", from)
	}
	return secret.New(key), nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return io.ReadAll(io.LimitReader(f, longestKey+1))
}

type deviceAddCmd struct {
	ID       string `arg:"" help:"Name of the device: a-z, 0-9 and -, e.g. pump-07."`
	Register string `required:"" placeholder:"REG" help:"OpenFiskal register it sells on (reg_…)."`
	Kind     string `default:"pump" enum:"pump,charger,kiosk" help:"pump, charger or kiosk."`
	Label    string `help:"What people call it."`
	keySource
	Unverified bool `help:"Store a key that OpenFiskal refuses, too."`
	JSON       bool `help:"Print JSON."`
}

// Run adds the device. Its password is printed here and nowhere else again.
func (c *deviceAddCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	if !sale.RegisterID(c.Register).Valid() {
		return usage("%q is not a register id: it has 1 to 128 letters, digits, _ and -, as in reg_01HXYZ", c.Register)
	}
	key, err := c.read(a)
	if err != nil {
		return err
	}
	return a.with(true, func(b admin.Backend) error {
		made, err := b.AddDevice(a.ctx, admin.AddDevice{DeviceID: id, RegisterID: sale.RegisterID(c.Register), Kind: c.Kind,
			Label: c.Label, Key: key, Unverified: c.Unverified}, admin.LocalUser())
		if err != nil {
			return err
		}
		made.CAFile = absolute(made.CAFile)
		if c.JSON {
			return a.printJSON(made)
		}
		fmt.Fprintf(a.out, "Device %s is added. It sells on register %s, whose key is %s.\n\n", id, c.Register, made.Key)
		table(a.out, []string{"  user name", made.Username}, []string{"  password", made.Password + "   (shown this once)"},
			[]string{"  client id", made.Username}, []string{"  MQTT URL", dash(made.MQTTURL)}, []string{"  CA file", made.CAFile})
		if made.Notice != "" {
			fmt.Fprintf(a.out, "\n%s\n", clean(made.Notice))
		}
		return nil
	})
}

func deviceID(text string) (sale.DeviceID, error) {
	if id := sale.DeviceID(text); id.Valid() {
		return id, nil
	}
	return "", usage("%q is not a device id: it has 1 to 63 of a-z, 0-9 and -, does not begin with -, and is not \"site\"", text)
}

type deviceListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists all devices.
func (c *deviceListCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Devices(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "There is no device yet. Add one: edgegw device add pump-01 --register reg_… --key-stdin")
			return nil
		}
		rows := [][]string{{"DEVICE", "KIND", "REGISTER", "STATE", "SINCE", "KEY", "WAITING", "RECEIPTS", "LABEL"}}
		for _, d := range all {
			rows = append(rows, []string{string(d.DeviceID), d.Kind, string(d.RegisterID), d.State, a.when(d.Since), d.Key,
				strconv.FormatInt(d.Waiting, 10), strconv.FormatInt(d.Receipts, 10), dash(d.Label)})
		}
		table(a.out, rows...)
		return nil
	})
}

type deviceShowCmd struct {
	ID   string `arg:"" help:"Device."`
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
			[]string{"waiting", count(d.Waiting, "sale") + " of its register"}, []string{"mailbox", count(d.Receipts, "receipt") + " for the device"},
			[]string{"added", a.when(d.CreatedAt)})
		return nil
	})
}

type deviceRemoveCmd struct {
	ID   string `arg:"" help:"Device."`
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

type keyCmd struct {
	Set keySetCmd `cmd:"" help:"Store a new register key for the register of a device."`
}

type keySetCmd struct {
	ID string `arg:"" help:"Device."`
	keySource
	Unverified bool `help:"Store a key that OpenFiskal refuses, too."`
	JSON       bool `help:"Print JSON."`
}

// Run stores the key.
func (c *keySetCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	if c.KeyFile == "" && !c.KeyStdin {
		return usage("where is the key? Give --key-file FILE or --key-stdin")
	}
	key, err := c.read(a)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		result, err := b.SetKey(a.ctx, admin.SetKey{DeviceID: id, Key: key, Unverified: c.Unverified}, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(result)
		}
		fmt.Fprintln(a.out, strings.TrimSpace(fmt.Sprintf("The key of register %s is stored: %s. %s", result.RegisterID, result.Key, clean(result.Notice))))
		return nil
	})
}
