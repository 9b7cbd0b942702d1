// Package app is the civitas command as a library, so that a program with
// servers of its own is the same command:
//
//	func main() {
//		os.Exit(app.Main(app.Options{Tree: supervisor.Spec{…}}))
//	}
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// Options are what a program adds to the command. The zero value is civitas itself.
type Options struct {
	// Name is the program's. Default "civitas".
	Name string
	// Version is the program's. Default the module's.
	Version string
	// Tree is what `run` runs where no topology file is named. Default a
	// rate_limiter, a cache and sessions, from services/.
	Tree supervisor.Spec
	// Types are what a topology file may name, besides those of services/.
	Types []genserver.Type
}

// Main runs the command with the process's arguments, streams and signals, and
// returns the exit code. The first SIGINT or SIGTERM ends `run` in order, a
// second one ends the process.
func Main(o Options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the next one has its usual effect.
	context.AfterFunc(ctx, stop)
	return Run(ctx, o, Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}, os.Args[1:])
}

// Streams are what the command reads and writes, and the environment that it
// sees. All of them are needed.
type Streams struct {
	// In has what an argument of - stands for, and the keys that `top` is told.
	In io.Reader
	// Out takes the results, Err what people are told besides.
	Out, Err io.Writer
	// Getenv looks up NATS_URL and its like, as os.Getenv does.
	Getenv func(string) string
}

// Run is [Main] for any arguments and streams, without signals: it ends when ctx
// does, `run` in order. The exit code is 0 for success, and else says what a
// script may conclude; docs/cli.md lists them.
func Run(ctx context.Context, o Options, s Streams, args []string) int {
	if o.Name == "" {
		o.Name = "civitas"
	}
	if o.Version == "" {
		o.Version = moduleVersion()
	}
	root := rootCommand(o, s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return report(s.Err, o.Name, cmd.CommandPath(), err)
}

func rootCommand(o Options, s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           o.Name,
		Short:         "Run supervised servers on NATS, and call them",
		Version:       o.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          subcommands,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(
		initCommand(o, s), runCommand(o, s), callCommand(o, s), castCommand(o, s),
		nodesCommand(o, s), whoCommand(o, s), psCommand(o, s), eventsCommand(o, s), treeCommand(o, s), topCommand(o, s), inspectCommand(o, s), stopCommand(o, s), restartCommand(o, s), healthCommand(o, s), applyCommand(o, s),
		topologyCommand(o, s), benchCommand(o, s), versionCommand(o, s),
	)
	return root
}

// subcommands refuses a word that is the name of no subcommand, and says which
// ones look like it.
func subcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usage(errors.New(text))
}

// arguments asks for one for each of the words that the usage line has in
// capitals.
func arguments(cmd *cobra.Command, args []string) error {
	var names []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if word == strings.ToUpper(word) {
			names = append(names, word)
		}
	}
	switch {
	case len(args) < len(names):
		return usage(fmt.Errorf("%s is missing: %s", strings.Join(names[len(args):], " and "), cmd.UseLine()))
	case len(args) > len(names):
		return usage(fmt.Errorf("%q is one argument too many (a payload is one, in quotes): %s", args[len(names)], cmd.UseLine()))
	default:
		return nil
	}
}
