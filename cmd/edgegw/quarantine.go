package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
)

type quarantineCmd struct {
	List    quarantineListCmd `cmd:"" help:"List what waits for a decision."`
	Show    quarantineShowCmd `cmd:"" help:"Show one item: the event, what was sent, what OpenFiskal said, and what may be decided."`
	Retry   retryCmd          `cmd:"" help:"Send it again: the same bytes, looked up first where they may have been carried out."`
	Resolve resolveCmd        `cmd:"" help:"An operation at OpenFiskal stands for it already; its answer is adopted where it can be read."`
	Discard discardCmd        `cmd:"" help:"Nothing is to be sent for it."`
}

type quarantineListCmd struct {
	All    bool   `help:"Also what has been decided."`
	Device string `placeholder:"ID" completion:"device" help:"Only of this device."`
	Limit  int    `default:"100" help:"How many at most."`
	JSON   bool   `help:"Print JSON."`
}

// Run lists the quarantine.
func (c *quarantineListCmd) Run(a *app) error {
	filter := admin.QuarantineFilter{State: "open", Limit: c.Limit}
	if c.All {
		filter.State = "all"
	}
	if c.Device != "" {
		id, err := deviceID(c.Device)
		if err != nil {
			return err
		}
		filter.DeviceID = id
	}
	if c.Limit < 1 || c.Limit > 10_000 {
		return usage("--limit %d: give a number from 1 to 10000", c.Limit)
	}
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Quarantine(a.ctx, filter)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "Nothing waits for a decision.")
			return nil
		}
		rows := [][]string{{"ID", "SINCE", "DEVICE", "SALE", "EVENT", "STATE", "WHY"}}
		for _, i := range all {
			state := i.State
			switch {
			case i.Decision != "":
				state = string(i.Decision) + " by " + i.DecidedBy
			case i.Blocking:
				state += ", blocks its queue"
			}
			rows = append(rows, []string{i.ID, a.when(i.Since), string(i.DeviceID), dash(i.SaleID), i.Event, state, i.Reason})
		}
		table(a.out, rows...)
		return nil
	})
}

// itemArg names an item.
type itemArg struct {
	ID string `arg:"" completion:"quarantine" help:"The number that the listing shows, or the sale's id where only one item has it."`
}

func (i itemArg) check() error { return noKey(i.ID) }

type quarantineShowCmd struct {
	itemArg
	JSON bool `help:"Print JSON."`
}

// Run shows one item.
func (c *quarantineShowCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		i, err := b.QuarantineItem(a.ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(i)
		}
		a.printItem(i)
		return nil
	})
}

func (a *app) printItem(i admin.QuarantineItem) {
	table(a.out, []string{"item", i.ID}, []string{"device", string(i.DeviceID)}, []string{"register", dash(string(i.RegisterID))},
		[]string{"sale", dash(i.SaleID)}, []string{"event", i.Event}, []string{"state", i.State}, []string{"since", a.when(i.Since)},
		[]string{"operation", dash(i.Operation)})
	fmt.Fprintf(a.out, "\n%s.\n", clean(strings.TrimRight(i.Rule, ".")))
	if i.Blocking {
		fmt.Fprintln(a.out, "The queue of its register waits for the decision.")
	}
	a.printText("The device reported:", i.Payload)
	if r := i.Request; r != nil {
		a.printText(fmt.Sprintf("Sent to OpenFiskal: %s %s (idempotency key %s)", r.Method, r.Path, r.IdempotencyKey), r.Body)
	}
	if w := i.Answer; w != nil {
		head := fmt.Sprintf("OpenFiskal answered: %d", w.Status)
		if w.RequestID != "" {
			head += " (request id " + w.RequestID + ")"
		}
		a.printText(head, w.Body)
	}
	if i.Decision != "" {
		fmt.Fprintf(a.out, "\nDecided %s by %s: %s (%s)\n", a.when(i.DecidedAt), clean(i.DecidedBy), i.Decision, clean(i.DecisionReason))
		return
	}
	fmt.Fprintln(a.out, "\nWhat you can decide:")
	for _, d := range i.Allowed {
		fmt.Fprintf(a.out, "  %s\n      %s\n", decisionCommand(i, d), decisionWords[d])
	}
}

var decisionWords = map[sale.Decision]string{
	sale.DecisionRetry:   "the same bytes go out again; looked up first where they may have been carried out",
	sale.DecisionResolve: "an operation at OpenFiskal stands for it already (--operation names another than the one above)",
	sale.DecisionDiscard: "nothing is sent for it, and nothing is reported",
}

// decisionCommand is ready to be pasted.
func decisionCommand(i admin.QuarantineItem, d sale.Decision) string {
	command := fmt.Sprintf("edgegw quarantine %s %s --reason %q", d, i.ID, "why")
	if d == sale.DecisionResolve && i.RegisterID == "" {
		command += " --operation op_…"
	}
	return command
}

// printText writes a text of others below its heading, JSON in lines.
func (a *app) printText(heading, text string) {
	fmt.Fprintf(a.out, "\n%s\n", clean(heading))
	var pretty bytes.Buffer
	if json.Indent(&pretty, []byte(text), "", "  ") == nil {
		text = pretty.String()
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(a.out, "  %s\n", clean(strings.TrimRight(line, "\r\n")))
	}
}

// why is what every decision takes.
type why struct {
	itemArg
	Reason string `required:"" placeholder:"TEXT" help:"Why, for the audit trail: 1 to 500 characters."`
	JSON   bool   `help:"Print JSON."`
}

type retryCmd struct{ why }

// Run sends an item again.
func (c *retryCmd) Run(a *app) error { return c.decide(a, sale.DecisionRetry, "") }

type resolveCmd struct {
	why
	Operation string `placeholder:"OP" help:"The operation at OpenFiskal that stands for it, where it is not the sale's own or cannot be read."`
}

// Run records that an operation stands for an item.
func (c *resolveCmd) Run(a *app) error { return c.decide(a, sale.DecisionResolve, c.Operation) }

type discardCmd struct{ why }

// Run gives an item up.
func (c *discardCmd) Run(a *app) error { return c.decide(a, sale.DecisionDiscard, "") }

func (c *why) decide(a *app, what sale.Decision, operation string) error {
	if err := c.check(); err != nil {
		return err
	}
	d := admin.Decision{ID: c.ID, Decision: what, Reason: c.Reason, Operation: operation}
	if f := d.Check(); f != nil {
		return usage("%w", f)
	}
	return a.with(false, func(b admin.Backend) error {
		r, err := b.Decide(a.ctx, d, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(r)
		}
		fmt.Fprintln(a.out, strings.TrimSpace(fmt.Sprintf("Item %s (sale %s of %s): %s. %s", r.ID, dash(r.SaleID), r.DeviceID, became(r), clean(r.Notice))))
		return nil
	})
}

// became says what a decision has done, in words.
func became(r admin.DecisionResult) string {
	switch {
	case r.Decision == sale.DecisionRetry:
		return "it goes out again"
	case r.Decision == sale.DecisionDiscard:
		return "nothing is sent for it"
	case r.Adopted:
		return "operation " + r.Operation + " stands for it, and its receipt goes to the device"
	}
	return "operation " + dash(r.Operation) + " stands for it"
}
