package main

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
)

func TestWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nodetest.Start(t, node.Config{Tree: tree})
		for i, want := range []error{nil, nil, ErrRateLimited} {
			_, err := genserver.Call(t.Context(), n.Ref("worker"), Work{})
			if !errors.Is(err, want) {
				t.Errorf("work %d: got %v, want %v", i, err, want)
			}
		}
		synctest.Wait() // for the casts
		got, err := genserver.Call(t.Context(), n.Ref("metrics"), Read{})
		if err != nil || got.Counts["worker request"] != 2 {
			t.Errorf("metrics: got %v, %v; want 2 requests of worker", got, err)
		}

		// One trace: the limiter's handler ran within the worker's.
		work, acquire := n.Span("worker", "work"), n.Span("rate_limiter", "acquire")
		if acquire.Parent.SpanID() != work.SpanContext.SpanID() {
			t.Errorf("span of acquire: got parent %v, want %v", acquire.Parent.SpanID(), work.SpanContext.SpanID())
		}
	})
}
