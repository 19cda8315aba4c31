// SPDX-License-Identifier: MIT

package explore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Work is a program under test with its workload.
type Work struct {
	Runner
	Params string // what Schedule.Meta says of it, "" if nothing
	// Smaller proposes the workloads that are one notch smaller, the boldest first. May be nil.
	Smaller func() []Work
}

// Shrunk is a failing schedule made small.
type Shrunk struct {
	Schedule    *Schedule
	Result      *kernel.Result // of the recorded run, with events
	Finding     *kernel.Finding
	Work        Work           // the workload that the schedule is of
	Options     kernel.Options // what it is to be run with
	Preemptions int
	Faults      [kernel.DecisionKinds]int // how many decisions of each kind are left
	Needs       string                    // "needs 1 preemption, 0 early timers, 1 alloc failure"
	Runs        int                       // how many runs it took
	Cut         bool                      // the time was over before it was as small as it gets
}

// attempt is one candidate: what happened when it was run.
type attempt struct {
	s           *Schedule
	f           *kernel.Finding
	preemptions int
	steps       int
	switches    int
}

func (a attempt) better(b attempt) bool {
	return cmp.Or(cmp.Compare(a.preemptions, b.preemptions), cmp.Compare(len(a.s.Decisions), len(b.s.Decisions)),
		cmp.Compare(a.switches, b.switches), cmp.Compare(a.steps, b.steps)) < 0
}

// Effort bounds what is done to make a failing schedule small, or to explain it.
type Effort struct {
	Runs int
	Over func() bool // the time is over; may be nil
}

// over reports whether no more runs are to be made, however few there were.
func (e *Effort) over() bool { return e.Over != nil && e.Over() }

func (e *Effort) spent(runs int) bool { return runs >= e.Runs || e.over() }

// shrinker makes one failing schedule small.
type shrinker struct {
	w      Work
	key    FailureKey
	opt    kernel.Options
	best   attempt
	effort Effort
	runs   int
	shorts int // how many runs look for a shorter schedule
}

// Shrink looks for a schedule with the same failure (see [Key]) that needs less: fewer faults, a smaller workload,
// fewer preemptions, fewer switches, fewer steps, in this order of trying. It leaves out parts of what was decided and
// parts of the schedule, so that a task runs on instead of being interrupted, and follows what then happens, until
// nothing more can be left out or the effort is spent. Then it looks through the schedules with still fewer
// preemptions, as far as a fixed number of runs goes, and runs the result once more with events. When the time of the
// effort is over, it leaves off with what it has.
func Shrink(w Work, s *Schedule, f *kernel.Finding, opt kernel.Options, effort Effort) *Shrunk {
	x := &shrinker{w: w, key: Key(f), opt: opt, effort: effort, shorts: searchShorter}
	x.opt.Record, x.opt.Faults = false, s.allowed(opt.Faults)
	if endless(f) {
		x.cutShort()
	}
	on := x.opt.Faults
	ok := false
	if x.best, ok = x.try(w.Runner, s); ok {
		x.fewerFaults()
		x.smallerWork()
		x.fewerSegments()
		x.fewest()
	} else {
		x.best = attempt{s: s, f: f, preemptions: -1}
	}
	return x.shrunk(on)
}

// LivelockSteps is after how many operations a run is cut off while a livelock is made small, and livelockCost how many
// times fewer runs that may take: each is as long as that. A sound run of a scenario has half as many at most.
// Of the end, in which one task goes round and round, livelockShown operations are drawn.
const (
	LivelockSteps = 20_000
	livelockCost  = 10
	livelockShown = 1_000
)

// endless tells whether a run was cut off since it did not end.
func endless(f *kernel.Finding) bool { return f.Oracle == "hang" && f.Title == kernel.Livelock }

// cutShort prepares for runs that do not end. They do not end early either, and most of what they do is the same over
// and over.
func (x *shrinker) cutShort() {
	if x.opt.MaxSteps == 0 || x.opt.MaxSteps > LivelockSteps {
		x.opt.MaxSteps = LivelockSteps
	}
	x.effort.Runs = (x.effort.Runs + livelockCost - 1) / livelockCost
	x.shorts /= livelockCost
}

// allowed are the budgets under which s runs as it was taken.
func (s *Schedule) allowed(given [kernel.DecisionKinds]int) [kernel.DecisionKinds]int {
	budgets, err := s.Budgets()
	if err != nil {
		return given
	}
	for k := range budgets {
		budgets[k] = max(budgets[k], given[k])
	}
	return budgets
}

// shrunk runs the best schedule with events.
func (x *shrinker) shrunk(on [kernel.DecisionKinds]int) *Shrunk {
	best := x.best
	out := &Shrunk{
		Schedule: best.s, Finding: best.f, Work: x.w, Options: x.opt, Preemptions: best.preemptions, Runs: x.runs,
		Cut: x.effort.over(),
	}
	for _, d := range best.s.Decisions {
		out.Faults[d.Kind]++
	}
	out.Needs = needs(best.preemptions, on, out.Faults)
	if endless(best.f) {
		steps := 0
		for _, g := range best.s.Segments[:max(len(best.s.Segments)-1, 0)] {
			steps += g.Steps
		}
		out.Options.MaxSteps = min(cmp.Or(x.opt.MaxSteps, LivelockSteps), steps+livelockShown)
	}
	opt := out.Options
	opt.Record = true
	out.Result = x.w.Run(NewReplay(best.s), opt)
	if g := out.Result.Worst(); g != nil {
		out.Finding = g
	}
	if endless(best.f) {
		out.Schedule = Take(out.Result, best.s.Meta)
	}
	return out
}

// faultWords name one fault of each kind.
var faultWords = [kernel.DecisionKinds]string{
	kernel.DecideAlloc: "alloc failure", kernel.DecideTimer: "early timer", kernel.DecideSpurious: "spurious wake-up",
	kernel.DecideRead: "short read", kernel.DecideRcu: "late grace period", kernel.DecideSignal: "signal",
}

// needs says how much of each ingredient is left, also where it is none of a kind that was on.
func needs(preemptions int, on, left [kernel.DecisionKinds]int) string {
	amount := func(n int, what string) string {
		if n != 1 {
			what += "s"
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	parts := []string{amount(max(preemptions, 0), "preemption")}
	for k, what := range faultWords {
		if on[k] > 0 {
			parts = append(parts, amount(left[k], what))
		}
	}
	return "needs " + strings.Join(parts, ", ")
}

// try runs a candidate, skipping what cannot be followed.
func (x *shrinker) try(r Runner, s *Schedule) (attempt, bool) {
	rep := NewReplay(s)
	rep.Lenient = true
	return x.run(r, rep, s.Meta)
}

// run makes one run, and reports whether it ends in the failure.
func (x *shrinker) run(r Runner, ch kernel.Decider, meta map[string]string) (attempt, bool) {
	x.runs++
	count := Counter{Chooser: ch}
	res := r.Run(&count, x.opt)
	f := res.Worst()
	if res.Pruned || f == nil || Key(f) != x.key {
		return attempt{}, false
	}
	s := Take(res, meta)
	return attempt{s, f, count.Preemptions, res.Steps, len(s.Segments)}, true
}

func (x *shrinker) spent() bool { return x.effort.spent(x.runs) }

// fewerFaults leaves out decisions, and switches off the kinds that none is left of.
func (x *shrinker) fewerFaults() {
	ddmin(x.best.s.Decisions, func(left []Decision) bool {
		if x.spent() {
			return false
		}
		a, ok := x.failing(x.w, &Schedule{Meta: x.best.s.Meta, Segments: x.best.s.Segments, Decisions: left})
		if ok = ok && len(a.s.Decisions) < len(x.best.s.Decisions); ok {
			x.best = a
		}
		return ok
	})
	for k := range x.opt.Faults {
		used := slices.ContainsFunc(x.best.s.Decisions, func(d Decision) bool { return int(d.Kind) == k })
		if was := x.opt.Faults[k]; was > 0 && !used {
			x.opt.Faults[k] = 0
			if a, ok := x.try(x.w.Runner, x.best.s); ok {
				x.best = a
			} else {
				x.opt.Faults[k] = was
			}
		}
	}
}

// searchSmaller is how many schedules a smaller workload, or one with fewer faults, is given to fail again.
const searchSmaller = 200

// smallerWork goes from workload to smaller workload as long as the failure stays.
func (x *shrinker) smallerWork() {
	for again := true; again && x.w.Smaller != nil; {
		again = false
		for _, w := range x.w.Smaller() {
			if x.spent() {
				return
			}
			s := &Schedule{Meta: maps.Clone(x.best.s.Meta), Segments: x.best.s.Segments, Decisions: x.best.s.Decisions}
			if s.Meta != nil {
				s.Meta["params"] = w.Params
			}
			if a, ok := x.failing(w, s); ok {
				x.w, x.best, again = w, a, true
				break
			}
		}
	}
}

// failing looks for the failure along a schedule, then along others with its decisions, drawn at random.
func (x *shrinker) failing(w Work, s *Schedule) (attempt, bool) {
	a, ok := x.try(w.Runner, s)
	pct := &PCT{}
	for i := 0; !ok && i < searchSmaller && !x.spent(); i++ {
		pct.Seed(1, uint64(i))
		a, ok = x.run(w.Runner, decided{pct, NewReplay(&Schedule{Decisions: s.Decisions})}, s.Meta)
	}
	return a, ok
}

// decided is a chooser whose decisions are those of a schedule.
type decided struct {
	kernel.Chooser
	answers *Replay
}

// Decide implements kernel.Decider.
func (d decided) Decide(q *kernel.Decision) int { return d.answers.Decide(q) }

// fewerSegments leaves out parts of the schedule, from halves down to single segments, and moves segments together.
func (x *shrinker) fewerSegments() {
	ddmin(x.best.s.Segments, func(left []Segment) bool {
		if x.spent() {
			return false
		}
		a, ok := x.try(x.w.Runner, x.with(merge(left)))
		if ok = ok && a.better(x.best); ok {
			x.best = a
		}
		return ok
	})
	for again := true; again; {
		again = false
		for _, segments := range simpler(x.best.s.Segments) {
			if x.spent() {
				return
			}
			if a, ok := x.try(x.w.Runner, x.with(segments)); ok && a.better(x.best) {
				x.best, again = a, true
				break
			}
		}
	}
}

func (x *shrinker) with(segments []Segment) *Schedule {
	return &Schedule{Meta: x.best.s.Meta, Segments: segments, Decisions: x.best.s.Decisions}
}

// searchRuns bounds the search for a schedule with fewer preemptions, on average for each number of them, and
// searchShorter that for one with no more of them that is shorter.
const (
	searchRuns    = 15_000
	searchShorter = 2_000
)

// fewest looks for the failure among all schedules with fewer preemptions, from none on upwards, and then for a shorter
// one among those with as many.
func (x *shrinker) fewest() {
	if x.best.preemptions > 0 {
		b := &Bounded{Bound: x.best.preemptions - 1}
		for i := 0; i < searchRuns*x.best.preemptions && !x.effort.over() && b.Next(); i++ {
			if a, ok := x.run(x.w.Runner, x.deciding(b), x.best.s.Meta); ok {
				x.best = a
				break
			}
		}
	}
	b := &Bounded{Bound: x.best.preemptions}
	for i := 0; i < x.shorts && !x.effort.over() && b.Next(); i++ {
		if a, ok := x.run(x.w.Runner, x.deciding(b), x.best.s.Meta); ok && a.better(x.best) {
			x.best = a
		}
	}
}

func (x *shrinker) deciding(ch kernel.Chooser) kernel.Decider {
	return decided{ch, NewReplay(&Schedule{Decisions: x.best.s.Decisions})}
}

// simpler are the schedules that differ from this one by one simplification, the boldest first: everything after
// segment i left to the default, segment i left out, segment i moved behind the next one of the same task.
func simpler(all []Segment) [][]Segment {
	var out [][]Segment
	n := len(all)
	for i := n / 2; i < n; i += max(n/8, 1) {
		out = append(out, all[:i])
	}
	for i := n - 1; i >= 0; i-- {
		out = append(out, merge(slices.Concat(all[:i], all[i+1:])))
	}
	for i := 0; i < n-2; i++ {
		if all[i].Task == all[i+2].Task {
			out = append(out, joined(all, i))
		}
	}
	return out
}

// joined runs segments i and i+2, of one task, in one go before segment i+1.
func joined(all []Segment, i int) []Segment {
	seg := slices.Clone(all)
	seg[i].Steps += seg[i+2].Steps
	return merge(append(seg[:i+2], seg[i+3:]...))
}

func merge(seg []Segment) []Segment {
	var out []Segment
	for _, g := range seg {
		if n := len(out); n > 0 && out[n-1].Task == g.Task {
			out[n-1].Steps += g.Steps
		} else {
			out = append(out, g)
		}
	}
	return out
}
