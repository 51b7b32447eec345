package store

import (
	"errors"
	"testing"
	"time"

	"edgegw/sale"
)

func TestTokens(t *testing.T) {
	db := openTest(t)
	ctx := t.Context()
	want := sale.Token{ID: "AAAAAAAA", Name: "back-office", Scope: sale.ScopeProvision, CreatedAt: t0, ExpiresAt: t0.Add(time.Hour), Hash: []byte("hash of a token")}
	if err := db.AddToken(ctx, want, "anna"); err != nil {
		t.Fatal(err)
	}
	if err := db.AddToken(ctx, sale.Token{ID: "BBBBBBBB", Name: "back-office", Scope: sale.ScopeRead, CreatedAt: t0}, "anna"); err == nil {
		t.Error("two tokens have one name, and the audit trail cannot tell them apart")
	}
	if err := db.TokenUsed(ctx, want.ID, t0.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	list, err := db.Tokens(ctx)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	got := list[0]
	if got.ID != want.ID || got.Name != want.Name || got.Scope != want.Scope || !got.CreatedAt.Equal(t0) || !got.ExpiresAt.Equal(want.ExpiresAt) ||
		!got.UsedAt.Equal(t0.Add(time.Minute)) || string(got.Hash) != string(want.Hash) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := db.RevokeToken(ctx, want.ID, t0.Add(2*time.Minute), "berta"); err != nil {
		t.Fatal(err)
	}
	if err := db.RevokeToken(ctx, want.ID, t0, "berta"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("revoked twice: %v", err)
	}
	if list, err := db.Tokens(ctx); err != nil || len(list) != 0 {
		t.Errorf("after its end: %+v, %v", list, err)
	}
	var left, lines int
	if err := db.queryOne(ctx, `SELECT count(*) FROM token WHERE revoked_at > 0 AND hash = x''`, nil, &left); err != nil || left != 1 {
		t.Errorf("%d rows of revoked tokens without their hash, %v", left, err)
	}
	if err := db.queryOne(ctx, `SELECT count(*) FROM audit WHERE subject = 'AAAAAAAA' AND (who = 'anna' AND what = 'token added' AND detail = 'back-office, scope provision'
		OR who = 'berta' AND what = 'token removed' AND detail = 'back-office')`, nil, &lines); err != nil || lines != 2 {
		t.Errorf("%d lines in the audit trail, want 2, %v", lines, err)
	}
	if err := db.AddToken(ctx, sale.Token{ID: "CCCCCCCC", Name: "back-office", Scope: sale.ScopeRead, CreatedAt: t0}, "anna"); err != nil {
		t.Errorf("the name is not free again: %v", err)
	}
}
