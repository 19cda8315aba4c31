// SPDX-License-Identifier: MIT

package kernel

// rcuState tracks read sections and grace periods. A callback may run once every reader that was inside a
// section when it was queued has left that section; the chooser decides how much later.
type rcuState struct {
	m       *Machine
	c       cell
	g       guard
	readers int // sections open now, over all tasks
	gen     uint64
	pending []*rcuCallback
	late    int // grace periods that are over and have not ended: the run does not end before they do
	soft    Softirq
}

type rcuCallback struct {
	fn      func()
	late    bool
	waitFor int // sections that were open when it was queued and still are
	gen     uint64
}

//go:norace
func (r *rcuState) reset(m *Machine) {
	r.m = m
	r.c.init(&m.static, "rcu")
	r.readers, r.gen, r.late = 0, 0, 0
	r.pending = r.pending[:0]
	r.soft.Init(&m.static, "rcu")
}

// RcuReadLock enters a read section; it nests. The task must not sleep inside. Any context. C: rcu_read_lock.
//
//go:norace
func (m *Machine) RcuReadLock() {
	t := m.b.here()
	if t == nil {
		return
	}
	t.rcu++
	if t.rcu > 1 {
		return
	}
	if m.sim != nil {
		// Beginning as late as can be is the worst for the reader: what it loaded just before is not protected.
		t.rcuLazy = true
		return
	}
	m.rcu.enter(t)
}

// enter begins the read section of t.
//
//go:norace
func (r *rcuState) enter(t *Task) {
	t.rcuLazy = false
	r.m.b.note(t, OpRcuLock, &r.c, 0)
	r.g.lock(r.m)
	r.readers++
	t.rcuGen = r.gen
	r.g.unlock(r.m)
}

// RcuReadUnlock leaves a read section. C: rcu_read_unlock.
//
//go:norace
func (m *Machine) RcuReadUnlock() {
	t := m.b.here()
	if t == nil {
		return
	}
	t.rcu--
	if t.rcu > 0 {
		return
	}
	if t.rcuLazy { // nothing happened inside
		t.rcuLazy = false
		return
	}
	r := &m.rcu
	r.c.merge()
	m.b.note(t, OpRcuUnlock, &r.c, 0)
	r.g.lock(m)
	r.readers--
	var due []*rcuCallback
	keep := r.pending[:0]
	waited := false
	for _, cb := range r.pending {
		if t.rcuGen < cb.gen {
			cb.waitFor--
			waited = true
		}
		if cb.waitFor == 0 {
			due = append(due, cb)
		} else {
			keep = append(keep, cb)
		}
	}
	r.pending = keep
	r.g.unlock(m)
	if waited && m.sim != nil {
		m.sim.also(&r.c, true) // who leaves last starts the callback
	}
	for _, cb := range due {
		r.raise(cb)
	}
}

// CallRcu runs fn in softirq context after a grace period. Any context. C: call_rcu, kernel/rcu/tree.c.
//
//go:norace
func (m *Machine) CallRcu(o *Obj, fn func()) {
	r := &m.rcu
	r.c.visible(OpRcuCall, 0)
	if m.rec != nil {
		m.rec.text("call_rcu %s", o.Name())
	}
	r.c.merge()
	late := m.Decide(DecideRcu, 2, "call_rcu") != 0
	r.g.lock(m)
	r.gen++
	cb := &rcuCallback{fn: fn, waitFor: r.readers, gen: r.gen, late: late}
	over := cb.waitFor == 0 // asked under the guard: behind it, the last reader may be the one who raises it
	if !over {
		r.pending = append(r.pending, cb)
	}
	r.g.unlock(m)
	if over {
		r.raise(cb)
	}
}

// raise ends the grace period that cb waits for: now, or at the next moment at which nothing else can happen.
//
//go:norace
func (r *rcuState) raise(cb *rcuCallback) {
	if r.m.tso {
		r.m.sim.fenceAll()
	}
	fn := func() {
		r.c.acquire()
		cb.fn()
	}
	if cb.late { // by a decision, so in sim
		r.late++
		fire := func(*alarm) { r.late--; r.soft.raise(fn) }
		r.m.b.arm(&alarm{when: r.m.b.now() + 1, fire: fire, ours: true})
		return
	}
	r.soft.raise(fn)
}

// SynchronizeRcu sleeps for a grace period. Process context. C: synchronize_rcu, kernel/rcu/tree.c.
//
//go:norace
func (m *Machine) SynchronizeRcu(cur *Task) {
	m.mightSleep(cur, "synchronize_rcu")
	var own Obj // the caller's, so that its identity does not depend on who else is calling
	m.adopt(&own, "synchronize_rcu", cur)
	var done Completion
	done.Init(&own, "synchronize_rcu")
	m.CallRcu(&m.static, done.Complete)
	done.Wait(cur)
}

// Rcu is a pointer that is published for readers under RCU: an __rcu pointer. T is the pointer's type.
type Rcu[T comparable] struct{ v Var[T] }

// Init binds the pointer to its object, with value NULL.
//
//go:norace
func (p *Rcu[T]) Init(o *Obj, name string) { p.v.Init(o, name) }

// Dereference reads the pointer. What it points at is seen with all that was done before it was assigned, and is there
// until the read section ends, in which the caller is. C: rcu_dereference, include/linux/rcupdate.h; without a read
// section rcu_access_pointer, for those who look at the pointer alone.
//
//go:norace
func (p *Rcu[T]) Dereference() T {
	v := &p.v
	t := v.c.visible(OpRead, 0)
	x := v.forward(t, v.v)
	v.c.acquire() // after the read
	if v.c.o.m.rec != nil {
		v.c.tell("->", x)
	}
	return x
}

// Assign stores the pointer and publishes what it points at. Any context; the stores must be ordered among themselves.
// C: rcu_assign_pointer, include/linux/rcupdate.h.
//
//go:norace
func (p *Rcu[T]) Assign(x T) {
	v := &p.v
	if v.c.o.m.tso && v.c.storeLate(OpSet, v, x) {
		return
	}
	v.c.visible(OpSet, 0)
	v.c.merge()
	v.v = x
	if v.c.o.m.rec != nil {
		v.c.tell("=", x)
	}
}

// Peek reads the pointer without a visible operation, for oracles and reports.
//
//go:norace
func (p *Rcu[T]) Peek() T { return p.v.v }
