// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"strings"
)

// Spinlock is a spinlock_t. Its class is the lockdep class; all locks of a class share their rules.
type Spinlock struct {
	l     rawLock
	class string
	owner *Task
}

// Init makes the lock, free, as part of o. C: spin_lock_init.
//
//go:norace
func (l *Spinlock) Init(o *Obj, class string) {
	*l = Spinlock{class: class}
	l.l.c.init(o, class)
}

// Lock takes the lock; the task must not sleep until Unlock. C: spin_lock.
//
//go:norace
func (l *Spinlock) Lock() { l.lock(OpLock, false) }

// LockBH is Lock with softirqs disabled: the form for a lock that softirq context takes too. C: spin_lock_bh.
//
//go:norace
func (l *Spinlock) LockBH() { l.lock(OpLock, true) }

//go:norace
func (l *Spinlock) lock(k OpKind, bh bool) {
	c := &l.l.c
	m := c.o.m
	if t := m.b.here(); t != nil {
		m.lockdep.before(m, t, l.class, l, bh, false)
	}
	t := m.b.acquire(k, &l.l)
	if c.o.dead {
		m.useAfterFree(t, k, c)
	}
	l.took(m, t, k, bh)
	if m.rec != nil {
		m.rec.text("spin_lock %s", l.class)
	}
}

//go:norace
func (l *Spinlock) took(m *Machine, t *Task, k OpKind, bh bool) {
	m.b.note(t, k, &l.l.c, 0)
	if t == nil {
		return
	}
	l.owner = t
	t.push(l.class, l, bh)
	t.atomic++
	if bh {
		t.bh++
	}
}

// TryLock takes the lock if it is free, without waiting, and reports whether it did. C: spin_trylock.
//
//go:norace
func (l *Spinlock) TryLock() bool {
	c := &l.l.c
	m := c.o.m
	t := m.b.point(OpTryLock, c)
	if c.o.dead {
		m.useAfterFree(t, OpTryLock, c)
	}
	if t != nil && t.stores != nil {
		t.stores.fence(t, OpTryLock, 0) // before it looks: it may have given back this lock itself
	}
	ok := m.b.tryAcquire(&l.l)
	if ok {
		l.took(m, t, OpTryLock, false)
	} else {
		m.b.note(t, OpTryLock, c, 1)
	}
	if m.rec != nil {
		m.rec.text("spin_trylock %s -> %t", l.class, ok)
	}
	return ok
}

// Unlock gives the lock back. C: spin_unlock.
//
//go:norace
func (l *Spinlock) Unlock() { l.unlock(false) }

// UnlockBH gives the lock back and enables softirqs. C: spin_unlock_bh.
//
//go:norace
func (l *Spinlock) UnlockBH() { l.unlock(true) }

//go:norace
func (l *Spinlock) unlock(bh bool) {
	c := &l.l.c
	m := c.o.m
	t := m.b.here()
	late := m.tso && t != nil
	if late {
		t.lateOp(c.id)
	} else {
		t = m.b.point(OpUnlock, c)
	}
	if c.o.dead {
		m.useAfterFree(t, OpUnlock, c)
	}
	if t != nil {
		if l.owner != t {
			m.Report(&Finding{Oracle: "lockdep", Title: "unlock of " + l.class + ", which the task does not hold", Fatal: true})
		}
		t.pop(l)
		t.atomic--
		if bh {
			t.bh--
		}
	}
	if late {
		l.owner = nil
		c.release()
		t.stores.add(OpUnlock, c, &l.l, nil)
		return
	}
	m.b.note(t, OpUnlock, c, 0)
	l.owner = nil
	if m.rec != nil {
		m.rec.text("spin_unlock %s", l.class)
	}
	m.b.release(&l.l)
}

// AssertHeld reports a finding if the running task does not hold the lock. C: lockdep_assert_held.
//
//go:norace
func (l *Spinlock) AssertHeld() {
	m := l.l.c.o.m
	if t := m.b.here(); t != nil && l.owner != t {
		m.Report(&Finding{Oracle: "lockdep", Title: l.class + " is not held", Fatal: true})
	}
}

// PeekOwner is the task that holds the lock, for reports.
//
//go:norace
func (l *Spinlock) PeekOwner() *Task { return l.owner }

// Mutex is a struct mutex: its holder may sleep.
type Mutex struct {
	l     rawLock
	class string
	owner *Task
}

// Init makes the mutex, free, as part of o. C: mutex_init.
//
//go:norace
func (l *Mutex) Init(o *Obj, class string) {
	*l = Mutex{class: class}
	l.l.c.init(o, class)
}

// Lock takes the mutex, sleeping until it is free. Process context. C: mutex_lock, kernel/locking/mutex.c.
//
//go:norace
func (l *Mutex) Lock(cur *Task) {
	c := &l.l.c
	m := c.o.m
	m.mightSleepOn(cur, "mutex_lock ", l.class)
	m.lockdep.before(m, cur, l.class, l, false, true)
	m.b.acquire(OpMutexLock, &l.l)
	l.took(cur, OpMutexLock)
	if m.rec != nil {
		m.rec.text("mutex_lock %s", l.class)
	}
}

//go:norace
func (l *Mutex) took(cur *Task, k OpKind) {
	c := &l.l.c
	if c.o.dead {
		c.o.m.useAfterFree(cur, k, c)
	}
	c.o.m.b.note(cur, k, c, 0)
	l.owner = cur
	cur.push(l.class, l, false)
}

// TryLock takes the mutex if it is free. Process context. C: mutex_trylock, kernel/locking/mutex.c.
//
//go:norace
func (l *Mutex) TryLock(cur *Task) bool {
	c := &l.l.c
	m := c.o.m
	m.b.point(OpTryLock, c)
	if c.o.dead {
		m.useAfterFree(cur, OpTryLock, c)
	}
	ok := m.b.tryAcquire(&l.l)
	if ok {
		l.took(cur, OpTryLock)
	} else {
		m.b.note(cur, OpTryLock, c, 1)
	}
	if m.rec != nil {
		m.rec.text("mutex_trylock %s -> %t", l.class, ok)
	}
	return ok
}

// Unlock gives the mutex back; only its holder may. C: mutex_unlock, kernel/locking/mutex.c.
//
//go:norace
func (l *Mutex) Unlock(cur *Task) {
	c := &l.l.c
	m := c.o.m
	m.b.point(OpMutexUnlock, c)
	if c.o.dead {
		m.useAfterFree(cur, OpMutexUnlock, c)
	}
	if l.owner != cur {
		m.Report(&Finding{Oracle: "lockdep", Title: "unlock of " + l.class + ", which the task does not hold", Fatal: true})
	}
	cur.pop(l)
	m.b.note(cur, OpMutexUnlock, c, 0)
	l.owner = nil
	if m.rec != nil {
		m.rec.text("mutex_unlock %s", l.class)
	}
	m.b.release(&l.l)
}

// AssertHeld reports a finding if cur does not hold the mutex. C: lockdep_assert_held.
//
//go:norace
func (l *Mutex) AssertHeld(cur *Task) {
	if l.owner != cur {
		cur.m.Report(&Finding{Oracle: "lockdep", Title: l.class + " is not held", Fatal: true})
	}
}

// PeekOwner is the task that holds the mutex, for oracles.
//
//go:norace
func (l *Mutex) PeekOwner() *Task { return l.owner }

// heldLocks is what a task may hold at a time.
type heldLocks [16]heldLock

// heldLock is a lock that a task holds.
type heldLock struct {
	class string
	lock  any
	bh    bool
}

//go:norace
func (t *Task) push(class string, l any, bh bool) {
	if t.nheld == len(t.held) {
		t.m.Report(&Finding{Oracle: "lockdep", Title: "a task holds too many locks", Fatal: true})
	}
	t.held[t.nheld] = heldLock{class, l, bh}
	t.nheld++
}

// spinning is the class of the spinlock that the task took last and still holds, "" if there is none.
//
//go:norace
func (t *Task) spinning() string {
	for i := t.nheld - 1; i >= 0; i-- {
		if _, ok := t.held[i].lock.(*Spinlock); ok {
			return t.held[i].class
		}
	}
	return ""
}

//go:norace
func (t *Task) pop(l any) {
	for i := t.nheld - 1; i >= 0; i-- {
		if t.held[i].lock == l {
			for ; i+1 < t.nheld; i++ {
				t.held[i] = t.held[i+1]
			}
			t.nheld--
			return
		}
	}
}

// lockdep keeps which class was taken under which, and in which contexts, for one run.
type lockdep struct {
	g       guard
	classes []string
	after   [maxClasses]uint64 // bit j of after[i]: class j was taken while i was held
	softirq uint64             // classes taken in softirq context
	open    uint64             // classes taken in process context with softirqs enabled
}

const maxClasses = 64

//go:norace
func (d *lockdep) reset() {
	clear(d.after[:len(d.classes)])
	d.classes = d.classes[:0]
	d.softirq, d.open = 0, 0
}

//go:norace
func (d *lockdep) class(m *Machine, name string) int {
	for i, c := range d.classes {
		if c == name {
			return i
		}
	}
	if len(d.classes) == maxClasses {
		panic("SVCFUZZ BUG: more than 64 lock classes")
	}
	d.classes = append(d.classes, name)
	return len(d.classes) - 1
}

// before checks the rules before t waits for a lock: no lock twice, no cycle in the order of classes, and no
// class that softirq context takes is taken with softirqs enabled.
//
//go:norace
func (d *lockdep) before(m *Machine, t *Task, name string, lock any, bh, mutex bool) {
	for i := range t.nheld {
		if t.held[i].lock == lock {
			m.Report(&Finding{Oracle: "lockdep", Title: "recursive locking of " + name, Fatal: true})
		}
		if t.held[i].class == name {
			m.Report(&Finding{Oracle: "lockdep", Title: "two locks of class " + name + " nested", Fatal: true})
		}
	}
	d.g.lock(m)
	c := d.class(m, name)
	bad := ""
	for i := range t.nheld {
		h := d.class(m, t.held[i].class)
		if d.after[h]>>c&1 == 0 {
			if circle := d.path(c, h, 0); circle != nil {
				bad = d.circular(circle)
			}
			d.after[h] |= 1 << c
		}
	}
	if !mutex {
		switch {
		case t.ctx == ctxSoftirq:
			d.softirq |= 1 << c
		case t.bh == 0 && !bh:
			d.open |= 1 << c
		}
		if d.softirq&d.open>>c&1 != 0 && bad == "" {
			bad = name + " is taken in softirq context, and in process context with softirqs enabled"
		}
	}
	d.g.unlock(m)
	if bad != "" {
		m.Report(&Finding{Oracle: "lockdep", Title: bad, Fatal: true, Symmetric: true})
	}
}

// circular says in words that do not depend on who came last that each class was taken under the one before it, and the
// first under the last.
//
//go:norace
func (d *lockdep) circular(circle []int) string {
	least := 0
	for i, c := range circle {
		if d.classes[c] < d.classes[circle[least]] {
			least = i
		}
	}
	var names []string
	for i := range circle {
		names = append(names, d.classes[circle[(least+i)%len(circle)]])
	}
	if len(names) == 2 {
		return fmt.Sprintf("%s is taken with %s held, and the other way round", names[0], names[1])
	}
	return strings.Join(names, ", ") + " are taken in a circle"
}

// path is how class to was once taken, through others, under class from: from first, to last; nil if it never was.
//
//go:norace
func (d *lockdep) path(from, to int, seen uint64) []int {
	if from == to {
		return []int{to}
	}
	seen |= 1 << from
	for j := range d.classes {
		if d.after[from]>>j&1 == 0 || seen>>j&1 != 0 {
			continue
		}
		if rest := d.path(j, to, seen); rest != nil {
			return append([]int{from}, rest...)
		}
	}
	return nil
}
