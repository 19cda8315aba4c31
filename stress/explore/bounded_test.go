// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// sample runs n schedules of the machine before it is searched.
func (p *program) sample(m *kernel.Machine, n int) {
	var pct PCT
	var random Random
	for i := range n {
		pct.Seed(1, uint64(i))
		m.Run(&pct, p.options(), "main", p.main)
		random.Seed(1, uint64(i))
		m.Run(&random, p.options(), "main", p.main)
	}
}

// TestReductionsLoseNothing compares, for random machines, all that the reduced search comes to with all that the plain
// one does: final states and findings. The reduced search runs on a machine that is new, on one that was sampled
// before, and on one that was searched before.
func TestReductionsLoseNothing(t *testing.T) {
	machines, limit := 420, 1200
	if raceEnabled {
		machines, limit = 12, 100 // the floor is thirty times slower there, and none of this depends on it
	}
	var compared, plainRuns, runs [3]int
	failing := 0
	for seed := range machines {
		p := newProgram(seed, 2+seed%3, 2+seed%5)
		used := kernel.NewSim()
		sampled := kernel.NewSim()
		p.sample(sampled, 20)
		for bound := range 3 {
			m := kernel.NewSim()
			plain, ok := p.explore(t, m, &Bounded{Bound: bound, Plain: true}, limit)
			m.Close()
			if !ok {
				break
			}
			compared[bound]++
			plainRuns[bound] += plain.runs
			if bound == 0 && len(plain.findings) > 0 {
				failing++
			}
			fresh := kernel.NewSim()
			for _, c := range []struct {
				what string
				m    *kernel.Machine
			}{{"new", fresh}, {"sampled", sampled}, {"used", used}} {
				got, ok := p.explore(t, c.m, &Bounded{Bound: bound}, 100*limit)
				if d := got.compare(plain); d != "" || !ok {
					t.Errorf("bound %d, %s machine, %d runs of %d: %s\n%s", bound, c.what, got.runs, plain.runs, p, d)
				}
				runs[bound] += got.last
			}
			fresh.Close()
		}
		used.Close()
		sampled.Close()
		if t.Failed() {
			return
		}
	}
	t.Logf("machines: %v of %d, %d with a finding; plain runs %v, reduced %v", compared, machines, failing, plainRuns, runs)
	if raceEnabled {
		return
	}
	if compared[1] < 300 || compared[2] < 150 || failing < machines/10 {
		t.Errorf("too few machines were small enough (%v) or failed (%d)", compared, failing)
	}
	if runs[2]/3 > plainRuns[2]/3 {
		t.Errorf("the reductions do not reduce: %d runs, %d without them", runs[2]/3, plainRuns[2])
	}
}

// hunt wants the search for a bug that needs one preemption to find it: on a new machine and on one that was sampled.
func hunt(t *testing.T, words string, main func(cur *kernel.Task)) {
	t.Helper()
	for _, samples := range []int{0, 1, 30} {
		for _, plain := range []bool{true, false} {
			m := kernel.NewSim()
			var pct PCT
			for i := range samples {
				pct.Seed(3, uint64(i))
				m.Run(&pct, kernel.Options{}, "main", main)
			}
			got := map[string]bool{}
			runs := 0
			for b := (&Bounded{Bound: 1, Plain: plain}); b.Next(); runs++ {
				if f := m.Run(b, kernel.Options{}, "main", main).Worst(); f != nil {
					got[f.Oracle+": "+f.Title] = true
				}
			}
			m.Close()
			if !got[words] {
				t.Errorf("after %d samples, plain %t: %d runs found %v, not %s", samples, plain, runs, got, words)
			}
		}
	}
}

// The reductions once looked at the announced cells alone, at who used which cell, and at the task's own accesses only.
// Each of these bugs shows in one of the places that this left out.
func TestReductionsSeeWhatAStepDoes(t *testing.T) {
	type world struct {
		thing
	}
	start := func(cur *kernel.Task) *world {
		w := kernel.StaticObj[world](cur.Machine(), "thing")
		w.init(0)
		return w
	}
	for _, c := range []struct {
		name, want string
		main       func(cur *kernel.Task)
	}{
		{"a cell of its own in an object that another task frees", "use-after-free: wake_up_process of part.wq in freed part", func(cur *kernel.Task) {
			w := start(cur)
			p := newPart(cur.Machine())
			a := cur.Machine().Spawn(cur, "a", func(cur *kernel.Task) {
				w.done.Complete()
				p.wq.WakeUp()
			})
			w.done.Wait(cur)
			kernel.Kfree(p)
			kernel.Join(cur, a)
		}},
		{"the state that prepare_to_wait sets", "deadlock: no task can run and no timer is armed", func(cur *kernel.Task) {
			w := start(cur)
			a := cur.Machine().Spawn(cur, "a", func(cur *kernel.Task) {
				w.done.Complete()
				var e kernel.WaitEntry
				w.wq.PrepareToWait(cur, &e, kernel.TASK_UNINTERRUPTIBLE)
				kernel.Schedule(cur)
				w.wq.FinishWait(cur, &e)
			})
			w.done.Wait(cur)
			kernel.WakeUpProcess(a)
			kernel.Join(cur, a)
		}},
		{"the end of a softirq, which is part of its last step", "oops: kernel BUG: one serves both", func(cur *kernel.Task) {
			w, own := start(cur), start(cur)
			m := cur.Machine()
			w.irq.Raise(func() { w.done.Complete(); own.n.Inc() })
			w.done.Wait(cur)
			w.irq.Raise(func() {})
			served := 0
			for _, t := range m.Tasks() {
				if t.IsSoftirq() {
					served++
				}
			}
			m.BugOn(served == 1, "one serves both")
		}},
		{"who waits for a lock cannot go on when it is taken", "oops: kernel BUG: in between", func(cur *kernel.Task) {
			w := start(cur)
			m := cur.Machine()
			m.Spawn(cur, "u", func(cur *kernel.Task) {
				w.mu.Lock(cur)
				m.BugOn(w.x.Load() == 1 && w.n.Read() == 0, "in between")
				w.mu.Unlock(cur)
			})
			w.mu.Lock(cur)
			kernel.ScheduleTimeoutUninterruptible(cur, 1)
			o := m.Spawn(cur, "o", func(*kernel.Task) { w.x.Store(1) })
			w.mu.Unlock(cur)
			w.mu.Lock(cur)
			w.n.Inc()
			w.mu.Unlock(cur)
			kernel.Join(cur, o)
		}},
		{"who slept has no right to go first", "oops: kernel BUG: late", func(cur *kernel.Task) {
			w := start(cur)
			m := cur.Machine()
			m.Spawn(cur, "a", func(cur *kernel.Task) {
				kernel.ScheduleTimeoutUninterruptible(cur, 2)
				w.n.Inc()
			})
			kernel.ScheduleTimeoutUninterruptible(cur, 1)
			kernel.ScheduleTimeoutUninterruptible(cur, 1)
			m.BugOn(w.n.Read() == 1, "late")
			for w.n.Read() == 0 { // nobody is woken by another task here
				kernel.ScheduleTimeoutUninterruptible(cur, 1)
			}
		}},
		{"a bug behind another one", "oops: kernel BUG: second", func(cur *kernel.Task) {
			w, own := start(cur), start(cur)
			m := cur.Machine()
			a := m.Spawn(cur, "a", func(cur *kernel.Task) {
				w.done.Complete()
				own.n.Inc()
				m.BugOn(true, "first")
			})
			w.done.Wait(cur)
			m.BugOn(true, "second")
			kernel.Join(cur, a)
		}},
	} {
		t.Run(c.name, func(t *testing.T) { hunt(t, c.want, c.main) })
	}
}

// The first run of a search on a machine that had been sampled had no access log, and what was learnt from it later
// stood at the wrong places: the race of 2014 was missed.
func TestSearchAfterSampling(t *testing.T) {
	for samples := range 40 {
		m := kernel.NewSim()
		var pct PCT
		for i := range samples {
			pct.Seed(5, uint64(i))
			m.Run(&pct, kernel.Options{}, "starter", lockdStart(false))
		}
		found, b := false, &Bounded{Bound: 1}
		for b.Next() {
			res := m.Run(b, kernel.Options{}, "starter", lockdStart(false))
			found = found || res.Worst() != nil
		}
		m.Close()
		if !found {
			t.Errorf("after %d samples the race is missed", samples)
		}
	}
}

// TestLevels: what is found first needs the fewest preemptions.
func TestLevels(t *testing.T) {
	for bound := range 4 {
		m := kernel.NewSim()
		b := &Bounded{Bound: bound}
		fewest := -1
		for b.Next() && fewest < 0 {
			count := Counter{Chooser: b}
			if res := m.Run(&count, kernel.Options{}, "starter", lockdStart(false)); res.Worst() != nil {
				fewest = count.Preemptions
			}
		}
		m.Close()
		if want := min(bound, 1)*2 - 1; fewest != want {
			t.Errorf("bound %d: found with %d preemptions, want %d", bound, fewest, want)
		}
	}
}
