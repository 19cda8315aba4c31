// SPDX-License-Identifier: MIT

// Package fuzz turns byte strings into runs of the target. Each target is a plain function of one []byte, so that one
// corpus serves every engine: Go's own (FuzzX in a _test.go file), and libFuzzer (RawX, and the folder libfuzzer).
//
// A run is a function of its input alone: the first bytes say what happens, others which task performs the next
// visible operation of the simulated machine. The same input gives the same run, operation by operation.
package fuzz

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/leakcheck"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Failure is what a target has to say about an input.
type Failure struct {
	Target string
	Title  string // one stable line: oracle, sentence
	Text   string // input, interleaving, structures
}

// Error is all of it.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s\n%s", f.Target, f.Title, f.Text)
}

// plan is what an input decodes to. It is used for one run.
type plan struct {
	scenario *scenario.Scenario
	params   scenario.Params
	schedule schedule
	faults   [kernel.DecisionKinds]int // what may happen beside the order of tasks
	about    func() string             // the decoded input, for a person
	check    func() (wrong string)     // what the run of a sound target must have led to; nil: the oracles suffice
}

// patience is how long one input may take. Engines give up after ten seconds (Go's) or twenty, without a word about
// where. A test without an engine has time: the machine may be busy with something else.
func patience() time.Duration {
	if worker := flag.Lookup("test.fuzzworker"); worker != nil && worker.Value.String() == "false" {
		return time.Minute
	}
	return 5 * time.Second
}

// maxSteps bounds a run: the longest sound one has a quarter of that at most. An endless loop inside the machine must
// come to it, and be run again with a record and drawn, long before patience is over.
const maxSteps = 40_000

// drawn is how many operations of a failing run are looked at for the drawing, the last ones: that takes time which
// grows with their square where a loop repeats them.
const drawn = 3_000

// outcome is what one execution came to.
type outcome struct {
	hash    uint64
	steps   int
	failure *Failure
}

// execute runs an input of a target. decode is called once for each run of it.
func execute(target string, decode func() *plan) outcome {
	gate := leakcheck.Open(false)
	// The body has a goroutine of its own: a libFuzzer callback runs on a thread that is locked to its goroutine,
	// where every hand-over to a coroutine is a switch of threads.
	done := make(chan outcome, 1)
	go func() { done <- body(target, decode) }()
	timer := time.NewTimer(patience())
	defer timer.Stop()
	select {
	case out := <-done:
		if out.failure == nil {
			if err := gate.Check(); err != nil {
				out.failure = &Failure{target, "leak: goroutines are left", err.Error()}
			}
		}
		return out
	case <-timer.C:
		buf := make([]byte, 1<<20)
		return outcome{failure: &Failure{target, "SVCFUZZ BUG: the run hangs outside the machine",
			string(buf[:runtime.Stack(buf, true)])}}
	}
}

// machines holds the machine of the last run for the next one. All state of a run is reset by its successor; what
// is kept are buffers.
var machines = make(chan *kernel.Machine, 1)

func machine() *kernel.Machine {
	select {
	case m := <-machines:
		return m
	default:
		return kernel.NewSim()
	}
}

// body runs an input, and once more with a record if it failed.
func body(target string, decode func() *plan) (out outcome) {
	defer func() {
		if p := recover(); p != nil {
			out.failure = &Failure{target, "SVCFUZZ BUG: panic outside the machine", fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
	}()
	m := machine()
	p := decode()
	opt := kernel.Options{MaxSteps: maxSteps, Faults: p.faults}
	res := p.scenario.Run(m, p.schedule.chooser(), p.params, opt)
	out.hash, out.steps = res.Hash, res.Steps
	if wrong := p.wrong(res); wrong != "" {
		out.failure = explain(target, m, decode(), wrong, res.Hash)
	}
	m.Close() // ends the coroutines; the machine itself stays good
	select {
	case machines <- m:
	default:
	}
	return out
}

// wrong names what is wrong with a run in one line; "" if nothing.
func (p *plan) wrong(res *kernel.Result) string {
	if f := res.Worst(); f != nil {
		return f.String()
	}
	if p.check != nil {
		return p.check()
	}
	return ""
}

// explain runs a failing input again, with a record.
func explain(target string, m *kernel.Machine, p *plan, wrong string, hash uint64) *Failure {
	count := explore.Counter{Chooser: p.schedule.chooser()}
	res := p.scenario.Run(m, &count, p.params, kernel.Options{MaxSteps: maxSteps, Faults: p.faults, Record: true})
	f := &Failure{Target: target, Title: wrong}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n%s", p.scenario.Name, p.params, p.about())
	if again := p.wrong(res); again != wrong || res.Hash != hash {
		fmt.Fprintf(&b, "SVCFUZZ BUG: the same input ran otherwise the second time: %q, hash %016x, then %016x\n", again, hash, res.Hash)
	}
	if worst := res.Worst(); worst != nil {
		b.WriteByte('\n')
		events := res.Events[max(0, len(res.Events)-drawn):]
		report.Text(&b, &report.Failure{
			Scenario: p.scenario.Name, Finding: worst, Events: events, Pending: res.Pending, Backend: "sim",
			Chooser: "bytes", Steps: res.Steps, Preemptions: count.Preemptions,
		})
	}
	fmt.Fprintf(&b, "\n%s", report.Dump(m, res))
	f.Text = b.String()
	return f
}
