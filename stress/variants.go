// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// drawnVariants is how many variants differ in everything at once.
const drawnVariants = 24

// variants are ways to run a scenario other than its ordinary one, since whoever changes the port does not know which of
// them shows it: each other value of each parameter, each memory model, each kind of fault, data races; and then, drawn
// from seed, several of all that together.
func variants(s *scenario.Scenario, seed uint64) (list []job.Job) {
	add := func(p scenario.Params, memory string, detect bool, faults string) {
		list = append(list, job.Job{
			Scenario: s.Name, Params: p.String(), Backend: "sim", Memory: memory, Detect: detect,
			Explore: &job.Explore{Searches: []string{"pct" + faults, "pos" + faults}, MaxFindings: 1},
		})
	}
	ordinary := s.Defaults()
	for _, x := range s.Params {
		for v := x.Min; v <= x.Max && !x.Defect; v++ {
			if v != x.Default {
				add(ordinary.With(x.Name, v), job.MemorySC, false, "")
			}
		}
	}
	add(ordinary, job.MemoryTSO, false, "")
	add(ordinary, job.MemoryWeak, false, "")
	add(ordinary, job.MemorySC, true, "")
	for k := range kernel.DecisionKinds {
		add(ordinary, job.MemorySC, false, fmt.Sprintf("+%s=1", k))
	}
	h := fnv.New64a()
	fmt.Fprint(h, s.Name)
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	for range drawnVariants {
		p := s.Draw(r, ordinary, nil)
		memory := []string{job.MemorySC, job.MemoryTSO, job.MemoryWeak}[r.IntN(3)]
		faults := ""
		if k := r.IntN(2 * int(kernel.DecisionKinds)); k < int(kernel.DecisionKinds) {
			faults = fmt.Sprintf("+%s=%d", kernel.DecisionKind(k), 1+r.IntN(2))
		}
		add(p, memory, r.IntN(2) == 0, faults)
	}
	return list
}

// share gives each of the variants its part of a budget.
func share(list []job.Job, seed uint64, limit *budget) {
	for i := range list {
		j := &list[i]
		j.Seed, j.Shrink, j.ShrinkFor, j.Trace, j.HTML = seed+uint64(i), shrinkRuns, shrinkFor, true, true
		j.Explore.For = limit.period / time.Duration(len(list))
		if limit.schedules > 0 {
			j.Explore.Schedules = max(limit.schedules/len(list), 1)
		}
	}
}
