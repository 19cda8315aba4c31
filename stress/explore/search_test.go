// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// hashes are those of the schedules that a plan runs.
func hashes(t *testing.T, main func(cur *kernel.Task), p Plan) []uint64 {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	var out []uint64
	search(t, RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		res := m.Run(ch, opt, "main", main)
		if opt.MaxSteps == p.Options.MaxSteps {
			out = append(out, res.Hash)
		}
		return res
	}), p)
	return out
}

// Shards of a stream have no schedule in common but by chance, and together they are the stream.
func TestShards(t *testing.T) {
	p := newProgram(8, 4, 6)
	for _, chooser := range []string{"random", "pct", "pct:d=3"} {
		skip := 0
		if strings.HasPrefix(chooser, "pct") {
			skip = rehearsals
		}
		whole := hashes(t, p.main, Plan{Chooser: chooser, Seed: 9, Schedules: 120})[skip:]
		var parts []uint64
		for first := uint64(0); first < 120; first += 30 {
			parts = append(parts, hashes(t, p.main, Plan{Chooser: chooser, Seed: 9, First: first, Schedules: 30})[skip:]...)
		}
		if !slices.Equal(whole, parts) {
			t.Errorf("%s: four shards of 30 are not the stream of 120", chooser)
		}
		if other := hashes(t, p.main, Plan{Chooser: chooser, Seed: 10, Schedules: 120})[skip:]; slices.Equal(whole, other) {
			t.Errorf("%s: two seeds are one stream", chooser)
		}
	}
}

// A bounded search ends after the same runs every time, and the plan's seed is nothing to it.
func TestBoundedRepeats(t *testing.T) {
	p := newProgram(8, 3, 4)
	one := hashes(t, p.main, Plan{Chooser: "bounded:n=1", Seed: 1})
	if two := hashes(t, p.main, Plan{Chooser: "bounded:n=1", Seed: 2}); !slices.Equal(one, two) {
		t.Errorf("%d runs, then %d others", len(one), len(two))
	}
}

func TestSearchStops(t *testing.T) {
	r := machine(t, lockdStart(true))
	if out := search(t, r, Plan{Chooser: "random", Schedules: 77}); out.Schedules != 77 || out.Exhausted {
		t.Errorf("count: %d schedules, exhausted %t", out.Schedules, out.Exhausted)
	}
	r = machine(t, newProgram(8, 4, 6).main)
	for _, chooser := range []string{"random", "pct", "bounded:n=8"} {
		start := time.Now()
		out := search(t, r, Plan{Chooser: chooser, For: 50 * time.Millisecond})
		if took := time.Since(start); out.Exhausted || out.Schedules == 0 || took < 50*time.Millisecond || took > 10*time.Second {
			t.Errorf("time, %s: %d schedules in %s, exhausted %t", chooser, out.Schedules, took, out.Exhausted)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ticks := 0
		out, err := Search(ctx, r, Plan{Chooser: chooser, Progress: func(o *Outcome) {
			if ticks++; o.Schedules == 0 || o.Elapsed == 0 {
				t.Errorf("progress: %+v", o)
			}
			cancel()
		}})
		cancel()
		if err != nil || ticks != 1 || out.Exhausted || out.Finding != nil {
			t.Errorf("context, %s: %d progress reports, exhausted %t, %v", chooser, ticks, out.Exhausted, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if out, err := Search(ctx, r, Plan{Chooser: "random"}); err != nil || out.Schedules > 64 {
		t.Errorf("a context that is over: %d schedules, %v", out.Schedules, err)
	}
	if out := search(t, r, Plan{Chooser: "bounded:n=0"}); !out.Exhausted || out.States == 0 || out.Bound != 0 {
		t.Errorf("exhaustion: %+v", out)
	}
	if _, err := Search(context.Background(), r, Plan{Chooser: "dfs"}); err == nil {
		t.Error("a chooser that there is not is accepted")
	}
}

func TestKeepGoesOn(t *testing.T) {
	r := machine(t, lockdStart(false))
	kept := 0
	out := search(t, r, Plan{Chooser: "pct", Seed: 7, Schedules: 2000, Keep: func(*kernel.Finding) bool { kept++; return true }})
	if out.Finding != nil || kept < 2 || out.Schedules != 2000 {
		t.Errorf("%d findings kept, %d schedules, finding %v", kept, out.Schedules, out.Finding)
	}
	kept = 0
	out = search(t, r, Plan{Chooser: "pct", Seed: 7, Schedules: 20000, Keep: func(*kernel.Finding) bool { kept++; return kept < 3 }})
	if out.Finding == nil || kept != 3 || out.FoundAt != out.Schedules || out.Schedule == nil {
		t.Errorf("%d findings, found at %d of %d", kept, out.FoundAt, out.Schedules)
	}
}

// A machine whose runs depend on something else than the schedule is caught by Twice.
func TestTwiceCompares(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	runs := 0
	r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		runs++
		return m.Run(ch, opt, "main", func(cur *kernel.Task) {
			x := newThing(m, 0)
			x.n.Inc()
			if runs%10 == 0 {
				x.n.Inc()
			}
			x.n.Read()
		})
	})
	out := search(t, r, Plan{Chooser: "random", Schedules: 20, Twice: true})
	if out.Unequal != 4 || runs != 40 {
		t.Errorf("%d of 4 unequal pairs seen, %d runs", out.Unequal, runs)
	}
	runs = 0
	if out := search(t, r, Plan{Chooser: "random", Schedules: 20}); out.Unequal != 0 || runs != 20 {
		t.Errorf("without it: %d unequal, %d runs", out.Unequal, runs)
	}
	for seed := range 100 {
		p := newProgram(seed, 3, 4)
		m := kernel.NewSim()
		r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return m.Run(ch, opt, "main", p.main) })
		for _, chooser := range []string{"random", "pct", "bounded:n=1"} {
			out := search(t, r, Plan{
				Chooser: chooser, Schedules: 60, Twice: true, Options: p.options(), Keep: func(*kernel.Finding) bool { return true },
			})
			if out.Unequal != 0 {
				t.Fatalf("%s: %s: %d of %d schedules are not the same twice", p, chooser, out.Unequal, out.Schedules)
			}
		}
		m.Close()
	}
}

// Replay repeats runs bit for bit, through the file form, and Shrink keeps the finding at no more preemptions.
func TestReplayAndShrinkOfMachines(t *testing.T) {
	shrunk, less := 0, 0
	for seed := range 250 {
		p := newProgram(seed, 2+seed%3, 2+seed%5)
		m := kernel.NewSim()
		r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return m.Run(ch, opt, "main", p.main) })
		random := &Random{}
		for i := range 30 {
			random.Seed(uint64(seed), uint64(i))
			count := Counter{Chooser: random}
			res := r.Run(&count, p.options())
			state, steps, f, seq := res.State, res.Steps, res.Worst(), slices.Clone(res.Seq)
			taken := Take(res, map[string]string{"scenario": "x"})
			s, err := Parse(taken.Text())
			if err != nil || !reflect.DeepEqual(s, taken) {
				t.Fatalf("%s: the schedule is not read as it was written: %v\n%s", p, err, taken.Text())
			}
			rep := NewReplay(s)
			again := r.Run(rep, p.options())
			if again.Hash != s.Hash || again.State != state || again.Steps != steps || !slices.Equal(again.Seq, seq) || rep.Diverged != "" {
				t.Fatalf("%s: the replay is another run: %q\n%s", p, rep.Diverged, s.Text())
			}
			if f == nil {
				continue
			}
			sh := Shrink(Work{Runner: r}, s, f, p.options(), Effort{Runs: 300})
			if shrunk++; sh.Preemptions < count.Preemptions {
				less++
			}
			switch {
			case sh.Finding.Oracle != f.Oracle || sh.Finding.Title != f.Title:
				t.Fatalf("%s: %v became %v", p, f, sh.Finding)
			case sh.Preemptions < 0 || sh.Preemptions > count.Preemptions:
				t.Fatalf("%s: %d preemptions became %d", p, count.Preemptions, sh.Preemptions)
			case sh.Result.Hash != sh.Schedule.Hash || len(sh.Result.Events) == 0:
				t.Fatalf("%s: the recorded run is not the shrunk one", p)
			case sh.Schedule.Meta["scenario"] != "x":
				t.Fatalf("%s: the meta data is lost", p)
			}
			break
		}
		m.Close()
	}
	t.Logf("%d findings, %d with fewer preemptions when shrunk", shrunk, less)
	if shrunk < 20 || less < shrunk/4 {
		t.Errorf("only %d findings, %d with fewer preemptions when shrunk", shrunk, less)
	}
}

// Tasks with one name are told apart by their order of creation.
func TestScheduleOfTasksWithOneName(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var order []int
	main := func(cur *kernel.Task) {
		x := newThing(m, 0)
		order = order[:0]
		var tasks []*kernel.Task
		for i := range 4 {
			tasks = append(tasks, m.Spawn(cur, "nfsd", func(*kernel.Task) { x.n.Inc(); order = append(order, i) }))
		}
		for _, t := range tasks {
			kernel.Join(cur, t)
		}
	}
	seen := map[string]bool{}
	random := &Random{}
	for i := range 200 {
		random.Seed(1, uint64(i))
		s := Take(m.Run(random, kernel.Options{}, "main", main), nil)
		want := slices.Clone(order)
		parsed, err := Parse(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		rep := NewReplay(parsed)
		if res := m.Run(rep, kernel.Options{}, "main", main); res.Hash != s.Hash || !slices.Equal(order, want) || rep.Diverged != "" {
			t.Fatalf("replay of order %v has order %v: %q", want, order, rep.Diverged)
		}
		for _, g := range s.Segments {
			seen[g.Task] = true
		}
	}
	for _, name := range []string{"main", "nfsd", "nfsd/2", "nfsd/3", "nfsd/4"} {
		if !seen[name] {
			t.Errorf("no segment of %s in %v", name, seen)
		}
	}
}

// What is in a schedule file comes back, and values that would break its lines are made to fit.
func TestScheduleText(t *testing.T) {
	s := &Schedule{
		Meta:     map[string]string{"scenario": "lockd-start", "params": "", "finding": "oops: a: b", "era": "3.19"},
		Segments: []Segment{{"mount", 12}, {"softirq/udp", 1}, {"softirq/udp/2", 3}, {"a task", 4}, {"end", 5}},
		Hash:     0x00ab,
	}
	got, err := Parse(s.Text())
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v became %+v, %v", s, got, err)
	}
	s.Meta["finding"] = "a panic\n\nof two lines\n"
	if got, err = Parse(s.Text()); err != nil || got.Meta["finding"] != "a panic of two lines" {
		t.Errorf("%v, %v", got, err)
	}
	text := "# a comment\n" + strings.ReplaceAll(string(s.Text()), "\n", "\r\n") + "\r\n"
	if got, err = Parse([]byte(text)); err != nil || !slices.Equal(got.Segments, s.Segments) {
		t.Errorf("with comments and other line ends: %v, %v", got, err)
	}
}
