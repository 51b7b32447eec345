package gateway

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/wording"
)

// cause is what stands in the way of a register's sales.
type cause struct {
	code  string           // of the condition; "" where nothing does
	since time.Time        // zero: as long as the sales wait
	why   wording.Sentence // a clause
	do    wording.Sentence // without its full stop, ending in the command where there is one
	more  wording.Sentence // what a condition says besides
}

// cause finds it. its is "its", or other words for whose key is meant.
func (s *siteFacts) cause(r *registerFacts, its string) cause {
	byKey := r.BlockedSince.IsZero() || r.Class == sale.KeyRefused
	switch {
	case r.unreadable != nil:
		return cause{code: "queue_unreadable", why: wording.Of("the queue cannot be read (%s)", wording.Quote(r.unreadable.Error())),
			do: wording.Of("Keep a copy of the data directory and call support")}
	case r.Blocker != 0:
		return s.heldBy(r)
	case r.key == keySealed && byKey:
		return cause{code: "key_sealed", since: r.BlockedSince, why: wording.Of("%s key cannot be opened", its),
			do:   wording.Of("Give back the key-encryption key (vault.kek, vault.kek_file) and start the gateway again"),
			more: wording.Of("The register's key can also be entered anew: %s", r.setKey())}
	case r.lost != nil && r.key != keyThere && r.key != keyPending && byKey:
		return cause{code: "key_request_lost", since: r.lost.At,
			why: wording.Of("a new key was asked for %s, the answer was lost, and %s key before is dead", momentWords(s.now, r.lost.At), its),
			do:  wording.Of("Rotate again: %s", rotateCommand(r.device(), r.Register)), more: wording.Of("The back office has the platform key, or can make a register key and give it to you: %s", r.setKey())}
	case r.key == keyPending && byKey:
		return cause{code: "key_pending", since: r.BlockedSince, why: wording.Of("%s key waits until OpenFiskal confirms it", its),
			do: wording.Of("See what it says: %s", r.checkKey()), more: wording.Of("OpenFiskal is asked every minute; a register that has no active fiscal unit yet is waited for")}
	case r.key == keyMissing && byKey:
		return cause{code: "key_missing", since: r.BlockedSince, why: wording.Of("%s key has not been entered yet", its),
			do: wording.Of("Enter it: %s", r.setKey()), more: wording.Of("The back office has it")}
	case !r.BlockedSince.IsZero():
		return s.blocked(r, its)
	case r.key == keyRefused && r.Idle:
		c := refusedKey(r, its, "")
		c.since = s.began
		return c
	}
	return s.passing(r)
}

func refusedKey(r *registerFacts, its, status string) cause {
	return cause{code: "key_refused", why: wording.Of("OpenFiskal refuses %s key%s", its, status),
		do: wording.Of("Enter a new key: %s", r.setKey()), more: wording.Of("The back office makes it; the old one is tried again every 15 minutes")}
}

// blocked is what does not end by itself.
func (s *siteFacts) blocked(r *registerFacts, its string) cause {
	c := cause{more: wording.Of("It is tried again every 5 minutes")}
	switch r.Class {
	case sale.KeyRefused:
		c = refusedKey(r, its, r.status())
	case sale.RegisterUnknown:
		c.code, c.why = "register_unknown", wording.Of("OpenFiskal does not know the register %s%s", string(r.Register), r.status())
		c.do = wording.Of("Ask the back office whether it was archived")
	case sale.Misconfigured:
		c.code, c.why = "misconfigured", wording.Of("the host answers in a way OpenFiskal never does%s", r.status())
		if r.last.Code == "redirect" {
			c.why = wording.Of("the host redirects, and redirects are not followed%s", r.status())
		}
		c.do = wording.Of("Check openfiskal.base_url")
	default:
		c = cause{code: "queue_blocked", why: wording.Of("OpenFiskal refuses the sale at the head%s", r.status()),
			do: wording.Of("Tell OpenFiskal's support the last answer: %s", r.explain())}
	}
	c.since = r.BlockedSince
	return c
}

// heldBy is a queue that waits for a person's decision.
func (s *siteFacts) heldBy(r *registerFacts) cause {
	c := cause{code: "queue_blocked", since: r.BlockedSince, why: wording.Of("the queue waits for a decision on item %d of the quarantine", r.Blocker),
		do: decide(r.Blocker)}
	for i := range r.items {
		if r.items[i].No == r.Blocker {
			c.why = wording.Of("the queue waits for a decision on sale %s in quarantine: %s", r.items[i].SaleID, whyHeld(&r.items[i]))
		}
	}
	return c
}

// passing is what ends by itself, or with the site's uplink.
func (s *siteFacts) passing(r *registerFacts) cause {
	switch {
	case r.Idle:
		return cause{}
	case !s.running:
		return cause{code: "not_running", why: wording.Of("no gateway runs"), do: wording.Of("Start it: edgegw run")}
	case !s.uplink.Up:
		u := uplinkWords(s.uplink)
		return cause{code: "uplink_down", since: s.uplink.Since, why: wording.Of("OpenFiskal cannot be reached: %s", u.why), do: u.do}
	}
	c := cause{code: "queue_waits", do: wording.Of("It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: %s", r.explain())}
	switch r.Class {
	case sale.SigningDown:
		c.code, c.since, c.why = "signing_down", s.signing, wording.Of("OpenFiskal cannot sign at the moment%s", r.status())
		c.do = signingDo
	case sale.Throttled:
		c.why = wording.Of("OpenFiskal asks for fewer requests%s", r.status())
	case sale.Transient:
		c.why = wording.Of("OpenFiskal is out of order%s", r.status())
	case sale.InDoubt, sale.Resolve:
		c.why = wording.Of("the last request got no answer that can be relied on, and is looked up before it is sent again")
		if !r.InDoubtSince.IsZero() {
			c.code, c.since = "in_doubt", r.InDoubtSince
			c.why = wording.Of("%s (in doubt since %s)", c.why, timeOf(s.now, r.InDoubtSince))
		}
	default:
		return cause{}
	}
	return c
}

var signingDo = wording.Of("It is tried again by itself. If this lasts, ask OpenFiskal's support when signing works again")

// status is the last answer's, in brackets, where there was one.
func (r *registerFacts) status() string {
	if r.last.Status == 0 || r.last.Class != r.Class && r.Class != sale.SigningDown {
		return ""
	}
	return " (" + strconv.Itoa(r.last.Status) + ")"
}

func (r *registerFacts) device() sale.DeviceID {
	if len(r.devices) == 0 {
		return ""
	}
	return r.devices[0]
}

// Commands are sentences, too: where a page has a button for one, it names that.

func (r *registerFacts) explain() wording.Sentence {
	return wording.Of("edgegw explain %s", string(r.Register))
}

func (r *registerFacts) checkKey() wording.Sentence {
	if len(r.devices) == 0 {
		return wording.Of("edgegw key check --register %s", string(r.Register))
	}
	return wording.Of("edgegw key check %s", string(r.devices[0]))
}

func (r *registerFacts) setKey() wording.Sentence {
	if r.platform {
		return enterPlatformKey
	}
	if len(r.devices) == 0 {
		return wording.Of("edgegw key set --register %s --key-stdin", string(r.Register))
	}
	return enterKeyOf(r.devices[0])
}

const platformKeyCommand = "edgegw key set --platform --key-stdin"

var enterPlatformKey = wording.Of(platformKeyCommand)

func enterKeyOf(d sale.DeviceID) wording.Sentence {
	return wording.Of("edgegw key set %s --key-stdin", string(d))
}

func rotateCommand(d sale.DeviceID, r sale.RegisterID) wording.Sentence {
	if d == "" {
		return wording.Of("edgegw key rotate --register %s --key-stdin", string(r))
	}
	return wording.Of("edgegw key rotate %s --key-stdin", string(d))
}

func decide(item int64) wording.Sentence {
	return wording.Of("Decide: edgegw quarantine show %d", item)
}

// name names the devices rather than the register: people know those.
func (r *registerFacts) name() wording.Sentence { return enumerate(r.names(), moreDevices) }

// its is whose key is meant, after name.
func (r *registerFacts) its() string {
	if len(r.devices) > 1 {
		return "their"
	}
	return "its"
}

func (r *registerFacts) names() []wording.Sentence {
	if len(r.devices) == 0 {
		return []wording.Sentence{wording.Of("register %s", string(r.Register))}
	}
	return plain(r.devices...)
}

// whyHeld says why something is in quarantine.
func whyHeld(i *sale.Item) wording.Sentence {
	p := &i.Problem
	switch {
	case p.Status >= 400:
		return wording.Of("OpenFiskal refuses its %s (%s)", wording.Word(i.Step.String()), strings.TrimRight(strconv.Itoa(p.Status)+" "+p.Code, " "))
	case p.Detail != "":
		return quoted(p.Detail)
	case i.Fault.Message != "":
		return faultSaid(faultClause(i.Fault), &i.Fault)
	case p.Code != "":
		return wording.Of("%s", p.Code)
	}
	return wording.Of("nothing more is known")
}

// faultSaid is what the device was told, in a clause. Another language has the kind of
// the fault in its place.
func faultSaid(text string, f *sale.Fault) wording.Sentence {
	return wording.Of("%s%.0s", wording.Quote(text), faultKind(f))
}

// faultClause is what is wrong with an event, for a sentence. Most messages begin with
// a verb, because the field stands before them.
func faultClause(f sale.Fault) string {
	for _, verb := range []string{"must ", "is ", "has ", "stands ", "differs "} {
		if f.Field != "" && strings.HasPrefix(f.Message, verb) {
			return f.Field + " " + f.Message
		}
	}
	return f.Message
}

func refusedFor(i *sale.Item) string { return whyHeld(i).String() }

// words say how the register is, and what to do where somebody must act.
func (s *siteFacts) words(r *registerFacts) (says, do []wording.Sentence) {
	c := s.cause(r, r.its())
	switch {
	case c.code != "" && r.Waiting > 0 && !r.Idle:
		says = append(says, wording.Of("%s; %s", s.wait(r), c.why))
	case r.Waiting > 0 && !r.Idle:
		says = append(says, wording.Of("%s, being sent now", s.wait(r)))
	case r.Waiting > 0:
		says = append(says, oneOrMore(r.Waiting, "%d sale is open, its end has not been reported", "%d sales are open, their ends have not been reported"))
		if c.code != "" {
			says = append(says, wording.Of("%s", wording.Capital(c.why)))
		}
	case c.code != "":
		says = append(says, c.why)
	}
	if !c.do.Empty() {
		do = append(do, c.do)
	}
	if r.Quarantined > 0 && (r.Blocker == 0 || r.Quarantined > 1) {
		says = append(says, s.inQuarantine(r))
		if len(r.items) > 0 {
			do = append(do, decide(r.items[0].No))
		}
	}
	return says, do
}

func (s *siteFacts) wait(r *registerFacts) wording.Sentence {
	since := r.Oldest
	if since.IsZero() {
		since = r.BlockedSince
	}
	return s.waitSince(r.Waiting, since)
}

// waitSince leaves out a time that is not known.
func (s *siteFacts) waitSince(n int64, since time.Time) wording.Sentence {
	text := waitWords(n)
	if !since.IsZero() {
		text = wording.Of("%s since %s", text, timeOf(s.now, since))
	}
	return text
}

func waitWords(n int64) wording.Sentence { return oneOrMore(n, "%d sale waits", "%d sales wait") }

func quarantinedWords(n int64) wording.Sentence {
	return oneOrMore(n, "%d sale is in quarantine", "%d sales are in quarantine")
}

func (s *siteFacts) inQuarantine(r *registerFacts) wording.Sentence {
	if len(r.items) == 0 {
		return quarantinedWords(r.Quarantined)
	}
	newest, since := &r.items[0], timeOf(s.now, r.items[len(r.items)-1].At)
	if r.Quarantined == 1 {
		return wording.Of("1 sale (%s) is in quarantine since %s: %s", newest.SaleID, since, whyHeld(newest))
	}
	return wording.Of("%d sales are in quarantine since %s, the newest is %s: %s", r.Quarantined, since, newest.SaleID, whyHeld(newest))
}

// upToDate is said of nothing that waits, is in quarantine or undecided, or has
// no key to send with.
func (s *siteFacts) upToDate(r *registerFacts) bool {
	for _, m := range s.messages {
		if slices.Contains(r.devices, m.Device) {
			return false
		}
	}
	for _, c := range s.conditions {
		if c.Code == "seq_gap" && slices.Contains(r.devices, sale.DeviceID(c.Affected)) {
			return false
		}
	}
	says, _ := s.words(r)
	return len(says) == 0
}

// registerSentence is one register's whole sentence.
func (s *siteFacts) registerSentence(name wording.Sentence, r *registerFacts) wording.Sentence {
	says, do := s.words(r)
	for _, m := range s.messages {
		if slices.Contains(r.devices, m.Device) {
			text := wording.Of("a message could not become a sale: %s", whyHeld(&m))
			if len(r.devices) > 1 {
				text = wording.Of("a message of %s could not become a sale: %s", string(m.Device), whyHeld(&m))
			}
			says, do = append(says, text), append(do, decide(m.No))
			break
		}
	}
	switch {
	case len(says) > 0:
		return ended(append([]wording.Sentence{wording.Of("%s: %s", name, stops(says))}, do...))
	case !s.upToDate(r):
		return wording.Of("%s: no sale waits.", name)
	case r.Accepted == 0:
		return wording.Of("%s: no sale has been reported yet.", name)
	}
	return wording.Of("%s: up to date, %s.", name, oneOrMore(r.Accepted, "%d sale reported and none waiting", "%d sales reported and none waiting"))
}
