package placement

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// choose is the host for a child: of those that can run it the one with the
// least load, not the one where it failed last if there is another.
func (c *Core) choose(ch *child) *host {
	var best *host
	for _, h := range c.hosts {
		if h.member == nil || h.member.Leaving || !fits(ch.spec, h.member) || !has(ch.spec, h.member) {
			continue
		}
		if best == nil || before(ch, h, best) {
			best = h
		}
	}
	return best
}

// before tells whether a child goes to a rather than to b.
func before(ch *child, a, b *host) bool {
	return cmp.Or(
		compareBool(ch.failed == a, ch.failed == b),
		cmp.Compare(len(a.children), len(b.children)),
		cmp.Compare(weight(ch.owned, b.member.Node), weight(ch.owned, a.member.Node)),
		cmp.Compare(a.incarnation, b.incarnation),
	) < 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// weight is rendezvous hashing's: each name has an order of the nodes of its own.
func weight(name, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(node))
	// FNV hardly mixes its last bytes upwards.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// fits tells whether a node is one of those that the child asks for.
func fits(s *Spec, m *Member) bool {
	if s.Node != "" && s.Node != m.Node {
		return false
	}
	for key, value := range s.Labels {
		if has, ok := m.Labels[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// has tells whether a node has what the child runs.
func has(s *Spec, m *Member) bool {
	return m.Own[s.Name] || !s.Bound && m.Types[s.Type]
}

// whyNot is why no node can run the child.
func (c *Core) whyNot(s *Spec) string {
	fit, pinned := false, false
	for _, h := range c.hosts {
		m := h.member
		if m == nil || m.Leaving {
			continue
		}
		pinned = pinned || s.Node == m.Node
		fit = fit || fits(s, m)
	}
	switch {
	case s.Node != "" && !pinned:
		return fmt.Sprintf("node %s, to which it is pinned, is not there", s.Node)
	case !fit && len(s.Labels) > 0:
		return "no node has the labels " + labels(s.Labels)
	case s.Bound:
		return "no node has it in its own tree, and its config can't leave its program"
	default:
		return "no node that may run it has the type " + s.Type
	}
}

func labels(all map[string]string) string {
	var text []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		text = append(text, key+"="+all[key])
	}
	return strings.Join(text, ",")
}
