// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// normalForm writes the trace of a recorded run as its happens-before graph's first linear order. Two runs
// have the same one if and only if one becomes the other by swapping neighbouring independent operations.
func normalForm(events []Event) string {
	type cellName struct{ obj, cell string }
	dependent := func(a, b *Event) bool {
		return a.Task == b.Task ||
			cellName{a.Obj, a.Cell} == cellName{b.Obj, b.Cell} && (a.Op.Writes() || b.Op.Writes())
	}
	done := make([]bool, len(events))
	var out []string
	for range events {
		best := -1
		for i := range events {
			if done[i] || best >= 0 && events[best].Task <= events[i].Task {
				continue
			}
			ready := true
			for j := range i {
				ready = ready && (done[j] || !dependent(&events[j], &events[i]))
			}
			if ready {
				best = i
			}
		}
		done[best] = true
		out = append(out, events[best].Task+" "+events[best].Text+" of "+events[best].Obj)
	}
	return strings.Join(out, "; ")
}

// TestStateIsTheTrace: Result.State says the same as the happens-before graph, no more and no less; Hash tells
// all orders apart.
func TestStateIsTheTrace(t *testing.T) {
	type prog struct {
		name   string
		bodies func(b, c *box) []func(cur *Task)
	}
	inc := func(b *box) func(*Task) { return func(*Task) { b.n.Inc(); b.n.Inc() } }
	read := func(b *box) func(*Task) { return func(*Task) { b.n.Read(); b.n.Read() } }
	for _, p := range []prog{
		{"independent", func(b, c *box) []func(*Task) { return []func(*Task){inc(b), inc(c)} }},
		{"readers", func(b, _ *box) []func(*Task) { return []func(*Task){read(b), read(b)} }},
		{"writers", func(b, _ *box) []func(*Task) { return []func(*Task){inc(b), inc(b)} }},
		{"reader and writer", func(b, _ *box) []func(*Task) { return []func(*Task){inc(b), read(b)} }},
		{"bits", func(b, _ *box) []func(*Task) {
			return []func(*Task){
				func(*Task) { b.fl.SetBit(0); b.fl.TestBit(1) },
				func(*Task) { b.fl.TestAndClearBit(0); b.n.Inc() },
			}
		}},
		{"two locks", func(b, c *box) []func(*Task) {
			return []func(*Task){
				func(*Task) { b.sl.Lock(); b.n.Inc(); b.sl.Unlock() },
				func(*Task) { c.fl.SetBit(0); b.sl.Lock(); b.n.Inc(); b.sl.Unlock() },
			}
		}},
		{"three", func(b, c *box) []func(*Task) {
			return []func(*Task){func(*Task) { b.n.Inc() }, func(*Task) { b.n.Read(); c.n.Inc() }, func(*Task) { c.n.Read() }}
		}},
	} {
		t.Run(p.name, func(t *testing.T) {
			forms, states, hashes := map[string]uint64{}, map[uint64]string{}, map[uint64]int{}
			m := NewSim()
			defer m.Close()
			n := 0
			for d := (&dfs{}); d.next() && n < 3000; n++ {
				r := m.Run(d, Options{Record: true, Causal: true}, "main", func(cur *Task) {
					b, c := newBox(m), newBox(m)
					spawn(cur, p.bodies(b, c)...)()
					Kfree(b)
					Kfree(c)
				})
				wantClean(t, "sim", r)
				form := normalForm(r.Events)
				if s, ok := forms[form]; ok && s != r.State {
					t.Fatalf("two states for one trace: %s", form)
				}
				if f, ok := states[r.State]; ok && f != form {
					t.Fatalf("one state for two traces:\n%s\n%s", f, form)
				}
				forms[form], states[r.State] = r.State, form
				hashes[r.Hash]++
			}
			if len(hashes) != n {
				t.Errorf("%d hashes for %d schedules", len(hashes), n)
			}
			if len(states) >= n {
				t.Errorf("%d states for %d schedules: nothing commutes", len(states), n)
			}
			t.Logf("%d schedules, %d states", n, len(states))
		})
	}
}

// miniWorld is what a mini-program works on; its tasks write down what they see.
type miniWorld struct {
	*world
	saw   [4]strings.Builder
	mu    sync.Mutex // of first, which is no part of the machine
	first *Task
}

func (w *miniWorld) setFirst(t *Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.first = t
}

// one is the first task of the program.
func (w *miniWorld) one() *Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first
}

// minis are the steps of mini-programs, by family. What a step can observe it notes.
var minis = map[string][]func(w *miniWorld, cur *Task) string{
	"cells": {
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].n.AddReturn(1)) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].n.Read()) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].fl.TestAndSetBit(0)) },
		func(w *miniWorld, _ *Task) string { w.b[0].fl.ClearBit(0); return "" },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].ref.GetUnlessZero()) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].ref.Put(nil)) },
	},
	"locks": {
		func(w *miniWorld, _ *Task) string {
			w.b[0].sl.Lock()
			defer w.b[0].sl.Unlock()
			return fmt.Sprint(w.b[0].n.AddReturn(1))
		},
		func(w *miniWorld, _ *Task) string {
			if !w.b[0].sl.TryLock() {
				return "busy"
			}
			w.b[0].n.Inc()
			w.b[0].sl.Unlock()
			return "mine"
		},
		func(w *miniWorld, cur *Task) string {
			if !w.b[0].mu.TryLock(cur) {
				return "busy"
			}
			ScheduleTimeoutUninterruptible(cur, 1)
			w.b[0].mu.Unlock(cur)
			return "mine"
		},
		func(w *miniWorld, cur *Task) string {
			w.b[0].mu.Lock(cur)
			w.b[0].mu.Unlock(cur)
			return fmt.Sprint(w.m.Jiffies())
		},
	},
	"waking": {
		func(w *miniWorld, cur *Task) string {
			var e WaitEntry
			w.b[0].wq.AddWaitQueue(cur, &e)
			cur.SetCurrentState(TASK_INTERRUPTIBLE)
			left := ScheduleTimeout(cur, 3)
			w.b[0].wq.RemoveWaitQueue(&e)
			return fmt.Sprint(left)
		},
		func(w *miniWorld, cur *Task) string {
			var e WaitEntry
			w.b[0].wq.PrepareToWaitExclusive(cur, &e, TASK_UNINTERRUPTIBLE)
			left := ScheduleTimeout(cur, 2)
			w.b[0].wq.FinishWait(cur, &e)
			return fmt.Sprint(left)
		},
		func(w *miniWorld, _ *Task) string { w.b[0].wq.WakeUp(); return "" },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].wq.Active()) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(WakeUpProcess(w.one())) },
		func(w *miniWorld, _ *Task) string { SendSig(SIGINT, w.one()); return "" },
		func(_ *miniWorld, cur *Task) string { return fmt.Sprint(cur.SignalPending()) },
		func(w *miniWorld, _ *Task) string { w.b[0].done.Complete(); return "" },
		func(w *miniWorld, cur *Task) string { return fmt.Sprint(w.b[0].done.WaitInterruptibleTimeout(cur, 2)) },
		func(w *miniWorld, cur *Task) string { return fmt.Sprint(w.b[0].done.WaitTimeout(cur, 1)) },
	},
	"time": {
		func(w *miniWorld, _ *Task) string { w.c.t[0].Mod(w.m.Jiffies() + 1); return "" },
		func(w *miniWorld, _ *Task) string { w.c.t[1].Mod(w.m.Jiffies() + 1); return "" },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.c.t[0].Del(), w.c.n.Read()) },
		func(w *miniWorld, cur *Task) string { return fmt.Sprint(w.c.t[0].DelSync(cur), w.c.n.Read()) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.c.t[0].Pending()) },
		func(_ *miniWorld, cur *Task) string { return fmt.Sprint(ScheduleTimeoutUninterruptible(cur, 1)) },
	},
	"work": {
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.c.w.Schedule(1)) },
		func(w *miniWorld, cur *Task) string { return fmt.Sprint(w.c.w.CancelSync(cur), w.c.n.Read()) },
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.c.w.Pending()) },
		func(_ *miniWorld, cur *Task) string { return fmt.Sprint(ScheduleTimeoutUninterruptible(cur, 1)) },
	},
	"rcu": {
		func(w *miniWorld, _ *Task) string {
			w.m.RcuReadLock()
			i := w.b[0].list.FirstRcu()
			seen := i != nil && i.node.n.owner == i
			if i != nil {
				i.x.c.visible(OpRead, 0)
			}
			w.m.RcuReadUnlock()
			return fmt.Sprint(seen)
		},
		func(w *miniWorld, _ *Task) string {
			w.m.RcuReadLock()
			i := w.b[0].list.FirstRcu()
			w.m.RcuReadUnlock()
			if i != nil {
				i.x.c.visible(OpRead, 0) // beyond the section: sometimes a finding
			}
			return ""
		},
		func(w *miniWorld, _ *Task) string {
			w.b[0].sl.LockBH()
			i := w.b[0].list.First()
			if i != nil {
				w.b[0].list.DelRcu(&i.node)
			}
			w.b[0].sl.UnlockBH()
			if i != nil {
				KfreeRcu(i)
			}
			return fmt.Sprint(i != nil)
		},
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].list.Empty()) },
		func(w *miniWorld, cur *Task) string { w.m.SynchronizeRcu(cur); return fmt.Sprint(w.b[0].n.Read()) },
	},
	"softirq": {
		func(w *miniWorld, _ *Task) string { w.b[0].irq.Raise(func() { w.b[0].n.Inc() }); return "" },
		func(w *miniWorld, _ *Task) string {
			w.b[1].irq.Raise(func() { w.b[0].fl.SetBit(1); w.b[0].n.Inc() })
			return ""
		},
		func(w *miniWorld, _ *Task) string { return fmt.Sprint(w.b[0].n.Read()) },
	},
	"threads": {
		func(w *miniWorld, cur *Task) string {
			k := w.m.KthreadRun(cur, func(cur *Task, _ any) int {
				cur.SetFreezable()
				if cur.Freezing() {
					TryToFreeze(cur)
					w.b[0].fl.SetBit(0)
				}
				return idler(cur, nil)
			}, nil, "k")
			return fmt.Sprint(KthreadStop(cur, k), w.b[0].fl.TestBit(0))
		},
		func(w *miniWorld, cur *Task) string { w.m.FreezeProcesses(cur); w.m.ThawProcesses(cur); return "" },
		func(w *miniWorld, cur *Task) string {
			k := w.m.KthreadRun(cur, func(*Task, any) int { w.b[0].n.Inc(); return 0 }, nil, "short")
			Join(cur, k)
			return ""
		},
	},
}

// TestStateTellsTheFuture: from two points with the same State and the same running task the same futures are
// to be had, whatever the way there. The bounded search follows only one of them.
func TestStateTellsTheFuture(t *testing.T) {
	const limit = 2000
	programs := 12
	if raceEnabled {
		programs = 2
	}
	// Where the floor adds tasks of its own there are too many schedules for all of them.
	bounds := map[string]int{"rcu": 2, "softirq": 2, "threads": 2}
	families := []string{}
	for f := range minis {
		families = append(families, f)
	}
	slices.Sort(families)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			complete, merged, seed := 0, 0, 0
			for ; complete < programs && seed < 20*programs; seed++ {
				r := seeded(seed)
				var bodies [][]func(w *miniWorld, cur *Task) string
				var spell []string
				for range 2 {
					var body []func(w *miniWorld, cur *Task) string
					for range 1 + r.next(2) {
						k := r.next(len(minis[family]))
						body = append(body, minis[family][k])
						spell = append(spell, fmt.Sprint(k))
					}
					bodies = append(bodies, body)
					spell = append(spell, "|")
				}
				n, ok := futures(t, strings.Join(spell, " "), bodies, bounds[family], limit)
				merged += n
				if ok {
					complete++
				}
			}
			t.Logf("%d programs of %d are small enough; %d points met another way", complete, seed, merged)
			if complete < programs/3 || merged == 0 {
				t.Errorf("%d programs of %d are small enough, %d points met another way", complete, seed, merged)
			}
		})
	}
}

// futures enumerates all schedules of a mini-program and compares the points with the same state. It returns
// how many points were met on more than one way, and whether limit schedules were enough.
func futures(t *testing.T, name string, bodies [][]func(w *miniWorld, cur *Task) string, bound, limit int) (int, bool) {
	t.Helper()
	m := NewSim()
	defer m.Close()
	type point struct {
		key      [3]uint64
		outcomes map[string]bool
	}
	points := map[string]*point{}
	var w *miniWorld
	main := func(cur *Task) {
		w = &miniWorld{world: Kzalloc[world](m, "world", GFP_KERNEL)}
		w.m, w.c = m, newClock(m)
		w.start.Init(&w.Obj, "start")
		w.b[0], w.b[1] = newBox(m), newBox(m)
		i := newItem(m)
		w.b[0].list.AddRcu(&i.node)
		for i := range w.c.t {
			w.c.t[i].SetFunction(func() { w.c.n.Inc() })
		}
		w.c.w.Init(&w.c.Obj, "work", func(*Task) { w.c.n.Inc() })
		var tasks []*Task
		for i, body := range bodies {
			tasks = append(tasks, m.Spawn(cur, string(rune('a'+i)), func(cur *Task) {
				for _, s := range body {
					w.saw[i].WriteString(s(w, cur) + ",")
				}
			}))
		}
		w.setFirst(tasks[0]) // nobody else has run yet, see dfs
		for _, t := range tasks {
			Join(cur, t)
		}
	}
	d := &dfs{bound: bound}
	for n := 0; d.next(); n++ {
		if n == limit {
			return 0, false
		}
		r := m.Run(d, Options{MaxSteps: 400, Causal: true}, "main", main)
		outcome := fmt.Sprintf("%x at %d:", r.State, r.Now)
		for i := range w.saw {
			outcome += " " + w.saw[i].String()
		}
		if f := r.Worst(); f != nil {
			outcome += " " + f.String()
		}
		prefix := ""
		for i := range d.depth {
			p := points[prefix]
			if p == nil {
				p = &point{d.path[i].key, map[string]bool{}}
				points[prefix] = p
			}
			p.outcomes[outcome] = true
			prefix += string(rune('0' + d.path[i].pos))
		}
	}
	first := map[[3]uint64]string{}
	merged := 0
	var prefixes []string
	for prefix := range points {
		prefixes = append(prefixes, prefix)
	}
	slices.Sort(prefixes)
	for _, prefix := range prefixes {
		p := points[prefix]
		other, ok := first[p.key]
		if !ok {
			first[p.key] = prefix
			continue
		}
		merged++
		q := points[other]
		for o := range p.outcomes {
			if !q.outcomes[o] {
				t.Fatalf("program %s: after %s one can come to\n%s\nafter %s, with the same state, one cannot, only to\n%v",
					name, prefix, o, other, q.outcomes)
			}
		}
		for o := range q.outcomes {
			if !p.outcomes[o] {
				t.Fatalf("program %s: after %s one can come to\n%s\nafter %s, with the same state, one cannot", name, other, o, prefix)
			}
		}
	}
	return merged, true
}
