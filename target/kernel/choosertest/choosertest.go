// SPDX-License-Identifier: MIT

// Package choosertest has two simple choosers for the port's own tests, which stand below the suite's.
package choosertest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Random picks at random; the same seed gives the same run.
type Random struct{ x uint64 }

// NewRandom makes one for one run.
func NewRandom(seed uint64) *Random { return &Random{seed*2654435761 + 88172645463325252} }

// N is a number in [0, n).
func (r *Random) N(n int) int {
	r.x ^= r.x << 13
	r.x ^= r.x >> 7
	r.x ^= r.x << 17
	return int((r.x >> 33) % uint64(n))
}

// Pick implements kernel.Chooser.
func (r *Random) Pick(c *kernel.Choice) *kernel.Task { return c.Runnable[r.N(len(c.Runnable))] }

// Ranked runs the task of the highest rank, which a task gets at random; at a few random steps the one that would run
// gets the lowest rank instead.
type Ranked struct {
	Random
	rank map[*kernel.Task]int
	low  int
	drop []int
}

// drops is at how many steps the running task falls behind all others.
const drops = 3

// NewRanked makes one for one run, and spreads its steps over the first span.
func NewRanked(seed uint64, span int) *Ranked {
	r := &Ranked{Random: *NewRandom(seed), rank: map[*kernel.Task]int{}, low: drops + 1}
	for range drops {
		r.drop = append(r.drop, r.N(span))
	}
	slices.Sort(r.drop)
	return r
}

// Pick implements kernel.Chooser.
func (r *Ranked) Pick(c *kernel.Choice) *kernel.Task {
	for {
		var best *kernel.Task
		for _, t := range c.Runnable {
			if r.rank[t] == 0 {
				r.rank[t] = drops + 1 + r.N(1<<30)
			}
			if best == nil || r.rank[t] > r.rank[best] {
				best = t
			}
		}
		if len(r.drop) == 0 || c.Step < r.drop[0] {
			return best
		}
		r.low--
		r.rank[best] = r.low
		r.drop = r.drop[1:]
	}
}

// Simulate runs main once for each of n seeds, by turns with either chooser, and fails on every finding and whenever
// main says so.
func Simulate(t *testing.T, n int, opt kernel.Options, main func(cur *kernel.Task, fail func(string, ...any))) {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	steps := 1
	for seed := range n {
		var ch kernel.Chooser = NewRandom(uint64(seed))
		if seed%2 == 1 {
			ch = NewRanked(uint64(seed), steps)
		}
		r := m.Run(ch, opt, "main", func(cur *kernel.Task) {
			main(cur, func(format string, args ...any) {
				t.Errorf("seed %d: %s", seed, fmt.Sprintf(format, args...))
			})
		})
		steps = max(steps, r.Steps)
		for _, f := range r.Findings {
			t.Errorf("seed %d: %s\n%s", seed, f, f.Text)
		}
		if t.Failed() {
			return
		}
	}
}
