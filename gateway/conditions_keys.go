package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"edgegw/devicekeys"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// keySide raises what keeps register keys from being opened.
func (k *control) keySide(b *health.Board) {
	if err := k.kekProblem(); err != nil {
		b.Set(health.Condition{Code: "kek_missing", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("The register keys cannot be opened: %s", saidBy(err)),
			wording.Of("Sales are taken and wait. Put the key-encryption key back: it is looked for every 15 seconds, and vault.kek is read at the next start. Nothing is made in its place")))
	} else if w := k.kekNow().source.Warning(); !w.Empty() {
		b.Set(health.Condition{Code: "kek_self_made", Severity: health.Notice, Since: k.since}.Saying(w, wording.Of("Set vault.kek or vault.kek_file to a key kept elsewhere")))
	}
	owners := sync.OnceValue(k.devicesOf)
	for _, bad := range k.shut() {
		c := health.Condition{Code: "key_sealed", Severity: health.Attention, Affected: string(bad.Register), Since: k.since}
		switch bad.Register {
		case sale.PlatformKey:
			c = c.Saying(wording.Of("The platform key cannot be opened: %s", saidBy(bad.Err)),
				wording.Of("Give back the key-encryption key it was sealed with, or enter it again: %s", enterPlatformKey))
		case sale.BundleKey:
			c.Severity = health.Notice
			c = c.Saying(wording.Of("The key that opens bundles cannot be opened: %s", saidBy(bad.Err)),
				wording.Of("Give back the key-encryption key it was sealed with, or where that is lost for good, make another: edgegw import --recipient --new"))
		default:
			r := k.keyOwner(bad.Register, owners())
			c = c.Saying(wording.Of("The key of %s cannot be opened: %s", r.name(), saidBy(bad.Err)),
				wording.Of("Give back the key-encryption key it was sealed with, or enter the register's key again: %s", r.setKey()))
		}
		b.Set(c)
	}
	if err := k.kekNow().previous; err != nil {
		b.Set(health.Condition{Code: "kek_previous", Severity: health.Notice, Since: k.since}.Saying(
			wording.Of("The key-encryption key before cannot be read: %s", saidBy(err)),
			wording.Of("Keys that were sealed with it stay shut until it can; it is looked at again at the next start. Where nothing is sealed with it any more, take the setting out")))
	}
	if !k.serverSide() && len(k.ring.KeyVersions(sale.PlatformKey)) > 0 {
		b.Set(health.Condition{Code: "platform_key_kept", Severity: health.Notice, Since: k.since}.Saying(
			wording.Of("A platform key lies on this box, and the site sends with register keys: whoever steals the box can sell on every register of its organization"),
			wording.Of("Remove it: edgegw key set --platform --forget. Or send with it again: openfiskal.topology: server_side")))
	}
	if k.serverSide() {
		b.Set(health.Condition{Code: "topology_server_side", Severity: health.Notice, Since: k.since}.Saying(
			wording.Of("One platform key opens every register of %s, and it lies on this box: whoever steals the box can sell on all of them", k.config.OpenFiskal.Organization),
			wording.Of("After a theft, revoke the platform key at OpenFiskal at once. With openfiskal.topology: device_direct a thief has the registers of this site only")))
	}
}

// shut lists the stored keys that cannot be opened, but for those that the site
// does not send with.
func (k *control) shut() []devicekeys.KeyProblem {
	return slices.DeleteFunc(k.ring.Check(), func(p devicekeys.KeyProblem) bool {
		return p.Register != sale.BundleKey && (p.Register == sale.PlatformKey) != k.serverSide()
	})
}

// devicesOf gives the devices of each register. They are listed once for all keys: a site
// of many devices would else spend its time on listing them.
func (k *control) devicesOf() map[sale.RegisterID][]sale.DeviceID {
	of := map[sale.RegisterID][]sale.DeviceID{}
	for _, d := range k.ring.List() {
		of[d.Register] = append(of[d.Register], d.ID)
	}
	return of
}

// keyOwner is a register with its devices, and no more.
func (k *control) keyOwner(id sale.RegisterID, of map[sale.RegisterID][]sale.DeviceID) *registerFacts {
	return &registerFacts{Queue: store.Queue{Register: id}, platform: k.serverSide(), devices: of[id]}
}

// keyNotices raises what is going on with keys beside those in use, which work.
func (k *control) keyNotices(ctx context.Context, b *health.Board, now time.Time) error {
	owners := k.devicesOf()
	for _, id := range k.keyNames() {
		k.keyNotice(b, id, owners)
	}
	if k.serverSide() || !k.lostKeys.Load() {
		return nil
	}
	lost, err := k.lostRequests(ctx)
	for id, q := range lost {
		if info, err := k.ring.KeyInfo(id); err != nil || info.State == sale.KeyStateRefused {
			continue // the register's own condition says it
		}
		r := k.keyOwner(id, owners)
		b.Set(health.Condition{Code: "key_request_lost", Severity: health.Notice, Affected: string(id), Since: q.At}.Saying(
			wording.Of("A new key of %s was asked for %s, and the answer was lost: the key in use may be dead", r.name(), momentWords(now, q.At)),
			wording.Of("OpenFiskal is asked whether it still takes it; sales go on as long as it does. To be sure, rotate again: %s", rotateCommand(r.device(), id))))
	}
	return err
}

// keyNotice raises what is going on with one key, or beside it.
func (k *control) keyNotice(b *health.Board, id sale.RegisterID, owners map[sale.RegisterID][]sale.DeviceID) {
	info, err := k.ring.KeyInfo(id)
	if err != nil || info.State == sale.KeyStatePending {
		return // the register's own condition says it
	}
	newest := k.ring.KeyVersions(id)[0]
	r := k.keyOwner(id, owners)
	whose, check := wording.Of("the key of %s", r.name()), wording.Of("See what it says: %s", r.checkKey())
	if id == sale.PlatformKey {
		whose, check = wording.Of("the platform key"), wording.Sentence{}
	}
	c := health.Condition{Severity: health.Notice, Affected: string(id), Since: newest.AddedAt}
	switch {
	case newest.Version != info.Version && newest.State == sale.KeyStateRefused && inPlace(info.State):
		c.Code = "key_new_refused"
		c = c.Saying(wording.Of("OpenFiskal refuses what was entered as %s; the one in use stays", whose),
			wording.Of("If there should be a new key, ask the back office for it, and enter it: %s. Otherwise nothing is to be done: the wrong one is forgotten after a week in which OpenFiskal takes the one in use", r.setKey()))
	case newest.Version != info.Version && newest.State == sale.KeyStatePending:
		c.Code = "key_pending"
		c = c.Saying(wording.Of("A new key waits beside %s until OpenFiskal confirms it", whose),
			wording.Join(wording.Of("It is asked about every minute, and when the one in use is refused."), check))
	case info.State == sale.KeyStateUnverified && k.running != nil && k.running.keys.unconfirmed(info):
		c.Code, c.Since = "key_unverified", info.AddedAt
		c = c.Saying(wording.Of("OpenFiskal has not confirmed %s yet", whose),
			wording.Join(wording.Of("It is asked every minute. If this stays, the register id or the key is wrong."), check))
	default:
		return
	}
	b.Set(c)
}

// tokenCondition tells of a program that will soon be let in no more, or is not.
func tokenCondition(t sale.Token, since, now time.Time) health.Condition {
	title := wording.Of("The token of %s ends on %s", t.Name, day(t.ExpiresAt))
	if t.Expired(now) {
		title = wording.Of("The token of %s has ended on %s", t.Name, day(t.ExpiresAt))
	}
	return health.Condition{Code: "token_expiring", Severity: health.Notice, Affected: t.Name, Since: since}.Saying(title,
		wording.Of("Make another, give it to the program, and remove this one: edgegw token add NAME --scope %s, then: edgegw token remove %s", fmt.Sprint(t.Scope), fmt.Sprint(t.ID)))
}
