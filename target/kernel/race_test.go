// SPDX-License-Identifier: MIT

//go:build race

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestRaceDetector asks the race detector about programs of which some order their accesses with a primitive of
// the floor and some only happen to run in an order: it must see the second kind, on both back ends, and be
// silent about the first. A program of its own runs them, because a race fails the test that it happens in.
func TestRaceDetector(t *testing.T) {
	demo := buildDemo(t, "-race")
	list, err := exec.Command(demo, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")
	slices.Sort(lines)
	racy, silent := 0, 0
	for _, line := range lines {
		name, kind, _ := strings.Cut(line, " ")
		want := kind == "true"
		if want {
			racy++
		} else {
			silent++
		}
		for _, back := range []string{"sim", "free"} {
			t.Run(back+"/"+name, func(t *testing.T) {
				cmd := exec.Command(demo, back, name)
				cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
				out, err := cmd.CombinedOutput()
				got := strings.Contains(string(out), "DATA RACE")
				switch {
				case got && !want:
					t.Errorf("what the primitive orders is reported:\n%s", out)
				case want && !got:
					t.Errorf("the race is not seen (%v):\n%s", err, out)
				case err != nil && !got:
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	if racy < 9 || silent < 15 {
		t.Errorf("%d racy and %d silent programs", racy, silent)
	}
}

// TestDetectorsAgree runs random programs, racy ones among them, with both detectors: for every schedule they must give
// one verdict. Go's forgets races that look alike unless it is told not to.
func TestDetectorsAgree(t *testing.T) {
	demo := buildDemo(t, "-race")
	cmd := exec.Command(demo, "agree", "0", "3000")
	const all = "GORACE=suppress_equal_stacks=0 suppress_equal_addresses=0 atexit_sleep_ms=0 exitcode=0"
	cmd.Env = append(os.Environ(), all)
	out, err := cmd.Output()
	var programs, racy, differ int
	_, scan := fmt.Sscanf(lastLine(out), "%d programs, %d racy, %d verdicts differ", &programs, &racy, &differ)
	if scan != nil || err != nil {
		t.Fatalf("%v, %v:\n%s", err, scan, out)
	}
	if programs != 3000 || racy < 300 || racy > 2700 {
		t.Errorf("%d programs, of which %d race: nothing is compared", programs, racy)
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
