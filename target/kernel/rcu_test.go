// SPDX-License-Identifier: MIT

package kernel

import (
	"sync/atomic"
	"testing"
)

// TestRcuGracePeriod: a callback and synchronize_rcu wait for the sections that were open, and do run.
func TestRcuGracePeriod(t *testing.T) {
	clean(t, 500, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		var inside [3]atomic.Int64 // even: outside a section
		var ran atomic.Int64
		reader := func(i int) func(cur *Task) {
			return func(*Task) {
				for range 4 {
					m.RcuReadLock()
					b.n.Read() // the section has begun by now
					inside[i].Add(1)
					m.RcuReadLock() // they nest
					b.n.Inc()
					m.RcuReadUnlock()
					b.n.Inc()
					inside[i].Add(1)
					m.RcuReadUnlock()
					b.n.Inc()
				}
			}
		}
		watch := func() (over func() bool) {
			var then [3]int64
			for i := range inside {
				then[i] = inside[i].Load()
			}
			return func() bool {
				for i, n := range then {
					if n%2 == 1 && inside[i].Load() == n {
						return false
					}
				}
				return true
			}
		}
		updater := func(cur *Task) {
			for range 3 {
				over := watch()
				m.CallRcu(&b.Obj, func() {
					ran.Add(1)
					if !over() {
						t.Error("a callback ran while a section was open that it had to wait for")
					}
				})
				overAsWell := watch()
				m.SynchronizeRcu(cur)
				if !overAsWell() {
					t.Error("synchronize_rcu did not wait for a section")
				}
			}
		}
		spawn(cur, reader(0), reader(1), reader(2), updater)()
		until(cur, func() bool { return ran.Load() == 3 })
		Kfree(b)
	})
}

// TestRcuOnce: a callback runs once, also if the last reader leaves while call_rcu is about to return.
func TestRcuOnce(t *testing.T) {
	const calls = 20_000
	var ran atomic.Int64
	r := NewFree().Run(nil, Options{}, "main", func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		reader := func(*Task) {
			for range calls {
				m.RcuReadLock()
				m.RcuReadUnlock()
			}
		}
		spawn(cur, reader, reader, reader, func(*Task) {
			for range calls {
				m.CallRcu(&b.Obj, func() { ran.Add(1) })
			}
		})()
		until(cur, func() bool { return ran.Load() >= calls })
		m.SynchronizeRcu(cur)
		Kfree(b)
	})
	wantClean(t, "free", r)
	if n := ran.Load(); n != calls {
		t.Errorf("%d calls ran %d times", calls, n)
	}
}

// TestRcuWaitsNoLonger: a section that begins after call_rcu does not hold the callback up.
func TestRcuWaitsNoLonger(t *testing.T) {
	m := NewSim()
	defer m.Close()
	early := 0
	for seed := range 200 {
		r := m.Run(random(seed), Options{}, "main", func(cur *Task) {
			b := newBox(m)
			m.CallRcu(&b.Obj, func() { b.fl.SetBit(0) })
			m.RcuReadLock()
			b.n.Read()
			b.n.Read()
			if b.fl.Peek(0) {
				early++
			}
			m.RcuReadUnlock()
			m.SynchronizeRcu(cur)
			Kfree(b)
		})
		wantClean(t, "sim", r)
	}
	if early == 0 {
		t.Error("the callback never ran inside a later section")
	}
}

// TestRcuUseAfterFree: a pointer is good inside the section in which it was loaded, and nowhere else.
func TestRcuUseAfterFree(t *testing.T) {
	program := func(read func(m *Machine, b *box)) func(cur *Task) {
		return func(cur *Task) {
			m := cur.Machine()
			b := newBox(m)
			i := newItem(m)
			b.list.AddRcu(&i.node)
			join := spawn(cur, func(*Task) { read(m, b) })
			b.list.DelRcu(&i.node)
			KfreeRcu(i)
			join()
			m.SynchronizeRcu(cur)
			Kfree(b)
		}
	}
	clean(t, 500, program(func(m *Machine, b *box) {
		m.RcuReadLock()
		for i := b.list.FirstRcu(); i != nil; i = b.list.NextRcu(&i.node) {
			i.x.Load()
		}
		m.RcuReadUnlock()
	}))
	const title = "load of item.x in freed item"
	found(t, 500, false, Options{}, "use-after-free", title, program(func(m *Machine, b *box) {
		m.RcuReadLock()
		i := b.list.FirstRcu()
		m.RcuReadUnlock()
		if i != nil {
			i.x.Load()
		}
	}))
	// Loaded before the section: the later section does not protect it, however close it is.
	found(t, 500, false, Options{}, "use-after-free", title, program(func(m *Machine, b *box) {
		m.RcuReadLock()
		i := b.list.FirstRcu()
		m.RcuReadUnlock()
		m.RcuReadLock()
		if i != nil {
			i.x.Load()
		}
		m.RcuReadUnlock()
	}))
	// Two sections one inside the other are one.
	simClean(t, 500, program(func(m *Machine, b *box) {
		m.RcuReadLock()
		m.RcuReadLock()
		i := b.list.FirstRcu()
		m.RcuReadUnlock()
		if i != nil {
			i.x.Load()
		}
		m.RcuReadUnlock()
	}))
	// Freed at once, without a grace period: a reader that does all it should still falls.
	found(t, 500, false, Options{}, "use-after-free", "in freed item", func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		i := newItem(m)
		b.list.AddRcu(&i.node)
		join := spawn(cur, func(*Task) {
			m.RcuReadLock()
			for i := b.list.FirstRcu(); i != nil; i = b.list.NextRcu(&i.node) {
				i.x.Load()
			}
			m.RcuReadUnlock()
		})
		b.list.DelRcu(&i.node)
		Kfree(i)
		join()
		Kfree(b)
	})
}

// TestRcuListWalk: who stands on a deleted entry finds its way to the entries that were behind it.
func TestRcuListWalk(t *testing.T) {
	clean(t, 500, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		var items [3]*item
		for i := range items {
			items[i] = newItem(m)
			items[i].x.Preset(i)
			b.list.AddTail(&items[i].node)
		}
		reader := func(*Task) {
			m.RcuReadLock()
			var seen []int
			for i := b.list.FirstRcu(); i != nil; i = b.list.NextRcu(&i.node) {
				seen = append(seen, i.x.Load())
			}
			m.RcuReadUnlock()
			if len(seen) < 2 || len(seen) > 3 || seen[len(seen)-1] != 2 || seen[0] != 0 {
				t.Errorf("the walk met %v", seen)
			}
		}
		join := spawn(cur, reader, reader)
		b.list.DelRcu(&items[1].node)
		m.SynchronizeRcu(cur)
		Kfree(items[1])
		join()
		if got := b.list.Peek(); len(got) != 2 || got[0] != items[0] || got[1] != items[2] {
			t.Error("the list lost an entry")
		}
		b.list.Del(&items[0].node)
		b.list.Del(&items[2].node)
		Kfree(items[0])
		Kfree(items[2])
		Kfree(b)
	})
	always(t, "lockdep", "list is walked outside an RCU read section", func(cur *Task) {
		b := newBox(cur.Machine())
		b.list.FirstRcu()
	})
}
