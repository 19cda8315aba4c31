// SPDX-License-Identifier: MIT

//go:build !race

package job

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
)

const raceEnabled = false

// careless is a job that fails, sooner or later, with the finding of the victim oracle: the thread may also be gone
// before it is woken.
func careless(plans ...Plan) Job {
	return Job{Scenario: "careless-admin", Params: "mutex=0", Backend: "sim", Seed: 1, Want: "victim", Plans: plans}
}

// The administrator without the mutex is found by sampling and by searching, shrinks to one preemption, and its
// schedule replays. The race detector has its own opinion of it, hence the build tag.
func TestCarelessAdmin(t *testing.T) {
	for _, chooser := range []string{"random", "pct", "bounded:n=2"} {
		j := careless(Plan{Chooser: chooser, Schedules: 20000})
		j.Shrink, j.Trace, j.Twice = 2000, true, true
		r := execute(t, j)
		if r.Verdict != "leak" || r.Oracle != "victim" || r.Unequal != 0 || r.Preemptions > 1 || r.FoundBy != chooser {
			t.Fatalf("%s: %+v", chooser, r)
		}
		if r.FoundAt != r.Schedules || r.FoundAt == 0 {
			t.Errorf("%s: found at %d of %d", chooser, r.FoundAt, r.Schedules)
		}
		replay := Job{Scenario: j.Scenario, Params: j.Params, Backend: "sim", Replay: r.Schedule}
		if again := execute(t, replay); again.Diverged != "" || again.Title != r.Title || again.Preemptions != r.Preemptions {
			t.Errorf("%s: replay %+v", chooser, again)
		}
		// With the mutex the same schedule is stale, and says so even where it comes to nothing.
		replay.Params = "mutex=1"
		if again := execute(t, replay); again.Diverged == "" {
			t.Errorf("%s: the schedule is followed although the administrator takes the mutex: %+v", chooser, again)
		}
	}
}

// Want goes on until the oracle that is asked for speaks, and falls back on what others said.
func TestWant(t *testing.T) {
	j := careless(Plan{Chooser: "random", Schedules: 2000})
	j.Want = "nobody"
	r := execute(t, j)
	if r.Oracle != "victim" || r.Schedules != 2000 || r.FoundAt != 0 {
		t.Errorf("an oracle that never speaks: %+v", r)
	}
	j.Want = "victim"
	if r := execute(t, j); r.Oracle != "victim" || r.FoundAt == 0 || r.Schedules == 2000 || !strings.Contains(r.Schedule, "oracle: victim") {
		t.Errorf("one that does: %+v", r)
	}
}

func TestFailure(t *testing.T) {
	j := careless(Plan{Chooser: "pct", Schedules: 20000}, Plan{Chooser: "random", Schedules: 20})
	j.Shrink, j.Trace, j.Mutant, j.Era = 200, true, "some-mutant", "3.18"
	r := execute(t, j)
	if r.Verdict != "leak" || r.Oracle != "victim" || r.Title == "" || r.FoundBy != "pct" || r.FoundAt == 0 || r.Schedules != r.FoundAt {
		t.Fatalf("%+v", r)
	}
	if len(r.Coverage) != 1 {
		t.Errorf("the plans after a finding were carried out: %+v", r.Coverage)
	}
	if !strings.Contains(r.Trace, SchedulePlaceholder) || !strings.Contains(r.Trace, r.Title) || r.Dump == "" || r.ShrinkRuns == 0 {
		t.Errorf("trace:\n%s\ndump:\n%s", r.Trace, r.Dump)
	}
	s, err := explore.Parse([]byte(r.Schedule))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"scenario": "careless-admin", "params": "mutex=0", "backend": "sim", "chooser": "pct", "seed": "1", "oracle": "victim",
		"finding": r.Title, "mutant": "some-mutant", "era": "3.18",
	} {
		if s.Meta[k] != v {
			t.Errorf("the schedule file says %s: %q, not %q", k, s.Meta[k], v)
		}
	}

	// Unshrunk and untraced it is the run as it was found.
	j.Shrink, j.Trace = 0, false
	plain := execute(t, j)
	if plain.Trace != "" || plain.Dump != "" || plain.ShrinkRuns != 0 || plain.Title != r.Title {
		t.Errorf("%+v", plain)
	}

	for _, schedule := range []string{r.Schedule, plain.Schedule} {
		again := execute(t, Job{Scenario: j.Scenario, Params: j.Params, Backend: "sim", Replay: schedule, Trace: true})
		s, _ := explore.Parse([]byte(schedule))
		if again.Diverged != "" || again.Verdict != "leak" || again.Title != r.Title || again.FoundBy != "replay" || again.Trace == "" {
			t.Errorf("replay: %+v", again)
		}
		if want := string(s.Text()); !strings.Contains(want, "hash: "+again.Hash) {
			t.Errorf("replay has the hash %s, the schedule\n%s", again.Hash, want)
		}
	}
}

// A result survives its way from a runner to the command.
func TestResultAsJSON(t *testing.T) {
	j := careless(Plan{Chooser: "pct", Schedules: 20000, For: time.Minute, First: 3})
	j.Shrink, j.Trace = 50, true
	r := execute(t, j)
	text, err := json.Marshal(Line{Result: r})
	if err != nil {
		t.Fatal(err)
	}
	var back Line
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back.Result, r) || back.Progress != nil {
		t.Errorf("%v: %+v became %+v", err, r, back.Result)
	}
}

// A schedule that the code has left behind says where, and its replay is never taken for a pass.
func TestStaleSchedules(t *testing.T) {
	found := execute(t, careless(Plan{Chooser: "random", Schedules: 20000}))
	clean := takeClean(t)
	edit := func(text, from, to string) string {
		t.Helper()
		if !strings.Contains(text, from) {
			t.Fatalf("no %q in\n%s", from, text)
		}
		return strings.ReplaceAll(text, from, to)
	}
	const admin, start = "careless-admin", "lockd-start"
	for name, c := range map[string]struct {
		job  Job
		want string
	}{
		"a task that is gone": {
			Job{Scenario: admin, Params: "mutex=0", Replay: edit(found.Schedule, "\nadmin ", "\nnobody ")},
			"the schedule says nobody",
		},
		"another hash": {
			Job{Scenario: admin, Params: "mutex=0", Replay: edit(found.Schedule, "\nhash: ", "\nhash: f")}, "hash",
		},
		"the failure is gone": {Job{Scenario: admin, Params: "mutex=1", Replay: found.Schedule}, ""},
		"a clean run of other parameters": {
			Job{Scenario: start, Params: "clients=2,proto=2", Replay: clean}, "step ",
		},
		"a clean run in which a step fails now": {Job{Scenario: start, FailAt: 9, Replay: clean}, ""},
		"a longer schedule":                     {Job{Scenario: start, Replay: edit(clean, "\nend", "\nmount 5\nend")}, "over after"},
	} {
		c.job.Backend = "sim"
		if strings.Contains(c.job.Replay, "hash: f") { // one digit more than it may have: keep sixteen
			i := strings.Index(c.job.Replay, "hash: f") + len("hash: f")
			c.job.Replay = c.job.Replay[:i] + c.job.Replay[i+1:]
		}
		r := execute(t, c.job)
		if r.Diverged == "" || !strings.Contains(r.Diverged, c.want) || strings.Contains(r.Diverged, "\n") {
			t.Errorf("%s: verdict %s, diverged %q, want %q", name, r.Verdict, r.Diverged, c.want)
		}
		if r.Schedules != 1 || r.Hash == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := execute(t, Job{Scenario: "lockd-start", Backend: "sim", Replay: clean}); r.Diverged != "" || r.Verdict != Clean {
		t.Errorf("as it was: %+v", r)
	}
}

// TestNoPreemptJobs runs jobs with points: of a search that cannot do without a point, and of one that can.
func TestNoPreemptJobs(t *testing.T) {
	j := careless(Plan{Chooser: "bounded:n=0"})
	j.NoPreempt = []string{"lockd/svc.go:1 set(nothing)"}
	if _, err := Execute(t.Context(), j, nil); err == nil || !strings.Contains(err.Error(), "choose a sampler") {
		t.Errorf("bounded: %v", err)
	}
	j.Plans = []Plan{{Chooser: "pct", Schedules: 20000}}
	j.Points, j.Shrink = true, 50
	r := execute(t, j)
	if r.Verdict == Clean || len(r.Points) != r.Preemptions {
		t.Errorf("%+v", r)
	}
}
