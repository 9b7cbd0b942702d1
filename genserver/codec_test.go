package genserver_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
)

func TestJSONNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want any
	}{
		{`0`, int64(0)},
		{`-0`, int64(0)},
		{`9223372036854775807`, int64(math.MaxInt64)},
		{`-9223372036854775808`, int64(math.MinInt64)},
		{`9223372036854775808`, uint64(1 << 63)},
		{`18446744073709551615`, uint64(math.MaxUint64)},
		{`18446744073709551616`, 18446744073709551616.0},
		{`-9223372036854775809`, -9223372036854775809.0},
		{`1.0`, 1.0},
		{`1e3`, 1000.0},
		{`"1"`, "1"},
		{`null`, nil},
		{`[1,{"a":2}]`, []any{int64(1), map[string]any{"a": int64(2)}}},
	} {
		var inMap genserver.Map
		noErr(t, tc.text, genserver.JSON.Decode([]byte(`{"v":`+tc.text+`}`), &inMap))
		if diff := cmp.Diff(tc.want, inMap["v"]); diff != "" {
			t.Errorf("%s in a Map (-want +got):\n%s", tc.text, diff)
		}
		var bare any
		noErr(t, tc.text, genserver.JSON.Decode([]byte(tc.text), &bare))
		if diff := cmp.Diff(tc.want, bare); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.text, diff)
		}
		type inner struct{ V any }
		var s struct {
			inner
			P  *inner
			L  []inner
			A  [1]any
			M  map[string]inner
			MM []genserver.Map
			N  json.Number
			x  any // must be left alone
		}
		noErr(t, tc.text, genserver.JSON.Decode([]byte(`{"V":`+tc.text+`,"P":{"V":`+tc.text+`},"L":[{"V":`+tc.text+`}],"A":[`+tc.text+`],"M":{"k":{"V":`+
			tc.text+`}},"MM":[{"v":`+tc.text+`}],"N":12}`), &s))
		for name, got := range map[string]any{
			"embedded": s.V, "pointer": s.P.V, "slice": s.L[0].V, "array": s.A[0], "map": s.M["k"].V, "Map": s.MM[0]["v"],
		} {
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s in a struct's %s (-want +got):\n%s", tc.text, name, diff)
			}
		}
		if got, want := s.N, json.Number("12"); got != want {
			t.Errorf("got a json.Number %v, want %v: its owner asked for it", got, want)
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `{`, `{} {}`, `{"a":1e999}`, `{"a":[{"b":-1e999}]}`, `[]`, `"x"`, `{"a":01}`, `{}x`} {
		var m genserver.Map
		if err := genserver.JSON.Decode([]byte(text), &m); err == nil {
			t.Errorf("%s: got no error, want one", text)
		}
	}
	if _, err := genserver.JSON.Encode(func() {}); err == nil {
		t.Error("encode a func: got no error, want one")
	}
}

// Whatever the bytes, decoding into a Map neither panics nor leaves a number
// that is not int64, uint64 or float64, and what it decodes survives a second
// trip.
func FuzzJSONMap(f *testing.F) {
	for _, seed := range []string{`{}`, `{"type":"acquire","n":1}`, `{"a":[1,2.5,-3,18446744073709551615,{"b":null}]}`, `{"a":1e400}`, `null`, `{"a":"\ud800"}`, `{"":-0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m genserver.Map
		if err := genserver.JSON.Decode(data, &m); err != nil {
			return
		}
		checkNumbers(t, map[string]any(m))
		b, err := genserver.JSON.Encode(m)
		if err != nil {
			t.Fatalf("encode %v: got %v, want nil", m, err)
		}
		var again genserver.Map
		if err := genserver.JSON.Decode(b, &again); err != nil {
			t.Fatalf("decode %s: got %v, want nil", b, err)
		}
		b2, err := genserver.JSON.Encode(again)
		if err != nil || string(b) != string(b2) {
			t.Fatalf("got %s, %v after a second trip, want %s", b2, err, b)
		}
	})
}

func checkNumbers(t *testing.T, v any) {
	switch v := v.(type) {
	case nil, bool, string, int64, uint64, float64:
		if u, ok := v.(uint64); ok && u <= math.MaxInt64 {
			t.Errorf("got uint64 %d, want an int64 where it holds it", u)
		}
	case []any:
		for _, e := range v {
			checkNumbers(t, e)
		}
	case map[string]any:
		for _, e := range v {
			checkNumbers(t, e)
		}
	default:
		t.Errorf("got a %T, want no such type in a Map", v)
	}
}
