package support

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"edgegw/card"
)

// secrets are texts with a secret in each, and what must be gone.
func secrets() map[string]string {
	kek := make([]byte, 32)
	_, _ = rand.Read(kek) // never fails
	drawn := rand.Text()
	code := drawn[:4] + "-" + drawn[4:8] + "-" + drawn[8:12] + "-" + drawn[12:16]
	return map[string]string{
		"key ofk_reg_live_0123456789abcdef refused":                           "0123456789abcdef",
		"OFK_PLAT_TEST_ABCDEF":                                                "ABCDEF",
		"x=ofk_z":                                                             "ofk_z",
		"Authorization: Bearer abc.def-ghi_jkl":                               "abc.def",
		"authorization=Basic dXNlcjpwYXNz":                                    "dXNl",
		"token edgegw_" + drawn[:8] + rand.Text():                             drawn[:8],
		"password of pump-01 is " + drawn:                                     drawn,
		"claim it with " + code:                                               code,
		"http://user:hunter2@proxy:3128/x":                                    "hunter2",
		"http://user:hun@ter2@proxy:3128/x":                                   "ter2",
		"mqtts://pump-01:" + drawn + "@10.0.0.2":                              drawn[:10],
		"kek " + hex.EncodeToString(kek):                                      hex.EncodeToString(kek)[:20],
		"kek " + base64.StdEncoding.EncodeToString(kek):                       base64.StdEncoding.EncodeToString(kek)[:20],
		`level=INFO password=hunter22 x=1`:                                    "hunter22",
		`level=INFO kek="hunter22" x=1`:                                       "hunter22",
		"AGE-SECRET-KEY-1QQQQQQQQQQQQ":                                        "QQQQ",
		"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\nafter": "MIGH",
		"-----BEGIN EC PRIVATE KEY-----\nMIGH\n":                              "MIGH",
		"paid with 4111 1111 1111 1111":                                       "4111 1111",
		"paid with 4111111111111111":                                          "41111",
	}
}

func TestRedact(t *testing.T) {
	for text, gone := range secrets() {
		clean := Redact(text)
		if strings.Contains(clean, gone) || clean == text {
			t.Errorf("%q stays in %q", gone, clean)
		}
		if again := Redact(clean); again != clean {
			t.Errorf("%q is redacted again, to %q", clean, again)
		}
		quoted, err := json.Marshal(map[string]any{"text": text, "n": 1, "list": []string{"after"}})
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if clean := RedactJSON(quoted); json.Unmarshal(clean, &v) != nil || strings.Contains(v["text"].(string), gone) || v["n"] != float64(1) || v["list"].([]any)[0] != "after" {
			t.Errorf("JSON: %q stays in %s", gone, clean)
		}
	}
	if s := Redact("-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\nafter"); s != "[redacted]\nafter" {
		t.Errorf("%q", s)
	}
}

// What people need to find a fault stays as it is.
func TestRedactLeavesOrdinaryTextAlone(t *testing.T) {
	for _, text := range []string{
		`time=2026-11-26T08:00:00.123456789Z level=WARN msg="register queue is blocked" register=reg_01HXYZABCDEFGHJKMNPQRSTVWX sale=pump-01/4711 code=validation_error`,
		"op_01JDK8Z0M3VQ4N8Y2T6W5XABCD", "0192f3a4-7b5c-7def-8123-456789abcdef", "http://127.0.0.1:8080/readyz", "edgegw_sales_accepted_total{register=\"reg_1\"} 12",
		"edgegw_openfiskal_request_duration_seconds_bucket{le=\"0.25\"} 7", "vcs.revision 8bc61805c73c26dde69e2489925bb880ac2ed3b6", "person:anna added tom", "the KEK: it is not there",
		"Total 7622 EUR of tse_2026-000001", "goroutine profile: total 53\n1 @ 0x47b2ae 0x40f1a5\n#\t0x8a1234\tedgegw/relay.(*Relay).Run+0x1a4\t/x/relay/relay.go:120", "ofk_…", "Enter the register key (ofk_)",
	} {
		if clean := Redact(text); clean != text {
			t.Errorf("%q became %q", text, clean)
		}
	}
	device := `{"device_id":"pump-01","password":true,"key":"active","key_hint":"…abcd","status":{"firmware":"1.2","n":1.50}}`
	if clean := RedactJSON([]byte(device)); string(clean) != device {
		t.Errorf("%s", clean)
	}
}

func TestRedactJSONSeesThroughEscapesAndNames(t *testing.T) {
	for _, text := range []string{
		`{"a":"\u006ffk_reg_live_hidden"}`, `{"ofk_reg_live_hidden":1}`, `{"password" : "hidden"}`, `{"Register_Key":"hidden"}`, `["x\"ofk_hidden\\"]`,
		`{"a":"http:\/\/u:hidden@h"}`, `{"a":"ofk_reg_live_hidden"} behind`,
	} {
		if clean := RedactJSON([]byte(text)); bytes.Contains(clean, []byte("hidden")) || json.Valid([]byte(text)) && !json.Valid(clean) {
			t.Errorf("%s became %s", text, clean)
		}
	}
	if clean := RedactJSON([]byte(`{"a":4111111111111111}`)); string(clean) != `{"a":"************1111"}` {
		t.Errorf("%s", clean)
	}
}

var anyKey = regexp.MustCompile(`[oO][fF][kK]_[A-Za-z0-9_-]`)

// No key and no card number survives, whatever stands around it, and JSON stays JSON.
func FuzzRedact(f *testing.F) {
	for text := range secrets() {
		f.Add(text)
	}
	f.Add(`{"a":"\u006ffk_x","password":"pass","b":[4111111111111111]}`)
	f.Add("ofk_ofk_http://a:ofk_@@@-----BEGIN PRIVATE KEY-----ofk_\xff1")
	f.Fuzz(func(t *testing.T, text string) {
		for _, around := range []string{text, text + "ofk_reg_live_abcdefgh", "ofk_reg_live_abcdefgh" + text, text + "4111111111111111"} {
			clean := Redact(around)
			if anyKey.MatchString(clean) {
				t.Errorf("%q became %q", around, clean)
			}
			if card.Mask(clean) != clean {
				t.Errorf("%q became %q, with a card's number", around, clean)
			}
		}
		for _, of := range []string{text, `{"a":` + text + `}`, `["` + text + `"]`} {
			clean := RedactJSON([]byte(of))
			if json.Valid([]byte(of)) && !json.Valid(clean) {
				t.Errorf("%s became %s", of, clean)
			}
			var v any
			_ = json.Unmarshal(clean, &v)
			if again, _ := marshal(v); anyKey.Match(clean) || anyKey.Match(again) {
				t.Errorf("%s became %s", of, clean)
			}
		}
	})
}
