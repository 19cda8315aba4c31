// SPDX-License-Identifier: MIT

package fuzz

import (
	"slices"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// schedule is the part of the data that says who performs the next visible operation: a byte that says how it is
// spelled and what may happen beside, and the spelling. When the bytes end the task goes on that ran last. There are several spellings, because an
// engine tries short inputs and small changes: what takes hundreds of right bytes in one takes a few in another.
type schedule struct {
	how byte
	b   []byte
}

// The spellings.
const (
	plain = iota // a byte a choice, as explore.Bytes has it
	pairs        // two bytes a switch: after how many choices, and to which task
	ranks        // who goes first is fixed, see ranked; a byte a change of that
	walk         // as plain, and then a random walk that the bytes seed
)

// spellings is drawn from; what finds most comes most often.
var spellings = [...]byte{plain, pairs, ranks, walk, ranks, ranks, ranks, ranks}

// split takes the schedule off the front: how it is spelled, its length, and that many bytes.
func split(data []byte) (s schedule, rest []byte) {
	if len(data) < 2 {
		return schedule{}, nil
	}
	n := min(int(data[1]), len(data)-2)
	return schedule{data[0], data[2 : 2+n]}, data[2+n:]
}

// departures is how many decisions of which kind may be other than the ordinary ones: two of one kind, or none.
func (s schedule) departures() (budget [kernel.DecisionKinds]int) {
	if kind := int(s.how)/len(spellings) - 1; kind >= 0 && kind < len(budget) {
		budget[kind] = 2
	}
	return budget
}

// chooser is the schedule for one run.
func (s schedule) chooser() kernel.Chooser {
	ch := s.order()
	if _, ok := ch.(kernel.Decider); ok {
		return ch
	}
	h := hash(s.b)
	return &departing{Chooser: ch, h: h, at: [2]int{int(h >> 8 % decidedWithin), int(h >> 32 % decidedWithin)}}
}

// decidedWithin bounds the decisions among which departing draws.
const decidedWithin = 64

// departing adds to the order of a chooser that decides nothing itself up to two departures from the ordinary course, at
// decisions that the data draw.
type departing struct {
	kernel.Chooser
	h     uint64
	at    [2]int
	asked int
}

// Decide implements kernel.Decider.
func (c *departing) Decide(d *kernel.Decision) int {
	c.asked++
	if c.asked-1 != c.at[0] && c.asked-1 != c.at[1] {
		return 0
	}
	return 1 + int(c.h>>56)%(d.N-1)
}

// order says who goes on.
func (s schedule) order() kernel.Chooser {
	switch spellings[s.how%byte(len(spellings))] {
	case pairs:
		var out []byte
		for b := s.b; len(b) > 1; b = b[2:] {
			out = append(append(out, make([]byte, b[0])...), max(b[1], 1))
		}
		return &explore.Bytes{B: out}
	case ranks:
		return newRanked(s.b)
	case walk:
		return &explore.Bytes{B: append(append([]byte(nil), s.b...), wander(s.b)...)}
	}
	return &explore.Bytes{B: s.b}
}

// walkLength is how many choices a random walk makes. Few runs have more.
const walkLength = 768

// wander makes the bytes of a random walk. Like all choosers it depends on the data alone.
func wander(b []byte) []byte {
	seed := hash(b)
	out := make([]byte, walkLength)
	for i := range out {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		out[i] = byte(seed>>32) | 1
	}
	return out
}

func hash(b []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, x := range b {
		h = (h ^ uint64(x)) * 0x100000001b3
	}
	return h
}

// ranked lets the task of the highest rank run. The first byte draws the ranks; each further one says after how many
// more choices the running task falls below all others. So one byte holds a task up, at one operation, until nobody
// else can go on: that is what it takes to make a race of a start or stop call. It is the idea of PCT (Burckhardt et
// al., ASPLOS 2010), with the engine in the place of the dice; and since an engine is slow to hit one operation of
// hundreds, the bytes together draw two more of them.
type ranked struct {
	draw    uint64
	changes []int // in ascending order
	n       int   // choices so far
	low     uint64
	rank    []uint64 // by task index; 0: not drawn
}

func newRanked(b []byte) *ranked {
	c := &ranked{low: 1 << 32}
	if len(b) == 0 {
		return c
	}
	c.draw = hash(b[:1])
	at := 0
	for _, x := range b[1:] {
		at += int(x)
		if x != 255 { // the way to go further than that
			c.changes = append(c.changes, at)
		}
	}
	h := hash(b)
	c.changes = append(c.changes, int(h>>16%drawnWithin), int(h>>40%drawnWithin))
	slices.Sort(c.changes)
	return c
}

// drawnWithin bounds the places that are drawn: start calls are the first part of a run.
const drawnWithin = 512

func (c *ranked) of(t *kernel.Task) *uint64 {
	i := t.Index()
	for len(c.rank) <= i {
		x := c.draw + uint64(len(c.rank)+1)*0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		c.rank = append(c.rank, x>>1|1<<63)
	}
	return &c.rank[i]
}

func (c *ranked) best(run []*kernel.Task) *kernel.Task {
	best := run[0]
	for _, t := range run[1:] {
		if a, b := *c.of(t), *c.of(best); a > b || a == b && t.Index() < best.Index() {
			best = t
		}
	}
	return best
}

// Pick implements kernel.Chooser.
func (c *ranked) Pick(ch *kernel.Choice) *kernel.Task {
	t := c.best(ch.Runnable)
	for len(c.changes) > 0 && c.changes[0] <= c.n {
		c.changes = c.changes[1:]
		c.low--
		*c.of(t) = c.low
		t = c.best(ch.Runnable)
	}
	c.n++
	return t
}
