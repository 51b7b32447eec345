package devicekeys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// memory is a true small store of devices and keys: what it accepted, it keeps.
// fail makes the next write answer an error; committed says whether that write
// happened all the same, as after a cut between commit and answer.
type memory struct {
	mu        sync.Mutex
	devices   map[sale.DeviceID]sale.Device
	keys      map[sale.RegisterID][]sale.SealedKey
	certs     []sale.Certificate
	audit     []string
	fail      error
	committed bool
}

func newMemory() *memory {
	return &memory{devices: map[sale.DeviceID]sale.Device{}, keys: map[sale.RegisterID][]sale.SealedKey{}}
}

func (m *memory) write(line string, change func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.fail
	m.fail = nil
	if err != nil && !m.committed {
		return err
	}
	if changeErr := change(); changeErr != nil {
		return changeErr
	}
	m.audit = append(m.audit, line)
	return err
}

func (m *memory) Devices(context.Context) ([]sale.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.devices)), nil
}

func (m *memory) AddDevice(_ context.Context, d sale.Device, by string) error {
	return m.write(fmt.Sprintf("%s added %s", by, d.ID), func() error {
		if _, ok := m.devices[d.ID]; ok {
			return errors.New("UNIQUE constraint")
		}
		m.devices[d.ID] = d
		return nil
	})
}

func (m *memory) AddDeviceWithKey(ctx context.Context, d sale.Device, k sale.SealedKey, by string) error {
	if err := m.AddDevice(ctx, d, by); err != nil {
		return err
	}
	return m.PutKey(ctx, k, by)
}

func (m *memory) UpdateDevice(_ context.Context, d sale.Device, what, by string) error {
	return m.write(fmt.Sprintf("%s %s %s", by, what, d.ID), func() error { m.devices[d.ID] = d; return nil })
}

func (m *memory) RemoveDevice(_ context.Context, id sale.DeviceID, by string) error {
	return m.write(fmt.Sprintf("%s removed %s", by, id), func() error { delete(m.devices, id); return m.revoke(id, "") })
}

func (m *memory) ReplaceDevice(ctx context.Context, d sale.Device, by string) error {
	return m.write(fmt.Sprintf("%s replaced %s", by, d.ID), func() error {
		m.devices[d.ID] = d
		return m.revoke(d.ID, "")
	})
}

func (m *memory) revoke(id sale.DeviceID, serial string) error {
	err := sale.ErrNone
	for i, c := range m.certs {
		if c.Device == id && c.RevokedAt.IsZero() && (serial == "" || c.Serial == serial) {
			m.certs[i].RevokedAt, err = time.Unix(1, 0), nil
		}
	}
	if serial == "" {
		return nil
	}
	return err
}

func (m *memory) Certificates(context.Context) ([]sale.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.certs), nil
}

func (m *memory) AddCertificate(_ context.Context, c sale.Certificate, by string) error {
	return m.write(fmt.Sprintf("%s certified %s", by, c.Device), func() error { m.certs = append(m.certs, c); return nil })
}

func (m *memory) RevokeCertificates(_ context.Context, id sale.DeviceID, serial, by string) error {
	return m.write(fmt.Sprintf("%s revoked %s", by, id), func() error { return m.revoke(id, serial) })
}

func (m *memory) Keys(context.Context) ([]sale.SealedKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []sale.SealedKey
	for _, keys := range m.keys {
		for _, k := range keys {
			k.Sealed = slices.Clone(k.Sealed)
			list = append(list, k)
		}
	}
	return list, nil
}

func (m *memory) PutKey(_ context.Context, k sale.SealedKey, by string) error {
	return m.write(fmt.Sprintf("%s put key %s %d %s", by, k.Register, k.Version, k.State), func() error {
		for i, old := range m.keys[k.Register] {
			if old.Version == k.Version {
				return errors.New("UNIQUE constraint")
			}
			if k.State == sale.KeyStateActive {
				m.keys[k.Register][i].State = sale.KeyStateRetired
			}
		}
		m.keys[k.Register] = append(m.keys[k.Register], k)
		return nil
	})
}

func (m *memory) SetKeyState(_ context.Context, r sale.RegisterID, version int64, s sale.KeyState, by string) error {
	return m.write(fmt.Sprintf("%s key %s %d is %s", by, r, version, s), func() error {
		for i, k := range m.keys[r] {
			if k.Version == version {
				m.keys[r][i].State = s
			}
		}
		return nil
	})
}

func (m *memory) DropKey(_ context.Context, r sale.RegisterID, version int64, by string) error {
	return m.write(fmt.Sprintf("%s dropped key %s %d", by, r, version), func() error {
		for i, k := range m.keys[r] {
			if k.Version == version {
				m.keys[r][i].State = sale.KeyStateRetired
			}
		}
		return nil
	})
}

func (m *memory) ForgetKeys(_ context.Context, r sale.RegisterID, by string) error {
	return m.write(fmt.Sprintf("%s forgot the keys of %s", by, r), func() error {
		for i := range m.keys[r] {
			m.keys[r][i].State = sale.KeyStateRetired
		}
		return nil
	})
}

func (m *memory) ReplaceKeys(_ context.Context, keys []sale.SealedKey, by string) error {
	return m.write(by+" changed the KEK", func() error {
		for _, k := range keys {
			for i, old := range m.keys[k.Register] {
				if old.Version == k.Version {
					m.keys[k.Register][i].Sealed = k.Sealed
				}
			}
		}
		return nil
	})
}

const (
	hexKEK   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	otherKEK = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	liveKey  = "ofk_reg_live_CANARY0123456789abWXYZ"
	nextKey  = "ofk_reg_live_NEXTCANARY0123456789abQRST"
)

func testKEK(t testing.TB, text string) KEK {
	t.Helper()
	k, err := decodeKEK([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openRing(t testing.TB, rows Rows) *Ring {
	t.Helper()
	r, err := Open(context.Background(), rows, testKEK(t, hexKEK))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addPump(t testing.TB, r *Ring, id sale.DeviceID) secret.Text {
	t.Helper()
	s, err := r.Add(context.Background(), NewDevice{ID: id, Register: "reg_" + sale.RegisterID(id), Kind: "pump", Label: "Pump"}, "tester")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setKey(t testing.TB, r *Ring, register sale.RegisterID, key string, state sale.KeyState) KeyInfo {
	t.Helper()
	i, err := r.SetKey(context.Background(), register, secret.FromString(key), state, "tester")
	if err != nil {
		t.Fatal(err)
	}
	return i
}
