package admin

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"edgegw/sale"
)

// opened is what each route may be used with, written down a second time: who
// changes one must mean it.
var opened = map[string][]sale.Scope{
	"GET /metrics": {sale.ScopeMetrics, sale.ScopeRead},

	"GET /api/v1/openapi.json": {sale.ScopeMetrics, sale.ScopeRead, sale.ScopeProvision},
	"GET /api/v1/status":       {sale.ScopeRead, sale.ScopeProvision},
	"GET /api/v1/devices":      {sale.ScopeRead, sale.ScopeProvision},
	"GET /api/v1/devices/{id}": {sale.ScopeRead, sale.ScopeProvision},

	"GET /api/v1/history":               {sale.ScopeRead},
	"GET /api/v1/explain":               {sale.ScopeRead},
	"GET /api/v1/doctor":                {sale.ScopeRead},
	"GET /api/v1/sales":                 {sale.ScopeRead},
	"GET /api/v1/sales/{device}/{sale}": {sale.ScopeRead},
	"GET /api/v1/quarantine":            {sale.ScopeRead},
	"GET /api/v1/quarantine/{id}":       {sale.ScopeRead},
	"GET /api/v1/keys":                  {sale.ScopeRead},
	"GET /api/v1/audit":                 {sale.ScopeRead},
	"GET /api/v1/export":                {sale.ScopeRead},
	"GET /api/v1/verify":                {sale.ScopeRead},

	"POST /api/v1/devices":           {sale.ScopeProvision},
	"PUT /api/v1/devices/{id}/key":   {sale.ScopeProvision},
	"PUT /api/v1/registers/{id}/key": {sale.ScopeProvision},
	"POST /api/v1/import":            {sale.ScopeProvision},

	"DELETE /api/v1/devices/{id}":                  nil,
	"POST /api/v1/data/acknowledge":                nil,
	"DELETE /api/v1/devices/{id}/gaps":             nil,
	"DELETE /api/v1/devices/{id}/cards":            nil,
	"POST /api/v1/devices/{id}/disable":            nil,
	"POST /api/v1/devices/{id}/enable":             nil,
	"POST /api/v1/devices/{id}/identify":           nil,
	"POST /api/v1/devices/{id}/test":               nil,
	"POST /api/v1/devices/{id}/password":           nil,
	"POST /api/v1/devices/{id}/replace":            nil,
	"POST /api/v1/devices/{id}/certificate":        nil,
	"POST /api/v1/devices/{id}/revoke":             nil,
	"POST /api/v1/devices/{device}/key/check":      nil,
	"POST /api/v1/devices/{device}/key/issue":      nil,
	"POST /api/v1/devices/{device}/key/rotate":     nil,
	"POST /api/v1/registers/{register}/key/check":  nil,
	"POST /api/v1/registers/{register}/key/issue":  nil,
	"POST /api/v1/registers/{register}/key/rotate": nil,
	"PUT /api/v1/platform-key":                     nil,
	"DELETE /api/v1/platform-key":                  nil,
	"POST /api/v1/backup":                          nil,
	"POST /api/v1/recipient":                       nil,
	"POST /api/v1/support-bundle":                  nil,
	"POST /api/v1/quarantine/{id}/retry":           nil,
	"POST /api/v1/quarantine/{id}/resolve":         nil,
	"POST /api/v1/quarantine/{id}/discard":         nil,
	"GET /api/v1/tokens":                           nil,
	"POST /api/v1/tokens":                          nil,
	"DELETE /api/v1/tokens/{token}":                nil,
	"GET /api/v1/people":                           nil,
	"POST /api/v1/people":                          nil,
	"DELETE /api/v1/people/{name}":                 nil,
	"PUT /api/v1/people/{name}/password":           nil,
	"DELETE /api/v1/people/{name}/sessions":        nil,
	"POST /api/v1/claim/reset":                     nil,
	"GET /api/v1/sessions":                         nil,
	"DELETE /api/v1/sessions/{session}":            nil,
	"GET /api/v1/settings":                         nil,
	"PUT /api/v1/settings":                         nil,
	"POST /api/v1/settings/preview":                nil,
	"POST /api/v1/settings/confirm":                nil,
	"POST /api/v1/settings/undo":                   nil,
	"GET /api/v1/settings/history":                 nil,
}

// Every route says who may use it, and no route says two things at once.
func TestEveryRouteHasItsAccess(t *testing.T) {
	routes := map[string]access{"GET " + MetricsPath: accessToMetrics}
	for path, methods := range (api{&memory{}}).routes() {
		for method, rt := range methods {
			routes[method+" "+Prefix+path] = rt.access
		}
	}
	for name, a := range routes {
		want, known := opened[name]
		if !known {
			t.Errorf("%s is not in this test's table", name)
		}
		if a == 0 || a&socketOnly != 0 && a != socketOnly {
			t.Errorf("%s: nobody decided who may use it (%04b)", name, a)
		}
		for _, s := range sale.Scopes {
			if a.opens(s) != slices.Contains(want, s) {
				t.Errorf("%s with scope %s: opens %v", name, s, a.opens(s))
			}
		}
		if a.opens("") || a.opens("admin") {
			t.Errorf("%s opens for a scope that is none", name)
		}
	}
	for name := range opened {
		if _, there := routes[name]; !there {
			t.Errorf("there is no %s", name)
		}
	}
}

// remote serves what tokens open over real HTTP. The test's tokens are their
// scopes.
func remote(t *testing.T) (*memory, string) {
	t.Helper()
	m := &memory{keys: map[sale.DeviceID]string{}, devices: []Device{{DeviceID: "pump-1"}}}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "edgegw_up 1\n") })
	s := httptest.NewServer(Remote(m, metrics, func(r *http.Request) (Caller, *Refusal) {
		scope := sale.Scope(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if !scope.Valid() {
			return Caller{}, &Refusal{Code: CodeToken, Message: "there is no token that opens this"}
		}
		return Caller{Name: "t-" + string(scope), Scope: scope}, nil
	}))
	t.Cleanup(s.Close)
	return m, s.URL
}

func ask(t *testing.T, method, url, token, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(HeaderBy, "somebody else")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// Each route with each scope, over HTTP: 403 outside the scope, and never a change.
func TestScopesOverHTTP(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(opened)) {
		method, path, _ := strings.Cut(name, " ")
		path = strings.NewReplacer("{id}", "pump-1", "{device}", "pump-1", "{register}", "reg_1", "{token}", "AAAAAAAA", "{session}", "AAAAAAAA").Replace(path)
		for _, scope := range append([]sale.Scope{""}, sale.Scopes...) {
			m, url := remote(t)
			answer, text := ask(t, method, url+path, string(scope), "{}")
			got := refusalCode(refused(answer.StatusCode, []byte(text)))
			opens := slices.Contains(opened[name], scope)
			switch {
			case scope == "" && (answer.StatusCode != http.StatusUnauthorized || got != CodeToken || answer.Header.Get("WWW-Authenticate") == ""):
				t.Errorf("%s without a token: %s %s", name, answer.Status, text)
			case scope != "" && !opens && (answer.StatusCode != http.StatusForbidden || got != "scope"):
				t.Errorf("%s with scope %s: %s %s", name, scope, answer.Status, text)
			case opens && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
				t.Errorf("%s with scope %s: %s %s", name, scope, answer.Status, text)
			}
			if answer.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s with scope %q may be kept by a cache", name, scope)
			}
			if !opens && (len(m.who) > 0 || len(m.requested) > 0 || len(m.decided) > 0 || len(m.devices) != 1) {
				t.Errorf("%s with scope %q did something: %+v", name, scope, m.requested)
			}
		}
	}
}

// Without a token nobody learns which paths there are.
func TestNoDirectoryWithoutAToken(t *testing.T) {
	_, url := remote(t)
	var first string
	for _, what := range []string{"GET /api/v1/status", "GET /api/v1/nothing", "DELETE /api/v1/status", "GET /", "OPTIONS /api/v1/devices", "GET /metrics", "GET /api/v1//status", "PUT /metrics"} {
		method, path, _ := strings.Cut(what, " ")
		answer, text := ask(t, method, url+path, "", "")
		answer.Header.Del("Date")
		got := fmt.Sprint(answer.Status, answer.Header, text)
		if first == "" {
			first = got
		}
		if got != first || answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s, want %s", what, got, first)
		}
	}
}

func TestAChangeByATokenHasItsName(t *testing.T) {
	m, url := remote(t)
	answer, text := ask(t, http.MethodPut, url+"/api/v1/devices/pump-1/key", "provision", `{"register_key":"ofk_reg_test_1","unverified":true}`)
	if answer.StatusCode != http.StatusOK || len(m.who) != 1 || m.who[0] != "token:t-provision" {
		t.Errorf("%s %s: the audit trail names %q", answer.Status, text, m.who)
	}
}

// A handler that reads on would take the key of a request that it turns away.
func TestTurnAwayReadsNoBody(t *testing.T) {
	body := &counting{Reader: strings.NewReader(`{"register_key":"ofk_reg_live_x"}`)}
	r := httptest.NewRequest(http.MethodPost, "/api/v1/devices", body)
	w := httptest.NewRecorder()
	TurnAway(w, r, &Refusal{Code: CodeTLSRequired, Message: "m"})
	if body.read != 0 || w.Header().Get("Connection") != "close" || w.Code != http.StatusForbidden {
		t.Errorf("%d bytes read, %d %v", body.read, w.Code, w.Header())
	}
}

type counting struct {
	io.Reader
	read int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += n
	return n, err
}

func TestTokensOverTheSocket(t *testing.T) {
	m, path, said := serve(t)
	c := dial(t, path)
	made, err := c.AddToken(t.Context(), NewToken{Name: "back-office", Scope: sale.ScopeProvision, Seconds: 60}, "cli:me")
	if err != nil || made.Secret != "edgegw_once" || made.ID != "AAAAAAAA" || made.Scope != sale.ScopeProvision || len(m.requested) != 1 || m.requested[0] != "token back-office provision 60" {
		t.Errorf("made %+v, %v; arrived %q", made, err, m.requested)
	}
	if !bytes.Contains(said.Bytes(), []byte("Cache-Control:[no-store]")) {
		t.Error("a token may be kept by a cache")
	}
	all, err := c.Tokens(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "back-office" {
		t.Errorf("listed %+v, %v", all, err)
	}
	if err := c.RemoveToken(t.Context(), "AAAAAAAA", "cli:me"); err != nil || m.who[len(m.who)-1] != "cli:me" {
		t.Errorf("removed: %v, %q", err, m.who)
	}
	for _, id := range []string{"", "edgegw_AAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBB", "../x", "BBBBBBBB"} {
		if err := c.RemoveToken(t.Context(), id, ""); refusalCode(err) != "not_found" {
			t.Errorf("%q: %v", id, err)
		}
	}
}
