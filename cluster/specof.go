package cluster

import (
	"time"

	"github.com/civitas-go/civitas/supervisor"
)

// SpecsOf writes down those children of a root that have cluster-wide names, as
// brought by a node. False: the tree is its node's as a whole, since its root's
// strategy concerns siblings, or has an automatic shutdown.
func SpecsOf(tree supervisor.Spec, node string) (children []SpecRecord, spread bool) {
	if tree.Strategy != supervisor.OneForOne || tree.AutoShutdown != supervisor.NeverShutdown {
		return nil, false
	}
	for _, c := range tree.Children {
		if len(c.ClusterNames()) > 0 {
			children = append(children, specOf(c, node))
		}
	}
	return children, true
}

func specOf(c supervisor.Child, node string) SpecRecord {
	run := c.Run.GenServer()
	r := SpecRecord{
		Name: c.Name, Type: run.TypeName(), Names: c.ClusterNames(), Restart: c.Restart, Shutdown: c.Shutdown,
		Placement: c.Placement, Node: node, Since: time.Now().UTC(),
	}
	if r.Restart == supervisor.DefaultRestart {
		r.Restart = supervisor.Permanent
	}
	r.ReportAfter, r.CrashAfter = run.Watched()
	r.Keeps = c.OnPartition == supervisor.Keep
	var err error
	if r.Type == supervisor.TypeName {
		r.Bound = true
	} else if r.Config, err = run.EncodeConfig(); err != nil {
		r.Bound = true
	}
	return r
}
