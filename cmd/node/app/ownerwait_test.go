package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
)

// What a call says of a name that nobody serves rests on all that it read: a last
// reading that its timeout cut off does not undo an earlier one.
func TestOwnerWait(t *testing.T) {
	known := func(context.Context) (cluster.Ownership, error) {
		return cluster.Ownership{Server: "slow", Node: "n2", Incarnation: "abc"}, nil
	}
	hangs := func(ctx context.Context) (cluster.Ownership, error) {
		<-ctx.Done()
		return cluster.Ownership{}, cluster.ErrUnavailable
	}
	fails := func(context.Context) (cluster.Ownership, error) { return cluster.Ownership{}, cluster.ErrUnavailable }
	type read = func(context.Context) (cluster.Ownership, error)
	tests := []struct {
		name     string
		timeout  time.Duration
		reads    []read // the last one goes on
		attempts int
		want     string
	}{
		{"on record", time.Second, []read{known}, 9, "slow, which is node n2's (incarnation abc): "},
		{"the last reading is cut off", time.Second, []read{known, known, hangs}, 2, "slow, which is node n2's (incarnation abc): "},
		{"the record has become unreadable", time.Second, []read{known, fails}, 9, "slow, which is node n2's (incarnation abc): "},
		{"never read", time.Second, []read{hangs}, 0, "whether there is such a server is not known: record store is unavailable"},
		{"no time for a second attempt", 150 * time.Millisecond, []read{known}, 0, "slow, which is node n2's (incarnation abc): "},
		{"none left at all", time.Nanosecond, []read{known}, 0, "slow, which is node n2's (incarnation abc): "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				defer cancel()
				w := &ownerWait{server: "slow", timeout: tt.timeout, read: func(ctx context.Context) (cluster.Ownership, error) {
					r := tt.reads[0]
					if len(tt.reads) > 1 {
						tt.reads = tt.reads[1:]
					}
					return r(ctx)
				}}
				attempts := 0
				err := w.wait(ctx)
				for ; err == nil; err = w.wait(ctx) {
					if left := tt.timeout - time.Since(start); left < ownerPause {
						t.Errorf("an attempt has %v for its reply, want %v at least", left, ownerPause)
					}
					attempts++
				}
				if got := exitCode(err); got != exitUnreachable || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got exit code %d and %q, want %d and %q", got, err, exitUnreachable, tt.want)
				}
				if attempts != tt.attempts || time.Since(start) != tt.timeout {
					t.Errorf("got %d attempts within %v, want %d within %v", attempts, time.Since(start), tt.attempts, tt.timeout)
				}
			})
		})
	}
}

// A call that is interrupted ends as such, and one to a name that is not on record at once.
func TestOwnerWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &ownerWait{read: func(context.Context) (cluster.Ownership, error) { return cluster.Ownership{}, cluster.ErrNotFound }}
		if err := w.wait(ctx); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("got %v, want %v", err, cluster.ErrNotFound)
		}
		w.read = func(context.Context) (cluster.Ownership, error) { return cluster.Ownership{}, nil }
		cancel()
		if err := w.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}
