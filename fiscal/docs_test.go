package fiscal

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

var update = flag.Bool("update", false, "write the tables of docs/answers.md anew")

const answersPage = "../docs/answers.md"

// The tables that people read are made from those that the gateway decides by.
func TestTheTablesInTheDocs(t *testing.T) {
	page, err := os.ReadFile(answersPage)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for name, text := range map[string]string{"answers": answersTable(), "effects": effectsTable()} {
		begin, end := "<!-- "+name+": made from the code -->\n", "<!-- end of "+name+" -->"
		from, to := strings.Index(want, begin), strings.Index(want, end)
		if from < 0 || to < from {
			t.Fatalf("%s has no place for the table of %s", answersPage, name)
		}
		want = want[:from+len(begin)] + "\n" + text + "\n" + want[to:]
	}
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the code; write it anew: go test ./fiscal -run TestTheTablesInTheDocs -update", answersPage)
	}
	if err := os.WriteFile(answersPage, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	bodyWords = map[Body]string{AnyBody: "any", Whole: "the operation asked for, whole, in the state the call leads to", Broken: "cut short or unreadable",
		Signing: "`fiscal_errors`, or `retryable: true`", Retryable: "`retryable: true`"}
	ofWords = map[Of]string{AnyRequest: "any", AnyCall: "any call", AfterStart: "update, complete, cancel", Replay: "any call that was sent before", LookUp: "a look-up"}
)

func answersTable() string {
	var b strings.Builder
	b.WriteString("| status | body | request | class | code, where OpenFiskal gives none |\n|---|---|---|---|---|\n")
	for _, r := range table {
		status := fmt.Sprint(r.From)
		if r.To != r.From {
			status = fmt.Sprintf("%d to %d", r.From, r.To)
		}
		code := ""
		if r.Code != "" {
			code = "`" + r.Code + "`"
		}
		if r.Own {
			code += " in any case"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s |\n", status, bodyWords[r.Body], ofWords[r.Of], r.Class, code)
	}
	return b.String()
}

func effectsTable() string {
	var b strings.Builder
	b.WriteString("| class | the call | its queue | again after | the site |\n|---|---|---|---|---|\n")
	for _, c := range sale.Classes() {
		e := c.Effect()
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c, e.Call, e.Queue, again(c), e.Site)
	}
	return b.String()
}

// again words the times of a class as they stand in the code.
func again(c sale.Class) string {
	p := &sale.Problem{Class: c}
	course := p.Course()
	switch {
	case c == sale.Confirmed || course.Quarantine:
		return ""
	case course.First == 0:
		return "the uplink's probe"
	case course.First == course.Most:
		return short(course.Most)
	}
	text := short(course.First) + ", doubling to " + short(course.Most) + ", full jitter"
	if least := p.Least(); least > 0 {
		text += "; not before " + short(least)
	}
	return text
}

func short(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%g s", d.Seconds())
	}
	return fmt.Sprintf("%g min", d.Minutes())
}

// Every row decides about something, every class has a course and words, and
// what follows from it agrees with them.
func TestEveryRowIsReached(t *testing.T) {
	hit := map[Row]bool{}
	for status := 0; status <= 999; status++ {
		for _, p := range purposes() {
			for _, fault := range []string{"", codeCut} {
				for hints := range 4 {
					hit[decide(status, facts{purpose: p, fault: fault, fiscalErrors: hints&1 != 0, retryable: hints&2 != 0})] = true
				}
			}
		}
	}
	for _, r := range table {
		if !hit[r] {
			t.Errorf("no answer meets the row %+v", r)
		}
	}
	for _, c := range sale.Classes() {
		e, course := c.Effect(), (&sale.Problem{Class: c}).Course()
		if e.Call == "" || e.Queue == "" {
			t.Errorf("%s has no words", c)
		}
		if c == sale.Confirmed {
			continue
		}
		if course.Blocked != strings.Contains(e.Queue, "is blocked") || course.Quarantine != strings.Contains(e.Call, "quarantine") ||
			course.InDoubt != strings.Contains(e.Call, "looked up") {
			t.Errorf("%s: %+v, but the words are %+v", c, course, e)
		}
	}
}

func purposes() []purpose {
	all := []purpose{{lookup: true}, {probe: true}}
	for step := sale.StepStart; step <= sale.StepCancel; step++ {
		all = append(all, purpose{step: step}, purpose{step: step, replay: true})
	}
	return all
}
