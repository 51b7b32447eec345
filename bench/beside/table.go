package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// spread is the median of several rounds, with its ends.
type spread struct{ mid, least, most float64 }

// spreadOf needs at least one.
func spreadOf(all []float64) spread {
	all = slices.Clone(all)
	slices.Sort(all)
	mid := all[len(all)/2]
	if len(all)%2 == 0 {
		mid = (mid + all[len(all)/2-1]) / 2
	}
	return spread{mid, all[0], all[len(all)-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%s [%s–%s]", short(s.mid), short(s.least), short(s.most))
}

// short keeps three digits that say something.
func short(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// figure is one of a cell.
type figure func(Cell) float64

func perSecond(c Cell) float64 { return c.PerSecond }
func p50(c Cell) float64       { return c.P50 }
func p99(c Cell) float64       { return c.P99 }
func cpu(c Cell) float64       { return c.CPU }
func deviced(c Cell) float64   { return c.Device }

func (r Row) spread(f figure) spread {
	var all []float64
	for _, c := range r.Rounds {
		all = append(all, f(c))
	}
	return spreadOf(all)
}

// ratio compares two rows round by round.
func ratio(a, b Row, f figure) spread {
	var all []float64
	for i := range min(len(a.Rounds), len(b.Rounds)) {
		all = append(all, f(a.Rounds[i])/f(b.Rounds[i]))
	}
	return spreadOf(all)
}

// row finds a peer.
func (c Case) row(key string) (Row, bool) {
	i := slices.IndexFunc(c.Peers, func(r Row) bool { return r.Peer == key })
	if i < 0 || len(c.Peers[i].Rounds) == 0 {
		return Row{}, false
	}
	return c.Peers[i], true
}

// print gives everything as Markdown.
func (r *Report) print(w io.Writer) error {
	var b strings.Builder
	about := []string{r.Machine}
	for _, key := range []string{"edgegw", "mosquitto", "nats"} {
		if v := r.Versions[key]; v != "" {
			about = append(about, v)
		}
	}
	fmt.Fprintf(&b, "%s; %s.\n", strings.Join(about, "; "), r.Date)
	for _, c := range r.Cases {
		c.print(&b)
	}
	if len(r.Proofs) > 0 {
		b.WriteString("\n| killed after its last PUBACK | acknowledged | in its files |\n|---|---|---|\n")
		for _, p := range r.Proofs {
			fmt.Fprintf(&b, "| %s | %d | %d |\n", peerOf(p.Peer).title, p.Acknowledged, p.Found)
		}
	}
	r.goals(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func peerOf(key string) peer {
	if i := slices.IndexFunc(allPeers, func(p peer) bool { return p.key == key }); i >= 0 {
		return allPeers[i]
	}
	return peer{key: key, title: key}
}

func (c Case) load() load {
	if i := slices.IndexFunc(allCases, func(l load) bool { return l.key == c.Name }); i >= 0 {
		return allCases[i]
	}
	return load{key: c.Name}
}

func (c Case) print(b *strings.Builder) {
	l := c.load()
	open := l.rate > 0
	fmt.Fprintf(b, "\n**%s** (%s)\n\n", l.title(), c.Disk)
	head := []string{"", "a PUBACK says"}
	if open {
		head = append(head, "p50 ms", "p99 ms", "p99.9 ms")
	} else {
		head = append(head, "messages/s", "p50 ms", "p99 ms", "CPU µs/message")
	}
	if c.Own {
		head = append(head, "KB/message")
	}
	if open {
		head = append(head, "edgegw ÷ it: p50", "p99")
	} else {
		head = append(head, "edgegw ÷ it: rate")
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	ours, known := c.row(product)
	for _, row := range c.Peers {
		if len(row.Rounds) == 0 {
			continue
		}
		p, ms := peerOf(row.Peer), func(f figure) string { return short(row.spread(f).mid / 1000) }
		against := func(f figure) string {
			if !known || row.Peer == product {
				return ""
			}
			return ratio(ours, row, f).String()
		}
		cells := []string{p.title, p.promise}
		if open {
			cells = append(cells, ms(p50), ms(p99), short(row.P999/1000))
		} else {
			cells = append(cells, thousands(row.spread(perSecond).mid), ms(p50), ms(p99), short(row.spread(cpu).mid))
		}
		if c.Own {
			cells = append(cells, short(row.spread(deviced).mid/1000))
		}
		if open {
			cells = append(cells, against(p50), against(p99))
		} else {
			cells = append(cells, against(perSecond))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// thousands leaves three digits of a rate.
func thousands(f float64) string {
	n := int(f)
	for unit := 1; ; unit *= 10 {
		if n < 1000*unit {
			n = (n + unit/2) / unit * unit
			break
		}
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
