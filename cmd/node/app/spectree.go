package app

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// serverNames are the names in a tree, in the order they start; supervisors
// are not servers here.
func serverNames(spec supervisor.Spec) []string {
	names := []string{}
	for _, c := range spec.Children {
		switch run := c.Run.(type) {
		case supervisor.Spec:
			names = append(names, serverNames(run)...)
		case supervisor.Dynamic: // its servers come and go
		default:
			names = append(names, c.Name)
		}
	}
	return names
}

// treeText draws a tree; of many siblings, the first ones.
func treeText(spec supervisor.Spec) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "root\t%s\n", spec.Strategy)
	branches(w, spec, "")
	_ = w.Flush() // a strings.Builder takes all
	return b.String()
}

func branches(w *tabwriter.Writer, spec supervisor.Spec, indent string) {
	shown := spec.Children
	if len(shown) > crowd {
		shown = shown[:crowd/3]
	}
	left := len(spec.Children) - len(shown)
	for i, c := range shown {
		branch, below := "├─ ", "│  "
		if i == len(shown)-1 && left == 0 {
			branch, below = "└─ ", "   "
		}
		switch run := c.Run.(type) {
		case supervisor.Spec:
			fmt.Fprintf(w, "%s%s%s\t%s\t%s\n", indent, branch, c.Name, run.Strategy, c.Restart)
			branches(w, run, indent+below)
		case supervisor.Dynamic:
			fmt.Fprintf(w, "%s%s%s\tdynamic\t%s\n", indent, branch, c.Name, c.Restart)
		default:
			fmt.Fprintf(w, "%s%s%s\t%s\t%s\t%s\n", indent, branch, c.Name, run.GenServer().TypeName(), c.Restart, c.Scope)
		}
	}
	if left > 0 {
		fmt.Fprintf(w, "%s└─ and %d more\n", indent, left)
	}
}

// tryLines are commands to copy, for the first server that anyone can reach.
func tryLines(o Options, spec supervisor.Spec, n *node.Node) string {
	name := firstPublic(spec)
	if name == "" || n.URL() == "" {
		return "" // nobody can
	}
	message := `'{"type":"…"}'`
	if name == "rate_limiter" {
		message = `'{"type":"acquire"}'`
	}
	var flags, natsFlags string
	if n.URL() != "nats://"+defaultListen {
		flags = " --server " + n.URL()
		natsFlags = flags
	}
	if n.Cluster() != node.DefaultCluster {
		flags += " --cluster " + n.Cluster()
	}
	return fmt.Sprintf("Try, from another terminal:\n  %s call%s %s %s\n  nats req%s civitas.%s.s.%s %s\n",
		invocation(o), flags, name, message, natsFlags, n.Cluster(), name, message)
}

func firstPublic(spec supervisor.Spec) string {
	for _, c := range spec.Children {
		if nested, ok := c.Run.(supervisor.Spec); ok {
			if name := firstPublic(nested); name != "" {
				return name
			}
		} else if c.Scope == supervisor.Cluster {
			return c.Name
		}
	}
	return ""
}

// invocation is how this program was started, as far as it can be told: `go
// run` leaves no program to start again.
func invocation(o Options) string {
	switch arg := os.Args[0]; {
	case strings.Contains(arg, "go-build") && o.Name == "civitas":
		return "go run ./cmd/node"
	case strings.Contains(arg, "go-build"):
		return "go run ."
	case strings.HasSuffix(arg, ".test"):
		return o.Name
	default:
		return arg
	}
}
