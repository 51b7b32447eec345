package page

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/wording"
)

// sentenceSources are the files whose sentences can come to a page. Those that are
// left out serve the commands and the API only.
func sentenceSources(t *testing.T) (names []string) {
	t.Helper()
	never := map[string]bool{"import.go": true, "restore.go": true, "tokens.go": true, "door.go": true, "http.go": true, "topology.go": true}
	for _, dir := range []string{"gateway", "doctor", "people", "devicekeys", "fiscal", "backup", "admin"} {
		all, err := filepath.Glob("../../" + dir + "/*.go")
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(all), err)
		}
		for _, name := range all {
			if !strings.HasSuffix(name, "_test.go") && !(dir == "gateway" && never[filepath.Base(name)]) {
				names = append(names, name)
			}
		}
	}
	return names
}

// speaker finds the sentences of a file: what is given to wording, what the doctor
// finds, and the constants of refusals.
type speaker struct {
	t         *testing.T
	files     *token.FileSet
	constants map[string]string // by directory and name
	said      map[string]bool
}

// texts are the arguments that are sentences, by the function.
var texts = map[string][]int{"wording.Of": {0}, "wording.Err": {1}, "r.ok": {1}, "r.skip": {1}, "oneOrMore": {1, 2}}

// passOn are functions that hand on a sentence of somebody who is looked at, too.
var passOn = map[string]bool{"ok": true, "skip": true, "oneOrMore": true}

func (s *speaker) file(name string, f *ast.File) {
	dir, inAdmin := filepath.Dir(name), strings.HasSuffix(filepath.Dir(name), "/admin")
	for _, d := range f.Decls {
		fn, _ := d.(*ast.FuncDecl)
		if fn != nil && passOn[fn.Name.Name] {
			continue
		}
		checks := fn != nil && fn.Name.Name == "Check"
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				at := texts[calledName(n.Fun)]
				if inAdmin && checks && calledName(n.Fun) == "invalid" {
					at = []int{0, 1}
				}
				for _, i := range at {
					s.note(dir, n.Args[i])
				}
			case *ast.AssignStmt:
				s.assigned(dir, n)
			case *ast.CompositeLit:
				if calledName(n.Type) == "health.Condition" {
					s.condition(n)
				}
				if name := calledName(n.Type); name == "admin.Refusal" || inAdmin && checks && name == "Refusal" {
					s.refusal(dir, n)
				}
			}
			return true
		})
	}
}

func (s *speaker) refusal(dir string, n *ast.CompositeLit) {
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && slices.Contains([]string{"Message", "Remedy"}, fmt.Sprint(kv.Key)) {
			s.note(dir, kv.Value)
		}
	}
}

func (s *speaker) note(dir string, e ast.Expr) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		s.said[text] = true
		return
	case *ast.Ident:
		if text, is := s.constants[dir+" "+e.Name]; is {
			s.said[text] = true
			return
		}
	case *ast.SelectorExpr:
		if e.Sel.Name == "Fixed" { // of a key: fixedInGerman has each
			return
		}
	}
	s.t.Errorf("%s: a sentence that is no constant cannot be found in another language: use wording", s.files.Position(e.Pos()))
}

func calledName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return fmt.Sprint(e.X) + "." + e.Sel.Name
	}
	return ""
}

// Every sentence of the gateway that can come to a page is in German, with the same
// places in the same order, and no German one is left over.
func TestEverySentenceIsInGerman(t *testing.T) {
	s := &speaker{t: t, files: token.NewFileSet(), constants: map[string]string{}, said: map[string]bool{}}
	parsed := map[string]*ast.File{}
	for _, name := range sentenceSources(t) {
		f, err := parser.ParseFile(s.files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed[name] = f
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				s.declared(filepath.Dir(name), g)
			}
		}
	}
	for name, f := range parsed {
		s.file(name, f)
	}
	verbs := regexp.MustCompile(`%[a-z.0-9]*[a-z]`)
	for text := range s.said {
		german, known := translated(text)
		if !known {
			t.Errorf("no German for %q", text)
		}
		all := func(text string) []string { // %.0s is a value that a language does without
			return verbs.FindAllString(strings.ReplaceAll(text, "%.0s", "%s"), -1)
		}
		if known && !slices.Equal(all(text), all(german)) {
			t.Errorf("%q and %q have different places", text, german)
		}
	}
	for _, all := range []map[string]string{sentencesInGerman, standingInGerman, foundInGerman} {
		for text := range all {
			if !s.said[text] && !settingsWhy[text] {
				t.Errorf("nobody says %q", text)
			}
		}
	}
	if len(s.said) < 250 {
		t.Errorf("only %d sentences were found", len(s.said))
	}
}

// settingsWhy are reasons that are kept in a file as they are.
var settingsWhy = map[string]bool{"nobody confirmed it within two minutes": true, "the gateway ended before anybody confirmed it": true}

func (s *speaker) declared(dir string, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		for i, name := range v.Names {
			if i >= len(v.Values) {
				continue
			}
			if l, ok := v.Values[i].(*ast.BasicLit); ok && l.Kind == token.STRING {
				s.constants[dir+" "+name.Name], _ = strconv.Unquote(l.Value)
			}
		}
	}
}

// Everything that the doctor advises is in German, and no other.
func TestEveryFixIsInGerman(t *testing.T) {
	place := regexp.MustCompile(`\{[a-z]+\}`)
	unknown := doctor.Examine(doctor.Facts{}) // nothing was looked at
	said := map[string]bool{}
	for _, e := range doctor.Catalogue {
		for _, fix := range e.Fixes {
			said[fix] = true
		}
	}
	for _, c := range unknown {
		if c.FixOf != "" {
			said[c.FixOf] = true
		}
	}
	said["This is a fault of edgegw itself: send the output of edgegw doctor --json to whoever supports it."] = true
	for fix := range said {
		want, got := place.FindAllString(fix, -1), place.FindAllString(fixesInGerman[fix], -1)
		slices.Sort(want)
		slices.Sort(got)
		if fixesInGerman[fix] == "" || !slices.Equal(slices.Compact(want), slices.Compact(got)) {
			t.Errorf("no German for %q, or other places", fix)
		}
	}
	for fix := range fixesInGerman {
		if !said[fix] {
			t.Errorf("nobody advises %q", fix)
		}
	}
}

// Everything that is written into the audit trail is in German, and nothing else.
func TestEveryActIsInGerman(t *testing.T) {
	what := map[string]int{"t.audit": 2, "k.db.Note": 1, "r.update": 2, "db.updateDevice": 3}
	suffixes := map[string][]string{"register key ": {"active", "unverified", "pending", "refused", "retired"}, "quarantine ": {"retry", "resolve", "discard"},
		"settings ": {admin.SettingsTried, admin.SettingsConfirmed, admin.SettingsUndone, admin.SettingsExpired, admin.SettingsInterrupted, admin.SettingsFailed, admin.SettingsWritten, admin.SettingsSetAside}}
	done := map[string]bool{"register key request lost": true} // set beside its line
	for _, dir := range []string{"store", "gateway", "devicekeys"} {
		names, _ := filepath.Glob("../../" + dir + "/*.go")
		for _, name := range names {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil || strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				c, is := n.(*ast.CallExpr)
				if !is {
					return true
				}
				i, writes := what[calledName(c.Fun)]
				if sel, ok := c.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Note" && len(c.Args) == 5 {
					i, writes = 1, true
				}
				if !writes || i >= len(c.Args) {
					return true
				}
				switch e := c.Args[i].(type) {
				case *ast.BasicLit:
					text, _ := strconv.Unquote(e.Value)
					done[text] = true
				case *ast.BinaryExpr:
					prefix, _ := strconv.Unquote(e.X.(*ast.BasicLit).Value)
					if len(suffixes[prefix]) == 0 {
						t.Errorf("%s: what can follow %q?", name, prefix)
					}
					for _, s := range suffixes[prefix] {
						done[prefix+s] = true
					}
				}
				return true
			})
		}
	}
	for text := range done {
		if actsInGerman[text] == "" {
			t.Errorf("no German for the act %q", text)
		}
	}
	for text := range actsInGerman {
		if !done[text] {
			t.Errorf("nobody does %q", text)
		}
	}
	if len(done) < 40 {
		t.Errorf("only %d acts were found", len(done))
	}
}

// What others said stands in a German sentence as a quotation, with nothing in it
// that a browser would take for markup.
func TestASentenceInGerman(t *testing.T) {
	s := wording.Of("%s: %s", wording.Of("%s (%s)", wording.Of("OpenFiskal refused the request as it is"), "422 <a>"), wording.Quote("no <b>tax</b>"))
	want := template.HTML(`OpenFiskal hat die Anfrage abgelehnt, so wie sie ist (422 &lt;a&gt;): „<span lang="en">no &lt;b&gt;tax&lt;/b&gt;</span>“`)
	if got := german.sentence(s); got != want {
		t.Errorf("got %s", got)
	}
	if got := english.sentence(s); got != "OpenFiskal refused the request as it is (422 &lt;a&gt;): no &lt;b&gt;tax&lt;/b&gt;" {
		t.Errorf("got %s", got)
	}
	if got := german.sentence(wording.Of("nobody has said that %d", 7)); got != `<span lang="en">nobody has said that 7</span>` {
		t.Errorf("got %s", got)
	}
}

// values are the texts of the API that are no sentences: names, states that have their
// words, and what people and devices have typed.
var values = regexp.MustCompile(`^(Status\.(Site|Version|Uplink|UplinkWhy|OpenFiskal|MQTT|Page)|Claim\..*|Register\.State|Register\.RegisterID|Condition\.(Code|Affected)|` +
	`Device\.(DeviceID|RegisterID|Kind|Label|State|Remote|Key|KeyHint|Queue)|WaitingSale\..*|CertificateInfo\..*|Sale\..*|StoryEvent\..*|StoryCall\..*|StoryAnswer\..*|StoryReceipt\..*|StoryDecision\..*|` +
	`StoryPart\.What|StoryItem\.(ID|Event|Step|Code|Class|RequestID|Body)|StoryAttempt\.(Step|Class|Code|RequestID|Body)|QuarantineRequest\..*|QuarantineAnswer\..*|` +
	`QuarantineItem\.(ID|DeviceID|RegisterID|SaleID|Event|Step|State|Code|Allowed|Decision|DecidedBy|DecisionReason|Operation|Payload)|` +
	`Credentials\.(DeviceID|Username|Password|MQTTURL|CAFile|Key)|ClientCertificate\..*|KeyResult\.(RegisterID|Key)|KeyCheck\.(RegisterID|State|KeyHint|Verdict)|` +
	`Check\.(Check|State|FixOf|Fill)|Person\..*|AddedPerson\..*|AuditEntry\.(Who|Subject)|Setting\.(Key|Value|Source|Where|Default|Kind)|SettingChange\..*|` +
	`SettingsTrial\.By|SettingRefused\.Key|SettingsPreview\.Effects|SettingsRecord\.(What|By)|Explanation\.(Subject|Kind)|Detail\.(What|Class|RequestID)|Sentence\.Text|RawMessage.*)$`)

// inEnglish puts a text that nobody has translated into every field that is a sentence.
func inEnglish(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			inEnglish(v.Elem(), v.Elem().Type().Name())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Type.PkgPath() != "time" {
				inEnglish(v.Field(i), v.Type().Name()+"."+f.Name)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			e := v.Index(i)
			if e.Kind() == reflect.Struct {
				inEnglish(e, e.Type().Name())
			} else {
				inEnglish(e, name)
			}
		}
	case reflect.String:
		if !values.MatchString(name) {
			v.SetString("ENGLISH " + name)
		}
	}
}

func englishOf[T any](v T, err error) (T, error) {
	inEnglish(reflect.ValueOf(&v), "")
	return v, err
}

// foreign is a Backend all of whose sentences are in no language but English.
type foreign struct{ *memory }

func (f foreign) Status(ctx context.Context) (admin.Status, error) {
	st, err := f.memory.Status(ctx)
	st.Conditions = nil
	for code := range conditionsInGerman {
		st.Conditions = append(st.Conditions, health.Condition{Code: code, Severity: health.Attention, Affected: "pump-01", Since: moment})
	}
	st.Conditions = append(st.Conditions, health.Condition{Code: "of_a_newer_gateway", Severity: health.Attention, Since: moment})
	for _, state := range []string{"waiting", "retrying", "blocked"} {
		st.Registers = append(st.Registers, admin.Register{RegisterID: "reg_2", State: state, Since: moment})
	}
	return englishOf(st, err)
}
func (f foreign) Devices(ctx context.Context) ([]admin.Device, error) {
	return englishOf(f.memory.Devices(ctx))
}
func (f foreign) Device(ctx context.Context, id sale.DeviceID) (admin.Device, error) {
	return englishOf(f.memory.Device(ctx, id))
}
func (f foreign) Explain(ctx context.Context, s string) (admin.Explanation, error) {
	return englishOf(f.memory.Explain(ctx, s))
}
func (f foreign) SaleStory(ctx context.Context, d sale.DeviceID, id string, payloads bool) (admin.SaleStory, error) {
	s, err := f.memory.SaleStory(ctx, d, id, payloads)
	s.Parts = append(s.Parts, admin.StoryPart{At: moment, What: "news"})
	return englishOf(s, err)
}
func (f foreign) Quarantine(ctx context.Context, q admin.QuarantineFilter) ([]admin.QuarantineItem, error) {
	return englishOf(f.memory.Quarantine(ctx, q))
}
func (f foreign) QuarantineItem(ctx context.Context, id string) (admin.QuarantineItem, error) {
	return englishOf(f.memory.QuarantineItem(ctx, id))
}
func (f foreign) RequestKey(ctx context.Context, q admin.KeyRequest, by string) (admin.KeyResult, error) {
	return englishOf(f.memory.RequestKey(ctx, q, by))
}
func (f foreign) CheckKey(ctx context.Context, of admin.KeyOf) ([]admin.KeyCheck, error) {
	return englishOf(f.memory.CheckKey(ctx, of))
}
func (f foreign) RenewPassword(ctx context.Context, id sale.DeviceID, by string) (admin.Credentials, error) {
	return englishOf(f.memory.RenewPassword(ctx, id, by))
}
func (f foreign) Doctor(ctx context.Context, v string) ([]admin.Check, error) {
	return englishOf(f.memory.Doctor(ctx, v))
}
func (f foreign) Audit(ctx context.Context, a admin.AuditFilter) ([]admin.AuditEntry, error) {
	return englishOf(f.memory.Audit(ctx, a))
}
func (f foreign) PreviewSettings(ctx context.Context, c admin.SettingsChange) (admin.SettingsPreview, error) {
	return englishOf(f.memory.PreviewSettings(ctx, c))
}
func (f foreign) SettingsHistory(ctx context.Context) ([]admin.SettingsRecord, error) {
	return englishOf(f.memory.SettingsHistory(ctx))
}
func (f foreign) SetKey(context.Context, admin.SetKey, string) (admin.KeyResult, error) {
	return admin.KeyResult{}, &admin.Refusal{Code: "invalid", Message: "ENGLISH Refusal.Message", Remedy: "ENGLISH Refusal.Remedy"}
}

// outsideEnglish gives what a page says, without what it marks as English.
func outsideEnglish(t *testing.T, page []byte) (said, marked string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	depth, from := 0, 0 // from is where an element in English began
	var out, in strings.Builder
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out.String(), in.String()
		}
		if err != nil {
			t.Fatalf("read the page: %v", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
			for _, a := range tok.Attr {
				if a.Name.Local == "lang" && a.Value == "en" && from == 0 {
					from = depth
				}
				if slices.Contains([]string{"title", "aria-label", "placeholder"}, a.Name.Local) && from == 0 {
					out.WriteString(a.Value + "\n")
				}
			}
		case xml.EndElement:
			if depth == from {
				from = 0
			}
			depth--
		case xml.CharData:
			if from > 0 {
				in.WriteString(string(tok) + "\n")
			} else {
				out.WriteString(string(tok) + "\n")
			}
		}
	}
}

// No page in German shows a sentence of the gateway in English, but marked as such.
func TestNoGermanPageSpeaksEnglish(t *testing.T) {
	marks := map[string]bool{}
	mark := regexp.MustCompile(`ENGLISH [A-Za-z]+\.[A-Za-z]+`)
	look := func(method, path string, form url.Values) {
		b := newBrowser(t, "owner")
		b.site.Backend, b.lang = foreign{b.backend}, "de"
		said, marked := outsideEnglish(t, b.ask(method, path, form).Body.Bytes())
		for _, m := range mark.FindAllString(said, -1) {
			t.Errorf("%s %s says in German: %s", method, path, m)
		}
		for _, m := range mark.FindAllString(marked, -1) {
			marks[m] = true
		}
	}
	for pattern := range newBrowser(t, "").site.routes() {
		method, all := paths(pattern)
		for _, path := range all {
			if method == http.MethodGet && !slices.Contains([]string{"/live", "/site-ca.pem", "/export"}, path) {
				look(method, path, nil)
			}
		}
	}
	look(http.MethodGet, "/settings/preview?set.site.name=bad", nil)
	for _, path := range []string{"/doctor", "/devices/pump-01/key", "/devices/pump-01/check", "/devices/pump-01/rotate", "/devices/pump-01/password"} {
		look(http.MethodPost, path, url.Values{"register_key": {"k"}, "platform_key": {"p"}})
	}
	for _, want := range []string{"ENGLISH QuarantineItem.Reason", "ENGLISH Refusal.Message", "ENGLISH Refusal.Remedy", "ENGLISH AuditEntry.What", "ENGLISH Check.Found", "ENGLISH Check.Fix", "ENGLISH SettingRefused.Why",
		"ENGLISH SettingsRecord.Why", "ENGLISH StoryItem.Reason", "ENGLISH StoryAttempt.Detail", "ENGLISH KeyResult.Notice", "ENGLISH Register.Reason", "ENGLISH Condition.Title", "ENGLISH StoryPart.Text"} {
		if !marks[want] {
			t.Errorf("%q was on no page: this test sees less than it says", want)
		}
	}
}

// What the doctor really says has no English left in it, whatever is wrong.
func TestTheDoctorSpeaksGerman(t *testing.T) {
	for _, c := range doctor.Examine(doctor.Facts{}) {
		for name, html := range map[string]template.HTML{"found": german.found(c), "fix": german.fix(c)} {
			if said, marked := outsideEnglish(t, []byte("<p>"+html+"</p>")); marked != "" || strings.TrimSpace(said) == c.Found && c.Found != "." {
				t.Errorf("%s, %s: %s", c.Check, name, html)
			}
		}
	}
}
