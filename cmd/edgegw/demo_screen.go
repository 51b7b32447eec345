package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Styles are SGR parameters of ANSI terminals.
const (
	normal = ""
	bold   = "1"
	faint  = "2"
	green  = "32"
	yellow = "33"
	alarm  = "1;97;41"
)

// part is some text in one style.
type part struct{ style, text string }

// screen is one frame: every line overwrites the one below it, and what is left
// of the line and of the screen is cleared, so that nothing flickers.
func (v *show) screen(l look, width, height int) string {
	lines := v.head(l, width)
	table := v.table(l, max(1, height-len(lines)-10))
	lines = append(lines, table...)
	foot := [][]part{{{faint, " Ctrl-C ends it. The gateway's log: " + v.demo.logFile}},
		{{faint, " In another terminal: edgegw --data-dir " + v.demo.dir + " status"}}}
	room := height - len(lines) - len(foot) - 1
	lines = append(lines, nil)
	first := max(0, len(v.events)-max(0, room-1))
	for _, e := range v.events[first:] {
		lines = append(lines, []part{{normal, " " + e}})
	}
	for len(lines) < height-len(foot) {
		lines = append(lines, nil)
	}
	lines = append(lines[:min(len(lines), max(0, height-len(foot)))], foot...)
	lines = lines[:min(len(lines), height)]

	var b strings.Builder
	b.WriteString("\x1b[?2026h\x1b[H") // terminals that know it show the frame as a whole
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		v.write(&b, line, width)
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J\x1b[?2026l")
	return b.String()
}

// write puts one line, cut at the edge of the screen.
func (v *show) write(b *strings.Builder, line []part, width int) {
	for _, p := range line {
		n := utf8.RuneCountInString(p.text)
		if n > width {
			p.text, n = string([]rune(p.text)[:width]), width
		}
		width -= n
		if v.colour && p.style != normal && n > 0 {
			b.WriteString("\x1b[" + p.style + "m" + p.text + "\x1b[0m")
		} else {
			b.WriteString(p.text)
		}
	}
}

// pad fills the space between the left and the right part of a line.
func pad(width int, left, right []part) []part {
	n := width - 1
	for _, p := range append(append([]part{}, left...), right...) {
		n -= utf8.RuneCountInString(p.text)
	}
	left = append(left, part{normal, strings.Repeat(" ", max(1, n))})
	return append(left, right...)
}

const barWidth = 30

// head is the title, the uplink and the queue.
func (v *show) head(l look, width int) [][]part {
	left := "runs until Ctrl-C"
	switch {
	case v.stage.settling:
		left = "settling, at most " + clock(v.stage.left)
	case v.stage.left > 0:
		left = "selling, " + clock(v.stage.left) + " left"
	}
	title := pad(width, []part{{bold, " edgegw demo"}, {faint, fmt.Sprintf("  %d devices, gateway, OpenFiskal stand-in", len(l.rows))}},
		[]part{{normal, left}})

	uplink := []part{{normal, " uplink to OpenFiskal  "}}
	switch {
	case v.stage.cut:
		uplink = append(uplink, part{alarm, "CUT"}, part{normal, "    " + bar(v.stage.share, barWidth) + "  back in " + clock(v.stage.nextIn)})
	case v.stage.next != "":
		uplink = append(uplink, part{green, "up"}, part{faint, "     it will be cut in " + clock(v.stage.nextIn)})
	case l.status.Uplink == "down":
		uplink = append(uplink, part{yellow, "up again"}, part{faint, "  the gateway is about to find out"})
	default:
		uplink = append(uplink, part{green, "up"})
	}

	queue := l.queue()
	scale := 20 // the bar's full length grows in steps, so that one sees it fill
	for scale < v.most {
		scale *= 2
	}
	style := normal
	if queue > 0 {
		style = yellow
	}
	waits := []part{{normal, " queue on disk         "}, {style, fmt.Sprintf("%-5d", queue)}, {normal, "  "},
		{style, bar(float64(queue)/float64(scale), barWidth)}, {faint, fmt.Sprintf("  most %d", v.most)}}
	return [][]part{title, nil, uplink, waits, nil}
}

// bar is a share as a row of blocks.
func bar(share float64, width int) string {
	n := min(width, max(0, int(share*float64(width)+0.5)))
	return strings.Repeat("█", n) + strings.Repeat("·", width-n)
}

// spinner moves beside a device that sells, in step with the frames.
var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// table is one line for each device and the totals.
func (v *show) table(l look, room int) [][]part {
	lines := [][]part{{{faint, fmt.Sprintf(" %-11s %-31s %4s %8s %10s %8s", "device", "", "sold", "on disk", "OpenFiskal", "receipts")}}}
	for i, r := range l.rows {
		if i == room && len(l.rows) > room {
			lines = append(lines, []part{{faint, fmt.Sprintf(" and %d more", len(l.rows)-i)}})
			break
		}
		lines = append(lines, v.deviceLine(r))
	}
	lines = append(lines, nil, append([]part{{bold, fmt.Sprintf(" %-11s %-31s", "all", "")}}, numbers(l.total)...))
	for _, currency := range l.currencies() {
		lines = append(lines, moneyLine(currency, l.money[currency]))
	}
	return lines
}

func moneyLine(currency string, c coins) []part {
	style := normal
	if c.fiscal != c.stored {
		style = yellow
	}
	return []part{{normal, fmt.Sprintf(" %-11s   ", currency)}, {normal, "sold " + amount(c.reported, currency)},
		{style, ", at OpenFiskal " + amount(c.fiscal, currency)}, {normal, ", on receipts " + amount(c.receipts, currency)}}
}

// nowWidth holds "49.570 kWh HPC charging 34.20".
const nowWidth = 29

func (v *show) deviceLine(r row) []part {
	mark, style := " ", normal
	switch {
	case r.trouble:
		mark, style = "!", yellow
	case r.busy:
		mark, style = string(spinner[(v.frames+len(r.device)*3)%len(spinner)]), bold
	case r.now != "":
		style = faint
	}
	now := []rune(r.now)
	if len(now) > nowWidth {
		now = append(now[:nowWidth-1], '…')
	}
	line := []part{{normal, fmt.Sprintf(" %-11.11s ", r.device)}, {green, mark + " "}, {style, fmt.Sprintf("%-*s", nowWidth, string(now))}}
	return append(line, numbers(r.level)...)
}

// numbers are the four counts; one that is behind the devices stands out.
func numbers(l level) []part {
	behind := func(n int) string {
		if n < l.stored {
			return yellow
		}
		return normal
	}
	return []part{{bold, fmt.Sprintf(" %4d", l.reported)}, {normal, fmt.Sprintf(" %8d", l.stored)},
		{behind(l.fiscal), fmt.Sprintf(" %10d", l.fiscal)}, {behind(l.receipts), fmt.Sprintf(" %8d", l.receipts)}}
}
