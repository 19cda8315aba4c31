// SPDX-License-Identifier: MIT

package portfolio

// classes is the set of traces that a search has seen, each by the hash of its happens-before graph, and which of them
// it has seen once only. Beyond a limit only a part of them is kept, chosen by hash and therefore the same whatever the
// order in which they come: those whose hash ends in so many zeros. Its memory is bounded, its counts are then
// estimates.
type classes struct {
	more  map[uint64]bool // seen more than once
	once  int             // of those that are kept
	zeros uint            // at the end of the hash of those that are kept
	limit int             // how many are kept; 0: keepClasses
}

// keepClasses is how many traces a search remembers: some 40 MB.
const keepClasses = 1 << 20

// spread makes all bits of a state matter to the lowest ones.
func spread(state uint64) uint64 {
	state ^= state >> 32
	state *= 0x9e3779b97f4a7c15
	return state ^ state>>29
}

// add notes that a trace was seen once more, or several times more, and reports whether that changes anything.
func (c *classes) add(state uint64, several bool) bool {
	if spread(state)&(1<<c.zeros-1) != 0 {
		return false
	}
	if c.more == nil {
		c.more = map[uint64]bool{}
	}
	before, seen := c.more[state]
	switch {
	case !seen:
		c.more[state] = several
		if !several {
			c.once++
		}
		c.thin()
		return true
	case !before:
		c.more[state] = true
		c.once--
		return true
	}
	return false
}

// thin keeps half of the traces whenever there are too many.
func (c *classes) thin() {
	limit := c.limit
	if limit == 0 {
		limit = keepClasses
	}
	for len(c.more) > limit {
		c.zeros++
		for state, more := range c.more {
			if spread(state)&(1<<c.zeros-1) == 0 {
				continue
			}
			if !more {
				c.once--
			}
			delete(c.more, state)
		}
	}
}

// counts is how many traces were seen, and how many of them once only.
func (c *classes) counts() (seen, once int) { return len(c.more) << c.zeros, c.once << c.zeros }

// exact says that the counts are no estimates.
func (c *classes) exact() bool { return c.zeros == 0 }
