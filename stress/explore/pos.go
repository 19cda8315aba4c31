// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// POS is partial order sampling (Yuan, Yang and Gu, CAV 2018): every pending operation, not every task, has a random
// priority; the highest goes first. When an operation is performed, those that it races with (the same cell, and one
// of the two writes it) draw anew. It has no parameter, needs no estimate of a run's length, and comes close to giving
// every order of racing operations the same chance.
type POS struct {
	Faults
	r       rng
	line    queue
	pending cellIndex
	first   cellMap[int32] // index+1 of the task that is the first to take a lock
	stale   []int32        // tasks that draw anew before the next choice
	fresh   []bool         // by task index: its priority is that of its pending operation
}

// Seed starts the n-th schedule of the stream that seed names.
func (c *POS) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
	c.line.clear()
	c.pending.clear()
	c.first.clear()
	c.stale = c.stale[:0]
	clear(c.fresh)
}

// Pick implements kernel.Chooser.
func (c *POS) Pick(ch *kernel.Choice) *kernel.Task {
	t := c.best(ch)
	c.performed(t)
	return t
}

// best draws what is missing and returns the runnable task whose operation has the highest priority. A task of Changed
// has another pending operation, or one that raced with what stopped it or let it go on.
func (c *POS) best(ch *kernel.Choice) *kernel.Task {
	for _, t := range ch.Changed {
		c.forget(t)
	}
	if t := ch.Last; t != nil {
		c.forget(t)
		c.update(t)
	}
	for _, t := range ch.Changed {
		c.update(t)
	}
	for _, i := range c.stale {
		c.update(c.line.task[i])
	}
	c.stale = c.stale[:0]
	return c.line.top()
}

// forget drops the priority of what t was about to do.
func (c *POS) forget(t *kernel.Task) {
	i := t.Index()
	for len(c.fresh) <= i {
		c.fresh = append(c.fresh, false)
	}
	c.fresh[i] = false
}

// update gives the pending operation of t a priority, if t can go on and the operation has none.
func (c *POS) update(t *kernel.Task) {
	i := t.Index()
	if c.fresh[i] || !t.Runnable() {
		return
	}
	c.fresh[i] = true
	prio := c.r.p.Uint64()
	k, cell := t.Pending()
	if k != kernel.OpLock && k != kernel.OpMutexLock {
		c.pending.set(i, cell, k.Writes())
		c.line.move(t, prio)
		return
	}
	// Whoever takes the lock stops all who are about to, and so they are among Changed then: nothing else races with
	// them before that, and of all of them only the first one need stand in line.
	c.pending.set(i, 0, false)
	first := c.first.at(cell)
	if n := *first; n > 0 && int(n-1) != i && c.leads(n-1, cell) && c.line.prio[n-1] > prio {
		c.line.aside(t, prio)
		return
	}
	*first = int32(i + 1)
	c.line.move(t, prio)
}

// leads reports whether task i is about to take the lock, with a priority drawn for that.
func (c *POS) leads(i int32, lock uint64) bool {
	t := c.line.task[i]
	k, cell := t.Pending()
	return c.fresh[i] && cell == lock && (k == kernel.OpLock || k == kernel.OpMutexLock) && t.Runnable()
}

// performed forgets the priority of what t performs now, and of all that races with it.
func (c *POS) performed(t *kernel.Task) {
	me := int32(t.Index())
	c.fresh[me] = false
	k, cell := t.Pending()
	if cell == 0 {
		return
	}
	ops := c.pending.ops
	for n := *c.pending.first.at(cell); n > 0; n = ops[n-1].next {
		i := n - 1
		if i != me && (ops[i].writes || k.Writes()) && c.fresh[i] && c.line.task[i].Runnable() {
			c.fresh[i] = false
			c.stale = append(c.stale, i)
		}
	}
}

// cellIndex knows for each cell which tasks are about to operate on it.
type cellIndex struct {
	ops   []pendingOp    // by task index
	first cellMap[int32] // index+1 of the first task of the cell's list, 0 if it is empty
}

// pendingOp is what one task is about to do.
type pendingOp struct {
	cell       uint64 // 0 if it is in no list
	next, prev int32  // index+1 of other tasks with the same cell, 0 for none
	writes     bool
}

// clear empties the index for another run.
func (x *cellIndex) clear() {
	clear(x.ops)
	x.first.clear()
}

// set says what task i is about to operate on; cell 0 is nothing.
func (x *cellIndex) set(i int, cell uint64, writes bool) {
	for len(x.ops) <= i {
		x.ops = append(x.ops, pendingOp{})
	}
	op := &x.ops[i]
	op.writes = writes
	if op.cell == cell {
		return
	}
	if op.cell != 0 {
		x.unlink(op)
	}
	if op.cell = cell; cell == 0 {
		return
	}
	first := x.first.at(cell)
	op.next, op.prev = *first, 0
	if op.next > 0 {
		x.ops[op.next-1].prev = int32(i + 1)
	}
	*first = int32(i + 1)
}

// unlink takes an operation out of its list.
func (x *cellIndex) unlink(op *pendingOp) {
	if op.prev > 0 {
		x.ops[op.prev-1].next = op.next
	} else {
		*x.first.at(op.cell) = op.next
	}
	if op.next > 0 {
		x.ops[op.next-1].prev = op.prev
	}
}

// cellMap has something about each cell of a run. It is emptied at once, and grows to what one run needs.
type cellMap[T any] struct {
	slots []cellSlot[T] // a power of two of them
	run   uint32        // slots of other runs are free
	used  int
}

type cellSlot[T any] struct {
	cell  uint64
	run   uint32
	value T
}

// clear empties the map for another run.
func (x *cellMap[T]) clear() {
	x.run++
	x.used = 0
	if x.run == 0 || x.slots == nil {
		x.run = 1
		x.slots = make([]cellSlot[T], max(len(x.slots), 64))
	}
}

// at is the cell's value, the zero value if it had none. It is good until the next call.
func (x *cellMap[T]) at(cell uint64) *T {
	if 2*x.used >= len(x.slots) {
		old := x.slots
		x.slots, x.used = make([]cellSlot[T], 2*len(old)), 0
		for i := range old {
			if old[i].run == x.run {
				*x.at(old[i].cell) = old[i].value
			}
		}
	}
	mask := uint64(len(x.slots) - 1)
	i := cell * 0x9e3779b97f4a7c15 >> 32 & mask
	for x.slots[i].run == x.run && x.slots[i].cell != cell {
		i = (i + 1) & mask
	}
	s := &x.slots[i]
	if s.run != x.run {
		*s = cellSlot[T]{cell: cell, run: x.run}
		x.used++
	}
	return &s.value
}
