package store

import "time"

// patient are jobs whose commit may wait a little for others of their kind: begins and
// ends of attempts, and deliveries. Of a hundred registers that are sent side by side
// each alone would write the same pages of the queue, the answers and the sales anew.
// They do not go along with an event, which nothing holds up and whose commit they would
// make larger.
type patient struct {
	jobs  []job
	due   time.Time
	timer *time.Timer
}

// mostPatient is how many are kept; then they go at once.
const mostPatient = 256

// add keeps a job. The first that is due decides for all.
func (p *patient) add(j job) {
	if due := time.Now().Add(j.wait); len(p.jobs) == 0 || due.Before(p.due) {
		p.due = due
		if p.timer == nil {
			p.timer = time.NewTimer(j.wait)
		} else {
			p.timer.Reset(j.wait)
		}
	}
	p.jobs = append(p.jobs, j)
}

// ripe reports whether they must go now.
func (p *patient) ripe(now time.Time) bool {
	return len(p.jobs) >= mostPatient || len(p.jobs) > 0 && !now.Before(p.due)
}

// fired is the timer's channel; nil, which never fires, where none waits.
func (p *patient) fired() <-chan time.Time {
	if len(p.jobs) == 0 {
		return nil
	}
	return p.timer.C
}

// take moves all of them into batch.
func (p *patient) take(batch []job) []job {
	batch = append(batch, p.jobs...)
	clear(p.jobs)
	p.jobs = p.jobs[:0]
	p.timer.Stop()
	return batch
}

// wait gives what is to be committed next; nothing where the writer has ended and
// everything is written.
func (w *writer) wait(batch []job) []job {
	for {
		if w.slow.ripe(time.Now()) {
			return w.slow.take(batch)
		}
		select {
		case j := <-w.jobs:
			if j.wait > 0 {
				w.slow.add(j)
				continue
			}
			return append(batch, j)
		case <-w.slow.fired():
			return w.slow.take(batch)
		case <-w.quit:
			select {
			case j := <-w.jobs: // what was queued before the end is still carried out
				return append(batch, j)
			default:
			}
			if len(w.slow.jobs) > 0 {
				return w.slow.take(batch)
			}
			return batch
		}
	}
}
