package broker

import (
	"crypto/x509"

	"edgegw/sale"
)

// DisconnectHolders ends the connections of a device that logged in with a
// client certificate which ended says has ended, also one that is just logging
// in. One by a secret or another certificate goes on. The Guard must refuse the
// certificate before DisconnectHolders is called.
func (b *Broker) DisconnectHolders(d sale.DeviceID, ended func(*x509.Certificate) bool) {
	for _, s := range b.devices.connections(d) {
		if s.conn.peer != nil && ended(s.conn.peer) {
			b.cut(s)
		}
	}
}

// cut ends a connection whose device has lost its right to it.
func (b *Broker) cut(s *session) {
	s.revoked.Store(true)
	s.conn.farewell(s.v5, codeNotAllowed)
}
