// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// TestWeights compares the sums with a plain list of weights.
func TestWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var w weights
	var plain []int
	var dice rng
	dice.seed(1, 2)
	for range 3000 {
		i, x := r.IntN(70), max(0, r.IntN(12)-6)
		for len(plain) <= i {
			plain = append(plain, 0)
		}
		plain[i] = x
		w.set(i, x)
		sum := 0
		for _, x := range plain {
			sum += x
		}
		if sum != w.total {
			t.Fatalf("total %d, want %d", w.total, sum)
		}
		if sum > 0 {
			if got := w.draw(&dice); plain[got] == 0 {
				t.Fatalf("%d is drawn, with weight 0", got)
			}
		}
	}
	w.clear()
	for i, x := range []int{30: 1, 17: 1, 3: 2, 4: 0} {
		w.set(i, x)
	}
	counts := map[int]int{}
	for range 8000 {
		counts[w.draw(&dice)]++
	}
	wantUniform(t, fmt.Sprint(counts), []int{counts[3] / 2, counts[17], counts[30]})
}

// TestCandidates compares the set with two plain ones.
func TestCandidates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	var p candidates
	free, held := map[int]bool{}, map[int]bool{}
	for range 20_000 {
		i := r.IntN(40)
		switch r.IntN(5) {
		case 0, 1:
			if p.add(i); !held[i] {
				free[i] = true
			}
		case 2:
			p.remove(i)
			delete(free, i)
			delete(held, i)
		case 3:
			if free[i] {
				p.hold(i)
				delete(free, i)
				held[i] = true
			}
		case 4:
			if r.IntN(8) == 0 {
				p.releaseAll()
				for i := range held {
					free[i] = true
				}
				clear(held)
			}
		}
		if p.free != len(free) || len(p.all) != len(free)+len(held) {
			t.Fatalf("%d free of %d, want %d of %d", p.free, len(p.all), len(free), len(free)+len(held))
		}
		for at, i := range p.all {
			if in := free; p.slot[i] != int32(at+1) || at < p.free && !in[int(i)] || at >= p.free && !held[int(i)] {
				t.Fatalf("%d is at %d: free %v, held %v", i, at, free, held)
			}
		}
	}
}

// TestCellMap compares the map with Go's, over several runs.
func TestCellMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	var x cellMap[int]
	for run := range 30 {
		x.clear()
		plain := map[uint64]int{}
		for range 50 * run {
			cell := 1 + r.Uint64N(uint64(1+10*run))<<(run%40)
			if *x.at(cell) != plain[cell] {
				t.Fatalf("run %d: cell %d has %d, want %d", run, cell, *x.at(cell), plain[cell])
			}
			plain[cell]++
			*x.at(cell)++
		}
	}
	x.run = ^uint32(0)
	*x.at(7) = 1
	if x.clear(); *x.at(7) != 0 {
		t.Error("what was before the numbers of runs began anew is still there")
	}
}

// ringRules compares a ring with a sorted list at every choice.
type ringRules struct {
	Random
	t     *testing.T
	turn  ring
	seen  int
	tasks int
}

func (s *ringRules) Pick(ch *kernel.Choice) *kernel.Task {
	s.turn.update(ch)
	byAge := func(a, b *kernel.Task) int { return cmp.Compare(a.Index(), b.Index()) }
	all := slices.SortedFunc(slices.Values(ch.Runnable), byAge)
	if s.turn.task[s.turn.standard(ch)] != Default(ch) {
		s.t.Fatalf("step %d: the default is another one", ch.Step)
	}
	for n, t := range all {
		i := t.Index()
		next := all[(n+1)%len(all)].Index()
		if s.turn.rank(i) != n || s.turn.at(n) != i || s.turn.after(i) != next {
			s.t.Fatalf("step %d: of %d tasks %d has rank %d, not %d, and %d follows it, not %d",
				ch.Step, len(all), i, s.turn.rank(i), n, s.turn.after(i), next)
		}
		if v := int(s.turn.value(ch, t)); v >= len(all) || s.turn.byValue(ch, v) != t || s.turn.byValue(ch, v+len(all)) != t {
			s.t.Fatalf("step %d: number %d does not stand for %s", ch.Step, v, t.Name())
		}
		s.tasks = max(s.tasks, i)
	}
	s.seen++
	return s.Random.Pick(ch)
}

func TestRing(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	s := &ringRules{t: t}
	for seed := range 200 {
		p := newProgram(seed, 2+seed%6, 2+seed%5)
		s.turn.clear()
		s.Seed(1, uint64(seed))
		m.Run(s, p.options(), "main", p.main)
	}
	r := tiny(t, "twostage(98)")
	for i := range 5 {
		s.turn.clear()
		s.Seed(1, uint64(i))
		r.Run(s, kernel.Options{})
	}
	if s.seen < 3000 || s.tasks < 99 {
		t.Errorf("%d choices among up to %d tasks", s.seen, s.tasks)
	}
}

// A tape is the run that it was taken from, decisions included, also through its text, and the default where it ends.
func TestTape(t *testing.T) {
	faults := [kernel.DecisionKinds]int{
		kernel.DecideAlloc: 1, kernel.DecideTimer: 2, kernel.DecideSpurious: 2, kernel.DecideRcu: 1, kernel.DecideSignal: 1,
	}
	m := kernel.NewSim()
	defer m.Close()
	decided := 0
	for seed := range 200 {
		p := newProgram(seed, 2+seed%4, 2+seed%5)
		opt := p.options()
		opt.Faults = faults
		c := &POS{}
		c.Budget = faults
		for i := range 5 {
			c.Seed(uint64(seed), uint64(i))
			rec := &Recorder{Chooser: c}
			res := m.Run(rec, opt, "main", p.main)
			hash, n := res.Hash, len(res.Decisions)
			decided += n
			tape, err := ParseTape(rec.Tape.String())
			if err != nil || !slices.Equal(tape, rec.Tape) {
				t.Fatalf("%s: %v is not read as it was written: %v", p, rec.Tape, err)
			}
			count := &Counter{Chooser: NewPlayer(tape)}
			if again := m.Run(count, opt, "main", p.main); again.Hash != hash || count.Faults != n {
				t.Fatalf("%s: the tape %v is another run, with %d faults for %d", p, tape, count.Faults, n)
			}
			if got, want := m.Run(NewPlayer(nil), opt, "main", p.main).Hash, hashOf(m, chooserFunc(Default), p); got != want {
				t.Fatalf("%s: an empty tape is not the default", p)
			}
		}
	}
	if decided < 200 {
		t.Errorf("only %d decisions differ from the default", decided)
	}
}

// eager is a machine with six allocations.
func eager(failed *[7]int) func(cur *kernel.Task) {
	return func(cur *kernel.Task) {
		m := cur.Machine()
		for i := range 6 {
			if m.AllocFails("it") {
				failed[i]++
				failed[6]++
			}
			kernel.CondResched(cur)
		}
	}
}

// Every number of faults within the budget is as likely as any other, and so is every opportunity.
func TestFaultsAreUniform(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var opt kernel.Options
	opt.Faults[kernel.DecideAlloc] = 1
	var c Random
	c.Budget = opt.Faults
	c.Opportunities[kernel.DecideAlloc] = 6
	var failed [7]int
	const n = 12_000
	for i := range n {
		c.Seed(1, uint64(i))
		m.Run(&c, opt, "main", eager(&failed))
	}
	wantUniform(t, "at which opportunity", failed[:6])
	wantUniform(t, "none or one", []int{failed[6], n - failed[6]})
}

// What happens when nothing special does is the same with a budget and without.
func TestFaultsLeaveChoicesAlone(t *testing.T) {
	p := newProgram(8, 4, 6)
	m := kernel.NewSim()
	defer m.Close()
	var some, none Random
	opt := p.options()
	opt.Faults[kernel.DecideAlloc], opt.Faults[kernel.DecideSpurious] = 1, 1
	some.Budget = opt.Faults
	same, other := 0, 0
	for i := range 200 {
		some.Seed(3, uint64(i))
		none.Seed(3, uint64(i))
		res := m.Run(&some, opt, "main", p.main)
		hash, faults := res.Hash, len(res.Decisions)
		switch h := hashOf(m, &none, p); {
		case faults > 0:
			other++
		case h != hash:
			t.Fatalf("schedule %d is another one although nothing was decided", i)
		default:
			same++
		}
	}
	if same < 20 || other < 20 {
		t.Errorf("%d runs without a fault, %d with", same, other)
	}
}

// Delayed with no delays is every way in which things can go wrong within the budgets, and nothing else.
func TestDelayedEnumeratesFaults(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for budget, want := range map[int]int{0: 1, 1: 7, 2: 22, 6: 64} {
		var opt kernel.Options
		opt.Faults[kernel.DecideAlloc] = budget
		var failed [7]int
		seen := map[string]bool{}
		d := &Delayed{}
		for d.Next() {
			failed = [7]int{}
			m.Run(d, opt, "main", eager(&failed))
			seen[fmt.Sprint(failed[:6])] = true
		}
		if len(seen) != want {
			t.Errorf("budget %d: %d ways, want %d", budget, len(seen), want)
		}
	}
}

// Every sampler is the same in shards as in one go, with faults too, and its profile or rehearsal is not part of it.
func TestShardsOfAll(t *testing.T) {
	p := newProgram(8, 4, 6)
	var faults [kernel.DecisionKinds]int
	faults[kernel.DecideAlloc], faults[kernel.DecideSpurious] = 2, 1
	hashes := func(plan Plan) []uint64 {
		m := kernel.NewSim()
		defer m.Close()
		var all []uint64
		r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
			res := m.Run(ch, opt, "main", p.main)
			all = append(all, res.Hash)
			return res
		})
		plan.Options = p.options()
		plan.Options.Faults = faults
		n := search(t, r, plan).Schedules
		return all[len(all)-n:]
	}
	keep := func(*kernel.Finding) bool { return true }
	for _, chooser := range []string{"random", "pct", "pctc", "pos", "urw", "surw", "delay"} {
		whole := hashes(Plan{Chooser: chooser, Seed: 9, Schedules: 120, Keep: keep})
		var parts []uint64
		for first := uint64(0); first < 120; first += 30 {
			parts = append(parts, hashes(Plan{Chooser: chooser, Seed: 9, First: first, Schedules: 30, Keep: keep})...)
		}
		if !slices.Equal(whole, parts) {
			t.Errorf("%s: four shards of 30 are not the stream of 120", chooser)
		}
	}
}

func TestSpecs(t *testing.T) {
	for s, want := range map[string]Spec{
		"random": {Kind: "random"}, "pct": {Kind: "pct"}, "pct:d=3": {Kind: "pct", Depth: 3},
		"pctc:d=2": {Kind: "pctc", Depth: 2},
		"pos":      {Kind: "pos"},
		"urw":      {Kind: "urw"}, "surw": {Kind: "surw"}, "surw:o=rq_task": {Kind: "surw", Cell: "rq_task"},
		"delay": {Kind: "delay", Bound: 2}, "delay:c=0": {Kind: "delay"}, "delayall:c=3": {Kind: "delayall", Bound: 3},
		"bounded": {Kind: "bounded", Bound: 2}, "bounded:n=7": {Kind: "bounded", Bound: 7}, "feedback": {Kind: "feedback"},
		"dpor": {Kind: "dpor"}, "sdpor": {Kind: "sdpor"},
	} {
		got, err := ParseSpec(s)
		if got != want || err != nil {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
		if ends := slices.Contains([]string{"bounded", "delayall", "dpor", "sdpor"}, got.Kind); got.Ends() != ends {
			t.Errorf("%q comes to an end: %t", s, got.Ends())
		}
	}
	for _, s := range []string{
		"nothing", "pos:d=1", "pct:d=", "pct:n=1", "pct:d=0", "delay:c=-1", "delay:c=x", "surw:o=", "random:",
	} {
		_, err := ParseSpec(s)
		if err == nil {
			t.Errorf("%q is accepted", s)
			continue
		}
		for i := range kinds {
			if !strings.Contains(err.Error(), kinds[i].name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: the error does not list %s: %v", s, kinds[i].name, err)
			}
		}
	}
	if _, err := Search(t.Context(), tiny(t, "lsr"), Plan{Chooser: "surw:o=nothing", Schedules: 1}); err == nil ||
		!strings.Contains(err.Error(), "rq_task") {
		t.Errorf("surw on a cell that there is not: %v", err)
	}
}

// A byte is a decision as well as a choice, and Counter hands both on.
func TestBytesDecide(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var opt kernel.Options
	opt.Faults[kernel.DecideAlloc] = 6
	for text, want := range map[string][]int{
		"": {0, 0, 0, 0, 0, 0}, "\x01\x00\x03": {1, 0, 1, 0, 0, 0}, "\x02\x01\x01\x01\x01\x01\x01": {0, 1, 1, 1, 1, 1},
	} {
		var failed [7]int
		c := &Counter{Chooser: &Bytes{B: []byte(text)}}
		m.Run(c, opt, "main", eager(&failed))
		if !slices.Equal(failed[:6], want) || c.Faults != failed[6] || c.Decisions != 6 {
			t.Errorf("%q: %v of the allocations fail, want %v; %d decisions, %d faults",
				text, failed[:6], want, c.Decisions, c.Faults)
		}
	}
	c := &Counter{Chooser: chooserFunc(Default)}
	var failed [7]int
	if m.Run(c, opt, "main", eager(&failed)); failed[6] != 0 || c.Decisions != 6 {
		t.Errorf("a chooser that decides nothing: %v", failed)
	}
}
