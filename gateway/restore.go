package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"edgegw/admin"
	"edgegw/backup"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/secret"
	"edgegw/siteca"
	"edgegw/store"
)

// restoreNest holds what a backup brings until it is in its place, and the plan.
const (
	restoreNest = ".restore"
	planName    = ".plan"
	movedName   = ".moved"
)

// Restored is what a restore did.
type Restored struct {
	backup.Manifest
	SetAside string `json:"set_aside,omitempty"` // where the data lies that was there before
}

// restorePlan is carried out to its end once it is on disk, whatever happens.
type restorePlan struct {
	Files []string `json:"files"` // that the backup brings
	Aside string   `json:"aside"` // the directory for what was there
}

// Restore puts a backup into the data directory, which no gateway may be using.
// What is there already is set aside, never deleted, and only where the person
// said so. Nothing of the backup is sent before OpenFiskal was read back.
func Restore(ctx context.Context, c config.Config, o Options, file io.Reader, passphrase secret.Text, setAside bool, by string) (r Restored, err error) {
	k := &control{config: c, options: o, log: o.Log}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	if err := k.openData(); err != nil {
		return r, err
	}
	dir := c.DataDir
	nest := filepath.Join(dir, restoreNest)
	if err := os.Mkdir(nest, 0o700); err != nil {
		return r, fmt.Errorf("make room for the backup: %w", err)
	}
	in := bufio.NewReader(file)
	if head, _ := in.Peek(20); store.IsJournal(head) && store.HasLog(head) {
		err = errHasLog
	} else if store.IsJournal(head) {
		r.Manifest, err = takeJournal(ctx, in, dir, nest)
	} else if r.Manifest, err = backup.Extract(in, passphrase, nest); err != nil {
		err = backupRefusal(err)
	}
	if err != nil {
		return r, errors.Join(err, os.RemoveAll(nest))
	}
	if err := known(r.Manifest); err != nil {
		return r, errors.Join(backupRefusal(err), os.RemoveAll(nest))
	}
	if err := k.mayReplace(ctx, r.Manifest, setAside); err != nil {
		return r, errors.Join(err, os.RemoveAll(nest))
	}
	if err := markRestored(ctx, nest, r.Manifest, by); err != nil {
		return r, errors.Join(err, os.RemoveAll(nest))
	}
	plan := restorePlan{Aside: asideName(dir, time.Now())}
	for _, f := range r.Files {
		plan.Files = append(plan.Files, f.Name)
	}
	if err := plan.write(dir, nest); err != nil {
		return r, errors.Join(fmt.Errorf("write down the plan: %w", err), os.RemoveAll(nest))
	}
	if err := finishRestore(dir); err != nil {
		return r, err
	}
	if entries, err := os.ReadDir(filepath.Join(dir, plan.Aside)); err == nil && len(entries) > 0 {
		r.SetAside = filepath.Join(dir, plan.Aside)
	} else {
		_ = os.Remove(filepath.Join(dir, plan.Aside)) // there was nothing
	}
	return r, nil
}

// errHasLog refuses a database without its log: what was sold last may stand there only.
var errHasLog = &admin.Refusal{Code: "invalid", Message: "this is the database of a gateway and no copy that an update has made: its newest sales may stand in the file beside it whose name ends in -wal",
	Remedy: "Nothing was changed. Make a backup of the folder in which both lie, and put that back: edgegw backup --data-dir FOLDER -o FILE"}

// takeJournal takes the copy of the database that an update has made: it lies beside
// the data and is not sealed. The site's authority is the one that is there. When it was
// made nobody says, so all that OpenFiskal has is read back.
func takeJournal(ctx context.Context, in io.Reader, dir, nest string) (m backup.Manifest, err error) {
	journal := filepath.Join(nest, store.FileName)
	f, err := os.OpenFile(journal, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return m, fmt.Errorf("take the copy of the database: %w", err)
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return m, fmt.Errorf("take the copy of the database: %w", err)
	}
	holds, err := store.Look(ctx, journal)
	if err != nil {
		return m, &admin.Refusal{Code: "invalid", Message: "this is no copy of the database that can be read: " + err.Error(), Remedy: "Nothing was changed. Take another copy, or a backup"}
	}
	if damage, err := store.CheckFile(ctx, journal); err != nil {
		return m, fmt.Errorf("check the copy of the database: %w", err)
	} else if damage != "" {
		return m, &admin.Refusal{Code: "invalid", Message: "this copy of the database is damaged: " + damage, Remedy: "Nothing was changed. Take another copy, or a backup"}
	}
	m.Events, m.Sales, m.Waiting, m.Files = holds.Events, holds.Sales, holds.Waiting, []backup.File{{Name: store.FileName}}
	for _, name := range siteca.AuthorityFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err = errors.Join(err, writeSynced(filepath.Join(nest, name), text)); err != nil {
			return m, fmt.Errorf("keep the site's authority: %w", err)
		}
		m.Files = append(m.Files, backup.File{Name: name})
	}
	return m, config.SyncDir(nest)
}

// asideName is a folder that is not there yet: a clock that begins anew with each
// start gives one time twice, and what an earlier restore has set aside stays.
func asideName(dir string, now time.Time) string {
	name := "before-restore-" + now.UTC().Format("20060102T150405Z")
	for n := 2; ; n++ {
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("before-restore-%s-%d", now.UTC().Format("20060102T150405Z"), n)
	}
}

// known refuses what Backup does not write: a part of another name would take the
// place of something that is not set aside, such as the settings, and without a
// journal the site would begin as if it had never sold anything.
func known(m backup.Manifest) error {
	journal := false
	for _, f := range m.Files {
		journal = journal || f.Name == store.FileName
		if f.Name != store.FileName && f.Name != devicekeys.KEKFileName && !slices.Contains(siteca.AuthorityFiles, f.Name) {
			return fmt.Errorf("%w: a part has the name %q", backup.ErrNoBackup, f.Name)
		}
	}
	if !journal {
		return fmt.Errorf("%w: it has no journal", backup.ErrNoBackup)
	}
	return nil
}

// backupRefusal says what to do about a file that cannot be put back.
func backupRefusal(err error) error {
	switch {
	case errors.Is(err, backup.ErrPassphrase):
		return &admin.Refusal{Code: "invalid", Message: err.Error(), Remedy: "Nothing was changed. Give the passphrase that the backup was made with"}
	case errors.Is(err, backup.ErrNoBackup), errors.Is(err, backup.ErrDamaged):
		return &admin.Refusal{Code: "invalid", Message: err.Error(), Remedy: "Nothing was changed. Take another copy of the file, or an earlier backup"}
	case errors.Is(err, backup.ErrNewer):
		return &admin.Refusal{Code: "invalid", Message: err.Error(), Remedy: "Nothing was changed. Install that version, or a later one"}
	}
	return err
}

// VerifyBackup reads a backup whole, and changes nothing.
func VerifyBackup(file io.Reader, passphrase secret.Text) (backup.Manifest, error) {
	m, err := backup.Verify(file, passphrase)
	return m, backupRefusal(err)
}

// mayReplace refuses to put away data that a person may not know of.
func (k *control) mayReplace(ctx context.Context, m backup.Manifest, setAside bool) error {
	path := filepath.Join(k.config.DataDir, store.FileName)
	_, err := os.Stat(path)
	_, logErr := os.Stat(path + "-wal") // one whose database is gone is data, too
	if setAside || errors.Is(err, fs.ErrNotExist) && errors.Is(logErr, fs.ErrNotExist) {
		return nil
	}
	holds := "it cannot be read"
	if now, err := store.Look(ctx, path); err == nil {
		holds = fmt.Sprintf("%s, of which %s", count(now.Sales, "sale was accepted", "sales were accepted"), count(now.Waiting, "waits to be sent", "wait to be sent"))
		if now.Events > m.Events {
			holds += fmt.Sprintf("; %s newer than the backup", count(now.Events-m.Events, "event is", "events are"))
		}
	}
	return &admin.Refusal{Code: "conflict", Message: fmt.Sprintf("there is data in %s already: %s", k.config.DataDir, holds),
		Remedy: "Nothing was changed. If the backup shall take its place all the same, add --set-aside: what is there is then moved into a folder beside it, and its sales that wait are not sent"}
}

// markRestored brings the journal of a backup up to date, and notes what it is.
func markRestored(ctx context.Context, dir string, m backup.Manifest, by string) error {
	db, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return fmt.Errorf("open the journal of the backup: %w", err)
	}
	err = db.MarkRestored(ctx, believed(m), fmt.Sprintf("made %s, %d sales, %d waiting", m.MadeAt.Format(time.RFC3339), m.Sales, m.Waiting), by)
	return errors.Join(err, db.Close())
}

// write puts the plan on the disk, whole or not at all: half of it would keep every
// gateway from starting.
func (p restorePlan) write(dir, nest string) error {
	if err := writeWhole(filepath.Join(nest, planName), p); err != nil {
		return err
	}
	return config.SyncDir(dir)
}

// finishRestore carries a plan out, from wherever it was left. Where there is none,
// what an earlier restore left is removed: it changed nothing.
func finishRestore(dir string) error {
	nest := filepath.Join(dir, restoreNest)
	text, err := os.ReadFile(filepath.Join(nest, planName))
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(nest)
	}
	var plan restorePlan
	if err == nil {
		err = json.Unmarshal(text, &plan)
	}
	if err == nil {
		err = plan.setAside(dir, nest)
	}
	if err == nil {
		err = moveAll(nest, dir, append(plan.Files, store.FileName+"-wal"))
	}
	if err == nil {
		err = removePlan(nest)
	}
	if err == nil {
		err = os.RemoveAll(nest)
	}
	if err == nil {
		err = config.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("put the backup in its place: %w: start again; it goes on where it was", err)
	}
	return nil
}

// removePlan has the plan gone before the mark that its first half is done: without
// the mark the plan would set the backup aside, over what was set aside before.
func removePlan(nest string) error {
	return errors.Join(os.Remove(filepath.Join(nest, planName)), config.SyncDir(nest))
}

// setAside moves away what is there, before anything new comes. A mark says that
// it is done: after it, what is there is the backup's.
func (p restorePlan) setAside(dir, nest string) error {
	moved := filepath.Join(nest, movedName)
	if _, err := os.Stat(moved); err == nil {
		return nil
	}
	aside := filepath.Join(dir, p.Aside)
	if err := os.Mkdir(aside, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Nothing moves before the folder it moves to is on disk, and the plan's.
	if err := config.SyncDir(dir); err != nil {
		return err
	}
	names := []string{store.FileName, store.FileName + "-wal", store.FileName + "-shm"}
	names = append(names, siteca.AuthorityFiles...)
	names = append(names, siteca.ServerFiles...)
	if slices.Contains(p.Files, devicekeys.KEKFileName) {
		names = append(names, devicekeys.KEKFileName)
	}
	if err := moveAll(dir, aside, names); err != nil {
		return err
	}
	return writeSynced(moved, nil)
}

// moveAll moves what is there of the names, and syncs both directories.
func moveAll(from, to string, names []string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(config.SyncDir(to), config.SyncDir(from))
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close(), config.SyncDir(filepath.Dir(path)))
}
