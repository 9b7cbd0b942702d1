package clustertest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/cluster"
)

func testList(t *testing.T, su *suite) {
	s := su.open()
	list := func(kind cluster.Kind) []cluster.Entry {
		t.Helper()
		all, err := s.List(testContext(t), kind)
		if err != nil {
			t.Fatalf("List(%s): %v", kind, err)
		}
		slices.SortFunc(all, func(a, b cluster.Entry) int { return cmp.Compare(a.Key.Name, b.Key.Name) })
		return all
	}
	for _, kind := range []cluster.Kind{cluster.KindOwner, cluster.KindLead} {
		if all := list(kind); len(all) > 0 {
			t.Errorf("List(%s) of nothing: got %v", kind, all)
		}
	}
	lead := cluster.Key{Kind: cluster.KindLead}
	mustCreate(t, s, cluster.Key{Kind: cluster.KindSpec, Name: "a"}, "another kind's")
	seq := mustCreate(t, s, lead, "one")
	if d := diff.Diff([]cluster.Entry{{Key: lead, Value: []byte("one"), Seq: seq}}, list(cluster.KindLead)); d != "" {
		t.Errorf("List(lead): want -, got +\n%s", d)
	}
	var want []cluster.Entry
	for i := range 200 {
		k, value := own(fmt.Sprintf("s%03d.x", i)), fmt.Sprint(i)
		seq := mustCreate(t, s, k, value)
		switch i % 4 {
		case 1:
			if err := s.Delete(testContext(t), k, seq); err != nil {
				t.Fatal(err)
			}
			continue
		case 2:
			var err error
			value = "changed"
			if seq, err = s.Update(testContext(t), k, []byte(value), seq); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, cluster.Entry{Key: k, Value: []byte(value), Seq: seq})
	}
	if d := diff.Diff(want, list(cluster.KindOwner)); d != "" {
		t.Errorf("List(own): want -, got +\n%s", d)
	}
}

func testWatchTheOnlyOne(t *testing.T, su *suite) {
	s, k := su.open(), cluster.Key{Kind: cluster.KindLead}
	seen, _ := watch(t, s, cluster.KindLead)
	created := mustCreate(t, s, k, "one")
	wantChange(t, seen, cluster.Change{Key: k, Value: []byte("one"), Seq: created})
	if err := s.Delete(testContext(t), k, created); err != nil {
		t.Fatal(err)
	}
	gone, _ := s.Get(testContext(t), k)
	wantChange(t, seen, cluster.Change{Key: k, Deleted: true, Seq: gone.Seq, Prev: created})
}
