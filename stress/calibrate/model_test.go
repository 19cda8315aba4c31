// SPDX-License-Identifier: MIT

package calibrate

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// TestExactRates holds the computed rates against those that were measured over a million schedules of other programs'
// making, and against the theory.
func TestExactRates(t *testing.T) {
	m, err := modelOf("lsr", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, total, err := m.count()
	if err != nil {
		t.Fatal(err)
	}
	walk, _ := total.walk.Float64()
	pos, err := m.pos()
	if err != nil {
		t.Fatal(err)
	}
	urw, err := m.urw()
	if err != nil {
		t.Fatal(err)
	}
	surw, err := m.surw(lsrTask)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name               string
		got, want, nearest float64
	}{
		{"random walk", walk, 0.003328, 1e-6},
		{"pct:d=1", m.pct(1, 19), 0, 0},
		{"pct:d=2", m.pct(2, 19), 1. / 57, 1e-12},
		{"pct:d=3", m.pct(3, 19), 0.0231, 0.0003},
		{"pos", pos, 0.0333, 0.0003},
		{"urw", urw, 0.0295, 0.0003},
		{"surw", surw, 0.0701, 0.0004},
		{"longest", float64(total.longest), 19, 0},
	} {
		if math.Abs(x.got-x.want) > x.nearest {
			t.Errorf("%s: %v, want %v", x.name, x.got, x.want)
		}
	}
}

// TestWays: a set task's store of a may be seen without that of b, or that of b without that of a.
func TestWays(t *testing.T) {
	m, err := modelOf("reorder", 1)
	if err != nil {
		t.Fatal(err)
	}
	all, buggy, err := m.traces()
	if err != nil || all != 5 || buggy != 3 || m.ways() != 2 {
		t.Errorf("%d traces, %d with the bug, %d ways to it, %v; want 5, 3, 2", all, buggy, m.ways(), err)
	}
}

func TestModelErrors(t *testing.T) {
	for family, want := range map[string]string{
		"etcd-3077": "has no model",
		"reorder":   "has 22 tasks, and a model at most 12",
	} {
		if _, err := modelOf(family, 20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", family, err, want)
		}
	}
	m, err := modelOf("twostage", 4)
	if err != nil {
		t.Fatal(err)
	}
	m.room = 100
	if _, _, err := m.count(); !errors.Is(err, errLarge) {
		t.Errorf("got %v, want %v", err, errLarge)
	}
	if _, err := m.pos(); !errors.Is(err, errLarge) {
		t.Errorf("pos: got %v, want %v", err, errLarge)
	}
	if _, _, err := m.traces(); !errors.Is(err, errLarge) {
		t.Errorf("traces: got %v, want %v", err, errLarge)
	}
	if _, err := m.urw(); !errors.Is(err, errLarge) {
		t.Errorf("urw: got %v, want %v", err, errLarge)
	}
}

// TestChance holds the distributions against tabled values.
func TestChance(t *testing.T) {
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-3*want+1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("chi-square(3.841, 1)", chiSquare(3.841459, 1), 0.05)
	near("chi-square(0.00393, 1)", chiSquare(0.00393214, 1), 0.95)
	near("chi-square(18.307, 10)", chiSquare(18.307038, 10), 0.05)
	near("chi-square(135.807, 100)", chiSquare(135.8067, 100), 0.01)
	near("chi-square(23.93, 1)", chiSquare(23.92813, 1), 1e-6)
	near("chi-square(0, 5)", chiSquare(0, 5), 1)
	near("binomial(2; 10, 0.5)", binomial(2, 10, 0.5), 56./1024)
	near("binomial(0; 100, 0.01)", binomial(0, 100, 0.01), math.Pow(0.99, 100))
	near("0 hits where none can be", hits(0, 100, 0), 1)
	near("1 hit where none can be", hits(1, 100, 0), 0)
	near("0 of 1000 at 0.001", hits(0, 1000, 0.001), 2*math.Pow(0.999, 1000))
	near("600 of 1000 at 0.5", hits(600, 1000, 0.5), chiSquare(40, 1))
	near("two equal samples", same(10, 100, 20, 200), 1)
	near("two empty samples", same(0, 100, 0, 200), 1)
	near("two samples", same(30, 100, 50, 100), chiSquare(25./3, 1))
	near("a fair die", spread([]int{20, 20, 20}, []float64{20, 20, 20}), 1)
	near("a loaded die", spread([]int{30, 10, 20}, []float64{20, 20, 20}), chiSquare(10, 2))
	near("rare kinds", spread([]int{100, 3, 0}, []float64{100, 1, 2}), 1)
}
