package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"edgegw/sale"
)

// document is the description as it is served.
func document(t *testing.T) (text string, doc map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(&memory{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, Prefix+OpenAPIPath, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return w.Body.String(), doc
}

// openAPISchema is the schema of OpenAPI 3.1 documents, as the OpenAPI Initiative
// publishes it (spec.openapis.org/oas/3.1/schema/2022-10-07, Apache 2.0).
func openAPISchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("testdata/openapi-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const at = "https://spec.openapis.org/oas/3.1/schema/2022-10-07"
	if err := c.AddResource(at, doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile(at)
}

func TestTheDescriptionIsOpenAPI(t *testing.T) {
	official := openAPISchema(t)
	text, doc := document(t)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := official.Validate(v); err != nil {
		t.Errorf("the description is no OpenAPI 3.1: %v", err)
	}
	for _, broken := range []string{`"openapi":"3.1.0"`, `"responses":{"200"`, `"in":"path"`} {
		bad, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.ReplaceAll(text, broken, strings.Replace(broken, `":`, `x":`, 1))))
		if err != nil || official.Validate(bad) == nil {
			t.Errorf("the official schema takes a document without %s (%v): it judges nothing", broken, err)
		}
	}
	for name := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft2020)
		if err := c.AddResource("http://edgegw/openapi.json", v); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compile("http://edgegw/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("%s is no JSON schema: %v", name, err)
		}
	}
}

// Every route is described, and as it is: what it reads is asked of the route
// itself, which names what it knows when it is given something else.
func TestEveryRouteIsDescribedAsItIs(t *testing.T) {
	_, doc := document(t)
	paths := doc["paths"].(map[string]any)
	handler, ids, count := Handler(&memory{}), map[string]bool{}, 0
	for path, methods := range (api{&memory{}}).routes() {
		for method, rt := range methods {
			count++
			op, _ := paths[path].(map[string]any)[strings.ToLower(method)].(map[string]any)
			if op == nil {
				t.Errorf("%s %s is not described", method, path)
				continue
			}
			id := op["operationId"].(string)
			if ids[id] || op["summary"] == "" || !strings.HasSuffix(op["summary"].(string), ".") {
				t.Errorf("%s %s: operation %s, summary %q", method, path, id, op["summary"])
			}
			ids[id] = true
			if got := strings.Join(texts(op["x-edgegw-scopes"]), " "); got != strings.Join(rt.access.scopesOf(), " ") {
				t.Errorf("%s %s says scopes %s", method, path, got)
			}
			target := Prefix + strings.NewReplacer("{id}", "pump-1", "{device}", "pump-1", "{register}", "reg_1", "{token}", "AAAAAAAA", "{name}", "anna", "{sale}", "s1").Replace(path)
			said := remedy(handler, method, target+"?nonsense=1", "")
			if want := known(named(op["parameters"])); !strings.Contains(said, want) {
				t.Errorf("%s %s describes %q; the route says: %s", method, path, want, said)
			}
			content, _ := op["requestBody"].(map[string]any)
			if content == nil {
				continue
			}
			in, is := content["content"].(map[string]any)["application/json"].(map[string]any)
			if !is {
				continue // a file
			}
			schema := in["schema"].(map[string]any)
			var fields []string
			for name := range schema["properties"].(map[string]any) {
				fields = append(fields, name)
			}
			said = remedy(handler, method, target, `{"nonsense":1}`)
			names := strings.Fields(strings.NewReplacer("Known fields are [", "", "].", "").Replace(said))
			slices.Sort(fields)
			slices.Sort(names)
			if !slices.Equal(fields, names) {
				t.Errorf("%s %s describes the fields %v; the route says: %s", method, path, fields, said)
			}
			for _, needed := range texts(schema["required"]) {
				if !slices.Contains(fields, needed) {
					t.Errorf("%s %s needs %s, which it does not know", method, path, needed)
				}
			}
			for _, name := range fields {
				if want := schema["properties"].(map[string]any)[name].(map[string]any)["type"]; !refusesOthers(handler, method, target, name, want) {
					t.Errorf("%s %s: %s is described as %v and takes something else", method, path, name, want)
				}
			}
		}
	}
	described := 0
	for _, item := range paths {
		for key := range item.(map[string]any) {
			if key != "parameters" {
				described++
			}
		}
	}
	if described != count {
		t.Errorf("%d operations are described, there are %d", described, count)
	}
}

// refusesOthers reports whether a field refuses values of every other type.
func refusesOthers(h http.Handler, method, target, name string, want any) bool {
	for kind, value := range map[string]string{"string": `"x"`, "boolean": "true", "integer": "7", "object": "{}", "array": "[]"} {
		said := remedy(h, method, target, `{"`+name+`":`+value+`}`)
		if refused := slices.Contains([]string{"Send a string.", "Send true or false.", "Send a whole number.", "Send an object of strings.", "Send a list of strings."}, said); refused == (kind == want) {
			return false
		}
	}
	return true
}

func remedy(h http.Handler, method, target, body string) string {
	r, w := httptest.NewRequest(method, target, strings.NewReader(body)), httptest.NewRecorder()
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(w, r)
	var f Refusal
	_ = json.Unmarshal(w.Body.Bytes(), &f)
	return f.Remedy
}

func known(params []string) string {
	if len(params) == 0 {
		return "A register key belongs into the body."
	}
	return "Known parameters are " + strings.Join(params, ", ") + "."
}

func named(list any) (all []string) {
	some, _ := list.([]any)
	for _, p := range some {
		all = append(all, p.(map[string]any)["name"].(string))
	}
	return all
}

func texts(list any) (all []string) {
	some, _ := list.([]any)
	for _, s := range some {
		all = append(all, s.(string))
	}
	return all
}

// The words of types that are words are all of them.
func TestTheWordsAreAllOfThem(t *testing.T) {
	_, doc := document(t)
	scope := doc["components"].(map[string]any)["schemas"].(map[string]any)["Token"].(map[string]any)["properties"].(map[string]any)["scope"].(map[string]any)["enum"]
	if got := texts(scope); len(got) != len(sale.Scopes) {
		t.Errorf("scopes %v, there are %v", got, sale.Scopes)
	}
}
