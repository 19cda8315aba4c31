// SPDX-License-Identifier: MIT

package bench

import (
	"math"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// TestBareLoop: what the floor is measured against must be the same program, or the ratio means nothing.
func TestBareLoop(t *testing.T) {
	const n = 200_000
	for _, test := range []struct {
		pct  bool
		want float64
	}{{false, 0.0033275}, {true, 1. / 57}} {
		l := newBareLoop(test.pct)
		least, most, lost := 100, 0, 0
		for i := range uint64(n) {
			steps, bug := l.run(i)
			least, most = min(least, steps), max(most, steps)
			if bug {
				lost++
			}
		}
		l.close()
		if least != 14 || most != 19 {
			t.Errorf("pct %t: %d to %d steps, want 14 to 19", test.pct, least, most)
		}
		sigma := math.Sqrt(n * test.want * (1 - test.want))
		if math.Abs(float64(lost)-n*test.want) > 4*sigma {
			t.Errorf("pct %t: %d of %d wake-ups lost, want %.0f", test.pct, lost, n, n*test.want)
		}
	}
}

// TestSubjects: every subject runs the program that its name says.
func TestSubjects(t *testing.T) {
	var l lab
	defer l.close()
	l.samplers()
	l.searches()
	if l.err != nil {
		t.Fatal(l.err)
	}
	for _, s := range l.subjects {
		for range 20 {
			if steps := s.run(); steps > lsrSteps || steps < 1 && s.name != "lsr-dpor" && s.name != "lsr-bounded:n=2" {
				t.Errorf("%s: %d steps", s.name, steps)
			}
		}
	}
	l.add("x", "", "nope", kernel.Options{}, nil)
	if l.err == nil {
		t.Error("a program that there is not is measured")
	}
	if _, err := search("nope"); err == nil {
		t.Error("a program that there is not is searched")
	}
}
