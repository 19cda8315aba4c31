// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// OpName names one visible operation of a run in words that outlive a change of the code around it: the task, the
// operation, the cell or bit, and how many operations so named the task has performed before, plus one.
type OpName struct {
	Task  string // the second task of a name in a run is NAME/2, and so on
	Op    OpKind
	Place string // the cell's name, for an operation on one bit CELL.BIT
	Nth   int    // 1-based
}

// String is the form that ParseOpName reads: "lockd.clear_bit(rq_flags.BUSY)#1".
//
//go:norace
func (o OpName) String() string { return fmt.Sprintf("%s.%s(%s)#%d", o.Task, o.Op, o.Place, o.Nth) }

// ParseOpName reads an operation's name. The error is one line that says what is wrong with it.
//
//go:norace
func ParseOpName(text string) (OpName, error) {
	head, number, ok := strings.Cut(text, ")#")
	head, place, ok2 := strings.Cut(head, "(")
	dot := strings.LastIndexByte(head, '.')
	if !ok || !ok2 || dot < 1 {
		return OpName{}, fmt.Errorf("%q is not of the form TASK.OPERATION(CELL)#NUMBER", text)
	}
	o := OpName{Task: head[:dot], Place: place}
	for k := OpNone + 1; k < opKinds && o.Op == OpNone; k++ {
		if k.String() == head[dot+1:] {
			o.Op = k
		}
	}
	if o.Op == OpNone {
		return OpName{}, fmt.Errorf("%q: there is no operation called %q", text, head[dot+1:])
	}
	var err error
	if o.Nth, err = strconv.Atoi(number); err != nil || o.Nth < 1 {
		return OpName{}, fmt.Errorf("%q: %q is not a positive number", text, number)
	}
	return o, nil
}

// Before is a constraint on the order of two operations: First has happened when Then begins.
type Before struct{ First, Then OpName }

// String is the form for a person.
//
//go:norace
func (b Before) String() string { return b.First.String() + " < " + b.Then.String() }

// NamedOp is one operation of a run with its name, and with what tells which others it may depend on.
type NamedOp struct {
	OpName
	Index        int // of the task
	Cell, Object uint64
	Write, Free  bool
	// Announced marks an operation that has a scheduling point of its own, so that it can be held back.
	Announced bool
	// Pending marks one that was about to happen when the run was ended.
	Pending bool
}

// order keeps constraints during a run, and names operations for runs that ask for it.
type order struct {
	m      *Machine
	g      guard
	before []Before
	kinds  uint64     // which kinds of operations the constraints are about
	tally  []opTally  // of the operations that they name
	first  []int      // by constraint: its First in tally
	then   []int      // its Then
	met    []verdict  // by constraint
	births []nameless // how many tasks there were of each name
	naming bool
	ops    []NamedOp
}

// opTally counts operations of one task on one place; Nth is the one that a constraint is about, 0 if none is.
type opTally struct {
	OpName
	n    int
	done bool
}

type nameless struct {
	name string
	n    int
}

type verdict uint8

const (
	undecided verdict = iota
	kept
	broken
)

// newOrder is nil if the run needs none.
//
//go:norace
func newOrder(m *Machine, opt *Options) *order {
	if len(opt.Order) == 0 && !opt.NameOps {
		return nil
	}
	d := &order{m: m, before: opt.Order, naming: opt.NameOps, met: make([]verdict, len(opt.Order))}
	for _, b := range opt.Order {
		d.first = append(d.first, d.index(b.First))
		d.then = append(d.then, d.index(b.Then))
		d.kinds |= 1<<b.First.Op | 1<<b.Then.Op
	}
	if d.naming {
		d.kinds = ^uint64(0)
	}
	return d
}

//go:norace
func (d *order) index(o OpName) int {
	for i := range d.tally {
		if d.tally[i].OpName == o {
			return i
		}
	}
	d.tally = append(d.tally, opTally{OpName: o})
	return len(d.tally) - 1
}

// born names a task.
//
//go:norace
func (d *order) born(t *Task) {
	d.g.lock(d.m)
	defer d.g.unlock(d.m)
	k := 0
	for k < len(d.births) && d.births[k].name != t.name {
		k++
	}
	if k == len(d.births) {
		d.births = append(d.births, nameless{name: t.name})
	}
	d.births[k].n++
	t.label = t.name
	if n := d.births[k].n; n > 1 {
		t.label = t.name + "/" + strconv.Itoa(n)
	}
}

// place is the name of what an operation is about: of the cell, and of a bit of it if it is about one.
//
//go:norace
func place(k OpKind, c *cell, bit int) string {
	switch k {
	case OpBitSet, OpBitClear, OpBitTest, OpBitTAS, OpBitTAC:
		f := (*Flags)(unsafe.Pointer(c)) // such a cell is always the first field of a Flags
		if bit < len(f.bits) && f.bits[bit] != "" {
			return c.name + "." + f.bits[bit]
		}
		return c.name + "." + strconv.Itoa(bit)
	}
	return c.label()
}

// matches reports whether t's operation is one of those that o counts.
//
//go:norace
func (o *opTally) matches(t *Task, k OpKind, at string) bool {
	return o.Op == k && o.Place == at && o.Task == t.label
}

// performed counts an operation. On the sim back end it has happened now, on the other when its task goes on.
//
//go:norace
func (d *order) performed(t *Task, k OpKind, c *cell, bit int) {
	if t == nil || t.dying || d.kinds>>k&1 == 0 {
		return
	}
	at := place(k, c, bit)
	d.g.lock(d.m)
	for i := range d.tally {
		o := &d.tally[i]
		if !o.matches(t, k, at) {
			continue
		}
		if o.n++; o.n != o.Nth {
			continue
		}
		d.judge(i)
		if d.m.sim != nil {
			o.done = true
		} else {
			t.doing = append(t.doing, i)
		}
	}
	d.g.unlock(d.m)
	if d.naming {
		d.name(t, k, c, at, false)
	}
}

// judge says of the constraints in which operation i comes last whether they were kept.
//
//go:norace
func (d *order) judge(i int) {
	for b, then := range d.then {
		if then != i || d.met[b] != undecided {
			continue
		}
		d.met[b] = kept
		if !d.tally[d.first[b]].done {
			d.met[b] = broken
		}
	}
}

// name keeps a named operation. Sim only.
//
//go:norace
func (d *order) name(t *Task, k OpKind, c *cell, at string, pending bool) {
	key := OpName{t.label, k, at, 0}
	count := &d.tally[d.index(key)].n
	if *count == 0 || pending {
		*count++
	}
	key.Nth = *count
	d.ops = append(d.ops, NamedOp{
		OpName: key, Index: t.idx, Cell: c.id, Object: c.o.c.id, Write: opInfo[k].write, Free: k == OpFree,
		Announced: t.pendCell == c && t.pend == k, Pending: pending,
	})
}

// ended names what every task was about to do when the run was ended. Sim only.
//
//go:norace
func (d *order) ended(s *sim) {
	if !d.naming {
		return
	}
	for _, t := range s.all {
		if t.exited || t.pendCell == nil || t.pend == OpSchedule || t.pend == OpWait || t == s.cur && !s.fresh {
			continue
		}
		if t.ri == 0 && t.pend != OpLock && t.pend != OpMutexLock {
			continue // it sleeps: what it announced last has happened
		}
		d.name(t, t.pend, t.pendCell, place(t.pend, t.pendCell, t.pendBit), true)
	}
}

// holds reports whether t's operation must wait for one that has not happened.
//
//go:norace
func (d *order) holds(t *Task, k OpKind, c *cell, bit int) bool {
	if c == nil || d.kinds>>k&1 == 0 {
		return false
	}
	at := ""
	for b, then := range d.then {
		o := &d.tally[then]
		if o.Op != k || d.met[b] != undecided || d.tally[d.first[b]].done || o.n+1 != o.Nth {
			continue
		}
		if at == "" {
			at = place(k, c, bit)
		}
		if o.matches(t, k, at) {
			return true
		}
	}
	return false
}

// Held reports whether Options.Order asks the task to wait with its next operation. For choosers.
//
//go:norace
func (t *Task) Held() bool {
	d := t.m.order
	return d != nil && len(d.before) > 0 && d.holds(t, t.pend, t.pendCell, t.pendBit)
}

// unmet lists the constraints that were broken.
//
//go:norace
func (d *order) unmet() []Before {
	var out []Before
	for i, v := range d.met {
		if v == broken {
			out = append(out, d.before[i])
		}
	}
	return out
}

// A held task of the free back end looks every holdStep, and holdLooks times at least.
const (
	holdStep  = 50 * time.Microsecond
	holdLooks = 20
)

// await holds the running task of the free back end back while its next operation must wait, up to the limit. On a machine
// that is busy with something else a task may sleep through all of it, so it looks a few times however late it is.
//
//go:norace
func (d *order) await(t *Task, k OpKind, c *cell, bit int, dying *atomic.Bool) {
	d.settle(t)
	if t == nil || d.kinds>>k&1 == 0 {
		return
	}
	limit := time.Duration(d.m.opt.Hold) * time.Millisecond
	if limit == 0 {
		limit = 50 * time.Millisecond
	}
	end := time.Now().Add(limit)
	for looks := 0; !dying.Load(); looks++ {
		d.g.lock(d.m)
		held := d.holds(t, k, c, bit)
		d.g.unlock(d.m)
		if !held || looks >= holdLooks && time.Now().After(end) {
			return
		}
		time.Sleep(holdStep)
	}
}

// settle says that what t announced last has happened: it goes on. Free back end only.
//
//go:norace
func (d *order) settle(t *Task) {
	if t == nil || len(t.doing) == 0 {
		return
	}
	d.g.lock(d.m)
	for _, i := range t.doing {
		d.tally[i].done = true
	}
	d.g.unlock(d.m)
	t.doing = t.doing[:0]
}

// ordered is what a run's constraints and names come to.
//
//go:norace
func (d *order) ordered(r *Result) {
	if d == nil {
		return
	}
	d.g.lock(d.m)
	r.Unmet, r.Ops = d.unmet(), slices.Clip(d.ops)
	d.g.unlock(d.m)
}
