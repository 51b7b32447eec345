package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"edgegw/fiscal"
	"edgegw/sale"
)

// meters count what only the moment knows: how long a commit or a request
// took, and how an attempt ended. They begin at zero with the process. All
// other metrics are read from the site when somebody asks (scrape.go).
type meters struct {
	commits  *metrics.PrometheusHistogram
	changes  *metrics.Counter
	requests *metrics.Set
	attempts *metrics.Set
	cards    *metrics.Counter
	ended    atomic.Int64 // requests to OpenFiskal

	inVain, turnedAway *metrics.Counter // of the HTTP listeners

	families []meterFamily
}

// meterFamily is a metric that is counted. Its samples have a set of their own:
// those of one name stand together in an exposition, behind what the name means.
type meterFamily struct {
	metric
	samples *metrics.Set
}

// Bounds of the histograms, in seconds.
var (
	commitBounds  = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	requestBounds = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

var (
	commitSeconds = metric{histogramKind, "commit_seconds",
		"Time of a transaction of the journal, from its begin to the end of its sync. Acknowledgements wait for it.", nil}
	committedChanges = metric{counterKind, "committed_changes_total",
		"Changes of the journal that were committed: events, attempts, outcomes, receipts. Many share a commit under load.", nil}
	requestSeconds = metric{histogramKind, "openfiskal_request_seconds",
		"Time of a request to OpenFiskal, from dialling to the last byte of the answer, by what it was for and how it ended.", []string{"outcome", "step"}}
	attemptsEnded = metric{counterKind, "attempts_total",
		"Attempts of calls that have ended, by the class of what came back.", []string{"class"}}
	cardData = metric{counterKind, "card_data_total",
		"Events of devices in which what looks like a card number stood. There should be none.", nil}
	authFailures = metric{counterKind, "http_auth_failures_total",
		"Requests to the API or to metrics without a token that opens anything.", nil}
	turnedAway = metric{counterKind, "http_turned_away_total",
		"Connections to the HTTP listeners closed at once because there were too many.", nil}
)

func newMeters() *meters {
	m := new(meters)
	m.commits = m.family(commitSeconds).NewPrometheusHistogramExt(commitSeconds.sample(), commitBounds)
	m.changes = m.counter(committedChanges)
	m.requests, m.attempts = m.family(requestSeconds), m.family(attemptsEnded)
	m.cards, m.inVain, m.turnedAway = m.counter(cardData), m.counter(authFailures), m.counter(turnedAway)
	for class := sale.Confirmed; class <= sale.Misconfigured; class++ {
		m.attempt(class) // a rate needs the zero before the first
	}
	return m
}

func (m *meters) family(of metric) *metrics.Set {
	s := metrics.NewSet()
	m.families = append(m.families, meterFamily{of, s})
	return s
}

func (m *meters) counter(of metric) *metrics.Counter { return m.family(of).NewCounter(of.sample()) }

func (m *meters) attempt(class sale.Class) *metrics.Counter {
	return m.attempts.GetOrCreateCounter(attemptsEnded.sample(class.String()))
}

// committed is store.Options.Committed.
func (m *meters) committed(took time.Duration, changes int) {
	m.commits.Update(took.Seconds())
	m.changes.Add(changes)
}

// observed is fiscal.Options.Observed.
func (m *meters) observed(purpose, outcome string, took time.Duration) {
	sample := requestSeconds.sample(outcome, purpose)
	m.requests.GetOrCreatePrometheusHistogramExt(sample, requestBounds).Update(took.Seconds())
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
	c.meters.attempt(class).Inc()
	return answer, err
}
