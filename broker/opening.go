package broker

import "errors"

// maxFirstPacket is the longest CONNECT that is read, in bytes behind its fixed
// header. Mochi sets memory aside for as much as a packet announces, and whoever
// announces a CONNECT has proved nothing yet (FAULTS.md T9).
const maxFirstPacket = 8 << 10

const (
	typeConnect = 0x10
	typeConnack = 0x20
)

var (
	errNoConnect   = errors.New("the first packet is no CONNECT [MQTT-3.1.0-1]")
	errLongConnect = errors.New("the first packet is announced as too long")
)

// opening looks at the fixed header of the first packet on its way to mochi,
// however it is cut into pieces.
type opening struct {
	seen   int // bytes of the fixed header
	length int
	done   bool // what follows is mochi's business
	bad    bool
}

// look takes the next bytes. It fails before mochi can have seen the last byte
// of a length that is too long.
func (o *opening) look(p []byte) error {
	for _, b := range p {
		if o.seen == 0 {
			if b != typeConnect {
				return o.fail(errNoConnect)
			}
			o.seen++
			continue
		}
		o.length |= int(b&0x7F) << (7 * (o.seen - 1))
		o.seen++
		switch {
		case o.length > maxFirstPacket || o.seen > 4 && b >= 0x80: // a length has four bytes at most [MQTT-1.5.5]
			return o.fail(errLongConnect)
		case b < 0x80:
			o.done = true
			return nil
		}
	}
	return nil
}

func (o *opening) fail(err error) error {
	o.done, o.bad = true, true
	return err
}
