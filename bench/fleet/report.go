package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// pictureOf draws what the clients did under one limit.
func pictureOf(limit Limit, of []Result) string {
	to := 300.0
	for _, r := range of {
		to = max(to, 1.15*r.last())
	}
	lead := of[0].Lead.Seconds()
	all := Panel{Title: "Requests at the service", Unit: "a second (logarithmic)", Log: true, From: -lead, To: to}
	no := Panel{Title: "… of which it refused (429, 503) or was not there", Unit: "a second (logarithmic)", Log: true, From: -lead, To: to}
	waits := Panel{Title: "Sales that wait, all sites together", Unit: "thousands", From: -lead, To: to}
	ages := Panel{Title: "A new sale until its receipt, by the minute it was made in: 99th percentile", Unit: "s (logarithmic)", Log: true, From: -lead, To: to}
	if limit != PerKey {
		all.Mark, all.MarkAs = float64(of[0].PerSecond), fmt.Sprintf("%d a second", of[0].PerSecond)
	}
	for _, r := range of {
		sum, refusals := make([]float64, len(r.Waiting)), make([]float64, len(r.Waiting))
		for i := range sum {
			refusals[i] = float64(r.Requests[away][i] + r.Requests[refused][i])
			sum[i] = refusals[i] + float64(r.Requests[taken][i])
		}
		line := Line{Client: r.Client, From: -lead, Step: 1}
		all.Lines = append(all.Lines, line.with(sum))
		no.Lines = append(no.Lines, line.with(refusals))
		w := make([]float64, len(r.Waiting))
		for i, v := range r.Waiting {
			w[i] = float64(v) / 1000
		}
		waits.Lines = append(waits.Lines, line.with(w))
		var worst []float64
		for _, l := range r.Live {
			worst = append(worst, l[1])
		}
		ages.Lines = append(ages.Lines, Line{Client: r.Client, From: 30, Step: 60, Values: worst})
	}
	return Draw("A fleet after an outage; the service's limit: "+string(limit), []Panel{all, no, waits, ages})
}

func (l Line) with(values []float64) Line {
	l.Values = values
	return l
}

// last is the second in which the last site had worked off its backlog, or the
// end of the run.
func (r Result) last() float64 {
	if len(r.Drained) < r.Sites {
		return r.After.Seconds()
	}
	return slices.Max(r.Drained)
}

// peak is the most requests of one second after the service is back.
func (r Result) peak() (most int32) {
	for i := int(r.Lead / time.Second); i < len(r.Waiting); i++ {
		most = max(most, r.Requests[away][i]+r.Requests[refused][i]+r.Requests[taken][i])
	}
	return most
}

// after sums up the requests of one kind since the service is back.
func (r Result) after(kind int) (n int64) {
	for _, v := range r.Requests[kind][int(r.Lead/time.Second):] {
		n += int64(v)
	}
	return n
}

// probes is how many requests a second met nobody in the last minute of the outage.
func (r Result) probes() float64 {
	end := int(r.Lead / time.Second)
	n := int32(0)
	for _, v := range r.Requests[away][end-60 : end] {
		n += v
	}
	return float64(n) / 60
}

// table gives the figures of the runs as Markdown.
func table(of []Result) string {
	var b strings.Builder
	b.WriteString("| limit | client | a second while it is away | most in one second after | refused, for each request taken | half of the sites done after | 99 % | the last | a new sale in the first minute, p50 / p99 | in the last measured minute |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range of {
		at := func(part float64) string {
			if i := int(part * float64(r.Sites-1)); i < len(r.Drained) {
				return length(r.Drained[i])
			}
			return "later than " + length(r.After.Seconds())
		}
		first, end := "not done", "not done"
		if n := len(r.Live); n > 0 {
			first = length(r.Live[0][0]) + " / " + length(r.Live[0][1])
			end = length(r.Live[n-1][0]) + " / " + length(r.Live[n-1][1])
		}
		fmt.Fprintf(&b, "| %s | %s | %.0f | %d | %.2f | %s | %s | %s | %s | %s |\n", r.Limit, r.Client, r.probes(), r.peak(),
			float64(r.after(refused))/float64(r.after(taken)), at(0.5), at(0.99), at(1), first, end)
	}
	return b.String()
}

func length(seconds float64) string {
	switch {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.1f min", seconds/60)
}
