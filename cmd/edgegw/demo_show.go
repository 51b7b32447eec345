package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"
)

// frame is the pace of the live screen: four in a second are calm to the eye.
const frame = 250 * time.Millisecond

// show tells the audience what happens: on a live screen, or in plain lines.
// One goroutine uses it.
type show struct {
	out     io.Writer
	demo    *demo
	plain   bool
	colour  bool
	size    func() (width, height int)
	events  []string
	stage   stage
	last    look
	line    time.Time // of the last plain line
	most    int       // longest queue
	wasCut  bool
	drains  bool // the uplink is back and the queue was not empty yet
	frames  int
	running bool // the alternate screen is on
	gone    bool // nobody reads any more
}

func newShow(a *app, d *demo, plain bool) *show {
	v := &show{out: a.out, demo: d, plain: plain, size: func() (int, int) { return 80, 24 }}
	if f, ok := file(a.out); ok && !plain {
		v.size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil || w < 1 || h < 1 {
				return 80, 24
			}
			return w, h
		}
	}
	for _, e := range a.env {
		if e == "TERM=dumb" {
			v.plain = true
		}
	}
	v.colour = !v.plain
	for _, e := range a.env {
		if name, value, _ := strings.Cut(e, "="); name == "NO_COLOR" && value != "" {
			v.colour = false
		}
	}
	if !v.plain {
		v.running = true
		fmt.Fprint(v.out, "\x1b[?1049h\x1b[?25l\x1b[2J") // the other screen, no cursor, empty
	}
	return v
}

// end gives the terminal back and leaves the events on it. Safe twice.
func (v *show) end() {
	if !v.running {
		return
	}
	v.running = false
	fmt.Fprint(v.out, "\x1b[?25h\x1b[?1049l")
	for _, e := range v.events {
		fmt.Fprintln(v.out, e)
	}
}

// say adds an event.
func (v *show) say(format string, args ...any) {
	text := time.Now().Format("15:04:05") + "  " + clean(fmt.Sprintf(format, args...))
	v.events = append(v.events, text)
	if v.plain {
		v.print(text + "\n")
	}
}

func (v *show) print(text string) {
	if _, err := io.WriteString(v.out, text); err != nil {
		v.gone = true
	}
}

// draw shows one moment.
func (v *show) draw(l look) {
	v.watch(l)
	v.last = l
	if !v.plain {
		v.frames++
		width, height := v.size()
		v.print(v.screen(l, width, height))
		return
	}
	if now := time.Now(); now.Sub(v.line) >= time.Second {
		v.line = now
		v.print(v.plainLine(l) + "\n")
	}
}

// watch turns changes into events.
func (v *show) watch(l look) {
	for _, text := range v.demo.heard() {
		v.say("%s", text)
	}
	if was, is := v.last.status.Uplink, l.status.Uplink; was != "" && is != "" && was != is {
		v.say("the gateway says: uplink %s", is)
	}
	queue := l.queue()
	v.most = max(v.most, queue)
	if v.wasCut && !v.stage.cut {
		v.drains = v.last.queue() > 0
	}
	v.wasCut = v.stage.cut
	if v.drains && !v.wasCut && queue == 0 {
		v.drains = false
		v.say("the queue is empty again; at most %d sales waited on disk", v.most)
	}
}

func (v *show) plainLine(l look) string {
	uplink := "up "
	if v.stage.cut {
		uplink = "CUT"
	}
	line := fmt.Sprintf("%s  uplink %s  sold %3d  on disk %3d  at OpenFiskal %3d  receipts %3d  queue %3d",
		time.Now().Format("15:04:05"), uplink, l.total.reported, l.total.stored, l.total.fiscal, l.total.receipts, l.queue())
	for _, c := range l.currencies() {
		line += fmt.Sprintf("  %s %s", amount(l.money[c].reported, c), c)
	}
	return line
}
