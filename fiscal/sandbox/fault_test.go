package sandbox_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
)

// Each row breaks one complete of an open sale, in process.
func TestFaults(t *testing.T) {
	for _, row := range []struct {
		name      string
		fault     sandbox.Fault
		err       error // what the client sees instead of an answer
		status    int
		contains  string
		processed bool
	}{
		{"pass", sandbox.Fault{}, nil, 200, `"completed"`, true},
		{"refuse", sandbox.Fault{Action: sandbox.Refuse}, syscall.ECONNREFUSED, 0, "", false},
		{"drop the request", sandbox.Fault{Action: sandbox.DropRequest}, syscall.ECONNRESET, 0, "", false},
		{"drop the answer", sandbox.Fault{Action: sandbox.DropAnswer}, syscall.ECONNRESET, 0, "", true},
		{"cut the answer", sandbox.Fault{Action: sandbox.CutAnswer}, io.ErrUnexpectedEOF, 0, "", true},
		{"any answer", sandbox.Fault{Action: sandbox.Answer, Status: 418, Body: "tea"}, nil, 418, "tea", false},
		{"answer without a body", sandbox.Fault{Action: sandbox.Answer, Status: 503}, nil, 503, `"object":"error"`, false},
		{"cut a refusal", sandbox.Fault{Action: sandbox.Answer, Status: 422, Cut: true}, io.ErrUnexpectedEOF, 0, "", false},
		{"process, then answer", sandbox.Fault{Action: sandbox.ProcessThenAnswer, Status: 502, Body: "bad"}, nil, 502, "bad", true},
		{"garbage", sandbox.Fault{Action: sandbox.Garbage}, nil, 200, `{"id":"op_`, false},
		{"empty", sandbox.Fault{Action: sandbox.Empty}, nil, 200, "", false},
		{"captive portal", sandbox.Fault{Action: sandbox.CaptivePortal}, nil, 200, "<html>", false},
		{"redirect", sandbox.Fault{Action: sandbox.Redirect, Location: "https://elsewhere.test/"}, nil, 307, "", false},
		{"throttle", sandbox.Fault{Action: sandbox.Throttle, RetryAfter: "7"}, nil, 429, "rate_limit_exceeded", false},
		{"signing down", sandbox.Fault{Action: sandbox.SigningDown}, nil, 422, "tse_unreachable", false},
		{"of another register", sandbox.Fault{Action: sandbox.Refuse, Register: "reg_2"}, nil, 200, "", true},
		{"of another step", sandbox.Fault{Action: sandbox.Refuse, Step: sandbox.StepCancel}, nil, 200, "", true},
		{"of another method", sandbox.Fault{Action: sandbox.Refuse, Method: "GET"}, nil, 200, "", true},
		{"of this one", sandbox.Fault{Action: sandbox.Refuse, Method: "POST", Step: sandbox.StepComplete, Register: reg}, syscall.ECONNREFUSED, 0, "", false},
		{"skips the first", sandbox.Fault{Action: sandbox.Refuse, Skip: 1}, nil, 200, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, sandbox.Options{})
			id := c.open("x/1")
			c.must(200, "PATCH", "/sales/"+id, content)
			c.s.Inject(row.fault)
			got, err := c.send("POST", "/sales/"+id+"/complete", paid)
			if !errors.Is(err, row.err) {
				t.Fatalf("error %v, want %v", err, row.err)
			}
			if got.status != row.status || !strings.Contains(got.raw, row.contains) {
				t.Errorf("status %d, body %q; want %d, %q", got.status, got.raw, row.status, row.contains)
			}
			if done := c.s.Operations(reg)[0].State == "completed"; done != row.processed {
				t.Errorf("processed %v, want %v", done, row.processed)
			}
		})
	}
}

func TestFaultsAreCountedAndVanish(t *testing.T) {
	rolls := []int{10, 90}
	c := newClient(t, sandbox.Options{Rand: func(int) int { v := rolls[0]; rolls = append(rolls[1:], v); return v }})
	c.s.Inject(sandbox.Fault{Action: sandbox.Answer, Status: 500, Times: 2})
	forever := c.s.Inject(sandbox.Fault{Action: sandbox.Answer, Status: 503, Percent: 50})
	for i, want := range []int{500, 500, 503, 200, 503, 200} {
		if got := c.must(want, "GET", "/registers/"+reg, ""); got.status != want {
			t.Errorf("request %d: %d, want %d", i, got.status, want)
		}
	}
	if f := c.s.Faults(); len(f) != 1 || f[0].ID != forever || f[0].Hits != 2 {
		t.Errorf("faults %+v", f)
	}
	if !c.s.Remove(forever) || c.s.Remove(forever) {
		t.Error("a rule can be removed once")
	}
}

func TestDownAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, sandbox.Options{})
		c.s.SetDown(true)
		_, err := c.send("GET", "/registers/"+reg, "")
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("error %v, want a dial error", err)
		}
		c.s.SetDown(false)
		c.s.SetLatency(3 * time.Second)
		begin := time.Now()
		c.must(200, "GET", "/registers/"+reg, "")
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
		// The uplink that goes while a request is under way takes its answer along.
		broke := make(chan error)
		go func() {
			_, err := c.send("POST", "/registers/"+reg+"/sales", startBody(newUUID(), "x/1"))
			broke <- err
		}()
		synctest.Wait()
		c.s.SetDown(true)
		if err := <-broke; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("error %v, want a reset", err)
		}
		if n := len(c.s.Operations("")); n != 0 {
			t.Errorf("%d operations from a request that did not arrive", n)
		}
	})
}

func TestPendingSettlesByTheClock(t *testing.T) {
	for _, end := range []string{"succeeded", "failed"} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, sandbox.Options{})
			c.s.Inject(sandbox.Fault{Action: sandbox.Pend, Step: sandbox.StepComplete, PendFor: time.Minute, PendTo: end})
			id := c.sell("x/1")
			got := c.must(200, "GET", "/sales/"+id, "")
			if got.text("state") != "completed" || got.text("fiscal_state") != "pending" || got.text("fiscal.end_event") != "" || got.text("fiscal.document_number") != "" {
				t.Errorf("pending: %s", got.raw)
			}
			<-time.After(time.Minute)
			got = c.must(200, "GET", "/sales/"+id, "")
			if got.text("fiscal_state") != end || (got.text("fiscal.end_event") != "") != (end == "succeeded") {
				t.Errorf("settled: %s", got.raw)
			}
		})
	}
}
