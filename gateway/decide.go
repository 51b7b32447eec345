package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// Decide carries out a person's decision about one item (CONTRACT.md section
// 3). What it writes is one commit, so that a process that dies in between has
// decided all of it or nothing, and the person may say it again.
func (k *control) Decide(ctx context.Context, d admin.Decision, by string) (admin.DecisionResult, error) {
	if f := d.Check(); f != nil {
		return admin.DecisionResult{}, f
	}
	ctx, cancel := context.WithTimeout(ctx, decisionLimit)
	defer cancel()
	i, err := k.item(ctx, d.ID)
	if err != nil {
		return admin.DecisionResult{}, err
	}
	if err := mayDecide(&i, d.Decision); err != nil {
		return admin.DecisionResult{}, err
	}
	v := sale.Ruling{Item: i.No, Decision: d.Decision, Operation: d.Operation, By: cmp.Or(by, "edgegw"), Reason: d.Reason}
	var notice wording.Sentence
	if i.Register == "" {
		notice, err = k.decideMessage(ctx, &i, &v)
	} else {
		notice, err = k.decideSale(ctx, &i, &v)
	}
	if errors.Is(err, store.ErrDecided) {
		return admin.DecisionResult{}, decided(&i)
	}
	if err != nil {
		return admin.DecisionResult{}, err
	}
	k.log.Info("an item in quarantine was decided", "item", i.No, "sale", i.SaleID, "decision", string(v.Decision), "by", v.By)
	return admin.DecisionResult{ID: strconv.FormatInt(i.No, 10), DeviceID: i.Device, RegisterID: i.Register, SaleID: i.SaleID,
		Decision: v.Decision, Operation: v.Operation, Adopted: v.Answer != nil, Notice: notice.String(), NoticeWords: notice}, nil
}

// decisionLimit bounds one decision with its look-up at OpenFiskal.
const decisionLimit = time.Minute

// mayDecide refuses what the item does not allow.
func mayDecide(i *sale.Item, d sale.Decision) error {
	switch {
	case i.Decision != "":
		return decided(i)
	case !i.Allows(d):
		return admin.Refuse("not_allowed", wording.Of("item %d allows no %s: an event of this name was stored before, and that one stands", i.No, wording.Word(d)),
			wording.Of("Look at it, then resolve or discard it: edgegw quarantine show %d", i.No))
	}
	return nil
}

// decided refuses a second decision.
func decided(i *sale.Item) error {
	return admin.Refuse("conflict", wording.Of("item %d: decided already", i.No),
		wording.Of("See by whom, and why: edgegw quarantine show %d", i.No))
}

// decideSale decides about a sale, and wakes its queue.
func (k *control) decideSale(ctx context.Context, i *sale.Item, v *sale.Ruling) (notice wording.Sentence, err error) {
	switch v.Decision {
	case sale.DecisionResolve:
		notice, err = k.resolve(ctx, i, v)
	case sale.DecisionDiscard:
		notice = leftBehind(i)
	case sale.DecisionRetry:
		notice = k.retryNotice()
	}
	if err != nil {
		return notice, err
	}
	// Whoever asked may have gone: what was committed must reach the queue and
	// the device all the same.
	v.At = k.now()
	register, posted, err := k.db.Decide(context.WithoutCancel(ctx), *v)
	if err != nil {
		return notice, err
	}
	if k.relay != nil {
		k.relay.Follow() // an adopted answer may be unsigned still
		k.relay.Kick(register)
		if i.Blocking {
			k.relay.Wake(register) // else it may be waiting as long as OpenFiskal has asked it to
		}
	}
	if k.running != nil && posted != "" {
		k.running.broker.Deliver(posted)
	}
	return notice, nil
}

func (k *control) retryNotice() wording.Sentence {
	if k.relay != nil {
		return wording.Sentence{}
	}
	return wording.Of("No gateway runs: the sale is sent when one is started.")
}

// resolve finds out what the operation that stands for the sale is, and takes
// its answer into the ruling. Where nobody can read it, the person's word counts
// for an operation that he names.
func (k *control) resolve(ctx context.Context, i *sale.Item, v *sale.Ruling) (notice wording.Sentence, err error) {
	named := v.Operation != ""
	operation := cmp.Or(v.Operation, i.Operation)
	a, err := k.find(ctx, i, operation, named)
	if err == nil || errors.As(err, new(*sale.Problem)) {
		if err := k.ownedBy(ctx, i, operation); err != nil {
			return notice, err
		}
	}
	var p *sale.Problem
	switch {
	case errors.Is(err, sale.ErrNone):
		return notice, admin.Refuse("no_operation", wording.Of("OpenFiskal has no operation %q on register %s", operation, i.Register),
			wording.Of("Send the sale once more: edgegw quarantine retry %d --reason …; or name the operation that stands for it with --operation", i.No))
	case errors.As(err, &p) && !named:
		return notice, admin.Refuse("unreadable", wording.Of("what became of operation %s at OpenFiskal cannot be read now: %s", operation, problemWords(p)),
			wording.Of("Try again when it can be; or look there yourself, and name the operation that stands for the sale with --operation"))
	case errors.As(err, &p):
		notice = wording.Of("The operation could not be read (%s): your word counts, and the device gets no receipt of it.", problemWords(p))
		return wording.Join(notice, behindAnother(i, operation)), nil
	case err != nil:
		return notice, err
	case a.State != sale.StateCompleted && a.State != sale.StateCancelled:
		return notice, admin.Refuse("still_open", wording.Of("operation %s is still %s at OpenFiskal", operation, wording.Quote(a.State)),
			wording.Of("Send what is missing: edgegw quarantine retry %d --reason …; or cancel it there", i.No))
	}
	v.Answer, v.Operation = &a, a.Operation
	if a.State == sale.StateCancelled && i.Kind.Ends() && i.Kind != sale.Cancel {
		notice = wording.Of("The operation is cancelled at OpenFiskal, and the device had reported payments: see that they are reported otherwise.")
	}
	return wording.Join(notice, behindAnother(i, a.Operation)), nil
}

// find looks an operation up. One that a person names may bear an external id
// of its own: he may have entered the sale by hand.
func (k *control) find(ctx context.Context, i *sale.Item, operation string, named bool) (sale.Answer, error) {
	c := sale.Call{Register: i.Register, SaleID: i.SaleID, Step: sale.StepComplete, Operation: operation}
	if i.Call != nil {
		c.Event = i.Call.Event
	}
	foreign, err := k.db.Foreign(ctx, c)
	if err != nil {
		return sale.Answer{}, err
	}
	if foreign[operation] {
		return sale.Answer{}, another(operation, i.SaleID, wording.Of("another device"))
	}
	if named {
		c.SaleID = ""
	}
	return k.fiscal.Find(ctx, c, func(op string) bool { return foreign[op] })
}

// ownedBy refuses an operation that stands for another sale of this site: made
// for it, or named for it by an earlier decision.
func (k *control) ownedBy(ctx context.Context, i *sale.Item, operation string) error {
	owner, err := k.db.OwnerOf(ctx, operation)
	if err == nil && (owner.Device != i.Device || owner.SaleID != i.SaleID) {
		return another(operation, owner.SaleID, owner.Device)
	}
	if err != nil && !errors.Is(err, sale.ErrNone) {
		return err
	}
	items, err := k.db.Items(ctx, store.ItemFilter{Limit: mostOthers})
	for _, o := range items {
		if o.No != i.No && o.Operation == operation && (o.Device != i.Device || o.SaleID != i.SaleID) {
			return another(operation, o.SaleID, o.Device)
		}
	}
	return err
}

// mostOthers bounds what is looked through for another owner of an operation.
const mostOthers = 10_000

func another(operation, saleID string, device any) error {
	return admin.Refuse("other_sale", wording.Of("operation %s stands for another sale already: %s of %s", operation, saleID, device),
		wording.Of("Look up at OpenFiskal which operation stands for this one"))
}

// leftBehind says what may be left at OpenFiskal of a sale that is given up.
func leftBehind(i *sale.Item) wording.Sentence {
	switch {
	case i.Operation == "":
	case i.InDoubt:
		return wording.Of("The %s of the sale may have been carried out: see at OpenFiskal what operation %s is.", wording.Word(i.Step.String()), i.Operation)
	case i.Step != sale.StepStart:
		return wording.Of("Operation %s was begun at OpenFiskal and stays open there: cancel it there.", i.Operation)
	}
	return wording.Sentence{}
}

// behindAnother is leftBehind where another operation stands for the sale.
func behindAnother(i *sale.Item, operation string) wording.Sentence {
	if operation == i.Operation {
		return wording.Sentence{}
	}
	return leftBehind(i)
}

// decideMessage decides about a message. Nobody else may decide between the
// accepting of a retry and its record.
func (k *control) decideMessage(ctx context.Context, i *sale.Item, v *sale.Ruling) (notice wording.Sentence, err error) {
	k.deciding.Lock()
	defer k.deciding.Unlock()
	// What is accepted is to be recorded, whoever has gone; but nobody waits for
	// ever for a journal that is busy.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decisionLimit)
	defer cancel()
	now, err := k.db.Items(ctx, store.ItemFilter{No: i.No})
	if err != nil {
		return notice, err
	}
	if first(now).Decision != "" {
		return notice, store.ErrDecided
	}
	switch {
	case v.Decision == sale.DecisionRetry:
		notice, err = k.acceptAgain(ctx, i)
	case v.Decision == sale.DecisionResolve && v.Operation == "":
		err = admin.Refuse("operation_missing", wording.Of("item %d is no sale, so there is nothing to look up", i.No),
			wording.Of("Name the operation that stands for it at OpenFiskal with --operation"))
	}
	if err != nil {
		return notice, err
	}
	v.At = k.now()
	return notice, k.db.DecideMessage(ctx, *v)
}

// acceptAgain takes a message as if its device had sent it again. A process
// that dies before the decision is recorded leaves an item whose retry finds
// the event there already.
func (k *control) acceptAgain(ctx context.Context, i *sale.Item) (notice wording.Sentence, err error) {
	if k.relay == nil {
		return notice, &admin.Refusal{Code: "offline", Message: "a message can only be taken again by a gateway that runs", Remedy: "Start the gateway: edgegw run"}
	}
	if _, err := k.ring.Get(i.Device); err != nil {
		return notice, admin.Refuse("device_removed", wording.Of("device %s has been removed: nobody knows on which register this belongs", i.Device),
			wording.Of("Enter it at OpenFiskal and name its operation: edgegw quarantine resolve %d --operation …; or discard it", i.No))
	}
	verdict := <-k.relay.Accept(ctx, sale.Message{Device: i.Device, Kind: i.Kind, Payload: i.Raw, QoS: 1, Received: k.now(), Again: true})
	ack := verdict.Ack
	switch {
	case verdict.Err != nil:
		return notice, fmt.Errorf("take the message of item %d again: %w", i.No, verdict.Err)
	case ack.Status == sale.Queued:
		return notice, nil
	case ack.Status == sale.Duplicate:
		return wording.Of("The event is part of its sale already."), nil
	case ack.Error != nil && ack.Error.Code == "sale_quarantined":
		return wording.Of("The event is part of its sale, which is itself in quarantine: edgegw quarantine list"), nil
	}
	why := wording.Of("%s", wording.Quote(ack.Status))
	if ack.Error != nil {
		why = faultWords(ack.Error)
	}
	return notice, admin.Refuse("still_refused", wording.Of("item %d cannot become part of a sale now either: %s", i.No, why),
		wording.Of("Nothing was decided. Where a start is missing, it must come first; else enter it at OpenFiskal and resolve it, or discard it"))
}
