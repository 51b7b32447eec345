package sale

import (
	"bytes"
	"hash/crc32"
	"strings"
	"testing"
)

const goldenText = 0xafb7cc6b

func TestTake(t *testing.T) {
	open := Record{No: 1, Currency: "EUR", State: Waiting, Opened: Start}
	ended := func(k Kind) Record { r := open; r.End = k; return r }
	quarantined := func(r Record) Record { r.State = Quarantine; return r }
	closed := func(r Record) Record { r.State = ByPerson; return r }
	whole := Record{No: 1, Currency: "EUR", State: Waiting, Opened: Whole, End: Whole}
	alone := Record{No: 1, Currency: "EUR", State: Waiting, Opened: Complete, End: Complete}
	for _, c := range []struct {
		name  string
		sale  Record
		event Event
		want  Fate
		code  string
	}{
		{"start begins", Record{}, Event{Kind: Start}, Open, ""},
		{"whole begins", Record{}, Event{Kind: Whole}, Open, ""},
		{"complete with currency begins", Record{}, Event{Kind: Complete, Currency: "EUR"}, Open, ""},
		{"complete without currency has no start", Record{}, Event{Kind: Complete}, Refuse, "start_missing"},
		{"update has no start", Record{}, Event{Kind: Update}, Refuse, "start_missing"},
		{"cancel has no start", Record{}, Event{Kind: Cancel}, Refuse, "start_missing"},
		{"start again", open, Event{Kind: Start}, Compare, ""},
		{"update of an open sale", open, Event{Kind: Update}, Continue, ""},
		{"complete of an open sale", open, Event{Kind: Complete}, Continue, ""},
		{"cancel of an open sale", open, Event{Kind: Cancel}, Continue, ""},
		{"whole after start", open, Event{Kind: Whole}, Refuse, "already_started"},
		{"complete in another currency", open, Event{Kind: Complete, Currency: "USD"}, Refuse, "invalid"},
		{"complete in the same currency", open, Event{Kind: Complete, Currency: "EUR"}, Continue, ""},
		{"complete again", ended(Complete), Event{Kind: Complete}, Compare, ""},
		{"start again after the end", ended(Complete), Event{Kind: Start}, Compare, ""},
		{"cancel after complete", ended(Complete), Event{Kind: Cancel}, Refuse, "sale_ended"},
		{"complete after cancel", ended(Cancel), Event{Kind: Complete}, Refuse, "sale_ended"},
		{"update after complete", ended(Complete), Event{Kind: Update}, Compare, "sale_ended"},
		{"whole again", whole, Event{Kind: Whole}, Compare, ""},
		{"start after whole", whole, Event{Kind: Start}, Refuse, "sale_ended"},
		{"complete after whole", whole, Event{Kind: Complete}, Refuse, "sale_ended"},
		{"lone complete again", alone, Event{Kind: Complete, Currency: "EUR"}, Compare, ""},
		{"late start of a lone complete", alone, Event{Kind: Start}, Refuse, "sale_ended"},
		{"complete of a quarantined sale", quarantined(open), Event{Kind: Complete}, Follow, ""},
		{"start again of a quarantined sale", quarantined(open), Event{Kind: Start}, Compare, ""},
		{"money for a sale a person has closed", closed(open), Event{Kind: Complete}, Reopen, ""},
		{"an update of a sale a person has closed", closed(open), Event{Kind: Update}, Follow, ""},
		{"a cancel of a sale a person has closed", closed(open), Event{Kind: Cancel}, Follow, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fault := c.sale.Take(&c.event)
			code := ""
			if fault != nil {
				code = fault.Code
			}
			if got != c.want || code != c.code {
				t.Errorf("got %d %q, want %d %q", got, code, c.want, c.code)
			}
		})
	}
}

func TestSameContent(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1}`, `{"a":1}`, true},
		{`{"a":1,"b":2}`, `{ "b":2, "a":1 }`, true},
		{`{"a":1,"seq":1}`, `{"a":1,"seq":2}`, true},
		{`{"a":1.0}`, `{"a":1}`, false},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`x`, `x`, true},
		{`x`, `y`, false},
	} {
		if got := SameContent([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("%s / %s: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestFreezeThaw(t *testing.T) {
	calls := []Call{
		{Index: 0, Step: StepStart, Method: "POST", Path: "/registers/reg_1/sales", Body: []byte(`{"id":"x"}`), IdempotencyKey: "k1"},
		{Index: 1, Step: StepUpdate, Method: "PATCH", Path: "/sales/{operation}", Body: []byte{}, IdempotencyKey: "k2"},
	}
	frozen := Freeze(calls, nil)
	got, err := Thaw(frozen, nil)
	if err != nil || len(got) != 2 {
		t.Fatalf("thawed %v, %v", got, err)
	}
	for i := range got {
		if got[i].Step != calls[i].Step || got[i].Path != calls[i].Path || got[i].IdempotencyKey != calls[i].IdempotencyKey ||
			got[i].Method != calls[i].Method || !bytes.Equal(got[i].Body, calls[i].Body) || got[i].Index != i {
			t.Errorf("call %d: %+v", i, got[i])
		}
	}
	for n := range frozen {
		if _, err := Thaw(frozen[:n], nil); err == nil {
			t.Fatalf("thawed from the first %d bytes", n)
		}
	}
	if _, err := Thaw(append(frozen, 0), nil); err == nil {
		t.Error("thawed with a byte too many")
	}
}

func TestIdentifiers(t *testing.T) {
	for id, want := range map[DeviceID]bool{"pump-07": true, "7": true, "site": false, "": false, "-x": false, "Pump": false, "a/b": false,
		"..": false, "#": false, "+": false, "a\x00": false, "ä": false} {
		if id.Valid() != want {
			t.Errorf("DeviceID(%q).Valid() = %v", id, !want)
		}
	}
	for id, want := range map[RegisterID]bool{"reg_01HXYZ": true, "": false, "../x": false, "a/b": false, "..": false, "%2e": false, "a?x": false, "a#": false, "a b": false} {
		if id.Valid() != want {
			t.Errorf("RegisterID(%q).Valid() = %v", id, !want)
		}
	}
}

func TestFrozenCallsAreDifferencesToTheEvent(t *testing.T) {
	raw := []byte(strings.Replace(completeJSON, "Super", "Super with a rather long description of its own", 1))
	calls := []Call{{Step: StepUpdate, Method: "PATCH", Path: "/sales/{operation}", IdempotencyKey: "0192f1de-7c1a-4b3e-9c51-6f0f6d1d2a10",
		Body: append([]byte(`{"occurred_at":"2026-11-22T08:33:00+01:00","line_items":`), raw[100:]...)}}
	frozen := Freeze(calls, raw)
	if len(frozen) > len(calls[0].Body)/2 {
		t.Errorf("%d bytes for a body of %d", len(frozen), len(calls[0].Body))
	}
	got, err := Thaw(frozen, raw)
	if err != nil || !bytes.Equal(got[0].Body, calls[0].Body) {
		t.Errorf("thawed %s, %v", got[0].Body, err)
	}
	other := bytes.Replace(raw, []byte("7622"), []byte("7623"), 1)
	if _, err := Thaw(frozen, other); err == nil {
		t.Error("calls were put together from other bytes than the device's")
	}
}

// frozenText is part of the stored form: a changed byte makes every waiting
// call unreadable.
func TestFrozenTextNeverChanges(t *testing.T) {
	if got := crc32.Checksum([]byte(frozenText), castagnoli); got != goldenText {
		t.Errorf("frozenText has changed: its checksum is %#x; add a version instead", got)
	}
}

func FuzzFreeze(f *testing.F) {
	f.Add([]byte(completeJSON), []byte(startJSON), 3)
	f.Add([]byte(`{"id":"","external_id":""`), []byte{}, 1)
	f.Fuzz(func(t *testing.T, body, raw []byte, n int) {
		if len(raw) > MaxPayload {
			return
		}
		calls := make([]Call, n&3)
		for i := range calls {
			calls[i] = Call{Index: i, Step: Step(i), Method: "POST", Path: string(body), Body: body, IdempotencyKey: "k"}
		}
		got, err := Thaw(Freeze(calls, raw), raw)
		if err != nil || len(got) != len(calls) {
			t.Fatal(err)
		}
		for i := range got {
			if !bytes.Equal(got[i].Body, body) || got[i].Path != string(body) {
				t.Fatalf("call %d: %q", i, got[i].Body)
			}
		}
		Thaw(body, raw) // must not panic
		Thaw(append([]byte{frozenVersion, 0, 0, 0, 0}, body...), raw)
	})
}

func BenchmarkFreeze(b *testing.B) {
	raw := []byte(completeJSON)
	calls := []Call{{Method: "POST", Body: raw[:400]}, {Method: "PATCH", Body: raw}, {Method: "POST", Body: raw[300:]}}
	b.ReportAllocs()
	for b.Loop() {
		Freeze(calls, raw)
	}
}
