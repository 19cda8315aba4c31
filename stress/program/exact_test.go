// SPDX-License-Identifier: MIT

//go:build !race

// The race detector's build hands over in another way: a new task announces nothing before it is picked.

package program

import (
	"cmp"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// walk goes through all schedules of a program, depth first, without any cleverness: the searches of the explorer are
// tested against it.
type walk struct {
	at, of []int // at every choice: which option is taken, of how many
	depth  int
	begun  bool
}

func (w *walk) next() bool {
	w.depth = 0
	if !w.begun {
		w.begun = true
		return true
	}
	for n := len(w.at) - 1; n >= 0; n-- {
		if w.at[n]++; w.at[n] < w.of[n] {
			w.at, w.of = w.at[:n+1], w.of[:n+1]
			return true
		}
	}
	return false
}

func (w *walk) Pick(c *kernel.Choice) *kernel.Task {
	if w.depth == len(w.at) {
		w.at, w.of = append(w.at, 0), append(w.of, len(c.Runnable))
	}
	w.depth++
	run := slices.Clone(c.Runnable)
	slices.SortFunc(run, func(a, b *kernel.Task) int { return cmp.Compare(a.Index(), b.Index()) })
	return run[w.at[w.depth-1]]
}

// count runs all schedules of a program, at most most of them, and returns how many there are and how many fail.
func count(t *testing.T, p *Program, most int) (all, failed int) {
	m := kernel.NewSim()
	defer m.Close()
	for w := (&walk{}); w.next() && all < most; all++ {
		res := p.Run(m, w, kernel.Options{})
		f := res.Worst()
		if f == nil {
			continue
		}
		failed++
		if f.Oracle != Oracle && f.Oracle != "deadlock" || p.Bug == "" {
			t.Fatalf("%s, schedule %d: %s", p.Name, all+1, f)
		}
	}
	return all, failed
}

// enough is how many schedules of a program the tests go through.
const enough = 40_000

func TestPrograms(t *testing.T) {
	for _, p := range All() {
		if p.Tasks > 5 {
			continue
		}
		all, failed := count(t, p, enough)
		switch {
		case all == enough:
			continue // of these the model tells; see the calibration
		case (failed > 0) != (p.Bug != ""):
			t.Errorf("%s: %d of %d schedules fail, and its bug is %q", p.Name, failed, all, p.Bug)
		case failed == all:
			t.Errorf("%s fails in every schedule: nothing to find", p.Name)
		case p.Known != nil && (uint64(all) != p.Known.Interleavings || uint64(failed) != p.Known.Buggy):
			t.Errorf("%s: %d interleavings, %d with the bug; want %d, %d", p.Name, all, failed, p.Known.Interleavings,
				p.Known.Buggy)
		}
	}
}

// TestSizeZero holds that a size of 0 adds nothing.
func TestSizeZero(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for _, name := range []string{"pad(0)", "cont(0)"} {
		p, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if all, failed := count(t, p, enough); all != 204 || failed != 7 {
			t.Errorf("%s: %d interleavings, %d with the bug", name, all, failed)
		}
	}
}

// TestAllocations: what a run leaves behind decides how many there are in a second.
func TestAllocations(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for _, name := range []string{"lsr", "pad(5)", "cont(2)", "reorder(3)", "twostage(98)"} {
		p, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		run := func() { p.Run(m, first{}, kernel.Options{}) }
		run()
		if n := testing.AllocsPerRun(100, run); n > 1 { // the result
			t.Errorf("%s: %v allocations a run", name, n)
		}
	}
}

// TestDetect holds the machine's own detector against the two forms of the race: a plain field, and an atomic one.
func TestDetect(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for name, want := range map[string]bool{"lsr-plain": true, "lsr": false, "lsr-fixed": false} {
		p, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		var walk drunk
		races := 0
		for range 200 {
			for _, f := range p.Run(m, &walk, kernel.Options{Detect: true}).Findings {
				if f.Oracle != Oracle {
					races++
				}
			}
		}
		if (races > 0) != want {
			t.Errorf("%s: %d races", name, races)
		}
	}
}
