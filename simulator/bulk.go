package simulator

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Bulk makes whole-sale payloads of about 1 KiB as fast as memory can be
// copied, for load: one sale of a kiosk, rendered once, in which only sale id,
// seq and times change. It is for one goroutine.
type Bulk struct {
	pieces [][]byte // the text between the marks
	fills  []byte   // which value follows piece i: 'i', 's' or 't'
	r      *rand.Rand
	seq    int64
}

// BulkBytes is about how long a payload of Bulk is.
const BulkBytes = 1024

// NewBulk draws the sale that all payloads share.
func NewBulk(r *rand.Rand, currency string) *Bulk {
	const idMark, seqMark, timeMark = "@id@", 770077007700770077, "2001-01-01T00:00:00.000+00:00"
	mark := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	s := Kiosk(r, currency, mark)
	s.ID, s.Seq, s.EndedAt = idMark, seqMark, mark
	p := s.whole()
	p.Metadata = map[string]string{"note": ""}
	p.Metadata["note"] = strings.Repeat("x", max(0, BulkBytes-len(marshal(p))-28))
	b := &Bulk{r: r}
	b.split(marshal(p), map[string]byte{idMark: 'i', strconv.FormatInt(seqMark, 10): 's', timeMark: 't'})
	return b
}

func (b *Bulk) split(text []byte, marks map[string]byte) {
	for {
		at, length, fill := len(text), 0, byte(0)
		for mark, f := range marks {
			if i := bytes.Index(text, []byte(mark)); i >= 0 && i < at {
				at, length, fill = i, len(mark), f
			}
		}
		b.pieces = append(b.pieces, text[:at])
		if fill == 0 {
			return
		}
		b.fills = append(b.fills, fill)
		text = text[at+length:]
	}
}

// Append writes the next payload to dst and gives its sale id: a new one each
// time, so that no payload is a duplicate of another.
func (b *Bulk) Append(dst []byte, at time.Time) (payload []byte, saleID string) {
	b.seq++
	saleID = newUUID(b.r, at)
	for i, piece := range b.pieces {
		dst = append(dst, piece...)
		if i == len(b.fills) {
			break
		}
		switch b.fills[i] {
		case 'i':
			dst = append(dst, saleID...)
		case 's':
			dst = strconv.AppendInt(dst, b.seq, 10)
		case 't':
			dst = at.AppendFormat(dst, timeLayout)
		}
	}
	return dst, saleID
}

// WholeKiB renders one whole sale of about 1 KiB, for callers that need few.
func WholeKiB(r *rand.Rand, currency string, at time.Time) []byte {
	p, _ := NewBulk(r, currency).Append(nil, at)
	return p
}

// Source gives the seeded chance that devices and builders draw from: the same
// seed and name give the same sales.
func Source(seed uint64, name string) *rand.Rand {
	var h uint64 = 14695981039346656037 // FNV-1a: each device of a fleet draws its own sales from one seed
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}
