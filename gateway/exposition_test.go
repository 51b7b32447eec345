package gateway

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"edgegw/fiscal/sandbox"
)

// An exposition is packed for who reads that, and is the same.
func TestAScrapeIsPacked(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	for accept, packed := range map[string]bool{"": false, "gzip": true, "deflate, GZIP;q=0.5": true, "gzip;q=0": false, "identity": false} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/metrics"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", accept)
		res, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := res.Body
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("Accept-Encoding %q: packed %v, want %v", accept, got, packed)
		} else if packed {
			if body, err = gzip.NewReader(res.Body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if parse(t, res, text).value(t, "edgegw_books_balanced") != 1 {
			t.Errorf("Accept-Encoding %q: the books do not balance:\n%s", accept, text)
		}
	}
}

// More scrapes than there is room for are turned away, and not kept waiting.
func TestScrapesAreBounded(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	entered, leave := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	for range mostScrapes {
		done.Go(func() {
			s.scrape.ServeHTTP(&slowReader{ResponseRecorder: httptest.NewRecorder(), entered: entered, leave: leave}, httptest.NewRequest("GET", "/metrics", nil))
		})
		<-entered
	}
	if res, _ := s.get("/metrics", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the next one: %s", res.Status)
	}
	close(leave)
	done.Wait()
	s.exposed(t)
}

// slowReader is somebody who scrapes and does not read.
type slowReader struct {
	*httptest.ResponseRecorder
	once           sync.Once
	entered, leave chan struct{}
}

func (r *slowReader) Write(b []byte) (int, error) {
	r.once.Do(func() {
		r.entered <- struct{}{}
		<-r.leave
	})
	return r.ResponseRecorder.Write(b)
}

// What a label holds cannot end it.
func TestLabelsAreEscaped(t *testing.T) {
	var text bytes.Buffer
	odd := metric{gaugeKind, "odd", "An odd one.", []string{"register", "reason"}}
	odd.begin(&text)
	value := "a\\b\"} 7\nedgegw_lie 1"
	metrics.WriteGaugeFloat64(&text, odd.sample(value, "none"), 1)
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(&text)
	if err != nil || len(families) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	if got := families["edgegw_odd"].GetMetric()[0].GetLabel()[0].GetValue(); got != value {
		t.Errorf("%q, want %q", got, value)
	}
}

// Names and help are as Prometheus asks for.
func TestMetricsAreWellNamed(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	await(t, "a request", func() bool { return s.meters.ended.Load() > 2 })
	snap, err := s.snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	expose(&text, &snap, s.meters)
	if !bytes.Contains(text.Bytes(), []byte("# HELP edgegw_sales_waiting ")) {
		t.Fatalf("nothing says what the metrics mean:\n%s", text.Bytes())
	}
	problems, err := promlint.New(&text).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
