package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

// Three servers keep the records, through the loss of the one that led them.
func TestThreeServersKeepTheRecords(t *testing.T) {
	if testing.Short() {
		t.Skip("an election takes seconds")
	}
	servers, urls := threeServers(t)
	conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{URL: urls})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := cluster.OpenJetStream(ctx, conn, "dev", cluster.JetStreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := cluster.Key{Kind: cluster.KindOwner, Name: "a"}
	var seq uint64
	eventually(t, "this server has heard of the new stream's leader", func() bool {
		seq, err = s.Create(ctx, k, []byte("one"))
		return !errors.Is(err, cluster.ErrUnavailable)
	})
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn.Conn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, cluster.StreamName("dev"))
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.Replicas; got != 3 {
		t.Fatalf("got %d replicas, want 3", got)
	}
	for _, ns := range servers {
		if ns.Name() == stream.CachedInfo().Cluster.Leader {
			ns.Shutdown()
			ns.WaitForShutdown()
		}
	}
	for ctx.Err() == nil {
		if _, err = s.Update(ctx, k, []byte("two"), seq); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("update after the leader's end: got %v, want nil", err)
	}
}

// threeServers run with JetStream, as a cluster.
func threeServers(t *testing.T) (servers []*server.Server, urls string) {
	t.Helper()
	var ports []int
	routes := ""
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes += fmt.Sprintf("nats://%s,", l.Addr())
		_ = l.Close()
	}
	for i, port := range ports {
		ns, err := server.NewServer(&server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, ServerName: fmt.Sprint("s", i),
			JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
			Routes:  server.RoutesFromStr(routes[:len(routes)-1]),
		})
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() {
			ns.Shutdown()
			ns.WaitForShutdown()
		})
		servers = append(servers, ns)
	}
	for _, ns := range servers {
		if !ns.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server takes no connections")
		}
		urls += ns.ClientURL() + ","
	}
	return servers, urls[:len(urls)-1]
}
