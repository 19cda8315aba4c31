// SPDX-License-Identifier: MIT

// Package explore drives a machine of the sim back end through its schedules: it samples them in several ways, each
// with a guarantee of its own, enumerates them all or up to a number of preemptions or delays, replays one from a file,
// and shrinks a failing one.
package explore

import (
	"math/rand/v2"
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// rng is the generator of all samplers: small, seeded, the same on every platform.
type rng struct{ p rand.PCG }

func (r *rng) seed(a, b uint64) { r.p.Seed(a, b) }

// n returns a number in [0, n). The bias of the multiplication is below 2^-32 for the n of a schedule.
func (r *rng) n(n int) int { return int(r.p.Uint64() >> 32 * uint64(n) >> 32) }

// Random is the random walk: every runnable task is as likely as any other at every step.
type Random struct {
	Faults
	r rng
}

// Seed starts the n-th schedule of the stream that seed names.
func (c *Random) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
}

// Pick implements kernel.Chooser.
func (c *Random) Pick(ch *kernel.Choice) *kernel.Task { return ch.Runnable[c.r.n(len(ch.Runnable))] }

// PCT is probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): random priorities, and d-1 points at
// which the running task falls below all others. A bug of depth d in a program of at most n tasks and k steps is found
// with probability at least 1/(n k^(d-1)). Every visible operation is a step, also one at which nobody else could have
// gone on. A task that gives up the CPU of its own accord again and again falls below all others as well, so that one that
// waits in a loop does not keep those from running that it waits for; one that does so now and then keeps its priority,
// which is what makes it meet others at that place.
type PCT struct {
	Faults
	// Depth is d; 0 draws it for every schedule from 2 to 4.
	Depth int
	// K is k, how many steps a run is expected to have; 0 is the longest run so far. Only with a K of its own does
	// a schedule depend on its seed alone.
	K int
	// Choices makes k count only the steps at which there was a choice. Fewer points to miss, but the bound then
	// speaks of a k that is not the length of a run.
	Choices bool

	r      rng
	k      int // longest run so far
	now    int // number of the step that is chosen
	first  int // of the change points, which are in order, the next one
	d      int
	lowest uint64
	at     [maxDepth]change
	line   queue
	drawn  []bool // by task index: it has a priority
	yields []int  // by task index
}

// change is a point at which the task that would run falls to a level below all that were drawn.
type change struct {
	step  int
	level uint64
}

// maxDepth is how deep PCT may be asked to go.
const maxDepth = 8

// The priorities of PCT: drawn ones have the highest bit. Those of change points are low and a few, those of tasks
// that yielded lie below them.
const (
	drawnLevel = 1 << 63
	yieldLevel = 1 << 62
)

// Seed starts the n-th schedule of the stream that seed names.
func (c *PCT) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
	c.k = max(c.k, c.now, 20)
	k := c.K
	if k == 0 {
		k = c.k
	}
	c.now, c.first, c.lowest = 0, 0, yieldLevel
	c.line.clear()
	clear(c.drawn)
	clear(c.yields)
	c.d = c.Depth
	if c.d == 0 {
		c.d = 2 + c.r.n(3)
	}
	c.drawPoints(max(k, maxDepth))
}

// drawPoints draws the change points out of 1 to k, and puts them in order; their levels stay in none, so that of two
// tasks that were demoted either may be the lower one.
func (c *PCT) drawPoints(k int) {
	for i := range c.d - 1 {
		p := change{level: yieldLevel + 1 + uint64(i)}
		for p.step == 0 || slices.ContainsFunc(c.at[:i], func(q change) bool { return q.step == p.step }) {
			p.step = 1 + c.r.n(k)
		}
		j := i
		for ; j > 0 && c.at[j-1].step > p.step; j-- {
			c.at[j] = c.at[j-1]
		}
		c.at[j] = p
	}
}

// Pick implements kernel.Chooser.
func (c *PCT) Pick(ch *kernel.Choice) *kernel.Task {
	for _, t := range ch.Changed {
		if t.Runnable() {
			c.enter(t)
		}
	}
	last := ch.Last
	if last != nil {
		if k, _ := last.Pending(); k == kernel.OpYield && c.again(last) {
			c.lowest--
			c.line.move(last, c.lowest)
		}
	}
	if c.Choices {
		c.now++
	} else {
		c.now = ch.Step + 1
	}
	for c.first < c.d-1 && c.at[c.first].step <= c.now {
		p := c.at[c.first]
		c.first++
		switch {
		case p.step == c.now:
			c.line.move(c.line.top(), p.level)
		case last != nil:
			// Nobody was asked at that step, as there was only one task that could go on.
			c.line.move(last, p.level)
		}
	}
	return c.line.top()
}

// loopsFrom is how often a task gives up the CPU before it is taken for one that waits in a loop.
const loopsFrom = 8

// again counts that t gives up the CPU, and reports whether it does so in a loop.
func (c *PCT) again(t *kernel.Task) bool {
	i := t.Index()
	for len(c.yields) <= i {
		c.yields = append(c.yields, 0)
	}
	c.yields[i]++
	return c.yields[i] >= loopsFrom
}

// enter puts a task that can go on in line, with a priority of its own for the whole run.
func (c *PCT) enter(t *kernel.Task) {
	i := t.Index()
	for len(c.drawn) <= i {
		c.drawn = append(c.drawn, false)
	}
	if c.drawn[i] {
		c.line.back(t)
		return
	}
	c.drawn[i] = true
	c.line.move(t, c.r.p.Uint64()|drawnLevel)
}

// Bytes lets a byte string choose, for fuzz targets: each choice takes one byte, and so does each decision. When the
// bytes are used up the current task goes on and nothing special happens, so a shorter string is a schedule with fewer
// preemptions and fewer faults.
type Bytes struct {
	B   []byte
	pos int
}

// next is the next byte, 0 when there are no more.
func (c *Bytes) next() int {
	if c.pos >= len(c.B) {
		return 0
	}
	c.pos++
	return int(c.B[c.pos-1])
}

// Pick implements kernel.Chooser. Byte 0 keeps the current task, byte b > 0 picks another by index.
func (c *Bytes) Pick(ch *kernel.Choice) *kernel.Task {
	b := c.next()
	if b == 0 {
		return Default(ch)
	}
	return byIndex(ch.Runnable, (b-1)%len(ch.Runnable))
}

// Decide implements kernel.Decider. Byte 0 lets things take their ordinary course.
func (c *Bytes) Decide(d *kernel.Decision) int { return c.next() % d.N }

// byIndex returns the i-th runnable task in order of creation.
func byIndex(run []*kernel.Task, i int) *kernel.Task {
	for _, t := range run {
		smaller := 0
		for _, u := range run {
			if u.Index() < t.Index() {
				smaller++
			}
		}
		if smaller == i {
			return t
		}
	}
	return run[0]
}

// Default is what happens without a decision: the current task goes on; when it cannot, the oldest one does.
func Default(ch *kernel.Choice) *kernel.Task {
	if ch.Cur != nil {
		return ch.Cur
	}
	t := ch.Runnable[0]
	for _, u := range ch.Runnable[1:] {
		if u.Index() < t.Index() {
			t = u
		}
	}
	return t
}

// Counter passes choices and decisions through and counts them.
type Counter struct {
	kernel.Chooser
	Choices, Preemptions int
	Decisions, Faults    int // answered, and answered otherwise than by default
}

// Pick implements kernel.Chooser.
func (c *Counter) Pick(ch *kernel.Choice) *kernel.Task {
	t := c.Chooser.Pick(ch)
	c.Choices++
	if t != nil && ch.Cur != nil && t != ch.Cur {
		c.Preemptions++
	}
	return t
}

// Decide implements kernel.Decider for a chooser that does, and lets things take their ordinary course for others.
func (c *Counter) Decide(d *kernel.Decision) int {
	v := decide(c.Chooser, d)
	c.Decisions++
	if v != 0 {
		c.Faults++
	}
	return v
}

// decide asks a chooser that may not care for decisions.
func decide(ch kernel.Chooser, d *kernel.Decision) int {
	if x, ok := ch.(kernel.Decider); ok {
		return x.Decide(d)
	}
	return 0
}
