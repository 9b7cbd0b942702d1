package transport_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

func BenchmarkFrame(b *testing.B) {
	full := fullFrame(b)
	small := &transport.Frame{Kind: genserver.KindCall, Op: "acquire", Remaining: 1e9, From: "web", FromNode: "n1", Payload: full.Payload}
	for name, f := range map[string]*transport.Frame{"Small": small, "Full": full} {
		buf := transport.AppendFrame(nil, f)
		b.Run(name+"/Append", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = transport.AppendFrame(buf[:0], f)
			}
		})
		b.Run(name+"/Parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := transport.ParseFrame(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type acquire struct {
	genserver.Returns[grant]
	N   int    `json:"n,omitempty"`
	Key string `json:"key"`
}

func (acquire) Op() string { return "acquire" }

// visit takes the way through JSON.
type visit struct {
	From netip.Addr `json:"from"`
	Key  string     `json:"key"`
}

func BenchmarkMsgPack(b *testing.B) {
	typed := acquire{N: 3, Key: "tenant-7"}
	untyped := genserver.Map{"type": "acquire", "n": 3, "key": "tenant-7"}
	formed := visit{From: netip.MustParseAddr("10.0.0.1"), Key: "tenant-7"}
	for name, v := range map[string]any{"Typed": typed, "Map": untyped, "Formed": formed} {
		data := encode(b, transport.MsgPack, v)
		b.Run(name+"/Encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := transport.MsgPack.Encode(v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/Decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var into any = new(acquire)
				switch name {
				case "Map":
					into = new(genserver.Map)
				case "Formed":
					into = new(visit)
				}
				if err := transport.MsgPack.Decode(data, into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRequest compares a whole call (encode, frame, decode, answer) with
// a bare NATS request of the same size, through the same server in one run.
func BenchmarkRequest(b *testing.B) {
	s := startServer(b, server.RANDOM_PORT)
	subjects := mustSubjects(b)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), time.Hour)
	b.Cleanup(cancel)
	dial := func() *transport.NATS {
		c := dialNATS(b, transport.NATSOptions{URL: s.ClientURL()})
		b.Cleanup(func() { _ = c.Close(ctx) })
		return c
	}
	callee, caller := dial(), dial()
	if _, err := transport.ServeNode(callee, subjects, "I", nil, func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
		var m acquire
		err := in.Body.Decode(&m)
		in.Reply.Reply(grant{OK: m.N > 0}, err)
	}); err != nil {
		b.Fatal(err)
	}
	raw := func(name string) *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.Name(name))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		return nc
	}
	rawCallee, rawCaller := raw("callee"), raw("caller")
	if _, err := rawCallee.Subscribe("raw", func(m *nats.Msg) { _ = rawCallee.Publish(m.Reply, m.Data) }); err != nil {
		b.Fatal(err)
	}
	if err := callee.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err := rawCallee.FlushWithContext(ctx); err != nil {
		b.Fatal(err)
	}
	to := transport.Route{Subject: subjects.Node("I", "rate_limiter")}
	out := &genserver.Outgoing{Envelope: genserver.Envelope{To: "rate_limiter", Kind: genserver.KindCall, Op: "acquire", From: "web", FromNode: "n1"}, Message: acquire{N: 1, Key: "tenant-7"}}
	size := make([]byte, 64)
	ours := func() error {
		body, err := transport.Request(b.Context(), caller, to, out)
		if err != nil {
			return err
		}
		var g grant
		return body.Decode(&g)
	}
	theirs := func() error {
		_, err := rawCaller.RequestMsgWithContext(b.Context(), &nats.Msg{Subject: "raw", Data: size})
		return err
	}
	for _, c := range []struct {
		name string
		run  func() error
	}{{"Civitas", ours}, {"RawNATS", theirs}} {
		b.Run("OneCaller/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("256Callers/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(128)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.run(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
