package sandbox

import (
	"net/http"
	"time"
)

// defaultLocation is where AddRegister puts its registers. The lock is held.
func (s *Service) defaultLocation(now time.Time) *location {
	const orgID, locID = "org_sandbox", "loc_sandbox"
	if s.locations[locID] == nil {
		org := &organization{id: orgID, legalName: "Sandbox Station GmbH", country: "DE", taxID: "DE000000000", created: now}
		s.orgs[orgID] = org
		s.locations[locID] = &location{id: locID, name: "Sandbox Station", timezone: "Europe/Berlin", org: org, created: now}
	}
	return s.locations[locID]
}

func (s *Service) makeRegister(id string, at *location, jurisdiction, label, serial string, now time.Time) *register {
	r := &register{id: id, label: label, jurisdiction: jurisdiction, serial: serial, location: at, created: now}
	s.registers[id] = r
	return r
}

func (s *Service) makeUnit(r *register, now time.Time) *fiscalUnit {
	u := &fiscalUnit{id: s.newID("fu"), serial: randomHex(16), created: now, ready: now}
	r.units = append(r.units, u)
	return u
}

// issueKey gives a new key; the one before is dead from here on.
func (s *Service) issueKey(r *register) string {
	delete(s.keys, r.key)
	r.key = "ofk_reg_test_" + randomHex(16)
	s.keys[r.key] = r
	return r.key
}

type unitView struct {
	ID           string         `json:"id"`
	Object       string         `json:"object"`
	RegisterID   string         `json:"register_id"`
	State        string         `json:"state"`
	Jurisdiction string         `json:"jurisdiction"`
	Registration map[string]any `json:"fiscal_registration"`
	ProvisionAt  string         `json:"provisioned_at,omitempty"`
	CreatedAt    string         `json:"created_at"`
}

func (u *fiscalUnit) view(r *register) *unitView {
	if !u.isActive() {
		return &unitView{ID: u.id, Object: "fiscal_unit", RegisterID: r.id, State: "provisioning", Jurisdiction: r.jurisdiction, CreatedAt: stamp(u.created)}
	}
	return &unitView{ID: u.id, Object: "fiscal_unit", RegisterID: r.id, State: "active", Jurisdiction: r.jurisdiction,
		Registration: map[string]any{"regime": regimes[r.jurisdiction].name, "tse_serial": u.serial, "client_id": r.label,
			"signature_algorithm": signatureAlgorithm, "time_format": "utcTime", "registered_at": stamp(u.created)},
		ProvisionAt: stamp(u.ready), CreatedAt: stamp(u.created)}
}

type registerView struct {
	ID           string    `json:"id"`
	Object       string    `json:"object"`
	LocationID   string    `json:"location_id"`
	Label        string    `json:"label"`
	Jurisdiction string    `json:"jurisdiction"`
	SerialNumber string    `json:"serial_number"`
	State        string    `json:"state"`
	ActiveUnit   *unitView `json:"active_fiscal_unit"`
	CreatedAt    string    `json:"created_at"`
}

func (r *register) view() registerView {
	v := registerView{ID: r.id, Object: "register", LocationID: r.location.id, Label: r.label, Jurisdiction: r.jurisdiction,
		SerialNumber: r.serial, State: "active", CreatedAt: stamp(r.created)}
	if u := r.activeUnit(); u != nil {
		v.ActiveUnit = u.view(r)
	}
	return v
}

// showRegister is GET /registers/{register}: what a key is probed with.
func (s *Service) showRegister(q *request) (int, any, *fail) {
	return http.StatusOK, q.reg.view(), nil
}

func (f fields) address() {
	if raw, ok := f.take("address", false); ok {
		a := f.r.object(raw, "address", "line1", "line2", "city", "state", "postal_code", "country")
		for _, k := range []string{"line1", "line2", "city", "state", "postal_code", "country"} {
			a.text(k, false, 256)
		}
	}
}

// createOrganization is POST /organizations.
func (s *Service) createOrganization(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "legal_name", "trade_name", "country", "tax_id", "address", "metadata")
	o := &organization{legalName: b.text("legal_name", true, 256), country: b.text("country", true, 2),
		taxID: b.text("tax_id", true, 64), created: q.now}
	b.text("trade_name", false, 256)
	b.address()
	b.free("metadata")
	if r.err != nil {
		return 0, nil, r.err
	}
	o.id = s.newID("org")
	s.orgs[o.id] = o
	return http.StatusCreated, map[string]any{"id": o.id, "object": "organization", "legal_name": o.legalName,
		"country": o.country, "tax_id": o.taxID, "created_at": stamp(o.created)}, nil
}

// createLocation is POST /organizations/{organization}/locations.
func (s *Service) createLocation(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "name", "address", "timezone", "metadata")
	l := &location{name: b.text("name", true, 256), timezone: b.text("timezone", false, 64), created: q.now,
		org: s.orgs[q.vars["organization"]]}
	b.address()
	b.free("metadata")
	switch {
	case l.org == nil:
		return 0, nil, notFound("organization_not_found", "There is no such organization.")
	case r.err != nil:
		return 0, nil, r.err
	}
	l.id = s.newID("loc")
	s.locations[l.id] = l
	return http.StatusCreated, map[string]any{"id": l.id, "object": "location", "organization_id": l.org.id,
		"name": l.name, "timezone": l.timezone, "created_at": stamp(l.created)}, nil
}

// createRegister is POST /locations/{location}/registers: active, without a
// fiscal unit and without a key.
func (s *Service) createRegister(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "label", "jurisdiction", "serial_number", "metadata")
	label, serial := b.text("label", true, 128), b.text("serial_number", false, 128)
	jurisdiction := b.oneOf("jurisdiction", true, "IT", "DE", "AT")
	b.free("metadata")
	at := s.locations[q.vars["location"]]
	org := q.header.Get(headerOrganization)
	switch {
	case at == nil:
		return 0, nil, notFound("location_not_found", "There is no such location.")
	case org == "":
		return 0, nil, invalid(headerOrganization, "A platform key names the organization it acts for.")
	case org != at.org.id:
		return 0, nil, forbidden("The location belongs to another organization.")
	case r.err != nil:
		return 0, nil, r.err
	}
	return http.StatusCreated, s.makeRegister(s.newID("reg"), at, jurisdiction, label, serial, q.now).view(), nil
}

// createUnit is POST /registers/{register}/fiscal-units. The key is given once.
func (s *Service) createUnit(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "issue_register_credential")
	issue := b.boolean("issue_register_credential")
	switch {
	case r.err != nil:
		return 0, nil, r.err
	case q.reg.unit() != nil:
		return 0, nil, &fail{status: http.StatusConflict, code: "fiscal_unit_exists", message: "The register has an active fiscal unit."}
	}
	u := s.makeUnit(q.reg, q.now)
	u.ready = q.now.Add(s.opt.Provisioning)
	out := map[string]any{"object": "fiscal_unit_response", "fiscal_unit": u.view(q.reg), "register": q.reg.view(),
		"register_api_key": nil, "register_credential_issued": issue}
	if issue {
		out["register_api_key"] = s.issueKey(q.reg)
	}
	return http.StatusCreated, out, nil
}

// listUnits is GET /registers/{register}/fiscal-units.
func (s *Service) listUnits(q *request) (int, any, *fail) {
	data := []*unitView{}
	for _, u := range q.reg.units {
		data = append(data, u.view(q.reg))
	}
	return http.StatusOK, map[string]any{"object": "list", "data": data}, nil
}

// rotate is POST /registers/{register}/credentials/rotate: no overlap.
func (s *Service) rotate(q *request) (int, any, *fail) {
	if q.reg.key == "" {
		return 0, nil, &fail{status: http.StatusConflict, code: "no_register_credential", message: "No credential was issued for this register."}
	}
	return http.StatusOK, map[string]any{"object": "register_credential_rotation", "register_id": q.reg.id,
		"register_api_key": s.issueKey(q.reg), "rotated_at": stamp(q.now)}, nil
}
