// SPDX-License-Identifier: MIT

package job

import (
	"strings"
	"testing"
)

// A job names its memory model; what there is not, and what the free back end cannot do, is said in one line.
func TestMemory(t *testing.T) {
	models := []string{"", MemorySC, MemoryTSO}
	if raceEnabled {
		models = models[:2]
		j := Job{Scenario: "lockd-start", Backend: "sim", Memory: MemoryTSO, Plans: []Plan{{Chooser: "random", Schedules: 1}}}
		if _, err := Execute(t.Context(), j, nil); err == nil || !strings.Contains(err.Error(), "build without -race") {
			t.Errorf("store buffers in a race build: %v", err)
		}
	}
	for _, memory := range models {
		r := execute(t, Job{
			Scenario: "lockd-start", Backend: "sim", Memory: memory, Detect: true, Twice: true, Seed: 3,
			Plans: []Plan{{Chooser: "random", Schedules: 20}},
		})
		if r.Verdict != Clean || r.Unequal != 0 || r.Schedules != 20 {
			t.Errorf("memory %q: %s %s, %d of %d schedules differ", memory, r.Verdict, r.Title, r.Unequal, r.Schedules)
		}
	}
	for want, j := range map[string]Job{
		`there is no memory model "arm"; choose sc`: {Backend: "sim", Memory: "arm"},
		"are those of the sim back end; choose it":  {Backend: "free", Memory: MemoryTSO},
		"race detector and memory model are":        {Backend: "free", Detect: true},
	} {
		j.Scenario, j.Plans = "lockd-start", []Plan{{Chooser: "random", Schedules: 1}}
		if _, err := Execute(t.Context(), j, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", j, err, want)
		}
	}
	r := &Result{Job: Job{Scenario: "lockd-start", Memory: MemoryWeak, Detect: true}}
	if m := r.meta(); m["memory"] != MemoryWeak || m["detect"] != "yes" {
		t.Errorf("the head of the schedule says %v", m)
	}
}
