package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

func (m *memory) People(context.Context) ([]Person, error) {
	return []Person{{Name: "anna", Role: sale.RoleOwner}}, m.broken
}

func (m *memory) AddPerson(_ context.Context, a AddPerson, by string) (AddedPerson, error) {
	m.who = append(m.who, by)
	if a.Name == "anna" {
		return AddedPerson{}, &Refusal{Code: "exists", Message: "she is there; you gave " + string(a.Password.Reveal())}
	}
	return AddedPerson{Person: Person{Name: a.Name, Role: a.Role}, PIN: "0123456789"}, nil
}

func (m *memory) RemovePerson(_ context.Context, _, by string) error {
	m.who = append(m.who, by)
	return nil
}

func (m *memory) SetPassword(_ context.Context, name string, _ secret.Text, by string) error {
	m.who = append(m.who, by)
	if name != "anna" {
		return &Refusal{Code: "not_found", Message: "nobody"}
	}
	return nil
}

func (m *memory) Sessions(context.Context) ([]Session, error) {
	return []Session{{ID: "AAAAAAAA", Name: "anna", Role: sale.RoleOwner, Browser: "Firefox"}}, m.broken
}

func (m *memory) EndSession(_ context.Context, id, by string) error {
	m.who = append(m.who, by)
	if id != "AAAAAAAA" {
		return &Refusal{Code: "not_found", Message: "none"}
	}
	return nil
}

func (m *memory) EndSessions(_ context.Context, name, by string) (EndedSessions, error) {
	m.who = append(m.who, by)
	if name != "anna" {
		return EndedSessions{}, &Refusal{Code: "not_found", Message: "nobody"}
	}
	return EndedSessions{name, 2}, nil
}

func (m *memory) ResetClaim(_ context.Context, by string) (ResetClaim, error) {
	m.who = append(m.who, by)
	return ResetClaim{Removed: []string{"anna"}, Code: "AAAA-BBBB-CCCC-DDDD", Page: []string{}}, m.broken
}

func TestTheClaimIsResetOverTheSocket(t *testing.T) {
	m, path, said := serve(t)
	reset, err := dial(t, path).ResetClaim(t.Context(), "cli:root")
	if err != nil || reset.Code != "AAAA-BBBB-CCCC-DDDD" || !slices.Equal(reset.Removed, []string{"anna"}) || !slices.Equal(m.who, []string{"cli:root"}) {
		t.Errorf("%+v, %v by %v", reset, err, m.who)
	}
	if !strings.Contains(said.String(), "Cache-Control:[no-store]") {
		t.Error("the code may be kept by a cache")
	}
}

func TestSessionsOverTheSocket(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	ctx := t.Context()
	if all, err := c.Sessions(ctx); err != nil || len(all) != 1 || all[0].ID != "AAAAAAAA" || all[0].Browser != "Firefox" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.EndSession(ctx, "AAAAAAAA", "root"); err != nil {
		t.Error(err)
	}
	if err := c.EndSession(ctx, "../people", "root"); refusalCode(err) != "not_found" {
		t.Errorf("another one: %v", err)
	}
	if ended, err := c.EndSessions(ctx, "anna", "root"); err != nil || ended != (EndedSessions{"anna", 2}) {
		t.Errorf("%+v, %v", ended, err)
	}
	if _, err := c.EndSessions(ctx, "tom", "root"); refusalCode(err) != "not_found" {
		t.Errorf("of nobody: %v", err)
	}
	if !slices.Equal(m.who, []string{"root", "root", "root", "root"}) {
		t.Errorf("by %v", m.who)
	}
}

func TestPeopleOverTheSocket(t *testing.T) {
	m, path, said := serve(t)
	c := dial(t, path)
	ctx := t.Context()
	if all, err := c.People(ctx); err != nil || len(all) != 1 || all[0].Role != sale.RoleOwner {
		t.Errorf("%+v, %v", all, err)
	}
	made, err := c.AddPerson(ctx, AddPerson{Name: "tom", Role: sale.RoleTechnician, Lives: time.Hour}, "root")
	if err != nil || made.PIN != "0123456789" || made.Role != sale.RoleTechnician {
		t.Errorf("%+v, %v", made, err)
	}
	if _, err := c.AddPerson(ctx, AddPerson{Name: "anna", Role: sale.RoleOwner, Password: secretText("blue lorry")}, "root"); refusalCode(err) != "exists" || strings.Contains(err.Error(), "lorry") {
		t.Errorf("%v", err)
	}
	if _, err := c.AddPerson(ctx, AddPerson{Name: "tom", Role: sale.RoleAuditor, Lives: 20 * 365 * 24 * time.Hour}, "root"); refusalCode(err) != "invalid" {
		t.Errorf("twenty years: %v", err)
	}
	if err := c.SetPassword(ctx, "anna", secretText("green lorry"), "root"); err != nil {
		t.Error(err)
	}
	if err := c.SetPassword(ctx, "no/body", secretText("green lorry"), "root"); refusalCode(err) != "not_found" {
		t.Errorf("%v", err)
	}
	if err := c.RemovePerson(ctx, "tom", "root"); err != nil {
		t.Error(err)
	}
	if !slices.Equal(m.who, []string{"root", "root", "root", "root", "root"}) || strings.Contains(said.String(), "lorry") {
		t.Errorf("by %v; the server said %s", m.who, said)
	}
}

// Whoever has a token does not learn what claims the page.
func TestTheClaimIsForTheBox(t *testing.T) {
	m, path, _ := serve(t)
	m.code = "AAAA-BBBB-CCCC-DDDD"
	if st, err := dial(t, path).Status(t.Context()); err != nil || st.Claim.Code != m.code {
		t.Errorf("over the socket: %+v, %v", st.Claim, err)
	}
	far, url := remote(t)
	far.code = m.code
	r, text := ask(t, http.MethodGet, url+Prefix+"/status", string(sale.ScopeRead), "")
	var st Status
	if err := json.Unmarshal([]byte(text), &st); err != nil || r.StatusCode != http.StatusOK || strings.Contains(text, m.code) {
		t.Errorf("%s %s", r.Status, text)
	}
}
