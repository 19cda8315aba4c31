// SPDX-License-Identifier: MIT

// Package job is one piece of exploration as data: what to run and what came of it. The command runs jobs in
// its own process on the tree as it is, and hands them to a runner built from a scratch copy for everything
// else; both sides execute them here.
package job

import "time"

// Job says what to explore.
type Job struct {
	Scenario string `json:"scenario"`
	Params   string `json:"params,omitempty"` // "clients=2,proto=1"
	Backend  string `json:"backend"`          // sim or free
	Era      string `json:"era,omitempty"`    // for schedule files only: the binary is what it is
	Mutant   string `json:"mutant,omitempty"`
	Seed     uint64 `json:"seed"`
	FailAt   int    `json:"fail_at,omitempty"`
	Twice    bool   `json:"twice,omitempty"`
	Want     string `json:"want,omitempty"`   // go on until this oracle speaks; what others say counts only if it never does
	Plans    []Plan `json:"plans,omitempty"`  // in order; a finding ends them
	Replay   string `json:"replay,omitempty"` // a schedule file's text instead of plans
	// Shrink bounds the runs that make a failing schedule small; 0 leaves it as it was found.
	Shrink int `json:"shrink,omitempty"`
	// Trace asks for the readable interleaving and the dump of the touched structures.
	Trace bool `json:"trace,omitempty"`
}

// Plan is one way to explore and its budget: sim schedules, or iterations of the free back end.
type Plan struct {
	Chooser   string        `json:"chooser,omitempty"` // random, pct, pct:d=3, bounded:n=2
	Schedules int           `json:"schedules,omitempty"`
	For       time.Duration `json:"for,omitempty"`
	First     uint64        `json:"first,omitempty"` // number of the first schedule, for shards
}

// Line is one line of a runner's output: progress or the result.
type Line struct {
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
}

// Progress is a sign of life.
type Progress struct {
	Chooser   string        `json:"chooser"`
	Schedules int           `json:"schedules"`
	Steps     int64         `json:"steps"`
	Elapsed   time.Duration `json:"elapsed"`
}

// Result is what came of a job.
type Result struct {
	Job       Job           `json:"job"`
	Verdict   string        `json:"verdict"` // clean, warning, oops, hang, leak, use-after-free, ...
	Oracle    string        `json:"oracle,omitempty"`
	Title     string        `json:"title,omitempty"`
	Text      string        `json:"text,omitempty"`
	Func      string        `json:"func,omitempty"`
	Task      string        `json:"task,omitempty"`
	FoundAt   int           `json:"found_at,omitempty"` // number of the failing schedule over all plans
	FoundBy   string        `json:"found_by,omitempty"` // its chooser
	Schedules int           `json:"schedules"`
	Steps     int64         `json:"steps"`
	Elapsed   time.Duration `json:"elapsed"`
	Coverage  []Coverage    `json:"coverage,omitempty"`
	Unequal   int           `json:"unequal,omitempty"` // schedules whose two runs differ, with Twice
	// Schedule is the failing schedule, shrunk if asked for; Preemptions and Trace belong to it.
	Schedule    string `json:"schedule,omitempty"`
	Preemptions int    `json:"preemptions"`
	ShrinkRuns  int    `json:"shrink_runs,omitempty"`
	Trace       string `json:"trace,omitempty"`
	Dump        string `json:"dump,omitempty"`
	// Diverged says where a replay left its schedule; "" if it did not.
	Diverged string `json:"diverged,omitempty"`
	Hash     string `json:"hash,omitempty"` // of a replay's run
	Fault    string `json:"fault,omitempty"`
}

// Coverage is what one plan covered.
type Coverage struct {
	Chooser   string `json:"chooser"`
	Schedules int    `json:"schedules"`
	Bound     int    `json:"bound,omitempty"`
	Exhausted bool   `json:"exhausted"`
	States    int    `json:"states,omitempty"`
	MaxTasks  int    `json:"max_tasks"`
	MaxSteps  int    `json:"max_steps"`
}

// Clean is the verdict of a job without a finding.
const Clean = "clean"
