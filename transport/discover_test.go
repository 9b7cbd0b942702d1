package transport_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/micro"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// discoverable is a node that answers for the named public servers: each
// answers a call, but with an error where the payload has fail in it.
func discoverable(t *testing.T, c transport.Conn, id string, names ...string) *transport.Discovery {
	t.Helper()
	s := mustSubjects(t)
	d, err := transport.Discover(c, s, transport.DiscoveryOptions{
		ID: id, Version: "v1.2.3", Metadata: map[string]string{"node": id}, Logger: quiet(),
	})
	if err != nil {
		t.Fatalf("discover: got %v, want nil", err)
	}
	for _, name := range names {
		svc, err := transport.ServePublic(c, s, name, quiet(), func(in *genserver.Incoming) {
			var m genserver.Map
			if err := in.Body.Decode(&m); err == nil && m["fail"] == true {
				in.Reply.Reply(nil, genserver.NewError("booking.no_seat", "no seat left"))
				return
			}
			in.Reply.Reply(nil, nil)
		})
		if err != nil {
			t.Fatalf("serve: got %v, want nil", err)
		}
		d.Add(name, svc)
	}
	if err := c.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	return d
}

// control asks as NATS's tools do, and reads the answer into v.
func control(t *testing.T, c transport.Conn, verb micro.Verb, name, id string, v any) []byte {
	t.Helper()
	subject, err := micro.ControlSubject(verb, name, id)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Request(within(t), transport.Msg{Subject: subject})
	if err != nil {
		t.Fatalf("%s: got %v, want an answer", subject, err)
	}
	if err := json.Unmarshal(m.Data, v); err != nil {
		t.Fatalf("%s: got %q, want JSON: %v", subject, m.Data, err)
	}
	return m.Data
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, network := range bubbles {
		t.Run(name, func(t *testing.T) {
			dial := network(t)
			node, client := dial("node"), dial("client")
			defer closeConn(t, node)
			defer closeConn(t, client)
			d := discoverable(t, node, "N1", "cache", "booking.seats")

			for _, ask := range []struct{ name, id string }{{}, {name: "civitas-dev"}, {"civitas-dev", "N1"}} {
				var ping micro.Ping
				control(t, client, micro.PingVerb, ask.name, ask.id, &ping)
				if ping.Type != micro.PingResponseType || ping.Name != "civitas-dev" || ping.ID != "N1" || ping.Version != "1.2.3" || ping.Metadata["node"] != "N1" {
					t.Errorf("ping %v: got %+v, want node N1", ask, ping)
				}
				var info micro.Info
				control(t, client, micro.InfoVerb, ask.name, ask.id, &info)
				if info.Type != micro.InfoResponseType || len(info.Endpoints) != 2 || info.Endpoints[0].Name != "booking.seats" || info.Endpoints[1].Subject != "civitas.dev.s.cache" {
					t.Errorf("info %v: got %+v, want both servers", ask, info)
				}
			}
			for _, ask := range []string{"$SRV.PING.other", "$SRV.PING.civitas-dev.N2"} {
				if m, err := client.Request(within(t), transport.Msg{Subject: ask}); err == nil {
					t.Errorf("%s: got %q, want no responders", ask, m.Data)
				}
			}

			for _, payload := range []string{`{}`, `{"fail":true}`, `nonsense`} {
				if _, err := client.Request(within(t), transport.Msg{Subject: "civitas.dev.s.cache", Data: []byte(payload)}); err != nil {
					t.Fatalf("call: got %v, want nil", err)
				}
			}
			var stats micro.Stats
			control(t, client, micro.StatsVerb, "civitas-dev", "N1", &stats)
			if stats.Type != micro.StatsResponseType || time.Since(stats.Started) > time.Minute || len(stats.Endpoints) != 2 {
				t.Fatalf("got %+v, want the stats of both", stats)
			}
			e := stats.Endpoints[1]
			if e.Name != "cache" || e.NumRequests != 3 || e.NumErrors != 2 || e.LastError != "no seat left" || e.ProcessingTime <= 0 || e.AverageProcessingTime != e.ProcessingTime/2 {
				t.Errorf("got %+v, want 3 requests, 2 errors", e)
			}
			if err := d.Drain(within(t)); err != nil {
				t.Errorf("drain: got %v, want nil", err)
			}
			if m, err := client.Request(within(t), transport.Msg{Subject: "$SRV.PING"}); err == nil {
				t.Errorf("after drain: got %q, want no responders", m.Data)
			}
		})
	}
}

func TestDiscoveryFollowsWhatIsServed(t *testing.T) {
	t.Parallel()
	hub := transport.NewHub()
	c := hub.Dial("node")
	defer closeConn(t, c)
	d := discoverable(t, c, "N1", "a")
	first, err := transport.ServePublic(c, mustSubjects(t), "b", quiet(), func(*genserver.Incoming) {})
	if err != nil {
		t.Fatal(err)
	}
	second, err := transport.ServePublic(c, mustSubjects(t), "b", quiet(), func(*genserver.Incoming) {})
	if err != nil {
		t.Fatal(err)
	}
	names := func() (list []string) {
		var info micro.Info
		control(t, c, micro.InfoVerb, "", "", &info)
		for _, e := range info.Endpoints {
			list = append(list, e.Name)
		}
		return list
	}
	d.Add("b", first)
	d.Add("b", second)
	d.Remove("b", first)
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after the first life's end: got %v, want the second's", got)
	}
	d.Remove("b", second)
	if got := names(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after the second's: got %v, want a alone", got)
	}
}

// TestDiscoveryFitsAMessage: with more endpoints than a message holds, as many
// as fit are shown, and the rest is counted.
func TestDiscoveryFitsAMessage(t *testing.T) {
	t.Parallel()
	const limit, servers = 4096, 200
	s := startServerWith(t, &server.Options{MaxPayload: limit})
	c := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, c)
	names := make([]string, servers)
	for i := range names {
		names[i] = fmt.Sprintf("server-%03d", i)
	}
	d := discoverable(t, c, "N1", names...)
	var info micro.Info
	data := control(t, c, micro.InfoVerb, "", "", &info)
	checkFits(t, "info", data, len(info.Endpoints), info.Metadata, limit, servers)
	var stats micro.Stats
	data = control(t, c, micro.StatsVerb, "", "", &stats)
	checkFits(t, "stats", data, len(stats.Endpoints), stats.Metadata, limit, servers)
	if info.Endpoints[0].Name != "server-000" {
		t.Errorf("got %s first, want them by name", info.Endpoints[0].Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := d.Drain(ctx); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
}

func checkFits(t *testing.T, what string, data []byte, shown int, metadata map[string]string, limit, servers int) {
	t.Helper()
	if len(data) > limit || len(data) < limit-limit/10 || shown == 0 {
		t.Errorf("%s: got %d bytes with %d endpoints, want nearly %d", what, len(data), shown, limit)
	}
	if got, want := metadata["civitas.omitted"], strconv.Itoa(servers-shown); got != want {
		t.Errorf("%s: got %q omitted, want %s", what, got, want)
	}
}
