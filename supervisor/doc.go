// Package supervisor keeps servers running: it starts them in order, restarts
// what crashes, gives up where that does not help, and stops them in reverse.
// It is Erlang/OTP's supervisor (https://www.erlang.org/doc/apps/stdlib/supervisor.html)
// for the servers of package genserver.
//
//	tree := supervisor.Spec{
//		Strategy: supervisor.OneForOne,
//		Children: []supervisor.Child{
//			{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{})},
//			{Name: "workers", Run: supervisor.Spec{ /* a supervisor of its own */ }},
//		},
//	}
//	sys := genserver.NewSystem(genserver.Config{})
//	root, err := sys.Start(ctx, "app", tree, genserver.SpawnOptions{})
//
// A [Spec] is a genserver.Runnable, so supervisors nest, and are started,
// stopped and found by name as other servers are. Its start succeeds once all
// children have started; if one can't, those before it are stopped again.
//
// A running supervisor is asked and told things by calls to its name, with
// OTP's answers: [WhichChildren], [CountChildren], [StartChild],
// [TerminateChild], [RestartChild] and [DeleteChild].
//
// What a crash leads to is decided by a pure core, which its own tests replay;
// this package carries the decisions out. Children start and stop outside of
// the supervisor's turn, so a slow one blocks nobody.
package supervisor
