package gateway

import (
	"cmp"
	"context"
	"errors"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// RequestKey asks OpenFiskal for a key of a register: its first (issue), or one
// in the place of the one before, which is dead from then on (rotate). The
// platform key is used for this and wiped. What it does is written down before
// it is done, in this order: the queue is held; the request is noted; it is
// made, once; the new key is stored, as pending; it is asked about, and put to
// use; the queue goes on. A crash anywhere leaves what the next start can tell a
// person (CONTRACT.md section 4).
func (k *control) RequestKey(ctx context.Context, q admin.KeyRequest, by string) (admin.KeyResult, error) {
	defer q.PlatformKey.Wipe()
	register, err := k.registerOf(ctx, q.KeyOf)
	if err != nil {
		return admin.KeyResult{}, err
	}
	p := fiscal.Platform{Key: q.PlatformKey, Organization: cmp.Or(q.Organization, k.config.OpenFiskal.Organization)}
	if err := k.mayRequest(register, p, q.NewKEK); err != nil {
		return admin.KeyResult{}, err
	}
	end, err := k.oneKeyAtATime(register)
	if err != nil {
		return admin.KeyResult{}, err
	}
	defer end()
	if k.relay != nil {
		release, err := k.relay.Hold(ctx, register)
		if err != nil {
			return admin.KeyResult{}, err
		}
		defer release()
	}
	key, err := k.request(ctx, sale.KeyRequest{Register: register, Kind: q.Kind, At: k.now(), By: by}, p)
	if err != nil {
		return admin.KeyResult{}, err
	}
	defer key.Wipe()
	return k.takeNewKey(ctx, register, q.Kind, key, by)
}

// mayRequest finds what would make the answer useless, or the request a leak,
// before it leaves.
func (k *control) mayRequest(r sale.RegisterID, p fiscal.Platform, newKEK bool) error {
	if k.serverSide() {
		return &admin.Refusal{Code: "invalid", Message: "this site sends with its platform key (openfiskal.topology: server_side), and needs no register keys",
			Remedy: "Nothing was asked. To use register keys, set openfiskal.topology: device_direct"}
	}
	if err := devicekeys.CheckPlatformKey(p.Key); err != nil {
		return refusal(err)
	}
	if err := fiscal.KeyFits(hostOf(k.config.OpenFiskal.BaseURL), p.Key); err != nil {
		return admin.Refuse("wrong_host", wording.From(err), wording.Of("Check openfiskal.base_url, or take the platform key of that host"))
	}
	if p.Organization == "" {
		return &admin.Refusal{Code: "invalid", Message: "a platform key acts for an organization, and none is named", Remedy: "Give it: --organization org_…"}
	}
	if err := config.CheckOrganization(p.Organization); err != nil {
		return &admin.Refusal{Code: "invalid", Message: "the organization is not an organization id, such as org_01HXYZ", Remedy: "Nothing was asked. Give it: --organization org_…"}
	}
	if err := k.kekProblem(); err != nil {
		return admin.Refuse("not_ready", wording.Of("a new key could not be kept, so none was asked for: %s", wording.From(err)),
			wording.Of("Give a key-encryption key first: edgegw status"))
	}
	err := k.ring.Sealable(r)
	if err == nil && k.ring.OpensNothing() {
		err = devicekeys.ErrWrongKEK
	}
	if err != nil && !newKEK {
		return admin.Refuse("not_ready", wording.Of("keys cannot be opened (register %s: %s), so the key-encryption key may be the wrong one; a new key could not be kept, and none was asked for", r, wording.From(err)),
			wording.Of("Give the right key-encryption key back. Where it is lost for good, say so: add --new-kek, and the new key is sealed with the one that is given now"))
	}
	return nil
}

// request notes the request, makes it once, and notes what is known where no
// key came. A person who goes away does not end it: the answer is given once.
func (k *control) request(ctx context.Context, q sale.KeyRequest, p fiscal.Platform) (secret.Text, error) {
	before, err := k.openRequests(ctx, func(sale.KeyRequest) bool { return true }) // one that is only asked could not be noted as lost
	if err == nil {
		err = k.db.AskKey(ctx, q)
	}
	if err != nil {
		return secret.Text{}, err // nothing was asked
	}
	ctx = context.WithoutCancel(ctx)
	make := k.fiscal.RotateKey
	if q.Kind == sale.KeyIssue {
		make = k.fiscal.IssueKey
	}
	key, err := make(ctx, q.Register, p)
	if err == nil {
		return key, nil
	}
	var problem *sale.Problem
	if !errors.As(err, &problem) {
		return secret.Text{}, err
	}
	if !fiscal.Lost(problem) {
		return secret.Text{}, k.noKeyMade(ctx, q, before, problem)
	}
	k.loseKey(ctx, q.Register, problem.Error(), q.By)
	return secret.Text{}, admin.Refuse("answer_lost",
		wording.Of("OpenFiskal may have made a new key for register %s, but its answer did not arrive (%s): the key before may be dead", q.Register, problemWords(problem)),
		wording.Of("Sales are taken and wait. Rotate again: %s", rotateCommand(k.deviceOf(q.Register), q.Register)))
}

// noKeyMade ends a request that OpenFiskal has refused or never saw. One before it
// whose answer was lost is as lost as it was.
func (k *control) noKeyMade(ctx context.Context, q sale.KeyRequest, before map[sale.RegisterID]sale.KeyRequest, problem *sale.Problem) error {
	change, noted := wording.Of("Nothing has changed."), error(nil)
	if lost, there := before[q.Register]; there {
		change = wording.Of("Nothing has changed: the answer to an earlier request was lost, and a key is still needed.")
		noted = k.db.ReturnToLost(ctx, lost, problem.Error(), q.By)
	} else {
		noted = k.db.EndKeyRequest(ctx, q.Register, false, problem.Error(), q.By)
	}
	if noted != nil {
		k.log.Error("the end of a request for a register key cannot be noted", "register", q.Register, "cause", noted)
	}
	return admin.Refuse("key_refused", wording.Of("OpenFiskal made no key for register %s: %s", q.Register, problemWords(problem)),
		wording.Join(change, requestAdvice(q.Kind, problem)))
}

// loseKey notes that a key may have been made that nobody has.
func (k *control) loseKey(ctx context.Context, r sale.RegisterID, why, by string) {
	k.lostKeys.Store(true)
	if err := k.db.EndKeyRequest(ctx, r, true, why, by); err != nil {
		k.log.Error("the end of a request for a register key cannot be noted", "register", r, "cause", err) // the next start notes it
	}
	if k.running != nil {
		k.running.keys.ask(r)
	}
}

func requestAdvice(kind sale.KeyRequestKind, p *sale.Problem) wording.Sentence {
	switch {
	case p.Class == sale.Uplink:
		return wording.Of("Try again when the uplink is back")
	case p.Status == 409 && kind == sale.KeyIssue:
		return wording.Of("The register may have a fiscal unit already: then ask for a new key with edgegw key rotate")
	case p.Status == 409:
		return wording.Of("The register may have no key yet: then ask for its first with edgegw key issue")
	case p.Class == sale.KeyRefused:
		return wording.Of("Check the platform key and the organization")
	}
	return wording.Of("Ask the back office how the register is")
}

// deviceOf gives a device of the register, "" where it has none.
func (k *control) deviceOf(r sale.RegisterID) sale.DeviceID {
	for _, d := range k.ring.List() {
		if d.Register == r {
			return d.ID
		}
	}
	return ""
}

const (
	// keepTries and keepPause bound how long a new key is held in memory while
	// the disk takes nothing: it may be full for a moment.
	keepTries = 20
	keepPause = 500 * time.Millisecond
	// unitWait is how long a command waits for a fiscal unit; the gateway waits on.
	unitWait  = 2 * time.Minute
	unitPause = 2 * time.Second
)

// takeNewKey stores the key that was just made, before anything else is done
// with it, and puts it to use when OpenFiskal takes it.
func (k *control) takeNewKey(ctx context.Context, r sale.RegisterID, kind sale.KeyRequestKind, key secret.Text, by string) (admin.KeyResult, error) {
	record := context.WithoutCancel(ctx)
	info, err := k.keep(record, r, key, by)
	if err != nil {
		k.loseKey(record, r, "the new key could not be stored: "+err.Error(), by)
		return admin.KeyResult{}, admin.Refuse("answer_lost",
			wording.Of("OpenFiskal has made a new key for register %s, and it cannot be stored (%s): the key before is dead", r, wording.From(err)),
			wording.Of("Mend that first (edgegw doctor finds what is wrong with the disk or the key-encryption key), then rotate again: %s", rotateCommand(k.deviceOf(r), r)))
	}
	if err := k.db.EndKeyRequest(record, r, false, "the new key is stored", by); err != nil {
		k.log.Error("the end of a request for a register key cannot be noted", "register", r, "cause", err) // the next start sees the key beside it
	}
	result := admin.KeyResult{RegisterID: r, Key: string(sale.KeyStatePending)}
	for end := time.Now().Add(unitWait); ; {
		v := k.verify(ctx, info)
		switch {
		case v == keyConfirmed:
			result.Key = string(sale.KeyStateActive)
			k.newKey(r)
			return result, nil
		case v != keyWithoutUnit:
			result.Note(wording.Of("The new key is stored; OpenFiskal has not confirmed it yet, and it will be asked again."))
			k.newKey(r)
			return result, nil
		}
		result.Note(wording.Of(noUnitNotice))
		if ctx.Err() != nil || time.Now().After(end) || kind != sale.KeyIssue {
			k.newKey(r)
			return result, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(unitPause):
		}
	}
}

func (k *control) keep(ctx context.Context, r sale.RegisterID, key secret.Text, by string) (info devicekeys.KeyInfo, err error) {
	for range keepTries {
		if info, err = k.ring.KeepKey(ctx, r, key, by); err == nil {
			return info, nil
		}
		if info, stored := k.ring.Holds(r, key); stored {
			return info, nil // the commit came through, its answer did not
		}
		if errors.Is(err, devicekeys.ErrNoKEK) {
			return info, err // no waiting helps
		}
		k.log.Error("a new register key cannot be stored; trying again", "register", r, "cause", err)
		<-time.After(keepPause)
	}
	return info, err
}

// adoptRequests settles what an earlier process left: its answers will not come
// any more.
func (k *control) adoptRequests(ctx context.Context) error {
	requests, err := k.db.KeyRequests(ctx)
	for _, q := range requests {
		if q.State != sale.KeyAsked || err != nil {
			continue
		}
		lost, why := true, "the gateway ended before the answer was stored"
		for _, info := range k.ring.KeyVersions(q.Register) {
			if info.Version > q.Version {
				lost, why = false, "the new key is stored"
			}
		}
		err = k.db.EndKeyRequest(ctx, q.Register, lost, why, "edgegw")
	}
	k.lostKeys.Store(len(requests) > 0)
	return err
}

// lostRequests gives those whose answer will not come: also one whose loss the disk
// did not take, as nothing is under way for its register.
func (k *control) lostRequests(ctx context.Context) (map[sale.RegisterID]sale.KeyRequest, error) {
	lost, err := k.openRequests(ctx, func(q sale.KeyRequest) bool { return q.State == sale.KeyLost || !k.requests.under(q.Register) })
	if err == nil {
		k.lostKeys.Store(len(lost) > 0)
	}
	return lost, err
}

func (k *control) openRequests(ctx context.Context, which func(sale.KeyRequest) bool) (map[sale.RegisterID]sale.KeyRequest, error) {
	all, err := k.db.KeyRequests(ctx)
	open := map[sale.RegisterID]sale.KeyRequest{}
	for _, q := range all {
		if which(q) {
			open[q.Register] = q
		}
	}
	return open, err
}

// settleAfter is how long after a lost request an old key that is still taken
// proves that no new one was made: longer than any request is under way.
const settleAfter = 2 * time.Minute

// stillTaken ends a lost request whose key was never replaced. It gives true
// where it is too early to say.
func (g *Gateway) stillTaken(ctx context.Context, info devicekeys.KeyInfo, q sale.KeyRequest, lost bool) (left bool) {
	if !lost || info.State == sale.KeyStatePending {
		return false
	}
	if age := g.now().Sub(q.At); age >= 0 && age < settleAfter { // below 0 the clock was ahead then
		return true
	}
	err := g.db.EndLostRequest(context.WithoutCancel(ctx), q, "OpenFiskal still takes the key before: none was made", "edgegw")
	if errors.Is(err, sale.ErrNone) {
		return true // another came since, of which this says nothing
	}
	if err != nil {
		g.log.Error("the end of a request for a register key cannot be noted", "register", info.Register, "cause", err)
		return true
	}
	return false
}

// CheckKey asks OpenFiskal about each key of a register.
func (k *control) CheckKey(ctx context.Context, of admin.KeyOf) ([]admin.KeyCheck, error) {
	register, err := k.registerOf(ctx, of)
	if err != nil {
		return nil, err
	}
	list := []admin.KeyCheck{}
	for _, info := range k.ring.KeyVersions(k.keyName(register)) {
		c := admin.KeyCheck{RegisterID: register, Version: info.Version, State: string(info.State)}
		if info.LastFour != "" {
			c.KeyHint = "…" + info.LastFour
		}
		c.Verdict, c.Words = k.askedWords(ctx, register, info)
		c.Detail = c.Words.String()
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, admin.Refuse("not_found", wording.Of("register %s has no key yet", register), wording.Of("Enter it: %s", k.setKeyCommand(cmp.Or(of.DeviceID, k.deviceOf(register)))))
	}
	if k.running != nil {
		k.running.keys.ask(k.keyName(register)) // what was found out is recorded by those whose business it is
	}
	return list, nil
}

func (k *control) askedWords(ctx context.Context, register sale.RegisterID, info devicekeys.KeyInfo) (verdict string, detail wording.Sentence) {
	key, err := k.ring.Version(ctx, info.Register, info.Version)
	if err != nil {
		return "sealed", wording.From(err)
	}
	defer key.Wipe()
	err = k.fiscal.Probe(ctx, register, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return "accepted", wording.Sentence{}
	case errors.Is(err, fiscal.ErrNoUnit):
		return "no_fiscal_unit", wording.Of(noUnitNotice)
	case errors.As(err, &p) && p.Class == sale.KeyRefused:
		return "refused", problemWords(p)
	case errors.As(err, &p):
		return "unknown", problemWords(p)
	}
	return "unknown", wording.From(err)
}
