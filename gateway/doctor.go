package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/doctor"
	"edgegw/fiscal"
	"edgegw/health"
	"edgegw/mirror"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

const (
	// quickCheckLimit bounds the reading of the whole journal.
	quickCheckLimit = 10 * time.Second
	// doctorLimit bounds everything together.
	doctorLimit = 25 * time.Second
)

// Doctor looks at everything that the site needs. Those who ask while it looks get
// what it finds: the whole journal is read for it, and something is written.
func (k *control) Doctor(ctx context.Context, asker string) ([]admin.Check, error) {
	found, err, _ := k.doctors.Do(asker, func() (any, error) { return k.examine(context.WithoutCancel(ctx), asker) })
	all, _ := found.([]admin.Check)
	return all, err
}

func (k *control) examine(ctx context.Context, asker string) ([]admin.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	f := doctor.Facts{Now: k.now(), Version: k.options.Version, Asker: asker, Running: k.running != nil, Replaced: k.running != nil && replacedOnDisk()}
	var errs [2]error
	together(
		func() { k.boxFacts(&f) },
		func() { f.Uplink = uplinkFacts(ctx, k.config.OpenFiskal, k.clock.Bounds) },
		func() { f.Database, errs[0] = k.databaseFacts(ctx) },
		func() { errs[1] = k.siteNow(ctx, &f) },
		func() { f.Listeners = k.listenerFacts(ctx) },
	)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, c := range f.Conditions {
		if c.Code == "books_unbalanced" {
			f.Database.Wrong = c.Title
		}
	}
	if s := f.Data.Space; s != nil {
		d := admin.Disk{Free: s.Free}
		if k.forecast(ctx, &d) == nil { // what is damaged is another check's
			f.Data.DaysLeft = d.DaysLeft
		}
	}
	k.clockFacts(&f)
	k.keyFacts(ctx, &f)
	f.Certificates = k.certificateFacts()
	return doctor.Examine(f), nil
}

// DoctorClosed looks at what can be seen of a site whose data cannot be opened;
// closed is why.
func DoctorClosed(ctx context.Context, c config.Config, o Options, closed error) []admin.Check {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	k := &control{config: c, options: o}
	f := doctor.Facts{Now: time.Now(), Version: o.Version, Closed: closed.Error()}
	together(func() { k.boxFacts(&f) }, func() { f.Uplink = uplinkFacts(ctx, c.OpenFiskal, nil) })
	f.Listeners = k.openTo()
	return doctor.Examine(f)
}

func together(all ...func()) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f)
	}
	wg.Wait()
}

// databaseFacts gives the journal's file.
func (k *control) databaseFacts(ctx context.Context) (*doctor.Database, error) {
	d := &doctor.Database{Path: filepath.Join(k.config.DataDir, store.FileName+"-wal")}
	limited, cancel := context.WithTimeout(ctx, quickCheckLimit)
	defer cancel()
	damage, err := k.db.QuickCheck(limited)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		d.CutShort = true
	case err != nil:
		return nil, fmt.Errorf("check the database: %w", err)
	}
	d.Damage = damage
	_, d.Log, err = k.db.Sizes()
	return d, err
}

// siteNow reads what waits, and what stands. A journal that is damaged may refuse
// any of it: that is the business of another check, and no reason to say nothing.
func (k *control) siteNow(ctx context.Context, f *doctor.Facts) error {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		f.Conditions = append(f.Conditions, doctor.Condition{Code: "unreadable", Title: "The queues cannot be read: " + err.Error()})
		return nil
	}
	for _, q := range queues {
		f.Quarantined += q.Quarantined
		if !q.Idle {
			f.Queues = append(f.Queues, doctor.Queue{Register: string(q.Register), Blocked: !q.BlockedSince.IsZero(),
				ByKey: q.Class == sale.KeyRefused || q.Blocker != 0, Since: q.Oldest, Why: q.Problem})
		}
	}
	s, facts, err := k.look(ctx, queues)
	if err != nil {
		f.Conditions = append(f.Conditions, doctor.Condition{Code: "unreadable", Title: "The site's state cannot be read: " + err.Error()})
		return nil
	}
	f.Messages = int64(len(facts.messages))
	for _, c := range s.Conditions {
		if c.Severity >= health.Attention {
			f.Conditions = append(f.Conditions, doctor.Condition{Code: c.Code, Title: c.Title})
		}
	}
	return nil
}

func (k *control) clockFacts(f *doctor.Facts) {
	s := k.clock.State()
	f.Clock = &doctor.Clock{Wall: s.Wall, Synchronised: s.Quality == clock.Synchronised, Source: string(s.Source)}
	b := &health.Board{}
	k.clockCondition(b)
	for _, c := range b.List() {
		if c.Severity >= health.Attention {
			f.Clock.Problem, f.Clock.Code = c.Title, c.Code
		}
	}
}

// keyFacts tells of the keys as they are stored. Nobody is asked about them.
func (k *control) keyFacts(ctx context.Context, f *doctor.Facts) {
	seen := map[sale.RegisterID]bool{}
	host := hostOf(k.config.OpenFiskal.BaseURL)
	for _, d := range k.ring.List() {
		name := k.keyName(d.Register)
		if seen[name] {
			continue
		}
		seen[name] = true
		r := doctor.Register{Name: string(d.Register)}
		r.Key, _ = k.keyState(d.Register)
		if key, err := k.ring.Credential(ctx, name); err == nil {
			if err := fiscal.KeyFits(host, key); err != nil {
				r.HostLine = wording.From(err)
			}
			key.Wipe()
		}
		f.Registers = append(f.Registers, r)
	}
	now := k.kekNow()
	f.KEK = &doctor.KEK{}
	if now.problem != nil {
		f.KEK.Problem = now.problem.Error()
	}
	path := k.config.Vault.KEKFile
	if now.source.Kind == devicekeys.KEKSelfMade {
		f.KEK.SelfMade = now.source.Path
	}
	if path == "" && k.config.Vault.KEK.Empty() {
		path = filepath.Join(k.config.DataDir, "kek")
	}
	if _, loose := looseMode(path, 0o077); loose {
		f.KEK.LooseAt = path
	}
	for _, p := range k.shut() {
		f.Sealed = append(f.Sealed, string(p.Register))
	}
}

func (k *control) certificateFacts() *doctor.Certificates {
	c := &doctor.Certificates{Dir: k.config.DataDir, CA: k.authority.End(), Server: k.authority.Leaf().NotAfter}
	if t := k.authority.Trouble(); t != nil {
		c.Trouble = t.Err.Error()
	}
	if k.files != nil {
		c.Operator, c.Trouble, c.Server = true, "", k.files.Leaf().NotAfter
		if err := k.files.Problem(); err != nil {
			c.Trouble = err.Error()
		}
	}
	for _, d := range k.ring.List() {
		var last time.Time // the device may have a newer one
		for _, cert := range k.ring.Certificates(d.ID) {
			if cert.RevokedAt.IsZero() && cert.NotAfter.After(last) {
				last = cert.NotAfter
			}
		}
		if !last.IsZero() && !d.Disabled {
			c.Clients = append(c.Clients, doctor.Client{Device: string(d.ID), End: last})
		}
	}
	return c
}

// listenerFacts sends a canary where a gateway runs.
func (k *control) listenerFacts(ctx context.Context) doctor.Listeners {
	l := k.openTo()
	if k.running == nil {
		return l
	}
	addr, took, connect, publish := k.running.fly(ctx, largeCanary, canaryLimit)
	l.Address, l.Took = addr, took
	if connect != nil {
		l.ConnectError = connect.Error()
	}
	if publish != nil {
		l.PublishError = publish.Error()
	}
	return l
}

// openTo names the listeners without TLS that other machines can reach.
func (k *control) openTo() (l doctor.Listeners) {
	if addr := k.config.MQTT.PlainListen; addr != "" && !loopbackHost(addr) {
		l.Plain = addr
	}
	if addr := k.config.HTTP.Listen; addr != "" && !loopbackHost(addr) {
		l.HTTP = addr
	}
	return l
}

// boxFacts looks at the data directory and the machine.
func (k *control) boxFacts(f *doctor.Facts) {
	dir := k.config.DataDir
	f.Data = doctor.Data{Dir: dir, Volatile: volatile(dir), MinFree: k.config.Store.MinFreeBytes, Space: space(dir), Loose: k.loose()}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		f.Data.Missing = true
	}
	took, err := tryDisk(dir)
	if f.Data.Sync = took; err != nil {
		f.Data.WriteError = err.Error()
	}
	f.Box = boxNow(dir)
	f.Box.MostConns = k.config.MQTT.MaxConnections
	f.Config = doctor.Config{File: k.config.File}
	for _, o := range k.config.Origins() {
		if o.Source != config.FromDefault {
			f.Config.Settings++
		}
		if o.Source == config.FromFile && o.Key == "openfiskal.proxy" && strings.Contains(string(k.config.OpenFiskal.Proxy.Reveal()), "@") {
			_, f.Config.Loose = looseMode(k.config.File, 0o044)
		}
	}
}

// loose lists what others may use. The key-encryption key has a check of its own.
func (k *control) loose() (found []doctor.Loose) {
	dir := k.config.DataDir
	look := func(path string, forbidden os.FileMode, want string) {
		if mode, bad := looseMode(path, forbidden); bad {
			found = append(found, doctor.Loose{Path: path, Mode: mode, Want: want})
		}
	}
	look(dir, 0o022, "go-w")
	for _, name := range []string{store.FileName, store.FileName + "-wal", store.FileName + "-shm", "site-ca-key.pem", "server-key.pem", admin.SocketName} {
		look(filepath.Join(dir, name), 0o077, "600")
	}
	for _, path := range mirror.Files(k.mirrorDir()) {
		look(path, 0o077, "600")
	}
	look(k.config.MQTT.KeyFile, 0o077, "600")
	return found
}

func looseMode(path string, forbidden os.FileMode) (mode string, loose bool) {
	if path == "" {
		return "", false
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&forbidden == 0 {
		return "", false
	}
	return fmt.Sprintf("%04o", info.Mode().Perm()), true
}
