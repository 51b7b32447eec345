package support

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
)

// half is how many bytes one half of a Log holds.
const half = 1 << 20

// longestLine is how much of one line is kept.
const longestLine = 16 << 10

// Log keeps the last lines of a log in memory: between one and two halves of them.
// When one half is full, it takes the place of the older.
type Log struct {
	mu       sync.Mutex
	old, now []byte
}

// Write takes one line, as slog's handlers write.
func (l *Log) Write(line []byte) (int, error) {
	kept := line
	if len(kept) > longestLine {
		kept = append(bytes.ToValidUTF8(kept[:longestLine:longestLine], nil), " …\n"...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.now)+len(kept) > half {
		l.old, l.now = l.now, l.old[:0]
	}
	l.now = append(l.now, kept...)
	return len(line), nil
}

// Text gives the lines, the oldest first.
func (l *Log) Text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(bytes.Clone(l.old), l.now...)
}

// Handler passes on to another handler what that one takes, and keeps it, and what
// it leaves out down to INFO.
func (l *Log) Handler(to slog.Handler) slog.Handler {
	return both{to, slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})}
}

type both struct{ to, kept slog.Handler }

func (b both) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || b.to.Enabled(ctx, l)
}

func (b both) Handle(ctx context.Context, r slog.Record) (err error) {
	if b.to.Enabled(ctx, r.Level) {
		err = b.to.Handle(ctx, r.Clone())
	}
	return errors.Join(err, b.kept.Handle(ctx, r))
}

func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{b.to.WithAttrs(attrs), b.kept.WithAttrs(attrs)}
}

func (b both) WithGroup(name string) slog.Handler {
	return both{b.to.WithGroup(name), b.kept.WithGroup(name)}
}
