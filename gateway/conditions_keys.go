package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"edgegw/devicekeys"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
)

// keySide raises what keeps register keys from being opened.
func (k *control) keySide(b *health.Board) {
	if err := k.kekProblem(); err != nil {
		b.Set(health.Condition{Code: "kek_missing", Severity: health.Attention, Since: k.since, Title: "The register keys cannot be opened: " + err.Error(),
			Remedy: "Sales are taken and wait. Put the key-encryption key back: it is looked for every 15 seconds, and vault.kek is read at the next start. Nothing is made in its place"})
	} else if w := k.kekNow().source.Warning(); w != "" {
		b.Set(health.Condition{Code: "kek_self_made", Severity: health.Notice, Since: k.since, Title: w, Remedy: "Set vault.kek or vault.kek_file to a key kept elsewhere"})
	}
	for _, bad := range k.shut() {
		c := health.Condition{Code: "key_sealed", Severity: health.Attention, Affected: string(bad.Register), Since: k.since}
		const giveBack = "Give back the key-encryption key it was sealed with, or "
		switch bad.Register {
		case sale.PlatformKey:
			c.Title, c.Remedy = "The platform key cannot be opened: ", giveBack+"enter it again: "+platformKeyCommand
		case sale.BundleKey:
			c.Severity = health.Notice
			c.Title, c.Remedy = "The key that opens bundles cannot be opened: ", giveBack+"where that is lost for good, make another: edgegw import --recipient --new"
		default:
			r := k.keyOwner(bad.Register)
			c.Title, c.Remedy = "The key of "+r.name()+" cannot be opened: ", giveBack+"enter the register's key again: "+r.setKey()
		}
		c.Title += bad.Err.Error()
		b.Set(c)
	}
	if err := k.kekNow().previous; err != nil {
		b.Set(health.Condition{Code: "kek_previous", Severity: health.Notice, Since: k.since, Title: "The key-encryption key before cannot be read: " + err.Error(),
			Remedy: "Keys that were sealed with it stay shut until it can; it is looked at again at the next start. Where nothing is sealed with it any more, take the setting out"})
	}
	if !k.serverSide() && len(k.ring.KeyVersions(sale.PlatformKey)) > 0 {
		b.Set(health.Condition{Code: "platform_key_kept", Severity: health.Notice, Since: k.since,
			Title:  "A platform key lies on this box, and the site sends with register keys: whoever steals the box can sell on every register of its organization",
			Remedy: "Remove it: edgegw key set --platform --forget. Or send with it again: openfiskal.topology: server_side"})
	}
	if k.serverSide() {
		b.Set(health.Condition{Code: "topology_server_side", Severity: health.Notice, Since: k.since,
			Title:  "One platform key opens every register of " + k.config.OpenFiskal.Organization + ", and it lies on this box: whoever steals the box can sell on all of them",
			Remedy: "After a theft, revoke the platform key at OpenFiskal at once. With openfiskal.topology: device_direct a thief has the registers of this site only"})
	}
}

// shut lists the stored keys that cannot be opened, but for those that the site
// does not send with.
func (k *control) shut() []devicekeys.KeyProblem {
	return slices.DeleteFunc(k.ring.Check(), func(p devicekeys.KeyProblem) bool {
		return p.Register != sale.BundleKey && (p.Register == sale.PlatformKey) != k.serverSide()
	})
}

// keyOwner is a register with its devices, and no more.
func (k *control) keyOwner(id sale.RegisterID) *registerFacts {
	r := &registerFacts{Queue: store.Queue{Register: id}, platform: k.serverSide()}
	for _, d := range k.ring.List() {
		if d.Register == id {
			r.devices = append(r.devices, d.ID)
		}
	}
	return r
}

// keyNotices raises what is going on with keys beside those in use, which work.
func (k *control) keyNotices(ctx context.Context, b *health.Board, now time.Time) error {
	for _, id := range k.keyNames() {
		k.keyNotice(b, id)
	}
	if k.serverSide() || !k.lostKeys.Load() {
		return nil
	}
	lost, err := k.lostRequests(ctx)
	for id, q := range lost {
		if info, err := k.ring.KeyInfo(id); err != nil || info.State == sale.KeyStateRefused {
			continue // the register's own condition says it
		}
		r := k.keyOwner(id)
		b.Set(health.Condition{Code: "key_request_lost", Severity: health.Notice, Affected: string(id), Since: q.At,
			Title:  fmt.Sprintf("A new key of %s was asked for %s, and the answer was lost: the key in use may be dead", r.name(), moment(now, q.At)),
			Remedy: "OpenFiskal is asked whether it still takes it; sales go on as long as it does. To be sure, rotate again: " + rotateCommand(r.device(), id)})
	}
	return err
}

// keyNotice raises what is going on with one key, or beside it.
func (k *control) keyNotice(b *health.Board, id sale.RegisterID) {
	info, err := k.ring.KeyInfo(id)
	if err != nil || info.State == sale.KeyStatePending {
		return // the register's own condition says it
	}
	newest := k.ring.KeyVersions(id)[0]
	r := k.keyOwner(id)
	whose, check := "the key of "+r.name(), " See what it says: "+r.checkKey()
	if id == sale.PlatformKey {
		whose, check = "the platform key", ""
	}
	c := health.Condition{Severity: health.Notice, Affected: string(id), Since: newest.AddedAt}
	switch {
	case newest.Version != info.Version && newest.State == sale.KeyStateRefused && inPlace(info.State):
		c.Code, c.Title = "key_new_refused", "OpenFiskal refuses what was entered as "+whose+"; the one in use stays"
		c.Remedy = "If there should be a new key, ask the back office for it, and enter it: " + r.setKey() + ". Otherwise nothing is to be done: the wrong one is forgotten after a week in which OpenFiskal takes the one in use"
	case newest.Version != info.Version && newest.State == sale.KeyStatePending:
		c.Code, c.Title = "key_pending", "A new key waits beside "+whose+" until OpenFiskal confirms it"
		c.Remedy = "It is asked about every minute, and when the one in use is refused." + check
	case info.State == sale.KeyStateUnverified && k.running != nil && k.running.keys.unconfirmed(info):
		c.Code, c.Since, c.Title = "key_unverified", info.AddedAt, "OpenFiskal has not confirmed "+whose+" yet"
		c.Remedy = "It is asked every minute. If this stays, the register id or the key is wrong." + check
	default:
		return
	}
	b.Set(c)
}
