package topology

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/supervisor"
)

// placement reads which nodes may run a child.
func (o *object) placement(c *supervisor.Child) supervisor.Placement {
	var p supervisor.Placement
	n := o.values["placement"]
	if n == nil {
		return p
	}
	switch {
	case strings.Count(o.path, ".children[") > 1:
		o.fault("placement", "a child is placed with its supervisor", "give it to the supervisor below the root")
		return p
	case len(c.ClusterNames()) == 0:
		o.fault("placement", "what has no cluster-wide name runs on every node", "leave it out")
		return p
	}
	in := o.l.object(n, o.path+".placement", "a placement", placementKeys)
	if in == nil {
		return p
	}
	if p.Node = in.token("node"); p.Node != "" {
		o.fields = append(o.fields, Field{Key: "placement.node", Value: p.Node, Given: true})
	}
	if labels := in.values["labels"]; labels != nil {
		p.Labels = in.labels(labels)
		for _, pair := range o.l.pairs(plain(labels), in.path+".labels") {
			o.fields = append(o.fields, Field{Key: "placement.labels." + pair.key.Value, Value: pair.value.Value, Given: true})
		}
	}
	return p
}

// labels reads names with values that are names too.
func (o *object) labels(n *yaml.Node) map[string]string {
	if n = plain(n); n.Kind != yaml.MappingNode {
		o.wrong("labels", "a mapping of names to values", "")
		return nil
	}
	all := map[string]string{}
	for _, p := range o.l.pairs(n, o.path+".labels") {
		at := o.path + ".labels." + shorten(p.key.Value)
		if err := name.Check(p.key.Value); err != nil {
			o.l.mistake(p.key, at, err.Error(), nameHint(p.key.Value, true))
			continue
		}
		if p.value.Kind != yaml.ScalarNode {
			o.l.mistake(p.value, at, "want a text, got "+describe(p.value), "")
			continue
		}
		s, ok := o.l.scalar(p.value, at)
		if !ok {
			continue
		}
		if err := name.Check(s.text); err != nil {
			o.l.mistake(p.value, at, err.Error(), nameHint(s.text, true))
			continue
		}
		all[p.key.Value] = s.text
	}
	return all
}
