package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/civitas-go/civitas/node"
)

// await waits until the children run by their records, or do not.
func (a *applying) await(ctx context.Context, v *view) error {
	left := a.seqs
	last := map[string]node.ChildInfo{}
	for wait := firstLook; len(left) > 0; wait = min(2*wait, longestLook) {
		infos, err := a.look(ctx, v, left)
		for _, c := range infos {
			last[c.Name] = c
		}
		left = map[string]uint64{}
		for child, seq := range a.seqs {
			if c, known := last[child]; !known || !decided(c) {
				left[child] = seq
			}
		}
		if len(left) == 0 {
			break
		}
		if gone := pause(ctx, wait); errors.Is(gone, context.Canceled) {
			return gone
		} else if gone != nil {
			return a.verdict(last, v.timeout, err)
		}
	}
	return a.verdict(last, v.timeout, nil)
}

// look asks what has become of some children.
func (a *applying) look(ctx context.Context, v *view, children map[string]uint64) ([]node.ChildInfo, error) {
	var all []node.ChildInfo
	some := map[string]uint64{}
	ask := func() error {
		var answer node.Children
		err := v.askAny(ctx, node.AskChildren{Children: some}, &answer)
		all = append(all, answer.Children...)
		clear(some)
		return err
	}
	for child, seq := range children {
		if some[child] = seq; len(some) == askedAtOnce {
			if err := ask(); err != nil {
				return all, err
			}
		}
	}
	if len(some) == 0 {
		return all, nil
	}
	return all, ask()
}

// decided tells whether there is nothing to wait for.
func decided(c node.ChildInfo) bool {
	switch c.State {
	case "running":
		return c.Runs >= c.Revision
	case "stopped", "unplaceable":
		return true
	default:
		return false
	}
}

// verdict says which children do not run as they should, and why. The error is of the last
// question, if that had one.
func (a *applying) verdict(last map[string]node.ChildInfo, within time.Duration, err error) error {
	var bad []error
	late := false
	for _, child := range slices.Sorted(maps.Keys(a.seqs)) {
		c, known := last[child]
		if known {
			a.result.Children = append(a.result.Children, c)
		}
		switch {
		case !known && err != nil:
			late = true
			bad = append(bad, fmt.Errorf("%s: nobody says what has become of it: %w", child, err))
		case !known:
			late = true
			bad = append(bad, fmt.Errorf("%s: the leader has not heard of its record within %v", child, within))
		case c.State == "running" && c.Runs < c.Revision:
			late = true
			bad = append(bad, fmt.Errorf("%s still runs on %s as it was, after %v", child, c.Node, within))
		case c.State == "running", c.State == "stopped":
		case c.State == "unplaceable":
			bad = append(bad, fmt.Errorf("%s is unplaceable: %s", child, c.Reason))
		default:
			late = late || c.State != "waiting"
			bad = append(bad, fmt.Errorf("%s does not run after %v; it is %s%s", child, within, c.State, because(c.Reason)))
		}
	}
	if err := errors.Join(bad...); err != nil && late {
		return coded(exitUnreachable, err)
	}
	return errors.Join(bad...)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// tellChildren prints where the children that were changed run, and which are stopped.
func (a *applying) tellChildren(w io.Writer) error {
	for _, c := range a.result.Children {
		text := ""
		switch {
		case c.Removed && c.State == "stopped":
			text = "is stopped, and not in the tree any more"
		case c.State == "stopped":
			text = "is stopped, and stays so until it is restarted" + because(c.Reason)
		case c.State == "running" && c.Runs >= c.Revision && a.changed[c.Name]:
			text = "runs on " + c.Node
		default:
			continue
		}
		if _, err := fmt.Fprintf(w, "%s %s\n", c.Name, text); err != nil {
			return err
		}
	}
	return nil
}
