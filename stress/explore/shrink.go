// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// Shrunk is a failing schedule made small.
type Shrunk struct {
	Schedule    *Schedule
	Result      *kernel.Result // of the recorded run, with events
	Finding     *kernel.Finding
	Preemptions int
	Runs        int // how many runs it took
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
	if a.preemptions != b.preemptions {
		return a.preemptions < b.preemptions
	}
	if a.switches != b.switches {
		return a.switches < b.switches
	}
	return a.steps < b.steps
}

// Shrink looks for a schedule with the same finding (oracle and title) and fewer preemptions: it drops
// segments one by one, so that a task runs on instead of being interrupted, and follows what then happens,
// until nothing more can be dropped or budget runs are spent. Then it looks through the schedules with still fewer
// preemptions, as far as a fixed number of runs goes, and runs the result once more with events.
func Shrink(r Runner, s *Schedule, f *kernel.Finding, opt kernel.Options, budget int) *Shrunk {
	out := &Shrunk{}
	try := func(s *Schedule) (attempt, bool) {
		out.Runs++
		rep := NewReplay(s)
		rep.Lenient = true
		count := Counter{Chooser: rep}
		res := r.Run(&count, opt)
		g := res.Worst()
		if g == nil || g.Oracle != f.Oracle || g.Title != f.Title {
			return attempt{}, false
		}
		got := Take(res, s.Meta)
		return attempt{got, g, count.Preemptions, res.Steps, len(got.Segments)}, true
	}
	best, ok := try(s)
	if !ok {
		best = attempt{s: s, f: f, preemptions: -1}
	}
	for again := ok; again && out.Runs < budget; {
		again = false
		for _, cand := range candidates(best.s) {
			if out.Runs >= budget {
				break
			}
			if a, ok := try(cand); ok && a.better(best) {
				best, again = a, true
				break
			}
		}
	}
	if ok {
		best = fewest(r, best, f, opt, out)
	}
	opt.Record = true
	res := r.Run(NewReplay(best.s), opt)
	out.Schedule, out.Finding, out.Preemptions = best.s, best.f, best.preemptions
	out.Result = res
	if g := res.Worst(); g != nil {
		out.Finding = g
	}
	return out
}

// searchRuns bounds the search for a schedule with fewer preemptions, on average for each number of them.
const searchRuns = 15_000

// fewest looks for the same finding among all schedules with fewer preemptions, from none on upwards.
func fewest(r Runner, best attempt, f *kernel.Finding, opt kernel.Options, out *Shrunk) attempt {
	b := &Bounded{Bound: best.preemptions - 1}
	for i := 0; i < searchRuns*best.preemptions && b.Next(); i++ {
		out.Runs++
		count := Counter{Chooser: b}
		res := r.Run(&count, opt)
		if g := res.Worst(); !res.Pruned && g != nil && g.Oracle == f.Oracle && g.Title == f.Title {
			got := Take(res, best.s.Meta)
			return attempt{got, g, count.Preemptions, res.Steps, len(got.Segments)}
		}
	}
	return best
}

// candidates are the schedules that differ from s by one simplification, the boldest first: everything after
// segment i left to the default, segment i left out, segment i moved behind the next one of the same task.
func candidates(s *Schedule) []*Schedule {
	var out []*Schedule
	n := len(s.Segments)
	for i := n / 2; i < n; i += max(n/8, 1) {
		out = append(out, &Schedule{Meta: s.Meta, Segments: s.Segments[:i]})
	}
	for i := n - 1; i >= 0; i-- {
		out = append(out, without(s, i))
	}
	for i := 0; i < n-2; i++ {
		if s.Segments[i].Task == s.Segments[i+2].Task {
			out = append(out, joined(s, i))
		}
	}
	return out
}

func without(s *Schedule, i int) *Schedule {
	seg := append(append([]Segment(nil), s.Segments[:i]...), s.Segments[i+1:]...)
	return &Schedule{Meta: s.Meta, Segments: merge(seg)}
}

// joined runs segments i and i+2, of one task, in one go before segment i+1.
func joined(s *Schedule, i int) *Schedule {
	seg := append([]Segment(nil), s.Segments...)
	seg[i].Steps += seg[i+2].Steps
	seg = append(seg[:i+2], seg[i+3:]...)
	return &Schedule{Meta: s.Meta, Segments: merge(seg)}
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
