package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edgegw/admin"
	"edgegw/broker"
	"edgegw/relay"
	"edgegw/store"
)

const (
	scrapeLimit = 10 * time.Second // of reading the site; Prometheus itself gives up after 10 s
	mostScrapes = 4                // at one time; more get 503
)

// metrics serves the metrics to whoever may have them. Where one cannot be read
// it answers 500: half an exposition would look like a quiet site.
func (g *Gateway) metrics() http.Handler {
	return promhttp.HandlerFor(g.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: mostScrapes})
}

// registry holds what /metrics shows. It is the gateway's own: what a library
// puts into the default one is not ours to promise.
func (g *Gateway) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newSiteCollector(g))
	r.MustRegister(g.meters.all()...)
	return r
}

// snapshot is the site at the moment of a scrape.
type snapshot struct {
	at            time.Time
	status        admin.Status
	queues        []store.Queue
	uplink        relay.UplinkState
	mqtt          broker.Stats
	pending       int64
	database, log int64 // bytes on disk
}

func (g *Gateway) snapshot(ctx context.Context) (s snapshot, err error) {
	s.at, s.uplink, s.mqtt = time.Now(), g.relay.Uplink(), g.broker.Stats()
	if s.queues, err = g.db.Queues(ctx); err != nil {
		return s, err
	}
	if s.status, err = g.status(ctx, s.queues); err != nil {
		return s, err
	}
	if s.pending, err = g.db.CountPending(ctx); err != nil {
		return s, err
	}
	s.database, s.log, err = g.db.Sizes()
	return s, err
}

// siteCollector reads the site once for each scrape, so that its metrics are of
// one moment and need no bookkeeping of their own.
type siteCollector struct {
	gateway *Gateway
	descs   []*prometheus.Desc // one for each of readings
}

func newSiteCollector(g *Gateway) siteCollector {
	c := siteCollector{gateway: g}
	for _, r := range readings {
		c.descs = append(c.descs, prometheus.NewDesc(prometheus.BuildFQName(namespace, "", r.name), r.help, r.labels, nil))
	}
	return c
}

func (c siteCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

func (c siteCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit) // the interface hands no context down
	defer cancel()
	s, err := c.gateway.snapshot(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	for i, r := range readings {
		r.read(&s, func(v float64, labels ...string) {
			m, err := prometheus.NewConstMetric(c.descs[i], r.kind, v, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(c.descs[i], err)
			}
			out <- m
		})
	}
}
