// Package nodetest has nodes for tests: up in milliseconds, gone with the
// test, in real time or in virtual time.
//
//	func TestGreeter(t *testing.T) {
//		n := nodetest.Start(t, node.Config{Tree: supervisor.Spec{Children: []supervisor.Child{
//			{Name: "greeter", Run: greeter.Greeter.With(greeter.Config{})},
//		}}})
//		reply, err := genserver.Call(t.Context(), n.Ref("greeter"), greeter.Greet{Name: "ada"})
//		…
//		dead := n.Kill("greeter") // brutally
//		n.Next("greeter", dead)   // its supervisor has started another
//	}
//
// # Virtual time
//
// Inside of testing/synctest.Test a node's timers, timeouts and backoffs go by
// the bubble's clock, so ten minutes take as long as what happens in them:
//
//	synctest.Test(t, func(t *testing.T) {
//		n := nodetest.Start(t, node.Config{Tree: tree})
//		time.Sleep(10 * time.Minute)
//		synctest.Wait()
//		…
//	})
//
// # Several nodes
//
// Nodes that are given the same Connector are in one cluster. A
// [node.NewMemory] is in this process and works in virtual time; [NATS] is a
// real NATS server, for real time only.
//
//	nats := node.NewMemory() // or nodetest.NATS(t)
//	n1 := nodetest.Start(t, node.Config{Name: "n1", NATS: nats, Tree: tree})
//	n2 := nodetest.Start(t, node.Config{Name: "n2", NATS: nats})
//
// # What fails a test
//
// A node that does not start, or does not stop in order and in time, and
// goroutines that are left after the last node of the test has stopped. These
// are found by their profiler labels, so that tests can be parallel: every
// goroutine counts that the test or its servers have begun since the first node's
// start. Those that a timer's handler begins do not inherit the label and are
// not seen in real time; go.uber.org/goleak's VerifyTestMain, or a bubble, sees
// them too.
//
// It links nats-server and OpenTelemetry's SDK, so it is for tests alone.
package nodetest
