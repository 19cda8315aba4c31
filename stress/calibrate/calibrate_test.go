// SPDX-License-Identifier: MIT

//go:build !race

// In the race detector's build a new task announces nothing before it is picked: other counts would be right there.

package calibrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// short is a calibration that takes little time.
func short(programs ...string) Plan {
	return Plan{Programs: programs, Runs: noticed, Replays: 1000, Seed: 1}
}

func TestCalibration(t *testing.T) {
	rows, err := Run(context.Background(), short("lsr", "lsr-fixed", "reorder(1)"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !r.OK {
			t.Errorf("%s, %s: %s, want %s (%s, p=%.2g)", r.Program, r.What, r.Got, r.Want, r.Against, r.P)
		}
	}
	for _, what := range []string{
		"states of the model", "all schedules", "at most 0, 1.. preemptions", "source DPOR", "source DPOR, blocked",
		"optimal DPOR", "random", "pct:d=2", "pct:d=3", "pos", "urw", "surw:o=rq_task", "uniform",
		"machine like the model", "random, each interleaving", "uniform, each interleaving", "1000 replays",
	} {
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Program == "lsr" && r.What == what }) {
			t.Errorf("no row %s of lsr", what)
		}
	}
	again, err := Run(context.Background(), short("lsr"))
	if err != nil || !slices.Equal(again, rows[:len(again)]) {
		t.Errorf("the same calibration has other rows: %v", err)
	}
}

// TestGoldenRates holds the computed rates against those in the table of known programs.
func TestGoldenRates(t *testing.T) {
	s, err := newSubject("lsr", &Plan{})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range s.Known.Rates {
		s.rows = nil
		s.goldenRate(what, want)
		if len(s.rows) != 1 || !s.rows[0].OK {
			t.Errorf("%s: %+v", what, s.rows)
		}
	}
}

// TestCanary: a calibration that a wrong chooser passes is worth nothing.
func TestCanary(t *testing.T) {
	plan := short("lsr")
	s, err := newSubject("lsr", &plan)
	if err != nil {
		t.Fatal(err)
	}
	s.classes()
	for _, r := range s.rows {
		if canary := strings.HasPrefix(r.What, "canary"); !r.OK || canary != (r.P < level) {
			t.Errorf("%+v", r)
		}
	}
	if len(s.rows) != 3 {
		t.Errorf("%d rows, no canary", len(s.rows))
	}
	walk, _ := s.total.walk.Float64()
	s.rate("a walk with twice the rate", 2*walk, func(i uint64) kernel.Chooser {
		ch := new(explore.Random)
		ch.Seed(1, i)
		return ch
	})
	if s.rows[3].OK {
		t.Errorf("%+v", s.rows[3])
	}
}

// TestRed holds a program against the model of another: everything that differs must be red.
func TestRed(t *testing.T) {
	plan := short("lsr")
	s, err := newSubject("lsr-fixed", &plan)
	if err != nil {
		t.Fatal(err)
	}
	if s.Program, err = program.Parse("lsr"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []func(*subject){
		(*subject).golden, (*subject).enumerate, (*subject).bounds, (*subject).reduce, (*subject).sample, (*subject).classes,
	} {
		part(s)
	}
	for _, r := range s.rows {
		// These are the program's own, and without the bug nothing can be met.
		if own := r.What == "the same" || r.What == "uniform" || strings.HasSuffix(r.What, "DPOR, blocked") ||
			strings.HasPrefix(r.What, "canary"); r.OK && !own {
			t.Errorf("%s: %s is as expected of another program", r.What, r.Got)
		}
	}
	if Check(s.rows) || len(s.rows) < 15 {
		t.Errorf("%d rows, and all is well", len(s.rows))
	}
}

func TestRunErrors(t *testing.T) {
	for name, want := range map[string]string{
		"nope":        "unknown program",
		"etcd-3077":   "etcd-3077 has no model",
		"reorder(20)": "has 22 tasks, and a model at most 12",
	} {
		if _, err := Run(context.Background(), short("lsr", name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Run(ctx, short("lsr", "lsr-fixed")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

// An interrupt is heeded in the midst of a part, in the machine's runs as in the model's, and what was made stays.
func TestInterrupted(t *testing.T) {
	little := Plan{Programs: []string{"lsr"}, Runs: 2000, Replays: 1000, Seed: 1}
	whole, err := Run(context.Background(), little)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"at most 0 preemptions", "random", "pct:d=2", "uniform, each interleaving", "replays"} {
		ctx, stop := context.WithCancel(context.Background())
		plan, over := little, false
		plan.Progress = func(program, what string) {
			if over {
				t.Errorf("interrupted at %s: it begins with %s of %s", at, what, program)
			}
			if over = what == at; over {
				stop()
			}
		}
		rows, err := Run(ctx, plan)
		stop()
		if !errors.Is(err, context.Canceled) || len(rows) == 0 || len(rows) >= len(whole) || !slices.Equal(rows, whole[:len(rows)]) {
			t.Errorf("interrupted at %s: %d rows, %v", at, len(rows), err)
		}
	}
}
