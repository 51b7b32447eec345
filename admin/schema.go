package admin

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"edgegw/health"
	"edgegw/sale"
)

// object is a JSON object of the description.
type object = map[string]any

// schemas makes JSON schemas of Go types, as encoding/json writes them. Structs
// get a name and stand once.
type schemas map[string]any

// words are the values of types that are words. A field of type string has its
// own in its tag `enum`.
var words = map[reflect.Type][]string{
	reflect.TypeFor[sale.Scope]():      {string(sale.ScopeMetrics), string(sale.ScopeRead), string(sale.ScopeProvision)},
	reflect.TypeFor[sale.Role]():       {string(sale.RoleOwner), string(sale.RoleTechnician), string(sale.RoleAuditor)},
	reflect.TypeFor[sale.Decision]():   {"", string(sale.DecisionRetry), string(sale.DecisionResolve), string(sale.DecisionDiscard)}, // "" while it waits
	reflect.TypeFor[health.Severity](): {health.Notice.String(), health.Attention.String()},
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

func (s schemas) of(t reflect.Type) object {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == rawType:
		return object{"description": "Any JSON."}
	case words[t] != nil:
		return object{"type": "string", "enum": words[t]}
	case t.Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		return s.named(t)
	}
	panic("admin: the API cannot describe " + t.String()) // a test walks every route
}

func (s schemas) named(t reflect.Type) object {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if _, there := s[name]; !there {
		s[name] = nil // a type may hold itself
		properties, required := object{}, []string{}
		s.members(t, properties, &required)
		slices.Sort(required)
		s[name] = object{"type": "object", "properties": properties, "required": required}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// members collects the fields of a struct; those of an embedded one are its own.
func (s schemas) members(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.members(f.Type, properties, required)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		schema := s.of(f.Type)
		if enum := f.Tag.Get("enum"); enum != "" {
			schema["enum"] = strings.Split(enum, ",")
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// body describes what a route reads: these names and no others.
func (s schemas) body(b body, needs []string) object {
	properties := object{}
	for _, f := range b.fields() {
		schema := s.of(reflect.TypeOf(f.into).Elem())
		if enum, is := schema["enum"].([]string); is { // an empty word is one of answers only
			schema["enum"] = slices.DeleteFunc(slices.Clone(enum), func(w string) bool { return w == "" })
		}
		properties[f.name] = schema
	}
	made := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(needs) > 0 {
		made["required"] = needs
	}
	return made
}
