// Package supervision is the decision core of a supervisor: events go in, a
// list of actions comes out. It starts nothing, waits for nothing and has no
// clock, so the same core serves a supervisor in one process and one whose
// children live on many nodes, and a test can replay either.
//
//	core, err := supervision.New(spec)
//	for event := range events {
//		for _, action := range core.Step(now(), event) {
//			perform(action) // in order; must not block
//		}
//	}
//
// Starting and stopping a child are orders that are answered later, by an
// event, from wherever the child lives:
//
//	StartChild  is answered by  ChildStarted, or StartFailed
//	            and then, once, by ChildExited or ChildrenLost
//	StopChild   is answered by  ChildExited, or StartFailed for one still starting
//	StartTimer  is answered by  TimerFired, unless CancelTimer came first
//
// Every order must be answered in the end, or the core waits with it; the one
// who performs the orders keeps the deadlines. Answers of an older generation,
// second answers and stale timers are ignored.
//
// A supervisor lives through these phases:
//
//	Idle --Start--> Starting --Started--> Running
//	                    |                    |
//	    a start failed, |                    | Stop, or the restart
//	     Stop, or limit |                    | limit is broken
//	                    +-----> Stopping <---+
//	                                |
//	                                | no child is left
//	                                v
//	               Done, reported by Failed, Stopped or Escalate
//
// The rules are those of Erlang/OTP's supervisor
// (https://www.erlang.org/doc/apps/stdlib/supervisor.html and its "Supervision
// Principles"). Where asynchronous children ask for a rule that OTP does not
// need, the comment there says so.
package supervision
