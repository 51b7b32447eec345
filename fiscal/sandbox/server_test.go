package sandbox_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal/sandbox"
)

// overTheWire starts a server and a client for it.
func overTheWire(t *testing.T, o sandbox.Options, http2 bool) (*sandbox.Service, *sandbox.Server, *http.Client) {
	t.Helper()
	s := sandbox.New(o)
	v, err := s.ListenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(v.CAPEM()) {
		t.Fatal("no CA certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: http2}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := v.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := v.Close(); err != nil {
			t.Errorf("close twice: %v", err)
		}
	})
	return s, v, &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func call(t *testing.T, h *http.Client, method, url, key, body string) (reply, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = nil
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("X-Register-Api-Key", key)
		r.Header.Set("Idempotency-Key", newUUID())
	}
	res, err := h.Do(r)
	if err != nil {
		return reply{}, err
	}
	out, err := read(res)
	out.proto = res.Proto
	return out, err
}

func TestOverTheWire(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s, v, h := overTheWire(t, sandbox.Options{}, http2)
		key := s.MustAddRegister(reg)
		sell := func() (reply, error) {
			return call(t, h, "POST", v.URL()+"/registers/"+reg+"/sales", key, startBody(newUUID(), "x/1"))
		}
		got, err := sell()
		if err != nil || got.status != 201 {
			t.Fatalf("http2=%v: %v %s", http2, err, got.raw)
		}
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; got.proto != want {
			t.Errorf("protocol %s, want %s", got.proto, want)
		}
		for _, a := range []sandbox.Action{sandbox.Refuse, sandbox.DropRequest, sandbox.DropAnswer, sandbox.CutAnswer} {
			s.Inject(sandbox.Fault{Action: a, Times: 1})
			if got, err := sell(); err == nil {
				t.Errorf("http2=%v, %s: answer %d %s, want an error", http2, a, got.status, got.raw)
			}
		}
		if n := len(s.Operations("")); n != 3 {
			t.Errorf("%d operations, want 3: two faults process", n)
		}
		s.SetDown(true)
		if _, err := sell(); err == nil {
			t.Error("an answer while the uplink is cut")
		}
		s.SetDown(false)
		if got, err := sell(); err != nil || got.status != 201 {
			t.Errorf("after the cut: %v %s", err, got.raw)
		}
		v.CutConnections()
		if got, err := sell(); err != nil || got.status != 201 {
			// A client may meet the reset once; then it has a new connection.
			if got, err = sell(); err != nil || got.status != 201 {
				t.Errorf("after cut connections: %v %s", err, got.raw)
			}
		}
	}
}

func TestPlainIsForLoopbackOnly(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	for _, addr := range []string{":0", "0.0.0.0:0", "192.0.2.1:0", "nonsense"} {
		if v, err := s.Listen(addr); err == nil {
			t.Errorf("plain HTTP on %s", v.Origin())
		}
	}
	v, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	if got, err := call(t, http.DefaultClient, "GET", v.URL()+"/registers/x", "", ""); err != nil || got.status != 401 {
		t.Errorf("%v %+v", err, got)
	}
	if got, err := call(t, http.DefaultClient, "GET", v.Origin()+"/_sandbox/faults", "", ""); err != nil || got.status != 404 {
		t.Errorf("control paths without Options.Control: %v %+v", err, got)
	}
}

func TestControl(t *testing.T) {
	_, v, h := overTheWire(t, sandbox.Options{Control: true}, true)
	at := func(path string) string { return v.Origin() + "/_sandbox/" + path }
	must := func(status int, method, url, body string) reply {
		t.Helper()
		got, err := call(t, h, method, url, "", body)
		if err != nil || got.status != status {
			t.Fatalf("%s %s: %v %d %s", method, url, err, got.status, got.raw)
		}
		return got
	}
	made := must(201, "POST", at("registers"), `{"id":"reg_7","jurisdiction":"AT"}`)
	must(409, "POST", at("registers"), `{"id":"reg_7"}`)
	must(409, "POST", at("registers"), `{"id":"../x"}`)
	key := made.text("register_api_key")
	for _, bad := range []string{`{"action":"explode"}`, `{"action":"pass","before":"soon"}`, `{"act":"pass"}`, `{"percent":101}`, `{"step":"refund"}`, `{`} {
		must(400, "POST", at("faults"), bad)
	}
	must(201, "POST", at("faults"), `{"step":"probe","action":"throttle","retry_after":"3","before":"1ms","times":5}`)
	got, err := call(t, h, "GET", v.URL()+"/registers/reg_7", key, "")
	if err != nil || got.status != 429 || got.header.Get("Retry-After") != "3" {
		t.Errorf("fault: %v %+v", err, got)
	}
	var list struct{ Faults []map[string]any }
	if err := json.NewDecoder(bytes.NewReader([]byte(must(200, "GET", at("faults"), "").raw))).Decode(&list); err != nil || len(list.Faults) != 1 ||
		list.Faults[0]["before"] != "1ms" || list.Faults[0]["hits"] != 1.0 {
		t.Errorf("faults: %v %v", err, list)
	}
	must(404, "DELETE", at("faults/9"), "")
	must(200, "DELETE", at("faults/1"), "")
	must(201, "POST", at("faults"), `{"action":"refuse"}`)
	must(200, "DELETE", at("faults"), "")
	if got, err := call(t, h, "GET", v.URL()+"/registers/reg_7", key, ""); err != nil || got.status != 200 {
		t.Errorf("after removal: %v %+v", err, got)
	}
	ledger := must(200, "GET", at("ledger"), "")
	if !strings.Contains(ledger.raw, `"step":"probe"`) || strings.Contains(ledger.raw, key) {
		t.Errorf("ledger: %s", ledger.raw)
	}
	must(404, "GET", at("nothing"), "")
}
