package broker

import (
	"context"
	"log/slog"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"
)

// quiet is the handler that mochi logs through. Mochi attaches whole packets,
// payloads included, to its warnings and errors (FAULTS.md, after T13); quiet
// lets only plain facts pass, and only warnings and errors.
type quiet struct {
	to    slog.Handler
	often *rate.Sometimes // a device in a loop must not bury everything else
}

func newQuiet(to slog.Handler) quiet {
	often := newGrumble()
	return quiet{to, &often}
}

// harmless are the attributes of mochi that hold no bytes of a device other than
// names that have passed the whitelist.
var harmless = map[string]bool{"error": true, "client": true, "listener": true, "hook": true, "id": true,
	"keepalive": true, "remote": true, "old_remote": true, "new_remote": true}

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.to.Enabled(ctx, l)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == mqtt.ErrMinimumKeepalive.Error() {
		return nil // said of anybody, before they have proved who they are; connect.go mends the keep-alive
	}
	message := r.Message
	if message == "" {
		message = "mqtt connection ended"
	}
	out := slog.NewRecord(r.Time, r.Level, message, r.PC)
	usual := false
	r.Attrs(func(a slog.Attr) bool {
		// DISCONNECT "with will message" (0x04) is a goodbye like any other, and an
		// error to mochi only.
		usual = usual || a.Key == "error" && a.Value.Any() == packets.CodeDisconnectWillMessage
		if harmless[a.Key] {
			out.AddAttrs(a)
		}
		return true
	})
	if usual {
		return nil
	}
	var err error
	q.often.Do(func() { err = q.to.Handle(ctx, out) })
	return err
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler {
	var keep []slog.Attr
	for _, a := range as {
		if harmless[a.Key] {
			keep = append(keep, a)
		}
	}
	return quiet{q.to.WithAttrs(keep), q.often}
}

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.to.WithGroup(name), q.often} }
