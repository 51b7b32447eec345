package card

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"4111111111111111", "************1111"},
		{"pan=4111111111111111;", "pan=************1111;"},
		{"PAN4111111111111111x", "PAN************1111x"},
		{"378282246310005", "***********0005"},
		{"4222222222222", "*********2222"},
		{"6304000000000000000", "***************0000"},
		{"7033400000000000008", "7033400000000000008"}, // its check digit is wrong
		{"4111111111111112", "4111111111111112"},
		{"41111111111111111111", "41111111111111111111"}, // 20 digits
		{"411111111116", "411111111116"},                 // 12
		{"4111 1111 1111 1111", "**** **** **** 1111"},
		{"4111-1111-1111-1111", "****-****-****-1111"},
		{"3782 822463 10005", "**** ****** *0005"},
		{"4111 1111-1111 1111", "4111 1111-1111 1111"},
		{"4111  1111 1111 1111", "4111  1111 1111 1111"},
		{"two: 4111111111111111, 5555555555554444", "two: ************1111, ************4444"},
		{"0000000000000000", "0000000000000000"},
		{"2026-11-22T08:33:00.250+01:00", "2026-11-22T08:33:00.250+01:00"},
		{"0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10", "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10"},
		{"ä4111111111111111ö", "ä************1111ö"},
		// Not of a card: digits of a UUID, of a hash, of a signature. Each holds a run
		// with a right check digit.
		{"ddd45fcf-7522-4560-8975-737cc29248f7", "ddd45fcf-7522-4560-8975-737cc29248f7"},
		{"sale-ddd45fcf-7522-4560-8975-737cc29248f7.", "sale-ddd45fcf-7522-4560-8975-737cc29248f7."},
		{"c4111111111111111fab03d9e", "c4111111111111111fab03d9e"},
		{"3045022100C4111111111111111FAB03D9E", "3045022100C4111111111111111FAB03D9E"},
		// Of a card, though letters of hexadecimal stand beside it: track 2 as chips give
		// it, a word before it, three groups of it in what is no UUID.
		{"4111111111111111D25121010000012345678F", "************1111D25121010000012345678F"},
		{"decade4111111111111111", "decade************1111"},
		{"4111-1111-1111-1111-abcd", "****-****-****-1111-abcd"},
		{"", ""},
	} {
		if got := Mask(row.text); got != row.want {
			t.Errorf("%q: got %q, want %q", row.text, got, row.want)
		}
		if got := Seen([]byte(row.text)); got != (row.text != row.want) {
			t.Errorf("%q: seen %v", row.text, got)
		}
	}
}

// What comes with every sale must not pass for a card: a UUID did once in 1,600, the
// signature of a charger's meter once in a hundred.
func TestSeenIsQuietAboutIdsAndSignatures(t *testing.T) {
	from := rand.New(rand.NewPCG(4, 2026))
	hit := 0
	for range 50_000 {
		b := make([]byte, 86)
		for i := range b {
			b[i] = byte(from.Uint32())
		}
		h := hex.EncodeToString(b)
		uuid := h[:8] + "-" + h[8:12] + "-7" + h[13:16] + "-9" + h[17:20] + "-" + h[20:32]
		if Seen([]byte(`{"sale_id":"` + uuid + `","ocmf":"OCMF|{}|{\"SD\":\"` + h[32:] + `\"}"}`)) {
			hit++
		}
	}
	if hit > 0 {
		t.Errorf("%d of 50,000 sales without a card pass for one with", hit)
	}
}

func TestMaskJSON(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{`{"a": 4111111111111111, "b":[1,"x 4111111111111111"]}` + "\n", `{"a": "************1111", "b":[1,"x ************1111"]}` + "\n"},
		{`{"4111111111111111":true}`, `{"************1111":true}`},
		{`"\u0034111111111111111"`, `"************1111"`},
		{`-4111111111111111`, `"-************1111"`},
		{`{"a":1.0,"b":"\u00e4"}`, `{"a":1.0,"b":"\u00e4"}`},
		{`{"cut":"4111111111111111`, `{"cut":"************1111`},
		{`4111111111111111 and more`, `************1111 and more`},
	} {
		if got := string(MaskJSON([]byte(row.text))); got != row.want {
			t.Errorf("%s: got %s, want %s", row.text, got, row.want)
		}
	}
}

func TestHandler(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(Handler(slog.NewJSONHandler(&b, nil))).With("with", "4111111111111111").WithGroup("g")
	const pan = "4111111111111111"
	l.Info("message "+pan, "string", pan, "error", errors.New("quotes "+pan), "number", 4111111111111111, slog.Group("in", "deep", pan),
		"value", valuer{}, "bytes", []string{pan}, "small", 42)
	if strings.Contains(b.String(), pan) || strings.Count(b.String(), "************1111") != 8 || !strings.Contains(b.String(), `"small":42`) {
		t.Errorf("logged: %s", b.String())
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue("4111111111111111") }

func FuzzMask(f *testing.F) {
	for _, s := range []string{"4111111111111111", `{"a":4111111111111111,"b":"\u0034111111111111111"}`, "4111 1111 1111 1111", "3782-822463-10005", "\xff4111111111111111", "1234567890123456789012", `{"a":[1,2,{"4111111111111111":-1e5}]} x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := Mask(s)
		if Seen([]byte(m)) && !strings.Contains(s, `\u00`) {
			t.Errorf("%q: %q still holds one", s, m)
		}
		if len(m) != len(s) || !Seen([]byte(s)) && m != s {
			t.Errorf("%q became %q", s, m)
		}
		j := MaskJSON([]byte(s))
		if json.Valid([]byte(s)) && (!json.Valid(j) || Seen(j)) {
			t.Errorf("%q became %q", s, j)
		}
	})
}

// What every accepted event pays.
func BenchmarkSeen(b *testing.B) {
	payload := []byte(`{"sale_id":"0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10","occurred_at":"2026-11-22T08:33:00+01:00","currency":"EUR","line_items":[{"description":"Super E10","product_ref":"E10","quantity":"42.37","unit":"l","unit_price":"1.799","amount":7622,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":7622,"card":{"scheme":"visa","last4":"4242"}}],"metadata":{"nozzle":"2","note":"` + strings.Repeat("x", 500) + `"}}`)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if Seen(payload) {
			b.Fatal("seen")
		}
	}
}
