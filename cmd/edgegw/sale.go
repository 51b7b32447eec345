package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

type saleCmd struct {
	Subject  string `arg:"" placeholder:"DEVICE/SALE" help:"Device and sale, as in pump-07/4711."`
	Payloads bool   `help:"Also what was reported, sent and answered, with card numbers masked."`
	JSON     bool   `help:"Print JSON."`
}

// Run tells all that is known of one sale.
func (c *saleCmd) Run(a *app) error {
	device, id, pair := strings.Cut(c.Subject, "/")
	switch {
	case admin.ContainsKey(c.Subject):
		return usage("that holds a key; give DEVICE/SALE")
	case !pair || id == "" || !sale.DeviceID(device).Valid():
		return usage("that is not DEVICE/SALE, as in pump-07/4711; see what there is: edgegw sales")
	}
	return a.with(false, func(b admin.Backend) error {
		s, err := b.SaleStory(a.ctx, sale.DeviceID(device), id, c.Payloads)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(s)
		}
		a.say(s.Sentence)
		fmt.Fprintln(a.out)
		a.printSales([]admin.Sale{s.Sale})
		fmt.Fprintln(a.out)
		a.printStory(&s)
		return nil
	})
}

// printStory prints what happened, and then what was reported, sent and answered.
func (a *app) printStory(s *admin.SaleStory) {
	rows, texts := [][]string{{"WHEN", "WHAT", ""}}, [][2]string{}
	add := func(title, text string) {
		if text != "" {
			texts = append(texts, [2]string{title, text})
		}
	}
	for i := range s.Parts {
		p := &s.Parts[i]
		at := exactly(p.At)
		rows = append(rows, []string{at, p.What, strings.Join(append([]string{p.Text}, beside(p)...), ", ")})
		switch {
		case p.Event != nil:
			add(p.Event.Event+" at "+at+", as it was reported", p.Event.Payload)
			for _, c := range p.Event.Calls {
				rows = append(rows, []string{"", "call", fmt.Sprintf("%s %s: %s %s, idempotency key %s", c.Step, c.State, c.Method, c.Path, c.IdempotencyKey)})
				add(c.Step+", as it is sent", c.Body)
			}
		case p.Attempt != nil:
			add("answer to the "+p.Attempt.Step+" at "+at, p.Attempt.Body)
		case p.Answer != nil:
			add("answer that confirmed the "+p.Answer.Step, p.Answer.Body)
		case p.Item != nil:
			add("item "+p.Item.ID, p.Item.Body)
		}
	}
	table(a.out, rows...)
	for _, t := range texts {
		fmt.Fprintf(a.out, "\n%s:\n%s\n", clean(t[0]), clean(t[1]))
	}
}

// beside is what stands behind the words of a part.
func beside(p *admin.StoryPart) (all []string) {
	add := func(before, text string) {
		if text != "" {
			all = append(all, before+text)
		}
	}
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	switch {
	case p.Event != nil:
		add("by the device ", p.Event.DeviceTime)
		add("its clock ", p.Event.DeviceClock)
		add("the gateway's clock ", p.Event.Clock)
		add("", strings.Join(p.Event.Flags, " "))
	case p.Attempt != nil:
		add("", p.Attempt.Class)
		add("status ", number(p.Attempt.Status))
		add("request ", p.Attempt.RequestID)
	case p.Answer != nil:
		add("status ", number(p.Answer.Status))
		add("request ", p.Answer.RequestID)
	case p.Item != nil:
		add("status ", number(p.Item.Status))
		add("request ", p.Item.RequestID)
	case p.Receipt != nil && p.What == "receipt":
		add("document ", p.Receipt.DocumentNumber)
		add("fiscal state ", p.Receipt.FiscalState)
	}
	return all
}

// exactly is a time in this machine's zone: how far apart two things were is the
// question here.
func exactly(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }
