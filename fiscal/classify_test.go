package fiscal_test

import (
	"fmt"
	"strings"
	"testing"

	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// Each row is one answer over real HTTPS to the complete of an open sale (or to
// its start), and the class that CONTRACT.md section 3 gives it.
func TestClassesOverTheWire(t *testing.T) {
	answer := func(status int, body string) sandbox.Fault {
		return sandbox.Fault{Action: sandbox.Answer, Status: status, Body: body}
	}
	rows := []struct {
		name    string
		fault   sandbox.Fault
		step    sale.Step // 0: complete
		attempt int       // 0: the first
		class   sale.Class
		code    string
	}{
		{"refused unread", sandbox.Fault{Action: sandbox.Refuse}, 0, 0, sale.InDoubt, "cut"},
		{"dropped unprocessed", sandbox.Fault{Action: sandbox.DropRequest}, 0, 0, sale.InDoubt, "cut"},
		{"dropped processed", sandbox.Fault{Action: sandbox.DropAnswer}, 0, 0, sale.InDoubt, "cut"},
		{"cut in half", sandbox.Fault{Action: sandbox.CutAnswer}, 0, 0, sale.InDoubt, "cut"},
		{"garbage", sandbox.Fault{Action: sandbox.Garbage}, 0, 0, sale.InDoubt, "unreadable"},
		{"empty", sandbox.Fault{Action: sandbox.Empty}, 0, 0, sale.InDoubt, "unreadable"},
		{"204", answer(204, ""), 0, 0, sale.InDoubt, "unreadable"},
		{"captive portal", sandbox.Fault{Action: sandbox.CaptivePortal}, 0, 0, sale.InDoubt, "captive_portal"},
		{"2xx without id", answer(200, `{"state":"completed"}`), 0, 0, sale.InDoubt, "unreadable"},
		{"2xx without state", answer(200, `{"id":"op_1"}`), 0, 0, sale.InDoubt, "unreadable"},
		{"2xx with something behind", answer(200, `{"id":"op_1","state":"completed"} x`), 0, 0, sale.InDoubt, "unreadable"},
		{"2xx of another operation", answer(200, `{"id":"op_other","state":"completed"}`), 0, 0, sale.InDoubt, "other_operation"},
		{"2xx of another sale", answer(201, `{"id":"op_other","state":"open","external_id":"y"}`), sale.StepStart, 0, sale.InDoubt, "other_operation"},
		{"2xx, and still open", answer(200, `{"id":"{op}","state":"open"}`), 0, 0, sale.InDoubt, "other_state"},
		{"2xx, and cancelled", answer(200, `{"id":"{op}","state":"cancelled"}`), 0, 0, sale.InDoubt, "other_state"},
		{"cancel that completed", answer(200, `{"id":"{op}","state":"completed"}`), sale.StepCancel, 0, sale.InDoubt, "other_state"},
		{"429", sandbox.Fault{Action: sandbox.Throttle}, 0, 0, sale.Throttled, "rate_limit_exceeded"},
		{"500", answer(500, "oops"), 0, 0, sale.Transient, "server_error"},
		{"502 in words", answer(502, ""), 0, 0, sale.Transient, "injected_fault"},
		{"503", answer(503, "<html>"), 0, 0, sale.Transient, "server_error"},
		{"511", answer(511, "<html>"), 0, 0, sale.Transient, "captive_portal"},
		{"408", answer(408, "x"), 0, 0, sale.Transient, "request_timeout"},
		{"425", answer(425, "x"), 0, 0, sale.Transient, "too_early"},
		{"401", answer(401, "x"), 0, 0, sale.KeyRefused, "unauthorized"},
		{"403", answer(403, "x"), 0, 0, sale.KeyRefused, "forbidden"},
		{"404 at the start", answer(404, "x"), sale.StepStart, 0, sale.RegisterUnknown, "register_not_found"},
		{"404 later", answer(404, "x"), 0, 0, sale.Resolve, "operation_not_found"},
		{"410 at the start", answer(410, "x"), sale.StepStart, 0, sale.RegisterUnknown, "register_gone"},
		{"409 first", answer(409, `{"code":"operation_not_open"}`), 0, 1, sale.Poison, "operation_not_open"},
		{"409 replayed", answer(409, `{"code":"operation_not_open"}`), 0, 2, sale.Resolve, "operation_not_open"},
		{"409 key conflict replayed", answer(409, `{"code":"idempotency_key_conflict"}`), 0, 2, sale.Resolve, "idempotency_key_conflict"},
		{"422 with fiscal errors", sandbox.Fault{Action: sandbox.SigningDown}, 0, 0, sale.SigningDown, "fiscalization_failed"},
		{"422 with fiscal errors, replayed", sandbox.Fault{Action: sandbox.SigningDown}, 0, 5, sale.SigningDown, "fiscalization_failed"},
		{"422 retryable", answer(422, `{"code":"validation_error","retryable":true}`), 0, 0, sale.SigningDown, "validation_error"},
		{"422 with no fiscal errors", answer(422, `{"code":"validation_error","fiscal_errors":[],"retryable":false}`), 0, 0, sale.Poison, "validation_error"},
		{"422 alone", answer(422, `{"code":"validation_error","fiscal_errors":null}`), 0, 0, sale.Poison, "validation_error"},
		{"422 with an odd field", answer(422, `{"code":7,"fiscal_errors":[{"code":"x"}]}`), 0, 0, sale.SigningDown, "fiscalization_failed"},
		{"400", answer(400, `{"code":"invalid_request"}`), 0, 0, sale.Poison, "invalid_request"},
		{"400 replayed", answer(400, "x"), 0, 9, sale.Poison, "invalid_request"},
		{"413", answer(413, "x"), 0, 0, sale.Poison, "body_too_large"},
		{"415", answer(415, "x"), 0, 0, sale.Poison, "unsupported_media_type"},
		{"402", answer(402, "x"), 0, 0, sale.Misconfigured, "unexpected_status"},
		{"405", answer(405, "x"), 0, 0, sale.Misconfigured, "unexpected_status"},
		{"407", answer(407, "x"), 0, 0, sale.Misconfigured, "unexpected_status"},
		{"418", answer(418, "x"), 0, 0, sale.Misconfigured, "unexpected_status"},
		{"423 retryable", answer(423, `{"retryable":true}`), 0, 0, sale.Transient, "unexpected_status"},
		{"600", answer(600, "x"), 0, 0, sale.InDoubt, "unexpected_status"},
		{"999", answer(999, "x"), 0, 0, sale.InDoubt, "unexpected_status"},
	}
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		f := sandbox.Fault{Action: sandbox.Redirect, Status: status, Location: "https://elsewhere.test/login"}
		rows = append(rows, struct {
			name    string
			fault   sandbox.Fault
			step    sale.Step
			attempt int
			class   sale.Class
			code    string
		}{fmt.Sprint(status), f, 0, 0, sale.Misconfigured, "redirect"})
	}
	b, _ := overTLS(t, sandbox.Options{}, 0)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b.t = t
			op := b.open("x/" + row.name)
			step := row.step
			if step == 0 {
				step = sale.StepComplete
			}
			if row.fault.Body != "" {
				row.fault.Body = replaceOp(row.fault.Body, op)
			}
			row.fault.Times = 1
			b.s.Inject(row.fault)
			c := call(step, op, "x/"+row.name)
			c.Attempts = max(row.attempt, 1)
			_, err := b.c.Do(t.Context(), c)
			p := problem(t, err, row.class, row.code)
			if p.Detail == "" && row.class == sale.InDoubt {
				t.Error("no words for people")
			}
			if n := len(b.s.Faults()); n != 0 {
				t.Errorf("%d faults left: the request did not arrive", n)
			}
			b.s.ClearFaults()
		})
	}
}

// The refusals of an honest service, without a fault in between.
func TestClassesOfRealRefusals(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(b bench, c *sale.Call)
		class sale.Class
		code  string
		param string
	}{
		{"a field nobody knows", func(_ bench, c *sale.Call) { c.Body = []byte(`{"payment":[]}`) }, sale.Poison, "invalid_request", "payment"},
		{"payments that do not add up", func(_ bench, c *sale.Call) {
			c.Body = []byte(`{"payments":[{"method":"cash","direction":"inbound","amount":1}]}`)
		}, sale.Poison, "payment_total_mismatch", "payments"},
		{"a revoked key", func(b bench, _ *sale.Call) { b.s.Rotate(string(reg)) }, sale.KeyRefused, "unauthorized", ""},
		{"the key of another register", func(b bench, c *sale.Call) {
			b.ks[reg] = b.s.MustAddRegister("reg_2")
			*c = call(sale.StepStart, newUUID(), "x/9")
		}, sale.KeyRefused, "forbidden", ""},
		{"a register that is gone", func(b bench, c *sale.Call) {
			b.s.SetUnknown(string(reg), true)
			*c = call(sale.StepStart, newUUID(), "x/9")
		}, sale.RegisterUnknown, "register_not_found", ""},
		{"an operation that is not there", func(_ bench, c *sale.Call) { c.Operation = newUUID() }, sale.Resolve, "operation_not_found", ""},
		{"an end after the end", func(b bench, c *sale.Call) {
			b.must(*c)
			c.IdempotencyKey, c.Attempts = newUUID(), 2
		}, sale.Resolve, "operation_not_open", ""},
		{"other bytes under a used idempotency key", func(b bench, c *sale.Call) {
			b.must(*c)
			c.Body = append(c.Body, ' ')
		}, sale.Poison, "idempotency_key_conflict", "Idempotency-Key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, sandbox.Options{})
			c := call(sale.StepComplete, b.open("x/1"), "x/1")
			row.spoil(b, &c)
			_, err := b.c.Do(t.Context(), c)
			p := problem(t, err, row.class, row.code)
			if p.Param != row.param || p.RequestID == "" || p.Detail == "" || len(p.Body) == 0 {
				t.Errorf("problem %+v", p)
			}
		})
	}
}

func replaceOp(body, op string) string { return strings.ReplaceAll(body, "{op}", op) }
