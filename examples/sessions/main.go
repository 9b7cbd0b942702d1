// A session registry in the untyped form: one handler takes every call as a
// Map, as the GenServer page's handle_call does. One for production, typed, with
// ids that can't be guessed and an end to each session, is services/sessions.
//
//	go run ./examples/sessions run
//	go run ./cmd/node call sessions '{"type":"open","user":"ada"}'
//	go run ./cmd/node call sessions '{"type":"count"}'
//
// To try: make "open" a typed call beside the Map handler, which then takes the
// rest.
package main

import (
	"fmt"
	"os"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// ErrUnknownCall can be matched with errors.Is by callers on any node.
var ErrUnknownCall = genserver.NewError("myapp.unknown_call", "unknown call")

type registry struct {
	sessions map[string]any
	opened   int
}

// newRegistry is init: a restart begins from nothing.
func newRegistry(*genserver.Context, struct{}) (*registry, error) {
	return &registry{sessions: map[string]any{}}, nil
}

func (r *registry) call(_ *genserver.Context, m genserver.Map) (genserver.Map, error) {
	switch m.Op() {
	case "open":
		r.opened++
		id := fmt.Sprint("s", r.opened)
		r.sessions[id] = m["user"]
		return genserver.Map{"id": id}, nil
	case "count":
		return genserver.Map{"count": len(r.sessions)}, nil
	default:
		return nil, ErrUnknownCall
	}
}

func (r *registry) cast(_ *genserver.Context, m genserver.Map) error {
	if id, ok := m["id"].(string); ok && m.Op() == "close" {
		delete(r.sessions, id)
	}
	return nil
}

// SessionRegistry is the registry's Type.
var SessionRegistry = genserver.Define("myapp.services.SessionRegistry", newRegistry,
	genserver.HandleCall((*registry).call),
	genserver.HandleCast((*registry).cast))

var tree = supervisor.Spec{Children: []supervisor.Child{
	{Name: "sessions", Run: SessionRegistry.With(struct{}{}), Scope: supervisor.Cluster},
}}

func main() { os.Exit(app.Main(app.Options{Name: "sessions", Tree: tree})) }
