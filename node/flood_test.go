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
	"github.com/civitas-go/civitas/transport"
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

// recording is a Connector that keeps its Link.
type recording struct {
	node.Connector
	link *node.Link
}

func (r *recording) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	var err error
	r.link, err = r.Connector.Connect(ctx, o)
	return r.link, err
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
	nats := &recording{Connector: node.URL(url)}
	owner := start(t, config("owner", nats, public("slow", slow), public("neighbour", hooks{})))
	sender := owner
	if remote {
		sender = start(t, config("sender", node.URL(url)))
	}
	idle := callLatency(t, sender.Ref("neighbour"), 200)

	n, sent := floodSize(t), 0 // sent is the flood's until it has ended
	before := heap()
	peak := before
	flooded := make(chan error, 1)
	var refused atomic.Int64
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
	var busy []time.Duration
	for done := false; !done; {
		select {
		case err := <-flooded:
			noErr(t, "cast", err)
			done = true
		default:
			busy = append(busy, callLatency(t, sender.Ref("neighbour"), 5))
			_, err := genserver.Call(t.Context(), sender.Ref("slow"), Get{}, genserver.WithTimeout(10*time.Second))
			if errors.Is(err, genserver.ErrOverloaded) && genserver.NotDelivered(err) {
				refused.Add(1)
			}
			peak = max(peak, heap())
		}
	}
	if refused.Load() == 0 {
		t.Error("got no call refused during the flood, want ErrOverloaded")
	}
	// What is on its way may take the connection's buffer, and no more.
	const bound = 128 << 20
	if grown := int64(peak) - int64(before); grown > bound {
		t.Errorf("got %d MiB more memory in use, want less than %d", grown>>20, bound>>20)
	}
	slices.Sort(busy)
	t.Logf("%d casts %v: neighbour's call %v idle, %v median in the flood; %d calls refused; %d MiB more in use at most",
		sent, map[bool]string{false: "here", true: "from another node"}[remote], idle, busy[len(busy)/2], refused.Load(), (int64(peak)-int64(before))>>20)

	// The last of them is in the mailbox before a call that comes after it is
	// answered or refused; then the server ends, and leaves the rest.
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := genserver.Call(t.Context(), sender.Ref("neighbour"), Get{})
		noErr(t, "call after the flood", err)
		if accounted(owner, nats.link, &handled)+queued < int64(sent) && time.Now().Before(deadline) {
			runtime.Gosched()
			continue
		}
		break
	}
	noErr(t, "stop the slow server", owner.Ref("slow").Stop(soon(t), genserver.Shutdown))
	if got := accounted(owner, nats.link, &handled); got != int64(sent) {
		t.Errorf("got %d casts handled or counted as dropped, want the %d sent", got, sent)
	}
}

// queued is the most that can wait in the slow server's mailbox.
const queued = genserver.DefaultMailbox

// accounted is how many casts were handled or dropped, by a full mailbox or by
// the connection.
func accounted(owner *node.Node, link *node.Link, handled *atomic.Int64) int64 {
	dropped := owner.System().Stats().Dropped
	if c, ok := link.Conn.(*transport.NATS); ok {
		dropped += c.Dropped()
	}
	return handled.Load() + int64(dropped)
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
