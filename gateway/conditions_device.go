package gateway

import (
	"time"

	"edgegw/broker"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/wording"
)

// deviceSide raises what stands between devices and the gateway.
func (k *control) deviceSide(b *health.Board) {
	if k.running == nil {
		return
	}
	k.running.accepting.conditions(b)
	k.running.failureCondition(b)
	k.running.damageCondition(b)
	k.running.room.condition(b, k.config.DataDir)
	k.lastRunCondition(b)
	for id, p := range k.presence() {
		if p.Fight != nil {
			b.Set(fightCondition(id, *p.Fight))
		}
	}
}

// manyFailures is how many logins in vain within ten minutes are more than
// somebody's mistake.
const manyFailures = 20

// failureCondition names the worst: who sends them, or whom they claim to be.
func (g *Gateway) failureCondition(b *health.Board) {
	worst := g.broker.Culprits(manyFailures)
	if len(worst) == 0 {
		return
	}
	c := worst[0]
	from := wording.Of("from %s", c.Address)
	if c.Address == "" {
		from = wording.Of("as %s", string(c.Device))
	}
	b.Set(health.Condition{Code: "login_failures", Severity: health.Notice, Since: c.Since}.Saying(
		wording.Of("%s in vain %s since %s, the last at %s", oneOrMore(int64(c.Times), "%d login", "%d logins"), from, c.Since.Format("15:04"), c.Last.Format("15:04")),
		wording.Of("A device that was set up with an old password does this, and so does somebody who guesses. Nobody is locked out by it. Find the device at that address; where it is one of yours: edgegw device password ID")))
}

// fightCondition names both sides: the one that does not belong there is found
// by its address.
func fightCondition(id sale.DeviceID, f broker.Fight) health.Condition {
	since := f.Since.Format("15:04")
	if f.Last.Sub(f.Since) >= 24*time.Hour {
		since = f.Since.Format("2006-01-02 15:04")
	}
	return health.Condition{Code: "device_fight", Severity: health.Attention, Affected: string(id), Since: f.Since}.Saying(
		wording.Of("Two connections fight for the name %s: %s and %s, %d times since %s", string(id), f.Remotes[0], f.Remotes[1], f.Times, since),
		wording.Of("Both may sell, slowly. Give the second device a name and a secret of its own: edgegw device add ID --register REG. Where there is no second device, the secret of %s was copied or stolen: give the device a new one, which ends both connections: edgegw device password %s", string(id), string(id)))
}
