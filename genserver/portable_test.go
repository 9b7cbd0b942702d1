package genserver_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
)

type plainConfig struct {
	Name  string        `json:"name"`
	Wait  time.Duration `json:"wait,omitempty"`
	List  []int         `json:"list"`
	Loose genserver.Map `json:"loose,omitempty"`
}

type boundConfig struct {
	Name string `json:"name"`
	done chan struct{}
	fn   func()
}

func typeOf[C any](name string) *genserver.TypeOf[C] {
	return genserver.Define(name, func(*genserver.Context, C) (*struct{}, error) { return &struct{}{}, nil },
		genserver.HandleCall(func(*struct{}, *genserver.Context, genserver.Map) (genserver.Map, error) { return nil, nil }))
}

// A config leaves its process only if it is the same afterwards.
func TestEncodeConfig(t *testing.T) {
	t.Parallel()
	plain, bound, loose := typeOf[plainConfig]("test.Plain"), typeOf[boundConfig]("test.Bound"), typeOf[genserver.Map]("test.Loose")
	function, pointer, whatever := typeOf[func()]("test.Function"), typeOf[*plainConfig]("test.Pointer"), typeOf[any]("test.Any")
	for _, tc := range []struct {
		name string
		spec genserver.Spec
		want string // empty for an error
	}{
		{"zero", plain.With(plainConfig{}), `{"name":"","list":null}`},
		{"fields", plain.With(plainConfig{Name: "a", Wait: time.Second, List: []int{1}}), `{"name":"a","wait":1000000000,"list":[1]}`},
		{"pointer", pointer.With(&plainConfig{Name: "a"}), `{"name":"a","list":null}`},
		{"nil pointer", pointer.With(nil), `null`},
		{"map", loose.With(genserver.Map{"n": 1, "s": []any{"x", 2.5}}), `{"n":1,"s":["x",2.5]}`},
		{"nil map", loose.With(nil), `null`},
		{"unexported zero", bound.With(boundConfig{Name: "a"}), `{"name":"a"}`},
		{"unexported channel", bound.With(boundConfig{done: make(chan struct{})}), ""},
		{"unexported function", bound.With(boundConfig{fn: func() {}}), ""},
		{"function", function.With(func() {}), ""},
		{"any type", whatever.With(nil), ""},
		{"no spec", genserver.Spec{}, ""},
	} {
		got, err := tc.spec.EncodeConfig()
		if (err == nil) != (tc.want != "") || string(got) != tc.want {
			t.Errorf("%s: got %s, %v; want %q", tc.name, got, err, tc.want)
		}
	}
}

// What a Spec makes of another config is of the same Type, with the same watchdog.
func TestSpecWithDecoded(t *testing.T) {
	t.Parallel()
	spec := typeOf[plainConfig]("test.Plain").With(plainConfig{Name: "a"}).Watchdog(time.Second, time.Minute)
	other, err := spec.WithDecoded(func(v any) error { return genserver.JSON.Decode([]byte(`{"name":"b"}`), v) })
	if err != nil {
		t.Fatal(err)
	}
	data, err := other.EncodeConfig()
	if diff := cmp.Diff(`{"name":"b","list":null}`, string(data)); err != nil || diff != "" {
		t.Errorf("config: got %v; want -, got +\n%s", err, diff)
	}
	if report, crash := other.Watched(); other.TypeName() != "test.Plain" || report != time.Second || crash != time.Minute {
		t.Errorf("got %s, watched for %v and %v; want test.Plain, 1s and 1m", other.TypeName(), report, crash)
	}
	if _, err := spec.WithDecoded(func(v any) error { return genserver.JSON.Decode([]byte(`{"name":3}`), v) }); err == nil {
		t.Error("a config of the wrong type: got nil, want an error")
	}
}
