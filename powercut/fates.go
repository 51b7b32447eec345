package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A fate says what became of the changes that no sync had covered when the power
// went. Its name alone, with the scene and the cut, gives the same state again:
//
//	none, all     none of them has reached the disk; all of them
//	upto.K        the first K of them
//	lost.K        all but number K: what came later overtook it
//	only.K        number K alone
//	torn.K.N      all before number K, and the first N bytes of K
//	hole.K.N      all of them, but of number K only the first N bytes
//	zero.K        all of them, but number K left zeros where the file grew
//	zeros         all of them, but wherever a file grew there are zeros
//	rand.S        each by the toss of a coin, some of them torn
const sector = 512

// fates gives up to most fates for these changes: none and all always, of the
// others those that seed chooses.
func fates(pending []*op, most int, seed uint64) []string {
	if len(pending) == 0 {
		return []string{"all"}
	}
	var rest []string
	add := func(format string, args ...any) { rest = append(rest, fmt.Sprintf(format, args...)) }
	for k, o := range pending {
		if k > 0 {
			add("upto.%d", k)
			add("only.%d", k)
			add("lost.%d", len(pending)-1-k)
		}
		if o.kind != opWrite {
			continue
		}
		for n := sector - int(o.off%sector); n < len(o.data); n += sector {
			if n == sector || n%4096 == 0 || n+sector >= len(o.data) {
				add("torn.%d.%d", k, n)
				add("hole.%d.%d", k, n)
			}
		}
		if o.off+int64(len(o.data)) > int64(len(o.ino.synced)) {
			add("zero.%d", k)
		}
	}
	if len(pending) > 1 {
		add("zeros")
		for s := range 4 {
			add("rand.%d", s)
		}
	}
	chance := rand.New(rand.NewPCG(seed, uint64(len(pending))))
	chance.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return append([]string{"all", "none"}, rest[:min(len(rest), max(0, most-2))]...)
}

// seedOf makes the same choice for the same cut in every run.
func seedOf(scene string, cut int) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, scene, "/", cut)
	return h.Sum64()
}

// suffer gives what of the changes has reached the disk.
func suffer(pending []*op, fate string) ([]*op, error) {
	parts := strings.Split(fate, ".")
	num := make([]int, len(parts))
	for i, p := range parts[1:] {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("there is no fate %q", fate)
		}
		num[i+1] = n
	}
	arity := map[string]int{"none": 1, "all": 1, "zeros": 1, "upto": 2, "lost": 2, "only": 2, "zero": 2, "rand": 2, "torn": 3, "hole": 3}[parts[0]]
	if arity != len(parts) || arity > 1 && parts[0] != "rand" && num[1] >= len(pending) {
		return nil, fmt.Errorf("there is no fate %q for %d changes", fate, len(pending))
	}
	switch k := num[min(1, len(num)-1)]; parts[0] {
	case "none":
		return nil, nil
	case "all":
		return pending, nil
	case "upto":
		return pending[:k], nil
	case "lost":
		return append(append([]*op{}, pending[:k]...), pending[k+1:]...), nil
	case "only":
		return pending[k : k+1], nil
	case "torn":
		return append(append([]*op{}, pending[:k]...), torn(pending[k], num[2])), nil
	case "hole":
		kept := append([]*op{}, pending...)
		kept[k] = torn(pending[k], num[2])
		return kept, nil
	case "zero":
		kept := append([]*op{}, pending...)
		kept[k] = zeroed(pending[k])
		return kept, nil
	case "zeros":
		kept := append([]*op{}, pending...)
		for i, o := range kept {
			kept[i] = zeroed(o)
		}
		return kept, nil
	}
	return tossed(pending, uint64(num[1])), nil
}

func tossed(pending []*op, seed uint64) (kept []*op) {
	chance := rand.New(rand.NewPCG(seed, 4711))
	for _, o := range pending {
		switch toss := chance.IntN(16); {
		case toss < 7:
		case toss < 9 && o.kind == opWrite && len(o.data) > sector:
			kept = append(kept, torn(o, sector*(1+chance.IntN(len(o.data)/sector))))
		case toss < 10:
			kept = append(kept, zeroed(o))
		default:
			kept = append(kept, o)
		}
	}
	return kept
}

// torn is a write of which only the beginning has reached the disk.
func torn(o *op, n int) *op {
	if o.kind != opWrite || n >= len(o.data) {
		return o
	}
	half := *o
	half.data = o.data[:n]
	return &half
}

// zeroed is a write that made its file longer, but whose bytes did not come: what
// delayed allocation may leave. Where the file had bytes, they stay.
func zeroed(o *op) *op {
	had := int64(len(o.ino.synced))
	if o.kind != opWrite || o.off+int64(len(o.data)) <= had {
		return o
	}
	z := *o
	skip := max(0, had-o.off) // what lies before the old end is kept
	z.off, z.data = o.off+skip, make([]byte, int64(len(o.data))-skip)
	return &z
}
