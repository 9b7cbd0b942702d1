// Package natstest runs NATS servers of a configuration file's text, for tests
// of what such files make of them.
package natstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Start runs a server and ends it with the test.
func Start(t testing.TB, config string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("NATS configuration: %v\n%s", err, config)
	}
	o.NoLog, o.NoSigs = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("NATS configuration: %v\n%s", err, config)
	}
	go s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server takes no connections after 10s")
	}
	return s
}

// Stop ends a server and waits for its end.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Addresses are n free ones of the loopback interface.
func Addresses(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // at the end, so that none comes twice
		all = append(all, l.Addr().String())
	}
	return all
}

// Cluster runs n servers in a cluster, each with the same text besides, and waits
// until each knows all others and, with JetStream, where streams can be made.
func Cluster(t testing.TB, n int, text string) []*server.Server {
	t.Helper()
	routes := Addresses(t, n)
	var all []*server.Server
	for i, listen := range routes {
		config := fmt.Sprintf("server_name: n%d\nlisten: \"127.0.0.1:-1\"\n%s\ncluster {\n  name: test\n  listen: %q\n  ping_interval: \"5s\"\n  routes: [\n", i+1, text, listen)
		for _, r := range routes {
			config += fmt.Sprintf("    %q\n", "nats://"+r)
		}
		all = append(all, Start(t, config+"  ]\n}\n"))
	}
	Formed(t, all)
	return all
}

// Formed waits until each of the servers knows all others and, with JetStream,
// streams can be made.
func Formed(t testing.TB, all []*server.Server) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !formed(all) {
		if time.Now().After(deadline) {
			t.Fatal("the NATS servers have not formed a cluster in 30s")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func formed(all []*server.Server) bool {
	leader := false
	for _, s := range all {
		if len(s.ActivePeers()) != len(all)-1 && s.NumRoutes() < len(all)-1 {
			return false
		}
		leader = leader || !s.JetStreamEnabled() || s.JetStreamIsLeader()
	}
	for _, s := range all {
		if s.JetStreamEnabled() && !s.JetStreamIsCurrent() {
			return false
		}
	}
	return leader
}
