// SPDX-License-Identifier: MIT

//go:build !race

// The race that is planted here is a data race; the detector would report it before any search does.

package explore

import (
	"context"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// pool is the 2014 race as a tiny machine: a thread that publishes itself idle, an enqueuer that wakes
// whoever is idle through task, and a starter that stores task before or after the wake-up.
type pool struct {
	kernel.Obj
	lock kernel.Spinlock
	idle kernel.Flags
	pend kernel.Atomic
	task kernel.Var[*kernel.Task]
}

func lockdStart(fixed bool) func(cur *kernel.Task) {
	return func(cur *kernel.Task) {
		m := cur.Machine()
		p := kernel.Kzalloc[pool](m, "pool", kernel.GFP_KERNEL)
		p.lock.Init(&p.Obj, "pool.lock")
		p.idle.Init(&p.Obj, "pool.flags", []string{"IDLE"})
		p.pend.Init(&p.Obj, "pool.pending")
		p.task.Init(&p.Obj, "rq_task")
		e := m.Spawn(cur, "enqueuer", func(cur *kernel.Task) {
			p.lock.Lock()
			p.pend.Inc()
			took := p.idle.TestAndClearBit(0)
			p.lock.Unlock()
			if took {
				kernel.WakeUpProcess(p.task.Load())
			}
		})
		thread := func(cur *kernel.Task, _ any) int {
			for !cur.KthreadShouldStop() {
				cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
				p.lock.Lock()
				if p.pend.Read() > 0 {
					p.pend.Dec()
				} else {
					p.idle.SetBit(0)
				}
				p.lock.Unlock()
				if cur.KthreadShouldStop() {
					break
				}
				kernel.Schedule(cur)
			}
			cur.SetCurrentState(kernel.TASK_RUNNING)
			return 0
		}
		var t *kernel.Task
		if fixed {
			t = m.KthreadCreate(cur, thread, nil, "thread")
			p.task.Store(t)
			kernel.WakeUpProcess(t)
		} else {
			t = m.KthreadRun(cur, thread, nil, "thread")
			p.task.Store(t)
		}
		kernel.Join(cur, e)
		kernel.KthreadStop(cur, t)
		kernel.Kfree(p)
	}
}

func machine(t testing.TB, main func(cur *kernel.Task)) Runner {
	m := kernel.NewSim()
	t.Cleanup(m.Close)
	return RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return m.Run(ch, opt, "starter", main)
	})
}

func search(t *testing.T, r Runner, p Plan) *Outcome {
	t.Helper()
	out, err := Search(context.Background(), r, p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The oops title names a function of the port; here the culprit is this test, so the floor calls it a fault
// of its own. That is what the tests look for.
func failed(out *Outcome) bool { return out.Finding != nil }

func TestFindsTheRace(t *testing.T) {
	for _, chooser := range []string{"random", "pct", "pct:d=2", "bounded:n=1", "bounded:n=2"} {
		out := search(t, machine(t, lockdStart(false)), Plan{Chooser: chooser, Seed: 1, Schedules: 20000, Twice: true})
		if !failed(out) || out.Unequal != 0 {
			t.Fatalf("%s: finding %v, unequal %d", chooser, out.Finding, out.Unequal)
		}
		t.Logf("%-12s at schedule %d", chooser, out.FoundAt)
		if out := search(t, machine(t, lockdStart(true)), Plan{Chooser: chooser, Seed: 1, Schedules: 3000, Twice: true}); failed(out) || out.Unequal != 0 {
			t.Fatalf("%s: the fixed order fails: %v\n%s", chooser, out.Finding, out.Finding.Text)
		}
	}
}

func TestBoundedFindsNothingBelowItsDepth(t *testing.T) {
	out := search(t, machine(t, lockdStart(false)), Plan{Chooser: "bounded:n=0"})
	if failed(out) || !out.Exhausted {
		t.Fatalf("0 preemptions: finding %v, exhausted %t", out.Finding, out.Exhausted)
	}
}

// The cache must not change what can be reached: the sets of final states are equal with and without it.
func TestBoundedCacheLosesNothing(t *testing.T) {
	for bound := range 3 {
		var states [2]map[uint64]bool
		var runs [2]int
		for k := range 2 {
			states[k] = map[uint64]bool{}
			r := machine(t, lockdStart(true))
			b := &Bounded{Bound: bound, Plain: k == 1}
			for b.Next() {
				res := r.Run(b, kernel.Options{})
				runs[k]++
				if res.Pruned {
					continue
				}
				if f := res.Worst(); f != nil {
					t.Fatal(f)
				}
				states[k][res.State] = true
			}
		}
		for s := range states[1] {
			if !states[0][s] {
				t.Fatalf("bound %d: a final state is lost by the cache", bound)
			}
		}
		t.Logf("bound %d: %d final states, %d runs with the cache, %d without", bound, len(states[1]), runs[0], runs[1])
	}
}

func TestReplayRepeatsAndShrinkShrinks(t *testing.T) {
	r := machine(t, lockdStart(false))
	out := search(t, r, Plan{Chooser: "pct", Seed: 7, Schedules: 20000})
	if !failed(out) {
		t.Fatal("not found")
	}
	text := out.Schedule.Text()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	rep := NewReplay(s)
	res := r.Run(rep, kernel.Options{})
	if res.Hash != s.Hash || rep.Diverged != "" {
		t.Fatalf("replay: hash %x, want %x; diverged %q", res.Hash, s.Hash, rep.Diverged)
	}
	sh := Shrink(Work{Runner: r}, s, out.Finding, kernel.Options{}, Effort{Runs: 2000})
	if sh.Preemptions != 1 {
		t.Fatalf("shrunk to %d preemptions, want 1\n%s", sh.Preemptions, sh.Schedule.Text())
	}
	if len(sh.Result.Events) == 0 || sh.Result.Hash != sh.Schedule.Hash {
		t.Fatal("the recorded run is not the shrunk one")
	}
}

// When the time is over, shrinking and explaining leave off at the next run, with a schedule that still fails.
func TestShrinkLeavesOff(t *testing.T) {
	r := machine(t, lockdStart(false))
	out := search(t, r, Plan{Chooser: "pct", Seed: 7, Schedules: 20000})
	if !failed(out) {
		t.Fatal("not found")
	}
	whole := Shrink(Work{Runner: r}, out.Schedule, out.Finding, kernel.Options{}, Effort{Runs: 2000})
	if whole.Cut {
		t.Error("cut off, and nothing bounded the time")
	}
	for _, limit := range []int{0, 1, 10, whole.Runs / 2} {
		runs := 0
		counted := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
			runs++
			return r.Run(ch, opt)
		})
		effort := Effort{Runs: 2000, Over: func() bool { return runs >= limit }}
		sh := Shrink(Work{Runner: counted}, out.Schedule, out.Finding, kernel.Options{}, effort)
		if !sh.Cut || sh.Runs > limit+1 || Key(sh.Finding) != Key(out.Finding) || sh.Result.Hash != sh.Schedule.Hash {
			t.Errorf("limit %d: cut off %t after %d runs: %v", limit, sh.Cut, sh.Runs, sh.Finding)
		}
		runs = 0
		ex := Explain(counted, whole.Schedule, whole.Finding, kernel.Options{}, effort)
		if limit < 10 && (ex.Found || ex.Runs > limit+2+3*enforceSeeds) {
			t.Errorf("limit %d: explained in %d runs", limit, ex.Runs)
		}
	}
}

func TestReplaySaysWhereItDiverged(t *testing.T) {
	r := machine(t, lockdStart(true))
	rep := NewReplay(&Schedule{Segments: []Segment{{"starter", 3}, {"nobody", 2}}})
	r.Run(rep, kernel.Options{})
	if !strings.Contains(rep.Diverged, "the schedule says nobody") {
		t.Fatalf("diverged: %q", rep.Diverged)
	}
}

func TestParseErrors(t *testing.T) {
	good := string((&Schedule{Meta: map[string]string{"scenario": "x"}, Segments: []Segment{{"a", 3}}}).Text())
	for name, c := range map[string]struct{ text, want string }{
		"empty":    {"", "not a schedule file"},
		"cut":      {good[:len(good)-6], "cut short"},
		"header":   {strings.Replace(good, ": x", "", 1), "KEY: VALUE"},
		"steps":    {strings.Replace(good, "a 3", "a three", 1), "positive number"},
		"negative": {strings.Replace(good, "a 3", "a -1", 1), "positive number"},
		"hash":     {strings.Replace(good, "scenario: x", "hash: zz", 1), "hexadecimal"},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse([]byte(good)); err != nil {
		t.Error(err)
	}
}

func TestSpecErrors(t *testing.T) {
	for _, s := range []string{"", "dfs", "pct:d=0", "pct:d=99", "pct:x=1", "bounded:n=-1", "random:n=2", "bounded:n="} {
		if _, err := ParseSpec(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}
