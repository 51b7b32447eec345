// Package sale is the vocabulary of the gateway: sales and the events devices
// report about them, the calls they cause, exact money, acknowledgements,
// receipts and problems. What may become of a sale or of a call is decided
// here, in pure functions of values; other packages only store, send and say
// what was decided. It imports the standard library and nothing else, reads no
// clock and does no I/O.
package sale
