package store

import (
	"context"
	"fmt"

	"edgegw/sale"
)

// canaryBytes is what a canary needs on the disk: as much as the largest event,
// so that one which fits does not say yes to a disk that refuses the next sale.
const canaryBytes = sale.MaxPayload

// Canary tries whether an event could be stored now: it writes that much, syncs
// it and takes it away again. Errors as from Append: ErrFull, and with it
// sale.ErrNotReady, where there is no room.
//
// What it writes is the mark of an update of sale 0, which cannot exist: one
// that a power cut leaves behind means nothing, and the next canary finds it.
func (db *DB) Canary(ctx context.Context) error {
	err := db.changeOf(ctx, canaryBytes, func(t *tx) error {
		_, err := t.exec(`INSERT INTO update_seen (sale, mark, event) VALUES (0, zeroblob(?1), 1)
			ON CONFLICT (sale, mark) DO UPDATE SET event = event + 1`, canaryBytes)
		return err
	})
	if err == nil {
		err = db.change(ctx, func(t *tx) error {
			_, err := t.exec(`DELETE FROM update_seen WHERE sale = 0`)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("try to write the journal: %w", err)
	}
	return nil
}

// Pulse tries whether the journal can commit at all: one small synced change of one
// page, made so often that more would wear the disk. Errors as from Canary, whose
// place it uses.
func (db *DB) Pulse(ctx context.Context) error {
	err := db.change(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO update_seen (sale, mark, event) VALUES (0, x'', 1)
			ON CONFLICT (sale, mark) DO UPDATE SET event = event + 1`)
		return err
	})
	if err != nil {
		return fmt.Errorf("try to write the journal: %w", err)
	}
	return nil
}
