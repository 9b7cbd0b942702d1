package topology

import "slices"

// key is a key of a mapping in a topology file: what the reader accepts, the
// schema describes and docs/topology.md lists.
type key struct {
	name string
	kind kind
	// byDefault is what the key is where it is missing; "" for nothing.
	byDefault string
	doc       string
	// refused says why a key that is known is not taken; "" for one that is.
	refused string
	instead string // the suggestion, for one that is refused
}

// kind is what the value of a key can be.
type kind uint8

const (
	aText kind = iota
	aName
	aType
	aCount     // a whole number, 0 or more
	aPositive  // a whole number above 0
	aDuration  // 0 or more
	aWait      // above 0
	aShutdown  // a duration, or a word
	aPart      // 0 to 0.25
	aYesNo     //
	aStrategy  //
	aRestart   //
	aGrowth    //
	anAuto     //
	aScope     //
	aPartition //
	aConfig    // whatever the Type's config is
	aTypeList  //
	aChildList //
	aPlacement //
	someLabels //
	aServerSet // one URL or several
	aTransport //
	aSupervisor
	aTransportType
	anything // for what is refused
)

const later = "comes with a later release"

var (
	fileKeys = []key{
		{name: "supervision", kind: aSupervisor, doc: "The tree: its root supervisor."},
		{name: "transport", kind: aTransport, doc: "How the node reaches others. Default as the command is told."},
		{name: "node", kind: aName, doc: "The node's name: one token of [A-Za-z0-9_-]. Default the host's name and a random suffix."},
		{name: "cluster", kind: aName, byDefault: "dev", doc: "The cluster to join: one token of [A-Za-z0-9_-]."},
		{name: "state", kind: anything, refused: "state " + later},
		{name: "plugins", kind: anything, refused: "plugins are python-civitas's"},
		{name: "mcp", kind: anything, refused: "mcp is python-civitas's"},
		{name: "security", kind: anything, refused: "security is python-civitas's", instead: "see transport.credentials"},
		{name: "audit", kind: anything, refused: "audit is python-civitas's"},
		{name: "presidium", kind: anything, refused: "presidium is python-civitas's"},
	}
	transportKeys = []key{
		{name: "type", kind: aTransportType, byDefault: "in_process", doc: "in_process is this process alone; nats is the servers below."},
		{name: "servers", kind: aServerSet, byDefault: "nats://127.0.0.1:4222", doc: "The NATS servers: one URL, or a list."},
		{name: "credentials", kind: aText, doc: "The creds file to show the NATS servers. Default none."},
		{name: "jetstream", kind: anything, refused: "jetstream is always on: the servers must have it", instead: "leave it out"},
		{name: "stream_name", kind: anything, refused: "the stream is named by the cluster", instead: "leave it out"},
		{name: "pub_addr", kind: anything, refused: "zmq is python-civitas's", instead: "use type: nats"},
		{name: "sub_addr", kind: anything, refused: "zmq is python-civitas's", instead: "use type: nats"},
		{name: "start_proxy", kind: anything, refused: "zmq is python-civitas's", instead: "use type: nats"},
	}

	placementKeys = []key{
		{name: "node", kind: aName, doc: "The name of the only node that may run the child."},
		{name: "labels", kind: someLabels, doc: "Labels that a node must have to run the child; it has those that run --label gave it."},
	}

	// intensityKeys are those of every supervisor.
	intensityKeys = []key{
		{name: "max_restarts", kind: aCount, byDefault: "3", doc: "How many restarts may fall into one restart_window; one more, and the supervisor gives up. 0 for none."},
		{name: "restart_window", kind: aWait, byDefault: "60s", doc: "The sliding window that max_restarts counts in."},
		{name: "backoff", kind: aGrowth, byDefault: "none", doc: "How the wait before a restart grows with a child's attempts: none, constant, linear or exponential. Without it the three below have no place."},
		{name: "backoff_base", kind: aWait, byDefault: "1s", doc: "The wait before the first attempt."},
		{name: "backoff_max", kind: aWait, byDefault: "60s", doc: "The longest wait, jitter included; backoff_base if that is longer."},
		{name: "backoff_jitter", kind: aPart, doc: "How much of each wait is added to it by chance, at most: 0 to 0.25. Default 0.25 for exponential, else 0."},
		{name: "stop_within", kind: aDuration, doc: "How long the supervisor may take to stop all its children. Default no limit but theirs."},
		{name: "auto_shutdown", kind: anAuto, byDefault: "never", doc: "Whether the end of significant children ends the supervisor: never, any_significant or all_significant."},
	}
	supervisorKeys = join([]key{
		{name: "name", kind: aName, byDefault: "", doc: "The supervisor's name. Of the root, default root."},
		{name: "strategy", kind: aStrategy, byDefault: "one_for_one", doc: "Which children are restarted with one that crashed: one_for_one, one_for_all or rest_for_one."},
	}, intensityKeys, []key{
		{name: "types", kind: aTypeList, doc: "The types of which others may start children here. Default none."},
		{name: "children", kind: aChildList, doc: "The children, in the order they start."},
		{name: "spread", kind: anything, refused: "spread " + later},
		{name: "on_partition", kind: anything, refused: "it is a server's", instead: "give it to the servers"},
	})
	rootKeys = join(supervisorKeys, []key{
		{name: "placement", kind: anything, refused: "the root runs on every node", instead: "give it to its children"},
		{name: "restart", kind: anything, refused: "nothing restarts the root", instead: "leave it out"},
		{name: "shutdown", kind: anything, refused: "the node's stop bounds the root's", instead: "use stop_within"},
		{name: "scope", kind: anything, refused: "the root has no scope", instead: "leave it out"},
		{name: "significant", kind: anything, refused: "the root is nobody's child", instead: "leave it out"},
	})
	// childKeys are those of everything that is supervised.
	childKeys = []key{
		{name: "restart", kind: aRestart, byDefault: "permanent", doc: "After which of its ends the child is restarted: permanent, transient (crashes alone) or temporary (none)."},
		{name: "shutdown", kind: aShutdown, byDefault: "5s", doc: "How long the child may take to stop before it is killed: a duration, infinity or brutal_kill. Default infinity for a supervisor."},
		{name: "significant", kind: aYesNo, byDefault: "false", doc: "Whether the supervisor's auto_shutdown looks at the child."},
		{name: "placement", kind: aPlacement, doc: "Which nodes may run the child, if it is one of the root's and has cluster-wide names: the one of a name, node: n1, or those with labels, labels: {role: worker}. Default any that has its type."},
	}
	nestedKeys = join([]key{
		{name: "type", kind: aText, doc: "supervisor, which may be left out."},
	}, supervisorKeys, childKeys, []key{
		{name: "scope", kind: aScope, byDefault: "local", doc: "A supervisor's name is its node's."},
	})
	dynamicKeys = join([]key{
		{name: "name", kind: aName, doc: "The supervisor's name."},
		{name: "type", kind: aText, doc: "dynamic_supervisor."},
		{name: "max_children", kind: aPositive, doc: "How many children there may be at a time. Default no limit."},
		{name: "max_total_spawns", kind: aPositive, doc: "How many children may be started in the supervisor's life. Default no limit."},
	}, intensityKeys, childKeys, []key{
		{name: "types", kind: aTypeList, doc: "The types of which others may start children here. Default all that the program has."},
		{name: "scope", kind: aScope, byDefault: "local", doc: "A supervisor's name is its node's."},
		{name: "config", kind: aConfig, doc: "Another place for the keys of this table, as in python-civitas."},
		{name: "strategy", kind: anything, refused: "a dynamic supervisor is one_for_one", instead: "leave it out"},
		{name: "children", kind: anything, refused: "a dynamic supervisor begins without children", instead: "use a supervisor, or start them by StartChild"},
		{name: "max_children_per_spawner", kind: anything, refused: "max_children_per_spawner is python-civitas's"},
		{name: "max_total_spawns_per_spawner", kind: anything, refused: "max_total_spawns_per_spawner is python-civitas's"},
		{name: "spread", kind: anything, refused: "spread " + later},
		{name: "on_partition", kind: anything, refused: "it is a server's", instead: "give it to the servers"},
		{name: "process", kind: anything, refused: "where a child runs " + later},
	})
	serverKeys = join([]key{
		{name: "name", kind: aName, doc: "The server's name, and so its NATS subject: tokens of [A-Za-z0-9_-] joined by dots."},
		{name: "type", kind: aType, doc: "The name of a Type that the program has."},
		{name: "config", kind: aConfig, doc: "The Type's config, by its json tags. Default its zero value."},
	}, childKeys, []key{
		{name: "scope", kind: aScope, byDefault: "cluster", doc: "How far the name is known: cluster has one owner in the cluster, local is each node's own."},
		{name: "public", kind: aYesNo, doc: "Whether plain NATS clients can reach the server. Default what its scope says: those of the cluster can."},
		{name: "handle_timeout", kind: aWait, doc: "How long a handler may run before it is a crash. Default as the Type says."},
		{name: "heartbeat_interval", kind: aWait, byDefault: "5s", doc: "With the two below, a watchdog in python-civitas's words."},
		{name: "heartbeat_timeout", kind: aWait, byDefault: "2s", doc: "A handler that runs longer has missed a heartbeat, and is reported with its stack."},
		{name: "missed_heartbeats_threshold", kind: aPositive, byDefault: "3", doc: "A handler that runs for so many, with the intervals between them, is a crash."},
		{name: "state", kind: anything, refused: "state " + later},
		{name: "spread", kind: anything, refused: "spread " + later},
		{name: "on_partition", kind: aPartition, byDefault: "pause", doc: "What a server of the cluster does while its node can't prove that the name is its own: pause, or keep serving callers on its node."},
		{name: "process", kind: anything, refused: "where a child runs " + later},
		{name: "children", kind: anything, refused: "a server has no children", instead: "leave out type for a supervisor"},
		{name: "module", kind: anything, refused: "module and class are one name here", instead: "write type: module.class"},
		{name: "class", kind: anything, refused: "module and class are one name here", instead: "write type: module.class"},
		{name: "capabilities", kind: anything, refused: "capabilities are python-civitas's"},
		{name: "capability_metadata", kind: anything, refused: "capabilities are python-civitas's"},
		{name: "credentials", kind: anything, refused: "credentials of a child are python-civitas's", instead: "use config"},
		{name: "public_key", kind: anything, refused: "public_key is python-civitas's"},
	})
)

func join(parts ...[]key) []key {
	var all []key
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func without(keys []key, names ...string) []key {
	return slices.DeleteFunc(slices.Clone(keys), func(k key) bool { return slices.Contains(names, k.name) })
}

// names are those of the keys that are taken.
func names(keys []key) []string {
	var known []string
	for _, k := range keys {
		if k.refused == "" {
			known = append(known, k.name)
		}
	}
	return known
}
