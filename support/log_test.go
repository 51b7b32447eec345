package support

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// The last lines stay, whole, in little memory, however much is logged.
func TestTheLogKeepsTheLastLines(t *testing.T) {
	l := &Log{}
	log := slog.New(l.Handler(slog.DiscardHandler))
	for i := range 60_000 {
		log.Info("a line of the log that is of some length", "number", i)
	}
	text := string(l.Text())
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(text) < half || len(text) > 2*half || cap(l.now)+cap(l.old) > 4*half {
		t.Errorf("%d bytes are kept, in %d", len(text), cap(l.now)+cap(l.old))
	}
	for i, line := range lines {
		if want := fmt.Sprintf("number=%d", 60_000-len(lines)+i); !strings.HasPrefix(line, "time=") || !strings.HasSuffix(line, want) {
			t.Fatalf("line %d is %q, want %s", i, line, want)
		}
	}
	log.Info(strings.Repeat("ü", 3*half))
	if text := l.Text(); len(text) > 2*half || !bytes.HasSuffix(text, []byte(" …\n")) || bytes.Contains(text, []byte("\uFFFD")) {
		t.Errorf("after a long line: %d bytes", len(text))
	}
}

// The real log gets what it is configured for; the kept one has INFO as well, and
// DEBUG where the real one has it.
func TestTheLogPassesOn(t *testing.T) {
	for _, row := range []struct {
		level      slog.Level
		real, want string
	}{{slog.LevelDebug, "diwe", "diwe"}, {slog.LevelInfo, "iwe", "iwe"}, {slog.LevelError, "e", "iwe"}} {
		l, out := &Log{}, &bytes.Buffer{}
		log := slog.New(l.Handler(slog.NewTextHandler(out, &slog.HandlerOptions{Level: row.level}))).With("a", 1).WithGroup("g")
		log.Debug("d", "x", 1)
		log.Info("i", "x", 1)
		log.Warn("w", "x", 1)
		log.Error("e", "x", 1)
		said := func(text string) (all string) {
			for line := range strings.Lines(text) {
				if !strings.Contains(line, "a=1 g.x=1") {
					t.Errorf("%q", line)
				}
				_, rest, _ := strings.Cut(line, "msg=")
				all += rest[:1]
			}
			return all
		}
		if real, kept := said(out.String()), said(string(l.Text())); real != row.real || kept != row.want {
			t.Errorf("at %v the log has %q, kept is %q", row.level, real, kept)
		}
	}
}

func TestTheLogFromManyGoroutines(t *testing.T) {
	l := &Log{}
	var wg sync.WaitGroup
	for range 4 {
		log := slog.New(l.Handler(slog.DiscardHandler))
		wg.Go(func() {
			for range 1000 {
				log.Info("x")
				if len(l.Text()) == 0 {
					t.Error("nothing is kept")
				}
			}
		})
	}
	wg.Wait()
	if n := bytes.Count(l.Text(), []byte("\n")); n != 4000 {
		t.Errorf("%d lines of 4000", n)
	}
}
