// SPDX-License-Identifier: MIT

package kernel

import (
	"iter"
	"testing"
)

type rnd struct{ x uint64 }

func (r *rnd) next(n int) int {
	r.x ^= r.x << 13
	r.x ^= r.x >> 7
	r.x ^= r.x << 17
	return int((r.x >> 33) % uint64(n))
}

type randomChooser struct{ rnd }

func (r *randomChooser) Pick(c *Choice) *Task { return c.Runnable[r.next(len(c.Runnable))] }

type box struct {
	Obj
	n    Atomic
	task Var[*Task]
	mu   Mutex
	sl   Spinlock
	fl   Flags
	wq   WaitQueueHead
}

func newBox(m *Machine) *box {
	b := Kzalloc[box](m, "box", GFP_KERNEL)
	b.n.Init(&b.Obj, "n")
	b.task.Init(&b.Obj, "task")
	b.mu.Init(&b.Obj, "mu")
	b.sl.Init(&b.Obj, "sl")
	b.fl.Init(&b.Obj, "fl", []string{"A", "B"})
	b.wq.Init(&b.Obj, "wq")
	return b
}

func TestSimSmoke(t *testing.T) {
	m := NewSim()
	defer m.Close()
	hashes := map[uint64]int{}
	for seed := range 200 {
		var h [2]uint64
		for k := range 2 {
			r := m.Run(&randomChooser{rnd{uint64(seed)*77 + 1}}, Options{}, "main", func(cur *Task) {
				m := cur.Machine()
				b := newBox(m)
				var ts []*Task
				for _, n := range []string{"a", "b", "c"} {
					ts = append(ts, m.Spawn(cur, n, func(cur *Task) {
						for range 3 {
							b.mu.Lock(cur)
							b.sl.LockBH()
							b.n.Inc()
							b.sl.UnlockBH()
							b.mu.Unlock(cur)
							Msleep(cur, 1)
						}
					}))
				}
				k := m.KthreadRun(cur, func(cur *Task, _ any) int {
					for !cur.KthreadShouldStop() {
						cur.SetCurrentState(TASK_INTERRUPTIBLE)
						if cur.KthreadShouldStop() {
							cur.SetCurrentState(TASK_RUNNING)
							break
						}
						Schedule(cur)
					}
					return 7
				}, nil, "k")
				for _, x := range ts {
					Join(cur, x)
				}
				if res := KthreadStop(cur, k); res != 7 && res != -EINTR {
					t.Errorf("kthread_stop returned %d", res)
				}
				m.SynchronizeRcu(cur)
				if n := b.n.Read(); n != 9 {
					t.Errorf("n = %d, want 9", n)
				}
				Kfree(b)
			})
			if len(r.Findings) > 0 {
				t.Fatalf("seed %d: %v\n%s", seed, r.Findings[0], r.Findings[0].Text)
			}
			h[k] = r.Hash
		}
		if h[0] != h[1] {
			t.Fatalf("seed %d: hashes differ", seed)
		}
		hashes[h[0]]++
	}
	t.Logf("%d different runs of 200", len(hashes))
}

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

func BenchmarkSim3x10(b *testing.B) {
	m := NewSim()
	defer m.Close()
	steps := 0
	ch := &randomChooser{rnd{1}}
	for b.Loop() {
		r := m.Run(ch, Options{}, "main", func(cur *Task) {
			m := cur.Machine()
			x := newBox(m)
			body := func(cur *Task) {
				for range 10 {
					x.n.Inc()
				}
			}
			p, q := m.Spawn(cur, "a", body), m.Spawn(cur, "b", body)
			body(cur)
			Join(cur, p)
			Join(cur, q)
			Kfree(x)
		})
		steps += r.Steps
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
	b.ReportMetric(float64(steps)/float64(b.N), "steps/run")
}
