package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/tokens"
)

// AddToken makes a token for a program.
func (k *control) AddToken(ctx context.Context, n admin.NewToken, by string) (admin.MadeToken, error) {
	if n.Seconds < 0 || n.Seconds > int64(tokens.Longest/time.Second) {
		return admin.MadeToken{}, &admin.Refusal{Code: "invalid", Message: "a token expires after ten years at the most", Remedy: "Give less, as in --expires 90d"}
	}
	ask := tokens.New{Name: n.Name, Scope: n.Scope, Expires: time.Duration(n.Seconds) * time.Second}
	if err := ask.Check(); err != nil {
		return admin.MadeToken{}, refusal(err)
	}
	whole, t, err := k.tokens.Add(ctx, ask, k.clock.Now(), by)
	if errors.Is(err, tokens.ErrExists) {
		return admin.MadeToken{}, &admin.Refusal{Code: "exists", Message: "there is a token " + n.Name + " already",
			Remedy: "Choose another name: the audit trail tells programs apart by it"}
	}
	if err != nil {
		return admin.MadeToken{}, err
	}
	return admin.MadeToken{Token: k.tokenInfo(t), Secret: string(whole.Reveal()), URL: k.apiURL(), CAFile: k.caOfAPI(), Notice: k.tokenNotice(t)}, nil
}

// caOfAPI is what a program must trust; "" where the operator's own certificate
// is served.
func (k *control) caOfAPI() string {
	if k.config.MQTT.CertFile != "" {
		return ""
	}
	return k.CAFile()
}

// tokenNotice says what would surprise whoever is given the token.
func (k *control) tokenNotice(t sale.Token) string {
	var notices []string
	if k.config.HTTP.TLSListen == "" {
		notices = append(notices, "http.tls_listen is off, so that no other machine can use the API. Set it, as in http.tls_listen: \":8443\", and start the gateway again.")
	}
	if !t.ExpiresAt.IsZero() && k.clock.Quality() == clock.Unknown {
		notices = append(notices, "The clock of this box cannot be right, so the token may end earlier or later than that.")
	}
	return strings.Join(notices, " ")
}

// Tokens lists all tokens.
func (k *control) Tokens(context.Context) ([]admin.Token, error) {
	list := []admin.Token{}
	for _, t := range k.tokens.List() {
		list = append(list, k.tokenInfo(t))
	}
	return list, nil
}

func (k *control) tokenInfo(t sale.Token) admin.Token {
	info := admin.Token{ID: t.ID, Name: t.Name, Scope: t.Scope, State: "valid", CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, UsedAt: t.UsedAt}
	if t.Expired(k.clock.Now()) {
		info.State = "expired"
	}
	return info
}

// RemoveToken ends a token at once.
func (k *control) RemoveToken(ctx context.Context, id, by string) error {
	err := k.tokens.Remove(ctx, id, k.clock.Now(), by)
	if errors.Is(err, sale.ErrNone) {
		return &admin.Refusal{Code: "not_found", Message: "there is no such token", Remedy: "List them, with their ids: edgegw token list"}
	}
	return err
}

// expiringSoon is how long before its end a token is a condition: time enough to
// give its program another. A token of days is told in its last quarter.
const expiringSoon = 14 * 24 * time.Hour

func (k *control) tokenConditions(b *health.Board) {
	now := k.clock.Now()
	for _, t := range k.tokens.List() {
		if t.ExpiresAt.IsZero() {
			continue
		}
		soon := min(expiringSoon, t.ExpiresAt.Sub(t.CreatedAt)/4)
		if now.Before(t.ExpiresAt.Add(-soon)) {
			continue
		}
		b.Set(tokenCondition(t, t.ExpiresAt.Add(-soon), now))
	}
}
