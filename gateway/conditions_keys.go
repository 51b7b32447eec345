package gateway

import (
	"context"
	"fmt"
	"time"

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
	for _, bad := range k.ring.Check() {
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
	for _, id := range k.ring.Registers() {
		info, err := k.ring.KeyInfo(id)
		versions := k.ring.KeyVersions(id)
		if err != nil || info.State == sale.KeyStatePending || info.Version == versions[0].Version {
			continue
		}
		r := k.keyOwner(id)
		if versions[0].State == sale.KeyStateRefused && inPlace(info.State) {
			b.Set(health.Condition{Code: "key_new_refused", Severity: health.Notice, Affected: string(id), Since: versions[0].AddedAt,
				Title:  "OpenFiskal refuses the new key of " + r.name() + "; the one in use stays",
				Remedy: "If the register should have a new key, ask the back office for it, and enter it: " + r.setKey() + ". Otherwise nothing is to be done: the wrong one is forgotten while OpenFiskal takes the one in use"})
		}
		if versions[0].State != sale.KeyStatePending {
			continue
		}
		b.Set(health.Condition{Code: "key_pending", Severity: health.Notice, Affected: string(id), Since: versions[0].AddedAt,
			Title:  "A new key of " + r.name() + " waits beside the one in use until OpenFiskal confirms it",
			Remedy: "It is asked about every minute, and when the one in use is refused. See what OpenFiskal says: " + r.checkKey()})
	}
	if !k.lostKeys.Load() {
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
