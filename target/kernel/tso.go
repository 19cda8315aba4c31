// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"runtime"
)

// With Options.TSO a plain store does not reach memory at once: it waits in a buffer of its task, as on x86 (Owens,
// Sarkar and Sewell, "A better x86 memory model: x86-TSO", TPHOLs 2009). Each task counts as a processor of its own.
//
//   - Var.Store, Atomic.Set, SetCurrentStateRelaxed, the links of a locked list and the store with which a spinlock is
//     given back wait. The task's own loads see what it has stored (forwarding); those of others see memory. Of a list
//     that is whether it is empty: whoever looks inside holds its lock, which comes after the links.
//   - A task "NAME/store buffer" can run whenever the buffer of NAME is not empty. Its step writes the oldest store, so
//     that the delay of each store is a choice like any other, and no time passes before all have arrived.
//   - SmpMb, locked instructions, taking a lock, wake-ups, schedule and everything else that is not in plainOps empty the
//     buffer of their task as part of their own step. SmpWmb and SmpRmb order nothing that x86 would not keep in order
//     anyhow.
//   - With Options.WeakAtomics set_bit, clear_bit and the atomics without a result wait as well: the kernel's own rules
//     (Documentation/atomic_bitops.txt, atomic_t.txt) order them no more than a plain store, and arm64 makes use of it.
//   - The end of a grace period empties the buffers of all tasks: every processor has passed a barrier by then.
//   - mutex_unlock and the forms of list_add and list_del for RCU are among them, which for the second is stronger than
//     the hardware.

// storeBuffer holds what a task has stored and memory has not seen, the oldest first.
type storeBuffer struct {
	owner, flusher *Task
	c              cell // what goes in comes out later
	late           []lateStore
}

// lateStore is one store on its way.
type lateStore struct {
	k     OpKind
	c     *cell
	to    memory
	x     any
	order clock // Options.Detect: what a release publishes when it arrives
	pcs   [touchDepth]uintptr
}

// memory is the place behind a cell that can be stored to late.
type memory interface {
	// arrive performs the store x.
	arrive(x any)
	// spell puts it into words.
	spell(x any) string
}

// What a late store is if not the new value: atomic_add, set_bit and clear_bit.
type (
	lateAdd   int64
	lateSet   int
	lateClear int
)

//go:norace
func (v *Var[T]) arrive(x any) { v.v = x.(T) }

//go:norace
func (v *Var[T]) spell(x any) string { return v.c.label() + " = " + describe(x) }

//go:norace
func (a *Atomic) arrive(x any) { a.v = stored(a.v, x) }

//go:norace
func (a *Atomic) spell(x any) string {
	if n, ok := x.(lateAdd); ok {
		return fmt.Sprintf("%s %+d", a.c.label(), n)
	}
	return fmt.Sprintf("%s = %d", a.c.label(), x)
}

// stored is what becomes of a counter by the store x.
//
//go:norace
func stored(v int64, x any) int64 {
	if n, ok := x.(lateAdd); ok {
		return v + int64(n)
	}
	return x.(int64)
}

//go:norace
func (f *Flags) arrive(x any) { f.v = flagged(f.v, x) }

//go:norace
func (f *Flags) spell(x any) string {
	if n, ok := x.(lateSet); ok {
		return "set_bit " + f.bit(int(n))
	}
	return "clear_bit " + f.bit(int(x.(lateClear)))
}

// flagged is what becomes of a word by the store x.
//
//go:norace
func flagged(w uint64, x any) uint64 {
	if n, ok := x.(lateSet); ok {
		return w | 1<<n
	}
	return w &^ (1 << x.(lateClear))
}

// arrive opens the lock. What its holder has done it has published already: nobody else can take the lock before.
//
//go:norace
func (l *rawLock) arrive(any) { l.c.o.m.sim.open(l) }

//go:norace
func (l *rawLock) spell(any) string { return "spin_unlock " + l.c.label() }

// arrive lets others see whether the list is empty.
//
//go:norace
func (l *listHead) arrive(x any) { l.late--; l.seenEmpty = x.(bool) }

//go:norace
func (l *listHead) spell(x any) string {
	if x.(bool) {
		return l.c.label() + " is empty"
	}
	return l.c.label() + " is not empty"
}

// emptyTo is what t sees when it looks whether the list is empty, without the lock.
//
//go:norace
func (l *listHead) emptyTo(t *Task) bool {
	if t.stores.holds(&l.c) {
		return l.front == nil
	}
	return l.seenEmpty
}

// holds reports whether a store to c is in the buffer.
//
//go:norace
func (b *storeBuffer) holds(c *cell) bool {
	if b == nil {
		return false
	}
	for i := range b.late {
		if b.late[i].c == c {
			return true
		}
	}
	return false
}

//go:norace
func (t *Task) arrive(x any) { t.become(x.(TaskState)) }

//go:norace
func (t *Task) spell(x any) string { return "state = " + x.(TaskState).String() }

// plainOps are the operations that leave the store buffer alone: loads, plain stores, and what has no locked
// instruction inside.
const plainOps = 1<<OpLoad | 1<<OpStore | 1<<OpRead | 1<<OpSet | 1<<OpBitTest | 1<<OpListRead | 1<<OpShouldStop |
	1<<OpYield | 1<<OpRcuLock | 1<<OpRcuUnlock | 1<<OpAlloc | 1<<OpFault | 1<<OpPrintk | 1<<OpBuffer

// signalPending tells the signal_pending of a task, a plain load, from the other operations on signals.
const signalPending = 1 << 16

// storeLate puts a store into the buffer of the running task. It reports false where stores are seen at once.
//
//go:norace
func (c *cell) storeLate(k OpKind, to memory, x any) bool {
	m := c.o.m
	t := m.sim.cur
	if t == nil {
		return false
	}
	t.lateOp(c.id)
	if k == OpStore {
		c.plainWrite(k)
	}
	t.stores.add(k, c, to, x)
	return true
}

// lateOp is the visible operation of a task that will add a store to its buffer. aux tells apart what it stores to.
//
//go:norace
func (t *Task) lateOp(aux uint64) {
	if t.stores == nil {
		t.stores = &storeBuffer{owner: t}
		t.stores.c.init(&t.o, t.name+"/store buffer")
	}
	t.stores.c.visible(OpBuffer, aux)
}

// add puts a store into the buffer.
//
//go:norace
func (b *storeBuffer) add(k OpKind, c *cell, to memory, x any) {
	m := c.o.m
	e := lateStore{k: k, c: c, to: to, x: x}
	if m.rec != nil || underLock>>k&1 == 0 {
		runtime.Callers(2, e.pcs[:])
	}
	if m.detector != nil && publishes>>k&1 != 0 {
		e.order = m.detector.snapshot()
	}
	if m.rec != nil && k != OpListAdd && k != OpListDel { // those have said more than what others will see
		m.rec.text("%s, to the store buffer", to.spell(x))
	}
	b.late = append(b.late, e)
	if len(b.late) == 1 {
		b.wake()
	}
}

// underLock are the stores of whoever holds a lock. Their object outlives them, so nobody asks where they come from.
const underLock = 1<<OpUnlock | 1<<OpListAdd | 1<<OpListDel

// publishes are the stores that publish, when they arrive, what their task had done before.
const publishes = 1<<OpSet | 1<<OpAdd | 1<<OpBitSet | 1<<OpBitClear

// bit is which bit of a word is set or cleared, 0 for other stores.
//
//go:norace
func (e *lateStore) bit() int {
	switch n := e.x.(type) {
	case lateSet:
		return int(n)
	case lateClear:
		return int(n)
	}
	return 0
}

// wake lets the flusher run. It is made with the first store.
//
//go:norace
func (b *storeBuffer) wake() {
	m := b.owner.m
	if b.flusher == nil {
		b.flusher = m.newTaskAt(mix(b.c.id), b.c.name, ctxSoftirq)
		b.flusher.run = b.serve
	}
	b.flusher.exited = false
	b.announce()
	m.sim.ready(b.flusher)
}

// announce says what the flusher will do next.
//
//go:norace
func (b *storeBuffer) announce() {
	f, e := b.flusher, &b.late[0]
	f.pend, f.pendCell, f.pendBit = e.k, e.c, e.bit()
}

// serve is the body of the flusher. Between two stores it counts as one that has ended: nobody need wait for it.
//
//go:norace
func (b *storeBuffer) serve() {
	s := b.owner.m.sim
	for {
		s.yield(b.flusher)
		e := b.late[0]
		b.late = removeAt(b.late, 0)
		if e.c.o.dead {
			b.lost(&e)
		}
		s.note(b.flusher, e.k, e.c, uint64(e.bit()))
		s.also(&b.c, true)
		b.arrived(&e)
		if len(b.late) > 0 {
			b.announce()
			continue
		}
		b.flusher.exited = true
		s.unready(b.flusher)
	}
}

// arrived lets memory see the store.
//
//go:norace
func (b *storeBuffer) arrived(e *lateStore) {
	m := b.owner.m
	e.to.arrive(e.x)
	if e.order != nil {
		m.detector.publish(e.c, e.order)
	}
	if m.rec != nil {
		m.rec.reword(e.to.spell(e.x)+" reaches memory", frames(known(e.pcs[:])))
	}
}

// fence empties the buffer of t unless an operation of kind k leaves it alone. It is part of the step of t.
//
//go:norace
func (b *storeBuffer) fence(t *Task, k OpKind, aux uint64) {
	if plainOps>>k&1 != 0 || len(b.late) == 0 || k == OpSignal && aux == signalPending {
		return
	}
	s := t.m.sim
	s.also(&b.c, true)
	for len(b.late) > 0 {
		e := b.late[0]
		b.late = removeAt(b.late, 0)
		if e.c.o.dead {
			b.lost(&e)
		}
		s.also(e.c, true)
		if t.m.rec != nil {
			t.m.rec.add(t, e.k, e.c, s.steps+1)
		}
		b.arrived(&e)
	}
	b.flusher.exited = true
	s.unready(b.flusher)
	s.barrier(t.idx) // who was about to flush cannot any more, and not for an operation of its own
}

// fenceAll empties all buffers: at the end of a grace period every processor has passed a full barrier.
//
//go:norace
func (s *sim) fenceAll() {
	for _, t := range s.all {
		if t.stores != nil {
			t.stores.fence(t, OpBarrier, 0)
		}
	}
}

// forward is what the task that reads v sees, of which memory holds x: its own last store, if that is on its way.
//
//go:norace
func (v *Var[T]) forward(t *Task, x T) T {
	if t == nil || t.stores == nil {
		return x
	}
	for i := range t.stores.late {
		if e := &t.stores.late[i]; e.c == &v.c {
			x = e.x.(T)
		}
	}
	return x
}

//go:norace
func (a *Atomic) forward(t *Task, x int64) int64 {
	if t == nil || t.stores == nil {
		return x
	}
	for i := range t.stores.late {
		if e := &t.stores.late[i]; e.c == &a.c {
			x = stored(x, e.x)
		}
	}
	return x
}

//go:norace
func (f *Flags) forward(t *Task, w uint64) uint64 {
	if t == nil || t.stores == nil {
		return w
	}
	for i := range t.stores.late {
		if e := &t.stores.late[i]; e.c == &f.c {
			w = flagged(w, e.x)
		}
	}
	return w
}

// lost reports a store that reaches memory when its object is gone.
//
//go:norace
func (b *storeBuffer) lost(e *lateStore) {
	m := b.owner.m
	m.sim.attempted(e.k, e.c)
	stack := []Frame{}
	if underLock>>e.k&1 == 0 { // else it is known in recorded runs only, and the title must be the same in all
		stack = frames(known(e.pcs[:]))
	}
	m.Report(&Finding{
		Oracle: "use-after-free",
		Title:  fmt.Sprintf("%s of %s in freed %s", e.k, e.c.name, e.c.o.class),
		Text: fmt.Sprintf("%s was freed by %s; the store of %s left the store buffer after that",
			e.c.o.Name(), e.c.o.freer, b.owner.name),
		Fatal: true,
		Stack: stack,
	})
}

// barrier is a full barrier of the running task.
//
//go:norace
func (m *Machine) barrier() {
	t := m.sim.cur
	if t == nil || t.stores == nil || len(t.stores.late) == 0 {
		return
	}
	t.stores.c.visible(OpBarrier, 0)
	if m.rec != nil {
		m.rec.text("smp_mb")
	}
}

// SetCurrentStateRelaxed sets the state of the running task without a barrier. C: __set_current_state.
//
//go:norace
func (t *Task) SetCurrentStateRelaxed(s TaskState) {
	if t.m.tso && t.c.storeLate(OpSetState, t, s) {
		return
	}
	t.c.visible(OpSetState, uint64(s)|stateRelaxed)
	if t.m.rec != nil {
		t.m.rec.text("state = %s, no barrier", s)
	}
	t.g.lock(t.m)
	t.state = s
	t.g.unlock(t.m)
}

// stateRelaxed tells __set_current_state from set_current_state.
const stateRelaxed = 1 << 8

// known cuts off the end of a stack that was not as deep as there was room for.
//
//go:norace
func known(pcs []uintptr) []uintptr {
	n := 0
	for n < len(pcs) && pcs[n] != 0 {
		n++
	}
	return pcs[:n]
}

// reword gives the event noted last its words, and the place in the port that it is due to.
//
//go:norace
func (r *recorder) reword(text string, stack []Frame) {
	r.g.lock(r.m)
	if n := len(r.events); n > 0 {
		e := &r.events[n-1]
		e.Text = text
		if len(stack) > 0 {
			e.File, e.Line, e.Func = stack[0].File, stack[0].Line, stack[0].Func
		}
	}
	r.g.unlock(r.m)
}
