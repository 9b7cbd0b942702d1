package genserver

import "context"

// CallNodes calls the servers of one name on several nodes at once, each of which
// has its own, and waits until every one has answered or failed, at most
// [DefaultTimeout] unless an [Option] says otherwise: one deadline for all. A node that
// is named twice is called once.
//
// Every node is in one of the two results: its server's reply, or the error that
// [Call] would have given, such as ErrNoProcess for a node that is not there or
// has no such server. Which Ref.On the Ref has makes no difference.
func CallNodes[Req CallMessage[Rep], Rep any](ctx context.Context, to Ref, nodes []string, r Req, opts ...Option) (replies map[string]Rep, failed map[string]error) {
	calls := make(map[string]*Future[Rep], len(nodes))
	for _, node := range nodes {
		if calls[node] == nil {
			calls[node], _ = begin[Req, Rep](ctx, to.On(node), r, opts) // one that is slow to leave holds none up
		}
	}
	replies, failed = make(map[string]Rep, len(calls)), map[string]error{}
	for node, call := range calls {
		<-call.Done() // within its timeout, and ctx
		rep, err := call.Await(ctx)
		if err != nil {
			failed[node] = err
			continue
		}
		replies[node] = rep
	}
	return replies, failed
}
