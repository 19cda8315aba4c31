// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"runtime"
	"strings"
)

// Event is one visible operation as a person reads it.
type Event struct {
	Step int
	Task string
	Op   OpKind
	Cell string // the object's cell
	Obj  string // the object
	Text string // "clear_bit RQ_BUSY"
	File string // "sunrpc/svc_xprt.go"
	Line int
	Func string
	Now  Jiffies
	// State is what Options.Snapshot says of the object, once the operation has been performed.
	State string
	// Wakes names the tasks that the operation made runnable: sleepers that it woke, tasks that it made. Sim only.
	Wakes []string
	// Finding is set on the event that an oracle fired at.
	Finding *Finding
}

// recorder keeps readable events. It exists only in runs that ask for it: a fast run keeps the hash.
type recorder struct {
	m      *Machine
	g      guard
	events []Event

	owners map[*Obj]any // the structure around each object, with Options.Snapshot
	due    any          // whose state is still to be taken, of the event noted last: it is noted before it is done
}

// owns says which structure embeds o. A snapshot reads memory that belongs to others: on the free back end and under
// the race detector it would be a race of its own, and none is taken.
//
//go:norace
func (r *recorder) owns(o *Obj, p any) {
	if r.m.opt.Snapshot == nil || r.m.sim == nil || raceEnabled {
		return
	}
	if r.owners == nil {
		r.owners = map[*Obj]any{}
	}
	r.owners[o] = p
}

// settle takes the snapshot of what the event noted last has touched.
//
//go:norace
func (r *recorder) settle() {
	if r.due == nil {
		return
	}
	of := r.due
	r.due = nil
	r.events[len(r.events)-1].State = r.m.opt.Snapshot(of)
}

// woke notes that the running operation made t runnable.
//
//go:norace
func (r *recorder) woke(t *Task) {
	if n := len(r.events); n > 0 && r.m.b.here() != nil {
		e := &r.events[n-1]
		e.Wakes = append(e.Wakes, t.Name())
	}
}

//go:norace
func (r *recorder) add(t *Task, k OpKind, c *cell, step int) {
	r.settle()
	e := Event{Step: step, Op: k, Now: r.m.b.now()}
	if t != nil {
		e.Task = t.Name()
	}
	if c != nil {
		e.Cell = c.label()
		e.Obj = c.o.Name()
		e.Text = k.String() + " " + e.Cell
	} else {
		e.Text = k.String()
	}
	var pcs [24]uintptr
	n := runtime.Callers(3, pcs[:])
	if f := frames(pcs[:n]); len(f) > 0 {
		e.File, e.Line, e.Func = f[0].File, f[0].Line, f[0].Func
	}
	r.g.lock(r.m)
	r.events = append(r.events, e)
	r.g.unlock(r.m)
	if c != nil && r.owners != nil {
		r.due = r.owners[c.o]
	}
}

// text replaces the words of the event noted last by the running task.
//
//go:norace
func (r *recorder) text(format string, args ...any) {
	t := r.m.b.here()
	r.g.lock(r.m)
	defer r.g.unlock(r.m)
	for i := len(r.events) - 1; i >= 0; i-- {
		if t == nil || r.events[i].Task == t.Name() {
			r.events[i].Text = fmt.Sprintf(format, args...)
			return
		}
	}
}

// decided notes a decision that was not the ordinary one.
//
//go:norace
func (r *recorder) decided(t *Task, d *Decided) {
	e := Event{Step: d.Step, Op: OpFault, Now: r.m.b.now(), Text: fmt.Sprintf("decided: %s %s", d.Kind, d.Site)}
	if t != nil {
		e.Task = t.Name()
	}
	r.events = append(r.events, e) // sim only: nobody else is here
}

// printk notes a line of the kernel log.
//
//go:norace
func (r *recorder) printk(t *Task, line string) {
	step := 0
	if s := r.m.sim; s != nil {
		step = s.steps
	}
	r.add(t, OpPrintk, &r.m.static.c, step)
	r.text("%s", line)
}

// finding marks the place where an oracle fired.
//
//go:norace
func (r *recorder) finding(f *Finding) {
	r.settle()
	e := Event{Step: f.Step, Task: f.Task, Op: OpOops, Text: f.Title, Finding: f, Now: r.m.b.now()}
	if len(f.Stack) > 0 {
		e.File, e.Line, e.Func = f.Stack[0].File, f.Stack[0].Line, f.Stack[0].Func
	}
	r.g.lock(r.m)
	r.events = append(r.events, e)
	r.g.unlock(r.m)
}

// oops notes the operation that never completed because it met a bad pointer.
//
//go:norace
func (r *recorder) oops(t *Task, text string, stack []Frame) {
	r.settle()
	e := Event{Step: -1, Task: t.Name(), Op: OpOops, Text: text, Now: r.m.b.now()}
	if r.m.sim != nil {
		e.Step = r.m.sim.steps + 1
	}
	if len(stack) > 0 {
		e.File, e.Line, e.Func = stack[0].File, stack[0].Line, stack[0].Func
	}
	r.g.lock(r.m)
	r.events = append(r.events, e)
	r.g.unlock(r.m)
}

// At is the call of the port, or of the harness, in which c.Cur is about to perform its operation; an empty one if the
// floor itself performs it, as when a task starts. It costs a walk over the stack, and can be asked within Pick only.
// ok is false without a Cur, and in race builds, where the choice is not made on the stack of the task.
//
//go:norace
func (c *Choice) At() (at Frame, ok bool) {
	if c.Cur == nil || raceEnabled {
		return at, false
	}
	var pcs [48]uintptr
	n := runtime.Callers(2, pcs[:])
	it := runtime.CallersFrames(pcs[:n])
	below := false // the floor, which asked the chooser
	for {
		f, more := it.Next()
		name, ours := strings.CutPrefix(f.Function, modulePath)
		switch {
		case ours && inFloor(name, f.File):
			below = true
		case ours && below:
			return Frame{Func: shortFunc(name), File: shortFile(f.File), Line: f.Line}, true
		}
		if !more {
			return at, true
		}
	}
}
