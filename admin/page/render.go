package page

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"math/big"
	"path"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/wording"
)

// views are the templates of one language by their names.
type views map[string]*template.Template

// parse reads every template once for each language.
func parse(now func() time.Time) (map[lang]views, error) {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	all := map[lang]views{}
	for _, l := range langs {
		all[l] = views{}
		for _, name := range names {
			base := strings.TrimSuffix(path.Base(name), ".html")
			if base == "layout" || base == "parts" {
				continue
			}
			t, err := template.New("layout").Funcs(funcs(l, now)).ParseFS(files, "templates/layout.html", "templates/parts.html", name)
			if err != nil {
				return nil, fmt.Errorf("parse the page %s: %w", base, err)
			}
			all[l][base] = t
		}
	}
	return all, nil
}

func funcs(l lang, now func() time.Time) template.FuncMap {
	return template.FuncMap{
		"t":           func(text string, args ...any) string { return l.text(text, args...) },
		"count":       func(n any, one, many string) string { return l.count(number(n), one, many) },
		"ago":         func(t time.Time) string { return l.ago(t, now()) },
		"stamp":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":       l.clock,
		"hour":        l.hour,
		"short":       l.short,
		"long":        l.long,
		"bytes":       l.bytes,
		"money":       l.money,
		"word":        l.word,
		"checktitle":  l.checkTitle,
		"found":       l.found,
		"fix":         l.fix,
		"refusal":     l.refusal,
		"ortext":      l.orText,
		"quoted":      func(text string) template.HTML { return l.orText(wording.Sentence{}, text) },
		"flag":        l.flag,
		"lacks":       l.lacks,
		"says":        l.sentence,
		"act":         l.act,
		"settingword": l.settingWord,
		"icon":        icon,
		"inwords":     l.condition,
		"dict":        dict,
		// A file that the page itself holds: what is shown once is nowhere to be fetched.
		"datafile": func(text string) template.URL {
			return template.URL("data:application/octet-stream;base64," + base64.StdEncoding.EncodeToString([]byte(text)))
		},
		"pretty":   pretty,
		"salepath": admin.SalePath,
	}
}

// pretty indents JSON and changes nothing else about it; other text stays as it is.
func pretty(text any) string {
	raw := fmt.Appendf(nil, "%s", text)
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

func number(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case *int64:
		return *n
	}
	return 0
}

// dict makes one value of several, for a part of a page.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict has a name without a value")
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict has a name that is no text")
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// ago says how long something is past, in the largest unit that fits.
func (l lang) ago(t, now time.Time) string {
	if t.IsZero() {
		return l.text("never")
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return l.text("just now")
	case d < time.Hour:
		return l.count(int64(d/time.Minute), "%d minute ago", "%d minutes ago")
	case d < 48*time.Hour:
		return l.count(int64(d/time.Hour), "%d hour ago", "%d hours ago")
	}
	return l.count(int64(d/(24*time.Hour)), "%d day ago", "%d days ago")
}

// clock is a moment in the box's zone. Where there is JavaScript it is shown in the
// zone of the phone (static/live.js).
func (l lang) clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	if l == german {
		return t.Local().Format("02.01.2006 15:04:05 MST")
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// exponents are those of ISO 4217 that are not 2.
var exponents = map[string]int{
	"BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0, "KWD": 3, "LYD": 3, "OMR": 3,
	"PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
}

// money writes minor units as people write them.
func (l lang) money(minor int64, currency string) string {
	exp, known := exponents[currency]
	if !known {
		exp = 2
	}
	point, group := ".", ","
	if l == german {
		point, group = ",", "."
	}
	digits := new(big.Int).Abs(big.NewInt(minor)).String()
	for len(digits) <= exp {
		digits = "0" + digits
	}
	whole, part := digits[:len(digits)-exp], digits[len(digits)-exp:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + group + whole[i:]
	}
	text := whole
	if exp > 0 {
		text += point + part
	}
	if minor < 0 {
		text = "−" + text
	}
	return strings.TrimSpace(text + " " + currency)
}

// word translates a state of the API. One that has no word yet is shown as it is.
func (l lang) word(state string) string {
	if w, ok := words[state]; ok {
		return l.text(w)
	}
	return state
}

// words are the states of the API as people read them.
var words = map[string]string{
	"online": "online", "offline": "offline", "disabled": "disabled", "unknown": "unknown",
	"active": "key in use", "unverified": "key not checked yet", "pending": "key waits for OpenFiskal", "refused": "key refused", "missing": "no key",
	"ok": "all right", "skipped": "not looked at",
	"waiting": "waiting", "confirmed": "confirmed", "quarantined": "in quarantine", "resolved": "decided by a person",
	"idle": "up to date", "retrying": "tried again", "blocked": "blocked",
	"up": "connected", "down": "no connection", "untried": "nothing sent yet", "off": "no gateway ran",
	"succeeded": "signed", "failed": "not signed",
	"start": "start", "update": "update", "complete": "end", "cancel": "cancellation", "superseded": "replaced", "closed": "not needed any more",
	"pump": "pump", "charger": "charger", "kiosk": "kiosk",
	"owner": "owner", "technician": "technician", "auditor": "auditor",
	"register key": "key of a register", "platform key": "platform key", "retired": "replaced",
	"kernel": "the system", "clock": "the clock as it is", "openfiskal": "OpenFiskal's answers", "continued": "what was known before the clock jumped", "floor": "the last time that has certainly passed",
	"retry": "try again", "resolve": "it is at OpenFiskal already", "discard": "give it up",
	"accepted": "OpenFiskal takes it", "no_fiscal_unit": "its fiscal unit is not active yet", "sealed": "it cannot be opened here",
}

// icon is one of a few pictures, drawn for 24 × 24.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">` + icons[name] + `</svg>`) //nolint: our own text
}

var icons = map[string]string{
	"overview":   `<path d="M3 12 12 4l9 8M6 10v10h12V10"/>`,
	"devices":    `<rect x="4" y="3" width="10" height="18" rx="1.5"/><path d="M7 7h4M14 10h2.5a1.5 1.5 0 0 1 1.5 1.5V16a1.5 1.5 0 0 0 3 0V8l-3-3"/>`,
	"sales":      `<path d="M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6"/>`,
	"quarantine": `<path d="M12 3 22 20H2zM12 10v4M12 17.2v.1"/>`,
	"more":       `<path d="M4 7h16M4 12h16M4 17h16"/>`,
	"good":       `<circle cx="12" cy="12" r="9"/><path d="m8 12.5 3 3 5-6"/>`,
	"notice":     `<circle cx="12" cy="12" r="9"/><path d="M12 11v5M12 7.8v.1"/>`,
	"bad":        `<path d="M12 3 22 20H2zM12 10v4M12 17.2v.1"/>`,
	"disk":       `<ellipse cx="12" cy="6" rx="8" ry="3"/><path d="M4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3"/>`,
	"link":       `<path d="M4 9a12 12 0 0 1 16 0M7 12.5a7.5 7.5 0 0 1 10 0M10 16a3 3 0 0 1 4 0M12 19.2v.1"/>`,
	"clock":      `<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.5 2"/>`,
	"key":        `<circle cx="8" cy="15" r="4"/><path d="m11 12 8-8M16 7l3 3"/>`,
	"people":     `<circle cx="12" cy="8" r="4"/><path d="M4 21c1-5 4-7 8-7s7 2 8 7"/>`,
	"commission": `<path d="M9 4h6v3H9zM7 5H5v16h14V5h-2M8.5 13l2.5 2.5 4.5-5"/>`,
	"doctor":     `<path d="M4 12h4l2-6 4 12 2-6h4"/>`,
	"audit":      `<path d="M5 4h14v16H5zM8 8h8M8 12h8M8 16h5"/>`,
	"backup":     `<path d="M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6"/>`,
	"support":    `<circle cx="12" cy="12" r="9"/><circle cx="12" cy="12" r="4"/><path d="m5.6 5.6 3.5 3.5M14.9 14.9l3.5 3.5M5.6 18.4l3.5-3.5M14.9 9.1l3.5-3.5"/>`,
	"settings":   `<path d="M4 7h9M17 7h3M4 17h3M11 17h9"/><circle cx="15" cy="7" r="2"/><circle cx="9" cy="17" r="2"/>`,
	"add":        `<path d="M12 5v14M5 12h14"/>`,
}
