// Package genserver is Erlang/OTP's gen_server for Go: state with a name that
// handles one message at a time.
//
//	type Acquire struct{ genserver.Returns[Grant] }
//	type Grant struct {
//		OK bool `json:"ok"`
//	}
//
//	func (Acquire) Op() string { return "acquire" }
//
//	type limiter struct{ tokens int }
//
//	func (l *limiter) acquire(*genserver.Context, Acquire) (Grant, error) {
//		l.tokens--
//		return Grant{OK: l.tokens >= 0}, nil
//	}
//
//	var Limiter = genserver.Define("myapp.Limiter",
//		func(_ *genserver.Context, tokens int) (*limiter, error) { return &limiter{tokens}, nil },
//		genserver.HandleCall((*limiter).acquire))
//
//	sys := genserver.NewSystem(genserver.Config{})
//	_, err := sys.Start(ctx, "limiter", Limiter.With(100), genserver.SpawnOptions{})
//	grant, err := genserver.Call(ctx, sys.Ref("limiter"), Acquire{})
//
// A message's kind and its reply are part of its Go type, so the compiler
// refuses to call a cast, to cast a call, or to set a timer of either. Messages
// without a type of their own are a [Map].
//
// # Guarantees
//
//   - One handler of a server runs at a time, init and terminate included.
//   - Messages from one sender to one server are handled in the order they were
//     sent: calls, casts and infos alike.
//   - Delivery is at most once. Every error of a call says whether the message
//     certainly did not reach a handler; see [NotDelivered].
//   - When a server ends, everyone who waits for it is told at once, with the
//     reason. What its handlers and timers still do after a [Process.Kill] is
//     refused, and never reaches the next generation.
//   - Values sent within a process are not copied: don't change what you sent.
//
// # Rooms
//
// A [System] is the process table of one program. Package supervisor restarts
// servers, by [System.Spawn], [SpawnOptions] and [Watcher]. Package node
// connects Systems over NATS: it implements [Router], [Claim] and [Gate], hands
// an [Incoming] to [System.Deliver], and is handed an [Outgoing]. A program
// that has its servers run by these two needs none of those names, nor
// [Envelope], [Body], [Replier], [Overload] and [Kind].
package genserver
