package cluster

import (
	"encoding/json"
	"maps"
	"slices"
)

// Differs says in which fields another record wants something else to run than
// this one; "" where it's the same. Of configs that can't be written down
// nothing is known.
func (r SpecRecord) Differs(other SpecRecord) string {
	for _, f := range []struct {
		field string
		same  bool
	}{
		{"type", r.Type == other.Type},
		{"config", r.Bound == other.Bound && (r.Bound || sameJSON(r.Config, other.Config))},
		{"watchdog", r.ReportAfter == other.ReportAfter && r.CrashAfter == other.CrashAfter},
		{"names", slices.Equal(r.Names, other.Names)},
		{"restart", r.Restart == other.Restart},
		{"shutdown", r.Shutdown == other.Shutdown},
		{"on_partition", r.Keeps == other.Keeps},
		{"placement", r.Placement.Node == other.Placement.Node && maps.Equal(r.Placement.Labels, other.Placement.Labels)},
	} {
		if !f.same {
			return f.field
		}
	}
	return ""
}

// sameJSON compares values, not texts: another release may write them otherwise.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return string(a) == string(b)
	}
	p, _ := json.Marshal(x) // never fails: it was JSON
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}
