package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// Two nodes want one name. The second is refused until the first gives it back;
// its epoch is the higher one then.
func Example() {
	if err := twoNodes(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// n1 owns rate_limiter, and may act: true
	// n2 is refused: true
	// n2 owns rate_limiter, with a higher epoch: true
}

func twoNodes() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	records := cluster.NewMemory() // OpenJetStream, in a real cluster
	store1, store2 := records.Open(), records.Open()
	defer func() { _, _ = store1.Close(), store2.Close() }()
	n1, err := cluster.Join(ctx, store1, cluster.NodeInfo{Node: "n1"})
	if err != nil {
		return err
	}
	defer func() { _ = n1.Leave(ctx) }()
	n2, err := cluster.Join(ctx, store2, cluster.NodeInfo{Node: "n2"})
	if err != nil {
		return err
	}
	defer func() { _ = n2.Leave(ctx) }()

	first, err := n1.Claim(ctx, "rate_limiter")
	if err != nil {
		return err
	}
	fmt.Println("n1 owns rate_limiter, and may act:", n1.Gate().Open())

	_, err = n2.Claim(ctx, "rate_limiter")
	fmt.Println("n2 is refused:", errors.Is(err, genserver.ErrNameTaken))

	if err := n1.Release(ctx, "rate_limiter"); err != nil {
		return err
	}
	second, err := n2.Claim(ctx, "rate_limiter")
	if err != nil {
		return err
	}
	fmt.Println("n2 owns rate_limiter, with a higher epoch:", second > first)
	return nil
}
