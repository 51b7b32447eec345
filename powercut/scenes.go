package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

// scene is one part of the product's life, and what its check has to do.
type scene struct {
	name  string
	about string
	play  func(*stage) error
	base  string // a folder of testdata that it begins with
	whole bool   // every state is opened by a whole gateway, not the journal alone
	slow  bool   // its syncs take long enough to be killed in
	drain int    // every so many states the queues are run dry against the stand-in; 0: never
}

var sceneList = []scene{
	{name: "start", about: "the first start ever, devices, clean and unclean ends", play: playStart, whole: true},
	{name: "accept", about: "events one by one and in groups, without an uplink", play: playAccept, drain: 60},
	{name: "settle", about: "attempts, answers and receipts, with the uplink", play: playSettle, drain: 30},
	{name: "checkpoint", about: "the write-ahead log is copied and begun anew", play: playCheckpoint, drain: 150},
	{name: "migrate", about: "a journal of the first version is brought up to date", play: playMigrate, base: "journal-1"},
	{name: "backup", about: "backups while sales come in", play: playBackup},
	{name: "restore", about: "a backup takes the place of newer data", play: playRestore, whole: true},
	{name: "killed", about: "killed in the middle of a sync, and a device that reports again", play: playKilled, slow: true},
	{name: "care", about: "keys, passwords, settings, people, tokens, a quarantine", play: playCare, whole: true},
}

var scenes = func() map[string]scene {
	m := map[string]scene{}
	for _, s := range sceneList {
		m[s.name] = s
	}
	return m
}()

const at = `"occurred_at":"2026-11-22T08:31:07+01:00"`

// amounts differ, so that money tells sales apart.
func money(cents int64) string {
	return fmt.Sprintf(`"line_items":[{"description":"Super E10","quantity":"1","unit":"l","unit_price":"%d.%02d","amount":%d,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":%d}]`,
		cents/100, cents%100, cents, cents)
}

// next gives the events of the device's next sale: in steps, with an update, whole
// or cancelled, in turn.
func (p *pump) next() []event {
	p.sales++
	id, cents := fmt.Sprintf("%s-%04d", p.id, p.sales), int64(1000+p.sales)
	of := func(kind, payload string, total int64) event {
		return event{Kind: kind, Sale: id, Payload: payload, Total: total}
	}
	start := of("sale/start", fmt.Sprintf(`{"sale_id":%q,%s,"currency":"EUR"}`, id, at), 0)
	complete := of("sale/complete", fmt.Sprintf(`{"sale_id":%q,%s,%s}`, id, at, money(cents)), cents)
	switch p.sales % 4 {
	case 0:
		lines, _, _ := strings.Cut(money(cents), `,"payments"`)
		return []event{start, of("sale/update", fmt.Sprintf(`{"sale_id":%q,%s,%s}`, id, at, lines), 0), complete}
	case 1:
		return []event{start, complete}
	case 2:
		return []event{of("sale", fmt.Sprintf(`{"sale_id":%q,%s,"currency":"EUR",%s}`, id, at, money(cents)), cents)}
	}
	return []event{start, of("sale/cancel", fmt.Sprintf(`{"sale_id":%q,%s,"reason":"nozzle returned"}`, id, at), 0)}
}

func (p *pump) sell(n int) error {
	for range n {
		if err := p.report(p.next()...); err != nil {
			return err
		}
	}
	return nil
}

// site adds devices and starts a gateway; two devices share the last register.
func (s *stage) site(devices int) ([]*pump, error) {
	for i := 1; i <= devices; i++ {
		if err := s.addDevice(fmt.Sprintf("pump-%d", i), fmt.Sprintf("reg_%d", min(i, max(1, devices-1)))); err != nil {
			return nil, err
		}
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.lines(devices)
}

func (s *stage) lines(devices int) (pumps []*pump, err error) {
	for i := 1; i <= devices && err == nil; i++ {
		var p *pump
		p, err = s.connect(fmt.Sprintf("pump-%d", i))
		pumps = append(pumps, p)
	}
	return pumps, err
}

// together has every device do the same at once.
func together(pumps []*pump, do func(*pump) error) error {
	errs := make([]error, len(pumps))
	var all sync.WaitGroup
	for i, p := range pumps {
		all.Go(func() { errs[i] = do(p) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *stage) count(short, long int) int {
	if s.small {
		return short
	}
	return long
}

func playStart(s *stage) error {
	if err := errors.Join(s.addDevice("pump-1", "reg_1"), s.authority()); err != nil {
		return err
	}
	for life := range s.count(1, 4) {
		if err := errors.Join(s.run(), s.addDevice(fmt.Sprintf("pump-%d", life+2), fmt.Sprintf("reg_%d", life+2))); err != nil {
			return err
		}
		p, err := s.connect("pump-1")
		if err != nil {
			return err
		}
		p.sales = life
		if err := p.sell(1); err != nil {
			return err
		}
		leave := s.end
		if life%2 == 1 {
			leave = s.kill
		}
		if err := leave(); err != nil {
			return err
		}
	}
	return nil
}

// authority notes the site's certificate authority: devices are told to trust it.
func (s *stage) authority() error {
	b, err := os.ReadFile(filepath.Join(s.dir, dataName, "site-ca.pem"))
	sum := sha256.Sum256(b)
	return errors.Join(err, s.note("file", "file", dataName+"/site-ca.pem", "sha256", hex.EncodeToString(sum[:])))
}

func playAccept(s *stage) error {
	s.service.SetDown(true)
	pumps, err := s.site(s.count(2, 5))
	if err != nil {
		return err
	}
	p := pumps[0]
	again := p.next()
	if err := p.report(again...); err != nil {
		return err
	}
	for i := range again {
		again[i].Again = true
	}
	bad := event{Kind: "sale/complete", Sale: "bad", Payload: `{"sale_id":"bad",` + at + `,"line_items":17}`, Bad: true}
	if err := errors.Join(p.report(again...), p.report(bad), p.sell(s.count(1, 20))); err != nil {
		return err
	}
	return together(pumps, func(p *pump) error { // bursts: groups that share a commit
		for range s.count(1, 12) {
			n := 0
			for range 4 {
				for _, e := range p.next() {
					if err := p.send(e); err != nil {
						return err
					}
					n++
				}
			}
			if err := p.acked(n); err != nil {
				return err
			}
		}
		return nil
	})
}

func playSettle(s *stage) error {
	pumps, err := s.site(s.count(1, 3))
	if err != nil {
		return err
	}
	n := s.count(2, 18)
	if err := together(pumps, func(p *pump) error { return p.sell(n) }); err != nil {
		return err
	}
	if err := s.drained(n * len(pumps)); err != nil {
		return err
	}
	return errors.Join(together(pumps, func(p *pump) error { return p.receipts(n) }), s.end())
}

// drained waits until so many sales have ended at the stand-in.
func (s *stage) drained(n int) error {
	return until(fmt.Sprintf("%d sales have ended at the stand-in", n), func() bool {
		ended := 0
		for _, o := range s.service.Operations("") {
			if o.State != "open" {
				ended++
			}
		}
		return ended >= n
	})
}

func playCheckpoint(s *stage) error {
	pumps, err := s.site(2)
	if err != nil {
		return err
	}
	return together(pumps, func(p *pump) error { return p.sell(s.count(4, 80)) })
}

// playKilled kills the gateway between the write of a commit and its sync. The device
// has no answer, and reports again: the next gateway finds the event in its files.
func playKilled(s *stage) error {
	s.service.SetDown(true)
	pumps, err := s.site(1)
	if err != nil {
		return err
	}
	p := pumps[0]
	if err := p.sell(1); err != nil {
		return err
	}
	for range s.count(2, 6) {
		events := p.next()
		if err := errors.Join(p.send(events[0]), s.written(events[0].Sale), s.kill(), s.run()); err != nil {
			return err
		}
		sales := p.sales
		if p, err = s.connect("pump-1"); err != nil {
			return err
		}
		p.sales, events[0].Again = sales, true
		if err := p.report(events...); err != nil {
			return err
		}
	}
	return nil
}

// written waits until the commit of a sale's event stands in the write-ahead log.
func (s *stage) written(sale string) error {
	var last []byte
	return until("the commit of "+sale+" is written", func() bool {
		log, err := os.ReadFile(filepath.Join(s.dir, dataName, store.FileName+"-wal"))
		still := err == nil && bytes.Equal(log, last)
		last = log
		return still && bytes.Contains(log, []byte(sale))
	})
}

func playMigrate(s *stage) error {
	if _, err := s.command("", "status"); err != nil {
		return err
	}
	return errors.Join(s.note("migrated"), s.run(), s.end())
}

const passphrase = "five words are enough here"

// backup makes one; so many events were acknowledged before it began.
func (s *stage) backup(name string, events int) error {
	if _, err := s.command(passphrase+"\n", "backup", "-o", filepath.Join(s.dir, outName, name), "--passphrase-stdin"); err != nil {
		return err
	}
	return s.note("backup", "file", outName+"/"+name, "events", strconv.Itoa(events))
}

func playBackup(s *stage) error {
	pumps, err := s.site(2)
	if err != nil {
		return err
	}
	if err := pumps[0].sell(2); err != nil {
		return err
	}
	for i := range s.count(1, 4) {
		selling, before := make(chan error, 1), int(pumps[0].packet+pumps[1].packet)
		go func() { selling <- pumps[1].sell(3) }()
		if err := errors.Join(s.backup(fmt.Sprintf("backup-%d", i), before), <-selling); err != nil {
			return err
		}
	}
	return s.end()
}

func playRestore(s *stage) error {
	s.service.SetDown(true)
	pumps, err := s.site(1)
	if err != nil {
		return err
	}
	if err := pumps[0].sell(2); err != nil {
		return err
	}
	if err := errors.Join(s.backup("backup", int(pumps[0].packet)), pumps[0].sell(2), s.end()); err != nil {
		return err
	}
	for range s.count(1, 2) {
		if err := s.note("restoring"); err != nil {
			return err
		}
		if _, err := s.command(passphrase+"\n", "restore", filepath.Join(s.dir, outName, "backup"), "--set-aside", "--passphrase-stdin"); err != nil {
			return err
		}
		if err := errors.Join(s.note("restored"), s.run(), s.end()); err != nil {
			return err
		}
	}
	return nil
}

func playCare(s *stage) error {
	pumps, err := s.site(2)
	if err != nil {
		return err
	}
	if err := errors.Join(pumps[0].sell(2), s.drained(2), s.rotate("reg_1")); err != nil {
		return err
	}
	if err := errors.Join(s.told("disabled", "pump-2", "device", "disable", "pump-2"), s.told("person", "eve", "person", "add", "eve", "--role", "technician"),
		s.told("token", "till", "token", "add", "till", "--scope", "metrics"), s.certificate("pump-1"), s.quarantine(pumps[0])); err != nil {
		return err
	}
	for i := range s.count(1, 3) {
		name := fmt.Sprintf("Station %d", i+7)
		if err := s.settings("site.name", name); err != nil {
			return err
		}
	}
	return s.end()
}

// told runs a command and notes that it was answered.
func (s *stage) told(what, of string, args ...string) error {
	if _, err := s.command("", args...); err != nil {
		return err
	}
	return s.note(what, "of", of)
}

// certificate has a device issued one: its key is shown nowhere again.
func (s *stage) certificate(device string) error {
	out := filepath.Join(s.dir, outName)
	if _, err := s.command("", "device", "cert", device, "--out", out); err != nil {
		return err
	}
	made, err := filepath.Glob(filepath.Join(out, device+"*"))
	for _, path := range made {
		b, readErr := os.ReadFile(path)
		sum := sha256.Sum256(b)
		err = errors.Join(err, readErr, s.note("file", "file", outName+"/"+filepath.Base(path), "sha256", hex.EncodeToString(sum[:])))
	}
	return err
}

// rotate gives a register a new key: the old one is dead at once.
func (s *stage) rotate(register string) error {
	key := s.service.Rotate(register)
	if err := s.note("rotated", "register", register, "key", key); err != nil {
		return err
	}
	if _, err := s.command(key+"\n", "key", "set", register, "--key-stdin"); err != nil {
		return err
	}
	return s.note("key", "register", register, "hint", key[len(key)-4:])
}

// quarantine has a sale refused and discards it.
func (s *stage) quarantine(p *pump) error {
	id := s.service.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400})
	if err := p.sell(1); err != nil {
		return err
	}
	var list []struct {
		ID string `json:"id"`
	}
	err := until("the sale is in quarantine", func() bool {
		out, err := s.command("", "quarantine", "list", "--json")
		return err == nil && json.Unmarshal([]byte(out), &list) == nil && len(list) > 0
	})
	s.service.Remove(id)
	if err != nil {
		return err
	}
	no := list[0].ID
	return s.told("discarded", no, "quarantine", "discard", no, "--reason", "a trial")
}

// settings changes a value and confirms it: the gateway begins anew with it.
func (s *stage) settings(key, value string) error {
	if _, err := s.command("", "settings", "set", key+"="+value, "--yes"); err != nil {
		return err
	}
	err := until("the changed gateway confirms", func() bool {
		_, err := s.command("", "settings", "confirm")
		return err == nil
	})
	return errors.Join(err, s.note("setting", "key", key, "value", value))
}
