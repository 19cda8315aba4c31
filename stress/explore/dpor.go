// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// DPOR runs the schedules of a program so that every Mazurkiewicz trace is seen: of schedules that differ only in the
// order of independent steps it runs one (dynamic partial-order reduction; Abdulla, Aronis, Jonsson and Sagonas,
// Optimal dynamic partial order reduction, POPL 2014; the same, Source sets, JACM 2017). With Optimal, wakeup trees
// make it run exactly one, and none in vain; without, source sets make do with less memory, and some runs turn out to
// be in vain when they are under way, because all that could go on is explored elsewhere.
//
// An event is one scheduling step, with all that it was seen to touch and whom it let go on. Two events depend on each
// other if they are the same task's, if they touch the same cell and one of them writes, if one frees an object of
// which the other touches a part, or if one lets the other's task go on. All order there is follows from that, with
// vector clocks; a race is two dependent events that nothing else orders and that could have come the other way round:
//
//   - Taking a lock races with taking it the time before, not with giving it back in between; that moves along.
//   - A task that has waited for a lock since before time passed, or still does when the run has ended, is in a race
//     with who took it, so that deadlocks are found.
//   - Nothing races with what let it go on, and nothing moves across a moment at which time passes: that happens when
//     no task can run.
//   - An event that ends the run hides what the other tasks would have done: they are explored with it left out, and
//     such a run ends as one in vain.
//
// What the second event of a race does when it comes first is not known before that: it may wake somebody whom it did
// not wake, or start what it only queued. Then it depends on more than was thought, and the races of that are found
// where it runs; until then nothing is left out because of it (see wake.guess). It is sound where the floor logs all
// that a step does to others. Rarely, a trace with such a step is run twice.
//
// Use: for d.Next() { machine.Run(d, ...) }. If the search does not know the machine yet, the first run only finds it.
type DPOR struct {
	// Optimal takes wakeup trees instead of source sets.
	Optimal bool
	// Limit is after how many runs Next says that it is enough; 0 if never. It may be raised to go on.
	Limit int
	// Faults are the answers to the decisions of every run; those that are not in there are 0.
	Faults map[Fault]int

	// Complete counts the runs that came to their end; Blocked those that were given up because all that could still
	// happen in them is explored elsewhere; Diverged how often a task that was to go on could not.
	Complete, Blocked, Diverged int
	// Exhausted says that there is nothing left to explore.
	Exhausted bool

	m     *kernel.Machine
	run   runState
	trace trace
	nodes []node   // by event; the last one may be that of an event to come
	kept  int32    // so many events are those of the run before
	free  []uint64 // of the nodes
	asked []asked
	known map[Fault]bool // the decisions in asked
	v     []*deed
}

// runState is what the search knows of the run under way.
type runState struct {
	on     bool // under way, or nothing was learnt from it yet
	probe  bool // it only found the machine
	chosen bool // it came to a choice
	given  bool // it was given up
	vain   bool // all that can still happen in it is explored elsewhere
	fatal  bool // its last event ended it
}

// node is the place in front of an event, where others may be explored in its stead.
type node struct {
	kids    []*wake  // what is to be explored; the first one is under way
	sleep   []*deed  // what is explored elsewhere, or was explored here
	back    []uint64 // with source sets: tasks that were ever in kids
	free, n int32    // in DPOR.free: tasks that can go on and do not sleep
	rounds  int      // kids that are done
	runs    float64  // below those
	choice  bool     // more than one task could have gone on
}

// Next prepares the next run; false when there is none, or Limit says that it is enough.
func (d *DPOR) Next() bool {
	if d.run.on {
		d.run.on = false
		d.finish()
	}
	if d.Exhausted || d.Limit > 0 && d.Complete+d.Blocked >= d.Limit {
		return false
	}
	d.run = runState{on: true}
	return true
}

// finish learns from the run that has ended, and goes to what is to be explored next.
func (d *DPOR) finish() {
	switch {
	case d.run.probe:
		return
	case !d.run.chosen: // there is no choice in this program
		d.Complete++
		d.Exhausted = true
		return
	}
	d.sync()
	if n := len(d.trace.events); n > 0 {
		steps := d.m.Steps()
		d.run.fatal = len(steps) == n && steps[n-1].Fatal
	}
	d.plan()
	if d.run.given || d.run.vain {
		d.Blocked++
	} else {
		d.Complete++
	}
	d.Exhausted = !d.advance()
}

// plan makes sure that all races of the run that has ended are explored the other way round, too. All of them, and with
// all of the run that does not depend on the first event in front of the second, even where that is known from earlier
// runs: the second may do other things there, and depend on more, than where it was seen.
func (d *DPOR) plan() {
	t := &d.trace
	end := int32(len(t.events))
	for _, r := range t.races {
		if r.second < d.kept && !t.beside(r.first, d.kept) {
			continue // as it was in the run before
		}
		d.reverse(r, t.deed(r.second), end)
	}
	stuck := d.m.Stuck()
	for i := range stuck {
		if r, last, ok := t.wants(&stuck[i]); ok {
			d.reverse(r, last, end)
		}
	}
}

// advance goes back to the deepest place where something is left to explore; false if there is none.
func (d *DPOR) advance() bool {
	runs := 1.0
	d.nodes = d.nodes[:len(d.trace.events)]
	for i := len(d.nodes) - 1; i >= 0; i-- {
		n := &d.nodes[i]
		if !n.choice {
			continue
		}
		done := d.trace.deed(int32(i))
		done.fatal = d.run.fatal && i == len(d.trace.events)-1
		n.sleep = append(n.sleep, done)
		n.runs += runs
		n.rounds++
		guess := n.kids[0].guess
		n.kids[0] = nil
		n.kids = awake(n.kids[1:], n.sleep)
		if guess && !done.fatal {
			n.kids = without(n.kids, done)
		}
		if len(n.kids) == 0 && done.fatal {
			d.leaveOut(n)
		}
		if len(n.kids) > 0 {
			if !d.Optimal {
				lowest(n.kids)
			}
			d.trace.cut(i)
			d.kept = int32(i)
			d.nodes = d.nodes[:i+1]
			d.free = d.free[:n.free+n.n]
			return true
		}
		runs = n.runs
	}
	return false
}

// leaveOut explores what the other tasks do if the event that ended the run is left out.
func (d *DPOR) leaveOut(n *node) {
	for _, path := range d.free[n.free : n.free+n.n] {
		if !asleep(n.sleep, path) {
			n.kids = append(n.kids, &wake{deed: &deed{path: path}})
			n.back = append(n.back, path)
			return
		}
	}
}

// Pick implements kernel.Chooser.
func (d *DPOR) Pick(c *kernel.Choice) *kernel.Task {
	d.run.chosen = true
	if d.m == nil {
		d.m = c.Runnable[0].Machine()
		d.m.LogAccesses()
		d.run.probe = true
		return nil
	}
	depth := len(d.m.Steps())
	if depth < len(d.trace.events) {
		return d.m.Tasks()[d.trace.events[depth].task]
	}
	d.sync()
	if depth == len(d.nodes) {
		d.grow()
	}
	n := &d.nodes[depth]
	if !n.choice {
		n.choice = true
		d.note(n, c)
	}
	t := d.choose(n, c)
	if t == nil || d.run.vain {
		d.run.given = true
		return nil
	}
	return t
}

// note keeps who can go on at n and does not sleep, oldest first.
func (d *DPOR) note(n *node, c *kernel.Choice) {
	n.free = int32(len(d.free))
	for _, t := range d.m.Tasks() {
		if t.Runnable() && !asleep(n.sleep, t.Path()) {
			d.free = append(d.free, t.Path())
		}
	}
	n.n = int32(len(d.free)) - n.free
}

// choose returns the task that the first branch to explore at n begins with; any if there is no branch yet, nil if all
// sleep.
func (d *DPOR) choose(n *node, c *kernel.Choice) *kernel.Task {
	for ; len(n.kids) > 0; n.kids = n.kids[1:] {
		path := n.kids[0].deed.path
		if asleep(n.sleep, path) {
			continue
		}
		for _, t := range c.Runnable {
			if t.Path() == path {
				return t
			}
		}
		d.Diverged++
	}
	if n.rounds > 0 || n.n == 0 {
		return nil
	}
	path := d.free[n.free]
	n.kids = append(n.kids, &wake{deed: &deed{path: path}})
	n.back = append(n.back, path)
	for _, t := range c.Runnable {
		if t.Path() == path {
			return t
		}
	}
	return nil
}

// sync takes over the steps of the run that have come to their end, and plans for what they race with.
func (d *DPOR) sync() {
	steps := d.m.Steps()
	if len(d.trace.events) == len(steps) {
		return
	}
	log, woken := d.m.Accesses(), d.m.Wakes()
	d.trace.know(d.m.Tasks())
	for i := len(d.trace.events); i < len(steps); i++ {
		if i == len(d.nodes) {
			d.grow()
		}
		acc, wakes := len(log), len(woken)
		if i+1 < len(steps) {
			acc, wakes = int(steps[i+1].First), int(steps[i+1].Wakes)
		}
		s := &steps[i]
		d.trace.step(s, log[s.First:acc], woken[s.Wakes:wakes])
		d.performed(&d.nodes[i], s)
		if d.Optimal {
			continue
		}
		for _, r := range d.trace.races[d.trace.events[i].races:] {
			d.reverse(r, d.trace.deed(r.second), r.second)
		}
	}
}

// performed takes note of who has gone on at n.
func (d *DPOR) performed(n *node, s *kernel.StepInfo) {
	if n.choice || s.Task < 0 {
		return
	}
	path := d.trace.paths[s.Task]
	d.run.vain = d.run.vain || asleep(n.sleep, path)
	if len(n.kids) > 0 && n.kids[0].deed.path == path {
		n.kids = n.kids[:1]
		return
	}
	if len(n.kids) > 0 {
		d.Diverged++
	}
	n.kids = []*wake{{deed: &deed{path: path}}}
}

// grow makes the node behind the last event.
func (d *DPOR) grow() {
	var n node
	if i := len(d.nodes) - 1; i >= 0 {
		above := &d.nodes[i]
		if d.trace.events[i].task < 0 {
			n.kids = above.kids
		} else {
			if d.Optimal {
				n.kids = above.kids[0].fork()
			}
			n.sleep = d.sleeping(above.sleep, int32(i))
		}
	}
	d.nodes = append(d.nodes, n)
}

// sleeping returns those of the sleepers that the event does not wake.
func (d *DPOR) sleeping(sleep []*deed, event int32) []*deed {
	if len(sleep) == 0 {
		return nil
	}
	done := d.trace.deed(event)
	var out []*deed
	for _, s := range sleep {
		if !s.dependent(done) {
			out = append(out, s)
		}
	}
	return out
}

// reverse makes sure that the race is explored the other way round, too. last is its second event, end where the part
// of the run ends that is looked at.
func (d *DPOR) reverse(r racing, last *deed, end int32) {
	n := &d.nodes[r.first]
	if !n.choice {
		d.Diverged++ // nobody else could go on there
		return
	}
	d.v = d.trace.reversal(r, last, end, d.v[:0])
	if !d.Optimal {
		d.backtrack(n)
		return
	}
	for _, s := range n.sleep {
		if at, ok := s.first(d.v); ok && (!s.fatal || at < len(d.v)) {
			return
		}
	}
	n.kids = append(n.kids[:1], insert(n.kids[1:], d.v, false)...)
}

// backtrack makes sure that n explores one of those who can come first in d.v.
func (d *DPOR) backtrack(n *node) {
	for _, path := range n.back {
		if n.initial(path, d.v) {
			return
		}
	}
	first := d.v[0]
	k := &wake{deed: &deed{path: first.path}}
	for i, path := range d.trace.paths {
		if path == first.path {
			k.idx = i
		}
	}
	n.back = append(n.back, first.path)
	n.kids = append(n.kids, k)
}

// initial reports whether what the task does first in v may come first of all. What it does at n is known if it sleeps
// there; else it is taken to be the same as in v.
func (n *node) initial(path uint64, v []*deed) bool {
	var first *deed
	for _, s := range n.sleep {
		if s.path == path {
			first = s
		}
	}
	for i, e := range v {
		if e.path != path {
			continue
		}
		if first == nil {
			first = e
		}
		_, ok := first.first(v[:i])
		return ok
	}
	return false
}

// lowest puts the branch of the oldest task first.
func lowest(kids []*wake) {
	for i := range kids {
		if kids[i].idx < kids[0].idx {
			kids[0], kids[i] = kids[i], kids[0]
		}
	}
}

func asleep(sleep []*deed, path uint64) bool {
	for _, s := range sleep {
		if s.path == path {
			return true
		}
	}
	return false
}

// awake returns the branches that do not begin with a sleeper.
func awake(kids []*wake, sleep []*deed) []*wake {
	out := kids[:0]
	for _, k := range kids {
		if !asleep(sleep, k.deed.path) {
			out = append(out, k)
		}
	}
	clear(kids[len(out):])
	return out
}

// Estimate says how many runs there are in all, from the part that has been explored: the sizes of the finished
// branches are known, and a branch that is still to come is taken to be as large as those beside it are on average
// (the recursive estimator of Kilby, Slaney, Thiebaux and Walsh, AAAI 2006: Knuth's, with whole subtrees in the place
// of random descents). It would be unbiased if the branches came in random order and were all known from the start.
// They do not, and they are not: neighbours in a depth-first search are alike, and a race that has not been met yet has
// no branch. So take it as an order of magnitude of what is known to be left, which goes up and down by factors, and
// not as a bound. When the search is exhausted it is exact. It counts the runs in vain, too.
func (d *DPOR) Estimate() float64 {
	if d.Exhausted {
		return float64(d.Complete + d.Blocked)
	}
	below := 0.0 // of the kid under way
	for i := len(d.nodes) - 1; i >= 0; i-- {
		n := &d.nodes[i]
		if !n.choice {
			continue
		}
		begun, mean := 0, n.runs
		if below > 0 {
			begun = 1
		}
		if n.rounds+begun > 0 {
			mean = (n.runs + below) / float64(n.rounds+begun)
		}
		below = n.runs + below + float64(len(n.kids)-begun)*mean
	}
	return below
}
