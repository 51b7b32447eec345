package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgegw/fiscal"
	"edgegw/sale"
)

// Every metric is named namespace_…: edgegw_sales_waiting.
const namespace = "edgegw"

// meters count what only the moment knows: how long a commit or a request
// took, and how an attempt ended. They begin at zero with the process. All
// other metrics are read from the site when somebody asks (scrape.go).
type meters struct {
	commits  prometheus.Histogram
	changes  prometheus.Counter
	requests *prometheus.HistogramVec
	attempts *prometheus.CounterVec
	cards    prometheus.Counter
	ended    atomic.Int64 // requests to OpenFiskal

	inVain, turnedAway prometheus.Counter // of the HTTP listeners
}

func newMeters() *meters {
	m := &meters{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "commit_seconds",
			Help:    "Time of a transaction of the journal, from its begin to the end of its sync. Acknowledgements wait for it.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "committed_changes_total",
			Help: "Changes of the journal that were committed: events, attempts, outcomes, receipts. Many share a commit under load."}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "openfiskal_request_seconds",
			Help:    "Time of a request to OpenFiskal, from dialling to the last byte of the answer, by what it was for and how it ended.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"step", "outcome"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "attempts_total",
			Help: "Attempts of calls that have ended, by the class of what came back."}, []string{"class"}),
		cards: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "card_data_total",
			Help: "Events of devices in which what looks like a card number stood. There should be none."}),
		inVain: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "http_auth_failures_total",
			Help: "Requests to the API or to metrics without a token that opens anything."}),
		turnedAway: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "http_turned_away_total",
			Help: "Connections to the HTTP listeners closed at once because there were too many."}),
	}
	for class := sale.Confirmed; class <= sale.Misconfigured; class++ {
		m.attempts.WithLabelValues(class.String()) // a rate needs the zero before the first
	}
	return m
}

func (m *meters) all() []prometheus.Collector {
	return []prometheus.Collector{m.commits, m.changes, m.requests, m.attempts, m.cards, m.inVain, m.turnedAway}
}

// committed is store.Options.Committed.
func (m *meters) committed(took time.Duration, changes int) {
	m.commits.Observe(took.Seconds())
	m.changes.Add(float64(changes))
}

// observed is fiscal.Options.Observed.
func (m *meters) observed(purpose, outcome string, took time.Duration) {
	m.requests.WithLabelValues(purpose, outcome).Observe(took.Seconds())
	m.ended.Add(1)
}

// counted is OpenFiskal as the relay sees it, with the end of each attempt
// counted.
type counted struct {
	*fiscal.Client
	meters *meters
}

func (c counted) Do(ctx context.Context, call sale.Call) (sale.Answer, error) {
	answer, err := c.Client.Do(ctx, call)
	class := sale.Confirmed
	if err != nil {
		class = sale.InDoubt
		if p := (*sale.Problem)(nil); errors.As(err, &p) {
			class = p.Class
		}
	}
	c.meters.attempts.WithLabelValues(class.String()).Inc()
	return answer, err
}
