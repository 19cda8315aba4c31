// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// TestVariants: they have every value of every parameter but those of known defects, every memory model, every fault and
// the race detector among them, and are the same for the same seed.
func TestVariants(t *testing.T) {
	for _, s := range scenario.All() {
		list := variants(s, 7)
		have := map[string]bool{}
		for _, j := range list {
			p, err := s.ParseParams(j.Params)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range s.Params {
				have[fmt.Sprintf("%s=%d", x.Name, p.Get(x.Name))] = true
			}
			have[j.Memory] = true
			have[fmt.Sprintf("detect=%t", j.Detect)] = true
			_, fault, _ := strings.Cut(j.Explore.Searches[0], "+")
			have[fault] = true
		}
		want := []string{job.MemorySC, job.MemoryTSO, job.MemoryWeak, "detect=true", "detect=false", ""}
		for k := range kernel.DecisionKinds {
			want = append(want, k.String()+"=1")
		}
		for _, x := range s.Params {
			for v := x.Min; v <= min(x.Max, 20) && !x.Defect; v++ {
				want = append(want, fmt.Sprintf("%s=%d", x.Name, v))
			}
			if x.Defect && have[fmt.Sprintf("%s=%d", x.Name, 1-x.Default)] {
				t.Errorf("%s: %s turns a known defect on", s.Name, x.Name)
			}
		}
		for _, w := range want {
			if !have[w] {
				t.Errorf("%s: no variant has %q", s.Name, w)
			}
		}
		if !reflect.DeepEqual(list, variants(s, 7)) || reflect.DeepEqual(list, variants(s, 8)) {
			t.Errorf("%s: the variants are not those of the seed", s.Name)
		}
	}
}

// TestCheckVariant: a bug that needs a parameter of which the user knows nothing is found; the line that says how to see
// it again names it. A change of nothing is clean, and the variants are counted.
func TestCheckVariant(t *testing.T) {
	code, stdout, stderr := stress(t, tree, "check", "nlm-rejected-lock-kept", "nlm-requests", "--schedules", "100", "--seed", "1",
		"--findings", t.TempDir())
	if code != exitFinding || !strings.Contains(stdout, "FAIL nlm-requests: locks: ") || !strings.Contains(stdout, "  back end sim  ask=4  chooser ") ||
		strings.Contains(stdout, "SICK") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr = stress(t, tree, "check", "cb-chained-create", "careless-admin", "--schedules", "100", "--seed", "1",
		"--findings", t.TempDir())
	want := fmt.Sprintf("%d variants of parameters, ", len(variants(scenario.All()[2], 1)))
	if code != exitOK || !strings.Contains(stdout, "\nclean careless-admin: all schedules with up to 1 preemption") ||
		!strings.Contains(stdout, want) {
		t.Errorf("exit code %d, %q, %q; want %q", code, stdout, stderr, want)
	}
}
