package gateway

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/broker"
	"edgegw/doctor"
	"edgegw/health"
	"edgegw/sale"
)

// trialFacts is what the words about a test sale are made from.
type trialFacts struct {
	device     sale.Device
	site       *siteFacts
	register   *registerFacts
	key        string // its state, as listings show it
	presence   broker.Presence
	conditions []health.Condition // of the device and its register
	url        string             // where devices connect

	accept, reason   string // what devices are told
	address          string // of this gateway's own port
	took             time.Duration
	connect, publish error        // of the canary
	line             *admin.Check // what is in the way to OpenFiskal; nil: nothing

	rehearsed Rehearsed
	failed    error // of the sale against the stand-in
}

// The checks of a test sale, in the order of the way.
const (
	checkGateway = "gateway"
	checkStandIn = "stand_in"
	checkDevice  = "device"
	checkKey     = "key"
	checkQueue   = "queue"
)

var trialTitles = map[string]string{
	checkGateway: "This gateway", checkStandIn: "A sale of its kind, against the stand-in", checkDevice: "The device",
	checkKey: "The key of its register", checkQueue: "The way to OpenFiskal",
}

const lookAtAll = "Look at everything: edgegw doctor"

// checks judges each part of the way.
func (f *trialFacts) checks() []admin.Check {
	all := []admin.Check{f.gatewayCheck(), f.standInCheck(), f.deviceCheck()}
	c := f.site.cause(f.register, "its")
	all = append(all, f.keyCheck(c), f.queueCheck(c))
	told := c.code
	for i := range all {
		all[i].Title = trialTitles[all[i].Check]
	}
	for _, c := range f.conditions {
		if c.Code != told {
			all = append(all, admin.Check{Check: c.Code, Title: "Also known of it", State: doctor.Notice, Found: sentences([]string{c.Title}), Fix: c.Remedy})
		}
	}
	return all
}

func (f *trialFacts) gatewayCheck() admin.Check {
	c := admin.Check{Check: checkGateway, State: doctor.Failed}
	switch {
	case !f.site.running:
		c.Found, c.Fix = "No gateway runs.", "Start it: edgegw run"
	case f.connect != nil:
		c.Found, c.Fix = fmt.Sprintf("The MQTT port (%s) does not answer as it should: %v.", f.address, f.connect), lookAtAll
	case f.publish != nil:
		c.Found, c.Fix = fmt.Sprintf("A message through the MQTT port got no acknowledgement: %v.", f.publish), lookAtAll
	case f.accept == "no":
		c.Found, c.Fix = fmt.Sprintf("Devices are told to begin no sale (%s).", f.reason), lookAtAll
	default:
		c.State, c.Found = doctor.OK, fmt.Sprintf("A message went through the MQTT port to its acknowledgement in %s.", milliseconds(f.took))
	}
	return c
}

func (f *trialFacts) standInCheck() admin.Check {
	if f.failed != nil {
		return admin.Check{Check: checkStandIn, State: doctor.Failed, Found: "It could not be made: " + strings.TrimRight(f.failed.Error(), ".") + ".", Fix: lookAtAll}
	}
	return admin.Check{Check: checkStandIn, State: doctor.OK,
		Found: fmt.Sprintf("%s went its whole way, from the report to the receipt, in %s.", f.rehearsed.What, milliseconds(f.rehearsed.Took))}
}

// where is what the device must connect to. Its own localhost is not the gateway's.
func (f *trialFacts) where() string {
	if u, err := url.Parse(f.url); err == nil && u.Hostname() == "localhost" {
		return "port " + u.Port() + " of this gateway (" + u.Scheme + ")"
	}
	return f.url
}

func (f *trialFacts) deviceCheck() admin.Check {
	id, p := f.device.ID, f.presence
	c := admin.Check{Check: checkDevice, State: doctor.Failed, Fix: fmt.Sprintf("Check its power and its network, and that it connects to %s", f.where())}
	switch {
	case f.device.Disabled:
		c.Found, c.Fix = fmt.Sprintf("%s is disabled and cannot connect.", id), fmt.Sprintf("To let it in again: edgegw device enable %s", id)
	case !f.site.running:
		c.State, c.Found, c.Fix = doctor.Skipped, "Nobody can connect where no gateway runs.", ""
	case p.Online:
		c.State, c.Fix, c.Found = doctor.OK, "", fmt.Sprintf("%s is connected, since %s, from %s.", id, timeOf(f.site.now, p.Since), p.Remote)
	case !p.Since.IsZero():
		c.Found = fmt.Sprintf("%s is not connected, since %s.", id, timeOf(f.site.now, p.Since))
	default:
		c.Found = fmt.Sprintf("%s has not connected since the gateway started.", id)
	}
	return c
}

// ofKeys are the causes that the register's key is.
var ofKeys = map[string]bool{"key_sealed": true, "key_request_lost": true, "key_pending": true, "key_missing": true, "key_refused": true}

func (f *trialFacts) keyCheck(c cause) admin.Check {
	k := admin.Check{Check: checkKey, State: doctor.Failed}
	switch {
	case ofKeys[c.code]:
		k.Found, k.Fix = sentences([]string{upper(c.why.String())}), c.do.String()
	case f.key == "missing":
		k.Found, k.Fix = "Its key has not been entered yet.", "Enter it: "+f.register.setKey().String()
	case f.key == string(sale.KeyStateActive):
		k.State, k.Found = doctor.OK, "OpenFiskal took the key when it was last asked."
	default:
		k.State, k.Found, k.Fix = doctor.Notice, "OpenFiskal has not confirmed the key yet.", "Ask it: "+f.register.checkKey().String()
	}
	return k
}

// queueCheck is about what stands before its next sale, and the uplink.
func (f *trialFacts) queueCheck(c cause) admin.Check {
	q := admin.Check{Check: checkQueue, State: doctor.Failed}
	waits := ""
	if n := f.register.Waiting; n > 0 && !f.register.Idle {
		waits = upper(f.site.wait(f.register).String())
	}
	switch {
	case c.code != "" && !ofKeys[c.code] && c.code != "not_running":
		q.Found, q.Fix = sentences([]string{waits, upper(c.why.String())}), c.do.String()
	case !f.site.uplink.Up:
		u := uplinkWords(f.site.uplink)
		q.Found, q.Fix = sentences([]string{"OpenFiskal cannot be reached: " + u.why.String()}), u.do.String()
	case f.line != nil:
		q.Found, q.Fix = f.line.Found, f.line.Fix
	case ofKeys[c.code] && waits != "":
		q.State, q.Found = doctor.Notice, waits+", for the key."
	case waits != "":
		q.State, q.Found = doctor.OK, waits+", being sent."
	default:
		q.State, q.Found = doctor.OK, "OpenFiskal can be reached, and nothing waits before its next sale."
	}
	return q
}

// verdict says what the checks mean for the next real sale.
func (f *trialFacts) verdict(checks []admin.Check) (ready bool, sentence string) {
	failed := map[string]admin.Check{}
	var says []string
	for _, c := range checks {
		if c.State == doctor.Failed {
			failed[c.Check] = c
		}
	}
	_, noGateway := failed[checkGateway]
	_, noStandIn := failed[checkStandIn]
	way := "The way through this gateway works."
	switch {
	case noGateway:
		way = "The way through this gateway does not work."
	case noStandIn:
		way = "The way through this gateway works, and the sale against the stand-in failed."
	}
	if len(failed) == 0 {
		return true, fmt.Sprintf("%s %s is connected; %s; the next real sale will go out.", way, f.device.ID, f.keyWords())
	}
	says = append(says, way)
	for _, c := range checks {
		if c.State == doctor.Failed {
			says = append(says, c.Found, c.Fix)
		}
	}
	_, noDevice := failed[checkDevice]
	if !noGateway && !noDevice && len(failed) > 0 && !(noStandIn && len(failed) == 1) {
		says = append(says, fmt.Sprintf("What %s sells meanwhile is taken, and waits", f.device.ID))
	}
	return false, sentences(says)
}

func (f *trialFacts) keyWords() string {
	if f.key == string(sale.KeyStateActive) {
		return "its key works"
	}
	return "OpenFiskal has not confirmed its key yet"
}

// milliseconds is a short time as people read it.
func milliseconds(d time.Duration) string {
	if d < time.Millisecond {
		return "less than 1 ms"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
