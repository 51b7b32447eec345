package gateway

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// Every metric is named namespace_…: edgegw_sales_waiting.
const namespace = "edgegw"

// Kinds of metrics, as a # TYPE line has them.
const (
	counterKind   = "counter"
	gaugeKind     = "gauge"
	histogramKind = "histogram"
)

// metric is what a name in the exposition means.
type metric struct {
	kind   string
	name   string // after edgegw_
	help   string // no backslash and no new line
	labels []string
}

// begin writes what stands before the samples of a metric. Of the text format
// (version 0.0.4) the library writes the samples alone; what it could write here, after
// ExposeMetadata, has no words.
func (m metric) begin(to *bytes.Buffer) {
	fmt.Fprintf(to, "# HELP %s_%s %s\n# TYPE %[1]s_%[2]s %[4]s\n", namespace, m.name, m.help, m.kind)
}

// labelText escapes the value of a label.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample gives the name of one sample, with a value for each of the labels.
func (m metric) sample(values ...string) string {
	name := namespace + "_" + m.name
	if len(m.labels) == 0 {
		return name
	}
	var pairs []string
	for i, label := range m.labels {
		pairs = append(pairs, label+`="`+labelText.Replace(values[i])+`"`)
	}
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// expose writes what is read of the site and what was counted.
func expose(to *bytes.Buffer, s *snapshot, m *meters) {
	for _, r := range readings {
		r.begin(to)
		r.read(s, func(v float64, values ...string) {
			metrics.WriteGaugeFloat64(to, r.sample(values...), v)
		})
	}
	for _, f := range m.families {
		f.begin(to)
		f.samples.WritePrometheus(to)
	}
}

// exposeProcess writes what there is of Go and of the process. What it has read and
// written is left out: a process that gives no core dumps may not look, and the library
// would call it 0.
func exposeProcess(to *bytes.Buffer) {
	var all bytes.Buffer
	metrics.WriteProcessMetrics(&all)
	metrics.WriteFDMetrics(&all)
	for line := range bytes.Lines(all.Bytes()) {
		if !bytes.HasPrefix(line, []byte("process_io_")) {
			to.Write(line)
		}
	}
}
