// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// Bounded enumerates, depth first, all schedules with at most Bound preemptions; switches at a point where the
// running task cannot go on are free. Two prefixes with the same happens-before graph, the same running task
// and no more preemptions spent lead to the same futures, and only the first is followed (the state cache of
// CHESS, Musuvathi and Qadeer, PLDI 2007).
//
// A task is preempted only in front of an operation on a cell that another task uses too: a preemption in front
// of any other operation can be moved behind it, which changes nothing for anybody. Which cells are used by
// more than one task is learnt; whenever one more turns up, the search starts again.
//
// Use: for b.Next() { machine.Run(b, ...) }.
type Bounded struct {
	Bound int
	// NoCache follows every prefix and preempts everywhere. For tests of the reductions themselves.
	NoCache bool

	path  []branch
	depth int              // position in path within this run
	used  int              // preemptions in this run
	seen  map[uint64]uint8 // preemptions spent, by state and running task
	begun bool

	m      *kernel.Machine
	shared int // cells known to be shared when this search started
}

// branch is one choice on the current path.
type branch struct {
	options []int32 // task indexes, in the order in which they are tried
	pos     int
	step    int32 // visible operations before it
	preempt bool  // options after the first cost a preemption
}

// Next prepares the next schedule; false when all have been run.
func (b *Bounded) Next() bool {
	if !b.begun || !b.NoCache && b.m != nil && b.m.Shared() != b.shared {
		b.begun = true
		b.path = b.path[:0]
		b.seen = map[uint64]uint8{}
		if b.m != nil {
			b.shared = b.m.Shared()
		}
	} else {
		for len(b.path) > 0 {
			last := &b.path[len(b.path)-1]
			last.pos++
			if last.pos < len(last.options) {
				break
			}
			b.path = b.path[:len(b.path)-1]
		}
		if len(b.path) == 0 {
			return false
		}
	}
	b.depth, b.used = 0, 0
	return true
}

// States is how many different choice points have been met.
func (b *Bounded) States() int { return len(b.seen) }

// Pick implements kernel.Chooser.
func (b *Bounded) Pick(c *kernel.Choice) *kernel.Task {
	if b.m == nil {
		b.m = c.Runnable[0].Machine()
		b.shared = b.m.Shared()
	}
	if b.depth < len(b.path) {
		if b.path[b.depth].step != int32(c.Step) {
			return c.Cur // there was no branch here when this prefix ran first
		}
	} else {
		if !b.NoCache && c.Cur != nil && !c.Cur.PendingShared() {
			return c.Cur
		}
		if !b.grow(c) {
			return nil
		}
	}
	br := &b.path[b.depth]
	b.depth++
	if br.preempt && br.pos > 0 {
		b.used++
	}
	want := int(br.options[br.pos])
	for _, t := range c.Runnable {
		if t.Index() == want {
			return t
		}
	}
	panic("SVCFUZZ BUG: a schedule prefix did not repeat")
}

// grow adds the choice at the end of the path; false if its futures are known.
func (b *Bounded) grow(c *kernel.Choice) bool {
	key := c.State
	if c.Cur != nil {
		key += 3 * c.Cur.Path()
	}
	if !b.NoCache {
		if used, ok := b.seen[key]; ok && int(used) <= b.used {
			return false
		}
	}
	b.seen[key] = uint8(b.used)
	b.path = append(b.path, branch{})
	br := &b.path[len(b.path)-1]
	br.preempt, br.step = c.Cur != nil, int32(c.Step)
	if c.Cur != nil {
		br.options = append(br.options, int32(c.Cur.Index()))
		if b.used == b.Bound {
			return true
		}
	}
	first := len(br.options)
	for _, t := range c.Runnable {
		if t != c.Cur {
			br.options = append(br.options, int32(t.Index()))
		}
	}
	sortSmall(br.options[first:])
	return true
}

func sortSmall(s []int32) {
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}
