// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"
)

// cell is one shared place: what a visible operation operates on. It belongs to an object, and an operation
// on a cell of a freed object is a use after free.
type cell struct {
	_ [0]func() // nobody compares two of them, and without this mark the compiler writes how

	o    *Obj
	name string
	id   uint64 // the same in every interleaving that made the object by the same operations
	hw   uint64 // sim: history of the last write
	hr   uint64 // sim: sum of the histories of the reads since
	by   int32  // sim: index+1 of the only task that has operated on it, several for more than one

	shadow int32 // Options.Detect: index+1 of what the detector keeps of it
}

//go:norace
func (c *cell) init(o *Obj, name string) {
	o.cells++
	*c = cell{o: o, name: name, id: o.id + o.cells*cellStride}
}

// label is how a trace names the cell: "rq_flags", or "lockd.state" for a task's own.
//
//go:norace
func (c *cell) label() string { return c.name }

// visible is the life of every visible operation: a preemption point, the check that the object still
// lives, and the note in the trace. It returns the running task (nil only outside any task).
//
//go:norace
func (c *cell) visible(k OpKind, aux uint64) *Task {
	m := c.o.m
	if s := m.sim; s != nil { // the same without the seam, for the most frequent call of all
		t := s.point(k, c)
		if c.o.dead {
			m.useAfterFree(t, k, c)
		}
		s.note(t, k, c, aux)
		return t
	}
	t := m.b.point(k, c)
	if c.o.dead {
		m.useAfterFree(t, k, c)
	}
	m.b.note(t, k, c, aux)
	return t
}

// Var is a plain cell: a field that C loads and stores without a lock or an atomic. T is a pointer, an
// integer or a bool, never an interface. Under the race detector two unordered accesses are a data race.
type Var[T comparable] struct {
	c cell
	v T
}

// Init binds the cell to its object and names it as C does.
//
//go:norace
func (v *Var[T]) Init(o *Obj, name string) { v.c.init(o, name) }

// Load reads the cell. Any context. C: a plain read.
//
//go:norace
func (v *Var[T]) Load() T {
	t := v.c.visible(OpLoad, 0)
	v.c.plainRead(OpLoad)
	x := v.forward(t, v.v)
	if v.c.o.m.rec != nil {
		v.c.tell("->", x)
	}
	return x
}

// Store writes the cell. Any context. C: a plain assignment.
//
//go:norace
func (v *Var[T]) Store(x T) {
	if v.c.o.m.tso && v.c.storeLate(OpStore, v, x) {
		return
	}
	v.c.visible(OpStore, 0)
	v.c.plainWrite(OpStore)
	v.v = x
	if v.c.o.m.rec != nil {
		v.c.tell("=", x)
	}
}

// tell puts into words that x was read or written.
//
//go:norace
func (c *cell) tell(how string, x any) {
	c.o.m.rec.text("%s %s %s", c.label(), how, describe(x))
}

// Preset sets the first value of a cell that nobody else can see yet: no visible operation.
//
//go:norace
func (v *Var[T]) Preset(x T) { v.v = x }

// Peek reads the cell without a visible operation, for oracles and reports.
//
//go:norace
func (v *Var[T]) Peek() T { return v.v }

// describe spells a value for a person.
//
//go:norace
func describe(x any) string {
	switch x := x.(type) {
	case *Task:
		if x == nil {
			return "NULL"
		}
		return x.Name()
	case interface{ object() *Obj }:
		if isNil(x) {
			return "NULL"
		}
		return x.object().Name()
	}
	if s := fmt.Sprintf("%v", x); s != "<nil>" {
		return s
	}
	return "NULL"
}

// isNil reports whether the interface x holds a nil pointer.
//
//go:norace
func isNil(x any) bool { return (*[2]uintptr)(unsafe.Pointer(&x))[1] == 0 }

// Atomic is an atomic_t: its read-modify-write operations are ordered against each other.
type Atomic struct {
	c cell
	v int64
}

// Init binds the counter to its object, with value 0.
//
//go:norace
func (a *Atomic) Init(o *Obj, name string) { a.c.init(o, name); a.v = 0 }

// Read is atomic_read. Any context.
//
//go:norace
func (a *Atomic) Read() int64 {
	t := a.c.visible(OpRead, 0)
	a.c.acquireAtomic()
	m := a.c.o.m
	v := a.v
	if m.sim == nil {
		v = atomic.LoadInt64(&a.v)
	}
	v = a.forward(t, v)
	if m.rec != nil {
		m.rec.text("%s -> %d", a.c.label(), v)
	}
	return v
}

// Set is atomic_set. Any context.
//
//go:norace
func (a *Atomic) Set(n int64) {
	if a.c.o.m.tso && a.c.storeLate(OpSet, a, n) {
		return
	}
	a.c.visible(OpSet, uint64(n))
	a.c.mergeAtomic()
	m := a.c.o.m
	if m.sim != nil {
		a.v = n
	} else {
		atomic.StoreInt64(&a.v, n)
	}
	if m.rec != nil {
		m.rec.text("%s = %d", a.c.label(), n)
	}
}

// AddReturn is atomic_add_return. Any context; a full barrier.
//
//go:norace
func (a *Atomic) AddReturn(n int64) int64 {
	a.c.visible(OpAdd, uint64(n))
	a.c.acquireAtomic()
	a.c.mergeAtomic()
	m := a.c.o.m
	var v int64
	if m.sim != nil {
		a.v += n
		v = a.v
	} else {
		v = atomic.AddInt64(&a.v, n)
	}
	if m.rec != nil {
		m.rec.text("%s %+d -> %d", a.c.label(), n, v)
	}
	return v
}

// Add is atomic_add.
//
//go:norace
func (a *Atomic) Add(n int64) {
	if !a.c.o.m.weak || !a.c.storeLate(OpAdd, a, lateAdd(n)) {
		a.AddReturn(n)
	}
}

// Sub is atomic_sub.
//
//go:norace
func (a *Atomic) Sub(n int64) { a.Add(-n) }

// Inc is atomic_inc.
//
//go:norace
func (a *Atomic) Inc() { a.Add(1) }

// Dec is atomic_dec.
//
//go:norace
func (a *Atomic) Dec() { a.Add(-1) }

// DecAndTest is atomic_dec_and_test: true when the counter reached 0.
//
//go:norace
func (a *Atomic) DecAndTest() bool { return a.AddReturn(-1) == 0 }

// decUnless takes one from the counter unless it is u, and tells what it was before. C: atomic_add_unless(v, -1, u).
//
//go:norace
func (a *Atomic) decUnless(u int64) (before int64, done bool) {
	a.c.visible(OpAdd, ^uint64(0))
	a.c.acquireAtomic()
	a.c.mergeAtomic()
	for {
		n := atomic.LoadInt64(&a.v)
		if n == u {
			return n, false
		}
		if atomic.CompareAndSwapInt64(&a.v, n, n-1) {
			if m := a.c.o.m; m.rec != nil {
				m.rec.text("%s -1 -> %d", a.c.label(), n-1)
			}
			return n, true
		}
	}
}

// DecAndLock is atomic_dec_and_lock: true when the counter reached 0, and then lock is held. Otherwise lock is not taken,
// or given back.
//
//go:norace
func (a *Atomic) DecAndLock(lock *Spinlock) bool {
	if _, done := a.decUnless(1); done {
		return false
	}
	lock.Lock()
	if a.DecAndTest() {
		return true
	}
	lock.Unlock()
	return false
}

// Preset sets the first value of a counter that nobody else can see yet: no visible operation.
//
//go:norace
func (a *Atomic) Preset(n int64) { a.v = n }

// Peek reads the counter without a visible operation, for oracles and reports.
//
//go:norace
func (a *Atomic) Peek() int64 { return atomic.LoadInt64(&a.v) }

// Flags is an unsigned long used with the bit operations. As on x86, set and clear publish what came before
// them, a test observes it, and the read-modify-write forms do both.
type Flags struct {
	c    cell
	v    uint64
	bits []string
}

// Init binds the word to its object; bits names the bits for traces, by number.
//
//go:norace
func (f *Flags) Init(o *Obj, name string, bits []string) {
	f.c.init(o, name)
	f.v, f.bits = 0, bits
}

// word, or and and work on the word with an atomic operation only where tasks run in parallel: in sim the race
// detector would take it for more order than the primitive promises. or and and return the old word.
//
//go:norace
func (f *Flags) word() uint64 {
	if f.c.o.m.sim != nil {
		return f.v
	}
	return atomic.LoadUint64(&f.v)
}

//go:norace
func (f *Flags) or(mask uint64) uint64 {
	if f.c.o.m.sim != nil {
		old := f.v
		f.v |= mask
		return old
	}
	return atomic.OrUint64(&f.v, mask)
}

//go:norace
func (f *Flags) and(mask uint64) uint64 {
	if f.c.o.m.sim != nil {
		old := f.v
		f.v &= mask
		return old
	}
	return atomic.AndUint64(&f.v, mask)
}

//go:norace
func (f *Flags) bit(n int) string {
	if n < len(f.bits) && f.bits[n] != "" {
		return f.bits[n]
	}
	return fmt.Sprintf("%s.%d", f.c.name, n)
}

//go:norace
func (f *Flags) say(what string, n int, was bool) {
	if m := f.c.o.m; m.rec != nil {
		if what == "set_bit" || what == "clear_bit" {
			m.rec.text("%s %s", what, f.bit(n))
		} else {
			m.rec.text("%s %s -> %t", what, f.bit(n), was)
		}
	}
}

// visible is [cell.visible] for an operation on bit n, which is part of the operation's name.
//
//go:norace
func (f *Flags) visible(k OpKind, n int) *Task {
	if m := f.c.o.m; m.order != nil {
		if t := m.b.here(); t != nil {
			t.pendBit = n
		}
	}
	return f.c.visible(k, uint64(n))
}

// SetBit is set_bit. Any context.
//
//go:norace
func (f *Flags) SetBit(n int) {
	if f.c.o.m.weak && f.c.storeLate(OpBitSet, f, lateSet(n)) {
		return
	}
	f.visible(OpBitSet, n)
	f.c.mergeAtomic()
	f.or(1 << n)
	f.say("set_bit", n, false)
}

// Preset sets a bit of a word that nobody else can see yet: no visible operation. C: __set_bit.
//
//go:norace
func (f *Flags) Preset(n int) { f.v |= 1 << n }

// ClearBit is clear_bit. Any context.
//
//go:norace
func (f *Flags) ClearBit(n int) {
	if f.c.o.m.weak && f.c.storeLate(OpBitClear, f, lateClear(n)) {
		return
	}
	f.visible(OpBitClear, n)
	f.c.mergeAtomic()
	f.and(^(uint64(1) << n))
	f.say("clear_bit", n, false)
}

// TestBit is test_bit. Any context.
//
//go:norace
func (f *Flags) TestBit(n int) bool {
	t := f.visible(OpBitTest, n)
	f.c.acquireAtomic()
	was := f.forward(t, f.word())>>n&1 != 0
	f.say("test_bit", n, was)
	return was
}

// TestAny reads the word once and reports whether any of the given bits is set. Any context.
//
//go:norace
func (f *Flags) TestAny(bits ...int) bool {
	t := f.c.visible(OpRead, 0)
	f.c.acquireAtomic()
	w, mask := f.forward(t, f.word()), uint64(0)
	for _, n := range bits {
		mask |= 1 << n
	}
	if m := f.c.o.m; m.rec != nil {
		var names []string
		for _, n := range bits {
			names = append(names, f.bit(n))
		}
		m.rec.text("%s & (%s) -> %t", f.c.label(), strings.Join(names, "|"), w&mask != 0)
	}
	return w&mask != 0
}

// TestAndSetBit is test_and_set_bit: the old value. Any context; a full barrier.
//
//go:norace
func (f *Flags) TestAndSetBit(n int) bool {
	f.visible(OpBitTAS, n)
	f.c.acquireAtomic()
	f.c.mergeAtomic()
	was := f.or(1<<n)>>n&1 != 0
	f.say("test_and_set_bit", n, was)
	return was
}

// TestAndClearBit is test_and_clear_bit: the old value. Any context; a full barrier.
//
//go:norace
func (f *Flags) TestAndClearBit(n int) bool {
	f.visible(OpBitTAC, n)
	f.c.acquireAtomic()
	f.c.mergeAtomic()
	was := f.and(^(uint64(1)<<n))>>n&1 != 0
	f.say("test_and_clear_bit", n, was)
	return was
}

// Peek reads a bit without a visible operation, for oracles and reports.
//
//go:norace
func (f *Flags) Peek(n int) bool { return atomic.LoadUint64(&f.v)>>n&1 != 0 }

// PeekNames lists the set bits without a visible operation, for reports.
//
//go:norace
func (f *Flags) PeekNames() []string {
	var names []string
	for n := range 64 {
		if f.Peek(n) {
			names = append(names, f.bit(n))
		}
	}
	return names
}

// Count is a counter for statistics only: it is not a visible operation and orders nothing. The zero value
// is ready. C: a plain ++ or a per-CPU counter.
type Count struct{ v atomic.Int64 }

// Inc adds one. Any context.
//
//go:norace
func (c *Count) Inc() { c.v.Add(1) }

// Add adds n. Any context.
//
//go:norace
func (c *Count) Add(n int64) { c.v.Add(n) }

// Peek is the count.
//
//go:norace
func (c *Count) Peek() int64 { return c.v.Load() }

// Kref is a reference counter that is born at 1. Taking a reference of a counter that is 0 and dropping one
// too many are findings; the counter saturates instead of wrapping.
type Kref struct {
	a Atomic
}

// krefSaturated is where the counter sticks, as refcount_t does.
const krefSaturated = 1 << 30

// Init binds the counter to its object, with value 1. C: kref_init.
//
//go:norace
func (k *Kref) Init(o *Obj, name string) {
	k.a.Init(o, name)
	k.a.v = 1
}

// Get takes a reference. The caller holds one. C: kref_get.
//
//go:norace
func (k *Kref) Get() {
	switch n := k.a.AddReturn(1); {
	case n <= 1:
		k.a.c.o.m.Report(&Finding{Oracle: "refcount", Title: k.a.c.name + " taken from zero", Fatal: true})
	case n >= krefSaturated:
		atomic.StoreInt64(&k.a.v, krefSaturated)
		k.a.c.o.m.Report(&Finding{Oracle: "refcount", Title: k.a.c.name + " saturated", Fatal: true})
	}
}

// GetUnlessZero takes a reference if there still is one. C: kref_get_unless_zero.
//
//go:norace
func (k *Kref) GetUnlessZero() bool {
	k.a.c.visible(OpAdd, 1)
	k.a.c.acquireAtomic()
	k.a.c.mergeAtomic()
	for {
		n := atomic.LoadInt64(&k.a.v)
		if n == 0 {
			return false
		}
		if atomic.CompareAndSwapInt64(&k.a.v, n, n+1) {
			return true
		}
	}
}

// Put drops a reference and calls release when it was the last. C: kref_put.
//
//go:norace
func (k *Kref) Put(release func()) bool {
	n := k.a.AddReturn(-1)
	if n < 0 {
		k.a.c.o.m.Report(&Finding{Oracle: "refcount", Title: k.a.c.name + " dropped below zero", Fatal: true})
	}
	if n != 0 {
		return false
	}
	if release != nil {
		release()
	}
	return true
}

// PutMutex drops a reference. The last one is dropped with mu held, and release has to let go of it: whoever holds mu
// and finds the object has a reference that counts. C: kref_put_mutex, include/linux/kref.h
//
//go:norace
func (k *Kref) PutMutex(cur *Task, mu *Mutex, release func()) bool {
	if k.putUnlessLast() {
		return false
	}
	mu.Lock(cur)
	if !k.Put(release) {
		mu.Unlock(cur)
		return false
	}
	return true
}

// PutLock is PutMutex with a spinlock. C: atomic_dec_and_lock, include/linux/spinlock.h
//
//go:norace
func (k *Kref) PutLock(lock *Spinlock, release func()) bool {
	if k.putUnlessLast() {
		return false
	}
	lock.Lock()
	if !k.Put(release) {
		lock.Unlock()
		return false
	}
	return true
}

// putUnlessLast drops a reference unless it is the last. C: atomic_add_unless(&kref.refcount, -1, 1).
//
//go:norace
func (k *Kref) putUnlessLast() bool {
	n, done := k.a.decUnless(1)
	if done && n < 1 {
		k.a.c.o.m.Report(&Finding{Oracle: "refcount", Title: k.a.c.name + " dropped below zero", Fatal: true})
	}
	return done
}

// Read is the count, as a visible operation. C: atomic_read(&kref.refcount).
//
//go:norace
func (k *Kref) Read() int64 { return k.a.Read() }

// Peek reads the counter without a visible operation, for oracles and reports.
//
//go:norace
func (k *Kref) Peek() int64 { return k.a.Peek() }
