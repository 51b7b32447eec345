package broker

import "edgegw/sale"

// crewSize is how many events are read, checked and frozen at one time. More than
// there are processors, because handing one over waits where the journal's queue
// is full.
const crewSize = 16

// crew takes events on behalf of the connections. What it takes to read and to
// freeze one needs a stack twice that of a connection's own goroutine, which
// would keep it for as long as it lives: 32 MiB with 2,000 devices.
type crew struct {
	acceptor Acceptor
	orders   chan order
	end      chan struct{}
}

// order is one event. The connection waits for its answer, so that its events
// are taken in the order of their arrival.
type order struct {
	s     *session
	event *sale.Message
}

// taken is what became of an order.
type taken struct {
	verdict <-chan sale.Verdict
	whole   bool // false: a panic was stopped, and the connection ends
}

func newCrew(a Acceptor) crew {
	return crew{acceptor: a, orders: make(chan order), end: make(chan struct{})}
}

// start has the crew work until end is closed.
func (c *crew) start() {
	for range crewSize {
		go func() {
			for {
				select {
				case o := <-c.orders:
					o.s.taken <- c.take(o)
				case <-c.end:
					return
				}
			}
		}()
	}
}

// take asks the acceptor. A panic costs the connection, and nothing is
// acknowledged.
func (c *crew) take(o order) (t taken) {
	defer o.s.b.recovered(o.s.conn, "event")
	ch := c.acceptor.Accept(o.s.conn.life, *o.event)
	if ch == nil {
		none := make(chan sale.Verdict)
		close(none)
		ch = none
	}
	return taken{ch, true}
}

// accept has an event taken, and gives the channel of its verdict; ok is false
// where the connection ends instead. Only the reading goroutine calls it.
func (s *session) accept(m *sale.Message) (verdict <-chan sale.Verdict, ok bool) {
	if m.QoS == 0 {
		s.b.n.unsafe.Add(1)
	}
	if s.taken == nil {
		s.taken = make(chan taken, 1)
	}
	select {
	case s.b.crew.orders <- order{s, m}:
	case <-s.conn.life:
		return nil, false
	}
	t := <-s.taken
	return t.verdict, t.whole
}
