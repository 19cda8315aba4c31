// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// trace is the run under way as a partial-order search sees it: its events, what each of them touched, and vector
// clocks. All of it is kept in stacks, so that going back to an earlier event costs no more than having come from
// there. Tasks and cells are small numbers here: a task's index in the run, and a slot that is the cell's for ever.
type trace struct {
	slots  slotTable
	events []event
	clocks []int32   // of the events, one after the other
	recs   []rec     // of the events
	head   []int32   // by slot: the last of its recs, -1 if there is none
	taken  []int32   // by slot: who took the lock last, event+1; negative if it was given back since
	last   []int32   // by task: its last event, -1 if there is none
	paths  []uint64  // by task
	woken  []wakeRec // of the events
	wakes  []int32   // by task: the last of its wakeRecs, -1 if there is none
	quiet  int32     // the last event that nothing can be moved across, +1; 0 if there is none

	now, own []int32 // clocks under construction
	preds    []pred
	races    []racing // of all events, by the second one
	stale    bool     // paths may be those of an earlier run
}

// event is one scheduling step. Nobody performs the one that lets time pass: its task is -1.
type event struct {
	task     int32
	prev     int32 // the event of the task before this one
	lock     int32 // slot of the lock that it takes or gives back, -1 if there is none
	taken    int32 // trace.taken of it before
	quiet    int32 // trace.quiet before it
	clock, n int32 // in trace.clocks: n entries, the others are 0
	rec      int32 // its first one
	woken    int32 // likewise
	races    int32 // likewise
	deed     *deed // made when it is wanted
}

// rec is one touch of an event.
type rec struct {
	touch
	gated bool
	event int32
	prev  int32 // the one before it of the same slot, -1 if there is none
	wrote int32 // the last one of the slot that writes, itself included
}

type wakeRec struct{ task, event, prev int32 }

// pred is an event that the one under construction directly depends on.
type pred struct {
	event int32
	race  bool // the two could have come the other way round
	lock  bool // only the lock that is taken now orders the two
}

// racing are two events that could have come the other way round.
type racing struct{ first, second int32 }

// happensBefore reports whether the event i, by number, is in the past of the event e.
func (t *trace) happensBefore(i int32, e *event) bool {
	u := t.events[i].task
	return u >= 0 && u < e.n && t.clocks[e.clock+u] > i
}

// beside reports whether any event from the number start on does not have the event i in its past.
func (t *trace) beside(i, start int32) bool {
	for j := start; j < int32(len(t.events)); j++ {
		if e := &t.events[j]; e.task >= 0 && !t.happensBefore(i, e) {
			return true
		}
	}
	return false
}

// cut forgets all but the first n events.
func (t *trace) cut(n int) {
	t.stale = true
	for len(t.events) > n {
		i := len(t.events) - 1
		e := &t.events[i]
		for j := len(t.recs) - 1; j >= int(e.rec); j-- {
			t.head[t.recs[j].slot] = t.recs[j].prev
		}
		t.recs = t.recs[:e.rec]
		for j := len(t.woken) - 1; j >= int(e.woken); j-- {
			t.wakes[t.woken[j].task] = t.woken[j].prev
		}
		t.woken = t.woken[:e.woken]
		t.races = t.races[:e.races]
		if e.lock >= 0 {
			t.taken[e.lock] = e.taken
		}
		if e.task >= 0 {
			t.last[e.task] = e.prev
		}
		t.quiet = e.quiet
		t.clocks = t.clocks[:e.clock]
		t.events = t.events[:i]
	}
}

// know makes the tasks known that the run has now. Those that an earlier run had under the same numbers are forgotten:
// no event of theirs is left.
func (t *trace) know(tasks []*kernel.Task) {
	if t.stale {
		t.stale = false
		for i, path := range t.paths {
			if i == len(tasks) || path != tasks[i].Path() {
				t.paths, t.last, t.wakes = t.paths[:i], t.last[:i], t.wakes[:i]
				break
			}
		}
	}
	for _, u := range tasks[len(t.paths):] {
		t.paths = append(t.paths, u.Path())
		t.last, t.wakes = append(t.last, -1), append(t.wakes, -1)
	}
}

func (t *trace) slot(id uint64) int32 {
	s := t.slots.of(id)
	for int(s) >= len(t.head) {
		t.head, t.taken = append(t.head, -1), append(t.taken, 0)
	}
	return s
}

// pass appends the event that lets time pass: it comes after all that was, and before all that will be.
func (t *trace) pass() {
	e := event{task: -1, prev: -1, lock: -1, quiet: t.quiet, clock: int32(len(t.clocks)), n: int32(len(t.paths))}
	e.rec, e.woken, e.races = int32(len(t.recs)), int32(len(t.woken)), int32(len(t.races))
	for _, last := range t.last {
		t.clocks = append(t.clocks, last+1)
	}
	t.events = append(t.events, e)
	t.quiet = int32(len(t.events))
}

// step appends the event of a step, with the accesses and the wake-ups that belong to it, and finds its races.
func (t *trace) step(s *kernel.StepInfo, log []kernel.Access, woken []int32) {
	if s.Task < 0 {
		t.pass()
		return
	}
	me := int32(len(t.events))
	e := event{task: s.Task, prev: t.last[s.Task], lock: -1, quiet: t.quiet}
	e.rec, e.woken, e.races = int32(len(t.recs)), int32(len(t.woken)), int32(len(t.races))
	locks := s.Op == kernel.OpLock || s.Op == kernel.OpMutexLock
	t.begin(&e, locks && !s.Resumed)
	t.preds = t.preds[:0]
	for i := range log {
		a := &log[i]
		if a.Cell == 0 || a.Task != s.Task || a.Attempt && !s.Fatal {
			continue // nobody's, or not to be moved because of a lock, of which there are rules of its own
		}
		cell := t.slot(a.Cell)
		if locks && a.Cell == s.Cell {
			t.takes(cell, me)
		} else {
			t.touched(touch{cell, a.Write}, me, a.Gated)
		}
		if a.Cell == s.Cell {
			t.holds(&e, cell, me, s.Op)
		}
		t.touched(touch{t.slot(^a.Object), a.Free}, me, false)
	}
	t.order(&e, me)
	t.last[s.Task] = me
	for _, u := range woken {
		t.woken = append(t.woken, wakeRec{u, me, t.wakes[u]})
		t.wakes[u] = int32(len(t.woken) - 1)
	}
	t.events = append(t.events, e)
}

// begin sets t.now to what the task of e knows of without e: its own last event, who woke it since, and the last
// moment at which time passed. t.own is the same for finding races: a task that has been waiting for a lock since
// before that moment could have had it earlier.
func (t *trace) begin(e *event, waited bool) {
	n := len(t.paths)
	t.now, t.own = sized(t.now, n), sized(t.own, n)
	if e.prev >= 0 {
		t.join(t.now, e.prev)
	}
	for w := t.wakes[e.task]; w >= 0 && t.woken[w].event > e.prev; w = t.woken[w].prev {
		t.join(t.now, t.woken[w].event)
	}
	if !waited {
		t.pastQuiet(e)
	}
	copy(t.own, t.now)
	if waited {
		t.pastQuiet(e)
	}
}

func (t *trace) pastQuiet(e *event) {
	if t.quiet > e.prev+1 {
		t.join(t.now, t.quiet-1)
	}
}

// join makes the clock know of the event i and of all that happens before it.
func (t *trace) join(clock []int32, i int32) {
	e := &t.events[i]
	for u, c := range t.clocks[e.clock : e.clock+e.n] {
		clock[u] = max(clock[u], c)
	}
}

// touched notes a touch of the event me, and which events that makes it depend on: the last write, and for a write the
// reads since.
func (t *trace) touched(x touch, me int32, gated bool) {
	h := t.head[x.slot]
	if h >= 0 && !x.write {
		h = t.recs[h].wrote
	}
	for h >= 0 {
		r := &t.recs[h]
		if r.event != me {
			t.preds = append(t.preds, pred{event: r.event, race: !gated || x.write && t.setBefore(h)})
		}
		if r.touch.write {
			break
		}
		h = r.prev
	}
	t.push(x, me, gated)
}

// setBefore reports whether a token that the rec h has set was set before that already.
func (t *trace) setBefore(h int32) bool {
	p := t.recs[h].prev
	if p < 0 {
		return false
	}
	w := t.recs[p].wrote
	return w >= 0 && !t.recs[w].gated
}

// takes notes that the event me takes a lock, which could have come before whoever took it last: the two race, and
// giving it back in between neither races nor orders them.
func (t *trace) takes(slot, me int32) {
	if h := t.head[slot]; h >= 0 && t.recs[h].wrote >= 0 {
		t.preds = append(t.preds, pred{event: t.recs[t.recs[h].wrote].event, lock: true})
	}
	if by := t.taken[slot]; by != 0 {
		t.preds = append(t.preds, pred{event: max(by, -by) - 1, race: true, lock: true})
	}
	t.push(touch{slot, true}, me, false)
}

// holds keeps who has the lock.
func (t *trace) holds(e *event, slot, me int32, op kernel.OpKind) {
	by := t.taken[slot]
	switch op {
	case kernel.OpTryLock:
		if by > 0 {
			return // in vain
		}
		fallthrough
	case kernel.OpLock, kernel.OpMutexLock:
		by = me + 1
	case kernel.OpUnlock, kernel.OpMutexUnlock:
		by = -max(by, -by)
	default:
		return
	}
	if e.lock < 0 {
		e.lock, e.taken = slot, t.taken[slot]
	}
	t.taken[slot] = by
}

func (t *trace) push(x touch, me int32, gated bool) {
	n := int32(len(t.recs))
	r := rec{touch: x, gated: gated && x.write, event: me, prev: t.head[x.slot], wrote: n}
	if !x.write {
		r.wrote = -1
		if r.prev >= 0 {
			r.wrote = t.recs[r.prev].wrote
		}
	}
	t.recs = append(t.recs, r)
	t.head[x.slot] = n
}

// order finds the races of the event me and gives it its clock.
func (t *trace) order(e *event, me int32) {
	for i := range t.preds {
		if p := &t.preds[i]; p.race && t.unordered(p) && !t.found(e, p.event) {
			t.races = append(t.races, racing{p.event, me})
		}
	}
	for i := range t.preds {
		t.join(t.now, t.preds[i].event)
	}
	if e.task >= 0 {
		t.now[e.task] = me + 1
	}
	e.clock, e.n = int32(len(t.clocks)), int32(len(t.now))
	t.clocks = append(t.clocks, t.now...)
}

// found reports whether the race of e with the event has been noted.
func (t *trace) found(e *event, first int32) bool {
	for _, r := range t.races[e.races:] {
		if r.first == first {
			return true
		}
	}
	return false
}

// unordered reports whether nothing but its own dependence orders the pred before the event under construction.
func (t *trace) unordered(p *pred) bool {
	clock := t.now
	if p.lock {
		clock = t.own
	}
	if clock[t.events[p.event].task] > p.event {
		return false
	}
	for i := range t.preds {
		d := &t.preds[i]
		if d.event != p.event && !(p.lock && d.lock) && t.happensBefore(p.event, &t.events[d.event]) {
			return false
		}
	}
	return true
}

// wants finds the race of a task that had announced to take a lock when the run ended, and could not: it is with who
// took it. The event that did not come to pass is the second one, by the number that it would have.
func (t *trace) wants(s *kernel.StepInfo) (r racing, d *deed, ok bool) {
	if s.Op != kernel.OpLock && s.Op != kernel.OpMutexLock || int(s.Task) >= len(t.paths) {
		return r, nil, false
	}
	slot := t.slot(s.Cell)
	if t.taken[slot] <= 0 {
		return r, nil, false
	}
	e := event{task: s.Task, prev: t.last[s.Task], quiet: t.quiet}
	t.begin(&e, true)
	t.preds = t.preds[:0]
	if p := (pred{event: t.taken[slot] - 1, race: true, lock: true}); !t.unordered(&p) {
		return r, nil, false
	}
	d = &deed{path: t.paths[s.Task]}
	d.add(touch{slot, true})
	return racing{t.taken[slot] - 1, int32(len(t.events))}, d, true
}

// deed is what is remembered of the event i.
func (t *trace) deed(i int32) *deed {
	e := &t.events[i]
	if e.deed != nil {
		return e.deed
	}
	e.deed = &deed{path: t.paths[e.task]}
	recs, woken := len(t.recs), len(t.woken)
	if int(i)+1 < len(t.events) {
		recs, woken = int(t.events[i+1].rec), int(t.events[i+1].woken)
	}
	for _, r := range t.recs[e.rec:recs] {
		e.deed.add(r.touch)
	}
	for _, w := range t.woken[e.woken:woken] {
		e.deed.wakes = append(e.deed.wakes, t.paths[w.task])
	}
	return e.deed
}

// reversal appends to v what is to be done before the first event of the race, in its place, so that the second one
// comes before it: all of the events below end that do not need the first, and then the second, which is last.
func (t *trace) reversal(r racing, last *deed, end int32, v []*deed) []*deed {
	for i := r.first + 1; i < end; i++ {
		if e := &t.events[i]; i != r.second && e.task >= 0 && !t.happensBefore(r.first, e) {
			v = append(v, t.deed(i))
		}
	}
	return append(v, last)
}

// sized returns a clock of n zeros.
func sized(s []int32, n int) []int32 {
	if cap(s) < n {
		s = make([]int32, n, 2*n)
	}
	s = s[:n]
	clear(s)
	return s
}

// slotTable numbers ids in the order in which they are met.
type slotTable struct {
	ids  []uint64 // by place, a power of two of them; 0 if free
	nums []int32
	n    int32
}

func (x *slotTable) place(id uint64) int {
	i := int(id*0x9e3779b97f4a7c15>>32) & (len(x.ids) - 1)
	for x.ids[i] != 0 && x.ids[i] != id {
		i = (i + 1) & (len(x.ids) - 1)
	}
	return i
}

// of is the number of the id, which is not 0.
func (x *slotTable) of(id uint64) int32 {
	if 2*int(x.n+1) > len(x.ids) {
		ids, nums := x.ids, x.nums
		x.ids, x.nums = make([]uint64, max(256, 2*len(ids))), make([]int32, max(256, 2*len(ids)))
		for i, id := range ids {
			if id != 0 {
				p := x.place(id)
				x.ids[p], x.nums[p] = id, nums[i]
			}
		}
	}
	p := x.place(id)
	if x.ids[p] == 0 {
		x.ids[p], x.nums[p] = id, x.n
		x.n++
	}
	return x.nums[p]
}
