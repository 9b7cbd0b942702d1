package transport_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// A server is given a public subject by hand, on a broker in memory, and a plain
// client calls it. A node does the same over NATS for each cluster-wide name.
func Example() {
	if err := publicServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// civitas.dev.s.adder answers {"sum":5}
	// civitas.dev.s.nobody: no responders
}

func publicServer() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	sys := genserver.NewSystem(genserver.Config{})
	defer func() { _ = sys.Stop(ctx) }()
	if _, err := sys.Start(ctx, "adder", adder.With(struct{}{}), genserver.SpawnOptions{}); err != nil {
		return err
	}

	hub := transport.NewHub()
	node, client := hub.Dial("n1"), hub.Dial("client")
	defer func() { _, _ = node.Close(ctx), client.Close(ctx) }()

	subjects, err := transport.NewSubjects("dev")
	if err != nil {
		return err
	}
	service, err := transport.ServePublic(node, subjects, "adder", nil, func(in *genserver.Incoming) { sys.Deliver(in) })
	if err != nil {
		return err
	}
	if err := node.Flush(ctx); err != nil { // from here on it is sure to be heard
		return err
	}
	defer func() { _ = service.Drain(ctx) }()

	subject := subjects.Public("adder")
	reply, err := client.Request(ctx, transport.Msg{Subject: subject, Data: []byte(`{"type":"add","a":2,"b":3}`)})
	if err == nil {
		err = transport.PublicError(reply)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s answers %s\n", subject, reply.Data)

	subject = subjects.Public("nobody")
	_, err = client.Request(ctx, transport.Msg{Subject: subject})
	fmt.Printf("%s: %v\n", subject, err)
	return nil
}

type add struct {
	genserver.Returns[sum]
	A int `json:"a"`
	B int `json:"b"`
}

type sum struct {
	Sum int `json:"sum"`
}

func (add) Op() string { return "add" }

type adding struct{}

func (*adding) add(_ *genserver.Context, m add) (sum, error) { return sum{m.A + m.B}, nil }

var adder = genserver.Define("transport_test.Adder",
	func(*genserver.Context, struct{}) (*adding, error) { return &adding{}, nil },
	genserver.HandleCall((*adding).add))

// Two connections are cut off each other, as by a network that loses what it
// carries: the sender is not told.
func ExampleHub_Cut() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	hub := transport.NewHub()
	a, b := hub.Dial("a"), hub.Dial("b")
	defer func() { _, _ = a.Close(ctx), b.Close(ctx) }()
	got := make(chan string, 2)
	if _, err := b.Subscribe("news", func(m transport.Msg) { got <- string(m.Data) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}

	hub.Cut("a", "b")
	fmt.Println("while cut:", a.Publish(transport.Msg{Subject: "news", Data: []byte("lost")}))
	hub.Heal("a", "b")
	fmt.Println("healed:", a.Publish(transport.Msg{Subject: "news", Data: []byte("arrives")}))
	fmt.Println("b got:", <-got)
	fmt.Println("lost to the cut:", hub.Faults().Cut)
	// Output:
	// while cut: <nil>
	// healed: <nil>
	// b got: arrives
	// lost to the cut: 1
}
