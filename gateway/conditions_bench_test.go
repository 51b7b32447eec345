package gateway

import (
	"fmt"
	"testing"
	"time"

	"edgegw/devicekeys"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// BenchmarkKeyNotices asks what the overview takes of a site with many devices to look
// at all its keys: ns/op is to grow with them, and not with devices times keys.
func BenchmarkKeyNotices(b *testing.B) {
	const devices, registers = 2000, 400
	dir := b.TempDir()
	db, err := store.Open(b.Context(), dir, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	kek, _, err := devicekeys.LoadKEK(devicekeys.KEKOptions{DataDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	ring, err := devicekeys.Open(b.Context(), db, kek)
	if err != nil {
		b.Fatal(err)
	}
	for i := range devices {
		d := devicekeys.NewDevice{ID: sale.DeviceID(fmt.Sprintf("pump-%04d", i)), Register: sale.RegisterID(fmt.Sprintf("reg_%03d", i%registers)), Kind: "pump"}
		if i >= registers {
			_, err = ring.Add(b.Context(), d, "bench")
		} else {
			_, err = ring.AddWithKey(b.Context(), d, secret.FromString(fmt.Sprintf("ofk_reg_A%040d", i)), sale.KeyStateActive, "bench")
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	k := &control{db: db, ring: ring}
	for b.Loop() {
		if err := k.keyNotices(b.Context(), &health.Board{}, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
