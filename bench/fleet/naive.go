package fleet

import (
	"context"
	"errors"
	"time"

	"edgegw/sale"
)

// naiveTry sends a call once, whatever became of it before: its idempotency key
// makes it one.
func naiveTry(ctx context.Context, s *site, service *service, c sale.Call) (ok bool) {
	_ = s.Begin(ctx, sale.Attempt{Call: c, At: time.Now()})
	answer, err := service.do(ctx, s, c)
	if ctx.Err() != nil {
		return false
	}
	o := sale.Outcome{Call: c, At: time.Now()}
	var p *sale.Problem
	if errors.As(err, &p) {
		o.Problem = p
	} else {
		o.Answer = &answer
	}
	_, _ = s.Settle(ctx, o)
	return err == nil
}
