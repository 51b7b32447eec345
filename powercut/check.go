package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"edgegw/audit"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// moment is what the world outside knew when the power went.
type moment struct {
	script   *script
	scene    scene
	events   []claim           // of the script, in its order
	sent     map[string]int    // requests whose bytes had left, by idempotency key
	notes    []promise         // in order
	keys     map[string]string // of registers at the stand-in
	restores int               // restores that had begun
	restored int               // and were answered
}

// claim is what a device knew of one of its events.
type claim struct {
	*event
	acked bool
	code  byte
}

func newMoment(sc scene, s *script) *moment {
	m := &moment{script: s, scene: sc, sent: map[string]int{}, keys: maps.Clone(s.Keys)}
	for i := range s.Events {
		m.events = append(m.events, claim{event: &s.Events[i]})
	}
	return m
}

// learn adds what was seen next.
func (m *moment) learn(p *promise) error {
	switch {
	case p.ack != nil:
		others := true // the gateway's own client, which tries whether a message comes through
		for i := range m.events {
			c := &m.events[i]
			if c.Port == p.ack.port && c.Packet == p.ack.packet {
				c.acked, c.code = true, p.ack.code
				return nil
			}
			others = others && c.Port != p.ack.port
		}
		if others {
			return nil
		}
		return fmt.Errorf("an acknowledgement of packet %d to port %s answers nothing", p.ack.packet, p.ack.port)
	case p.sent != "":
		m.sent[p.sent]++
		return nil
	case p.note == "rotated":
		m.keys[p.values["register"]] = p.values["key"]
	case p.note == "restoring":
		m.restores++
	case p.note == "restored":
		m.restored++
	}
	m.notes = append(m.notes, *p)
	return nil
}

// clone is for a state that is checked while the recording goes on.
func (m *moment) clone() *moment {
	c := *m
	c.events, c.sent, c.notes, c.keys = slices.Clone(m.events), maps.Clone(m.sent), slices.Clone(m.notes), maps.Clone(m.keys)
	return &c
}

// put writes a state into an empty folder.
func (img image) put(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(img)) {
		path := filepath.Join(dir, name)
		if img[name] == nil {
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, img[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// check opens a state with the product and gives what it has lost.
func (m *moment) check(ctx context.Context, dir string, drain bool) (err error) {
	data := filepath.Join(dir, dataName)
	if err := m.files(dir); err != nil {
		return err
	}
	var after *sandbox.Service
	if m.scene.whole || drain {
		if after, err = m.open(ctx, data, drain); err != nil {
			return err
		}
	}
	db, err := store.Open(ctx, data, store.Options{})
	if err != nil {
		if len(m.notes) == 0 && m.acked() == 0 && errors.Is(err, os.ErrNotExist) {
			return nil // nothing was there yet, and nobody was told that there is
		}
		return fmt.Errorf("the journal does not open: %w", err)
	}
	err = m.journal(ctx, db, data)
	if after != nil && err == nil {
		err = m.reconcile(ctx, db, after)
	}
	return errors.Join(err, db.Close())
}

func (m *moment) acked() (n int) {
	for _, c := range m.events {
		if c.acked {
			n++
		}
	}
	return n
}

// journal checks what stands in it.
func (m *moment) journal(ctx context.Context, db *store.DB, data string) error {
	if damage, err := db.QuickCheck(ctx); err != nil || damage != "" {
		return errors.Join(err, fmt.Errorf("the journal is damaged: %q", damage))
	}
	faults, err := db.Recount(ctx)
	if err != nil || len(faults) > 0 {
		return errors.Join(err, fmt.Errorf("the books do not add up: %q", faults))
	}
	if err := trail(ctx, db); err != nil {
		return err
	}
	if m.restores > 0 {
		return m.setAside(ctx, db, data)
	}
	return errors.Join(m.present(ctx, db), m.attempts(ctx, db), m.rows(ctx, db))
}

// trail checks the chain over the audit trail.
func trail(ctx context.Context, db *store.DB) (err error) {
	var at audit.Point
	walk := db.Trail(ctx, func(l audit.Line, chain []byte) bool {
		at = audit.Point{No: l.No, Chain: at.Chain.Next(l)}
		if string(chain) != string(at.Chain[:]) {
			err = fmt.Errorf("line %d of the audit trail is not the one that was written", l.No)
		}
		return err == nil
	})
	return errors.Join(walk, err)
}

// stored gives the payloads that a journal holds, of each device in order.
func stored(ctx context.Context, db *store.DB) (events, evidence map[string][]string, err error) {
	events, evidence = map[string][]string{}, map[string][]string{}
	err = db.Snapshot(ctx, func(s *store.Snapshot) error {
		return s.Events(ctx, store.Period{To: time.Now().AddDate(100, 0, 0)}, func(e *store.EventRecord) error {
			events[string(e.Device)] = append(events[string(e.Device)], string(e.Raw))
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	items, err := db.Items(ctx, store.ItemFilter{Messages: true, Limit: 1000})
	for _, i := range items {
		one, lookErr := db.Items(ctx, store.ItemFilter{No: i.No})
		if lookErr != nil || len(one) != 1 {
			return nil, nil, errors.Join(lookErr, fmt.Errorf("item %d is listed, and not there", i.No))
		}
		evidence[string(i.Device)] = append(evidence[string(i.Device)], string(one[0].Raw))
	}
	return events, evidence, err
}

// present checks that each device's events are there: all that were acknowledged,
// none twice, in the order in which they were reported, none that never was.
func (m *moment) present(ctx context.Context, db *store.DB) error {
	events, evidence, err := stored(ctx, db)
	if err != nil {
		return err
	}
	reported, must := map[string][]string{}, map[string]int{}
	for d, payloads := range m.script.Base {
		reported[d], must[d] = slices.Clone(payloads), len(payloads)
	}
	var errs []error
	for _, c := range m.events {
		switch {
		case c.Again: // its acknowledgement is of the one before
			if i := slices.Index(reported[c.Device], c.Payload); c.acked && c.code < 0x80 {
				must[c.Device] = max(must[c.Device], i+1)
			}
		case c.Bad:
			if n := occurrences(evidence[c.Device], c.Payload); n > 1 || n == 0 && c.acked {
				errs = append(errs, fmt.Errorf("lost: a message of %s was acknowledged, and is kept %d times", c.Device, n))
			}
		default:
			reported[c.Device] = append(reported[c.Device], c.Payload)
			if c.acked && c.code < 0x80 {
				must[c.Device] = len(reported[c.Device])
			}
		}
	}
	for d, have := range events {
		if len(have) > len(reported[d]) || !slices.Equal(have, reported[d][:len(have)]) {
			errs = append(errs, fmt.Errorf("%s: the journal has %d events that are not the first ones it reported", d, len(have)))
		}
	}
	for d, n := range must {
		if len(events[d]) < n {
			errs = append(errs, fmt.Errorf("lost: %d events of %s were acknowledged, %d are there", n, d, len(events[d])))
		}
	}
	return errors.Join(errs...)
}

func occurrences(list []string, of string) (n int) {
	for _, s := range list {
		if s == of {
			n++
		}
	}
	return n
}

// attempts checks that no request has left of which the journal does not know: the
// head of a queue has as many attempts as were seen, and nothing behind it left.
func (m *moment) attempts(ctx context.Context, db *store.DB) error {
	for _, register := range slices.Sorted(maps.Keys(m.keys)) {
		h, err := db.Head(ctx, sale.RegisterID(register))
		if errors.Is(err, sale.ErrNone) || errors.Is(err, sale.ErrHeld) {
			continue
		}
		if err != nil {
			return err
		}
		if n := m.sent[h.IdempotencyKey]; n > h.Attempts {
			return fmt.Errorf("%s: %d requests have left for the call at the head, the journal knows of %d", register, n, h.Attempts)
		}
		for _, c := range h.Rest {
			if m.sent[c.IdempotencyKey] > 0 {
				return fmt.Errorf("%s: a request has left for a call that is not at the head", register)
			}
		}
	}
	return nil
}

// rows checks what commands were answered for, as far as it stands in the journal.
func (m *moment) rows(ctx context.Context, db *store.DB) error {
	devices, err := db.Devices(ctx)
	if err != nil {
		return err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return err
	}
	people, err := db.People(ctx)
	if err != nil {
		return err
	}
	tokens, err := db.Tokens(ctx)
	if err != nil {
		return err
	}
	versions := map[string]int{}
	for _, p := range m.notes {
		of, there := p.values["of"], true
		switch p.note {
		case "device":
			of = p.values["device"]
			there = slices.ContainsFunc(devices, func(d sale.Device) bool { return string(d.ID) == of })
			versions[p.values["register"]] = max(1, versions[p.values["register"]])
		case "disabled":
			there = slices.ContainsFunc(devices, func(d sale.Device) bool { return string(d.ID) == of && d.Disabled })
		case "key":
			of = p.values["register"]
			versions[of]++
			there = slices.ContainsFunc(keys, func(k sale.SealedKey) bool { return string(k.Register) == of && int(k.Version) >= versions[of] })
		case "person":
			there = slices.ContainsFunc(people, func(p sale.Person) bool { return p.Name == of })
		case "token":
			there = slices.ContainsFunc(tokens, func(t sale.Token) bool { return t.Name == of })
		case "discarded":
			no, err := strconv.ParseInt(of, 10, 64)
			items, lookErr := db.Items(ctx, store.ItemFilter{No: no})
			there = err == nil && lookErr == nil && len(items) == 1 && items[0].Decision != ""
		}
		if !there {
			return fmt.Errorf("lost: %s %s was answered", p.note, of)
		}
	}
	return nil
}

// files checks what commands were answered for that is a file of its own.
func (m *moment) files(dir string) error {
	for _, p := range m.notes {
		switch p.note {
		case "file":
			b, err := os.ReadFile(filepath.Join(dir, p.values["file"]))
			if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != p.values["sha256"] {
				return errors.Join(fmt.Errorf("lost: %s, as a command has left it", p.values["file"]), err)
			}
		case "backup":
			if err := m.backup(filepath.Join(dir, p.values["file"]), p.values["events"]); err != nil {
				return err
			}
		}
	}
	return nil
}

// verified are the backups that were read already, by their bytes: opening one takes
// as long as trying a passphrase has to.
var verified sync.Map

// backup reads a backup that was said to be whole.
func (m *moment) backup(path, events string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("lost: a backup that was answered: %w", err)
	}
	least, err := strconv.ParseInt(events, 10, 64)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	holds, known := verified.Load(sum)
	if !known {
		man, err := gateway.VerifyBackup(bytes.NewReader(b), secret.FromString(passphrase))
		if err != nil {
			return fmt.Errorf("lost: a backup that was answered: %w", err)
		}
		holds = man.Events
		verified.Store(sum, holds)
	}
	if holds.(int64) < least {
		return fmt.Errorf("lost: a backup holds %d events, %d were acknowledged before it began", holds, least)
	}
	return nil
}

// setAside checks a restore: what was acknowledged before it is in the journal, or in
// one that was set aside, and one that was answered is the backup's.
func (m *moment) setAside(ctx context.Context, db *store.DB, data string) error {
	best, _, err := stored(ctx, db)
	if err != nil {
		return err
	}
	now := len(best["pump-1"])
	aside, err := filepath.Glob(filepath.Join(data, "before-restore-*"))
	if err != nil {
		return err
	}
	for _, dir := range aside {
		if _, err := os.Stat(filepath.Join(dir, store.FileName)); err != nil {
			continue
		}
		old, err := store.Open(ctx, dir, store.Options{})
		if err != nil {
			return fmt.Errorf("what was set aside does not open: %w", err)
		}
		events, _, err := stored(ctx, old)
		if err := errors.Join(err, old.Close()); err != nil {
			return err
		}
		if len(events["pump-1"]) > len(best["pump-1"]) {
			best = events
		}
	}
	if acked := m.acked(); len(best["pump-1"]) < acked {
		return fmt.Errorf("lost: %d events were acknowledged before the restore, %d are there or set aside", acked, len(best["pump-1"]))
	}
	if m.restored > 0 && now >= m.acked() {
		return errors.New("lost: a restore that was answered")
	}
	return nil
}
