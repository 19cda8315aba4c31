// SPDX-License-Identifier: MIT

package explore

import (
	"math/bits"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Delay is delay-bounded sampling (Emmi, Qadeer and Rakamaric, POPL 2011): tasks run to their next sleep in the order
// in which they were made, and at up to Bound choices, drawn at random, the one whose turn it is has to let the next
// one go first. The number of such schedules grows with the length of a run to the power of Bound, and not with the
// number of tasks. A task that gives up the CPU of its own accord lets the next one go first, too.
type Delay struct {
	Faults
	// Bound is how many delays there are at most in one schedule.
	Bound int
	// K is how many choices a run is expected to have; 0 is the longest run so far. Only with a K of its own does a
	// schedule depend on its seed alone.
	K int

	r    rng
	k    int // longest run so far
	now  int // number of the choice
	at   []int
	turn ring
}

// Seed starts the n-th schedule of the stream that seed names.
func (c *Delay) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
	c.k = max(c.k, c.now, 1)
	k := c.K
	if k == 0 {
		k = c.k
	}
	c.now, c.at = 0, c.at[:0]
	if c.Bound > 0 {
		for range 1 + c.r.n(c.Bound) {
			c.at = append(c.at, 1+c.r.n(k))
		}
	}
	c.turn.clear()
}

// Pick implements kernel.Chooser.
func (c *Delay) Pick(ch *kernel.Choice) *kernel.Task {
	c.now++
	i := c.turn.turn(ch)
	for _, at := range c.at {
		if at == c.now {
			i = c.turn.after(i)
		}
	}
	return c.turn.task[i]
}

// ring is the runnable tasks in the order in which they were made, the first following the last.
type ring struct {
	set  []uint64       // bit i of the whole: task i is runnable
	task []*kernel.Task // by task index
}

func (r *ring) clear() {
	clear(r.set)
	r.task = r.task[:0]
}

// update notes who has become runnable and who has ceased to be.
func (r *ring) update(ch *kernel.Choice) {
	for _, t := range ch.Changed {
		i := t.Index()
		for len(r.task) <= i {
			r.task = append(r.task, nil)
		}
		if len(r.set) <= i/64 {
			r.set = append(r.set, make([]uint64, i/64+1-len(r.set))...)
		}
		r.task[i] = t
		if t.Runnable() {
			r.set[i/64] |= 1 << (i % 64)
		} else {
			r.set[i/64] &^= 1 << (i % 64)
		}
	}
}

// turn updates the ring and says whose turn it is by default: the current task goes on until it sleeps or yields, then
// the next one does.
func (r *ring) turn(ch *kernel.Choice) int {
	r.update(ch)
	if ch.Last == nil {
		return r.after(-1)
	}
	i := ch.Last.Index()
	if ch.Cur != nil {
		if k, _ := ch.Cur.Pending(); k != kernel.OpYield {
			return i
		}
	}
	return r.after(i)
}

// after is the runnable task that follows i. There must be one.
func (r *ring) after(i int) int {
	i++
	w := i / 64
	if w < len(r.set) {
		if rest := r.set[w] >> (i % 64); rest != 0 {
			return i + bits.TrailingZeros64(rest)
		}
		w++
	}
	for n := 0; ; n++ {
		if w >= len(r.set) {
			w = 0
		}
		if r.set[w] != 0 {
			return w*64 + bits.TrailingZeros64(r.set[w])
		}
		if w++; n > len(r.set) {
			panic("SVCFUZZ BUG: a chooser was asked although no task can run")
		}
	}
}

// rank is how many runnable tasks were made before i.
func (r *ring) rank(i int) int {
	n := 0
	for _, w := range r.set[:i/64] {
		n += bits.OnesCount64(w)
	}
	return n + bits.OnesCount64(r.set[i/64]&(1<<(i%64)-1))
}

// at is the runnable task before which n were made.
func (r *ring) at(n int) int {
	for w, x := range r.set {
		if c := bits.OnesCount64(x); n >= c {
			n -= c
			continue
		}
		for ; n > 0; n-- {
			x &= x - 1
		}
		return w*64 + bits.TrailingZeros64(x)
	}
	panic("SVCFUZZ BUG: there are fewer runnable tasks than were counted")
}

// Delayed enumerates, depth first, every schedule of [Delay] with up to Bound delays, and with them every answer to the
// decisions that the options allow: with Bound 0 it is all faults within their budgets, and nothing but them. It ends
// with far fewer schedules than an enumeration of preemptions where there are many tasks.
//
// Use: for d.Next() { machine.Run(d, ...) }.
type Delayed struct {
	Bound int

	path  []deviation
	depth int
	used  int
	begun bool
	turn  ring
}

// deviation is one choice or decision of the current run.
type deviation struct {
	value, most int
	delays      bool // value is a number of delays
}

// Next prepares the next schedule; false when all have been run.
func (d *Delayed) Next() bool {
	if d.begun {
		n := len(d.path)
		for n > 0 && d.path[n-1].value == d.path[n-1].most {
			n--
		}
		if d.path = d.path[:n]; n == 0 {
			return false
		}
		d.path[n-1].value++
	}
	d.begun, d.depth, d.used = true, 0, 0
	d.turn.clear()
	return true
}

// next is what to do at a point at which the default is 0 and most the last option.
func (d *Delayed) next(most int, delays bool) int {
	if d.depth == len(d.path) {
		d.path = append(d.path, deviation{0, most, delays})
	}
	p := d.path[d.depth]
	if p.delays != delays || p.most != most {
		panic("SVCFUZZ BUG: a schedule prefix did not repeat")
	}
	d.depth++
	return p.value
}

// Pick implements kernel.Chooser.
func (d *Delayed) Pick(ch *kernel.Choice) *kernel.Task {
	i := d.turn.turn(ch)
	n := d.next(min(len(ch.Runnable)-1, d.Bound-d.used), true)
	d.used += n
	for range n {
		i = d.turn.after(i)
	}
	return d.turn.task[i]
}

// Decide implements kernel.Decider.
func (d *Delayed) Decide(q *kernel.Decision) int { return d.next(q.N-1, false) }
