// SPDX-License-Identifier: MIT

package explore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Runner runs the program under test once. The result's Tasks and Seq live until the next run.
type Runner interface {
	Run(ch kernel.Chooser, opt kernel.Options) *kernel.Result
}

// RunnerFunc makes a function a Runner.
type RunnerFunc func(ch kernel.Chooser, opt kernel.Options) *kernel.Result

// Run implements Runner.
func (f RunnerFunc) Run(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return f(ch, opt) }

// Plan says how to explore.
type Plan struct {
	Chooser   string        // "random", "pct", "pct:d=3", "bounded:n=2"
	Seed      uint64        // of samplers
	First     uint64        // number of the first schedule of the stream; for shards
	Schedules int           // how many at most; 0 no limit
	For       time.Duration // how long at most; 0 no limit
	Twice     bool          // run every schedule twice and compare the trace hashes
	Options   kernel.Options
	// Progress is called now and then with the counts so far. May be nil.
	Progress func(o *Outcome)
	// Keep says whether a finding ends the search; nil ends it with the first.
	Keep func(f *kernel.Finding) (goOn bool)
}

// Outcome is what a search found out.
type Outcome struct {
	Schedules int
	Steps     int64
	Elapsed   time.Duration
	Finding   *kernel.Finding
	FoundAt   int       // number of the failing schedule, 1-based; 0 if none failed
	Schedule  *Schedule // of the failing run
	Bound     int       // preemptions, for a bounded search
	Exhausted bool      // all schedules within the bound were covered
	States    int       // different choice points, for a bounded search
	Pruned    int       // runs given up because their future was known
	Unequal   int       // schedules whose two runs had different hashes
	MaxTasks  int
	MaxSteps  int
	MaxPick   int // most choices in one run
}

// Spec is a parsed chooser specification.
type Spec struct {
	Kind  string
	Depth int // pct; 0 draws it per schedule
	Bound int // bounded
}

// ParseSpec reads "random", "pct", "pct:d=3" or "bounded:n=2".
func ParseSpec(s string) (Spec, error) {
	kind, arg, _ := strings.Cut(s, ":")
	key, val, _ := strings.Cut(arg, "=")
	n := 0
	if arg != "" {
		var err error
		if n, err = strconv.Atoi(val); err != nil || n < 0 {
			return Spec{}, fmt.Errorf("chooser %q: %q is not a number; write pct:d=3 or bounded:n=2", s, val)
		}
	}
	switch {
	case kind == "random" && arg == "":
		return Spec{Kind: kind}, nil
	case kind == "pct" && (arg == "" || key == "d" && n >= 1 && n <= maxDepth):
		return Spec{Kind: kind, Depth: n}, nil
	case kind == "bounded" && (arg == "" || key == "n"):
		if arg == "" {
			n = 2
		}
		return Spec{Kind: kind, Bound: n}, nil
	}
	return Spec{}, fmt.Errorf("unknown chooser %q; choose random, pct, pct:d=1..%d or bounded:n=0 and up", s, maxDepth)
}

// source yields choosers, one per schedule.
type source interface {
	next() (kernel.Chooser, bool)
}

type sampler struct {
	seed, n uint64
	random  *Random
	pct     *PCT
}

// rehearsals is how many runs tell PCT how long a run is.
const rehearsals = 8

// rehearse sets the number of choices among which PCT spreads its change points. It is the same for all shards of a
// stream, so that a schedule depends on its number only, and not on what ran before it.
func (s *sampler) rehearse(r Runner, opt kernel.Options) {
	if s.pct == nil {
		return
	}
	opt.Record = false
	longest := 0
	for i := range rehearsals {
		s.pct.Seed(s.seed, ^uint64(i))
		count := Counter{Chooser: s.pct}
		r.Run(&count, opt)
		longest = max(longest, count.Choices)
	}
	s.pct.K = longest
}

func (s *sampler) next() (kernel.Chooser, bool) {
	s.n++
	if s.random != nil {
		s.random.Seed(s.seed, s.n)
		return s.random, true
	}
	s.pct.Seed(s.seed, s.n)
	return s.pct, true
}

type enumerator struct{ b *Bounded }

func (e enumerator) next() (kernel.Chooser, bool) { return e.b, e.b.Next() }

func (p *Plan) source(spec Spec) source {
	switch spec.Kind {
	case "random":
		return &sampler{seed: p.Seed, n: p.First, random: &Random{}}
	case "pct":
		return &sampler{seed: p.Seed, n: p.First, pct: &PCT{Depth: spec.Depth}}
	}
	return enumerator{&Bounded{Bound: spec.Bound}}
}

// Search explores until a finding, the end of the plan's limits, or the end of ctx.
func Search(ctx context.Context, r Runner, p Plan) (*Outcome, error) {
	spec, err := ParseSpec(p.Chooser)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	src := p.source(spec)
	if s, ok := src.(*sampler); ok {
		s.rehearse(r, p.Options)
	}
	out := &Outcome{Bound: spec.Bound}
	tick := start.Add(time.Second)
	for p.Schedules == 0 || out.Schedules < p.Schedules {
		if out.Schedules&63 == 63 || p.For > 0 && out.Schedules&7 == 7 {
			now := time.Now()
			if ctx.Err() != nil || p.For > 0 && now.Sub(start) >= p.For {
				break
			}
			if p.Progress != nil && now.After(tick) {
				tick = now.Add(time.Second)
				out.Elapsed = now.Sub(start)
				p.Progress(out)
			}
		}
		ch, more := src.next()
		if !more {
			out.Exhausted = true
			break
		}
		if out.step(r, &p, ch) {
			break
		}
	}
	if e, ok := src.(enumerator); ok {
		out.States = e.b.States()
	}
	out.Elapsed = time.Since(start)
	return out, nil
}

// step runs one schedule; true ends the search.
func (o *Outcome) step(r Runner, p *Plan, ch kernel.Chooser) bool {
	count := Counter{Chooser: ch}
	res := r.Run(&count, p.Options)
	o.Schedules++
	o.Steps += int64(res.Steps)
	o.MaxTasks = max(o.MaxTasks, len(res.Tasks))
	o.MaxSteps = max(o.MaxSteps, res.Steps)
	o.MaxPick = max(o.MaxPick, count.Choices)
	if res.Pruned {
		o.Pruned++
		return false
	}
	f := res.Worst()
	if f == nil && !p.Twice {
		return false
	}
	s := Take(res, nil)
	if p.Twice {
		again := r.Run(NewReplay(s), p.Options)
		o.Steps += int64(again.Steps)
		if again.Hash != s.Hash {
			o.Unequal++
		}
	}
	if f == nil || p.Keep != nil && p.Keep(f) {
		return false
	}
	o.Finding, o.FoundAt, o.Schedule = f, o.Schedules, s
	return true
}
