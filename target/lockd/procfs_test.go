// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// TestEndGrace ends the grace period of one namespace by its file, and of no other; what is no yes changes nothing.
func TestEndGrace(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{Detect: true}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		said := func(when string, want ...string) {
			for i, net := range w.nets {
				if got := w.NlmEndGraceRead(net); got != want[i] {
					fail("%s: %q in %s, want %q", when, got, net.Name, want[i])
				}
			}
		}
		said("before lockd was ever up", "Y\n", "Y\n")
		if n := w.NlmEndGraceWrite(w.nets[1], []byte("Y")); n != 1 {
			fail("written before lockd was ever up: %d", n)
		}
		if !w.started(cur, fail, 0) || !w.started(cur, fail, 1) {
			return
		}
		said("up", "N\n", "N\n")
		for _, no := range []string{"", "n", "N", "0", " Y", "\n"} {
			if n := w.NlmEndGraceWrite(w.nets[0], []byte(no)); n != -kernel.EINVAL {
				fail("%q written: %d", no, n)
			}
		}
		said("no", "N\n", "N\n")
		for _, yes := range []string{"1\n", "yes", "Y"} {
			if n := w.NlmEndGraceWrite(w.nets[0], []byte(yes)); n != len(yes) {
				fail("%q written: %d", yes, n)
			}
			said(yes, "Y\n", "N\n")
		}
		if w.Grace.LocksInGrace(w.LockdNet(w.nets[0]).GraceNet) {
			fail("in grace still")
		}
		w.LockdDown(cur, w.nets[0])
		said("one is down", "Y\n", "N\n")
		w.LockdDown(cur, w.nets[1])
		said("down", "Y\n", "Y\n")
		w.down(cur, fail, "down")
	})
}
