package page

import (
	"fmt"
	"net/http"
	"time"
)

// writeLimit bounds one line to a browser that does not read.
const writeLimit = 15 * time.Second

// live tells a browser when there may be something new to see (server-sent events).
// It carries no content: the browser asks for its page again, as whoever it is.
func (s *Site) live(v *visit) error {
	line := http.NewResponseController(v.w)
	_ = line.SetWriteDeadline(time.Time{}) // a page may be open all day
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.WriteHeader(http.StatusOK)
	if _, err := fmt.Fprint(v.w, "retry: 3000\n\n"); err != nil || line.Flush() != nil {
		return nil // he has gone
	}
	ctx := v.r.Context()
	for {
		if err := s.Changed(ctx); err != nil {
			return nil // he has gone, or the gateway ends
		}
		// A person who was removed, or whose time is over, sees nothing more.
		if _, err := s.Door.Who(ctx, sessionOf(v.r)); err != nil {
			return nil
		}
		_ = line.SetWriteDeadline(time.Now().Add(writeLimit))
		if _, err := fmt.Fprint(v.w, "event: changed\ndata:\n\n"); err != nil || line.Flush() != nil {
			return nil
		}
	}
}
