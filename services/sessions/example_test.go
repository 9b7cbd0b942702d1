package sessions_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/sessions"
)

func Example() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "sessions", sessions.Registry.With(sessions.Config{}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := sys.Ref("sessions")

	// A login.
	s, err := genserver.Call(ctx, registry, sessions.Create{Data: genserver.Map{"user": "ada"}})
	fmt.Println(len(s.ID), s.Data["user"], s.TTL, err)
	// Each request that bears the id.
	s, err = genserver.Call(ctx, registry, sessions.Touch{ID: s.ID})
	fmt.Println(s.Data["user"], err)
	// A logout.
	gone, err := genserver.Call(ctx, registry, sessions.Delete{ID: s.ID})
	fmt.Println(gone.Deleted, err)
	_, err = genserver.Call(ctx, registry, sessions.Get{ID: s.ID})
	fmt.Println(err, errors.Is(err, sessions.ErrNotFound))
	// Output:
	// 26 ada 1800 <nil>
	// ada <nil>
	// true <nil>
	// sessions: no such session true
}

// The same server, as callers without the Go types see it.
func Example_untyped() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "sessions", sessions.Registry.With(sessions.Config{}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, request := range []genserver.Map{
		{"type": "create", "id": "robot-7", "data": genserver.Map{"shift": "night"}, "ttl": 3600},
		{"type": "count"},
		{"type": "delete", "id": "robot-7"},
		{"type": "touch", "id": "robot-7"},
	} {
		reply, err := genserver.Call(ctx, sys.Ref("sessions"), request)
		fmt.Println(reply["data"], reply["count"], reply["deleted"], err)
	}
	// Output:
	// map[shift:night] <nil> <nil> <nil>
	// <nil> 1 <nil> <nil>
	// <nil> <nil> true <nil>
	// <nil> <nil> <nil> sessions: no such session
}
