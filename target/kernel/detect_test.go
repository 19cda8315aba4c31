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
