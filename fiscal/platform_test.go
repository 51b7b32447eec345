package fiscal_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

func platform(b bench) fiscal.Platform {
	return fiscal.Platform{Key: secret.FromString(b.s.PlatformKey()), Organization: "org_sandbox"}
}

func TestRotateKey(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	key, err := b.c.RotateKey(t.Context(), reg, platform(b))
	if err != nil {
		t.Fatal(err)
	}
	problem(t, b.c.Probe(t.Context(), reg, secret.FromString(b.ks[reg])), sale.KeyRefused, "unauthorized")
	if err := b.c.Probe(t.Context(), reg, key); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if got := fmt.Sprintf("%v %+v %s", key, key, key); strings.Contains(got, string(key.Reveal())) {
		t.Error("the new key prints itself")
	}
	wrong := platform(b)
	wrong.Key = secret.FromString("ofk_platform_test_no")
	_, err = b.c.RotateKey(t.Context(), reg, wrong)
	problem(t, err, sale.KeyRefused, "unauthorized")
	wrong = platform(b)
	wrong.Organization = "org_other"
	_, err = b.c.RotateKey(t.Context(), reg, wrong)
	problem(t, err, sale.KeyRefused, "forbidden")
	_, err = b.c.RotateKey(t.Context(), "reg_9", platform(b))
	problem(t, err, sale.RegisterUnknown, "register_not_found")
	_, err = b.c.RotateKey(t.Context(), reg, fiscal.Platform{Key: platform(b).Key})
	problem(t, err, sale.KeyRefused, "no_key")
}

func TestIssueKey(t *testing.T) {
	b := newBench(t, sandbox.Options{Provisioning: time.Hour})
	if err := b.s.AddBareRegister("reg_new"); err != nil {
		t.Fatal(err)
	}
	key, err := b.c.IssueKey(t.Context(), "reg_new", platform(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.c.Probe(t.Context(), "reg_new", key); !errors.Is(err, fiscal.ErrNoUnit) {
		t.Errorf("while its unit is provisioned: %v", err)
	}
	_, err = b.c.IssueKey(t.Context(), "reg_new", platform(b))
	problem(t, err, sale.Misconfigured, "fiscal_unit_exists")
}

// What may have made a key is told from what has made none, is asked once only,
// and no problem carries a byte of a key.
func TestTheEndsOfARequestForAKey(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault sandbox.Fault
		lost  bool
		made  int // keys at OpenFiskal
	}{
		{"no connection", sandbox.Fault{Action: sandbox.Refuse}, false, 0},
		{"cut before", sandbox.Fault{Action: sandbox.DropRequest}, true, 0},
		{"cut after", sandbox.Fault{Action: sandbox.DropAnswer}, true, 1},
		{"half an answer", sandbox.Fault{Action: sandbox.CutAnswer}, true, 1},
		{"garbage", sandbox.Fault{Action: sandbox.Garbage}, true, 0},
		{"empty", sandbox.Fault{Action: sandbox.Empty}, true, 0},
		{"captive portal", sandbox.Fault{Action: sandbox.CaptivePortal}, true, 0},
		{"500 after", sandbox.Fault{Action: sandbox.ProcessThenAnswer, Status: 500}, true, 1},
		{"503", sandbox.Fault{Action: sandbox.Answer, Status: 503}, true, 0},
		{"408", sandbox.Fault{Action: sandbox.Answer, Status: 408}, true, 0},
		{"another register's", sandbox.Fault{Action: sandbox.Answer, Status: 200, Body: `{"register_id":"reg_2","register_api_key":"ofk_reg_test_CANARY"}`}, true, 0},
		{"no key in it", sandbox.Fault{Action: sandbox.Answer, Status: 201, Body: `{"register_id":"reg_1","register_api_key":null}`}, true, 0},
		{"400", sandbox.Fault{Action: sandbox.Answer, Status: 400}, false, 0},
		{"429", sandbox.Fault{Action: sandbox.Throttle}, false, 0},
		{"redirect", sandbox.Fault{Action: sandbox.Redirect, Location: "https://elsewhere.example/"}, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, sandbox.Options{})
			row.fault.Step = sandbox.StepPlatform
			b.s.Inject(row.fault)
			before := len(b.s.Requests())
			key, err := b.c.RotateKey(t.Context(), reg, platform(b))
			var p *sale.Problem
			if !errors.As(err, &p) || !key.Empty() || fiscal.Lost(p) != row.lost {
				t.Fatalf("%v, lost %v", err, p != nil && fiscal.Lost(p))
			}
			if bytes.Contains(p.Body, []byte("ofk_reg_")) || strings.Contains(p.Error(), "ofk_reg_") {
				t.Errorf("a key stands in the problem: %+v", p)
			}
			posts := 0
			for _, r := range b.s.Requests()[before:] {
				if r.Method == http.MethodPost {
					posts++
				}
			}
			if posts > 1 {
				t.Errorf("asked %d times", posts)
			}
			probe := b.c.Probe(t.Context(), reg, secret.FromString(b.ks[reg]))
			if alive := probe == nil; alive != (row.made == 0) {
				t.Errorf("the old key: %v", probe)
			}
		})
	}
}

// The credential of one topology never stands beside the other's.
func TestServerSide(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	var headers http.Header
	spy := roundTrip(func(r *http.Request) (*http.Response, error) {
		headers = r.Header.Clone()
		return b.s.RoundTrip(r)
	})
	c, err := fiscal.New(fiscal.Options{BaseURL: sandbox.BaseURL, Transport: spy, Organization: "org_sandbox"}, keyRing{reg: b.s.PlatformKey()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Probe(t.Context(), reg, secret.FromString(b.s.PlatformKey())); err != nil {
		t.Fatal(err)
	}
	if headers.Get("Authorization") != "Bearer "+b.s.PlatformKey() || headers.Get("OpenFiskal-Organization") != "org_sandbox" || headers.Get("X-Register-Api-Key") != "" {
		t.Errorf("headers of a platform key: %v", headers)
	}
	if _, err := c.Find(t.Context(), lost(reg, "", "x/1"), nil); !errors.Is(err, sale.ErrNone) {
		t.Errorf("look-up: %v", err)
	}
	if err := b.c.Probe(t.Context(), reg, secret.FromString(b.ks[reg])); err != nil {
		t.Fatal(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestKeyFits(t *testing.T) {
	for _, row := range []struct {
		host, key string
		want      string
	}{
		{"api.openfiskal.com", "ofk_reg_live_x", ""},
		{"api.openfiskal.com", "ofk_reg_x", ""},
		{"api.openfiskal.com", "ofk_reg_test_x", "a test key"},
		{"API.OpenFiskal.com.", "ofk_reg_sandbox_x", "a test key"},
		{"api.openfiskal.com", "ofk_platform_test_x", "a test key"},
		{"sandbox.api.openfiskal.com", "ofk_reg_live_x", "a live key"},
		{"sandbox.api.openfiskal.com", "ofk_platform_live_x", "a live key"},
		{"sandbox.api.openfiskal.com", "ofk_reg_test_x", ""},
		{"openfiskal.com", "ofk_reg_live_x", "a live key"},
		{"127.0.0.1", "ofk_reg_live_x", ""},
		{"notopenfiskal.com", "ofk_reg_live_x", ""},
	} {
		if got := fiscal.KeyFits(row.host, secret.FromString(row.key)); (got != nil) != (row.want != "") || got != nil && !strings.Contains(got.Error(), row.want) {
			t.Errorf("%s to %s: %v, want %q", row.key, row.host, got, row.want)
		}
	}
	sent := 0
	c, err := fiscal.New(fiscal.Options{BaseURL: "https://sandbox.api.openfiskal.com/v1", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		sent++
		return nil, errors.New("no")
	})}, keyRing{reg: "ofk_reg_live_CANARY"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), sale.Call{Register: reg, Step: sale.StepStart, Method: http.MethodPost, Path: "/registers/reg_1/sales", Body: []byte("{}")})
	problem(t, err, sale.KeyRefused, "wrong_host")
	if sent != 0 {
		t.Error("a live key went to the sandbox")
	}
}
