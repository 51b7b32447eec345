package sale

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// theAnswer is what a completed sale of Germany looks like.
const theAnswer = `{"id":"00000000-0000-4000-8000-000000000001","object":"operation","type":"sale","state":"completed","register_id":"reg_1","location_id":"loc_sandbox","organization_id":"org_sandbox","external_id":"pump-1/4711","sequence_number":1,"cashier":{"id":"p","display_name":"P"},"fiscal":{"regime":"tse","document_type":"Kassenbeleg","transmission_status":"not_required","fiscal_unit_id":"fu_01000000000001","document_number":"2026-000001","transmitted_at":null,"verification":{"url":null,"qr_data":"V0;Kasse reg_1;ecdsa-plain-SHA256;2026-11-22T08:33:00Z;2026-11-22T08:33:00Z;12.00;2;T1EAIrOYocmE7s5PuNpAie2JkClmxEpzLa3iDi9MCAdN4o7VHF7MQBeHKcx9UUBjyvhIJvYYko4iSTvy7NRanw=="},"tse_serial":"481aa6715c9f4b32facf023637cc0846","client_id":"Kasse reg_1","signature_algorithm":"ecdsa-plain-SHA256","time_format":"utcTime","start_event":{"signed_at":"2026-11-22T08:33:00Z","transaction_counter":1,"signature":"SexcpuvlxuhOdQWoUTL9Y1nO/Dtrda4OpJ+1eWoUI0m+XkrnsPmzUzH16pXpuxGhZxqiEuRnY5TnAuwIPNb9MQ=="},"end_event":{"signed_at":"2026-11-22T08:33:00Z","transaction_counter":2,"signature":"T1EAIrOYocmE7s5PuNpAie2JkClmxEpzLa3iDi9MCAdN4o7VHF7MQBeHKcx9UUBjyvhIJvYYko4iSTvy7NRanw==","process_type":"Kassenbeleg-V1","process_data":"Beleg^12.00_0.00_0.00_0.00_0.00^12.00:Unbar"}},"fiscal_state":"succeeded","references":{"original_operation_id":null,"reason":null},"metadata":{},"started_at":"2026-11-22T08:33:00Z","completed_at":"2026-11-22T08:33:00Z","created_at":"2026-11-22T08:33:00Z","data":{"currency":"EUR","line_items":[{"id":"li_1_01","position":1,"description":"E10","quantity":1,"unit":"piece","unit_price_gross":1200,"product_ref":null,"flags":[],"subtotal_gross":1200,"line_discounts":[],"line_discount_amount":0,"subtotal_after_line_discounts":1200,"cart_discount_allocations":[],"cart_discount_amount":0,"total_gross":1200,"tax":{"rate":"0.19","category":"standard","net_amount":1008,"tax_amount":192}}],"totals":{"subtotal_gross":1200,"total_line_discounts":0,"subtotal_after_line_discounts":1200,"total_cart_discounts":0,"subtotal_after_all_discounts":1200,"rounding_adjustment":0,"total_gross":1200,"total_net":1008,"total_tax":192,"tax_breakdown":[{"rate":"0.19","category":"standard","taxable_amount":1008,"tax_amount":192}],"net_payable":1200},"payments":[{"id":"pay_01","method":"card","direction":"inbound","amount":1200,"currency":"EUR","reference":null,"status":"approved"}]}}`

// slowAnswer is ParseAnswer as encoding/json would have it: the yardstick of what it
// understands.
func slowAnswer(status int, requestID string, body []byte) (Answer, error) {
	var op struct {
		ID          string          `json:"id"`
		ExternalID  string          `json:"external_id"`
		State       string          `json:"state"`
		FiscalState string          `json:"fiscal_state"`
		CompletedAt string          `json:"completed_at"`
		Fiscal      json.RawMessage `json:"fiscal"`
	}
	if err := json.Unmarshal(body, &op); err != nil || !ValidOperation(op.ID) || op.State == "" {
		return Answer{}, errAnswer
	}
	var fiscal struct {
		State    string `json:"state"`
		Document string `json:"document_number"`
	}
	if len(op.Fiscal) > 0 {
		_ = json.Unmarshal(op.Fiscal, &fiscal)
	}
	if op.FiscalState == "" {
		op.FiscalState = fiscal.State
	}
	if string(op.Fiscal) == "null" {
		op.Fiscal = nil
	}
	return Answer{Status: status, RequestID: requestID, Body: body, Operation: op.ID, ExternalID: op.ExternalID,
		State: op.State, FiscalState: op.FiscalState, DocumentNumber: fiscal.Document, CompletedAt: op.CompletedAt,
		Fiscal: op.Fiscal}, nil
}

var answerRows = []struct {
	name, body, operation, state, fiscalState, document, fiscal string // no operation: not an answer
}{
	{"a whole sale", theAnswer, "00000000-0000-4000-8000-000000000001", "completed", "succeeded", "2026-000001", `{"regime":"tse"`},
	{"the least", ` {"id":"op_1","state":"open"} `, "op_1", "open", "", "", ""},
	{"members of null", `{"id":"op_1","state":"open","external_id":null,"fiscal_state":null,"fiscal":null,"completed_at":null}`, "op_1", "open", "", "", ""},
	{"the state inside fiscal", `{"id":"op_1","state":"completed","fiscal":{"state":"pending","document_number":"7"}}`, "op_1", "completed", "pending", "7", `{"state"`},
	{"the state at the top counts", `{"fiscal":{"state":"pending"},"fiscal_state":"failed","id":"op_1","state":"completed"}`, "op_1", "completed", "failed", "", `{"state"`},
	{"a fiscal block of another shape", `{"id":"op_1","state":"open","fiscal":[1,{"state":"x"}]}`, "op_1", "open", "", "", `[1,`},
	{"a document number that is none", `{"id":"op_1","state":"open","fiscal":{"document_number":7,"state":"pending"}}`, "op_1", "open", "pending", "", `{"document`},
	{"escapes", `{"\u0069d":"op_\u0031","state":"op\u0065n"}`, "op_1", "open", "", "", ""},
	{"the last of two counts", `{"id":"op_1","id":"op_2","state":"open"}`, "op_2", "open", "", "", ""},
	{"no id", `{"state":"open"}`, "", "", "", "", ""},
	{"no state", `{"id":"op_1"}`, "", "", "", "", ""},
	{"an id that no path takes", `{"id":"../op_1","state":"open"}`, "", "", "", "", ""},
	{"a state of another type", `{"id":"op_1","state":1}`, "", "", "", "", ""},
	{"cut short", `{"id":"op_1","state":"open"`, "", "", "", "", ""},
	{"cut inside a member that nobody reads", `{"id":"op_1","state":"open","data":{"a":[1,2`, "", "", "", "", ""},
	{"something behind it", `{"id":"op_1","state":"open"}x`, "", "", "", "", ""},
	{"a list", `[{"id":"op_1","state":"open"}]`, "", "", "", "", ""},
	{"nothing", "", "", "", "", "", ""},
	{"a page for people", "<html>", "", "", "", "", ""},
	{"deep", `{"id":"op_1","state":"open","metadata":` + strings.Repeat(`{"a":[`, 200) + "1" + strings.Repeat(`]}`, 200) + `}`, "op_1", "open", "", "", ""},
}

func TestParseAnswer(t *testing.T) {
	for _, row := range answerRows {
		t.Run(row.name, func(t *testing.T) {
			got, err := ParseAnswer(201, "req_1", []byte(row.body))
			if (err == nil) != (row.operation != "") {
				t.Fatalf("got %v, want an answer: %v", err, row.operation != "")
			}
			if got.Operation != row.operation || got.State != row.state || got.FiscalState != row.fiscalState || got.DocumentNumber != row.document || !strings.HasPrefix(string(got.Fiscal), row.fiscal) {
				t.Errorf("got %+v", got)
			}
			want, _ := slowAnswer(201, "req_1", []byte(row.body))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// FuzzParseAnswer: what one reads the other one reads as well, and the same. Names are
// compared by their letters here, and without regard to case there.
func FuzzParseAnswer(f *testing.F) {
	for _, row := range answerRows {
		f.Add([]byte(row.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !utf8.Valid(body) || strings.ToLower(string(body)) != string(body) || strings.ContainsAny(string(body), "ſ\\") {
			return
		}
		got, err := ParseAnswer(200, "", body)
		want, wrong := slowAnswer(200, "", body)
		if (err == nil) != (wrong == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v, %v", body, got, err, want, wrong)
		}
	})
}

func BenchmarkParseAnswer(b *testing.B) {
	body := []byte(theAnswer)
	for name, parse := range map[string]func(int, string, []byte) (Answer, error){"ours": ParseAnswer, "encoding_json": slowAnswer} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := parse(201, "", body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
