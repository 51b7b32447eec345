package broker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// What is in flight is not sent again by the same connection, whatever makes the
// broker look through the mailbox from its beginning (ruling 19).
func TestReceiptsInFlightAreNotRepeated(t *testing.T) {
	for name, look := range map[string]func(*brokertest.Client) error{
		"subscribed anew": func(c *brokertest.Client) error {
			if err := c.Unsubscribe(5, topic("pump-01", "receipt")); err != nil {
				return err
			}
			_, _, err := c.Subscribe(6, 1, topic("pump-01", "receipt"))
			return err
		},
		"asked for": func(c *brokertest.Client) error {
			if err := c.Publish(topic("pump-01", "receipt/get"), 1, 7, `{"sale_id":"1"}`); err != nil {
				return err
			}
			_, before, err := c.Await(brokertest.PUBACK)
			if err == nil && len(before) > 0 {
				err = fmt.Errorf("unexpected: %+v", before)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.mail.Put("pump-01", "1", "r1")
			s.mail.Put("pump-01", "2", "r2")
			c := s.device(5, "pump-01")
			subscribe(t, c, 1, topic("pump-01", "receipt"))
			got, _ := letters(t, c, 2)
			equal(t, got, "r1", "r2")
			must(t, look(c))
			s.mail.Put("pump-01", "3", "r3") // is found by the same look, or by one after it
			s.b.Deliver("pump-01")
			got, _ = letters(t, c, 1)
			equal(t, got, "r3")
		})
	}
}

// slowBox holds its second look into the mailbox back.
type slowBox struct {
	*brokertest.Mailbox
	looks       atomic.Int32
	asked, open chan struct{}
}

func (m *slowBox) Waiting(ctx context.Context, d sale.DeviceID, after int64, most int) ([]sale.Letter, error) {
	if m.looks.Add(1) == 2 {
		close(m.asked)
		<-m.open
	}
	return m.Mailbox.Waiting(ctx, d, after, most)
}

// A PUBACK that came is recorded, though the device went before anybody had the
// time to.
func TestPubackCountsThoughTheDeviceHasGone(t *testing.T) {
	box := &slowBox{asked: make(chan struct{}), open: make(chan struct{})}
	s := start(t, func(s *site, _ *optionsOf) { box.Mailbox = s.mail; s.box = box })
	no := s.mail.Put("pump-01", "1", "r1")
	c := s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "receipt"), topic("pump-01", "identify"))
	_, ids := letters(t, c, 1)
	s.b.Deliver("pump-01")
	<-box.asked // who would record it is busy
	must(t, c.Answer(brokertest.PUBACK, ids[0]))
	nothing(t, c) // the PUBACK has been read
	must(t, c.Close())
	gone, end := context.WithCancel(t.Context())
	end() // nobody waits for a PUBACK
	eventually(t, "nothing more is sent", func() bool { return s.b.Identify(gone, "pump-01", []byte("{}")) == broker.Absent })
	close(box.open)
	delivered(t, s, no)
}
