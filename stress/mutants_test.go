// SPDX-License-Identifier: MIT

package main

import (
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
)

// Mutants that differ in nothing but their budget share the search on their era, and it is the longest that any of
// them asks for. A budget of time and one of schedules do not compare.
func TestBases(t *testing.T) {
	of := func(id, era, params string, schedules int, d time.Duration) *mutant.Mutant {
		m := &mutant.Mutant{Scenario: "lockd-start", Params: params, Backend: "sim"}
		m.ID, m.Era, m.Budget = id, era, mutant.Budget{Schedules: schedules, For: d}
		return m
	}
	list := []*mutant.Mutant{
		of("short", "3.18", "clients=1,proto=0", 20, 0),
		of("long", "3.18", "proto=0,clients=1", 50, 0), // the same, spelt otherwise
		of("middle", "3.18", "clients=1,proto=0", 30, 0),
		of("era", "3.17", "clients=1,proto=0", 10, 0),
		of("params", "3.18", "clients=2,proto=0", 10, 0),
		of("time", "3.18", "clients=1,proto=0", 0, time.Minute),
	}
	h := &hunt{seed: 1, chooser: "pct", bases: map[string]*base{}}
	if err := h.plan(list); err != nil {
		t.Fatal(err)
	}
	if len(h.bases) != 4 {
		t.Errorf("%d searches for 4 kinds", len(h.bases))
	}
	for _, m := range list {
		j, err := h.jobOf(m)
		if err != nil {
			t.Fatal(err)
		}
		want := m.Budget
		if m.Era == "3.18" && m.Params != "clients=2,proto=0" && m.Budget.Schedules > 0 {
			want.Schedules = 50
		}
		plan := h.bases[baseKey(m, j)].job.Plans[0]
		if plan.Schedules != want.Schedules || plan.For != want.For || plan.Chooser != "pct" {
			t.Errorf("%s: the search on its era has the plan %+v", m.ID, plan)
		}
	}
}

// The line of progress of mutants says what it waits for.
func TestHuntLine(t *testing.T) {
	h := &hunt{of: 9, start: time.Now()}
	at := func(building, ready int, want string) {
		t.Helper()
		if got := h.line(building, ready); got != want+", 0s" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	h.begin("a")
	at(0, 0, "0 of 9 mutants, 1 running: a")
	h.note("a", func(a *activity) { a.builds = "mutant a  era 3.19" })
	h.begin("b")
	h.running("b", "era 3.18, ")(job.Progress{Chooser: "pct", Schedules: 1234})
	at(2, 1, "0 of 9 mutants, 1 running: b (era 3.18, pct 1,234), waiting for the build of mutant a  era 3.19, "+
		"2 building and 1 built ahead")
	h.note("a", func(a *activity) { a.builds = "" })
	h.end("b")
	h.done, h.last = 1, "b KILLED"
	at(0, 0, "1 of 9 mutants, last b KILLED, 1 running: a")
}
