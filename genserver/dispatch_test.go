package genserver_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
)

// One op in all three kinds.
type (
	OpCall struct {
		genserver.Returns[Echo]
		N int    `json:"n"`
		V any    `json:"v,omitempty"`
		U uint64 `json:"u,omitempty"`
	}
	OpCast struct {
		genserver.OneWay
		N int `json:"n"`
	}
	OpInfo struct {
		genserver.Signal
		N int `json:"n"`
	}
	Echo struct {
		By string        `json:"by"`
		N  int           `json:"n"`
		V  any           `json:"v,omitempty"`
		U  uint64        `json:"u,omitempty"`
		M  genserver.Map `json:"m,omitempty"`
	}
)

func (OpCall) Op() string { return "op" }
func (OpCast) Op() string { return "op" }
func (OpInfo) Op() string { return "op" }

// by records which handler took which message.
type by struct{ last *Echo }

func newBy(_ *genserver.Context, last *Echo) (*by, error) { return &by{last}, nil }

func (b *by) call(_ *genserver.Context, m OpCall) (Echo, error) {
	*b.last = Echo{By: "call", N: m.N, V: m.V, U: m.U}
	return *b.last, nil
}

func (b *by) cast(_ *genserver.Context, m OpCast) error {
	*b.last = Echo{By: "cast", N: m.N}
	return nil
}

func (b *by) info(_ *genserver.Context, m OpInfo) error {
	*b.last = Echo{By: "info", N: m.N}
	return nil
}

func (b *by) mapCall(_ *genserver.Context, m genserver.Map) (genserver.Map, error) {
	*b.last = Echo{By: "map call", M: m}
	return genserver.Map{"by": "map call", "m": m}, nil
}

func (b *by) mapCast(_ *genserver.Context, m genserver.Map) error {
	*b.last = Echo{By: "map cast", M: m}
	return nil
}

func (b *by) mapInfo(_ *genserver.Context, m genserver.Map) error {
	*b.last = Echo{By: "map info", M: m}
	return nil
}

func typedBy(more ...genserver.Handler[by]) []genserver.Handler[by] {
	return append(more, genserver.HandleCall((*by).call), genserver.HandleCast((*by).cast), genserver.HandleInfo((*by).info))
}

func mapBy(more ...genserver.Handler[by]) []genserver.Handler[by] {
	return append(more, genserver.HandleCall((*by).mapCall), genserver.HandleCast((*by).mapCast), genserver.HandleInfo((*by).mapInfo))
}

func TestDispatch(t *testing.T) {
	t.Parallel()
	typed := genserver.Define("test.Typed", newBy, typedBy()...)
	fallback := genserver.Define("test.Map", newBy, mapBy()...)
	both := genserver.Define("test.Both", newBy, typedBy(mapBy()...)...)
	tagged := genserver.Define("test.Tagged", newBy, typedBy(genserver.Tag[by]("op"))...)
	taggedMap := genserver.Define("test.TaggedMap", newBy, mapBy(genserver.Tag[by]("op"))...)

	op := func(n int) genserver.Map { return genserver.Map{"type": "op", "n": n} }
	for _, tc := range []struct {
		name string
		typ  *genserver.TypeOf[*Echo]
		send any // OpCall, OpCast, OpInfo, or a Map as all three
		want string
		m    genserver.Map
	}{
		{"typed to typed", typed, OpCall{N: 1}, "call", nil},
		{"typed to typed", typed, OpCast{N: 1}, "cast", nil},
		{"typed to typed", typed, OpInfo{N: 1}, "info", nil},
		{"Map to typed", typed, op(1), "", nil},
		{"typed beside a fallback", both, OpCall{N: 1}, "call", nil},
		{"Map to typed beside a fallback", both, op(1), "", nil},
		{"Map without an op", both, genserver.Map{"n": 1}, "map ", genserver.Map{"n": 1}},
		{"Map of another op", both, genserver.Map{"type": "else", "n": 1}, "map ", genserver.Map{"type": "else", "n": 1}},
		{"Map whose op is no string", both, genserver.Map{"type": 3}, "map ", genserver.Map{"type": 3}},
		{"Map to Map", fallback, op(1), "map ", op(1)},
		{
			"typed to Map", fallback,
			OpCall{N: 1, V: 2.5, U: 1<<64 - 1},
			"map call",
			genserver.Map{"type": "op", "n": int64(1), "v": 2.5, "u": uint64(1<<64 - 1)},
		},
		{"typed to Map", fallback, OpCast{N: 1}, "map cast", genserver.Map{"type": "op", "n": int64(1)}},
		{"typed to Map", fallback, OpInfo{N: 1}, "map info", genserver.Map{"type": "op", "n": int64(1)}},
		{"Map to a tagged type", tagged, genserver.Map{"op": "op", "type": "x", "n": 1}, "", nil},
		{"typed to a tagged type", tagged, OpCast{N: 1}, "cast", nil},
		{"typed to a tagged Map", taggedMap, OpCast{N: 1}, "map cast", genserver.Map{"op": "op", "n": int64(1)}},
	} {
		kinds := []string{"call", "cast", "info"}
		switch tc.send.(type) {
		case OpCall:
			kinds = kinds[:1]
		case OpCast:
			kinds = kinds[1:2]
		case OpInfo:
			kinds = kinds[2:]
		}
		for _, kind := range kinds {
			t.Run(tc.name+"/"+kind, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				var got Echo
				p := start(t, s, "p", tc.typ.With(&got))
				ref, ctx := s.Ref("p"), t.Context()
				var err error
				switch m := tc.send.(type) {
				case OpCall:
					_, err = genserver.Call(ctx, ref, m)
				case OpCast:
					err = ref.Cast(ctx, m, genserver.Strict())
				case OpInfo:
					err = ref.Send(ctx, m, genserver.Strict())
				case genserver.Map:
					switch kind {
					case "call":
						_, err = genserver.Call(ctx, ref, m)
					case "cast":
						err = ref.Cast(ctx, m, genserver.Strict())
					case "info":
						err = ref.Send(ctx, m, genserver.Strict())
					}
				}
				noErr(t, kind, err)
				noErr(t, "drain", s.Drain(ctx))
				if p.Reason() != nil {
					t.Fatalf("got the end %v, want a living server", p.Reason())
				}
				want := tc.want
				if want == "" || want == "map " {
					want += kind
				}
				if got.By != want {
					t.Errorf("got the handler %q, want %q", got.By, want)
				}
				if tc.m != nil {
					if diff := cmp.Diff(tc.m, got.M); diff != "" {
						t.Errorf("payload (-want +got):\n%s", diff)
					}
				} else if got.N != 1 {
					t.Errorf("got n %d, want 1", got.N)
				}
			})
		}
	}
}

// Numbers are int64, or uint64, or float64, wherever a Go type leaves it open.
func TestConversionKeepsNumbers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	var got Echo
	start(t, s, "p", genserver.Define("test.Numbers", newBy, typedBy()...).With(&got))
	deep := func(n any) any { return []any{map[string]any{"n": n}} }
	for _, tc := range []struct{ send, want any }{
		{1, int64(1)},
		{int64(-1 << 63), int64(-1 << 63)},
		{uint64(1<<64 - 1), uint64(1<<64 - 1)},
		{1.5, 1.5},
		{deep(9007199254740993), deep(int64(9007199254740993))},
		{genserver.Map{"n": 1}, map[string]any{"n": int64(1)}},
	} {
		m, err := genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "op", "v": tc.send})
		noErr(t, "call", err)
		if diff := cmp.Diff(tc.want, got.V); diff != "" {
			t.Errorf("in the handler (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tc.want, m["v"]); diff != "" {
			t.Errorf("in the reply (-want +got):\n%s", diff)
		}
	}
	_, err := genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "op", "n": "one"})
	wantErr(t, "call that does not convert", err, genserver.ErrBadPayload, true)
	_, err = genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "op", "n": func() {}})
	wantErr(t, "call that does not encode", err, genserver.ErrBadPayload, true)
}

// Two Go types of one op meet by way of the codec.
type otherOp struct {
	genserver.Returns[otherEcho]
	N int8 `json:"n"`
}
type otherEcho struct {
	By string `json:"by"`
	N  string `json:"-"`
}
type (
	wrongOp   struct{ genserver.Returns[wrongEcho] }
	wrongEcho struct {
		By int `json:"by"`
	}
)

func (otherOp) Op() string { return "op" }
func (wrongOp) Op() string { return "op" }

func TestTypesOfTheSameOp(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	var got Echo
	start(t, s, "p", genserver.Define("test.Same", newBy, typedBy()...).With(&got))
	rep, err := genserver.Call(t.Context(), s.Ref("p"), otherOp{N: 7})
	if err != nil || rep.By != "call" || got.N != 7 {
		t.Errorf("got %v, %v, with n %d, want it handled with n 7", rep, err, got.N)
	}
	_, err = genserver.Call(t.Context(), s.Ref("p"), wrongOp{})
	wantErr(t, "call whose reply does not fit", err, genserver.ErrBadPayload, false)
	noErr(t, "a pointer", s.Ref("p").Cast(t.Context(), &OpCast{N: 8}, genserver.Strict()))
	noErr(t, "drain", s.Drain(t.Context()))
	if got.By != "cast" || got.N != 8 {
		t.Errorf("got %v, want the cast with n 8", got)
	}
}

type (
	empty    struct{ genserver.OneWay }
	tagField struct {
		genserver.OneWay
		T string `json:"type"`
	}
	tagFold struct {
		genserver.OneWay
		Type string
	}
	tagEmbedded struct {
		genserver.OneWay
		Inner `json:"type"`
	}
	Inner  struct{ A int }
	hidden struct {
		genserver.OneWay
		Type string `json:"-"`
	}
	badReply struct{ genserver.Returns[int] }
	selfMade struct{ genserver.OneWay }
	okMade   struct{ genserver.OneWay }
)

func (empty) Op() string                      { return "" }
func (tagField) Op() string                   { return "set" }
func (tagFold) Op() string                    { return "set" }
func (tagEmbedded) Op() string                { return "set" }
func (hidden) Op() string                     { return "set" }
func (badReply) Op() string                   { return "set" }
func (selfMade) Op() string                   { return "set" }
func (selfMade) MarshalJSON() ([]byte, error) { return []byte(`"text"`), nil }
func (okMade) Op() string                     { return "made" }
func (okMade) MarshalJSON() ([]byte, error)   { return []byte(`{}`), nil }

func castOf[M genserver.CastMessage]() genserver.Handler[by] {
	return genserver.HandleCast(func(*by, *genserver.Context, M) error { return nil })
}

func TestDefineRefuses(t *testing.T) {
	t.Parallel()
	define := func(hs ...genserver.Handler[by]) func() { return func() { genserver.Define("my.Type", newBy, hs...) } }
	for _, tc := range []struct {
		name string
		do   func()
		want string
	}{
		{"no name", func() { genserver.Define("", newBy) }, "genserver.Define: a Type needs a name"},
		{"no init", func() { genserver.Define[int, by]("my.Type", nil) }, "genserver.Define: my.Type: init is nil"},
		{"two calls", define(genserver.HandleCall((*by).call), genserver.HandleCall((*by).call)), `genserver.Define: my.Type: two handlers for call "op"`},
		{"two casts", define(castOf[OpCast](), castOf[OpCast]()), `genserver.Define: my.Type: two handlers for cast "op"`},
		{"two infos", define(genserver.HandleInfo((*by).info), genserver.HandleInfo((*by).info)), `genserver.Define: my.Type: two handlers for info "op"`},
		{"two fallbacks", define(genserver.HandleCast((*by).mapCast), genserver.HandleCast((*by).mapCast)), `genserver.Define: my.Type: two handlers for cast ""`},
		{
			"two terminates", define(genserver.HandleTerminate(func(*by, *genserver.Context, error) {}), genserver.HandleTerminate(func(*by, *genserver.Context, error) {})),
			"genserver.Define: my.Type: two terminate handlers",
		},
		{"empty op", define(castOf[empty]()), "genserver.Define: my.Type: genserver_test.empty has an empty Op"},
		{
			"tag's field", define(castOf[tagField]()),
			`genserver.Define: my.Type: cast "set": field T of genserver_test.tagField would be encoded as "type", the key that names the op`,
		},
		{
			"tag's field in another case", define(castOf[tagFold]()),
			`genserver.Define: my.Type: cast "set": field Type of genserver_test.tagFold would be encoded as "Type", which decodes as "type", the key that names the op`,
		},
		{
			"tag's field, embedded", define(castOf[tagEmbedded]()),
			`genserver.Define: my.Type: cast "set": field Inner of genserver_test.tagEmbedded would be encoded as "type", the key that names the op`,
		},
		{
			"tag's field, of a pointer", define(castOf[*tagField]()),
			`genserver.Define: my.Type: cast "set": field T of genserver_test.tagField would be encoded as "type", the key that names the op`,
		},
		{
			"own tag's field", define(genserver.Tag[by]("n"), castOf[OpCast]()),
			`genserver.Define: my.Type: cast "op": field N of genserver_test.OpCast would be encoded as "n", the key that names the op`,
		},
		{
			"reply that is no map", define(genserver.HandleCall(func(*by, *genserver.Context, badReply) (int, error) { return 0, nil })),
			`genserver.Define: my.Type: reply of call "set": int does not encode as a map; use a struct`,
		},
		{"message that is no map", define(castOf[selfMade]()), `genserver.Define: my.Type: cast "set": genserver_test.selfMade does not encode as a map; use a struct`},
		{"empty tag", define(genserver.Tag[by]("")), "genserver.Define: my.Type: an empty tag"},
		{"no mailbox", define(genserver.Mailbox[by](0)), "genserver.Define: my.Type: a mailbox of 0: it must hold at least 1 message"},
		{
			"code without a dot", func() { genserver.NewError("noseat", "x") },
			`genserver.NewError: code "noseat": a user's code is lower-case tokens joined by dots, as in booking.no_seat`,
		},
		{"one of everything", define(typedBy(mapBy(castOf[okMade](), castOf[*Say](), genserver.Mailbox[by](1), genserver.NonBlocking[by]())...)...), "<nil>"},
		{"a hidden field", define(castOf[hidden]()), "<nil>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); got != tc.want {
					t.Errorf("got panic %q, want %q", got, tc.want)
				}
			}()
			tc.do()
		})
	}
}

func TestTypeAndSpec(t *testing.T) {
	t.Parallel()
	if got, want := Puppet.Name(), "test.Puppet"; got != want {
		t.Errorf("got name %q, want %q", got, want)
	}
	if got, want := Puppet.With(hooks{}).TypeName(), "test.Puppet"; got != want {
		t.Errorf("got type name %q, want %q", got, want)
	}
	if got := (genserver.Spec{}).TypeName(); got != "" {
		t.Errorf("got type name %q of the zero Spec, want none", got)
	}
	type config struct {
		N int `json:"n"`
	}
	n := 0
	typ := genserver.Define("test.Config", func(_ *genserver.Context, c config) (*by, error) { n = c.N; return &by{}, nil })
	spec, err := genserver.Type(typ).WithDecoded(func(v any) error { return genserver.JSON.Decode([]byte(`{"n":5}`), v) })
	noErr(t, "config", err)
	start(t, newSystem(t, genserver.Config{}), "p", spec)
	if n != 5 {
		t.Errorf("got config %d, want 5", n)
	}
	_, err = typ.WithDecoded(func(any) error { return errBroken })
	if want := "config of test.Config: it broke"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %q", err, want)
	}
}
