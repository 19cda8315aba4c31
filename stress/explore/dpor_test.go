// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"maps"
	"slices"
	"testing"

	known "github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// searcher is DPOR or Bounded.
type searcher interface {
	kernel.Chooser
	Next() bool
}

// all collects what the schedules of a machine come to; false if there are more than limit. Twice is how often a run
// came to a final state that another one had come to.
func (p *program) all(t *testing.T, m *kernel.Machine, s searcher, limit int) (out *outcomes, twice int, ok bool) {
	t.Helper()
	out = &outcomes{states: map[uint64]string{}, findings: map[string]bool{}}
	opt := p.options()
	opt.Causal = true
	for s.Next() {
		if out.runs++; out.runs > limit {
			return out, twice, false
		}
		if out.add(t, p, m.Run(s, opt, "main", p.main)) {
			twice++
		}
	}
	return out, twice, true
}

// graphs enumerates all schedules but for those that come to a happens-before graph that was met before: from there on
// they do nothing new.
type graphs struct {
	path []fork
	at   int
	met  map[uint64]bool
}

type fork struct{ tasks []int }

func (g *graphs) Next() bool {
	if g.met == nil {
		g.met = map[uint64]bool{}
		return true
	}
	g.at = 0
	for n := len(g.path); n > 0; n-- {
		if f := &g.path[n-1]; len(f.tasks) > 1 {
			f.tasks = f.tasks[1:]
			return true
		}
		g.path = g.path[:n-1]
	}
	return false
}

func (g *graphs) Pick(c *kernel.Choice) *kernel.Task {
	if g.at == len(g.path) {
		if g.met[c.State] {
			return nil
		}
		g.met[c.State] = true
		var f fork
		for _, t := range c.Runnable {
			f.tasks = append(f.tasks, t.Index())
		}
		g.path = append(g.path, f)
	}
	g.at++
	return c.Runnable[0].Machine().Tasks()[g.path[g.at-1].tasks[0]]
}

// TestDPORLosesNothing compares, for random machines, all that DPOR comes to with all that there is: final states and
// findings. Where all interleavings are too many, those with a new happens-before graph have to do.
func TestDPORLosesNothing(t *testing.T) {
	const machines, traces = 500, 40
	var compared, plain, failing, classes int
	var got [2]dporCounts
	for seed := range machines {
		p := newProgram(seed, 2+seed%3, 2+seed%4)
		var outs [2]*outcomes
		for i := range outs {
			if outs[i] = got[i].run(t, p, i == 0, 2*traces); outs[i] == nil {
				break
			}
		}
		if outs[0] == nil || outs[1] == nil {
			continue
		}
		truth, ok := p.truth(t, &Bounded{Bound: 1 << 20, Plain: true}, 500)
		if ok {
			plain++
		} else if truth, ok = p.truth(t, &graphs{}, 5000); !ok {
			continue
		}
		compared++
		classes += len(truth.states)
		if len(truth.findings) > 0 {
			failing++
		}
		for i, out := range outs {
			if diff := out.compare(truth); diff != "" {
				t.Errorf("optimal %t, %d runs of %d: %s\n%s", i == 0, out.runs, truth.runs, p, diff)
			}
		}
	}
	t.Logf("%d machines, %d with all interleavings, %d with a finding, %d traces; optimal %+v, source %+v",
		compared, plain, failing, classes, got[0], got[1])
	if compared < 250 || plain < 60 || failing < 30 {
		t.Errorf("too few machines were small enough (%d, %d) or failed (%d)", compared, plain, failing)
	}
	// What a step does may depend on what came before it, and then a trace may be met a second time. That is rare.
	if o := got[0]; o.Twice*1000 > o.Complete || o.Diverged*1000 > o.Complete {
		t.Errorf("optimal DPOR is not: %+v", o)
	}
}

// dporCounts is what DPOR made of some machines.
type dporCounts struct{ Complete, Blocked, Diverged, Twice int }

// run explores the machine; nil if it takes more than limit runs.
func (c *dporCounts) run(t *testing.T, p *program, optimal bool, limit int) *outcomes {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	d := &DPOR{Optimal: optimal}
	out, twice, ok := p.all(t, m, d, limit)
	if !ok {
		return nil
	}
	if optimal && d.Blocked > 0 && len(out.findings) == 0 {
		t.Errorf("%d of %d runs in vain, and none ends early: %s", d.Blocked, d.Complete, p)
	}
	c.Complete += d.Complete
	c.Blocked += d.Blocked
	c.Diverged += d.Diverged
	c.Twice += twice
	return out
}

func (p *program) truth(t *testing.T, s searcher, limit int) (*outcomes, bool) {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	out, _, ok := p.all(t, m, s, limit)
	return out, ok
}

// count runs all schedules of a tiny program and counts those that came to their end, the final states, and those with
// a finding.
func count(t *testing.T, name string, s searcher) (complete, states, buggy int) {
	t.Helper()
	p, err := known.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	seen := map[uint64]bool{}
	for s.Next() {
		res := p.Run(m, s, kernel.Options{Causal: true})
		if res.Pruned {
			continue
		}
		complete++
		seen[res.State] = true
		if res.Worst() != nil {
			buggy++
		}
	}
	return complete, len(seen), buggy
}

// The counts that other tools come to, too: see package program.
func TestDPORGolden(t *testing.T) {
	for _, name := range []string{"lsr", "lsr-fixed", "pad(5)", "pad(20)", "cont(1)", "cont(2)", "cont(5)"} {
		p, err := known.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, optimal := range []bool{true, false} {
			d := &DPOR{Optimal: optimal}
			_, states, buggy := count(t, name, d)
			blocked := p.Known.Blocked
			if optimal {
				blocked = 0
			}
			got := []int{states, buggy, d.Complete, d.Blocked, d.Diverged, int(d.Estimate())}
			n := p.Known.Traces
			if want := []int{n, p.Known.BuggyTraces, n, blocked, 0, n + blocked}; !slices.Equal(got, want) {
				t.Errorf("%s, optimal %t: states, buggy, Complete, Blocked, Diverged, Estimate: %v, want %v",
					name, optimal, got, want)
			}
		}
	}
}

// All interleavings of the canonical program, by number of preemptions.
func TestPlainGolden(t *testing.T) {
	for _, name := range []string{"lsr", "lsr-fixed"} {
		p, err := known.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.Known.Bounds {
			runs, _, buggy := count(t, name, &Bounded{Bound: b.Preemptions, Plain: true})
			if runs != b.Interleavings || buggy != b.Buggy {
				t.Errorf("%s with at most %d preemptions: %d runs, %d buggy, want %d and %d",
					name, b.Preemptions, runs, buggy, b.Interleavings, b.Buggy)
			}
		}
		k := p.Known
		runs, states, _ := count(t, name, &Bounded{Bound: 99, Plain: true})
		if uint64(runs) != k.Interleavings || states != k.Traces {
			t.Errorf("%s: %d runs with %d final states, want %d and %d", name, runs, states, k.Interleavings, k.Traces)
		}
	}
}

// A search on a machine that keeps accesses already, and one after another on the same machine, come to the same.
func TestDPORAgain(t *testing.T) {
	p, err := known.Parse("cont(1)")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	m.LogAccesses()
	for range 3 {
		d := &DPOR{Optimal: true}
		for d.Next() {
			p.Run(m, d, kernel.Options{})
		}
		if d.Complete != p.Known.Traces || d.Blocked != 0 || !d.Exhausted {
			t.Errorf("%d runs, %d in vain, exhausted %t; want %d", d.Complete, d.Blocked, d.Exhausted, p.Known.Traces)
		}
	}
}

// A search that has been stopped has an estimate, and goes on where it was.
func TestDPORLimit(t *testing.T) {
	p, err := known.Parse("cont(5)")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	d := &DPOR{Optimal: true}
	var estimates []float64
	for d.Limit = 250; !d.Exhausted; d.Limit += 250 {
		for d.Next() {
			p.Run(m, d, kernel.Options{})
		}
		if e := d.Estimate(); e < float64(d.Complete) {
			t.Errorf("%d runs are done, and the estimate is %g", d.Complete, e)
		}
		if !d.Exhausted && d.Complete != d.Limit {
			t.Errorf("stopped after %d runs, want %d", d.Complete, d.Limit)
		}
		estimates = append(estimates, d.Estimate())
	}
	if d.Complete != 2508 || estimates[len(estimates)-1] != 2508 {
		t.Errorf("%d runs, estimates %v", d.Complete, estimates)
	}
	if e := estimates[3]; e < 2508./4 || e > 2508*4 {
		t.Errorf("after 1000 runs of 2508 the estimates are %v", estimates)
	}
}

// In these programs something is hidden: by a lock that is not given back, by the end of the run, by time.
func TestDPORSees(t *testing.T) {
	type world struct {
		kernel.Obj
		a, b kernel.Mutex
		x, y kernel.Var[int]
	}
	begin := func(cur *kernel.Task) *world {
		w := kernel.StaticObj[world](cur.Machine(), "world")
		w.a.Init(&w.Obj, "a")
		w.b.Init(&w.Obj, "b")
		w.x.Init(&w.Obj, "x")
		w.y.Init(&w.Obj, "y")
		return w
	}
	const first, second, third = "oops: kernel BUG: first", "oops: kernel BUG: second", "oops: kernel BUG: third"
	for _, c := range []struct {
		name string
		want []string
		main func(cur *kernel.Task)
	}{
		{"who keeps a lock for ever", []string{"deadlock: no task can run and no timer is armed"}, func(cur *kernel.Task) {
			w := begin(cur)
			other := cur.Machine().Spawn(cur, "a", func(cur *kernel.Task) {
				w.a.Lock(cur)
				w.a.Unlock(cur)
			})
			w.a.Lock(cur)
			kernel.Join(cur, other)
			w.a.Unlock(cur)
		}},
		{"bugs beside each other", []string{first, second, third}, func(cur *kernel.Task) {
			m := cur.Machine()
			w := begin(cur)
			m.Spawn(cur, "a", func(*kernel.Task) { w.x.Store(1); m.BugOn(true, "first") })
			m.Spawn(cur, "b", func(*kernel.Task) { w.y.Store(1); w.x.Load(); m.BugOn(true, "second") })
			w.y.Load()
			m.BugOn(w.y.Load() == 1, "third")
		}},
		{"a lock that is waited for while time passes", []string{second}, func(cur *kernel.Task) {
			m := cur.Machine()
			w := begin(cur)
			first := m.Spawn(cur, "a", func(cur *kernel.Task) {
				w.a.Lock(cur)
				kernel.ScheduleTimeoutUninterruptible(cur, 1)
				w.x.Store(1)
				w.a.Unlock(cur)
			})
			w.a.Lock(cur)
			m.BugOn(w.x.Load() == 0, "second")
			w.a.Unlock(cur)
			kernel.Join(cur, first)
		}},
	} {
		for _, optimal := range []bool{true, false} {
			m := kernel.NewSim()
			got := map[string]bool{}
			d := &DPOR{Optimal: optimal}
			for d.Next() {
				if f := m.Run(d, kernel.Options{}, "main", c.main).Worst(); f != nil {
					got[f.Oracle+": "+f.Title] = true
				}
			}
			m.Close()
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, c.want) || d.Diverged > 0 {
				t.Errorf("%s, optimal %t: %d runs found %v, want %v; diverged %d",
					c.name, optimal, d.Complete, names, c.want, d.Diverged)
			}
		}
	}
}

// A bug that needs two allocations to fail, and an order: FaultPlans finds it with a budget of two and not with one.
func TestFaultPlans(t *testing.T) {
	main := func(cur *kernel.Task) {
		m := cur.Machine()
		w := kernel.StaticObj[thing](m, "thing")
		w.init(0)
		a := m.Spawn(cur, "a", func(*kernel.Task) {
			if newPart(m) == nil {
				w.x.Store(1)
			}
		})
		ordered := w.x.Load() == 1
		m.BugOn(newPart(m) == nil && ordered, "both fail")
		kernel.Join(cur, a)
	}
	var complete [3]int
	for turn := range 6 { // each budget without turns, and with turns of a single run
		budget := turn % 3
		m := kernel.NewSim()
		p := &FaultPlans{Optimal: true, Budget: budget, Limit: turn / 3}
		opt := kernel.Options{}
		opt.Faults[kernel.DecideAlloc] = 2
		found := false
		for p.Next() {
			res := m.Run(p, opt, "main", main)
			if f := res.Worst(); f != nil {
				found = true
				if len(res.Decisions) != 2 || len(p.Plan()) != 2 {
					t.Errorf("budget %d: %v with decisions %v, plan %v", budget, f, res.Decisions, p.Plan())
				}
			}
		}
		m.Close()
		if want := []int{1, 3, 4}[budget]; p.Plans != want || p.Partial() != 0 || found != (budget == 2) {
			t.Errorf("budget %d: %d plans, want %d; partial %d, found %t", budget, p.Plans, want, p.Partial(), found)
		}
		runs, _, _ := p.Runs()
		if turn < 3 {
			complete[budget] = runs
		} else if runs != complete[budget] {
			t.Errorf("budget %d: %d traces in turns, %d without", budget, runs, complete[budget])
		}
		if p.Next() {
			t.Errorf("budget %d: it goes on after its end", budget)
		}
	}
}
