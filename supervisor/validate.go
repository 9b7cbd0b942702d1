package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/internal/supervision"
)

// Validate checks the whole tree below the Spec and returns every fault, each
// with the path of the field, as in `Children[1] "pool".MaxRestarts`. A start
// checks too.
func (s Spec) Validate() error {
	v := validation{names: map[string]string{}}
	v.spec("", s)
	return errors.Join(v.faults...)
}

// validation gathers the faults of one tree.
type validation struct {
	faults []error
	names  map[string]string // to the path of the child that has it
}

func (v *validation) fault(path, format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

// spec checks a Spec; path is its prefix.
func (v *validation) spec(path string, s Spec) {
	if s.Strategy > RestForOne {
		v.fault(path+"Strategy", "%d is no Strategy", s.Strategy)
	}
	if s.MaxRestarts < NoRestarts {
		v.fault(path+"MaxRestarts", "%d is negative; NoRestarts (%d) means none", s.MaxRestarts, NoRestarts)
	}
	if s.RestartWindow < 0 {
		v.fault(path+"RestartWindow", "%v is negative", s.RestartWindow)
	}
	if s.StopWithin < 0 {
		v.fault(path+"StopWithin", "%v is negative", s.StopWithin)
	}
	v.backoff(path+"Backoff.", s.Backoff)
	v.types(path, s.Types)
	if s.AutoShutdown > AllSignificant {
		v.fault(path+"AutoShutdown", "%d is no AutoShutdown", s.AutoShutdown)
	}
	for i, c := range s.Children {
		at := fmt.Sprintf("%sChildren[%d]", path, i)
		v.child(at, c)
		v.significant(at, c, s.AutoShutdown, Permanent)
		v.placement(at, c, path == "")
	}
}

// placement checks where a child may run; only those of the root are placed.
func (v *validation) placement(path string, c Child, ofRoot bool) {
	switch {
	case c.Placement.IsZero():
		return
	case !ofRoot:
		v.fault(path+".Placement", "%s is placed with its supervisor", c.Name)
	case len(c.ClusterNames()) == 0:
		v.fault(path+".Placement", "%s has no cluster-wide name, and runs on every node", c.Name)
	}
	if c.Placement.Node != "" {
		if err := name.CheckToken("node", c.Placement.Node); err != nil {
			v.fault(path+".Placement.Node", "%v", err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Placement.Labels)) {
		for _, word := range []string{key, c.Placement.Labels[key]} {
			if err := name.Check(word); err != nil {
				v.fault(path+".Placement.Labels", "%v", err)
			}
		}
	}
}

// dynamic checks a Dynamic, which has much of a Spec.
func (v *validation) dynamic(path string, d Dynamic) {
	v.spec(path, d.spec())
	if d.MaxChildren < 0 {
		v.fault(path+"MaxChildren", "%d is negative", d.MaxChildren)
	}
	if d.MaxSpawns < 0 {
		v.fault(path+"MaxSpawns", "%d is negative", d.MaxSpawns)
	}
}

// significant checks a child against the supervisor it is to be in.
func (v *validation) significant(path string, c Child, auto AutoShutdown, byDefault Restart) {
	switch {
	case !c.Significant:
	case c.Restart.core(byDefault) == supervision.Permanent:
		v.fault(path+".Significant", "%s is permanent; it must be transient or temporary", c.Name)
	case auto == NeverShutdown:
		v.fault(path+".Significant", "the supervisor of %s has no AutoShutdown", c.Name)
	}
}

func (v *validation) types(path string, types []genserver.Type) {
	for i, t := range types {
		if t == nil {
			v.fault(fmt.Sprintf("%sTypes[%d]", path, i), "nil")
		}
	}
}

func (v *validation) backoff(path string, b Backoff) {
	switch {
	case b.Growth > Exponential:
		v.fault(path+"Growth", "%d is no Growth", b.Growth)
	case b.Growth == NoBackoff && b != Backoff{}:
		v.fault(path+"Growth", "missing, but other fields are set")
	case b.Growth != NoBackoff && b.Base <= 0:
		v.fault(path+"Base", "%v is not positive", b.Base)
	case b.Max > 0 && b.Max < b.Base:
		v.fault(path+"Max", "%v is less than Base, %v", b.Max, b.Base)
	}
	if b.Max < 0 {
		v.fault(path+"Max", "%v is negative", b.Max)
	}
	if !(b.Jitter >= 0 && b.Jitter <= supervision.MaxJitter) { // NaN is refused too
		v.fault(path+"Jitter", "%v is not in 0 to %v", b.Jitter, supervision.MaxJitter)
	}
}

func (v *validation) child(path string, c Child) {
	if err := name.Check(c.Name); err != nil {
		v.fault(path+".Name", "%v", err)
	} else {
		path = fmt.Sprintf("%s %q", path, c.Name)
		if other, taken := v.names[c.Name]; taken {
			v.fault(path+".Name", "taken by %s", other)
		} else {
			v.names[c.Name] = path
		}
	}
	if c.Restart > Temporary {
		v.fault(path+".Restart", "%d is no Restart", c.Restart)
	}
	if c.Shutdown < BrutalKill {
		v.fault(path+".Shutdown", "%v is negative; Infinity is %d and BrutalKill is %d", c.Shutdown, Infinity, BrutalKill)
	}
	if c.Scope > Cluster {
		v.fault(path+".Scope", "%d is no Scope", c.Scope)
	}
	switch {
	case c.OnPartition > Keep:
		v.fault(path+".OnPartition", "%d is no OnPartition", c.OnPartition)
	case c.OnPartition == Keep && c.Scope != Cluster:
		v.fault(path+".OnPartition", "Keep is for the Scope Cluster")
	}
	switch run := c.Run.(type) {
	case nil:
		v.fault(path+".Run", "nothing to run")
	case Spec:
		if c.Scope == Cluster {
			v.fault(path+".Scope", "a supervisor's name is its node's; give its children the scope")
		}
		v.spec(path+".", run)
	case Dynamic:
		if c.Scope == Cluster {
			v.fault(path+".Scope", "a supervisor's name is its node's; give its children the scope")
		}
		v.dynamic(path+".", run)
	default:
		if run.GenServer().TypeName() == "" {
			v.fault(path+".Run", "the zero Spec; use a Type's With")
		}
	}
}
