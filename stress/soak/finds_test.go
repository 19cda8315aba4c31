// SPDX-License-Identifier: MIT

// What a careless administrator does is a data race as well, and would fail any test under the detector.

//go:build !race

package soak

import (
	"context"
	"testing"
	"time"
)

// TestFinds lets the loop find what a careless administrator does, and draws it again.
func TestFinds(t *testing.T) {
	cfg := Config{Scenarios: []string{"careless-admin"}, Params: "mutex=0", Seed: 1, For: time.Minute}
	out, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out.Finding == nil {
		t.Fatalf("nothing in %d iterations", out.Iterations)
	}
	t.Logf("iteration %d (%s): %s", out.At, &out.Draw, out.Finding)
	if out.Dump == "" {
		t.Error("no dump")
	}
	cfg.First, cfg.Iterations, cfg.For, cfg.Repeat = out.At, 1, time.Minute, 20000
	again, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again.Finding == nil || again.At != out.At || again.Draw.String() != out.Draw.String() {
		t.Errorf("drawn again: %v at %d (%s)", again.Finding, again.At, &again.Draw)
	}
}
