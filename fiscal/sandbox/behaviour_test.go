package sandbox_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
)

func TestGermanFiscalBlock(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	seen := map[string]bool{}
	last := 0
	for i := range 3 {
		id := c.sell(fmt.Sprint("x/", i))
		got := c.must(200, "GET", "/sales/"+id, "")
		for _, e := range []string{"start_event", "end_event"} {
			var counter int
			_, _ = fmt.Sscan(got.text("fiscal."+e+".transaction_counter"), &counter)
			if counter <= last {
				t.Errorf("%s %s: counter %d, want more than %d", id, e, counter, last)
			}
			last = counter
			sig := got.text("fiscal." + e + ".signature")
			if seen[sig] {
				t.Errorf("%s: signature used before", e)
			}
			seen[sig] = true
			raw, err := base64.StdEncoding.DecodeString(sig)
			if err != nil || len(raw) != 64 {
				t.Fatalf("signature %q: %v", sig, err)
			}
			hash := sha256.Sum256([]byte(sandbox.SignedText(id, int64(counter), got.text("fiscal."+e+".signed_at"), got.text("fiscal."+e+".process_data"))))
			if !ecdsa.Verify(c.s.PublicKey(), hash[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
				t.Errorf("%s of %s does not verify", e, id)
			}
		}
		if n := got.text("fiscal.document_number"); !strings.HasSuffix(n, fmt.Sprintf("-%06d", i+1)) {
			t.Errorf("document number %q", n)
		}
		if qr := got.text("fiscal.verification.qr_data"); !strings.HasPrefix(qr, "V0;") || !strings.Contains(qr, ";76.22;") {
			t.Errorf("qr_data %q", qr)
		}
	}
}

func TestOtherJurisdictionsSignAtTheEndOnly(t *testing.T) {
	for jurisdiction, regime := range map[string]string{"AT": "rksv", "IT": "rt"} {
		c := newClient(t, sandbox.Options{})
		r, err := c.s.AddRegister("reg_x", jurisdiction)
		if err != nil {
			t.Fatal(err)
		}
		c.key = r.Key
		got := c.must(201, "POST", "/registers/reg_x/sales", startBody(newUUID(), "x/1"))
		if got.text("fiscal") != "" {
			t.Errorf("%s: fiscal data at the start: %s", jurisdiction, got.raw)
		}
		c.must(200, "PATCH", "/sales/"+got.text("id"), content)
		got = c.must(200, "POST", "/sales/"+got.text("id")+"/complete", paid)
		if got.text("fiscal.regime") != regime || got.text("fiscal.document_number") == "" || got.text("fiscal.signature") == "" {
			t.Errorf("%s: %s", jurisdiction, got.raw)
		}
	}
}

func TestHonouredIdempotencyReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, sandbox.Options{})
		body, k := startBody(newUUID(), "x/1"), newUUID()
		path := "/registers/" + reg + "/sales"
		first := c.must(201, "POST", path, body, "Idempotency-Key", k)
		c.key = c.s.Rotate(reg) // the memory belongs to the register, not to its key
		again := c.must(201, "POST", path, body, "Idempotency-Key", k)
		if first.raw != again.raw {
			t.Errorf("replay %s, want %s", again.raw, first.raw)
		}
		if got := c.must(409, "POST", path, body+" ", "Idempotency-Key", k); got.text("code") != "idempotency_key_conflict" {
			t.Errorf("other bytes: %s", got.raw)
		}
		c.must(409, "PATCH", "/sales/"+first.text("id"), content, "Idempotency-Key", k)
		if n := len(c.s.Operations(reg)); n != 1 {
			t.Fatalf("%d operations, want 1", n)
		}
		<-time.After(sandbox.DefaultRetention - time.Second)
		c.must(201, "POST", path, body, "Idempotency-Key", k)
		if n := len(c.s.Operations(reg)); n != 1 {
			t.Fatalf("%d operations within the retention, want 1", n)
		}
		<-time.After(time.Second)
		c.must(201, "POST", path, body, "Idempotency-Key", k)
		if n := len(c.s.Operations(reg)); n != 2 {
			t.Errorf("%d operations after the retention, want 2", n)
		}
	})
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	id, k := c.open("x/1"), newUUID()
	c.must(422, "POST", "/sales/"+id+"/complete", paid, "Idempotency-Key", k)
	c.must(200, "PATCH", "/sales/"+id, content)
	c.must(200, "POST", "/sales/"+id+"/complete", paid, "Idempotency-Key", k)
}

func TestIgnoredIdempotencyDoublesTheSale(t *testing.T) {
	c := newClient(t, sandbox.Options{Idempotency: sandbox.Ignore})
	id := newUUID()
	body, k := startBody(id, "x/1"), newUUID()
	path := "/registers/" + reg + "/sales"
	first := c.must(201, "POST", path, body, "Idempotency-Key", k)
	second := c.must(201, "POST", path, body, "Idempotency-Key", k)
	if first.text("id") != id || !strings.HasPrefix(second.text("id"), "op_") {
		t.Errorf("ids %s and %s", first.text("id"), second.text("id"))
	}
	c.must(200, "PATCH", "/sales/"+id, content)
	c.must(200, "POST", "/sales/"+id+"/complete", paid, "Idempotency-Key", k)
	if got := c.must(409, "POST", "/sales/"+id+"/complete", paid, "Idempotency-Key", k); got.text("code") != "operation_not_open" {
		t.Errorf("second complete: %s", got.raw)
	}
	c.must(200, "POST", "/sales/"+second.text("id")+"/cancel", `{"reason":"x"}`)
	c.must(409, "POST", "/sales/"+second.text("id")+"/cancel", `{"reason":"x"}`)
}

func TestServerIDs(t *testing.T) {
	c := newClient(t, sandbox.Options{ServerIDs: true})
	id := newUUID()
	got := c.must(201, "POST", "/registers/"+reg+"/sales", startBody(id, "x/1")).text("id")
	if !strings.HasPrefix(got, "op_") {
		t.Errorf("id %q, want one of the service", got)
	}
	c.must(404, "GET", "/sales/"+id, "")
	c.must(200, "GET", "/sales/"+got, "")
}

func TestListIsPagedNewestFirst(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	for i := range 7 {
		c.open(fmt.Sprint("x/", i))
	}
	var got []string
	cursor := ""
	for page := 1; ; page++ {
		r := c.must(200, "GET", "/registers/"+reg+"/operations?limit=3"+cursor, "")
		for _, v := range r.body["data"].([]any) {
			got = append(got, v.(map[string]any)["external_id"].(string))
		}
		c.open(fmt.Sprint("new/", page)) // what comes meanwhile must not shift the pages
		if r.text("has_more") == "false" {
			if r.body["next_cursor"] != nil {
				t.Errorf("a cursor at the end: %s", r.raw)
			}
			break
		}
		cursor = "&cursor=" + r.text("next_cursor")
	}
	if fmt.Sprint(got) != "[x/6 x/5 x/4 x/3 x/2 x/1 x/0]" {
		t.Errorf("got %v", got)
	}
}

func TestPlatformSide(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	var org string
	platform := func(status int, method, path, body string) reply {
		t.Helper()
		return c.must(status, method, path, body, "X-Register-Api-Key", "", "Idempotency-Key", "",
			"Authorization", "Bearer "+c.s.PlatformKey(), "OpenFiskal-Organization", org)
	}
	org = platform(201, "POST", "/organizations", `{"legal_name":"Tank GmbH","country":"DE","tax_id":"DE1","address":{"line1":"a","city":"b","postal_code":"c","country":"DE"}}`).text("id")
	loc := platform(201, "POST", "/organizations/"+org+"/locations", `{"name":"Nord","timezone":"Europe/Berlin"}`).text("id")
	made := platform(201, "POST", "/locations/"+loc+"/registers", `{"label":"Kasse 1","jurisdiction":"DE"}`)
	id := made.text("id")
	if made.text("active_fiscal_unit") != "" {
		t.Errorf("a new register has a fiscal unit: %s", made.raw)
	}
	platform(409, "POST", "/registers/"+id+"/credentials/rotate", "")
	unit := platform(201, "POST", "/registers/"+id+"/fiscal-units", `{"issue_register_credential":true}`)
	platform(409, "POST", "/registers/"+id+"/fiscal-units", `{"issue_register_credential":true}`)
	if got := platform(200, "GET", "/registers/"+id+"/fiscal-units", ""); strings.Contains(got.raw, "ofk_reg") {
		t.Errorf("the key is shown twice: %s", got.raw)
	}
	key := unit.text("register_api_key")
	c.must(200, "GET", "/registers/"+id, "", "X-Register-Api-Key", key)
	rotated := platform(200, "POST", "/registers/"+id+"/credentials/rotate", "").text("register_api_key")
	c.must(401, "GET", "/registers/"+id, "", "X-Register-Api-Key", key)
	c.must(200, "GET", "/registers/"+id, "", "X-Register-Api-Key", rotated)
	c.must(403, "GET", "/registers/"+id, "") // the key of reg_1
	org = ""
	platform(400, "GET", "/registers/"+id+"/fiscal-units", "")
	org = "org_sandbox"
	platform(403, "GET", "/registers/"+id+"/fiscal-units", "")
}

func TestSaleNeedsAFiscalUnit(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	platform := []string{"X-Register-Api-Key", "", "Authorization", "Bearer " + c.s.PlatformKey(), "OpenFiskal-Organization", "org_sandbox"}
	id := c.must(201, "POST", "/locations/loc_sandbox/registers", `{"label":"Kasse 2","jurisdiction":"AT"}`, platform...).text("id")
	if got := c.must(409, "POST", "/registers/"+id+"/sales", startBody(newUUID(), "x/1"), platform...); got.text("code") != "no_active_fiscal_unit" {
		t.Errorf("%s", got.raw)
	}
}

func TestTotalsAreExact(t *testing.T) {
	for _, row := range []struct {
		quantity, price, rate string
		discount              int
		gross, net, tax       string
	}{
		{"1", "101", "0.19", 0, "101", "85", "16"},   // 84.87
		{"1", "700", "0.19", 0, "700", "588", "112"}, // 588.24
		{"1", "107", "0.07", 0, "107", "100", "7"},
		{"1", "7622", "0", 0, "7622", "7622", "0"},
		{"1", "3", "1", 0, "3", "2", "1"}, // 1.50: half goes up
		{"12.5", "58", "0.19", 25, "700", "588", "112"},
		{"0.001", "1000", "0.19", 0, "1", "1", "0"},
		{"3", "33333333333", "0.19", 0, "99999999999", "84033613445", "15966386554"},
	} {
		c := newClient(t, sandbox.Options{})
		discounts := ""
		if row.discount > 0 {
			discounts = fmt.Sprintf(`,"line_discounts":[{"source":"manual","label":"App","amount":%d}]`, row.discount)
		}
		got := c.must(200, "PATCH", "/sales/"+c.open("x/1"), fmt.Sprintf(
			`{"line_items":[{"description":"a","quantity":%s,"unit_price_gross":%s,"tax":{"rate":%q,"category":"standard"}%s}]}`,
			row.quantity, row.price, row.rate, discounts))
		var v struct {
			Data struct {
				Totals struct {
					Gross json.Number `json:"total_gross"`
					Net   json.Number `json:"total_net"`
					Tax   json.Number `json:"total_tax"`
				}
			}
		}
		if err := json.Unmarshal([]byte(got.raw), &v); err != nil {
			t.Fatal(err)
		}
		if s := v.Data.Totals; s.Gross.String() != row.gross || s.Net.String() != row.net || s.Tax.String() != row.tax {
			t.Errorf("%s × %s at %s: %+v, want %s = %s + %s", row.quantity, row.price, row.rate, s, row.gross, row.net, row.tax)
		}
	}
}

func TestRevokedAndUnknownRegisters(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	c.s.SetUnknown(reg, true)
	c.must(404, "GET", "/registers/"+reg, "")
	c.s.SetUnknown(reg, false)
	c.must(200, "GET", "/registers/"+reg, "")
	c.s.Revoke(reg)
	c.must(401, "GET", "/registers/"+reg, "")
	c.must(401, "GET", "/registers/"+reg, "", "X-Register-Api-Key", " ")
}

// The request id is what OpenFiskal's support is asked with. With 13 digits in a row
// one in ten looks like a card number, and the gateway would mask it.
func TestRequestIDsLookLikeNoCard(t *testing.T) {
	for range 16 { // the first half of an id is drawn
		c := newClient(t, sandbox.Options{})
		for range 3 {
			id := c.must(200, "GET", "/registers/"+reg, "").header.Get("X-Request-Id")
			if id == "" || regexp.MustCompile(`[0-9]{13}`).MatchString(id) {
				t.Errorf("request id %q", id)
			}
		}
	}
}
