package store

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"edgegw/sale"
)

// settler brings what was put together of a damaged database into order: every sale
// is somewhere, and is counted there.
type settler struct {
	t       *tx
	now     int64
	trusted bool // what is there was compared with a second journal that follows it

	orphans    int   // events without the one that opened their sale
	damaged    int   // sales of which an event was damaged
	lost       int64 // sales that were counted, and of which nothing is known
	unsettled  int64
	registered int // names that were lost
}

func (s *settler) settle() error {
	for _, do := range []func() error{s.names, s.orphaned, s.outcomes, s.broken, s.letters, s.queues, s.readBack} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// names gives rows that others refer to and that are gone a name, so that somebody
// sees them.
func (s *settler) names() error {
	for _, text := range []string{
		`INSERT INTO register (no, register_id) SELECT DISTINCT register, '@lost-' || register FROM event WHERE register NOT IN (SELECT no FROM register)`,
		`INSERT INTO device (no, device_id, register, kind, label, disabled, created_at, secret_hash)
			SELECT device, 'lost-' || device, min(register), 'pump', 'its name was lost with the database', 1, 0, x'' FROM event
			 WHERE device NOT IN (SELECT no FROM device) GROUP BY device`,
		`INSERT INTO queue (register) SELECT no FROM register WHERE no > 0 AND no NOT IN (SELECT register FROM queue)`,
	} {
		n, err := s.t.exec(text)
		if err != nil {
			return err
		}
		s.registered += int(n)
	}
	return nil
}

// orphaned moves events whose sale has lost its beginning in front of a person: as
// they are, they cannot be sent.
func (s *settler) orphaned() error {
	t := s.t
	type orphan struct {
		no, device, at int64
		kind           sale.Kind
		raw            []byte
	}
	var list []orphan
	err := t.query(`SELECT no, device, at, kind, raw FROM event WHERE ref IS NULL AND NOT EXISTS (SELECT 1 FROM event o WHERE o.no = event.sale AND o.ref IS NOT NULL)`,
		func(row []driver.Value) error {
			raw, _ := row[4].([]byte)
			list = append(list, orphan{row[0].(int64), row[1].(int64), row[2].(int64), sale.Kind(row[3].(int64)), raw})
			return nil
		})
	if err != nil {
		return err
	}
	v, err := t.value(`SELECT max((SELECT coalesce(max(no), 0) FROM refused), (SELECT coalesce(max(no), 0) FROM quarantine)) + 1`)
	if err != nil {
		return err
	}
	item := v.(int64)
	for _, o := range list {
		var of struct {
			SaleID string `json:"sale_id"`
		}
		_ = json.Unmarshal(o.raw, &of) // as far as it can be read
		mark := sha256.Sum256(append([]byte{byte(o.kind)}, o.raw...))
		n, err := t.exec(`INSERT INTO refused (no, device, kind, at, status, ref, code, field, message, mark, raw)
			VALUES (?, ?, ?, ?, ?, ?, 'beginning_lost', '/sale_id', 'the beginning of this sale was lost with the database', ?, ?) ON CONFLICT DO NOTHING`,
			item, o.device, o.kind, o.at, string(sale.Quarantined), of.SaleID, mark[:16], nonNil(o.raw))
		if err != nil {
			return err
		}
		if item += n; n == 1 {
			s.orphans++
		}
		if _, err := t.exec(`DELETE FROM event WHERE no = ?`, o.no); err != nil { // it stands in refused now, byte for byte
			return err
		}
	}
	return nil
}

// outcomes makes rows of sales again that are gone, from OpenFiskal's own answer.
func (s *settler) outcomes() error {
	t := s.t
	type outcome struct {
		no, answer, at, status int64
		request                string
		body                   []byte
	}
	var list []outcome
	err := t.query(`SELECT e.sale, a.no, a.at, a.status, a.request_id, a.body FROM answer a JOIN event e ON e.no = a.event
		WHERE a.step IN (3, 4) AND NOT EXISTS (SELECT 1 FROM sale s WHERE s.no = e.sale AND s.state IN (2, 3, 4)) ORDER BY a.no`, func(row []driver.Value) error {
		body, _ := row[5].([]byte)
		list = append(list, outcome{row[0].(int64), row[1].(int64), row[2].(int64), row[3].(int64), row[4].(string), body})
		return nil
	})
	for _, o := range list {
		if err != nil {
			break
		}
		a, bad := sale.ParseAnswer(int(o.status), o.request, o.body)
		if bad != nil {
			continue // it is looked up again
		}
		_, err = t.exec(`INSERT INTO sale (no, state, changed_at, fiscal_state, document, answer, operation) VALUES (?1, 2, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT (no) DO UPDATE SET state = 2, changed_at = ?2, fiscal_state = ?3, document = ?4, answer = ?5`,
			o.no, o.at, a.FiscalState, a.DocumentNumber, o.answer, a.Operation)
	}
	return err
}

// broken brings sales whose calls cannot be put together any more before a person:
// what was frozen is sent unchanged, or not at all.
func (s *settler) broken() error {
	t := s.t
	type bad struct{ event, sale, register int64 }
	var list []bad
	err := t.query(`SELECT e.no, e.sale, e.register, e.calls, e.raw FROM event e LEFT JOIN sale s ON s.no = e.sale
		WHERE coalesce(s.state, 1) = 1 AND e.rseq IS NOT NULL ORDER BY e.no`, func(row []driver.Value) error {
		calls, _ := row[3].([]byte)
		raw, _ := row[4].([]byte)
		if _, err := sale.Thaw(calls, raw); err != nil {
			list = append(list, bad{row[0].(int64), row[1].(int64), row[2].(int64)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	v, err := t.value(`SELECT max((SELECT coalesce(max(no), 0) FROM refused), (SELECT coalesce(max(no), 0) FROM quarantine)) + 1`)
	if err != nil {
		return err
	}
	seen := map[int64]bool{}
	for item := v.(int64); len(list) > 0; list = list[1:] {
		b := list[0]
		if seen[b.sale] {
			continue
		}
		seen[b.sale] = true
		for _, q := range []struct {
			text string
			args []any
		}{
			{`INSERT INTO quarantine (no, sale, register, event, step, place, at, open, blocking, in_doubt, class, status, request_id, code, detail, param, body)
				VALUES (?, ?, ?, ?, 1, 0, ?, 1, 0, 1, ?, 0, '', ?, 'the calls of this sale were damaged with the database: nothing is sent of it', '', x'')`,
				[]any{item, b.sale, b.register, b.event, s.now, sale.Poison, CodeDamaged}},
			{`INSERT OR REPLACE INTO held (event, sale, out, rseq, step, attempts, doubt_since) SELECT no, sale, 1, rseq, 0, 0, ?2 FROM event WHERE sale = ?1 AND rseq IS NOT NULL`,
				[]any{b.sale, s.now}},
			{`UPDATE event SET rseq = NULL WHERE sale = ?`, []any{b.sale}},
			{`INSERT INTO sale (no, state, changed_at) VALUES (?1, 3, ?2) ON CONFLICT (no) DO UPDATE SET state = 3, changed_at = ?2`, []any{b.sale, s.now}},
		} {
			if _, err := t.exec(q.text, q.args...); err != nil {
				return err
			}
		}
		item++
		s.damaged++
	}
	return nil
}

// CodeDamaged is the code of a sale whose calls were damaged on the disk.
const CodeDamaged = "record_damaged"

// letters drops receipts that cannot be made any more: the device may ask again.
func (s *settler) letters() error {
	_, err := s.t.exec(`DELETE FROM mailbox WHERE item = 0 AND delivered_at IS NULL AND answer NOT IN (SELECT no FROM answer)`)
	return err
}

// ends is a sale's last event.
const ends = "(3, 4, 5)"

// queues makes the cursors and the totals of all registers fit their events.
func (s *settler) queues() error {
	t := s.t
	var registers []int64
	if err := t.query(`SELECT register FROM queue ORDER BY register`, func(row []driver.Value) error {
		registers = append(registers, row[0].(int64))
		return nil
	}); err != nil {
		return err
	}
	for _, r := range registers {
		if err := s.queue(r); err != nil {
			return fmt.Errorf("bring the queue of register %d into order: %w", r, err)
		}
	}
	return nil
}

// owed are a register's events that still owe a call. What ends a sale that is not
// over is owed wherever the cursor stands.
const owed = `e.register = ?1 AND e.rseq IS NOT NULL AND coalesce((SELECT state FROM sale WHERE no = e.sale), 1) = 1
	AND (e.rseq >= (SELECT head FROM queue WHERE register = ?1) OR e.kind IN ` + ends + `)
	AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.event = e.no AND a.step = CASE e.kind WHEN 5 THEN 3 ELSE e.kind END)`

func (s *settler) queue(r int64) error {
	t := s.t
	for _, text := range []string{
		`UPDATE event SET rseq = NULL WHERE register = ?1 AND rseq >= (SELECT head FROM queue WHERE register = ?1) AND no NOT IN (SELECT e.no FROM event e WHERE ` + owed + `)`,
		`UPDATE queue SET tail = max(tail, coalesce((SELECT max(rseq) FROM event WHERE register = ?1), 0), coalesce((SELECT max(h.rseq) FROM held h JOIN event e ON e.no = h.event WHERE e.register = ?1), 0)) WHERE register = ?1`,
		`UPDATE queue SET head = tail + 1, step = 0, attempts = 0, doubt_since = 0, next_attempt = 0, blocked_since = 0, class = 0, problem = ''
			WHERE register = ?1 AND blocker = 0 AND NOT EXISTS (SELECT 1 FROM event e WHERE ` + owed + `)`,
		`UPDATE queue SET step = (SELECT count(DISTINCT a.step) FROM answer a WHERE a.event = (SELECT e.no FROM event e WHERE ` + owed + ` ORDER BY e.rseq LIMIT 1)),
			attempts = 0, doubt_since = 0, next_attempt = 0, blocked_since = 0, class = 0, problem = ''
			WHERE register = ?1 AND blocker = 0 AND head <> (SELECT min(e.rseq) FROM event e WHERE ` + owed + `)`,
		`UPDATE queue SET head = (SELECT min(e.rseq) FROM event e WHERE ` + owed + `) WHERE register = ?1 AND blocker = 0 AND EXISTS (SELECT 1 FROM event e WHERE ` + owed + `)`,
		`UPDATE queue SET done = min(done, head - 1), blocker = CASE WHEN blocker IN (SELECT no FROM quarantine WHERE open = 1) THEN blocker ELSE 0 END WHERE register = ?1`,
	} {
		if _, err := t.exec(text, r); err != nil {
			return err
		}
	}
	return s.totals(r)
}

// totals counts again. Confirmed sales whose rows are gone stay counted; others of
// which nothing is known are counted nowhere, and are said to be lost.
func (s *settler) totals(r int64) error {
	t := s.t
	var was, waiting, confirmed, quarantined, resolved, had, solved int64
	err := t.query(`SELECT q.accepted, q.confirmed, q.resolved,
			count(*) FILTER (WHERE o.no IS NOT NULL AND coalesce(s.state, 1) = 1), count(*) FILTER (WHERE s.state = 2),
			count(*) FILTER (WHERE s.state = 3), count(*) FILTER (WHERE s.state = 4)
		FROM queue q LEFT JOIN event o ON o.register = q.register AND o.ref IS NOT NULL LEFT JOIN sale s ON s.no = o.no WHERE q.register = ?`,
		func(row []driver.Value) error {
			was, had, solved = row[0].(int64), row[1].(int64), row[2].(int64)
			waiting, confirmed, quarantined, resolved = row[3].(int64), row[4].(int64), row[5].(int64), row[6].(int64)
			return nil
		}, r)
	if err != nil {
		return err
	}
	all, closed := max(had, confirmed), max(solved, resolved)
	sum := all + waiting + quarantined + closed
	s.lost += max(was-sum, 0)
	s.unsettled += waiting
	if _, err := t.exec(`UPDATE queue SET accepted = ?2, confirmed = ?3, waiting = ?4, quarantined = ?5, resolved = ?6 WHERE register = ?1`,
		r, sum, all, waiting, quarantined, closed); err != nil {
		return err
	}
	if all > confirmed || closed > resolved {
		_, err = t.exec(`INSERT OR REPLACE INTO forgotten (register, confirmed, resolved) VALUES (?, ?, ?)`, r, all-confirmed, closed-resolved)
	}
	return err
}

// readBack has OpenFiskal asked what it has of every register before anything is
// sent: from a day before the oldest sale that is not over, or all that it has where
// something is not known.
func (s *settler) readBack() error {
	t, since := s.t, int64(0)
	if s.trusted && s.lost == 0 {
		v, err := t.value(`SELECT CASE WHEN min(o.flags & ?1) = 0 THEN 0 ELSE coalesce(min(o.at), ?2) - ?3 END
			FROM event o LEFT JOIN sale s ON s.no = o.no WHERE o.ref IS NOT NULL AND coalesce(s.state, 1) = 1`, int64(flagSynchronised), s.now, (24 * time.Hour).Milliseconds())
		if err != nil {
			return err
		}
		since, _ = v.(int64)
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{`DELETE FROM read_back`, nil},
		{`DELETE FROM restored`, nil},
		{`INSERT INTO restored (register, since, until, at) SELECT no, ?, coalesce((SELECT max(no) FROM event), 0), ? FROM register`, []any{since, s.now}},
	} {
		if _, err := t.exec(q.text, q.args...); err != nil {
			return err
		}
	}
	return nil
}

// report says what was done, what was kept, and what nobody knows.
func (r *rebuilder) report(damage, aside string, readable, trusted bool, m *image, v *salvage, did mended, s *settler) Rebuilt {
	kept, unknown := []string{}, []string{}
	if text := words(v.kept); text != "" {
		kept = append(kept, text+" from the damaged file")
	}
	if did.rows > 0 {
		kept = append(kept, fmt.Sprintf("%d rows from the second journal, %d of them events of sales", did.rows, did.events))
	}
	if len(kept) == 0 {
		kept = append(kept, "nothing could be kept")
	}
	if !readable && m != nil {
		unknown = append(unknown, "what was confirmed or decided before the second journal's last turn is known by its totals only")
	}
	if text := words(v.unread); text != "" && !trusted {
		unknown = append(unknown, "at least "+text+" could not be read")
	}
	if m == nil {
		unknown = append(unknown, "no second journal followed this database, so what was written last may be missing")
	} else if m.lost > 0 {
		unknown = append(unknown, fmt.Sprintf("%d frames of the second journal could not be read", m.lost))
	}
	if s.lost > 0 {
		unknown = append(unknown, fmt.Sprintf("%d sales that were accepted are lost", s.lost))
	}
	if s.damaged+s.orphans > 0 {
		unknown = append(unknown, fmt.Sprintf("%d sales and %d events were damaged and wait in quarantine", s.damaged, s.orphans))
	}
	if s.registered > 0 {
		unknown = append(unknown, fmt.Sprintf("%d names of registers and devices are gone", s.registered))
	}
	return Rebuilt{Cause: "the database was damaged: " + damage, Aside: aside, Kept: strings.Join(kept, "; "), Unknown: strings.Join(unknown, "; ")}
}
