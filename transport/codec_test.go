package transport_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

var codecs = map[string]genserver.Codec{"msgpack": transport.MsgPack, "json": transport.JSON}

func encode(t testing.TB, c genserver.Codec, v any) []byte {
	t.Helper()
	data, err := c.Encode(v)
	if err != nil {
		t.Fatalf("encode %T: got %v, want nil", v, err)
	}
	return data
}

type empty struct {
	genserver.Returns[grant]
}

func (empty) Op() string { return "empty" }

type emptyCast struct{ genserver.OneWay }

func (emptyCast) Op() string { return "empty" }

type emptyInfo struct{ genserver.Signal }

func (emptyInfo) Op() string { return "empty" }

type grant struct {
	OK bool `json:"ok"`
}

func TestCodecEmbeddedKindsAddNothing(t *testing.T) {
	t.Parallel()
	for name, c := range codecs {
		want := encode(t, c, map[string]any{})
		for _, m := range []genserver.Message{empty{}, emptyCast{}, emptyInfo{}, &empty{}, genserver.Map{}} {
			if got := encode(t, c, m); !bytes.Equal(got, want) {
				t.Errorf("%s: %T: got %q, want %q", name, m, got, want)
			}
		}
	}
}

type inner struct {
	S []string `json:"s,omitempty"`
}

type everything struct {
	genserver.OneWay
	inner
	I    int            `json:"i"`
	U    uint64         `json:"u"`
	F    float64        `json:"f"`
	B    []byte         `json:"b"`
	D    time.Duration  `json:"d"`
	T    time.Time      `json:"t"`
	P    *inner         `json:"p"`
	L    []inner        `json:"l"`
	M    map[string]int `json:"m"`
	Skip string         `json:"-"`
	Omit string         `json:"omit,omitempty"`
	Bare bool
}

func (everything) Op() string { return "everything" }

func TestCodecTyped(t *testing.T) {
	t.Parallel()
	v := everything{
		inner: inner{S: []string{"x"}},
		I:     math.MinInt64, U: math.MaxUint64, F: 1.5, B: []byte{0, 255}, D: 1500 * time.Millisecond,
		T: time.Date(2026, 11, 23, 1, 2, 3, 456, time.UTC), P: &inner{S: []string{"y"}}, L: []inner{{}, {S: []string{}}},
		M: map[string]int{"a": -1}, Skip: "not sent", Bare: true,
	}
	want := v
	want.Skip = ""
	for name, c := range codecs {
		var got everything
		if err := c.Decode(encode(t, c, v), &got); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{}), cmp.Comparer(func(a, b inner) bool { return strings.Join(a.S, ",") == strings.Join(b.S, ",") })); diff != "" {
			t.Errorf("%s differs, want -, got +:\n%s", name, diff)
		}
		var keys genserver.Map
		if err := c.Decode(encode(t, c, v), &keys); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
		if len(keys) != 11 || keys["omit"] != nil || keys["t"] != "2026-11-23T01:02:03.000000456Z" || keys["d"] != int64(1500*time.Millisecond) {
			t.Errorf("%s: got %v, want 11 keys, the time as text, the duration as a number", name, keys)
		}
	}
}

func TestCodecUntypedValues(t *testing.T) {
	t.Parallel()
	v := genserver.Map{
		"small": int64(5), "neg": int64(-5), "i8": int64(-128), "i16": int64(-1 << 15), "i32": int64(-1 << 31), "least": int64(math.MinInt64),
		"u8": int64(200), "u16": int64(1 << 15), "u32": int64(1 << 31), "most": int64(math.MaxInt64), "beyond": uint64(math.MaxUint64),
		"f": 0.25, "s": "text", "long": strings.Repeat("x", 70_000), "t": true, "no": false, "nil": nil,
		"list": []any{int64(1), []any{}, map[string]any{"deep": []any{uint64(1 << 63)}}},
		"map":  map[string]any{"": int64(0)},
	}
	for name, c := range codecs {
		data := encode(t, c, v)
		var m genserver.Map
		var plain map[string]any
		var whatever any
		for _, into := range []any{&m, &plain, &whatever} {
			if err := c.Decode(data, into); err != nil {
				t.Fatalf("%s into %T: got %v, want nil", name, into, err)
			}
		}
		for _, got := range []any{m, genserver.Map(plain), genserver.Map(whatever.(map[string]any))} {
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("%s differs, want -, got +:\n%s", name, diff)
			}
		}
	}
	// What only msgpack has.
	var got genserver.Map
	in := genserver.Map{"b": []byte{1, 0}, "f32": float32(0.5), "i": 7, "nested": genserver.Map{"u": uint8(9)}}
	want := genserver.Map{"b": []byte{1, 0}, "f32": 0.5, "i": int64(7), "nested": map[string]any{"u": int64(9)}}
	if err := transport.MsgPack.Decode(encode(t, transport.MsgPack, in), &got); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs, want -, got +:\n%s", diff)
	}
}

func TestMsgPackFieldsOfInterfaceType(t *testing.T) {
	t.Parallel()
	type box struct {
		Any  any              `json:"any"`
		Map  map[string]any   `json:"map"`
		List []any            `json:"list"`
		Ptr  *struct{ X any } `json:"ptr"`
		Deep []map[string]any `json:"deep"`
	}
	data := encode(t, transport.MsgPack, genserver.Map{
		"any": 5, "map": genserver.Map{"x": uint8(200)}, "list": []any{int16(300), []byte{1}},
		"ptr": genserver.Map{"X": float32(0.5)}, "deep": []any{genserver.Map{"y": []any{1}}},
	})
	var got box
	if err := transport.MsgPack.Decode(data, &got); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	want := box{
		Any: int64(5), Map: map[string]any{"x": int64(200)}, List: []any{int64(300), []byte{1}},
		Ptr: &struct{ X any }{0.5}, Deep: []map[string]any{{"y": []any{int64(1)}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs, want -, got +:\n%s", diff)
	}
}

type kept struct {
	Value any `json:"value"`
}

// Both encodings give the fields of an embedded type that is not exported the same types.
func TestEmbeddedFieldsOfInterfaceType(t *testing.T) {
	t.Parallel()
	type box struct {
		kept
		Name string `json:"name"`
	}
	want := box{kept: kept{Value: int64(5)}, Name: "n"}
	for _, codec := range []genserver.Codec{genserver.JSON, transport.MsgPack} {
		var got box
		if err := codec.Decode(encode(t, codec, genserver.Map{"value": 5, "name": "n"}), &got); err != nil {
			t.Fatalf("%T: got %v, want nil", codec, err)
		}
		if got != want {
			t.Errorf("%T: got %#v, want %#v", codec, got, want)
		}
	}
}

func be32(code byte, n uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{code}, n))
}

func TestMsgPackRefuses(t *testing.T) {
	t.Parallel()
	for what, data := range map[string]string{
		"nothing":           "",
		"trailing bytes":    "\x80\x80",
		"huge map":          be32(0xdf, math.MaxUint32),
		"huge array":        "\x81\xa1a" + be32(0xdd, math.MaxInt32),
		"huge string":       "\x81\xa1a" + be32(0xdb, 1<<31),
		"huge bytes":        "\x81\xa1a" + be32(0xc6, 1<<31),
		"huge extension":    "\x81\xa1a" + be32(0xc9, 1<<31),
		"optimistic map":    "\xde\x00\x09" + strings.Repeat("\xa0\x01", 4),
		"optimistic array":  "\x81\xa1a\xdc\x00\x09\x01",
		"number as key":     "\x81\x01\x01",
		"bytes as key":      "\x81\xc4\x01a\x01",
		"nil as key":        "\x81\xc0\x01",
		"extension":         "\x81\xa1a\xd4\x05\x00",
		"odd timestamp":     "\x81\xa1a\xc7\x05\xff12345",
		"bad nanoseconds":   "\x81\xa1a\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
		"distant time":      "\x81\xa1a\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
		"the unused byte":   "\xc1",
		"cut off number":    "\x81\xa1a\xcf\x01",
		"cut off string":    "\x81\xa9a",
		"nested arrays":     "\x81\xa1a" + strings.Repeat("\x91", 70) + "\x01",
		"nested maps":       strings.Repeat("\x81\xa1a", 70) + "\x01",
		"unbounded nesting": strings.Repeat("\x91", 1<<20),
		"too many values":   "\x81\xa1a" + be32(0xdd, transport.MaxValues) + strings.Repeat("\xc0", transport.MaxValues),
	} {
		var m genserver.Map
		var typed everything
		for _, into := range []any{&m, &typed} {
			if err := transport.MsgPack.Decode([]byte(data), into); !errors.Is(err, transport.ErrPayload) {
				t.Errorf("%s into %T: got %v, want %v", what, into, err, transport.ErrPayload)
			}
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	for what, data := range map[string]string{
		"nesting":  strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70),
		"brackets": `{"a":` + strings.Repeat("[", 1<<20),
		"values":   `{"a":[` + strings.Repeat("1,", transport.MaxValues) + "1]}",
	} {
		var m genserver.Map
		if err := transport.JSON.Decode([]byte(data), &m); !errors.Is(err, transport.ErrPayload) {
			t.Errorf("%s: got %v, want %v", what, err, transport.ErrPayload)
		}
	}
	var m genserver.Map
	text := `{"a":"` + strings.Repeat(`[\"{,`, 1000) + `"}`
	if err := transport.JSON.Decode([]byte(text), &m); err != nil {
		t.Errorf("brackets in a string: got %v, want nil", err)
	}
	for _, data := range []string{`{} {}`, `{`, `{"a":"\`, `"`} {
		if err := transport.JSON.Decode([]byte(data), &m); err == nil {
			t.Errorf("%q: got nil, want an error", data)
		}
	}
}

// TestHostileLengthsAllocateNothing: claims are checked before anything is made.
func TestHostileLengthsAllocateNothing(t *testing.T) {
	data := []byte("\x81\xa1a" + be32(0xdd, 1<<30))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		var m genserver.Map
		_ = transport.MsgPack.Decode(data, &m)
		var v struct {
			A []everything `json:"a"`
		}
		_ = transport.MsgPack.Decode(data, &v)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d bytes allocated, want less than 1 MiB", got)
	}
}

type (
	rude      struct{ X int }
	rudeThere struct{ X int }
)

func (*rude) MarshalJSON() ([]byte, error)              { panic("rude") }
func (*rude) UnmarshalJSON([]byte) error                { panic("rude") }
func (*rudeThere) EncodeMsgpack(*msgpack.Encoder) error { panic("rude") }
func (*rudeThere) DecodeMsgpack(*msgpack.Decoder) error { panic("rude") }

// A type's own marshalling that panics is an error, of what it is asked by.
func TestCodecSurvivesPanics(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		genserver.Codec
		v    any
		data string
		into any
	}{
		{"msgpack's own", transport.MsgPack, &rudeThere{}, "\x81\xa1R\xc4\x01x", new(struct{ R rudeThere })},
		{"through JSON", transport.MsgPack, &rude{}, "\x81\xa1R\xc4\x01x", new(struct{ R rude })},
		{"JSON", transport.JSON, &rude{}, `{"R":1}`, new(struct{ R rude })},
	} {
		if _, err := c.Encode(map[string]any{"r": c.v}); err == nil {
			t.Errorf("%s: encode: got nil, want an error", c.name)
		}
		if err := c.Decode([]byte(c.data), c.into); err == nil {
			t.Errorf("%s: decode: got nil, want an error", c.name)
		}
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		data, contentType string
		want              genserver.Codec
	}{
		{`{}`, "", transport.JSON},
		{" \r\n\t{}", "", transport.JSON},
		{"", "", transport.JSON},
		{"  ", "", transport.JSON},
		{"", "application/msgpack", transport.MsgPack},
		{"\x80", "", transport.MsgPack},
		{"\xde\x00\x00", "application/x-msgpack", transport.MsgPack},
		{"\xdf", "application/vnd.msgpack", transport.MsgPack},
		{`{}`, "application/json; charset=utf-8", transport.JSON},
		{`{}`, "application/msgpack", nil},
		{"\x80", "application/json", nil},
		{" \x80", "", nil},
		{`[]`, "", nil},
		{`"x"`, "", nil},
		{"\xc1\x01\x01\x00", "", nil},
		{`{}`, "text/plain", nil},
		{`{}`, ";;", nil},
	} {
		got, err := transport.Detect([]byte(tc.data), tc.contentType)
		if got != tc.want || (err == nil) != (tc.want != nil) {
			t.Errorf("%q as %q: got %v, %v, want %v", tc.data, tc.contentType, got, err, tc.want)
		}
	}
}

func TestEmptyBody(t *testing.T) {
	t.Parallel()
	for name, c := range codecs {
		var m genserver.Map
		var v everything
		b := transport.NewBody(c, nil)
		if err := errors.Join(b.Decode(&m), b.Decode(&v)); err != nil || m == nil || len(m) != 0 {
			t.Errorf("%s: got %v, %v, want an empty map", name, m, err)
		}
	}
}

func FuzzPublicPayload(f *testing.F) {
	f.Add([]byte(`{"type":"acquire","n":3,"list":[1,2.5,null,{"a":"b"}]}`))
	f.Add([]byte(`{"list":[1.0]}`))
	f.Add(encode(f, transport.MsgPack, genserver.Map{"type": "acquire", "n": -1, "l": []any{1.5, nil, []byte{1}, "x", uint64(math.MaxUint64)}}))
	f.Add(encode(f, transport.MsgPack, everything{T: time.Unix(1, 1), L: []inner{{S: []string{"x"}}}}))
	f.Add(encode(f, transport.MsgPack, parcel{By: map[color]string{1: "x"}, Bytes: []byte{1}, Any: []any{1.0}, Next: &parcel{}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var typed everything
		_ = transport.MsgPack.Decode(data, &typed)
		var throughJSON parcel
		if err := transport.MsgPack.Decode(data, &throughJSON); err == nil {
			again := encode(t, transport.MsgPack, throughJSON)
			if err := transport.MsgPack.Decode(again, new(parcel)); err != nil {
				t.Fatalf("decode a parcel again: got %v, want nil", err)
			}
		}
		codec, err := transport.Detect(data, "")
		if err != nil {
			return
		}
		_ = transport.NewBody(codec, data).Decode(&typed)
		var m genserver.Map
		if err := transport.NewBody(codec, data).Decode(&m); err != nil {
			return
		}
		plainOnly(t, map[string]any(m))
		again, err := codec.Encode(m)
		if err != nil {
			t.Fatalf("encode again: got %v, want nil", err)
		}
		var m2 genserver.Map
		if err := codec.Decode(again, &m2); err != nil {
			t.Fatalf("decode again: got %v, want nil", err)
		}
		before, after := any(map[string]any(m)), any(map[string]any(m2))
		if codec == transport.JSON {
			before, after = wholeNumbers(before), wholeNumbers(after)
		}
		if diff := cmp.Diff(before, after, cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })); diff != "" {
			t.Fatalf("payload differs after another round:\n%s", diff)
		}
	})
}

// wholeNumbers makes floats of all numbers: JSON has one kind, so that what came
// as 1.0 is written as 1.
func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = wholeNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = wholeNumbers(e)
		}
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return v
}

// plainOnly fails for any type that MsgPack does not promise.
func plainOnly(t *testing.T, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			plainOnly(t, e)
		}
	case []any:
		for _, e := range v {
			plainOnly(t, e)
		}
	case uint64:
		if v <= math.MaxInt64 {
			t.Fatalf("got uint64 %d, want an int64", v)
		}
	case nil, bool, int64, float64, string, []byte:
	default:
		t.Fatalf("got a %T, want a plain value", v)
	}
}
