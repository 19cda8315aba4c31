// SPDX-License-Identifier: MIT

//go:build !race

package scenario

import (
	"testing"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Without the service mutex the administrator takes a svc_rqst that has no task yet. The race detector sees the store
// and the load of rq_task for what they are and fails the test before any oracle speaks, hence the build tag.
func TestCarelessAdminIsFound(t *testing.T) {
	p, err := carelessAdmin.ParseParams("mutex=0")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	for i := range 3000 {
		r := carelessAdmin.Run(m, chooser(i), p, kernel.Options{})
		if f := r.Worst(); f != nil && f.Oracle == "victim" {
			if f.Title != "a victim was chosen that nobody can stop" || oracle.Verdict(f) != "leak" {
				t.Errorf("%v, verdict %s", f, oracle.Verdict(f))
			}
			return
		}
	}
	t.Error("no victim in 3000 schedules")
}
