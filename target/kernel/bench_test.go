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
func benchSim(b *testing.B, tasks, ops int) {
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
		r := m.Run(ch, Options{}, "main", func(cur *Task) {
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

func BenchmarkSim3x10(b *testing.B)    { benchSim(b, 3, 10) }
func BenchmarkSim3x1000(b *testing.B)  { benchSim(b, 3, 1000) }
func BenchmarkSim100x100(b *testing.B) { benchSim(b, 100, 100) }

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
