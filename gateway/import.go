package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"edgegw/admin"
	"edgegw/devicekeys"
	"edgegw/provision"
	"edgegw/sale"
	"edgegw/wording"
)

// Recipient is what a back office encrypts bundles for this box to. The key that
// opens them is made when it is first asked for, and sealed like a register key; and
// anew where a person says so, because the one before is lost with the KEK that
// sealed it, or somebody else may have it.
func (k *control) Recipient(ctx context.Context, anew bool, by string) (string, error) {
	k.bundles.Lock()
	defer k.bundles.Unlock()
	identity, err := k.ring.Credential(ctx, sale.BundleKey)
	if errors.Is(err, sale.ErrNone) || anew {
		identity.Wipe()
		if identity, err = provision.NewIdentity(); err == nil {
			_, err = k.ring.SetKey(ctx, sale.BundleKey, identity, sale.KeyStateActive, by)
		}
	}
	defer identity.Wipe()
	if err != nil {
		return "", shutBundles(err)
	}
	return provision.Recipient(identity)
}

// Import adds and changes devices and keys, row by row: a row is done wholly or
// not at all, and a file that is sent again does what is left of it.
func (k *control) Import(ctx context.Context, file []byte, by string, each func(admin.ImportRow)) error {
	rows, err := k.readRows(ctx, file)
	if err != nil {
		return err
	}
	defer func() {
		for _, r := range rows {
			r.Key.Wipe()
		}
	}()
	i := &importer{control: k, by: by}
	for len(rows) > 0 {
		batch := rows[:min(len(rows), askAtOnce)]
		rows = rows[len(batch):]
		i.ask(ctx, batch)
		for n := range batch {
			done, err := i.row(ctx, &batch[n], n)
			each(done)
			if err != nil {
				return err // the disk, or the person: nothing that another row would fare better with
			}
			batch[n].Key.Wipe()
		}
	}
	return nil
}

// shutBundles says what to do where the key that opens bundles stays shut.
func shutBundles(err error) error {
	return &admin.Refusal{Code: "not_ready", Message: "the key that opens bundles is not at hand: " + err.Error(),
		Remedy: "Give back the key-encryption key it was sealed with (edgegw status). Where that is lost for good, make another, which opens no earlier bundle: edgegw import --recipient --new"}
}

func (k *control) readRows(ctx context.Context, file []byte) ([]provision.Row, error) {
	text := bytes.Clone(file)
	defer func() { clear(text) }()
	if provision.IsBundle(file) {
		identity, err := k.ring.Credential(ctx, sale.BundleKey)
		if errors.Is(err, sale.ErrNone) {
			return nil, &admin.Refusal{Code: "invalid", Message: "this box has no key that opens bundles", Remedy: "Encrypt it to what this prints: edgegw import --recipient"}
		}
		if err != nil {
			return nil, shutBundles(err)
		}
		defer identity.Wipe()
		if text, err = provision.Open(file, identity); err != nil {
			return nil, asRefusal(err)
		}
	}
	rows, err := provision.Parse(text)
	return rows, asRefusal(err)
}

// asRefusal marks a fault of the file as the person's to mend.
func asRefusal(err error) error {
	if f := (*provision.Fault)(nil); errors.As(err, &f) {
		return &admin.Refusal{Code: "invalid", Message: f.Error(), Remedy: "Nothing was done. Correct the file and send it again"}
	}
	return err
}

// askAtOnce is how many keys are asked about at the same time.
const askAtOnce = 8

// importer carries out the rows of one file.
type importer struct {
	*control
	by      string
	offline wording.Sentence // why OpenFiskal could not be asked; it is not asked again for every row
	answers [askAtOnce]answer
}

// answer is what was found out about a row's key.
type answer struct {
	checked checkedKey
	err     error
	asked   bool
	keys    []devicekeys.KeyInfo // of the register in that moment
}

// ask finds out about the keys of a batch, all at once.
func (i *importer) ask(ctx context.Context, batch []provision.Row) {
	i.answers = [askAtOnce]answer{}
	if i.offline.Empty() {
		var g errgroup.Group
		for n := range batch {
			if batch[n].Fault == "" && !batch[n].Key.Empty() && i.mayBeKeyOf(batch[n].Register, batch[n].Key) == nil {
				i.answers[n].asked, i.answers[n].keys = true, i.ring.KeyVersions(batch[n].Register)
				g.Go(func() error {
					i.answers[n].checked, i.answers[n].err = i.askAbout(ctx, batch[n].Register, batch[n].Key, false)
					return nil
				})
			}
		}
		_ = g.Wait() // each has its own answer
	}
	for n := range batch {
		if a := &i.answers[n]; a.checked.state == sale.KeyStateUnverified && a.checked.offline {
			i.offline = a.checked.notice
		}
	}
}

// answerFor gives what was found out about the key of a row, or that nobody could
// be asked. Where the register's keys are others than when it was asked about, the
// answer is of the past: a key that was made meanwhile has ended it.
func (i *importer) answerFor(ctx context.Context, r *provision.Row, n int) (checkedKey, error) {
	a := i.answers[n]
	switch {
	case i.offline.Empty() && (!a.asked || !slices.Equal(a.keys, i.ring.KeyVersions(r.Register))):
		a.checked, a.err = i.askAbout(ctx, r.Register, r.Key, false)
	case !a.asked:
		a.checked = checkedKey{state: sale.KeyStateUnverified, notice: i.offline}
	}
	if a.err == nil && a.checked.state == sale.KeyStateUnverified {
		a.err = i.elsewhere(r.Register, r.Key)
	}
	return a.checked, a.err
}

// row does one row. The error is one that no other row would escape.
func (i *importer) row(ctx context.Context, r *provision.Row, n int) (admin.ImportRow, error) {
	done := admin.ImportRow{Line: r.Line, DeviceID: r.Device, RegisterID: r.Register, Result: admin.RowFailed, Detail: r.Fault}
	if r.Fault != "" {
		return done, nil
	}
	err := ctx.Err()
	if err == nil && !r.Key.Empty() {
		var end func()
		if end, err = i.oneKeyAtATime(r.Register); err == nil {
			defer end()
			err = i.mayBeKeyOf(r.Register, r.Key)
		}
	}
	if err == nil {
		err = i.apply(ctx, r, n, &done)
	}
	if err == nil {
		return done, nil
	}
	done.Result, done.Detail = admin.RowFailed, err.Error()
	if refused := (*admin.Refusal)(nil); errors.As(err, &refused) {
		err = nil
	}
	return done, err
}

func (i *importer) apply(ctx context.Context, r *provision.Row, n int, done *admin.ImportRow) error {
	there, err := i.ring.Get(r.Device)
	if errors.Is(err, sale.ErrNone) {
		return i.add(ctx, r, n, done)
	}
	switch {
	case err != nil:
		return err
	case there.Register != r.Register:
		return &admin.Refusal{Code: "conflict", Message: fmt.Sprintf("device %s sells on register %s, not %s", r.Device, there.Register, r.Register),
			Remedy: fmt.Sprintf("Where it moves, remove it first: edgegw device remove %s", r.Device)}
	}
	d := devicekeys.NewDevice{ID: r.Device, Register: r.Register, Kind: r.Kind, Label: r.Label}
	if err := d.Check(); err != nil {
		return refusal(err)
	}
	done.Result = admin.RowUnchanged
	if err := i.newKeyOf(ctx, r, n, done); err != nil {
		return err
	}
	described, err := i.ring.Describe(ctx, r.Device, r.Kind, r.Label, i.by)
	if described && done.Result == admin.RowUnchanged {
		done.Result = admin.RowUpdated
	}
	return err
}

// newKeyOf does what a row says of the key of a device that is there.
func (i *importer) newKeyOf(ctx context.Context, r *provision.Row, n int, done *admin.ImportRow) error {
	done.Key, _ = i.keyState(r.Register)
	if r.Key.Empty() {
		return nil
	}
	_, known := i.ring.Holds(r.Register, r.Key)
	checked, said := i.answerFor(ctx, r, n)
	result, err := i.setKey(ctx, r.Register, r.Key, func(context.Context) (checkedKey, error) { return checked, said }, i.by)
	if err != nil {
		return err
	}
	done.Key, done.Detail = result.Key, result.Notice
	if !known {
		done.Result = admin.RowKeyChanged
	} else if done.Detail == storedBefore {
		done.Detail = ""
	}
	return nil
}

func (i *importer) add(ctx context.Context, r *provision.Row, n int, done *admin.ImportRow) error {
	d := devicekeys.NewDevice{ID: r.Device, Register: r.Register, Kind: r.Kind, Label: r.Label}
	if err := d.Check(); err != nil {
		return refusal(err)
	}
	checked, err := checkedKey{}, error(nil)
	if !r.Key.Empty() {
		if checked, err = i.answerFor(ctx, r, n); err != nil {
			return err
		}
	}
	c, err := i.addDevice(ctx, d, r.Key, checked, i.by)
	if err != nil {
		return err
	}
	done.Result, done.Key, done.Detail = admin.RowAdded, c.Key, c.Notice
	done.Username, done.Password, done.MQTTURL, done.CAFile = c.Username, c.Password, c.MQTTURL, c.CAFile
	return nil
}
