package fiscal

import (
	"time"

	"edgegw/sale"
)

// Decisions of OPENFISKAL.md section 0, each in one place so that it can be
// corrected when the vendor answers.
const (
	// Decision 1: the one credential of a device-direct call. No Authorization
	// and no organization header stand beside it.
	headerRegisterKey = "X-Register-Api-Key"
	headerIdempotency = "Idempotency-Key"

	// Decision 11: a platform key goes as a bearer token, with this beside it.
	headerOrganization = "OpenFiskal-Organization"

	// Decision 12: https://api.openfiskal.com is live, every other host of that
	// domain (sandbox.api.openfiskal.com) is not.
	officialDomain  = "openfiskal.com"
	liveHost        = "api"
	headerRequestID = "X-Request-Id"

	// Decision 5: how the pages of a look-up are asked for. What is in doubt is
	// among the newest, so the first page is small.
	firstPage = 50
	fullPage  = 200
	maxPages  = 10_000 // two million operations of one register; a longer list has no end

	// Decision 9: without a limit of its own, the older generation is given the
	// later one's: 10 s for a request.
	defaultTimeout = 10 * time.Second
)

// Decision 5: where an operation is looked up, first by its id, then in the
// list of its register.
func salePath(operation string) string           { return "/sales/" + operation }
func operationsPath(r sale.RegisterID) string    { return registerPath(r) + "/operations" }
func registerPath(r sale.RegisterID) string      { return "/registers/" + string(r) }
func registerSalesPath(r sale.RegisterID) string { return registerPath(r) + "/sales" }

// Decision 13: the two requests that make a key, asked for with a platform key.
func unitsPath(r sale.RegisterID) string  { return registerPath(r) + "/fiscal-units" }
func rotatePath(r sale.RegisterID) string { return registerPath(r) + "/credentials/rotate" }

// Limits of FAULTS.md H5.
const (
	maxAnswer         = 1 << 20  // bytes of a body, after decompression
	maxAnswerHeader   = 64 << 10 // bytes of all headers
	maxFirst          = 16 << 10 // bytes that an answer is given before any has come
	maxProblemBody    = 64 << 10 // bytes of an answer kept with a problem
	maxRetryAfter     = time.Hour
	dialTimeout       = 5 * time.Second
	handshakeTimeout  = 5 * time.Second
	headerTimeout     = 10 * time.Second
	idleTimeout       = 20 * time.Second // the last request, with its key, stands in a connection's buffers
	pingAfter         = 15 * time.Second // a silent HTTP/2 connection is asked whether it lives
	pingTimeout       = 5 * time.Second
	defaultIdleConns  = 32 // openfiskal.concurrency's default
	maxDetail         = 300
	maxToken          = 128
	keepAliveInterval = 15 * time.Second
)
