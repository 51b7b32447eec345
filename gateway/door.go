package gateway

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"edgegw/admin"
)

const (
	// Tokens in vain that one address may send at once, and in a second after
	// that. More are answered 429.
	mostInVain    = 20
	inVainASecond = 1
	// mostStrangers bounds how many addresses are told apart.
	mostStrangers = 1024
	// strangerSaid is how often one address is in the log.
	strangerSaid = time.Minute
)

// door lets in who shows a token. It looks at the token first and counts only
// what was in vain, so that nobody can lock out the right one, from whatever
// address both come.
type door struct {
	k *control

	mu        sync.Mutex
	strangers map[netip.Prefix]*stranger
	others    *stranger // all that there is no room for
}

// stranger is an address that has sent tokens in vain.
type stranger struct {
	limit *rate.Limiter
	times int // since it was in the log
	said  time.Time
}

func newStranger() *stranger { return &stranger{limit: rate.NewLimiter(inVainASecond, mostInVain)} }

func newDoor(k *control) *door {
	return &door{k: k, strangers: map[netip.Prefix]*stranger{}, others: newStranger()}
}

// check is what admin.Remote asks. Whatever is wrong with a token, the answer is
// the same: nobody can find out what it was once good for.
func (d *door) check(r *http.Request) (admin.Caller, *admin.Refusal) {
	now := d.k.clock.Now()
	t, err := d.k.tokens.Check(bearer(r.Header), now)
	if err != nil {
		d.k.meters.inVain.Inc()
		if d.tooMany(r.RemoteAddr, err) {
			return admin.Caller{}, &admin.Refusal{Code: admin.CodeTooMany, Message: "there were too many requests without a right token from your address", Remedy: "Wait a minute. A right token is let in all the while."}
		}
		return admin.Caller{}, &admin.Refusal{Code: admin.CodeToken, Message: "there is no token that opens this", Remedy: "Send Authorization: Bearer TOKEN, with one from: edgegw token add"}
	}
	if err := d.k.tokens.Used(r.Context(), t.ID, now); err != nil {
		d.k.log.Warn("the use of a token could not be noted", "token", t.Name, "cause", err)
	}
	return admin.Caller{Name: t.Name, Scope: t.Scope}, nil
}

// bearer takes the token out of the one header where it may stand. Addresses get
// into logs, and browsers send cookies by themselves.
func bearer(h http.Header) []byte {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	return []byte(strings.TrimLeft(token, " "))
}

// tooMany counts a token in vain, and says it in the log now and then.
func (d *door) tooMany(remote string, why error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := d.stranger(neighbours(remote), now)
	s.times++
	if now.Sub(s.said) >= strangerSaid {
		d.k.log.Warn("requests without a right token", "remote", remote, "times", s.times, "last", slog.AnyValue(why))
		s.said, s.times = now, 0
	}
	return !s.limit.AllowN(now, 1)
}

// stranger gives what is known of an address. Where there are too many, those that
// have been quiet for long enough are forgotten, and the rest share one account.
// The lock is held.
func (d *door) stranger(from netip.Prefix, now time.Time) *stranger {
	if s := d.strangers[from]; s != nil {
		return s
	}
	if len(d.strangers) >= mostStrangers {
		for p, s := range d.strangers {
			if s.limit.TokensAt(now) >= mostInVain && now.Sub(s.said) >= strangerSaid {
				delete(d.strangers, p)
			}
		}
	}
	if len(d.strangers) >= mostStrangers {
		return d.others
	}
	s := newStranger()
	d.strangers[from] = s
	return s
}
