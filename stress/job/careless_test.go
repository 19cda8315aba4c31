// SPDX-License-Identifier: MIT

//go:build !race

package job

import (
	"strings"
	"testing"
)

const raceEnabled = false

// The administrator without the mutex is found by sampling and by searching, shrinks to one preemption, and its
// schedule replays. The race detector has its own opinion of it, hence the build tag.
func TestCarelessAdmin(t *testing.T) {
	for _, chooser := range []string{"random", "pct", "bounded:n=2"} {
		j := Job{
			Scenario: "careless-admin", Params: "mutex=0", Backend: "sim", Seed: 1, Shrink: 2000, Trace: true, Twice: true,
			Want:  "victim", // the thread may also be gone before it is woken
			Plans: []Plan{{Chooser: chooser, Schedules: 20000}},
		}
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
	j := Job{
		Scenario: "careless-admin", Params: "mutex=0", Backend: "sim", Seed: 1, Want: "nobody",
		Plans: []Plan{{Chooser: "random", Schedules: 2000}},
	}
	r := execute(t, j)
	if r.Oracle != "victim" || r.Schedules != 2000 || r.FoundAt != 0 {
		t.Errorf("an oracle that never speaks: %+v", r)
	}
	j.Want = "victim"
	if r := execute(t, j); r.Oracle != "victim" || r.FoundAt == 0 || r.Schedules == 2000 || !strings.Contains(r.Schedule, "oracle: victim") {
		t.Errorf("one that does: %+v", r)
	}
}
