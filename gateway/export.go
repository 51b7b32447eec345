package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/audit"
	"edgegw/sale"
	"edgegw/store"
)

// Export writes what an auditor may want of a period. One at a time: it keeps the
// journal's log from beginning anew.
func (k *control) Export(ctx context.Context, p admin.Period, by string, to io.Writer) error {
	if !k.exporting.TryLock() {
		return &admin.Refusal{Code: "not_ready", Message: "another export is being made", Remedy: "Try again when it is done."}
	}
	defer k.exporting.Unlock()
	now, whole := k.clock.Now(), p.To.IsZero()
	if whole {
		p.To = now
	}
	if !p.From.Before(p.To) {
		return &admin.Refusal{Code: "invalid", Message: "the period ends before it begins", Remedy: "Give from and to the other way round."}
	}
	m := audit.Manifest{Site: k.config.Site.Name, Version: k.options.Version, MadeAt: now, Clock: string(k.clock.Quality()), MadeBy: by,
		From: p.From.UTC().Truncate(time.Millisecond), To: p.To.UTC().Truncate(time.Millisecond)}
	x, err := audit.NewWriter(to, m, nil)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	read := store.Period{From: m.From, To: m.To}
	if whole { // also what a clock that ran ahead has dated later than now
		read.To = time.UnixMilli(math.MaxInt64)
	}
	err = k.db.Snapshot(ctx, func(s *store.Snapshot) error { return export(ctx, x, s, read) })
	if err == nil {
		err = x.Close()
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func export(ctx context.Context, x *audit.Writer, s *store.Snapshot, p store.Period) error {
	for _, t := range []audit.Table{saleTable(ctx, s, p), eventTable(ctx, s, p), decisionTable(ctx, s, p), outageTable(ctx, s, p)} {
		if err := x.Table(t); err != nil {
			return err
		}
	}
	span, err := s.Span(ctx, p)
	if err != nil {
		return err
	}
	return x.Trail(span, func(add func(audit.Line, []byte) error) error { return s.Lines(ctx, span, add) })
}

// words makes texts of others fit to be shown: no key and no card number.
func words(text string) string { return masked([]byte(text)) }

func saleTable(ctx context.Context, s *store.Snapshot, p store.Period) audit.Table {
	columns := "device_id sale_id register_id state open started_at started_clock completed_at completed_clock received_at received_clock completed_received_at " +
		"completed_received_clock total currency operation fiscal_state document_number settled_at attempts attempts_in_vain adopted request_id " +
		"item decision decided_at decided_by decision_reason flags"
	return audit.Table{Name: "sales", Columns: strings.Fields(columns), Key: 2, Rows: func(add func(...any) error) error {
		return s.Sales(ctx, p, func(x *store.SaleRecord) error {
			started, ended := timesOf(x)
			endAt, endQuality := x.EndAt, x.EndQuality
			if x.EndKind == 0 && x.Kind.Ends() {
				endAt, endQuality = x.AcceptedAt, x.Quality
			}
			var item any
			if x.Decided.Item > 0 {
				item = x.Decided.Item
			}
			return add(string(x.Device), words(x.SaleID), string(x.Register), x.State.String(), x.Open, started.at, started.clock, ended.at, ended.clock,
				audit.Instant(x.AcceptedAt), x.Quality, audit.Instant(endAt), endQuality, x.Total, x.Currency, words(x.Operation), words(x.FiscalState), words(x.Document),
				audit.Instant(x.SettledAt), x.Attempts, x.InVain, x.Adopted, words(x.RequestID),
				item, string(x.Decided.Decision), audit.Instant(x.Decided.At), words(x.Decided.By), words(x.Decided.Reason), flagWords(x.StartMissing, x.Unsafe, false))
		})
	}}
}

// deviceTime is a time as its device wrote it, with what it says of its clock.
type deviceTime struct{ at, clock string }

// timesOf reads when a sale began and ended by its device.
func timesOf(x *store.SaleRecord) (started, ended deviceTime) {
	first := eventOf(x.Kind, x.Raw)
	started = deviceTime{first.OccurredAt, first.Clock}
	if x.Kind.Ends() {
		ended = started
		started = deviceTime{first.StartedAt, ""}
		if first.StartedAt != "" {
			started.clock = first.Clock
		}
	}
	if x.EndKind != 0 {
		end := eventOf(x.EndKind, x.End)
		ended = deviceTime{end.OccurredAt, end.Clock}
	}
	return started, ended
}

// eventOf reads an event again; what an earlier edgegw took and this one does not
// has no times.
func eventOf(kind sale.Kind, raw []byte) *sale.Event {
	if e, fault := sale.Parse(kind, raw); fault == nil {
		return e
	}
	return &sale.Event{}
}

func flagWords(startMissing, unsafe, superseded bool) string {
	return strings.Join(flagList(startMissing, unsafe, superseded), " ")
}

func eventTable(ctx context.Context, s *store.Snapshot, p store.Period) audit.Table {
	columns := "device_id sale_id register_id event received_at received_clock occurred_at occurred_clock seq total payload_bytes payload_sha256 flags"
	return audit.Table{Name: "events", Columns: strings.Fields(columns), Key: 2, Rows: func(add func(...any) error) error {
		return s.Events(ctx, p, func(x *store.EventRecord) error {
			e := eventOf(x.Kind, x.Raw)
			var seq any
			if e.HasSeq {
				seq = e.Seq
			}
			sum := sha256.Sum256(x.Raw)
			return add(string(x.Device), words(x.SaleID), string(x.Register), x.Kind.String(), audit.Instant(x.At), x.Quality, e.OccurredAt, e.Clock, seq,
				x.Total, len(x.Raw), hex.EncodeToString(sum[:]), flagWords(false, x.Unsafe, x.Superseded))
		})
	}}
}

func decisionTable(ctx context.Context, s *store.Snapshot, p store.Period) audit.Table {
	columns := "item of device_id sale_id register_id event quarantined_at code why http_status decision decided_at decided_by reason operation"
	return audit.Table{Name: "decisions", Columns: strings.Fields(columns), Key: 1, Rows: func(add func(...any) error) error {
		return s.Items(ctx, p, func(x *store.ItemRecord) error {
			of := "sale"
			if x.Message {
				of = "message"
			}
			v := &x.Decided
			return add(x.No, of, string(x.Device), words(x.SaleID), string(x.Register), x.Kind.String(), audit.Instant(x.At), words(x.Code), words(x.Detail), x.Status,
				string(v.Decision), audit.Instant(v.At), words(v.By), words(v.Reason), words(v.Operation))
		})
	}}
}

func outageTable(ctx context.Context, s *store.Snapshot, p store.Period) audit.Table {
	columns := "began_at last_failed_at ended_at attempts registers cause"
	return audit.Table{Name: "outages", Columns: strings.Fields(columns), Key: 1, Rows: func(add func(...any) error) error {
		all, err := s.Outages(ctx, p)
		for _, o := range all {
			err = errors.Join(err, add(audit.Instant(o.Began), audit.Instant(o.LastFailed), audit.Instant(o.Ended), o.Attempts, o.Registers, words(o.Cause)))
		}
		return err
	}}
}

// Verify goes along the whole audit trail. It knows where the trail went on to when
// it began, so that a line taken off its end while this runs is missed, too.
func (k *control) Verify(ctx context.Context, heads []audit.Chain) (admin.Verified, error) {
	last, err := k.db.TrailEnd(ctx)
	if err != nil {
		return admin.Verified{}, err
	}
	check, fault := &audit.Check{Wants: heads}, (*audit.Fault)(nil)
	err = k.db.Trail(ctx, func(l audit.Line, chain []byte) bool {
		fault = check.Take(l, chain)
		return fault == nil
	})
	if err != nil {
		return admin.Verified{}, err
	}
	if fault == nil {
		fault = check.End(last)
	}
	v := admin.Verified{OK: fault == nil, Lines: check.Lines, Head: check.At, Fault: fault}
	made, err := k.db.LastRebuilt(ctx)
	if made.No > 0 {
		v.Note = fmt.Sprintf("the database was damaged and made again on %s: the lines before line %d were salvaged, and others before it may be lost", made.At.UTC().Format(time.RFC3339), made.Trail)
	}
	return v, err
}
