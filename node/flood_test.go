package node_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
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
	before := heap()
	peak := before
	flooded := make(chan error, 1)
	var refused atomic.Int64
	began := time.Now()
	go func() {
		// It goes on, within bounds, until a call has met the full mailbox.
		for i := 0; i < n || refused.Load() == 0 && i < 20*n; i++ {
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
			asked := time.Now()
			// One that finds room would wait for all that is before it.
			_, err := genserver.Call(t.Context(), sender.Ref("slow"), Get{}, genserver.WithTimeout(20*time.Millisecond))
			if errors.Is(err, genserver.ErrOverloaded) && genserver.NotDelivered(err) {
				refused.Add(1)
				refusal = max(refusal, time.Since(asked))
			}
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
