package sale

import "time"

// Course is what follows from a problem: the column "what happens" of
// CONTRACT.md section 3, and the times of its ruling 9.
type Course struct {
	InDoubt     bool          // the request may have been carried out: look before it is sent again
	Blocked     bool          // the queue waits for a person, or for a slow probe
	Quarantine  bool          // the sale goes to a person; what becomes of its queue is the operator's choice
	First, Most time.Duration // the back-off's first and longest step
}

// settleDelay is how long an attempt in doubt may still be under way at the
// service after the gateway lost sight of it. A look-up before that could find
// nothing and be wrong a moment later.
const settleDelay = 3 * time.Second

// courses has a row for each class that is not a success.
var courses = map[Class]Course{
	Uplink:    {}, // the site's one probe decides when
	InDoubt:   {InDoubt: true, First: settleDelay, Most: time.Minute},
	Throttled: {First: time.Second / 2, Most: time.Minute},
	// A 5xx may come from a proxy in front of a service that has done the work.
	Transient:       {InDoubt: true, First: time.Second / 2, Most: time.Minute},
	KeyRefused:      {Blocked: true, First: 15 * time.Minute, Most: 15 * time.Minute},
	RegisterUnknown: {Blocked: true, First: 5 * time.Minute, Most: 5 * time.Minute},
	Misconfigured:   {Blocked: true, First: 5 * time.Minute, Most: 5 * time.Minute},
	SigningDown:     {First: 15 * time.Second, Most: 5 * time.Minute},
	Resolve:         {InDoubt: true, First: settleDelay, Most: time.Minute},
	Poison:          {Quarantine: true}, // the sale; openfiskal.on_rejected decides about its queue
}

// Course gives what follows. A class without a row is treated as in doubt: the
// careful reading.
func (p *Problem) Course() Course {
	c, ok := courses[p.Class]
	if !ok {
		c = courses[InDoubt]
	}
	if p.Class == Transient && p.Status == 425 {
		c.InDoubt = false // "Too Early" says that nothing was done
	}
	return c
}

// Least is the shortest wait after the problem: what the service asked for,
// and for an attempt in doubt the time it may still need.
func (p *Problem) Least() time.Duration {
	if p.Course().InDoubt {
		return max(p.RetryAfter, settleDelay)
	}
	return p.RetryAfter
}

// LongestWait bounds every wait that is read back from disk, where it stands
// in wall time: a clock that jumped must not stall a queue.
const LongestWait = 15 * time.Minute

// SettleDelay is Least of an attempt whose outcome nobody lived to record.
const SettleDelay = settleDelay

// Find is what a look-up says about a call in doubt.
type Find uint8

const (
	Adopt      Find = iota + 1 // it was carried out: its answer is this one
	Resend                     // it was not, or doing it again changes nothing
	Contradict                 // neither can be: a person must look
)

// Judge compares what a look-up found with what the call asks for.
func (c Call) Judge(found Answer) Find {
	switch {
	case c.Step == StepStart:
		return Adopt
	case c.Restored && c.Step == StepComplete && found.State == StateCompleted && !c.sameMoney(found):
		return Contradict // a sale id was used again, or somebody ended the sale otherwise
	case found.State == StateOpen:
		return Resend // a PATCH replaces, so a second one changes nothing
	case c.Step == StepComplete && found.State == StateCompleted,
		c.Step == StepCancel && found.State == StateCancelled:
		return Adopt
	case c.Restored && c.Step == StepUpdate:
		return Adopt // its sale has ended since the backup: the end says all that it said
	}
	return Contradict
}

// JudgeAbsent is Judge where the operation provably is not there.
func (c Call) JudgeAbsent() Find {
	if c.Step == StepStart {
		return Resend
	}
	return Contradict
}

// Effect says in words what a class means for the call, its register's queue
// and the site: the docs show it beside the table of answers.
type Effect struct{ Call, Queue, Site string }

var effects = map[Class]Effect{
	Confirmed:       {"done: the answer is stored verbatim; at a sale's end its receipt goes into the mailbox, in the same commit", "goes on", ""},
	Uplink:          {"was not sent", "waits for the uplink", "all queues wait; one of them probes with its own next call, after 1 s doubling to 60 s with full jitter; any answer of any kind lets all go on at once"},
	InDoubt:         {"may have been carried out: looked up before it is sent again", "waits", ""},
	Throttled:       {"was not carried out", "waits as long as Retry-After says, plus jitter; without it, as the next column says", "the rate is halved, down to six requests a minute; each success raises it by a tenth, and by a hundredth of openfiskal.requests_per_second at most; a minute without one doubles it"},
	Transient:       {"may have been carried out (a proxy may have answered for a service that did the work): looked up before it is sent again; only 425 says that nothing was done", "waits; no cap on attempts", "where several registers get a 503 within a minute, or the only one, the rate is halved as for a 429"},
	KeyRefused:      {"was not carried out", "is blocked; a new key wakes it at once", ""},
	RegisterUnknown: {"was not carried out", "is blocked", ""},
	Resolve:         {"looked up before it is sent again", "waits", ""},
	SigningDown:     {"was not carried out", "waits; goes on within 5 s once another register's call of that step is confirmed", "a 422 of any register is read so, until a call of that step is confirmed"},
	Poison:          {"the sale goes to quarantine with request and answer, its device gets a receipt that says so", "steps over the sale with all its events (openfiskal.on_rejected: step_over), or waits for the decision (block)", "a 422 of three registers within a minute, or of all where there are fewer, is signing_down; what was quarantined by then comes back to its place"},
	Misconfigured:   {"was not carried out", "is blocked", ""},
}

// Effect gives the words for a class.
func (c Class) Effect() Effect { return effects[c] }

// Classes are all there are.
func Classes() []Class {
	all := make([]Class, len(classNames))
	for i := range all {
		all[i] = Class(i)
	}
	return all
}
