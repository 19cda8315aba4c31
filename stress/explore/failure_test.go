// SPDX-License-Identifier: MIT

//go:build !race

// The machines here fail in every way there is, data races among them.

package explore

import (
	"strconv"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// bench is what the tasks of a failing machine share.
type bench struct {
	kernel.Obj
	m       *kernel.Machine
	x       kernel.Var[int]
	fl      kernel.Flags
	a, b    kernel.Mutex
	spin    kernel.Spinlock
	wq      kernel.WaitQueueHead
	ref     kernel.Kref
	list    kernel.List[part2]
	node    *part2
	part    *part2
	task    kernel.Var[*kernel.Task]
	private kernel.Spinlock
	other   kernel.Var[int]
	moved   uint64 // 0: as it was written first; else the refactoring's number
	places  map[string]int
}

type part2 struct {
	kernel.Obj
	node kernel.Node[part2]
	n    kernel.Atomic
}

func newBench(m *kernel.Machine, moved uint64) *bench {
	x := kernel.StaticObj[bench](m, "bench")
	x.m, x.moved, x.places = m, moved, map[string]int{}
	x.x.Init(&x.Obj, "x")
	x.fl.Init(&x.Obj, "fl", []string{"READY", "SEEN"})
	x.a.Init(&x.Obj, "a_mutex")
	x.b.Init(&x.Obj, "b_mutex")
	x.spin.Init(&x.Obj, "spin")
	x.wq.Init(&x.Obj, "wq")
	x.ref.Init(&x.Obj, "ref")
	x.list.Init(&x.Obj, "list")
	x.task.Init(&x.Obj, "task")
	x.private.Init(&x.Obj, "private")
	x.other.Init(&x.Obj, "other")
	return x
}

func (x *bench) newPart() *part2 {
	p := kernel.Kzalloc[part2](x.m, "part", kernel.GFP_ATOMIC)
	p.node.Init(p)
	p.n.Init(&p.Obj, "part.n")
	return p
}

// here is a place in the code of a task. In a refactored machine there may be new visible operations at it: a look at
// something else, a lock of its own.
func (x *bench) here(cur *kernel.Task) {
	if x.moved == 0 {
		return
	}
	x.places[cur.Name()]++
	g := gen2{x.moved ^ uint64(len(cur.Name())*64+x.places[cur.Name()])<<20}
	switch g.n(4) {
	case 0:
		x.other.Load()
	case 1:
		x.private.Lock()
		x.other.Load()
		x.private.Unlock()
	}
}

// gen2 draws numbers.
type gen2 struct{ x uint64 }

func (g *gen2) n(n uint64) uint64 {
	g.x += 0x9e3779b97f4a7c15
	z := g.x
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	return (z ^ z>>27) >> 20 % n
}

// failing is one kind of failure: two tasks, and what the first task does when it has started them.
type failing struct {
	oracle   string
	one, two func(x *bench, cur *kernel.Task)
	alone    bool // nobody waits for the two
	detect   bool
}

// step says that the caller's next statement is at a place of its own.
func (x *bench) set(cur *kernel.Task, v int) {
	x.here(cur)
	x.x.Store(v)
}

// window opens and closes a moment in which x is 1.
func window(x *bench, cur *kernel.Task) {
	x.set(cur, 1)
	x.set(cur, 2)
}

func (x *bench) opened(cur *kernel.Task) bool {
	x.here(cur)
	return x.x.Load() == 1
}

// wakeLater sets READY and wakes whoever sleeps; waitOnce looks only before it makes ready to sleep.
func wakeLater(x *bench, cur *kernel.Task) {
	x.here(cur)
	x.fl.SetBit(0)
	x.here(cur)
	x.wq.WakeUp()
}

func waitOnce(x *bench, cur *kernel.Task) {
	x.here(cur)
	if x.fl.TestBit(0) {
		return
	}
	var w kernel.WaitEntry
	x.here(cur)
	x.wq.PrepareToWait(cur, &w, kernel.TASK_UNINTERRUPTIBLE)
	kernel.Schedule(cur)
	x.wq.FinishWait(cur, &w)
}

func nested(x *bench, cur *kernel.Task, outer, inner *kernel.Mutex) {
	x.here(cur)
	outer.Lock(cur)
	x.here(cur)
	inner.Lock(cur)
	inner.Unlock(cur)
	outer.Unlock(cur)
}

func unlist(x *bench, cur *kernel.Task) {
	x.here(cur)
	if !x.list.Empty() {
		x.here(cur)
		x.list.Del(&x.node.node)
	}
}

var failures = map[string]failing{
	"oops": {oracle: "oops", one: window, two: func(x *bench, cur *kernel.Task) {
		x.m.BugOn(x.opened(cur), "x is 1")
	}},
	"warning": {oracle: "warning", one: window, two: func(x *bench, cur *kernel.Task) {
		x.m.WarnOnOnce(x.opened(cur), "x is 1")
	}},
	"use after free": {oracle: "use-after-free", one: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		kernel.Kfree(x.part)
	}, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		x.part.n.Inc()
	}},
	"double free": {oracle: "use-after-free", one: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		if !x.fl.TestBit(0) {
			x.here(cur)
			x.fl.SetBit(0)
			kernel.Kfree(x.part)
		}
	}, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		if !x.fl.TestBit(0) {
			x.here(cur)
			x.fl.SetBit(0)
			kernel.Kfree(x.part)
		}
	}},
	"leak":     {oracle: "leak", alone: true, one: wakeLater, two: waitOnce},
	"deadlock": {oracle: "deadlock", one: wakeLater, two: waitOnce},
	"hang": {oracle: "hang", one: window, two: func(x *bench, cur *kernel.Task) {
		for again := x.opened(cur); again; {
			kernel.Msleep(cur, 10)
		}
	}},
	"livelock": {oracle: "hang", one: window, two: func(x *bench, cur *kernel.Task) {
		for again := x.opened(cur); again; {
			x.other.Load()
		}
	}},
	"lock order": {oracle: "lockdep", one: func(x *bench, cur *kernel.Task) {
		window(x, cur)
		nested(x, cur, &x.a, &x.b)
	}, two: func(x *bench, cur *kernel.Task) {
		if x.opened(cur) {
			nested(x, cur, &x.b, &x.a)
		}
	}},
	"sleep in atomic": {oracle: "sleep-in-atomic", one: window, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		x.spin.Lock()
		if x.opened(cur) {
			kernel.Msleep(cur, 1)
		}
		x.spin.Unlock()
	}},
	"refcount": {oracle: "refcount", one: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		x.ref.Put(nil)
	}, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		if x.ref.Read() > 0 {
			x.here(cur)
			x.ref.Get()
		}
	}},
	"list": {oracle: "list", one: unlist, two: unlist},
	"data race": {oracle: "data-race", detect: true, one: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		x.fl.SetBit(0)
		x.set(cur, 1)
	}, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		if x.fl.TestBit(0) {
			x.opened(cur)
		}
	}},
	"NULL": {oracle: "oops", one: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		x.fl.SetBit(0)
		x.here(cur)
		x.task.Store(cur)
	}, two: func(x *bench, cur *kernel.Task) {
		x.here(cur)
		if x.fl.TestBit(0) {
			x.here(cur)
			x.m.BugOn(x.task.Load() == nil, "NULL pointer")
		}
	}},
}

// main is the first task of a failing machine.
func (f *failing) main(moved uint64) func(cur *kernel.Task) {
	return func(cur *kernel.Task) {
		x := newBench(cur.Machine(), moved)
		x.part, x.node = x.newPart(), x.newPart()
		x.list.Add(&x.node.node)
		one := x.m.Spawn(cur, "one", func(cur *kernel.Task) { f.one(x, cur) })
		two := x.m.Spawn(cur, "two", func(cur *kernel.Task) { f.two(x, cur) })
		if !f.alone {
			kernel.Join(cur, one)
			kernel.Join(cur, two)
		}
	}
}

func (f *failing) options() kernel.Options {
	return kernel.Options{Detect: f.detect, HangAfter: 100, MaxSteps: 400}
}

// Ten thousand failing runs, of every kind of failure, are the same once more when they are replayed from their files:
// all operations, and what the oracle says of whom at which step.
func TestTokensOfEveryFailure(t *testing.T) {
	const tokens = 10_000
	each := tokens/len(failures) + 1
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			r := machine(t, f.main(0))
			random := &Random{}
			different := map[uint64]bool{}
			n, runs := 0, uint64(0)
			for ; n < each && runs < 400*uint64(each); runs++ {
				random.Seed(1, runs)
				res := r.Run(random, f.options())
				finding := res.Worst()
				if finding == nil {
					continue
				}
				n++
				if finding.Oracle != f.oracle {
					t.Fatalf("%s: %s, want %s", finding.Oracle, finding.Title, f.oracle)
				}
				different[res.Hash] = true
				s, err := Parse(Take(res, map[string]string{"oracle": finding.Oracle}).Text())
				if err != nil {
					t.Fatal(err)
				}
				rep := NewReplay(s)
				again := r.Run(rep, f.options())
				g := again.Worst()
				if again.Hash != s.Hash || rep.Diverged != "" || s.Left(again) != "" || g == nil ||
					g.Title != finding.Title || g.Task != finding.Task || g.Step != finding.Step {
					t.Fatalf("schedule %d: another run: %v, %v, %s %s", runs, finding, g, rep.Diverged, s.Left(again))
				}
			}
			if n < each {
				t.Errorf("%d failing runs of %d", n, runs)
			}
			t.Logf("%d tokens of %d runs, %d different ones", n, runs, len(different))
		})
	}
}

// A run that does not end is made small by runs that are cut off long before the limit at which it was found, and of its
// circle not much is drawn. The schedule says where it ends.
func TestShrinkLivelock(t *testing.T) {
	f := failures["livelock"]
	r := machine(t, f.main(0))
	out := search(t, r, Plan{Chooser: "random", Seed: 1, Schedules: 20_000})
	if out.Finding == nil {
		t.Fatal("no run fails")
	}
	if out.Finding.Title != kernel.Livelock || out.Finding.Step <= 50*LivelockSteps {
		t.Fatalf("found: %v at step %d", out.Finding, out.Finding.Step)
	}
	sh := Shrink(Work{Runner: r}, out.Schedule, out.Finding, kernel.Options{}, Effort{Runs: 1000})
	if Key(sh.Finding) != Key(out.Finding) || sh.Preemptions != 1 || sh.Result.Steps > 2*livelockShown {
		t.Fatalf("%v, %d preemptions, %d steps", sh.Finding, sh.Preemptions, sh.Result.Steps)
	}
	sh.Schedule.Meta = map[string]string{"max_steps": strconv.Itoa(sh.Options.MaxSteps)}
	s, err := Parse(sh.Schedule.Text())
	if err != nil {
		t.Fatal(err)
	}
	opt := kernel.Options{}
	if opt.MaxSteps, err = s.MaxSteps(); err != nil {
		t.Fatal(err)
	}
	rep := NewReplay(s)
	res := r.Run(rep, opt)
	if res.Hash != s.Hash || rep.Diverged != "" || s.Left(res) != "" || res.Worst() == nil {
		t.Fatalf("another run: %v, %s %s", res.Worst(), rep.Diverged, s.Left(res))
	}
	for _, bad := range []string{"x", "0", "-1"} {
		s.Meta["max_steps"] = bad
		if _, err := s.MaxSteps(); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("max_steps %q: %v", bad, err)
		}
	}
}

// The constraints of a failure bring it back after a refactoring that puts visible operations of no importance at
// random places: in at least 95 of 100 such machines.
func TestConstraintsSurviveRefactoring(t *testing.T) {
	const refactorings = 40
	total, good := 0, 0
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			r := machine(t, f.main(0))
			out := search(t, r, Plan{Chooser: "random", Seed: 1, Schedules: 20_000, Options: f.options()})
			if out.Finding == nil {
				t.Fatal("no run fails")
			}
			sh := Shrink(Work{Runner: r}, out.Schedule, out.Finding, f.options(), Effort{Runs: 1000})
			ex := Explain(r, sh.Schedule, sh.Finding, sh.Options, Effort{Runs: 5000})
			if !ex.Found {
				t.Fatalf("not explained after %d runs, %d candidates", ex.Runs, ex.Candidates)
			}
			key := Key(sh.Finding)
			s := &Schedule{Constraints: ex.Constraints}
			stays, follows := 0, 0
			for n := range refactorings {
				moved := machine(t, f.main(uint64(n+1)))
				e := Enforce(moved, s, func(g *kernel.Finding) bool { return Key(g) == key }, f.options())
				if e.Reproduced() {
					stays++
				}
				rep := NewReplay(sh.Schedule)
				res := moved.Run(rep, f.options())
				if g := res.Worst(); g != nil && Key(g) == key && sh.Schedule.Left(res) == "" {
					follows++
				}
			}
			total, good = total+refactorings, good+stays
			t.Logf("%s, depth %d: %s; of %d refactored machines %d fail by constraints, %d by decisions",
				sh.Needs, len(ex.Constraints), spell(ex.Constraints), refactorings, stays, follows)
		})
	}
	if good*100 < total*95 {
		t.Errorf("%d of %d refactored machines fail by constraints", good, total)
	}
	t.Logf("%d of %d refactored machines fail by constraints", good, total)
}
