package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
)

// message is one that the model has sent.
type message struct {
	id      int
	call    bool
	runs    int
	refused bool
	results []error // of a call
}

// model is what happens to two servers; the property is checked at the end.
type model struct {
	sys *genserver.System
	mu  sync.Mutex

	sent    []*message
	calls   sync.WaitGroup
	holding []func()
}

func (m *model) ran(msg *message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.runs++
}

func (m *model) add(call bool) *message {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg := &message{id: len(m.sent), call: call}
	m.sent = append(m.sent, msg)
	return msg
}

func (m *model) call(name string, fn func(*genserver.Context) error, timeout time.Duration) {
	msg := m.add(true)
	m.calls.Go(func() {
		rep, err := genserver.Call(context.Background(), m.sys.Ref(name), Do{Fn: func(c *genserver.Context) (Done, error) {
			m.ran(msg)
			return Done{msg.id}, fn(c)
		}}, genserver.WithTimeout(timeout))
		if err == nil && rep.N != msg.id {
			err = fmt.Errorf("got the reply of message %d", rep.N)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		msg.results = append(msg.results, err)
	})
}

// cast reports nothing, as casts do; what is dropped shows in the counters.
func (m *model) cast(name string, fn func(*genserver.Context) error) {
	msg := m.add(false)
	if err := m.sys.Ref(name).Cast(context.Background(), Tell{Fn: func(c *genserver.Context) error { m.ran(msg); return fn(c) }}); err != nil {
		msg.refused = true
	}
}

// Whatever is sent, killed, stopped and restarted in whatever order: every call
// ends exactly once, with its own reply or with an error that says truly
// whether it ran, and every message was handled once or refused.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(rapid.IntRange(0, 15), 1, 40).Draw(rt, "script")
		var failures []string
		synctest.Test(t, func(t *testing.T) { failures = playScript(t, script) })
		for _, failure := range failures {
			rt.Error(failure)
		}
	})
}

func playScript(t *testing.T, script []int) (failures []string) {
	m := &model{sys: newSystem(t, genserver.Config{})}
	types := map[string]*genserver.TypeOf[hooks]{"a": TinyPuppet, "b": FastPuppet}
	procs := map[string]*genserver.Process{}
	spawn := func(name string) {
		scope := genserver.Local
		if name == "b" {
			scope = genserver.Cluster
		}
		if p, err := m.sys.Spawn(name, types[name].With(hooks{}), genserver.SpawnOptions{Scope: scope}); err == nil {
			procs[name] = p
			synctest.Wait()
		}
	}
	fine := func(*genserver.Context) error { return nil }
	slow := func(*genserver.Context) error { <-time.After(time.Second); return nil }
	held := func() func(*genserver.Context) error {
		leave := make(chan struct{})
		m.holding = append(m.holding, func() { close(leave) })
		return func(*genserver.Context) error { <-leave; return nil }
	}
	spawn("a")
	spawn("b")
	for i, op := range script {
		name := []string{"a", "b"}[i%2]
		switch op {
		case 0, 1:
			m.call(name, fine, time.Minute)
		case 2, 3:
			m.cast(name, fine)
		case 4:
			m.call(name, slow, time.Minute)
		case 5:
			m.call(name, slow, time.Second/2)
		case 6:
			m.cast(name, slow)
		case 7:
			m.call(name, held(), time.Minute)
		case 8:
			m.call(name, func(*genserver.Context) error { return errNoSeat }, time.Minute)
		case 9:
			m.call(name, func(*genserver.Context) error { panic("boom") }, time.Minute)
		case 10:
			m.cast(name, func(*genserver.Context) error { return errBroken })
		case 11:
			m.call(name, func(*genserver.Context) error { return genserver.Stop(nil) }, time.Minute)
		case 12:
			procs[name].Kill()
		case 13:
			procs[name].RequestStop(genserver.Shutdown)
		case 14:
			spawn(name)
		case 15:
			<-time.After(2 * time.Second)
		}
		synctest.Wait()
	}
	for _, release := range m.holding {
		release()
	}
	synctest.Wait()
	for name := range types { // ends what still waits
		noErr(t, "release", m.sys.Release(t.Context(), name))
	}
	<-time.After(time.Hour)
	synctest.Wait()
	for _, p := range procs {
		p.Kill()
	}
	m.calls.Wait()
	synctest.Wait()

	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	castsSent, castsRan, castsRefused := 0, 0, 0
	for _, msg := range m.sent {
		if msg.runs > 1 {
			fail("message %d: got handled %d times, want at most once", msg.id, msg.runs)
		}
		if !msg.call {
			castsSent++
			castsRan += msg.runs
			if msg.refused {
				castsRefused++
			}
			continue
		}
		if len(msg.results) != 1 {
			fail("call %d: got %d ends, want exactly 1", msg.id, len(msg.results))
			continue
		}
		err := msg.results[0]
		switch ran := msg.runs == 1; {
		case err == nil && !ran:
			fail("call %d: got a reply without a run", msg.id)
		case genserver.NotDelivered(err) && ran:
			fail("call %d: got %v, which says that it did not run, but it did", msg.id, err)
		case err != nil && !ran && !genserver.NotDelivered(err):
			fail("call %d: got %v, which does not say that it did not run", msg.id, err)
		case err != nil && !errors.As(err, new(*genserver.Error)):
			fail("call %d: got %v, want an *Error", msg.id, err)
		}
	}
	if got := castsRan + castsRefused + int(m.sys.Stats().Dropped); got != castsSent {
		fail("got %d casts handled, %d refused and %d dropped of %d", castsRan, castsRefused, m.sys.Stats().Dropped, castsSent)
	}
	return failures
}
