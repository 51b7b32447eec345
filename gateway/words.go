package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgegw/health"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/store"
)

// The sentences of status, explain and the conditions: pure functions of plain
// facts, so that the same thing is said in the same words everywhere.

// siteFacts is what the sentences about a site are made from.
type siteFacts struct {
	now        time.Time // in the zone that people read
	began      time.Time // the gateway, or the command that looks
	running    bool      // something sends
	uplink     relay.UplinkState
	signing    time.Time // since when it is down; zero: it is not
	devices    int
	accepted   int64 // sales, ever
	registers  []registerFacts
	messages   []sale.Item // undecided, newest first
	refused    int64       // how many of them there are
	conditions []health.Condition
}

// registerFacts is what is known of one register.
type registerFacts struct {
	store.Queue
	devices    []sale.DeviceID
	last       store.TriedInVain // the head's last attempt in vain, zero if there is none
	key        keyFact
	platform   bool             // the site sends with its platform key
	lost       *sale.KeyRequest // nil: none
	unreadable error            // of its queue
	items      []sale.Item      // its sales in quarantine, newest first
}

type keyFact uint8

const (
	keyThere keyFact = iota
	keyMissing
	keySealed  // it cannot be opened
	keyRefused // OpenFiskal refused it when it was last asked
	keyPending // there is one that nobody has confirmed, and none beside it
)

// cause is what stands in the way of a register's sales.
type cause struct {
	code  string    // of the condition; "" where nothing does
	since time.Time // zero: as long as the sales wait
	why   string    // a clause
	do    string    // a sentence without its full stop, ending in the command where there is one
	more  string    // what a condition says besides
}

// cause finds it. its is "its", or other words for whose key is meant.
func (s *siteFacts) cause(r *registerFacts, its string) cause {
	switch {
	case r.unreadable != nil:
		return cause{code: "queue_unreadable", why: "the queue cannot be read (" + r.unreadable.Error() + ")",
			do: "Keep a copy of the data directory and call support"}
	case r.Blocker != 0:
		return s.heldBy(r)
	case r.key == keySealed && (r.BlockedSince.IsZero() || r.Class == sale.KeyRefused):
		return cause{code: "key_sealed", since: r.BlockedSince, why: its + " key cannot be opened",
			do:   "Give back the key-encryption key (vault.kek, vault.kek_file) and start the gateway again",
			more: "The register's key can also be entered anew: " + r.setKey()}
	case r.lost != nil && r.key != keyThere && r.key != keyPending && (r.BlockedSince.IsZero() || r.Class == sale.KeyRefused):
		return cause{code: "key_request_lost", since: r.lost.At, why: lostWords(s.now, r.lost, its),
			do: "Rotate again: " + rotateCommand(r.device(), r.Register), more: "The back office has the platform key, or can make a register key and give it to you: " + r.setKey()}
	case r.key == keyPending && (r.BlockedSince.IsZero() || r.Class == sale.KeyRefused):
		return cause{code: "key_pending", since: r.BlockedSince, why: its + " key waits until OpenFiskal confirms it",
			do: "See what it says: " + r.checkKey(), more: "OpenFiskal is asked every minute; a register that has no active fiscal unit yet is waited for"}
	case r.key == keyMissing && (r.BlockedSince.IsZero() || r.Class == sale.KeyRefused):
		return cause{code: "key_missing", since: r.BlockedSince, why: its + " key has not been entered yet",
			do: "Enter it: " + r.setKey(), more: "The back office has it"}
	case !r.BlockedSince.IsZero():
		return s.blocked(r, its)
	case r.key == keyRefused && r.Idle:
		return cause{code: "key_refused", since: s.began, why: "OpenFiskal refuses " + its + " key",
			do: "Enter a new key: " + r.setKey(), more: "The back office makes it; the old one is tried again every 15 minutes"}
	}
	return s.passing(r)
}

// blocked is what does not end by itself.
func (s *siteFacts) blocked(r *registerFacts, its string) cause {
	c := cause{since: r.BlockedSince}
	switch r.Class {
	case sale.KeyRefused:
		c.code, c.why = "key_refused", "OpenFiskal refuses "+its+" key"+r.status()
		c.do, c.more = "Enter a new key: "+r.setKey(), "The back office makes it; the old one is tried again every 15 minutes"
	case sale.RegisterUnknown:
		c.code, c.why = "register_unknown", fmt.Sprintf("OpenFiskal does not know the register %s%s", r.Register, r.status())
		c.do, c.more = "Ask the back office whether it was archived", "It is tried again every 5 minutes"
	case sale.Misconfigured:
		c.code, c.why = "misconfigured", "the host answers in a way OpenFiskal never does"+r.status()
		if r.last.Code == "redirect" {
			c.why = "the host redirects, and redirects are not followed" + r.status()
		}
		c.do, c.more = "Check openfiskal.base_url", "It is tried again every 5 minutes"
	default:
		c.code, c.why = "queue_blocked", "OpenFiskal refuses the sale at the head"+r.status()
		c.do = "Tell OpenFiskal's support the last answer: edgegw explain " + string(r.Register)
	}
	return c
}

// heldBy is a queue that waits for a person's decision.
func (s *siteFacts) heldBy(r *registerFacts) cause {
	c := cause{code: "queue_blocked", since: r.BlockedSince, why: fmt.Sprintf("the queue waits for a decision on item %d of the quarantine", r.Blocker),
		do: decide(r.Blocker)}
	for i := range r.items {
		if r.items[i].No == r.Blocker {
			c.why = fmt.Sprintf("the queue waits for a decision on sale %s in quarantine: %s", r.items[i].SaleID, refusedFor(&r.items[i]))
		}
	}
	return c
}

// passing is what ends by itself, or with the site's uplink.
func (s *siteFacts) passing(r *registerFacts) cause {
	last := fmt.Sprintf("tell OpenFiskal's support the last answer: edgegw explain %s", r.Register)
	switch {
	case r.Idle:
		return cause{}
	case !s.running:
		return cause{code: "not_running", why: "no gateway runs", do: "Start it: edgegw run"}
	case !s.uplink.Up:
		u := uplinkWords(s.uplink)
		return cause{code: "uplink_down", since: s.uplink.Since, why: "OpenFiskal cannot be reached: " + u.why, do: u.do}
	}
	c := cause{code: "queue_waits", do: "It is tried again by itself. If this lasts, " + last}
	switch r.Class {
	case sale.SigningDown:
		c.code, c.since, c.why = "signing_down", s.signing, "OpenFiskal cannot sign at the moment"+r.status()
		c.do = signingDo
	case sale.Throttled:
		c.why = "OpenFiskal asks for fewer requests" + r.status()
	case sale.Transient:
		c.why = "OpenFiskal is out of order" + r.status()
	case sale.InDoubt, sale.Resolve:
		c.why = "the last request got no answer that can be relied on, and is looked up before it is sent again"
		if !r.InDoubtSince.IsZero() {
			c.code, c.since = "in_doubt", r.InDoubtSince
			c.why += " (in doubt since " + timeOf(s.now, r.InDoubtSince) + ")"
		}
	default:
		return cause{}
	}
	return c
}

const signingDo = "It is tried again by itself. If this lasts, ask OpenFiskal's support when signing works again"

// status is the last answer's, in brackets, where there was one.
func (r *registerFacts) status() string {
	if r.last.Status == 0 || r.last.Class != r.Class && r.Class != sale.SigningDown {
		return ""
	}
	return fmt.Sprintf(" (%d)", r.last.Status)
}

// lostWords says what is known of a key whose making was asked for.
func lostWords(now time.Time, q *sale.KeyRequest, its string) string {
	return fmt.Sprintf("a new key was asked for %s, the answer was lost, and %s key before is dead", moment(now, q.At), its)
}

func (r *registerFacts) device() sale.DeviceID {
	if len(r.devices) == 0 {
		return ""
	}
	return r.devices[0]
}

func (r *registerFacts) checkKey() string {
	if len(r.devices) == 0 {
		return fmt.Sprintf("edgegw key check --register %s", r.Register)
	}
	return fmt.Sprintf("edgegw key check %s", r.devices[0])
}

func (r *registerFacts) setKey() string {
	if r.platform {
		return platformKeyCommand
	}
	if len(r.devices) == 0 {
		return fmt.Sprintf("edgegw key set --register %s --key-stdin", r.Register)
	}
	return fmt.Sprintf("edgegw key set %s --key-stdin", r.devices[0])
}

// name names the devices rather than the register: people know those.
func (r *registerFacts) name() string {
	return enumerate(r.names(), "devices")
}

// its is whose key is meant, after name.
func (r *registerFacts) its() string {
	if len(r.devices) > 1 {
		return "their"
	}
	return "its"
}

func (r *registerFacts) names() []string {
	if len(r.devices) == 0 {
		return []string{"register " + string(r.Register)}
	}
	names := make([]string, len(r.devices))
	for i, d := range r.devices {
		names[i] = string(d)
	}
	return names
}

func decide(item int64) string { return fmt.Sprintf("Decide: edgegw quarantine show %d", item) }

// refusedFor says why something is in quarantine.
func refusedFor(i *sale.Item) string {
	p := &i.Problem
	switch {
	case p.Status >= 400:
		return strings.TrimRight(fmt.Sprintf("OpenFiskal refuses its %s (%d %s", i.Step, p.Status, p.Code), " ") + ")"
	case p.Detail != "":
		return p.Detail
	case i.Fault.Message != "":
		return faultClause(i.Fault)
	}
	return cmp.Or(p.Code, "nothing more is known")
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

// words says how the register is, and what to do where somebody must act.
func (s *siteFacts) words(r *registerFacts) (says, do []string) {
	c := s.cause(r, r.its())
	switch {
	case c.code != "" && r.Waiting > 0 && !r.Idle:
		says = append(says, s.wait(r)+"; "+c.why)
	case r.Waiting > 0 && !r.Idle:
		says = append(says, s.wait(r)+", being sent now")
	case r.Waiting > 0:
		says = append(says, openSaleWords(r.Waiting))
		if c.code != "" {
			says = append(says, upper(c.why))
		}
	case c.code != "":
		says = append(says, c.why)
	}
	if c.do != "" {
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

func (s *siteFacts) wait(r *registerFacts) string {
	text := count(r.Waiting, "sale waits", "sales wait")
	if !r.Oldest.IsZero() {
		text += " since " + timeOf(s.now, r.Oldest)
	} else if !r.BlockedSince.IsZero() {
		text += " since " + timeOf(s.now, r.BlockedSince)
	}
	return text
}

func openSaleWords(n int64) string {
	if n == 1 {
		return "1 sale is open, its end has not been reported"
	}
	return fmt.Sprintf("%d sales are open, their ends have not been reported", n)
}

func (s *siteFacts) inQuarantine(r *registerFacts) string {
	if len(r.items) == 0 {
		return count(r.Quarantined, "sale is in quarantine", "sales are in quarantine")
	}
	newest, since := &r.items[0], timeOf(s.now, r.items[len(r.items)-1].At)
	if r.Quarantined == 1 {
		return fmt.Sprintf("1 sale (%s) is in quarantine since %s: %s", newest.SaleID, since, refusedFor(newest))
	}
	return fmt.Sprintf("%d sales are in quarantine since %s, the newest is %s: %s", r.Quarantined, since, newest.SaleID, refusedFor(newest))
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
func (s *siteFacts) registerSentence(name string, r *registerFacts) string {
	says, do := s.words(r)
	for _, m := range s.messages {
		if slices.Contains(r.devices, m.Device) {
			of := ""
			if len(r.devices) > 1 {
				of = " of " + string(m.Device)
			}
			says = append(says, fmt.Sprintf("a message%s could not become a sale: %s", of, refusedFor(&m)))
			do = append(do, decide(m.No))
			break
		}
	}
	if len(says) == 0 {
		if !s.upToDate(r) {
			return name + ": no sale waits."
		}
		if r.Accepted == 0 {
			return name + ": no sale has been reported yet."
		}
		return fmt.Sprintf("%s: up to date, %s.", name, count(r.Accepted, "sale reported and none waiting", "sales reported and none waiting"))
	}
	return sentences(append([]string{name + ": " + strings.Join(says, ". ")}, do...))
}

// uplinkWord is what is said of an uplink that is down.
type uplinkWord struct{ why, do string }

var uplinks = map[string]uplinkWord{
	"dns":               {"the name of its host cannot be resolved", "Check the site's internet connection and its name server (DNS)"},
	"refused":           {"its host refuses the connection", "Check openfiskal.base_url and the site's firewall"},
	"unreachable":       {"there is no way to its host", "Check the site's internet connection: cable, router, SIM card"},
	"timeout":           {"its host does not answer in time", "Check the site's internet connection, and whether a firewall drops what goes out"},
	"tls":               {"no TLS connection that can be trusted comes about", "Check the clock of this machine, and openfiskal.ca_file where the site's network opens TLS"},
	"dns_no_such_name":  {"the name of its host is not known", "Check openfiskal.base_url, and the name server (DNS) of the site's network"},
	"tls_name":          {"whoever answers there has another name in its certificate", "A login page or a firewall of the network may stand in between; check openfiskal.base_url"},
	"tls_issuer":        {"whoever answers there shows a certificate that nobody trusted has signed", "A firewall that opens TLS stands in between, or openfiskal.ca_file is missing or wrong; that file is read when the gateway starts"},
	"tls_time":          {"the certificate shown there is not valid at this time", "Check the clock of this machine; if it is right, tell OpenFiskal's support"},
	"tls_timeout":       {"its host takes the connection and does not go on to TLS", "Check the site's internet connection, and whether a firewall of its network holds back TLS"},
	"tls_version":       {"whoever answers there speaks no TLS from 1.2 on", "A firewall that opens TLS may stand in between; check openfiskal.base_url"},
	"tls_missing":       {"whoever answers there does not speak TLS", "A login page of the network may stand in between; check the port in openfiskal.base_url"},
	"proxy_unreachable": {"the proxy itself cannot be reached", "Check openfiskal.proxy, and whether the proxy runs"},
	"proxy_login":       {"the proxy wants a name and a password", "Put them into openfiskal.proxy"},
	"proxy":             {"the proxy does not let it through", "Check openfiskal.proxy and the proxy itself"},
	"captive_portal":    {"a login page of the network stands in between", "Log in to the site's network, or have its owner let this machine through"},
}

func uplinkWords(u relay.UplinkState) uplinkWord {
	if w, known := uplinks[u.Problem]; known {
		if _, said, ok := strings.Cut(u.Detail, "x509: "); ok { // which name, or which dates and by which clock
			w.why += " (" + said + ")"
		}
		return w
	}
	return uplinkWord{cmp.Or(u.Detail, u.Problem, "the cause is not known"), "Check the site's internet connection"}
}

// timeOf is a time as people name it: the time of day today, else the date.
func timeOf(now, t time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format(time.DateOnly)
}

// moment is timeOf with what belongs before it.
func moment(now, t time.Time) string {
	if d := t.Sub(now); d > 0 && d < time.Minute {
		return fmt.Sprintf("in %d s", max(1, int(d/time.Second)))
	}
	text := timeOf(now, t)
	if len(text) == len("15:04") {
		return "at " + text
	}
	return "on " + text
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// mostNamed is how many names stand in a sentence.
const mostNamed = 3

// enumerate is "a", "a and b", "a, b and 7 more registers".
func enumerate(names []string, many string) string {
	if len(names) > mostNamed {
		names = append(slices.Clone(names[:mostNamed-1]), fmt.Sprintf("%d more %s", len(names)-mostNamed+1, many))
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func upper(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// sentences ends each part with a full stop, and leaves out what was said.
func sentences(parts []string) string {
	var kept []string
	for _, p := range parts {
		if p = strings.TrimRight(p, ". ") + "."; !slices.Contains(kept, p) && p != "." {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, " ")
}
