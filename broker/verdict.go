package broker

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/sale"
)

// This file is the only one that decides what a device hears, and the only one
// that knows how mochi must be told so. Mochi acknowledges as success whatever
// plain error a hook returns, and panics on a wrapped reason code (FAULTS.md
// T1, T2), so no error of an Acceptor may ever reach it.

// outcome is what became of one PUBLISH.
type outcome uint8

const (
	stored      outcome = iota // on disk, or done: queued, duplicate, conflict, a status kept
	quarantined                // on disk byte for byte; can never become part of a sale
	unstored                   // nothing is on disk
	full                       // nothing is on disk, because the gateway takes no sales now
	forbidden                  // the device has no right to that topic
)

// MQTT 5 reason codes of PUBACK.
const (
	codeSuccess     = 0x00
	codeImplement   = 0x83 // implementation specific error
	codeNotAllowed  = 0x87 // not authorized
	codeQuota       = 0x97 // quota exceeded; SUBACK, too
	codePayload     = 0x99 // payload format invalid
	codeServerGoing = 0x8B // DISCONNECT: server shutting down
)

// answer is what the device hears.
type answer struct {
	ack  bool // acknowledge: PUBACK for QoS 1, PUBREC for QoS 2
	code byte // with which reason code (MQTT 5)
	drop bool // end the connection without an answer, so that the device sends again
}

// answerTo is the whole matrix of CONTRACT.md 2.3, "Bad events lose no money"
// and "If it cannot be stored", and of rulings 7 and 16.
func answerTo(v5 bool, qos byte, o outcome) answer {
	success := answer{ack: qos > 0}
	refuse := func(code byte) answer {
		if v5 && qos == 1 {
			return answer{ack: true, code: code}
		}
		// MQTT 3.1.1 has no negative PUBACK, and devices treat a negative PUBREC
		// as the end of the message: an ended connection is the only "not yet"
		// both understand.
		return answer{drop: qos > 0}
	}
	switch o {
	case stored:
		return success
	case quarantined:
		if v5 && qos == 1 {
			return answer{ack: true, code: codePayload}
		}
		return success // it is on disk, and the sale/ack says the rest
	case full:
		return refuse(codeQuota)
	case forbidden:
		if v5 {
			return answer{ack: qos > 0, code: codeNotAllowed}
		}
		return answer{drop: true} // ruling 16, with QoS 0 too
	default:
		return refuse(codeImplement)
	}
}

// errNoVerdict stands for an Acceptor that broke its promise of one Verdict.
var errNoVerdict = errors.New("the acceptor closed its channel without a verdict")

// outcomeOf reads a Verdict. A status it does not know counts as not stored: an
// acknowledgement that was not earned cannot be taken back.
func outcomeOf(v sale.Verdict) outcome {
	switch {
	case errors.Is(v.Err, sale.ErrNotReady):
		return full
	case v.Err != nil:
		return unstored
	}
	switch v.Ack.Status {
	case sale.Queued, sale.Duplicate, sale.Conflict:
		return stored
	case sale.Quarantined:
		return quarantined
	}
	return unstored
}

// Faults of a `rejected` sale/ack. They are all that is said: a cause may hold
// paths, or what somebody else wrote.
var (
	faultNotReady  = sale.Fault{Code: "not_ready", Message: "the gateway takes no sales now: keep the event and send it again"}
	faultNotStored = sale.Fault{Code: "not_stored", Message: "the event could not be written to disk: keep it and send it again"}
)

// ackOf is the sale/ack of an event. One that is not on disk is `rejected`,
// whatever else the verdict says; where the Acceptor failed before it knew the
// sale, the event itself names it.
func ackOf(m sale.Message, v sale.Verdict) sale.Ack {
	ack, fault := v.Ack, &faultNotStored
	switch outcomeOf(v) {
	case stored, quarantined:
		return ack
	case full:
		fault = &faultNotReady
	}
	if ack.Status != sale.Rejected || ack.Error == nil {
		ack.Error = fault
	}
	ack.Event, ack.Status = m.Kind, sale.Rejected
	if ack.AcceptedAt.IsZero() {
		ack.AcceptedAt = m.Received
	}
	if ack.SaleID == "" {
		event, _ := sale.Parse(m.Kind, m.Payload)
		ack.SaleID = event.SaleID
		if event.HasSeq {
			ack.Seq = &event.Seq
		}
	}
	return ack
}

// reasonFor is the reason string that goes with 0x99: the contract's JSON
// pointer and message.
func reasonFor(p pending, v sale.Verdict) string {
	fault := v.Ack.Error
	if p.request != nil {
		fault = p.request.fault
	}
	if fault == nil {
		return ""
	}
	return fault.Error()
}

// cut shortens s to at most n bytes without breaking a character; NUL may not
// stand in an MQTT string [MQTT-1.5.4-2].
func cut(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", " "), "?")
	for len(s) > n {
		s = s[:n]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}

// What mochi's hooks may return. Nothing else may.
var (
	mochiDrop       error = packets.ErrRejectPacket   // OnPacketRead: mochi ends the connection, and answers nothing
	mochiSilent     error = packets.ErrRejectPacket   // OnPublish: no answer and no fan-out; the connection must be ended beside it
	mochiAckNoFan   error = packets.CodeSuccessIgnore // OnPublish: PUBREC, and nothing forwarded or retained
	mochiAuthMethod       = packets.ErrBadAuthenticationMethod
	mochiClientID         = packets.ErrClientIdentifierNotValid
	mochiNotAllowed       = packets.ErrNotAuthorized
)

// neutral turns a packet that the broker has dealt with into one that mochi
// answers with nothing: a PUBACK for the id 0, which cannot be in flight. It is
// cheaper than a rejection in OnPublish, where mochi boxes the whole packet for
// a log line that is never written.
func neutral(pk *packets.Packet) {
	pk.FixedHeader = packets.FixedHeader{Type: packets.Puback}
	pk.PacketID = 0
	pk.Payload = nil
}

// mend corrects what mochi is about to write. A second PUBLISH with QoS 2 and an
// id that waits for its PUBREL gets 0x91 from mochi, which devices read as a
// failure of a stored sale; [MQTT-4.3.3-10] wants PUBREC again.
func mend(pk packets.Packet, maxPacket int) packets.Packet {
	switch pk.FixedHeader.Type {
	case packets.Pubrec:
		if pk.ReasonCode == packets.ErrPacketIdentifierInUse.Code {
			pk.ReasonCode = codeSuccess
			pk.Properties = packets.Properties{}
		}
	case packets.Connack:
		if pk.ReasonCode == codeSuccess {
			// Mochi keeps these limits but does not tell. The
			// Topic Alias Maximum is 0, which is what its absence says.
			pk.Properties.MaximumPacketSize = uint32(maxPacket)
			pk.Properties.SharedSubAvailable, pk.Properties.SharedSubAvailableFlag = 0, true
		}
	}
	return pk
}
