package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "ofk_reg_live_CANARY_0123456789"

// Every printer that could meet a secret, alone and hidden in structs.
func TestNoPrinterShowsIt(t *testing.T) {
	type hidden struct{ key Text }
	type Shown struct {
		Key Text
		Ptr *Text
		in  hidden
		m   map[string]Text
	}
	k := FromString(canary)
	v := Shown{Key: k, Ptr: &k, in: hidden{k}, m: map[string]Text{"a": k}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		for _, x := range []any{k, &k, v, &v, []Text{k}, hidden{k}, error(fmt.Errorf("with %v", k))} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "key", k, "ptr", &k, "struct", v, "hidden", hidden{k})
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	func() {
		defer func() { fmt.Fprintln(&out, recover()) }()
		panic(v)
	}()
	text := strings.ToLower(out.String())
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprint([]byte(canary))} {
		if strings.Contains(text, strings.ToLower(form)) {
			t.Errorf("printed as %q in\n%s", form, text)
		}
	}
	if !strings.Contains(text, Redacted) {
		t.Error("nothing says that something was left out")
	}
}

func TestText(t *testing.T) {
	a, b := FromString("x"), FromString("x")
	if !a.Equal(b) || a.Equal(FromString("y")) || a.Equal(Text{}) || !(Text{}).Empty() || a.Empty() {
		t.Error("Equal or Empty is wrong")
	}
	a.Wipe()
	if string(a.Reveal()) != "\x00" || string(b.Reveal()) != "x" {
		t.Error("Wipe is wrong")
	}
}
