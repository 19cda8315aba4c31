// SPDX-License-Identifier: MIT

// Package explore drives a machine of the sim back end through its schedules: it samples them (random walk,
// PCT), enumerates them up to a number of preemptions, replays one from a file, and shrinks a failing one.
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
type Random struct{ r rng }

// Seed starts the n-th schedule of the stream that seed names.
func (c *Random) Seed(seed, n uint64) { c.r.seed(seed, n) }

// Pick implements kernel.Chooser.
func (c *Random) Pick(ch *kernel.Choice) *kernel.Task { return ch.Runnable[c.r.n(len(ch.Runnable))] }

// PCT is probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): random priorities, and d-1
// points at which the running task falls below all others. A bug of depth d in a program of at most n tasks
// and k choices is found with probability at least 1/(n k^(d-1)).
type PCT struct {
	// Depth is d; 0 draws it for every schedule from 2 to 4.
	Depth int
	// K is k, how many choices a run is expected to have; 0 is the longest run so far. Only with a K of its own does
	// a schedule depend on its seed alone.
	K int

	r     rng
	k     int // longest run so far, in choices
	steps int
	prio  []uint64 // by task index; 0: not drawn
	at    [8]int   // change points
	d     int
}

// maxDepth is how deep PCT may be asked to go.
const maxDepth = len(PCT{}.at)

// Seed starts the n-th schedule of the stream that seed names.
func (c *PCT) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.k = max(c.k, c.steps, 20)
	k := c.K
	if k == 0 {
		k = c.k
	}
	k = max(k, len(c.at))
	c.steps = 0
	clear(c.prio)
	c.d = c.Depth
	if c.d == 0 {
		c.d = 2 + c.r.n(3)
	}
	for i := range c.d - 1 {
		for c.at[i] = 0; c.at[i] == 0 || slices.Contains(c.at[:i], c.at[i]); {
			c.at[i] = 1 + c.r.n(k)
		}
	}
}

func (c *PCT) priority(t *kernel.Task) *uint64 {
	i := t.Index()
	for len(c.prio) <= i {
		c.prio = append(c.prio, 0)
	}
	if c.prio[i] == 0 {
		c.prio[i] = c.r.p.Uint64()>>1 | 1<<63
	}
	return &c.prio[i]
}

func (c *PCT) best(run []*kernel.Task) *kernel.Task {
	var best *kernel.Task
	var top uint64
	for _, t := range run {
		if p := *c.priority(t); best == nil || p > top || p == top && t.Index() < best.Index() {
			best, top = t, p
		}
	}
	return best
}

// Pick implements kernel.Chooser.
func (c *PCT) Pick(ch *kernel.Choice) *kernel.Task {
	c.steps++
	t := c.best(ch.Runnable)
	for i := range c.d - 1 {
		if c.at[i] == c.steps {
			// Below all that were drawn. The points are in no order, so that of two tasks that were demoted
			// either may be the lower one.
			*c.priority(t) = uint64(1 + i)
			t = c.best(ch.Runnable)
		}
	}
	return t
}

// Bytes lets a byte string choose, for fuzz targets: each choice takes one byte. When the bytes are used up
// the current task goes on, so a shorter string is a schedule with fewer preemptions.
type Bytes struct {
	B   []byte
	pos int
}

// Pick implements kernel.Chooser. Byte 0 keeps the current task, byte b > 0 picks another by index.
func (c *Bytes) Pick(ch *kernel.Choice) *kernel.Task {
	if c.pos >= len(c.B) {
		return Default(ch)
	}
	b := int(c.B[c.pos])
	c.pos++
	if b == 0 {
		return Default(ch)
	}
	return byIndex(ch.Runnable, (b-1)%len(ch.Runnable))
}

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

// Counter passes choices through and counts them.
type Counter struct {
	kernel.Chooser
	Choices, Preemptions int
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
