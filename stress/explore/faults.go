// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// Faults answers the decisions of a run at random: for each kind it draws, before the run, how many times things take
// another course than the ordinary one (from none up to the budget), at which of the opportunities (each as likely as
// any other), and, when they come, in which way. All samplers have one. It draws from numbers of its own, so that who
// runs when does not depend on the budgets as long as nothing special happens.
type Faults struct {
	// Budget is how many decisions of a kind may differ from the default in one run; see kernel.Options.Faults.
	Budget [kernel.DecisionKinds]int
	// Opportunities is how many decisions of a kind a run is expected to have; 0 is the most that a run had so far. Only
	// with numbers of its own does a schedule depend on its seed alone.
	Opportunities [kernel.DecisionKinds]int

	dice  rng
	asked [kernel.DecisionKinds]int // in this run
	most  [kernel.DecisionKinds]int // in any run
	when  [kernel.DecisionKinds][]int
}

// decisionStream keeps the numbers of decisions apart from those of choices.
const decisionStream = 0x9e3779b97f4a7c15

// seed draws where the n-th schedule of a stream departs from the ordinary.
func (f *Faults) seed(seed, n uint64) {
	if f.Budget == [kernel.DecisionKinds]int{} {
		return
	}
	f.dice.seed(seed^decisionStream, n)
	for k := range f.Budget {
		f.most[k] = max(f.most[k], f.asked[k])
		f.asked[k] = 0
		f.when[k] = f.when[k][:0]
		if f.Budget[k] == 0 {
			continue
		}
		among := f.Opportunities[k]
		if among == 0 {
			among = max(f.most[k], 1)
		}
		for range f.dice.n(f.Budget[k] + 1) {
			f.when[k] = append(f.when[k], 1+f.dice.n(among))
		}
	}
}

// Decide implements kernel.Decider.
func (f *Faults) Decide(d *kernel.Decision) int {
	f.asked[d.Kind]++
	for _, at := range f.when[d.Kind] {
		if at == f.asked[d.Kind] && d.N > 1 {
			return 1 + f.dice.n(d.N-1)
		}
	}
	return 0
}

// faults gives access to the Faults of a sampler.
func (f *Faults) faults() *Faults { return f }

// settle fixes how many opportunities a run is expected to have at what they were in the runs so far.
func (f *Faults) settle() {
	for k := range f.Opportunities {
		f.Opportunities[k] = max(f.most[k], f.asked[k], 1)
	}
}
