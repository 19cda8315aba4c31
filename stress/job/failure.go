// SPDX-License-Identifier: MIT

package job

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// head is what the schedule file of a finding says above the schedule.
func (r *Result) head(f *kernel.Finding, opt kernel.Options) map[string]string {
	head := r.meta()
	if on := explore.BudgetsText(opt.Faults); on != "" {
		head["faults"] = on
	}
	head["key"] = explore.Key(f).String()
	return head
}

// explain shrinks the failing schedule, finds out which orders of operations it comes down to, and draws it. over, which
// may be nil, tells when the time for that has passed.
func (r *Result) explain(m *kernel.Machine, w explore.Work, out *explore.Outcome, opt kernel.Options, over func() bool) {
	out.Schedule.Meta = r.head(out.Finding, opt)
	r.Depth = -1
	if r.Job.Shrink == 0 && !r.Job.Trace {
		r.Schedule = string(out.Schedule.Text())
		return
	}
	sh := explore.Shrink(w, out.Schedule, out.Finding, opt, explore.Effort{Runs: r.Job.Shrink, Over: over})
	r.ShrinkRuns, r.Preemptions, r.Needs = sh.Runs, sh.Preemptions, sh.Needs
	r.Faults = explore.BudgetsText(sh.Faults)
	if k := r.Job.FailAt; k != 0 {
		r.Needs += fmt.Sprintf(", the failure of fallible step %d", k)
	}
	if sh.Work.Params != w.Params {
		r.Params = sh.Work.Params
	}
	s := sh.Schedule
	delete(s.Meta, "faults")
	if on := explore.BudgetsText(sh.Options.Faults); on != "" {
		s.Meta["faults"] = on
	}
	if n := sh.Options.MaxSteps; n != opt.MaxSteps {
		s.Meta["max_steps"] = strconv.Itoa(n)
	}
	if r.Cut = sh.Cut && r.Job.Shrink > 0; !r.Cut && sh.Preemptions >= 0 && r.Job.Shrink > 0 {
		r.constrain(sh, over)
	}
	r.Schedule = string(s.Text())
	if r.Job.Trace {
		opt = sh.Options
		opt.Record = true
		r.draw(m, sh.Work.Run(explore.NewReplay(s), opt), sh.Finding) // once more: it shows the machine as the run left it
	}
}

// constrain finds the constraints of a shrunk failure, with as many runs as it may take to shrink.
func (r *Result) constrain(sh *explore.Shrunk, over func() bool) {
	ex := explore.Explain(sh.Work.Runner, sh.Schedule, sh.Finding, sh.Options, explore.Effort{Runs: r.Job.Shrink, Over: over})
	r.ShrinkRuns += ex.Runs
	if !ex.Found {
		r.Cut = over != nil && over()
		return
	}
	r.Depth = len(ex.Constraints)
	r.Constraints = spelled(ex.Constraints)
	sh.Schedule.Constraints = ex.Constraints
}

func spelled(all []kernel.Before) []string {
	var words []string
	for _, b := range all {
		words = append(words, b.String())
	}
	return words
}

// replay follows a schedule file. Where that does not bring the failure back any more, the constraints of the file are
// tried.
func (r *Result) replay(m *kernel.Machine, run explore.Runner, opt kernel.Options) error {
	s, err := explore.Parse([]byte(r.Job.Replay))
	if err != nil {
		return &UsageError{err.Error()}
	}
	if opt.Faults, err = s.Budgets(); err != nil {
		return &UsageError{err.Error()}
	}
	if opt.MaxSteps, err = s.MaxSteps(); err != nil {
		return &UsageError{err.Error()}
	}
	opt.Record = r.Job.Trace
	r.Constraints, r.Depth = spelled(s.Constraints), len(s.Constraints)
	r.FoundBy, r.Schedules = "replay", 1
	res, followed := r.follow(run, s, opt)
	f := res.Worst()
	known := s.Meta["oracle"] != "" // a file without is of a clean run, or written by hand
	if r.Diverged != "" || known && !wanted(s, f) {
		if again := r.enforce(run, s, opt); again != nil {
			r.Steps, r.Hash = int64(again.Steps), fmt.Sprintf("%016x", again.Hash)
			r.replayed(m, again)
			return nil
		}
	}
	if r.Preemptions = followed; wanted(s, f) {
		r.By = ByDecisions
	}
	r.replayed(m, res)
	return nil
}

// follow makes the run that the schedule describes.
func (r *Result) follow(run explore.Runner, s *explore.Schedule, opt kernel.Options) (res *kernel.Result,
	preemptions int) {
	rep := explore.NewReplay(s)
	count := explore.Counter{Chooser: rep}
	res = run.Run(&count, opt)
	r.Steps = int64(res.Steps)
	r.Diverged = cmp.Or(rep.Diverged, s.Left(res))
	r.Hash = fmt.Sprintf("%016x", res.Hash)
	if r.Diverged == "" && s.Hash != 0 && s.Hash != res.Hash {
		r.Diverged = fmt.Sprintf("the trace hash is %s, the schedule says %016x: the code has changed since", r.Hash, s.Hash)
	}
	return res, count.Preemptions
}

// enforce runs with the constraints of s. It returns a run that fails as the schedule says, recorded as opt asks for,
// if such runs are reproducible; nil, and what could not be met, if they are not.
func (r *Result) enforce(run explore.Runner, s *explore.Schedule, opt kernel.Options) *kernel.Result {
	if len(s.Constraints) == 0 {
		return nil
	}
	plain := opt
	plain.Record, plain.MaxSteps = false, 0
	e := explore.Enforce(run, s, func(f *kernel.Finding) bool { return wanted(s, f) }, plain)
	r.Again, r.Tries, r.Unmet = e.Failed, e.Runs, spelled(e.Unmet)
	if e.Schedule == nil {
		return nil
	}
	r.By = ByConstraints
	count := explore.Counter{Chooser: explore.NewReplay(e.Schedule)}
	res := run.Run(&count, opt)
	r.Preemptions = count.Preemptions
	return res
}

// replayed keeps what a replay's run ended with.
func (r *Result) replayed(m *kernel.Machine, res *kernel.Result) {
	f := res.Worst()
	if f == nil {
		return
	}
	r.FoundAt = 1
	r.found(f)
	if r.Job.Trace {
		r.draw(m, res, f)
	}
}

// wanted reports whether a finding is the one that a schedule's head names: by its key, in older files by its title.
// The function in the key may have another name by now.
func wanted(s *explore.Schedule, f *kernel.Finding) bool {
	if f == nil {
		return false
	}
	key, ok := explore.ParseKey(s.Meta["key"])
	switch {
	case ok:
		return explore.Key(f).Same(key)
	case s.Meta["finding"] != "":
		return f.Oracle == s.Meta["oracle"] && f.Title == s.Meta["finding"]
	}
	return true
}

// reentries is how often a failure is tried on real goroutines.
const reentries = 10

// reenter brings a failure back on real goroutines: tasks wait, for a moment, in front of the operations that the
// constraints of its schedule put behind others.
func (r *Result) reenter(ctx context.Context, t *Target) error {
	s, err := explore.Parse([]byte(r.Job.Replay))
	switch {
	case err != nil:
		return &UsageError{err.Error()}
	case t.Tiny:
		return &UsageError{fmt.Sprintf("program %s runs on the sim back end only; replay it there", t.Name)}
	case len(s.Constraints) == 0:
		return &UsageError{"the schedule has no \"before\" lines, and goroutines can follow nothing else; " +
			"find it anew, or replay it on the sim back end"}
	case len(s.Decisions) > 0:
		return &UsageError{fmt.Sprintf("the schedule decides %s, and nobody decides that on real goroutines; "+
			"replay it on the sim back end", s.Decisions[0])}
	}
	r.Constraints, r.Depth, r.FoundBy = spelled(s.Constraints), len(s.Constraints), "replay"
	for i := range reentries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m := kernel.NewFree()
		opt := r.Job.Options()
		opt.Seed, opt.Order, opt.Watchdog = r.Job.Seed+uint64(i), s.Constraints, 10_000
		res := t.run(m, nil, opt)
		m.Close()
		r.Tries++
		r.Schedules++
		r.Steps += int64(res.Steps)
		r.reentered(s, res)
	}
	return nil
}

// reentered counts a run on real goroutines. Oracles that look when the machine is at rest do not look there, so the
// orders may be kept and another oracle tell what comes of them.
func (r *Result) reentered(s *explore.Schedule, res *kernel.Result) {
	f := res.Worst()
	switch {
	case wanted(s, f):
		r.By = ByGoroutines
		if r.Again++; r.Again == 1 {
			r.FoundAt = r.Tries
			r.found(f)
		}
	case f != nil && len(res.Unmet) == 0:
		r.By = ByGoroutines
		if r.Otherwise++; r.Otherwise == 1 && r.Again == 0 {
			r.FoundAt = r.Tries
			r.found(f)
		}
	case r.Unmet == nil:
		r.Unmet = spelled(res.Unmet)
	}
}
