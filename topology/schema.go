package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// schemaID is where the schema without Types is published.
const schemaID = "https://raw.githubusercontent.com/civitas-go/civitas/main/topology/schema.json"

// m is an object of the schema; encoding/json sorts its keys.
type m = map[string]any

// Schema is the JSON Schema (draft 7) of topology files, for editors to complete
// and check them. With Types it knows their names and the keys of their configs,
// too; without, any will do, and it is the file schema.json beside this source.
//
// An editor with the YAML language server takes it by a comment in the file:
//
//	# yaml-language-server: $schema=./topology.schema.json
//
// A file that it accepts may still be refused by [Load], for what a schema can't
// say: names that are taken, references to variables that are not set.
func Schema(types ...genserver.Type) []byte {
	root := mapping(fileKeys, "supervision")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Civitas topology"
	root["description"] = "A supervision tree, and how its node reaches others."
	if len(types) == 0 {
		root["$id"] = schemaID
	}
	root["definitions"] = m{
		"supervisor": mapping(supervisorKeys, "children"),
		"transport":  mapping(transportKeys),
		"child":      child(),
		"server":     server(types),
		"nested":     typed(mapping(nestedKeys, "name", "children"), m{"const": kindSupervisor}),
		"dynamic":    typed(mapping(dynamicKeys, "name"), m{"const": kindDynamic}),
		"name":       text(m{"pattern": `^[A-Za-z0-9-][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$`, "maxLength": 200}),
		"token":      text(m{"pattern": `^[A-Za-z0-9-][A-Za-z0-9_-]*$`, "maxLength": 200}),
		"duration":   duration(m{"type": "number", "minimum": 0}),
		"wait":       duration(m{"type": "number", "exclusiveMinimum": 0}),
		"reference":  m{"type": "string", "pattern": `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic(err) // never: it's maps, lists and texts
	}
	return b.Bytes()
}

// mapping is one that has these keys and no others.
func mapping(keys []key, required ...string) m {
	properties := m{}
	for _, k := range keys {
		if k.refused == "" {
			properties[k.name] = k.schema()
		}
	}
	o := m{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// typed is a child's object with a rule for its type.
func typed(o, rule m) m {
	properties := o["properties"].(m)
	property := properties["type"].(m)
	delete(property, "type")
	for k, v := range rule {
		property[k] = v
	}
	return o
}

// child is any child, in all spellings.
func child() m {
	options := []m{ref("server"), ref("nested"), required(ref("dynamic"), "type")}
	wrapped := make([]string, 0, len(wrappers))
	for w := range wrappers {
		wrapped = append(wrapped, w)
	}
	slices.Sort(wrapped)
	for _, w := range wrapped {
		inner := ref("server")
		switch wrappers[w] {
		case kindSupervisor:
			inner = m{"anyOf": []m{ref("nested"), required(ref("dynamic"), "type")}}
		case kindDynamic:
			inner = ref("dynamic")
		}
		options = append(options, m{
			"type": "object", "additionalProperties": false, "required": []string{w}, "properties": m{w: inner},
		})
	}
	return m{"anyOf": options}
}

func required(s m, key string) m { return m{"allOf": []m{s, {"required": []string{key}}}} }

// server is a server, and what the Types' configs may be.
func server(types []genserver.Type) m {
	o := mapping(serverKeys, "name", "type")
	if len(types) == 0 {
		return typed(o, m{"type": "string", "not": m{"enum": []string{kindSupervisor, kindDynamic}}})
	}
	known := make([]string, len(types))
	var configs []m
	for i, t := range types {
		known[i] = t.Name()
		var config reflect.Type
		_, _ = t.WithDecoded(func(v any) error {
			config = reflect.TypeOf(v).Elem()
			return errors.New("only its type was wanted")
		})
		configs = append(configs, m{
			"if":   m{"required": []string{"type"}, "properties": m{"type": m{"const": t.Name()}}},
			"then": m{"properties": m{"config": configSchema(config, nil)}},
		})
	}
	slices.Sort(known)
	o["allOf"] = configs
	return typed(o, m{"anyOf": []m{{"enum": known}, ref("reference")}})
}

func ref(name string) m { return m{"$ref": "#/definitions/" + name} }

// or is one of several.
func or(options ...m) m { return m{"anyOf": options} }

// text is a string, or one with references.
func text(rule m) m {
	rule["type"] = "string"
	return or(rule, ref("reference"))
}

func duration(number m) m {
	return or(number, m{"type": "string", "pattern": `^\s*\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+\s*$`}, ref("reference"))
}

// words are some of which case does not matter: those in lower and in upper case
// are for editors to offer.
func words(known ...string) m {
	offered := slices.Clone(known)
	patterns := make([]string, len(known))
	for i, k := range known {
		offered = append(offered, strings.ToUpper(k))
		var p strings.Builder
		for _, c := range k {
			if low, up := strings.ToLower(string(c)), strings.ToUpper(string(c)); low == up {
				p.WriteString(low)
			} else {
				p.WriteString("[" + up + low + "]")
			}
		}
		patterns[i] = p.String()
	}
	return or(m{"enum": offered}, m{"type": "string", "pattern": "^(" + strings.Join(patterns, "|") + ")$"}, ref("reference"))
}

// schema is what a key's value may be.
func (k key) schema() m {
	s := k.kind.schema()
	if k.name == "node" || k.name == "cluster" {
		s = ref("token")
	}
	if r, isRef := s["$ref"]; isRef {
		s = m{"allOf": []m{{"$ref": r}}} // what is beside a $ref does not count in draft 7
	}
	s["description"] = k.doc
	if k.byDefault != "" {
		s["default"] = k.value()
	}
	return s
}

// value is the default as JSON has it.
func (k key) value() any {
	var v any
	if json.Unmarshal([]byte(k.byDefault), &v) == nil {
		return v
	}
	return k.byDefault
}

func (k kind) schema() m {
	switch k {
	case aName:
		return ref("name")
	case aCount:
		return or(m{"type": "integer", "minimum": 0}, ref("reference"))
	case aPositive:
		return or(m{"type": "integer", "minimum": 1}, ref("reference"))
	case aDuration:
		return ref("duration")
	case aWait:
		return ref("wait")
	case aShutdown:
		return or(words("infinity", "brutal_kill"), ref("wait"))
	case aPart:
		return or(m{"type": "number", "minimum": 0, "maximum": exponentialJitter}, ref("reference"))
	case aYesNo:
		return or(m{"type": "boolean"}, ref("reference"))
	case aStrategy:
		return words(supervisor.OneForOne.String(), supervisor.OneForAll.String(), supervisor.RestForOne.String())
	case aRestart:
		return words(supervisor.Permanent.String(), supervisor.Transient.String(), supervisor.Temporary.String())
	case aGrowth:
		return words(supervisor.NoBackoff.String(), supervisor.Constant.String(), supervisor.Linear.String(), supervisor.Exponential.String())
	case anAuto:
		return words(supervisor.NeverShutdown.String(), supervisor.AnySignificant.String(), supervisor.AllSignificant.String())
	case aScope:
		return words(supervisor.Cluster.String(), supervisor.Local.String())
	case aPartition:
		return words(supervisor.Pause.String(), supervisor.Keep.String())
	case aTransportType:
		return words(string(inProcess), string(overNATS))
	case aTypeList:
		return m{"type": "array", "items": m{"type": "string"}}
	case aChildList:
		return m{"type": "array", "items": ref("child")}
	case aPlacement:
		return mapping(placementKeys)
	case someLabels:
		return m{"type": "object", "propertyNames": ref("name"), "additionalProperties": ref("name")}
	case aServerSet:
		return or(m{"type": "string"}, m{"type": "array", "minItems": 1, "items": m{"type": "string"}})
	case aTransport:
		return ref("transport")
	case aSupervisor:
		return ref("supervisor")
	case aConfig:
		return m{}
	default:
		return m{"type": "string"}
	}
}

// configSchema is what decode takes for a Go type; above are the structs that it
// is within.
func configSchema(t reflect.Type, above []reflect.Type) m {
	switch {
	case t == durationType:
		return duration(m{"type": "number"})
	case t == jsonNumberType:
		return or(m{"type": "number"}, ref("reference"))
	case t.Kind() == reflect.Pointer:
		return or(configSchema(t.Elem(), above), m{"type": "null"})
	case reflect.PointerTo(t).Implements(jsonUnmarshalerType):
		return m{}
	case reflect.PointerTo(t).Implements(textUnmarshalerType):
		return m{"type": []string{"string", "number", "boolean", "null"}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return or(m{"type": []string{"boolean", "null"}}, ref("reference"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return or(m{"type": []string{"integer", "null"}}, ref("reference"))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return or(m{"type": []string{"integer", "null"}, "minimum": 0}, ref("reference"))
	case reflect.Float32, reflect.Float64:
		return or(m{"type": []string{"number", "null"}}, ref("reference"))
	case reflect.String:
		return m{"type": []string{"string", "null"}}
	case reflect.Slice:
		list := m{"type": []string{"array", "null"}, "items": configSchema(t.Elem(), above)}
		if t.Elem().Kind() == reflect.Uint8 {
			return or(m{"type": "string"}, list)
		}
		return list
	case reflect.Array:
		return m{"type": []string{"array", "null"}, "items": configSchema(t.Elem(), above), "maxItems": t.Len()}
	case reflect.Map:
		return m{"type": []string{"object", "null"}, "additionalProperties": configSchema(t.Elem(), above)}
	case reflect.Struct:
		if slices.Contains(above, t) {
			return m{}
		}
		above = append(slices.Clone(above), t)
		properties := m{}
		for name, f := range fieldsOf(t) {
			if f.quoted {
				properties[name] = m{}
				continue
			}
			properties[name] = configSchema(f.typ, above)
		}
		return m{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	default:
		return m{}
	}
}
