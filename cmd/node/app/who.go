package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
)

func whoCommand(_ Options, s Streams) *cobra.Command {
	var c client
	var o output
	cmd := &cobra.Command{
		Use:   "who NAME",
		Short: "Show which node owns a cluster-wide name",
		Long: `Show which node owns a cluster-wide name, as its record says: that node may
have died. The epoch grows with every change of owner.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTarget(args[0]); err != nil {
				return err
			}
			t, err := c.target(s)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), c.nats.timeout)
			defer cancel()
			conn, err := c.connect(ctx, t)
			if err != nil {
				return err
			}
			defer conn.Close(ctx) //nolint:errcheck // nothing is on its way any more
			owner, err := cluster.ReadOwner(ctx, conn, c.cluster, args[0])
			if errors.Is(err, cluster.ErrNotFound) {
				return coded(exitNoProcess, fmt.Errorf("no node of cluster %s owns %q; `ps` lists the servers that there are, node-local ones too", c.cluster, args[0]))
			}
			if err != nil {
				return err
			}
			return printOne(s.Out, o, holder{owner.Server, owner.Node, owner.Incarnation, owner.Epoch, owner.Since}, func(w io.Writer) error {
				t := table{}
				for _, row := range [][2]string{
					{"name", owner.Server},
					{"node", owner.Node},
					{"incarnation", owner.Incarnation},
					{"epoch", number(owner.Epoch)},
					{"since", owner.Since.Format(time.RFC3339)},
				} {
					t.add(row[:]...)
				}
				return t.write(w)
			})
		},
	}
	c.register(cmd.Flags())
	o.register(cmd.Flags())
	return cmd
}

// holder is who has a name, as `who` prints it.
type holder struct {
	Name        string    `json:"name"`
	Node        string    `json:"node"`
	Incarnation string    `json:"incarnation"`
	Epoch       uint64    `json:"epoch"`
	Since       time.Time `json:"since"`
}
