// SPDX-License-Identifier: MIT

//go:build !race

// The programs here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// bugs runs the plan to its end and counts the schedules that fail.
func bugs(t *testing.T, r Runner, p Plan) (out *Outcome, n int) {
	t.Helper()
	p.Keep = func(*kernel.Finding) bool { n++; return true }
	return search(t, r, p), n
}

// What the samplers find on the race at lockd's start is known: exactly where the sampler is simple enough, else from a
// model of the program that was sampled a million times. Four standard deviations is once in 16,000.
func TestGoldenRates(t *testing.T) {
	const n = 60_000
	r := tiny(t, "lsr")
	for chooser, want := range map[string]float64{
		"random": 0.003328, "pct:d=2": 1. / 57, "pos": 0.0333, "urw": 0.0297, "surw:o=rq_task": 0.0703,
		"delay:c=1": 0, "pct:d=1": 0,
	} {
		out, got := bugs(t, r, Plan{Chooser: chooser, Seed: 3, Schedules: n})
		rate, sigma := float64(got)/n, math.Sqrt(want*(1-want)/n)
		if math.Abs(rate-want) > 4*sigma {
			t.Errorf("%s: %.3f %% of the schedules fail, want %.3f +- %.3f", chooser, 100*rate, 100*want, 400*sigma)
		}
		if out.MaxSteps != 19 || out.MaxTasks != 3 {
			t.Errorf("%s: %d steps, %d tasks", chooser, out.MaxSteps, out.MaxTasks)
		}
	}
	if _, got := bugs(t, r, Plan{Chooser: "surw", Seed: 3, Schedules: n}); got < n*2/100 || got > n*5/100 {
		t.Errorf("surw: %d of %d schedules fail", got, n)
	}
	// The fewer steps count, the fewer points there are to miss.
	out, got := bugs(t, r, Plan{Chooser: "pctc:d=2", Seed: 3, Schedules: n})
	if want := n / (3 * float64(out.K)); math.Abs(float64(got)-want) > 4*math.Sqrt(want) || out.K > 12 {
		t.Errorf("pctc: %d of %d schedules fail, %d choices", got, n, out.K)
	}
	if _, fixed := bugs(t, tiny(t, "lsr-fixed"), Plan{Chooser: "pos", Seed: 3, Schedules: 5000}); fixed > 0 {
		t.Errorf("the fixed program fails %d times", fixed)
	}
}

// orders is a program in which each of a few tasks performs a few operations on one cell, and what came of it.
type orders struct {
	kernel.Obj
	n      kernel.Atomic
	counts []int
	seen   map[string]int
}

func (x *orders) run(m *kernel.Machine) Runner {
	return RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		var order strings.Builder
		res := m.RunBare(ch, opt, "main", func(cur *kernel.Task) {
			kernel.Bind(m, &x.Obj, "x")
			x.n.Init(&x.Obj, "n")
			var tasks []*kernel.Task
			for i, n := range x.counts {
				tasks = append(tasks, m.Go(cur, fmt.Sprint(i), func(*kernel.Task) {
					for range n {
						x.n.Inc()
						order.WriteByte(byte('0' + i))
					}
				}))
			}
			for _, t := range tasks {
				kernel.WaitGone(cur, t)
			}
		})
		x.seen[order.String()]++
		return res
	})
}

// Where nobody waits for anybody, SURW gives every order of the operations on the cell the same chance.
func TestSURWIsUniform(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	x := &orders{counts: []int{3, 3}, seen: map[string]int{}}
	r := x.run(m)
	s := &SURW{Profile: TakeProfile(r, kernel.Options{})}
	clear(x.seen)
	for i := range 20_000 {
		s.Seed(5, uint64(i))
		r.Run(s, kernel.Options{})
	}
	var counts []int
	for _, n := range x.seen {
		counts = append(counts, n)
	}
	if len(counts) != 20 {
		t.Fatalf("%d orders, want 20: %v", len(counts), x.seen)
	}
	wantUniform(t, fmt.Sprint(x.seen), counts)
}

// URW gives every interleaving the same chance, and to an order of the operations on the cell as many as it has
// interleavings with the making of the second task: that can be anywhere before its first operation.
func TestURWIsUniform(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	x := &orders{counts: []int{3, 3}, seen: map[string]int{}}
	r := x.run(m)
	u := &URW{Profile: TakeProfile(r, kernel.Options{})}
	clear(x.seen)
	const n = 35_000
	for i := range n {
		u.Seed(5, uint64(i))
		r.Run(u, kernel.Options{})
	}
	all, chi := 0, 0.0
	for order := range x.seen {
		all += strings.Index(order, "1") + 1
	}
	for order, got := range x.seen {
		want := float64(strings.Index(order, "1")+1) / float64(all) * n
		chi += (float64(got) - want) * (float64(got) - want) / want
	}
	if len(x.seen) != 20 || all != 35 || chi > 52 {
		t.Errorf("%d orders in %d interleavings, chi-square %.1f: %v", len(x.seen), all, chi, x.seen)
	}
}

// A profile counts what tasks do, their children's part included, and what they share.
func TestProfile(t *testing.T) {
	p := TakeProfile(tiny(t, "lsr"), kernel.Options{})
	if got := p.names(); got != "pool, rq_task" && !strings.Contains(got, "rq_task") {
		t.Errorf("shared cells: %s", got)
	}
	var totals []int
	for _, n := range p.ops {
		totals = append(totals, n)
	}
	slices.Sort(totals)
	if !slices.Equal(totals, []int{3, 4, 12}) {
		t.Errorf("operations by task, children included: %v, want 3 and 4 and 12 of all", totals)
	}
	m := kernel.NewSim()
	defer m.Close()
	alone := TakeProfile(RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return m.RunBare(ch, opt, "main", func(*kernel.Task) {})
	}), kernel.Options{})
	if len(alone.ops)+len(alone.cells) != 0 || m.LogsAccesses() {
		t.Errorf("a program without a choice: %+v", alone)
	}
}

// A hundred tasks are no problem of correctness either, and a sampler that is told of few cells finds a deep bug.
func TestManyTasks(t *testing.T) {
	r := tiny(t, "twostage(98)")
	for _, chooser := range []string{"random", "pct", "pos", "urw", "surw", "delay", "feedback"} {
		out := search(t, r, Plan{Chooser: chooser, Seed: 1, Schedules: 300, Keep: func(*kernel.Finding) bool { return true }})
		if out.Schedules != 300 || out.MaxTasks < 99 || out.MaxSteps < 400 {
			t.Errorf("%s: %d schedules, %d tasks, %d steps", chooser, out.Schedules, out.MaxTasks, out.MaxSteps)
		}
	}
	if out := search(t, r, Plan{Chooser: "surw", Seed: 1, Schedules: 3000}); out.Finding == nil {
		t.Error("surw does not find the bug among 98 tasks")
	}
}

// With as many delays as there are steps, Delayed is every schedule there is; with fewer it is as the sampler has it.
func TestDelayedIsComplete(t *testing.T) {
	r := tiny(t, "lsr")
	out, n := bugs(t, r, Plan{Chooser: "delayall:c=99"})
	if !out.Exhausted || out.Schedules != 204 || n != 7 {
		t.Errorf("%d schedules, %d fail; want 204 and 7", out.Schedules, n)
	}
	for c := range 4 {
		seen, sampled := map[uint64]bool{}, map[uint64]bool{}
		d := &Delayed{Bound: c}
		for d.Next() {
			h := r.Run(d, kernel.Options{}).Hash
			if seen[h] {
				t.Fatalf("%d delays: a schedule comes twice", c)
			}
			seen[h] = true
		}
		s := &Delay{Bound: c, K: 10}
		for i := range 5000 {
			s.Seed(1, uint64(i))
			h := r.Run(s, kernel.Options{}).Hash
			if !seen[h] {
				t.Fatalf("%d delays: the sampler draws a schedule that the enumeration does not have", c)
			}
			sampled[h] = true
		}
		if len(sampled) != len(seen) {
			t.Errorf("%d delays: %d schedules, %d of them sampled", c, len(seen), len(sampled))
		}
	}
}

// The partial-order searches are choosers like others.
func TestSearchesOfTraces(t *testing.T) {
	for chooser, blocked := range map[string]int{"dpor": 0, "sdpor": 5} {
		out, _ := bugs(t, tiny(t, "cont(1)"), Plan{Chooser: chooser})
		if !out.Exhausted || out.Complete != 14 || out.Blocked != blocked || out.Traces != float64(14+blocked) {
			t.Errorf("%s: %d runs to the end, %d in vain of %g; want 14 and %d",
				chooser, out.Complete, out.Blocked, out.Traces, blocked)
		}
	}
	m := kernel.NewSim()
	defer m.Close()
	var failed [7]int
	r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return m.Run(ch, opt, "main", func(cur *kernel.Task) {
			kernel.Join(cur, m.Spawn(cur, "a", func(*kernel.Task) {}))
			eager(&failed)(cur)
		})
	})
	plan := Plan{Chooser: "dpor"}
	plan.Options.Faults[kernel.DecideAlloc] = 1
	if out := search(t, r, plan); !out.Exhausted || slices.Min(failed[:6]) == 0 || failed[6]*7 != out.Complete*6 {
		t.Errorf("dpor with a fault: %v of the allocations fail in %d runs", failed[:6], out.Complete)
	}
}

// The fuzzer of schedules finds what the random walk does not, and is one sequence of schedules for one seed.
func TestFeedback(t *testing.T) {
	r := tiny(t, "cont(5)")
	plan := Plan{Chooser: "feedback", Seed: 2, Schedules: 3000}
	found := search(t, r, plan)
	if found.Finding == nil {
		t.Fatal("feedback: not found")
	}
	plan.Chooser = "random"
	if out := search(t, r, plan); out.Finding != nil {
		t.Fatalf("the random walk finds it at schedule %d, feedback at %d", out.FoundAt, found.FoundAt)
	}
	plan.Chooser = "feedback"
	if again := search(t, r, plan); again.FoundAt != found.FoundAt || string(again.Corpus) != string(found.Corpus) {
		t.Errorf("the same seed finds it at %d and at %d", found.FoundAt, again.FoundAt)
	}
	plan.First = 1000
	if other := search(t, r, plan); string(other.Corpus) == string(found.Corpus) {
		t.Error("two shards have the same corpus")
	}
}

// A corpus goes on where it was left: no run of it is lost, and what it knew is nothing new.
func TestFeedbackCorpus(t *testing.T) {
	r := tiny(t, "reorder(9)")
	f := NewFeedback(4, 0, [kernel.DecisionKinds]int{})
	for range 400 {
		f.Next()
		r.Run(f, kernel.Options{})
	}
	f.settle()
	if f.Grown < 20 || f.Fresh < 10 || f.Fresh > 100 {
		t.Fatalf("%d parents, %d runs of POS alone", f.Grown, f.Fresh)
	}
	g := NewFeedback(5, 0, [kernel.DecisionKinds]int{})
	if err := g.Import(f.Export()); err != nil {
		t.Fatal(err)
	}
	if string(g.Export()) != string(f.Export()) {
		t.Error("a corpus that was read is not written as it was")
	}
	for range len(f.corpus) {
		g.Next()
		r.Run(g, kernel.Options{})
	}
	g.settle()
	if g.Edges() != f.Edges() || g.Fresh != 0 {
		t.Errorf("%d orders of operations after the parents alone, %d before", g.Edges(), f.Edges())
	}
	for text, want := range map[string]string{
		"":                                   "cut short",
		"svcfuzz tapes 1\n1 2":               "cut short",
		"tapes\nend":                         "line 1: not a file of tapes",
		"svcfuzz tapes 1\n1 2\n3*x\nend":     "line 3: \"3*x\"",
		"svcfuzz tapes 1\n99999999*0\nend\n": "line 2:",
	} {
		err := g.Import([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// The statements about what was missed are right where the truth is known.
func TestResiduals(t *testing.T) {
	r := tiny(t, "lsr")
	keep := func(*kernel.Finding) bool { return true }
	out := search(t, r, Plan{Chooser: "random", Seed: 1, Schedules: 20_000, Classes: true, Keep: keep})
	if out.Classes != 4 || out.Singletons != 0 {
		t.Errorf("%d classes, %d seen once; want the 4 there are", out.Classes, out.Singletons)
	}
	if n := out.Knuth.Value(); math.Abs(n-204) > 204*4*out.Knuth.Error() || out.Knuth.Error() > 0.1 {
		t.Errorf("about %.0f schedules, error %.3f; want 204", n, out.Knuth.Error())
	}
	if n := len(out.Residuals()); n != 2 {
		t.Errorf("%d statements for the random walk", n)
	}
	out = search(t, tiny(t, "lsr-fixed"), Plan{Chooser: "pct:d=2", Seed: 1, Schedules: 570})
	rs := out.Residuals()
	if len(rs) != 1 || math.Abs(rs[0].Value()-math.Pow(1-1./(3*float64(out.K)), 570)) > 1e-9 {
		t.Errorf("PCT's bound: %v", rs)
	}
	out = search(t, tiny(t, "cont(5)"), Plan{Chooser: "pct", Seed: 1, Schedules: 300, Classes: true, Keep: keep})
	if rs := out.Residuals(); len(rs) != 4 || out.Depths[2]+out.Depths[3]+out.Depths[4] != 300 {
		t.Errorf("%d statements, depths %v", len(rs), out.Depths)
	}
	if out := search(t, r, Plan{Chooser: "bounded"}); len(out.Residuals()) != 0 {
		t.Errorf("a search that samples nothing says %v", out.Residuals())
	}
	for _, x := range []Residual{
		PCTBound{Tasks: 3, Steps: 19, Depth: 2, Schedules: 100}, GoodTuring{"pos", 100, 10, 5}, Share{"pos", 10, 40, true},
		&Knuth{Walks: 2, log: 5, sq: 10},
	} {
		if s := x.String(); strings.Contains(s, "\n") || len(s) < 80 || x.Value() <= 0 {
			t.Errorf("%q, value %g", s, x.Value())
		}
	}
	if v := (Share{"pos", 10, 40, true}).Value(); v != 0.25 {
		t.Errorf("10 of 40 is %g", v)
	}
}

// Good-Turing is about the sampler that it comes from: PCT sees a small part of the classes and has nothing new to
// show, POS sees most of them and says that there are more.
func TestOneResidualLies(t *testing.T) {
	r := tiny(t, "cont(5)")
	keep := func(*kernel.Finding) bool { return true }
	pct := search(t, r, Plan{Chooser: "pct:d=3", Seed: 1, Schedules: 10_000, Classes: true, Keep: keep})
	pos := search(t, r, Plan{Chooser: "pos", Seed: 1, Schedules: 10_000, Classes: true, Keep: keep})
	if 10*pct.Classes > pos.Classes || 10*pct.Singletons > pos.Singletons || pos.Classes > 2508 || pos.Classes < 1500 {
		t.Errorf("pct: %d classes, %d once; pos: %d, %d; there are 2508",
			pct.Classes, pct.Singletons, pos.Classes, pos.Singletons)
	}
}
