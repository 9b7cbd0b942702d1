package topology_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/topology"
)

// level is a type that reads text.
type level int

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "high" {
		return fmt.Errorf("level %q is not known", text)
	}
	*l = 9
	return nil
}

type base struct {
	ID    string `json:"id"`
	Depth int    `json:"depth"`
}

type wide struct {
	base
	*Deep
	Text    string             `json:"text"`
	Yes     bool               `json:"yes"`
	Int8    int8               `json:"int8"`
	Uint    uint64             `json:"uint"`
	Float   float32            `json:"float"`
	Every   time.Duration      `json:"every"`
	When    time.Time          `json:"when"`
	Level   level              `json:"level"`
	Addr    netip.Addr         `json:"addr"`
	Bytes   []byte             `json:"bytes"`
	Pair    [2]int             `json:"pair"`
	List    []*int             `json:"list"`
	ByName  map[string]float64 `json:"by_name"`
	ByPort  map[uint16]string  `json:"by_port"`
	Any     any                `json:"any"`
	Raw     json.RawMessage    `json:"raw"`
	Number  json.Number        `json:"number"`
	Quoted  int                `json:"quoted,string"`
	Nested  *struct{ A, B int }
	Depth   int `json:"depth"` // is nearer than base's
	Skipped int `json:"-"`
	hidden  int
}

// Deep is embedded by a pointer.
type Deep struct {
	Bottom int `json:"bottom"`
}

// configOf decodes a config into a C by way of a file.
func configOf[C any](t interface{ Helper() }, config string, vars ...string) (C, error) {
	t.Helper()
	var got C
	typ := genserver.Define("T", func(*genserver.Context, C) (*nothing, error) { return &nothing{}, nil })
	text := "supervision:\n  children:\n    - name: a\n      type: T\n      config: " + strings.ReplaceAll(config, "\n", "\n        ") + "\n"
	_, err := topology.Loader{Types: []genserver.Type{spying{typ, &got}}, Lookup: lookup(vars...), File: "t.yaml"}.Load(strings.NewReader(text))
	return got, err
}

// spying is a Type that shows the config it is given.
type spying struct {
	genserver.Type
	got any
}

func (s spying) WithDecoded(decode func(any) error) (genserver.Spec, error) {
	return s.Type.WithDecoded(func(v any) error {
		err := decode(v)
		reflect.ValueOf(s.got).Elem().Set(reflect.ValueOf(v).Elem())
		return err
	})
}

func TestConfigs(t *testing.T) {
	t.Parallel()
	five := 5
	got, err := configOf[wide](t, `
id: x
depth: 3
bottom: 4
text: "1"
yes: true
int8: -0x10
uint: 18446744073709551615
float: 1.5
every: 1m30s
when: 2026-11-27T10:00:00Z
level: high
addr: 127.0.0.1
bytes: aGk=
pair: [1]
list: [5, null]
by_name: {a: 1, b: .5}
by_port: {80: http}
any: {a: [1, 1.5, x, true, null, 18446744073709551615], b: 2026-11-27}
raw: {a: 1}
number: 12.50
quoted: "7"
Nested: {A: 1}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := wide{
		base: base{ID: "x"}, Deep: &Deep{Bottom: 4}, Text: "1", Yes: true, Int8: -16, Uint: 1<<64 - 1, Float: 1.5, Every: 90 * time.Second,
		When: time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC), Level: 9, Addr: netip.MustParseAddr("127.0.0.1"), Bytes: []byte("hi"),
		Pair: [2]int{1, 0}, List: []*int{&five, nil}, ByName: map[string]float64{"a": 1, "b": 0.5}, ByPort: map[uint16]string{80: "http"},
		Any:    map[string]any{"a": []any{int64(1), 1.5, "x", true, nil, uint64(1<<64 - 1)}, "b": "2026-11-27"},
		Raw:    json.RawMessage(`{"a":1}`),
		Number: "12.50", Quoted: 7, Nested: &struct{ A, B int }{1, 0}, Depth: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestConfigsOfOtherKinds(t *testing.T) {
	t.Parallel()
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, %v, want %#v", name, got, err, want)
		}
	}
	i, err := configOf[int](t, "5")
	check("int", i, err, 5)
	d, err := configOf[time.Duration](t, "${D}", "D", "2")
	check("duration", d, err, 2*time.Second)
	m, err := configOf[genserver.Map](t, "{a: 1}")
	check("Map", m, err, genserver.Map{"a": int64(1)})
	p, err := configOf[*base](t, "{id: x}")
	check("pointer", p, err, &base{ID: "x"})
	n, err := configOf[*base](t, "null")
	check("nothing", n, err, (*base)(nil))
	l, err := configOf[[]string](t, "[a, 'b']")
	check("list", l, err, []string{"a", "b"})
	a, err := configOf[any](t, "true")
	check("any", a, err, true)
}

func TestMistakesInConfigs(t *testing.T) {
	t.Parallel()
	got, err := configOf[wide](t, `
ID: x
text: 5
yes: 1
int8: 200
uint: -1
float: 1e300
every: soon
when: yesterday
level: low
addr: [1]
bytes: "*"
pair: [1, 2, 3]
list: {a: b}
by_name: {a: b, a: c}
by_port: {http: 80}
number: x
quoted: many
Nested: {a: 1}
hidden: 1
Skipped: 1
`)
	wantMistakes(t, err, `
t.yaml:6:9: unknown key "ID" of config; it may have id, addr, any, int8, list, pair, raw, uint, yes, text, when, Nested, bytes, depth, every, float, level, quoted, bottom, number and 2 more (did you mean "id"?)
t.yaml:7:15: text: want a text, got 5 (put it in quotes: "5")
t.yaml:8:14: yes: want true or false, got 1
t.yaml:9:15: int8: 200 is out of the range of int8
t.yaml:10:15: uint: -1 is out of the range of uint64
t.yaml:11:16: float: 1e300 is out of the range of float32
t.yaml:12:16: every: want a duration as in 5s or 1m30s, or a number of seconds, got "soon"
t.yaml:13:15: when: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"
t.yaml:14:16: level: level "low" is not known
t.yaml:15:15: addr: want a text, got a list
t.yaml:16:16: bytes: want bytes in base64, got "*"
t.yaml:17:15: pair: want a list of at most 2, got a list
t.yaml:18:15: list: want a list, got a mapping
t.yaml:19:22: a: want a number, got "b"
t.yaml:19:25: the key "a" is here twice, first at line 19 (leave one out)
t.yaml:20:19: the key "http" of by_port: want a whole number that is a uint16
t.yaml:21:17: number: want a number, got "x"
t.yaml:22:17: quoted: want a whole number, got "many"
t.yaml:23:18: unknown key "a" of Nested; it may have A, B (did you mean "A"?)
t.yaml:24:9: unknown key "hidden" of config; it may have addr, id, when, Nested, bytes, int8, level, list, number, quoted, uint, yes, any, bottom, depth, every, float, pair, raw, text and 2 more
t.yaml:25:9: unknown key "Skipped" of config; it may have Nested, id, quoted, by_port, bytes, depth, int8, level, list, number, pair, uint, when, yes, addr, any, bottom, by_name, every, float and 2 more
`)
	if got.hidden != 0 || got.Skipped != 0 {
		t.Errorf("got %+v, want what has no key left alone", got)
	}
	type impossible struct {
		F func()       `json:"f"`
		E error        `json:"e"`
		C chan int     `json:"c"`
		M map[base]int `json:"m"`
	}
	_, err = configOf[impossible](t, "{f: 1, e: 2, c: 3, m: {a: 1}}")
	wantMistakes(t, err, `
t.yaml:5:19: f can't come from a file: it is a func()
t.yaml:5:25: e can't come from a file: it is a error
t.yaml:5:31: c can't come from a file: it is a chan int
t.yaml:5:38: the key "a" of m: can't come from a file: it is a topology_test.base`)
}

func TestTypesMayRefuseConfigs(t *testing.T) {
	t.Parallel()
	_, err := topology.Load(strings.NewReader("supervision: {children: [{name: a, type: T, config: {id: x}}]}"), refusing{limiter})
	wantMistakes(t, err, "topology:1:53: config: the moon is wrong")
}

type refusing struct{ genserver.Type }

func (refusing) Name() string { return "T" }

func (refusing) WithDecoded(func(any) error) (genserver.Spec, error) {
	return genserver.Spec{}, errors.New("the moon is wrong")
}

// likeJSON is a config whose values JSON and YAML write in the same way.
type likeJSON struct {
	base
	S string            `json:"s"`
	B bool              `json:"b"`
	I int64             `json:"i"`
	U uint8             `json:"u"`
	F float64           `json:"f"`
	P *string           `json:"p"`
	L []likeJSON        `json:"l"`
	M map[string]int    `json:"m"`
	N map[string]string `json:"n"`
	A any               `json:"a"`
}

func genLikeJSON(depth int) *rapid.Generator[likeJSON] {
	return rapid.Custom(func(t *rapid.T) likeJSON {
		// A $ begins a reference.
		str := rapid.StringMatching(`[ -#%-~é\n\t"\\]{0,12}`)
		c := likeJSON{
			base: base{ID: str.Draw(t, "id"), Depth: rapid.Int().Draw(t, "depth")},
			S:    str.Draw(t, "s"), B: rapid.Bool().Draw(t, "b"), I: rapid.Int64().Draw(t, "i"), U: rapid.Uint8().Draw(t, "u"),
			F: rapid.Float64().Draw(t, "f"),
			M: rapid.MapOfN(str, rapid.Int(), 0, 3).Draw(t, "m"), N: rapid.MapOfN(str, str, 0, 3).Draw(t, "n"),
		}
		if rapid.Bool().Draw(t, "p given") {
			p := str.Draw(t, "p")
			c.P = &p
		}
		if depth > 0 {
			c.L = rapid.SliceOfN(genLikeJSON(depth-1), 0, 2).Draw(t, "l")
		}
		if rapid.Bool().Draw(t, "a given") {
			c.A = map[string]any{"x": str.Draw(t, "x"), "y": []any{rapid.Int64().Draw(t, "y"), nil, true}}
		}
		return c
	})
}

// What JSON says, a file says too: JSON is YAML.
func TestConfigsDecodeAsJSONDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := genLikeJSON(2).Draw(t, "config")
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(in); err != nil {
			t.Fatal(err)
		}
		var want likeJSON
		if err := genserver.JSON.Decode(text.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		got, err := configOf[likeJSON](t, strings.TrimSpace(text.String()))
		if err != nil {
			t.Fatalf("got %v, want no mistakes in %s", err, &text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s", &text, cmp.Diff(want, got, cmp.AllowUnexported(likeJSON{}, base{})))
		}
	})
}
