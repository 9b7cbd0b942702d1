package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"sync"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

const (
	// readyWait is how long a status waits for NATS.
	readyWait = 500 * time.Millisecond
	// adminWait bounds a stop or restart whose caller sets no time.
	adminWait = time.Minute
)

// admin is the state of a node's AdminName.
type admin struct {
	node    *Node
	started time.Time
	work    sync.WaitGroup // stops and restarts under way
}

var adminType = genserver.Define("civitas.Node",
	func(_ *genserver.Context, n *Node) (*admin, error) { return &admin{node: n, started: time.Now()}, nil },
	genserver.HandleCall((*admin).status),
	genserver.HandleCall((*admin).list),
	genserver.HandleCall((*admin).inspect),
	genserver.HandleCallLater((*admin).stop),
	genserver.HandleCallLater((*admin).restart),
	genserver.HandleCallLater((*admin).startChild),
	genserver.HandleCallLater((*admin).stopChild),
	genserver.HandleCallLater((*admin).place),
	genserver.HandleCall((*admin).gaveUp),
	genserver.HandleCallLater((*admin).apply),
	genserver.HandleCallLater((*admin).remove),
	genserver.HandleCallLater((*admin).children),
	genserver.HandleCallLater((*admin).look),
	genserver.HandleTerminate(func(a *admin, _ *genserver.Context, _ error) { a.work.Wait() }))

// adminWatcher starts the server again should it crash: no supervisor can have
// a name of the runtime's.
type adminWatcher struct{ node *Node }

func (adminWatcher) ProcessStarted(*genserver.Process) {}

func (w adminWatcher) ProcessExited(_ *genserver.Process, reason error) {
	if errors.Is(reason, genserver.Shutdown) || errors.Is(reason, genserver.Killed) {
		return
	}
	if _, err := w.node.sys.Spawn(AdminName, adminType.With(w.node), genserver.SpawnOptions{Watcher: w}); err != nil {
		w.node.log.Error("the node's own server did not start again", "server", AdminName, "error", err)
	}
}

// startAdmin starts the server, and lets operators reach it.
func (n *Node) startAdmin(ctx context.Context) error {
	_, err := n.sys.Start(ctx, AdminName, adminType.With(n), genserver.SpawnOptions{Watcher: adminWatcher{n}})
	if err != nil || n.router == nil {
		return err
	}
	n.operators, err = transport.ServeAdmin(n.link.Conn, n.router.subjects, n.registry.Incarnation(), AdminName, n.log, n.router.deliverPublic)
	if err != nil {
		return err
	}
	n.direct, err = transport.ServeDirect(n.link.Conn, n.router.subjects, n.registry.Incarnation(), n.log, n.router.deliverPublic)
	return err
}

func (a *admin) status(ctx *genserver.Context, _ AskStatus) (Status, error) {
	n := a.node
	s := Status{
		Node: n.cfg.Name, Cluster: n.cfg.Cluster, Incarnation: n.Incarnation(), State: "ready",
		Release: n.cfg.Release, PID: os.Getpid(), Uptime: since(a.started),
	}
	s.Host, _ = os.Hostname()
	for _, p := range n.sys.Processes() {
		if p.Type != supervisor.TypeName && p.Name != AdminName {
			s.Servers++
		}
	}
	if n.registry != nil {
		events := n.registry.Events()
		s.DisconnectEvents, s.Failover = events == nil, n.registry.Failover().Seconds()
		if events != nil {
			s.NoEvents = events.Error()
		}
		s.Names = n.router.owned()
	}
	wait, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := n.ready(wait); err != nil {
		s.State, s.Reason = "unready", err.Error()
	}
	if p := n.placed; p != nil {
		s.Labels, s.Leads, s.Differs = n.cfg.Labels, p.lead.Leads(), p.differences(wait)
	}
	return s, nil
}

func (a *admin) list(ctx *genserver.Context, m ListServers) (Servers, error) {
	inv := a.node.inventory(ctx)
	from := sort.Search(len(inv.rows), func(i int) bool { return inv.rows[i].Path > m.After })
	page := Servers{Node: a.node.cfg.Name, Incarnation: a.node.Incarnation(), Silent: inv.silent, Servers: []ServerInfo{}}
	room := a.node.pageSize()
	for _, row := range inv.rows[from:] {
		text, err := json.Marshal(row)
		if err != nil {
			return Servers{}, err
		}
		room -= len(text) + 1
		if len(page.Servers) > 0 && (room < 0 || len(page.Servers) == m.Limit) {
			page.Next = page.Servers[len(page.Servers)-1].Path
			break
		}
		page.Servers = append(page.Servers, row)
	}
	return page, nil
}

// pageSize is how many bytes of rows an answer has: half of what the broker
// takes, which leaves room for the rest and for other encodings.
func (n *Node) pageSize() int {
	most := int64(transport.DefaultMaxPayload)
	if n.link != nil {
		if c, ok := n.link.Conn.(interface{ MaxPayload() int64 }); ok {
			most = c.MaxPayload()
		}
	}
	return int(most / 2)
}

func (a *admin) inspect(ctx *genserver.Context, m InspectServer) (ServerInfo, error) {
	row, ok := a.node.inventory(ctx).find(m.Name)
	if !ok {
		return ServerInfo{}, a.about(ErrNoServer, m.Name)
	}
	return row, nil
}

func (a *admin) about(kind *genserver.Error, server string) error {
	return &genserver.Error{Code: kind.Code, Text: fmt.Sprintf("%s on node %s: %s", server, a.node.cfg.Name, kind.Text)}
}

func (a *admin) stop(ctx *genserver.Context, m StopServer, reply genserver.Reply[ServerInfo]) error {
	_, row, above, err := a.supervised(ctx, m.Name)
	if err != nil {
		return err
	}
	a.carryOut(ctx, row, reply, func(ctx context.Context) error {
		if row.Node == "" {
			_, err := a.node.placed.markAndWait(ctx, m.Name, cluster.Stop{Stopped: true, Reason: "stopped by an operator"})
			return err
		}
		if _, err := genserver.Call(ctx, above, supervisor.TerminateChild{Name: m.Name}, genserver.WithTimeout(0)); err != nil {
			return err
		}
		return a.node.placed.stoppedByHand(ctx, row)
	})
	return nil
}

func (a *admin) restart(ctx *genserver.Context, m RestartServer, reply genserver.Reply[ServerInfo]) error {
	inv, row, above, err := a.supervised(ctx, m.Name)
	if err != nil {
		return err
	}
	if inv.isDynamic(row.Supervisor) {
		return a.about(supervisor.ErrDynamic, m.Name)
	}
	a.carryOut(ctx, row, reply, func(ctx context.Context) error {
		if row.Node == "" {
			return a.node.placed.startAgain(ctx, m.Name)
		}
		if a.node.placed.isOld(ctx, row) {
			return a.node.placed.renew(ctx, m.Name)
		}
		defer a.node.placed.want(m.Name)()
		if row.State != "stopped" {
			if _, err := genserver.Call(ctx, above, supervisor.TerminateChild{Name: m.Name}, genserver.WithTimeout(0)); err != nil {
				return err
			}
		}
		_, err := genserver.Call(ctx, above, supervisor.RestartChild{Name: m.Name}, genserver.WithTimeout(0))
		if err == nil && a.node.placed.has(row) {
			_, err = a.node.placed.markAndWait(ctx, m.Name, cluster.Stop{})
		}
		return err
	})
	return nil
}

// supervised finds a server that has a supervisor.
func (a *admin) supervised(ctx *genserver.Context, name string) (inv inventory, row ServerInfo, above genserver.Ref, err error) {
	inv = a.node.inventory(ctx)
	row, ok := inv.find(name)
	switch {
	case !ok:
		err = a.about(ErrNoServer, name)
	case row.Supervisor == "":
		err = a.about(ErrUnsupervised, name)
	default:
		above = a.node.sys.Ref(path.Base(row.Supervisor))
	}
	return inv, row, above, err
}

// carryOut does what takes its time outside of the server's turn, and answers
// with what became of the server.
func (a *admin) carryOut(ctx *genserver.Context, row ServerInfo, reply genserver.Reply[ServerInfo], do func(context.Context) error) {
	a.apart(ctx, func(ctx context.Context) {
		if err := do(ctx); err != nil {
			reply.Fail(err)
			return
		}
		after, ok := a.node.inventory(ctx).find(row.Name)
		if !ok { // it is forgotten
			after = row
			after.State, after.Handling, after.Generation = "stopped", "", 0
			after.Mailbox, after.InFlight, after.Handled, after.Uptime, after.Epoch = 0, 0, 0, 0, 0
			a.node.placed.elsewhere(ctx, &after)
		}
		reply.Send(after)
	})
}

// apart does something outside of the server's turn, within its caller's time.
func (a *admin) apart(ctx *genserver.Context, do func(context.Context)) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(adminWait)
	}
	detached, cancel := context.WithDeadline(ctx.Detach(), deadline)
	a.work.Go(func() {
		defer cancel()
		do(detached)
	})
}
