// Package tokens knows which programs may use the HTTP API over a network, and
// how they prove it: by a bearer token that was shown once. It promises that a
// token that was removed or has expired opens nothing from that moment on, that
// nothing is kept by which one could be made again, and that whoever tries
// cannot tell a wrong token from one that has ended. What a scope opens is the
// business of those who serve the routes; rows are kept by whoever implements
// Rows.
package tokens

import (
	"context"
	"errors"
	"time"

	"edgegw/sale"
)

// Rows is where tokens are kept. Every change is durable, with its line in the
// audit trail in the same transaction, before the call returns; by is the person
// or program that asked for it.
type Rows interface {
	// Tokens lists all that were not removed.
	Tokens(ctx context.Context) ([]sale.Token, error)
	AddToken(ctx context.Context, t sale.Token, by string) error
	RevokeToken(ctx context.Context, id string, at time.Time, by string) error
	TokenUsed(ctx context.Context, id string, at time.Time) error
}

// Errors that callers test for. What a token is not there for wraps
// sale.ErrNone.
var (
	ErrRefused = errors.New("the token opens nothing")
	ErrExists  = errors.New("there is a token of that name already")
)
