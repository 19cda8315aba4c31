// SPDX-License-Identifier: MIT

package portfolio

import (
	"fmt"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
)

// No number speaks for the whole: what a search has not met it cannot count. So each search gets the numbers that it
// can give for itself, and every sentence says what its number does not mean.

// deepest is up to which depth of a bug the bound of pct is told.
const deepest = 4

// report fills in what a lane has come to.
func (x *explorer) report(e *job.Explored, l *lane) {
	s := l.total
	switch b := l.serial.(type) {
	case nil:
		s.Traces, s.Once = l.seen.counts()
		s.Rounded = !l.seen.exact()
		if s.Schedules > 0 {
			unseen := explore.GoodTuring{Schedules: s.Schedules, Classes: s.Traces, Singletons: s.Once}.Value()
			s.Unseen = &unseen
			s.Missed = missed(&s)
		}
	case *bounded:
		s.Traces, _ = l.seen.counts()
		s.Rounded = !l.seen.exact()
		e.Covered = b.b.Covered()
	case *fuzz:
		s.Traces, _ = l.seen.counts()
		s.Rounded = !l.seen.exact()
	case *exhaustive:
		e.Traces = s.Traces
		if !s.Exhausted {
			e.Estimate = b.d.Estimate()
		}
	}
	e.Searches = append(e.Searches, s)
}

// missed is the probability, at most, that a bug has escaped a search by pct, by its depth from 1. A bug of some depth
// is one of every greater depth, too: more constraints of a schedule that shows it do not hide it.
func missed(s *job.Search) []float64 {
	if len(s.Depths) == 0 {
		return nil
	}
	var out []float64
	for depth := 1; depth <= deepest; depth++ {
		p := 1.0
		for d := depth; d < len(s.Depths); d++ {
			p *= explore.PCTBound{Tasks: s.MaxTasks, Steps: s.Among, Depth: d, Schedules: s.Depths[d]}.Value()
		}
		out = append(out, p)
	}
	return out
}

// say puts what the searches come to into sentences.
func (x *explorer) say(e *job.Explored) {
	say := func(format string, args ...any) { e.Says = append(e.Says, fmt.Sprintf(format, args...)) }
	base := named(e.Searches, exhaustiveSearch)
	if base != nil && base.Exhausted {
		e.Complete = base.Astray == 0
		if e.Complete {
			say("complete: %d traces, %s; every interleaving with these parameters and without faults is equivalent to one "+
				"of them.", e.Traces, x.verdict())
		} else {
			say("dpor came to its end after %d traces, but could not do what it had planned %d times: it may have left "+
				"something out.", e.Traces, base.Astray)
		}
	} else if base != nil && e.Estimate > 0 {
		x.share(e)
		say("dpor did not come to its end: it ran %d traces of some %.3g; this estimate is mostly too low while much is "+
			"left%s.", e.Traces, e.Estimate, x.howLong(e, base))
	}
	if e.Covered >= 0 && (base == nil || !base.Exhausted) {
		say("bounded: every schedule with at most %s was run, or one that is equivalent to it; nothing is said about more.",
			preemptions(e.Covered))
	}
	for _, s := range e.Searches {
		if s.Exhausted && s.Astray == 0 && s.Partial == 0 && !x.plain(&s) {
			say("%s: complete: every interleaving with at most so many such faults is equivalent to one of its %d traces.",
				s.Name, s.Traces)
		}
	}
	for _, s := range e.Searches {
		if s.Partial > 0 {
			say("%s: for %d sets of faults it did not come to its end; it proves nothing for them.", s.Name, s.Partial)
		}
	}
	var pct *job.Search
	sampled := false
	for i := range e.Searches {
		sampled = sampled || e.Searches[i].Unseen != nil
		if e.Searches[i].Missed != nil && pct == nil {
			pct = &e.Searches[i]
		}
	}
	if pct != nil {
		say("missed: the probability, at most, that all schedules of %s missed a given bug that d ordering constraints "+
			"bring about, if it shows in runs of at most %d tasks and %d steps; it is no statement about deeper bugs or "+
			"longer runs.",
			pct.Name, pct.MaxTasks, pct.Among)
	}
	if sampled {
		say("new: how likely the next schedule of the same search is of a trace that it has not seen (Good-Turing); traces " +
			"that it hardly ever draws do not count, and no other search may be judged by it.")
	}
	if e.Estimate > 0 {
		say("of all: the part of the estimated number of traces that the search has seen; bugs are not spread evenly over " +
			"traces, so it is not the probability that none is left.")
	}
}

// share gives every search its part of the estimated number of traces, which are at least those that one of them saw.
func (x *explorer) share(e *job.Explored) {
	for _, s := range e.Searches {
		if !s.Rounded && x.plain(&s) {
			e.Estimate = max(e.Estimate, float64(s.Traces))
		}
	}
	for i := range e.Searches {
		if s := &e.Searches[i]; x.plain(s) {
			v := explore.Share{Classes: s.Traces, Total: e.Estimate}.Value()
			s.Share = &v
		}
	}
}

// plain says that a search allows no faults, like the one that the estimate comes from.
func (x *explorer) plain(s *job.Search) bool {
	for _, l := range x.lanes {
		if l.name == s.Name {
			return l.faults() == 0
		}
	}
	return false
}

// howLong says how long the rest would take, if the estimate were right.
func (x *explorer) howLong(e *job.Explored, s *job.Search) string {
	if s.Spent <= 0 || e.Traces == 0 {
		return ""
	}
	rate := float64(e.Traces) / s.Spent.Seconds()
	left := (e.Estimate - float64(e.Traces)) / rate
	return fmt.Sprintf(", and at %.3g traces a second the rest of them would take %s", rate, span(left))
}

// span spells a time of any length for a person.
func span(seconds float64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%.0f seconds", seconds)
	case seconds < 2*time.Hour.Seconds():
		return fmt.Sprintf("%.0f minutes", seconds/60)
	case seconds < 48*time.Hour.Seconds():
		return fmt.Sprintf("%.0f hours", seconds/3600)
	case seconds < 1000*24*time.Hour.Seconds():
		return fmt.Sprintf("%.0f days", seconds/86400)
	}
	return fmt.Sprintf("%.2g years", seconds/86400/365)
}

// verdict is what was found without faults, in two words.
func (x *explorer) verdict() string {
	n := 0
	for _, f := range x.finds {
		if x.lanes[f.place].faults() == 0 {
			n++
		}
	}
	switch n {
	case 0:
		return "no finding"
	case 1:
		return "1 finding"
	}
	return fmt.Sprintf("%d findings", n)
}

// preemptions spells a number of them.
func preemptions(n int) string {
	if n == 1 {
		return "1 preemption"
	}
	return fmt.Sprintf("%d preemptions", n)
}

// named is the search of that name, nil if it was not run.
func named(all []job.Search, name string) *job.Search {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}
