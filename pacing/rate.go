package pacing

import "time"

// Rate is a site's token bucket. A 429 halves it; each success afterwards raises it a
// little, up to what is configured. Its methods are not for several goroutines at once.
type Rate struct {
	most   float64 // requests per second, configured
	burst  float64
	rate   float64
	slow   time.Time // of the last halving
	calm   time.Time // of that, or since when else nothing raised the rate by time
	tokens float64
	at     time.Time // when tokens was right
	wire   time.Time // when the last request that was let out would leave, were there no bursts
}

const (
	// Least is the slowest, in requests per second: a fair share of 500 a second where
	// 5,000 sites meet one limit. Was it 1, four of five requests were refused.
	Least     = 0.1
	halveOnce = time.Second // the 429s of one burst are one
	raiseStep = 0.01        // of the most, with each success …
	raisePart = 0.1         // … but no more than this part of the rate: a success says little of one ten times as high
	// calmFor is after how long without a 429 the rate doubles, whatever is sold: a quiet
	// site would stay slow for days.
	calmFor = time.Minute
	// mostSpread is the longest that Spread has a request wait: those that have a token had
	// it from a rate that may have fallen since.
	mostSpread = time.Second
	// MostBurst is how many may leave at one moment. A service counts as they arrive,
	// and what the network delays comes together with what left later: a burst that
	// used up its patience would make those 429s, and each of these a second's wait.
	MostBurst = 25
)

// NewRate gives a full bucket.
func NewRate(perSecond int, now time.Time) Rate {
	most := float64(perSecond)
	burst := max(1, min(MostBurst, most/2))
	return Rate{most: most, rate: most, burst: burst, tokens: burst, at: now}
}

// Refill adds the tokens of the time since it was last asked.
func (r *Rate) Refill(now time.Time) {
	for r.rate < r.most && now.Sub(r.calm) >= calmFor {
		r.rate, r.calm = min(r.most, 2*r.rate), r.calm.Add(calmFor)
	}
	r.tokens = min(r.burst, r.tokens+now.Sub(r.at).Seconds()*r.rate)
	r.at = now
}

// Take takes a token. Where there is none it takes nothing, and gives how long it will
// be, from the last Refill, until there is one.
func (r *Rate) Take() (wait time.Duration, ok bool) {
	if r.tokens < 1 {
		return time.Duration((1 - r.tokens) / r.rate * float64(time.Second)), false
	}
	r.tokens--
	return 0, true
}

// Return gives back a token that was not used.
func (r *Rate) Return() { r.tokens++ }

// Spread gives how long a request that has a token still waits, so that no more than a
// burst leaves at one moment. It is not positive where the request may leave at once.
func (r *Rate) Spread(now time.Time) time.Duration {
	each := time.Duration(float64(time.Second) / r.rate)
	ahead := time.Duration(r.burst * float64(each))
	if least := now.Add(-ahead); r.wire.Before(least) {
		r.wire = least
	}
	r.wire = r.wire.Add(each)
	if last := now.Add(mostSpread); r.wire.After(last) {
		r.wire = last
	}
	return r.wire.Sub(now)
}

// For is how long n requests take at the present rate.
func (r *Rate) For(n int) time.Duration {
	return time.Duration(float64(n) / r.rate * float64(time.Second))
}

// Throttled notes a 429.
func (r *Rate) Throttled(now time.Time) {
	r.Refill(now)
	if r.slow.IsZero() || now.Sub(r.slow) >= halveOnce {
		r.rate, r.slow = max(r.rate/2, min(Least, r.most)), now
		r.calm, r.tokens = now, min(r.tokens, 1)
	}
}

// Succeeded notes a confirmation.
func (r *Rate) Succeeded(now time.Time) {
	if r.rate < r.most {
		r.Refill(now)
		r.rate = min(r.most, r.rate+min(max(r.most*raiseStep, 0.01), r.rate*raisePart))
	}
}

// Now gives the present rate in requests per second, and the configured one.
func (r *Rate) Now() (rate, most float64) { return r.rate, r.most }

// Slowed gives the time of the last halving, zero before the first.
func (r *Rate) Slowed() time.Time { return r.slow }
