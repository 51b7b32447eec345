// Package fiscal speaks the OpenFiskal HTTP API, one request per call. It never
// retries and never sleeps: when to try again is the relay's business. It
// promises that one Do puts at most one request on the wire, that a register
// key goes to the configured host only and stands in no error, and that every
// end of a request has a class (CONTRACT.md section 3), where "in doubt" is the
// class of everything that may have happened.
//
// Where the documents of OpenFiskal are silent, the decisions of OPENFISKAL.md
// section 0 are the constants of decisions.go.
package fiscal
