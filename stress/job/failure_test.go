// SPDX-License-Identifier: MIT

//go:build !race

// What is looked for here is a data race as well, of which the race detector has its own opinion.

package job

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// theVictim is a shrunk failing run of the administrator without the mutex.
func theVictim(t *testing.T) *Result {
	t.Helper()
	return execute(t, Job{
		Scenario: "careless-admin", Params: "mutex=0", Backend: "sim", Seed: 1, Shrink: 2000, Want: "victim",
		Plans: []Plan{{Chooser: "pct", Schedules: 20_000}},
	})
}

// A failure says what it needs: two orders of operations.
func TestFailureIsExplained(t *testing.T) {
	r := theVictim(t)
	if r.Depth != 2 || len(r.Constraints) != 2 || r.Needs != "needs 1 preemption" || r.Faults != "" {
		t.Errorf("depth %d, %q, %q, faults %q", r.Depth, r.Constraints, r.Needs, r.Faults)
	}
	for _, c := range r.Constraints {
		first, then, _ := strings.Cut(c, " < ")
		if !strings.Contains(r.Schedule, "\nbefore "+first+" "+then+"\n") {
			t.Errorf("%s is not in the schedule\n%s", c, r.Schedule)
		}
	}
	if !strings.Contains(r.Schedule, "\nkey: victim - ") {
		t.Errorf("the schedule has no key\n%s", r.Schedule)
	}
}

// A schedule that cannot be followed any more fails by its constraints; without them it is stale.
func TestReplayByConstraints(t *testing.T) {
	r := theVictim(t)
	j := Job{Scenario: "careless-admin", Params: "mutex=0", Backend: "sim", Replay: r.Schedule, Trace: true}
	if again := execute(t, j); again.By != ByDecisions || again.Diverged != "" || again.Depth != 2 || again.Tries != 0 {
		t.Errorf("as it was: by %q, diverged %q", again.By, again.Diverged)
	}
	segments := regexp.MustCompile(`(?m)^[a-z_]+ [0-9]+$`)
	moved := segments.ReplaceAllString(r.Schedule, "nobody 1")
	j.Replay = moved
	again := execute(t, j)
	if again.By != ByConstraints || again.Title != r.Title || again.Diverged == "" || again.Again < 9 ||
		again.Tries != 10 ||
		!strings.Contains(again.Trace, "admin") {
		t.Errorf("moved: by %q, %s, %d of %d", again.By, again.Title, again.Again, again.Tries)
	}
	j.Params = "mutex=1"
	if again := execute(t, j); again.By != "" || again.Verdict != Clean || again.Again != 0 || again.Diverged == "" {
		t.Errorf("with the mutex: by %q, %s, %d of %d", again.By, again.Title, again.Again, again.Tries)
	}
	j.Params = "mutex=0"
	j.Replay = regexp.MustCompile(`(?m)^before .*\n`).ReplaceAllString(moved, "")
	if again := execute(t, j); again.By != "" || again.Diverged == "" {
		t.Errorf("without constraints: by %q, diverged %q", again.By, again.Diverged)
	}
}

// On real goroutines the orders come back, and so does what comes of them; the oracle that knew it best looks only when
// the machine is at rest, which nobody can tell there.
func TestReenterOnGoroutines(t *testing.T) {
	r := theVictim(t)
	j := Job{Scenario: "careless-admin", Params: "mutex=0", Backend: "free", Replay: r.Schedule}
	again := execute(t, j)
	if again.By != ByGoroutines || again.Tries != reentries || again.Again+again.Otherwise < reentries/2 ||
		again.Verdict == Clean {
		t.Errorf("by %q, %d and %d of %d: %s; unmet %q", again.By, again.Again, again.Otherwise, again.Tries,
			again.Title, again.Unmet)
	}
	j.Params = "mutex=1"
	if again := execute(t, j); again.By != "" || again.Verdict != Clean || len(again.Unmet) == 0 {
		t.Errorf("with the mutex: by %q, %s, unmet %q", again.By, again.Title, again.Unmet)
	}
	head := "svcfuzz schedule 1\nscenario: x\n\nadmin 3\n"
	order := "before a.load(x)#1 b.store(x)#1\n"
	for words, j := range map[string]Job{
		`no "before" lines`:        {Scenario: "careless-admin", Replay: head + "end\n"},
		"decides alloc admin 1 1":  {Scenario: "careless-admin", Replay: head + "decide alloc admin 1 1\n" + order + "end\n"},
		"on the sim back end only": {Scenario: "lsr", Replay: head + order + "end\n"},
		"not a schedule file":      {Scenario: "careless-admin", Replay: "hello"},
	} {
		j.Backend = "free"
		var usage *UsageError
		if _, err := Execute(t.Context(), j, nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// An amount of the workload that the failure does not need is left out of its schedule.
func TestSmallerWorkload(t *testing.T) {
	target, err := FindTarget("callback-start", "clients=3,requests=2")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, u := range target.smaller() {
		all = append(all, u.Params)
	}
	got := strings.Join(all, " ")
	for _, want := range []string{"clients=1,ipv6=1,minor=0,requests=2", "clients=3,ipv6=1,minor=0,requests=0",
		"clients=3,ipv6=1,minor=0,requests=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not proposed: %s", want, got)
		}
	}
	least, err := FindTarget("callback-start", "clients=1,requests=0")
	if err != nil || len(least.smaller()) != 0 {
		t.Errorf("there is something smaller than the smallest: %v", err)
	}
}
