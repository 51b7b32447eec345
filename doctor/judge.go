package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"edgegw/wording"
)

const (
	mebibyte    = 1 << 20
	day         = 24 * time.Hour
	syncFloor   = 20 * time.Microsecond // no medium is that fast
	leastInodes = 1000
	logNotice   = 32 * mebibyte
	logFailed   = 128 * mebibyte
	waitNotice  = time.Minute
	waitFailed  = 5 * time.Minute
	leastFiles  = 1024
)

func (f Facts) data(r *report) {
	d := f.Data
	if d.Missing {
		r.failed("data_writable", wording.Of("There is no folder %s yet", d.Dir), noFolder)
		r.skipAll(wording.Of("There is no folder yet"), "data_persistent", "data_sync", "disk_space", "disk_inodes", "file_modes")
		return
	}
	if d.Volatile != "" {
		r.failed("data_persistent", wording.Of("%s lies on %s, where a restart loses it", d.Dir, d.Volatile), persist)
	} else {
		r.ok("data_persistent", "%s lies on storage that is not known to forget", d.Dir)
	}
	if d.WriteError != "" {
		r.failed("data_writable", wording.Of("Nothing can be written there: %s", wording.Quote(d.WriteError)), makeWritable, "path", d.Dir)
		r.skip("data_sync", "Nothing can be written")
	} else {
		r.ok("data_writable", "A file was written, synced and read back")
		if d.Sync < syncFloor {
			r.notice("data_sync", wording.Of("A sync takes %v, faster than any disk: it may not reach one", d.Sync), lyingDisk)
		} else {
			r.ok("data_sync", "A sync takes %v", d.Sync.Round(time.Microsecond))
		}
	}
	d.space(r)
	if len(d.Loose) > 0 {
		l := d.Loose[0]
		r.failed("file_modes", wording.Of("Others may use %s (mode %s)%s", l.Path, l.Mode, andMore(len(d.Loose)-1)), mendModes, "mode", l.Want, "path", l.Path)
	} else {
		r.ok("file_modes", "Only the gateway's user can use what is secret")
	}
}

func (f Facts) database(r *report) {
	if f.Closed != "" {
		r.failed("database_opens", wording.Of("The data cannot be opened: %s", wording.Quote(f.Closed)), openData)
	} else {
		r.ok("database_opens", "It is open")
	}
	d := f.Database
	if d == nil {
		r.notOpen("database_integrity", "wal_size", "books")
		return
	}
	switch {
	case d.Damage != "":
		r.failed("database_integrity", wording.Of("quick_check finds: %s", wording.Quote(d.Damage)), damaged)
	case d.CutShort:
		r.notice("database_integrity", wording.Of("The check was not through after ten seconds; what it had read was whole"), checkLater)
	default:
		r.ok("database_integrity", "quick_check finds nothing")
	}
	found := wording.Of("It takes %.1f MiB", float64(d.Log)/mebibyte)
	switch {
	case d.Log > logFailed:
		r.failed("wal_size", found, stuckLog, "path", d.Path)
	case d.Log > logNotice:
		r.notice("wal_size", found, stuckLog, "path", d.Path)
	default:
		r.well("wal_size", found)
	}
	if d.Wrong != "" {
		r.failed("books", wording.Of("%s", Condition{"books_unbalanced", d.Wrong}), booksWrong)
	} else {
		r.ok("books", "accepted = confirmed + waiting + quarantined + resolved, for each register")
	}
}

// notOpen skips what needs the data.
func (r *report) notOpen(checks ...string) {
	r.skipAll(wording.Of("The data could not be opened"), checks...)
}

func (f Facts) time(r *report) {
	c := f.Clock
	if c == nil {
		r.notOpen("clock", "clock_source")
		return
	}
	if c.Problem != "" {
		r.failed("clock", wording.Of("%s", Condition{c.Code, c.Problem}), setClock)
	} else {
		r.ok("clock", "The box says %s", c.Wall.UTC().Format(time.RFC3339))
	}
	if c.Synchronised {
		r.ok("clock_source", "The system says that a time server keeps it right")
	} else {
		r.notice("clock_source", wording.Of("Nothing keeps the clock of this box right; the time comes from %s", wording.Word(c.Source)), noTimeSource)
	}
}

func (f Facts) network(r *report) {
	u := f.Uplink
	switch {
	case u.NameHost == "":
		r.ok("uplink_name", "An address is given; no name is needed")
	case u.NameError != "":
		r.failed("uplink_name", wording.Of("%s has no address: %s", u.NameHost, wording.Quote(u.NameError)), mendDNS, "host", u.NameHost, "key", u.NameKey)
		r.skipAll(wording.Of("%s has no address", u.NameHost), "uplink_route", "proxy", "uplink_connect", "uplink_tls", "uplink_certificate")
		return
	default:
		r.ok("uplink_name", "%s is %s", u.NameHost, strings.Join(u.Addresses, ", "))
	}
	if u.RouteError != "" {
		r.failed("uplink_route", wording.Of("There is no way to it: %s", wording.Quote(u.RouteError)), mendRoute)
		r.skipAll(wording.Of("There is no way to it"), "proxy", "uplink_connect", "uplink_tls", "uplink_certificate")
		return
	}
	r.ok("uplink_route", "There is a route")
	switch {
	case u.ProxyError != "":
		r.failed("proxy", wording.Of("The proxy %s does not help: %s", u.Proxy, wording.Quote(u.ProxyError)), mendProxy, "host", u.Host)
		r.skipAll(wording.Of("The proxy does not help"), "uplink_connect", "uplink_tls", "uplink_certificate")
		return
	case u.ProxyUntried:
		r.ok("proxy", "The proxy %s answers", u.Proxy)
		r.skipAll(wording.Of("What lies behind a proxy of this kind is not tried; edgegw status says whether the uplink is up"), "uplink_connect", "uplink_tls", "uplink_certificate")
		return
	case u.Proxy != "":
		r.ok("proxy", "The proxy %s passes connections to %s", u.Proxy, u.Host)
	default:
		r.ok("proxy", "None is set")
	}
	if u.ConnectError != "" {
		r.failed("uplink_connect", wording.Of("%s does not answer: %s", u.Address, wording.Quote(u.ConnectError)), mendPort, "address", u.Address)
		r.skipAll(wording.Of("There is no connection"), "uplink_tls", "uplink_certificate")
		return
	}
	r.ok("uplink_connect", "%s answers", u.Address)
	u.secure(f.Now, r)
}

func (u Uplink) secure(now time.Time, r *report) {
	if u.Plain {
		r.ok("uplink_tls", "openfiskal.base_url is this machine itself, without TLS")
		r.skip("uplink_certificate", "There is none")
		return
	}
	found, fill := wording.Of("The handshake with %s ends in: %s", u.Address, wording.Quote(u.TLSError)), []string{"host", u.Host, "address", u.Address}
	switch u.TLS {
	case TLSGood:
		r.ok("uplink_tls", "Its chain is trusted; issued by %s", u.Issuer)
	case TLSStranger:
		r.failed("uplink_tls", found, mendTrust, fill...)
	case TLSEnded:
		r.failed("uplink_tls", found, mendTheirEnd, fill...)
	case TLSOtherName:
		r.failed("uplink_tls", found, mendTheirName, fill...)
	default:
		r.failed("uplink_tls", found, mendTLS, fill...)
	}
	switch left := u.CertEnd.Sub(now); {
	case u.TLS != TLSGood:
		r.skip("uplink_certificate", "Its chain is not trusted")
	case left < 7*day:
		r.notice("uplink_certificate", wording.Of("It ends on %s", date(u.CertEnd)), mendTheirEnd)
	default:
		r.ok("uplink_certificate", "It ends on %s", date(u.CertEnd))
	}
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (f Facts) keys(r *report) {
	if f.KEK == nil {
		r.notOpen("key_host", "register_keys", "kek", "keys_open")
		return
	}
	f.registerKeys(r)
	switch k := f.KEK; {
	case k.LooseAt != "":
		r.failed("kek", wording.Of("Others may read %s", k.LooseAt), kekMode, "path", k.LooseAt)
	case k.Problem != "":
		r.failed("kek", wording.Of("There is none that can be used: %s", wording.Quote(k.Problem)), giveKEK)
	case k.SelfMade != "":
		r.notice("kek", wording.Of("It lies beside the data that it protects: %s", k.SelfMade), kekBeside, "path", k.SelfMade)
	default:
		r.ok("kek", "It is kept apart from the data")
	}
	switch {
	case f.KEK.Problem != "":
		r.skip("keys_open", "There is no key-encryption key")
	case len(f.Sealed) > 0:
		r.failed("keys_open", wording.Of("The key of %s cannot be opened", some(f.Sealed)), sealedKey, "register", f.Sealed[0])
	default:
		r.ok("keys_open", "Every stored key opens")
	}
}

func (f Facts) registerKeys(r *report) {
	var wrong []string
	why, by := wording.Sentence{}, map[string][]string{}
	for _, k := range f.Registers {
		if !k.HostLine.Empty() {
			wrong, why = append(wrong, k.Name), k.HostLine
		}
		by[k.Key] = append(by[k.Key], k.Name)
	}
	if len(wrong) > 0 {
		r.failed("key_host", wording.Of("%s: %s", some(wrong), why), otherHost, "register", wrong[0])
	} else {
		r.ok("key_host", "No key is for another host")
	}
	for _, c := range []struct {
		state string
		words wording.Sentence
		fix   string
	}{{"refused", wording.Of("OpenFiskal refuses the key of %s", some(by["refused"])), newKey}, {"missing", wording.Of("There is no key of %s", some(by["missing"])), enterKey}} {
		if names := by[c.state]; len(names) > 0 {
			r.failed("register_keys", c.words, c.fix, "register", names[0])
			return
		}
	}
	if open := slices.Concat(by["pending"], by["unverified"]); len(open) > 0 {
		r.notice("register_keys", wording.Of("OpenFiskal has not confirmed the key of %s", some(open)), checkKey, "register", open[0])
		return
	}
	r.ok("register_keys", "%d registers, each with a key that OpenFiskal has taken", len(f.Registers))
}

func (f Facts) sales(r *report) {
	if f.Database == nil {
		r.notOpen("queues_blocked", "queue_age", "quarantine")
		return
	}
	var blocked, waits []Queue
	for _, q := range f.Queues {
		switch {
		case q.Blocked && !q.ByKey:
			blocked = append(blocked, q)
		case !q.Blocked:
			waits = append(waits, q)
		}
	}
	if len(blocked) > 0 {
		r.failed("queues_blocked", wording.Of("%s waits for somebody: %s%s", blocked[0].Register, wording.Word(blocked[0].Why), andMore(len(blocked)-1)), whyBlocked, "register", blocked[0].Register)
	} else {
		r.ok("queues_blocked", "No queue waits for a person")
	}
	f.age(r, waits)
	switch {
	case f.Quarantined+f.Messages > 0:
		r.failed("quarantine", wording.Of("What waits for a decision: sales %d, messages %d", f.Quarantined, f.Messages), decide)
	default:
		r.ok("quarantine", "Nothing waits for a decision")
	}
}

func (f Facts) age(r *report, waits []Queue) {
	if len(waits) == 0 {
		r.ok("queue_age", "Nothing waits")
		return
	}
	first := slices.MinFunc(waits, func(a, b Queue) int { return a.Since.Compare(b.Since) })
	age := f.Now.Sub(first.Since)
	found := wording.Of("The oldest call waits for %v, of %s", age.Round(time.Second), first.Register)
	switch {
	case age > waitFailed:
		r.failed("queue_age", found, whyWaits, "register", first.Register)
	case age > waitNotice:
		r.notice("queue_age", found, whyWaits, "register", first.Register)
	default:
		r.well("queue_age", found)
	}
}

func (f Facts) mqtt(r *report) {
	l := f.Listeners
	switch {
	case !f.Running:
		r.skipAll(wording.Of("No gateway runs"), "mqtt_listener", "mqtt_publish")
	case l.ConnectError != "":
		r.failed("mqtt_listener", wording.Of("%s: %s", l.Address, wording.Quote(l.ConnectError)), mendPortHere)
		r.skip("mqtt_publish", "There is no connection")
	case l.PublishError != "":
		r.ok("mqtt_listener", "%s answers", l.Address)
		r.failed("mqtt_publish", wording.Of("There was no acknowledgement: %s", wording.Quote(l.PublishError)), notStored)
	default:
		r.ok("mqtt_listener", "%s answers", l.Address)
		r.ok("mqtt_publish", "It was committed and acknowledged after %v", l.Took.Round(time.Microsecond))
	}
	if l.Plain != "" {
		r.failed("mqtt_plain", wording.Of("Other machines may connect without TLS on %s", l.Plain), closePlain)
	} else {
		r.ok("mqtt_plain", "No device of another machine can connect without TLS")
	}
	if l.HTTP != "" {
		r.notice("http_plain", wording.Of("Other machines can reach %s without TLS; it serves no API there", l.HTTP), closeHTTP)
	} else {
		r.ok("http_plain", "No other machine can reach it without TLS")
	}
}

func (f Facts) certificates(r *report) {
	c := f.Certificates
	if c == nil {
		r.notOpen("site_ca", "server_certificate", "client_certificates")
		return
	}
	f.ends(r, "site_ca", wording.Of("It"), c.CA, 2*365*day, 180*day, renewCA, "path", c.Dir)
	switch {
	case c.Trouble != "":
		fix := renewServer
		if c.Operator {
			fix = renewOperator
		}
		r.failed("server_certificate", wording.Of("It could not be renewed: %s", wording.Quote(c.Trouble)), fix, "path", c.Dir)
	case c.Operator:
		f.ends(r, "server_certificate", wording.Of("The operator's"), c.Server, 30*day, 14*day, renewOperator)
	default:
		r.ok("server_certificate", "It ends on %s and is renewed by itself", date(c.Server))
	}
	if len(c.Clients) == 0 {
		r.ok("client_certificates", "No device logs in with one")
		return
	}
	first := slices.MinFunc(c.Clients, func(a, b Client) int { return a.End.Compare(b.End) })
	f.ends(r, "client_certificates", wording.Of("The first, of %s,", first.Device), first.End, 30*day, 14*day, renewClient, "device", first.Device)
}

func (f Facts) ends(r *report, check string, what wording.Sentence, end time.Time, notice, failed time.Duration, fix string, fill ...string) {
	left, found := end.Sub(f.Now), wording.Of("%s ends on %s", what, date(end))
	switch {
	case left < 0:
		r.failed(check, wording.Of("%s ended on %s", what, date(end)), fix, fill...)
	case left <= failed:
		r.failed(check, found, fix, fill...)
	case left <= notice:
		r.notice(check, found, fix, fill...)
	default:
		r.well(check, found)
	}
}

func (f Facts) box(r *report) {
	b := f.Box
	if m := b.Memory; m == nil || m.Limit <= 0 {
		r.skip("memory", "This system does not tell")
	} else {
		found := wording.Of("%d MiB of %d MiB are in use", m.Used/mebibyte, m.Limit/mebibyte)
		switch {
		case m.Used > m.Limit/100*95:
			r.failed("memory", found, moreMemory)
		case m.Used > m.Limit/100*80:
			r.notice("memory", found, moreMemory)
		default:
			r.well("memory", found)
		}
	}
	b.files(r)
	switch {
	case b.Container == "":
		r.ok("container", "This is no container")
	case !b.KnowsMount || b.Mounted:
		how := wording.Of("its root file system can be written")
		if b.ReadOnly {
			how = wording.Of("its root file system is read-only")
		}
		r.ok("container", "In a container (%s); %s", b.Container, how)
	default:
		r.notice("container", wording.Of("In a container (%s), and %s is no mount", b.Container, f.Data.Dir), notAVolume, "path", f.Data.Dir)
	}
	if b.Root {
		r.notice("user", wording.Of("It runs as root"), notRoot, "path", f.Data.Dir)
	} else {
		r.ok("user", "It does not run as root")
	}
}

func (b Box) files(r *report) {
	u := b.Files
	if u == nil {
		r.skip("descriptors", "This system does not tell")
		return
	}
	want := max(leastFiles, int64(b.MostConns)+256)
	fill := []string{"want", fmt.Sprint(want)}
	found := wording.Of("%d of %d are in use", u.Used, u.Limit)
	switch {
	case u.Limit < leastFiles, u.Used > u.Limit/100*80:
		r.failed("descriptors", found, moreFiles, fill...)
	case u.Limit < want:
		r.notice("descriptors", wording.Of("%s, and mqtt.max_connections is %d", found, b.MostConns), moreFiles, fill...)
	default:
		r.well("descriptors", found)
	}
}

func (f Facts) site(r *report) {
	if f.Running {
		r.ok("gateway_running", "It runs")
	} else {
		r.failed("gateway_running", wording.Of("No gateway runs here: no device can report a sale"), startIt)
	}
	switch {
	case f.Replaced:
		r.failed("version", wording.Of("The gateway runs %s, and its program was replaced on disk since", f.Version), replaced)
	case f.Asker != "" && f.Asker != f.Version:
		r.failed("version", wording.Of("The command is %s, and the gateway is %s", f.Asker, f.Version), sameVersion, "version", f.Version)
	default:
		r.ok("version", "%s", f.Version)
	}
	switch c := f.Config; {
	case c.Loose:
		r.failed("configuration", wording.Of("Others may read %s, and it holds a password", c.File), hideConfig, "path", c.File)
	case c.File == "" && c.Settings == 0:
		r.notice("configuration", wording.Of("There is no file, and nothing else sets anything: all are defaults"), writeConfig)
	case c.File == "":
		r.ok("configuration", "There is no file; %d values come from the environment or from flags", c.Settings)
	default:
		r.ok("configuration", "%s is in use, and %d values are not defaults", c.File, c.Settings)
	}
	left := slices.DeleteFunc(slices.Clone(f.Conditions), func(c Condition) bool {
		return slices.ContainsFunc(said[c.Code], func(check string) bool { return r.found[check].State == Failed })
	})
	switch {
	case f.Closed != "":
		r.notOpen("conditions")
	case len(left) > 0:
		r.failed("conditions", wording.Of("%s%s", left[0], andMore(len(left)-1)), seeStatus)
	default:
		r.ok("conditions", "Nothing else needs somebody")
	}
}

// said lists the checks that say the same as a condition. One that has not failed
// says nothing: then the condition must not be lost.
var said = map[string][]string{
	"books_unbalanced": {"books"}, "certificate_ending": {"server_certificate"}, "certificate_files": {"server_certificate"},
	"certificate_renewal": {"server_certificate"}, "site_ca_ending": {"site_ca"}, "clock_unknown": {"clock"}, "clock_wrong": {"clock"},
	"data_volatile": {"data_persistent"}, "kek_missing": {"kek"}, "key_sealed": {"keys_open", "kek"}, "key_missing": {"register_keys"},
	"key_refused": {"register_keys"}, "key_pending": {"register_keys"}, "wrong_host": {"key_host"}, "messages_refused": {"quarantine"},
	"sale_quarantined": {"quarantine"}, "queue_blocked": {"quarantine"}, "queue_waits": {"queue_age"}, "in_doubt": {"queue_age"},
	"register_unknown": {"queues_blocked"}, "misconfigured": {"queues_blocked"}, "queue_unreadable": {"queues_blocked"}, "mqtt_plain": {"mqtt_plain"},
	"storage_low": {"disk_space"}, "storage_full": {"mqtt_publish", "data_writable"}, "storage_failed": {"mqtt_publish", "data_writable"}, "database_damaged": {"database_integrity"},
	"uplink_down": {"uplink_name", "uplink_route", "proxy", "uplink_connect", "uplink_tls"},
}

func andMore(n int) wording.Sentence {
	if n <= 0 {
		return wording.Sentence{}
	}
	return wording.Of(" (and %d more)", n)
}

// some names the first few.
func some(names []string) wording.Sentence {
	const most = 3
	slices.Sort(names)
	if len(names) <= most {
		return wording.Of("%s", strings.Join(names, ", "))
	}
	return wording.Of("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
