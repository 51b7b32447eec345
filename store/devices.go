package store

import (
	"context"
	"fmt"

	"edgegw/sale"
)

// Devices gives the site's devices, by id.
func (db *DB) Devices(ctx context.Context) (devices []sale.Device, err error) {
	err = db.query(ctx, `SELECT d.device_id, r.register_id, d.kind, d.label, d.secret_hash, d.disabled, d.created_at
		FROM device d JOIN register r ON r.no = d.register WHERE d.removed = 0 ORDER BY d.device_id`,
		func(scan func(...any) error) error {
			var d sale.Device
			var created int64
			err := scan(&d.ID, &d.Register, &d.Kind, &d.Label, &d.SecretHash, &d.Disabled, &created)
			d.CreatedAt = instant(created)
			devices = append(devices, d)
			return err
		})
	return devices, err
}

// AddDevice adds a device, and its register where that is new. ErrExists if
// there is a device of that id. A device that was removed before comes back
// with its history.
func (db *DB) AddDevice(ctx context.Context, d sale.Device, by string) error {
	return db.addDevice(ctx, d, nil, by)
}

// AddDeviceWithKey adds a device and a key of its register, both or none.
func (db *DB) AddDeviceWithKey(ctx context.Context, d sale.Device, k sale.SealedKey, by string) error {
	return db.addDevice(ctx, d, &k, by)
}

func (db *DB) addDevice(ctx context.Context, d sale.Device, k *sale.SealedKey, by string) error {
	err := db.change(ctx, func(t *tx) error {
		if k != nil {
			if err := t.putKey(*k, by); err != nil {
				return err
			}
		}
		register, err := t.register(d.Register)
		if err != nil {
			return err
		}
		n, err := t.exec(`INSERT INTO device (device_id, register, kind, label, disabled, created_at, secret_hash)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT (device_id) DO UPDATE SET register = ?2, kind = ?3, label = ?4, disabled = ?5, removed = 0, secret_hash = ?7
			WHERE removed = 1`, string(d.ID), register, d.Kind, d.Label, d.Disabled, millis(d.CreatedAt), nonNil(d.SecretHash))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrExists
		}
		if err := t.audit(millis(d.CreatedAt), by, "device added", string(d.ID), string(d.Register)); err != nil {
			return err
		}
		return t.cacheDevice(d.ID, d.Register, register)
	})
	if err != nil {
		return fmt.Errorf("add device %s: %w", d.ID, err)
	}
	return nil
}

// register gives the number of a register, made with its queue if new.
func (t *tx) register(id sale.RegisterID) (int64, error) {
	if no, ok := t.w.rows.registers[id]; ok {
		return no, nil
	}
	no, err := t.insert(`INSERT INTO register (register_id) VALUES (?)`, string(id))
	if err != nil {
		return 0, err
	}
	if _, err = t.exec(`INSERT INTO queue (register) VALUES (?)`, no); err != nil {
		return 0, err
	}
	// The journal of a backup does not know what was added, and sold, since; nor since
	// when, where it was made of a backup's.
	_, err = t.exec(`INSERT INTO restored (register, since, until, at) SELECT ?, 0, max(until), max(at) FROM restored HAVING count(*) > 0`, no)
	return no, err
}

// cacheDevice comes after the last statement of its job.
func (t *tx) cacheDevice(id sale.DeviceID, r sale.RegisterID, register int64) error {
	no, err := t.value(`SELECT no FROM device WHERE device_id = ?`, string(id))
	if err != nil {
		return err
	}
	c := &t.w.rows
	c.devices[id] = deviceRow{no.(int64), register}
	c.registers[r], c.names[register] = register, r
	if _, ok := c.tails[register]; !ok {
		c.tails[register] = 0
	}
	return nil
}

// UpdateDevice changes everything of a device but its id. what is the line of
// the audit trail, such as "device disabled".
func (db *DB) UpdateDevice(ctx context.Context, d sale.Device, what, by string) error {
	return db.updateDevice(ctx, d, false, what, by)
}

func (db *DB) updateDevice(ctx context.Context, d sale.Device, anew bool, what, by string) error {
	err := db.change(ctx, func(t *tx) error {
		if anew {
			if _, err := t.revoke(d.ID, "", millis(db.now())); err != nil {
				return err
			}
			// The new hardware subscribes to what it wants itself.
			if _, err := t.exec(`DELETE FROM mqtt_session WHERE device_id = ?`, string(d.ID)); err != nil {
				return err
			}
		}
		register, err := t.register(d.Register)
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE device SET register = ?, kind = ?, label = ?, disabled = ?, secret_hash = ? WHERE device_id = ? AND removed = 0`,
			register, d.Kind, d.Label, d.Disabled, nonNil(d.SecretHash), string(d.ID))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrUnknownDevice
		}
		if err := t.audit(millis(db.now()), by, what, string(d.ID), string(d.Register)); err != nil {
			return err
		}
		return t.cacheDevice(d.ID, d.Register, register)
	})
	if err != nil {
		return fmt.Errorf("change device %s: %w", d.ID, err)
	}
	return nil
}

// RemoveDevice takes a device from the site. What it sold stays, and goes on
// to OpenFiskal.
func (db *DB) RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE device SET removed = 1, disabled = 1, secret_hash = x'' WHERE device_id = ? AND removed = 0`, string(id))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrUnknownDevice
		}
		if _, err := t.exec(`DELETE FROM mqtt_session WHERE device_id = ?`, string(id)); err != nil {
			return err
		}
		// A device of that name that comes later is another one.
		if _, err := t.revoke(id, "", millis(db.now())); err != nil {
			return err
		}
		return t.audit(millis(db.now()), by, "device removed", string(id), "")
	})
	if err != nil {
		return fmt.Errorf("remove device %s: %w", id, err)
	}
	return nil
}

// Keys gives the sealed register keys; those that are retired have lost their
// bytes, and still have their numbers.
func (db *DB) Keys(ctx context.Context) (keys []sale.SealedKey, err error) {
	err = db.query(ctx, `SELECT r.register_id, k.version, k.state, k.sealed, k.added_at
		FROM register_key k JOIN register r ON r.no = k.register ORDER BY r.register_id, k.version`,
		func(scan func(...any) error) error {
			var k sale.SealedKey
			var added int64
			err := scan(&k.Register, &k.Version, &k.State, &k.Sealed, &added)
			k.AddedAt = instant(added)
			keys = append(keys, k)
			return err
		})
	return keys, err
}

// PutKey adds a version of a register's key. One that OpenFiskal has confirmed
// (active) retires the versions before it, in the same commit, and their sealed
// bytes are removed.
func (db *DB) PutKey(ctx context.Context, k sale.SealedKey, by string) error {
	if err := db.change(ctx, func(t *tx) error { return t.putKey(k, by) }); err != nil {
		return fmt.Errorf("store the key of %s: %w", k.Register, err)
	}
	return nil
}

func (t *tx) putKey(k sale.SealedKey, by string) error {
	register, err := t.register(k.Register)
	if err != nil {
		return err
	}
	if err := t.takeOver(register, k.Version, k.State); err != nil {
		return err
	}
	if _, err := t.exec(`INSERT INTO register_key (register, version, state, added_at, sealed) VALUES (?, ?, ?, ?, ?)`,
		register, k.Version, string(k.State), millis(k.AddedAt), nonNil(k.Sealed)); err != nil {
		return err
	}
	if err := t.audit(millis(k.AddedAt), by, "register key added", string(k.Register),
		fmt.Sprintf("version %d, %s", k.Version, k.State)); err != nil {
		return err
	}
	c := &t.w.rows
	c.registers[k.Register], c.names[register] = register, k.Register
	if _, ok := c.tails[register]; !ok {
		c.tails[register] = 0
	}
	return nil
}

// takeOver does what comes with a version's new state. The queue that the key
// before may have blocked is due at once where this one can be sent with, also for
// a process that starts after this one died. Where OpenFiskal has confirmed it, the
// versions below it are out of use, and a request for a key of that register is
// over if this one came after it, however it came.
func (t *tx) takeOver(register, version int64, s sale.KeyState) error {
	if s != sale.KeyStateActive && s != sale.KeyStateUnverified {
		return nil
	}
	if _, err := t.exec(`UPDATE queue SET next_attempt = 0 WHERE register = ? AND blocked_since > 0`, register); err != nil {
		return err
	}
	if s != sale.KeyStateActive {
		return nil
	}
	if _, err := t.exec(`DELETE FROM key_request WHERE register = ? AND version < ?`, register, version); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE register_key SET state = 'retired', sealed = x'' WHERE register = ? AND version < ? AND state <> 'retired'`,
		register, version)
	return err
}

// SetKeyState changes the state of one version; see PutKey for what becomes of
// the others.
func (db *DB) SetKeyState(ctx context.Context, r sale.RegisterID, version int64, s sale.KeyState, by string) error {
	err := db.change(ctx, func(t *tx) error {
		register, ok := t.w.rows.registers[r]
		if !ok {
			return sale.ErrNone
		}
		n, err := t.exec(`UPDATE register_key SET state = ? WHERE register = ? AND version = ? AND state <> 'retired'`, string(s), register, version)
		if err != nil {
			return err
		}
		if n == 0 && s == sale.KeyStateRetired {
			return nil // retired with the promotion of a newer one
		}
		if n == 0 {
			return sale.ErrNone
		}
		if err := t.takeOver(register, version, s); err != nil {
			return err
		}
		return t.audit(millis(db.now()), by, "register key "+string(s), string(r), fmt.Sprintf("version %d", version))
	})
	if err != nil {
		return fmt.Errorf("change the key of %s: %w", r, err)
	}
	return nil
}

// DropKey forgets a version that was never in use: it was refused when it came, or
// since.
func (db *DB) DropKey(ctx context.Context, r sale.RegisterID, version int64, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE register_key SET state = 'retired', sealed = x'' WHERE register = ? AND version = ? AND state IN ('pending', 'refused')`, t.w.rows.registers[r], version)
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		return t.audit(millis(db.now()), by, "register key dropped", string(r), fmt.Sprintf("version %d, which was never in use", version))
	})
	if err != nil {
		return fmt.Errorf("drop the key of %s: %w", r, err)
	}
	return nil
}

// ForgetKeys removes every version of a key, such as the platform key of a site
// that does not send with it any more.
func (db *DB) ForgetKeys(ctx context.Context, r sale.RegisterID, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE register_key SET state = 'retired', sealed = x'' WHERE register = ? AND state <> 'retired'`, t.w.rows.registers[r])
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		return t.audit(millis(db.now()), by, "register key forgotten", string(r), "")
	})
	if err != nil {
		return fmt.Errorf("forget the key of %s: %w", r, err)
	}
	return nil
}

// ReplaceKeys replaces the sealed bytes of keys that are there, all or none:
// the change of the KEK.
func (db *DB) ReplaceKeys(ctx context.Context, keys []sale.SealedKey, by string) error {
	err := db.change(ctx, func(t *tx) error {
		for _, k := range keys {
			n, err := t.exec(`UPDATE register_key SET sealed = ? WHERE register = ? AND version = ? AND state <> 'retired'`,
				nonNil(k.Sealed), t.w.rows.registers[k.Register], k.Version)
			if err == nil && n == 0 {
				err = fmt.Errorf("key %d of %s: %w", k.Version, k.Register, sale.ErrNone)
			}
			if err != nil {
				return err
			}
		}
		return t.audit(millis(db.now()), by, "register keys sealed anew", "", fmt.Sprintf("%d keys", len(keys)))
	})
	if err != nil {
		return fmt.Errorf("seal the keys anew: %w", err)
	}
	return nil
}
