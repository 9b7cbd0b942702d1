package topology

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// What a file has where it says nothing, and a supervisor.Spec has not.
const (
	defaultWindow      = 60 * time.Second
	defaultBackoffBase = time.Second
	defaultBackoffMax  = 60 * time.Second
	exponentialJitter  = 0.25
)

// root reads the supervisor that has no other above it.
func (l *loading) root(n *yaml.Node) (supervisor.Spec, Branch) {
	b := Branch{Kind: kindSupervisor, Name: "root", Line: n.Line}
	o := l.object(n, "supervision", "the root supervisor", rootKeys)
	if o == nil {
		return supervisor.Spec{}, b
	}
	if o.values["name"] != nil {
		b.Name, _ = o.name("name")
	}
	if b.Name != "" {
		l.claim(o, b.Name)
	}
	spec := o.supervisor(&b)
	b.Fields = o.fields
	return spec, b
}

// claim takes a name of the tree.
func (l *loading) claim(o *object, name string) {
	at := o.values["name"]
	if at == nil {
		at = o.at
	}
	if first := l.taken[name]; first != nil {
		o.fault("name", fmt.Sprintf("%q is taken, at line %d", name, first.Line), "names are unique in a tree, those of supervisors too")
		return
	}
	l.taken[name] = at
}

// child reads one child of a supervisor with that automatic shutdown.
func (l *loading) child(n *yaml.Node, path string, auto supervisor.AutoShutdown) (supervisor.Child, Branch) {
	var c supervisor.Child
	n, path, kind := l.unwrap(n, path)
	b := Branch{Kind: kind, Line: n.Line}
	what, keys := "a server", serverKeys
	switch kind {
	case kindSupervisor:
		what, keys = "a supervisor", nestedKeys
	case kindDynamic:
		what, keys = "a dynamic supervisor", dynamicKeys
	}
	o := l.object(n, path, what, keys)
	if o == nil {
		return c, b
	}
	if o.values["name"] == nil {
		o.missing("name", "")
	} else if name, ok := o.name("name"); ok {
		c.Name, b.Name = name, name
		l.claim(o, name)
		o.what = fmt.Sprintf("%s %q", strings.TrimPrefix(what, "a "), name)
	}
	switch kind {
	case kindSupervisor:
		c.Run = o.supervisor(&b)
		o.supervised(&c, kind, auto)
	case kindDynamic:
		c.Run = o.dynamic(path)
		o.supervised(&c, kind, auto)
	default:
		o.supervised(&c, kind, auto)
		c.Run = o.server(&b)
		o.config()
	}
	b.Fields = o.fields
	return c, b
}

// wrappers are the spellings of a child that say its kind first.
var wrappers = map[string]string{
	"agent":        kindServer,
	"server":       kindServer,
	"gen_server":   kindServer,
	kindSupervisor: kindSupervisor,
	kindDynamic:    kindDynamic,
}

// unwrap finds out which kind a child is of, and where its keys are.
func (l *loading) unwrap(n *yaml.Node, path string) (*yaml.Node, string, string) {
	n = plain(n)
	if n.Kind != yaml.MappingNode {
		return n, path, kindServer
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := plain(n.Content[i])
		kind, wrapped := wrappers[key.Value]
		if !wrapped {
			continue
		}
		for j := 0; j+1 < len(n.Content); j += 2 {
			if other := plain(n.Content[j]); j != i {
				l.mistake(other, path, fmt.Sprintf("%s is beside %s:, which is to have all keys of the child", describe(other), key.Value), "indent it further")
			}
		}
		inner := plain(n.Content[i+1])
		if len(n.Content) > 2 && inner.Kind != yaml.MappingNode {
			// The keys beside it were meant, and have been told.
			return &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column, Content: slices.Delete(slices.Clone(n.Content), i, i+2)}, path, kind
		}
		if said := kindOf(inner); said == kindDynamic {
			kind = said
		}
		return inner, path + "." + key.Value, kind
	}
	return n, path, kindOf(n)
}

// kindOf is the kind of a child without a wrapper.
func kindOf(n *yaml.Node) string {
	like := kindServer
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := plain(n.Content[i]), plain(n.Content[i+1])
		switch key.Value {
		case "type":
			switch value.Value {
			case kindSupervisor, kindDynamic:
				return value.Value
			}
			return kindServer
		case "children", "strategy", "max_restarts", "restart_window", "backoff":
			like = kindSupervisor
		}
	}
	return like
}

// supervisor reads what is a supervisor's own.
func (o *object) supervisor(b *Branch) supervisor.Spec {
	if o.values["type"] != nil {
		if s, ok := o.text("type"); ok && s != kindSupervisor {
			o.fault("type", fmt.Sprintf("%q of a supervisor, which has none", shorten(s)), "leave it out, or write server: in place of supervisor:")
		}
	}
	spec := supervisor.Spec{
		Strategy: word(o, "strategy", supervisor.OneForOne, supervisor.OneForOne, supervisor.OneForAll, supervisor.RestForOne),
	}
	in := o.intensity()
	spec.MaxRestarts, spec.RestartWindow, spec.Backoff = in.MaxRestarts, in.RestartWindow, in.Backoff
	spec.StopWithin, spec.AutoShutdown = in.StopWithin, in.AutoShutdown
	spec.Types = o.types(nil)
	if o.values["children"] == nil {
		o.missing("children", "an empty list will do: children: []")
	}
	for i, n := range o.list("children") {
		c, branch := o.l.child(n, fmt.Sprintf("%s.children[%d]", o.path, i), spec.AutoShutdown)
		spec.Children = append(spec.Children, c)
		b.Children = append(b.Children, branch)
	}
	return spec
}

// dynamic reads what is a dynamic supervisor's own.
func (o *object) dynamic(path string) supervisor.Dynamic {
	if n := o.values["config"]; n != nil {
		delete(o.values, "config")
		if n = plain(n); n.Kind == yaml.MappingNode {
			o.take(n, path+".config", without(dynamicKeys, "name", "type", "config"))
		} else {
			o.l.mistake(n, path+".config", "config: want a mapping, got "+describe(n), "")
		}
	}
	d := o.intensity()
	d.MaxChildren, d.MaxSpawns = o.limit("max_children"), o.limit("max_total_spawns")
	d.Types = o.types(o.l.Types)
	return d
}

// limit is a count above 0, or 0 for none.
func (o *object) limit(key string) int {
	if o.values[key] == nil {
		return 0
	}
	n := o.count(key, 0, 1)
	o.record(key, strconv.Itoa(n))
	return n
}

// intensity reads what every supervisor has; a Dynamic has fields for all of it.
func (o *object) intensity() supervisor.Dynamic {
	var d supervisor.Dynamic
	if d.MaxRestarts = o.count("max_restarts", supervisor.DefaultMaxRestarts, 0); d.MaxRestarts == 0 {
		d.MaxRestarts = supervisor.NoRestarts
	}
	o.record("max_restarts", strconv.Itoa(max(d.MaxRestarts, 0)))
	d.RestartWindow = o.duration("restart_window", defaultWindow)
	d.Backoff = o.backoff()
	if within, ok := o.wait("stop_within", true); ok {
		d.StopWithin = within
		o.record("stop_within", short(within))
	}
	d.AutoShutdown = word(o, "auto_shutdown", supervisor.NeverShutdown, supervisor.NeverShutdown, supervisor.AnySignificant, supervisor.AllSignificant)
	return d
}

func (o *object) backoff() supervisor.Backoff {
	b := supervisor.Backoff{Growth: word(o, "backoff", supervisor.NoBackoff,
		supervisor.NoBackoff, supervisor.Constant, supervisor.Linear, supervisor.Exponential)}
	if b.Growth == supervisor.NoBackoff {
		for _, key := range []string{"backoff_base", "backoff_max", "backoff_jitter"} {
			if o.values[key] != nil && o.values["backoff"] == nil {
				o.fault(key, "there is no backoff", "write backoff: constant, linear or exponential")
			}
		}
		return supervisor.Backoff{}
	}
	b.Base = o.duration("backoff_base", defaultBackoffBase)
	b.Max = o.duration("backoff_max", max(defaultBackoffMax, b.Base))
	if b.Max < b.Base {
		o.fault("backoff_max", fmt.Sprintf("%s is less than backoff_base, %s", short(b.Max), short(b.Base)), "")
	}
	if b.Growth == supervisor.Exponential {
		b.Jitter = exponentialJitter
	}
	if s, ok := o.scalar("backoff_jitter", "a number"); ok {
		switch f, err := s.number(); {
		case err != nil:
			o.fault("backoff_jitter", err.Error(), "")
		case !(f >= 0 && f <= exponentialJitter): // NaN is refused too
			o.fault("backoff_jitter", s.describe()+" is not in 0 to 0.25", "")
		default:
			b.Jitter = f
		}
	}
	o.record("backoff_jitter", strconv.FormatFloat(b.Jitter, 'g', -1, 64))
	return b
}

// types are those that a supervisor may start children of.
func (o *object) types(byDefault []genserver.Type) []genserver.Type {
	if o.values["types"] == nil {
		return byDefault
	}
	types := []genserver.Type{}
	var shown []string
	for _, n := range o.list("types") {
		path := o.path + ".types"
		if n.Kind != yaml.ScalarNode {
			o.l.mistake(n, path, "types: want the name of a Type, got "+describe(n), "")
			continue
		}
		s, ok := o.l.scalar(n, path)
		if !ok {
			continue
		}
		shown = append(shown, s.text)
		if t := o.l.typeNamed(n, path, s.text); t != nil {
			types = append(types, t)
		}
	}
	o.record("types", strings.Join(shown, ","))
	return types
}

// typeNamed finds a Type; nil where there is none, which then has been told, or
// any will do.
func (l *loading) typeNamed(n *yaml.Node, path, name string) genserver.Type {
	if t := l.types[name]; t != nil || l.AnyType {
		return t
	}
	known := make([]string, 0, len(l.types))
	for k := range l.types {
		known = append(known, k)
	}
	slices.Sort(known)
	message := fmt.Sprintf("unknown type %q; the program has %s", shorten(name), listed(byNearness(name, known)))
	if len(known) == 0 {
		message = fmt.Sprintf("unknown type %q; the program has none", shorten(name))
	}
	l.mistake(n, path, message, didYouMean(name, known))
	return nil
}

// server reads what is a server's own, but for the view of its config.
func (o *object) server(b *Branch) genserver.Spec {
	var spec genserver.Spec
	report, crash, watched := o.watchdog()
	if o.values["type"] == nil {
		o.missing("type", "")
		return spec
	}
	name, ok := o.text("type")
	if !ok {
		return spec
	}
	b.Type = name
	t := o.l.typeNamed(o.values["type"], o.path+".type", name)
	if t == nil {
		return spec
	}
	spec, err := t.WithDecoded(func(v any) error {
		if n := o.values["config"]; n != nil {
			o.l.decode(n, o.path+".config", v)
		}
		return nil
	})
	if err != nil {
		o.fault("config", err.Error(), "")
	}
	if watched {
		spec = spec.Watchdog(report, crash)
	}
	return spec
}

// watchdog are the limits of handlers, in either of python-civitas's ways.
func (o *object) watchdog() (report, crash time.Duration, given bool) {
	if d, ok := o.wait("handle_timeout", true); ok {
		o.record("handle_timeout", short(d))
		crash, given = d, true
	}
	beats := []string{"heartbeat_interval", "heartbeat_timeout", "missed_heartbeats_threshold"}
	beating := false
	for _, key := range beats {
		if o.values[key] != nil {
			beating = true
			if given {
				o.fault(key, "handle_timeout says the same in another way", "leave one of them out")
			}
		}
	}
	if !beating || given {
		return report, crash, given
	}
	interval := o.duration(beats[0], 5*time.Second)
	timeout := o.duration(beats[1], 2*time.Second)
	missed := o.count(beats[2], 3, 1)
	o.record(beats[2], strconv.Itoa(missed))
	// A handler that runs so long would have missed one heartbeat, and then so
	// many in a row, had they gone through its mailbox.
	if float64(timeout)*float64(missed)+float64(interval)*float64(missed-1) >= math.MaxInt64 {
		o.fault(beats[2], "that many heartbeats are no duration", "")
	}
	return timeout, timeout*time.Duration(missed) + interval*time.Duration(missed-1), true
}

// supervised reads what every child has.
func (o *object) supervised(c *supervisor.Child, kind string, auto supervisor.AutoShutdown) {
	c.Restart = word(o, "restart", supervisor.Permanent, supervisor.Permanent, supervisor.Transient, supervisor.Temporary)
	o.shutdown(c, kind)
	if kind == kindServer {
		c.Scope = word(o, "scope", supervisor.Cluster, supervisor.Cluster, supervisor.Local)
		o.public(c.Scope)
		c.OnPartition = word(o, "on_partition", supervisor.Pause, supervisor.Pause, supervisor.Keep)
		if c.OnPartition == supervisor.Keep && c.Scope == supervisor.Local {
			o.fault("on_partition", "a node-local server needs no proof of its name", "leave it out")
		}
	} else if word(o, "scope", supervisor.Local, supervisor.Local, supervisor.Cluster) == supervisor.Cluster {
		o.fault("scope", "a supervisor's name is its node's", "give its children the scope")
	}
	c.Placement = o.placement(c)
	if yes, given := o.yes("significant"); given {
		c.Significant = yes
		o.record("significant", strconv.FormatBool(yes))
	}
	switch {
	case !c.Significant:
	case c.Restart == supervisor.Permanent:
		o.fault("significant", "a permanent child never ends for good", "write restart: transient or temporary")
	case auto == supervisor.NeverShutdown:
		o.fault("significant", "the supervisor's auto_shutdown is never", "give the supervisor auto_shutdown: any_significant or all_significant")
	}
}

func (o *object) shutdown(c *supervisor.Child, kind string) {
	const infinity, brutal = "infinity", "brutal_kill"
	shown := short(supervisor.DefaultShutdown)
	if kind != kindServer {
		shown = infinity
	}
	if s, ok := o.scalar("shutdown", "a duration, infinity or brutal_kill"); ok {
		d, err := s.duration()
		switch {
		case strings.EqualFold(s.text, infinity):
			c.Shutdown, shown = supervisor.Infinity, infinity
		case strings.EqualFold(s.text, brutal):
			c.Shutdown, shown = supervisor.BrutalKill, brutal
		case err != nil:
			o.fault("shutdown", fmt.Sprintf("want a duration as in 5s, a number of seconds, infinity or brutal_kill, got %s", s.describe()),
				cmp.Or(didYouMean(s.text, []string{infinity, brutal}), durationHint(s.text)))
		case d < 0:
			o.fault("shutdown", s.describe()+" is negative", "write infinity for no limit")
		case d == 0:
			o.fault("shutdown", "must be above 0", "write brutal_kill to kill at once")
		default:
			c.Shutdown, shown = d, short(d)
		}
	}
	o.record("shutdown", shown)
}

// public accepts what a server is anyway.
func (o *object) public(scope genserver.Scope) {
	yes, given := o.yes("public")
	if !given {
		return
	}
	o.record("public", strconv.FormatBool(yes))
	switch {
	case yes && scope == supervisor.Local:
		o.fault("public", "a public server with a local name "+later, "write scope: cluster")
	case !yes && scope == supervisor.Cluster:
		o.fault("public", "a cluster-wide server that is not public "+later, "write scope: local")
	}
}
