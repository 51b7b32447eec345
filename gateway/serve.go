package gateway

import (
	"context"
	"errors"
	"fmt"

	"edgegw/config"
	"edgegw/devicekeys"
)

// Legacy is what a gateway leaves to the one that takes its place in the same
// process. The key-encryption key is not read again, because a text of it is gone;
// the code that claims the page may be in somebody's hand.
type Legacy struct {
	kek     *kekState
	sealing devicekeys.Sealing
	code    string
}

func (k *control) legacy() Legacy {
	l := Legacy{code: k.people.Code()}
	if s := k.kekNow(); s.problem == nil {
		l.kek, l.sealing = &s, k.ring.Sealing()
	}
	return l
}

// Serve runs the gateway of a configuration, and another one in its place
// whenever its settings are changed, until ctx ends or a part dies. start is New
// with whatever belongs to it. Where a gateway cannot begin with changed settings,
// the former ones come back at once.
func Serve(ctx context.Context, c config.Config, start func(config.Config, Legacy) (*Gateway, error)) error {
	g, err := start(c, Legacy{})
	for err == nil {
		g.served = true
		err = g.Run(ctx)
		next := g.successor.Load()
		if err != nil || next == nil || ctx.Err() != nil {
			return err
		}
		g, err = succeed(ctx, g, *next, start)
	}
	if ctx.Err() != nil && g == nil && errors.Is(err, ctx.Err()) {
		return nil // it was asked to end while another began
	}
	return err
}

// succeed begins a gateway in the place of one that has ended.
func succeed(ctx context.Context, former *Gateway, next config.Config, start func(config.Config, Legacy) (*Gateway, error)) (*Gateway, error) {
	legacy := former.legacy()
	g, err := start(next, legacy)
	if err == nil || ctx.Err() != nil || !next.Settings().Trial {
		return g, err
	}
	former.log.Error("the gateway cannot begin with the changed settings; the former ones come back", "cause", err)
	if noted := noteFailure(next.DataDir, err); noted != nil {
		former.log.Error("why cannot be kept", "cause", noted)
	}
	g, again := start(former.config.Kept(), legacy)
	if again != nil {
		return nil, errors.Join(fmt.Errorf("begin with the changed settings: %w", err), fmt.Errorf("begin with the former ones: %w", again))
	}
	return g, nil
}
