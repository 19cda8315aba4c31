// SPDX-License-Identifier: MIT

package bench

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"
)

// TestMeasure looks at the figures' form and arithmetic. How fast this machine is, is no matter of tests.
func TestMeasure(t *testing.T) {
	figures, err := Measure(4 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Figure{}
	for _, f := range figures {
		if _, ok := by[f.Name]; ok || f.Name == "" || math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
			t.Errorf("%+v", f)
		}
		if f.Value <= 0 && f.Name != "sim-3x10-marginal" { // a difference: noise may have its way with it
			t.Errorf("%+v", f)
		}
		if !slices.Contains([]string{
			"ns/switch", "ns/step", "schedules/s", "steps/schedule", "ratio", "points/s", "executions", "executions/s", "s",
		}, f.Unit) {
			t.Errorf("%+v: a unit that is explained nowhere", f)
		}
		by[f.Name] = f
	}
	for _, name := range []string{
		"bare-switch", "sim-3x10", "sim-3x10-schedules", "sim-3x10-over-bare-switch", "lockd-start-random", "lockd-start-pct",
		"callback-start-pct",
	} {
		if _, ok := by[name]; !ok {
			t.Errorf("no figure %s", name)
		}
	}
	if got, want := by["sim-3x10-over-bare-switch"].Value, by["sim-3x10"].Value/by["bare-switch"].Value; math.Abs(got-want) > 1e-9 {
		t.Errorf("the ratio is %v, its parts make %v", got, want)
	}
	for _, name := range []string{"lockd-start-random", "lockd-start-pct", "callback-start-pct"} {
		perSchedule := by[name+"-steps"].Value * by[name+"-length"].Value
		if x := perSchedule * by[name].Value / 1e9; math.Abs(x-1) > 1e-6 {
			t.Errorf("%s: %v schedules/s, but %v ns for each", name, by[name].Value, perSchedule)
		}
		if n := by[name+"-length"].Value; n < 50 || n > 5000 {
			t.Errorf("%s: %v steps a schedule", name, n)
		}
	}
	if text, err := json.Marshal(figures[0]); err != nil || string(text[:9]) != `{"name":"` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSchedulesErrors(t *testing.T) {
	if _, err := schedules("nope", "", "pct", time.Millisecond); err == nil {
		t.Error("a scenario that there is not is measured")
	}
	if _, err := schedules("lockd-start", "wheels=4", "pct", time.Millisecond); err == nil {
		t.Error("a parameter that there is not is measured")
	}
}

func TestRate(t *testing.T) {
	var r rate
	r.add(rate{runs: 2, steps: 10, took: 30 * time.Nanosecond})
	r.add(rate{runs: 1, steps: 5, took: 15 * time.Nanosecond})
	if r.perRun() != 15 || r.nsPerStep() != 3 {
		t.Errorf("%v ns a run, %v ns a step", r.perRun(), r.nsPerStep())
	}
}
