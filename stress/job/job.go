// SPDX-License-Identifier: MIT

// Package job is one piece of exploration as data: what to run and what came of it. The command runs jobs in
// its own process on the tree as it is, and hands them to a runner built from a scratch copy for everything
// else; both sides execute them here.
package job

import (
	"fmt"
	"time"

	"github.com/seed17199236/svcfuzz/stress/soak"
)

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
	Detect   bool   `json:"detect,omitempty"` // data races are findings; sim
	Memory   string `json:"memory,omitempty"` // sc (also ""), tso or weak; sim
	Want     string `json:"want,omitempty"`   // go on until this oracle speaks; what others say counts only if it never does
	Plans    []Plan `json:"plans,omitempty"`  // in order; a finding ends them
	Replay   string `json:"replay,omitempty"` // a schedule file's text instead of plans
	// Explore is a portfolio of searches instead of plans; package portfolio executes such a job.
	Explore *Explore `json:"explore,omitempty"`
	// NoPreempt names scheduling points, as PointName does, at which samplers must let the running task go on.
	NoPreempt []string `json:"no_preempt,omitempty"`
	// Points asks for the points at which the failing schedule interrupts a task.
	Points bool `json:"points,omitempty"`
	// Shrink bounds the runs that make a failing schedule small; 0 leaves it as it was found.
	Shrink int `json:"shrink,omitempty"`
	// ShrinkFor bounds the time for that; 0: no limit, and the result is the same every time.
	ShrinkFor time.Duration `json:"shrink_for,omitempty"`
	// Trace asks for the readable interleaving and the dump of the touched structures.
	Trace bool `json:"trace,omitempty"`
	// HTML asks for the interleaving as a page as well; with Trace.
	HTML bool `json:"html,omitempty"`
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
	// Cut says that the time was over before the schedule was as small as it gets, and its constraints were found.
	Cut   bool   `json:"cut,omitempty"`
	Trace string `json:"trace,omitempty"`
	Dump  string `json:"dump,omitempty"`
	HTML  string `json:"html,omitempty"`
	// Depth is the number of Constraints, orders of operations that together bring the failure back; -1: not known.
	Depth       int      `json:"depth"`
	Constraints []string `json:"constraints,omitempty"`
	// Faults are the decisions that the failure needs, "alloc=1"; Needs is that and the preemptions in words.
	Faults string `json:"faults,omitempty"`
	Needs  string `json:"needs,omitempty"`
	// Params are those of the schedule, if a smaller workload than the job's fails as well.
	Params string `json:"params,omitempty"`
	// Diverged says where a replay left its schedule; "" if it did not.
	Diverged string `json:"diverged,omitempty"`
	// By says how a replay brought the failure back: by decisions, by constraints, or on real goroutines; "" if it did
	// not. Again of Tries runs failed, Otherwise more kept all constraints and ended in another finding; Unmet are
	// constraints that could not be met in a run that did not fail.
	By        string   `json:"by,omitempty"`
	Again     int      `json:"again,omitempty"`
	Otherwise int      `json:"otherwise,omitempty"`
	Tries     int      `json:"tries,omitempty"`
	Unmet     []string `json:"unmet,omitempty"`
	Hash      string   `json:"hash,omitempty"` // of a replay's run
	Fault     string   `json:"fault,omitempty"`
	// Refused says why the job cannot be run as it was asked for; nothing else is filled in then.
	Refused string `json:"refused,omitempty"`
	// Points are where the schedule interrupts a task, in order, if the job asked for them.
	Points []string `json:"points,omitempty"`
	blind  bool     // they could not be told
	// Explored is what came of a portfolio; the fields above are then those of its first finding and of all its searches.
	Explored *Explored `json:"explored,omitempty"`
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

// The ways in which a replay may bring a failure back.
const (
	ByDecisions   = "decisions"
	ByConstraints = "constraints"
	ByGoroutines  = "goroutines"
)

// The memory models of the sim back end: every store is seen at once, or it waits in the store buffer of its task as on
// x86, or set_bit, clear_bit and the atomics without a result wait there as well, which the kernel's rules allow.
const (
	MemorySC   = "sc"
	MemoryTSO  = "tso"
	MemoryWeak = "weak"
)

// late reports whether stores may wait in a buffer.
func (j *Job) late() bool { return j.Memory == MemoryTSO || j.Memory == MemoryWeak }

// CheckMemory says what is wrong with the name of a memory model, nil if nothing is.
func CheckMemory(name string) error {
	switch name {
	case "", MemorySC, MemoryTSO, MemoryWeak:
		return nil
	}
	return fmt.Errorf("there is no memory model %q; choose %s (every store is seen at once), %s (store buffers, as on "+
		"x86) or %s (bits and counters wait there, too)", name, MemorySC, MemoryTSO, MemoryWeak)
}

// checkMachine checks what the job asks of the machine.
func (j *Job) checkMachine() error {
	if err := CheckMemory(j.Memory); err != nil {
		return &UsageError{err.Error()}
	}
	if j.Backend == "free" && (j.Detect || j.late()) {
		return &UsageError{"the machine's race detector and memory model are those of the sim back end; " +
			"choose it (stress soak --race watches the free one)"}
	}
	if soak.Race && j.late() {
		return &UsageError{"store buffers are not for a build with the race detector, which takes a store that waits for " +
			"one that has happened; build without -race"}
	}
	return nil
}

// Clean is the verdict of a job without a finding.
const Clean = "clean"
