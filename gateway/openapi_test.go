package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// described judges what a site answers by the description that it serves.
type described struct {
	t        *testing.T
	site     *testSite
	client   *http.Client
	doc      map[string]any
	compiler *jsonschema.Compiler
	asked    map[string]bool // METHOD /path with a good answer
}

const descriptionAt = "http://edgegw/openapi.json"

func describedSite(t *testing.T, s *testSite) *described {
	t.Helper()
	d := &described{t: t, site: s, client: s.overSocket(), compiler: jsonschema.NewCompiler(), asked: map[string]bool{}}
	_, text := d.send("GET", admin.OpenAPIPath, "", "")
	if err := json.Unmarshal(text, &d.doc); err != nil {
		t.Fatal(err)
	}
	// A name that nobody described is a fault here; a program takes it.
	for _, schema := range d.doc["components"].(map[string]any)["schemas"].(map[string]any) {
		schema.(map[string]any)["additionalProperties"] = false
	}
	strict, err := json.Marshal(d.doc)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(strict))
	if err != nil {
		t.Fatal(err)
	}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(descriptionAt, v); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *described) send(method, path, media, body string) (*http.Response, []byte) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, "http://edgegw"+admin.Prefix+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", media)
	}
	answer, err := d.client.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer, text
}

// operation finds what is said of a method and a path with its values.
func (d *described) operation(method, path string) (template string, op map[string]any) {
	path, _, _ = strings.Cut(path, "?")
	words := strings.Split(path, "/")
	for template, item := range d.doc["paths"].(map[string]any) {
		parts := strings.Split(template, "/")
		same := len(parts) == len(words)
		for i := 0; same && i < len(parts); i++ {
			same = parts[i] == words[i] || strings.HasPrefix(parts[i], "{")
		}
		if op, there := item.(map[string]any)[strings.ToLower(method)].(map[string]any); same && there {
			return template, op
		}
	}
	d.t.Fatalf("%s %s is not described", method, path)
	return "", nil
}

// ask sends, and judges the answer: its status is described, and so is its form.
func (d *described) ask(want int, method, path, body string) []byte {
	d.t.Helper()
	media := "application/json"
	if path == "/import" {
		media = "text/csv"
	}
	answer, text := d.send(method, path, media, body)
	template, op := d.operation(method, path)
	if answer.StatusCode != want {
		d.t.Fatalf("%s %s: %s, want %d: %s", method, path, answer.Status, want, text)
	}
	if want < 300 {
		d.asked[method+" "+template] = true
	}
	if body != "" && media == "application/json" {
		d.judge(method, template, "requestBody", []byte(body), want == 400)
	}
	status, there := op["responses"].(map[string]any)[strconv.Itoa(want)].(map[string]any)
	switch {
	case !there:
		d.t.Errorf("%s %s answers %d, which is not described", method, template, want)
	case status["$ref"] != nil:
		d.matches("#/components/schemas/Refusal", text, false)
	case status["content"] == nil:
		if len(text) > 0 {
			d.t.Errorf("%s %s answers %s; nothing is described", method, template, text)
		}
	case status["content"].(map[string]any)["application/json"] == nil && status["content"].(map[string]any)["application/x-ndjson"] == nil: // a file
		if got := answer.Header.Get("Content-Type"); status["content"].(map[string]any)[got] == nil || len(text) == 0 {
			d.t.Errorf("%s %s answers %d bytes of %s", method, template, len(text), got)
		}
	default:
		for line := range bytes.Lines(text) {
			d.judge(method, template, "responses/"+strconv.Itoa(want), line, false)
		}
		if len(text) == 0 {
			d.t.Errorf("%s %s answers nothing", method, template)
		}
	}
	return text
}

func (d *described) judge(method, template, part string, text []byte, wrong bool) {
	d.t.Helper()
	media := "application~1json"
	if template == "/import" {
		media = "application~1x-ndjson"
	}
	at := fmt.Sprintf("#/paths/%s/%s/%s/content/%s/schema", strings.ReplaceAll(template, "/", "~1"), strings.ToLower(method), part, media)
	at = strings.NewReplacer("{", "%7B", "}", "%7D").Replace(at)
	d.matches(at, text, wrong)
}

func (d *described) matches(at string, text []byte, wrong bool) {
	d.t.Helper()
	schema, err := d.compiler.Compile(descriptionAt + at)
	if err != nil {
		d.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		d.t.Fatalf("%s: %v: %s", at, err, text)
	}
	if err := schema.Validate(v); (err != nil) != wrong {
		d.t.Errorf("%s: %v\n%s", at, err, text)
	}
}

// Every route of a real gateway answers as it is described: with devices, sales,
// items in quarantine and tokens there, and where it refuses.
func TestRealAnswersAreAsDescribed(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	for i := range 3 {
		s.refuse(sandbox.StepComplete, sandbox.Answer)
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprintf(wholeEvent, "s"+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
		hears(t, c, "s"+strconv.Itoa(i), "quarantined")
	}
	if err := c.Publish(topic("pump-01", "sale"), 1, 9, fmt.Sprintf(wholeEvent, "good")); err != nil {
		t.Fatal(err)
	}
	hears(t, c, "good", "completed")
	if err := c.Publish(topic("pump-01", "status"), 1, 10, `{"firmware":"1.2"}`); err != nil {
		t.Fatal(err)
	}
	d := describedSite(t, s)
	d.ask(200, "GET", admin.OpenAPIPath, "")
	d.devices(s)
	d.keys(s)
	d.rest()
	d.ask(200, "GET", "/status", "")
	d.ask(200, "GET", "/history", "")
	d.ask(200, "GET", "/devices", "")
	_, err := s.ring.SetKey(t.Context(), sale.PlatformKey, s.platformKey(), sale.KeyStateActive, "test") // as a site has it that sent with it once
	must(t, err)
	d.ask(204, "DELETE", "/platform-key", "")
	central := newSite(t, sandbox.Options{})
	central.flags["openfiskal.topology"], central.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	central.on()
	defer central.off()
	other := describedSite(t, central)
	other.ask(200, "PUT", "/platform-key", fmt.Sprintf(`{"platform_key":%q}`, central.sandbox.PlatformKey()))
	maps.Copy(d.asked, other.asked)
	maps.Copy(d.asked, settingsAsked(t))

	var missed []string
	for path, item := range d.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if name := strings.ToUpper(method) + " " + path; method != "parameters" && !d.asked[name] {
				missed = append(missed, name)
			}
		}
	}
	if slices.Sort(missed); len(missed) > 0 {
		t.Errorf("no good answer was judged of %v; those were: %v", missed, slices.Sorted(maps.Keys(d.asked)))
	}
}

func (d *described) devices(s *testSite) {
	key := s.sandbox.MustAddRegister("reg_2")
	s.keys = append(s.keys, key)
	d.ask(200, "POST", "/devices", fmt.Sprintf(`{"device_id":"pump-02","register_id":"reg_2","kind":"pump","label":"Pump 2","register_key":%q}`, key))
	d.ask(409, "POST", "/devices", fmt.Sprintf(`{"device_id":"pump-02","register_id":"reg_2","register_key":%q}`, key))
	d.ask(400, "POST", "/devices", `{"device_id":7}`)
	d.ask(200, "POST", "/devices", `{"device_id":"pump-03","register_id":"reg_3","kind":"kiosk","certificate":true}`)
	d.ask(200, "GET", "/devices/pump-01", "")
	d.ask(404, "GET", "/devices/pump-99", "")
	d.ask(204, "POST", "/devices/pump-02/disable", "")
	d.ask(200, "GET", "/devices/pump-02", "")
	d.ask(204, "POST", "/devices/pump-02/enable", "")
	d.ask(200, "POST", "/devices/pump-02/password", "")
	d.ask(200, "POST", "/devices/pump-02/replace", `{"certificate":true}`)
	d.ask(200, "POST", "/devices/pump-02/certificate", "")
	d.ask(204, "POST", "/devices/pump-02/revoke", `{"serial":""}`)
	d.ask(200, "GET", "/devices/pump-02", "")
	d.ask(200, "POST", "/devices/pump-02/identify", "")
	d.ask(404, "POST", "/devices/pump-99/identify", "")
	d.ask(200, "POST", "/devices/pump-01/test", "")
	d.ask(404, "POST", "/devices/pump-99/test", "")
	d.ask(204, "DELETE", "/devices/pump-02/gaps", "")
	d.ask(200, "POST", "/data/acknowledge", "")
	d.ask(204, "DELETE", "/devices/pump-02/cards", "")
	d.ask(200, "GET", "/explain?subject=pump-01", "")
	d.ask(200, "GET", "/explain?subject=pump-01/good", "")
	d.ask(404, "GET", "/explain?subject=nothing", "")
	d.ask(200, "GET", "/doctor?version=1.2.3", "")
	d.ask(400, "GET", "/doctor?version=no_version", "")
	d.ask(200, "POST", "/support-bundle", "")
	d.ask(200, "POST", "/backup", `{"passphrase":"of five words or more"}`)
	d.ask(400, "POST", "/support-bundle?nonsense=1", "")
}

func (d *described) keys(s *testSite) {
	d.ask(422, "PUT", "/devices/pump-02/key", fmt.Sprintf(`{"register_key":%q}`, s.keys[0]))
	d.ask(200, "PUT", "/devices/pump-02/key", fmt.Sprintf(`{"register_key":%q,"unverified":true}`, s.keys[1]))
	d.ask(200, "PUT", "/registers/reg_2/key", fmt.Sprintf(`{"register_key":%q,"unverified":true}`, s.keys[1]))
	for _, of := range []string{"/devices/pump-01", "/registers/reg_pump-01"} {
		d.ask(200, "POST", of+"/key/check", "")
		d.ask(200, "POST", of+"/key/rotate", fmt.Sprintf(`{"platform_key":%q,"organization":"org_sandbox"}`, s.sandbox.PlatformKey()))
	}
	for i, of := range []string{"/devices/kiosk-1", "/registers/reg_bare2"} {
		bare := "reg_bare" + strconv.Itoa(i+1)
		if err := s.sandbox.AddBareRegister(bare); err != nil {
			d.t.Fatal(err)
		}
		d.ask(200, "POST", "/devices", fmt.Sprintf(`{"device_id":"kiosk-%d","register_id":%q,"kind":"kiosk"}`, i+1, bare))
		d.ask(200, "POST", of+"/key/issue", fmt.Sprintf(`{"platform_key":%q,"organization":"org_sandbox"}`, s.sandbox.PlatformKey()))
	}
	d.ask(200, "GET", "/keys", "")
	d.ask(200, "GET", "/audit", "")
	d.ask(200, "GET", "/export?from=2026-11-01T00:00:00Z", "")
	d.ask(400, "GET", "/export?from=yesterday", "")
	d.ask(200, "GET", "/verify", "")
	d.ask(200, "GET", "/verify?head="+strings.Repeat("7", 64), "")
	d.ask(400, "GET", "/verify?head=7", "")
	d.ask(200, "POST", "/recipient", "")
	d.ask(200, "POST", "/recipient", `{"new":true}`)
	d.ask(200, "POST", "/import", "device_id,register_id,kind\npump-05,reg_5,pump\npump-05!,reg_5,pump\n")
	d.ask(400, "POST", "/import", "nonsense")
	d.ask(204, "DELETE", "/devices/pump-05", "")
}

func (d *described) rest() {
	d.ask(200, "GET", "/sales", "")
	d.ask(200, "GET", "/sales?state=quarantined&limit=2&device_id=pump-01", "")
	d.ask(200, "GET", "/sales?amount=7622..8000&from=2026-01-01T00:00:00Z&register_id=reg_pump-01&document_number=2*", "")
	d.ask(400, "GET", "/sales?nonsense=1", "")
	d.ask(200, "GET", "/sales/pump-01/good", "")
	d.ask(200, "GET", "/sales/pump-01/s1?payloads=true", "")
	d.ask(404, "GET", "/sales/pump-01/none", "")
	d.ask(400, "GET", "/sales/pump-01/good?payloads=some", "")
	d.ask(200, "GET", "/quarantine", "")
	d.ask(200, "GET", "/quarantine/1", "")
	d.ask(404, "GET", "/quarantine/99", "")
	d.ask(400, "POST", "/quarantine/1/retry", `{"operation":"op_1"}`)
	d.ask(200, "POST", "/quarantine/1/retry", `{"reason":"the rate is there now"}`)
	d.ask(422, "POST", "/quarantine/2/resolve", `{"reason":"it is there","operation":"op_1"}`)
	d.site.sandbox.SetDown(true) // then the person's word counts
	d.ask(200, "POST", "/quarantine/2/resolve", `{"reason":"it is there","operation":"op_1"}`)
	d.site.sandbox.SetDown(false)
	d.ask(200, "POST", "/quarantine/3/discard", `{"reason":"a test"}`)
	d.ask(409, "POST", "/quarantine/3/discard", `{"reason":"a test"}`)
	d.ask(200, "GET", "/quarantine?state=all", "")
	var made admin.MadeToken
	if err := json.Unmarshal(d.ask(200, "POST", "/tokens", `{"name":"reader","scope":"read","expires_seconds":60}`), &made); err != nil || made.Scope != sale.ScopeRead {
		d.t.Fatalf("%+v, %v", made, err)
	}
	d.ask(200, "POST", "/tokens", `{"name":"scraper","scope":"metrics"}`)
	d.ask(200, "GET", "/tokens", "")
	d.ask(200, "POST", "/people", `{"name":"olga","role":"owner","password":"a long enough password"}`)
	d.ask(200, "POST", "/people", `{"name":"tom","role":"technician","expires_seconds":3600}`)
	d.ask(400, "POST", "/people", `{"name":7}`)
	d.ask(200, "GET", "/people", "")
	d.ask(204, "PUT", "/people/olga/password", `{"password":"another long password"}`)
	if _, err := d.site.Login(d.t.Context(), "olga", secret.FromString("another long password"), sale.Origin{Address: "192.0.2.1", Browser: "Firefox", System: "Linux"}); err != nil {
		d.t.Fatal(err)
	}
	var in []admin.Session
	if err := json.Unmarshal(d.ask(200, "GET", "/sessions", ""), &in); err != nil || len(in) != 1 || in[0].Name != "olga" {
		d.t.Fatalf("%+v, %v", in, err)
	}
	d.ask(204, "DELETE", "/sessions/"+in[0].ID, "")
	d.ask(404, "DELETE", "/sessions/"+in[0].ID, "")
	d.ask(200, "DELETE", "/people/olga/sessions", "")
	d.ask(404, "DELETE", "/people/nobody/sessions", "")
	d.ask(204, "DELETE", "/people/tom", "")
	d.ask(200, "POST", "/people", `{"name":"eva","role":"auditor","expires_seconds":3600}`)
	d.ask(404, "DELETE", "/people/tom", "")
	d.ask(200, "POST", "/claim/reset", "")
	d.ask(409, "POST", "/claim/reset", "")
	d.ask(204, "DELETE", "/tokens/"+made.ID, "")
	d.ask(404, "DELETE", "/tokens/"+made.ID, "")
}

// The examples of docs/api.md are run as they stand.
func TestTheExamplesOfTheAPI(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED: the examples of docs/api.md need %s, which is not installed", tool)
		}
	}
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newAPISite(t)
	defer s.off()
	s.add("pump-01")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.authority.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.pageTLS.Addr().String())
	env := append(os.Environ(), "BOX=https://localhost:"+port+"/api/v1", "CA="+ca, "DATA_DIR="+s.dir, "NO_PROXY=*",
		"READ="+s.token("reader", sale.ScopeRead, 0).Secret, "PROVISION="+s.token("back-office", sale.ScopeProvision, 0).Secret)
	asked := 0
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		c := exec.CommandContext(t.Context(), "bash", "-euc", block)
		c.Env, c.Dir = env, t.TempDir()
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v:\n%s\n%s", err, block, out)
		}
		asked += strings.Count(block, "curl ")
		for line := range strings.Lines(string(out)) {
			if !json.Valid([]byte(line)) {
				t.Errorf("answers %s to\n%s", line, block)
			}
		}
	}
	if d, err := s.Device(t.Context(), "pump-07"); err != nil || d.Label != "Pump 7" || asked < 6 {
		t.Errorf("after %d examples pump-07 is %+v, %v", asked, d, err)
	}
}

// Every operation that is described, over real TLS: refused without a token, with
// one that does not open it, sent by another page, and after too many tokens in
// vain; and nothing has changed. Those that are meant for the box only are refused
// to every token.
func TestEveryDescribedRouteIsRefusedToOthers(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	s.add("pump-01")
	tokens := map[sale.Scope]string{}
	for _, scope := range sale.Scopes {
		tokens[scope] = s.token(string(scope), scope, 0).Secret
	}
	doc := describedSite(t, s.testSite).doc
	before, err := s.Device(t.Context(), "pump-01")
	if err != nil {
		t.Fatal(err)
	}
	trail := len(s.trail("token:read")) + len(s.trail("token:metrics")) + len(s.trail("token:provision"))
	client, writes := s.program(true), 0
	refused := func(why string, r reply, status int, code string) {
		t.Helper()
		if r.StatusCode != status || r.code() != code {
			t.Errorf("%s %s: %s %s, want %d %s", r.Request.Method, r.Request.URL.Path+" "+why, r.Status, r.text, status, code)
		}
	}
	type op struct {
		method, url, body string
		scopes            []sale.Scope
	}
	var all []op
	for path, item := range doc["paths"].(map[string]any) {
		for method, about := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			o := op{method: strings.ToUpper(method), url: s.secure(admin.Prefix + strings.NewReplacer("{id}", "pump-01", "{device}", "pump-01", "{register}", "reg_pump-01", "{token}", "AAAAAAAA", "{session}", "AAAAAAAA", "{sale}", "s1").Replace(path))}
			for _, scope := range about.(map[string]any)["x-edgegw-scopes"].([]any) {
				o.scopes = append(o.scopes, sale.Scope(scope.(string)))
			}
			if o.method != "GET" {
				writes++
				o.body = "{}"
			}
			all = append(all, o)
		}
	}
	for _, o := range all {
		if o.method == "GET" {
			continue // a page may have it asked, without the token, and cannot read what comes
		}
		refused("from another page", s.ask(client, o.method, o.url, tokens[sale.ScopeProvision], o.body, "Origin", "https://elsewhere.test", "Sec-Fetch-Site", "cross-site"), 403, "cross_origin")
	}
	for _, o := range all {
		for _, scope := range sale.Scopes {
			r := s.ask(client, o.method, o.url, tokens[scope], o.body)
			if opens := slices.Contains(o.scopes, scope); !opens {
				refused("with scope "+string(scope), r, 403, "scope")
			} else if r.StatusCode == 401 || r.StatusCode == 403 {
				t.Errorf("%s %s with scope %s: %s", o.method, o.url, scope, r.Status)
			}
		}
	}
	locked := 0
	for i, o := range slices.Concat(all, all) {
		token := "edgegw_AAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBB"
		if i%2 == 0 {
			token = ""
		}
		r := s.ask(client, o.method, o.url, token, o.body)
		if r.StatusCode == 429 { // one request a second is still told that its token is wrong
			refused("after too many", r, 429, "too_many")
			locked++
		} else {
			refused("without a right token", r, 401, "token")
		}
	}
	if locked < len(all) {
		t.Errorf("%d of %d requests without a right token were locked out", locked, 2*len(all))
	}
	if r := s.ask(client, "GET", s.secure("/api/v1/status"), tokens[sale.ScopeRead], ""); r.StatusCode != 200 {
		t.Errorf("the right token is locked out with the others: %s", r.Status)
	}
	after, err := s.Device(t.Context(), "pump-01")
	if err != nil || after.State != before.State || after.Key != before.Key || writes < 20 {
		t.Errorf("after %d writes that were refused pump-01 is %+v, before %+v, %v", writes, after, before, err)
	}
	if now := len(s.trail("token:read")) + len(s.trail("token:metrics")) + len(s.trail("token:provision")); now != trail {
		t.Errorf("the audit trail has %d lines of tokens, before %d", now, trail)
	}
}
