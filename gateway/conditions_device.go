package gateway

import (
	"edgegw/health"
)

// deviceSide raises what stands between devices and the gateway.
func (k *control) deviceSide(b *health.Board) {
	if k.running == nil {
		return
	}
	k.running.accepting.conditions(b)
}
