// SPDX-License-Identifier: MIT

package job

import (
	"fmt"
	"slices"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// points watches where a chooser interrupts a task, and keeps it from doing so at some places: there the task goes on,
// as if the place were no scheduling point.
type points struct {
	kernel.Chooser
	never []string // as PointName spells them
	seen  []string // where tasks were interrupted, in order
	blind bool     // the floor did not tell where a task is
}

// PointName names a scheduling point: "lockd/svc.go:318 wake_up_process(lockd)". Without a file it is one of the
// floor's own: "kernel starts(lockd)".
func PointName(file string, line int, op kernel.OpKind, cell string) string {
	if file == "" {
		return fmt.Sprintf("kernel %s(%s)", op, cell)
	}
	return fmt.Sprintf("%s:%d %s(%s)", file, line, op, cell)
}

// Pick implements kernel.Chooser.
func (p *points) Pick(c *kernel.Choice) *kernel.Task {
	t := p.Chooser.Pick(c)
	if t == nil || c.Cur == nil || t == c.Cur {
		return t
	}
	at, ok := c.At()
	op, _ := c.Cur.Pending()
	name := PointName(at.File, at.Line, op, c.Cur.PendingName())
	p.blind = p.blind || !ok
	if slices.Contains(p.never, name) {
		return c.Cur
	}
	p.seen = append(p.seen, name)
	return t
}

// Decide implements kernel.Decider.
func (p *points) Decide(d *kernel.Decision) int {
	if by, ok := p.Chooser.(kernel.Decider); ok {
		return by.Decide(d)
	}
	return 0
}

// avoid is run without the points at which the job forbids to interrupt a task.
func (r *Result) avoid(run explore.Runner) (explore.Runner, error) {
	if len(r.Job.NoPreempt) == 0 {
		return run, nil
	}
	for _, plan := range r.Job.Plans {
		// A search that steers by what it asked for would take the interruptions that do not happen for done.
		spec, err := explore.ParseSpec(plan.Chooser)
		if err != nil || spec.Ends() || spec.Kind == "feedback" {
			return nil, &UsageError{"no_preempt does not go with " + plan.Chooser + "; choose a sampler, such as random or pct"}
		}
	}
	return explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		p := &points{Chooser: ch, never: r.Job.NoPreempt}
		res := run.Run(p, opt)
		r.blind = r.blind || p.blind
		return res
	}), nil
}

// interrupted notes at which points the schedule that was found interrupts a task.
func (r *Result) interrupted(run explore.Runner, opt kernel.Options) error {
	s, err := explore.Parse([]byte(r.Schedule))
	if err != nil {
		return err
	}
	p := &points{Chooser: explore.NewReplay(s)}
	run.Run(p, opt)
	r.Points, r.blind = p.seen, r.blind || p.blind
	return nil
}

// sighted is an error if points were asked for and the floor could not tell them.
func (r *Result) sighted() error {
	if r.blind {
		return &UsageError{"a build with the race detector does not know the scheduling points; build without -race"}
	}
	return nil
}
