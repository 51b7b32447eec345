package gateway

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/store"
)

// sickDisk refuses every commit while sick is set.
type sickDisk struct {
	driver.Connector
	sick *atomic.Bool
}

func (d sickDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	return sickConn{c, d.sick}, err
}

type sickConn struct {
	driver.Conn
	sick *atomic.Bool
}

func (c sickConn) Prepare(text string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(text)
	if text != "COMMIT" || err != nil {
		return s, err
	}
	return sickCommit{s, c.sick}, nil
}

type sickCommit struct {
	driver.Stmt
	sick *atomic.Bool
}

func (s sickCommit) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if s.sick.Load() {
		return nil, errors.New("the disk is sick")
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// A sale that cannot be stored is never acknowledged, on the wire, by the whole
// product; and the device's own repetition of it is taken once the disk is
// well. v5 QoS 1 gets a reason; everything else can only lose its line.
func TestASaleThatCannotBeStoredIsNeverAcknowledged(t *testing.T) {
	sick := &atomic.Bool{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = func(c driver.Connector) driver.Connector { return sickDisk{c, sick} }
	s.on()
	n := 0
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			n++
			id := sale.DeviceID(fmt.Sprintf("pump-%02d", n))
			t.Run(fmt.Sprintf("v%d_qos%d", version, qos), func(t *testing.T) {
				s.t = t
				s.add(id)
				c := s.connect(id, version)
				sick.Store(true)
				if err := c.Publish(topic(id, "sale"), qos, 7, fmt.Sprintf(wholeEvent, "s1")); err != nil {
					t.Fatal(err)
				}
				if version == 5 && qos == 1 {
					p, _, err := c.Await(brokertest.PUBACK)
					if err != nil || p.Code < 0x80 {
						t.Errorf("PUBACK %#x, %v: want a reason of 0x80 or more", p.Code, err)
					}
				} else if got, err := c.AwaitEnd(); err != nil || answered(got) {
					t.Errorf("got %v, %v: want the line dropped without an answer", got, err)
				}
				if sales, err := s.db.Sales(t.Context(), store.SaleFilter{Device: id}); err != nil || len(sales) != 0 {
					t.Errorf("stored all the same: %v, %v", sales, err)
				}
				sick.Store(false)
				c = s.connect(id, version, topic(id, "receipt"))
				if err := c.Publish(topic(id, "sale"), qos, 7, fmt.Sprintf(wholeEvent, "s1")); err != nil {
					t.Fatal(err)
				}
				if qos == 2 {
					if p, _, err := c.Await(brokertest.PUBREC); err != nil || p.Code >= 0x80 {
						t.Fatalf("PUBREC %#x, %v", p.Code, err)
					}
					if err := c.Answer(brokertest.PUBREL, 7); err != nil {
						t.Fatal(err)
					}
				}
				if r := awaitReceipt(t, c, nil); r.SaleID != "s1" {
					t.Errorf("receipt of %s", r.SaleID)
				}
			})
		}
	}
	s.t = t
	s.off()
}

// answered reports whether a PUBLISH got a positive answer.
func answered(packets []brokertest.Packet) bool {
	for _, p := range packets {
		if p.Type == brokertest.PUBACK || p.Type == brokertest.PUBREC || p.Type == brokertest.PUBCOMP {
			return true
		}
	}
	return false
}
