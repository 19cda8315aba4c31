// SPDX-License-Identifier: MIT

package job

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// TestPoints finds the start race of a tiny machine, asks where its schedule interrupts a task, and sees that it cannot
// be found any more once the task that is about to store rq_task always goes on.
func TestPoints(t *testing.T) {
	p, err := program.Parse("lsr-panic")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	plain := explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return p.Run(m, ch, opt) })
	search := func(run explore.Runner) *explore.Outcome {
		out, err := explore.Search(t.Context(), run, explore.Plan{Chooser: "random", Seed: 1, Schedules: 5000})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := search(plain)
	if out.Finding == nil {
		t.Fatal("the race was not found")
	}
	sh := explore.Shrink(explore.Work{Runner: plain}, out.Schedule, out.Finding, kernel.Options{}, explore.Effort{Runs: 1000})
	r := &Result{Schedule: string(sh.Schedule.Text())}
	if err := r.interrupted(plain, kernel.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := r.sighted(); err != nil { // the race build says so and knows nothing more
		var usage *UsageError
		if !raceEnabled || !errors.As(err, &usage) || !strings.Contains(err.Error(), "without -race") {
			t.Error(err)
		}
		return
	}
	const store = "set(rq_task)"
	if len(r.Points) != 1 || sh.Preemptions != 1 || !strings.HasPrefix(r.Points[0], "stress/program/lsr.go:") ||
		!strings.HasSuffix(r.Points[0], " "+store) {
		t.Fatalf("interrupts at %q, %d preemptions; want one, in front of %s", r.Points, sh.Preemptions, store)
	}
	r.Job = Job{NoPreempt: r.Points, Plans: []Plan{{Chooser: "random"}}}
	avoiding, err := r.avoid(plain)
	if err != nil {
		t.Fatal(err)
	}
	if out := search(avoiding); out.Finding != nil {
		t.Errorf("found at schedule %d although %s is no scheduling point", out.FoundAt, store)
	}
	r.Job.NoPreempt = []string{"lockd/svc.go:1 set(nothing)"}
	if avoiding, err = r.avoid(plain); err != nil {
		t.Fatal(err)
	}
	if again := search(avoiding); again.FoundAt != out.FoundAt {
		t.Errorf("found at schedule %d, without a point to avoid at %d", again.FoundAt, out.FoundAt)
	}
}
