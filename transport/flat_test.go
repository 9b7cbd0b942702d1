package transport

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

type flatMessage struct {
	genserver.OneWay
	S       string        `json:"s"`
	B       bool          `json:"b,omitempty"`
	I       int           `json:"i,omitempty"`
	I8      int8          `json:"i8"`
	I16     int16         `json:"i16,omitempty"`
	I32     int32         `json:"i32"`
	I64     int64         `json:"i64"`
	U       uint          `json:"u,omitempty"`
	U8      uint8         `json:"u8"`
	U16     uint16        `json:"u16"`
	U32     uint32        `json:"u32"`
	U64     uint64        `json:"u64"`
	F       float64       `json:"f"`
	G       float64       `json:"g,omitempty"`
	D       time.Duration `json:"d"`
	Plain   string
	hidden  int
	Skipped string `json:"-"`
}

func (flatMessage) Op() string { return "flat" }

type flatEmpty struct{ genserver.OneWay }

// FuzzFlat holds the short way of flat structs to the library's.
func FuzzFlat(f *testing.F) {
	f.Add("", false, int64(0), uint64(0), 0.0, []byte{0x80})
	f.Add("some text", true, int64(-1), uint64(math.MaxUint64), math.Copysign(0, -1), []byte{0x81, 0xa1, 's', 0xa1, 'x'})
	f.Add(string(bytes.Repeat([]byte("x"), 300)), true, int64(math.MinInt64), uint64(1<<40), math.Inf(1), []byte{0x81, 0xa1, 'i', 0xcb, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, n := range []int64{31, 32, 127, 128, -32, -33, -128, -129, 255, 256, -32768, -32769, 65535, 65536, math.MaxUint32, math.MinInt32, math.MinInt32 - 1} {
		f.Add("x", false, n, uint64(n), float64(n), []byte{0x82, 0xa1, 'x', 0x91, 0xc0, 0xa2, 'i', '8', 0xd1, 0x01, 0x00}) // As it is meant.
	}
	f.Fuzz(func(t *testing.T, s string, b bool, i int64, u uint64, x float64, foreign []byte) {
		m := flatMessage{
			S: s, B: b, I: int(i), I8: int8(i), I16: int16(i), I32: int32(i), I64: i, // As it is meant.
			U: uint(u), U8: uint8(u), U16: uint16(u), U32: uint32(u), U64: u, // As it is meant.
			F: x, G: x, D: time.Duration(i), Plain: s, hidden: 1, Skipped: s,
		}
		_ = m.hidden
		for _, v := range []any{m, &m, flatEmpty{}, &flatEmpty{}} {
			if _, f := flatValue(v); f == nil {
				t.Fatalf("%T: got no flat struct", v)
			}
			e := newEncoding()
			if err := e.append(v); err != nil {
				t.Fatal(err)
			}
			short := bytes.Clone(e.buf.Bytes())
			e.buf.Reset()
			if err := e.library().Encode(v); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(short, e.buf.Bytes()) {
				t.Errorf("%+v: got %x, want %x as the library has it", v, short, e.buf.Bytes())
			}
			e.free()
			decodeBothWays(t, short)
		}
		decodeBothWays(t, foreign)
	})
}

// decodeBothWays compares a decoding by the library alone with what Decode does.
func decodeBothWays(t *testing.T, data []byte) {
	t.Helper()
	var got, want flatMessage
	if flatOf(reflect.TypeFor[flatMessage]()).decode(data, reflect.ValueOf(&got).Elem()) {
		if err := checkMsgPack(data); err != nil {
			t.Fatalf("%x: got it decoded, want %v", data, err)
		}
		if err := decodeByLibrary(data, &want); err != nil {
			t.Fatalf("%x: got it decoded, want %v", data, err)
		}
		// Not by ==: a NaN is not itself.
		if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
			t.Errorf("%x: got %s, want %s", data, g, w)
		}
	}
}

// What is no flat struct is the library's.
func TestNotFlat(t *testing.T) {
	type inner struct{ X int }
	for _, v := range []any{
		struct{ X []int }{},
		struct{ X any }{},
		struct{ X *int }{},
		struct{ X time.Time }{},
		struct{ X float32 }{},
		struct{ inner }{},
		struct {
			X int `json:"x,string"`
		}{},
		struct {
			X int `json:"x" msgpack:"y"`
		}{},
	} {
		if flatOf(reflect.TypeOf(v)) != nil {
			t.Errorf("%T: got a flat struct, want none", v)
		}
	}
}
