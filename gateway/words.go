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
	"edgegw/wording"
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

// uplinkWord is what is said of an uplink that is down.
type uplinkWord struct{ why, do wording.Sentence }

var uplinks = map[string]uplinkWord{
	"dns":               {wording.Of("the name of its host cannot be resolved"), wording.Of("Check the site's internet connection and its name server (DNS)")},
	"refused":           {wording.Of("its host refuses the connection"), wording.Of("Check openfiskal.base_url and the site's firewall")},
	"unreachable":       {wording.Of("there is no way to its host"), wording.Of("Check the site's internet connection: cable, router, SIM card")},
	"timeout":           {wording.Of("its host does not answer in time"), wording.Of("Check the site's internet connection, and whether a firewall drops what goes out")},
	"tls":               {wording.Of("no TLS connection that can be trusted comes about"), wording.Of("Check the clock of this machine, and openfiskal.ca_file where the site's network opens TLS")},
	"dns_no_such_name":  {wording.Of("the name of its host is not known"), wording.Of("Check openfiskal.base_url, and the name server (DNS) of the site's network")},
	"tls_name":          {wording.Of("whoever answers there has another name in its certificate"), wording.Of("A login page or a firewall of the network may stand in between; check openfiskal.base_url")},
	"tls_issuer":        {wording.Of("whoever answers there shows a certificate that nobody trusted has signed"), wording.Of("A firewall that opens TLS stands in between, or openfiskal.ca_file is missing or wrong; that file is read when the gateway starts")},
	"tls_time":          {wording.Of("the certificate shown there is not valid at this time"), wording.Of("Check the clock of this machine; if it is right, tell OpenFiskal's support")},
	"tls_timeout":       {wording.Of("its host takes the connection and does not go on to TLS"), wording.Of("Check the site's internet connection, and whether a firewall of its network holds back TLS")},
	"tls_version":       {wording.Of("whoever answers there speaks no TLS from 1.2 on"), wording.Of("A firewall that opens TLS may stand in between; check openfiskal.base_url")},
	"tls_missing":       {wording.Of("whoever answers there does not speak TLS"), wording.Of("A login page of the network may stand in between; check the port in openfiskal.base_url")},
	"proxy_unreachable": {wording.Of("the proxy itself cannot be reached"), wording.Of("Check openfiskal.proxy, and whether the proxy runs")},
	"proxy_login":       {wording.Of("the proxy wants a name and a password"), wording.Of("Put them into openfiskal.proxy")},
	"proxy":             {wording.Of("the proxy does not let it through"), wording.Of("Check openfiskal.proxy and the proxy itself")},
	"captive_portal":    {wording.Of("a login page of the network stands in between"), wording.Of("Log in to the site's network, or have its owner let this machine through")},
}

func uplinkWords(u relay.UplinkState) uplinkWord {
	if w, known := uplinks[u.Problem]; known {
		if _, said, ok := strings.Cut(u.Detail, "x509: "); ok { // which name, or which dates and by which clock
			w.why = wording.Of("%s (%s)", w.why, wording.Quote(said))
		}
		return w
	}
	w := uplinkWord{wording.Of("the cause is not known"), wording.Of("Check the site's internet connection")}
	if said := cmp.Or(u.Detail, u.Problem); said != "" {
		w.why = quoted(said)
	}
	return w
}

// timeOf is a time as people name it: the time of day today, else the date.
func timeOf(now, t time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format(time.DateOnly)
}

// momentWords are timeOf with what belongs before it.
func momentWords(now, t time.Time) wording.Sentence {
	if d := t.Sub(now); d > 0 && d < time.Minute {
		return wording.Of("in %d s", max(1, int(d/time.Second)))
	}
	text := timeOf(now, t)
	if len(text) == len("15:04") {
		return wording.Of("at %s", text)
	}
	return wording.Of("on %s", text)
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// mostNamed is how many names stand in a sentence.
const mostNamed = 3

// enumerate is "a", "a and b", "a, b and 7 more registers"; more says the last of it
// of so many.
func enumerate(names []wording.Sentence, more func(n int) wording.Sentence) wording.Sentence {
	if len(names) > mostNamed {
		names = append(slices.Clone(names[:mostNamed-1]), more(len(names)-mostNamed+1))
	}
	switch len(names) {
	case 0:
		return wording.Sentence{}
	case 1:
		return names[0]
	case 2:
		return wording.Of("%s and %s", names[0], names[1])
	}
	return wording.Of("%s, %s and %s", names[0], names[1], names[2])
}

func moreDevices(n int) wording.Sentence   { return wording.Of("%d more devices", n) }
func moreRegisters(n int) wording.Sentence { return wording.Of("%d more registers", n) }
func moreGaps(n int) wording.Sentence      { return wording.Of("%d more gaps", n) }

// plain are names, which are the same in every language.
func plain[T ~string](names ...T) (all []wording.Sentence) {
	for _, n := range names {
		all = append(all, wording.Of("%s", string(n)))
	}
	return all
}

// quoted is what somebody else has said.
func quoted(text string) wording.Sentence { return wording.Of("%s", wording.Quote(text)) }

// saidBy is what an error says: in words where all of it has some.
func saidBy(err error) wording.Sentence {
	if w := wording.From(err); w.String() == err.Error() {
		return w
	}
	return quoted(err.Error())
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

// ended does the same with parts that are in no language yet.
func ended(parts []wording.Sentence) wording.Sentence {
	var kept []wording.Sentence
	var told []string
	for _, p := range parts {
		text := p.String()
		bare := strings.TrimRight(text, ". ")
		if bare == "" || slices.Contains(told, bare) {
			continue
		}
		told = append(told, bare)
		switch text {
		case bare:
			p = wording.Of("%s.", p)
		case bare + ".":
		default:
			p = wording.Of("%s.", wording.Quote(bare))
		}
		kept = append(kept, p)
	}
	return wording.Join(kept...)
}

// stops puts a full stop between parts.
func stops(parts []wording.Sentence) (all wording.Sentence) {
	for i, p := range parts {
		if i == 0 {
			all = p
			continue
		}
		all = wording.Of("%s. %s", all, p)
	}
	return all
}
