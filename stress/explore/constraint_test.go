// SPDX-License-Identifier: MIT

//go:build !race

// The machines here race on purpose.

package explore

import (
	"fmt"
	"strings"
	"testing"

	known "github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// tiny makes a program a Runner.
func tiny(t testing.TB, name string) Runner {
	p, err := known.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	t.Cleanup(m.Close)
	return RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return p.Run(m, ch, opt) })
}

// spell is a set of constraints on one line.
func spell(all []kernel.Before) string {
	var words []string
	for _, b := range all {
		words = append(words, b.String())
	}
	return strings.Join(words, ", ")
}

// The canonical program needs one preemption, two constraints and eleven operations, the last of which shows it: twelve
// states.
func TestExplainLSR(t *testing.T) {
	r := tiny(t, "lsr-panic")
	out := search(t, r, Plan{Chooser: "pct", Seed: 1, Schedules: 5000})
	if out.Finding == nil {
		t.Fatal("the bug is not found")
	}
	sh := Shrink(Work{Runner: r}, out.Schedule, out.Finding, kernel.Options{}, Effort{Runs: 3000})
	ex := Explain(r, sh.Schedule, sh.Finding, kernel.Options{}, Effort{Runs: 5000})
	t.Logf("%s, %d steps, depth %d of %d candidates in %d runs: %s", sh.Needs, sh.Result.Steps, len(ex.Constraints),
		ex.Candidates, ex.Runs, spell(ex.Constraints))
	if sh.Preemptions != 1 || sh.Result.Steps != 11 || !ex.Found || len(ex.Constraints) != 2 {
		t.Errorf("%d preemptions, %d steps, %d constraints", sh.Preemptions, sh.Result.Steps, len(ex.Constraints))
	}
}

// A failure that comes in every order has no constraints, and one of a bigger workload is shown on the smallest that
// has it.
func TestExplainAlwaysAndSmaller(t *testing.T) {
	m := machine(t, func(cur *kernel.Task) { cur.Machine().BugOn(true, "always") })
	out := search(t, m, Plan{Chooser: "random", Seed: 1, Schedules: 1})
	ex := Explain(m, out.Schedule, out.Finding, kernel.Options{}, Effort{Runs: 100})
	if !ex.Found || len(ex.Constraints) != 0 {
		t.Errorf("found %t, depth %d", ex.Found, len(ex.Constraints))
	}
	var work func(n int) Work
	work = func(n int) Work {
		w := Work{Runner: tiny(t, fmt.Sprintf("pad-panic(%d)", n)), Params: fmt.Sprint(n)}
		if n > 1 {
			w.Smaller = func() []Work { return []Work{work(n / 2), work(n - 1)} }
		}
		return w
	}
	big := work(12)
	out = search(t, big, Plan{Chooser: "pct", Seed: 1, Schedules: 20_000})
	if out.Finding == nil {
		t.Fatal("the bug is not found")
	}
	out.Schedule.Meta = map[string]string{"params": "12"}
	sh := Shrink(big, out.Schedule, out.Finding, kernel.Options{}, Effort{Runs: 5000})
	if sh.Work.Params != "1" || sh.Schedule.Meta["params"] != "1" || sh.Preemptions != 1 || sh.Result.Steps != 11+2 {
		t.Errorf("size %s, %d preemptions, %d steps", sh.Work.Params, sh.Preemptions, sh.Result.Steps)
	}
}
