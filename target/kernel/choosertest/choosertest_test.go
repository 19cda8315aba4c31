// SPDX-License-Identifier: MIT

package choosertest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

type counter struct {
	kernel.Obj
	n kernel.Atomic
}

// Both choosers show both orders of two tasks, and one seed is one run.
func TestChoosers(t *testing.T) {
	orders := map[string]int{}
	runs := 0
	var order [2]string
	main := func(cur *kernel.Task, fail func(string, ...any)) {
		m := cur.Machine()
		x := kernel.StaticObj[counter](m, "counter")
		x.n.Init(&x.Obj, "n")
		var tasks []*kernel.Task
		for _, name := range []string{"a", "b"} {
			tasks = append(tasks, m.Spawn(cur, name, func(*kernel.Task) {
				order[x.n.AddReturn(1)-1] = name
			}))
		}
		for _, u := range tasks {
			kernel.Join(cur, u)
		}
		if x.n.Peek() != 2 {
			fail("%d tasks ran", x.n.Peek())
		}
		orders[order[0]+order[1]]++
		runs++
	}
	Simulate(t, 200, kernel.Options{}, main)
	if runs != 200 || orders["ab"] < 40 || orders["ba"] < 40 {
		t.Errorf("%d runs: %v", runs, orders)
	}
	m := kernel.NewSim()
	defer m.Close()
	for seed := range uint64(20) {
		var seqs [2][]uint16
		for i := range seqs {
			r := m.Run(NewRanked(seed, 20), kernel.Options{}, "main", func(cur *kernel.Task) { main(cur, t.Errorf) })
			seqs[i] = slices.Clone(r.Seq)
		}
		if !slices.Equal(seqs[0], seqs[1]) {
			t.Fatalf("seed %d is two runs", seed)
		}
	}
}

// Each fallible step of two fails once, and what is left of a run is told.
func TestFailing(t *testing.T) {
	var failed, told []string
	for r := range Failing(t, func(cur *kernel.Task, _ func(string, ...any)) {
		tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
		for _, name := range []string{"a", "b"} {
			if x := kernel.Kzalloc[counter](cur.Machine(), name, kernel.GFP_KERNEL); x != nil {
				NothingLeft(cur, 0, tell, "made")
				kernel.Kfree(x)
			}
		}
		NothingLeft(cur, 0, tell, "over")
	}) {
		failed = append(failed, r.Failed)
	}
	if !slices.Equal(failed, []string{"a", "b", ""}) {
		t.Errorf("failed: %q", failed)
	}
	a, b := "made: 1 objects, were 0: [a]", "made: 1 objects, were 0: [b]"
	if !slices.Equal(told, []string{b, a, a, b}) {
		t.Errorf("told: %q", told)
	}
}

// Free runs each seed once.
func TestFree(t *testing.T) {
	runs := 0
	Free(t, 3, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		runs++
		if cur.Machine().Sim() {
			fail("this is the sim back end")
		}
	})
	if runs != 3 {
		t.Errorf("%d runs", runs)
	}
}
