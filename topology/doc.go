// Package topology reads a supervision tree, and how its node reaches others,
// from a YAML file:
//
//	supervision:
//	  name: root
//	  strategy: ONE_FOR_ONE
//	  children:
//	    - name: rate_limiter
//	      type: myapp.services.RateLimiter
//	    - name: worker
//	      type: myapp.agents.WorkerAgent
//
// It is python-civitas's format; docs/topology.md lists every key. The file
// names Types by the names that genserver.Define gave them:
//
//	f, err := os.Open("topology.yaml")
//	…
//	top, err := topology.Load(f, services.RateLimiter, agents.WorkerAgent)
//	…
//	n, err := node.Start(ctx, node.Config{Tree: top.Tree})
//
// A file with mistakes is refused with all of them at once, as [Mistakes], each
// with its line and column. Files may come from anywhere: their size, their
// depth and what their aliases stand for are bounded.
//
// What a file says can be looked at without its Types, and compared with
// another's; see [Loader].AnyType and [Diff]. Everything here is a pure
// function of its arguments: no environment is read, no file opened.
package topology
