package gateway

import (
	"cmp"
	"context"
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

// Devices tells of all of them, flatly (CONTRACT.md ruling 5).
func (k *control) Devices(ctx context.Context) ([]admin.Device, error) {
	all, err := k.devices(ctx, maxListedStatus)
	for i := range all {
		all[i].Certificates = nil
	}
	return all, err
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
	last, err := k.lastSales(ctx)
	if err != nil {
		return nil, err
	}
	waiting := map[sale.RegisterID]admin.Register{}
	for _, q := range queues {
		waiting[q.Register] = register(q)
	}
	presence := k.presence()
	list := []admin.Device{}
	for _, d := range k.ring.List() {
		a := admin.Device{DeviceID: d.ID, RegisterID: d.Register, Kind: d.Kind, Label: d.Label, State: "unknown", CreatedAt: d.CreatedAt,
			Waiting: waiting[d.Register].Totals.Waiting, Queue: cmp.Or(waiting[d.Register].State, "idle"), Receipts: mail[d.ID], LastSaleAt: last[d.ID]}
		a.Key, a.KeyHint = k.keyState(d.Register)
		a.Password, a.Certificates = k.ring.HasSecret(d.ID), k.certificatesOf(d.ID)
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

// newestSales are looked at beside the queues: what went into quarantine has no place
// in its queue any more.
const newestSales = 50

// lastSales gives when each device sold last, as far as that is found quickly.
func (k *control) lastSales(ctx context.Context) (map[sale.DeviceID]time.Time, error) {
	last, err := k.db.LastReports(ctx)
	if err != nil {
		return nil, err
	}
	newest, err := k.db.Sales(ctx, store.SaleFilter{Limit: newestSales})
	for _, s := range newest {
		if s.AcceptedAt.After(last[s.Device]) {
			last[s.Device] = s.AcceptedAt
		}
	}
	return last, err
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
	info, err := k.ring.KeyInfo(k.keyName(r))
	if err != nil {
		return "missing", ""
	}
	if info.LastFour != "" {
		hint = "…" + info.LastFour
	}
	return string(info.State), hint
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
	s, _, err := k.look(ctx, queues)
	return s, err
}

// look gives the status with the facts that its sentence is made from.
func (k *control) look(ctx context.Context, queues []store.Queue) (admin.Status, *siteFacts, error) {
	facts := k.siteFacts()
	s := admin.Status{Site: k.config.Site.Name, Version: k.options.Version, Running: k.running != nil, Since: k.since,
		OpenFiskal: k.config.OpenFiskal.BaseURL, MQTT: k.mqttURLs(), Uplink: "unknown", Claim: k.claim(), Page: k.pageURLs(), Registers: []admin.Register{}, Conditions: []health.Condition{}}
	if err := k.countMail(ctx, &s); err != nil {
		return s, facts, err
	}
	if err := k.overview(ctx, &s); err != nil {
		return s, facts, err
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
	if err := k.evidence(ctx, board, facts, &s); err != nil {
		return s, facts, err
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
		facts.registers = append(facts.registers, k.registerFacts(ctx, q, devices))
		facts.queueConditions(board, &facts.registers[len(facts.registers)-1])
	}
	s.Conditions = append(s.Conditions, board.List()...)
	facts.devices, facts.accepted, facts.refused, facts.conditions = s.Devices, s.Totals.Accepted, s.Totals.Refused, s.Conditions
	s.Say(facts.sentence())
	return s, facts, nil
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
	r.ReasonWords = queueWords(&q)
	return r
}
