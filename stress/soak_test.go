// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestSoakClean(t *testing.T) {
	file := filepath.Join(t.TempDir(), "soak.json")
	code, out, errs := stress(t, ".", "soak", "--for", "2s", "--seed", "1", "--json", file)
	if code != exitOK || !strings.HasPrefix(out, "seed 1\n") || !strings.Contains(out, "no finding in") ||
		!regexp.MustCompile(`iterations \(\d+/s\), RSS \d+\.\d MB, \d+ goroutines`).MatchString(out) {
		t.Fatalf("exit code %d\n%s\n%s", code, out, errs)
	}
	var rep soakReport
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Seed != 1 || rep.Verdict != "clean" || rep.Iterations == 0 || rep.Rate <= 0 || len(rep.Samples) != 1 ||
		rep.Samples[0].RSS == 0 || rep.Samples[0].Goroutines == 0 || rep.Era != "3.19" || rep.Race {
		t.Errorf("%+v", rep)
	}
}

// TestSoakFinding lets soak find what a careless administrator does, and follows its own advice.
func TestSoakFinding(t *testing.T) {
	code, out, errs := stress(t, ".", "soak", "--for", "2m", "--scenario", "careless-admin", "--params", "mutex=0")
	if code != exitFinding || !strings.Contains(out, "\nFAIL careless-admin: ") {
		t.Fatalf("exit code %d\n%s\n%s", code, out, errs)
	}
	again := regexp.MustCompile(`(?m)^again:  go run \./stress (.*)$`).FindStringSubmatch(out)
	if again == nil {
		t.Fatalf("it does not say how to run it again:\n%s", out)
	}
	line := strings.Replace(again[1], "--repeat 1000", "--repeat 100000", 1)
	code, out2, errs := stress(t, ".", append(strings.Fields(line), "--for", "2m")...)
	if code != exitFinding || !strings.Contains(out2, " iteration ") {
		t.Errorf("%s: exit code %d\n%s\n%s", line, code, out2, errs)
	}
	which := regexp.MustCompile(`(?m)^seed \d+  iteration .*$`)
	if a, b := which.FindString(out), which.FindString(out2); a != b {
		t.Errorf("%s: ran %q, want %q", line, b, a)
	}
}

// TestSoakMutant builds the command anew with a mutant in it.
func TestSoakMutant(t *testing.T) {
	code, out, errs := stress(t, tree, "soak", "--for", "2m", "--mutant", "canary", "--seed", "1")
	if code != exitFinding || !strings.Contains(out, "FAIL ") || !strings.Contains(out, "--mutant canary") {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
}

func TestSoakWrongUse(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--for", "-1s"}, "not a time to run"},
		{[]string{"--for", "soon"}, "invalid argument"},
		{[]string{"--iterations", "0"}, "not a number of runs"},
		{[]string{"--repeat", "0"}, "not a number of runs"},
		{[]string{"--scenario", "nonsense"}, `no scenario "nonsense"`},
		{[]string{"--params", "nonsense=1"}, "has no parameter"},
		{[]string{"--mutant", "nonsense"}, `unknown mutant "nonsense"`},
		{[]string{"--era", "2.4"}, `unknown era "2.4"`},
		{[]string{"--json", "/nonexistent/x"}, "cannot be written"},
	} {
		code, _, errs := stress(t, tree, append([]string{"soak"}, test.args...)...)
		if code != exitUsage || strings.Count(strings.TrimPrefix(errs, "building\n"), "\n") != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("%v: exit code %d, %q, want %q", test.args, code, errs, test.want)
		}
	}
}
