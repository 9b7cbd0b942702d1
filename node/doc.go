// Package node is the runtime that a program starts: servers under a
// supervision tree, reachable by name from every node of the cluster, over NATS.
//
//	n, err := node.Start(ctx, node.Config{
//		Name: "n1",
//		NATS: node.URL("nats://127.0.0.1:4222"),
//		Tree: supervisor.Spec{Children: []supervisor.Child{
//			{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
//		}},
//	})
//	if err != nil {
//		return err
//	}
//	defer n.Stop(ctx)
//	grant, err := genserver.Call(ctx, n.Ref("rate_limiter"), ratelimit.Acquire{N: 1})
//
// Without [Config].NATS a node is this process alone. Package embedded has a
// NATS server that runs within the node.
//
// # The way of a call
//
//	genserver/call.go ── the server is here ──> mailbox.go ──> loop.go ──> reply
//	     │
//	     └─ it's elsewhere ──> node/route.go ──> transport/request.go ──> NATS ──>
//	        transport/serve.go ──> node/deliver.go ──> genserver/mailbox.go ──> loop.go ──> reply
//
// # Names
//
// A server's name is its node's unless its child says supervisor.Cluster. A
// cluster-wide name has one owner, recorded in JetStream and claimed by
// compare-and-set; a second one is refused with the holder's name. Its public
// subject, civitas.<cluster>.s.<name>, can be called by any NATS client.
package node
