package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/probe"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/services/sessions"
	"github.com/civitas-go/civitas/services/ttlcache"
	"github.com/civitas-go/civitas/topology"
	"github.com/civitas-go/civitas/transport"
)

// types are those that a topology file may name: the program's own, and those
// of the services here.
func (o Options) types() []genserver.Type {
	all := slices.Clone(o.Types)
	for _, service := range []genserver.Type{ratelimit.Limiter, ttlcache.Cache, sessions.Registry, probe.Prober} {
		if !slices.ContainsFunc(all, func(t genserver.Type) bool { return t.Name() == service.Name() }) {
			all = append(all, service)
		}
	}
	return all
}

// loadTopology reads a file, or stdin for "-". The error has the exit code 3
// for a file with mistakes.
func loadTopology(o Options, s Streams, file string, anyType bool) (*topology.Topology, error) {
	loader := topology.Loader{Types: o.types(), AnyType: anyType, File: file, Lookup: func(name string) (string, bool) {
		value := s.Getenv(name)
		return value, value != ""
	}}
	r := s.In
	if file == "-" {
		loader.File = "stdin"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage(fmt.Errorf("topology: %w", withoutPath(err, file)))
		}
		defer f.Close() //nolint:errcheck // it was read only
		r = f
	}
	top, err := loader.Load(r)
	var mistakes topology.Mistakes
	if errors.As(err, &mistakes) {
		return nil, coded(exitTopology, err)
	}
	return top, err
}

// withoutPath says what is wrong with a file in fewer words.
func withoutPath(err error, file string) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", file, e.Err)
	}
	return err
}

// sourceOfFile is what the file says of NATS.
func sourceOfFile(top *topology.Topology) natsSource {
	if top == nil {
		return natsSource{}
	}
	t := top.Transport
	return natsSource{name: "transport.servers", url: strings.Join(t.Servers, ","), auth: transport.Auth{Creds: t.Credentials}}
}

func topologyCommand(o Options, s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Check, show and compare topology files",
		Args:  subcommands,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(validateCommand(o, s), showCommand(o, s), diffCommand(o, s), schemaCommand(o, s))
	return cmd
}

// verdict is the JSON of `topology validate`; a contract.
type verdict struct {
	File     string            `json:"file"`
	OK       bool              `json:"ok"`
	Servers  int               `json:"servers"`
	Mistakes topology.Mistakes `json:"mistakes,omitempty"`
}

func validateCommand(o Options, s Streams) *cobra.Command {
	var format output
	var anyType bool
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Tell all that is wrong with a topology file",
		Long: `Tell all that is wrong with a topology file, each mistake as file:line:column.
FILE may be - for stdin. It exits with 3 where there are mistakes.

The types that a file may name are this program's. For another program's file,
use that program, or --any-type, which looks at neither types nor configs.`,
		Args: arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			top, err := loadTopology(o, s, args[0], anyType)
			v := verdict{File: args[0], OK: err == nil}
			if err != nil && !errors.As(err, &v.Mistakes) {
				return err
			}
			if top != nil {
				v.Servers = countServers(top.Root)
			}
			if format == outputTable {
				if err == nil {
					_, err = fmt.Fprintf(s.Out, "%s: ok, %s\n", v.File, plural(v.Servers, "server"))
				}
				return err
			}
			return errors.Join(err, printOne(s.Out, format, v, nil))
		},
	}
	format.register(cmd.Flags())
	cmd.Flags().BoolVar(&anyType, "any-type", false, "accept every type and config")
	return cmd
}

func countServers(b topology.Branch) int {
	if b.Kind == "server" {
		return 1
	}
	n := 0
	for _, child := range b.Children {
		n += countServers(child)
	}
	return n
}

// shown is the JSON of `topology show`; a contract.
type shown struct {
	Settings []topology.Field `json:"settings"`
	Root     topology.Branch  `json:"root"`
}

func showCommand(o Options, s Streams) *cobra.Command {
	var format output
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show a topology file's tree with its policies",
		Long:  "Show a topology file's tree with its policies, whatever types it names. FILE may\nbe - for stdin.",
		Args:  arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			top, err := loadTopology(o, s, args[0], true)
			if err != nil {
				return err
			}
			return printOne(s.Out, format, shown{top.Settings, top.Root}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, strings.TrimRight(top.String(), "\n"))
				return err
			})
		},
	}
	format.register(cmd.Flags())
	return cmd
}

func diffCommand(o Options, s Streams) *cobra.Command {
	var format output
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differs between two topology files",
		Long:  "Show what differs between two topology files. It exits with 0 if they mean the\nsame, with 1 if not, and with 2 if that can't be told.",
		Args:  arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			a, err := loadTopology(o, s, args[0], true)
			if err != nil {
				return trouble(err)
			}
			b, err := loadTopology(o, s, args[1], true)
			if err != nil {
				return trouble(err)
			}
			changes := topology.Diff(a, b)
			err = printAll(s.Out, format, changes, func(w io.Writer) error {
				if len(changes) == 0 {
					return nil
				}
				_, err := fmt.Fprintln(w, strings.TrimRight(changes.String(), "\n"))
				return err
			})
			if err == nil && len(changes) > 0 {
				return errDiffers
			}
			return err
		},
	}
	format.register(cmd.Flags())
	return cmd
}

func schemaCommand(o Options, s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of topology files, for editors",
		Long: `Print the JSON Schema of topology files, with the types that this program knows
and their configs. An editor with the YAML language server takes it by a comment
in the file:

  # yaml-language-server: $schema=./topology.schema.json`,
		Args: arguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, strings.TrimSpace(string(topology.Schema(o.types()...))))
			return err
		},
	}
}

// errDiffers is no failure: the exit code says it all.
var errDiffers = coded(exitFailed, errors.New(""))

// trouble is what keeps diff from an answer.
func trouble(err error) error { return &codedError{exitTrouble, err} }
