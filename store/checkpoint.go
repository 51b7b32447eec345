package store

import (
	"context"
	"database/sql/driver"
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
	kick   chan struct{}
	copied atomic.Bool
	done   chan struct{}
}

func openCheckpointer(ctx context.Context, c driver.Connector) (*checkpointer, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	k := &checkpointer{conn: conn, kick: make(chan struct{}, 1), done: make(chan struct{})}
	go k.run()
	return k, nil
}

func (k *checkpointer) run() {
	defer close(k.done)
	defer k.conn.Close()
	for range k.kick {
		// Its error is the writer's to meet: the rest of the log is then longer.
		_ = checkpoint(k.conn)
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

// tend keeps the log short after a batch that held so many bytes of rows.
func (w *writer) tend(bytes int) {
	w.logPages += batchPages + bytes/pageEstimate
	switch {
	case w.logPages < checkpointPages:
		return
	case w.side.copied.Swap(false), w.logPages >= mostPages:
		if err := checkpoint(w.conn); err != nil {
			w.db.log.Warn("the write-ahead log cannot be copied", "cause", err)
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
