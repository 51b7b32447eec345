package admin

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"edgegw/card"
	"edgegw/sale"
	"edgegw/secret"
)

// Handler serves the API of CONTRACT.md section 7 below /api/v1:
//
//	GET    /api/v1/status
//	GET    /api/v1/devices             POST: adds one; the answer holds its credentials, this once
//	GET    /api/v1/devices/{id}        DELETE: removes it
//	POST   …/disable|enable            refuses the device, and ends that
//	POST   …/password|replace|certificate  new credentials, this once; …/revoke {"serial"} ends certificates
//	PUT    /api/v1/devices/{id}/key    gives its register a new key
//	PUT    /api/v1/registers/{id}/key  gives a register a new key, also where no device has it any more
//	POST   …/key/check                 asks OpenFiskal about the keys that are stored
//	POST   …/key/issue|rotate          {"platform_key","organization"}: asks OpenFiskal for a new key
//	GET    /api/v1/keys                every key on this box, without it: what to rotate when it was stolen
//	PUT    /api/v1/platform-key        {"platform_key"}: the site's, in the server-side topology
//	POST   /api/v1/recipient           what bundles for this box are encrypted to
//	POST   /api/v1/import              CSV or a bundle; a JSON object per row, with credentials, this once
//	DELETE /api/v1/devices/{id}/gaps   forgets the events it counted and never reported
//	DELETE /api/v1/devices/{id}/cards  says that somebody has seen to card data that it sent
//	GET    /api/v1/explain?subject=    one sentence, with what it is made from
//	GET    /api/v1/sales?device_id=&sale_id=&state=&limit=
//	GET    /api/v1/quarantine?state=open|all&device_id=&sale_id=&limit=
//	GET    /api/v1/quarantine/{id}     what was reported, sent and answered, and what may be decided
//	POST   /api/v1/quarantine/{id}/retry|resolve|discard   {"reason","operation"}: decides
//	GET    /api/v1/tokens              POST {"name","scope","expires_seconds"}: makes one, shown this once
//	DELETE /api/v1/tokens/{id}         ends it
//	GET    /api/v1/people              POST {"name","role","password","expires_seconds"}: adds somebody; a PIN is shown this once
//	DELETE /api/v1/people/{name}       ends his access
//	PUT    /api/v1/people/{name}/password   {"password"}
//
// A register key comes in the body, as register_key, and in no other place, and
// no answer holds one. An error is {"code","message","remedy"}. Who may ask is
// the business of whoever serves it: the gateway's socket has mode 0600. Remote
// serves it to others.
func Handler(b Backend) http.Handler {
	return newMux(api{b}, func(rt route) http.HandlerFunc { return rt.handle })
}

// routes is the API, each route with the scopes of tokens that open it.
func (a api) routes() map[string]map[string]route {
	return map[string]map[string]route{
		"/status":             {http.MethodGet: {a.status, readOrProvision}},
		"/devices":            {http.MethodGet: {a.devices, readOrProvision}, http.MethodPost: {a.add, withProvision}},
		"/devices/{id}":       {http.MethodGet: {a.device, readOrProvision}, http.MethodDelete: {a.remove, socketOnly}},
		"/devices/{id}/key":   {http.MethodPut: {a.setDeviceKey, withProvision}},
		"/devices/{id}/gaps":  {http.MethodDelete: {a.deviceAct(a.b.ForgetGaps), socketOnly}},
		"/devices/{id}/cards": {http.MethodDelete: {a.deviceAct(a.b.ForgetCards), socketOnly}},
		"/registers/{id}/key": {http.MethodPut: {a.setRegisterKey, withProvision}},

		"/devices/{id}/disable":     {http.MethodPost: {a.deviceAct(a.b.DisableDevice), socketOnly}},
		"/devices/{id}/enable":      {http.MethodPost: {a.deviceAct(a.b.EnableDevice), socketOnly}},
		"/devices/{id}/password":    {http.MethodPost: {a.renewPassword, socketOnly}},
		"/devices/{id}/replace":     {http.MethodPost: {a.replaceDevice, socketOnly}},
		"/devices/{id}/certificate": {http.MethodPost: {a.issueCertificate, socketOnly}},
		"/devices/{id}/revoke":      {http.MethodPost: {a.revokeCertificate, socketOnly}},

		"/devices/{device}/key/check":      {http.MethodPost: {a.checkKey, socketOnly}},
		"/devices/{device}/key/issue":      {http.MethodPost: {a.requestKey(sale.KeyIssue), socketOnly}},
		"/devices/{device}/key/rotate":     {http.MethodPost: {a.requestKey(sale.KeyRotate), socketOnly}},
		"/registers/{register}/key/check":  {http.MethodPost: {a.checkKey, socketOnly}},
		"/registers/{register}/key/issue":  {http.MethodPost: {a.requestKey(sale.KeyIssue), socketOnly}},
		"/registers/{register}/key/rotate": {http.MethodPost: {a.requestKey(sale.KeyRotate), socketOnly}},
		"/keys":                            {http.MethodGet: {a.forRotation, withRead}},
		"/platform-key":                    {http.MethodPut: {a.setPlatformKey, socketOnly}},
		"/recipient":                       {http.MethodPost: {a.recipient, socketOnly}},
		"/import":                          {http.MethodPost: {a.importFile, withProvision}},
		"/explain":                         {http.MethodGet: {a.explain, withRead}},
		"/sales":                           {http.MethodGet: {a.sales, withRead}},

		"/quarantine":              {http.MethodGet: {a.quarantine, withRead}},
		"/quarantine/{id}":         {http.MethodGet: {a.quarantineItem, withRead}},
		"/quarantine/{id}/retry":   {http.MethodPost: {a.decide(sale.DecisionRetry), socketOnly}},
		"/quarantine/{id}/resolve": {http.MethodPost: {a.decide(sale.DecisionResolve), socketOnly}},
		"/quarantine/{id}/discard": {http.MethodPost: {a.decide(sale.DecisionDiscard), socketOnly}},

		"/tokens":         {http.MethodGet: {a.tokens, socketOnly}, http.MethodPost: {a.addToken, socketOnly}},
		"/tokens/{token}": {http.MethodDelete: {a.removeToken, socketOnly}},

		"/people":                 {http.MethodGet: {a.people, socketOnly}, http.MethodPost: {a.addPerson, socketOnly}},
		"/people/{name}":          {http.MethodDelete: {a.removePerson, socketOnly}},
		"/people/{name}/password": {http.MethodPut: {a.setPassword, socketOnly}},
	}
}

// newMux brings requests to the routes; door stands before each.
func newMux(a api, door func(route) http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	for path, methods := range a.routes() {
		allowed := []string{}
		for method, rt := range methods {
			mux.HandleFunc(method+" "+Prefix+path, door(rt))
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		mux.HandleFunc(Prefix+path, wrongMethod(allowed))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, &Refusal{Code: "not_found", Message: "there is no such path", Remedy: "The paths begin with " + Prefix + "/."}, secret.Text{})
	})
	return mux
}

type api struct{ b Backend }

func wrongMethod(allowed []string) http.HandlerFunc {
	allow := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", allow)
		fail(w, &Refusal{Code: "method", Message: "this path does not know that method", Remedy: "Use " + allow + "."}, secret.Text{})
	}
}

func (a api) status(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	s, err := a.b.Status(r.Context())
	if _, remote := r.Context().Value(callerKey{}).(Caller); remote {
		s.Claim.Code = "" // for those who can reach the box itself
	}
	reply(w, s, err, secret.Text{})
}

func (a api) devices(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Devices(r.Context())
	if all == nil {
		all = []Device{}
	}
	reply(w, all, err, secret.Text{})
}

func (a api) device(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	d, err := a.b.Device(r.Context(), id)
	reply(w, d, err, secret.Text{})
}

func (a api) remove(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	if err := a.b.RemoveDevice(r.Context(), id, by(r)); err != nil {
		fail(w, err, secret.Text{})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a api) add(w http.ResponseWriter, r *http.Request) {
	var add AddDevice
	var key string
	f := query(r)
	if f == nil {
		f = readBody(r,
			field{"device_id", "a string", &add.DeviceID}, field{"register_id", "a string", &add.RegisterID},
			field{"kind", "a string", &add.Kind}, field{"label", "a string", &add.Label},
			field{"register_key", "a string", &key}, field{"unverified", "true or false", &add.Unverified},
			field{"certificate", "true or false", &add.Cert})
	}
	add.Key = secret.FromString(key)
	if f == nil {
		f = add.Check()
	}
	if f != nil {
		fail(w, f, add.Key)
		return
	}
	c, err := a.b.AddDevice(r.Context(), add, by(r))
	if err == nil {
		// The device secret is in this answer: no cache on the way may keep it.
		w.Header().Set("Cache-Control", "no-store")
	}
	reply(w, c, err, add.Key)
}

// Check refuses ids that cannot be before anybody works with them. It quotes
// nothing: a key may stand where an id belongs.
func (add AddDevice) Check() *Refusal {
	switch {
	case !add.DeviceID.Valid():
		return invalid("device_id is not the id of a device", "It has 1 to 63 of a-z, 0-9 and -, does not begin with -, and is not site.")
	case sale.LooksLikeKey(string(add.RegisterID)):
		return invalid("register_id holds an OpenFiskal key", "Send the register's id there (reg_…), and the key as register_key.")
	case !add.RegisterID.Valid():
		return invalid("register_id is not the id of a register", "It has 1 to 128 letters, digits, _ and -.")
	}
	return nil
}

// ValidRegister reports whether r can be the id of a register and is no key.
func ValidRegister(r sale.RegisterID) bool { return r.Valid() && !sale.LooksLikeKey(string(r)) }

func (a api) setDeviceKey(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	a.setKey(w, r, SetKey{DeviceID: id}, f)
}

func (a api) setRegisterKey(w http.ResponseWriter, r *http.Request) {
	f := query(r)
	id := sale.RegisterID(r.PathValue("id"))
	if f == nil && !ValidRegister(id) {
		f = noRegister()
	}
	a.setKey(w, r, SetKey{RegisterID: id}, f)
}

func noRegister() *Refusal {
	return &Refusal{Code: "not_found", Message: "there is no such register", Remedy: "List them: edgegw status"}
}

func (a api) setKey(w http.ResponseWriter, r *http.Request, set SetKey, f *Refusal) {
	var key string
	if f == nil {
		f = readBody(r, field{"register_key", "a string", &key}, field{"unverified", "true or false", &set.Unverified})
	}
	if f == nil && key == "" {
		f = invalid("register_key is missing or empty", "Send the new register key.")
	}
	set.Key = secret.FromString(key)
	if f != nil {
		fail(w, f, set.Key)
		return
	}
	result, err := a.b.SetKey(r.Context(), set, by(r))
	reply(w, result, err, set.Key)
}

func (a api) sales(w http.ResponseWriter, r *http.Request) {
	filter, f := saleFilter(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Sales(r.Context(), filter)
	if all == nil {
		all = []Sale{}
	}
	reply(w, all, err, secret.Text{})
}

func (a api) explain(w http.ResponseWriter, r *http.Request) {
	if f := query(r, "subject"); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	e, err := a.b.Explain(r.Context(), r.URL.Query().Get("subject"))
	if e.Details == nil {
		e.Details = []Detail{}
	}
	reply(w, e, err, secret.Text{})
}

func saleFilter(r *http.Request) (SaleFilter, *Refusal) {
	if f := query(r, "device_id", "sale_id", "state", "limit"); f != nil {
		return SaleFilter{}, f
	}
	q := r.URL.Query()
	filter := SaleFilter{DeviceID: sale.DeviceID(q.Get("device_id")), SaleID: q.Get("sale_id"), State: q.Get("state")}
	if filter.DeviceID != "" && !filter.DeviceID.Valid() {
		return SaleFilter{}, noDevice()
	}
	if filter.State != "" && !ValidState(filter.State) {
		return SaleFilter{}, invalid("there is no such state of a sale", "States are "+strings.Join(SaleStates, ", ")+".")
	}
	n, f := limit(q.Get("limit"))
	filter.Limit = n
	return filter, f
}

func limit(text string) (int, *Refusal) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, invalid("limit is not a number from 1 to "+strconv.Itoa(maxLimit), "Ask for fewer.")
	}
	return n, nil
}

// query refuses parameters that a path does not know, without quoting them: a
// key put into an address by mistake must not come back as well.
func query(r *http.Request, known ...string) *Refusal {
	for name, values := range r.URL.Query() {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		switch {
		case !found && len(known) == 0:
			return invalid("this path takes no parameters", "A register key belongs into the body.")
		case !found:
			return invalid("the address has an unknown parameter", "Known parameters are "+strings.Join(known, ", ")+".")
		case len(values) > 1:
			return invalid("the parameter "+name+" stands twice", "Send it once.")
		}
	}
	return nil
}

func deviceID(r *http.Request) (sale.DeviceID, *Refusal) {
	if f := query(r); f != nil {
		return "", f
	}
	id := sale.DeviceID(r.PathValue("id"))
	if !id.Valid() {
		return "", noDevice()
	}
	return id, nil
}

func noDevice() *Refusal {
	return &Refusal{Code: "not_found", Message: "there is no such device", Remedy: "List them: edgegw device list"}
}

// by names who asks. It goes into the audit trail, so only a short line of
// printable ASCII counts; of a token its own name, whatever the header says.
func by(r *http.Request) string {
	if caller, remote := r.Context().Value(callerKey{}).(Caller); remote {
		return "token:" + caller.Name
	}
	who := r.Header.Get(HeaderBy)
	if who == "" || len(who) > 128 {
		return "api"
	}
	for i := range len(who) {
		if who[i] < 0x20 || who[i] > 0x7e {
			return "api"
		}
	}
	return who
}

func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	return t
}

func reply(w http.ResponseWriter, v any, err error, key secret.Text) {
	if err == nil {
		var body []byte
		if body, err = json.Marshal(v); err == nil {
			send(w, http.StatusOK, body, key)
			return
		}
	}
	fail(w, err, key)
}

// fail writes an error. What nobody foresaw is told as well: whoever may use
// this API looks after the box.
func fail(w http.ResponseWriter, err error, key secret.Text) {
	refusal, status := (*Refusal)(nil), http.StatusInternalServerError
	if errors.As(err, &refusal) {
		status = StatusOf(refusal)
	} else {
		refusal = &Refusal{Code: "internal", Message: err.Error(), Remedy: "See the gateway's log."}
	}
	body, err := json.Marshal(refusal)
	if err != nil {
		body = []byte(`{"code":"internal","message":"the answer could not be written"}`) // three strings always have a JSON form
	}
	send(w, status, body, key)
}

func send(w http.ResponseWriter, status int, body []byte, key secret.Text) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(card.MaskJSON(scrub(body, key)), '\n')) // whoever asked is gone: nothing to tell him
}
