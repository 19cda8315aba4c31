// SPDX-License-Identifier: MIT

// Package audit asks whether the suite interrupts the port wherever a kernel would: at which operations tasks were,
// could be and never can be interrupted, which calls of the floor no scenario reaches, which points a bug needs to be
// seen, and where the port has fewer or more of them than the kernel.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Workload is a scenario with its parameters, and the fallible steps that are made to fail in turn.
type Workload struct {
	Scenario, Params string
	FailLast         int // runs fail the steps 0 (none) to FailLast
}

// Point is an operation at a place in the code, and what its scheduling point came to over all runs.
type Point struct {
	File string `json:"file"` // "sunrpc/svc_xprt.go"
	Line int    `json:"line"`
	Func string `json:"func"` // "sunrpc.svcXprtDoEnqueue"
	Op   string `json:"op"`   // "spin_lock"
	Cell string `json:"cell"` // "sp_lock"
	// Executed is how often the operation was performed. In front of it the task could go on or another one could go first
	// (Choices), and another one did (Interrupted); the task was chosen after another one (Switches); it was the only one
	// that could run (Alone); nobody was asked, because the floor performs the operation together with the one before
	// (Joined).
	Executed    int `json:"executed"`
	Choices     int `json:"choices"`
	Interrupted int `json:"interrupted"`
	Switches    int `json:"switches"`
	Alone       int `json:"alone"`
	Joined      int `json:"joined"`
}

// Port reports whether the place is in the port, and not in the floor's sockets or the harness.
func (p *Point) Port() bool {
	room, _, _ := strings.Cut(p.File, "/")
	return slices.Contains(portRooms, room)
}

// Why says why no task was ever about to be interrupted in front of the operation; "" if one was.
func (p *Point) Why() string {
	var why []string
	for _, x := range []struct {
		n    int
		text string
	}{
		{p.Joined, "the floor performs it together with the operation before"},
		{p.Switches, "it is the first that a task does when it goes on"},
		{p.Alone, "no other task could run"},
	} {
		if x.n > 0 {
			why = append(why, x.text)
		}
	}
	if p.Choices > 0 {
		return ""
	}
	return strings.Join(why, "; or ")
}

// place is a point without its counts.
type place struct {
	file     string
	line     int
	op       kernel.OpKind
	cell, fn string
}

// Collector adds up runs.
type Collector struct {
	points    map[place]*Point
	Schedules int
	Steps     int64
}

// Collect runs each workload schedules times, by the random walk and by PCT in turn, with the operations recorded.
// progress is called after each run; it may be nil.
func Collect(ctx context.Context, loads []Workload, schedules int, seed uint64,
	progress func(c *Collector)) (*Collector, error) {
	c := &Collector{points: map[place]*Point{}}
	for _, w := range loads {
		t, err := job.FindTarget(w.Scenario, w.Params)
		if err != nil {
			return nil, err
		}
		m := kernel.NewSim()
		err = c.load(ctx, t.On(m), w, schedules, seed, progress)
		m.Close()
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// load runs one workload.
func (c *Collector) load(ctx context.Context, run explore.Runner, w Workload, schedules int, seed uint64,
	progress func(c *Collector)) error {
	random, pct := &explore.Random{}, &explore.PCT{}
	for i := range schedules {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		seen := &choices{}
		if i%2 == 0 {
			random.Seed(seed, uint64(i))
			seen.Chooser = random
		} else {
			pct.Seed(seed, uint64(i))
			seen.Chooser = pct
		}
		res := run.Run(seen, kernel.Options{Record: true, NameOps: true, FailAt: i % (w.FailLast + 1)})
		if f := res.Worst(); f != nil && strings.HasPrefix(f.Oracle, "SVCFUZZ BUG") {
			return fmt.Errorf("%s: %s", w.Scenario, f)
		}
		c.add(res, seen.list)
		if progress != nil {
			progress(c)
		}
	}
	return nil
}

// choice is one question to the chooser.
type choice struct {
	step   int32 // operations before it
	cur    int32 // index of the task that could go on, -1 for none
	picked int32
}

// choices keeps what a chooser was asked.
type choices struct {
	kernel.Chooser
	list []choice
}

// Pick implements kernel.Chooser.
func (c *choices) Pick(ch *kernel.Choice) *kernel.Task {
	t := c.Chooser.Pick(ch)
	if t != nil {
		x := choice{int32(ch.Step), -1, int32(t.Index())}
		if ch.Cur != nil {
			x.cur = int32(ch.Cur.Index())
		}
		c.list = append(c.list, x)
	}
	return t
}

// add counts the operations of one run, and the choices in front of them. A choice at which a task is interrupted
// stands in front of the operation that this task performs next.
func (c *Collector) add(res *kernel.Result, asked []choice) {
	c.Schedules++
	c.Steps += int64(res.Steps)
	next := map[int32]*Point{} // by task: the operation after the present one
	for i := len(res.Events) - 1; i >= 0; i-- {
		e := &res.Events[i]
		if e.Op == kernel.OpPrintk || e.Op == kernel.OpOops || e.Step < 1 || e.Step > len(res.Seq) {
			continue
		}
		p := c.at(e)
		p.Executed++
		next[int32(res.Seq[e.Step-1])] = p
		chosen, alone := false, true
		for len(asked) > 0 && int(asked[len(asked)-1].step) >= e.Step-1 {
			a := asked[len(asked)-1]
			asked = asked[:len(asked)-1]
			if int(a.step) >= e.Step {
				continue // in front of an operation that did not come to pass
			}
			alone = false
			chosen = chosen || a.cur != a.picked
			if q := next[a.cur]; q != nil {
				q.Choices++
				if a.cur != a.picked {
					q.Interrupted++
				}
			}
		}
		switch {
		case !res.Ops[e.Step-1].Announced:
			p.Joined++
		case alone:
			p.Alone++
		case chosen:
			p.Switches++
		}
	}
}

// at is the point of an event.
func (c *Collector) at(e *kernel.Event) *Point {
	key := place{file: e.File, line: e.Line, op: e.Op, cell: e.Cell, fn: e.Func}
	p := c.points[key]
	if p == nil {
		p = &Point{File: e.File, Line: e.Line, Func: e.Func, Op: e.Op.String(), Cell: e.Cell}
		c.points[key] = p
	}
	return p
}

// Points are all points in the order of the code.
func (c *Collector) Points() []*Point {
	return slices.SortedFunc(maps.Values(c.points), func(a, b *Point) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Op, b.Op),
			cmp.Compare(a.Cell, b.Cell))
	})
}

// Unreached is a call of the floor in the port that no scenario performed.
type Unreached struct {
	*Site
	Why string `json:"why"`
}

// Unreached lists the visible calls of the port's source that were never performed.
func (c *Collector) Unreached(port []*Site) []Unreached {
	lines := map[string]map[int]bool{}
	entered := map[[2]string]bool{}
	for _, p := range c.points {
		if lines[p.File] == nil {
			lines[p.File] = map[int]bool{}
		}
		lines[p.File][p.Line] = true
	}
	for _, s := range port {
		if s.reached(lines[s.File]) {
			entered[[2]string{s.File, s.Func}] = true
		}
	}
	var list []Unreached
	for _, s := range port {
		if !s.Visible || s.reached(lines[s.File]) {
			continue
		}
		why := "none of the function's operations was performed"
		if entered[[2]string{s.File, s.Func}] {
			why = "others of the function were performed"
		}
		list = append(list, Unreached{s, why})
	}
	return list
}

// reached reports whether one of the lines of an execution is the call's. A deferred call is performed on the line of a
// return.
func (s *Site) reached(lines map[int]bool) bool {
	if s.Deferred {
		for n := s.from; n <= s.to; n++ {
			if lines[n] {
				return true
			}
		}
		return false
	}
	return lines[s.Line] || lines[s.first] || lines[s.last]
}
