package genserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
)

// Codec turns payloads into bytes and back. Both encodings read the `json`
// struct tag, and both decode the numbers of a [Map] as int64, uint64 (where
// int64 does not hold it) or float64.
//
// A System uses its Codec where a Map is sent to a typed handler or a typed
// message to a Map handler; a node uses it on the network. Implementations
// must be safe for concurrent use.
type Codec interface {
	Encode(v any) ([]byte, error)
	Decode(data []byte, v any) error
}

// JSON is the [Codec] of encoding/json, and a System's default.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T as JSON: %w", v, err)
	}
	return b, nil
}

func (jsonCodec) Decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode JSON into %T: %w", v, err)
	}
	if _, err := d.Token(); err != io.EOF { //nolint:errorlint // Decoder.Token returns io.EOF itself.
		return fmt.Errorf("decode JSON into %T: more than one value", v)
	}
	switch m := v.(type) {
	case *Map:
		return plainMap(*m)
	case *map[string]any:
		return plainMap(*m)
	case *any:
		n, err := plain(*m)
		*m = n
		return err
	}
	return nil
}

// plain replaces every json.Number within v, in place where v is a container.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case map[string]any:
		return v, plainMap(v)
	case []any:
		for i, e := range v {
			n, err := plain(e)
			if err != nil {
				return nil, err
			}
			v[i] = n
		}
	}
	return v, nil
}

func plainMap(m map[string]any) error {
	for k, e := range m {
		n, err := plain(e)
		if err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		m[k] = n
	}
	return nil
}

func number(n json.Number) (any, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return u, nil
	}
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("number %s is out of range", n)
	}
	return f, nil
}
