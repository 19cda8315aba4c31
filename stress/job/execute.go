// SPDX-License-Identifier: MIT

package job

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/stress/soak"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// UsageError is a job that cannot be run as it was asked for: one line with the thing, the reason and the remedy.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

// Execute runs a job. progress is called about once a second; it may be nil. The error is a [*UsageError],
// the end of ctx, or a fault of the suite.
func Execute(ctx context.Context, j Job, progress func(Progress)) (*Result, error) {
	s, err := scenario.Find(j.Scenario)
	if err != nil {
		return nil, &UsageError{err.Error()}
	}
	p, err := s.ParseParams(j.Params)
	if err != nil {
		return nil, &UsageError{err.Error()}
	}
	if j.Replay == "" && len(j.Plans) == 0 {
		return nil, &UsageError{fmt.Sprintf("the job for %s has neither plans nor a schedule; give it one", j.Scenario)}
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	start := time.Now()
	r := &Result{Job: j, Verdict: Clean}
	switch j.Backend {
	case "free":
		err = r.free(ctx, p, progress)
	case "sim":
		err = r.sim(ctx, s, p, progress)
	default:
		err = &UsageError{fmt.Sprintf("unknown back end %q; choose sim or free", j.Backend)}
	}
	r.Elapsed = time.Since(start)
	return r, err
}

func (r *Result) sim(ctx context.Context, s *scenario.Scenario, p scenario.Params, progress func(Progress)) error {
	m := kernel.NewSim()
	defer m.Close()
	run := explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return s.Run(m, ch, p, opt)
	})
	opt := kernel.Options{FailAt: r.Job.FailAt}
	if r.Job.Replay != "" {
		return r.replay(m, run, opt)
	}
	var other *kernel.Finding
	for _, plan := range r.Job.Plans {
		out, err := explore.Search(ctx, run, explore.Plan{
			Keep: func(f *kernel.Finding) bool {
				if r.Job.Want == "" || f.Oracle == r.Job.Want {
					return false
				}
				other = f
				return true
			},
			Chooser: plan.Chooser, Seed: r.Job.Seed, First: plan.First, Schedules: plan.Schedules, For: plan.For,
			Twice: r.Job.Twice, Options: opt,
			Progress: func(o *explore.Outcome) {
				progress(Progress{plan.Chooser, r.Schedules + o.Schedules, r.Steps + o.Steps, o.Elapsed})
			},
		})
		if err != nil {
			return &UsageError{err.Error()}
		}
		r.Coverage = append(r.Coverage, Coverage{
			Chooser: plan.Chooser, Schedules: out.Schedules, Bound: out.Bound, Exhausted: out.Exhausted,
			States: out.States, MaxTasks: out.MaxTasks, MaxSteps: out.MaxSteps,
		})
		r.Unequal += out.Unequal
		if out.Finding != nil {
			r.FoundAt, r.FoundBy = r.Schedules+out.FoundAt, plan.Chooser
			r.Schedules += out.Schedules
			r.Steps += out.Steps
			r.found(out.Finding)
			r.explain(m, run, out, opt)
			break
		}
		r.Schedules += out.Schedules
		r.Steps += out.Steps
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if r.Verdict == Clean && other != nil {
		r.found(other)
	}
	return nil
}

func (r *Result) found(f *kernel.Finding) {
	r.Verdict = oracle.Verdict(f)
	r.Oracle, r.Title, r.Text, r.Func, r.Task = f.Oracle, f.Title, f.Text, f.Func, f.Task
	if strings.HasPrefix(f.Oracle, "SVCFUZZ BUG") {
		r.Fault = f.String()
	}
}

// explain shrinks the failing schedule and draws it.
func (r *Result) explain(m *kernel.Machine, run explore.Runner, out *explore.Outcome, opt kernel.Options) {
	out.Schedule.Meta = r.meta()
	if r.Job.Shrink == 0 && !r.Job.Trace {
		r.Schedule = string(out.Schedule.Text())
		return
	}
	sh := explore.Shrink(run, out.Schedule, out.Finding, opt, r.Job.Shrink)
	r.ShrinkRuns = sh.Runs
	r.Preemptions = sh.Preemptions
	r.Schedule = string(sh.Schedule.Text())
	if r.Job.Trace {
		r.draw(m, sh.Result, sh.Finding)
	}
}

// draw renders the recorded run; the file names in it are the caller's business.
func (r *Result) draw(m *kernel.Machine, res *kernel.Result, f *kernel.Finding) {
	var b strings.Builder
	report.Text(&b, &report.Failure{
		Scenario: r.Job.Scenario, Finding: f, Events: res.Events, Pending: res.Pending,
		Mutant: r.Job.Mutant, Era: r.Job.Era, Backend: r.Job.Backend, Chooser: r.FoundBy, Seed: r.Job.Seed,
		Steps: res.Steps, Preemptions: r.Preemptions, Schedule: SchedulePlaceholder,
	})
	r.Trace = b.String()
	r.Dump = report.Dump(m, res)
}

// SchedulePlaceholder stands in a trace for the name of the schedule file, which the caller chooses.
const SchedulePlaceholder = "SCHEDULE_FILE"

func (r *Result) meta() map[string]string {
	m := map[string]string{
		"scenario": r.Job.Scenario,
		"backend":  "sim",
		"chooser":  r.FoundBy,
		"seed":     fmt.Sprint(r.Job.Seed),
		"oracle":   r.Oracle,
		"finding":  r.Title,
	}
	for k, v := range map[string]string{"params": r.Job.Params, "era": r.Job.Era, "mutant": r.Job.Mutant} {
		if v != "" {
			m[k] = v
		}
	}
	if r.Job.FailAt != 0 {
		m["fail_at"] = fmt.Sprint(r.Job.FailAt)
	}
	return m
}

// replay follows a schedule file once.
func (r *Result) replay(m *kernel.Machine, run explore.Runner, opt kernel.Options) error {
	s, err := explore.Parse([]byte(r.Job.Replay))
	if err != nil {
		return &UsageError{err.Error()}
	}
	opt.Record = r.Job.Trace
	rep := explore.NewReplay(s)
	count := explore.Counter{Chooser: rep}
	res := run.Run(&count, opt)
	r.Schedules, r.Steps, r.Preemptions = 1, int64(res.Steps), count.Preemptions
	r.Diverged = cmp.Or(rep.Diverged, s.Left(res))
	r.Hash = fmt.Sprintf("%016x", res.Hash)
	r.FoundBy = "replay"
	if r.Diverged == "" && s.Hash != 0 && s.Hash != res.Hash {
		r.Diverged = fmt.Sprintf("the trace hash is %s, the schedule says %016x: the code has changed since", r.Hash, s.Hash)
	}
	if f := res.Worst(); f != nil {
		r.FoundAt = 1
		r.found(f)
		if r.Job.Trace {
			r.draw(m, res, f)
		}
	}
	return nil
}

// free runs plans on goroutines; a plan's schedules are iterations.
func (r *Result) free(ctx context.Context, p scenario.Params, progress func(Progress)) error {
	if r.Job.Replay != "" {
		return &UsageError{"a schedule can only be replayed on the sim back end"}
	}
	for _, plan := range r.Job.Plans {
		out, err := soak.Run(ctx, soak.Config{
			Scenarios: []string{r.Job.Scenario}, Params: p.String(), Seed: r.Job.Seed, First: plan.First,
			Iterations: plan.Schedules, For: plan.For,
			Progress: func(n int, elapsed time.Duration) { progress(Progress{"free", r.Schedules + n, 0, elapsed}) },
		})
		if err != nil {
			return err
		}
		if out.Finding != nil {
			r.FoundAt, r.FoundBy = r.Schedules+out.Iterations, "free"
			r.found(out.Finding)
		}
		r.Schedules += out.Iterations
		r.Coverage = append(r.Coverage, Coverage{Chooser: "free", Schedules: out.Iterations})
		if out.Finding != nil {
			break
		}
	}
	return nil
}
