// Package broker is the MQTT side of the gateway and the only package that
// knows mochi. It promises that a device speaks only as itself, that no sale is
// acknowledged before its Acceptor said that it is on disk, that receipts go to
// their own device until that device has acknowledged them, and that one bad
// connection harms no other.
//
// It keeps nothing that matters: sales belong to the Acceptor, receipts to the
// Mailbox, MQTT sessions to the Sessions store. Mochi is used as transport. It
// parses packets, keeps subscriptions and the QoS 2 hand-shake of devices; what
// it does not do safely (acknowledging, outbound QoS 1, listening, wills, session
// take-over) is done here, and trap_test.go shows for each why.
//
// The way of one PUBLISH with QoS 1: mochi's read goroutine → hook.OnPacketRead
// → Acceptor.Accept, in the order of arrival → the connection's answering
// goroutine, which waits for the verdicts in that order, and writes PUBACK and
// sale/ack, several in one write where several are ready.
package broker
