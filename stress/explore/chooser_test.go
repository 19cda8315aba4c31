// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"bytes"
	"cmp"
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
		before := 0
		for _, p := range c.at[:c.d-1] {
			if p.step <= before || p.step > 20 {
				t.Fatalf("change points %v", c.at[:c.d-1])
			}
			before = p.step
			points[p.step-1]++
		}
		if c.d > 2 {
			if c.at[0].level < c.at[1].level {
				up++
			} else {
				down++
			}
		}
	}
	wantUniform(t, "depths", depths)
	wantUniform(t, "change points", points)
	wantUniform(t, "which of two demoted tasks is lower", []int{up, down})
	for d := 1; d <= maxDepth; d++ {
		c := PCT{Depth: d}
		for i := range 100 {
			if c.Seed(7, uint64(i)); c.d != d {
				t.Fatalf("depth %d, asked for %d", c.d, d)
			}
		}
	}
}

// plainPCT is PCT as the paper has it: it looks at every runnable task, every time.
type plainPCT struct {
	prio    map[*kernel.Task]uint64
	at      []change
	lowest  uint64
	r       rng
	demoted int
	yields  map[*kernel.Task]int
}

func newPlainPCT(seed, n uint64, d, k int) *plainPCT {
	var like PCT // draws what a PCT of the same seed draws
	like.Depth, like.K = d, k
	like.Seed(seed, n)
	return &plainPCT{
		prio: map[*kernel.Task]uint64{}, at: slices.Clone(like.at[:like.d-1]), lowest: yieldLevel, r: like.r,
		yields: map[*kernel.Task]int{},
	}
}

func (c *plainPCT) best(run []*kernel.Task) *kernel.Task {
	return slices.MaxFunc(run, func(a, b *kernel.Task) int { return cmp.Compare(c.prio[a], c.prio[b]) })
}

func (c *plainPCT) Pick(ch *kernel.Choice) *kernel.Task {
	for _, t := range ch.Changed { // only for the order in which priorities are drawn
		if _, ok := c.prio[t]; !ok && t.Runnable() {
			c.prio[t] = c.r.p.Uint64() | drawnLevel
		}
	}
	if ch.Last != nil {
		if k, _ := ch.Last.Pending(); k == kernel.OpYield {
			if c.yields[ch.Last]++; c.yields[ch.Last] >= loopsFrom {
				c.lowest--
				c.prio[ch.Last] = c.lowest
			}
		}
	}
	for len(c.at) > 0 && c.at[0].step <= ch.Step+1 {
		t := ch.Last
		if c.at[0].step == ch.Step+1 {
			t = c.best(ch.Runnable)
		}
		if t != nil {
			c.prio[t] = c.at[0].level
			c.demoted++
		}
		c.at = c.at[1:]
	}
	return c.best(ch.Runnable)
}

// The queue is an optimisation and nothing else.
func TestPCTIsPCT(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	demoted := 0
	for seed := range 300 {
		p := newProgram(seed, 2+seed%6, 2+seed%5)
		for d := 1; d <= 4; d++ {
			plain := newPlainPCT(5, uint64(seed), d, 60)
			fast := &PCT{Depth: d, K: 60}
			fast.Seed(5, uint64(seed))
			if a, b := hashOf(m, plain, p), hashOf(m, fast, p); a != b {
				t.Fatalf("%s: depth %d: two schedules", p, d)
			}
			demoted += plain.demoted
		}
	}
	if demoted < 1000 {
		t.Errorf("only %d change points were met", demoted)
	}
}

// A task that waits in a loop for another one and lets others run meanwhile does not keep the other one from running.
func TestSpinnersAreFair(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	spin := func(cur *kernel.Task) {
		x := newThing(m, 0)
		var tasks []*kernel.Task
		for i := range 3 {
			tasks = append(tasks, m.Spawn(cur, string(rune('a'+i)), func(cur *kernel.Task) {
				for x.n.Read() == 0 {
					kernel.CondResched(cur)
				}
			}))
		}
		x.n.Inc()
		for _, t := range tasks {
			kernel.Join(cur, t)
		}
	}
	for name, c := range map[string]sampler{"pct": &PCT{K: 60}, "delay": &Delay{Bound: 3, K: 60}} {
		for i := range 500 {
			c.Seed(1, uint64(i))
			if f := m.Run(c, kernel.Options{MaxSteps: 300}, "main", spin).Worst(); f != nil {
				t.Fatalf("%s, schedule %d: %v", name, i, f)
			}
		}
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

// samplers are all there are, ready for the machine of p.
func samplers(m *kernel.Machine, p *program) map[string]sampler {
	r := RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return m.Run(ch, opt, "main", p.main) })
	prof := TakeProfile(r, p.options())
	return map[string]sampler{
		"random": &Random{}, "pct": &PCT{K: 100}, "pct:choices": &PCT{K: 60, Choices: true}, "pos": &POS{},
		"urw": &URW{Profile: prof}, "surw": &SURW{Profile: prof}, "delay": &Delay{Bound: 3, K: 60},
	}
}

// One seed and one number are one schedule, whatever ran before; other numbers are other schedules.
func TestSeedsRepeat(t *testing.T) {
	p := newProgram(8, 4, 6)
	first := map[string][]uint64{}
	for round := range 2 {
		m := kernel.NewSim()
		for kind, ch := range samplers(m, p) {
			for i := range 300 {
				n := uint64(i)
				if round == 1 {
					n = 299 - n // backwards
				}
				ch.Seed(4, n)
				h := hashOf(m, ch, p)
				if round == 0 {
					first[kind] = append(first[kind], h)
				} else if first[kind][n] != h {
					t.Fatalf("%s: schedule %d is another one when others ran before it", kind, n)
				}
			}
		}
		m.Close()
	}
	for kind, hashes := range first {
		slices.Sort(hashes)
		if n := len(slices.Compact(hashes)); n < 60 {
			t.Errorf("%s: %d different schedules of 300", kind, n)
		}
	}
}
