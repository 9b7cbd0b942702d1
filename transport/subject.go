package transport

import (
	"errors"
	"strings"

	"github.com/civitas-go/civitas/internal/name"
)

// pythonCluster is taken: python-civitas puts its agents under civitas.agent.
const pythonCluster = "agent"

// Subjects makes and reads the subjects of one cluster. All that Civitas says
// on NATS is under civitas.<cluster>. but for NATS's own discovery, and every
// such subject is made here.
//
//	civitas.dev.n.<incarnation>.<name>         from node to node
//	civitas.dev.s.<name>                       from plain clients to a public server
//	civitas.dev.adm.<incarnation>.<op>         from operators to a node, about itself
//	civitas.dev.adm.<incarnation>.call.<name>  from operators to a server of a node
//	civitas.dev.js.<kind>.<key>                the cluster's records, in JetStream
//	civitas.dev.rp.<kind>.<key>                copies of the records, as they change
//	civitas.dev.ev.<event>                     lifecycle events
//	$SRV.<verb>[.civitas-dev[.<id>]]           NATS's own, for those who look for services
//	$SYS.REQ.ACCOUNT.PING.CONNZ                NATS's own, for those who ask about connections
//
// It is immutable; the zero value is not usable, see [NewSubjects]. The
// methods do not check the names given to them: whoever takes a name from a
// user checks it once, there.
type Subjects struct {
	cluster string
	root    string // "civitas.<cluster>."
}

// Connections is where each NATS server answers a client about the connections of the
// client's account, those that have ended lately among them.
const Connections = "$SYS.REQ.ACCOUNT.PING.CONNZ"

// NewSubjects refuses a cluster name that is no single NATS token, and
// "agent", which is python-civitas's.
func NewSubjects(cluster string) (Subjects, error) {
	if err := name.CheckToken("cluster", cluster); err != nil {
		return Subjects{}, err
	}
	if cluster == pythonCluster {
		return Subjects{}, errors.New(`cluster name "agent": python-civitas uses the subjects under it; choose another`)
	}
	return Subjects{cluster: cluster, root: "civitas." + cluster + "."}, nil
}

// Cluster is the cluster's name.
func (s Subjects) Cluster() string { return s.cluster }

// Node is where one incarnation of a node takes messages for one of its
// servers. Only nodes send here: the body is a [Frame].
func (s Subjects) Node(incarnation, name string) string {
	return s.root + "n." + incarnation + "." + name
}

// NodeAll is the wildcard over all servers of one incarnation: the one
// subscription a node needs, however many servers it has.
func (s Subjects) NodeAll(incarnation string) string {
	return s.root + "n." + incarnation + ".>"
}

// NodeName is the server's name in a subject of [Subjects.Node], and whether
// the subject is one of that incarnation and its name well formed.
func (s Subjects) NodeName(subject, incarnation string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, s.root)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutPrefix(rest, "n.")
	if !ok {
		return "", false
	}
	rest, ok = strings.CutPrefix(rest, incarnation)
	if !ok {
		return "", false
	}
	server, ok := strings.CutPrefix(rest, ".")
	if !ok || name.Check(server) != nil && !name.Runtime(server) {
		return "", false
	}
	return server, true
}

// Public is where plain NATS clients reach a server. The owner of a
// cluster-wide or public name subscribes to it; the body is the payload.
func (s Subjects) Public(name string) string { return s.root + "s." + name }

// Admin is where operators, who need not be nodes, ask one incarnation of a
// node about itself, or have it do something to its servers. The op is in the
// subject, so that NATS can permit some ops and not others.
func (s Subjects) Admin(incarnation, op string) string {
	return s.root + "adm." + incarnation + "." + op
}

// AdminAll is the wildcard over all ops of [Subjects.Admin].
func (s Subjects) AdminAll(incarnation string) string { return s.Admin(incarnation, "*") }

// AdminOp is the op in a subject of [Subjects.Admin] for that incarnation.
func (s Subjects) AdminOp(subject, incarnation string) (string, bool) {
	op, ok := strings.CutPrefix(subject, s.Admin(incarnation, ""))
	if !ok || name.CheckToken("op", op) != nil {
		return "", false
	}
	return op, true
}

// Direct is where operators reach a server of one incarnation of a node, also
// one whose name is that node's own. The body is the payload, as on [Subjects.Public].
func (s Subjects) Direct(incarnation, name string) string {
	return s.Admin(incarnation, "call") + "." + name
}

// DirectAll is the wildcard over all names of [Subjects.Direct].
func (s Subjects) DirectAll(incarnation string) string { return s.Direct(incarnation, ">") }

// DirectName is the server's name in a subject of [Subjects.Direct] for that
// incarnation, if it's well formed and not the runtime's.
func (s Subjects) DirectName(subject, incarnation string) (string, bool) {
	server, ok := strings.CutPrefix(subject, s.Direct(incarnation, ""))
	if !ok || name.Check(server) != nil {
		return "", false
	}
	return server, true
}

// Records is the wildcard over all records: the subjects of the cluster's
// stream.
func (s Subjects) Records() string { return s.root + "js.>" }

// Record is where one record is written. kind is one token, such as "own";
// key may have dots in it, and may be empty where a kind has one record only.
func (s Subjects) Record(kind, key string) string { return s.record("js.", kind, key) }

// Republished is the wildcard over the copies that the stream sends of every
// accepted write. Copies can be lost; the record itself cannot.
func (s Subjects) Republished() string { return s.root + "rp.>" }

// Republish is where the copies of one record go.
func (s Subjects) Republish(kind, key string) string { return s.record("rp.", kind, key) }

func (s Subjects) record(branch, kind, key string) string {
	if key == "" {
		return s.root + branch + kind
	}
	return s.root + branch + kind + "." + key
}

// RecordKey is the inverse of both [Subjects.Record] and [Subjects.Republish].
func (s Subjects) RecordKey(subject string) (kind, key string, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.root)
	if !ok {
		return "", "", false
	}
	record, ok := strings.CutPrefix(rest, "js.")
	if !ok {
		if record, ok = strings.CutPrefix(rest, "rp."); !ok {
			return "", "", false
		}
	}
	kind, key, dotted := strings.Cut(record, ".")
	if kind == "" || dotted && key == "" {
		return "", "", false
	}
	return kind, key, true
}

// Events is the wildcard over all lifecycle events: the cluster's own, and
// NATS's notices of lost connections, which only the server may publish.
func (s Subjects) Events() string { return s.root + "ev.>" }

// Event is where one kind of event goes, such as "disconnect".
func (s Subjects) Event(event string) string { return s.root + "ev." + event }

// Disconnects is where NATS's own notices of ended connections are to come, by
// an import from its system account. Nobody else may publish there.
func (s Subjects) Disconnects() string { return s.Event("disconnect") }

// discoveryRoot is where NATS's micro services are asked about themselves.
const discoveryRoot = "$SRV."

// DiscoveryName is the name that every node of the cluster has as a NATS micro
// service.
func (s Subjects) DiscoveryName() string { return "civitas-" + s.cluster }

// Discovery are the subjects on which one node is asked about itself, the verb
// a wildcard: as any service, as one of the cluster's, as itself.
func (s Subjects) Discovery(incarnation string) []string {
	all := discoveryRoot + "*"
	cluster := all + "." + s.DiscoveryName()
	return []string{all, cluster, cluster + "." + incarnation}
}

// discoveryVerb is what a subject of Discovery asks for.
func discoveryVerb(subject string) string {
	verb, _, _ := strings.Cut(strings.TrimPrefix(subject, discoveryRoot), ".")
	return verb
}
