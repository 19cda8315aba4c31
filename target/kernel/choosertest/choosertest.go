// SPDX-License-Identifier: MIT

// Package choosertest has simple choosers for the port's own tests, which stand below the suite's, and runs tests
// under them, on the free back end, and with every step failing that can.
package choosertest

import (
	"fmt"
	"iter"
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

// Straight never takes the processor from a task that can go on.
type Straight struct{}

// Pick implements kernel.Chooser.
func (Straight) Pick(c *kernel.Choice) *kernel.Task {
	if c.Cur != nil {
		return c.Cur
	}
	best := c.Runnable[0]
	for _, t := range c.Runnable {
		if t.Index() < best.Index() {
			best = t
		}
	}
	return best
}

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
		steps = max(steps, run(t, m, ch, opt, fmt.Sprint("seed ", seed), main).Steps)
		if t.Failed() {
			return
		}
	}
}

// Free runs main on the free back end once for each of n seeds, and fails on every finding and whenever main says so.
func Free(t *testing.T, n int, opt kernel.Options, main func(cur *kernel.Task, fail func(string, ...any))) {
	t.Helper()
	for seed := range n {
		opt.Seed = uint64(seed)
		run(t, kernel.NewFree(), nil, opt, fmt.Sprint("free, seed ", seed), main)
	}
}

// Failing yields a run of main for each of its fallible steps, which fails in it, and one in which nothing failed any
// more. It fails on every finding and whenever main says so, and then ends.
func Failing(t *testing.T, main func(cur *kernel.Task, fail func(string, ...any))) iter.Seq[*kernel.Result] {
	return func(yield func(*kernel.Result) bool) {
		t.Helper()
		m := kernel.NewSim()
		defer m.Close()
		for k := 1; ; k++ {
			what := fmt.Sprint("failing step ", k)
			r := run(t, m, NewRandom(uint64(k)), kernel.Options{FailAt: k}, what, main)
			if !yield(r) || r.Failed == "" {
				return
			}
			if t.Failed() {
				t.Fatalf("%s was %s", what, r.Failed)
			}
		}
	}
}

// Failed runs main with every fallible step failing in turn, and wants a run in which the step failed for each of the
// sites.
func Failed(t *testing.T, main func(cur *kernel.Task, fail func(string, ...any)), sites ...string) {
	t.Helper()
	failed := map[string]bool{}
	for r := range Failing(t, main) {
		failed[r.Failed] = true
	}
	Seen(t, failed, sites...)
}

// Seen wants each of the sites among those that failed.
func Seen(t *testing.T, failed map[string]bool, sites ...string) {
	t.Helper()
	for _, site := range sites {
		if !failed[site] {
			t.Errorf("%s did not fail; seen: %v", site, failed)
		}
	}
}

// run is one run of main. It fails on every finding and whenever main says so; what names the run.
func run(t *testing.T, m *kernel.Machine, ch kernel.Chooser, opt kernel.Options, what string,
	main func(cur *kernel.Task, fail func(string, ...any))) *kernel.Result {
	t.Helper()
	fail := func(format string, args ...any) { t.Errorf("%s: %s", what, fmt.Sprintf(format, args...)) }
	r := m.Run(ch, opt, "main", func(cur *kernel.Task) { main(cur, fail) })
	for _, f := range r.Findings {
		fail("%s\n%s", f, f.Text)
	}
	return r
}

// NothingLeft wants no more objects than the base there were, once what is freed late is freed. when says what is over.
func NothingLeft(cur *kernel.Task, base int, fail func(string, ...any), when string) {
	kernel.Msleep(cur, 100) // sockets are freed behind their last callback
	cur.Machine().SynchronizeRcu(cur)
	live := cur.Machine().LiveObjects()
	if len(live) == base {
		return
	}
	var names []string
	for _, o := range live {
		names = append(names, o.Name())
	}
	fail("%s: %d objects, were %d: %v", when, len(live), base, names)
}
