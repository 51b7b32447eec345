package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/config"
)

// Files of the settings in data_dir, beside config.SettingsFile. That one has what
// was confirmed and nothing else: a change on trial lives in the process, so a
// process that ends, however it ends, has undone it. trialFile is there to say so.
const (
	trialFile   = "settings-trial.json"
	historyFile = "settings-history.jsonl"
	badSettings = config.SettingsFile + ".bad-"
)

// trialRecord is a change of which nobody has said yet that it works.
type trialRecord struct {
	At      time.Time             `json:"at"`
	By      string                `json:"by"`
	Changes []admin.SettingChange `json:"changes"`
	Values  map[string]string     `json:"values"`
	Failed  string                `json:"failed,omitempty"` // why no gateway could begin with it
}

func readTrial(dir string) (*trialRecord, error) {
	text, err := os.ReadFile(filepath.Join(dir, trialFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &trialRecord{}
	if err := json.Unmarshal(text, t); err != nil {
		return &trialRecord{}, nil // half a file: that there was one is all that counts
	}
	return t, nil
}

func writeTrial(dir string, t *trialRecord) error {
	return writeWhole(filepath.Join(dir, trialFile), t)
}

// writeWhole puts a value into a file as JSON, on the disk and whole or not at all.
func writeWhole(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	young := path + ".new"
	if err := writeSynced(young, text); err != nil {
		return err
	}
	return errors.Join(os.Rename(young, path), config.SyncDir(filepath.Dir(path)))
}

func removeTrial(dir string) error {
	if err := os.Remove(filepath.Join(dir, trialFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return config.SyncDir(dir)
}

// noteFailure keeps why no gateway could begin, for the one that begins after it.
func noteFailure(dir string, cause error) error {
	t, err := readTrial(dir)
	if err != nil || t == nil {
		return err
	}
	t.Failed = cause.Error()
	return writeTrial(dir, t)
}

// readHistory gives what can be read; a line that was cut by a crash is left out.
func readHistory(dir string) ([]admin.SettingsRecord, error) {
	text, err := os.ReadFile(filepath.Join(dir, historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []admin.SettingsRecord
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		r := admin.SettingsRecord{}
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.What == "" {
			continue
		}
		r.No = len(all) + 1
		all = append(all, r)
	}
	return all, lines.Err()
}

// appendHistory adds a line, which is on disk when it returns.
func appendHistory(dir string, r admin.SettingsRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, historyFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...) // behind half a line
		}
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Sync(), f.Close(), config.SyncDir(dir))
}

// setAsideSettings moves a file away that cannot be used, so that the next change
// can be kept and somebody can see what it was.
func (k *control) setAsideSettings(ctx context.Context) {
	problem := k.config.Settings().Problem
	if problem == "" || k.config.Settings().Trial {
		return
	}
	path := k.config.SettingsPath()
	aside := filepath.Join(k.config.DataDir, badSettings+k.now().UTC().Format("20060102T150405Z"))
	k.log.Error("the settings that were changed on the box cannot be used; the gateway goes on without them", "set_aside", aside, "cause", problem)
	if err := os.Rename(path, aside); err != nil {
		k.log.Error("they cannot be set aside", "cause", err)
		return
	}
	k.recordSettings(ctx, admin.SettingsRecord{What: admin.SettingsSetAside, By: "edgegw", Why: problem})
}

// recordSettings notes what happened in the history and the audit trail. What has
// happened is not taken back because it cannot be noted.
func (k *control) recordSettings(ctx context.Context, r admin.SettingsRecord) {
	if err := k.noteSettings(ctx, r); err != nil {
		k.log.Error("what happened to the settings cannot be noted", "what", r.What, "cause", err)
	}
}

func (k *control) noteSettings(ctx context.Context, r admin.SettingsRecord) error {
	r.At = k.now().UTC().Truncate(time.Second)
	if r.Changes == nil {
		r.Changes = []admin.SettingChange{}
	}
	if r.Values = maps.Clone(r.Values); r.Values == nil {
		r.Values = k.config.Kept().Settings().Values
	}
	if err := appendHistory(k.config.DataDir, r); err != nil {
		return fmt.Errorf("write %s: %w", historyFile, err)
	}
	k.settings.last.Store(&r)
	return k.db.Note(context.WithoutCancel(ctx), "settings "+r.What, "", changeText(r), r.By)
}

// changeText is a change in a line of the audit trail.
func changeText(r admin.SettingsRecord) string {
	var all []string
	for _, c := range r.Changes {
		all = append(all, c.String())
	}
	if r.Why != "" {
		all = append(all, r.Why)
	}
	return strings.Join(all, "; ")
}
