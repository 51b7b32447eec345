package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mutant is an edgegw that breaks a promise on purpose. A rig that lets one of
// them through proves nothing.
type mutant struct {
	name    string
	scene   string // where it must be caught
	changes []change
}

// change replaces a text of a source file, which must be there exactly once.
type change struct{ file, old, new string }

var mutants = []mutant{
	{"no sync of the log", "accept", []change{
		{"store/vfs_log_linux.go", "	return syncData(tls, file, flags)", "	return sqlite3.SQLITE_OK"},
	}},
	{"no sync of the log and the database", "accept", []change{
		{"store/vfs_linux.go", "switch err := fdatasync(int(f.Fh)); err {", "switch err := error(nil); err {"},
	}},
	{"PUBACK before the commit", "accept", []change{
		{"store/accept.go", "		after: func(err error) { done(a, err) },\n	}\n	if e.Event.CanOpen()", "		after: func(error) { _ = a },\n	}\n	done(sale.Accepted{Status: sale.Queued, Register: e.Register}, nil)\n	if e.Event.CanOpen()"},
	}},
	{"no sync of directories", "care", []change{
		{"config/settings.go", "	d, err := os.Open(dir)\n	if err != nil {\n		return fmt.Errorf(\"open %s: %w\", dir, err)\n	}\n	return errors.Join(d.Sync(), d.Close())", "	return nil"},
	}},
	{"no sync of settings", "care", []change{
		{"config/settings.go", "f.Chmod(0o600), f.Sync(), f.Close()", "f.Chmod(0o600), f.Close()"},
	}},
	{"the request leaves before its attempt is stored", "settle", []change{
		{"store/queue.go", "func (db *DB) Begin(ctx context.Context, a sale.Attempt) error {\n", "func (db *DB) Begin(ctx context.Context, a sale.Attempt) error {\n	go func() { _ = db.begin(context.WithoutCancel(ctx), a) }()\n	return nil\n}\n\nfunc (db *DB) begin(ctx context.Context, a sale.Attempt) error {\n"},
	}},
	{"no sync of the certificate authority", "start", []change{
		{"siteca/files.go", "f.Chmod(mode), f.Sync(), f.Close()", "f.Chmod(mode), f.Close()"},
	}},
	{"the data directory's name is not synced", "accept", []change{
		{"gateway/gateway.go", "makeDataDir(dir)", "os.MkdirAll(dir, 0o700)"},
	}},
	{"a backup whose name is not synced", "backup", []change{
		{"cmd/edgegw/newfile.go", "config.SyncDir(filepath.Dir(path))", "error(nil)"},
		{"cmd/edgegw/newfile.go", "	\"path/filepath\"\n\n	\"edgegw/config\"\n", ""},
	}},
	{"a restore moves before its folders are on disk", "restore", []change{
		{"gateway/restore.go", "	if err := config.SyncDir(dir); err != nil {\n		return err\n	}\n	names :=", "	names :="},
	}},
	{"a restore's plan outlives its mark", "restore", []change{
		{"gateway/restore.go", "err = removePlan(nest)", "err = os.Remove(filepath.Join(nest, movedName))"},
	}},
	{"a restore's plan appears before its content", "restore", []change{
		{"gateway/restore.go", "if err := writeWhole(filepath.Join(nest, planName), p); err != nil {", "text, err := json.Marshal(p)\n	if err = errors.Join(err, writeSynced(filepath.Join(nest, planName), text)); err != nil {"},
	}},
	{"a device's key whose name is not synced", "care", []change{
		{"cmd/edgegw/credentials.go", "	return config.SyncDir(filepath.Dir(path)) // a key", "	_ = config.SyncDir\n	return nil // a key"},
	}},
	{"a log that is believed and not synced", "killed", []change{
		{"store/store.go", "err := syncLog(path)", "err := error(nil)"},
	}},
	{"a log that is synced and not written again", "killed", []change{
		{"store/log.go", "f.WriteAt(many[:valid], at)", "f.WriteAt(nil, at)"},
	}},
	{"a backup that is not synced", "backup", []change{
		{"cmd/edgegw/backup.go", "		err = f.Sync()\n", ""},
	}},
}

// make changes the copy of a source file.
func (c change) make(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.Count(string(text), c.old) != 1 {
		return fmt.Errorf("mutant: %s does not have the text %q once", c.file, c.old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600)
}

func copyTo(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// build makes edgegw, with the changes of a mutant laid over the sources.
func build(ctx context.Context, root, binary, scratch string, changes []change) error {
	args := []string{"build", "-o", binary}
	if len(changes) > 0 {
		overlay := struct{ Replace map[string]string }{map[string]string{}}
		for i, c := range changes {
			path := filepath.Join(root, c.file)
			young := overlay.Replace[path] // as an earlier change left it
			if young == "" {
				young = filepath.Join(scratch, fmt.Sprintf("mutant-%d.go", i))
				overlay.Replace[path] = young
				if err := copyTo(path, young); err != nil {
					return err
				}
			}
			if err := c.make(young); err != nil {
				return err
			}
		}
		list := filepath.Join(scratch, "overlay.json")
		text, err := json.Marshal(overlay)
		if err := errors.Join(err, os.WriteFile(list, text, 0o600)); err != nil {
			return err
		}
		args = append(args, "-overlay", list)
	}
	c := exec.CommandContext(ctx, "go", append(args, "./cmd/edgegw")...)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build edgegw: %w\n%s", err, out)
	}
	return nil
}
