// SPDX-License-Identifier: MIT

package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// URW is the uniform random walk (Zhao, Wolff, Mathur and Roychoudhury, ASPLOS 2025): the next task is drawn with the
// number of operations that it and its children to come have left as its weight. Where nobody ever waits and the
// profile is exact, every interleaving is equally likely.
type URW struct {
	Faults
	// Profile says how many operations each task performs.
	Profile *Profile

	r      rng
	left   shares
	draw   weights
	expect int // steps when the task picked last has performed its operation
}

// Seed starts the n-th schedule of the stream that seed names.
func (c *URW) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
	c.left.begin(c.Profile.counts())
	c.draw.clear()
	c.expect = 0
}

// Pick implements kernel.Chooser.
func (c *URW) Pick(ch *kernel.Choice) *kernel.Task {
	if forced := ch.Step - c.expect; forced > 0 && ch.Last != nil {
		c.performed(ch.Last, forced)
	}
	for _, t := range ch.Changed {
		i := t.Index()
		if !c.left.knows(i) {
			if p := c.left.born(t); p >= 0 {
				c.weigh(p)
			}
		}
		c.weigh(i)
	}
	t := c.left.task[c.draw.draw(&c.r)]
	if k, _ := t.Pending(); k != kernel.OpWait {
		c.performed(t, 1)
	}
	c.expect = ch.Step + 1
	return t
}

// performed notes that t performs n operations.
func (c *URW) performed(t *kernel.Task, n int) {
	c.left.born(t)
	i := t.Index()
	c.left.left[i] = max(0, c.left.left[i]-n)
	c.weigh(i)
}

// weigh tells how likely task i is next: never impossible, as long as it can go on.
func (c *URW) weigh(i int) {
	w := 0
	if c.left.task[i].Runnable() {
		w = max(1, c.left.left[i])
	}
	c.draw.set(i, w)
}

// SURW is selective URW, of the same paper: for each schedule it draws one cell that several tasks operate on, and
// gives every order of the operations on it the same chance, whatever else the tasks do in between; everything else
// stays possible. Unlocks do not count: their place follows from that of the locks. A task that was woken and has not
// gone on yet does not show what it will do first, and is not held back from doing it.
type SURW struct {
	Faults
	// Profile says which cells there are, and how many operations each task performs on each.
	Profile *Profile
	// Cell is the name of the only cell to draw; "" draws any.
	Cell string

	r        rng
	cell     uint64
	left     shares
	live     weights // tasks that have not ended, by operations on the cell that they have left
	free     candidates
	intended int // task whose operation on the cell is next; -1 if none is
}

// Seed starts the n-th schedule of the stream that seed names.
func (c *SURW) Seed(seed, n uint64) {
	c.r.seed(seed, n)
	c.Faults.seed(seed, n)
	c.cell = 0
	var counts map[uint64]int
	if among := c.Profile.named(c.Cell); len(among) > 0 {
		x := among[c.r.n(len(among))]
		c.cell, counts = x.id, x.tree
	}
	c.left.begin(counts)
	c.live.clear()
	c.free.clear()
	c.intended = -1
}

// Pick implements kernel.Chooser.
func (c *SURW) Pick(ch *kernel.Choice) *kernel.Task {
	for _, t := range ch.Changed {
		c.update(t)
	}
	for {
		if c.free.free == 0 { // all are held back, as the intended one cannot go on
			c.release()
		}
		i := int(c.free.all[c.r.n(c.free.free)])
		t := c.left.task[i]
		if k, cell := t.Pending(); cell != c.cell || !selectable(k) {
			return t
		}
		if c.left.left[i] == 0 { // more than the profile says
			c.left.left[i] = 1
			c.live.set(i, 1)
		}
		if c.intended < 0 {
			c.intended = c.live.draw(&c.r)
		}
		if c.intended == i {
			c.left.left[i]--
			c.live.set(i, c.left.left[i])
			c.release()
			return t
		}
		c.free.hold(i)
	}
}

// release lets everybody perform an operation on the cell again.
func (c *SURW) release() {
	c.intended = -1
	c.free.releaseAll()
}

// update notes what has become of t.
func (c *SURW) update(t *kernel.Task) {
	i := t.Index()
	if c.left.knows(i) {
		c.known(t, i)
		return
	}
	if p := c.left.born(t); p >= 0 {
		// The child's operations were its parent's so far; the intended one may be among them.
		if mine := c.left.left[i]; c.intended == p && mine > 0 && c.r.n(c.left.left[p]+mine) < mine {
			c.intended = i
		}
		c.live.set(p, c.left.left[p])
	}
	c.live.set(i, c.left.left[i])
	c.known(t, i)
}

// known notes whether t, which has been born as number i, can go on.
func (c *SURW) known(t *kernel.Task, i int) {
	if t.Runnable() {
		c.free.add(i)
		return
	}
	c.free.remove(i)
	if t.Exited() {
		c.live.set(i, 0)
		if c.intended == i {
			c.release()
		}
	}
}

// selectable reports whether operations of kind k on a cell are among those whose order SURW draws.
func selectable(k kernel.OpKind) bool {
	switch k {
	case kernel.OpWait, kernel.OpUnlock, kernel.OpMutexUnlock, kernel.OpRcuUnlock:
		return false
	}
	return true
}

// shares is how many operations each task has left, those of its children to come included.
type shares struct {
	counts map[uint64]int // by path
	left   []int          // by task index
	task   []*kernel.Task // by task index, nil if it is not known yet
}

func (s *shares) begin(counts map[uint64]int) {
	s.counts = counts
	s.left, s.task = s.left[:0], s.task[:0]
}

// knows reports whether task i has been born.
func (s *shares) knows(i int) bool { return i < len(s.task) && s.task[i] != nil }

// born takes the share of t out of that of its parent, once. It returns the parent's index, -1 if t is nothing new or
// has none.
func (s *shares) born(t *kernel.Task) int {
	i := t.Index()
	for len(s.task) <= i {
		s.task, s.left = append(s.task, nil), append(s.left, 0)
	}
	if s.task[i] != nil {
		return -1
	}
	s.task[i], s.left[i] = t, s.counts[t.Path()]
	p := t.Parent()
	if p == nil {
		return -1
	}
	s.born(p)
	at := p.Index()
	s.left[at] = max(0, s.left[at]-s.left[i])
	return at
}

// weights draws numbers by their weight. It keeps sums of a few neighbours, so that a draw looks at few of them.
type weights struct {
	of    []int
	sums  []int // of weightBlock neighbours each
	total int
}

const weightBlock = 16

func (w *weights) clear() {
	w.of, w.sums, w.total = w.of[:0], w.sums[:0], 0
}

func (w *weights) set(i, weight int) {
	for len(w.of) <= i {
		if len(w.of)%weightBlock == 0 {
			w.sums = append(w.sums, 0)
		}
		w.of = append(w.of, 0)
	}
	d := weight - w.of[i]
	w.of[i] = weight
	w.sums[i/weightBlock] += d
	w.total += d
}

// draw returns i with probability of[i]/total. There must be a weight other than 0.
func (w *weights) draw(r *rng) int {
	k := r.n(w.total)
	b := 0
	for k >= w.sums[b] {
		k -= w.sums[b]
		b++
	}
	i := b * weightBlock
	for k >= w.of[i] {
		k -= w.of[i]
		i++
	}
	return i
}

// candidates is a set of tasks of which some are held back.
type candidates struct {
	all  []int32 // the first few are not held back
	free int
	slot []int32 // by task index: place in all plus one, 0 if it is not there
}

func (p *candidates) clear() {
	p.all, p.free = p.all[:0], 0
	clear(p.slot)
}

func (p *candidates) swap(a, b int) {
	x, y := p.all[a], p.all[b]
	p.all[a], p.all[b] = y, x
	p.slot[x], p.slot[y] = int32(b+1), int32(a+1)
}

// add puts i into the set, not held back; if it is there it stays as it is.
func (p *candidates) add(i int) {
	for len(p.slot) <= i {
		p.slot = append(p.slot, 0)
	}
	if p.slot[i] != 0 {
		return
	}
	p.all = append(p.all, int32(i))
	p.slot[i] = int32(len(p.all))
	p.swap(len(p.all)-1, p.free)
	p.free++
}

func (p *candidates) remove(i int) {
	if i >= len(p.slot) || p.slot[i] == 0 {
		return
	}
	if at := int(p.slot[i]) - 1; at < p.free {
		p.hold(i)
	}
	last := len(p.all) - 1
	p.swap(int(p.slot[i])-1, last)
	p.all = p.all[:last]
	p.slot[i] = 0
}

// hold holds i back, which is not.
func (p *candidates) hold(i int) {
	p.free--
	p.swap(int(p.slot[i])-1, p.free)
}

func (p *candidates) releaseAll() { p.free = len(p.all) }

// Profile is what tasks do in a few random walks: how many operations each performs, and on which cells. Tasks and
// cells are named by ids that are the same in every interleaving.
type Profile struct {
	ops   map[uint64]int // by path of the task, that of its children included
	cells []sharedCell   // in order of id
}

// sharedCell is a cell that two tasks or more operate on.
type sharedCell struct {
	id   uint64
	name string
	tree map[uint64]int // like Profile.ops
}

func (p *Profile) counts() map[uint64]int {
	if p == nil {
		return nil
	}
	return p.ops
}

// named are the cells of that name, all for "".
func (p *Profile) named(name string) []sharedCell {
	if p == nil || name == "" {
		if p == nil {
			return nil
		}
		return p.cells
	}
	var out []sharedCell
	for _, c := range p.cells {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

// names lists the shared cells for a person.
func (p *Profile) names() string {
	var out []string
	for _, c := range p.cells {
		out = append(out, c.name)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}

// profiler makes a Profile. It is the chooser of the runs that it is made from.
type profiler struct {
	Random
	m      *kernel.Machine
	runs   int
	parent map[uint64]uint64
	ops    map[uint64]int
	cells  map[uint64]map[uint64]int // cell, task: operations
	names  map[uint64]string
}

// Pick implements kernel.Chooser.
func (p *profiler) Pick(ch *kernel.Choice) *kernel.Task {
	if p.m == nil {
		// The accesses must be kept from the first one on.
		p.m = ch.Runnable[0].Machine()
		return nil
	}
	for _, t := range ch.Changed {
		p.name(t)
	}
	if ch.Last != nil {
		p.name(ch.Last)
	}
	return p.Random.Pick(ch)
}

func (p *profiler) name(t *kernel.Task) {
	if _, cell := t.Pending(); cell != 0 && p.names[cell] == "" {
		p.names[cell] = t.PendingName()
	}
}

// learn adds the run that is over.
func (p *profiler) learn() {
	p.runs++
	tasks := p.m.Tasks()
	for _, t := range tasks {
		if u := t.Parent(); u != nil {
			p.parent[t.Path()] = u.Path()
		}
	}
	for _, s := range p.m.Steps() {
		if s.Task < 0 || s.Op == kernel.OpWait {
			continue
		}
		path := tasks[s.Task].Path()
		p.ops[path]++
		if s.Cell == 0 || !selectable(s.Op) {
			continue
		}
		if p.cells[s.Cell] == nil {
			p.cells[s.Cell] = map[uint64]int{}
		}
		p.cells[s.Cell][path]++
	}
}

// tree averages counts over the runs, and adds those of each task to all its forebears'. What happened at all counts as
// one at least.
func (p *profiler) tree(counts map[uint64]int) map[uint64]int {
	out := map[uint64]int{}
	for path, n := range counts {
		n = max(1, (n+p.runs/2)/p.runs)
		for at, ok := path, true; ok; at, ok = p.parent[at] {
			out[at] += n
		}
	}
	return out
}

// profile is the result.
func (p *profiler) profile() *Profile {
	out := &Profile{ops: p.tree(p.ops)}
	for id, counts := range p.cells {
		if len(counts) > 1 {
			out.cells = append(out.cells, sharedCell{id, p.names[id], p.tree(counts)})
		}
	}
	slices.SortFunc(out.cells, func(a, b sharedCell) int {
		switch {
		case a.name != b.name:
			return strings.Compare(a.name, b.name)
		case a.id < b.id:
			return -1
		}
		return 1
	})
	return out
}

// profileRuns is how many random walks a profile is made from.
const profileRuns = 64

// TakeProfile runs r under random walks that depend on nothing but the options, and counts what its tasks do.
func TakeProfile(r Runner, opt kernel.Options) *Profile {
	p := &profiler{
		parent: map[uint64]uint64{}, ops: map[uint64]int{}, cells: map[uint64]map[uint64]int{}, names: map[uint64]string{},
	}
	p.Budget = opt.Faults
	if r.Run(p, opt); p.m == nil {
		return &Profile{} // there is never a choice
	}
	if !p.m.LogsAccesses() {
		p.m.LogAccesses()
		defer p.m.ForgetAccesses()
	}
	for i := range profileRuns {
		p.Seed(profileSeed, uint64(i))
		r.Run(p, opt)
		p.learn()
	}
	return p.profile()
}

// profileSeed is that of all profiles, so that they are the same for every shard of a stream, and for every stream.
const profileSeed = 1

// errNoCell says that nothing is known by which SURW could draw.
func (p *Profile) errNoCell(name string) error {
	return fmt.Errorf("chooser surw:o=%s: no two tasks operate on a cell of that name in %d random walks; "+
		"those that they share: %s", name, profileRuns, p.names())
}
