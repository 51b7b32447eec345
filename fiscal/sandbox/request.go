package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// request is one request on its way through the rules.
type request struct {
	method string
	path   string // escaped, with /v1
	query  url.Values
	header http.Header
	body   []byte
	route  *route
	step   Step
	allow  []string // methods of the path, where only the method was wrong
	vars   map[string]string

	rec   *recorder
	fault Fault
	now   time.Time
	reg   *register // the register the request is about
	op    *operation
	owner *register // the register whose key came; nil for the platform key
}

// handler answers a request that passed every general rule. The lock is held.
type handler func(*Service, *request) (status int, body any, err *fail)

type route struct {
	method   string
	pattern  []string
	step     Step
	platform bool     // the platform key only
	mutates  bool     // needs an Idempotency-Key
	body     bool     // carries a JSON object
	query    []string // parameters it knows
	do       handler
}

func newRoute(method, pattern string, step Step, do handler, query ...string) *route {
	return &route{method: method, pattern: strings.Split(pattern, "/"), step: step, do: do, query: query,
		mutates: method != http.MethodGet, body: method != http.MethodGet}
}

func platformRoute(method, pattern string, do handler, query ...string) *route {
	r := newRoute(method, pattern, StepPlatform, do, query...)
	r.platform, r.mutates = true, false
	return r
}

var routes = makeRoutes()

func makeRoutes() []*route {
	rotate := platformRoute("POST", "/v1/registers/{register}/credentials/rotate", (*Service).rotate)
	rotate.body = false // OPENFISKAL.md section 7: no request body
	return []*route{
		newRoute("POST", "/v1/registers/{register}/sales", StepStart, (*Service).start),
		newRoute("PATCH", "/v1/sales/{operation}", StepUpdate, (*Service).update),
		newRoute("POST", "/v1/sales/{operation}/complete", StepComplete, (*Service).complete),
		newRoute("POST", "/v1/sales/{operation}/cancel", StepCancel, (*Service).cancel),
		newRoute("GET", "/v1/sales/{operation}", StepLookup, (*Service).retrieve),
		newRoute("GET", "/v1/registers/{register}/sales", StepLookup, (*Service).list, "limit", "cursor"),
		newRoute("GET", "/v1/registers/{register}/operations", StepLookup, (*Service).list, "limit", "cursor"),
		newRoute("GET", "/v1/registers/{register}", StepProbe, (*Service).showRegister),
		newRoute("GET", "/v1/operations/{operation}/receipt", StepReceipt, (*Service).receipt),
		platformRoute("POST", "/v1/organizations", (*Service).createOrganization),
		platformRoute("POST", "/v1/organizations/{organization}/locations", (*Service).createLocation),
		platformRoute("POST", "/v1/locations/{location}/registers", (*Service).createRegister),
		platformRoute("POST", "/v1/registers/{register}/fiscal-units", (*Service).createUnit),
		platformRoute("GET", "/v1/registers/{register}/fiscal-units", (*Service).listUnits),
		rotate,
	}
}

// newRequest finds the route. It needs neither the lock nor the body.
func (s *Service) newRequest(r *http.Request) *request {
	q := &request{method: r.Method, path: r.URL.EscapedPath(), header: r.Header, step: StepUnknown}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		query = url.Values{"?": {r.URL.RawQuery}} // no route knows it
	}
	q.query = query
	parts := strings.Split(q.path, "/")
	for _, v := range routes {
		vars, ok := v.match(parts)
		if !ok {
			continue
		}
		if v.method != r.Method {
			q.allow = append(q.allow, v.method)
			continue
		}
		q.route, q.step, q.vars = v, v.step, vars
		break
	}
	return q
}

func (v *route) match(parts []string) (map[string]string, bool) {
	if len(parts) != len(v.pattern) {
		return nil, false
	}
	vars := map[string]string{}
	for i, p := range v.pattern {
		if strings.HasPrefix(p, "{") {
			if !validID(parts[i]) {
				return nil, false
			}
			vars[strings.Trim(p, "{}")] = parts[i]
		} else if p != parts[i] {
			return nil, false
		}
	}
	return vars, true
}

// registerOf names the register a request is about, for fault rules and the
// ledger; "" where it cannot be known. The lock is held.
func (s *Service) registerOf(q *request) string {
	if id := q.vars["register"]; id != "" {
		return id
	}
	if op := s.ops[q.vars["operation"]]; op != nil {
		return op.register.id
	}
	if r := s.keys[q.header.Get(headerRegisterKey)]; r != nil {
		return r.id
	}
	return ""
}

// process applies the general rules, then the route's own, and notes the end.
func (s *Service) process(q *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.now = time.Now()
	q.body = q.rec.r.Body
	status, body, outcome, err := s.decide(q)
	a := answer{status: status, header: http.Header{}, body: body}
	code := ""
	if err != nil {
		a.status, a.body, outcome, code = err.status, err.envelope(q.rec.id()), "refused", err.code
		if len(q.allow) > 0 {
			a.header.Set("Allow", strings.Join(q.allow, ", "))
		}
	}
	a.header.Set("Content-Type", "application/json")
	a.header.Set(headerRequestID, q.rec.id())
	q.rec.note(q, outcome, a.status, code)
	s.opt.Log.Debug("request", "method", q.method, "path", q.path, "status", a.status, "outcome", outcome, "code", code)
	return a
}

func (s *Service) decide(q *request) (status int, body []byte, outcome string, err *fail) {
	if err := s.admit(q); err != nil {
		return 0, nil, "", err
	}
	key, err := s.idempotency(q)
	if err != nil {
		return 0, nil, "", err
	}
	if e, known := s.memory[key]; known {
		if e.method != q.method || e.path != q.path || e.sum != sha256.Sum256(q.body) {
			return 0, nil, "", &fail{status: http.StatusConflict, code: "idempotency_key_conflict", param: headerIdempotency,
				message: "This idempotency key was used for another request."}
		}
		return e.status, e.body, "replayed", nil
	}
	status, view, err := q.route.do(s, q)
	if err != nil {
		return 0, nil, "", err
	}
	body, jerr := json.Marshal(view)
	if jerr != nil {
		panic("sandbox: render an answer: " + jerr.Error())
	}
	if key.key != "" {
		s.remember(key, q, status, body)
	}
	return status, body, "processed", nil
}

// admit checks path, method, credential, rights and form, in that order.
func (s *Service) admit(q *request) *fail {
	switch {
	case q.route == nil && len(q.allow) > 0:
		return &fail{status: http.StatusMethodNotAllowed, code: "method_not_allowed", message: "This path does not know the method."}
	case q.route == nil:
		return notFound("not_found", "There is no such path.")
	}
	if err := s.authenticate(q); err != nil {
		return err
	}
	if err := s.authorize(q); err != nil {
		return err
	}
	for name, v := range q.query {
		known := false
		for _, k := range q.route.query {
			known = known || k == name
		}
		if !known || len(v) != 1 {
			return invalid(name, "This query parameter is not known here, or stands twice.")
		}
	}
	return q.checkForm()
}

func (q *request) checkForm() *fail {
	if !q.route.body {
		if len(q.body) > 0 {
			return invalid("", "This request takes no body.")
		}
		return nil
	}
	if len(q.body) > maxBody {
		return &fail{status: http.StatusRequestEntityTooLarge, code: "body_too_large", message: "The body is larger than 1 MiB."}
	}
	media, params, err := mime.ParseMediaType(q.header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &fail{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", param: "Content-Type",
			message: "The body must be application/json."}
	}
	return nil
}

// authenticate finds out who asks. Exactly one credential header may stand.
func (s *Service) authenticate(q *request) *fail {
	regKeys, bearers := q.header.Values(headerRegisterKey), q.header.Values("Authorization")
	switch {
	case len(regKeys)+len(bearers) > 1:
		return invalid(headerRegisterKey, "Send one credential header, not several.")
	case len(regKeys) == 1:
		if q.owner = s.keys[regKeys[0]]; q.owner == nil || regKeys[0] == "" {
			return unauthorized()
		}
		return nil
	case len(bearers) == 1 && bearers[0] == "Bearer "+s.platform:
		return nil
	}
	return unauthorized()
}

// authorize finds what the request is about and whether the caller may see it.
func (s *Service) authorize(q *request) *fail {
	org := q.header.Get(headerOrganization)
	switch {
	case q.owner != nil && q.route.platform:
		return forbidden("A register key cannot reach administrative endpoints.")
	case q.owner != nil && org != "":
		return invalid(headerOrganization, "A register key takes no organization header.")
	}
	if id := q.vars["register"]; id != "" {
		q.reg = s.registers[id]
		if q.reg == nil || q.reg.unknown {
			return notFound("register_not_found", "There is no register "+id+".")
		}
	}
	if id := q.vars["operation"]; id != "" {
		q.op = s.ops[id]
		if q.op == nil || q.owner != nil && q.op.register != q.owner {
			return notFound("operation_not_found", "There is no operation "+id+".")
		}
		q.reg = q.op.register
	}
	switch {
	case q.reg == nil:
		return nil
	case q.owner != nil && q.reg != q.owner:
		return forbidden("This key belongs to another register.")
	case q.owner == nil && org == "":
		return invalid(headerOrganization, "A platform key names the organization it acts for.")
	case q.owner == nil && org != q.reg.location.org.id:
		return forbidden("The register belongs to another organization.")
	}
	return nil
}

// idemKey is the scope of an idempotency key: one register, or the platform.
type idemKey struct{ owner, key string }

type idemEntry struct {
	method, path string
	sum          [sha256.Size]byte
	status       int
	body         []byte
	at           time.Time
}

// idempotency checks the header and drops what is past its retention.
func (s *Service) idempotency(q *request) (idemKey, *fail) {
	for len(s.memoryAge) > 0 && q.now.Sub(s.memory[s.memoryAge[0]].at) >= s.opt.Retention {
		delete(s.memory, s.memoryAge[0])
		s.memoryAge = s.memoryAge[1:]
	}
	values := q.header.Values(headerIdempotency)
	switch {
	case len(values) == 0 && !q.route.mutates:
		return idemKey{}, nil
	case len(values) != 1 || !validUUID(values[0]):
		return idemKey{}, invalid(headerIdempotency, "Send one Idempotency-Key, a UUID.")
	case !q.route.mutates:
		return idemKey{}, nil
	}
	return idemKey{q.reg.id, strings.ToLower(values[0])}, nil
}

func (s *Service) remember(k idemKey, q *request, status int, body []byte) {
	if _, known := s.memory[k]; known || s.opt.Idempotency == Ignore {
		return
	}
	s.memory[k] = idemEntry{q.method, q.path, sha256.Sum256(q.body), status, bytes.Clone(body), q.now}
	s.memoryAge = append(s.memoryAge, k)
}

// validID keeps ids to what can stand in a path as it is.
func validID(id string) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}
