// SPDX-License-Identifier: MIT

package explore

import (
	"maps"
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Fault names a decision: the same one in every interleaving.
type Fault struct {
	Kind kernel.DecisionKind
	Task uint64 // its path; 0 for a decision that is nobody's
	Nth  int    // of the kind and the task, 1-based
}

// asked is a decision that came up, with the number of its answers.
type asked struct {
	Fault
	n int
}

// Decide implements kernel.Decider: it answers as Faults says.
func (d *DPOR) Decide(q *kernel.Decision) int {
	f := Fault{Kind: q.Kind, Nth: q.Nth}
	if q.Task != nil {
		f.Task = q.Task.Path()
	}
	if !d.known[f] {
		if d.known == nil {
			d.known = map[Fault]bool{}
		}
		d.known[f] = true
		d.asked = append(d.asked, asked{f, q.N})
	}
	if v := d.Faults[f]; v < q.N {
		return v
	}
	return 0
}

// FaultPlans explores a program with every set of at most Budget decisions that differ from the ordinary course of
// things: first with none; then, for every decision that came up in those runs, with each of its other answers; and so
// on. Each set is explored by a DPOR of its own. The run's options must allow as many of each kind.
//
// Use: for p.Next() { machine.Run(p, ...) }.
type FaultPlans struct {
	// Optimal is that of each DPOR.
	Optimal bool
	// Budget is how many decisions may differ in one run.
	Budget int
	// Limit is after how many runs the next set has its turn; 0 if there is no limit. When all have had one, those that
	// are not done have another, four times as long.
	Limit int

	// Plans counts the sets that were begun.
	Plans int

	complete, blocked, diverged int // of the sets that are done

	cur    *DPOR
	queue  []map[Fault]int
	seen   []map[Fault]int
	parked []*DPOR // begun and not done, but for cur
}

// again is how many times as long the next turn of a set is.
const again = 4

// Next prepares the next run; false when all have been run.
func (p *FaultPlans) Next() bool {
	if p.cur == nil {
		p.begin(map[Fault]int{}, nil)
		p.seen = append(p.seen, p.cur.Faults)
	}
	for !p.cur.Next() {
		p.close()
		switch {
		case len(p.queue) > 0:
			plan := p.queue[0]
			p.queue = p.queue[1:]
			p.begin(plan, p.cur.m)
		case len(p.parked) > 0:
			p.cur = p.parked[0]
			p.parked = p.parked[1:]
			p.cur.Limit *= again
		default:
			p.cur = &DPOR{Exhausted: true}
			return false
		}
	}
	return true
}

func (p *FaultPlans) begin(plan map[Fault]int, m *kernel.Machine) {
	p.Plans++
	p.cur = &DPOR{Optimal: p.Optimal, Limit: p.Limit, Faults: plan, m: m}
}

// close takes over what came of the present set, and queues those that have one decision more.
func (p *FaultPlans) close() {
	c := p.cur
	if c.Faults == nil {
		return // all was done before
	}
	if c.Exhausted {
		p.complete += c.Complete
		p.blocked += c.Blocked
		p.diverged += c.Diverged
	} else {
		p.parked = append(p.parked, c)
	}
	if len(c.Faults) >= p.Budget {
		return
	}
	for _, a := range c.asked {
		if _, ok := c.Faults[a.Fault]; ok {
			continue
		}
		for v := 1; v < a.n; v++ {
			plan := maps.Clone(c.Faults)
			plan[a.Fault] = v
			if !slices.ContainsFunc(p.seen, func(o map[Fault]int) bool { return maps.Equal(o, plan) }) {
				p.seen = append(p.seen, plan)
				p.queue = append(p.queue, plan)
			}
		}
	}
}

// Runs are the sums of Complete, Blocked and Diverged of all DPORs.
func (p *FaultPlans) Runs() (complete, blocked, diverged int) {
	complete, blocked, diverged = p.complete, p.blocked, p.diverged
	for _, d := range p.begun() {
		complete, blocked, diverged = complete+d.Complete, blocked+d.Blocked, diverged+d.Diverged
	}
	return complete, blocked, diverged
}

// Partial is how many sets were begun and are not done.
func (p *FaultPlans) Partial() int {
	n := 0
	for _, d := range p.begun() {
		if !d.Exhausted {
			n++
		}
	}
	return n
}

// begun are the DPORs whose sets are not counted as done.
func (p *FaultPlans) begun() []*DPOR {
	if p.cur == nil {
		return nil
	}
	return append(slices.Clip(p.parked), p.cur)
}

// Pick implements kernel.Chooser.
func (p *FaultPlans) Pick(c *kernel.Choice) *kernel.Task { return p.cur.Pick(c) }

// Decide implements kernel.Decider.
func (p *FaultPlans) Decide(q *kernel.Decision) int { return p.cur.Decide(q) }

// Plan is the set that is explored now. It is not to be changed.
func (p *FaultPlans) Plan() map[Fault]int { return p.cur.Faults }
