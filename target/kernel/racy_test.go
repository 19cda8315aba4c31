// SPDX-License-Identifier: MIT

//go:build !race

package kernel

import (
	"strings"
	"testing"
)

// A race that a test makes on purpose fails it in a race build; hence the build tag.

// racer writes what reader reads; nothing orders them.
func racer(b *box) { b.x.Store(1) }

func reader(b *box) { b.x.Load() }

// TestRaceTitle: a race has one title, whoever comes first, one finding a run, and both sites; the schedule is that of
// a run without the detector.
func TestRaceTitle(t *testing.T) {
	main := func(cur *Task) {
		b := newBox(cur.Machine())
		twice := func(f func(*box)) func(*Task) { return func(*Task) { f(b); b.n.Inc(); f(b) } }
		spawn(cur, twice(racer), twice(reader))()
		Kfree(b)
	}
	m := NewSim()
	defer m.Close()
	first := map[string]bool{}
	for seed := range 50 {
		r := m.Run(random(seed), Options{Detect: true, Record: true}, "main", main)
		var text string
		for _, f := range r.Findings {
			if f.Oracle != "data-race" || f.Fatal || f.Title != "load and store of x, in kernel.reader and kernel.racer" {
				t.Fatalf("seed %d: %v", seed, f)
			}
			text = f.Text
		}
		if len(r.Findings) != 1 || strings.Count(text, "racy_test.go:") < 2 ||
			!strings.Contains(text, "store by a, ") || !strings.Contains(text, "load by b, ") {
			t.Fatalf("seed %d: %d findings\n%s", seed, len(r.Findings), text)
		}
		first[strings.Fields(strings.SplitN(text, "\n", 3)[1])[0]] = true
		with := r.Hash
		if r := m.Run(random(seed), Options{}, "main", main); r.Hash != with || len(r.Findings) != 0 {
			t.Fatalf("seed %d: the detector changes the run, or stays on", seed)
		}
	}
	if !first["load"] || !first["store"] {
		t.Errorf("only %v ever came first", first)
	}
}
