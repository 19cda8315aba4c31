// SPDX-License-Identifier: MIT

package bench

import (
	"fmt"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// subject is something that runs one schedule after the other.
type subject struct {
	name string
	of   string             // what it is compared with, "" if nothing
	run  func() (steps int) // one schedule
	rate rate
}

// rounds is how often all subjects are measured in turn: often, so that what else the machine does at a time falls on
// all of them.
const rounds = 64

// measure runs the subjects in rounds, so that what slows one down slows down all.
func measure(list []*subject, d time.Duration) {
	for range rounds {
		for _, s := range list {
			var r rate
			start := time.Now()
			for r.took < d/rounds {
				for range 20 {
					r.runs++
					r.steps += int64(s.run())
				}
				r.took = time.Since(start)
			}
			s.rate.add(r)
		}
	}
}

// The choosers of the table are given what a plan would find out for them: the length of a run, a profile.
const (
	lsrSteps = 19
	lsrCell  = "rq_task"
)

// lab has a machine for each subject, so that none finds what another has left.
type lab struct {
	machines []*kernel.Machine
	subjects []*subject
	err      error
}

func (l *lab) close() {
	for _, m := range l.machines {
		m.Close()
	}
}

// add adds a program under a chooser, which next makes ready for one more schedule.
func (l *lab) add(name, of, prog string, opt kernel.Options, next func(n uint64) kernel.Chooser) {
	p, err := program.Parse(prog)
	if err != nil {
		l.err = err
		return
	}
	m := kernel.NewSim()
	l.machines = append(l.machines, m)
	n := uint64(0)
	l.subjects = append(l.subjects, &subject{name: name, of: of, run: func() int {
		n++
		return p.Run(m, next(n), opt).Steps
	}})
}

// tiny takes the figures of the tiny programs: LSR under every chooser against the bare coroutines, many tasks against
// few, and a whole search.
func tiny(d time.Duration) ([]Figure, error) {
	var l lab
	defer l.close()
	walk, pct := newBareLoop(false), newBareLoop(true)
	defer walk.close()
	defer pct.close()
	for _, b := range []struct {
		name string
		loop *bareLoop
	}{{"lsr-bare-random", walk}, {"lsr-bare-pct:d=2", pct}} {
		n := uint64(0)
		l.subjects = append(l.subjects, &subject{name: b.name, run: func() int {
			n++
			steps, _ := b.loop.run(n)
			return steps
		}})
	}
	l.samplers()
	l.searches()
	for _, prog := range []string{"twostage(1)", "twostage(98)"} {
		var random explore.Random
		of := ""
		if prog != "twostage(1)" {
			of = "twostage(1)"
		}
		l.add(prog, of, prog, kernel.Options{}, func(n uint64) kernel.Chooser { random.Seed(1, n); return &random })
	}
	if l.err != nil {
		return nil, l.err
	}
	measure(l.subjects, d)
	whole, err := search("cont(5)")
	return append(figures(l.subjects), whole...), err
}

// samplers adds LSR under each chooser that draws schedules, and under one with more of the floor switched on.
func (l *lab) samplers() {
	const walk, pcts = "lsr-bare-random", "lsr-bare-pct:d=2"
	random := func() func(n uint64) kernel.Chooser {
		var c explore.Random
		return func(n uint64) kernel.Chooser { c.Seed(1, n); return &c }
	}
	l.add("lsr-random", walk, "lsr", kernel.Options{}, random())
	l.add("lsr-random-causal", walk, "lsr", kernel.Options{Causal: true}, random())
	l.add("lsr-random-detect", walk, "lsr", kernel.Options{Detect: true}, random())
	pct := explore.PCT{Depth: 2, K: lsrSteps}
	l.add("lsr-pct:d=2", pcts, "lsr", kernel.Options{}, func(n uint64) kernel.Chooser { pct.Seed(1, n); return &pct })
	var pos explore.POS
	l.add("lsr-pos", walk, "lsr", kernel.Options{}, func(n uint64) kernel.Chooser { pos.Seed(1, n); return &pos })
	m := kernel.NewSim()
	l.machines = append(l.machines, m)
	p, err := program.Parse("lsr")
	if err != nil {
		l.err = err
		return
	}
	profile := explore.TakeProfile(explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return p.Run(m, ch, opt)
	}), kernel.Options{})
	urw := explore.URW{Profile: profile}
	l.add("lsr-urw", walk, "lsr", kernel.Options{}, func(n uint64) kernel.Chooser { urw.Seed(1, n); return &urw })
	surw := explore.SURW{Profile: profile, Cell: lsrCell}
	l.add("lsr-surw", walk, "lsr", kernel.Options{}, func(n uint64) kernel.Chooser { surw.Seed(1, n); return &surw })
}

// searches adds LSR under each search, which begins again when it has come to its end.
func (l *lab) searches() {
	bounded, dpor := &explore.Bounded{Bound: 2}, &explore.DPOR{Optimal: true}
	l.add("lsr-bounded:n=2", "lsr-bare-random", "lsr", kernel.Options{Causal: true}, func(uint64) kernel.Chooser {
		if !bounded.Next() {
			bounded = &explore.Bounded{Bound: 2}
			bounded.Next()
		}
		return bounded
	})
	l.add("lsr-dpor", "lsr-bare-random", "lsr", kernel.Options{}, func(uint64) kernel.Chooser {
		if !dpor.Next() {
			dpor = &explore.DPOR{Optimal: true}
			dpor.Next()
		}
		return dpor
	})
}

// figures tells of each subject how many schedules and points it makes in a second, and what a step costs.
func figures(list []*subject) []Figure {
	by := map[string]*subject{}
	var out []Figure
	for _, s := range list {
		by[s.name] = s
		f := Figure{Name: s.name, Value: 1e9 / s.rate.perRun(), Unit: "schedules/s"}
		step := Figure{Name: s.name + "-steps", Value: s.rate.nsPerStep(), Unit: "ns/step"}
		points := Figure{Name: s.name + "-points", Value: 1e9 / s.rate.nsPerStep(), Unit: "points/s"}
		if of := by[s.of]; of != nil {
			f.Of, step.Of = s.of, s.of
			f.Ratio, step.Ratio = s.rate.perRun()/of.rate.perRun(), s.rate.nsPerStep()/of.rate.nsPerStep()
		}
		out = append(out, f, step, points)
	}
	return out
}

// search explores a program to the end by optimal partial order reduction.
func search(prog string) ([]Figure, error) {
	p, err := program.Parse(prog)
	if err != nil {
		return nil, err
	}
	m := kernel.NewSim()
	defer m.Close()
	d := explore.DPOR{Optimal: true}
	start := time.Now()
	for d.Next() {
		p.Run(m, &d, kernel.Options{})
	}
	took := time.Since(start)
	if !d.Exhausted {
		return nil, fmt.Errorf("the search of %s ended before its end", prog)
	}
	return []Figure{
		{Name: prog + "-dpor", Value: float64(d.Complete), Unit: "executions"},
		{Name: prog + "-dpor-time", Value: took.Seconds(), Unit: "s"},
		{Name: prog + "-dpor-rate", Value: float64(d.Complete) / took.Seconds(), Unit: "executions/s"},
	}, nil
}
