// SPDX-License-Identifier: MIT

package job

import (
	"strconv"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Explore asks for a portfolio of searches beside each other in place of plans. Package portfolio executes it.
type Explore struct {
	Searches    []string      `json:"searches,omitempty"`  // choosers; empty: the usual ones
	Schedules   int           `json:"schedules,omitempty"` // of all searches and shards together; 0: no limit
	For         time.Duration `json:"for,omitempty"`       // 0: no limit
	Workers     int           `json:"workers,omitempty"`   // goroutines, each with a machine of its own; 0: one a core
	Shard       int           `json:"shard,omitempty"`     // this part, 1..Shards
	Shards      int           `json:"shards,omitempty"`    // 0: the whole
	MaxFindings int           `json:"max_findings,omitempty"`
	// State is the folder in which findings and progress are kept; "": nowhere. Resume goes on from what is in it.
	State  string `json:"state,omitempty"`
	Resume bool   `json:"resume,omitempty"`
	// Faults are the budgets of decisions, "timer=1,alloc=1": each gets a search of its own.
	Faults string `json:"faults,omitempty"`
}

// Explored is what came of a portfolio.
type Explored struct {
	Complete bool          `json:"complete"`           // every trace without faults was run
	Traces   int           `json:"traces"`             // that the exhaustive search ran
	Estimate float64       `json:"estimate,omitempty"` // of the number of all traces; 0: none
	Covered  int           `json:"covered"`            // every schedule with up to so many preemptions; -1: none
	Searches []Search      `json:"searches"`
	Searched time.Duration `json:"searched"` // how long that took, without making findings small
	Says     []string      `json:"says"`     // what this comes to, one sentence each
	// Findings are in the order of the searches and of the schedule numbers; each has its own schedule and drawing.
	Findings []*Result `json:"findings,omitempty"`
	// Unfinished says that neither the budget nor the schedules were used up: interrupted, or enough was found.
	Unfinished bool `json:"unfinished,omitempty"`
}

// Search is what one search of a portfolio did.
type Search struct {
	Name      string         `json:"name"`
	Schedules int            `json:"schedules"`
	Steps     int64          `json:"steps"`
	Spent     time.Duration  `json:"spent"` // of all workers together
	Exhausted bool           `json:"exhausted,omitempty"`
	MaxTasks  int            `json:"max_tasks"`
	MaxSteps  int            `json:"max_steps"`
	MaxPick   int            `json:"max_pick"`
	Hits      map[string]int `json:"hits,omitempty"` // schedules by the key of what they found
	// Traces is how many were seen, Once those of them that were seen once only; but for the exhaustive searches, all
	// schedules that end in the same failure count as one. Rounded says that there were too many to
	// keep them all, and that a part of them was counted in the place of all.
	Traces  int  `json:"traces"`
	Once    int  `json:"once,omitempty"`
	Rounded bool `json:"rounded,omitempty"`
	// InVain is how many schedules of an exhaustive search were given up because all that could still come was run
	// elsewhere, Astray how often it could not do what it had planned: then it may have left something out.
	InVain int `json:"in_vain,omitempty"`
	Astray int `json:"astray,omitempty"`
	// Partial is for how many sets of faults it did not come to its end.
	Partial int `json:"partial,omitempty"`
	// Depths is how many schedules pct drew with each depth, Among how many steps its change points lie in.
	Depths []int `json:"depths,omitempty"`
	Among  int   `json:"among,omitempty"`
	// What is left, as far as this search can tell; nil where it cannot. No two of these numbers mean the same.
	Missed []float64 `json:"missed,omitempty"` // by depth from 1: the probability, at most, that a bug of it was missed
	Unseen *float64  `json:"unseen,omitempty"` // the probability that its next schedule is of a trace that it has not seen
	Share  *float64  `json:"share,omitempty"`  // of the estimated number of traces
}

// Found is a failing schedule, and which search came upon it where.
type Found struct {
	By       string
	At       int // number of the schedule in its search, 1-based
	Finding  *kernel.Finding
	Schedule *explore.Schedule
}

// Head is what a schedule file says of the finding above its schedule.
func Head(j Job, found *Found, opt kernel.Options) map[string]string {
	r := &Result{Job: j, FoundBy: found.By}
	r.found(found.Finding)
	head := r.head(found.Finding, opt)
	head["number"] = strconv.Itoa(found.At)
	return head
}

// Explain makes a result of what a search found in t: its schedule shrunk and drawn on m as the job says, as far as
// that goes until over says that the time has passed. over may be nil.
func Explain(m *kernel.Machine, t *Target, j Job, found *Found, opt kernel.Options, over func() bool) *Result {
	r := &Result{Job: j, FoundBy: found.By, FoundAt: found.At, Schedules: found.At}
	r.found(found.Finding)
	r.explain(m, t.work(m), &explore.Outcome{Finding: found.Finding, Schedule: found.Schedule}, opt, over)
	return r
}
