// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"sort"
	"unsafe"
)

// Chooser decides who performs the next visible operation of a sim run. Its methods run inside the machine:
// they must not block, and must depend on nothing but their arguments and their own state.
type Chooser interface {
	// Pick returns the task to run next, one of c.Runnable, or nil to give the run up. It is called only
	// when there is a choice: the last task may stop, or more than one may start.
	Pick(c *Choice) *Task
}

// Choice is what a chooser sees. Only Last and the tasks of Changed can have another pending operation than at the
// last Pick of the same run.
type Choice struct {
	Step     int     // visible operations so far
	Cur      *Task   // the task that ran last if it can go on, else nil
	Last     *Task   // the task that ran last, even if it cannot go on; nil at first
	Runnable []*Task // in no meaningful order; do not keep
	Changed  []*Task // began or ceased to be runnable since the last Pick, some of them several times; do not keep
	State    uint64  // of the happens-before graph so far; see Options.Causal
}

// sim runs one task at a time on pooled coroutines.
type sim struct {
	m       *Machine
	chooser Chooser
	all     []*Task
	pool    []*Task // Task structs, by index: the same task of the next run finds what it had in this one
	cur     *Task
	chain   int // tasks that have been resumed and have not given back; see leave
	next    *Task
	strands []*strand // idle
	heap    []*alarm
	clock   Jiffies
	armSeq  uint64
	steps   int
	hash    uint64
	fp      uint64
	seq     []uint16
	choice  Choice // its Runnable are those who can perform an operation now
	mainT   *Task
	killing bool
	pruned  bool
	idleGen int
	tick    uint64 // the state in which time passed last, and when
	ended   bool
	fresh   bool // the running task has been picked and has not performed an operation since
	names   []string
	results []Result // for the next runs: they are made by the dozen
	pending []Event
	causal  bool // keep causal histories
	logging bool
	log     []Access
	did     []StepInfo
	woken   []int32
	stuck   []StepInfo
	rounds  fairRounds
	faults  faults
	shared  idSet // what tasks do not have to themselves; see contended

	detector *detector // of the last run that had one
}

// NewSim makes a machine of the sim back end. Close it after the last run.
//
//go:norace
func NewSim() *Machine {
	m := &Machine{}
	s := &sim{
		m: m, all: make([]*Task, 0, 256), pool: make([]*Task, 0, 256),
		strands: make([]*strand, 0, 256), heap: make([]*alarm, 0, 64), seq: make([]uint16, 0, 4096),
	}
	s.choice.Runnable, s.choice.Changed = make([]*Task, 0, 256), make([]*Task, 0, 256)
	m.sim, m.b = s, s
	m.live = make([]*Obj, 0, 256)
	return m
}

// Run boots the machine, runs main as its first task, called name, and lets every task come to its end. The
// result's Tasks and Seq are overwritten by the machine's next run. Not to be called by a task.
//
//go:norace
func (m *Machine) Run(ch Chooser, opt Options, name string, main func(cur *Task)) *Result {
	if m.sim == nil {
		return m.runFree(opt, name, main)
	}
	m.sim.begin(ch, &opt)
	m.reset(&opt)
	m.sim.mainT = m.Spawn(nil, name, main)
	return m.sim.toEnd()
}

// strandOf is the strand that t runs on, from now on if it has none yet.
//
//go:norace
func (s *sim) strandOf(t *Task) *strand {
	if t.st == nil {
		if n := len(s.strands); n > 0 {
			t.st = s.strands[n-1]
			s.strands = s.strands[:n-1]
		} else {
			t.st = newStrand(s)
		}
		t.st.t = t
	}
	return t.st
}

// toEnd runs the machine, whose first task has been made, until nothing can happen any more.
//
//go:norace
func (s *sim) toEnd() *Result {
	m := s.m
	s.loop()
	if !s.killing && len(m.findings) == 0 {
		s.leftovers()
	}
	if s.logging {
		s.noteStuck()
	}
	s.unwindAll()
	raceAcquire(unsafe.Pointer(&s.hash)) // the caller may look at all that the tasks did
	if m.opt.AtEnd != nil && !s.pruned {
		m.opt.AtEnd()
	}
	return s.result()
}

//go:norace
func (s *sim) begin(ch Chooser, opt *Options) {
	s.all, s.heap, s.seq = s.all[:0], s.heap[:0], s.seq[:0]
	s.choice.Runnable, s.choice.Changed = s.choice.Runnable[:0], s.choice.Changed[:0]
	s.chooser, s.cur, s.next = ch, nil, nil
	s.causal = s.logging || opt.Causal
	s.faults.begin(ch, opt)
	s.rounds.begin(opt)
	s.clock, s.armSeq, s.steps, s.hash, s.fp = 0, 0, 0, 0, 0
	s.killing, s.pruned, s.ended = false, false, false
	s.idleGen, s.tick = 0, 0
	s.pending = nil
	s.log, s.did, s.woken, s.stuck = s.log[:0], s.did[:0], s.woken[:0], s.stuck[:0]
}

//go:norace
func (s *sim) result() *Result {
	m := s.m
	if len(s.results) == 0 {
		s.results = make([]Result, 32)
	}
	r := &s.results[0]
	s.results = s.results[1:]
	r.Steps, r.Hash, r.State, r.Findings, r.Now = s.steps, s.hash, s.fp, m.findings, s.clock
	r.Fallible, r.Failed, r.Pruned, r.Live = m.fallible, m.failed, s.pruned, len(m.live)
	s.names = s.names[:0]
	for _, t := range s.all {
		s.names = append(s.names, t.name)
	}
	r.Seq, r.Tasks, r.Pending, r.Decisions = s.seq, s.names, s.pending, s.faults.decided
	if m.rec != nil {
		r.Events = m.rec.events
	}
	m.order.ordered(r)
	return r
}

// Close ends the machine's pooled coroutines. No goroutine of the machine is left when it returns.
//
//go:norace
func (m *Machine) Close() {
	if m.sim == nil {
		return
	}
	for _, st := range m.sim.strands {
		st.close()
	}
	m.sim.strands = nil
}

//go:norace
func (s *sim) here() *Task { return s.cur }

//go:norace
func (s *sim) taskFor() *Task {
	n := len(s.all)
	if n == len(s.pool) {
		s.pool = append(s.pool, &Task{held: new(heldLocks)})
	}
	t := s.pool[n]
	*t = Task{held: t.held, exitName: t.exitName, exitOf: t.exitOf, gate: t.gate}
	return t
}

//go:norace
func (s *sim) tasks() []*Task { return s.all }

//go:norace
func (s *sim) spawn(t *Task) {
	t.idx = len(s.all)
	s.all = append(s.all, t)
	if s.m.order != nil {
		s.m.order.born(t)
	}
	s.fp += t.h
}

//go:norace
func (s *sim) ready(t *Task) {
	if s.logging && s.cur != nil && t.ri == 0 {
		s.woken = append(s.woken, int32(t.idx))
	}
	if s.m.rec != nil {
		s.m.rec.woke(t)
	}
	s.enable(t)
}

// enable puts t among those who can go on.
//
//go:norace
func (s *sim) enable(t *Task) {
	if t.ri == 0 {
		s.choice.Runnable = append(s.choice.Runnable, t)
		t.ri = len(s.choice.Runnable)
		s.choice.Changed = append(s.choice.Changed, t)
	}
}

//go:norace
func (s *sim) unready(t *Task) {
	if t.ri == 0 {
		return
	}
	last := s.choice.Runnable[len(s.choice.Runnable)-1]
	s.choice.Runnable[t.ri-1], last.ri = last, t.ri
	s.choice.Runnable = s.choice.Runnable[:len(s.choice.Runnable)-1]
	t.ri = 0
	s.choice.Changed = append(s.choice.Changed, t)
	if s.rounds.on {
		s.rounds.stopped(t)
	}
}

// point announces the operation, lets the chooser say who goes on, and returns when it is this task's turn.
//
//go:norace
func (s *sim) point(k OpKind, c *cell) *Task {
	t := s.cur
	if t == nil {
		return nil
	}
	t.pend, t.pendCell = k, c
	s.yield(t)
	if t.rcuLazy {
		s.m.rcu.enter(t)
	}
	return t
}

// yield hands over to whoever the chooser picks and returns when t is picked again.
//
//go:norace
func (s *sim) yield(t *Task) {
	if s.killing {
		t.die()
	}
	if s.fresh && t.ri > 0 {
		if s.logging {
			s.announced(t)
		}
		return // picked a moment ago and nothing visible has happened since: that choice stands
	}
	if t.eager {
		t.eager = false
		t.st.yield()
		if s.killing {
			t.die()
		}
	} else if raceEnabled {
		t.handOver()
	} else if n := s.choose(t); n != t {
		s.leave(t, n)
	} else if s.logging {
		s.stepped(t)
	}
	s.fresh = true
	if t.idleGen != s.idleGen {
		t.idleGen = s.idleGen
		raceAcquire(unsafe.Pointer(&s.idleGen))
		if d := s.m.detector; d != nil {
			d.resumed(t)
		}
	}
}

//go:norace
func (t *Task) die() {
	t.dying = true
	panic(unwind)
}

// choose returns the task that goes on, nil when the run is over. last is the task that ran last.
//
//go:norace
func (s *sim) choose(last *Task) *Task {
	if s.rounds.due {
		s.rounds.tell(s)
		if s.killing {
			return nil
		}
	}
	s.choice.Last = last
	switch {
	case len(s.choice.Runnable) == 0:
		if !s.idle() {
			return nil
		}
		if len(s.choice.Runnable) == 1 {
			return s.choice.Runnable[0]
		}
		last = nil // it slept: the choice is as free as any other after a sleep
	case len(s.choice.Runnable) == 1:
		return s.choice.Runnable[0]
	}
	c := &s.choice
	c.Step, c.State, c.Cur = s.steps, s.fp, nil
	if last != nil && last.ri > 0 {
		c.Cur = last
	}
	t := s.chooser.Pick(c)
	c.Changed = c.Changed[:0]
	if t == nil {
		s.pruned, s.killing = true, true
	}
	return t
}

// idle is called when no task can run: oracles look, then time passes. It reports whether anybody can run.
//
//go:norace
func (s *sim) idle() bool {
	if s.killing {
		return false
	}
	if raceEnabled {
		raceAcquire(unsafe.Pointer(&s.hash))
	}
	defer s.setCur(s.cur)
	s.cur = nil
	if s.mainT.exited && !s.ended && s.m.rcu.late == 0 {
		s.ended = true
	}
	if q := s.m.opt.Quiescent; q != nil {
		q()
		if s.killing {
			return false
		}
	}
	if s.ended {
		return false
	}
	if len(s.heap) == 0 {
		s.m.Report(&Finding{Oracle: "deadlock", Title: "no task can run and no timer is armed", Text: s.m.DumpTasks(), Fatal: true})
		return false
	}
	if s.hung() {
		return false
	}
	s.clock = s.heap[0].when
	s.barrier(-1)
	s.tick = mix(s.fp ^ uint64(s.clock))
	s.idleGen++
	raceRelease(unsafe.Pointer(&s.idleGen))
	if d := s.m.detector; d != nil {
		d.idle()
	}
	s.expire()
	if len(s.choice.Runnable) == 0 {
		return s.idle()
	}
	return true
}

// expire fires every alarm whose time has come.
//
//go:norace
func (s *sim) expire() {
	for len(s.heap) > 0 && s.heap[0].when <= s.clock {
		a := s.heap[0]
		s.remove(a)
		if a.task != nil {
			s.touch(a.task, s.tick)
		}
		a.fire(a)
	}
}

//go:norace
func (s *sim) setCur(t *Task) { s.cur = t }

// hung reports whether a call under way, or the whole run, takes too long in virtual time.
//
//go:norace
func (s *sim) hung() bool {
	at := s.heap[0].when
	for _, t := range s.all {
		if t.what != "" && !t.exited && at > t.deadline {
			s.m.Report(&Finding{
				Oracle: "hang", Title: t.what + " does not return", Task: t.name,
				Text: s.m.DumpTasks(), Fatal: true,
			})
			return true
		}
	}
	if at > s.m.opt.HangAfter {
		s.m.Report(&Finding{Oracle: "hang", Title: "the run does not end", Text: s.m.DumpTasks(), Fatal: true})
		return true
	}
	return false
}

// touch folds an event that t did not cause itself into its history.
//
//go:norace
func (s *sim) touch(t *Task, x uint64) {
	if !s.causal {
		return
	}
	old := t.h
	t.h = mix(old ^ x)
	s.fp += t.h - old
}

// note folds the operation into the run's hash and into the causal histories.
//
//go:norace
func (s *sim) note(t *Task, k OpKind, c *cell, aux uint64) {
	if t == nil || t.dying {
		return
	}
	if t.stores != nil {
		t.stores.fence(t, k, aux)
	}
	s.steps++
	s.fresh = false
	if s.steps > s.m.opt.MaxSteps && !s.killing {
		// Where in its circle the run is when it is cut off is chance.
		s.m.Report(&Finding{Oracle: "hang", Title: Livelock, Text: s.m.DumpTasks(), Fatal: true, Symmetric: true})
	}
	x := c.id + uint64(k)<<56 + aux*cellStride
	s.hash = mix(s.hash ^ x + uint64(t.idx)<<32)
	if s.causal {
		s.access(t, k, c, x, opInfo[k].write)
	}
	s.seq = append(s.seq, uint16(t.idx))
	if s.rounds.on {
		s.rounds.performed(s, t)
	}
	if s.m.rec != nil {
		s.m.rec.add(t, k, c, s.steps)
	}
	if s.m.order != nil {
		s.m.order.performed(t, k, c, int(aux))
	}
}

// also records that the step of the running task touches c beside the cell that it announced: it wakes a sleeper, sets
// its own state. What is not recorded here the searches take for independent, and two orders of it for one.
//
//go:norace
func (s *sim) also(c *cell, write bool) {
	if t := s.cur; s.causal && t != nil && !t.dying {
		s.access(t, OpNone, c, c.id+cellStride, write)
	}
}

// access orders the running task behind what it depends on, in the causal histories, and keeps what searches want to
// know.
//
//go:norace
func (s *sim) access(t *Task, k OpKind, c *cell, x uint64, write bool) {
	old := t.h
	o := c.o
	if k == OpFree {
		x += o.acc * cellStride
	}
	if write {
		t.h = mix(old + 3*c.hw + 5*c.hr + 7*o.hfree + x)
		c.hw, c.hr = t.h, 0
	} else {
		t.h = mix(old + 3*c.hw + 7*o.hfree + x)
		c.hr += t.h
	}
	o.acc += t.h
	s.fp += t.h - old
	if k == OpAlloc {
		return // nobody else can know of it yet
	}
	if by := c.by; by != int32(t.idx+1) && by != several {
		s.share(t, c)
	}
	if k == OpFree {
		s.freed(t, o)
	}
	if s.logging {
		s.log = append(s.log, Access{c.id, o.c.id, int32(t.idx), write, k == OpFree, false, false})
		if c != t.pendCell && s.contended(t, k, c) {
			s.entangle(t)
		}
	}
}

// several in the place of a task: more than one.
const several = -1

// share notes that one more task uses c.
//
//go:norace
func (s *sim) share(t *Task, c *cell) {
	me := int32(t.idx + 1)
	if c.by == 0 {
		c.by = me
	} else {
		c.by = several
		s.shared.add(c.id)
	}
	switch o := c.o; o.by {
	case 0:
		o.by = me
	case me, several:
	default:
		o.by = several
		s.shared.add(o.c.id + usedBySeveral)
	}
}

// freed notes that t frees o.
//
//go:norace
func (s *sim) freed(t *Task, o *Obj) {
	if pair := mix(o.c.id + t.path); !s.shared.has(pair) {
		s.shared.add(pair)
		if s.shared.has(o.c.id + freedBySome) {
			s.shared.add(o.c.id + freedBySeveral)
		}
		s.shared.add(o.c.id + freedBySome)
	}
}

// What is known of an object, and of the operations of a kind on a cell, is in the set of shared cells under ids of its
// own.
const (
	usedBySeveral  = 0x2545f4914f6cdd1d
	freedBySome    = 0x5851f42d4c957f2d
	freedBySeveral = 0x14057b7ef767814f
	entangled      = 0x369dea0f31a53f85
)

// contended reports whether an operation of t of kind k on c may depend on what another task does, in any run so far:
// another task uses c, or frees the object, or uses the object that t frees.
//
//go:norace
func (s *sim) contended(t *Task, k OpKind, c *cell) bool {
	if c.by == several || s.shared.has(c.id) {
		return true
	}
	o := c.o
	switch {
	case o.live == 0:
		return o.dead
	case k == OpFree:
		return o.by == several || s.shared.has(o.c.id+usedBySeveral)
	}
	return s.shared.has(o.c.id+freedBySome) &&
		(s.shared.has(o.c.id+freedBySeveral) || !s.shared.has(mix(o.c.id+t.path)))
}

// entangle notes that the step of t, which begins with the operation announced last, does more than that to others.
//
//go:norace
func (s *sim) entangle(t *Task) {
	if t.pendCell != nil {
		s.shared.add(t.pendCell.id + uint64(t.pend)*entangled)
	}
}

// Access is one operation as far as its independence of others goes. Cell 0 stands for a moment that nothing can be
// moved across; there Task is -1 if it is nobody's.
type Access struct {
	Cell, Object uint64
	Task         int32
	Write        bool
	Free         bool // the whole object goes
	Attempt      bool // it did not come to pass: on a held lock, on what has been freed
	Gated        bool // it could not come to pass before somebody let it: a token taken, a task waited for
}

// StepInfo is one scheduling step of a run, from one choice to the next, as searches see it.
type StepInfo struct {
	Task  int32  // by index; -1: time passes, and nothing can be moved across
	Op    OpKind // announced
	Cell  uint64 // announced
	First int32  // its accesses are Accesses()[First:] up to the First of the next step
	Wakes int32  // whom it makes runnable, likewise in Wakes()
	Fatal bool   // a finding ended the run within it
	// Resumed says that the task had slept, or begins, and has announced the operation within the step.
	Resumed bool
}

// attempted notes an operation that does not come to pass: on a held lock, on what has been freed.
//
//go:norace
func (s *sim) attempted(k OpKind, c *cell) {
	t := s.cur
	if t == nil || !s.causal {
		return
	}
	if by := c.by; by != int32(t.idx+1) && by != several {
		s.share(t, c)
	}
	if k == OpFree {
		s.freed(t, c.o)
	}
	if s.logging {
		s.log = append(s.log, Access{c.id, c.o.c.id, int32(t.idx), true, k == OpFree, true, false})
	}
}

// barrier notes a moment that nothing can be moved across.
//
//go:norace
func (s *sim) barrier(task int) {
	if s.logging {
		if task < 0 {
			s.did = append(s.did, StepInfo{Task: -1, First: int32(len(s.log)), Wakes: int32(len(s.woken))})
		}
		s.log = append(s.log, Access{Task: int32(task), Write: true})
	}
}

// stepped notes that t goes on.
//
//go:norace
func (s *sim) stepped(t *Task) {
	i := StepInfo{Task: int32(t.idx), First: int32(len(s.log)), Wakes: int32(len(s.woken))}
	i.Op, i.Cell = t.Pending()
	s.did = append(s.did, i)
}

// announced notes what t, which goes on after a sleep or begins, does first.
//
//go:norace
func (s *sim) announced(t *Task) {
	if n := len(s.did); n > 0 {
		s.did[n-1].Op, s.did[n-1].Cell = t.Pending()
		s.did[n-1].Resumed = true
	}
}

// gated notes that the access logged last had to wait for the one that allowed it.
//
//go:norace
func (s *sim) gated() {
	if n := len(s.log); s.logging && n > 0 {
		s.log[n-1].Gated = true
	}
}

// noteStuck keeps which tasks had announced an operation at the end of the run that they could not perform.
//
//go:norace
func (s *sim) noteStuck() {
	for _, t := range s.all {
		if t.exited || t.ri > 0 {
			continue
		}
		i := StepInfo{Task: int32(t.idx)}
		i.Op, i.Cell = t.Pending()
		s.stuck = append(s.stuck, i)
	}
}

// LogAccesses makes the machine keep the accesses of each run, from now on. For searches.
//
//go:norace
func (m *Machine) LogAccesses() { m.sim.logging = true }

// LogsAccesses reports whether LogAccesses is in force; ForgetAccesses ends it. For searches.
//
//go:norace
func (m *Machine) LogsAccesses() bool { return m.sim.logging }

// ForgetAccesses makes the next run keep no accesses.
//
//go:norace
func (m *Machine) ForgetAccesses() { m.sim.logging = false }

// Accesses are those of the run under way, or of the last one, in order.
//
//go:norace
func (m *Machine) Accesses() []Access { return m.sim.log }

// Steps are the scheduling steps of the run under way, or of the last one, in order; with LogAccesses.
//
//go:norace
func (m *Machine) Steps() []StepInfo { return m.sim.did }

// Stuck are the tasks that could not go on when the last run ended, with the operations they had announced.
//
//go:norace
func (m *Machine) Stuck() []StepInfo { return m.sim.stuck }

// Wakes are the tasks, by index, that steps made runnable by a wake-up or by making them, not by giving back a lock.
//
//go:norace
func (m *Machine) Wakes() []int32 { return m.sim.woken }

// Shared grows with what is known about which operations of different tasks may depend on each other, over all runs of
// the machine.
//
//go:norace
func (m *Machine) Shared() int { return m.sim.shared.n }

// PendingShared reports whether the task's next step may depend on what others do. Where it does not, it commutes with
// everything that other tasks do, in all runs so far.
//
//go:norace
func (t *Task) PendingShared() bool {
	c, s := t.pendCell, t.m.sim
	return c == nil || s.contended(t, t.pend, c) || s.shared.has(c.id+uint64(t.pend)*entangled)
}

// idSet is a set of ids. It is no Go map, whose inside the race detector watches even where the caller is
// hidden from it.
type idSet struct {
	slots []uint64 // a power of two of them, 0 if free
	n     int
}

// slot is where id is or would be.
//
//go:norace
func (x *idSet) slot(id uint64) int {
	i := int(mix(id)) & (len(x.slots) - 1)
	for x.slots[i] != 0 && x.slots[i] != id {
		i = (i + 1) & (len(x.slots) - 1)
	}
	return i
}

//go:norace
func (x *idSet) has(id uint64) bool { return x.n > 0 && x.slots[x.slot(id)] == id }

//go:norace
func (x *idSet) add(id uint64) {
	if 2*(x.n+1) > len(x.slots) {
		old := x.slots
		x.slots = make([]uint64, max(64, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				x.slots[x.slot(o)] = o
			}
		}
	}
	if i := x.slot(id); x.slots[i] == 0 {
		x.slots[i] = id
		x.n++
	}
}

//go:norace
func (s *sim) park(t *Task) {
	s.unready(t)
	s.yield(t)
}

//go:norace
func (s *sim) acquire(k OpKind, l *rawLock) *Task {
	t := s.await(k, l)
	s.take(t, l)
	return t
}

// await returns when l is free and it is the running task's turn.
//
//go:norace
func (s *sim) await(k OpKind, l *rawLock) *Task {
	t := s.cur
	t.pend, t.pendCell = k, &l.c
	t.alsoPending, l.pending = l.pending, t
	if l.held {
		s.unready(t)
		s.attempted(k, &l.c)
	}
	s.yield(t)
	if t.rcuLazy {
		s.m.rcu.enter(t)
	}
	for p := &l.pending; *p != nil; p = &(*p).alsoPending {
		if *p == t {
			*p = t.alsoPending
			break
		}
	}
	return t
}

// take gives l to t. Who was about to take it can no longer go on, and that is not for an operation of its own.
//
//go:norace
func (s *sim) take(t *Task, l *rawLock) {
	l.held = true
	for p := l.pending; p != nil; p = p.alsoPending {
		s.unready(p)
	}
	if l.pending != nil && t != nil {
		s.barrier(t.idx)
	}
	l.c.acquire()
}

//go:norace
func (s *sim) tryAcquire(l *rawLock) bool {
	if l.held {
		return false
	}
	s.take(s.cur, l)
	return true
}

//go:norace
func (s *sim) release(l *rawLock) {
	l.c.release()
	s.open(l)
}

// open lets those go on who want the lock.
//
//go:norace
func (s *sim) open(l *rawLock) {
	l.held = false
	for p := l.pending; p != nil; p = p.alsoPending {
		s.enable(p)
	}
}

//go:norace
func (s *sim) now() Jiffies { return s.clock }

//go:norace
func (s *sim) arm(a *alarm) {
	s.armSeq++
	a.seq = s.armSeq
	s.heap = append(s.heap, a)
	a.pos = len(s.heap)
	s.up(a.pos - 1)
	if s.m.opt.Faults[DecideTimer] != 0 {
		s.maybeEarly(a)
	}
}

//go:norace
func (s *sim) disarm(a *alarm) bool {
	if a.pos == 0 {
		return false
	}
	s.remove(a)
	return true
}

//go:norace
func (s *sim) before(i, j int) bool {
	a, b := s.heap[i], s.heap[j]
	return a.when < b.when || a.when == b.when && a.seq < b.seq
}

//go:norace
func (s *sim) swap(i, j int) {
	h := s.heap
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

//go:norace
func (s *sim) up(i int) {
	for i > 0 && s.before(i, (i-1)/2) {
		s.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

//go:norace
func (s *sim) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.heap) {
			return
		}
		if c+1 < len(s.heap) && s.before(c+1, c) {
			c++
		}
		if !s.before(c, i) {
			return
		}
		s.swap(i, c)
		i = c
	}
}

//go:norace
func (s *sim) remove(a *alarm) {
	i, last := a.pos-1, len(s.heap)-1
	if i != last {
		s.swap(i, last)
	}
	s.heap[last] = nil
	s.heap = s.heap[:last]
	a.pos = 0
	if i != last {
		s.up(i)
		s.down(i)
	}
}

//go:norace
func (s *sim) stop() {
	if !s.killing && s.m.rec != nil {
		s.notePending()
	}
	if !s.killing && s.m.order != nil {
		s.m.order.ended(s)
	}
	if t := s.cur; t != nil && s.fresh && !s.killing {
		s.seq = append(s.seq, uint16(t.idx)) // who was picked for the operation that did not come to pass
	}
	if n := len(s.did); n > 0 && s.logging && !s.killing && s.cur != nil {
		s.did[n-1].Fatal = true
	}
	s.killing = true
	if t := s.cur; t != nil {
		s.entangle(t) // with everybody
		t.die()
	}
}

// notePending keeps what every other task was about to do when the run was ended.
//
//go:norace
func (s *sim) notePending() {
	for _, t := range s.all {
		if !t.exited && t != s.cur && t.pendCell != nil {
			s.pending = append(s.pending, Event{
				Task: t.name, Op: t.pend, Cell: t.pendCell.label(), Obj: t.pendCell.o.Name(),
				Text: t.pend.String() + " " + t.pendCell.label(),
			})
		}
	}
}

// leave lets n go on in the place of t, and returns when it is t's turn again. t resumes n itself, and with it stands in
// the chain of those who wait for whom they resumed; so the way to n and the way back are one switch each, where over the
// loop they are two. Somebody further up in the chain is reached by going back, which a short chain keeps cheap.
//
//go:norace
func (s *sim) leave(t, n *Task) {
	for n != t {
		if n == nil || n.waits || s.chain >= maxChain {
			s.next = n
			t.st.yield()
			if s.killing {
				t.die()
			}
			return
		}
		s.goOn(n)
		n = s.next
	}
	s.next, s.cur = nil, t
	if s.logging {
		s.stepped(t)
	}
}

// maxChain is how many tasks the chain has at most.
const maxChain = 3

// goOn switches to t, until it gives back; next is then who goes on.
//
//go:norace
func (s *sim) goOn(t *Task) {
	s.next, s.cur, s.fresh = nil, t, true
	if s.logging {
		s.stepped(t)
	}
	t.waits = true
	s.chain++
	s.resume(t)
	s.chain--
	t.waits = false
}

// loop switches between the tasks until the run is over.
//
//go:norace
func (s *sim) loop() {
	s.next = s.choose(nil)
	for s.next != nil {
		t := s.next
		s.goOn(t)
		for s.faults.asking {
			s.faults.asking = false
			s.faults.answer = s.faults.decider.Decide(&s.faults.question)
			s.resume(t)
		}
		s.cur = nil
		if raceEnabled && !s.killing {
			s.next = s.choose(t)
		}
	}
}

// finished is called on the strand of a task that has ended.
//
//go:norace
func (s *sim) finished(t *Task) {
	s.unready(t)
	if !raceEnabled && !s.killing && !t.eager {
		s.next = s.choose(t)
	}
}

// leftovers reports tasks that sleep for ever after the harness's main task has ended.
//
//go:norace
func (s *sim) leftovers() {
	var names []string
	for _, t := range s.all {
		if !t.exited {
			names = append(names, t.name)
		}
	}
	if len(names) > 0 {
		sort.Strings(names)
		s.m.Report(&Finding{Oracle: "leak", Title: fmt.Sprintf("task %s is left", names[0]), Text: s.m.DumpTasks(), Fatal: true})
	}
}

// unwindAll takes every task that has not ended off its stack, so that its coroutine can be used again.
//
//go:norace
func (s *sim) unwindAll() {
	s.killing = true
	for _, t := range s.all {
		if t.st != nil {
			s.cur = t
			s.resume(t)
		}
	}
	s.cur = nil
}

// DumpTasks lists the tasks that have not ended: what each is doing and waiting for.
//
//go:norace
func (m *Machine) DumpTasks() string {
	var out string
	for _, t := range m.Tasks() {
		if t.exited {
			continue
		}
		line := fmt.Sprintf("%-16s %s", t.name, t.state)
		if t.what != "" {
			line += " in " + t.what
		}
		if t.pendCell != nil {
			line += fmt.Sprintf(", last at %s %s", t.pend, t.pendCell.label())
		}
		for i := range t.nheld {
			line += ", holds " + t.held[i].class
		}
		out += line + "\n"
	}
	return out
}
