// Package simulator is pumps, chargers and kiosks as real MQTT 5 clients, over
// TLS or plain TCP, against any edgegw gateway. It promises to behave as good
// firmware must, so that firmware authors can read it as the reference:
//
//   - An event stays in the device's own outbox until its PUBACK says that it
//     is stored, and is sent again, the same bytes in the same order, until
//     then (CONTRACT.md 1 and 2.3).
//   - A later event of a sale leaves only after the earlier one was stored, so
//     that a refusal can never turn a complete into one whose start is missing.
//   - A receipt is written down first and acknowledged after.
//   - No sale begins unless site/status has said that the site accepts one.
//   - Money is exact: integers and big integers, never a float.
//
// It also keeps a ledger of what it sold and what came back, and compares the
// two. It knows the gateway only by its contract: nothing of the gateway's own
// code takes part but the shared words, so a fault there is not repeated here.
package simulator
