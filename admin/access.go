package admin

import (
	"context"
	"net/http"

	"edgegw/sale"
	"edgegw/secret"
)

// route is one method of one path, who may use it, and what is said of it.
type route struct {
	handle http.HandlerFunc
	access access
	about  about
}

// access says which tokens open a route. The zero value opens it to none, and a
// test finds it: whoever adds a route decides. The commands' socket needs no
// token.
type access uint8

const (
	socketOnly      access = 1 << iota // no token, whatever its scope
	withMetrics                        // tokens of scope metrics
	withRead                           // tokens of scope read
	withProvision                      // tokens of scope provision
	readOrProvision = withRead | withProvision
	anyToken        = withMetrics | withRead | withProvision
)

// accessToMetrics is that of MetricsPath, which stands beside the API.
const accessToMetrics = withMetrics | withRead

// MetricsPath is where metrics are served.
const MetricsPath = "/metrics"

// HealthPath says whether the gateway does its job, to whoever asks (CONTRACT.md
// section 7).
const HealthPath = "/healthz"

var accessOf = map[sale.Scope]access{sale.ScopeMetrics: withMetrics, sale.ScopeRead: withRead, sale.ScopeProvision: withProvision}

// opens reports whether a token of the scope opens the route.
func (a access) opens(s sale.Scope) bool { return a&socketOnly == 0 && a&accessOf[s] != 0 }

// Caller is who a token belongs to.
type Caller struct {
	Name  string
	Scope sale.Scope
}

type callerKey struct{}

// Remote serves the API below Prefix and the metrics on MetricsPath to programs
// that show a token, each what its scope opens. check judges the token of a
// request; its refusal is all that is answered without one, whatever the path.
func Remote(b Backend, metrics http.Handler, check func(*http.Request) (Caller, *Refusal)) http.Handler {
	mux := newMux(api{b}, within)
	mux.HandleFunc(http.MethodGet+" "+MetricsPath, within(route{handle: metrics.ServeHTTP, access: accessToMetrics}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		caller, f := check(r)
		if f != nil {
			TurnAway(w, r, f)
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	})
}

// within lets a token do what its scope opens.
func within(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, _ := r.Context().Value(callerKey{}).(Caller)
		if !rt.access.opens(caller.Scope) {
			TurnAway(w, r, outsideScope(rt.access))
			return
		}
		rt.handle(w, r)
	}
}

func outsideScope(a access) *Refusal {
	remedy := "This is done on the box itself, with the edgegw command."
	for _, s := range sale.Scopes {
		if a.opens(s) {
			remedy = "Use a token of scope " + string(s) + ": edgegw token add NAME --scope " + string(s)
		}
	}
	return &Refusal{Code: "scope", Message: "the scope of this token does not open that", Remedy: remedy}
}

// TurnAway answers a request without reading its body, in which a key may be. The
// connection ends where there is one: the server would read on for the next
// request.
func TurnAway(w http.ResponseWriter, r *http.Request, f *Refusal) {
	w.Header().Set("Cache-Control", "no-store")
	if f.Code == CodeToken {
		w.Header().Set("WWW-Authenticate", `Bearer realm="edgegw"`)
	}
	if f.Code == CodeTooMany {
		w.Header().Set("Retry-After", "60")
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	fail(w, f, secret.Text{})
}

// Codes of refusals at the door.
const (
	CodeToken       = "token"        // no token, or one that opens nothing
	CodeTLSRequired = "tls_required" // a key must not cross a network in clear
	CodeCrossOrigin = "cross_origin" // a browser was sent here by another page
	CodeTooMany     = "too_many"     // tokens in vain from that address, or the same again too soon
)
