package admin

import (
	"context"
	"fmt"
)

func (m *memory) AddToken(_ context.Context, n NewToken, by string) (MadeToken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who, m.requested = append(m.who, by), append(m.requested, fmt.Sprint("token ", n.Name, " ", n.Scope, " ", n.Seconds))
	return MadeToken{Token: Token{ID: "AAAAAAAA", Name: n.Name, Scope: n.Scope}, Secret: "edgegw_once"}, nil
}

func (m *memory) Tokens(context.Context) ([]Token, error) {
	return []Token{{ID: "AAAAAAAA", Name: "back-office"}}, m.broken
}

func (m *memory) RemoveToken(_ context.Context, id, by string) error {
	if id != "AAAAAAAA" {
		return noToken()
	}
	return m.act("remove token", "", by)
}
