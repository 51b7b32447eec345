package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"edgegw/admin"
	"edgegw/broker"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
)

// Device tells of one device.
func (k *control) Device(ctx context.Context, id sale.DeviceID) (admin.Device, error) {
	all, err := k.devices(ctx, math.MaxInt)
	if err != nil {
		return admin.Device{}, err
	}
	for _, d := range all {
		if d.DeviceID == id {
			return d, nil
		}
	}
	return admin.Device{}, unknown(id)
}

// maxListedStatus is the longest `status` of a device in a listing, in bytes:
// there may be thousands.
const maxListedStatus = 1 << 10

// Devices tells of all of them.
func (k *control) Devices(ctx context.Context) ([]admin.Device, error) {
	return k.devices(ctx, maxListedStatus)
}

// devices leaves out a status of more bytes than most.
func (k *control) devices(ctx context.Context, most int) ([]admin.Device, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return nil, err
	}
	mail, err := k.db.Mail(ctx)
	if err != nil {
		return nil, err
	}
	waiting := map[sale.RegisterID]int64{}
	for _, q := range queues {
		waiting[q.Register] = q.Waiting
	}
	presence := k.presence()
	list := []admin.Device{}
	for _, d := range k.ring.List() {
		a := admin.Device{DeviceID: d.ID, RegisterID: d.Register, Kind: d.Kind, Label: d.Label, State: "unknown", CreatedAt: d.CreatedAt,
			Waiting: waiting[d.Register], Receipts: mail[d.ID]}
		a.Key, a.KeyHint = k.keyState(d.Register)
		if k.running != nil {
			p := presence[d.ID]
			a.State, a.Since, a.Remote = "offline", p.Since, p.Remote
			if p.Online {
				a.State = "online"
			}
			if a.StatusAt = p.StatusAt; len(p.Status) <= most {
				a.Status = p.Status
			}
		}
		if d.Disabled {
			a.State = "disabled"
		}
		list = append(list, a)
	}
	return list, nil
}

func (k *control) presence() map[sale.DeviceID]broker.Presence {
	m := map[sale.DeviceID]broker.Presence{}
	if k.running != nil {
		for _, p := range k.running.broker.Presence() {
			m[p.Device] = p
		}
	}
	return m
}

func (k *control) keyState(r sale.RegisterID) (state, hint string) {
	info, err := k.ring.KeyInfo(r)
	if err != nil {
		return "missing", ""
	}
	if info.LastFour != "" {
		hint = "…" + info.LastFour
	}
	return string(info.State), hint
}

// Sales tells of sales, newest first.
func (k *control) Sales(ctx context.Context, f admin.SaleFilter) ([]admin.Sale, error) {
	state, ok := map[string]sale.State{"": 0, "waiting": sale.Waiting, "confirmed": sale.Settled, "quarantined": sale.Quarantine, "resolved": sale.ByPerson}[f.State]
	if !ok {
		return nil, &admin.Refusal{Code: "invalid", Message: fmt.Sprintf("a sale is never %q", f.State),
			Remedy: "Choose waiting, confirmed, quarantined or resolved"}
	}
	rows, err := k.db.Sales(ctx, store.SaleFilter{Device: f.DeviceID, SaleID: f.SaleID, State: state, Limit: f.Limit})
	list := []admin.Sale{}
	for _, s := range rows {
		a := admin.Sale{SaleID: s.SaleID, DeviceID: s.Device, RegisterID: s.Register, State: s.State.String(), Open: s.Open, Total: s.Total,
			Currency: s.Currency, Operation: s.Operation, FiscalState: s.FiscalState, DocumentNumber: s.Document,
			AcceptedAt: s.AcceptedAt, ChangedAt: s.ChangedAt, Flags: []string{}}
		if s.StartMissing {
			a.Flags = append(a.Flags, sale.FlagStartMissing)
		}
		if s.Unsafe {
			a.Flags = append(a.Flags, "qos0")
		}
		list = append(list, a)
	}
	return list, err
}

// Status tells of the site in one look.
func (k *control) Status(ctx context.Context) (admin.Status, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	return k.status(ctx, queues)
}

// status is Status of queues that were just read.
func (k *control) status(ctx context.Context, queues []store.Queue) (admin.Status, error) {
	s := admin.Status{Site: k.config.Site.Name, Version: k.options.Version, Running: k.running != nil, Since: k.since,
		OpenFiskal: k.config.OpenFiskal.BaseURL, MQTT: k.mqttURLs(), Uplink: "unknown", Registers: []admin.Register{}, Conditions: []health.Condition{}}
	if err := k.countMail(ctx, &s); err != nil {
		return s, err
	}
	devices := k.ring.List()
	s.Devices = len(devices)
	for _, p := range k.presence() {
		if p.Online {
			s.Online++
		}
	}
	board := &health.Board{}
	k.standing(board, &s)
	if err := k.evidence(ctx, board, &s); err != nil {
		return s, err
	}
	k.booksCondition(board, queues)
	for _, q := range queues {
		r := register(q)
		s.Registers = append(s.Registers, r)
		s.Totals.Accepted += q.Accepted
		s.Totals.Confirmed += q.Confirmed
		s.Totals.Waiting += q.Waiting
		s.Totals.Quarantined += q.Quarantined
		s.Totals.Resolved += q.Resolved
		k.queueCondition(ctx, board, q, devices)
	}
	s.Conditions = append(s.Conditions, board.List()...)
	s.Sentence = sentence(&s)
	return s, nil
}

func (k *control) countMail(ctx context.Context, s *admin.Status) error {
	mail, err := k.db.Mail(ctx)
	for _, n := range mail {
		s.Totals.Receipts += n
	}
	if err != nil {
		return err
	}
	s.Totals.Refused, err = k.db.CountRefused(ctx)
	return err
}

func register(q store.Queue) admin.Register {
	r := admin.Register{RegisterID: q.Register, State: "waiting", Since: q.Oldest, NextAttempt: q.NextAttempt, Attempts: q.Attempts,
		Totals: admin.Totals{Accepted: q.Accepted, Confirmed: q.Confirmed, Waiting: q.Waiting, Quarantined: q.Quarantined, Resolved: q.Resolved}}
	switch {
	case q.Idle:
		r.State, r.Since = "idle", time.Time{}
	case !q.BlockedSince.IsZero():
		r.State, r.Reason = "blocked", q.Problem
	case q.Problem != "":
		r.State, r.Reason = "retrying", q.Problem
	}
	return r
}

// standing raises the conditions of the site as a whole.
func (k *control) standing(b *health.Board, s *admin.Status) {
	if k.kekProblem != nil {
		b.Set(health.Condition{Code: "kek_missing", Severity: health.Attention, Since: k.since, Title: "The register keys cannot be opened: " + k.kekProblem.Error(),
			Remedy: "Sales are taken and wait. Give the key-encryption key back in vault.kek or vault.kek_file and start the gateway again"})
	} else if w := k.kek.Warning(); w != "" {
		b.Set(health.Condition{Code: "kek_self_made", Severity: health.Notice, Since: k.since, Title: w, Remedy: "Set vault.kek or vault.kek_file to a key kept elsewhere"})
	}
	for _, bad := range k.ring.Check() {
		b.Set(health.Condition{Code: "key_sealed", Severity: health.Attention, Affected: string(bad.Register), Since: k.since,
			Title: "The key of register " + string(bad.Register) + " cannot be opened: " + bad.Err.Error(), Remedy: "Give back the key-encryption key it was sealed with, or enter the register's key again"})
	}
	k.clockCondition(b)
	if k.config.MQTT.PlainListen != "" {
		b.Set(health.Condition{Code: "mqtt_plain", Severity: health.Attention, Since: k.since, Title: "Devices may connect without TLS on " + k.config.MQTT.PlainListen,
			Remedy: "Everybody on that network can read and change their sales: empty mqtt.plain_listen as soon as all devices can do TLS"})
	}
	if kind := volatile(k.config.DataDir); kind != "" {
		b.Set(health.Condition{Code: "data_volatile", Severity: health.Attention, Since: k.since, Title: "The data lies on " + kind + ": a restart of the box loses it",
			Remedy: "Put data_dir on persistent storage"})
	}
	k.deviceSide(b)
	if k.relay == nil {
		return
	}
	for r, err := range k.relay.Troubles() {
		b.Set(health.Condition{Code: "queue_unreadable", Severity: health.Attention, Affected: string(r), Since: k.since,
			Title: "The queue of register " + string(r) + " cannot be read: " + err.Error(), Remedy: "Its sales are kept; keep a copy of the data directory and call support"})
	}
	if k.files != nil {
		if err := k.files.Problem(); err != nil {
			b.Set(health.Condition{Code: "certificate_files", Severity: health.Attention, Since: k.since, Title: "The certificate in mqtt.cert_file is not in use: " + err.Error(),
				Remedy: "The one before is still served. Put a certificate and its key in place again"})
		}
	}
	u := k.relay.Uplink()
	if u.Known {
		s.Uplink = "up"
	}
	if !u.Up {
		s.Uplink, s.UplinkWhy = "down", u.Problem
		b.Set(health.Condition{Code: "uplink_down", Severity: health.Attention, Since: u.Since, Title: "OpenFiskal cannot be reached (" + u.Problem + ")",
			Remedy: "Sales are taken and wait; they go out by themselves when the link is back. Check the site's internet connection"})
	}
}

// evidence raises what devices reported and nobody could understand: money may
// have been taken that no sale stands for.
func (k *control) evidence(ctx context.Context, b *health.Board, s *admin.Status) error {
	open, err := k.db.Items(ctx, store.ItemFilter{Open: true})
	if err != nil {
		return err
	}
	for _, i := range open {
		if i.Register != "" {
			continue
		}
		b.Set(health.Condition{Code: "messages_refused", Severity: health.Attention, Affected: string(i.Device), Since: i.At,
			Title:  fmt.Sprintf("%d messages of devices could not become sales; the newest is a %s of %s (sale %q): %s", s.Totals.Refused, i.Kind, i.Device, i.SaleID, i.Fault.Error()),
			Remedy: fmt.Sprintf("They are kept byte for byte and are not sent. Look at each and decide: edgegw quarantine show %d", i.No)})
		return nil
	}
	return nil
}

// longWait is how long calls may wait before somebody should look although
// every attempt was answered as something that passes by itself.
const longWait = 5 * time.Minute

// queueCondition raises what stands in the way of one register's queue.
func (k *control) queueCondition(ctx context.Context, b *health.Board, q store.Queue, devices []sale.Device) {
	name, argument := "", "--register "+string(q.Register)
	for _, d := range devices {
		if d.Register == q.Register {
			name, argument = " ("+string(d.ID)+")", string(d.ID)
			break
		}
	}
	who := fmt.Sprintf("register %s%s: %s waiting", q.Register, name, sales(q.Waiting))
	c := health.Condition{Severity: health.Attention, Affected: string(q.Register), Since: q.BlockedSince}
	switch {
	case q.BlockedSince.IsZero():
		if q.Idle || q.Problem == "" || q.Class == sale.Uplink || time.Since(q.Oldest) < longWait {
			return
		}
		c.Code, c.Since, c.Title = "queue_waits", q.Oldest, "OpenFiskal gives no good answer for "+who+". The last one: "+q.Problem
		c.Remedy = "It is tried again by itself. If this lasts, tell OpenFiskal's support what the last answer was"
	case q.Class == sale.KeyRefused && k.sealedAway(ctx, q.Register):
		c.Code, c.Title = "key_sealed", "The key cannot be opened of "+who
		c.Remedy = "Give back the key-encryption key it was sealed with (vault.kek, vault.kek_file) and start the gateway again, or enter the register's key anew: edgegw key set " + argument + " --key-stdin"
	case q.Class == sale.KeyRefused && k.keyless(q.Register):
		c.Code, c.Title = "key_missing", "There is no key for "+who
		c.Remedy = "Ask the back office for a register key, then: edgegw key set " + argument + " --key-stdin"
	case q.Class == sale.KeyRefused:
		c.Code, c.Title = "key_refused", "OpenFiskal refuses the key of "+who
		c.Remedy = "Ask the back office for a new register key, then: edgegw key set " + argument + " --key-stdin"
	case q.Class == sale.RegisterUnknown:
		c.Code, c.Title = "register_unknown", "OpenFiskal does not know "+who
		c.Remedy = "Ask the back office whether the register was archived; it is tried again every five minutes"
	case q.Class == sale.Misconfigured:
		c.Code, c.Title = "misconfigured", "The host answers in a way OpenFiskal does not, for "+who+". "+q.Problem
		c.Remedy = "Check openfiskal.base_url; it is tried again every five minutes"
	default:
		c.Code, c.Title = "queue_blocked", "OpenFiskal refuses the sale at the head of "+who+". "+q.Problem
		c.Remedy = "Nothing is lost. It is tried again every 15 minutes; tell OpenFiskal's support the request id, and the firmware's maker the answer"
	}
	b.Set(c)
}

func (k *control) keyless(r sale.RegisterID) bool {
	_, err := k.ring.KeyInfo(r)
	return errors.Is(err, sale.ErrNone)
}

// sealedAway reports whether the register has a key in use that cannot be
// opened.
func (k *control) sealedAway(ctx context.Context, r sale.RegisterID) bool {
	key, err := k.ring.Credential(ctx, r)
	key.Wipe()
	return err != nil && !errors.Is(err, sale.ErrNone)
}

// sentence says in words how the site is.
func sentence(s *admin.Status) string {
	blocked := 0
	for _, r := range s.Registers {
		if r.State == "blocked" {
			blocked++
		}
	}
	attention := ""
	for _, c := range s.Conditions {
		if c.Severity == health.Attention {
			attention = c.Title
			break
		}
	}
	switch {
	case s.Devices == 0 && s.Totals.Accepted == 0:
		return "No device has been added yet: edgegw device add pump-01 --register reg_…"
	case blocked > 0:
		return fmt.Sprintf("%d of %d registers need a person; %s waiting in all.", blocked, len(s.Registers), sales(s.Totals.Waiting))
	case s.Uplink == "down":
		return fmt.Sprintf("OpenFiskal cannot be reached; %s waiting, and going out when the link is back.", sales(s.Totals.Waiting))
	case attention != "":
		return "Somebody should look: " + attention
	case s.Totals.Waiting == 0:
		return fmt.Sprintf("All %d registers are up to date.", len(s.Registers))
	}
	return fmt.Sprintf("%s waiting on %d registers.", sales(s.Totals.Waiting), len(s.Registers))
}

func sales(n int64) string {
	if n == 1 {
		return "1 sale is"
	}
	return fmt.Sprintf("%d sales are", n)
}
