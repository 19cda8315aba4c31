// SPDX-License-Identifier: MIT

package portfolio

import (
	"slices"
	"strings"
	"sync"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// The searches that are no samplers.
const (
	exhaustiveSearch = "dpor"    // one schedule of every trace
	boundedSearch    = "bounded" // no preemption first, then one, two ...
	feedbackSearch   = "feedback"
)

// Searches are those of a portfolio for which none are named.
func Searches() []string {
	return []string{exhaustiveSearch, boundedSearch, "pos", "pct", "surw", feedbackSearch}
}

// faulty are the searches for which the faults that are allowed get a search of their own each.
var faulty = []string{exhaustiveSearch, "pos"}

// weight is the share that a search has of the budget.
func weight(search string) int {
	if search == exhaustiveSearch {
		return 3
	}
	return 1
}

// mostPreemptions is where the bounded search ends.
const mostPreemptions = 8

// runsOfPlan is after how many schedules with one set of faults the next set has its turn, so that each has one.
const runsOfPlan = 1000

// open makes the lanes of a job: its searches, and behind them those with faults.
func (x *explorer) open() ([]*lane, error) {
	e := x.job.Explore
	names := e.Searches
	if len(names) == 0 {
		names = Searches()
	}
	budgets, err := explore.ParseBudgets(e.Faults)
	if err != nil {
		return nil, &job.UsageError{What: err.Error()}
	}
	base := x.job.Options()
	base.Causal = true
	var lanes []*lane
	for _, name := range names {
		l := &lane{name: name, opt: base}
		var own string
		l.search, own, _ = strings.Cut(name, "+")
		if l.opt.Faults, err = explore.ParseBudgets(own); err != nil {
			return nil, refuse("search %q: %v", name, err)
		}
		lanes = append(lanes, l)
	}
	for kind, n := range budgets {
		for _, name := range faulty {
			if n == 0 {
				break
			}
			l := &lane{search: name, opt: base}
			l.opt.Faults[kind] = n
			l.name = name + "+" + explore.BudgetsText(l.opt.Faults)
			lanes = append(lanes, l)
		}
	}
	sum := 0
	for i, l := range lanes {
		l.place, l.weight, l.ahead, l.total.Name = i, weight(l.search), map[int]*piece{}, l.name
		sum += l.weight
	}
	for _, l := range lanes {
		if err := x.equip(l, sum); err != nil {
			return lanes, err
		}
	}
	return lanes, nil
}

// equip gives a lane its part of the budget and what it needs for itself. sum is that of all weights.
func (x *explorer) equip(l *lane, sum int) error {
	e := x.job.Explore
	l.shard = shard{0, 1}
	share := max(e.Schedules*l.weight/sum, min(1, e.Schedules))
	switch {
	case l.search == boundedSearch && l.faults() > 0:
		return refuse("search %q: it goes through preemptions and not through faults; write dpor+%s", l.name,
			explore.BudgetsText(l.opt.Faults))
	case l.search == boundedSearch:
		l.serial = &bounded{b: explore.Bounded{Bound: mostPreemptions, Again: true}}
	case l.search == exhaustiveSearch && l.faults() == 0:
		l.serial = &exhaustive{d: explore.DPOR{Optimal: true}}
	case l.search == exhaustiveSearch:
		l.serial = &planned{p: explore.FaultPlans{Optimal: true, Budget: l.faults(), Limit: runsOfPlan}}
	case l.search == feedbackSearch:
		l.serial = newFuzz(x.job.Seed, l.opt.Faults)
	default:
		spec, err := explore.ParseSpec(l.search)
		if err != nil {
			return &job.UsageError{What: err.Error()}
		}
		if spec.Kind == boundedSearch {
			return refuse("search %q: it goes from no preemption upwards by itself; write %s", l.search,
				boundedSearch)
		}
	}
	if l.serial != nil {
		// A search that cannot be divided belongs to one shard.
		l.finished = e.Shards > 1 && l.place%e.Shards != e.Shard-1
		l.budget = share
		return l.serial.open(x)
	}
	if e.Shards > 1 {
		l.shard = shard{e.Shard - 1, e.Shards}
	}
	if e.Schedules > 0 {
		l.budget = l.shard.share(share)
		l.finished = l.budget == 0
	}
	return nil
}

// exhaustive says that the lane is a search that proves something if it ends.
func (l *lane) exhaustive() bool { return l.search == exhaustiveSearch }

// proves says that it has.
func (l *lane) proves() bool {
	return l.exhaustive() && l.total.Exhausted && l.total.Astray == 0 && l.total.Partial == 0
}

// faults is how many decisions may differ in a run of the lane.
func (l *lane) faults() int {
	sum := 0
	for _, n := range l.opt.Faults {
		sum += n
	}
	return sum
}

// own is the machine of a search that goes on from schedule to schedule.
type own struct {
	m   *kernel.Machine
	run explore.Runner
}

func (o *own) open(x *explorer) error {
	t, err := job.FindTarget(x.job.Scenario, x.job.Params)
	if err != nil {
		return err
	}
	o.m = kernel.NewSim()
	o.run = t.On(o.m)
	return nil
}

func (o *own) on() explore.Runner { return o.run }

func (o *own) close() {
	if o.m != nil {
		o.m.Close()
	}
}

// bounded goes through the schedules by their number of preemptions.
type bounded struct {
	own
	b explore.Bounded
}

func (b *bounded) next() (kernel.Chooser, bool) { return &b.b, b.b.Next() }

// exhaustive runs one schedule of every trace.
type exhaustive struct {
	own
	d explore.DPOR
}

func (e *exhaustive) next() (kernel.Chooser, bool) { return &e.d, e.d.Next() }

func (e *exhaustive) counts(s *job.Search) {
	s.Traces, s.InVain, s.Astray = e.d.Complete, e.d.Blocked, e.d.Diverged
}

// planned does so for every set of faults.
type planned struct {
	own
	p explore.FaultPlans
}

func (p *planned) next() (kernel.Chooser, bool) { return &p.p, p.p.Next() }

func (p *planned) counts(s *job.Search) {
	s.Traces, s.InVain, s.Astray = p.p.Runs()
	s.Partial = p.p.Partial()
}

// fuzz is the search that goes on from schedules that showed something new.
type fuzz struct {
	own
	f *explore.Feedback

	mu    sync.Mutex
	fresh []explore.Tape // parents that are not in the corpus on disk
}

func newFuzz(seed uint64, faults [kernel.DecisionKinds]int) *fuzz {
	f := &fuzz{f: explore.NewFeedback(seed, 0, faults)}
	f.f.Kept = func(t explore.Tape) {
		f.mu.Lock()
		f.fresh = append(f.fresh, t)
		f.mu.Unlock()
	}
	return f
}

func (f *fuzz) next() (kernel.Chooser, bool) {
	f.f.Next()
	return f.f, true
}

// take returns the parents that have come up since the last time.
func (f *fuzz) take() []explore.Tape {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.fresh)
	f.fresh = f.fresh[:0]
	return out
}

// begin goes on with the parents that an earlier process has left.
func (f *fuzz) begin(tapes []string) error {
	var parsed []explore.Tape
	for _, text := range tapes {
		t, err := explore.ParseTape(text)
		if err != nil {
			return err
		}
		parsed = append(parsed, t)
	}
	f.f.Begin(parsed)
	return nil
}
