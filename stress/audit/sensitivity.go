// SPDX-License-Identifier: MIT

package audit

import (
	"context"
	"slices"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// Need says what becomes of a search that never interrupts a task at these points.
type Need struct {
	Points  []string `json:"points"`
	FoundAt int      `json:"found_at"` // the schedule that fails all the same; 0: none within the budget
	Tried   int      `json:"tried"`    // schedules
}

// Needed reports whether the bug was not seen without the points.
func (n *Need) Needed() bool { return n.FoundAt == 0 }

// Sensitivity is which scheduling points a bug needs to be seen.
type Sensitivity struct {
	Name        string `json:"name"`
	FoundAt     int    `json:"found_at"` // 0: not found within the budget
	FailAt      int    `json:"fail_at,omitempty"`
	Oracle      string `json:"oracle,omitempty"`
	Preemptions int    `json:"preemptions"` // of the smallest schedule
	// Needs has one entry for each point at which that schedule interrupts a task, and if there are several one more for
	// all of them together.
	Needs []Need `json:"needs,omitempty"`
	Why   string `json:"why,omitempty"` // it could not be looked for
}

// Sense finds a bug once more without each of the points that its smallest schedule uses. j is the search that finds
// it, with a sampler and its budget; find runs it for every fallible step that is to fail, run exactly as it is.
func Sense(ctx context.Context, name string, j job.Job,
	find, run func(ctx context.Context, j job.Job) (*job.Result, error)) (*Sensitivity, error) {
	j.Points, j.Trace = true, false
	res, err := find(ctx, j)
	if err != nil {
		return nil, err
	}
	s := &Sensitivity{Name: name}
	if res.Verdict == job.Clean {
		return s, nil
	}
	s.FoundAt, s.FailAt, s.Oracle, s.Preemptions = res.FoundAt, res.Job.FailAt, res.Oracle, res.Preemptions
	j.Points, j.Shrink, j.FailAt, j.Want = false, 0, s.FailAt, s.Oracle
	for _, without := range subsets(res.Points) {
		j.NoPreempt = without
		res, err := run(ctx, j)
		if err != nil {
			return nil, err
		}
		n := Need{Points: without, Tried: res.Schedules}
		if res.Verdict != job.Clean && res.Oracle == s.Oracle {
			n.FoundAt = res.FoundAt
		}
		s.Needs = append(s.Needs, n)
	}
	return s, nil
}

// subsets are the single points, and all of them if there are several.
func subsets(points []string) [][]string {
	points = slices.Compact(slices.Sorted(slices.Values(points)))
	var sets [][]string
	for _, p := range points {
		sets = append(sets, []string{p})
	}
	if len(points) > 1 {
		sets = append(sets, points)
	}
	return sets
}
