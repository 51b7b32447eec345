package bench

import (
	"fmt"
	"math"
	"reflect"
)

// Report is what was measured. Rates are per second, times microseconds, sizes bytes.
// Ratios are of what was measured in the same run: absolute figures belong to one box.
type Report struct {
	Version    string  `json:"version"`
	Dir        string  `json:"dir"`
	Processors int     `json:"processors"`
	Seconds    float64 `json:"seconds"` // that it took
	Floor      Floor   `json:"floor"`
	Acks       []Acks  `json:"acknowledgements"`
	Drain      []Drain `json:"drain"`
	Life       Life    `json:"life"`
	Memory     Memory  `json:"memory"`
	Verdict    Verdict `json:"verdict"`
	Left       string  `json:"left_out,omitempty"` // and why
}

// Acks are durable acknowledgements: from PUBLISH to PUBACK, while OpenFiskal cannot be
// reached.
type Acks struct {
	Devices int `json:"devices"`
	Window  int `json:"in_flight"` // sales of each device
	Times
	OfFloor    float64 `json:"rate_of_floor"` // of syncs one at a time
	P50OfFloor float64 `json:"p50_of_floor"`
	CPU        float64 `json:"cpu_us_per_sale"` // of the gateway alone
	Written    float64 `json:"bytes_per_sale"`
}

// Drain is how fast what waited goes out.
type Drain struct {
	LatencyMS int     `json:"latency_ms"` // of the stand-in, for each request
	Registers int     `json:"registers"`  // with sales that wait
	PerSecond float64 `json:"requests_per_second"`
	Bound     float64 `json:"bound_per_second"` // one request at a time of each register
	OfBound   float64 `json:"of_bound"`
	CPU       float64 `json:"cpu_us_per_request"`
	Written   float64 `json:"bytes_per_request"`
}

// Life is sales from their acceptance to the receipt that the device has acknowledged,
// by devices as they are meant.
type Life struct {
	Sales     int     `json:"sales"`
	PerSecond float64 `json:"per_second"`
	Written   float64 `json:"bytes_per_sale"`
	CPU       float64 `json:"cpu_us_per_sale"`
}

// Memory is what the gateway holds resident.
type Memory struct {
	Idle   int64 `json:"idle"`   // after the start
	Loaded int64 `json:"loaded"` // with the most devices of the run, behind full load
}

// Verdict is what it means for a site.
type Verdict struct {
	Pumps       int     `json:"pumps"`         // that sell once a minute, day and night
	Share       float64 `json:"share_percent"` // of the sales that can be acknowledged one at a time
	Free        int64   `json:"free"`          // of the disk, above store.min_free_bytes
	WaitingSale float64 `json:"bytes_per_waiting_sale"`
	Days        float64 `json:"days_of_outage"` // that there is room for
	Sentence    string  `json:"sentence"`
}

// Judge says what the figures mean for a site of so many pumps. The least that one
// device was acknowledged is what counts.
func (r *Report) Judge(pumps int, free int64) {
	v := Verdict{Pumps: pumps, Free: free, WaitingSale: r.Verdict.WaitingSale}
	perSecond := float64(pumps) / 60
	for _, a := range r.Acks {
		if a.Devices == 1 && a.Window == 1 && a.PerSecond > 0 {
			v.Share = 100 * perSecond / a.PerSecond
		}
	}
	if v.WaitingSale > 0 && perSecond > 0 {
		v.Days = float64(max(free, 0)) / v.WaitingSale / (perSecond * 86400)
	}
	v.Sentence = fmt.Sprintf("%s selling once a minute, day and night, ask for %s of the sales that this box can acknowledge one at a time; there is room to queue for %s of outage.",
		plural(pumps, "pump"), percent(v.Share), days(v.Days))
	if v.Share > 100 {
		v.Sentence = fmt.Sprintf("This disk is too slow for %s selling once a minute one at a time: it can acknowledge %.1f sales a second.", plural(pumps, "pump"), 100*perSecond/v.Share)
	}
	r.Verdict = v
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// percent keeps two digits that say something.
func percent(share float64) string { return fmt.Sprintf("%.2g %%", share) }

func days(n float64) string {
	switch {
	case n >= 2:
		return fmt.Sprintf("%.0f days", n)
	case n >= 2./24:
		return fmt.Sprintf("%.0f hours", n*24)
	}
	return fmt.Sprintf("%.0f minutes", n*24*60)
}

// Round leaves of each figure what means something: three places behind the point.
func (r *Report) Round() { round(reflect.ValueOf(r).Elem()) }

func round(v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		v.SetFloat(math.Round(v.Float()*1000) / 1000)
	case reflect.Struct:
		for i := range v.NumField() {
			round(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			round(v.Index(i))
		}
	}
}
