package gateway

import (
	"fmt"
	"time"

	"edgegw/broker"
	"edgegw/health"
	"edgegw/sale"
)

// deviceSide raises what stands between devices and the gateway.
func (k *control) deviceSide(b *health.Board) {
	if k.running == nil {
		return
	}
	k.running.accepting.conditions(b)
	for id, p := range k.presence() {
		if p.Fight != nil {
			b.Set(fightCondition(id, *p.Fight))
		}
	}
}

// fightCondition names both sides: the one that does not belong there is found
// by its address.
func fightCondition(id sale.DeviceID, f broker.Fight) health.Condition {
	since := f.Since.Format("15:04")
	if f.Last.Sub(f.Since) >= 24*time.Hour {
		since = f.Since.Format("2006-01-02 15:04")
	}
	return health.Condition{Code: "device_fight", Severity: health.Attention, Affected: string(id), Since: f.Since,
		Title: fmt.Sprintf("Two connections fight for the name %s: %s and %s, %d times since %s", id, f.Remotes[0], f.Remotes[1], f.Times, since),
		Remedy: fmt.Sprintf("Both may sell, slowly. Give the second device a name and a secret of its own: edgegw device add ID --register REG. "+
			"Where there is no second device, the secret of %s was copied or stolen: edgegw device remove %s, and add it again for a new one", id, id)}
}
