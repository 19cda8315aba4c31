// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines decodes what a runner prints.
func lines(t *testing.T, out string) (patches []string, results []*job.Result) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(out))
	var first struct{ Mutants []string }
	if err := dec.Decode(&first); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		var l job.Line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Result != nil {
			results = append(results, l.Result)
		}
	}
	return first.Mutants, results
}

func TestRun(t *testing.T) {
	good := job.Job{Scenario: "lockd-start", Backend: "sim", Seed: 1, Plans: []job.Plan{{Chooser: "random", Schedules: 20}}}
	bad := good
	bad.Scenario = "nope"
	for _, test := range []struct {
		jobs  []job.Job
		found bool
	}{
		{nil, false},
		{[]job.Job{good, good}, false},
		{[]job.Job{bad, good}, true},
	} {
		in, err := json.Marshal(test.jobs)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		found, err := run(t.Context(), bytes.NewReader(in), &out)
		if err != nil || found != test.found {
			t.Errorf("%s: %t, %v", in, found, err)
		}
		patches, results := lines(t, out.String())
		if !strings.HasPrefix(out.String(), "{\"mutants\":[]}\n") || len(patches) != 0 || len(results) != len(test.jobs) {
			t.Fatalf("%s: %s", in, out.String())
		}
		for i, r := range results {
			if r.Job.Scenario != test.jobs[i].Scenario {
				t.Errorf("%s: result %d is of %s", in, i, r.Job.Scenario)
			}
			if fault := r.Job.Scenario == "nope"; (r.Fault != "") != fault || !fault && (r.Verdict != job.Clean || r.Schedules != 20) {
				t.Errorf("%s: result %d is %+v", in, i, r)
			}
		}
	}
}

func TestNoJobs(t *testing.T) {
	for _, in := range []string{"", "{}", `[{"scenario":`, `[{"wheels":4}]`} {
		var out bytes.Buffer
		if _, err := run(t.Context(), strings.NewReader(in), &out); err == nil {
			t.Errorf("%q is accepted: %s", in, out.String())
		}
	}
}

func TestPatchesAreNamed(t *testing.T) {
	mutants = []string{"a", "b"}
	defer func() { mutants = nil }()
	var out bytes.Buffer
	if _, err := run(t.Context(), strings.NewReader("[]"), &out); err != nil || out.String() != "{\"mutants\":[\"a\",\"b\"]}\n" {
		t.Errorf("%v: %q", err, out.String())
	}
}
