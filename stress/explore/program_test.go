// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// gen draws small machines. It is a generator of its own so that a seed means the same machine for ever.
type gen struct{ x uint64 }

func (g *gen) n(n int) int {
	g.x += 0x9e3779b97f4a7c15
	z := g.x
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) >> 33 % uint64(n))
}

// thing has one of every primitive.
type thing struct {
	kernel.Obj
	n    kernel.Atomic
	x    kernel.Var[int]
	fl   kernel.Flags
	sl   kernel.Spinlock
	mu   kernel.Mutex
	wq   kernel.WaitQueueHead
	done kernel.Completion
	irq  kernel.Softirq
	tm   kernel.Timer
	ptr  kernel.Var[*part]
	task kernel.Var[*kernel.Task]
	list kernel.List[part]
	work kernel.DelayedWork
	ref  kernel.Var[*counted]
}

// part is what is allocated and freed.
type part struct {
	kernel.Obj
	node kernel.Node[part]
	n, k kernel.Atomic
	wq   kernel.WaitQueueHead
}

// counted is freed with its last reference.
type counted struct {
	kernel.Obj
	ref kernel.Kref
	n   kernel.Atomic
}

func (c *counted) put() { c.ref.Put(func() { kernel.Kfree(c) }) }

// newPart is nil if the machine was told to fail here.
func newPart(m *kernel.Machine) *part {
	p := kernel.Kzalloc[part](m, "part", kernel.GFP_ATOMIC)
	if p == nil {
		return nil
	}
	p.node.Init(p)
	p.n.Init(&p.Obj, "part.n")
	p.k.Init(&p.Obj, "part.k")
	p.wq.Init(&p.Obj, "part.wq")
	return p
}

// shop is what the tasks of a machine share: two things for all, one thing for each. Beside its cells it has what the
// tasks saw, by task, which they only append to.
type shop struct {
	m     *kernel.Machine
	t     [2]*thing
	own   []*thing
	tasks []*kernel.Task
	saw   []strings.Builder
}

// other is a task that was there before cur, or cur itself: which there are after it is no part of the machine.
func (s *shop) other(cur *kernel.Task, k int) *kernel.Task {
	if me := slices.Index(s.tasks, cur); me > 0 {
		return s.tasks[k%(me+1)]
	}
	return s.tasks[k%len(s.tasks)]
}

func newThing(m *kernel.Machine, i int) *thing {
	t := kernel.StaticObj[thing](m, "thing")
	t.init(i)
	return t
}

func (t *thing) init(i int) {
	t.n.Init(&t.Obj, "n")
	t.x.Init(&t.Obj, "x")
	t.fl.Init(&t.Obj, "fl", nil)
	t.sl.Init(&t.Obj, fmt.Sprintf("spin%d", i))
	t.mu.Init(&t.Obj, fmt.Sprintf("mutex%d", i))
	t.wq.Init(&t.Obj, "wq")
	t.done.Init(&t.Obj, "done")
	t.irq.Init(&t.Obj, "irq")
	t.ptr.Init(&t.Obj, "ptr")
	t.ref.Init(&t.Obj, "ref")
	t.task.Init(&t.Obj, "task")
	t.list.Init(&t.Obj, "list")
	t.tm.Init(&t.Obj, "timer", func() { t.n.Inc(); t.wq.WakeUp() })
	t.work.Init(&t.Obj, "work", func(*kernel.Task) { t.n.Inc(); t.done.Complete() })
}

// action is one statement of a task: cur is the task's number's, t what it works on, k any number.
type action struct {
	name string
	do   func(s *shop, cur *kernel.Task, t *thing, k int) string
}

const loop = 2 // rounds of a service thread

// service is a thread that sleeps until it is told something.
func service(t *thing) func(cur *kernel.Task, _ any) int {
	return func(cur *kernel.Task, _ any) int {
		for range loop {
			cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
			if cur.KthreadShouldStop() {
				break
			}
			if t.fl.TestAndClearBit(0) {
				cur.SetCurrentState(kernel.TASK_RUNNING)
				t.x.Store(t.x.Load() + 1)
				continue
			}
			kernel.Schedule(cur)
		}
		cur.SetCurrentState(kernel.TASK_RUNNING)
		return int(t.n.Read())
	}
}

// families of statements. A machine takes its statements from one to three of them.
var families = map[string][]action{
	"cells": {
		{"inc", func(s *shop, _ *kernel.Task, t *thing, _ int) string { return fmt.Sprint(t.n.AddReturn(1)) }},
		{"read", func(s *shop, _ *kernel.Task, t *thing, _ int) string { return fmt.Sprint(t.n.Read()) }},
		{"x++", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			v := t.x.Load()
			t.x.Store(v + 1)
			return fmt.Sprint(v)
		}},
		{"tas", func(s *shop, _ *kernel.Task, t *thing, k int) string { return fmt.Sprint(t.fl.TestAndSetBit(k % 2)) }},
		{"clear", func(s *shop, _ *kernel.Task, t *thing, k int) string { t.fl.ClearBit(k % 2); return "" }},
		{"if", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			if t.fl.TestBit(k % 2) {
				return fmt.Sprint(t.n.AddReturn(1))
			}
			t.fl.SetBit(k / 2 % 2)
			return ""
		}},
		{"dec", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if t.n.AddReturn(-1) < 0 {
				s.m.WarnOnOnce(true, "n is negative")
			}
			return ""
		}},
	},
	"locks": {
		{"spin", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			t.sl.LockBH()
			v := t.x.Load()
			t.x.Store(v + 1)
			t.sl.UnlockBH()
			return fmt.Sprint(v)
		}},
		{"spin2", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			s.t[0].sl.LockBH()
			s.t[1].sl.LockBH()
			v := t.n.AddReturn(1)
			s.t[1].sl.UnlockBH()
			s.t[0].sl.UnlockBH()
			return fmt.Sprint(v)
		}},
		{"tryspin", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if !t.sl.TryLock() {
				return "busy"
			}
			t.n.Inc()
			t.sl.Unlock()
			return "mine"
		}},
		{"mutex", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			t.mu.Lock(cur)
			v := t.n.AddReturn(1)
			if k%4 == 0 {
				kernel.Msleep(cur, 0)
			}
			if k%8 == 1 {
				kernel.ScheduleTimeoutUninterruptible(cur, 1)
			}
			t.mu.Unlock(cur)
			return fmt.Sprint(v)
		}},
		{"nest", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			t.mu.Lock(cur)
			t.sl.LockBH()
			v := t.fl.TestAndSetBit(0)
			t.sl.UnlockBH()
			t.mu.Unlock(cur)
			return fmt.Sprint(v)
		}},
		{"trymutex", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			if !t.mu.TryLock(cur) {
				return "busy"
			}
			kernel.Msleep(cur, 0)
			t.mu.Unlock(cur)
			return "mine"
		}},
		{"unlocked", func(s *shop, _ *kernel.Task, t *thing, _ int) string { // a planted bug
			v := t.x.Load()
			t.n.Inc()
			if t.x.Load() != v {
				s.m.BugOn(true, "x changed")
			}
			return ""
		}},
	},
	"waiting": {
		{"wake", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			if k%2 == 0 {
				t.fl.SetBit(0)
			}
			t.wq.WakeUp()
			return ""
		}},
		{"wakeall", func(s *shop, _ *kernel.Task, t *thing, _ int) string { t.n.Inc(); t.wq.WakeUpAll(); return "" }},
		{"active", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if t.wq.Active() {
				t.wq.WakeUp()
				return "woke"
			}
			return ""
		}},
		{"wait", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			left := kernel.WaitEventTimeout(cur, &t.wq, func() bool { return t.fl.TestBit(0) }, kernel.Jiffies(k%3))
			return fmt.Sprint(left)
		}},
		{"exclusive", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			var w kernel.WaitEntry
			t.wq.PrepareToWaitExclusive(cur, &w, kernel.TASK_INTERRUPTIBLE)
			left := kernel.Jiffies(-1)
			if k%2 == 0 || !t.fl.TestBit(0) {
				left = kernel.ScheduleTimeout(cur, 2)
			}
			t.wq.FinishWait(cur, &w)
			return fmt.Sprint(left)
		}},
		{"byhand", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			var w kernel.WaitEntry
			t.wq.AddWaitQueue(cur, &w)
			cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
			left := kernel.Jiffies(-1)
			if s.own[k%len(s.own)].n.Read() == 0 && k%2 == 0 {
				left = kernel.ScheduleTimeout(cur, 1)
			} else {
				cur.SetCurrentState(kernel.TASK_RUNNING)
			}
			t.wq.RemoveWaitQueue(&w)
			return fmt.Sprint(left)
		}},
		{"forever", func(s *shop, cur *kernel.Task, t *thing, _ int) string { // a planted bug: the test comes first
			if t.fl.TestBit(0) {
				return ""
			}
			var w kernel.WaitEntry
			t.wq.PrepareToWait(cur, &w, kernel.TASK_UNINTERRUPTIBLE)
			kernel.Schedule(cur)
			t.wq.FinishWait(cur, &w)
			return "woken"
		}},
		{"sleep0", func(s *shop, cur *kernel.Task, _ *thing, _ int) string { kernel.Msleep(cur, 0); return "" }},
		{"sleep", func(s *shop, cur *kernel.Task, _ *thing, k int) string {
			return fmt.Sprint(kernel.ScheduleTimeoutInterruptible(cur, kernel.Jiffies(k%3)))
		}},
	},
	"completions": {
		{"complete", func(s *shop, _ *kernel.Task, t *thing, _ int) string { t.done.Complete(); return "" }},
		{"await", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			return fmt.Sprint(t.done.WaitTimeout(cur, kernel.Jiffies(k%3)))
		}},
		{"awaitint", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			return fmt.Sprint(t.done.WaitInterruptibleTimeout(cur, 2))
		}},
		{"send", func(s *shop, cur *kernel.Task, _ *thing, k int) string {
			kernel.SendSig(kernel.SIGINT, s.other(cur, k))
			return ""
		}},
		{"pending", func(s *shop, cur *kernel.Task, _ *thing, k int) string {
			if cur.SignalPending() {
				if k%2 == 0 {
					cur.FlushSignals()
				}
				return "signal"
			}
			return ""
		}},
		{"reinit", func(s *shop, _ *kernel.Task, t *thing, _ int) string { t.done.Reinit(); return "" }},
		{"poke", func(s *shop, cur *kernel.Task, _ *thing, k int) string {
			return fmt.Sprint(kernel.WakeUpProcess(s.other(cur, k)))
		}},
	},
	"threads": {
		{"thread", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			p := s.m.KthreadCreate(cur, service(t), nil, "service")
			if kernel.IsErr(p) {
				return "none"
			}
			if k%2 == 0 {
				t.task.Store(p)
				kernel.WakeUpProcess(p)
			} else { // a planted bug
				kernel.WakeUpProcess(p)
				t.task.Store(p)
			}
			if k%4 < 2 {
				t.n.Inc()
			}
			t.task.Store(nil)
			return fmt.Sprint(kernel.KthreadStop(cur, p))
		}},
		{"tell", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			t.fl.SetBit(0)
			s.m.RcuReadLock()
			if p := t.task.Load(); p != nil || k%4 == 0 {
				kernel.WakeUpProcess(p)
			}
			s.m.RcuReadUnlock()
			return ""
		}},
		{"tellbad", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if p := t.task.Load(); p != nil {
				kernel.WakeUpProcess(p)
			}
			return ""
		}},
		{"actor", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			p := s.m.Spawn(cur, "extra", func(*kernel.Task) { t.n.Inc() })
			if k%2 == 0 {
				kernel.Join(cur, p)
			}
			return fmt.Sprint(t.n.Read())
		}},
		{"early", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			p := s.m.KthreadRun(cur, func(*kernel.Task, any) int { return int(t.n.AddReturn(1)) }, nil, "early")
			if kernel.IsErr(p) {
				return "none"
			}
			return fmt.Sprint(kernel.KthreadStop(cur, p))
		}},
	},
	"rcu": {
		{"publish", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			p := newPart(s.m)
			if p == nil {
				return "none"
			}
			p.n.Inc()
			t.sl.LockBH()
			old := t.ptr.Load()
			t.ptr.Store(p)
			t.sl.UnlockBH()
			if old != nil {
				kernel.KfreeRcu(old)
			}
			return ""
		}},
		{"reader", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			s.m.RcuReadLock()
			defer s.m.RcuReadUnlock()
			if p := t.ptr.Load(); p != nil {
				return fmt.Sprint(p.n.AddReturn(1))
			}
			return ""
		}},
		{"reader1", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			s.m.RcuReadLock()
			t.fl.TestBit(0)
			p := t.ptr.Load()
			if p != nil {
				p.k.Inc()
			}
			s.m.RcuReadUnlock()
			return fmt.Sprint(p != nil)
		}},
		{"late", func(s *shop, _ *kernel.Task, t *thing, _ int) string { // a planted bug
			s.m.RcuReadLock()
			p := t.ptr.Load()
			s.m.RcuReadUnlock()
			if p != nil {
				p.k.Inc()
			}
			return ""
		}},
		{"drop", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			t.sl.LockBH()
			old := t.ptr.Load()
			t.ptr.Store(nil)
			t.sl.UnlockBH()
			if old != nil {
				if k%4 == 0 { // a planted bug
					kernel.Kfree(old)
				} else {
					kernel.KfreeRcu(old)
				}
			}
			return fmt.Sprint(old != nil)
		}},
		{"callrcu", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			s.m.CallRcu(&t.Obj, func() { t.n.Inc() })
			return ""
		}},
		{"sync", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			s.m.SynchronizeRcu(cur)
			return fmt.Sprint(t.n.Read())
		}},
	},
	"frees": {
		{"hand", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			p := newPart(s.m)
			if p == nil {
				return "none"
			}
			t.ptr.Store(p)
			t.done.Complete()
			if k%2 == 0 {
				p.wq.WakeUp() // a planted bug: p is no longer ours
			}
			return ""
		}},
		{"take", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			if t.done.WaitTimeout(cur, 1) == 0 {
				return "none"
			}
			p := t.ptr.Load()
			if p == nil {
				return "gone"
			}
			p.n.Inc()
			kernel.Kfree(p)
			return "freed"
		}},
		{"lend", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			p := newPart(s.m)
			if p == nil {
				return "none"
			}
			t.ptr.Store(p)
			t.wq.WakeUp()
			s.own[0].n.Read()
			t.ptr.Store(nil)
			if k%2 == 0 {
				t.mu.Lock(cur)
				t.mu.Unlock(cur)
			}
			kernel.Kfree(p)
			return ""
		}},
		{"use", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			t.mu.Lock(cur)
			p := t.ptr.Load()
			if p != nil {
				p.k.Inc()
			}
			t.mu.Unlock(cur)
			return fmt.Sprint(p != nil)
		}},
		{"private", func(s *shop, _ *kernel.Task, _ *thing, _ int) string {
			p := newPart(s.m)
			if p == nil {
				return "none"
			}
			p.n.Inc()
			p.k.Inc()
			kernel.Kfree(p)
			return ""
		}},
		{"page", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if p := s.m.AllocPage(kernel.GFP_ATOMIC); p != nil {
				t.n.Inc()
				p.Get()
				p.Put()
				p.Put()
			}
			return ""
		}},
	},
	"krefs": {
		{"make", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			c := kernel.Kzalloc[counted](s.m, "counted", kernel.GFP_ATOMIC)
			if c == nil {
				return "none"
			}
			c.ref.Init(&c.Obj, "counted.ref")
			c.n.Init(&c.Obj, "counted.n")
			t.sl.LockBH()
			old := t.ref.Load()
			t.ref.Store(c)
			t.sl.UnlockBH()
			if old != nil {
				old.put()
			}
			return ""
		}},
		{"hold", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			t.sl.LockBH()
			c := t.ref.Load()
			if c != nil {
				c.ref.Get()
			}
			t.sl.UnlockBH()
			if c == nil {
				return "none"
			}
			v := c.n.AddReturn(1)
			c.put()
			if k%8 == 0 { // a planted bug
				c.put()
			}
			return fmt.Sprint(v)
		}},
		{"peep", func(s *shop, _ *kernel.Task, t *thing, _ int) string { // a planted bug: no lock
			c := t.ref.Load()
			if c == nil || !c.ref.GetUnlessZero() {
				return "none"
			}
			v := c.n.Read()
			c.put()
			return fmt.Sprint(v)
		}},
		{"unref", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			t.sl.LockBH()
			c := t.ref.Load()
			t.ref.Store(nil)
			t.sl.UnlockBH()
			if c != nil {
				c.put()
			}
			return fmt.Sprint(c != nil)
		}},
	},
	"bits": {
		{"lockbit", func(s *shop, cur *kernel.Task, t *thing, k int) string {
			if t.fl.TestAndSetBit(0) {
				return "busy"
			}
			v := t.n.AddReturn(1)
			if k%2 == 0 {
				kernel.ClearAndWakeUpBit(&t.fl, 0)
			} else { // a planted bug: nobody is woken
				t.fl.ClearBit(0)
			}
			return fmt.Sprint(v)
		}},
		{"waitbit", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			return fmt.Sprint(kernel.WaitOnBit(cur, &t.fl, 0, kernel.TASK_INTERRUPTIBLE), t.n.Read())
		}},
		{"waitvar", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			kernel.WaitVarEvent(cur, func() bool { return !t.fl.TestBit(0) })
			return ""
		}},
	},
	"softirq": {
		{"raise", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			t.irq.Raise(func() { t.n.Inc(); t.wq.WakeUp() })
			return ""
		}},
		{"raise2", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			t.irq.Raise(func() {
				t.sl.Lock()
				t.x.Store(t.x.Load() + 1)
				t.sl.Unlock()
				s.own[0].n.Read()
			})
			return ""
		}},
		{"see", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			t.sl.LockBH()
			v := t.x.Load()
			t.sl.UnlockBH()
			return fmt.Sprint(v)
		}},
		{"after", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if v := t.n.Read(); v > 0 {
				t.irq.Raise(func() { t.fl.SetBit(0) })
			}
			return ""
		}},
	},
	"time": {
		{"mod", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			t.tm.Mod(s.m.Jiffies() + kernel.Jiffies(k%3))
			return ""
		}},
		{"del", func(s *shop, _ *kernel.Task, t *thing, _ int) string { return fmt.Sprint(t.tm.Del(), t.n.Read()) }},
		{"delsync", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			return fmt.Sprint(t.tm.DelSync(cur), t.n.Read())
		}},
		{"armed", func(s *shop, _ *kernel.Task, t *thing, _ int) string { return fmt.Sprint(t.tm.Pending()) }},
		{"work", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			return fmt.Sprint(t.work.Schedule(kernel.Jiffies(k % 2)))
		}},
		{"cancel", func(s *shop, cur *kernel.Task, t *thing, _ int) string {
			return fmt.Sprint(t.work.CancelSync(cur), t.n.Read())
		}},
		{"nap", func(s *shop, cur *kernel.Task, _ *thing, k int) string {
			return fmt.Sprint(kernel.ScheduleTimeoutUninterruptible(cur, kernel.Jiffies(k%2)))
		}},
	},
	"lists": {
		{"add", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			p := newPart(s.m)
			if p == nil {
				return "none"
			}
			t.sl.LockBH()
			t.list.AddRcu(&p.node)
			t.sl.UnlockBH()
			return ""
		}},
		{"remove", func(s *shop, _ *kernel.Task, t *thing, k int) string {
			t.sl.LockBH()
			p := t.list.First()
			if p != nil {
				t.list.DelRcu(&p.node)
			}
			t.sl.UnlockBH()
			if p != nil && k%4 == 0 { // a planted bug
				kernel.Kfree(p)
			} else if p != nil {
				kernel.KfreeRcu(p)
			}
			return fmt.Sprint(p != nil)
		}},
		{"walk", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			s.m.RcuReadLock()
			n := 0
			for p := t.list.FirstRcu(); p != nil; p = t.list.NextRcu(&p.node) {
				p.k.Read()
				n++
			}
			s.m.RcuReadUnlock()
			return fmt.Sprint(n)
		}},
		{"bare", func(s *shop, _ *kernel.Task, t *thing, _ int) string { // a planted bug: no lock
			n := 0
			for p := t.list.First(); p != nil; p = t.list.Next(&p.node) {
				p.k.Read()
				n++
			}
			return fmt.Sprint(n)
		}},
		{"empty", func(s *shop, _ *kernel.Task, t *thing, _ int) string { return fmt.Sprint(t.list.Empty()) }},
	},
	"alone": {
		{"ownn", func(s *shop, _ *kernel.Task, _ *thing, k int) string {
			return fmt.Sprint(s.own[k%len(s.own)].n.AddReturn(1))
		}},
		{"ownread", func(s *shop, _ *kernel.Task, _ *thing, k int) string { return fmt.Sprint(s.own[k%len(s.own)].n.Read()) }},
		{"ownlock", func(s *shop, _ *kernel.Task, _ *thing, k int) string {
			t := s.own[k%len(s.own)]
			t.sl.LockBH()
			t.n.Inc()
			t.sl.UnlockBH()
			return ""
		}},
		{"random", func(s *shop, _ *kernel.Task, t *thing, _ int) string {
			if s.m.RandomU32()%2 == 0 {
				return fmt.Sprint(t.n.AddReturn(1))
			}
			return fmt.Sprint(t.n.Read())
		}},
	},
}

func familyNames() []string {
	var names []string
	for f := range families {
		names = append(names, f)
	}
	slices.Sort(names)
	return names
}

// statement is one action with its operands.
type statement struct {
	action
	on, k int
}

// program is one machine: what each task does.
type program struct {
	seed   int
	bodies [][]statement
	late   bool // the tasks are started by the first one after its own first statement
	failAt int  // the fallible step that fails
	words  string
	s      *shop
}

// newProgram draws a machine with the given numbers of tasks and of statements in each.
func newProgram(seed, tasks, statements int) *program {
	g := &gen{uint64(seed) * 7919}
	p := &program{seed: seed, late: g.n(3) == 0}
	names := familyNames()
	var pool []action
	for range 1 + g.n(3) {
		f := names[g.n(len(names))]
		p.words += f + " "
		pool = append(pool, families[f]...)
	}
	if g.n(3) == 0 {
		pool = append(pool, families["alone"]...)
	}
	if g.n(6) == 0 {
		p.failAt = 1 + g.n(4)
	}
	for range tasks {
		var body []statement
		p.words += "| "
		for range 1 + g.n(statements) {
			st := statement{pool[g.n(len(pool))], min(g.n(3), 1), g.n(64)}
			body = append(body, st)
			p.words += fmt.Sprintf("%s(%d,%d) ", st.name, st.on, st.k)
		}
		p.bodies = append(p.bodies, body)
	}
	return p
}

func (p *program) String() string { return fmt.Sprintf("machine %d: %s", p.seed, p.words) }

func (p *program) options() kernel.Options {
	return kernel.Options{MaxSteps: 2000, FailAt: p.failAt, Causal: true}
}

func (p *program) main(cur *kernel.Task) {
	m := cur.Machine()
	s := &shop{m: m, saw: make([]strings.Builder, len(p.bodies))}
	p.s = s
	for i := range s.t {
		s.t[i] = newThing(m, i)
	}
	for i := range p.bodies {
		s.own = append(s.own, newThing(m, 2+i))
		s.tasks = append(s.tasks, cur)
	}
	run := func(i int, cur *kernel.Task, body []statement) {
		for _, st := range body {
			s.saw[i].WriteString(st.do(s, cur, s.t[st.on], st.k) + ",")
		}
	}
	first := p.bodies[0]
	if p.late {
		run(0, cur, first[:1])
		first = first[1:]
	}
	for i, body := range p.bodies[1:] {
		s.tasks[i+1] = m.Spawn(cur, string(rune('a'+i)), func(cur *kernel.Task) { run(i+1, cur, body) })
	}
	run(0, cur, first)
	for _, t := range s.tasks[1:] {
		kernel.Join(cur, t)
	}
	for _, t := range s.t {
		t.tm.DelSync(cur)
		t.work.CancelSync(cur)
	}
}

// outcomes is what the schedules of a machine can come to.
type outcomes struct {
	states   map[uint64]string // of the runs that came to their end: what was seen
	findings map[string]bool
	runs     int
	last     int // of them in the last pass
}

// add notes what a run of p came to; true if another one came to the same final state.
func (o *outcomes) add(t *testing.T, p *program, res *kernel.Result) (again bool) {
	t.Helper()
	fatal := false
	for _, f := range res.Findings {
		o.findings[f.Oracle+": "+f.Title] = true
		fatal = fatal || f.Fatal
	}
	if res.Pruned || fatal {
		return false
	}
	saw := fmt.Sprint(res.Now)
	for i := range p.s.saw {
		saw += " " + p.s.saw[i].String()
	}
	old, again := o.states[res.State]
	if again && old != saw {
		t.Fatalf("%s: two outcomes have one state:\n%s\n%s", p, old, saw)
	}
	o.states[res.State] = saw
	return again
}

// explore runs all schedules of b, at most limit of them, and collects those of the search's last pass.
func (p *program) explore(t *testing.T, m *kernel.Machine, b *Bounded, limit int) (*outcomes, bool) {
	t.Helper()
	out := &outcomes{}
	for b.Next() {
		if len(b.path) == 0 {
			out.last = 0
			out.states, out.findings = map[uint64]string{}, map[string]bool{}
		}
		out.last++
		if out.runs++; out.runs > limit {
			return out, false
		}
		out.add(t, p, m.Run(b, p.options(), "main", p.main))
	}
	return out, true
}

// compare explains the first difference, "" if there is none.
func (o *outcomes) compare(plain *outcomes) string {
	var lost, more []string
	for f := range plain.findings {
		if !o.findings[f] {
			lost = append(lost, f)
		}
	}
	for f := range o.findings {
		if !plain.findings[f] {
			more = append(more, f)
		}
	}
	for s, saw := range plain.states {
		if _, ok := o.states[s]; !ok {
			lost = append(lost, fmt.Sprintf("%x:%s", s, saw))
		}
	}
	for s, saw := range o.states {
		if _, ok := plain.states[s]; !ok {
			more = append(more, fmt.Sprintf("%x:%s", s, saw))
		}
	}
	if len(lost)+len(more) == 0 {
		return ""
	}
	slices.Sort(lost)
	slices.Sort(more)
	return fmt.Sprintf("lost %d: %q\nnew %d: %q", len(lost), lost[:min(3, len(lost))], len(more), more[:min(3, len(more))])
}
