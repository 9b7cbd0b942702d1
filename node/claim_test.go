package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// subscribing is a connector that has something done before each subscription.
type subscribing struct {
	node.Connector
	before func(subject string)
}

func (c *subscribing) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := c.Connector.Connect(ctx, o)
	if err == nil {
		link.Conn = subscribingConn{link.Conn, c}
	}
	return link, err
}

type subscribingConn struct {
	transport.Conn
	c *subscribing
}

func (s subscribingConn) Subscribe(subject string, deliver func(transport.Msg)) (transport.Subscription, error) {
	s.c.before(subject)
	return s.Conn.Subscribe(subject, deliver)
}

// A name that is lost while it is being claimed leaves nothing that plain
// clients could find.
func TestNameLostWhileItIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		n1 := start(t, config("n1", &subscribing{cut, func(subject string) {
			if subject != "civitas.dev.s.box" {
				return
			}
			key := cluster.Key{Kind: cluster.KindOwner, Name: "box"}
			e, err := cut.store.Get(context.Background(), key)
			noErr(t, "read the record", err)
			noErr(t, "remove the record", cut.store.Delete(context.Background(), key, e.Seq))
			<-time.After(time.Second) // for the node to learn of it
		}}))
		_, err := n1.System().Start(t.Context(), "box", Box.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster})
		wantErr(t, "start", err, genserver.ErrFenced, false)

		conn := m.Hub().Dial("client")
		defer func() { noErr(t, "close", conn.Close(t.Context())) }()
		_, err = conn.Request(soon(t), transport.Msg{Subject: "civitas.dev.s.box"})
		if !errors.Is(err, transport.ErrNoResponders) {
			t.Errorf("a client's call: got %v, want no responders", err)
		}
		answer, err := conn.Request(soon(t), transport.Msg{Subject: "$SRV.INFO.civitas-dev"})
		noErr(t, "discovery", err)
		var info micro.Info
		noErr(t, "decode", json.Unmarshal(answer.Data, &info))
		if len(info.Endpoints) > 0 {
			t.Errorf("got the endpoints %v, want none", info.Endpoints)
		}
	})
}
