package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets a work of n steps take so long, with lines beside it.
func pass(a *app, total, steps int64, each time.Duration, beside func()) {
	p := a.progress("import", "row", total)
	defer p.end()
	for n := range steps {
		<-time.After(each)
		if beside != nil {
			p.aside(beside)
		}
		p.done(n + 1)
	}
}

// terminal is what stands on a terminal of one line after all that was written,
// and how wide it ever was.
func terminal(text string) (left string, widest int) {
	for _, frame := range strings.Split(text, "\r") {
		shown, cleared := strings.CutSuffix(frame, "\x1b[K")
		if !cleared && frame != "" {
			return "garbage: " + frame, 0
		}
		left, widest = shown, max(widest, len(shown))
	}
	return left, widest
}

func TestProgress(t *testing.T) {
	for _, row := range []struct {
		name     string
		terminal bool
		total    int64
		each     time.Duration
		want     []string // lines, or frames that are there
		none     bool
	}{
		{"a pipe hears it every five seconds", false, 100, 200 * time.Millisecond, []string{
			"import: 25 %, 25 of 100 rows, about 15 s left", "import: 50 %, 50 of 100 rows, about 10 s left", "import: 75 %, 75 of 100 rows, about 5 s left", "import: 100 %, 100 of 100 rows"}, false},
		{"nobody knows how much", false, 0, 100 * time.Millisecond, []string{"import: 50 rows", "import: 100 rows"}, false},
		{"short work on a pipe", false, 100, time.Millisecond, nil, true},
		{"short work on a terminal", true, 100, time.Millisecond, nil, true},
		{"a terminal has a bar", true, 100, 50 * time.Millisecond, []string{"\r[###", "...] import: 50 %, 50 of 100 rows, about 2 s left\x1b[K", "] import: 100 %, 100 of 100 rows\x1b[K"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				pass(&app{err: &out, errTerminal: row.terminal}, row.total, 100, row.each, nil)
				switch text := out.String(); {
				case row.none && text != "":
					t.Errorf("said %q", text)
				case !row.terminal && text != strings.Join(append(row.want, ""), "\n") && !row.none:
					t.Errorf("said\n%s", text)
				case row.terminal:
					if left, widest := terminal(text); left != "" || widest > 79 {
						t.Errorf("left %q, widest %d", left, widest)
					}
					for _, frame := range row.want {
						if !strings.Contains(text, frame) {
							t.Errorf("lacks %q:\n%q", frame, text)
						}
					}
				}
			})
		})
	}
}

// Lines that come beside the bar on the same terminal stand on lines of their own.
func TestProgressGoesAsideForLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		pass(&app{err: &out, errTerminal: true}, 20, 20, 200*time.Millisecond, func() { out.WriteString("a line\n") })
		lines := strings.Split(strings.TrimSuffix(out.String(), "\r\x1b[K"), "\n")
		whole := regexp.MustCompile(`^(\r[^\r]*\x1b\[K)*(\r\x1b\[K)?a line$`)
		for _, line := range lines[:len(lines)-1] {
			if !whole.MatchString(line) {
				t.Errorf("%q", line)
			}
			if strings.Contains(line, "#") && !strings.HasSuffix(line, "\r\x1b[Ka line") {
				t.Errorf("a bar stays before a line: %q", line)
			}
		}
		if len(lines) != 21 || !strings.Contains(out.String(), "[####") {
			t.Errorf("%d lines: %q", len(lines), out.String())
		}
	})
}

func TestProgressOfBytesOnANarrowTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := (&app{err: &out, errTerminal: true}).progress("backup", "byte", 10<<20)
		p.width = 40
		<-time.After(time.Second)
		p.done(5 << 20)
		if got := out.String(); got != "\rbackup: 50 %, 5.0 of 10.0 MiB\x1b[K" {
			t.Errorf("%q", got)
		}
	})
}
