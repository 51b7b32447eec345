package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"edgegw/admin"
	"edgegw/backup"
	"edgegw/gateway"
	"edgegw/secret"
	"edgegw/store"
)

// passphraseSource is where the passphrase of a backup comes from: a file, a pipe,
// or somebody who types it where nobody sees it.
type passphraseSource struct {
	PassphraseFile  string `placeholder:"FILE" xor:"passphrase" help:"File that holds the passphrase."`
	PassphraseStdin bool   `xor:"passphrase" help:"Read the passphrase from standard input."`
}

func (p passphraseSource) read(a *app, twice bool) (secret.Text, error) {
	var raw []byte
	var err error
	switch {
	case p.PassphraseFile != "":
		raw, err = readKeyFile(p.PassphraseFile)
	case p.PassphraseStdin && !a.inTerminal:
		raw, err = io.ReadAll(io.LimitReader(a.in, longestKey+1))
	case a.inTerminal:
		raw, err = typedPassphrase(a, twice)
	default:
		return secret.Text{}, usage("where is the passphrase? Give --passphrase-file FILE or --passphrase-stdin")
	}
	return oneLine("passphrase", raw, err)
}

func typedPassphrase(a *app, twice bool) ([]byte, error) {
	one, err := a.hidden("Passphrase of the backup (it is not shown): ")
	if err != nil || !twice {
		return one, err
	}
	two, err := a.hidden("The same again: ")
	if err == nil && !bytes.Equal(one, two) {
		err = errors.New("the two differ; nothing was done")
	}
	clear(two)
	return one, err
}

type backupCmd struct {
	Output string `short:"o" placeholder:"FILE" help:"Where to write it (default: edgegw-SITE-TIME.backup here). An existing file is not overwritten."`
	passphraseSource
	JSON bool `help:"Print JSON."`
}

// madeBackup says what was written.
type madeBackup struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	backup.Manifest
}

// Run writes a backup while sales come in, and reads it again: what is kept
// elsewhere was whole here.
func (c *backupCmd) Run(a *app) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	passphrase, err := c.read(a, true)
	if err != nil {
		return err
	}
	path := c.Output
	if path == "" {
		path = admin.BackupName(conf.Site.Name, time.Now())
	}
	path = absolute(path)
	var made madeBackup
	const writing = "write the backup"
	err = newFile(path, notOverwritten(path), writing, writing, func(f *os.File) (err error) {
		made, err = c.make(a, f, passphrase)
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(made)
	}
	a.say(fmt.Sprintf("%s: %d bytes, read again and whole.", made.File, made.Bytes))
	a.tellBackup(made.Manifest)
	a.say("Without the passphrase nobody can open it, you neither. Keep both off this box, and apart.")
	return nil
}

func (c *backupCmd) make(a *app, f *os.File, passphrase secret.Text) (made madeBackup, err error) {
	far := a.progress("backup", "byte", 0)
	err = a.with(false, func(b admin.Backend) error {
		return b.Backup(a.ctx, passphrase, &counted{w: f, far: far}, admin.LocalUser())
	})
	if err == nil {
		err = f.Sync()
	}
	far.end()
	if err != nil {
		return made, err
	}
	info, err := f.Stat()
	if err != nil {
		return made, err
	}
	made.File, made.Bytes = f.Name(), info.Size()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return made, err
	}
	made.Manifest, err = readAgain(a, f, info.Size(), passphrase)
	return made, err
}

func readAgain(a *app, f io.Reader, size int64, passphrase secret.Text) (backup.Manifest, error) {
	far := a.progress("verify", "byte", size)
	defer far.end()
	return gateway.VerifyBackup(&reading{ctx: a.ctx, r: f, far: far}, passphrase)
}

// reading tells how much was read, and ends with Ctrl-C.
type reading struct {
	ctx context.Context
	r   io.Reader
	far *progress
	n   int64
}

func (c *reading) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.far.done(c.n)
	return n, err
}

// tellBackup says what is inside.
func (a *app) tellBackup(m backup.Manifest) {
	if m.MadeAt.IsZero() { // a copy says nothing of itself
		a.say(fmt.Sprintf("It is the database as it was before an update: %s, of which %s.", count(m.Sales, "sale"), waited(m.Waiting)))
		return
	}
	a.say(fmt.Sprintf("It is of site %s, made %s by %s: %s, of which %s.", m.Site, a.when(m.MadeAt), m.MadeBy, count(m.Sales, "sale"), waited(m.Waiting)))
	if m.KEK != "inside" {
		a.say("The key-encryption key is not in it (" + m.KEK + "): without that one, every register key must be entered again.")
	}
}

func waited(n int64) string {
	if n == 1 {
		return "1 waited to be sent"
	}
	return fmt.Sprintf("%d waited to be sent", n)
}

type restoreCmd struct {
	File string `arg:"" help:"Backup that edgegw backup has made, or the copy of the database that an update has made."`
	passphraseSource
	Check    bool `help:"Only read it whole, and say what is in it."`
	SetAside bool `help:"Where there is data already: move it into a folder beside, and take the backup's place all the same."`
	JSON     bool `help:"Print JSON."`
}

// Run puts a backup back where no gateway runs.
func (c *restoreCmd) Run(a *app) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("open the backup: %w", unreadable(c.File, err))
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	head := make([]byte, 16)
	_, _ = f.ReadAt(head, 0) // what is shorter is no copy
	isCopy := store.IsJournal(head)
	var passphrase secret.Text
	if !isCopy {
		if passphrase, err = c.read(a, false); err != nil {
			return err
		}
	}
	if c.Check && isCopy {
		return usage("this is a copy of the database that an update has made, and no sealed backup: only edgegw restore without --check looks into it")
	}
	if c.Check {
		m, err := readAgain(a, f, info.Size(), passphrase)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return a.printJSON(madeBackup{absolute(c.File), info.Size(), m})
		}
		a.say("The backup is whole.")
		a.tellBackup(m)
		return nil
	}
	far := a.progress("restore", "byte", info.Size())
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := gateway.Restore(a.ctx, conf, gateway.Options{Log: log, Version: versionText()}, &reading{ctx: a.ctx, r: f, far: far}, passphrase, c.SetAside, admin.LocalUser())
	far.end()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(r)
	}
	c.tell(a, conf.DataDir, r)
	return nil
}

func (c *restoreCmd) tell(a *app, dir string, r gateway.Restored) {
	a.say("The backup is in its place: " + dir)
	a.tellBackup(r.Manifest)
	if r.SetAside != "" {
		a.say("What was there is in " + r.SetAside + ". Nothing of it is sent.")
	}
	a.say("Start the gateway. Before it sends anything on a register, it reads back from OpenFiskal what was sent since the backup: nothing goes there twice.")
	a.say("What was changed since the backup is as it was: look at the devices, people and tokens that were removed or got new secrets since, and do it again.")
}
