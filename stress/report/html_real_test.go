// SPDX-License-Identifier: MIT

//go:build !race

package report

// The bug that is drawn here is a data race, and under the race detector no states are taken.

import (
	"regexp"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// realFailure is a run of the port: the administrator who takes no mutex.
func realFailure(t *testing.T) *Failure {
	t.Helper()
	s, err := scenario.Find("careless-admin")
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.ParseParams("mutex=0")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	t.Cleanup(m.Close)
	for seed := range uint64(20000) {
		ch := &explore.Random{}
		ch.Seed(seed, 1)
		res := s.Run(m, ch, p, kernel.Options{Record: true, Snapshot: State})
		if f := res.Worst(); f != nil {
			return &Failure{
				Scenario: s.Name, Finding: f, Events: res.Events, Pending: res.Pending, Era: "3.19", Backend: "sim",
				Chooser: "random", Seed: seed, Steps: res.Steps, Schedule: "findings/careless-admin-7f3a.schedule",
				Params: p.String(), Dump: Dump(m, res),
			}
		}
	}
	t.Fatal("no finding")
	return nil
}

// The file needs nothing but itself, says what it is under which licence, and looks right by day and by night.
func TestSelfContained(t *testing.T) {
	text := rendered(t, realFailure(t))
	for _, bad := range []string{"http://", "https://", "@import", "url(", "<link rel=\"stylesheet\"", "src=", "fetch(", "XMLHttpRequest",
		"ZgotmplZ", "0x000"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %s", bad)
		}
	}
	for _, good := range []string{
		"default-src 'none'", "@media (prefers-color-scheme: dark)", `content="light dark"`, "@media print",
		"SPDX-License-Identifier: MIT", "<html lang=\"en\">", `name="viewport"`,
		"go run ./stress replay findings/careless-admin-7f3a.schedule", "a victim was chosen",
	} {
		if !strings.Contains(text, good) {
			t.Errorf("the page does not contain %s", good)
		}
	}
	if again := rendered(t, realFailure(t)); again != text {
		t.Error("the same run gives two different pages")
	}
}

// The states of a real run are there, by name and not by address.
func TestRealStates(t *testing.T) {
	p := newPage(realFailure(t))
	known, changed := 0, 0
	for _, x := range p.Data.Steps {
		if len(x.Diff) > 0 {
			known++
		}
		for i := 0; i < len(x.Diff); i += 2 {
			if x.Diff[i] != 0 {
				changed++
				break
			}
		}
	}
	if known < 30 || changed < 10 {
		t.Errorf("of %d steps %d have a state, and in %d something changed", len(p.Data.Steps), known, changed)
	}
	all := strings.Join(p.Data.Words, "\n")
	for _, want := range []string{"state: RUNNING", "held by ", "NULL"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if m := regexp.MustCompile(`0x[0-9a-f]{6,}|map\[`).FindString(all); m != "" {
		t.Errorf("%s in\n%s", m, all)
	}
}
