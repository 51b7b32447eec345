package tokens

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

var t0 = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// rows keeps tokens in memory. Where lost is set a change is made and its answer
// is an error: what a disk may do that dies after its commit.
type rows struct {
	kept  map[string]sale.Token
	lost  error
	lines []string
}

func (r *rows) Tokens(context.Context) (list []sale.Token, err error) {
	for _, t := range r.kept {
		list = append(list, t)
	}
	return list, nil
}

func (r *rows) AddToken(_ context.Context, t sale.Token, by string) error {
	r.kept[t.ID] = t
	r.lines = append(r.lines, "added "+t.Name+" by "+by)
	return r.lost
}

func (r *rows) RevokeToken(_ context.Context, id string, _ time.Time, by string) error {
	delete(r.kept, id)
	r.lines = append(r.lines, "revoked by "+by)
	return r.lost
}

func (r *rows) TokenUsed(_ context.Context, id string, at time.Time) error {
	t := r.kept[id]
	t.UsedAt = at
	r.kept[id] = t
	r.lines = append(r.lines, "used")
	return r.lost
}

func open(t *testing.T) (*Set, *rows) {
	t.Helper()
	r := &rows{kept: map[string]sale.Token{}}
	s, err := Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func (s *Set) mustAdd(t *testing.T, name string, expires time.Duration) ([]byte, sale.Token) {
	t.Helper()
	whole, made, err := s.Add(t.Context(), New{name, sale.ScopeRead, expires}, t0, "test")
	if err != nil {
		t.Fatal(err)
	}
	return whole.Reveal(), made
}

func TestWhatATokenOpens(t *testing.T) {
	s, r := open(t)
	whole, made := s.mustAdd(t, "back-office", 24*time.Hour)
	other, _ := s.mustAdd(t, "scraper", 0)
	if !regexp.MustCompile(`^edgegw_[A-Z2-7]{34}$`).Match(whole) {
		t.Errorf("a scanner for secrets would not find %s", whole)
	}
	got, err := s.Check(whole, t0)
	if err != nil || got.ID != made.ID || got.Name != "back-office" || got.Scope != sale.ScopeRead || got.Hash != nil {
		t.Errorf("the right token: %+v, %v", got, err)
	}
	swapped := slices.Concat(whole[:len(Prefix)+idSize], other[len(Prefix)+idSize:])
	for name, row := range map[string]struct {
		token []byte
		at    time.Time
		why   error
	}{
		"none":                     {nil, t0, errForm},
		"empty":                    {[]byte{}, t0, errForm},
		"short":                    {whole[:len(whole)-1], t0, errForm},
		"long":                     {append(slices.Clone(whole), 'A'), t0, errForm},
		"other beginning":          {append([]byte("edgegx_"), whole[len(Prefix):]...), t0, errForm},
		"small letters":            {bytes.ToLower(whole), t0, errForm},
		"unknown":                  {[]byte(Prefix + strings.Repeat("A", 34)), t0, errUnknown},
		"id of one, rest of other": {swapped, t0, errWrong},
		"last letter":              {append(slices.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1), t0, errWrong},
		"at its end":               {whole, t0.Add(24 * time.Hour), errExpired},
		"years after":              {whole, t0.AddDate(5, 0, 0), errExpired},
	} {
		if _, err := s.Check(row.token, row.at); !errors.Is(err, row.why) || !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want %v", name, err, row.why)
		}
	}
	if _, err := s.Check(whole, t0.Add(24*time.Hour-1)); err != nil {
		t.Errorf("a moment before its end: %v", err)
	}
	if _, err := s.Check(other, t0.AddDate(50, 0, 0)); err != nil {
		t.Errorf("one without an end: %v", err)
	}
	for _, row := range r.kept {
		if bytes.Contains(row.Hash, whole[len(Prefix)+idSize:]) || len(row.Hash) != 32 {
			t.Errorf("kept %x", row.Hash)
		}
	}
	if l := s.List(); len(l) != 2 || l[0].Name != "back-office" || l[0].Hash != nil {
		t.Errorf("listed %+v", l)
	}
}

// Whatever is wrong with a token, as much is computed: else the time of an answer
// would say which ids there are.
func TestEveryTokenTakesTheSamePath(t *testing.T) {
	s, _ := open(t)
	whole, _ := s.mustAdd(t, "a", time.Hour)
	hashed := 0
	s.hash = func(id string, b []byte) []byte {
		hashed++
		return keyedHash(id, b)
	}
	for name, row := range map[string]struct {
		token []byte
		at    time.Time
	}{
		"right": {whole, t0}, "expired": {whole, t0.AddDate(1, 0, 0)}, "wrong": {append(slices.Clone(whole[:40]), 'x'), t0},
		"unknown": {[]byte(Prefix + strings.Repeat("B", 34)), t0}, "no form": {[]byte("x"), t0},
	} {
		hashed = 0
		_, _ = s.Check(row.token, row.at)
		if hashed != 1 {
			t.Errorf("%s: %d hashes, want 1", name, hashed)
		}
	}
}

func TestARemovedTokenOpensNothing(t *testing.T) {
	s, r := open(t)
	whole, made := s.mustAdd(t, "a", 0)
	if err := s.Remove(t.Context(), made.ID, t0, "anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(whole, t0); !errors.Is(err, errUnknown) {
		t.Errorf("it still opens: %v", err)
	}
	if err := s.Remove(t.Context(), made.ID, t0, "anna"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("removed twice: %v", err)
	}
	// Nobody knows whether this one was committed: what is on disk counts.
	whole, made = s.mustAdd(t, "b", 0)
	r.lost = errors.New("input/output error")
	if err := s.Remove(t.Context(), made.ID, t0, "anna"); !errors.Is(err, r.lost) {
		t.Errorf("a lost answer: %v", err)
	}
	if _, err := s.Check(whole, t0); !errors.Is(err, ErrRefused) {
		t.Errorf("its removal reached the disk, and it still opens: %v", err)
	}
}

func TestNamesTellTokensApart(t *testing.T) {
	s, _ := open(t)
	_, made := s.mustAdd(t, "a", 0)
	if _, _, err := s.Add(t.Context(), New{Name: "a", Scope: sale.ScopeMetrics}, t0, ""); !errors.Is(err, ErrExists) {
		t.Errorf("a second one of a name: %v", err)
	}
	if err := s.Remove(t.Context(), made.ID, t0, ""); err != nil {
		t.Fatal(err)
	}
	s.mustAdd(t, "a", 0)
	for _, n := range []New{
		{"", sale.ScopeRead, 0}, {"-a", sale.ScopeRead, 0}, {".a", sale.ScopeRead, 0}, {"A", sale.ScopeRead, 0}, {"a b", sale.ScopeRead, 0}, {"a\n", sale.ScopeRead, 0},
		{"ofk_reg_live_x", sale.ScopeRead, 0}, {"ä", sale.ScopeRead, 0}, {strings.Repeat("a", 64), sale.ScopeRead, 0},
		{"b", "", 0}, {"b", "admin", 0}, {"b", "read,provision", 0},
		{"b", sale.ScopeRead, -1}, {"b", sale.ScopeRead, time.Second}, {"b", sale.ScopeRead, Longest + 1},
	} {
		if _, _, err := s.Add(t.Context(), n, t0, ""); err == nil {
			t.Errorf("%+v was taken", n)
		}
	}
}

func TestUseIsNotedOnceAnHour(t *testing.T) {
	s, r := open(t)
	_, made := s.mustAdd(t, "a", 0)
	noted := func() (n int) {
		for _, l := range r.lines {
			if l == "used" {
				n++
			}
		}
		return n
	}
	for _, row := range []struct {
		at   time.Time
		want int
	}{{t0, 1}, {t0.Add(time.Minute), 1}, {t0.Add(time.Hour - 1), 1}, {t0.Add(time.Hour), 2}, {t0.Add(-time.Hour), 3}} {
		if err := s.Used(t.Context(), made.ID, row.at); err != nil || noted() != row.want {
			t.Errorf("used at %s: noted %d times, want %d, %v", row.at, noted(), row.want, err)
		}
	}
	r.lost = errors.New("database or disk is full")
	if err := s.Used(t.Context(), made.ID, t0.Add(2*time.Hour)); !errors.Is(err, r.lost) {
		t.Errorf("a full disk: %v", err)
	}
	if err := s.Used(t.Context(), made.ID, t0.Add(2*time.Hour)); err != nil {
		t.Errorf("a full disk is asked with each request: %v", err)
	}
	if err := s.Used(t.Context(), "AAAAAAAA", t0); err != nil || noted() != 4 {
		t.Errorf("one that is not there: %v, %d", err, noted())
	}
}

func TestNothingShowsAToken(t *testing.T) {
	s, _ := open(t)
	whole, made, err := s.Add(t.Context(), New{"a", sale.ScopeRead, time.Hour}, t0, "")
	if err != nil {
		t.Fatal(err)
	}
	_, expired := s.Check(whole.Reveal(), t0.AddDate(1, 0, 0))
	text := fmt.Sprintf("%v %+v %#v %+v %v", whole, whole, whole, made, expired)
	if strings.Contains(text, string(whole.Reveal()[len(Prefix)+idSize:])) {
		t.Errorf("it is shown: %s", text)
	}
}
