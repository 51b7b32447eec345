package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/broker"
	"edgegw/relay"
	"edgegw/store"
)

const (
	scrapeLimit = 10 * time.Second // of reading the site; Prometheus itself gives up after 10 s
	mostScrapes = 4                // at one time; more get 503
)

// metrics serves the metrics to whoever may have them. Where the site cannot be read
// it answers 500: half an exposition would look like a quiet site.
func (g *Gateway) metrics() http.Handler {
	scrapes := make(chan struct{}, mostScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case scrapes <- struct{}{}:
			defer func() { <-scrapes }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are under way; ask again later", mostScrapes), http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), scrapeLimit)
		defer cancel()
		s, err := g.snapshot(ctx)
		if err != nil {
			http.Error(w, "the site cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
		var text bytes.Buffer
		expose(&text, &s, g.meters)
		exposeProcess(&text)
		answerPacked(w, r, text.Bytes())
	})
}

// answerPacked sends an exposition, packed for whoever says that he reads that:
// it becomes a tenth, and many a site's uplink is paid by its bytes.
func answerPacked(w http.ResponseWriter, r *http.Request, text []byte) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Vary", "Accept-Encoding")
	if !takesGzip(r.Header) {
		_, _ = w.Write(text) // who has gone needs no answer
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	packed := gzip.NewWriter(w)
	_, _ = packed.Write(text)
	_ = packed.Close()
}

// takesGzip says whether an Accept-Encoding names gzip and does not rule it out.
func takesGzip(h http.Header) bool {
	for one := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
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
