package topology

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// Topology is what a file says.
type Topology struct {
	// Tree is what node.Config.Tree takes. It is empty with [Loader].AnyType.
	Tree supervisor.Spec
	// Node and Cluster are names, "" where the file leaves them open.
	Node, Cluster string
	// Transport says how the node reaches others.
	Transport Transport
	// Settings are Node, Cluster and Transport to look at: as they are written,
	// without passwords.
	Settings []Field
	// Root is the tree to look at.
	Root Branch
}

// Transport says how a node reaches others.
type Transport struct {
	// Type is "in_process" or "nats"; "" where the file leaves it open.
	Type string
	// Servers are NATS URLs, and none but for "nats".
	Servers []string
	// Credentials is a creds file, "" for none.
	Credentials string
}

// Load reads a file that names these Types and no variables; see [Loader.Load].
func Load(r io.Reader, types ...genserver.Type) (*Topology, error) {
	return Loader{Types: types}.Load(r)
}

// Loader reads files. The zero value knows no Types and no variables.
type Loader struct {
	// Types are what a child's type may name.
	Types []genserver.Type
	// AnyType accepts every type, and does not read configs: for a look at a
	// file whose Types are another program's.
	AnyType bool
	// Lookup finds the variables that ${NAME} stands for, as os.LookupEnv
	// does. Default none are set.
	Lookup func(name string) (string, bool)
	// File is the file's name in messages. Default what the reader's Name says,
	// as that of an os.File does, else "topology".
	File string
}

// Load reads one file. Its error is all of its [Mistakes], or that of the reader.
func (o Loader) Load(r io.Reader) (*Topology, error) {
	if named, ok := r.(interface{ Name() string }); ok && o.File == "" {
		o.File = named.Name()
	}
	o.File = cmp.Or(o.File, "topology")
	l := &loading{Loader: o, types: map[string]genserver.Type{}, taken: map[string]*yaml.Node{}}
	for i, t := range o.Types {
		if t == nil {
			return nil, fmt.Errorf("load %s: Types[%d] is nil", o.File, i)
		}
		if l.types[t.Name()] != nil {
			return nil, fmt.Errorf("load %s: two Types named %q", o.File, t.Name())
		}
		l.types[t.Name()] = t
	}
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", o.File, err)
	}
	top := l.topology(data)
	if l.mistakes != nil {
		return nil, l.told()
	}
	if o.AnyType {
		top.Tree = supervisor.Spec{}
	} else if err := top.Tree.Validate(); err != nil {
		return nil, fmt.Errorf("load %s: %w", o.File, err)
	}
	return top, nil
}

// loading is one Load.
type loading struct {
	Loader
	types    map[string]genserver.Type
	taken    map[string]*yaml.Node // names of the tree, and where they are given
	expanded int
	mistakes Mistakes
}

// mistake tells of something wrong at a node.
func (l *loading) mistake(n *yaml.Node, path, message, suggestion string) {
	l.mistakeAt(n.Line, n.Column, path, message, suggestion)
}

func (l *loading) mistakeAt(line, column int, path, message, suggestion string) {
	l.mistakes = append(l.mistakes, Mistake{l.File, max(line, 1), max(column, 1), path, message, suggestion})
}

// told are the mistakes in order, and not too many.
func (l *loading) told() Mistakes {
	l.mistakes.sort()
	// An anchor's mistakes are found wherever its aliases are.
	l.mistakes = slices.CompactFunc(l.mistakes, func(a, b Mistake) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
	if more := len(l.mistakes) - maxMistakes; more > 0 {
		l.mistakes = l.mistakes[:maxMistakes]
		last := l.mistakes[maxMistakes-1]
		l.mistakeAt(last.Line, last.Column, "", fmt.Sprintf("and %d mistakes more", more), "")
	}
	return l.mistakes
}

// topology reads the file as a whole.
func (l *loading) topology(data []byte) *Topology {
	root := l.parse(data)
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		l.mistake(root, "", fmt.Sprintf("a topology is a mapping that begins with supervision:, got %s", describe(root)), "")
		return nil
	}
	top := &Topology{}
	o := l.object(root, "", "a topology", fileKeys)
	if tree := o.values["supervision"]; tree == nil {
		o.missing("supervision", "")
	} else {
		top.Tree, top.Root = l.root(tree)
	}
	top.Node, top.Cluster = o.token("node"), o.token("cluster")
	if top.Cluster == "agent" {
		o.fault("cluster", `python-civitas uses the subjects under "agent"`, "choose another")
	}
	for _, key := range []string{"node", "cluster"} {
		if n := o.values[key]; n != nil {
			o.record(key, n.Value)
		}
	}
	top.Settings = o.fields
	if n := o.values["transport"]; n != nil {
		if t := l.object(n, "transport", "a transport", transportKeys); t != nil {
			top.Transport = t.transport()
			for _, f := range t.fields {
				f.Key = "transport." + f.Key
				top.Settings = append(top.Settings, f)
			}
		}
	}
	return top
}
