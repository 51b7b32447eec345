package bench

import (
	"slices"
	"time"
)

// Times sum up how long things took, in microseconds. Zero where there was none.
type Times struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P95       float64 `json:"p95_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
}

// Sum sums up how long things took that happened in that time; it sorts all.
func Sum(all []time.Duration, took time.Duration) Times {
	if len(all) == 0 || took <= 0 {
		return Times{}
	}
	slices.Sort(all)
	at := func(share float64) float64 {
		return micros(all[min(len(all)-1, int(share*float64(len(all))))])
	}
	return Times{Count: len(all), PerSecond: float64(len(all)) / took.Seconds(), P50: at(.5), P95: at(.95), P99: at(.99), Max: micros(all[len(all)-1])}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
