// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"runtime"
	"unsafe"
)

// What follows is the only way in which a primitive says what it orders. In a race build Go's detector is told; in a
// sim run with Options.Detect the machine's own detector is. Each primitive promises exactly these edges, so that a
// schedule of the sim back end orders nothing by itself.

// acquire orders the running task behind all that was published at c.
//
//go:norace
func (c *cell) acquire() {
	raceAcquire(unsafe.Pointer(c))
	if d := c.o.m.detector; d != nil {
		d.acquire(c)
	}
}

// release publishes at c what the running task has done, in the place of what was published before.
//
//go:norace
func (c *cell) release() {
	raceRelease(unsafe.Pointer(c))
	if d := c.o.m.detector; d != nil {
		d.release(c)
	}
}

// merge publishes at c what the running task has done, beside what was published before.
//
//go:norace
func (c *cell) merge() {
	raceReleaseMerge(unsafe.Pointer(c))
	if d := c.o.m.detector; d != nil {
		d.merge(c)
	}
}

// acquireAtomic and mergeAtomic are acquire and merge of an atomic cell. On the free back end that is a word of
// sync/atomic, which Go's detector knows.
//
//go:norace
func (c *cell) acquireAtomic() {
	if raceEnabled && c.o.m.sim == nil {
		return
	}
	c.acquire()
}

//go:norace
func (c *cell) mergeAtomic() {
	if raceEnabled && c.o.m.sim == nil {
		return
	}
	c.merge()
}

// plainRead and plainWrite say that the running task reads or writes, by an operation of kind k, memory that nothing
// but the order of the program protects.
//
//go:norace
func (c *cell) plainRead(k OpKind) {
	raceRead(unsafe.Pointer(c))
	if d := c.o.m.detector; d != nil {
		d.read(c, k)
	}
}

//go:norace
func (c *cell) plainWrite(k OpKind) {
	raceWrite(unsafe.Pointer(c))
	if d := c.o.m.detector; d != nil {
		d.write(c, k)
	}
}

// detector finds data races in the order that the primitives promise, whatever order the schedule happened to have: two
// accesses of a plain cell, one of them a write, with no chain of edges between them. It keeps a vector clock for each
// task and for what was published at each cell, and for each plain cell the last write and the reads since
// (Flanagan and Freund, "FastTrack: efficient and precise dynamic race detection", PLDI 2009; the reads are kept one
// for each task where FastTrack keeps one epoch as long as it can).
type detector struct {
	m       *Machine
	clocks  []clock // by actor: 0 is the passing of time, i+1 is task i
	shadows []shadow
}

// clock is a vector clock by actor. What is missing at its end is 0.
type clock []uint32

// shadow is what the detector keeps of one cell.
type shadow struct {
	c         *cell
	published clock
	write     touch
	reads     []touch // since the write, at most one for each actor
}

// touch is an access: the actor, its own time, and where in the port it happened.
type touch struct {
	actor int32 // none if at is 0
	op    OpKind
	at    uint32
	step  int
	pcs   [touchDepth]uintptr
}

// touchDepth is how many calls are kept of a touch, those of the floor included.
const touchDepth = 10

// detect makes the machine's detector ready for a run, or switches it off. A detector that is made for one run serves
// all that follow.
//
//go:norace
func (m *Machine) detect() {
	switch {
	case !m.opt.Detect || m.sim == nil:
		m.detector = nil
		return
	case m.sim.detector == nil:
		m.sim.detector = &detector{m: m}
	}
	m.detector = m.sim.detector
	d := m.detector
	for i := range d.clocks {
		d.clocks[i] = d.clocks[i][:0]
	}
	d.shadows = d.shadows[:0]
}

// shadow returns what is kept of c. The pointer holds until the next call.
//
//go:norace
func (d *detector) shadow(c *cell) *shadow {
	if i := int(c.shadow); i > 0 && i <= len(d.shadows) && d.shadows[i-1].c == c {
		return &d.shadows[i-1]
	}
	if n := len(d.shadows); n < cap(d.shadows) {
		d.shadows = d.shadows[:n+1]
	} else {
		d.shadows = append(d.shadows, shadow{})
	}
	s := &d.shadows[len(d.shadows)-1]
	c.shadow = int32(len(d.shadows))
	s.c, s.published, s.reads = c, s.published[:0], s.reads[:0]
	s.write.at = 0
	return s
}

// actor is who runs, with its clock.
//
//go:norace
func (d *detector) actor() (int, *clock) {
	i := 0
	if t := d.m.sim.cur; t != nil {
		i = t.idx + 1
	}
	return i, d.clock(i)
}

// clock returns the clock of actor i. The pointer holds until the next call.
//
//go:norace
func (d *detector) clock(i int) *clock {
	for i >= len(d.clocks) {
		d.clocks = append(d.clocks, nil)
	}
	k := &d.clocks[i]
	if len(*k) <= i {
		k.grow(i + 1)
		(*k)[i] = 1
	}
	return k
}

//go:norace
func (k *clock) grow(n int) {
	for len(*k) < n {
		*k = append(*k, 0)
	}
}

// join makes k the later of both, actor by actor.
//
//go:norace
func (k *clock) join(o clock) {
	k.grow(len(o))
	x := *k
	for i, at := range o {
		if x[i] < at {
			x[i] = at
		}
	}
}

//go:norace
func (k clock) of(actor int32) uint32 {
	if int(actor) < len(k) {
		return k[actor]
	}
	return 0
}

//go:norace
func (d *detector) acquire(c *cell) {
	_, k := d.actor()
	k.join(d.shadow(c).published)
}

//go:norace
func (d *detector) release(c *cell) {
	s := d.shadow(c)
	s.published = s.published[:0]
	d.merge(c)
}

//go:norace
func (d *detector) merge(c *cell) {
	i, k := d.actor()
	d.shadow(c).published.join(*k)
	(*k)[i]++
}

// idle orders all that has been done before all that is done once time has passed.
//
//go:norace
func (d *detector) idle() {
	world := *d.clock(0)
	for i := 1; i < len(d.clocks); i++ {
		if k := d.clocks[i]; len(k) > i {
			world.join(k)
			k[i]++
		}
	}
	d.clocks[0] = world
}

// resumed orders t behind the last passing of time.
//
//go:norace
func (d *detector) resumed(t *Task) {
	d.clock(t.idx + 1).join(*d.clock(0))
}

// snapshot is what a release of the running task would publish now.
//
//go:norace
func (d *detector) snapshot() clock {
	i, k := d.actor()
	var out clock
	out.join(*k)
	(*k)[i]++
	return out
}

// publish is a merge of what was snapshot before.
//
//go:norace
func (d *detector) publish(c *cell, order clock) { d.shadow(c).published.join(order) }

//go:norace
func (d *detector) read(c *cell, k OpKind) {
	i, now := d.actor()
	s, at := d.shadow(c), (*now)[i]
	mine := -1
	for j := range s.reads {
		if s.reads[j].actor == int32(i) {
			mine = j
		}
	}
	if mine >= 0 && s.reads[mine].at == at {
		return // nothing has been published since: whoever races with this one races with that one
	}
	if mine < 0 {
		mine = len(s.reads)
		if mine < cap(s.reads) {
			s.reads = s.reads[:mine+1]
		} else {
			s.reads = append(s.reads, touch{})
		}
	}
	r := &s.reads[mine]
	d.here(r, i, k, at)
	if w := &s.write; w.at > now.of(w.actor) {
		d.race(c, w, r)
	}
}

//go:norace
func (d *detector) write(c *cell, k OpKind) {
	i, now := d.actor()
	s, at := d.shadow(c), (*now)[i]
	if s.write.at == at && s.write.actor == int32(i) && len(s.reads) == 0 {
		return
	}
	var w touch
	d.here(&w, i, k, at)
	if old := &s.write; old.at > now.of(old.actor) {
		d.race(c, old, &w)
	}
	for j := range s.reads {
		if r := &s.reads[j]; r.at > now.of(r.actor) {
			d.race(c, r, &w)
		}
	}
	s.write, s.reads = w, s.reads[:0]
}

// here fills x with the present access.
//
//go:norace
func (d *detector) here(x *touch, actor int, k OpKind, at uint32) {
	x.actor, x.op, x.at, x.step = int32(actor), k, at, d.m.sim.steps
	const floor = 4 // Callers, here, read or write, plainRead or plainWrite
	n := runtime.Callers(floor, x.pcs[:])
	for ; n < touchDepth; n++ {
		x.pcs[n] = 0
	}
}

// race reports two accesses of c that nothing orders, once a run for each title. It is not fatal: what comes of the
// race may be worse and is reported, too.
//
//go:norace
func (d *detector) race(c *cell, first, second *touch) {
	title := raceTitle(c, first, second)
	if !d.m.firstTime("data race: " + title) {
		return
	}
	text := fmt.Sprintf("Nothing orders these two accesses of %s's %s:\n%s%s",
		c.o.Name(), c.name, d.describe(first), d.describe(second))
	stack := second.stack()
	d.m.Report(&Finding{
		Oracle: "data-race", Title: title, Text: text, Stack: stack, Func: targetFunc(stack), Symmetric: true,
	})
}

// raceTitle names a race in words that do not depend on who came first.
//
//go:norace
func raceTitle(c *cell, a, b *touch) string {
	opA, opB, inA, inB := a.op.String(), b.op.String(), a.site(), b.site()
	if opB < opA || opB == opA && inB < inA {
		opA, opB, inA, inB = opB, opA, inB, inA
	}
	return fmt.Sprintf("%s and %s of %s, in %s and %s", opA, opB, c.name, inA, inB)
}

//go:norace
func (x *touch) stack() []Frame { return frames(known(x.pcs[:])) }

// site is the function in which the access is: the innermost of the port, else of whoever called the floor.
//
//go:norace
func (x *touch) site() string {
	stack := x.stack()
	if fn := targetFunc(stack); fn != "" || len(stack) == 0 {
		return fn
	}
	return stack[0].Func
}

// describe gives who accessed the cell, when, how and from where.
//
//go:norace
func (d *detector) describe(x *touch) string {
	who := "the clock"
	if x.actor > 0 {
		who = d.m.sim.all[x.actor-1].name
	}
	out := fmt.Sprintf("  %s by %s, after step %d\n", x.op, who, x.step)
	for _, f := range x.stack() {
		out += fmt.Sprintf("    %s (%s:%d)\n", f.Func, f.File, f.Line)
	}
	return out
}
