package gateway

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/doctor"
	"edgegw/secret"
	"edgegw/support"
)

// bundleLimit bounds the making of a bundle; the doctor alone may take doctorLimit.
const bundleLimit = time.Minute

// How much of each listing a bundle has.
const (
	bundleSales = 200
	bundleItems = 500
	bundleOpen  = 50 // items with what is said of them
	bundleAudit = 1000
)

// leftOut is what no bundle holds.
var leftOut = []support.LeftOut{
	{What: "keys of OpenFiskal, of registers and of the platform", Why: "whoever has one can sell as this site; devices.json has their states and last four characters"},
	{What: "passwords of devices, passwords and PINs of people, tokens, sessions, and the code that claims a new gateway", Why: "they let in whoever has them"},
	{What: "the key-encryption key, the private keys of the site CA and of the server, and the login of a proxy", Why: "they open what is sealed or encrypted"},
	{What: "the database", Why: "it has the sealed keys and every sale; edgegw.db is copied by whoever may have it"},
	{What: "what devices reported of sales, and what was sent for it", Why: "customers may be named there: edgegw quarantine show has it, on the box"},
	{What: "the digits of what looks like a card number, but the last four", Why: "card data belongs into no file"},
	{What: "the environment and the memory of the process", Why: "secrets may be there"},
}

// SupportBundle writes what somebody needs who was never at this site. The audit
// trail tells of it first; where it cannot, the bundle is made all the same, because
// that is when it is needed.
func (k *control) SupportBundle(ctx context.Context, w io.Writer, by string) error {
	ctx, cancel := context.WithTimeout(ctx, bundleLimit)
	defer cancel()
	b := support.Bundle{LeftOut: leftOut, Secrets: k.knownSecrets(), Parts: k.bundleParts(),
		About: support.About{Site: k.config.Site.Name, Version: k.options.Version, Made: k.now(), By: by, Clock: string(k.clock.Quality()), Running: k.running != nil}}
	if err := k.db.Note(ctx, "support bundle made", "", "", by); err != nil {
		b.About.Notes = append(b.About.Notes, "The audit trail has no line about this bundle: "+err.Error())
	}
	return b.Write(ctx, w)
}

// SupportClosed writes what can be said of a site whose data cannot be opened;
// closed is why.
func SupportClosed(ctx context.Context, c config.Config, o Options, closed error, w io.Writer, by string) error {
	k := &control{config: c, options: o}
	b := support.Bundle{LeftOut: leftOut, Secrets: k.knownSecrets(),
		About: support.About{Site: c.Site.Name, Version: o.Version, Made: time.Now(), By: by, Clock: "unknown",
			Notes: []string{"The data cannot be opened, and no gateway answers: " + closed.Error(), "The audit trail has no line about this bundle."}}}
	checks := sync.OnceValues(func() ([]admin.Check, error) { return DoctorClosed(ctx, c, o, closed), nil })
	b.Parts = append(doctorParts(func(context.Context) ([]admin.Check, error) { return checks() }), k.boxParts()...)
	return b.Write(ctx, w)
}

// knownSecrets are those that this process has in clear and could say by mistake.
func (k *control) knownSecrets() (all []secret.Text) {
	if u, err := url.Parse(string(k.config.OpenFiskal.Proxy.Reveal())); err == nil && u.User != nil {
		password, _ := u.User.Password()
		_, escaped, _ := strings.Cut(u.User.String(), ":")
		all = append(all, secret.FromString(password), secret.FromString(escaped))
	}
	if k.people != nil {
		all = append(all, secret.FromString(k.claim().Code))
	}
	return all
}

// bundleParts are all parts, the most important first.
func (k *control) bundleParts() []support.Part {
	checks := onceIn(func(ctx context.Context) ([]admin.Check, error) { return k.Doctor(ctx, k.options.Version) })
	status := onceIn(k.Status)
	return slices.Concat(doctorParts(checks), k.siteParts(status), k.boxParts(), k.processParts(), []support.Part{
		{Name: "database.json", What: "how the database is built, and SQLite's quick_check of it", Make: func(ctx context.Context) ([]byte, error) { return k.databasePart(ctx, checks) }},
		{Name: "quarantine.json", What: fmt.Sprintf("the newest %d items of the quarantine, without what devices reported", bundleItems), Most: 1_000_000, Make: k.quarantinePart},
		{Name: "sales.json", What: fmt.Sprintf("the newest %d sales, as edgegw sales --json lists them", bundleSales), Make: func(ctx context.Context) ([]byte, error) {
			return support.JSON(k.Sales(ctx, admin.SaleFilter{Limit: bundleSales}))
		}},
		{Name: "audit.jsonl", What: fmt.Sprintf("who changed what: the newest %d lines, the newest last", bundleAudit), Most: 1_000_000, Make: k.auditPart},
		{Name: "devices.json", What: "the devices, as edgegw device list --json lists them", Most: 1_500_000, Make: func(ctx context.Context) ([]byte, error) {
			return support.JSON(k.Devices(ctx))
		}},
		{Name: "metrics.txt", What: "what Prometheus would read of /metrics", Most: 1_500_000, Make: k.metricsPart},
		{Name: "log.txt", What: "the last lines of the log of this process, the newest last", Most: 2_200_000, Make: k.logPart},
	})
}

// onceIn makes something once for several parts.
func onceIn[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var once sync.Once
	var v T
	var err error
	return func(ctx context.Context) (T, error) {
		once.Do(func() { v, err = f(ctx) })
		return v, err
	}
}

func doctorParts(checks func(context.Context) ([]admin.Check, error)) []support.Part {
	return []support.Part{
		{Name: "doctor.txt", What: "what edgegw doctor says: each check with what was found and what to do", Make: func(ctx context.Context) ([]byte, error) {
			all, err := checks(ctx)
			return inWords(all), err
		}},
		{Name: "doctor.json", What: "the same for programs", Make: func(ctx context.Context) ([]byte, error) { return support.JSON(checks(ctx)) }},
	}
}

func inWords(all []doctor.Check) []byte {
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintf(&b, "%-7s  %s: %s\n", c.State, c.Check, c.Found)
		if c.Fix != "" {
			fmt.Fprintf(&b, "         %s\n", c.Fix)
		}
	}
	return []byte(b.String())
}

// siteParts are the status in three: of a large site the registers alone are long.
func (k *control) siteParts(status func(context.Context) (admin.Status, error)) []support.Part {
	return []support.Part{
		{Name: "status.json", What: "the site in one look; its registers are in queues.json, its conditions in conditions.json", Make: func(ctx context.Context) ([]byte, error) {
			s, err := status(ctx)
			s.Registers, s.Conditions, s.Claim.Code = nil, nil, ""
			return support.JSON(s, err)
		}},
		{Name: "conditions.json", What: "what stands, and what to do about it", Most: 1_000_000, Make: func(ctx context.Context) ([]byte, error) {
			s, err := status(ctx)
			return support.JSON(s.Conditions, err)
		}},
		{Name: "queues.json", What: "the queue of each register: what waits, since when, why", Most: 1_500_000, Make: func(ctx context.Context) ([]byte, error) {
			s, err := status(ctx)
			return support.JSON(s.Registers, err)
		}},
	}
}
