package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// socket looks at what leaves the gateway: towards a device, whether a PUBACK is
// in it; towards the stand-in, whether a request begins.
func (r *reader) socket(c *call, path string) error {
	if c.name != "write" && c.name != "writev" {
		return nil
	}
	ends := strings.TrimSuffix(strings.TrimPrefix(path, "TCP:["), "]")
	from, to, ok := strings.Cut(ends, "->")
	if !ok {
		return nil
	}
	b := c.bytes(1)
	switch {
	case strings.HasSuffix(from, r.mqtt):
		line := r.lines[to]
		if line == nil {
			line = &mqttStream{}
			r.lines[to] = line
		}
		return line.take(b, func(packet uint16, code byte) {
			_, port, _ := strings.Cut(to, ":")
			r.saw(c, promise{ack: &acknowledged{port: port, packet: packet, code: code}})
		})
	case strings.HasSuffix(to, r.api):
		if key := idempotencyKey(b); key != "" {
			r.saw(c, promise{sent: key})
		}
	}
	return nil
}

func (r *reader) saw(c *call, p promise) {
	r.steps = append(r.steps, step{at: c.begun, seen: &p})
}

// note reads what the stage has written down.
func (r *reader) note(c *call) error {
	for line := range bytes.Lines(c.bytes(1)) {
		p := promise{}
		if err := json.Unmarshal(line, &p.values); err != nil {
			return fmt.Errorf("read a note: %w", err)
		}
		p.note = p.values["note"]
		r.saw(c, p)
	}
	return nil
}

// mqttStream takes what the broker says on one connection apart.
type mqttStream struct{ rest []byte }

const puback = 0x40

func (s *mqttStream) take(b []byte, acked func(packet uint16, code byte)) error {
	s.rest = append(s.rest, b...)
	for {
		size, n := 0, 1
		for shift := 0; ; shift += 7 {
			if n >= len(s.rest) {
				return nil
			}
			v := s.rest[n]
			size |= int(v&0x7f) << shift
			n++
			if v < 0x80 {
				break
			}
			if shift == 21 {
				return fmt.Errorf("the broker sent what is no MQTT")
			}
		}
		if len(s.rest) < n+size {
			return nil
		}
		if body := s.rest[n : n+size]; s.rest[0] == puback && size >= 2 {
			code := byte(0)
			if size > 2 {
				code = body[2]
			}
			acked(uint16(body[0])<<8|uint16(body[1]), code)
		}
		s.rest = s.rest[n+size:]
	}
}

// idempotencyKey gives the one of a request that begins here, "" for others.
func idempotencyKey(b []byte) string {
	head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	for line := range strings.Lines(string(head)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Idempotency-Key") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
