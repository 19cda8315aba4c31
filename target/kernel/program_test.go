// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

// program is a random program over all primitives that never does anything wrong: any finding is the floor's.
type program struct {
	seed   int
	bodies [][]step
}

type step struct{ op, a, b int }

func randomProgram(seed int) *program {
	r := seeded(seed)
	p := &program{seed: seed}
	for range 2 + r.next(3) {
		var body []step
		for range 2 + r.next(7) {
			body = append(body, step{r.next(len(steps)), r.next(64), r.next(64)})
		}
		p.bodies = append(p.bodies, body)
	}
	return p
}

// world is what the tasks of a program share.
type world struct {
	Obj
	m      *Machine
	b      [2]*box
	c      *ticker
	start  Completion
	tasks  []*Task
	raised atomic.Int32
	served atomic.Int32
}

// steps is what a task of a program may do next.
var steps = []func(w *world, cur *Task, b *box, s step){
	func(_ *world, _ *Task, b *box, _ step) { b.n.Inc() },
	func(_ *world, _ *Task, b *box, _ step) { b.n.Read() },
	func(_ *world, _ *Task, b *box, s step) { b.fl.SetBit(s.b) },
	func(_ *world, _ *Task, b *box, s step) { b.fl.TestAndClearBit(s.b) },
	func(_ *world, _ *Task, b *box, s step) { b.fl.TestAny(s.b, 3) },
	func(_ *world, _ *Task, b *box, _ step) {
		b.sl.LockBH()
		b.x.Store(b.x.Load() + 1)
		b.sl.UnlockBH()
	},
	func(_ *world, cur *Task, b *box, s step) {
		b.mu.Lock(cur)
		b.n.Inc()
		if s.b%4 == 0 {
			Msleep(cur, 1)
		}
		b.mu.Unlock(cur)
	},
	func(_ *world, cur *Task, b *box, _ step) {
		if !b.mu.TryLock(cur) {
			return
		}
		b.sl.LockBH()
		b.x.Load()
		b.sl.UnlockBH()
		b.mu.Unlock(cur)
	},
	func(_ *world, cur *Task, _ *box, s step) { ScheduleTimeoutInterruptible(cur, Jiffies(s.b%4)) },
	func(_ *world, cur *Task, b *box, s step) {
		WaitEventTimeout(cur, &b.wq, func() bool { return b.n.Read() > int64(s.b%8) }, 5)
	},
	func(_ *world, cur *Task, b *box, _ step) {
		var w WaitEntry
		b.wq.PrepareToWaitExclusive(cur, &w, TASK_INTERRUPTIBLE)
		ScheduleTimeout(cur, 3)
		b.wq.FinishWait(cur, &w)
	},
	func(_ *world, _ *Task, b *box, _ step) {
		if b.wq.Active() {
			b.wq.WakeUp()
		}
	},
	func(_ *world, _ *Task, b *box, _ step) { b.wq.WakeUpAll() },
	func(_ *world, _ *Task, b *box, _ step) { b.done.Complete() },
	func(_ *world, cur *Task, b *box, s step) { b.done.WaitTimeout(cur, Jiffies(s.b%5)) },
	func(_ *world, cur *Task, b *box, s step) { b.done.WaitInterruptibleTimeout(cur, Jiffies(s.b%5)) },
	func(w *world, _ *Task, b *box, _ step) {
		w.m.RcuReadLock()
		for i := b.list.FirstRcu(); i != nil; i = b.list.NextRcu(&i.node) {
			i.x.Load()
		}
		w.m.RcuReadUnlock()
	},
	func(w *world, _ *Task, b *box, s step) {
		i := newItem(w.m)
		i.x.Preset(s.b)
		b.sl.LockBH()
		b.list.AddRcu(&i.node)
		b.sl.UnlockBH()
	},
	func(_ *world, _ *Task, b *box, _ step) {
		b.sl.LockBH()
		i := b.list.First()
		if i != nil {
			b.list.DelRcu(&i.node)
		}
		b.sl.UnlockBH()
		if i != nil {
			KfreeRcu(i)
		}
	},
	func(w *world, _ *Task, _ *box, s step) { w.c.t[s.a%4].Mod(w.m.Jiffies() + Jiffies(s.b%6)) },
	func(w *world, _ *Task, _ *box, s step) { w.c.t[s.a%4].Del() },
	func(w *world, cur *Task, _ *box, s step) { w.c.t[s.a%4].DelSync(cur) },
	func(w *world, _ *Task, _ *box, s step) { w.c.w.Schedule(Jiffies(s.b % 4)) },
	func(w *world, cur *Task, _ *box, _ step) { w.c.w.CancelSync(cur) },
	func(w *world, _ *Task, b *box, _ step) {
		w.raised.Add(1)
		b.irq.Raise(func() {
			b.sl.Lock()
			b.x.Store(b.x.Load() + 1)
			b.sl.Unlock()
			b.wq.WakeUp()
			w.served.Add(1)
		})
	},
	func(w *world, cur *Task, _ *box, s step) {
		k := w.m.KthreadRun(cur, idler, nil, "k")
		if s.b%2 == 0 {
			Msleep(cur, 1)
		}
		KthreadStop(cur, k)
	},
	func(w *world, cur *Task, _ *box, s step) {
		SendSig(SIGINT, w.tasks[s.b%len(w.tasks)])
		if cur.SignalPending() {
			cur.FlushSignals()
		}
	},
	func(w *world, _ *Task, _ *box, s step) { WakeUpProcess(w.tasks[s.b%len(w.tasks)]) },
	func(w *world, cur *Task, _ *box, _ step) { w.m.SynchronizeRcu(cur) },
	func(w *world, _ *Task, _ *box, s step) {
		if p := w.m.AllocPage(GFP_KERNEL); p != nil {
			p.Data[s.b]++
			p.Put()
		}
	},
	func(_ *world, _ *Task, b *box, _ step) { b.ref.Get(); b.n.Inc(); b.ref.Put(nil) },
	func(w *world, cur *Task, b *box, _ step) {
		b.n.Add(int64(w.m.RandomU32() % 3))
		CondResched(cur)
	},
	func(_ *world, _ *Task, b *box, s step) { ClearAndWakeUpBit(&b.fl, s.b) },
}

func (p *program) run(cur *Task) {
	m := cur.Machine()
	w := Kzalloc[world](m, "world", GFP_KERNEL)
	w.m, w.c = m, newClock(m)
	w.start.Init(&w.Obj, "start")
	for i := range w.b {
		w.b[i] = newBox(m)
	}
	for i := range w.c.t {
		w.c.t[i].SetFunction(func() { w.c.n.Inc() })
	}
	w.c.w.Init(&w.c.Obj, "work", func(cur *Task) { w.c.n.Inc(); Msleep(cur, 1) })
	for i, body := range p.bodies {
		w.tasks = append(w.tasks, m.Spawn(cur, fmt.Sprintf("t%d", i), func(cur *Task) {
			w.start.Wait(cur)
			for _, s := range body {
				steps[s.op](w, cur, w.b[s.a%2], s)
			}
		}))
	}
	w.start.completeAll()
	for _, t := range w.tasks {
		Join(cur, t)
	}
	for i := range w.c.t {
		w.c.t[i].DelSync(cur)
	}
	w.c.w.CancelSync(cur)
	until(cur, func() bool { return w.raised.Load() == w.served.Load() })
	m.SynchronizeRcu(cur)
	for _, b := range w.b {
		for i := b.list.First(); i != nil; i = b.list.First() {
			b.list.Del(&i.node)
			Kfree(i)
		}
		Kfree(b)
	}
	Kfree(w.c)
	Kfree(w)
}

// TestDeterminism: one seed is one run, on a machine that is fresh or that has run thousands of others.
func TestDeterminism(t *testing.T) {
	n := 2000
	if raceEnabled {
		n = 200 // thirty times slower there, and nothing of it depends on the build
	}
	m := NewSim()
	defer m.Close()
	different := map[uint64]bool{}
	for seed := range n {
		p := randomProgram(seed)
		r := m.Run(random(seed), Options{Causal: true}, "main", p.run)
		wantClean(t, fmt.Sprintf("program %d", seed), r)
		hash, state, steps, seq, tasks := r.Hash, r.State, r.Steps, slices.Clone(r.Seq), slices.Clone(r.Tasks)
		same := func(where string, r *Result) {
			if r.Hash != hash || r.State != state || r.Steps != steps || !slices.Equal(r.Seq, seq) || !slices.Equal(r.Tasks, tasks) {
				t.Fatalf("program %d: %s it is another run", seed, where)
			}
		}
		if steps != len(seq) {
			t.Fatalf("program %d: %d steps, but %d in sequence", seed, steps, len(seq))
		}
		same("the second time", m.Run(random(seed), Options{Causal: true}, "main", p.run))
		if seed%20 == 0 {
			fresh := NewSim()
			same("on a fresh machine", fresh.Run(random(seed), Options{Record: seed%40 == 0, Causal: true}, "main", p.run))
			fresh.Close()
		}
		different[hash] = true
	}
	if len(different) < n*95/100 {
		t.Errorf("only %d different runs of %d programs", len(different), n)
	}
}

// TestProgramsInSim runs some programs under many seeds.
func TestProgramsInSim(t *testing.T) {
	m := NewSim()
	defer m.Close()
	n := 200
	if raceEnabled {
		n = 10
	}
	for i := range 20 {
		p := randomProgram(100_000 + i)
		for seed := range n {
			wantClean(t, fmt.Sprintf("program %d, seed %d", p.seed, seed), m.Run(random(seed), Options{Cpus: 2}, "main", p.run))
		}
	}
}

// TestProgramsFree runs small programs on real goroutines; under the race detector it watches the floor itself.
func TestProgramsFree(t *testing.T) {
	for seed := range 200 {
		p := randomProgram(200_000 + seed)
		opt := Options{Seed: uint64(seed), Noise: uint32(seed%5) << 12, TimeScale: 5, Cpus: 2, Record: seed%10 == 0, Watchdog: 30_000}
		r := NewFree().Run(nil, opt, "main", p.run)
		wantClean(t, fmt.Sprintf("program %d", p.seed), r)
		if r.Steps == 0 || opt.Record && len(r.Events) < r.Steps {
			t.Fatalf("program %d: %d steps, %d events", p.seed, r.Steps, len(r.Events))
		}
	}
}
