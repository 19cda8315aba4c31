// SPDX-License-Identifier: MIT

package kernel

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// buildDemo builds the program of small programs and returns where it is.
func buildDemo(t *testing.T, flags ...string) string {
	t.Helper()
	demo := filepath.Join(t.TempDir(), "racedemo")
	args := slices.Concat([]string{"build"}, flags, []string{"-o", demo, "./testdata/racedemo"})
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return demo
}

// TestDetect asks the machine's own detector about the programs on which Go's is tried.
func TestDetect(t *testing.T) {
	demo := buildDemo(t)
	list, err := exec.Command(demo, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		want := kind == "true" && name != "rcu-no-grace-period" // that one races on a field of Go, which has no cell
		out, err := exec.Command(demo, "detect", name).CombinedOutput()
		if got := strings.Contains(string(out), "DATA RACE"); got != want || err != nil && !got {
			t.Errorf("%s: race %t, want %t (%v):\n%s", name, got, want, err, out)
		}
	}
}

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
		if len(r.Findings) != 1 || strings.Count(text, "detect_test.go:") < 2 ||
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

// TestDetectPrograms: programs that do nothing wrong have no race, and the detector does not change them.
func TestDetectPrograms(t *testing.T) {
	m := NewSim()
	defer m.Close()
	n := 1000
	if raceEnabled {
		n = 100
	}
	for seed := range n {
		p := randomProgram(300_000 + seed)
		r := m.Run(random(seed), Options{Detect: true}, "main", p.run)
		wantClean(t, "detect", r)
		hash := r.Hash
		if r := m.Run(random(seed), Options{}, "main", p.run); r.Hash != hash {
			t.Fatalf("program %d: the detector changes the run", p.seed)
		}
	}
}
