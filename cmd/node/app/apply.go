package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/topology"
)

const (
	// applyTimeout is how long the children may take to run, by default.
	applyTimeout = 30 * time.Second
	// applyAtOnce is how many records are asked to be written at a time, and
	// askedAtOnce of how many children is asked in one message.
	applyAtOnce, askedAtOnce = 16, 500
	firstLook, longestLook   = 50 * time.Millisecond, time.Second
	// eachTry bounds what one node is asked before another is.
	eachTry = 5 * time.Second
)

// applying is one `apply`.
type applying struct {
	operator
	file          string
	prune, dryRun bool

	root topology.Branch
	want []cluster.SpecRecord

	seqs    map[string]uint64 // of the records that hold, by child
	changed map[string]bool   // by this command
	told    map[topology.Change]bool
	result  applied
}

// applied is the JSON of `apply`; a contract.
type applied struct {
	Changes topology.Changes `json:"changes"`
	// Unlisted are children on record that the file lacks, and that stay.
	Unlisted []string `json:"unlisted"`
	// Children are the file's, and those that were taken out; none with --dry-run.
	Children []node.ChildInfo `json:"children"`
}

func applyCommand(o Options, s Streams) *cobra.Command {
	a := &applying{
		seqs: map[string]uint64{}, changed: map[string]bool{}, told: map[topology.Change]bool{},
		result: applied{Changes: topology.Changes{}, Unlisted: []string{}, Children: []node.ChildInfo{}},
	}
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Change the cluster's tree to a topology file's, while it runs",
		Long: `Change the cluster-wide children of the cluster's tree to those of a topology file:
what differs from the records is printed, as by topology diff, and written to
them; a child that runs by an older record is stopped and placed anew. Then the
command waits, until --timeout, for the file's children to run by their records,
and says which do not and why. What an operator has stopped stays so.

Children that are on record and not in the file are named, and stay; --prune
stops them and takes them out of the tree. --dry-run writes nothing, and exits
with 1 if something differs. The command may be interrupted, and run again.

Of a supervisor below the root only what is beside its children is changed:
these are each program's own. Node-local children are each node's own.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.file == "" {
				return usage(errors.New("-f FILE is missing"))
			}
			top, err := loadTopology(o, s, a.file, false)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("cluster") && top.Cluster != "" {
				a.cluster = top.Cluster
			}
			a.source, a.root = sourceOfFile(top), top.Root
			spread := false
			if a.want, spread = cluster.SpecsOf(top.Tree, ""); !spread {
				return usage(fmt.Errorf("%s: the root concerns siblings by its strategy or its automatic shutdown, so the tree is each node's own; there is nothing to apply", a.file))
			}
			return a.do(cmd.Context(), s, func(ctx context.Context, v *view) error { return a.apply(ctx, s, v) })
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&a.file, "file", "f", "", "the topology file; - reads it from stdin")
	fs.BoolVar(&a.prune, "prune", false, "take children out of the tree that the file lacks")
	fs.BoolVar(&a.dryRun, "dry-run", false, "print what differs, and change nothing")
	a.registerFor(s, cmd, applyTimeout, "how long NATS, and then the children, may take")
	return cmd
}

func (a *applying) apply(ctx context.Context, s Streams, v *view) error {
	err := a.write(ctx, s, v)
	if err == nil && !a.dryRun {
		err = a.await(ctx, v)
	}
	if len(a.result.Unlisted) > 0 {
		v.warn("on record, and not in the file: %s; --prune takes them out", strings.Join(a.result.Unlisted, ", "))
	}
	err = errors.Join(err, printOne(s.Out, a.output, a.result, a.tellChildren))
	if err == nil && a.dryRun && len(a.result.Changes) > 0 {
		return errDiffers
	}
	return err
}

// write compares, and has what differs written, until nothing does. What has changed
// meanwhile is compared again.
func (a *applying) write(ctx context.Context, s Streams, v *view) error {
	for {
		steps, err := a.compare(ctx, s, v)
		if err != nil || a.dryRun {
			return err
		}
		again, err := a.carryOut(ctx, v, steps)
		if err != nil || !again {
			return err
		}
		if err := pause(ctx, firstLook); err != nil {
			return err
		}
	}
}

// step is a record to be written.
type step struct {
	child    string
	question genserver.Message
}

// compare tells what differs from the records, and what is to be done about it.
func (a *applying) compare(ctx context.Context, s Streams, v *view) ([]step, error) {
	records, err := cluster.ReadSpecs(ctx, v.conn, v.cluster)
	if err != nil {
		return nil, err
	}
	is := make(map[string]*cluster.Recorded, len(records))
	for i := range records {
		is[records[i].Name] = &records[i]
	}
	var steps []step
	var changes topology.Changes
	for _, want := range a.want {
		was := is[want.Name]
		delete(is, want.Name)
		differs := compareChild(a.root, want, was)
		changes = append(changes, differs...)
		if differs == nil {
			a.seqs[want.Name] = max(a.seqs[want.Name], was.Seq)
			continue
		}
		record, err := want.Encode()
		if err != nil {
			return nil, err
		}
		question := node.ApplyChild{Record: record}
		if was != nil {
			question.Seq = was.Seq
		}
		steps = append(steps, step{want.Name, question})
	}
	gone := slices.DeleteFunc(records, func(r cluster.Recorded) bool { return is[r.Name] == nil })
	a.result.Unlisted = []string{}
	if a.prune {
		changes = append(changes, pruned(a.root, gone)...)
	}
	for _, r := range gone {
		if !a.prune {
			a.result.Unlisted = append(a.result.Unlisted, r.Name)
			continue
		}
		steps = append(steps, step{r.Name, node.RemoveChild{Name: r.Name, Seq: r.Seq}})
	}
	return steps, a.tell(s.Out, changes)
}

// tell prints changes that were not told before.
func (a *applying) tell(w io.Writer, changes topology.Changes) error {
	changes = slices.DeleteFunc(changes, func(c topology.Change) bool {
		before := a.told[c]
		a.told[c] = true
		return before
	})
	a.result.Changes = append(a.result.Changes, changes...)
	if len(changes) == 0 || a.output != outputTable {
		return nil
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(changes.String(), "\n"))
	return err
}

// carryOut has records written, by any node. True says that some have changed since they
// were compared.
func (a *applying) carryOut(ctx context.Context, v *view, steps []step) (again bool, err error) {
	answers, errs := make([]node.Applied, len(steps)), make([]error, len(steps))
	slots := make(chan struct{}, applyAtOnce)
	var wg sync.WaitGroup
	for i, st := range steps {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = v.askAny(ctx, st.question, &answers[i])
		})
	}
	wg.Wait()
	for i, st := range steps {
		switch {
		case errors.Is(errs[i], node.ErrChanged):
			again, errs[i] = true, nil
		case errors.Is(errs[i], node.ErrNotApplied):
			errs[i] = coded(exitUnreachable, errs[i])
		case errs[i] == nil:
			a.seqs[st.child] = answers[i].Seq
			a.changed[st.child] = true
		}
	}
	return again, errors.Join(errs...)
}

// askAny asks one node after the other, until one answers.
func (v *view) askAny(ctx context.Context, question genserver.Message, answer any) error {
	var errs []error
	for _, n := range v.nodes {
		try, cancel := context.WithTimeout(ctx, eachTry)
		err := v.ask(try, n, question, answer)
		cancel()
		switch {
		case errors.Is(err, genserver.ErrUnknownOp):
			err = fmt.Errorf("node %s is of an older release, which can't change the tree", n.Node)
		case exitCode(err) != exitUnreachable:
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
