//go:build unix

package chaostest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/proctest"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

const (
	nodes = 3
	user  = "app"
)

// world is the processes of one run, and the files that they write.
type world struct {
	t       *testing.T
	fault   fault
	dir     string
	servers []*natsServer
	members []*member
	lives   int
	tail    *proctest.Tail // of the ledgers
	ledger  []start        // what was read of them
	broken  time.Duration  // when the last fault was
	tries   []attempt
	orderly map[string]bool // lives that ended in good order
	found   []string        // what must not be
}

// attempt is one try, by the host's monotonic clock.
type attempt struct {
	broken, healed time.Duration
	victim         string                       // the node that was broken; "" for none
	owned          map[string]cluster.Ownership // before
	served         time.Duration                // all that the victim had, after broken
}

type natsServer struct {
	ports   [2]int // for clients, for the others
	process *proctest.Process
}

// member is a node: a process, and its links to each server.
type member struct {
	name    string
	links   []*link
	process *proctest.Process
}

// hold has the member's packets dropped, or go on.
func (m *member) hold(on bool) {
	for _, l := range m.links {
		l.hold(on)
	}
}

// newWorld has its servers, and members that do not run yet.
func newWorld(t *testing.T, f fault) *world {
	w := &world{t: t, fault: f, dir: t.TempDir(), orderly: map[string]bool{}}
	w.tail = proctest.NewTail(w.dir, ledgers)
	for range f.servers {
		w.servers = append(w.servers, &natsServer{ports: [2]int{proctest.FreePort(t), proctest.FreePort(t)}})
	}
	for i := range w.servers {
		w.startServer(i)
	}
	for n := range nodes {
		m := &member{name: fmt.Sprintf("n%d", n+1)}
		for i := range w.servers { // the first one is another for each
			s := w.servers[(i+n)%len(w.servers)]
			m.links = append(m.links, newLink(t, fmt.Sprintf("127.0.0.1:%d", s.ports[0])))
		}
		w.members = append(w.members, m)
	}
	return w
}

func (w *world) start(role string, env ...string) *proctest.Process {
	life, env := w.life(role, env)
	return proctest.Start(w.t, life, env)
}

// life is the next one's, and what it's told besides env.
func (w *world) life(role string, env []string) (string, []string) {
	w.lives++
	life := fmt.Sprintf("%s-%02d", role, w.lives)
	return life, append(env, roleVar+"="+role, "CIVITAS_CHAOS_DIR="+w.dir, lifeVar+"="+life)
}

func (w *world) startServer(i int) {
	s := w.servers[i]
	name := fmt.Sprintf("s%d", i+1)
	var routes []string
	for _, other := range w.servers {
		routes = append(routes, fmt.Sprintf(`"nats://127.0.0.1:%d"`, other.ports[1]))
	}
	config := natsConfig(name, s.ports, filepath.Join(w.dir, name), routes, w.fault.events)
	file := filepath.Join(w.dir, name+".conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
	s.process = w.start("nats", "CIVITAS_CHAOS_CONFIG="+file)
}

func (w *world) stopServer(i int) {
	w.servers[i].process.Signal(w.t, syscall.SIGTERM)
	_ = w.servers[i].process.Await(w.t)
}

func (w *world) killServer(i int) {
	w.servers[i].process.Signal(w.t, syscall.SIGKILL)
	_ = w.servers[i].process.Await(w.t)
}

// startMembers has the last one bring the names, which go to all of them.
func (w *world) startMembers(names []string) {
	last := len(w.members) - 1
	for _, m := range w.members[:last] {
		w.startMember(m)
	}
	<-time.After(2 * time.Second) // until the leader has heard of them
	w.startMember(w.members[last], names...)
}

func (w *world) startMember(m *member, brings ...string) {
	m.process = w.start("member", m.env(brings)...)
}

// env is what the process of a member is told.
func (m *member) env(brings []string) []string {
	var urls []string
	for _, l := range m.links {
		urls = append(urls, l.url())
	}
	return []string{
		"CIVITAS_CHAOS_NAME=" + m.name, urlsVar + "=" + strings.Join(urls, ","), bringsVar + "=" + strings.Join(brings, " "),
	}
}

// revive starts a member anew if its process has ended, or is about to because
// it was declared dead.
func (w *world) revive(m *member) {
	if m.process.Gone(20 * time.Second) {
		w.startMember(m)
	}
}

// now is the host's monotonic clock, which all processes have.
func now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // never fails
	return time.Duration(ts.Nano())
}

func (w *world) until(at time.Duration) { <-time.After(at - now()) }

// conn is the driver's own, to a server that is up.
func (w *world) conn(ctx context.Context) *transport.NATS {
	w.t.Helper()
	var urls []string
	for _, s := range w.servers {
		urls = append(urls, "nats://127.0.0.1:"+strconv.Itoa(s.ports[0]))
	}
	conn, err := transport.DialNATS(ctx, transport.NATSOptions{
		URL: strings.Join(urls, ","), Auth: auth,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// read reads something of the records, until it is done, or fails after a minute.
func (w *world) read(what string, done func(ctx context.Context, conn *transport.NATS) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn := w.conn(ctx)
	defer conn.Close(context.WithoutCancel(ctx))
	for !done(ctx, conn) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("%s is not known\n%s", what, w.said())
		}
	}
}

// owners are those of all names, once each has one that lives and serves.
func (w *world) owners() (owned map[string]cluster.Ownership) {
	w.t.Helper()
	w.read("who serves "+strings.Join(names, ", "), func(ctx context.Context, conn *transport.NATS) bool {
		all, err := cluster.ReadOwners(ctx, conn, node.DefaultCluster)
		owned = map[string]cluster.Ownership{}
		served := w.servedSince(now() - time.Second)
		for _, o := range all {
			if served[o.Server] == o.Epoch {
				owned[o.Server] = o
			}
		}
		return err == nil && len(owned) == len(names)
	})
	return owned
}

func (w *world) member(name string) *member {
	w.t.Helper()
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.name == name })
	if i < 0 {
		w.t.Fatalf("got node %q, want one of ours", name)
	}
	return w.members[i]
}

// coordinator is the node that leads the cluster.
func (w *world) coordinator() (name string) {
	w.t.Helper()
	w.read("who leads the cluster", func(ctx context.Context, conn *transport.NATS) bool {
		js, err := jetstream.New(conn.Conn())
		if err != nil {
			return false
		}
		stream, err := js.Stream(ctx, records)
		if err != nil {
			return false
		}
		m, err := stream.GetLastMsgForSubject(ctx, "civitas."+node.DefaultCluster+".js.lead")
		if err != nil {
			return false
		}
		lead, err := cluster.DecodeLead(m.Data)
		name = lead.Node
		return err == nil
	})
	return name
}

// records is the stream that has them.
const records = "CIVITAS_" + node.DefaultCluster

// leader is the NATS server that leads the records' stream.
func (w *world) leader() (i int) {
	w.t.Helper()
	w.read("the leader of the records", func(ctx context.Context, conn *transport.NATS) bool {
		js, err := jetstream.New(conn.Conn())
		if err != nil {
			return false
		}
		stream, err := js.Stream(ctx, records)
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		i, err = strconv.Atoi(strings.TrimPrefix(stream.CachedInfo().Cluster.Leader, "s"))
		return err == nil
	})
	return i - 1
}

// settle waits until the cluster is at rest: everything is served, for some seconds.
func (w *world) settle() {
	w.t.Helper()
	w.owners()
	<-time.After(4 * time.Second)
	w.owners()
}

// try breaks the cluster once, and mends it.
func (w *world) try(f fault) {
	w.t.Helper()
	a := attempt{owned: w.owners()}
	var m *member
	if f.victim != nil {
		a.victim = f.victim(w, a.owned)
		m = w.member(a.victim)
	}
	w.broken = now()
	a.broken = w.broken
	heal := f.do(w, m)
	if m != nil {
		a.served = w.servedAgain(f, a)
	}
	heal()
	w.settle()
	a.healed = now()
	w.tries = append(w.tries, a)
	if m != nil {
		w.t.Logf("try %d: %s: served again after %v", len(w.tries), f.name, a.served.Round(time.Millisecond))
	}
}

// servedAgain waits until all that the victim had is served in later epochs, and is
// how long that took.
func (w *world) servedAgain(f fault, a attempt) (took time.Duration) {
	w.t.Helper()
	for {
		left := map[string]cluster.Ownership{}
		for name, o := range a.owned {
			if o.Node == a.victim {
				left[name] = o
			}
		}
		took = 0
		for _, s := range w.starts() {
			if o, ok := left[s.name]; ok && s.kind == handled && s.epoch > o.Epoch {
				delete(left, s.name)
				took = max(took, s.at-a.broken)
			}
		}
		if len(left) == 0 {
			return took
		}
		if now() > w.broken+f.within+time.Minute {
			w.t.Fatalf("nobody serves %v after %s\n%s", left, f.name, w.said())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// end stops everything in good order.
func (w *world) end() {
	w.t.Helper()
	for _, m := range w.members {
		m.process.Signal(w.t, syscall.SIGTERM)
	}
	for _, m := range w.members {
		w.orderly[m.process.Life()] = true
		if err := m.process.Await(w.t); err != nil {
			w.t.Errorf("stop of %s: got %v, want nil; it said\n%s", m.name, err, m.process.Said())
		}
	}
	for i := range w.servers {
		w.stopServer(i)
	}
}

func (w *world) said() string {
	var text strings.Builder
	for _, m := range w.members {
		fmt.Fprintf(&text, "== %s said\n%s\n", m.name, m.process.Said())
	}
	return text.String()
}

// natsConfig is a server's, with disconnect events or without: see docs/nats.md.
func natsConfig(name string, ports [2]int, dir string, routes []string, events bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "server_name: %s\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q }\n", name, ports[0], dir)
	text.WriteString("ping_interval: \"500ms\"\nping_max: 2\n")
	if len(routes) > 1 {
		fmt.Fprintf(&text, "cluster { name: chaos, listen: \"127.0.0.1:%d\", no_advertise: true, ping_interval: \"5s\", routes: [%s] }\n",
			ports[1], strings.Join(routes, ", "))
	}
	imports, exports := "", ""
	if events {
		exports = `exports: [ {stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3} ]`
		imports = `imports: [ {stream: {account: SYS, subject: "$SYS.ACCOUNT.APP.DISCONNECT"}, to: "civitas.dev.ev.disconnect"} ]`
	}
	fmt.Fprintf(&text, `accounts {
  SYS { users: [ {user: sys, password: sys} ], %s }
  APP { jetstream: enabled, users: [ {user: %s, password: %s} ], %s
        default_permissions: { publish: { deny: ["civitas.dev.ev.disconnect"] } } }
}
system_account: SYS
`, exports, user, user, imports)
	return text.String()
}
