package clustertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/cluster"
)

// watch collects changes in a channel large enough for every test.
func watch(t *testing.T, s cluster.Store, kind cluster.Kind) (<-chan cluster.Change, func()) {
	t.Helper()
	seen := make(chan cluster.Change, 1000)
	stop, err := s.Watch(testContext(t), kind, func(c cluster.Change) { seen <- c })
	if err != nil {
		t.Fatalf("Watch(%s): %v", kind, err)
	}
	return seen, stop
}

func wantChange(t *testing.T, seen <-chan cluster.Change, want cluster.Change) {
	t.Helper()
	select {
	case got := <-seen:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("change: want -, got +\n%s", diff)
		}
	case <-time.After(patience):
		t.Fatalf("got no change, want %+v", want)
	}
}

// Refused writes are not seen: the next change is the next accepted one.
func testWatchInOrder(t *testing.T, su *suite) {
	writer, watcher := su.open(), su.open()
	seen, _ := watch(t, watcher, cluster.KindOwner)
	ctx, a, b := testContext(t), own("a"), own("b.c")

	created := mustCreate(t, writer, a, "one")
	wantChange(t, seen, cluster.Change{Key: a, Value: []byte("one"), Seq: created})

	_, err := writer.Create(ctx, a, []byte("refused"))
	wantErr(t, "second Create", err, cluster.ErrConflict)
	_, err = writer.Update(ctx, a, []byte("refused"), created+5)
	wantErr(t, "Update", err, cluster.ErrConflict)
	wantErr(t, "Delete", writer.Delete(ctx, a, created+5), cluster.ErrConflict)

	other := mustCreate(t, writer, b, "other")
	wantChange(t, seen, cluster.Change{Key: b, Value: []byte("other"), Seq: other})
	updated, err := writer.Update(ctx, a, []byte("two"), created)
	if err != nil {
		t.Fatal(err)
	}
	wantChange(t, seen, cluster.Change{Key: a, Value: []byte("two"), Seq: updated, Prev: created})
	if err := writer.Delete(ctx, a, updated); err != nil {
		t.Fatal(err)
	}
	gone, _ := writer.Get(ctx, a)
	wantChange(t, seen, cluster.Change{Key: a, Deleted: true, Seq: gone.Seq, Prev: updated})
	again := mustCreate(t, writer, a, "three")
	wantChange(t, seen, cluster.Change{Key: a, Value: []byte("three"), Seq: again, Prev: gone.Seq})

	for i := range 100 {
		k := own(fmt.Sprintf("many.%d", i))
		seq := mustCreate(t, writer, k, "v")
		wantChange(t, seen, cluster.Change{Key: k, Value: []byte("v"), Seq: seq})
	}
}

func testWatchOneKind(t *testing.T, su *suite) {
	s := su.open()
	mustCreate(t, s, own("before"), "v")
	seen, _ := watch(t, s, cluster.KindOwner)
	mustCreate(t, s, cluster.Key{Kind: cluster.KindNode, Name: "a"}, "v")
	mustCreate(t, s, cluster.Key{Kind: cluster.KindOwner}, "v")
	seq := mustCreate(t, s, own("a"), "v")
	wantChange(t, seen, cluster.Change{Key: own("a"), Value: []byte("v"), Seq: seq})
}

func testWatchEnds(t *testing.T, su *suite) {
	s := su.open()
	stopped, stop := watch(t, s, cluster.KindOwner)
	going, _ := watch(t, s, cluster.KindOwner)
	stop()
	stop() // again is harmless
	seq := mustCreate(t, s, own("a"), "v")
	wantChange(t, going, cluster.Change{Key: own("a"), Value: []byte("v"), Seq: seq})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, su.open(), own("b"), "v")
	stop()
	if len(stopped) > 0 || len(going) > 0 {
		t.Errorf("got %d and %d changes after the end, want none", len(stopped), len(going))
	}
}
