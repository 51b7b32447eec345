package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/broker"
	"edgegw/sale"
	"edgegw/wording"
)

const (
	// identifyFor is for how long a device is asked to show itself.
	identifyFor = 30 * time.Second
	// identifyWait is how long its acknowledgement is waited for.
	identifyWait = 5 * time.Second
	// identifyEvery bounds how often one device is asked: whoever presses the button
	// ten times sees it all the same.
	identifyEvery = 10 * time.Second
)

// identifying is who was asked, and when.
type identifying struct {
	mu    sync.Mutex
	asked map[sale.DeviceID]time.Time
}

// begin takes a device's turn; wait is how long somebody must wait for it, where
// another had it.
func (i *identifying) begin(d sale.DeviceID, now time.Time) (wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for other, at := range i.asked {
		if now.Sub(at) >= identifyEvery {
			delete(i.asked, other)
		}
	}
	if at, there := i.asked[d]; there {
		return identifyEvery - now.Sub(at)
	}
	if i.asked == nil {
		i.asked = map[sale.DeviceID]time.Time{}
	}
	i.asked[d] = now
	return 0
}

// giveBack is for a turn in which nothing was sent.
func (i *identifying) giveBack(d sale.DeviceID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.asked, d)
}

// Identify asks a device to show itself, and says what became of that. Only what has
// left for the device has its line in the audit trail.
func (k *control) Identify(ctx context.Context, id sale.DeviceID, by string) (admin.Identified, error) {
	if _, err := k.ring.Get(id); err != nil {
		return admin.Identified{}, unknown(id)
	}
	if k.running == nil {
		return admin.Identified{}, admin.Refuse("not_ready", wording.Of("no gateway runs, so no device is connected"), wording.Of("Start it: edgegw run"))
	}
	began := time.Now()
	if wait := k.identifying.begin(id, began); wait > 0 {
		return admin.Identified{}, admin.Refuse(admin.CodeTooMany, wording.Of("%s was asked to show itself just now", string(id)),
			wording.Of("Look at it, or ask again in %d s", int(wait/time.Second)+1))
	}
	limited, cancel := context.WithTimeout(ctx, identifyWait)
	defer cancel()
	fate := k.running.broker.Identify(limited, id, k.identifyBody())
	i := admin.Identified{DeviceID: id, Outcome: string(fate), Seconds: int(identifyFor / time.Second), TookMS: time.Since(began).Milliseconds()}
	i.Sentence = identifyWords(id, fate)
	if !i.Sent() {
		k.identifying.giveBack(id)
		return i, nil
	}
	return i, k.db.Note(context.WithoutCancel(ctx), "device asked to show itself", string(id), string(fate), by)
}

// identifyBody is edgegw/v1/{device_id}/identify. Who asks is none of the device's
// business.
func (k *control) identifyBody() []byte {
	b, _ := json.Marshal(struct {
		RequestedAt time.Time `json:"requested_at"`
		Seconds     int       `json:"seconds"`
	}{k.now().UTC().Truncate(time.Millisecond), int(identifyFor / time.Second)}) // of plain values
	return b
}

// identifyWords says what became of it, and what to do.
func identifyWords(id sale.DeviceID, fate broker.Fate) string {
	seconds, patience := int(identifyFor/time.Second), int(identifyWait/time.Second)
	switch fate {
	case broker.Delivered:
		return fmt.Sprintf("%s has acknowledged it, and should show itself for %d s. Where nothing is to be seen, its firmware does nothing about it.", id, seconds)
	case broker.Unconfirmed:
		return fmt.Sprintf("It was sent to %s, which listens with QoS 0: nobody can know whether it has heard. Look at it.", id)
	case broker.Declined:
		return fmt.Sprintf("%s has heard it, and its acknowledgement says no. Ask whoever makes its firmware.", id)
	case broker.Silent:
		return fmt.Sprintf("It was sent to %s, and no acknowledgement came within %d s. Look at it; its line may be bad, or it may hang.", id, patience)
	case broker.Unsubscribed:
		return fmt.Sprintf("%s is connected and does not listen for this: nothing was sent. Its firmware would have to subscribe to edgegw/v1/%s/identify.", id, id)
	case broker.Unsent:
		return fmt.Sprintf("%s is connected and takes no more messages: it leaves what it was sent before unacknowledged, or takes none of this length. Switch it off and on again.", id)
	}
	return fmt.Sprintf("%s is not connected: nothing was sent. Check its power and its network; how it was last seen: edgegw device show %s", id, id)
}
