// SPDX-License-Identifier: MIT

// Racedemo runs one small program many times, for the tests of what the race detector sees of the floor.
//
// Usage: racedemo list
//
//	racedemo sim|free|detect NAME
//	racedemo agree SEED COUNT (in race builds)
package main

import (
	"fmt"
	"os"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// world is an object with a plain cell, a plain field, and one of each primitive that may order them.
type world struct {
	kernel.Obj
	x     kernel.Var[int]
	plain int
	n     kernel.Atomic
	born  kernel.Atomic
	fl    kernel.Flags
	sl    kernel.Spinlock
	mu    kernel.Mutex
	wq    kernel.WaitQueueHead
	done  kernel.Completion
	irq   kernel.Softirq
	tm    kernel.Timer
	work  kernel.DelayedWork
	list  kernel.List[item]
	ptr   kernel.Rcu[*item]
}

type item struct {
	kernel.Obj
	node  kernel.Node[item]
	plain int
}

// program is what a writer and a reader do. The reader returns once it has read, or gives up.
type program struct {
	racy bool
	run  func(cur *kernel.Task, w *world)
}

// both starts the two beside each other and waits for them.
func both(cur *kernel.Task, writer, reader func(cur *kernel.Task)) {
	m := cur.Machine()
	a, b := m.Spawn(cur, "writer", writer), m.Spawn(cur, "reader", reader)
	kernel.Join(cur, a)
	kernel.Join(cur, b)
}

func (w *world) write() { w.x.Store(1); w.plain++ }
func (w *world) read()  { _ = w.x.Load() + w.plain }

var programs = map[string]program{
	"unordered": {true, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.x.Store(1) }, func(*kernel.Task) { w.x.Load() })
	}},
	"unordered-far": {true, func(cur *kernel.Task, w *world) { // with much in between that has nothing to do with it
		both(cur, func(*kernel.Task) {
			w.x.Store(1)
			kernel.Kfree(kernel.Kzalloc[item](w.Machine(), "item", kernel.GFP_ATOMIC))
			w.n.Read()
		}, func(*kernel.Task) {
			kernel.Kfree(kernel.Kzalloc[item](w.Machine(), "item", kernel.GFP_ATOMIC))
			w.fl.TestBit(3)
			w.x.Load()
		})
	}},
	"run-before-store": {true, func(cur *kernel.Task, w *world) { // 2014
		k := w.Machine().KthreadRun(cur, func(*kernel.Task, any) int { w.x.Load(); return 0 }, nil, "k")
		w.x.Store(1)
		kernel.Join(cur, k)
	}},
	"store-before-wake": {false, func(cur *kernel.Task, w *world) {
		k := w.Machine().KthreadCreate(cur, func(*kernel.Task, any) int { w.read(); return 0 }, nil, "k")
		w.write()
		kernel.WakeUpProcess(k)
		kernel.Join(cur, k)
		w.write() // and after the join
	}},
	"set-bit-orders-nothing": {true, func(cur *kernel.Task, w *world) { // who only sets a bit sees nothing of another
		both(cur, func(*kernel.Task) { w.x.Store(1); w.fl.SetBit(0) }, func(*kernel.Task) { w.fl.SetBit(1); w.x.Load() })
	}},
	"waitqueue-active": {true, func(cur *kernel.Task, w *world) { // a look at the queue is no barrier
		both(cur, func(cur *kernel.Task) {
			var e kernel.WaitEntry
			w.x.Store(1)
			w.wq.AddWaitQueue(cur, &e)
			w.wq.RemoveWaitQueue(&e)
		}, func(*kernel.Task) { w.wq.Active(); w.x.Load() })
	}},
	"unlocked-reader": {true, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.sl.Lock(); w.x.Store(1); w.sl.Unlock() }, func(*kernel.Task) { w.x.Load() })
	}},
	"two-locks": {true, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.sl.Lock(); w.x.Store(1); w.sl.Unlock() },
			func(cur *kernel.Task) { w.mu.Lock(cur); w.x.Load(); w.mu.Unlock(cur) })
	}},
	"list-unlocked": {true, func(cur *kernel.Task, w *world) {
		i, j := newItem(w), newItem(w)
		both(cur, func(*kernel.Task) { w.list.Add(&i.node); w.list.Del(&i.node) },
			func(*kernel.Task) {
				if !w.list.Empty() {
					return
				}
				w.list.First()
			})
		kernel.Kfree(i)
		kernel.Kfree(j)
	}},
	"spinlock": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.sl.Lock(); w.write(); w.sl.Unlock() },
			func(*kernel.Task) { w.sl.LockBH(); w.read(); w.sl.UnlockBH() })
	}},
	"trylock": {false, func(cur *kernel.Task, w *world) {
		try := func(use func()) func(*kernel.Task) {
			return func(*kernel.Task) {
				if w.sl.TryLock() {
					use()
					w.sl.Unlock()
				}
			}
		}
		both(cur, try(w.write), try(w.read))
	}},
	"mutex": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(cur *kernel.Task) { w.mu.Lock(cur); w.write(); w.mu.Unlock(cur) },
			func(cur *kernel.Task) { w.mu.Lock(cur); w.read(); w.mu.Unlock(cur) })
	}},
	"atomic": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.write(); w.n.Inc() }, func(*kernel.Task) {
			if w.n.Read() == 1 {
				w.read()
			}
		})
	}},
	"dec-and-test": {false, func(cur *kernel.Task, w *world) { // the last one cleans up
		w.n.Preset(2)
		last := func(*kernel.Task) {
			w.sl.Lock()
			w.read()
			w.sl.Unlock()
			if w.n.DecAndTest() {
				w.write()
			}
		}
		both(cur, last, last)
	}},
	"set-bit-test-bit": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.write(); w.fl.SetBit(0) }, func(*kernel.Task) {
			if w.fl.TestBit(0) {
				w.read()
			}
		})
	}},
	"bit-as-lock": {false, func(cur *kernel.Task, w *world) { // as XPT_BUSY
		busy := func(use func()) func(*kernel.Task) {
			return func(*kernel.Task) {
				if !w.fl.TestAndSetBit(0) {
					use()
					w.fl.ClearBit(0)
				}
			}
		}
		both(cur, busy(w.write), busy(w.read))
	}},
	"wake-up": {false, func(cur *kernel.Task, w *world) { // what the waker did before is seen by whom it woke
		m := w.Machine()
		k := m.KthreadRun(cur, func(cur *kernel.Task, _ any) int {
			for !cur.KthreadShouldStop() {
				cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
				if w.n.Read() == 1 {
					w.read()
				}
				if !cur.KthreadShouldStop() {
					kernel.Schedule(cur)
				}
				cur.SetCurrentState(kernel.TASK_RUNNING)
			}
			w.read() // after the stop, whose caller wrote before
			w.write()
			return 0
		}, nil, "k")
		w.write()
		w.n.Inc()
		kernel.WakeUpProcess(k)
		kernel.KthreadStop(cur, k)
		w.read()
	}},
	"wait-event": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.write(); w.n.Inc(); w.wq.WakeUp() }, func(cur *kernel.Task) {
			kernel.WaitEvent(cur, &w.wq, func() bool { return w.n.Read() == 1 })
			w.read()
		})
	}},
	"completion": {false, func(cur *kernel.Task, w *world) {
		both(cur, func(*kernel.Task) { w.write(); w.done.Complete() }, func(cur *kernel.Task) { w.done.Wait(cur); w.read() })
	}},
	"wait-on-bit": {false, func(cur *kernel.Task, w *world) {
		w.fl.Preset(0)
		both(cur, func(*kernel.Task) { w.write(); kernel.ClearAndWakeUpBit(&w.fl, 0) }, func(cur *kernel.Task) {
			kernel.WaitOnBit(cur, &w.fl, 0, kernel.TASK_UNINTERRUPTIBLE)
			w.read()
		})
	}},
	"softirq": {false, func(cur *kernel.Task, w *world) {
		w.write()
		for range 2 {
			w.irq.Raise(func() { w.write(); w.done.Complete() }) // one after the other
		}
		w.done.Wait(cur)
		w.done.Wait(cur)
		w.read()
	}},
	"timer": {false, func(cur *kernel.Task, w *world) {
		w.write()
		w.tm.Mod(w.Machine().Jiffies() + 2)
		kernel.Msleep(cur, 2)
		w.tm.DelSync(cur)
		w.read()
	}},
	"work": {false, func(cur *kernel.Task, w *world) {
		w.write()
		w.work.Schedule(2)
		kernel.Msleep(cur, 2)
		w.work.CancelSync(cur)
		w.read()
	}},
	"timeout": {false, func(cur *kernel.Task, w *world) { // passing time orders who waited for it
		both(cur, func(cur *kernel.Task) { w.n.Inc(); kernel.Msleep(cur, 5); w.write() }, func(*kernel.Task) { w.n.Read() })
		w.read()
	}},
	"rcu-publish": {false, func(cur *kernel.Task, w *world) {
		m := w.Machine()
		i := newItem(w)
		both(cur, func(cur *kernel.Task) {
			i.plain = 1
			w.sl.Lock()
			w.list.AddRcu(&i.node)
			w.sl.Unlock()
			w.sl.Lock()
			w.list.DelRcu(&i.node)
			w.sl.Unlock()
			m.SynchronizeRcu(cur)
			i.plain = 2 // nobody is looking any more
		}, func(*kernel.Task) {
			m.RcuReadLock()
			for i := w.list.FirstRcu(); i != nil; i = w.list.NextRcu(&i.node) {
				_ = i.plain
			}
			m.RcuReadUnlock()
		})
		kernel.Kfree(i)
	}},
	"rcu-no-grace-period": {true, func(cur *kernel.Task, w *world) {
		m := w.Machine()
		i := newItem(w)
		both(cur, func(*kernel.Task) {
			w.sl.Lock()
			w.list.AddRcu(&i.node)
			w.list.DelRcu(&i.node)
			w.sl.Unlock()
			i.plain = 2
		}, func(*kernel.Task) {
			m.RcuReadLock()
			for i := w.list.FirstRcu(); i != nil; i = w.list.NextRcu(&i.node) {
				_ = i.plain
			}
			m.RcuReadUnlock()
		})
		kernel.Kfree(i)
	}},
	"rcu-pointer": {false, func(cur *kernel.Task, w *world) {
		m := w.Machine()
		i := newItem(w)
		both(cur, func(cur *kernel.Task) {
			w.write()
			w.ptr.Assign(i)
			w.ptr.Assign(nil)
			m.SynchronizeRcu(cur)
			w.write() // nobody is looking any more
		}, func(*kernel.Task) {
			m.RcuReadLock()
			if w.ptr.Dereference() != nil {
				w.read()
			}
			m.RcuReadUnlock()
		})
		kernel.Kfree(i)
	}},
	"rcu-pointer-early": {true, func(cur *kernel.Task, w *world) {
		m := w.Machine()
		i := newItem(w)
		both(cur, func(*kernel.Task) { w.ptr.Assign(i); w.write() }, func(*kernel.Task) {
			m.RcuReadLock()
			if w.ptr.Dereference() != nil {
				w.read()
			}
			m.RcuReadUnlock()
		})
		kernel.Kfree(i)
	}},
	"list-locked": {false, func(cur *kernel.Task, w *world) {
		i := newItem(w)
		both(cur, func(*kernel.Task) {
			i.plain = 1
			w.sl.Lock()
			w.list.AddTail(&i.node)
			w.sl.Unlock()
		}, func(*kernel.Task) {
			if w.list.Empty() { // no lock
				return
			}
			w.sl.Lock()
			if i := w.list.First(); i != nil {
				i.plain++
			}
			w.sl.Unlock()
		})
		w.list.Del(&i.node)
		kernel.Kfree(i)
	}},
	"pages": {false, func(cur *kernel.Task, w *world) {
		use := func(*kernel.Task) {
			p := w.Machine().AllocPage(kernel.GFP_ATOMIC)
			p.Data[0]++
			p.Put()
		}
		both(cur, use, use)
	}},
}

func newItem(w *world) *item {
	i := kernel.Kzalloc[item](w.Machine(), "item", kernel.GFP_ATOMIC)
	i.node.Init(i)
	return i
}

func run(p program) func(cur *kernel.Task) {
	return func(cur *kernel.Task) {
		w := kernel.Kzalloc[world](cur.Machine(), "world", kernel.GFP_KERNEL)
		o := &w.Obj
		w.x.Init(o, "x")
		w.n.Init(o, "n")
		w.born.Init(o, "born")
		w.fl.Init(o, "fl", nil)
		w.sl.Init(o, "sl")
		w.mu.Init(o, "mu")
		w.wq.Init(o, "wq")
		w.done.Init(o, "done")
		w.irq.Init(o, "irq")
		w.tm.Init(o, "tm", func() { w.write() })
		w.work.Init(o, "work", func(*kernel.Task) { w.write() })
		w.list.Init(o, "list")
		w.ptr.Init(o, "ptr")
		p.run(cur, w)
		kernel.Kfree(w)
	}
}

// chooser picks anybody.
type chooser uint64

func (c *chooser) Pick(ch *kernel.Choice) *kernel.Task {
	*c = *c*6364136223846793005 + 1442695040888963407
	return ch.Runnable[int(*c>>33)%len(ch.Runnable)]
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "list" {
		for name, p := range programs {
			fmt.Println(name, p.racy)
		}
		return
	}
	if os.Args[1] == "agree" {
		agree()
		return
	}
	p, ok := programs[os.Args[2]]
	if !ok {
		fmt.Println("no such program")
		os.Exit(2)
	}
	m := kernel.NewSim()
	defer m.Close()
	for seed := range 300 {
		c := chooser(seed)
		var r *kernel.Result
		switch os.Args[1] {
		case "sim", "detect":
			r = m.Run(&c, kernel.Options{Detect: os.Args[1] == "detect"}, "main", run(p))
		default:
			r = kernel.NewFree().Run(nil, kernel.Options{Seed: uint64(seed), Noise: 1 << 13, TimeScale: 10}, "main", run(p))
		}
		if f := r.Worst(); f != nil {
			if f.Oracle == "data-race" {
				fmt.Println("WARNING: DATA RACE")
			}
			fmt.Printf("finding: %v\n%s\n", f, f.Text)
			os.Exit(3)
		}
	}
}
