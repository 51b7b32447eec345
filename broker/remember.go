package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"

	"edgegw/sale"
)

// maxSessionAge is how long an MQTT session outlives its connection, in seconds:
// a device that was off for a week subscribes anew, and loses nothing by it.
const maxSessionAge = 7 * 24 * 3600

// kept is an MQTT session as it is stored: that there is one, and what it has
// subscribed to. Nothing in flight is stored: receipts are in the Mailbox, and a
// QoS 2 PUBLISH that is sent again is recognised by the Acceptor.
type kept struct {
	Version  int    `json:"version"`
	Protocol byte   `json:"protocol"`
	Expiry   uint32 `json:"expiry"` // seconds, MQTT 5 only
	Subs     []sub  `json:"subscriptions"`
}

type sub struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	Identifier        int    `json:"identifier,omitempty"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	NoLocal           bool   `json:"no_local,omitempty"`
}

const keptVersion = 1

// snapshot gives the bytes to keep for a client, nil where its session ends with
// its connection.
func snapshot(cl *mqtt.Client) []byte {
	v5 := cl.Properties.ProtocolVersion == 5
	if v5 && cl.Properties.Props.SessionExpiryInterval == 0 || !v5 && cl.Properties.Clean {
		return nil
	}
	k := kept{Version: keptVersion, Protocol: cl.Properties.ProtocolVersion}
	if v5 {
		k.Expiry = cl.Properties.Props.SessionExpiryInterval
	}
	for _, s := range cl.State.Subscriptions.GetAll() {
		k.Subs = append(k.Subs, sub{Filter: s.Filter, QoS: s.Qos, Identifier: s.Identifier,
			RetainHandling: s.RetainHandling, RetainAsPublished: s.RetainAsPublished, NoLocal: s.NoLocal})
	}
	slices.SortFunc(k.Subs, func(a, b sub) int { return strings.Compare(a.Filter, b.Filter) })
	return k.bytes()
}

func (k kept) bytes() []byte {
	blob, err := json.Marshal(k)
	if err != nil {
		return nil // unreachable: strings and numbers
	}
	return blob
}

// maxBlob is the longest stored session that is looked at, in bytes. With
// maxFilters it has 30 KiB at most.
const maxBlob = 1 << 20

// readKept reads a stored session, and leaves out what the device may not have:
// the rules may have become stricter since it was stored.
func readKept(d sale.DeviceID, blob []byte) (k kept, ok bool) {
	if len(blob) > maxBlob || json.Unmarshal(blob, &k) != nil || k.Version != keptVersion || !d.Valid() {
		return kept{}, false
	}
	k.Subs = slices.DeleteFunc(k.Subs, func(s sub) bool { return !maySubscribe(prefixOf(d), s.Filter) })
	k.Subs = slices.Clip(slices.Clone(k.Subs[:min(len(k.Subs), maxFilters)]))
	return k, true
}

// keeper writes sessions to the store. A device that connects and subscribes as
// it always did costs no write at all.
type keeper struct {
	mu    sync.Mutex
	rows  map[sale.DeviceID]*row
	dirty map[sale.DeviceID]struct{}
	kick  chan struct{} // something is dirty; for Broker.Run
}

type row struct {
	want    []byte     // nil: no session; guarded by keeper.mu
	writing sync.Mutex // one write per device at a time, so that the newest is the last
	stored  []byte     // guarded by writing
}

func newKeeper() keeper {
	return keeper{rows: make(map[sale.DeviceID]*row), dirty: make(map[sale.DeviceID]struct{}), kick: make(chan struct{}, 1)}
}

// want says what should be stored for d. Nothing is written yet.
func (k *keeper) want(d sale.DeviceID, blob []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rows[d]
	if r == nil {
		r = &row{}
		k.rows[d] = r
	}
	if bytes.Equal(r.want, blob) {
		return // stored, or dirty already
	}
	r.want = blob
	k.dirty[d] = struct{}{}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// loaded notes what the store holds for d, and what it should.
func (k *keeper) loaded(d sale.DeviceID, stored, want []byte) {
	if bytes.Equal(stored, want) {
		want = stored
	}
	k.mu.Lock()
	k.rows[d] = &row{stored: stored, want: stored}
	k.mu.Unlock()
	k.want(d, want)
}

// save writes what is wanted for d now, where that is not stored.
func (b *Broker) save(ctx context.Context, d sale.DeviceID) {
	k := &b.keeper
	k.mu.Lock()
	r := k.rows[d]
	k.mu.Unlock()
	if r == nil {
		return
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	k.mu.Lock()
	want := r.want
	delete(k.dirty, d)
	k.mu.Unlock()
	if bytes.Equal(want, r.stored) {
		return
	}
	var err error
	if want == nil {
		err = b.store.DeleteSession(ctx, d)
	} else {
		err = b.store.SaveSession(ctx, d, want)
	}
	if err == nil {
		r.stored = want
		return
	}
	b.n.sessionFails.Add(1)
	b.grumble.store.Do(func() {
		b.log.Warn("storing an mqtt session failed; after a restart the device may have to subscribe again", "device", d, "error", err)
	})
	k.mu.Lock()
	k.dirty[d] = struct{}{} // tried again with the next change, from time to time, and at the end
	k.mu.Unlock()
}

// saveDirty writes everything that waits. It runs beside the connections, so a
// slow disk delays no CONNECT and no sale.
func (b *Broker) saveDirty(ctx context.Context) {
	k := &b.keeper
	k.mu.Lock()
	due := slices.Collect(maps.Keys(k.dirty))
	k.mu.Unlock()
	for _, d := range due {
		b.save(ctx, d)
	}
}

// load reads the stored sessions for mochi. One that cannot be read is left out:
// its device subscribes again.
func (b *Broker) load(ctx context.Context) ([]storage.Client, []storage.Subscription, error) {
	blobs, err := b.store.Sessions(ctx)
	if err != nil {
		return nil, nil, err
	}
	var clients []storage.Client
	var subs []storage.Subscription
	for d, blob := range blobs {
		k, ok := readKept(d, blob)
		if !ok {
			b.log.Warn("a stored mqtt session cannot be read; its device must subscribe again", "device", d)
			b.keeper.loaded(d, bytes.Clone(blob[:min(len(blob), 1)]), nil)
			continue
		}
		b.keeper.loaded(d, blob, k.bytes())
		c := storage.Client{ID: string(d), Username: []byte(d), ProtocolVersion: k.Protocol}
		c.Properties.SessionExpiryInterval, c.Properties.SessionExpiryIntervalFlag = k.Expiry, k.Protocol == 5
		clients = append(clients, c)
		for _, s := range k.Subs {
			subs = append(subs, storage.Subscription{Client: string(d), Filter: s.Filter, Qos: s.QoS, Identifier: s.Identifier,
				RetainHandling: s.RetainHandling, RetainAsPublished: s.RetainAsPublished, NoLocal: s.NoLocal})
		}
	}
	return clients, subs, nil
}
