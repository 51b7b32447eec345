package fleet

import (
	"fmt"
	"math"
	"strings"
)

// Measures of a picture, in its own units.
const (
	width, panelHeight  = 860, 250
	left, right         = 74, 20
	above, below        = 40, 44
	plotWidth           = width - left - right
	plotHeight          = panelHeight - above - below
	legendHeight        = 30
	mostPoints          = 600
	charWidth, fontSize = 6.6, 12
)

// Colours of the clients that are readable on white and on near black, and for
// those who do not see red from green; each line has a dash of its own as well.
var lineStyles = map[Client]string{
	Product:  `stroke="#2b7de0" stroke-width="2.2"`,
	NoJitter: `stroke="#e08a1e" stroke-width="1.6" stroke-dasharray="6 3"`,
	Naive:    `stroke="#b04ac0" stroke-width="1.6" stroke-dasharray="2 3"`,
}

// Panel is one plot of a picture: lines over seconds.
type Panel struct {
	Title  string
	Unit   string
	Log    bool    // from 1 up
	From   float64 // seconds
	To     float64
	Mark   float64 // a level with a name, 0: none
	MarkAs string
	Lines  []Line
}

// Line is what one client did.
type Line struct {
	Client Client
	From   float64 // second of the first value
	Step   float64 // seconds from one to the next
	Values []float64
}

// Draw renders panels below each other as an SVG that follows the reader's
// light or dark setting.
func Draw(title string, panels []Panel) string {
	var b strings.Builder
	high := legendHeight + len(panels)*panelHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="%d" role="img">`+"\n", width, high, width, high, fontSize)
	fmt.Fprintf(&b, "<title>%s</title>\n", title)
	b.WriteString(`<style>:root{color-scheme:light dark}.bg{fill:#fff}.ink{fill:#222}.grid{stroke:#ddd}.axis{stroke:#888}` +
		`@media (prefers-color-scheme:dark){.bg{fill:#15181c}.ink{fill:#ddd}.grid{stroke:#333}.axis{stroke:#888}}</style>` + "\n")
	fmt.Fprintf(&b, `<rect class="bg" width="%d" height="%d"/>`+"\n", width, high)
	legend(&b, panels[0].Lines)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", legendHeight+i*panelHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func legend(b *strings.Builder, lines []Line) {
	x := float64(left)
	for _, l := range lines {
		fmt.Fprintf(b, `<line x1="%.0f" y1="18" x2="%.0f" y2="18" %s/><text class="ink" x="%.0f" y="22">%s</text>`+"\n", x, x+30, lineStyles[l.Client], x+36, l.Client)
		x += 36 + charWidth*float64(len(l.Client)) + 28
	}
}

// top gives the level at the upper edge.
func (p Panel) top() float64 {
	most := p.Mark
	for _, l := range p.Lines {
		for _, v := range l.Values {
			most = max(most, v)
		}
	}
	if p.Log {
		return math.Pow(10, math.Ceil(math.Log10(max(most, 10))))
	}
	step := tick(most)
	return math.Ceil(max(most, step)/step) * step
}

// tick gives a round distance for about four lines.
func tick(most float64) float64 {
	e := math.Pow(10, math.Floor(math.Log10(max(most, 1e-9)/4)))
	for _, m := range []float64{1, 2, 5} {
		if most/(m*e) <= 5 {
			return m * e
		}
	}
	return 10 * e
}

func (p Panel) draw(b *strings.Builder) {
	most := p.top()
	x := func(s float64) float64 { return left + (s-p.From)/(p.To-p.From)*plotWidth }
	y := func(v float64) float64 {
		part := v / most
		if p.Log {
			part = math.Log10(max(v, 1)) / math.Log10(most)
		}
		return above + plotHeight*(1-min(part, 1))
	}
	fmt.Fprintf(b, `<text class="ink" x="%d" y="24" font-weight="600">%s</text>`+"\n", left, p.Title)
	for _, v := range p.levels(most) {
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="ink" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, left+plotWidth, y(v), y(v), left-8, y(v)+4, number(v))
	}
	step := minutesStep(p.To - p.From)
	for s := math.Ceil(p.From/step) * step; s <= p.To; s += step {
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="ink" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(s), x(s), above+plotHeight, above+plotHeight+4, x(s), above+plotHeight+18, number(s/60))
	}
	fmt.Fprintf(b, `<text class="ink" x="%d" y="%d" text-anchor="end">minutes since the service is back</text><text class="ink" x="%d" y="24" text-anchor="end">%s</text>`+"\n", left+plotWidth, above+plotHeight+36, left+plotWidth, p.Unit)
	if p.Mark > 0 {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#d04040" stroke-width="1"/><text x="%d" y="%.1f" fill="#d04040" text-anchor="end">%s</text>`+"\n", left, left+plotWidth, y(p.Mark), y(p.Mark), left+plotWidth-4, y(p.Mark)-5, p.MarkAs)
	}
	for _, l := range p.Lines {
		b.WriteString(`<polyline fill="none" stroke-linejoin="round" ` + lineStyles[l.Client] + ` points="`)
		for _, at := range l.thin(p.From, p.To) {
			fmt.Fprintf(b, "%.1f,%.1f ", x(at[0]), y(at[1]))
		}
		b.WriteString(`"/>` + "\n")
	}
	fmt.Fprintf(b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`+"\n", left, left+plotWidth, above+plotHeight, above+plotHeight)
}

// levels are where the horizontal lines are.
func (p Panel) levels(most float64) (all []float64) {
	if p.Log {
		for v := 1.0; v <= most; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	for i, step := 0, tick(most); float64(i)*step <= most*1.0001; i++ {
		all = append(all, float64(i)*step)
	}
	return all
}

func minutesStep(seconds float64) float64 {
	for _, m := range []float64{0.5, 1, 2, 5, 10, 20} {
		if seconds/(60*m) <= 13 {
			return 60 * m
		}
	}
	return 1800
}

// thin gives points of the line between two moments, the highest of each
// stretch where there are more than can be seen.
func (l Line) thin(from, to float64) (points [][2]float64) {
	stretch := max(1, int((to-from)/l.Step/mostPoints))
	for i := 0; i < len(l.Values); i += stretch {
		best := i
		for j := i; j < min(i+stretch, len(l.Values)); j++ {
			if l.Values[j] > l.Values[best] {
				best = j
			}
		}
		if at := l.From + float64(best)*l.Step; at >= from && at <= to {
			points = append(points, [2]float64{at, l.Values[best]})
		}
	}
	return points
}

func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g M", v/1e6)
	case v >= 10000:
		return fmt.Sprintf("%g k", v/1e3)
	}
	return fmt.Sprintf("%g", math.Round(v*100)/100+0) // no -0
}
