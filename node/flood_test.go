package node_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
)

// floodSize is how many casts a flood has; CIVITAS_FLOOD sets another number.
func floodSize(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("CIVITAS_FLOOD")); err == nil {
		return n
	}
	if testing.Short() {
		return 50_000
	}
	return 100_000
}

// A server that handles a thousand messages a second gets far more: memory
// stays bounded, calls are refused at once, a neighbour is served, and every
// cast is accounted for as handled or as dropped.
func TestFlood(t *testing.T) {
	for _, from := range []string{"local", "remote"} {
		t.Run(from, func(t *testing.T) { flood(t, from == "remote") })
	}
}

func flood(t *testing.T, remote bool) {
	url := startNATS(t)
	var handled atomic.Int64
	slow := hooks{handled: func(int) {
		handled.Add(1)
		<-time.After(time.Millisecond)
	}}
	owner := start(t, config("owner", node.URL(url), public("slow", slow), public("neighbour", hooks{})))
	sender := owner
	if remote {
		sender = start(t, config("sender", node.URL(url)))
	}
	// A third node calls too: what the flood does to it is not its own doing.
	third := start(t, config("third", node.URL(url)))
	idle, idleThird := callLatency(t, sender.Ref("neighbour"), 200), callLatency(t, third.Ref("neighbour"), 200)

	n, sent := floodSize(t), 0 // sent is the flood's until it has ended
	// On a busy machine the flood may well be off the processor whenever the caller
	// is on it, and the server make room meanwhile.
	const longest = time.Minute
	before := heap()
	peak := before
	flooded := make(chan error, 1)
	var refused atomic.Int64
	began := time.Now()
	go func() {
		// It goes on until a call has met the full mailbox.
		for i := 0; i < n || refused.Load() == 0 && time.Since(began) < longest; i++ {
			sent++
			if err := sender.Ref("slow").Cast(t.Context(), Put{X: i}); err != nil {
				flooded <- err
				return
			}
		}
		flooded <- nil
	}()
	var busy, busyThird []time.Duration
	var refusal time.Duration // the longest that one took
	for done := false; !done; {
		select {
		case err := <-flooded:
			noErr(t, "cast", err)
			done = true
		default:
			busy = append(busy, callLatency(t, sender.Ref("neighbour"), 5))
			busyThird = append(busyThird, callLatency(t, third.Ref("neighbour"), 5))
			n, longest := refusedCalls(t, sender.Ref("slow"))
			refused.Add(n)
			refusal = max(refusal, longest)
			peak = max(peak, heap())
		}
	}
	took := time.Since(began)
	if refused.Load() == 0 {
		t.Error("got no call refused during the flood, want ErrOverloaded")
	}
	// What is on its way may take the connection's buffer, and no more.
	const bound = 128 << 20
	if grown := int64(peak) - int64(before); grown > bound {
		t.Errorf("got %d MiB more memory in use, want less than %d", grown>>20, bound>>20)
	}
	t.Logf("%d casts %v in %v; %d MiB more in use at most; %d calls refused, the slowest in %v",
		sent, map[bool]string{false: "here", true: "from another node"}[remote], took, (int64(peak)-int64(before))>>20, refused.Load(), refusal)
	for who, l := range map[string]struct {
		idle time.Duration
		busy []time.Duration
	}{"the flooding node": {idle, busy}, "a third node": {idleThird, busyThird}} {
		slices.Sort(l.busy)
		median := l.busy[len(l.busy)/2]
		t.Logf("neighbour's call from %s: %v idle, %v in the flood, %v of ten the slowest", who, l.idle, median, l.busy[len(l.busy)*9/10])
		if lax := 20*l.idle + 20*time.Millisecond; median > lax {
			t.Errorf("neighbour's call from %s: got %v in the flood, %v idle, want less than %v", who, median, l.idle, lax)
		}
	}

	// The last of them is in the mailbox before a call that comes after it is
	// answered or refused; then the server ends, and leaves the rest.
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := genserver.Call(t.Context(), sender.Ref("neighbour"), Get{})
		noErr(t, "call after the flood", err)
		if accounted(owner, sender, &handled)+queued < int64(sent) && time.Now().Before(deadline) {
			runtime.Gosched()
			continue
		}
		break
	}
	noErr(t, "stop the slow server", owner.Ref("slow").Stop(soon(t), genserver.Shutdown))
	if got := accounted(owner, sender, &handled); got != int64(sent) {
		t.Errorf("got %d casts handled or counted as dropped, want the %d sent", got, sent)
	}
}

// A burst that is a little too large for a mailbox loses what was too much, and
// nothing after it. A flood loses casts at its source, for a while. Calls are for the
// server alone to refuse.
func TestBurstAndFlood(t *testing.T) {
	for _, tc := range []struct {
		name   string
		excess int // casts beyond what the mailbox holds
		atOnce bool
	}{
		{"burst", 10, true},
		{"flood", 500, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, h := node.NewMemory(), held()
				sender, owner := start(t, config("n1", m)), start(t, config("n2", m, public("box", h)))
				box := sender.Ref("box")
				running := callAsync(box, Hold{}, genserver.WithTimeout(time.Hour))
				receive(t, "the handler", h.entered)
				cast := func(n, x int) {
					for range n {
						noErr(t, "cast", box.Cast(t.Context(), Put{X: x}))
						synctest.Wait()
					}
				}
				cast(queued+tc.excess, 1)
				_, err := genserver.Call(t.Context(), box, Get{})
				wantErr(t, "call to the full mailbox", err, genserver.ErrOverloaded, true)
				dropped := owner.System().Stats().Dropped
				if !tc.atOnce {
					cast(100, 2)
					if got := owner.System().Stats().Dropped; got != dropped {
						t.Errorf("got %d casts that travelled in a flood, want none", got-dropped)
					}
				}
				dropped += sender.System().Stats().Dropped
				if want := tc.excess; tc.atOnce && dropped != uint64(want) {
					t.Errorf("got %d casts dropped, want the %d that were too many", dropped, want)
				}

				// There is room again, at the same moment by the bubble's clock.
				close(h.gate)
				noErr(t, "the call that was running", receive(t, "the handler's end", running))
				synctest.Wait()
				if got := get(t, box).X; got != 1 {
					t.Errorf("call once there is room: got %d, want 1", got)
				}
				if !tc.atOnce {
					cast(1, 3)
					if got := get(t, box).X; got != 1 {
						t.Errorf("in the flood's wake: got %d, want the cast dropped", got)
					}
					<-time.After(100 * time.Millisecond) // No notice holds longer.
				}
				cast(1, 4)
				if got := get(t, box).X; got != 4 {
					t.Errorf("afterwards: got %d, want the cast handled", got)
				}
			})
		})
	}
}

// queued is the most that can wait in the slow server's mailbox.
const queued = genserver.DefaultMailbox

// accounted is how many casts were handled or dropped: for a full mailbox, here or
// by the sender's node, or by NATS.
func accounted(owner, sender *node.Node, handled *atomic.Int64) int64 {
	dropped := owner.System().Stats().Dropped
	if sender != owner {
		dropped += sender.System().Stats().Dropped
	}
	return handled.Load() + int64(dropped+owner.Lost())
}

// refusedCalls makes calls at once, enough to find the mailbox full though the
// server makes room while the flood is not at it, and tells how many it refused,
// and the longest that one took.
func refusedCalls(t *testing.T, to genserver.Ref) (n int64, longest time.Duration) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			asked := time.Now()
			// One that finds room would wait for all that is before it.
			_, err := genserver.Call(t.Context(), to, Get{}, genserver.WithTimeout(20*time.Millisecond))
			took := time.Since(asked)
			if errors.Is(err, genserver.ErrOverloaded) && genserver.NotDelivered(err) {
				mu.Lock()
				defer mu.Unlock()
				n++
				longest = max(longest, took)
			}
		})
	}
	wg.Wait()
	return n, longest
}

// callLatency is the median of n calls one after another.
func callLatency(t *testing.T, to genserver.Ref, n int) time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		_, err := genserver.Call(context.Background(), to, Get{})
		noErr(t, "neighbour", err)
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[n/2]
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
