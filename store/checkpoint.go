package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
)

// A checkpoint copies the write-ahead log into the database, with an fsync of
// each. Done by the writer, it would keep acknowledgements waiting; done beside
// it alone, it never catches up with a busy writer, and the log grows without
// end. So a second connection copies most of it, and then the writer copies
// the short rest between two batches, so that the next one begins the log anew.
const (
	checkpointPages = 1000     // of the log, before one begins: about 4 MiB
	pageEstimate    = 3000     // bytes of rows that fill a page
	batchPages      = 6        // pages that a batch changes however small it is
	mostPages       = 3 * 1000 // the writer does it alone then: the other one is stuck
)

// checkpointer is the second connection. kick and copied are shared with the
// writer, the rest belongs to its goroutine.
type checkpointer struct {
	conn   driver.Conn
	failed func(error)
	kick   chan struct{}
	copied atomic.Bool
	done   chan struct{}
}

func openCheckpointer(ctx context.Context, c driver.Connector, failed func(error)) (*checkpointer, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	k := &checkpointer{conn: conn, failed: failed, kick: make(chan struct{}, 1), done: make(chan struct{})}
	go k.run()
	return k, nil
}

func (k *checkpointer) run() {
	defer close(k.done)
	defer k.conn.Close()
	for range k.kick {
		if err := checkpoint(k.conn); err != nil {
			k.failed(err)
		}
		k.copied.Store(true)
	}
}

func (k *checkpointer) close() {
	close(k.kick)
	<-k.done
}

func checkpoint(conn driver.Conn) error {
	s, err := conn.Prepare("PRAGMA wal_checkpoint(PASSIVE)")
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	return err
}

// notCopied ends the store where pages that were copied may have reached no disk: SQLite
// takes those of an earlier copy for done, the system has let go of what it could not
// write, and the sync of a later copy would say nothing of it. Only a start copies the
// whole log again.
func (db *DB) notCopied(err error) {
	if deadly(err) {
		db.fail(fmt.Errorf("copy the write-ahead log into %s: %w", db.path, err))
		return
	}
	db.log.Warn("the write-ahead log cannot be copied", "cause", err)
}

// tend keeps the log short after a batch that held so many bytes of rows.
func (w *writer) tend(bytes int) {
	w.logPages += batchPages + bytes/pageEstimate
	switch {
	case w.logPages < checkpointPages:
		return
	case w.side.copied.Swap(false), w.logPages >= mostPages:
		if err := checkpoint(w.conn); err != nil {
			w.db.notCopied(err)
		}
		w.logPages, w.kicked = 0, false
	case !w.kicked:
		w.kicked = true
		select {
		case w.side.kick <- struct{}{}:
		default: // it is still at the one before
		}
	}
}
