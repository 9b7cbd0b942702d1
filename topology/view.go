package topology

import (
	"encoding/json"

	"go.yaml.in/yaml/v4"
)

// config records a config for the view: as it is written, since what its
// references stand for may be a secret.
func (o *object) config() {
	if n := o.values["config"]; n != nil {
		o.written("config", n)
	}
}

func (o *object) written(key string, n *yaml.Node) {
	text := n.Value
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		for _, p := range o.l.pairs(n, o.path+"."+key) {
			o.written(key+"."+p.key.Value, p.value)
		}
		return
	case n.Kind != yaml.ScalarNode:
		b, _ := json.Marshal(o.l.asWritten(n, o.path+"."+key)) // never fails: it's texts in maps and lists
		text = string(b)
	}
	o.fields = append(o.fields, Field{Key: key, Value: text, Given: true})
}

// asWritten is a value with its references left alone.
func (l *loading) asWritten(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, p := range l.pairs(n, path) {
			m[p.key.Value] = l.asWritten(p.value, path)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			list[i] = l.asWritten(plain(e), path)
		}
		return list
	}
	return n.Value
}
