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
//	GET    /api/v1/history             the last 24 hours: uplink, sales, what waited
//	GET    /api/v1/devices             POST: adds one; the answer holds its credentials, this once
//	GET    /api/v1/devices/{id}        DELETE: removes it
//	POST   …/disable|enable            refuses the device, and ends that
//	POST   …/test                      what a sale of the device would do, against a stand-in: no fiscal record, no row
//	POST   …/identify                  asks the device to show itself, and says what became of that
//	POST   …/password|replace|certificate  new credentials, this once; …/revoke {"serial"} ends certificates
//	PUT    /api/v1/devices/{id}/key    gives its register a new key
//	PUT    /api/v1/registers/{id}/key  gives a register a new key, also where no device has it any more
//	POST   …/key/check                 asks OpenFiskal about the keys that are stored
//	POST   …/key/issue|rotate          {"platform_key","organization"}: asks OpenFiskal for a new key
//	GET    /api/v1/keys                every key on this box, without it: what to rotate when it was stolen
//	PUT    /api/v1/platform-key        {"platform_key"}: the site's, in the server-side topology
//	DELETE /api/v1/platform-key        removes it
//	POST   /api/v1/recipient           what bundles for this box are encrypted to
//	POST   /api/v1/import              CSV or a bundle; a JSON object per row, with credentials, this once
//	POST   /api/v1/data/acknowledge    says that somebody knows what became of the database
//	DELETE /api/v1/devices/{id}/gaps   forgets the events it counted and never reported
//	DELETE /api/v1/devices/{id}/cards  says that somebody has seen to card data that it sent
//	GET    /api/v1/explain?subject=    one sentence, with what it is made from
//	GET    /api/v1/sales?sale_id=&amount=&from=&to=&document_number=&…   the newest first; Link says where it goes on
//	GET    /api/v1/sales/{device}/{sale}?payloads=   all that is known of one sale, in order
//	GET    /api/v1/quarantine?state=open|all&device_id=&sale_id=&limit=
//	GET    /api/v1/quarantine/{id}     what was reported, sent and answered, and what may be decided
//	POST   /api/v1/quarantine/{id}/retry|resolve|discard   {"reason","operation"}: decides
//	GET    /api/v1/doctor?version=     each check with what was found and what to do; version is the asking program's
//	POST   /api/v1/backup              {"passphrase"}: the data, sealed
//	POST   /api/v1/support-bundle      a ZIP of all that is known of the site, without secrets
//	GET    /api/v1/tokens              POST {"name","scope","expires_seconds"}: makes one, shown this once
//	DELETE /api/v1/tokens/{id}         ends it
//	GET    /api/v1/audit?who=&what=&subject=&from=&to=&before=&limit=   who changed what
//	GET    /api/v1/export?from=&to=    a ZIP file for an auditor
//	GET    /api/v1/verify?head=        checks the chain of the audit trail
//	GET    /api/v1/people              POST {"name","role","password","expires_seconds"}: adds somebody; a PIN is shown this once
//	DELETE /api/v1/people/{name}       ends his access
//	PUT    /api/v1/people/{name}/password   {"password"}
//	DELETE /api/v1/people/{name}/sessions   logs him out everywhere
//	POST   /api/v1/claim/reset         ends the access of everybody; the page waits for a new owner
//	GET    /api/v1/sessions            who is logged in to the page
//	DELETE /api/v1/sessions/{id}       logs one browser out
//	GET    /api/v1/settings            PUT {"set","reset"}: changes some, on trial; …/history
//	POST   …/settings/preview|confirm|undo
//	GET    /api/v1/openapi.json        all of this for programs, made from the routes
//
// A register key comes in the body, as register_key, and in no other place, and
// no answer holds one. An error is {"code","message","remedy"}. Who may ask is
// the business of whoever serves it: the gateway's socket has mode 0600. Remote
// serves it to others.
func Handler(b Backend) http.Handler {
	return newMux(api{b}, func(rt route) http.HandlerFunc { return rt.handle })
}

// routes is the API: each route with the scopes of tokens that open it and what
// OpenAPI says of it. A route without its description is no route.
func (a api) routes() map[string]map[string]route {
	device, register := does("Asks OpenFiskal to make the first key of a device's register.").takes(&platformBody{}, "platform_key").gives(KeyResult{}),
		does("Asks OpenFiskal to make the first key of a register.").takes(&platformBody{}, "platform_key").gives(KeyResult{})
	return map[string]map[string]route{
		OpenAPIPath: {http.MethodGet: {a.openAPI, anyToken, does("This description, as the routes are.").gives(map[string]any{})}},
		"/status":   {http.MethodGet: {a.status, readOrProvision, does("The site in one look.").gives(Status{})}},
		"/history":  {http.MethodGet: {a.history, withRead, does("The last 24 hours: how the uplink was, how many sales began in each hour, and how many waited.").gives(History{})}},
		"/devices": {http.MethodGet: {a.devices, readOrProvision, does("Lists all devices.").gives([]Device{})},
			http.MethodPost: {a.add, withProvision, does("Adds a device; its credentials are in this answer and in no later one.").
				takes(&addBody{}, "device_id", "register_id").gives(Credentials{})}},
		"/devices/{id}": {http.MethodGet: {a.device, readOrProvision, does("Shows one device.").gives(Device{})},
			http.MethodDelete: {a.remove, socketOnly, does("Removes a device; its sales stay and are sent.")}},
		"/devices/{id}/key":   {http.MethodPut: {a.setDeviceKey, withProvision, does("Gives the register of a device a new key.").takes(&keyBody{}, "register_key").gives(KeyResult{})}},
		"/data/acknowledge":   {http.MethodPost: {a.acknowledge, socketOnly, does("Says that somebody knows what became of a database that was made again.").gives(acknowledged{})}},
		"/devices/{id}/gaps":  {http.MethodDelete: {a.deviceAct(a.b.ForgetGaps), socketOnly, does("Says that somebody has looked into the events a device counted and did not report.")}},
		"/devices/{id}/cards": {http.MethodDelete: {a.deviceAct(a.b.ForgetCards), socketOnly, does("Says that somebody has seen to a device that sent card data.")}},
		"/registers/{id}/key": {http.MethodPut: {a.setRegisterKey, withProvision, does("Gives a register a new key, also where no device has it any more.").takes(&keyBody{}, "register_key").gives(KeyResult{})}},

		"/devices/{id}/disable":     {http.MethodPost: {a.deviceAct(a.b.DisableDevice), socketOnly, does("Refuses a device, and ends its connection.")}},
		"/devices/{id}/enable":      {http.MethodPost: {a.deviceAct(a.b.EnableDevice), socketOnly, does("Lets a disabled device in again.")}},
		"/devices/{id}/identify":    {http.MethodPost: {a.identify, socketOnly, does("Asks a device to show itself, and says whether it has acknowledged that. Not more often than every ten seconds.").gives(Identified{})}},
		"/devices/{id}/test":        {http.MethodPost: {a.testSale, socketOnly, does("Says what keeps the next real sale of a device from going out, and shows a sale of its kind on its whole way, against a stand-in for OpenFiskal on a site of its own: no fiscal record is made, and nothing of it stays here.").gives(TestSale{})}},
		"/devices/{id}/password":    {http.MethodPost: {a.renewPassword, socketOnly, does("Gives a device a new password, this once.").gives(Credentials{})}},
		"/devices/{id}/replace":     {http.MethodPost: {a.replaceDevice, socketOnly, does("New hardware in an old place: new credentials, this once.").takes(&replaceBody{}).gives(Credentials{})}},
		"/devices/{id}/certificate": {http.MethodPost: {a.issueCertificate, socketOnly, does("Issues a client certificate, with its key this once.").gives(Credentials{})}},
		"/devices/{id}/revoke":      {http.MethodPost: {a.revokeCertificate, socketOnly, does("Ends one certificate of a device, or all.").takes(&revokeBody{})}},

		"/devices/{device}/key/check":      {http.MethodPost: {a.checkKey, socketOnly, does("Asks OpenFiskal about the keys that are stored for a device's register.").gives([]KeyCheck{})}},
		"/devices/{device}/key/issue":      {http.MethodPost: {a.requestKey(sale.KeyIssue), socketOnly, device}},
		"/devices/{device}/key/rotate":     {http.MethodPost: {a.requestKey(sale.KeyRotate), socketOnly, device.but("Asks OpenFiskal for a new key of a device's register; the one in use ends at once.")}},
		"/registers/{register}/key/check":  {http.MethodPost: {a.checkKey, socketOnly, does("Asks OpenFiskal about the keys that are stored for a register.").gives([]KeyCheck{})}},
		"/registers/{register}/key/issue":  {http.MethodPost: {a.requestKey(sale.KeyIssue), socketOnly, register}},
		"/registers/{register}/key/rotate": {http.MethodPost: {a.requestKey(sale.KeyRotate), socketOnly, register.but("Asks OpenFiskal for a new key of a register; the one in use ends at once.")}},

		"/keys": {http.MethodGet: {a.forRotation, withRead, does("Lists every key on this box, without it: what to rotate when it was stolen.").gives([]KeyToRotate{})}},
		"/platform-key": {http.MethodPut: {a.setPlatformKey, socketOnly, does("Stores the site's platform key (openfiskal.topology: server_side).").takes(&platformKeyBody{}, "platform_key").gives(KeyResult{})},
			http.MethodDelete: {a.forgetPlatformKey, socketOnly, does("Removes the platform key from this box, where the site does not send with it any more.")}},
		"/recipient":             {http.MethodPost: {a.recipient, socketOnly, does("What bundles for this box are encrypted to; made when it is asked for first, or anew.").takes(&recipientAsk{}).gives(recipientBody{})}},
		"/import":                {http.MethodPost: {a.importFile, withProvision, does("Adds devices and keys from CSV or a bundle. A JSON object per row comes as soon as it is done, with credentials, this once.").takesFile(importTypes).givesLines(ImportRow{})}},
		"/explain":               {http.MethodGet: {a.explain, withRead, does("One sentence about the site, a device, a register or a sale, with what it is made from.").with(askSubject).gives(Explanation{})}},
		"/sales":                 {http.MethodGet: {a.sales, withRead, does("Lists sales, the newest first.").with(salesParams...).gives([]Sale{}).paged()}},
		"/sales/{device}/{sale}": {http.MethodGet: {a.saleStory, withRead, does("Tells all that is known of one sale, in order: events with the calls they owe, attempts in vain, answers, decisions and receipts.").with(askPayloads).gives(SaleStory{})}},
		"/doctor":                {http.MethodGet: {a.doctor, withRead, does("Looks at everything that the site needs: each check with what was found and what to do.").with(askVersion).gives([]Check{})}},

		"/backup":         {http.MethodPost: {a.backup, socketOnly, does("Gives the site's data, sealed with a passphrase, while sales come in.").takes(&backupBody{}, "passphrase").givesFile(BackupType)}},
		"/support-bundle": {http.MethodPost: {a.supportBundle, socketOnly, does("Makes a ZIP, of less than 10 MB, of all that is known of the site and is no secret; manifest.json in it says what there is.").givesFile(BundleType)}},

		"/quarantine":              {http.MethodGet: {a.quarantine, withRead, does("Lists what waits for a person's decision, or waited.").with(askItemState, askDevice, askSale, askLimit).gives([]QuarantineItem{})}},
		"/quarantine/{id}":         {http.MethodGet: {a.quarantineItem, withRead, does("Shows what was reported, sent and answered, and what may be decided.").gives(QuarantineItem{})}},
		"/quarantine/{id}/retry":   {http.MethodPost: {a.decide(sale.DecisionRetry), socketOnly, does("Decides that the same bytes are sent again.").takes(&decisionBody{}, "reason").gives(DecisionResult{})}},
		"/quarantine/{id}/resolve": {http.MethodPost: {a.decide(sale.DecisionResolve), socketOnly, does("Decides that an operation at OpenFiskal stands for it.").takes(&decisionBody{}, "reason").gives(DecisionResult{})}},
		"/quarantine/{id}/discard": {http.MethodPost: {a.decide(sale.DecisionDiscard), socketOnly, does("Decides that nothing is sent for it.").takes(&decisionBody{}, "reason").gives(DecisionResult{})}},

		"/tokens": {http.MethodGet: {a.tokens, socketOnly, does("Lists tokens of programs.").gives([]Token{})},
			http.MethodPost: {a.addToken, socketOnly, does("Makes a token; it is in this answer and in no later one.").takes(&NewToken{}, "name", "scope").gives(MadeToken{})}},
		"/tokens/{token}": {http.MethodDelete: {a.removeToken, socketOnly, does("Ends a token at once.")}},

		"/audit":  {http.MethodGet: {a.audit, withRead, does("Lists who changed what, the newest first.").with(auditParams...).gives([]AuditEntry{})}},
		"/export": {http.MethodGet: {a.export, withRead, does("Gives an auditor's ZIP file of a period: sales, events, decisions, outages and the audit trail with its chain.").with(askFrom, askTo).givesFile(ExportType)}},
		"/verify": {http.MethodGet: {a.verify, withRead, does("Checks the chain of the whole audit trail, and names the first line that was altered.").with(askHead).gives(Verified{})}},

		"/settings": {http.MethodGet: {a.settings, socketOnly, does("Lists every value that can be configured, where it comes from, and why it cannot be changed here.").gives(Settings{})},
			http.MethodPut: {a.changeSettings, socketOnly, does("Changes settings: the gateway begins anew with them, and undoes them unless somebody confirms.").takes(&SettingsChange{}).gives(ChangedSettings{})}},
		"/settings/preview": {http.MethodPost: {a.previewSettings, socketOnly, does("Says what a change of settings would do.").takes(&SettingsChange{}).gives(SettingsPreview{})}},
		"/settings/confirm": {http.MethodPost: {a.endTrial(a.b.ConfirmSettings), socketOnly, does("Says that changed settings work: they stay.")}},
		"/settings/undo":    {http.MethodPost: {a.endTrial(a.b.UndoSettings), socketOnly, does("Takes back changed settings that nobody has confirmed.")}},
		"/settings/history": {http.MethodGet: {a.settingsHistory, socketOnly, does("Lists what was changed of the settings, the oldest first.").gives([]SettingsRecord{})}},

		"/people": {http.MethodGet: {a.people, socketOnly, does("Lists those who may use the page.").gives([]Person{})},
			http.MethodPost: {a.addPerson, socketOnly, does("Adds somebody; a PIN is made where no password is given, and is in this answer and in no later one.").takes(&personBody{}, "name", "role").gives(AddedPerson{})}},
		"/people/{name}":          {http.MethodDelete: {a.removePerson, socketOnly, does("Ends somebody's access at once.")}},
		"/people/{name}/password": {http.MethodPut: {a.setPassword, socketOnly, does("Gives somebody another password, and logs him out everywhere.").takes(&passwordBody{}, "password")}},
		"/people/{name}/sessions": {http.MethodDelete: {a.endSessions, socketOnly, does("Logs somebody out everywhere.").gives(EndedSessions{})}},
		"/sessions":               {http.MethodGet: {a.sessions, socketOnly, does("Lists who is logged in to the page, the last used first.").gives([]Session{})}},
		"/claim/reset":            {http.MethodPost: {a.resetClaim, socketOnly, does("Takes the site from its owners: the access of everybody ends, and the code in this answer claims it anew.").gives(ResetClaim{})}},
		"/sessions/{session}":     {http.MethodDelete: {a.endSession, socketOnly, does("Logs one browser out.")}},
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
	replyList(w, all, err)
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
	done(w, a.b.RemoveDevice(r.Context(), id, by(r)), secret.Text{})
}

func (a api) add(w http.ResponseWriter, r *http.Request) {
	var b addBody
	f := query(r)
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	add := b.AddDevice
	add.Key = secret.FromString(b.Key)
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
	var b keyBody
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	if f == nil && b.Key == "" {
		f = invalid("register_key is missing or empty", "Send the new register key.")
	}
	set.Key, set.Unverified = secret.FromString(b.Key), b.Unverified
	if f != nil {
		fail(w, f, set.Key)
		return
	}
	result, err := a.b.SetKey(r.Context(), set, by(r))
	reply(w, result, err, set.Key)
}

func (a api) explain(w http.ResponseWriter, r *http.Request) {
	if f := query(r, askSubject.name); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	e, err := a.b.Explain(r.Context(), r.URL.Query().Get("subject"))
	if e.Details == nil {
		e.Details = []Detail{}
	}
	reply(w, e, err, secret.Text{})
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

// replyList writes a listing; an empty one is [], never null.
func replyList[T any](w http.ResponseWriter, all []T, err error) {
	if all == nil {
		all = []T{}
	}
	reply(w, all, err, secret.Text{})
}

// done writes that something was done, or why not.
func done(w http.ResponseWriter, err error, key secret.Text) {
	if err != nil {
		fail(w, err, key)
		return
	}
	w.WriteHeader(http.StatusNoContent)
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
