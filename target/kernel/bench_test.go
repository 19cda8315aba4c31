// SPDX-License-Identifier: MIT

package kernel

import (
	"iter"
	"strconv"
	"testing"
)

// BenchmarkBareSwitch is the physical limit: a random one of three coroutines is resumed and gives back.
func BenchmarkBareSwitch(b *testing.B) {
	var stops []func()
	var nexts []func() (struct{}, bool)
	for range 3 {
		next, stop := iter.Pull(func(y func(struct{}) bool) {
			for y(struct{}{}) {
			}
		})
		nexts, stops = append(nexts, next), append(stops, stop)
	}
	r := rnd{1}
	for b.Loop() {
		nexts[r.next(3)]()
	}
	for _, s := range stops {
		s()
	}
}

// benchSim measures a step of tasks that each perform ops operations on one counter.
func benchSim(b *testing.B, tasks, ops int, opt Options) {
	m := NewSim()
	defer m.Close()
	steps := 0
	ch := &randomChooser{rnd{1}}
	names := make([]string, tasks)
	for i := range names {
		names[i] = "t" + strconv.Itoa(i)
	}
	ts := make([]*Task, tasks)
	for b.Loop() {
		r := m.Run(ch, opt, "main", func(cur *Task) {
			m := cur.Machine()
			x := Kzalloc[item](m, "item", GFP_ATOMIC)
			var n Atomic
			n.Init(&x.Obj, "n")
			body := func(cur *Task) {
				for range ops {
					n.Inc()
				}
			}
			for i := range tasks - 1 {
				ts[i] = m.Spawn(cur, names[i], body)
			}
			body(cur)
			for _, t := range ts[:tasks-1] {
				Join(cur, t)
			}
			Kfree(x)
		})
		if len(r.Findings) != 0 {
			b.Fatal(r.Findings[0])
		}
		steps += r.Steps
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
	b.ReportMetric(float64(steps)/float64(b.N), "steps/run")
}

func BenchmarkSim3x10(b *testing.B)    { benchSim(b, 3, 10, Options{}) }
func BenchmarkSim3x1000(b *testing.B)  { benchSim(b, 3, 1000, Options{}) }
func BenchmarkSim100x100(b *testing.B) { benchSim(b, 100, 100, Options{}) }

// BenchmarkDetect3x1000 is BenchmarkSim3x1000 with the race detector of the machine.
func BenchmarkDetect3x1000(b *testing.B) { benchSim(b, 3, 1000, Options{Detect: true}) }

// BenchmarkLock measures the step of a lock that three tasks want.
func BenchmarkLock(b *testing.B) {
	m := NewSim()
	defer m.Close()
	steps := 0
	ch := &randomChooser{rnd{1}}
	for b.Loop() {
		r := m.Run(ch, Options{}, "main", func(cur *Task) {
			x := newBox(cur.Machine())
			body := func(*Task) {
				for range 300 {
					x.sl.Lock()
					x.sl.Unlock()
				}
			}
			spawn(cur, body, body, body)()
			Kfree(x)
		})
		steps += r.Steps
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}

// canonical is the start of a service with the thread running before rq_task is stored, as small as it can be: the
// program by which explorers are compared.
type canonical struct {
	Obj
	pool         Spinlock
	rqTask       Var[bool]
	rqErr, busy  Atomic
	token        Token
	idle, missed bool
	pend         int
	s, t, e      func(cur *Task)
}

func newCanonical(m *Machine) *canonical {
	x := &canonical{}
	x.t = func(*Task) {
		x.rqErr.Set(0)
		for {
			x.pool.Lock()
			if x.pend > 0 {
				x.pend--
				x.idle = false
				x.pool.Unlock()
				break
			}
			x.idle = true
			x.pool.Unlock()
			x.token.Park()
		}
		x.busy.Set(0)
	}
	x.e = func(*Task) {
		x.busy.AddReturn(1)
		x.pool.Lock()
		x.pend++
		took := x.idle
		x.idle = false
		x.pool.Unlock()
		if took {
			if x.rqTask.Load() {
				x.token.Unpark()
			} else {
				x.missed = true
			}
		}
	}
	x.s = func(cur *Task) {
		Bind(m, &x.Obj, "lsr")
		x.pool.Init(&x.Obj, "pool")
		x.rqTask.Init(&x.Obj, "rq_task")
		x.rqTask.Preset(false)
		x.rqErr.Init(&x.Obj, "rq_err")
		x.busy.Init(&x.Obj, "busy")
		x.token.Init(&x.Obj, "token")
		x.idle, x.missed, x.pend = false, false, 0
		e := m.Go(cur, "E", x.e)
		x.pool.Lock()
		x.pool.Unlock()
		t := m.Go(cur, "T", x.t)
		x.rqTask.Store(true)
		if x.missed {
			x.token.Unpark()
		}
		WaitGone(cur, t)
		WaitGone(cur, e)
	}
	return x
}

// BenchmarkCanonical runs it under the random walk: ns/op is the time of a schedule.
func BenchmarkCanonical(b *testing.B) {
	m := NewSim()
	defer m.Close()
	x := newCanonical(m)
	ch := &randomChooser{rnd{1}}
	steps, missed := 0, 0
	for b.Loop() {
		steps += m.RunBare(ch, Options{}, "S", x.s).Steps
		if x.missed {
			missed++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
	b.ReportMetric(float64(steps)/float64(b.N), "steps/run")
	b.ReportMetric(100*float64(missed)/float64(b.N), "%missed")
}
