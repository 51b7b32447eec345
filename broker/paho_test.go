package broker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// A client library that others wrote understands what the broker says.
func TestPahoClient(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) {
		s.accept.Decide = func(m sale.Message) sale.Verdict {
			v := brokertest.Queued(m)
			if string(m.Payload) == "bad" {
				v.Ack.Status, v.Ack.Error = sale.Quarantined, &sale.Fault{Field: "/x", Message: "is bad"}
			}
			return v
		}
	})
	for i := range 9 {
		s.mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), brokertest.Patience)
	defer cancel()
	got := make(chan string, 64)
	c := paho.NewClient(paho.ClientConfig{Conn: s.dial(), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			if p.Packet.Topic == topic("pump-01", "receipt") {
				got <- string(p.Packet.Payload)
			}
			return true, nil
		},
	}})
	ack, err := c.Connect(ctx, &paho.Connect{ClientID: "pump-01", KeepAlive: 30, Username: "pump-01", UsernameFlag: true,
		Password: []byte("s-pump-01"), PasswordFlag: true})
	must(t, err)
	if *ack.Properties.ReceiveMaximum != 64 || *ack.Properties.MaximumPacketSize != 65536 {
		t.Fatalf("%+v", ack.Properties)
	}
	_, err = c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic("pump-01", "#"), QoS: 1}}})
	must(t, err)
	for i := range 9 {
		select {
		case r := <-got:
			if r != fmt.Sprintf("r%d", i) {
				t.Fatalf("receipt %d is %s", i, r)
			}
		case <-ctx.Done():
			t.Fatalf("receipt %d did not come", i)
		}
	}
	eventually(t, "all receipts recorded", func() bool { return s.mail.Left("pump-01") == 0 })
	for _, row := range []struct {
		payload string
		qos     byte
		code    byte
	}{{"a", 1, 0}, {"b", 2, 0}, {"bad", 1, 0x99}, {"bad", 2, 0}} {
		r, err := c.Publish(ctx, &paho.Publish{Topic: topic("pump-01", "sale"), QoS: row.qos, Payload: []byte(row.payload)})
		if r == nil || r.ReasonCode != row.code || (err != nil) != (row.code >= 0x80) {
			t.Fatalf("%+v: %+v, %v", row, r, err)
		}
	}
	must(t, c.Disconnect(&paho.Disconnect{}))
}
