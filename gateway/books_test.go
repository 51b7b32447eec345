package gateway

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
)

func TestBalanced(t *testing.T) {
	for _, row := range []struct {
		name string
		q    store.Queue
		want bool
	}{
		{"nothing happened yet", store.Queue{}, true},
		{"each sale in one place", store.Queue{Accepted: 10, Confirmed: 4, Waiting: 3, Quarantined: 2, Resolved: 1}, true},
		{"a sale is in no place", store.Queue{Accepted: 10, Confirmed: 4, Waiting: 3, Quarantined: 1, Resolved: 1}, false},
		{"a sale is in two places", store.Queue{Accepted: 10, Confirmed: 5, Waiting: 3, Quarantined: 2, Resolved: 1}, false},
		{"a sale that nobody accepted", store.Queue{Confirmed: 1}, false},
		{"a sum that is right of a count that cannot be", store.Queue{Accepted: 10, Confirmed: 11, Waiting: -1}, false},
		{"less than none resolved", store.Queue{Accepted: 1, Waiting: 2, Resolved: -1}, false},
		{"less than none in quarantine", store.Queue{Accepted: 1, Waiting: 2, Quarantined: -1}, false},
		{"less than none accepted", store.Queue{Accepted: -1, Waiting: -1}, false},
	} {
		if got := balanced(row.q); got != row.want {
			t.Errorf("%s: %+v: balanced %v, want %v", row.name, row.q, got, row.want)
		}
	}
}

// Each register is told apart; the log has a line when its books begin to
// differ and one when they balance again, however often they are looked at.
func TestAnImbalanceIsSaidOnceForEachRegister(t *testing.T) {
	logs := &lockedBuffer{}
	k := &control{log: slog.New(slog.NewTextHandler(logs, nil))}
	good := store.Queue{Register: "reg_1", Accepted: 5, Confirmed: 3, Waiting: 2}
	bad := store.Queue{Register: "reg_2", Accepted: 7, Confirmed: 3, Waiting: 3}
	also := store.Queue{Register: "reg_3", Accepted: 1, Confirmed: 2, Waiting: -1}
	count := func(text string) int { return strings.Count(logs.String(), text) }

	for range 3 {
		board := &health.Board{}
		k.booksCondition(board, []store.Queue{good, bad})
		list := board.List()
		if len(list) != 1 || list[0].Code != "books_unbalanced" || list[0].Severity != health.Attention || list[0].Affected != "reg_2" || list[0].Since.IsZero() ||
			!strings.Contains(list[0].Title, "reg_2") || !strings.Contains(list[0].Title, "7 sales accepted, but 3 confirmed, 3 waiting, 0 in quarantine and 0 resolved") {
			t.Fatalf("conditions %+v", list)
		}
	}
	if n := count("do not balance"); n != 1 {
		t.Errorf("the imbalance stands %d times in the log, want once:\n%s", n, logs.String())
	}
	if wrong := k.checkBooks([]store.Queue{good, bad, also}); len(wrong) != 2 || count("do not balance") != 2 || count("register=reg_3") != 1 {
		t.Errorf("a second register: %+v\n%s", wrong, logs.String())
	}
	bad.Waiting = 4
	if wrong := k.checkBooks([]store.Queue{good, bad, also}); len(wrong) != 1 || wrong[0].Register != "reg_3" || count("balance again") != 1 {
		t.Errorf("after it was mended: %+v\n%s", wrong, logs.String())
	}
	bad.Waiting = 3
	if wrong := k.checkBooks([]store.Queue{good, bad}); len(wrong) != 1 || count("do not balance") != 3 {
		t.Errorf("when it breaks again: %+v\n%s", wrong, logs.String())
	}
}

// grip keeps the way to the disk that the store opened, so that a test can do
// behind its back what a fault of ours might.
type grip struct{ disk driver.Connector }

func (g *grip) wrap(c driver.Connector) driver.Connector {
	if g.disk == nil {
		g.disk = c // of the connection that writes: it is made first
	}
	return c
}

func (g *grip) exec(t *testing.T, statement string) {
	t.Helper()
	conn, err := g.disk.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := conn.Prepare(statement)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.(driver.StmtExecContext).ExecContext(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// loseASale counts a sale as confirmed that is nowhere else.
const loseASale = `UPDATE queue SET confirmed = confirmed + 1`

// Nobody looks at the site, and the imbalance is found all the same.
func TestTheBooksAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, disk := &lockedBuffer{}, &grip{}
		db, err := store.Open(t.Context(), t.TempDir(), store.Options{Disk: disk.wrap})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.AddDevice(t.Context(), sale.Device{ID: "pump-1", Register: "reg_1", Kind: "pump", SecretHash: []byte("h")}, "test"); err != nil {
			t.Fatal(err)
		}
		g := &Gateway{control: &control{db: db, log: slog.New(slog.NewTextHandler(logs, nil))}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.watchBooks(ctx) }()
		<-time.After(time.Minute)
		if logs.String() != "" {
			t.Errorf("books that balance were complained of:\n%s", logs.String())
		}
		disk.exec(t, loseASale)
		<-time.After(booksEvery)
		synctest.Wait()
		if !strings.Contains(logs.String(), "do not balance") || !strings.Contains(logs.String(), "register=reg_1") {
			t.Errorf("the imbalance was not found within %v:\n%s", booksEvery, logs.String())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAnImbalanceIsAlarmed(t *testing.T) {
	disk := &grip{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = disk.wrap
	s.on()
	defer s.off()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	await(t, "the sale to be confirmed", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	disk.exec(t, loseASale)
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "books_unbalanced") || strings.Contains(st.Sentence, "up to date") {
		t.Errorf("%q, %+v, %v", st.Sentence, st.Conditions, err)
	}
}

// Totals that add up and are wrong all the same: only counting the rows finds it.
func TestARecountFindsWhatTheTotalsHide(t *testing.T) {
	disk := &grip{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = disk.wrap
	s.on()
	defer s.off()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	await(t, "the sale to be confirmed", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	s.recount(t.Context())
	if st, err := s.Status(t.Context()); err != nil || hasCondition(st, "books_unbalanced") {
		t.Errorf("right books are called wrong: %+v, %v", st.Conditions, err)
	}
	disk.exec(t, `UPDATE queue SET confirmed = confirmed + 1, accepted = accepted + 1`)
	s.recount(t.Context())
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "books_unbalanced") || strings.Contains(st.Sentence, "up to date") {
		t.Errorf("%q, %+v, %v", st.Sentence, st.Conditions, err)
	}
}
