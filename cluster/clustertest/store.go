// Package clustertest is the conformance suite of cluster.Store, and a simulation
// of the protocol by which nodes own names.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/cluster"
)

// patience bounds every wait of the suite.
const patience = 10 * time.Second

// TestStore checks the promises of [cluster.Store]. open prepares one empty set of records and returns
// the function that opens a handle to it; handles are closed by the suite.
func TestStore(t *testing.T, open func(t *testing.T) func() cluster.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"CreateIfAbsent", testCreateIfAbsent},
		{"ReadWhatIsNot", testReadWhatIsNot},
		{"Update", testUpdate},
		{"Finish", testFinish},
		{"Delete", testDelete},
		{"DeleteWhatIsNot", testDeleteWhatIsNot},
		{"SequencesGrow", testSequencesGrow},
		{"KeysAreApart", testKeysAreApart},
		{"TwoHandles", testTwoHandles},
		{"List", testList},
		{"WatchInOrder", testWatchInOrder},
		{"WatchOneKind", testWatchOneKind},
		{"WatchTheOnlyOne", testWatchTheOnlyOne},
		{"WatchEnds", testWatchEnds},
		{"ConcurrentCreators", testConcurrentCreators},
		{"ConcurrentUpdaters", testConcurrentUpdaters},
		{"EndedContext", testEndedContext},
		{"Closed", testClosed},
		{"BadKeys", testBadKeys},
		{"ValuesAreCopied", testValuesAreCopied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			handle := open(t)
			tt.run(t, &suite{open: func() cluster.Store {
				h := handle()
				t.Cleanup(func() {
					if err := h.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				return h
			}})
		})
	}
}

type suite struct{ open func() cluster.Store }

func own(name string) cluster.Key { return cluster.Key{Kind: cluster.KindOwner, Name: name} }

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustCreate(t *testing.T, s cluster.Store, k cluster.Key, value string) uint64 {
	t.Helper()
	seq, err := s.Create(testContext(t), k, []byte(value))
	if err != nil {
		t.Fatalf("Create(%s): %v", k, err)
	}
	return seq
}

func wantEntry(t *testing.T, s cluster.Store, k cluster.Key, value string, seq uint64) {
	t.Helper()
	e, err := s.Get(testContext(t), k)
	if err != nil {
		t.Fatalf("Get(%s): %v", k, err)
	}
	if diff := cmp.Diff(cluster.Entry{Key: k, Value: []byte(value), Seq: seq}, e); diff != "" {
		t.Errorf("Get(%s): want -, got +\n%s", k, diff)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
	for _, other := range []error{cluster.ErrNotFound, cluster.ErrConflict, cluster.ErrUnknown, cluster.ErrUnavailable} {
		if other != want && errors.Is(got, other) { //nolint:errorlint // sentinels are compared on purpose
			t.Errorf("%s: got %v, which is also %v", what, got, other)
		}
	}
}

func testCreateIfAbsent(t *testing.T, su *suite) {
	s, k := su.open(), own("rate.limiter")
	seq := mustCreate(t, s, k, "first")
	if seq == 0 {
		t.Error("got sequence 0, want more")
	}
	_, err := s.Create(testContext(t), k, []byte("second"))
	wantErr(t, "second Create", err, cluster.ErrConflict)
	wantEntry(t, s, k, "first", seq) // the holder can be named
}

func testReadWhatIsNot(t *testing.T, su *suite) {
	e, err := su.open().Get(testContext(t), own("nobody"))
	wantErr(t, "Get", err, cluster.ErrNotFound)
	if e.Seq != 0 {
		t.Errorf("got sequence %d, want 0", e.Seq)
	}
}

func testUpdate(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	first := mustCreate(t, s, k, "one")
	second, err := s.Update(testContext(t), k, []byte("two"), first)
	if err != nil {
		t.Fatal(err)
	}
	if second <= first {
		t.Errorf("got sequence %d after %d, want more", second, first)
	}
	_, err = s.Update(testContext(t), k, []byte("stale"), first)
	wantErr(t, "Update of an old sequence", err, cluster.ErrConflict)
	_, err = s.Update(testContext(t), k, []byte("future"), second+10)
	wantErr(t, "Update of a sequence to come", err, cluster.ErrConflict)
	_, err = s.Update(testContext(t), own("b"), []byte("absent"), first)
	wantErr(t, "Update of no record", err, cluster.ErrConflict)
	if _, err = s.Update(testContext(t), own("b"), []byte("absent"), 0); err == nil {
		t.Error("Update that expects sequence 0: got nil, want an error")
	}
	wantEntry(t, s, k, "two", second)
}

// A last state is a record like any other until it is forgotten, which no test
// waits for.
func testFinish(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	first := mustCreate(t, s, k, "one")
	if _, err := s.Finish(testContext(t), k, []byte("last"), 0); err == nil {
		t.Error("Finish that expects sequence 0: got nil, want an error")
	}
	last, err := s.Finish(testContext(t), k, []byte("last"), first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Finish(testContext(t), k, []byte("stale"), first)
	wantErr(t, "Finish of an old sequence", err, cluster.ErrConflict)
	_, err = s.Create(testContext(t), k, []byte("again"))
	wantErr(t, "Create over a last state", err, cluster.ErrConflict)
	wantEntry(t, s, k, "last", last)
	if err := s.Delete(testContext(t), k, last); err != nil {
		t.Fatal(err)
	}
}

func testDelete(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	first := mustCreate(t, s, k, "one")
	second, err := s.Update(testContext(t), k, []byte("two"), first)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Delete of an old sequence", s.Delete(testContext(t), k, first), cluster.ErrConflict)
	wantEntry(t, s, k, "two", second)
	if err := s.Delete(testContext(t), k, second); err != nil {
		t.Fatal(err)
	}
	e, err := s.Get(testContext(t), k)
	wantErr(t, "Get after Delete", err, cluster.ErrNotFound)
	if e.Seq <= second {
		t.Errorf("got deletion's sequence %d, want more than %d", e.Seq, second)
	}
	wantErr(t, "second Delete", s.Delete(testContext(t), k, second), cluster.ErrConflict)
	_, err = s.Update(testContext(t), k, []byte("ghost"), second)
	wantErr(t, "Update after Delete", err, cluster.ErrConflict)

	again := mustCreate(t, s, k, "three")
	if again <= e.Seq {
		t.Errorf("got sequence %d, want more than the deletion's %d", again, e.Seq)
	}
	wantEntry(t, s, k, "three", again)
}

func testDeleteWhatIsNot(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	wantErr(t, "Delete that expects a record", s.Delete(testContext(t), k, 7), cluster.ErrConflict)
	for range 2 { // the second time there is the first one's deletion
		e, err := s.Get(testContext(t), k)
		wantErr(t, "Get", err, cluster.ErrNotFound)
		if err := s.Delete(testContext(t), k, e.Seq); err != nil {
			t.Fatalf("Delete of no record, expecting %d: %v", e.Seq, err)
		}
		wantErr(t, "the same again", s.Delete(testContext(t), k, e.Seq), cluster.ErrConflict)
	}
	mustCreate(t, s, k, "one")
}

func testSequencesGrow(t *testing.T, su *suite) {
	s := su.open()
	var last uint64
	for i := range 50 {
		seq := mustCreate(t, s, own(fmt.Sprintf("n%d", i%5)), "v")
		if seq <= last {
			t.Fatalf("got sequence %d after %d, want more", seq, last)
		}
		if err := s.Delete(testContext(t), own(fmt.Sprintf("n%d", i%5)), seq); err != nil {
			t.Fatal(err)
		}
		last = seq + 1 // the deletion's, if nobody else writes
	}
}

func testKeysAreApart(t *testing.T, su *suite) {
	s := su.open()
	keys := []cluster.Key{
		own("a"), own("a.b"), own("a.b.c"), own("A"), own("a_b"), own("_runtime"),
		{Kind: cluster.KindNode, Name: "a"},
		{Kind: "single"},
	}
	seqs := make([]uint64, len(keys))
	for i, k := range keys {
		seqs[i] = mustCreate(t, s, k, k.String())
	}
	for i, k := range keys {
		wantEntry(t, s, k, k.String(), seqs[i])
	}
}

func testTwoHandles(t *testing.T, su *suite) {
	a, b, k := su.open(), su.open(), own("a")
	seq := mustCreate(t, a, k, "by a")
	wantEntry(t, b, k, "by a", seq)
	_, err := b.Create(testContext(t), k, []byte("by b"))
	wantErr(t, "Create by the other", err, cluster.ErrConflict)
	if err := b.Delete(testContext(t), k, seq); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, b, k, "by b") // closing one leaves the other alone
}

func testConcurrentCreators(t *testing.T, su *suite) {
	const creators, keys = 32, 20
	handles := []cluster.Store{su.open(), su.open()}
	ctx := testContext(t)
	var (
		mu   sync.Mutex
		wins = map[int][]uint64{}
		wg   sync.WaitGroup
	)
	for c := range creators {
		wg.Go(func() {
			for i := range keys {
				k := (i + c) % keys
				seq, err := handles[c%len(handles)].Create(ctx, own(fmt.Sprintf("k%d", k)), fmt.Appendf(nil, "creator %d", c))
				switch {
				case err == nil:
					mu.Lock()
					wins[k] = append(wins[k], seq)
					mu.Unlock()
				case !errors.Is(err, cluster.ErrConflict):
					t.Errorf("creator %d, key %d: got %v, want nil or a conflict", c, k, err)
				}
			}
		})
	}
	wg.Wait()
	for k := range keys {
		if len(wins[k]) != 1 {
			t.Errorf("key %d: got %d winners, want 1", k, len(wins[k]))
			continue
		}
		e, err := handles[0].Get(ctx, own(fmt.Sprintf("k%d", k)))
		if err != nil || e.Seq != wins[k][0] {
			t.Errorf("key %d: got sequence %d, error %v; want the winner's %d", k, e.Seq, err, wins[k][0])
		}
	}
}

// Each accepted update is of the state it read: the count is exact.
func testConcurrentUpdaters(t *testing.T, su *suite) {
	const updaters, each = 8, 10
	s, k := su.open(), own("count")
	mustCreate(t, s, k, "")
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range updaters {
		wg.Go(func() {
			for done := 0; done < each; {
				e, err := s.Get(ctx, k)
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				_, err = s.Update(ctx, k, append(e.Value, 'x'), e.Seq)
				switch {
				case err == nil:
					done++
				case !errors.Is(err, cluster.ErrConflict):
					t.Errorf("Update: got %v, want nil or a conflict", err)
					return
				}
			}
		})
	}
	wg.Wait()
	e, err := s.Get(ctx, k)
	if err != nil || len(e.Value) != updaters*each {
		t.Errorf("got %d updates and error %v, want %d", len(e.Value), err, updaters*each)
	}
}

func testEndedContext(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	seq := mustCreate(t, s, k, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for op, err := range everyOp(ctx, s, k, seq) {
		wantErr(t, op, err, cluster.ErrUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's error in it", op, err)
		}
	}
	wantEntry(t, s, k, "one", seq)
}

func testClosed(t *testing.T, su *suite) {
	s, other, k := su.open(), su.open(), own("a")
	seq := mustCreate(t, s, k, "one")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	for op, err := range everyOp(testContext(t), s, k, seq) {
		wantErr(t, op, err, cluster.ErrUnavailable)
	}
	wantEntry(t, other, k, "one", seq)
}

func testBadKeys(t *testing.T, su *suite) {
	s := su.open()
	for _, k := range []cluster.Key{
		{}, own("a..b"), own("a.*"), own("a.>"), own("a b"), own("a."), {Kind: "own.x", Name: "y"}, {Kind: ">", Name: "a"},
	} {
		for op, err := range everyOp(testContext(t), s, k, 1) {
			if op == "Watch" || op == "List" {
				continue
			}
			if err == nil || errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("%s of key %q: got %v, want an error of its own", op, k, err)
			}
		}
	}
}

func everyOp(ctx context.Context, s cluster.Store, k cluster.Key, seq uint64) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = s.Get(ctx, k)
	_, errs["Create"] = s.Create(ctx, k, []byte("x"))
	_, errs["Update"] = s.Update(ctx, k, []byte("x"), seq)
	_, errs["Finish"] = s.Finish(ctx, k, []byte("x"), seq)
	errs["Delete"] = s.Delete(ctx, k, seq)
	_, errs["List"] = s.List(ctx, cluster.KindOwner)
	stop, err := s.Watch(ctx, cluster.KindOwner, func(cluster.Change) {})
	if err == nil {
		stop()
	}
	errs["Watch"] = err
	return errs
}

func testValuesAreCopied(t *testing.T, su *suite) {
	s, k := su.open(), own("a")
	value := []byte("one")
	seq, err := s.Create(testContext(t), k, value)
	if err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	e, err := s.Get(testContext(t), k)
	if err != nil {
		t.Fatal(err)
	}
	e.Value[0] = 'Y'
	wantEntry(t, s, k, "one", seq)
}
