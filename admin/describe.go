package admin

import (
	"strings"

	"edgegw/sale"
)

// about is what the description of the API tells of a route. A route is not built
// without one, and a test holds both together.
type about struct {
	summary string
	body    body
	needs   []string // fields of the body that must be there
	files   []string // media types, where the body is a file and no JSON
	params  []param
	answer  any    // a value of its type; nil: 204, nothing
	lines   bool   // the answer is one JSON object per line
	pages   bool   // its answer may be one page of several
	file    string // the media type of the answer, where that is a file and no JSON
}

// does begins the description of a route.
func does(summary string) about { return about{summary: summary} }

func (a about) takes(b body, needs ...string) about {
	a.body, a.needs = b, needs
	return a
}

func (a about) takesFile(types []string) about {
	a.files = types
	return a
}

func (a about) with(params ...param) about {
	a.params = params
	return a
}

func (a about) gives(answer any) about {
	a.answer = answer
	return a
}

func (a about) givesLines(row any) about {
	a.answer, a.lines = row, true
	return a
}

func (a about) givesFile(media string) about {
	a.file = media
	return a
}

// paged says that a header of the answer says where it goes on.
func (a about) paged() about {
	a.pages = true
	return a
}

// but is the same about another route.
func (a about) but(summary string) about {
	a.summary = summary
	return a
}

// param is one parameter of a query.
type param struct {
	name, means string
	schema      object
}

var (
	askVersion   = param{"version", "Of the program that asks, to be compared with the gateway's.", object{"type": "string"}}
	askSubject   = param{"subject", "A device, a register, a sale or DEVICE/SALE; without it, the site.", object{"type": "string"}}
	askDevice    = param{"device_id", "Only of this device.", object{"type": "string"}}
	askSale      = param{"sale_id", "Only this sale.", object{"type": "string"}}
	askSaleState = param{"state", "Only sales in this state.", object{"type": "string", "enum": SaleStates}}
	askItemState = param{"state", "open is what waits for a person, and what is meant without it.", object{"type": "string", "enum": QuarantineStates}}
	askFrom      = param{"from", "Not before this time.", object{"type": "string", "format": "date-time"}}
	askTo        = param{"to", "Before this time.", object{"type": "string", "format": "date-time"}}
	askHead      = param{"head", "A chain value that was noted before and must occur; may stand several times.", object{"type": "array", "maxItems": mostHeads, "items": object{"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}}}
	askPayloads  = param{"payloads", "Also what was reported, sent and answered, with card numbers masked.", object{"type": "boolean"}}
	askLimit     = param{"limit", "How many at most.", object{"type": "integer", "minimum": 1, "maximum": maxLimit}}
)

// salesParams are those of a search for sales.
var salesParams = []param{
	askDevice,
	{"register_id", "Only of this register.", object{"type": "string"}},
	askSale,
	askSaleState,
	{"operation", "Only the sale that this operation stands for.", object{"type": "string"}},
	{"document_number", "Only with this receipt number; with * at its end, all that begin so.", object{"type": "string"}},
	{"amount", "Only ended ones of this amount, or between two, in minor units, as in 7622 or 7622..8000.", object{"type": "string", "pattern": `^-?[0-9]{1,16}(\.\.-?[0-9]{1,16})?$`}},
	{"from", "Not accepted before this time.", object{"type": "string", "format": "date-time"}},
	{"to", "Accepted before this time.", object{"type": "string", "format": "date-time"}},
	{"before", "Where a search goes on, from the Link of its page before.", object{"type": "integer", "minimum": 1}},
	askLimit,
}

// auditParams are those of the audit trail.
var auditParams = []param{
	{"who", "Only what this one did, as in person:anna.", object{"type": "string"}},
	{"what", "Only this, as in device added.", object{"type": "string"}},
	{"subject", "Only of this device, register, person or item.", object{"type": "string"}},
	askFrom,
	askTo,
	{"before", "Only lines with a lower number: the next page.", object{"type": "integer", "minimum": 1}},
	askLimit,
}

func names(params ...param) (all []string) {
	for _, p := range params {
		all = append(all, p.name)
	}
	return all
}

// pathParams describes what stands in braces in a path, by the word before it.
func pathParams(path string) (all []object) {
	words := strings.Split(path, "/")
	for i, w := range words {
		if !strings.HasPrefix(w, "{") {
			continue
		}
		means, schema := "", object{"type": "string"}
		switch words[i-1] {
		case "devices":
			means, schema["pattern"] = "Id of a device.", "^[a-z0-9][a-z0-9-]{0,62}$"
		case "registers":
			means, schema["pattern"] = "OpenFiskal's id of a register.", "^[A-Za-z0-9_-]{1,128}$"
		case "{device}":
			means, schema["maxLength"] = "The id that the device has given to the sale. It may hold any printable ASCII character: encode / as %2F.", 64
		case "sales":
			means, schema["pattern"] = "Id of the device that reported the sale.", "^[a-z0-9][a-z0-9-]{0,62}$"
		case "quarantine":
			means, schema["maxLength"] = "Number of an item, or its sale_id where only one open item has it.", 256
		case "people":
			means, schema["maxLength"] = "Name of somebody who may use the page.", 64
		case "sessions":
			means, schema["pattern"] = "Id of a session.", "^[A-Z2-7]{8}$"
		case "tokens":
			means, schema["pattern"] = "Id of a token.", "^[A-Z2-7]{1,16}$"
		default:
			means = "Id."
		}
		all = append(all, object{"name": strings.Trim(w, "{}"), "in": "path", "required": true, "description": means, "schema": schema})
	}
	return all
}

// scopesOf names the scopes of tokens that open a route.
func (a access) scopesOf() []string {
	all := []string{}
	for _, s := range sale.Scopes {
		if a.opens(s) {
			all = append(all, string(s))
		}
	}
	return all
}
