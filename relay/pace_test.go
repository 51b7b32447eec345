package relay

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/pacing"
)

// A sale that happens now waits for one of the backlog at most, however many
// wait there, and the backlog is not starved by it.
func TestLiveAndBacklogTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10, 2)
		for range 5 { // the burst
			if err := p.enter(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			p.leave()
		}
		order := make(chan string, 100)
		one := func(live bool, name string) {
			go func() {
				if p.enter(t.Context(), live) == nil {
					order <- name
					p.leave()
				}
			}()
			synctest.Wait()
		}
		for range 20 {
			one(false, "backlog")
		}
		for range 5 {
			one(true, "live")
		}
		began := time.Now()
		seen := map[string]int{}
		for i := range 10 {
			seen[<-order]++
			if i == 1 && seen["live"] == 0 {
				t.Error("a live sale waits for more than one of the backlog")
			}
		}
		if seen["live"] != 5 || seen["backlog"] != 5 {
			t.Errorf("the first ten were %v", seen)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("ten requests at 10/s took %s", took)
		}
		for range 15 {
			<-order
		}
	})
}

func TestPaceBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(1000, 2)
		in := make(chan int, 10)
		for i := range 4 {
			go func() {
				if p.enter(context.Background(), i%2 == 0) == nil {
					in <- i
				}
			}()
		}
		synctest.Wait()
		if len(in) != 2 {
			t.Fatalf("%d are under way", len(in))
		}
		if err := p.again(t.Context(), false); err != nil { // one that has a slot needs none
			t.Fatal(err)
		}
		p.leave()
		p.leave()
		synctest.Wait()
		if len(in) != 4 {
			t.Errorf("%d got in", len(in))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if p.enter(gone, true) == nil {
			t.Error("one that has gone got in")
		}
		p.leave()
		if err := p.enter(t.Context(), true); err != nil {
			t.Error(err)
		}
	})
}

// A burst of 429s halves the rate once; successes raise it again, to what is
// configured and not beyond.
func TestA429HalvesTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100, 10)
		for range 20 {
			p.throttled()
		}
		if rate, most := p.now(); rate != 50 || most != 100 {
			t.Errorf("rate %v of %v", rate, most)
		}
		for range 20 {
			<-time.After(time.Second)
			p.throttled()
		}
		if rate, _ := p.now(); rate != pacing.Least {
			t.Errorf("rate %v", rate)
		}
		p.succeeded()
		if rate, _ := p.now(); math.Abs(rate-1.1*pacing.Least) > 1e-9 {
			t.Errorf("rate %v after a success", rate)
		}
		for range 48 { // ten times as high with each 24
			p.succeeded()
		}
		before, _ := p.now()
		if before < 10 || before > 11 {
			t.Errorf("rate %v after 49 successes", before)
		}
		p.succeeded()
		if rate, _ := p.now(); math.Abs(rate-before-1) > 1e-9 {
			t.Errorf("rate %v after %v and a success", rate, before)
		}
		for range 100 {
			p.succeeded()
		}
		if rate, _ := p.now(); rate != 100 {
			t.Errorf("rate %v", rate)
		}
	})
}

// Requests that had their token one by one and then waited for the same commit leave no
// faster than the rate, but for a burst; at the rate itself nobody waits.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100, 100)
		began := time.Now()
		for range 200 {
			<-time.After(10 * time.Millisecond)
			if err := p.spread(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("200 requests at the rate took %v", took)
		}
		began = time.Now()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var left []time.Duration
		for range 60 {
			wg.Go(func() {
				if p.spread(t.Context()) == nil {
					mu.Lock()
					defer mu.Unlock()
					left = append(left, time.Since(began))
				}
			})
		}
		wg.Wait()
		for i, at := range left {
			if want := time.Duration(max(0, i+1-pacing.MostBurst)) * 10 * time.Millisecond; at < want-10*time.Millisecond || at > want+10*time.Millisecond {
				t.Errorf("request %d left after %v, want %v", i, at, want)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if p.spread(gone) == nil {
			t.Error("one that has gone left")
		}
	})
}

// A site that sells little is not slow for days because of one bad hour, and a request
// that has its token does not wait for a rate that fell since.
func TestARateRisesWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100, 10)
		for range 20 {
			p.throttled()
			<-time.After(time.Second)
		}
		begin := time.Now()
		for range 16 {
			if err := p.spread(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > 16*time.Second {
			t.Errorf("sixteen requests with a token waited %v", took)
		}
		<-time.After(12 * time.Minute)
		if err := p.enter(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if rate, most := p.now(); rate != most {
			t.Errorf("rate %v after twelve quiet minutes", rate)
		}
	})
}
