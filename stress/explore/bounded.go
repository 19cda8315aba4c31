// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// Bounded enumerates, depth first, all schedules with at most Bound preemptions; switches at a point where the
// running task cannot go on are free. Two prefixes with the same happens-before graph, the same running task
// and no more preemptions spent lead to the same futures, and only the first is followed (the state cache of
// CHESS, Musuvathi and Qadeer, PLDI 2007).
//
// Use: for b.Next() { machine.Run(b, ...) }.
type Bounded struct {
	Bound int
	// NoCache follows every prefix. For tests of the cache itself.
	NoCache bool

	path  []branch
	depth int // position in path within this run
	used  int // preemptions in this run
	seen  map[stateKey]uint8
	begun bool
}

// branch is one choice on the current path.
type branch struct {
	options []int32 // task indexes, in the order in which they are tried
	pos     int
	preempt bool // options after the first cost a preemption
}

type stateKey struct{ state, cur uint64 }

// Next prepares the next schedule; false when all have been run.
func (b *Bounded) Next() bool {
	if !b.begun {
		b.begun = true
		b.seen = map[stateKey]uint8{}
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
	if b.depth == len(b.path) && !b.grow(c) {
		return nil
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
	key := stateKey{state: c.State}
	if c.Cur != nil {
		key.cur = c.Cur.Path()
	}
	if !b.NoCache {
		if used, ok := b.seen[key]; ok && int(used) <= b.used {
			return false
		}
	}
	b.seen[key] = uint8(b.used)
	b.path = append(b.path, branch{})
	br := &b.path[len(b.path)-1]
	br.preempt = c.Cur != nil
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
