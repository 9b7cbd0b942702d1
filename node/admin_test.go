package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// admin is a call to a node's own server.
func admin[Req genserver.CallMessage[Rep], Rep any](n *node.Node, of string, r Req) (Rep, error) {
	return genserver.Call(context.Background(), n.Ref(node.AdminName).On(of), r)
}

// TestAdmin has one node look after another's servers.
func TestAdmin(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, public("shared", hooks{})))
		n2 := start(t, config("n2", nats, local("box", hooks{}),
			supervisor.Child{Name: "pool", Run: supervisor.Dynamic{Types: []genserver.Type{Echo}}},
			supervisor.Child{Name: "part", Run: supervisor.Spec{Strategy: supervisor.OneForAll, Children: []supervisor.Child{public("deep", hooks{})}}}))
		_, err := genserver.Call(context.Background(), n1.Ref("pool").On("n2"), supervisor.StartChild{Name: "w1", Of: "test.Echo"})
		noErr(t, "start a dynamic child", err)

		list, err := admin(n1, "n2", node.ListServers{})
		noErr(t, "list", err)
		if list.Node != "n2" || list.Incarnation != n2.Incarnation() || list.Next != "" || len(list.Silent) > 0 {
			t.Errorf("got %+v, want all of n2 in one answer", list)
		}
		var rows []string
		for _, s := range list.Servers {
			rows = append(rows, fmt.Sprintf("%s %d %s %s %s %s %s %s", s.Path, s.Place, s.Kind, s.Type, s.Strategy, s.Scope, s.Restart, s.State))
		}
		want := []string{
			"_node 0 runtime civitas.Node    running",
			"_root 0 supervisor civitas.Supervisor one_for_one   running",
			"_root/box 0 server test.Box  local permanent running",
			"_root/part 2 supervisor civitas.Supervisor one_for_all local permanent running",
			"_root/part/deep 0 server test.Box  cluster permanent running",
			"_root/pool 1 supervisor civitas.Supervisor dynamic local permanent running",
			"_root/pool/w1 0 server test.Echo  local transient running",
		}
		if got := strings.Join(rows, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got rows\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}

		noErr(t, "cast", n2.Ref("box").Cast(context.Background(), Put{X: -1}))
		_, err = genserver.Call(context.Background(), n2.Ref("box"), Fail{})
		wantErr(t, "fail", err, errNoSeat, false)
		before, err := admin(n1, "n2", node.InspectServer{Name: "box"})
		noErr(t, "inspect", err)
		if before.Handled != 2 || before.Mailbox != 0 || before.InFlight != 0 || before.Generation == 0 || before.Supervisor != "_root" {
			t.Errorf("got %+v, want two messages handled", before)
		}
		deep, err := admin(n1, "n2", node.InspectServer{Name: "deep"})
		noErr(t, "inspect deep", err)
		if deep.Epoch == 0 {
			t.Errorf("got %+v, want an epoch", deep)
		}

		// Stopped stays stopped, and is still listed.
		after, err := admin(n1, "n2", node.StopServer{Name: "box"})
		noErr(t, "stop", err)
		if after.State != "stopped" || after.Generation != 0 {
			t.Errorf("got %+v, want it stopped", after)
		}
		_, err = genserver.Call(context.Background(), n1.Ref("box").On("n2"), Get{})
		wantErr(t, "call of a stopped server", err, genserver.ErrNoProcess, true)
		after, err = admin(n1, "n2", node.RestartServer{Name: "box"})
		noErr(t, "restart the stopped", err)
		if after.State != "running" || after.Generation <= before.Generation || after.Handled != 0 {
			t.Errorf("got %+v, want a new generation", after)
		}
		again, err := admin(n1, "n2", node.RestartServer{Name: "deep"})
		noErr(t, "restart the running", err)
		if again.State != "running" || again.Generation <= deep.Generation {
			t.Errorf("got %+v, want a new generation", again)
		}

		// What a dynamic supervisor started can be stopped, and is forgotten.
		_, err = admin(n1, "n2", node.RestartServer{Name: "w1"})
		wantErr(t, "restart of a dynamic child", err, supervisor.ErrDynamic, false)
		if after, err = admin(n1, "n2", node.StopServer{Name: "w1"}); err != nil || after.State != "stopped" {
			t.Errorf("stop of a dynamic child: got %+v, %v, want it stopped", after, err)
		}
		_, err = admin(n1, "n2", node.InspectServer{Name: "w1"})
		wantErr(t, "inspect of the forgotten", err, node.ErrNoServer, false)

		for _, name := range []string{"_root", "_node"} {
			_, err = admin(n1, "n2", node.StopServer{Name: name})
			wantErr(t, "stop of "+name, err, node.ErrUnsupervised, false)
		}
		_, err = admin(n1, "n2", node.StopServer{Name: "shared"})
		wantErr(t, "stop of another node's", err, node.ErrNoServer, false)

		status, err := admin(n1, "n2", node.AskStatus{})
		noErr(t, "status", err)
		if status.Node != "n2" || status.State != "ready" || status.Servers != 2 || status.PID == 0 || status.Failover != 15 || status.DisconnectEvents {
			t.Errorf("got %+v, want n2 ready with two servers", status)
		}
		if status.DisconnectEvents || status.Failover != 15 || status.NoEvents == "" {
			t.Errorf("got %+v, want no disconnect events, with a reason, and 15s", status)
		}
	})
}

// TestAdminLastReason has a server crash, and looks at what its supervisor says.
func TestAdminLastReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := held()
		n := start(t, config("n1", nil, local("box", h)))
		inspect := func() node.ServerInfo {
			info, err := genserver.Call(context.Background(), n.Ref(node.AdminName), node.InspectServer{Name: "box"})
			noErr(t, "inspect", err)
			return info
		}
		done := callAsync(n.Ref("box"), Hold{Panic: true})
		receive(t, "the handler", h.entered)
		if busy := inspect(); busy.Handling != `call "hold"` || busy.InFlight != 1 {
			t.Errorf("got %+v, want it at its call", busy)
		}
		close(h.gate)
		wantErr(t, "the crash", receive(t, "the caller", done), genserver.ErrExit, false)
		synctest.Wait()
		if after := inspect(); after.Restarts != 1 || after.State != "running" || !strings.Contains(after.LastReason, "out of seats") {
			t.Errorf("got %+v, want one restart and its reason", after)
		}
		stop(t, n)
	})
}

// Operators reach every server of a node, node-local ones too, by the node; but none of
// the runtime's own.
func TestOperatorsReachNodeLocalServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		n := start(t, config("n1", m, local("own", hooks{}), public("box", hooks{})))
		conn := m.Hub().Dial("operator")
		defer func() { noErr(t, "close", conn.Close(t.Context())) }()
		subject := "civitas.dev.adm." + n.Incarnation() + ".call."
		ask := func(server, body string) (string, error) {
			reply, err := conn.Request(soon(t), transport.Msg{Subject: subject + server, Data: []byte(body)})
			noErr(t, "request", err)
			return string(reply.Data), transport.PublicError(reply)
		}
		for _, server := range []string{"own", "box"} {
			noErr(t, "cast", conn.Publish(transport.Msg{Subject: subject + server, Data: []byte(`{"type":"put","x":7}`)}))
			if got, err := ask(server, `{"type":"get"}`); err != nil || !strings.HasPrefix(got, `{"x":7,`) {
				t.Errorf("%s: got %s, %v, want x = 7", server, got, err)
			}
		}
		_, err := ask("nobody", `{"type":"get"}`)
		wantErr(t, "nobody", err, genserver.ErrNoProcess, true)
		_, err = ask(node.AdminName, `{"type":"status"}`)
		wantErr(t, "the runtime's own", err, genserver.ErrBadPayload, true)
		_, err = ask("own", `[]`)
		wantErr(t, "no object", err, genserver.ErrBadPayload, true)
	})
}

// TestAdminPages reads five thousand servers through messages of limited size,
// as a client that is no node.
func TestAdminPages(t *testing.T) {
	t.Parallel()
	const servers = 5000
	url := startNATS(t)
	children := make([]supervisor.Child, servers)
	for i := range children {
		children[i] = supervisor.Child{Name: fmt.Sprintf("worker.%04d", i), Run: Echo.With(struct{}{})}
	}
	n := start(t, config("n1", node.URL(url), children...))
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()

	conn, err := transport.DialNATS(soon(t), transport.NATSOptions{URL: url})
	noErr(t, "dial", err)
	defer func() { noErr(t, "close", conn.Close(soon(t))) }()
	nodes, err := cluster.ReadNodes(soon(t), conn, "dev")
	noErr(t, "read the nodes", err)
	if len(nodes) != 1 || nodes[0].Node != "n1" || nodes[0].Incarnation != n.Incarnation() {
		t.Fatalf("got %+v, want n1", nodes)
	}
	seen, pages := map[string]bool{}, 0
	for after := ""; ; pages++ {
		m, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{
			Subject: "civitas.dev.adm." + nodes[0].Incarnation + ".ps", Data: []byte(`{"after":"` + after + `"}`),
		})
		noErr(t, "ask", err)
		var page node.Servers
		noErr(t, "decode", json.Unmarshal(m.Data, &page))
		for _, s := range page.Servers {
			if seen[s.Path] {
				t.Errorf("got %s again", s.Path)
			}
			seen[s.Path] = true
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if pages < 2 || len(seen) != servers+2 {
		t.Errorf("got %d servers on %d pages, want %d on several", len(seen), pages+1, servers+2)
	}

	// An empty body will do where nothing need be said; other ops are refused.
	m, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: "civitas.dev.adm." + n.Incarnation() + ".status"})
	noErr(t, "ask", err)
	if !strings.Contains(string(m.Data), `"state":"ready"`) {
		t.Errorf("got %s, want it ready", m.Data)
	}
	m, err = nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: "civitas.dev.adm." + n.Incarnation() + ".dance"})
	noErr(t, "ask", err)
	if m.Header.Get("Nats-Service-Error-Code") != "404" || !strings.Contains(string(m.Data), `"code":"unknown_op"`) {
		t.Errorf("got %s %v, want an unknown op", m.Data, m.Header)
	}
	page, err := admin(n, "n1", node.ListServers{Limit: 7})
	if err != nil || len(page.Servers) != 7 || page.Next != page.Servers[6].Path {
		t.Errorf("got %d servers, next %q, %v, want 7", len(page.Servers), page.Next, err)
	}
}
