// A buffer that is flushed by a heartbeat: the GenServer page's timer.
//
//	go run ./examples/heartbeat run
//	go run ./cmd/node cast buffer '{"type":"write","line":"hello"}'
//
// To try: stop it with Ctrl-C right after a cast. What is left is flushed by
// terminate.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

type (
	// Write adds a line to the buffer.
	Write struct {
		genserver.OneWay
		Line string `json:"line"`
	}
	heartbeat struct{ genserver.Signal }
)

// Op is "write".
func (Write) Op() string { return "write" }

func (heartbeat) Op() string { return "heartbeat" }

const every = 5 * time.Second

type buffer struct {
	to    io.Writer
	lines []string
}

func newBuffer(ctx *genserver.Context, to io.Writer) (*buffer, error) {
	ctx.SendAfter(every, heartbeat{})
	return &buffer{to: to}, nil
}

func (b *buffer) write(_ *genserver.Context, w Write) error {
	b.lines = append(b.lines, w.Line)
	return nil
}

// beat's error is a crash: the supervisor starts another buffer, which is empty.
func (b *buffer) beat(ctx *genserver.Context, beat heartbeat) error {
	ctx.SendAfter(every, beat) // the next one
	return b.flush()
}

func (b *buffer) end(*genserver.Context, error) { _ = b.flush() } // there is nobody left to tell

func (b *buffer) flush() error {
	for _, line := range b.lines {
		if _, err := fmt.Fprintln(b.to, line); err != nil {
			return err
		}
	}
	b.lines = nil
	return nil
}

// Buffer is the buffer's Type.
var Buffer = genserver.Define("myapp.services.Buffer", newBuffer,
	genserver.HandleCast((*buffer).write),
	genserver.HandleInfo((*buffer).beat),
	genserver.HandleTerminate((*buffer).end))

func tree(to io.Writer) supervisor.Spec {
	return supervisor.Spec{Children: []supervisor.Child{
		{Name: "buffer", Run: Buffer.With(to), Scope: supervisor.Cluster},
	}}
}

func main() { os.Exit(app.Main(app.Options{Name: "heartbeat", Tree: tree(os.Stderr)})) }
