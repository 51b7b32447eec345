package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tally is what came of one scene.
type tally struct {
	scene    string
	steps    int // of the recording
	cuts     int // moments between two of them
	states   int // opened and checked
	same     int // not opened: the same bytes and the same promises as one before
	drained  int // whose queues were run dry
	acked    int // events that were acknowledged at the last cut
	took     time.Duration
	failures []failure
	lost     int
}

// failure is a state that a promise did not survive.
type failure struct {
	name  string
	cause error
}

// limits bound a run.
type limits struct {
	perCut   int // states of one cut
	every    int // take one cut of so many; 1: all
	failures int // stop a scene after so many
	drains   bool
	scratch  string // where states are put; memory is best
	each     func(done int)
}

// job is one state to check.
type job struct {
	name  string
	img   image
	m     *moment
	drain bool
}

// run cuts the power at every step of a recording.
func (r *recording) run(ctx context.Context, l limits) (t tally, err error) {
	t = tally{scene: r.scene.name, steps: len(r.steps)}
	begun := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := make(chan job)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range jobs {
				err := j.try(ctx, l.scratch)
				mu.Lock()
				t.states++
				if j.drain {
					t.drained++
				}
				if err != nil && ctx.Err() == nil {
					t.lost++
					if len(t.failures) < 20 {
						t.failures = append(t.failures, failure{j.name, err})
					}
					if l.failures > 0 && t.lost >= l.failures {
						cancel()
					}
				}
				if l.each != nil {
					l.each(t.states)
				}
				mu.Unlock()
			}
		})
	}
	err = r.walk(l, &t, func(j job) bool {
		select {
		case jobs <- j:
			return true
		case <-ctx.Done():
			return false
		}
	})
	close(jobs)
	workers.Wait()
	t.took = time.Since(begun)
	slices.SortFunc(t.failures, func(a, b failure) int { return strings.Compare(a.name, b.name) })
	return t, err
}

// walk gives every state that is to be checked.
func (r *recording) walk(l limits, t *tally, check func(job) bool) error {
	d, m := newDisk(r.before), newMoment(r.scene, &r.script)
	known, turn := map[[sha256.Size]byte]bool{}, 0
	for cut := 0; cut <= len(r.steps); cut++ {
		if cut > 0 {
			if err := r.steps[cut-1].take(d, m); err != nil {
				return err
			}
		}
		if (cut%l.every != 0 || r.filling(cut)) && cut != len(r.steps) {
			continue
		}
		t.cuts++
		t.acked = m.acked()
		now := m.clone()
		for _, fate := range fates(d.pending, l.perCut, seedOf(r.scene.name, cut)) {
			kept, err := suffer(d.pending, fate)
			if err != nil {
				return err
			}
			img := d.image(kept)
			if sum := img.sum(len(m.notes), t.acked, total(m.sent)); known[sum] {
				t.same++
				continue
			} else {
				known[sum] = true
			}
			turn++
			drain := l.drains && r.scene.drain > 0 && turn%r.scene.drain == 0 && len(m.keys) > 0 && now.ready()
			if !check(job{fmt.Sprintf("%s/%d/%s", r.scene.name, cut, fate), img, now, drain}) {
				return nil
			}
		}
	}
	return nil
}

// filling reports whether cut lies amid a file that is being made of zeros, a thousand
// writes that mean as much as the first: what a disk may keep of them is tried behind
// the last, and now and then between.
func (r *recording) filling(cut int) bool {
	return cut > 0 && cut < len(r.steps) && r.steps[cut-1].fill && r.steps[cut].fill && cut%100 != 0
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// ready reports whether all devices were there: before that none could go on.
func (m *moment) ready() bool {
	n := 0
	for _, p := range m.notes {
		if p.note == "device" {
			n++
		}
	}
	return n == len(m.script.Secrets)
}

func (s *step) take(d *disk, m *moment) error {
	if s.do != nil {
		if err := s.do(d); err != nil {
			return err
		}
	}
	if s.seen != nil {
		return m.learn(s.seen)
	}
	return nil
}

// sum tells states apart, together with how much was promised.
func (img image) sum(promised ...int) (sum [sha256.Size]byte) {
	h := sha256.New()
	fmt.Fprint(h, promised)
	for _, name := range slices.Sorted(maps.Keys(img)) {
		fmt.Fprintf(h, "\x00%s\x00%d\x00", name, len(img[name]))
		h.Write(img[name])
	}
	h.Sum(sum[:0])
	return sum
}

// try puts a state somewhere, checks it and takes it away.
func (j job) try(ctx context.Context, scratch string) error {
	dir, err := os.MkdirTemp(scratch, "cut-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := j.img.put(dir); err != nil {
		return err
	}
	return j.m.check(ctx, dir, j.drain)
}

// state makes one state again, by its name, into a folder.
func (r *recording) state(ctx context.Context, name, dir string, drain bool) error {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || parts[0] != r.scene.name {
		return fmt.Errorf("%q is no state of scene %s", name, r.scene.name)
	}
	cut, err := strconv.Atoi(parts[1])
	if err != nil || cut < 0 || cut > len(r.steps) {
		return fmt.Errorf("scene %s has cuts 0 to %d", r.scene.name, len(r.steps))
	}
	d, m := newDisk(r.before), newMoment(r.scene, &r.script)
	for i := range cut {
		if err := r.steps[i].take(d, m); err != nil {
			return err
		}
	}
	kept, err := suffer(d.pending, parts[2])
	if err != nil {
		return err
	}
	for i, o := range d.pending {
		fmt.Printf("  change %d: %s\n", i, o)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := d.image(kept).put(dir); err != nil {
		return err
	}
	return job{name, d.image(kept), m, drain}.try(ctx, "") // of its own, and dir stays as it is
}

// String says what a change is, for a person.
func (o *op) String() string {
	switch o.kind {
	case opWrite:
		return fmt.Sprintf("write %d bytes at %d", len(o.data), o.off)
	case opTruncate:
		return fmt.Sprintf("cut to %d bytes", o.size)
	case opName:
		return "the name " + o.name + " appears"
	case opRemove:
		return "the name " + o.name + " goes"
	}
	return o.from + " becomes " + filepath.Clean(o.name)
}
