package nodetest

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// label is the profiler's label of the goroutines of one test.
const label = "civitas_nodetest"

// The tests that have nodes. A test's nodes share a label, since a call of the
// test to one of them may start a goroutine that serves another.
var (
	tests  sync.Map // testing.TB to *output
	labels atomic.Uint64
)

// join labels the test's goroutine and those that come of it. The first time it
// has the test's end look whether any is left.
func join(t testing.TB) *output {
	if out, ok := tests.Load(t); ok {
		return out.(*output)
	}
	out, value := &output{to: t.Output()}, strconv.FormatUint(labels.Add(1), 10)
	tests.Store(t, out)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, value)))
	// Before all clean-ups of the nodes, so it runs after them.
	t.Cleanup(func() {
		pprof.SetGoroutineLabels(context.Background())
		tests.Delete(t)
		if left := leaked(value); left != "" {
			t.Errorf("nodetest: goroutines are left after the last node has stopped:\n%s", left)
		}
		out.close()
	})
	return out
}

// leaked are the stacks of the goroutines that have the label and do not end.
func leaked(value string) (stacks string) {
	const longest = 2 * time.Second
	for pause := time.Millisecond; ; pause *= 2 {
		stacks = labelled(value)
		if stacks == "" || pause > longest {
			return stacks
		}
		<-time.After(pause)
	}
}

// labelled finds goroutines in the profile, whose records have an empty line
// between them and the labels in their second line.
func labelled(value string) string {
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // a bytes.Buffer takes all
	want := strconv.Quote(label) + ":" + strconv.Quote(value)
	var found []string
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(record, "# labels: ") && strings.Contains(record, want) {
			found = append(found, strings.TrimSpace(record))
		}
	}
	return strings.Join(found, "\n\n")
}
