package admin

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"edgegw/secret"
)

// OpenAPIPath is where the API describes itself, below Prefix.
const OpenAPIPath = "/openapi.json"

const openAPIInfo = "The operations of the edgegw command, of one site. A program on the network shows a token (edgegw token add); " +
	"what its scope opens stands with each operation. On the socket in data_dir, whose file mode 0600 says who may ask, no token is needed, and only there are operations without a scope. " +
	"An error is an object with a stable code, a message, and a remedy that says what to do. Unknown names in a query or a body are refused; answers may get more names within version 1."

// openAPI answers with the description. It holds no secret; a stranger gets none
// all the same, because it is the directory that Remote keeps from him.
func (a api) openAPI(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	reply(w, a.describe(), nil, secret.Text{})
}

// describe makes OpenAPI 3.1 of the routes.
func (a api) describe() object {
	types := schemas{}
	paths := object{}
	for path, methods := range a.routes() {
		item := object{}
		for method, rt := range methods {
			item[strings.ToLower(method)] = rt.describe(method, path, types)
		}
		if params := pathParams(path); len(params) > 0 {
			item["parameters"] = params
		}
		paths[path] = item
	}
	refusal := types.of(reflect.TypeFor[Refusal]())
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": "edgegw", "version": "1", "description": openAPIInfo},
		"servers": []object{{"url": Prefix}},
		"paths":   paths,
		"components": object{
			"schemas":         types,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "bearerFormat": "edgegw_…"}},
			"responses":       object{"Refusal": object{"description": "Refused; the answer says why and what to do.", "content": inJSON(refusal)}},
		},
	}
}

func inJSON(schema object) object { return object{"application/json": object{"schema": schema}} }

func (rt route) describe(method, path string, types schemas) object {
	op := object{"summary": rt.about.summary, "operationId": operationID(method, path), "tags": []string{strings.Split(path, "/")[1]},
		"responses": rt.responses(method, path, types)}
	scopes := rt.access.scopesOf()
	op["x-edgegw-scopes"] = scopes
	security := []object{}
	for _, s := range scopes {
		security = append(security, object{"token": []string{s}})
	}
	op["security"] = security
	if len(scopes) == 0 {
		op["description"] = "On the box itself only: no token opens it."
		op["servers"] = []object{{"url": "http://localhost" + Prefix, "description": "data_dir/" + SocketName + ", a unix socket: curl --unix-socket"}}
	}
	var params []object
	for _, p := range rt.about.params {
		params = append(params, object{"name": p.name, "in": "query", "description": p.means, "schema": p.schema})
	}
	if params != nil {
		op["parameters"] = params
	}
	if content := rt.takes(types); content != nil {
		op["requestBody"] = object{"required": true, "content": content}
	}
	return op
}

func operationID(method, path string) string {
	id := strings.ToLower(method)
	for word := range strings.SplitSeq(path, "/") {
		if word = strings.Trim(word, "{}"); word != "" {
			id += "_" + strings.NewReplacer("-", "_", ".", "_").Replace(word)
		}
	}
	return id
}

func (rt route) takes(types schemas) object {
	if rt.about.body != nil {
		return inJSON(types.body(rt.about.body, rt.about.needs))
	}
	var content object
	for _, t := range rt.about.files {
		if content == nil {
			content = object{}
		}
		content[t] = object{}
	}
	return content
}

// responses are the statuses that a route answers with. Every refusal has one
// form; statuses has the status of each code.
func (rt route) responses(method, path string, types schemas) object {
	good, code := object{"description": "Done."}, http.StatusOK
	switch {
	case rt.about.file != "":
		good["content"] = object{rt.about.file: object{}}
	case rt.about.answer == nil:
		code = http.StatusNoContent
	case rt.about.lines:
		good["content"] = object{"application/x-ndjson": object{"schema": types.of(reflect.TypeOf(rt.about.answer))}}
	default:
		good["content"] = inJSON(types.of(reflect.TypeOf(rt.about.answer)))
	}
	if rt.about.pages {
		good["headers"] = object{
			"Link":        object{"description": "With rel=\"next\" the address of the next page: without it the search is over, with it it is not, also where this page is short or empty.", "schema": object{"type": "string"}},
			HeaderReached: object{"description": "With Link: all sales since this time have been looked at.", "schema": object{"type": "string", "format": "date-time"}},
		}
	}
	all := object{strconv.Itoa(code): good}
	refused := map[int]bool{}
	for _, code := range slices.Sorted(maps.Keys(statuses)) {
		refused[statuses[code]] = rt.may(code, method, path) || refused[statuses[code]]
	}
	for status, may := range refused {
		if may {
			all[strconv.Itoa(status)] = object{"$ref": "#/components/responses/Refusal"}
		}
	}
	if method != http.MethodGet {
		all["422"] = object{"$ref": "#/components/responses/Refusal"} // understood, and not done
	}
	all["default"] = object{"$ref": "#/components/responses/Refusal"} // unforeseen
	return all
}

// may reports whether a route can be refused with that code.
func (rt route) may(code, method, path string) bool {
	hasBody := rt.about.body != nil || rt.about.files != nil
	switch code {
	case "method":
		return false // then it is another route
	case "not_found":
		return strings.Contains(path, "{") || rt.about.params != nil
	case "exists", "conflict", "ambiguous":
		return method != http.MethodGet || rt.about.params != nil || strings.Contains(path, "{")
	case "too_large", "media_type":
		return hasBody
	}
	return true
}
