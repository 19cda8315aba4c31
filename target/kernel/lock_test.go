// SPDX-License-Identifier: MIT

package kernel

import (
	"sync/atomic"
	"testing"
)

// TestExclusion: a plain counter under a lock; the race detector looks on.
func TestExclusion(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		b := newBox(cur.Machine())
		var inSpin, inMutex atomic.Int32
		spins, mutexes := 0, 0
		body := func(cur *Task) {
			for i := range 5 {
				b.mu.Lock(cur)
				b.mu.AssertHeld(cur)
				if inMutex.Add(1) != 1 || b.mu.PeekOwner() != cur {
					t.Error("two tasks hold the mutex")
				}
				mutexes++
				if i == 2 {
					Msleep(cur, 1)
				}
				if i%2 == 0 {
					b.sl.LockBH()
				} else {
					b.sl.Lock()
				}
				b.sl.AssertHeld()
				if inSpin.Add(1) != 1 {
					t.Error("two tasks hold the spinlock")
				}
				spins++
				b.fl.SetBit(0) // others may run here
				inSpin.Add(-1)
				if i%2 == 0 {
					b.sl.UnlockBH()
				} else {
					b.sl.Unlock()
				}
				inMutex.Add(-1)
				b.mu.Unlock(cur)
				if b.sl.TryLock() {
					spins++
					if inSpin.Add(1) != 1 {
						t.Error("trylock let a second task in")
					}
					b.fl.ClearBit(0)
					inSpin.Add(-1)
					spins--
					b.sl.Unlock()
				}
				if b.mu.TryLock(cur) {
					mutexes++
					Msleep(cur, 1)
					mutexes--
					b.mu.Unlock(cur)
				}
			}
		}
		spawn(cur, body, body, body)()
		b.mu.Lock(cur)
		b.sl.Lock()
		if spins != 15 || mutexes != 15 {
			t.Errorf("%d and %d rounds under the locks, want 15", spins, mutexes)
		}
		b.sl.Unlock()
		b.mu.Unlock(cur)
		Kfree(b)
	})
}

// TestDecAndLock: of those who drop references one drops the last one, and has the lock then; whoever takes one under
// the lock meanwhile puts that off.
func TestDecAndLock(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		b := newBox(cur.Machine())
		b.n.Preset(3)
		last := 0
		drop := func(*Task) {
			if b.n.DecAndLock(&b.sl) {
				b.sl.AssertHeld()
				if n := b.n.Read(); n != 0 {
					t.Errorf("the last reference is gone, and the count is %d", n)
				}
				last++
				b.sl.Unlock()
			}
		}
		spawn(cur, drop, drop, drop, func(cur *Task) {
			b.sl.Lock()
			taken := b.n.Read() > 0
			if taken {
				b.n.Inc()
			}
			b.sl.Unlock()
			if taken {
				drop(cur)
			}
		})()
		b.sl.Lock() // the race detector looks on
		if last != 1 || b.n.Read() != 0 {
			t.Errorf("%d times the last one, %d left", last, b.n.Peek())
		}
		b.sl.Unlock()
		Kfree(b)
	})
}

func TestTryLock(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		b := newBox(cur.Machine())
		b.sl.Lock()
		join := spawn(cur, func(cur *Task) {
			if b.sl.TryLock() {
				t.Error("trylock took a spinlock that is held")
			}
			b.n.Inc()
		})
		for b.n.Read() == 0 {
			b.fl.SetBit(0)
		}
		b.sl.Unlock()
		join()
		b.mu.Lock(cur)
		spawn(cur, func(cur *Task) {
			if b.mu.TryLock(cur) {
				t.Error("trylock took a mutex that is held")
			}
		})()
		b.mu.Unlock(cur)
		Kfree(b)
	})
}

// pair is two locks of each kind, of different classes.
type pair struct {
	Obj
	s1, s2, s3, same Spinlock
	m1, m2           Mutex
	irq              Softirq
	done             Completion
	fl               Flags
}

func newPair(m *Machine) *pair {
	p := Kzalloc[pair](m, "pair", GFP_ATOMIC)
	p.s1.Init(&p.Obj, "s1")
	p.s2.Init(&p.Obj, "s2")
	p.s3.Init(&p.Obj, "s3")
	p.same.Init(&p.Obj, "s1")
	p.m1.Init(&p.Obj, "m1")
	p.m2.Init(&p.Obj, "m2")
	p.irq.Init(&p.Obj, "irq")
	p.done.Init(&p.Obj, "done")
	p.fl.Init(&p.Obj, "fl", nil)
	return p
}

func TestLockdep(t *testing.T) {
	// inSoftirq runs fn as a softirq and waits for it.
	inSoftirq := func(cur *Task, p *pair, fn func()) {
		p.irq.Raise(func() { fn(); p.done.Complete() })
		p.done.Wait(cur)
	}
	for words, main := range map[string]func(cur *Task, p *pair){
		"recursive locking of s1": func(_ *Task, p *pair) { p.s1.Lock(); p.s1.Lock() },
		"recursive locking of m1": func(cur *Task, p *pair) { p.m1.Lock(cur); p.m1.Lock(cur) },
		"two locks of class s1 nested": func(_ *Task, p *pair) {
			p.s1.Lock()
			p.same.Lock()
		},
		"s1 is taken with s2 held, and the other way round": func(_ *Task, p *pair) {
			p.s1.Lock()
			p.s2.Lock()
			p.s2.Unlock()
			p.s1.Unlock()
			p.s2.Lock()
			p.s1.Lock() // no deadlock today, but an order that can
		},
		"s1, s2, s3 are taken in a circle": func(_ *Task, p *pair) {
			for _, l := range [][2]*Spinlock{{&p.s1, &p.s2}, {&p.s2, &p.s3}, {&p.s3, &p.s1}} {
				l[0].Lock()
				l[1].Lock()
				l[1].Unlock()
				l[0].Unlock()
			}
		},
		"m1 is taken with m2 held, and the other way round": func(cur *Task, p *pair) {
			p.m1.Lock(cur)
			p.m2.Lock(cur)
			p.m1.Unlock(cur) // in any order
			p.m2.Unlock(cur)
			p.m2.Lock(cur)
			p.m1.Lock(cur)
		},
		"s1 is taken in softirq context, and in process context with softirqs enabled": func(cur *Task, p *pair) {
			p.s1.Lock()
			p.s1.Unlock()
			inSoftirq(cur, p, func() { p.s1.Lock(); p.s1.Unlock() })
		},
		"s2 is taken in softirq context, and in process context with softirqs enabled": func(cur *Task, p *pair) {
			inSoftirq(cur, p, func() { p.s2.Lock(); p.s2.Unlock() })
			p.s1.LockBH() // softirqs are off in here, and on again after it
			p.s2.Lock()
			p.s2.Unlock()
			p.s1.UnlockBH()
			p.s2.Lock()
		},
		"unlock of s1, which the task does not hold": func(cur *Task, p *pair) {
			p.s1.Lock()
			spawn(cur, func(*Task) { p.s1.Unlock() })
			for !p.fl.TestBit(0) { // holds on to it until the stranger has come
			}
		},
		"unlock of m1, which the task does not hold": func(cur *Task, p *pair) {
			p.m1.Lock(cur)
			spawn(cur, func(cur *Task) { p.m1.Unlock(cur) })()
		},
		"a exits with m1 held": func(cur *Task, p *pair) {
			spawn(cur, func(cur *Task) { p.m1.Lock(cur) })()
		},
		"a exits inside a section": func(cur *Task, _ *pair) {
			spawn(cur, func(*Task) { cur.Machine().RcuReadLock() })()
		},
		"softirq/irq returns with a lock or a read section open": func(cur *Task, p *pair) {
			p.irq.Raise(func() { p.s1.LockBH() })
			Msleep(cur, 50)
		},
		"s1 is not held": func(_ *Task, p *pair) { p.s1.AssertHeld() },
		"m1 is not held": func(cur *Task, p *pair) { p.m1.AssertHeld(cur) },
		"a task holds too many locks": func(cur *Task, p *pair) {
			m := cur.Machine()
			for i := range 17 {
				b := Kzalloc[pair](m, "pair", GFP_ATOMIC)
				b.s1.Init(&b.Obj, string(rune('A'+i)))
				b.s1.Lock()
			}
		},
	} {
		t.Run(words, func(t *testing.T) {
			always(t, "lockdep", words, func(cur *Task) { main(cur, newPair(cur.Machine())) })
		})
	}
	// The rules do not cry wolf.
	clean(t, 50, func(cur *Task) {
		p := newPair(cur.Machine())
		p.s1.LockBH()
		p.s2.Lock()
		p.s2.Unlock()
		p.s1.UnlockBH()
		inSoftirq(cur, p, func() { p.s1.Lock(); p.s2.Lock(); p.s2.Unlock(); p.s1.Unlock() })
		p.s3.Lock()
		if !p.s1.TryLock() { // a trylock waits for nobody: any order will do
			t.Error("nobody holds the lock")
		}
		p.s1.Unlock()
		p.s3.Unlock()
		Kfree(p)
	})
}

// TestAbbaDeadlock: even where lockdep did not see the order before, the schedule that deadlocks is found.
func TestAbbaDeadlock(t *testing.T) {
	found(t, 100, true, Options{}, "lockdep", "the other way round", func(cur *Task) {
		p := newPair(cur.Machine())
		spawn(cur,
			func(cur *Task) { p.m1.Lock(cur); p.m2.Lock(cur); p.m2.Unlock(cur); p.m1.Unlock(cur) },
			func(cur *Task) { p.m2.Lock(cur); p.m1.Lock(cur); p.m1.Unlock(cur); p.m2.Unlock(cur) })()
	})
}

func TestSleepInAtomic(t *testing.T) {
	type sleeper struct {
		words string
		sleep func(cur *Task, b *box)
	}
	sleepers := []sleeper{
		{"schedule may sleep", func(cur *Task, _ *box) { Schedule(cur) }},
		{"mutex_lock mu may sleep", func(cur *Task, b *box) { b.mu.Lock(cur) }},
		{"kzalloc may sleep", func(cur *Task, _ *box) { Kzalloc[box](cur.Machine(), "box", GFP_KERNEL) }},
		{"alloc_page may sleep", func(cur *Task, _ *box) { cur.Machine().AllocPage(GFP_KERNEL) }},
		{"kthread_create may sleep", func(cur *Task, _ *box) { cur.Machine().KthreadRun(cur, idler, nil, "k") }},
		{"kthread_stop may sleep", func(cur *Task, _ *box) { KthreadStop(cur, cur) }},
		{"wait_event may sleep", func(cur *Task, b *box) { WaitEvent(cur, &b.wq, func() bool { return true }) }},
		{"wait_event_timeout may sleep", func(cur *Task, b *box) {
			WaitEventTimeout(cur, &b.wq, func() bool { return true }, 1)
		}},
		{"wait_for_completion may sleep", func(cur *Task, b *box) { b.done.Wait(cur) }},
		{"wait_on_bit may sleep", func(cur *Task, b *box) { WaitOnBit(cur, &b.fl, 0, TASK_UNINTERRUPTIBLE) }},
		{"synchronize_rcu may sleep", func(cur *Task, _ *box) { cur.Machine().SynchronizeRcu(cur) }},
		{"cond_resched may sleep", func(cur *Task, _ *box) { CondResched(cur) }},
		{"try_to_freeze may sleep", func(cur *Task, _ *box) { TryToFreeze(cur) }},
	}
	for _, s := range sleepers {
		for where, run := range map[string]func(cur *Task, b *box){
			" with sl held": func(cur *Task, b *box) { b.sl.Lock(); s.sleep(cur, b) },
			" in an RCU read section": func(cur *Task, b *box) {
				cur.Machine().RcuReadLock()
				s.sleep(cur, b)
			},
			" with preemption disabled": func(cur *Task, b *box) {
				cur.Machine().GetCpu()
				s.sleep(cur, b)
			},
			" in softirq context": func(cur *Task, b *box) { // a careless capture of cur
				b.irq.Raise(func() { s.sleep(cur, b) })
				Msleep(cur, 50)
			},
		} {
			t.Run(s.words+where, func(t *testing.T) {
				found(t, 3, true, Options{}, "sleep-in-atomic", s.words+where, func(cur *Task) {
					run(cur, newBox(cur.Machine()))
				})
			})
		}
	}
	always(t, "sleep-in-atomic", "schedule may sleep with sl held", func(cur *Task) {
		b := newBox(cur.Machine())
		b.mu.Lock(cur)
		b.sl.Lock()
		Msleep(cur, 1)
	})
	always(t, "sleep-in-atomic", "kzalloc may sleep in softirq context", func(cur *Task) {
		b := newBox(cur.Machine())
		b.irq.Raise(func() { Kzalloc[box](cur.Machine(), "box", GFP_KERNEL) })
		Msleep(cur, 50)
	})
	clean(t, 20, func(cur *Task) { // what may be done there
		m := cur.Machine()
		b := newBox(m)
		m.RcuReadLock()
		m.RcuReadLock()
		cpu := m.GetCpu()
		b.sl.LockBH()
		Kfree(newItem(m))
		b.done.Complete()
		b.wq.WakeUpAll()
		WakeUpProcess(cur)
		b.sl.UnlockBH()
		m.PutCpu()
		m.RcuReadUnlock()
		m.RcuReadUnlock()
		if cpu != 0 || m.NrCpus() != 1 {
			t.Errorf("on CPU %d of %d", cpu, m.NrCpus())
		}
		b.done.Wait(cur)
		Kfree(b)
	})
}

func TestCpus(t *testing.T) {
	m := NewSim()
	defer m.Close()
	seen := map[int]bool{}
	r := m.Run(random(1), Options{Cpus: 4}, "main", func(cur *Task) {
		for range 100 {
			seen[m.GetCpu()] = true
			m.PutCpu()
		}
	})
	wantClean(t, "sim", r)
	if len(seen) != 4 || m.NrCpus() != 4 || !seen[0] || !seen[3] {
		t.Errorf("CPUs %v of %d", seen, m.NrCpus())
	}
}
