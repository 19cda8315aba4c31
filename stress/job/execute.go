// SPDX-License-Identifier: MIT

package job

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/stress/soak"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// UsageError is a job that cannot be run as it was asked for: one line with the thing, the reason and the remedy.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

// Execute runs a job. progress is called about once a second; it may be nil. The error is a [*UsageError],
// the end of ctx, or a fault of the suite.
func Execute(ctx context.Context, j Job, progress func(Progress)) (*Result, error) {
	t, err := FindTarget(j.Scenario, j.Params)
	if err != nil {
		return nil, err
	}
	if j.Replay == "" && len(j.Plans) == 0 {
		return nil, &UsageError{fmt.Sprintf("the job for %s has neither plans nor a schedule; give it one", j.Scenario)}
	}
	if err := j.checkMachine(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	start := time.Now()
	r := &Result{Job: j, Verdict: Clean}
	switch j.Backend {
	case "free":
		err = r.free(ctx, t, progress)
	case "sim":
		err = r.sim(ctx, t, progress)
	default:
		err = &UsageError{fmt.Sprintf("unknown back end %q; choose sim or free", j.Backend)}
	}
	r.Elapsed = time.Since(start)
	return r, err
}

func (r *Result) sim(ctx context.Context, t *Target, progress func(Progress)) error {
	m := kernel.NewSim()
	defer m.Close()
	plain := t.On(m)
	run, err := r.avoid(plain)
	if err != nil {
		return err
	}
	opt := r.Job.Options()
	if r.Job.Replay != "" {
		return r.replay(m, plain, opt)
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
			r.explain(m, t.work(m), out, opt, r.Job.Over(ctx))
			if r.Job.Points {
				if err := r.interrupted(plain, opt); err != nil {
					return err
				}
			}
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
	return r.sighted()
}

// Over tells from now on whether to leave off making a finding small: at the end of ctx, or when the job's time for it has
// passed.
func (j *Job) Over(ctx context.Context) func() bool {
	end, limit := time.Now().Add(j.ShrinkFor), j.ShrinkFor
	return func() bool { return ctx.Err() != nil || limit > 0 && time.Now().After(end) }
}

// Options are those that a job's runs have in common.
func (j *Job) Options() kernel.Options {
	opt := kernel.Options{FailAt: j.FailAt, Detect: j.Detect, TSO: j.late(), WeakAtomics: j.Memory == MemoryWeak}
	if j.HTML {
		opt.Snapshot = report.State
	}
	return opt
}

func (r *Result) found(f *kernel.Finding) {
	r.Verdict = oracle.Verdict(f)
	r.Oracle, r.Title, r.Text, r.Func, r.Task = f.Oracle, f.Title, f.Text, f.Func, f.Task
	if strings.HasPrefix(f.Oracle, "SVCFUZZ BUG") {
		r.Fault = f.String()
	}
}

// draw renders the recorded run; the file names in it are the caller's business.
func (r *Result) draw(m *kernel.Machine, res *kernel.Result, f *kernel.Finding) {
	failure := &report.Failure{
		Scenario: r.Job.Scenario, Finding: f, Events: res.Events, Pending: res.Pending, Unusual: r.unusual(),
		Mutant: r.Job.Mutant, Era: r.Job.Era, Backend: r.Job.Backend, Chooser: r.FoundBy, Seed: r.Job.Seed,
		Steps: res.Steps, Preemptions: r.Preemptions, Schedule: SchedulePlaceholder,
		Params: cmp.Or(r.Params, r.Job.Params), FailAt: r.Job.FailAt, Decisions: res.Decisions, Dump: report.Dump(m, res),
		Depth: r.Depth, Constraints: r.Constraints,
	}
	if r.Job.late() {
		failure.Memory = r.Job.Memory
	}
	var text, page strings.Builder
	report.Text(&text, failure)
	r.Trace, r.Dump = text.String(), failure.Dump
	if r.Job.HTML {
		if err := report.HTML(&page, failure); err != nil {
			r.Fault = fmt.Sprintf("the page of the interleaving cannot be made: %v", err)
		}
		r.HTML = page.String()
	}
}

// unusual are the parameters of the run that are not the scenario's defaults.
func (r *Result) unusual() string {
	t, err := FindTarget(r.Job.Scenario, cmp.Or(r.Params, r.Job.Params))
	if err != nil {
		return ""
	}
	return t.Unusual
}

// SchedulePlaceholder stands in a trace for the name of the schedule file, which the caller chooses.
const SchedulePlaceholder = "SCHEDULE_FILE"

// Named puts the name of the schedule file into a trace, whose command lines have the placeholder.
func Named(trace, file string) string {
	return strings.ReplaceAll(trace, SchedulePlaceholder, ShellWord(file))
}

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// ShellWord is text as one word of a command line.
func ShellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

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
	if r.Job.Detect {
		m["detect"] = "yes"
	}
	if r.Job.late() {
		m["memory"] = r.Job.Memory
	}
	if r.Job.FailAt != 0 {
		m["fail_at"] = fmt.Sprint(r.Job.FailAt)
	}
	return m
}

// free runs plans on goroutines; a plan's schedules are iterations.
func (r *Result) free(ctx context.Context, t *Target, progress func(Progress)) error {
	if r.Job.Replay != "" {
		return r.reenter(ctx, t)
	}
	if t.Tiny {
		return &UsageError{fmt.Sprintf("program %s: it has no real goroutines to run on; choose the sim back end", t.Name)}
	}
	for _, plan := range r.Job.Plans {
		out, err := soak.Run(ctx, soak.Config{
			Scenarios: []string{r.Job.Scenario}, Params: t.Params, Seed: r.Job.Seed, First: plan.First,
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
