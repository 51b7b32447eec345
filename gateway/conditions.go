package gateway

import (
	"context"
	"errors"
	"time"

	"edgegw/admin"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// Every condition is described in docs/conditions.md.

// standing raises the conditions of the site as a whole.
func (k *control) standing(b *health.Board, s *admin.Status) {
	k.keySide(b)
	k.clockCondition(b)
	if k.config.MQTT.PlainListen != "" {
		b.Set(health.Condition{Code: "mqtt_plain", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("Devices may connect without TLS on %s", k.config.MQTT.PlainListen),
			wording.Of("Everybody on that network can read and change their sales: empty mqtt.plain_listen as soon as all devices can do TLS")))
	}
	if kind := volatile(k.config.DataDir); kind != "" {
		b.Set(health.Condition{Code: "data_volatile", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("The data lies on %s: a restart of the box loses it", kind), wording.Of("Put data_dir on persistent storage")))
	}
	k.deviceSide(b)
	k.tokenConditions(b)
	k.claimCondition(b)
	k.settingsConditions(b, k.now())
	if k.relay == nil {
		return
	}
	k.certificateSide(b, k.now())
	k.serviceSide(b, s)
}

// serviceSide raises what stands between the site and OpenFiskal.
func (k *control) serviceSide(b *health.Board, s *admin.Status) {
	u := k.relay.Uplink()
	if u.Known {
		s.Uplink = "up"
	}
	if !u.Up {
		w := uplinkWords(u)
		s.Uplink, s.UplinkWhy = "down", u.Problem
		b.Set(health.Condition{Code: "uplink_down", Severity: health.Attention, Since: u.Since}.Saying(
			wording.Of("OpenFiskal cannot be reached: %s", w.why),
			wording.Of("Sales are taken and wait; they go out by themselves when the link is back. %s", w.do)))
	}
	if since := k.relay.SigningDown(); !since.IsZero() {
		b.Set(health.Condition{Code: "signing_down", Severity: health.Attention, Since: since}.Saying(
			wording.Of("OpenFiskal cannot sign at the moment: it refuses what it must sign, of several registers or by its own word"),
			wording.Of("Sales are taken and wait. %s", signingDo)))
	}
	if now, most := k.relay.Rate(); now <= most/2 {
		b.Set(health.Condition{Code: "throttled", Severity: health.Notice, Since: k.relay.Slowed()}.Saying(
			wording.Of("OpenFiskal has asked for fewer requests, or cannot keep up: the site makes at most %.3g in a second, of %.3g", now, most),
			wording.Of("Each success raises it again. If this lasts, ask OpenFiskal's support for a higher limit, or lower openfiskal.requests_per_second")))
	}
}

// evidence raises what waits for somebody in the journal, beside the queues.
func (k *control) evidence(ctx context.Context, b *health.Board, f *siteFacts, s *admin.Status) error {
	var err error
	if f.messages, err = k.db.Items(ctx, store.ItemFilter{Open: true, Messages: true, Limit: mostMessages}); err != nil {
		return err
	}
	// Money may have been taken that no sale stands for.
	if len(f.messages) > 0 {
		i := &f.messages[0]
		b.Set(health.Condition{Code: "messages_refused", Severity: health.Attention, Affected: string(i.Device), Since: f.messages[len(f.messages)-1].At}.Saying(
			wording.Of("%s; the newest is a %s of %s (sale %q): %s", messageWords(s.Totals.Refused), wording.Word(i.Kind.String()), string(i.Device), i.SaleID, faultSaid(i.Fault.Error(), &i.Fault)),
			wording.Of("They are kept byte for byte and are not sent. Look at each and decide: edgegw quarantine show %d", i.No)))
	}
	if err := k.gapConditions(ctx, b); err != nil {
		return err
	}
	if err := k.keyNotices(ctx, b, f.now); err != nil {
		return err
	}
	if err := k.restoredConditions(ctx, b); err != nil {
		return err
	}
	if err := k.secondConditions(ctx, b); err != nil {
		return err
	}
	if err := k.cardConditions(ctx, b, f.now, k.presence()); err != nil {
		return err
	}
	return k.fiscalCondition(ctx, b, f.now)
}

// mostMessages bounds how many are looked at for whose register is not up to
// date.
const mostMessages = 1000

// gapConditions raises events that devices counted and never reported.
func (k *control) gapConditions(ctx context.Context, b *health.Board) error {
	gaps, err := k.db.Gaps(ctx)
	if err != nil {
		return err
	}
	for len(gaps) > 0 {
		of := gaps[0].Device
		n := 0
		for n < len(gaps) && gaps[n].Device == of {
			n++
		}
		b.Set(gapCondition(of, gaps[:n]))
		gaps = gaps[n:]
	}
	return nil
}

func gapCondition(d sale.DeviceID, gaps []store.Gap) health.Condition {
	missing, since := int64(0), gaps[0].At
	var spans []wording.Sentence
	for _, g := range gaps {
		missing += g.Last - g.First + 1
		if g.At.Before(since) {
			since = g.At
		}
		span := wording.Of("%d to %d", g.First, g.Last)
		if g.First == g.Last {
			span = wording.Of("%d", g.First)
		}
		spans = append(spans, span)
	}
	return health.Condition{Code: "seq_gap", Severity: health.Attention, Affected: string(d), Since: since}.Saying(
		wording.Of("%s did not report %s (%s), by its own count", string(d), oneOrMore(missing, "%d event", "%d events"), enumerate(spans, moreGaps)),
		wording.Of("They may be sales that nobody knows of: compare with the device's own records. Then: edgegw device forget-gaps %s", string(d)))
}

// A receipt without a signature is provisional; most are signed in seconds.
const (
	pendingNotice    = 15 * time.Minute
	pendingAttention = 24 * time.Hour
)

func (k *control) fiscalCondition(ctx context.Context, b *health.Board, now time.Time) error {
	device, saleID, since, err := k.db.PendingSince(ctx)
	if errors.Is(err, sale.ErrNone) || err == nil && now.Sub(since) < pendingNotice {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := k.db.CountPending(ctx)
	if err != nil {
		return err
	}
	c := health.Condition{Code: "fiscal_pending", Severity: health.Notice, Since: since}.Saying(
		wording.Of("%s; the first is %s of %s", oneOrMore(n, "%d confirmed sale has not been signed by OpenFiskal yet", "%d confirmed sales have not been signed by OpenFiskal yet"), saleID, string(device)),
		wording.Of("It is asked for again by itself. If this lasts, tell OpenFiskal's support the request id: edgegw explain %s/%s", string(device), saleID))
	if now.Sub(since) >= pendingAttention {
		c.Severity = health.Attention
	}
	b.Set(c)
	return nil
}

const (
	// longWait is how long calls may wait before somebody should look although
	// every attempt was answered as something that passes by itself.
	longWait = 5 * time.Minute
	// longDoubt is the same for a request that may have been carried out.
	longDoubt = 5 * time.Minute
)

// queueCondition raises what stands in the way of one register's queue.
func (k *control) queueCondition(ctx context.Context, b *health.Board, q store.Queue, devices []sale.Device) {
	r := k.registerFacts(ctx, q, devices)
	k.siteFacts().queueConditions(b, &r)
}

func (s *siteFacts) queueConditions(b *health.Board, r *registerFacts) {
	s.quarantineCondition(b, r)
	c := s.cause(r, r.its())
	severity := health.Attention
	switch c.code {
	case "", "not_running", "uplink_down", "signing_down":
		return // nothing, or the whole site's
	case "key_missing", "key_pending":
		if r.Waiting == 0 || r.Idle {
			severity = health.Notice
		}
	case "in_doubt":
		if s.now.Sub(r.InDoubtSince) < longDoubt {
			return
		}
	case "queue_waits":
		if r.Problem == "" || s.now.Sub(r.Oldest) < longWait {
			return
		}
	}
	since := c.since
	if since.IsZero() {
		since = r.Oldest
	}
	if since.IsZero() {
		since = s.began
	}
	title, remedy := wording.Of("%s: %s", r.name(), c.why), c.do
	if r.Waiting > 0 && !r.Idle {
		title = wording.Of("%s: %s; %s", r.name(), waitWords(r.Waiting), c.why)
	}
	if !c.more.Empty() { // what is worth knowing stands before what is to be done
		remedy = wording.Of("%s. %s", c.more, c.do)
	}
	b.Set(health.Condition{Code: c.code, Severity: severity, Affected: string(r.Register), Since: since}.Saying(title, remedy))
}

// quarantineCondition raises sales that wait for a decision. One that its queue
// waits for is queue_blocked.
func (s *siteFacts) quarantineCondition(b *health.Board, r *registerFacts) {
	if r.Quarantined == 0 || r.Blocker != 0 && r.Quarantined == 1 {
		return
	}
	if len(r.items) == 0 { // they could not be read: that there are some must be said all the same
		b.Set(health.Condition{Code: "sale_quarantined", Severity: health.Attention, Affected: string(r.Register), Since: s.began}.Saying(
			wording.Of("%s: %s", r.name(), quarantinedWords(r.Quarantined)), wording.Of("Look at them and decide: edgegw quarantine list")))
		return
	}
	newest, oldest := &r.items[0], &r.items[len(r.items)-1]
	b.Set(health.Condition{Code: "sale_quarantined", Severity: health.Attention, Affected: string(r.Register), Since: oldest.At}.Saying(
		wording.Of("%s: %s; the newest is %s: %s", r.name(), quarantinedWords(r.Quarantined), newest.SaleID, whyHeld(newest)),
		wording.Of("Nothing is sent for it until somebody decides. %s", decide(newest.No))))
}
