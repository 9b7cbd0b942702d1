package node

import (
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// FuzzRuntimeMessages feeds a node's runtime what other nodes could send it.
func FuzzRuntimeMessages(f *testing.F) {
	reason := reasonBytes(genserver.ErrPanic)
	for _, m := range []genserver.Message{
		askMonitor{ID: 1, Incarnation: "n2", Server: "box"},
		endMonitor{ID: 1, Incarnation: "n2"},
		tellDown{Downs: []ended{{ID: 1, Generation: 2, Reason: reason}, {Reason: []byte{1}}}},
		askStop{Server: "box", Reason: reason, All: true},
	} {
		data, err := transport.MsgPack.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Op(), data)
	}
	f.Add("new", []byte{0x80})
	f.Fuzz(func(t *testing.T, op string, data []byte) {
		n, err := Start(t.Context(), Config{Name: "n1", NATS: NewMemory(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		reply := &once{}
		n.router.control(&genserver.Incoming{
			Envelope: &genserver.Envelope{To: runtimeName, Kind: genserver.KindCall, Op: op},
			Body:     transport.NewBody(transport.MsgPack, data), Reply: reply,
		})
		if reply.answers > 1 {
			t.Errorf("got %d answers, want one at most", reply.answers)
		}
		if err := n.Stop(t.Context()); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
	})
}

// once counts the answers.
type once struct{ answers int }

func (o *once) Reply(any, error) { o.answers++ }
