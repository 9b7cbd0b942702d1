package genserver_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// A call's time is over to the instant, whatever the timer that it shares with
// earlier calls was set for.
func TestTimeoutsAfterCallsThatWereAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "quick", Puppet.With(hooks{}))
		start(t, s, "stuck", Puppet.With(hooks{}))
		defer hold(t, s, "stuck")()
		for _, timeout := range []time.Duration{
			genserver.DefaultTimeout, time.Second, 20 * time.Second, time.Millisecond, genserver.DefaultTimeout, time.Hour, 2 * time.Second,
		} {
			for _, answered := range []time.Duration{time.Minute, timeout + 1, timeout, timeout - 1, 1} {
				_, err := genserver.Call(t.Context(), s.Ref("quick"), Do{}, genserver.WithTimeout(answered))
				noErr(t, "call", err)
			}
			pass(timeout / 3)
			began := time.Now()
			_, err := genserver.Call(t.Context(), s.Ref("stuck"), Do{}, genserver.WithTimeout(timeout))
			wantErr(t, "call", err, genserver.ErrTimeout, true)
			if got := time.Since(began); got != timeout {
				t.Errorf("got a timeout after %v, want %v", got, timeout)
			}
		}
	})
}

// Timeouts that pass while answers come neither hit the wrong call nor get lost.
func TestTimeoutsAmongAnswers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	start(t, s, "p", Puppet.With(hooks{}))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 300 {
				want := i
				rep, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
					return Done{N: want}, nil
				}}, genserver.WithTimeout(time.Duration(1+i%60)*10*time.Microsecond))
				switch {
				case err != nil:
					if !errors.Is(err, genserver.ErrTimeout) {
						t.Errorf("got %v, want an answer or a timeout", err)
					}
				case rep.N != want:
					t.Errorf("got the answer %d, want %d", rep.N, want)
				}
			}
		})
	}
	wg.Wait()
	flush(t, s, "p")
}
