package node_test

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/civitas-go/civitas/node"
)

// NATS's own tools see every node, and what plain clients can reach there.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	cfg := config("n1", node.URL(url), public("my.box", hooks{}), local("own", hooks{}))
	cfg.Release = "2.0.1"
	start(t, cfg)
	n2 := start(t, config("n2", node.URL(url), public("other", hooks{})))
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()

	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	noErr(t, "subscribe", err)
	noErr(t, "ask", nc.PublishRequest("$SRV.INFO.civitas-dev", inbox, nil))
	endpoints := map[string]string{}
	for range 2 {
		m, err := sub.NextMsgWithContext(soon(t))
		noErr(t, "answer", err)
		var info micro.Info
		noErr(t, "decode", json.Unmarshal(m.Data, &info))
		if want := map[string]string{"n1": "2.0.1", "n2": "0.0.0"}[info.Metadata["node"]]; info.Version != want || info.Metadata["cluster"] != "dev" {
			t.Errorf("got %+v, want version %s", info, want)
		}
		for _, e := range info.Endpoints {
			endpoints[e.Subject] = info.Metadata["node"]
		}
	}
	if len(endpoints) != 2 || endpoints["civitas.dev.s.my.box"] != "n1" || endpoints["civitas.dev.s.other"] != "n2" {
		t.Errorf("got %v, want my.box on n1 and other on n2", endpoints)
	}

	subject := "$SRV.PING.civitas-dev." + n2.Incarnation()
	_, err = nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: subject})
	noErr(t, "ping", err)
	noErr(t, "stop", n2.Stop(soon(t)))
	if _, err = nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: subject}); err == nil {
		t.Error("ping after the stop: got an answer, want none")
	}
}
