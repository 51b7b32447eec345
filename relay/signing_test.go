package relay

import (
	"testing"
	"time"

	"edgegw/sale"
)

func TestSigningIsDownOnlyForSeveral(t *testing.T) {
	type refusal struct {
		register sale.RegisterID
		step     sale.Step
		plain    bool
		after    time.Duration // of the one before
		success  sale.Step     // before it: this step is confirmed somewhere
	}
	p := func(r sale.RegisterID, s sale.Step, after time.Duration) refusal {
		return refusal{r, s, true, after, 0}
	}
	for _, c := range []struct {
		name      string
		registers int
		refusals  []refusal
		want      []bool
		others    int // with the last refusal
	}{
		{"a lone one is poison", 12, []refusal{p("a", 3, 0)}, []bool{false}, 0},
		{"the same register again", 12, []refusal{p("a", 3, 0), p("a", 3, 1), p("a", 3, 1)}, []bool{false, false, false}, 0},
		{"the third of twelve", 12, []refusal{p("a", 3, 0), p("b", 3, 1), p("c", 3, 1)}, []bool{false, false, true}, 2},
		{"both of two", 2, []refusal{p("a", 3, 0), p("b", 3, 1)}, []bool{false, true}, 1},
		{"the only register of a site", 1, []refusal{p("a", 3, 0), p("a", 3, 1)}, []bool{false, false}, 0},
		{"too slow", 12, []refusal{p("a", 3, 0), p("b", 3, 40*time.Second), p("c", 3, 40*time.Second)}, []bool{false, false, false}, 0},
		{"with a success between", 12, []refusal{p("a", 3, 0), p("b", 3, 1), {"c", 3, true, 1, 3}}, []bool{false, false, false}, 0},
		{"a success that needs no signature", 12, []refusal{p("a", 3, 0), p("b", 3, 1), {"c", 3, true, 1, 2}}, []bool{false, false, true}, 2},
		{"other steps", 12, []refusal{p("a", 3, 0), p("b", 1, 1), p("c", 3, 1)}, []bool{false, false, false}, 0},
		{"it says so itself", 12, []refusal{{"a", 3, false, 0, 0}}, []bool{true}, 0},
		{"once one says so", 12, []refusal{{"a", 3, false, 0, 0}, p("b", 1, 1)}, []bool{true, true}, 0},
		{"until it is back", 12, []refusal{{"a", 3, false, 0, 0}, {"b", 3, true, 1, 3}}, []bool{true, false}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSigning()
			now := time.Unix(1_700_000_000, 0)
			for i, r := range c.refusals {
				now = now.Add(r.after)
				if r.success != 0 {
					s.succeed(r.success)
				}
				down, others := s.refuse(r.register, r.step, r.plain, c.registers, now)
				if down != c.want[i] {
					t.Errorf("refusal %d: down is %v", i, down)
				}
				if i == len(c.refusals)-1 && len(others) != c.others {
					t.Errorf("others %v, want %d", others, c.others)
				}
				if down == s.state().IsZero() {
					t.Errorf("refusal %d: down %v since %s", i, down, s.state())
				}
			}
		})
	}
}

func TestSigningTakesBackOnce(t *testing.T) {
	s := newSigning()
	now := time.Unix(1_700_000_000, 0)
	s.refuse("a", 3, true, 12, now)
	s.refuse("b", 3, true, 12, now.Add(time.Second))
	if _, ok := s.takeBack("a"); ok {
		t.Error("taken back before anybody knew")
	}
	s.refuse("c", 3, true, 12, now.Add(2*time.Second))
	for _, r := range []sale.RegisterID{"a", "b", "c"} { // the last one may have had its own before
		if since, ok := s.takeBack(r); !ok || !since.Equal(now) {
			t.Errorf("%s: %s %v", r, since, ok)
		}
		if _, ok := s.takeBack(r); ok {
			t.Errorf("%s twice", r)
		}
	}
}
