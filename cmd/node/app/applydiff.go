package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/topology"
)

// notShown is in the place of what a variable of a file may have stood for.
const notShown = "(not shown)"

// compareChild tells what a file has otherwise than a child's record; of one that is
// on no record yet, that.
func compareChild(root topology.Branch, want cluster.SpecRecord, is *cluster.Recorded) topology.Changes {
	path := root.Name + "/" + want.Name
	if is == nil {
		return topology.Changes{{Kind: "added", Path: path, New: whatRuns(want)}}
	}
	if is.Differs(want) == "" {
		return nil
	}
	was, now, secret := fieldsOf(is.SpecRecord), fieldsOf(want), referencesOf(root, want.Name)
	both := maps.Clone(was)
	maps.Copy(both, now)
	var changes topology.Changes
	for _, field := range slices.Sorted(maps.Keys(both)) {
		c := topology.Change{Kind: "changed", Path: path, Field: field, Old: was[field], New: now[field]}
		if c.Old == c.New {
			continue
		}
		switch written := secret[field]; {
		case written != "":
			c.Old, c.New = notShown, written
		case c.New == "" && strings.HasPrefix(field, "config."): // how the earlier file had it is not known
			c.Old = notShown
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 { // a number is written in another way, for example
		changes = topology.Changes{{Kind: "changed", Path: path, Field: is.Differs(want)}}
	}
	return changes
}

func whatRuns(r cluster.SpecRecord) string {
	if r.Type == supervisor.TypeName {
		return "supervisor"
	}
	return r.Type
}

// fieldsOf are a record's, under the keys that a file has for them.
func fieldsOf(r cluster.SpecRecord) map[string]string {
	fields := map[string]string{
		"type": whatRuns(r), "restart": r.Restart.String(), "shutdown": shutdownOf(r), "on_partition": "pause",
		"names": strings.Join(r.Names, ","), "placement.node": r.Placement.Node,
		"report_after": limitOf(r.ReportAfter), "crash_after": limitOf(r.CrashAfter),
	}
	if r.Keeps {
		fields["on_partition"] = "keep"
	}
	for label, value := range r.Placement.Labels {
		fields["placement.labels."+label] = value
	}
	switch {
	case r.Bound && r.Type != supervisor.TypeName:
		fields["config"] = "(its program's)"
	case len(r.Config) > 0:
		var config any
		if json.Unmarshal(r.Config, &config) == nil {
			flatten(fields, "config", config)
		}
	}
	return fields
}

func flatten(fields map[string]string, key string, value any) {
	if object, ok := value.(map[string]any); ok {
		for k, v := range object {
			flatten(fields, key+"."+k, v)
		}
		return
	}
	text, ok := value.(string)
	if !ok {
		b, _ := json.Marshal(value) // never fails: it was JSON
		text = string(b)
	}
	fields[key] = text
}

func shutdownOf(r cluster.SpecRecord) string {
	switch {
	case r.Shutdown == supervisor.BrutalKill:
		return "brutal_kill"
	case r.Shutdown == supervisor.Infinity, r.Shutdown == 0 && r.Type == supervisor.TypeName:
		return "infinity"
	case r.Shutdown == 0:
		return supervisor.DefaultShutdown.String()
	default:
		return r.Shutdown.String()
	}
}

func limitOf(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// referencesOf are those values of a child that the file has by a variable, as they
// are written.
func referencesOf(root topology.Branch, child string) map[string]string {
	written := map[string]string{}
	for _, c := range root.Children {
		if c.Name != child {
			continue
		}
		for _, f := range c.Fields {
			if strings.Contains(f.Value, "${") {
				written[f.Key] = f.Value
			}
		}
	}
	return written
}

// pruned are the changes that take children out of the tree.
func pruned(root topology.Branch, gone []cluster.Recorded) topology.Changes {
	changes := make(topology.Changes, len(gone))
	for i, r := range gone {
		changes[i] = topology.Change{Kind: "removed", Path: fmt.Sprintf("%s/%s", root.Name, r.Name), Old: whatRuns(r.SpecRecord)}
	}
	return changes
}
