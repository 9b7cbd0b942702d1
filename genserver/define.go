package genserver

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// What holds where nothing else is said.
const (
	// DefaultMailbox is how many messages may wait for a server; see [Mailbox].
	DefaultMailbox = 1000
	// DefaultTag is the payload key that names the op; see [Tag].
	DefaultTag = "type"
	// DefaultTimeout is how long a call waits, unless its context ends earlier;
	// see [WithTimeout].
	DefaultTimeout = 5 * time.Second
)

// Type is a kind of server, with its config's Go type erased: what a node is
// given so that others may have it start such servers.
type Type interface {
	// Name is the name that Define gave.
	Name() string
	// WithDecoded is With for a config that decode fills in; it is given a
	// pointer to a zero config.
	WithDecoded(decode func(any) error) (Spec, error)
}

// TypeOf is a kind of server that is started with a C; see [Define].
type TypeOf[C any] struct{ def *definition }

// Name is the name that Define gave.
func (t *TypeOf[C]) Name() string { return t.def.name }

// With is a server of this Type and this config, ready to be started or
// supervised; each start begins from the same config.
func (t *TypeOf[C]) With(cfg C) Spec { return Spec{def: t.def, config: cfg} }

// WithDecoded is With for a config that decode fills in.
func (t *TypeOf[C]) WithDecoded(decode func(any) error) (Spec, error) {
	var cfg C
	if err := decode(&cfg); err != nil {
		return Spec{}, fmt.Errorf("config of %s: %w", t.def.name, err)
	}
	return t.With(cfg), nil
}

// Runnable is what can run as a process: a Type with its config, or a
// supervisor's specification.
type Runnable interface {
	// GenServer says which server runs it, and with which config.
	GenServer() Spec
}

// Spec is a Type with a config; [TypeOf.With] makes it. The zero Spec is refused.
type Spec struct {
	def    *definition
	config any
}

// GenServer makes a Spec a [Runnable].
func (s Spec) GenServer() Spec { return s }

// TypeName is the name of the Spec's Type, "" for the zero Spec.
func (s Spec) TypeName() string {
	if s.def == nil {
		return ""
	}
	return s.def.name
}

// definition is a Type with everything erased: what the loop works with.
type definition struct {
	name        string
	tag         string
	mailbox     int
	nonBlocking bool
	blockCasts  bool
	watchdog    *limits // nil for none
	variants    *variants
	init        func(*Context, any) (any, error)
	terminate   func(any, *Context, error)
	calls       map[string]callEntry
	casts       map[string]*entry
	infos       map[string]*entry
}

// Define makes a Type of server: its name, the function that makes its state
// from a config, and its handlers.
//
// The init function runs in the new process, once per generation and always
// from nothing. No two handlers of one server, init and terminate included,
// ever run at the same time, so the state needs no lock.
//
// When a server crashes, its report in the log has the types of its state and of
// the message it was handling. One that is a [log/slog.LogValuer] says itself
// what the report has of it.
//
// Define is meant for package variables. It panics where no server could ever
// work: two handlers for one op, an empty op, a message or reply that does
// not encode as a map, a request field under the op's own key.
func Define[C, S any](name string, init func(*Context, C) (*S, error), hs ...Handler[S]) *TypeOf[C] {
	d := &definition{
		name:     name,
		tag:      DefaultTag,
		mailbox:  DefaultMailbox,
		variants: &variants{by: map[limits]*definition{}},
		calls:    map[string]callEntry{},
		casts:    map[string]*entry{},
		infos:    map[string]*entry{},
	}
	if name == "" {
		panic("genserver.Define: a Type needs a name")
	}
	if init == nil {
		panic("genserver.Define: " + name + ": init is nil")
	}
	d.init = func(c *Context, cfg any) (any, error) {
		s, err := init(c, cfg.(C))
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, fmt.Errorf("init of %s returned neither state nor error", name)
		}
		return s, nil
	}
	for _, h := range hs {
		h.apply(d)
	}
	d.checkPayloads()
	return &TypeOf[C]{def: d}
}

func (d *definition) refuse(format string, args ...any) {
	panic("genserver.Define: " + d.name + ": " + fmt.Sprintf(format, args...))
}

// checkPayloads runs last, when the tag is known.
func (d *definition) checkPayloads() {
	for op, e := range d.calls {
		req, rep := e.types()
		d.checkRequest(KindCall, op, req)
		if err := encodesAsMap(rep); err != nil {
			d.refuse("reply of call %q: %v", op, err)
		}
	}
	for op, e := range d.casts {
		d.checkRequest(KindCast, op, e.message)
	}
	for op, e := range d.infos {
		d.checkRequest(KindInfo, op, e.message)
	}
}

func (d *definition) checkRequest(kind Kind, op string, t reflect.Type) {
	if err := encodesAsMap(t); err != nil {
		d.refuse("%s %q: %v", kind, op, err)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for _, f := range reflect.VisibleFields(t) {
		// Decoders of JSON take a key for a field's in any case.
		key := jsonKey(f)
		if !f.IsExported() || !strings.EqualFold(key, d.tag) {
			continue
		}
		clash := ""
		if key != d.tag {
			clash = fmt.Sprintf("which decodes as %q, ", d.tag)
		}
		d.refuse("%s %q: field %s of %v would be encoded as %q, %sthe key that names the op", kind, op, f.Name, t, key, clash)
	}
}

func jsonKey(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case f.Tag.Get("json") == "-":
		return "" // not encoded
	case key == "" && f.Anonymous:
		return "" // its fields are
	case key == "":
		return f.Name
	default:
		return key
	}
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// encodesAsMap refuses payload types that are not a JSON object in every
// language: peers and plain NATS clients count on one.
func encodesAsMap(t reflect.Type) error {
	base := t
	if base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	custom := t.Implements(jsonMarshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(base).Implements(jsonMarshaler) || reflect.PointerTo(base).Implements(textMarshaler)
	switch {
	case custom:
		b, err := json.Marshal(reflect.New(base).Interface())
		if err == nil && len(b) > 0 && b[0] == '{' {
			return nil
		}
	case base.Kind() == reflect.Struct:
		return nil
	case base.Kind() == reflect.Map && base.Key().Kind() == reflect.String:
		return nil
	}
	return fmt.Errorf("%v does not encode as a map; use a struct", t)
}
