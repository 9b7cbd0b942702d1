package node_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// A server that keeps serves its own node while the gate is closed, and no other;
// then everyone again, with the state that it has by then.
func TestKeepServesItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		child := public("box", hooks{})
		child.OnPartition = supervisor.Keep
		n1 := start(t, config("n1", cut, child, public("sender", hooks{})))
		n2 := start(t, config("n2", m, local("far", hooks{})))
		get(t, n2.Ref("box"))
		cut.cut.Store(true)
		<-time.After(25 * time.Second / 2) // longer than the lease, and not for so long that it is declared dead

		noErr(t, "cast from its node", n1.Ref("box").Cast(t.Context(), Put{X: 7}))
		if got := get(t, n1.Ref("box")); got.X != 7 {
			t.Errorf("call from its node: got %+v, want 7", got)
		}
		_ = n2.Ref("box").Cast(t.Context(), Put{X: 8})
		_, err := genserver.Call(t.Context(), n2.Ref("box"), Get{}, genserver.WithTimeout(time.Second/2))
		if err == nil || !genserver.NotDelivered(err) {
			t.Errorf("call from another node: got %v, want an error that says it was not delivered", err)
		}
		_, err = genserver.Call(t.Context(), n1.Ref("box"), Pass{To: "far", ToNode: "n2"})
		if err == nil {
			t.Error("what it sends to another node: got nil, want it refused")
		}
		_, err = genserver.Call(t.Context(), n1.Ref("sender"), Get{}, genserver.WithTimeout(time.Second/2))
		if err == nil {
			t.Error("a server that pauses: got an answer")
		}

		cut.cut.Store(false)
		<-time.After(5 * time.Second)
		if got := get(t, n2.Ref("box")); got.X != 7 {
			t.Errorf("call from another node, with the records back: got %+v, want 7", got)
		}
	})
}
