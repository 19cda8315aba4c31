// SPDX-License-Identifier: MIT

package job

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// The pristine tree bears everything that may happen beside the order of tasks: failing steps, early alarms, sleeps that
// end by themselves, short receives, late grace periods, signals. No oracle mistakes one of them for a defect.
func TestPristineUnderDecisions(t *testing.T) {
	n := 60
	if raceEnabled || testing.Short() {
		n = 8
	}
	m := kernel.NewSim()
	defer m.Close()
	var departed [kernel.DecisionKinds]int
	for _, s := range scenario.All() {
		for kind := range kernel.DecisionKinds {
			var ch explore.Random
			ch.Budget[kind] = 2
			opt := kernel.Options{Faults: ch.Budget}
			for i := range n {
				ch.Seed(3, uint64(i))
				r := s.Run(m, &ch, scenario.Params{}, opt)
				departed[kind] += len(r.Decisions)
				if r.Steps > explore.LivelockSteps/2 {
					t.Errorf("%s, schedule %d of seed 3: %d steps: runs of %d count as endless while they are made small",
						s.Name, i, r.Steps, explore.LivelockSteps)
				}
				if f := r.Worst(); f != nil {
					t.Errorf("%s, schedule %d of seed 3: %s\n%s\ndecided %+v", s.Name, i, f, f.Text, r.Decisions)
					break
				}
			}
		}
	}
	words := ""
	for kind, count := range departed {
		words += fmt.Sprintf(" %s %d", kernel.DecisionKind(kind), count)
		if count < n {
			t.Errorf("%s: decided %d times only", kernel.DecisionKind(kind), count)
		}
	}
	t.Logf("decided:%s", words)
}
