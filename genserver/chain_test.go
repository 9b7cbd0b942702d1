package genserver_test

import (
	"strings"
	"testing"

	"github.com/civitas-go/civitas/genserver"
)

// callOn has a server make a call, and returns what became of it.
func callOn(c *genserver.Context, name string, m Do) error {
	_, err := genserver.Call(c, c.Ref(name), m)
	return err
}

func TestCallCyclesAreRefused(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		t.Parallel()
		s := newSystem(t, genserver.Config{Node: "n1"})
		for _, name := range []string{"a", "b", "c"} {
			start(t, s, name, typ.With(hooks{}))
		}
		var err error
		back := func(to string) Do {
			return Do{Fn: func(c *genserver.Context) (Done, error) {
				err = callOn(c, to, Do{})
				return Done{}, nil
			}}
		}
		via := func(to string, m Do) Do {
			return Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, callOn(c, to, m) }}
		}
		for _, tc := range []struct {
			what  string
			m     Do
			chain string
		}{
			{"self-call", back("a"), "n1/a → n1/a"},
			{"a cycle of two", via("b", back("a")), "n1/a → n1/b → n1/a"},
			{"a cycle of three", via("b", via("c", back("a"))), "n1/a → n1/b → n1/c → n1/a"},
			{"a cycle that begins later", via("b", via("c", back("b"))), "n1/a → n1/b → n1/c → n1/b"},
		} {
			err = nil
			_, outer := genserver.Call(t.Context(), s.Ref("a"), tc.m)
			noErr(t, tc.what+": the outer call", outer)
			wantErr(t, tc.what, err, genserver.ErrCallCycle, true)
			if err != nil && !strings.HasSuffix(err.Error(), tc.chain) {
				t.Errorf("%s: got %q, want it to name the chain %s", tc.what, err, tc.chain)
			}
		}
	})
}

// A handler of a cast keeps its sender waiting for nothing: calling the sender
// back is no cycle, but calling itself is.
func TestCastsDoNotWait(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	start(t, s, "a", Puppet.With(hooks{}))
	start(t, s, "b", Puppet.With(hooks{}))
	back, self := make(chan error, 1), make(chan error, 1)
	noErr(t, "cast", s.Ref("a").Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error {
		return c.Ref("b").Cast(c, Tell{Fn: func(c *genserver.Context) error {
			back <- callOn(c, "a", Do{})
			self <- callOn(c, "b", Do{})
			return nil
		}})
	}}))
	noErr(t, "calling a cast's sender", <-back)
	wantErr(t, "self-call from a cast", <-self, genserver.ErrCallCycle, true)
}

// The chain comes with the envelope: a call from another node that a server of
// this one waits for must not call that server.
func TestCycleOverAnotherNode(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	waiting := genserver.Envelope{Kind: genserver.KindCall, Op: "do", From: "b", FromNode: "n2", Chain: []string{"n1/a", "n2/b"}}

	// Straight back to who waits.
	start(t, s, "a", Puppet.With(hooks{}))
	reply := newAnswer()
	in := &genserver.Incoming{Envelope: &waiting, Body: jsonBody(`{}`), Reply: reply}
	in.To = "a"
	s.Deliver(in)
	_, err, _ := reply.once()
	wantErr(t, "call back from another node", err, genserver.ErrCallCycle, true)
	if want := "n1/a → n2/b → n1/a"; err != nil && !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %q, want it to name the chain %s", err, want)
	}

	// By way of another server here.
	hop := genserver.Define("test.Hop", func(*genserver.Context, struct{}) (*puppet, error) { return &puppet{}, nil },
		genserver.HandleCall(func(_ *puppet, c *genserver.Context, _ Do) (Done, error) { return Done{}, callOn(c, "a", Do{}) }))
	start(t, s, "hop", hop.With(struct{}{}))
	reply = newAnswer()
	in = &genserver.Incoming{Envelope: &waiting, Body: jsonBody(`{}`), Reply: reply}
	in.To = "hop"
	s.Deliver(in)
	_, err, _ = reply.once()
	if want := "n1/a → n2/b → n1/hop → n1/a"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want it to name the chain %s", err, want)
	}
}
