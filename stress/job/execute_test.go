// SPDX-License-Identifier: MIT

package job

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

func execute(t *testing.T, j Job) *Result {
	t.Helper()
	r, err := Execute(t.Context(), j, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Fault != "" {
		t.Fatal(r.Fault)
	}
	return r
}

func TestClean(t *testing.T) {
	ticks := 0
	j := Job{
		Scenario: "lockd-start", Params: "clients=2", Backend: "sim", Seed: 5, Twice: true,
		Plans: []Plan{{Chooser: "random", Schedules: 40}, {Chooser: "pct:d=3", Schedules: 40}, {Chooser: "bounded:n=0", Schedules: 100}},
	}
	r, err := Execute(t.Context(), j, func(Progress) { ticks++ })
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Clean || r.Oracle != "" || r.Schedule != "" || r.FoundAt != 0 || r.Unequal != 0 || r.Elapsed <= 0 {
		t.Errorf("%+v", r)
	}
	if len(r.Coverage) != 3 || r.Coverage[0].Chooser != "random" || r.Coverage[1].Schedules != 40 || r.Coverage[0].MaxTasks < 4 {
		t.Errorf("coverage %+v", r.Coverage)
	}
	total := 0
	for _, c := range r.Coverage {
		total += c.Schedules
	}
	if total != r.Schedules || r.Steps < int64(r.Schedules) {
		t.Errorf("%d schedules in all, %d in the plans; %d steps", r.Schedules, total, r.Steps)
	}
	if !reflect.DeepEqual(r.Job, j) {
		t.Errorf("the job became %+v", r.Job)
	}
	again := execute(t, j)
	again.Elapsed = r.Elapsed
	if !reflect.DeepEqual(r, again) {
		t.Errorf("the same job came to\n%+v\nand then to\n%+v", r, again)
	}
}

func TestExhausted(t *testing.T) {
	r := execute(t, Job{Scenario: "careless-admin", Backend: "sim", Plans: []Plan{{Chooser: "bounded:n=0"}, {Chooser: "bounded:n=1"}}})
	if r.Verdict != Clean || len(r.Coverage) != 2 {
		t.Fatalf("%+v", r)
	}
	for n, c := range r.Coverage {
		if !c.Exhausted || c.Bound != n || c.States == 0 {
			t.Errorf("bound %d: %+v", n, c)
		}
	}
}

// Shards of one job's schedules are parts of it.
func TestShardsFindTheSame(t *testing.T) {
	for _, chooser := range []string{"random", "pct"} {
		whole := execute(t, Job{
			Scenario: "resize", Backend: "sim", Seed: 3, Plans: []Plan{{Chooser: chooser, Schedules: 60}},
		})
		var steps int64
		for first := uint64(0); first < 60; first += 20 {
			steps += execute(t, Job{
				Scenario: "resize", Backend: "sim", Seed: 3, Plans: []Plan{{Chooser: chooser, Schedules: 20, First: first}},
			}).Steps
		}
		if steps != whole.Steps {
			t.Errorf("%s: three shards have %d steps, the whole has %d", chooser, steps, whole.Steps)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	plan := []Plan{{Chooser: "pct", Schedules: 5}}
	for name, c := range map[string]struct {
		job  Job
		want string
	}{
		"scenario":    {Job{Scenario: "nope", Backend: "sim", Plans: plan}, "lockd-start"},
		"parameter":   {Job{Scenario: "lockd-start", Params: "wheels=4", Backend: "sim", Plans: plan}, "clients"},
		"range":       {Job{Scenario: "lockd-start", Params: "clients=99", Backend: "sim", Plans: plan}, "1..3"},
		"value":       {Job{Scenario: "lockd-start", Params: "clients", Backend: "sim", Plans: plan}, "NAME=NUMBER"},
		"back end":    {Job{Scenario: "lockd-start", Backend: "qemu", Plans: plan}, "sim or free"},
		"no back end": {Job{Scenario: "lockd-start", Plans: plan}, "sim or free"},
		"no plan":     {Job{Scenario: "lockd-start", Backend: "sim"}, "plan"},
		"no plan free": {
			Job{Scenario: "lockd-start", Backend: "free"}, "plan",
		},
		"chooser":     {Job{Scenario: "lockd-start", Backend: "sim", Plans: []Plan{{Chooser: "dfs"}}}, "bounded"},
		"depth":       {Job{Scenario: "lockd-start", Backend: "sim", Plans: []Plan{{Chooser: "pct:d=99"}}}, "pct"},
		"schedule":    {Job{Scenario: "lockd-start", Backend: "sim", Replay: "hello"}, "svcfuzz schedule"},
		"cut":         {Job{Scenario: "lockd-start", Backend: "sim", Replay: "svcfuzz schedule 1\n\nmount 3\n"}, "cut short"},
		"free replay": {Job{Scenario: "lockd-start", Backend: "free", Replay: "svcfuzz schedule 1\n\nmount 3\nend\n"}, "sim"},
	} {
		r, err := Execute(t.Context(), c.job, nil)
		var usage *UsageError
		if !errors.As(err, &usage) || strings.ContainsAny(err.Error(), "\n\r") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
		if r != nil && r.Schedules != 0 {
			t.Errorf("%s: %d schedules were run", name, r.Schedules)
		}
	}
}

func TestContextEndsAJob(t *testing.T) {
	for _, backend := range []string{"sim", "free"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r, err := Execute(ctx, Job{Scenario: "lockd-start", Backend: backend, Seed: 1, Plans: []Plan{{Chooser: "random"}}}, nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || r == nil || r.Verdict != Clean {
			t.Errorf("%s: %v, %+v", backend, err, r)
		}
	}
}

func TestFree(t *testing.T) {
	j := Job{Scenario: "lockd-start", Backend: "free", Seed: 2, Plans: []Plan{{Schedules: 3}, {Schedules: 2}}}
	r := execute(t, j)
	if r.Verdict != Clean || r.Schedules != 5 || len(r.Coverage) != 2 || r.Coverage[0].Chooser != "free" {
		t.Errorf("%+v", r)
	}
}

// takeClean is the schedule file of a clean run of lockd-start.
func takeClean(t *testing.T) string {
	t.Helper()
	s, err := scenario.Find("lockd-start")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	var random explore.Random
	random.Seed(1, 1)
	res := s.Run(m, &random, s.Defaults(), kernel.Options{})
	if f := res.Worst(); f != nil {
		t.Fatal(f)
	}
	return string(explore.Take(res, map[string]string{"scenario": s.Name}).Text())
}

// Random schedules of real scenarios replay bit for bit, through the file form.
func TestReplayIsBitIdentical(t *testing.T) {
	n := 500
	if raceEnabled {
		n = 15 // forty times slower there, and nothing of it depends on the build
	}
	for _, c := range []struct{ name, params string }{
		{"lockd-start", ""}, {"lockd-start", "clients=2,proto=2"}, {"callback-start", ""}, {"callback-start", "minor=1"},
		{"stop-under-load", ""},
	} {
		s, err := scenario.Find(c.name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.ParseParams(c.params)
		if err != nil {
			t.Fatal(err)
		}
		one, two := kernel.NewSim(), kernel.NewSim()
		var random explore.Random
		hashes := map[uint64]bool{}
		for i := range n {
			random.Seed(77, uint64(i))
			opt := kernel.Options{FailAt: max(0, i%40-30), Causal: true} // now and then a run that fails
			res := s.Run(one, &random, p, opt)
			taken := explore.Take(res, map[string]string{"scenario": c.name})
			seq, tasks, state, worst := slices.Clone(res.Seq), slices.Clone(res.Tasks), res.State, res.Worst()
			parsed, err := explore.Parse(taken.Text())
			if err != nil {
				t.Fatal(err)
			}
			rep := explore.NewReplay(parsed)
			again := s.Run(two, rep, p, opt)
			switch {
			case rep.Diverged != "" || parsed.Left(again) != "":
				t.Fatalf("%s %s, schedule %d: %s %s", c.name, c.params, i, rep.Diverged, parsed.Left(again))
			case again.Hash != parsed.Hash || again.State != state || !slices.Equal(again.Seq, seq) || !slices.Equal(again.Tasks, tasks):
				t.Fatalf("%s %s, schedule %d: the replay is another run", c.name, c.params, i)
			case (again.Worst() == nil) != (worst == nil) || worst != nil && again.Worst().String() != worst.String():
				t.Fatalf("%s %s, schedule %d: %v became %v", c.name, c.params, i, worst, again.Worst())
			}
			hashes[again.Hash] = true
		}
		one.Close()
		two.Close()
		if len(hashes) < n/2 {
			t.Errorf("%s %s: only %d different runs of %d", c.name, c.params, len(hashes), n)
		}
	}
}
