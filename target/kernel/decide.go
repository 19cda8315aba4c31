// SPDX-License-Identifier: MIT

package kernel

import "math/bits"

// DecisionKind is a kind of choice other than who runs next.
type DecisionKind uint8

// The kinds of decisions. Decision 0 is always the ordinary course of things.
const (
	DecideAlloc    DecisionKind = iota // a fallible step fails
	DecideTimer                        // an alarm may go off while tasks can still run
	DecideSpurious                     // a sleep is over although nobody woke the sleeper
	DecideRead                         // a receive returns less: 1 one octet, 2 half
	DecideRcu                          // the grace period ends late: when nothing else can happen
	DecideSignal                       // one of the kthread's allowed signals arrives where it looks for signals
	DecisionKinds
)

var decisionNames = [DecisionKinds]string{"alloc", "timer", "spurious", "read", "rcu", "signal"}

//go:norace
func (k DecisionKind) String() string { return decisionNames[k] }

// Decision is one question to the chooser. Its kind, its task and its number among the task's decisions of that kind
// name it: the same decision in every interleaving, as long as the same kinds are switched on.
type Decision struct {
	Kind DecisionKind
	N    int    // the answers are 0 to N-1
	Task *Task  // whose step it is; nil outside any
	Nth  int    // 1-based
	Site string // what is decided about: a class, a primitive
	Step int    // visible operations so far
}

// Decider is a Chooser that answers decisions as well. Others decide for the ordinary course of things. The answer of
// Decide is one of 0 to d.N-1; d is not to be kept.
type Decider interface {
	Chooser
	Decide(d *Decision) int
}

// Decided is a decision that was not the ordinary one.
type Decided struct {
	Kind  DecisionKind
	Task  string // its name, "" outside any
	Index int    // of the task, -1 outside any
	Nth   int
	N     int
	Value int
	Step  int
	Site  string
}

// faults is the state of the decisions of one run.
type faults struct {
	decider  Decider
	left     [DecisionKinds]int
	nobodys  [DecisionKinds]uint16
	decided  []Decided
	question Decision
	asking   bool // race builds: the loop is to answer
	answer   int
}

//go:norace
func (f *faults) begin(ch Chooser, opt *Options) {
	f.decided = f.decided[:0]
	on := 0
	for _, n := range opt.Faults {
		on |= n
	}
	if on == 0 {
		return
	}
	f.decider, _ = ch.(Decider)
	f.left, f.nobodys = opt.Faults, [DecisionKinds]uint16{}
}

// Decide asks the chooser whether one of n things happens here; 0 is the ordinary one. A kind without a budget, or
// whose budget is used up, is not asked about, and neither is anything on the free back end. No visible operation: the
// answer is part of the running task's step.
//
//go:norace
func (m *Machine) Decide(kind DecisionKind, n int, site string) int {
	if m.opt.Faults[kind] == 0 || m.sim == nil {
		return 0
	}
	return m.sim.decide(kind, n, site)
}

// Departed is how many decisions of a kind have not been the ordinary one in this run. The step that Options.FailAt has
// made fail is one of them. For oracles.
//
//go:norace
func (m *Machine) Departed(kind DecisionKind) int {
	n := 0
	if kind == DecideAlloc && m.failAt != 0 {
		m.mem.lock(m)
		if m.fallible >= m.failAt {
			n = 1
		}
		m.mem.unlock(m)
	}
	if m.sim != nil && m.opt.Faults[kind] != 0 {
		n += m.opt.Faults[kind] - m.sim.faults.left[kind]
	}
	return n
}

//go:norace
func (s *sim) decide(kind DecisionKind, n int, site string) int {
	f, t := &s.faults, s.cur
	count, index, name := &f.nobodys[kind], -1, ""
	if t != nil {
		count, index, name = &t.nth[kind], t.idx, t.name
	}
	*count++
	if f.decider == nil || f.left[kind] == 0 || n < 2 || s.killing {
		return 0
	}
	f.question = Decision{Kind: kind, N: n, Task: t, Nth: int(*count), Site: site, Step: s.steps}
	v := f.ask()
	if v == 0 {
		return 0
	}
	if v < 0 || v >= n {
		panic("SVCFUZZ BUG: a chooser's answer is not one of those asked for")
	}
	f.left[kind]--
	f.decided = append(f.decided, Decided{kind, name, index, int(*count), n, v, s.steps, site})
	x := mix(uint64(kind)<<32 + uint64(v)<<16 + uint64(*count))
	s.hash = mix(s.hash ^ x)
	if t != nil {
		s.touch(t, x)
	}
	if s.m.rec != nil {
		s.m.rec.decided(t, &f.decided[len(f.decided)-1])
	}
	return v
}

// ask puts the question to the chooser. In race builds the loop does that for the task, as it asks who runs next: on the
// task's own goroutine the detector would see the chooser's state without any order.
//
//go:norace
func (f *faults) ask() int {
	t := f.question.Task
	if !raceEnabled || t == nil {
		return f.decider.Decide(&f.question)
	}
	f.asking = true
	t.handOver()
	return f.answer
}

// maybeEarly lets the chooser say whether the alarm that has just been armed may go off before the machine has nothing
// else to do. If so, a task of its own does that, whenever it is picked.
//
//go:norace
func (s *sim) maybeEarly(a *alarm) {
	if a.ours || s.decide(DecideTimer, 2, a.what()) == 0 {
		return
	}
	path := mix(s.armSeq * cellStride)
	if s.cur != nil {
		s.cur.births++
		path = mix(s.cur.path + s.cur.births*cellStride)
	}
	t := s.m.newTaskAt(path, "clock", ctxSoftirq)
	seq := a.seq
	t.run = func() { s.passTime(a, seq) }
	s.ready(t)
}

// what says whose alarm it is.
//
//go:norace
func (a *alarm) what() string {
	if a.tm != nil {
		return a.tm.c.name
	}
	return "timeout"
}

// passTime lets time pass until the alarm a goes off, if it still is the one that was armed as number seq. Limits in
// virtual time move with it: the machine was slow, not the call that is under way.
//
//go:norace
func (s *sim) passTime(a *alarm, seq uint64) {
	c := &s.m.clockCell
	c.visible(OpTimer, 0)
	if s.m.rec != nil {
		s.m.rec.text("time passes")
	}
	if a.pos == 0 || a.seq != seq {
		return
	}
	if d := a.when - s.clock; d > 0 {
		s.clock += d
		s.m.opt.HangAfter += d
		for _, t := range s.all {
			t.deadline += d
		}
	}
	s.tick = mix(s.cur.h ^ uint64(s.clock))
	s.expire()
}

// maybeSignal lets the chooser send the running kthread one of the signals that it allows.
//
//go:norace
func (t *Task) maybeSignal(site string) {
	if t.m.opt.Faults[DecideSignal] == 0 || !t.created || t.allowed == 0 {
		return
	}
	v := t.m.Decide(DecideSignal, bits.OnesCount64(t.allowed)+1, site)
	if v == 0 {
		return
	}
	rest := t.allowed
	for ; v > 1; v-- {
		rest &= rest - 1
	}
	t.pending |= rest & -rest
}

// fairRounds counts the rounds in which everybody who can go on does.
type fairRounds struct {
	on   bool
	gen  uint64 // number of the round under way
	left int    // tasks of this round that have not performed an operation
	call uint64 // after which round to call
	due  bool   // the call is to be made before anybody goes on
}

//go:norace
func (r *fairRounds) begin(opt *Options) {
	*r = fairRounds{on: opt.Rounds != nil && !raceEnabled, call: uint64(max(opt.RoundsEvery, 1))}
}

// performed notes that t has performed an operation, and ends the round if t was the last to do so.
//
//go:norace
func (r *fairRounds) performed(s *sim, t *Task) {
	r.stopped(t)
	if r.left > 0 {
		return
	}
	if r.gen == r.call {
		r.call += uint64(max(s.m.opt.RoundsEvery, 1))
		r.due = true
	}
	r.gen++
	for _, u := range s.choice.Runnable {
		u.round = r.gen
	}
	r.left = len(s.choice.Runnable)
}

// tell makes the call that is due, outside any task.
//
//go:norace
func (r *fairRounds) tell(s *sim) {
	r.due = false
	defer s.setCur(s.cur)
	s.cur = nil
	s.m.opt.Rounds()
}

// stopped notes that the round need not wait for t any longer.
//
//go:norace
func (r *fairRounds) stopped(t *Task) {
	if t.round == r.gen && t.round > 0 {
		t.round = 0
		r.left--
	}
}
