package cluster_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

type end struct {
	incarnation string
	reason      error
}

// followAll keeps what a registry is told of others' ends.
func followAll(r *cluster.Registry) <-chan end {
	ends := make(chan end, 10)
	r.FollowAll(func(incarnation string, reason error) { ends <- end{incarnation, reason} })
	return ends
}

// Whoever judges nobody learns of a verdict, and of an orderly end, from the records.
func TestEndsAreKnownWithoutJudging(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		deaf  bool // nothing that is written reaches the one who watches
		doubt bool // who calls the dead one, and gets no answer
		most  time.Duration
	}{
		{"by the watch", false, false, 0},
		{"by the next round, where copies are lost", true, false, 6 * time.Second},
		{"by a read, where one does not answer, too", true, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := cluster.NewMemory()
				mute, watched := &faultStore{Store: m.Open()}, &faultStore{Store: m.Open()}
				r1, r2, r4 := join(t, mute, "n1"), join(t, m.Open(), "n2"), join(t, m.Open(), "n4")
				r3, err := cluster.Join(t.Context(), watched, cluster.NodeInfo{Node: "n3"})
				if err != nil {
					t.Fatal(err)
				}
				defer leave(t, r3)
				claim(t, r1, "a")
				ends := followAll(r3)
				<-time.After(2 * time.Second) // for everyone's session to be seen

				mute.on(func(string, cluster.Key) fault { return unavailable })
				watched.deaf.Store(c.deaf)
				<-time.After(5 * time.Second) // what was heard last is still taken for life
				claim(t, r2, "a")
				judged := time.Now()
				if c.doubt {
					r3.Doubt("a", r1.Incarnation())
				}
				got := <-ends
				if took := time.Since(judged); took > c.most {
					t.Errorf("got word of the verdict after %v, want it within %v", took, c.most)
				}
				if got.incarnation != r1.Incarnation() || !errors.Is(got.reason, genserver.ErrNodeDown) {
					t.Errorf("got the end of %s with %v, want that of %s", got.incarnation, got.reason, r1.Incarnation())
				}
				if dead, reason := r3.Ended(r1.Incarnation()); !dead || reason != got.reason {
					t.Errorf("ended: got %v, %v, want the verdict", dead, reason)
				}

				leave(t, r4)
				left := <-ends
				if dead, reason := r3.Ended(r4.Incarnation()); dead || reason == nil || left.incarnation != r4.Incarnation() {
					t.Errorf("who has left: got the end of %s, dead %v, %v, want it of %s and no verdict", left.incarnation, dead, reason, r4.Incarnation())
				}
				if _, reason := r3.Ended(r2.Incarnation()); reason != nil {
					t.Errorf("who lives: got the end %v", reason)
				}
				if len(ends) > 0 {
					t.Errorf("got %v once more", <-ends)
				}
			})
		})
	}
}
