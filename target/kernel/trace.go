// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"runtime"
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
	// Finding is set on the event that an oracle fired at.
	Finding *Finding
}

// recorder keeps readable events. It exists only in runs that ask for it: a fast run keeps the hash.
type recorder struct {
	m      *Machine
	g      guard
	events []Event
}

//go:norace
func (r *recorder) add(t *Task, k OpKind, c *cell, step int) {
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
