// SPDX-License-Identifier: MIT

// Package bench measures how fast the sim back end is, against the bare coroutine switch that bounds it. All
// figures of one call belong together: compare them with each other, not with another machine's.
package bench

import (
	"fmt"
	"iter"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Ratio is how many times as long this takes as what Of names, measured in the same rounds; 0 if there is nothing
	// to compare it with.
	Ratio float64 `json:"ratio,omitempty"`
	Of    string  `json:"of,omitempty"`
}

// tasks and steps of the bare machine.
const (
	tasks = 3
	steps = 10
)

// Measure takes every figure, each over at least d. Rounds of the bare switch and of the bare machine
// alternate, so that what slows one down slows down the other.
func Measure(d time.Duration) ([]Figure, error) {
	var out []Figure
	add := func(name string, value float64, unit string) {
		out = append(out, Figure{Name: name, Value: value, Unit: unit})
	}

	var bare, machine, empty rate
	for range 4 {
		bare.add(switches(d / 4))
		machine.add(bareMachine(steps, d/4))
		empty.add(bareMachine(0, d/4))
	}
	// What a step costs, without what it costs to set up and take down a machine with its tasks.
	perStep := machine.perRun() - empty.perRun()
	perStep /= tasks * steps
	add("bare-switch", bare.nsPerStep(), "ns/switch")
	add("sim-3x10", machine.nsPerStep(), "ns/step")
	add("sim-3x10-marginal", perStep, "ns/step")
	add("sim-3x10-schedules", 1e9/machine.perRun(), "schedules/s")
	add("sim-3x10-over-bare-switch", machine.nsPerStep()/bare.nsPerStep(), "ratio")

	for _, w := range []struct{ name, scenario, params, chooser string }{
		{"lockd-start-random", "lockd-start", "", "random"},
		{"lockd-start-pct", "lockd-start", "", "pct"},
		{"callback-start-pct", "callback-start", "", "pct"},
	} {
		r, err := schedules(w.scenario, w.params, w.chooser, d)
		if err != nil {
			return nil, err
		}
		add(w.name, 1e9/r.perRun(), "schedules/s")
		add(w.name+"-steps", r.nsPerStep(), "ns/step")
		add(w.name+"-length", float64(r.steps)/float64(r.runs), "steps/schedule")
	}
	more, err := tiny(d)
	if err != nil {
		return nil, err
	}
	return append(out, more...), nil
}

// rate is a measurement: so many runs and steps in so long.
type rate struct {
	runs, steps int64
	took        time.Duration
}

func (r *rate) add(q rate) {
	r.runs += q.runs
	r.steps += q.steps
	r.took += q.took
}

func (r *rate) perRun() float64    { return float64(r.took.Nanoseconds()) / float64(r.runs) }
func (r *rate) nsPerStep() float64 { return float64(r.took.Nanoseconds()) / float64(r.steps) }

// switches is the bare loop: three coroutines, one switch to a random one a step.
func switches(d time.Duration) rate {
	var next [tasks]func() (struct{}, bool)
	for i := range next {
		n, stop := iter.Pull(func(yield func(struct{}) bool) {
			for yield(struct{}{}) {
			}
		})
		defer stop()
		next[i] = n
	}
	x := uint64(88172645463325252)
	var r rate
	start := time.Now()
	for r.took < d {
		for range 1000 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			next[x>>33%tasks]()
		}
		r.steps += 1000
		r.took = time.Since(start)
	}
	r.runs = r.steps
	return r
}

type counter struct {
	kernel.Obj
	n kernel.Atomic
}

// bareMachine runs three tasks of n operations each on one shared counter under the random walk.
func bareMachine(n int, d time.Duration) rate {
	m := kernel.NewSim()
	defer m.Close()
	body := func(x *counter) func(cur *kernel.Task) {
		return func(*kernel.Task) {
			for range n {
				x.n.Inc()
			}
		}
	}
	main := func(cur *kernel.Task) {
		x := kernel.StaticObj[counter](m, "counter")
		x.n.Init(&x.Obj, "n")
		f := body(x)
		a, b := m.Spawn(cur, "a", f), m.Spawn(cur, "b", f)
		f(cur)
		kernel.Join(cur, a)
		kernel.Join(cur, b)
	}
	return loop(d, func(ch kernel.Chooser) *kernel.Result { return m.Run(ch, kernel.Options{}, "main", main) })
}

// loop runs random walks for d.
func loop(d time.Duration, run func(ch kernel.Chooser) *kernel.Result) rate {
	var r rate
	var ch explore.Random
	start := time.Now()
	for r.took < d {
		for range 20 {
			r.runs++
			ch.Seed(1, uint64(r.runs))
			r.steps += int64(run(&ch).Steps)
		}
		r.took = time.Since(start)
	}
	return r
}

// schedules runs a whole scenario, oracles on, for d.
func schedules(name, params, chooser string, d time.Duration) (rate, error) {
	s, err := scenario.Find(name)
	if err != nil {
		return rate{}, err
	}
	p, err := s.ParseParams(params)
	if err != nil {
		return rate{}, err
	}
	m := kernel.NewSim()
	defer m.Close()
	var random explore.Random
	var pct explore.PCT
	var r rate
	start := time.Now()
	for r.took < d {
		for range 20 {
			r.runs++
			var ch kernel.Chooser = &random
			random.Seed(1, uint64(r.runs))
			if chooser == "pct" {
				pct.Seed(1, uint64(r.runs))
				ch = &pct
			}
			res := s.Run(m, ch, p, kernel.Options{})
			if f := res.Worst(); f != nil {
				return rate{}, fmt.Errorf("%s, schedule %d of seed 1: %s", name, r.runs, f)
			}
			r.steps += int64(res.Steps)
		}
		r.took = time.Since(start)
	}
	return r, nil
}
