package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"edgegw/admin"
	"edgegw/backup"
	"edgegw/clock"
	"edgegw/devicekeys"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/siteca"
	"edgegw/store"
	"edgegw/wording"
)

// backupNest is where a copy of the data lies in clear while it is sealed.
const backupNest = ".backup"

// Backup writes the site's data, sealed with a passphrase, while the gateway runs.
func (k *control) Backup(ctx context.Context, passphrase secret.Text, w io.Writer, by string) error {
	if err := backup.CheckPassphrase(passphrase); err != nil {
		return admin.Refuse("invalid", wording.From(err), wording.Of("Choose a longer one, such as five words, and keep it elsewhere: without it nobody can open the backup"))
	}
	if !k.backingUp.TryLock() {
		return &admin.Refusal{Code: "conflict", Message: "a backup is being made already", Remedy: "Wait for it"}
	}
	defer k.backingUp.Unlock()
	if err := k.roomForCopy(); err != nil {
		return err
	}
	nest := filepath.Join(k.config.DataDir, backupNest)
	if err := errors.Join(os.RemoveAll(nest), os.Mkdir(nest, 0o700)); err != nil {
		return fmt.Errorf("make room for a copy: %w", err)
	}
	defer os.RemoveAll(nest)
	m := backup.Manifest{Site: k.config.Site.Name, Version: k.options.Version, MadeAt: k.now().UTC().Truncate(time.Second), Clock: string(k.clock.Quality()), MadeBy: by}
	extent, err := k.db.Backup(ctx, filepath.Join(nest, store.FileName))
	if err != nil {
		return err
	}
	m.Events, m.Sales, m.Waiting = extent.Events, extent.Sales, extent.Waiting
	names := []string{store.FileName}
	for _, name := range siteca.AuthorityFiles {
		if err := copyFile(filepath.Join(k.config.DataDir, name), filepath.Join(nest, name)); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		names = append(names, name)
	}
	switch source := k.kekNow().source; source.Kind {
	case devicekeys.KEKSelfMade:
		if err := copyFile(source.Path, filepath.Join(nest, devicekeys.KEKFileName)); err != nil {
			return fmt.Errorf("copy the key-encryption key: %w", err)
		}
		names, m.KEK = append(names, devicekeys.KEKFileName), "inside"
	case devicekeys.KEKFile:
		m.KEK = "vault.kek_file " + source.Path
	case devicekeys.KEKGiven:
		m.KEK = "vault.kek"
	default:
		m.KEK = "missing in that moment"
	}
	if err := backup.Write(w, passphrase, m, nest, names); err != nil {
		return err
	}
	return k.db.Note(ctx, "backup made", "", fmt.Sprintf("%d sales, %d waiting", m.Sales, m.Waiting), by)
}

// roomForCopy refuses a copy that would take what sales need.
func (k *control) roomForCopy() error {
	free := space(k.config.DataDir)
	size, log, err := k.db.Sizes()
	if err != nil || free == nil {
		return err
	}
	if need := size + log + k.config.Store.MinFreeBytes; free.Free < need {
		return admin.Refuse("not_ready", wording.Of("a copy of the data needs %d MB of free space in %s, and there are %d MB", need>>20+1, k.config.DataDir, free.Free>>20),
			wording.Of("Make room on that disk"))
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	defer clear(b)
	return os.WriteFile(to, b, 0o600)
}

// believed gives the time that a backup was made, zero where its clock was not
// synchronised: then all that OpenFiskal has is read back.
func believed(m backup.Manifest) time.Time {
	if m.Clock != string(clock.Synchronised) {
		return time.Time{}
	}
	return m.MadeAt
}

// restoredConditions tells what of a backup that was put back is not known yet.
func (k *control) restoredConditions(ctx context.Context, b *health.Board) error {
	all, err := k.db.RestoredRegisters(ctx)
	if err != nil {
		return err
	}
	var unread, refused []sale.RegisterID
	var at time.Time
	for _, r := range all {
		at = r.At
		switch {
		case r.Refused:
			refused = append(refused, r.Register)
		case !r.Read && r.Waiting:
			unread = append(unread, r.Register)
		}
	}
	if len(unread) > 0 {
		b.Set(health.Condition{Code: "restored", Severity: health.Notice, Since: at}.Saying(
			wording.Of("The data is of a backup, and OpenFiskal has not been asked yet what was sent since: %s", enumerate(plain(unread...), moreRegisters)),
			wording.Of("Nothing is to be done: it is asked before anything is sent, as soon as the uplink and the register's key allow")))
	}
	if len(refused) > 0 {
		b.Set(health.Condition{Code: "restored_unread", Severity: health.Attention, Since: at}.Saying(
			wording.Of("The data is of a backup, and OpenFiskal does not say what was sent since: %s", enumerate(plain(refused...), moreRegisters)),
			wording.Of("Sales that waited in the backup wait for a person: edgegw quarantine list. Look in OpenFiskal's own list before a device reports older sales again")))
	}
	return nil
}
