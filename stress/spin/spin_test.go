// SPDX-License-Identifier: MIT

package spin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// shortest is SPIN's shortest counterexample of the start race.
var shortest = []int{0, 1, 0, 0, 0, 2, 2, 2, 1, 1, 1}

const trailText = "-4:-4:-4\n1:0:0\n2:1:62\n3:0:3\n4:0:5\n5:0:6\n6:2:27\n7:2:34\n8:2:44\n9:1:69\n10:1:81\n11:1:90\n"

// TestTrail replays a counterexample of SPIN's on the floor, and sees that another one is noticed.
func TestTrail(t *testing.T) {
	trail, err := parseTrail([]byte(trailText))
	if err != nil || !slices.Equal(trail, shortest) {
		t.Errorf("%v, %v", trail, err)
	}
	if err := Replay("lsr", trail); err != nil {
		t.Error(err)
	}
	for _, x := range []struct {
		trail []int
		want  string
	}{
		{[]int{0, 1, 2}, "which cannot run"},
		{[]int{0, 1, 1, 1, 1, 1}, "the floor does not follow"}, // E finds nobody idle and ends
		{[]int{0, 1, 1, 1}, "does not fail"},
		{slices.Concat(shortest, []int{0}), "fails at operation 12, the floor at 11"},
		{[]int{7}, "no process 7"},
	} {
		if err := Replay("lsr", x.trail); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v, want %q", x.trail, err, x.want)
		}
	}
	if _, err := parseTrail([]byte("1:x:2\n")); err == nil {
		t.Error("a broken trail is read")
	}
}

// TestDefines reads the names of programs.
func TestDefines(t *testing.T) {
	for name, want := range map[string]string{
		"lsr": "", "lsr-fixed": "-DFIXED=1", "pad(5)": "-DPAD=5", "cont-fixed(12)": "-DCONT=12 -DFIXED=1",
		"pad(0)": "error", "reorder(2)": "error", "pad": "error",
	} {
		got, err := defines(name)
		if (err != nil) != (want == "error") || err == nil && strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for _, d := range got {
			if !strings.Contains(string(model), "#ifndef "+strings.TrimSuffix(d[2:], regexp.MustCompile(`=.*`).FindString(d))) {
				t.Errorf("the model has no parameter %s", d)
			}
		}
	}
}

// TestRead takes the figures from a report of SPIN's.
func TestRead(t *testing.T) {
	r := Row{Program: "lsr"}
	err := r.read([]byte("depth reached 19, errors: 1\n       65 states, stored\n       33 states, matched\n"))
	if err != nil || r.Count != 65 || !r.Bug || !r.Whole {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{
		"", "errors: 0\n", "pan:1: invalid end state (at depth 3)\nerrors: 1\n 3 states, stored\n",
	} {
		if err := r.read([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestExplore goes through the small programs with the explorer.
func TestExplore(t *testing.T) {
	for name, want := range map[string][]int{
		"lsr": {204, 0, 5, 4}, "lsr-fixed": {109, 0, 3, 3}, "cont(1)": {1182, 0, 19, 14},
	} {
		rows, err := Explore(t.Context(), name, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			// In a race build a task announces its first operation later, so that there are more interleavings.
			if want[i] != 0 && !raceEnabled && r.Count != want[i] || !r.Whole || r.Bug != (name != "lsr-fixed") {
				t.Errorf("%+v, want %d", r, want[i])
			}
		}
		if name == "lsr" && rows[0].Trail != len(shortest) {
			t.Errorf("the shortest counterexample has %d operations, SPIN's %d", rows[0].Trail, len(shortest))
		}
	}
	if _, err := Explore(t.Context(), "nothing", time.Second); err == nil {
		t.Error("an unknown program is explored")
	}
	rows, err := Explore(t.Context(), "pad(20)", time.Millisecond)
	if err != nil || rows[0].Whole || rows[0].Note == "" {
		t.Errorf("%+v, %v", rows, err)
	}
}

// TestAgree sees every way in which the tools can disagree.
func TestAgree(t *testing.T) {
	theirs := func() []Row {
		return []Row{
			{Count: 65, Bug: true, Whole: true}, {Count: 64, Bug: true, Whole: true},
			{Count: 44, Bug: true, Trail: 11, Whole: true},
		}
	}
	ours := func() []Row { return []Row{{Mode: "every interleaving", Bug: true, Trail: 11, Whole: true}} }
	if err := agree("lsr", theirs(), ours()); err != nil {
		t.Error(err)
	}
	for _, change := range []func(a, b []Row){
		func(a, _ []Row) { a[0].Count++ },
		func(_, b []Row) { b[0].Bug = false },
		func(_, b []Row) { b[0].Trail = 12 },
	} {
		a, b := theirs(), ours()
		change(a, b)
		if err := agree("lsr", a, b); err == nil {
			t.Error("a disagreement is not seen")
		}
	}
}

// TestPeer runs a peer that answers as SPIN does, or is not there.
func TestPeer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	var missing *MissingError
	err := Compare(t.Context(), []string{"lsr"}, time.Second, func([]Row) {})
	if !errors.As(err, &missing) || missing.Program != "spin" || !strings.Contains(err.Error(), "apt-get install spin") {
		t.Errorf("without SPIN: %v", err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("spin", "exit 0\n")
	// It makes verifiers that count as SPIN's do: by the mode that they are compiled for.
	if err := os.WriteFile(filepath.Join(dir, "trail"), []byte(trailText), 0o600); err != nil {
		t.Fatal(err)
	}
	write("gcc", "PATH=/usr/bin:/bin\nn=64 ; case \"$*\" in *BFS*) n=44 ;; *NOREDUCE*) n=65 ;; esac\n"+
		"{ echo '#!/bin/sh'; echo \"echo 'errors: 1'; echo ' $n states, stored'; "+
		"/bin/cp '"+dir+"/trail' lsr.pml.trail\"; } > pan\nchmod 700 pan\n")
	var rows []Row
	if err := Compare(t.Context(), []string{"lsr"}, time.Minute, func(r []Row) { rows = append(rows, r...) }); err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(modes)+len(searches()) || rows[0].Count != 65 || rows[1].Count != 64 || rows[2].Trail != 11 {
		t.Errorf("%+v", rows)
	}
	write("gcc", "echo 'pan.c: no' >&2\nexit 1\n")
	if _, _, err := Verify(t.Context(), "lsr"); err == nil || !strings.Contains(err.Error(), "pan.c: no") {
		t.Errorf("a compiler that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Verify(ctx, "lsr"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
