// SPDX-License-Identifier: MIT

package explore

import (
	"math"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Bounded enumerates, depth first, all schedules with at most Bound preemptions; switches at a point where the
// running task cannot go on are free. Three reductions leave the set of outcomes as it is:
//
//   - Two prefixes with the same happens-before graph, the same running task and no more preemptions spent have
//     the same futures, and only the first is followed (the state cache of CHESS, Musuvathi and Qadeer, PLDI 2007).
//   - A task is preempted only in front of a step that may depend on what another task does: a preemption in front
//     of any other step can be moved behind it, which changes nothing for anybody. Which steps those are is learnt;
//     whenever one more turns up, the search starts again. So that this happens early, where it costs little, it
//     goes through all smaller numbers of preemptions first.
//   - If nothing that others can do between preempting T in front of its next shared operation and T's return
//     conflicts with what T does up to the one after that, preempting T there gives the same outcomes, and those
//     have been seen: the search goes depth first. What others can do is known from there as well.
//
// Use: for b.Next() { machine.Run(b, ...) }.
type Bounded struct {
	Bound int
	// Plain switches the reductions off. For tests of the reductions themselves.
	Plain bool
	// Again makes the search begin with no preemptions again whenever one more point turns up at which to preempt, so
	// that Covered is soon true again. It is for searches that will hardly come to their end.
	Again bool
	// Skipped counts the branches that the third reduction saved.
	Skipped int

	level  int // the number of preemptions that is searched now
	whole  int // one more than the number of preemptions up to which everything has been run
	path   []branch
	depth  int // position in path within this run
	used   int // preemptions in this run
	pruned bool
	fresh  int              // accesses of the run before this one were those of the last run too
	seen   map[uint64]uint8 // preemptions spent, by state and running task
	begun  bool
	ran    bool

	m      *kernel.Machine
	logged bool // the machine kept its accesses before
	shared int  // cells known to be shared when this search started
}

// branch is one choice on the current path.
type branch struct {
	options []int32 // task indexes, in the order in which they are tried
	pos     int
	step    int32 // visible operations before it
	log     int   // accesses before it
	back    int   // in the log: where the preempted task went on
	preempt bool  // options after the first cost a preemption

	others []footprint     // by option: what others do until the task goes on; for preempt
	block  []kernel.Access // of the task, up to its next branch; nil if not known
	next   []footprint     // others of that next branch
	nextOf []int32         // options of that next branch
}

// footprint is a set of accesses: whether a cell is written, whether an object is freed. It is nil where it is not
// known.
type footprint map[uint64]bool

// note adds an access.
func (fp footprint) note(a *kernel.Access) {
	if w, ok := fp[a.Cell]; !ok || a.Write && !w {
		fp[a.Cell] = a.Write
	}
	if a.Free {
		fp[object(a)] = true
	}
}

// conflicts reports whether the order of the access and of those in the footprint matters.
func (fp footprint) conflicts(a *kernel.Access) bool {
	w, ok := fp[a.Cell]
	return ok && (w || a.Write) || fp[object(a)]
}

// object is where a footprint keeps that the whole object is freed.
func object(a *kernel.Access) uint64 { return ^a.Object }

// Next prepares the next schedule; false when all have been run.
func (b *Bounded) Next() bool {
	switch {
	case b.ran && b.m == nil:
		return false // a run without a choice is all there is
	case !b.begun:
		b.begun = b.m != nil // the first run only finds the machine
		b.whole = 0
		if b.Plain {
			b.level = b.Bound
		}
		b.restart()
	case !b.Plain && b.m != nil && b.m.Shared() != b.shared:
		b.whole = 0 // what was run before knew of fewer points at which to preempt
		if b.Again {
			b.level = 0
		}
		b.restart()
	default:
		b.learn()
		if !b.advance() {
			b.whole = b.level + 1
			if b.level == b.Bound {
				return false
			}
			b.level++
			b.restart()
		}
	}
	b.depth, b.used, b.pruned, b.ran = 0, 0, false, true
	return true
}

func (b *Bounded) restart() {
	b.path = b.path[:0]
	b.seen = map[uint64]uint8{}
	if b.m != nil {
		b.shared = b.m.Shared()
	}
}

// advance goes to the next option of the deepest branch that has one.
func (b *Bounded) advance() bool {
	for len(b.path) > 0 {
		last := &b.path[len(b.path)-1]
		for last.pos++; last.pos < len(last.options); last.pos++ {
			if !b.skips(last) {
				b.fresh, last.back = last.log, math.MaxInt
				return true
			}
			b.Skipped++
		}
		b.pop()
	}
	return false
}

// pop leaves the deepest branch, which is done, and tells the one above what was learnt there.
func (b *Bounded) pop() {
	n := len(b.path) - 1
	done := &b.path[n]
	b.path = b.path[:n]
	if n == 0 || !done.preempt {
		return
	}
	above := &b.path[n-1]
	if above.pos == 0 && above.block != nil {
		above.next, above.nextOf = done.others, done.options
	}
}

// learn takes from the run's accesses what others did while a task was preempted.
func (b *Bounded) learn() {
	if b.Plain {
		return
	}
	log := b.m.Accesses()
	for i := range b.path {
		br := &b.path[i]
		if !br.preempt || br.pos == 0 || br.others[br.pos] == nil || br.back < b.fresh {
			continue
		}
		fp := br.others[br.pos]
		br.back = math.MaxInt
		for j := max(br.log, b.fresh); j < len(log); j++ {
			if log[j].Task == br.options[0] {
				br.back = j
				break
			}
			fp.note(&log[j])
		}
		if br.back == math.MaxInt && b.pruned {
			br.others[br.pos] = nil // it was cut off before the task went on
		}
	}
}

// skips reports whether the option that is due at br gives nothing that preempting one branch later did not.
func (b *Bounded) skips(br *branch) bool {
	if b.Plain || br.block == nil || br.next == nil {
		return false
	}
	for i, o := range br.nextOf {
		if i == 0 || o != br.options[br.pos] {
			continue
		}
		fp := br.next[i]
		if fp == nil {
			return false
		}
		for j := range br.block {
			if fp.conflicts(&br.block[j]) {
				return false
			}
		}
		br.others[br.pos] = fp
		return true
	}
	return false
}

// Covered is the number of preemptions up to which every schedule has been run, or one that is equivalent to it; -1
// when that can be said of none, as before the end of the first round and after a step that turned up late.
func (b *Bounded) Covered() int { return b.whole - 1 }

// States is how many different choice points have been met.
func (b *Bounded) States() int { return len(b.seen) }

// rare: once all preemptions are spent there is nothing to choose until the task stops, and whether the state
// is known is looked up at every 8th step only. Equal states have equal numbers of steps.
const rare = 8

// Pick implements kernel.Chooser.
func (b *Bounded) Pick(c *kernel.Choice) *kernel.Task {
	if b.m == nil {
		// Accesses must be kept from the first operation on: positions in the log mean the same in every run.
		b.m = c.Runnable[0].Machine()
		b.logged = b.m.LogsAccesses()
		b.m.LogAccesses()
		b.pruned = true
		return nil
	}
	if b.depth < len(b.path) {
		if b.path[b.depth].step != int32(c.Step) {
			return c.Cur // there was no branch here when this prefix ran first
		}
	} else {
		if !b.Plain && c.Cur != nil && (!c.Cur.PendingShared() || b.used == b.level && c.Step%rare != 0) {
			return c.Cur
		}
		if !b.grow(c) {
			b.pruned = true
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
	if !b.Plain {
		if used, ok := b.seen[key]; ok && int(used) <= b.used {
			return false
		}
	}
	b.seen[key] = uint8(b.used)
	b.path = append(b.path, branch{})
	br := &b.path[len(b.path)-1]
	br.back = math.MaxInt
	br.preempt, br.step, br.log = c.Cur != nil, int32(c.Step), len(b.m.Accesses())
	if c.Cur != nil {
		br.options = append(br.options, int32(c.Cur.Index()))
		if b.used == b.level {
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
	if c.Cur != nil && !b.Plain {
		b.link(br)
	}
	return true
}

// link prepares a branch for what will be learnt there, and gives the branch above, if it is the same task's and
// the task went on from there, what the task has done since: if it slept meanwhile or others ran, if it freed
// something or stopped others by taking a lock, the two preemptions are not to be compared.
func (b *Bounded) link(br *branch) {
	br.others = make([]footprint, len(br.options))
	for i := 1; i < len(br.others); i++ {
		br.others[i] = footprint{}
	}
	n := len(b.path) - 2
	if n < 0 {
		return
	}
	above := &b.path[n]
	if above.others == nil || above.pos != 0 || above.options[0] != br.options[0] {
		return
	}
	block := b.m.Accesses()[above.log:]
	for i := range block {
		if a := &block[i]; a.Task != br.options[0] || a.Cell == 0 || a.Free {
			return
		}
	}
	above.block = append([]kernel.Access{}, block...)
}

func sortSmall(s []int32) {
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}
