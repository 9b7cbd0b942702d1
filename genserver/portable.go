package genserver

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// WithDecoded is the Spec with another config of the same Go type, which decode
// fills in; it is given a pointer to a zero config. So a Spec can stand for its
// Type, with the Spec's own watchdog.
func (s Spec) WithDecoded(decode func(any) error) (Spec, error) {
	if s.def == nil || s.config == nil {
		return Spec{}, fmt.Errorf("config of %s: its Go type is not known", s.TypeName())
	}
	cfg := reflect.New(reflect.TypeOf(s.config))
	if err := decode(cfg.Interface()); err != nil {
		return Spec{}, fmt.Errorf("config of %s: %w", s.def.name, err)
	}
	return Spec{def: s.def, config: cfg.Elem().Interface()}, nil
}

// EncodeConfig is the Spec's config as JSON, for another process to start the
// same server. The error is of a config that would not be the same there, since
// it has parts that JSON leaves out or changes: functions, unexported fields.
func (s Spec) EncodeConfig() ([]byte, error) {
	data, err := JSON.Encode(s.config)
	if err != nil {
		return nil, err
	}
	back, err := s.WithDecoded(func(v any) error { return JSON.Decode(data, v) })
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(s.config, back.config) {
		return data, nil
	}
	// The numbers of a Map are of other types there, and no others.
	if again, err := JSON.Encode(back.config); err == nil && holdsAll(reflect.TypeOf(s.config)) && bytes.Equal(again, data) {
		return data, nil
	}
	return nil, fmt.Errorf("config of %s: %w", s.TypeName(), errors.New("it does not survive being encoded"))
}

// holdsAll tells whether JSON has everything that a value of the type can hold.
func holdsAll(t reflect.Type) bool {
	return t == reflect.TypeFor[Map]() || t == reflect.TypeFor[map[string]any]()
}

// Watched is what the server's watchdog has for limits; see [Watchdog]. Zero is never.
func (s Spec) Watched() (report, crash time.Duration) {
	if s.def == nil || s.def.watchdog == nil {
		return 0, 0
	}
	return s.def.watchdog.report, s.def.watchdog.crash
}
