// SPDX-License-Identifier: MIT

// Package calibrate holds the explorer against programs whose every number is known: it counts schedules with each
// search and compares, it samples with each chooser and asks whether the rates can be chance. What is expected does not
// come from the explorer: it comes from a small model of each program, which knows nothing of the floor, and from
// golden values that other tools have confirmed.
package calibrate

import (
	"errors"
	"fmt"
	"math/big"
)

// A model is a program as an abstract machine: each task is a row of operations, one step performs one of them.
type model struct {
	tasks []taskCode // the first one runs at the beginning
	bug   int        // the variable that says that the bug was met
	halt  bool       // the bug ends the run
	obj   int        // the variable or lock whose order decides, for SURW; cell is what the floor calls it
	cell  string
	room  int    // how many states a count may go through
	goOn  func() // leaves a computation that is to end; may be nil
}

type taskCode struct {
	name string // as the floor names it
	code []op
}

// op is one operation of a task, and what the task does by itself right after it.
type op struct {
	kind opKind
	obj  int // which variable, lock or token; the task for spawn and join
	then func(s *state) (goTo int)
}

// next is where an operation goes on that does not jump.
const next = -1

type opKind uint8

const (
	opSpawn opKind = iota
	opJoin
	opLock
	opUnlock
	opPark
	opUnpark
	opLoad
	opStore
)

const (
	mostTasks = 12
	mostVars  = 12
	noTask    = -1
)

// state is all there is to know of a run: where each task stands and what the variables are.
type state struct {
	pc [mostTasks]int16 // of a task that does not exist yet: -1
	v  [mostVars]int16
}

func (m *model) begin() state {
	var s state
	for t := range m.tasks {
		s.pc[t] = -1
	}
	s.pc[0] = 0
	return s
}

func (m *model) done(s *state, t int) bool { return int(s.pc[t]) == len(m.tasks[t].code) }

// live reports whether t exists and has operations left.
func (m *model) live(s *state, t int) bool { return s.pc[t] >= 0 && !m.done(s, t) }

// pending is the operation that a live task is about to perform.
func (m *model) pending(s *state, t int) *op { return &m.tasks[t].code[s.pc[t]] }

// enabled is able for what goes through many states, and may have to end before it is through.
func (m *model) enabled(s *state, buf []int) []int {
	if m.goOn != nil {
		m.goOn()
	}
	return m.able(s, buf)
}

// able lists the tasks that can perform an operation.
func (m *model) able(s *state, buf []int) []int {
	buf = buf[:0]
	if m.halt && s.v[m.bug] != 0 {
		return buf
	}
	for t := range m.tasks {
		if m.live(s, t) && m.can(s, m.pending(s, t)) {
			buf = append(buf, t)
		}
	}
	return buf
}

func (m *model) can(s *state, o *op) bool {
	switch o.kind {
	case opJoin:
		return m.done(s, o.obj)
	case opLock:
		return s.v[o.obj] == 0
	case opPark:
		return s.v[o.obj] != 0
	}
	return true
}

// step performs the pending operation of t.
func (m *model) step(s *state, t int) {
	o := m.pending(s, t)
	s.pc[t]++
	switch o.kind {
	case opSpawn:
		s.pc[o.obj] = 0
	case opLock, opUnpark:
		s.v[o.obj] = 1
	case opUnlock, opPark:
		s.v[o.obj] = 0
	}
	if o.then != nil {
		if at := o.then(s); at != next {
			s.pc[t] = int16(at)
		}
	}
}

func (m *model) buggy(s *state) bool { return s.v[m.bug] != 0 }

// depends reports whether the order of two operations of different tasks matters.
func depends(a, b *op) bool {
	return a.object() == b.object() && (a.kind.writes() || b.kind.writes())
}

// object is what the operation is performed on, tasks apart from all else.
func (o *op) object() int {
	if o.kind == opSpawn || o.kind == opJoin {
		return mostVars + o.obj
	}
	return o.obj
}

func (k opKind) writes() bool { return k != opLoad && k != opJoin }

// modelOf is the model of a program. The family is its name without the size.
func modelOf(family string, size int) (*model, error) {
	var m *model
	switch family {
	case "lsr", "lsr-panic", "lsr-plain":
		m = lsrModel(false, nil)
	case "lsr-fixed":
		m = lsrModel(true, nil)
	case "pad", "pad-panic", "pad-fixed":
		m = lsrModel(family == "pad-fixed", func(own int) []op { return rounds(size, op{kind: opStore, obj: own}) })
	case "cont", "cont-panic", "cont-fixed":
		m = lsrModel(family == "cont-fixed", func(int) []op {
			return rounds(size, op{kind: opLock, obj: lsrPool}, op{kind: opUnlock, obj: lsrPool})
		})
	case "reorder", "reorder-fixed":
		m = reorderModel(size, family == "reorder-fixed")
	case "twostage", "twostage-fixed":
		m = twostageModel(size, family == "twostage-fixed")
	default:
		return nil, fmt.Errorf("%s has no model, and so nothing to be held against", family)
	}
	if len(m.tasks) > mostTasks {
		return nil, fmt.Errorf("%s(%d) has %d tasks, and a model at most %d", family, size, len(m.tasks), mostTasks)
	}
	m.room = budget
	return m, nil
}

// rounds is n times the operations.
func rounds(n int, ops ...op) []op {
	var out []op
	for range n {
		out = append(out, ops...)
	}
	return out
}

// The variables of LSR.
const (
	lsrPool = iota
	lsrTask
	lsrBusy
	lsrErr
	lsrToken
	lsrPadT
	lsrPadE
	lsrIdle
	lsrPend
	lsrTook
	lsrBug
)

// lsrModel is the start race; pads makes what T and E do first, of a variable of their own.
func lsrModel(fixed bool, pads func(own int) []op) *model {
	const s, e, t = 0, 1, 2
	if pads == nil {
		pads = func(int) []op { return nil }
	}
	const join = 6
	starter := []op{
		{kind: opSpawn, obj: e},
		{kind: opLock, obj: lsrPool},
		{kind: opUnlock, obj: lsrPool},
		{kind: opSpawn, obj: t},
		{kind: opStore, obj: lsrTask, then: func(s *state) int {
			s.v[lsrTask] = 1
			if fixed || s.v[lsrBug] != 0 {
				return next
			}
			return join
		}},
		{kind: opUnpark, obj: lsrToken},
		{kind: opJoin, obj: t},
		{kind: opJoin, obj: e},
	}
	var thread []op
	if fixed {
		thread = append(thread, op{kind: opPark, obj: lsrToken})
	}
	thread = append(thread, pads(lsrPadT)...)
	thread = append(thread, op{kind: opStore, obj: lsrErr})
	look := len(thread)
	thread = append(thread,
		op{kind: opLock, obj: lsrPool},
		op{kind: opUnlock, obj: lsrPool, then: func(s *state) int {
			if s.v[lsrPend] > 0 {
				s.v[lsrPend]--
				s.v[lsrIdle] = 0
				return look + 3
			}
			s.v[lsrIdle] = 1
			return next
		}},
		op{kind: opPark, obj: lsrToken, then: func(*state) int { return look }},
		op{kind: opStore, obj: lsrBusy},
	)
	enqueuer := pads(lsrPadE)
	gone := len(enqueuer) + 5
	enqueuer = append(enqueuer,
		op{kind: opStore, obj: lsrBusy},
		op{kind: opLock, obj: lsrPool},
		op{kind: opUnlock, obj: lsrPool, then: func(s *state) int {
			s.v[lsrPend]++
			s.v[lsrTook] = s.v[lsrIdle]
			s.v[lsrIdle] = 0
			if s.v[lsrTook] == 0 {
				return gone
			}
			return next
		}},
		op{kind: opLoad, obj: lsrTask, then: func(s *state) int {
			if s.v[lsrTask] == 0 {
				s.v[lsrBug] = 1
				return gone
			}
			return next
		}},
		op{kind: opUnpark, obj: lsrToken},
	)
	return &model{
		tasks: []taskCode{s: {"S", starter}, e: {"E", enqueuer}, t: {"T", thread}},
		bug:   lsrBug, obj: lsrTask, cell: "rq_task",
	}
}

// crowd makes the first task's code: it starts all others and waits for them.
func crowd(others ...taskCode) []taskCode {
	var first []op
	for i := range others {
		first = append(first, op{kind: opSpawn, obj: i + 1})
	}
	for i := range others {
		first = append(first, op{kind: opJoin, obj: i + 1})
	}
	return append([]taskCode{{"S", first}}, others...)
}

func reorderModel(size int, locked bool) *model {
	const a, b, saw, lock, bug = 0, 1, 2, 3, 4
	under := func(ops ...op) []op {
		if !locked {
			return ops
		}
		ops = append([]op{{kind: opLock, obj: lock}}, ops...)
		return append(ops, op{kind: opUnlock, obj: lock})
	}
	set := func(v int, x int16) func(*state) int {
		return func(s *state) int { s.v[v] = x; return next }
	}
	var others []taskCode
	for i := range size {
		others = append(others, taskCode{fmt.Sprint("set", i+1), under(
			op{kind: opStore, obj: a, then: set(a, 1)}, op{kind: opStore, obj: b, then: set(b, -1)})})
	}
	others = append(others, taskCode{"check", under(
		op{kind: opLoad, obj: a, then: func(s *state) int { s.v[saw] = s.v[a]; return next }},
		op{kind: opLoad, obj: b, then: func(s *state) int {
			if s.v[b] != -s.v[saw] {
				s.v[bug] = 1
			}
			return next
		}})})
	return &model{tasks: crowd(others...), bug: bug, halt: true, obj: a, cell: "a"}
}

func twostageModel(size int, kept bool) *model {
	const first, second, a, b, bug = 0, 1, 2, 3, 4
	write := []op{
		{kind: opLock, obj: first, then: func(s *state) int { s.v[a] = 1; return next }},
		{kind: opUnlock, obj: first},
		{kind: opLock, obj: second, then: func(s *state) int { s.v[b] = 2; return next }},
		{kind: opUnlock, obj: second},
	}
	if kept {
		write = []op{write[0], write[2], write[3], write[1]}
	}
	const gone = 4
	read := []op{
		{kind: opLock, obj: first},
		{kind: opUnlock, obj: first, then: func(s *state) int {
			if s.v[a] == 0 {
				return gone
			}
			return next
		}},
		{kind: opLock, obj: second},
		{kind: opUnlock, obj: second, then: func(s *state) int {
			if s.v[b] != 2 {
				s.v[bug] = 1
			}
			return next
		}},
	}
	var others []taskCode
	for i := range size {
		others = append(others, taskCode{fmt.Sprint("stage", i+1), write})
	}
	return &model{tasks: crowd(append(others, taskCode{"read", read})...), bug: bug, halt: true, obj: first, cell: "first"}
}

// errLarge says that a model has too many states for what was asked.
var errLarge = errors.New("the model is too large to be counted")

// budget is the room of a model. A tally of all traces, and one of POS, may have several times as much.
const budget = 50_000

// tally is what is known of the futures of a state.
type tally struct {
	all, bug *big.Int   // interleavings, and those with the bug
	walk     *big.Float // probability that the random walk meets the bug
	longest  int        // operations to the end, at most
}

// precision of probabilities, in bits: they are sums of products of at most a few thousand factors.
const precision = 256

// counts goes through all states of a model.
type counts struct {
	m    *model
	seen map[state]*tally
}

// count counts the interleavings of a model.
func (m *model) count() (*counts, *tally, error) {
	c := &counts{m, map[state]*tally{}}
	s := m.begin()
	if t := c.of(&s); t != nil {
		return c, t, nil
	}
	return nil, nil, errLarge
}

// of is the tally of a state, nil if the budget is spent.
func (c *counts) of(s *state) *tally {
	if t, ok := c.seen[*s]; ok {
		return t
	}
	if len(c.seen) >= c.m.room {
		return nil
	}
	r := &tally{all: new(big.Int), bug: new(big.Int), walk: new(big.Float).SetPrec(precision)}
	en := c.m.enabled(s, nil)
	for _, t := range en {
		to := *s
		c.m.step(&to, t)
		u := c.of(&to)
		if u == nil {
			return nil
		}
		r.all.Add(r.all, u.all)
		r.bug.Add(r.bug, u.bug)
		r.walk.Add(r.walk, u.walk)
		r.longest = max(r.longest, 1+u.longest)
	}
	if len(en) > 0 {
		r.walk.Quo(r.walk, new(big.Float).SetInt64(int64(len(en))))
	} else {
		r.all.SetInt64(1)
		if c.m.buggy(s) {
			r.bug.SetInt64(1)
			r.walk.SetInt64(1)
		}
	}
	c.seen[*s] = r
	return r
}

// atMost counts the interleavings with at most n preemptions, and those of them with the bug.
func (m *model) atMost(n int) (all, bug uint64) {
	type key struct {
		s    state
		last int
		left int
	}
	seen := map[key][2]uint64{}
	var of func(k key) [2]uint64
	of = func(k key) (r [2]uint64) {
		if r, ok := seen[k]; ok {
			return r
		}
		en := m.enabled(&k.s, nil)
		goesOn := false
		for _, t := range en {
			goesOn = goesOn || t == k.last
		}
		for _, t := range en {
			to := key{k.s, t, k.left}
			if goesOn && t != k.last {
				to.left--
			}
			if to.left < 0 {
				continue
			}
			m.step(&to.s, t)
			sum := of(to)
			r[0] += sum[0]
			r[1] += sum[1]
		}
		if len(en) == 0 {
			r[0] = 1
			if m.buggy(&k.s) {
				r[1] = 1
			}
		}
		seen[k] = r
		return r
	}
	r := of(key{m.begin(), noTask, n})
	return r[0], r[1]
}

// prefix is a run so far, up to the order of what commutes: the hashes are those of the happens-before graph.
type prefix struct {
	s     state
	task  [mostTasks]uint64            // last event of each task
	write [mostVars + mostTasks]uint64 // last write of each object
	reads [mostVars + mostTasks]uint64 // sum of the reads since
	id    uint64                       // of the whole graph
}

// traces counts the Mazurkiewicz traces and those of them with the bug, by going through all prefixes once each.
func (m *model) traces() (all, bug int, err error) {
	seen := map[uint64]bool{}
	var walk func(p *prefix) bool
	walk = func(p *prefix) bool {
		if seen[p.id] {
			return true
		}
		if len(seen) >= 10*m.room {
			return false
		}
		seen[p.id] = true
		en := m.enabled(&p.s, nil)
		for _, t := range en {
			to := *p
			to.perform(m, t)
			if !walk(&to) {
				return false
			}
		}
		if len(en) == 0 {
			all++
			if m.buggy(&p.s) {
				bug++
			}
		}
		return true
	}
	if !walk(&prefix{s: m.begin()}) {
		return 0, 0, errLarge
	}
	return all, bug, nil
}

// ways counts the different causes of the bug: what came before it and was ordered before it.
func (m *model) ways() int {
	seen, causes := map[uint64]bool{}, map[uint64]bool{}
	var walk func(p *prefix, last int)
	walk = func(p *prefix, last int) {
		if m.buggy(&p.s) {
			causes[p.task[last]] = true
			return
		}
		if seen[p.id] {
			return
		}
		seen[p.id] = true
		for _, t := range m.enabled(&p.s, nil) {
			to := *p
			to.perform(m, t)
			walk(&to, t)
		}
	}
	walk(&prefix{s: m.begin()}, noTask)
	return len(causes)
}

// perform adds the next event of t to the graph.
func (p *prefix) perform(m *model, t int) {
	o := m.pending(&p.s, t)
	at := o.object()
	e := scramble(p.task[t] + 3*p.write[at] + uint64(t+1)<<32 + uint64(p.s.pc[t]+1))
	switch {
	case o.kind.writes():
		e = scramble(e + 5*p.reads[at])
		p.write[at], p.reads[at] = e, 0
	case o.kind == opJoin:
		e = scramble(e + 7*p.task[o.obj])
		p.reads[at] += e
	default:
		p.reads[at] += e
	}
	p.task[t] = e
	if o.kind == opSpawn {
		p.task[o.obj] = e
	}
	p.id += e
	m.step(&p.s, t)
}

// scramble is a 64-bit finaliser (splitmix64).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
