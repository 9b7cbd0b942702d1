package clustertest_test

import (
	"fmt"

	"github.com/civitas-go/civitas/cluster/clustertest"
)

// The protocol stands a schedule; without its gate it doesn't.
func ExampleSimulate() {
	_, violation := clustertest.Simulate(7, clustertest.Faults{}, nil)
	fmt.Println("as it is:", violation == nil)

	for seed := uint64(1); ; seed++ {
		_, violation := clustertest.Simulate(seed, clustertest.Faults{GateOff: true}, nil)
		if violation != nil {
			fmt.Println("without a gate: broken, by a seed that breaks it each time:", violation.Seed == seed)
			return
		}
	}
	// Output:
	// as it is: true
	// without a gate: broken, by a seed that breaks it each time: true
}
