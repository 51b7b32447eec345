// Package sandbox is a stand-in for the OpenFiskal cloud API (its "sales"
// generation, the one with register keys): firmware authors run it with
// `edgegw sandbox`, `edgegw demo` shows it, and every test of the gateway ends
// by asking it what it holds.
//
// It promises three things. It is strict: a path, method, header, field or type
// that OPENFISKAL.md does not know is refused, with the field's name. It is
// honest: states, totals, fiscal blocks and transaction counters follow from
// the requests it took and from nothing else. And it remembers: every request
// with its bytes and its end, every operation with its money, so that a lost,
// doubled, reordered or altered sale can be shown (Check, CheckFrozen).
// It shares no code with the gateway, so that it does not share its mistakes.
//
// A Service is an http.Handler and an http.RoundTripper at once. As a
// RoundTripper it works inside a testing/synctest bubble: it starts no
// goroutine and waits only for timers and contexts. ListenTLS and Listen serve
// it over real sockets.
//
// # Where the documents are silent
//
//   - All paths begin with /v1. Sale mutations need an Idempotency-Key that is a
//     UUID; on platform calls the header is optional and has no effect, because a
//     replayed rotation would hand out a dead key.
//   - A register key sees its own register. Another register that exists gives
//     403, one that does not gives 404, and operations of others give 404.
//   - Only 2xx answers are kept for a replay, per register and not per key, so
//     that they survive a rotation. A known idempotency key with another method,
//     path or body gives 409 idempotency_key_conflict.
//   - A start whose id is in use already, and whose idempotency key is not known
//     (ignored, or past its retention), makes another operation under an id of
//     the service: the worst case, so that a doubled sale shows.
//   - quantity × unit_price_gross must come out as a whole minor unit, else 422.
//
// # Control over HTTP
//
// With Options.Control these paths exist besides /v1, take no key and are never
// hit by faults:
//
//	GET    /_sandbox/faults        the rules in force, with their hits
//	POST   /_sandbox/faults        adds one, e.g. {"step":"complete","action":"drop_answer","times":1}
//	DELETE /_sandbox/faults        removes all; /_sandbox/faults/{id} removes one
//	GET    /_sandbox/ledger        operations, requests and totals
//	POST   /_sandbox/registers     {"id":"reg_1","jurisdiction":"DE"}: answers id and key, the key only once
//
// A fault rule has the fields of Fault in snake case; durations are written as
// "1.5s". Actions: pass, refuse, drop_request, drop_answer, cut_answer, answer,
// process_then_answer, garbage, empty, captive_portal, redirect, throttle,
// signing_down, pend.
package sandbox
