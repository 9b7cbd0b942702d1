package transport_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// color has a form of its own as text, and money in JSON alone.
type (
	color int
	money struct{ cents int }
)

func (c color) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "color-%d", int(c)), nil }
func (c *color) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "color-%d", (*int)(c))
	return err
}

func (m money) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%d ct"`, m.cents), nil }
func (m *money) UnmarshalJSON(b []byte) error {
	_, err := fmt.Sscanf(string(b), `"%d ct"`, &m.cents)
	return err
}

// What a type is in JSON, it is in msgpack too, and it comes back as it was.
func TestMsgPackHasJSONsForms(t *testing.T) {
	t.Parallel()
	address, err := url.Parse("nats://a:4222/b?c=d")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		struct{ V money }{money{4}},
		struct{ V []*money }{[]*money{{1}, nil}},
		struct{ V color }{3},
		struct{ V *color }{new(color)},
		struct{ V [2]color }{[2]color{1, 2}},
		struct{ V map[string]money }{map[string]money{"a": {1}}},
		struct{ V map[color]int }{map[color]int{1: 5}},
		struct{ V map[int]string }{map[int]string{-1: "x"}},
		struct{ V map[uint8]string }{map[uint8]string{1: "x"}},
		struct{ V json.RawMessage }{json.RawMessage(`{"a":[1,2.5,{"b":null}]}`)},
		struct{ V json.Number }{"12.5"},
		struct{ V netip.Addr }{netip.MustParseAddr("10.0.0.1")},
		struct{ V slog.Level }{slog.LevelWarn},
		struct{ V *big.Int }{big.NewInt(77)},
		struct{ V url.URL }{*address},
		struct {
			V int `json:"v,string"`
		}{12},
		struct {
			V time.Time `json:"v,omitzero"`
			W int       `json:"w,omitzero"`
		}{},
		struct {
			V struct{ W []struct{ X money } }
			Y string `json:"-"`
		}{V: struct{ W []struct{ X money } }{[]struct{ X money }{{money{9}}}}},
	} {
		forms := map[string]genserver.Map{}
		for name, c := range codecs {
			data := encode(t, c, v)
			got := reflect.New(reflect.TypeOf(v))
			if err := c.Decode(data, got.Interface()); err != nil {
				t.Errorf("%s: %T: got %v, want nil", name, v, err)
			} else if !reflect.DeepEqual(got.Elem().Interface(), v) {
				t.Errorf("%s: %T: got %+v, want %+v", name, v, got.Elem(), v)
			}
			var m genserver.Map
			if err := c.Decode(data, &m); err != nil {
				t.Errorf("%s: %T into a Map: got %v, want nil", name, v, err)
			}
			forms[name] = m
		}
		if diff := cmp.Diff(forms["json"], forms["msgpack"]); diff != "" {
			t.Errorf("%T: JSON's form is -, msgpack's +:\n%s", v, diff)
		}
	}
}

type common struct {
	Data []byte    `json:"data"`
	At   time.Time `json:"at"`
}

// On the way through JSON bytes stay bytes, times times, and floats floats.
func TestMsgPackKeepsWhatJSONHasNot(t *testing.T) {
	t.Parallel()
	type order struct {
		common
		Price money             `json:"price"`
		Parts [][]byte          `json:"parts"`
		By    map[color][]byte  `json:"by"`
		Whole float64           `json:"whole"`
		Text  string            `json:"text"`
		Float float64           `json:"float,string"`
		Next  *order            `json:"next,omitempty"`
		Any   any               `json:"any"`
		Tags  map[color]any     `json:"tags,omitempty"`
		Data  map[string][]byte `json:"data"` // hides that of common
	}
	at := time.Date(2026, 11, 28, 1, 2, 3, 4, time.UTC)
	v := order{
		common: common{At: at}, Price: money{3}, Parts: [][]byte{{0}, {1}}, By: map[color][]byte{2: {255}},
		Whole: 2, Text: "\xff", Float: 4, Next: &order{Whole: 7}, Any: []any{int64(5), []byte{7}, 3.0, "\xfe"}, Tags: map[color]any{1: []byte{8}}, Data: map[string][]byte{"x": {1}},
	}
	data := encode(t, transport.MsgPack, v)
	var got order
	if err := transport.MsgPack.Decode(data, &got); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if !reflect.DeepEqual(got, v) {
		t.Errorf("got %+v, want %+v", got, v)
	}
	var m genserver.Map
	if err := transport.MsgPack.Decode(data, &m); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	next := m["next"]
	delete(m, "next")
	want := genserver.Map{
		"at": "2026-11-28T01:02:03.000000004Z", "price": "3 ct", "parts": []any{[]byte{0}, []byte{1}},
		"by": map[string]any{"color-2": []byte{255}}, "whole": 2.0, "text": "\xff", "float": "4", "any": []any{int64(5), []byte{7}, 3.0, "\xfe"}, "tags": map[string]any{"color-1": []byte{8}}, "data": map[string]any{"x": []byte{1}},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("differs, want -, got +:\n%s", diff)
	}
	if m, ok := next.(map[string]any); !ok || m["whole"] != 7.0 {
		t.Errorf("next: got %v, want whole 7", next)
	}
	type older struct { // the same, before it had a price
		At    time.Time         `json:"at"`
		Parts [][]byte          `json:"parts"`
		Data  map[string][]byte `json:"data"`
	}
	var old older
	if err := transport.MsgPack.Decode(data, &old); err != nil {
		t.Fatalf("into an older type: got %v, want nil", err)
	}
	if diff := cmp.Diff(older{at, v.Parts, v.Data}, old); diff != "" {
		t.Errorf("into an older type: differs, want -, got +:\n%s", diff)
	}
	if err := transport.MsgPack.Decode(encode(t, transport.MsgPack, old), &got); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("from an older type: got %+v and %v, want %+v", got, err, v)
	}
}

// level and answer have a MarshalJSON that no peer could read.
type (
	level  int
	answer struct {
		OK    bool `json:"ok"`
		Value any  `json:"value"`
	}
)

func (l level) MarshalJSON() ([]byte, error)  { return fmt.Appendf(nil, `"level %d"`, int(l)), nil }
func (a answer) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"ok":%v}`, a.OK), nil }

// A type that JSON can't read back is sent by its fields, or by what it is made of.
func TestMsgPackOfTypesThatOnlyMarshal(t *testing.T) {
	t.Parallel()
	type box struct {
		Level  level
		Answer answer
	}
	want := box{3, answer{true, []byte{1}}}
	var got box
	if err := transport.MsgPack.Decode(encode(t, transport.MsgPack, want), &got); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A Map's values are asked for their forms too.
func TestMsgPackFormsWithinMaps(t *testing.T) {
	t.Parallel()
	v := genserver.Map{
		"price": money{3}, "color": color(1), "raw": json.RawMessage(`[1]`), "list": []any{map[string]any{"m": &money{4}}},
		"bytes": []byte{1}, "whole": 2.0, "nil": nil, "none": (*money)(nil), "keys": map[int]bool{1: true},
		"at": time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC), "typed": struct{ V any }{money{5}},
	}
	want := genserver.Map{
		"price": "3 ct", "color": "color-1", "raw": []any{int64(1)}, "list": []any{map[string]any{"m": "4 ct"}},
		"bytes": []byte{1}, "whole": 2.0, "nil": nil, "none": nil, "keys": map[string]any{"1": true},
		"at": "2026-11-28T00:00:00Z", "typed": map[string]any{"V": "5 ct"},
	}
	var got genserver.Map
	if err := transport.MsgPack.Decode(encode(t, transport.MsgPack, v), &got); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs, want -, got +:\n%s", diff)
	}
	if _, there := v["price"].(money); !there {
		t.Error("the sender's Map was changed")
	}
}

// A value that holds itself is refused: the stack would have no end, and the process one.
func TestMsgPackRefusesWhatHoldsItself(t *testing.T) {
	t.Parallel()
	type box struct{ V any }
	type link struct{ Next *link }
	type folder struct{ Parts []folder }
	loop, parts := &link{}, folder{make([]folder, 1)}
	loop.Next, parts.Parts[0] = loop, parts
	m, list, b := genserver.Map{}, make([]any, 1), &box{}
	m["self"], list[0], b.V = m, list, b
	for _, v := range []any{m, genserver.Map{"list": list}, b, genserver.Map{"box": b}, loop, parts} {
		if _, err := transport.MsgPack.Encode(v); err == nil {
			t.Errorf("%T: got nil, want an error", v)
		}
	}
	if _, err := transport.MsgPack.Encode(link{&link{&link{}}}); err != nil {
		t.Errorf("a chain that ends: got %v, want nil", err)
	}
}

// parcel takes the way through JSON.
type parcel struct {
	Price  money
	By     map[color]string
	Text   string
	Bytes  []byte
	Floats []float64
	N      uint64
	At     time.Time
	Any    any
	Map    map[string]any
	Next   *parcel `json:",omitempty"`
}

// Whatever a message on the way through JSON holds, it comes back as it was.
func TestMsgPackThroughJSONLosesNothing(t *testing.T) {
	t.Parallel()
	raw := rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })
	bytes := rapid.SliceOfN(rapid.Byte(), 1, -1)
	times := rapid.Map(rapid.Int64Range(0, 1<<40), func(n int64) time.Time { return time.Unix(n/1e3, n%1e9).UTC() })
	keys := rapid.StringMatching(`[a-zA-Z.]{1,5}`)
	floats := rapid.Float64()
	var values *rapid.Generator[any]
	leaves := []*rapid.Generator[any]{
		rapid.Int64().AsAny(), rapid.Uint64Min(1 << 63).AsAny(), floats.AsAny(), raw.AsAny(), bytes.AsAny(), rapid.Bool().AsAny(),
	}
	values = rapid.OneOf(append(leaves,
		rapid.Deferred(func() *rapid.Generator[any] { return rapid.SliceOfN(values, 1, 3).AsAny() }),
		rapid.Deferred(func() *rapid.Generator[any] { return rapid.MapOfN(keys, values, 1, 3).AsAny() }))...)
	var parcels *rapid.Generator[*parcel]
	parcels = rapid.Custom(func(t *rapid.T) *parcel {
		p := &parcel{
			Price: money{rapid.Int().Draw(t, "price")}, Text: raw.Draw(t, "text"), Bytes: bytes.Draw(t, "bytes"), N: rapid.Uint64().Draw(t, "n"),
			Floats: rapid.SliceOfN(floats, 1, 3).Draw(t, "floats"), At: times.Draw(t, "at"), Any: values.Draw(t, "any"),
			By:  rapid.MapOfN(rapid.Map(rapid.Int(), func(n int) color { return color(n) }), raw, 1, 3).Draw(t, "by"),
			Map: rapid.MapOfN(keys, values, 1, 3).Draw(t, "map"),
		}
		if rapid.Bool().Draw(t, "more") {
			p.Next = parcels.Draw(t, "next")
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		want := parcels.Draw(t, "parcel")
		data, err := transport.MsgPack.Encode(want)
		if err != nil {
			t.Fatalf("encode: got %v, want nil", err)
		}
		got := new(parcel)
		if err := transport.MsgPack.Decode(data, got); err != nil {
			t.Fatalf("decode: got %v, want nil", err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(money{})); diff != "" {
			t.Fatalf("differs, want -, got +:\n%s", diff)
		}
	})
}
