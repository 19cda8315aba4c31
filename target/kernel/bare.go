// SPDX-License-Identifier: MIT

package kernel

// Bare programs are tiny machines for measuring choosers and searches: every primitive is exactly one scheduling
// point, and tasks have no start and no exit operation. The port does not use them.

// Bind makes o, memory of the harness, an object of this run, so that a program that is run a million times allocates
// nothing. Its cells are then initialised as usual. No visible operation.
//
//go:norace
func Bind(m *Machine, o *Obj, class string) { m.adopt(o, class, m.b.here()) }

// RunBare is [Machine.Run] with a first task like those of Go.
//
//go:norace
func (m *Machine) RunBare(ch Chooser, opt Options, name string, main func(cur *Task)) *Result {
	if m.sim == nil {
		return m.runFree(opt, name, main)
	}
	m.sim.begin(ch, &opt)
	m.reset(&opt)
	m.sim.mainT = m.Go(nil, name, main)
	return m.sim.toEnd()
}

// Go makes a task that runs fn at once: one visible operation of the parent, on the task. In sim the task has announced
// its first operation when Go returns (not so in race builds); what it does before is not seen by anybody.
//
//go:norace
func (m *Machine) Go(parent *Task, name string, fn func(cur *Task)) *Task {
	if m.sim == nil {
		return m.Spawn(parent, name, fn)
	}
	t := m.newTask(parent, name, ctxProcess)
	t.actor, t.bare = fn, true
	t.allowed = ^uint64(0)
	if t.gate == nil {
		t.gate = new(rawLock)
	}
	*t.gate = rawLock{c: t.c, held: true}
	t.c.release()
	if parent != nil {
		t.c.visible(OpStart, 0)
		if m.rec != nil {
			m.rec.text("spawn %s", name)
		}
	}
	m.sim.ready(t)
	if parent != nil { // else it is picked next in any case
		m.sim.prologue(t)
	}
	return t
}

// prologue runs the new task t up to where it announces its first operation.
//
//go:norace
func (s *sim) prologue(t *Task) {
	if raceEnabled { // the hand-over is another one there
		return
	}
	cur, fresh := s.cur, s.fresh
	s.cur, s.fresh, t.eager = t, false, true
	s.resume(t)
	s.cur, s.fresh = cur, fresh
}

// openGate lets those go on who wait for the end of the running bare task.
//
//go:norace
func (t *Task) openGate() {
	t.gate.c.merge()
	s := t.m.sim
	s.also(&t.gate.c, true)
	s.admit(t.gate)
}

// admit lets those go on who wait at l, as a wake-up does.
//
//go:norace
func (s *sim) admit(l *rawLock) {
	l.held = false
	for p := l.pending; p != nil; p = p.alsoPending {
		s.ready(p)
	}
}

// WaitGone waits until t has ended: one visible operation, which can be performed only then. t was made by Go.
//
//go:norace
func WaitGone(cur, t *Task) {
	m := cur.m
	if m.sim == nil {
		Join(cur, t)
		return
	}
	m.sim.await(OpWait, t.gate)
	m.sim.note(cur, OpWait, &t.gate.c, 0)
	m.sim.gated()
	t.gate.c.acquire()
	if m.rec != nil {
		m.rec.text("join %s", t.name)
	}
}

// Token is a binary wake-up that is remembered: Unpark sets it, Park waits until it is set and consumes it.
type Token struct{ l rawLock }

// Init makes the token as part of o, not set.
//
//go:norace
func (x *Token) Init(o *Obj, name string) {
	x.l = rawLock{held: true}
	x.l.c.init(o, name)
	if o.m.sim == nil {
		x.l.mu.Lock()
	}
}

// Park waits until the token is set and consumes it: one visible operation, which can be performed only then.
//
//go:norace
func (x *Token) Park() {
	m := x.l.c.o.m
	t := m.b.acquire(OpWait, &x.l)
	m.b.note(t, OpWait, &x.l.c, 1)
	if m.sim != nil {
		m.sim.gated()
	}
	if m.rec != nil {
		m.rec.text("park %s", x.l.c.name)
	}
}

// Unpark sets the token.
//
//go:norace
func (x *Token) Unpark() {
	m := x.l.c.o.m
	x.l.c.visible(OpComplete, 0)
	if m.rec != nil {
		m.rec.text("unpark %s", x.l.c.name)
	}
	s := m.sim
	if s == nil {
		m.mem.lock(m)
		x.l.mu.TryLock() // it fails unless the token is set: free it in either case
		x.l.mu.Unlock()
		m.mem.unlock(m)
		return
	}
	x.l.c.merge()
	s.admit(&x.l)
}
