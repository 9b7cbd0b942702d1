package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestOverloadLastsAsTheServersPaceSays(t *testing.T) {
	for _, tc := range []struct {
		name    string
		passed  time.Duration
		handled uint64
		waiting int
		want    time.Duration
	}{
		{"a quarter at that pace", time.Second, 50_000, 1000, 5 * time.Millisecond},
		{"no less than the shortest", time.Second, 10_000_000, 1000, shortestOverload},
		{"no more than the longest", time.Second, 1000, 1000, longestOverload},
		{"stuck", time.Second, 0, 1000, longestOverload},
		{"a small mailbox", time.Second, 1000, 8, 2 * time.Millisecond},
		{"too soon to tell", shortestOverload / 2, 1, 1000, firstOverload},
		{"long ago", 2 * paceKnown, 1000, 1000, firstOverload},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o overloads
			began := time.Now()
			if got := o.lasts("s", genserver.Overload{Waiting: tc.waiting, Handled: 7}, began); got != firstOverload {
				t.Errorf("the first: got %v, want %v", got, firstOverload)
			}
			box := genserver.Overload{Waiting: tc.waiting, Handled: 7 + tc.handled}
			if got := o.lasts("s", box, began.Add(tc.passed)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// However many casts meet the full mailbox, each sender that floods is told once for
// as long as that holds, and one whose node is not known keeps no one waiting.
func TestSendersAreToldOfAnOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type told struct {
			incarnation string
			overload    overload
		}
		var got []told
		o := overloads{
			incarnation: "here", log: slog.New(slog.DiscardHandler),
			resolve: func(ctx context.Context, node string) (string, error) {
				if node == "unknown" {
					<-ctx.Done()
					return "", ctx.Err()
				}
				return "i-" + node, nil
			},
			publish: func(incarnation string, m overload) error {
				got = append(got, told{incarnation, m})
				return nil
			},
		}
		o.start()
		refuse := func(node string, kind genserver.Kind, n int) {
			for range n {
				o.full(&genserver.Incoming{Envelope: &genserver.Envelope{To: "s", Kind: kind, FromNode: node}}, genserver.Overload{Waiting: 1000})
			}
			synctest.Wait()
		}
		refuse("caller", genserver.KindCall, 10*floodCasts) // It has its answers.
		refuse("slow", genserver.KindCast, floodCasts-1)
		for range 3 {
			for _, node := range []string{"a", "b", ""} {
				refuse(node, genserver.KindCast, floodCasts)
			}
		}
		want := []told{
			{"i-a", overload{Name: "s", Incarnation: "here", For: firstOverload}},
			{"i-b", overload{Name: "s", Incarnation: "here", For: firstOverload}},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v told, want %v", got, want)
		}

		<-time.After(floodTime + time.Nanosecond)
		refuse("slow", genserver.KindCast, floodCasts-1) // as few again
		refuse("unknown", genserver.KindCast, floodCasts)
		refuse("a", genserver.KindCast, floodCasts)
		<-time.After(tellTimeout)
		synctest.Wait()
		if len(got) != 3 || got[2].incarnation != "i-a" {
			t.Errorf("got %v told, want a again", got)
		}
		o.close()
	})
}

func TestRefusalsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		if err := r.of("s"); err != nil {
			t.Errorf("before any notice: got %v, want nil", err)
		}
		r.add(overload{Name: "s", For: 5 * time.Millisecond}, time.Now())
		r.add(overload{Name: "forever", For: time.Hour}, time.Now())
		r.add(overload{Name: "past", For: -time.Hour}, time.Now())
		err := r.of("s")
		if !errors.Is(err, genserver.ErrOverloaded) || !genserver.NotDelivered(err) {
			t.Errorf("got %v, want %v, undelivered", err, genserver.ErrOverloaded)
		}
		if err := r.of("other"); err != nil {
			t.Errorf("another server: got %v, want nil", err)
		}
		if err := r.of("past"); err != nil {
			t.Errorf("a notice of no time: got %v, want nil", err)
		}
		<-time.After(5 * time.Millisecond)
		if err := r.of("s"); err != nil {
			t.Errorf("after its time: got %v, want nil", err)
		}
		<-time.After(longestOverload)
		if err := r.of("forever"); err != nil {
			t.Errorf("got %v, want nil: no notice holds that long", err)
		}
		if len(r.all) != 0 {
			t.Errorf("got %d refusals kept, want none", len(r.all))
		}
	})
}
