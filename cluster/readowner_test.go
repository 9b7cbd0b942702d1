package cluster_test

import (
	"errors"
	"testing"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/natsserver"
)

func TestReadOwners(t *testing.T) {
	t.Parallel()
	server := startServer(t, natsserver.Options{JetStream: true})
	conn := connect(t, server)
	if _, err := cluster.ReadOwners(t.Context(), conn, "dev"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("no cluster: got %v, want ErrNotFound", err)
	}
	s, err := cluster.OpenJetStream(t.Context(), conn, "dev", cluster.JetStreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n1, n2 := join(t, s, "n1"), join(t, s, "n2")
	want := []cluster.Ownership{
		{Server: "a", Node: "n1", Incarnation: n1.Incarnation(), Epoch: claim(t, n1, "a")},
		{Server: "b.c", Node: "n2", Incarnation: n2.Incarnation(), Epoch: claim(t, n2, "b.c")},
	}
	claim(t, n1, "given.back")
	release(t, n1, "given.back")
	got, err := cluster.ReadOwners(t.Context(), conn, "dev")
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	for i := range got {
		one, err := cluster.ReadOwner(t.Context(), conn, "dev", got[i].Server)
		if err != nil || one != got[i] {
			t.Errorf("ReadOwner(%s): got %+v, %v, want %+v", got[i].Server, one, err, got[i])
		}
		if want[i].Since = got[i].Since; got[i].Since.IsZero() || got[i] != want[i] {
			t.Errorf("got %+v, want %+v and a time", got[i], want[i])
		}
	}
	if _, err := cluster.ReadOwner(t.Context(), conn, "dev", "given.back"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("a name that was given back: got %v, want ErrNotFound", err)
	}
}
