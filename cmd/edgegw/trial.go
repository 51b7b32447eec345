package main

import (
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/doctor"
)

type deviceIdentifyCmd struct {
	ID   string `arg:"" completion:"device" help:"Device."`
	JSON bool   `help:"Print JSON."`
}

// Run asks the device to show itself. It is done where nobody knows better than that
// the device has heard.
func (c *deviceIdentifyCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		i, err := b.Identify(a.ctx, id, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(i)
		} else {
			a.say(i.Sentence)
		}
		if err == nil && i.Outcome != "delivered" && i.Outcome != "unconfirmed" {
			return errSaid
		}
		return err
	})
}

type deviceTestCmd struct {
	ID       string `arg:"" completion:"device" help:"Device."`
	Payloads bool   `help:"Also what would be reported, sent and answered."`
	JSON     bool   `help:"Print JSON."`
}

// Run makes a test sale.
func (c *deviceTestCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		s, err := b.TestSale(a.ctx, id, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(s)
		} else {
			a.printTestSale(&s, c.Payloads)
		}
		if err == nil && !s.Ready {
			return &exitError{exitAttention, errSaid}
		}
		return err
	})
}

func (a *app) printTestSale(s *admin.TestSale, payloads bool) {
	a.say(s.Sentence)
	a.say(s.Notice)
	fmt.Fprintln(a.out)
	for _, k := range s.Checks {
		fmt.Fprintf(a.out, "%-7s  %s: %s\n", checkWords[k.State], clean(k.Title), clean(k.Found))
		if k.Fix != "" && k.State != doctor.OK {
			fmt.Fprintf(a.out, "%s%s\n", strings.Repeat(" ", 9), clean(k.Fix))
		}
	}
	if len(s.Parts) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\nA sale of a %s in %s, on a site of its own that is gone, in %d ms:\n", clean(s.Kind), clean(s.Currency), s.TookMS)
	story := &admin.SaleStory{Parts: s.Parts}
	if !payloads {
		story = withoutPayloads(story)
	}
	a.printStory(story)
	if payloads && len(s.Receipt) > 0 {
		fmt.Fprintf(a.out, "\nreceipt, as the device would get it:\n%s\n", clean(string(s.Receipt)))
	}
}

// withoutPayloads leaves out what is many lines long.
func withoutPayloads(s *admin.SaleStory) *admin.SaleStory {
	for i := range s.Parts {
		p := &s.Parts[i]
		if p.Event != nil {
			p.Event.Payload = ""
			for j := range p.Event.Calls {
				p.Event.Calls[j].Body = ""
			}
		}
		if p.Answer != nil {
			p.Answer.Body = ""
		}
	}
	return s
}
