// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// chi2 is the chi-square statistic of counts that should all be equal.
func chi2(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	want := float64(n) / float64(len(counts))
	x := 0.0
	for _, c := range counts {
		x += (float64(c) - want) * (float64(c) - want) / want
	}
	return x
}

// wantUniform fails if counts as uneven as these come up once in 10,000 times or less. The seeds of these tests are
// fixed, so none of them ever fails by chance.
func wantUniform(t *testing.T, what string, counts []int) {
	t.Helper()
	limit := map[int]float64{2: 15.2, 3: 18.5, 4: 21.2, 6: 25.8, 20: 52.0}[len(counts)]
	if limit == 0 {
		t.Fatalf("%s: no limit for %d counts", what, len(counts))
	}
	if x := chi2(counts); x > limit {
		t.Errorf("%s: chi-square %.1f over %v, want at most %.1f", what, x, counts, limit)
	}
}

// race is three tasks that are woken at the same time, and who came first, second and third.
func race(order *string) func(cur *kernel.Task) {
	return func(cur *kernel.Task) {
		m := cur.Machine()
		x := newThing(m, 0)
		*order = ""
		var tasks []*kernel.Task
		for i := range 3 {
			tasks = append(tasks, m.Spawn(cur, string(rune('a'+i)), func(cur *kernel.Task) {
				var w kernel.WaitEntry
				x.wq.PrepareToWait(cur, &w, kernel.TASK_UNINTERRUPTIBLE)
				kernel.Schedule(cur)
				x.n.Inc()
				*order += cur.Name()
			}))
		}
		kernel.ScheduleTimeoutUninterruptible(cur, 1)
		x.wq.WakeUpAll()
		for _, t := range tasks {
			kernel.Join(cur, t)
		}
	}
}

// spy looks at each choice of a sampler.
type spy struct {
	kernel.Chooser
	before func(c *kernel.Choice)
	after  func(c *kernel.Choice, t *kernel.Task)
}

func (s *spy) Pick(c *kernel.Choice) *kernel.Task {
	if s.before != nil {
		s.before(c)
	}
	t := s.Chooser.Pick(c)
	if s.after != nil {
		s.after(c, t)
	}
	return t
}

func TestRandomIsUniform(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var order string
	var r Random
	orders := map[string]int{}
	picks := map[int][]int{}
	s := &spy{Chooser: &r, after: func(c *kernel.Choice, t *kernel.Task) {
		n := len(c.Runnable)
		if picks[n] == nil {
			picks[n] = make([]int, n)
		}
		older := 0
		for _, u := range c.Runnable {
			if u.Index() < t.Index() {
				older++
			}
		}
		picks[n][older]++
	}}
	for i := range 6000 {
		r.Seed(11, uint64(i))
		m.Run(s, kernel.Options{}, "main", race(&order))
		orders[order]++
	}
	for n, counts := range picks {
		if n > 1 && n < 5 {
			wantUniform(t, fmt.Sprintf("one of %d", n), counts)
		}
	}
	var counts []int
	for _, n := range orders {
		counts = append(counts, n)
	}
	if len(counts) != 6 {
		t.Fatalf("orders %v", orders)
	}
	wantUniform(t, fmt.Sprint("orders ", orders), counts)
}

func TestPCTDraws(t *testing.T) {
	depths, points := make([]int, 3), make([]int, 20)
	var up, down int
	for i := range 6000 {
		c := PCT{K: 20}
		c.Seed(7, uint64(i))
		if c.d < 2 || c.d > 4 {
			t.Fatalf("depth %d", c.d)
		}
		depths[c.d-2]++
		seen := map[int]bool{}
		for _, at := range c.at[:c.d-1] {
			if seen[at] || at < 1 || at > 20 {
				t.Fatalf("change points %v", c.at[:c.d-1])
			}
			seen[at] = true
			points[at-1]++
		}
		if c.d > 2 {
			if c.at[0] < c.at[1] {
				up++
			} else {
				down++
			}
		}
	}
	wantUniform(t, "depths", depths)
	wantUniform(t, "change points", points)
	wantUniform(t, "which point comes first", []int{up, down})
	for d := 1; d <= maxDepth; d++ {
		c := PCT{Depth: d}
		for i := range 100 {
			if c.Seed(7, uint64(i)); c.d != d {
				t.Fatalf("depth %d, asked for %d", c.d, d)
			}
		}
	}
}

// Between change points the highest priority runs; at one, the task that would have run falls below all others.
func TestPCTDemotes(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var order string
	orders := map[string]int{}
	for depth := 1; depth <= 4; depth++ {
		c := &PCT{Depth: depth, K: 40}
		var top *kernel.Task
		demoted := 0
		s := &spy{Chooser: c,
			before: func(ch *kernel.Choice) { top = c.best(ch.Runnable) },
			after: func(ch *kernel.Choice, got *kernel.Task) {
				at := slices.Index(c.at[:c.d-1], c.steps)
				if at < 0 {
					if got != top {
						t.Fatalf("depth %d, choice %d: %s runs, %s has the highest priority", depth, c.steps, got.Name(), top.Name())
					}
					return
				}
				demoted++
				if got == top {
					for _, u := range ch.Runnable {
						if u != got && *c.priority(u) >= 1<<63 {
							t.Fatalf("depth %d, choice %d: %s goes on at a change point", depth, c.steps, got.Name())
						}
					}
				}
				if p := *c.priority(top); p >= 1<<63 || p != uint64(1+at) {
					t.Fatalf("depth %d, choice %d: priority %d after the change point", depth, c.steps, p)
				}
			}}
		for i := range 500 {
			c.Seed(uint64(depth), uint64(i))
			m.Run(s, kernel.Options{}, "main", race(&order))
			orders[order]++
		}
		if low := 200 * (depth - 1); demoted < low {
			t.Errorf("depth %d: %d change points were met, want at least %d", depth, demoted, low)
		}
	}
	if len(orders) != 6 {
		t.Errorf("orders %v", orders)
	}
}

// A task that was demoted first may be the lower one of two, too: a bug of depth 3 that needs a, b and c to be in
// either order behind two change points is found both ways.
func TestPCTOrdersTheDemoted(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var order string
	c := &PCT{Depth: 3, K: 30}
	laterIsLower, earlierIsLower := 0, 0
	var low []*kernel.Task
	s := &spy{Chooser: c, before: func(ch *kernel.Choice) {
		if slices.Contains(c.at[:2], c.steps+1) {
			low = append(low, c.best(ch.Runnable))
		}
	}}
	for i := range 400 {
		low = low[:0]
		c.Seed(3, uint64(i))
		m.Run(s, kernel.Options{}, "main", race(&order))
		if len(low) == 2 && low[0] != low[1] {
			if *c.priority(low[0]) < *c.priority(low[1]) {
				earlierIsLower++
			} else {
				laterIsLower++
			}
		}
	}
	if laterIsLower < 50 || earlierIsLower < 50 {
		t.Errorf("of two demoted tasks the later one is lower %d times, the earlier one %d times", laterIsLower, earlierIsLower)
	}
}

func hashOf(m *kernel.Machine, ch kernel.Chooser, p *program) uint64 {
	return m.Run(ch, p.options(), "main", p.main).Hash
}

func TestBytes(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	keep := chooserFunc(Default)
	different := map[uint64]bool{}
	for seed := range 60 {
		p := newProgram(seed, 3, 4)
		want := hashOf(m, keep, p)
		for _, b := range [][]byte{nil, {}, {0}, make([]byte, 5000)} {
			if got := hashOf(m, &Bytes{B: b}, p); got != want {
				t.Fatalf("%s: %d bytes of 0 are not the schedule without a decision", p, len(b))
			}
		}
		g := &gen{uint64(seed)}
		b := make([]byte, g.n(60))
		for i := range b {
			b[i] = byte(g.n(256))
		}
		one := hashOf(m, &Bytes{B: b}, p)
		if two := hashOf(m, &Bytes{B: b}, p); two != one {
			t.Fatalf("%s: % x is two schedules", p, b)
		}
		if longer := hashOf(m, &Bytes{B: append(bytes.Clone(b), 0, 0, 0)}, p); longer != one {
			t.Fatalf("%s: bytes of 0 at the end change the schedule", p)
		}
		// When the bytes are used up nobody is preempted any more.
		by := &Bytes{B: b}
		late := 0
		m.Run(&spy{Chooser: by, after: func(c *kernel.Choice, got *kernel.Task) {
			if by.pos == len(b) && late >= 0 {
				if late++; late > 1 && c.Cur != nil && got != c.Cur {
					t.Fatalf("%s: %s is preempted after the last byte", p, c.Cur.Name())
				}
			}
		}}, p.options(), "main", p.main)
		different[one] = true
	}
	if len(different) < 50 {
		t.Errorf("%d different schedules of 60 machines", len(different))
	}
}

// Every runnable task can be had by a byte.
func TestBytesReachAll(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var order string
	seen := map[string]bool{}
	for a := range 4 {
		for b := range 5 {
			for c := range 5 {
				for d := range 5 {
					bs := []byte{0, 0, 0, byte(a), byte(b), byte(c), byte(d)}
					m.Run(&Bytes{B: append(bs, bs...)}, kernel.Options{}, "main", race(&order))
					seen[order] = true
				}
			}
		}
	}
	if len(seen) != 6 {
		t.Errorf("orders %v", seen)
	}
}

type chooserFunc func(c *kernel.Choice) *kernel.Task

func (f chooserFunc) Pick(c *kernel.Choice) *kernel.Task { return f(c) }

// One seed and one number are one schedule, whatever ran before; other numbers are other schedules.
func TestSeedsRepeat(t *testing.T) {
	p := newProgram(8, 4, 6)
	for _, kind := range []string{"random", "pct"} {
		var first []uint64
		for round := range 2 {
			m := kernel.NewSim()
			random, pct := &Random{}, &PCT{K: 100}
			for i := range 300 {
				n := uint64(i)
				if round == 1 {
					n = 299 - n // backwards
				}
				var ch kernel.Chooser = random
				if random.Seed(4, n); kind == "pct" {
					pct.Seed(4, n)
					ch = pct
				}
				h := hashOf(m, ch, p)
				if round == 0 {
					first = append(first, h)
				} else if first[n] != h {
					t.Fatalf("%s: schedule %d is another one when others ran before it", kind, n)
				}
			}
			m.Close()
		}
		slices.Sort(first)
		if n := len(slices.Compact(first)); n < 100 {
			t.Errorf("%s: %d different schedules of 300", kind, n)
		}
	}
}
