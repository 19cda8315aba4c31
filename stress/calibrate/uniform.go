// SPDX-License-Identifier: MIT

package calibrate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// uniform gives every interleaving the same chance: the model runs along, and a task is as likely as it has futures. On
// the way it sees whether the machine does what the model does.
type uniform struct {
	s      *subject
	r      *rand.PCG
	weight map[state]float64
	at     state
	steps  int
	wrong  string // the first difference
}

func newUniform(s *subject) *uniform {
	u := &uniform{s: s, r: rand.NewPCG(0, 0), weight: map[state]float64{}}
	for at, t := range s.counts.seen {
		u.weight[at], _ = t.all.Float64()
	}
	return u
}

// seed starts the n-th schedule.
func (u *uniform) seed(seed, n uint64) {
	u.r.Seed(seed, n)
	u.at, u.steps = u.s.m.begin(), 0
}

// Pick implements kernel.Chooser.
func (u *uniform) Pick(c *kernel.Choice) *kernel.Task {
	m := u.s.m
	var buf [mostTasks]int
	en := m.able(&u.at, buf[:])
	for len(en) == 1 { // nobody was asked
		m.step(&u.at, en[0])
		u.steps++
		en = m.able(&u.at, buf[:])
	}
	if u.differs(c, en) {
		return c.Runnable[0]
	}
	var w [mostTasks]float64
	total := 0.
	for i, t := range en {
		to := u.at
		m.step(&to, t)
		w[i] = u.weight[to]
		total += w[i]
	}
	x := float64(u.r.Uint64()>>11) / (1 << 53) * total
	i := 0
	for ; i < len(en)-1 && x >= w[i]; i++ {
		x -= w[i]
	}
	m.step(&u.at, en[i])
	u.steps++
	for _, t := range c.Runnable {
		if t.Index() == en[i] {
			return t
		}
	}
	panic("SVCFUZZ BUG: a task of the model is not in the machine")
}

// differs compares who can go on.
func (u *uniform) differs(c *kernel.Choice, en []int) bool {
	if u.wrong != "" {
		return true
	}
	var can []int
	for _, t := range c.Runnable {
		can = append(can, t.Index())
		if i := t.Index(); i >= len(u.s.m.tasks) || u.s.m.tasks[i].name != t.Name() {
			u.wrong = fmt.Sprintf("task %d is %s", i, t.Name())
			return true
		}
	}
	slices.Sort(can)
	if !slices.Equal(can, en) || u.steps != c.Step {
		u.wrong = fmt.Sprintf("step %d: tasks %v can go on; in the model, step %d, %v", c.Step, can, u.steps, en)
	}
	return u.wrong != ""
}

// mostClasses is how many interleavings are compared one by one.
const mostClasses = 2000

// classes compares how often each single interleaving came up, for the samplers where that can be told.
func (s *subject) classes() {
	if s.all > mostClasses {
		return
	}
	walk, even := map[string]float64{}, map[string]float64{}
	s.m.each(func(path []byte, p float64) {
		walk[string(path)] = p
		even[string(path)] = 1 / s.all
	})
	var random explore.Random
	s.spread("random, each interleaving", walk, func(i uint64) kernel.Chooser {
		random.Seed(s.plan.Seed, i)
		return &random
	})
	u := newUniform(s)
	s.spread("uniform, each interleaving", even, func(i uint64) kernel.Chooser { u.seed(s.plan.Seed, i); return u })
	s.canary(walk)
}

// each visits all interleavings: who performs each step, and how likely the random walk is to go that way.
func (m *model) each(visit func(path []byte, p float64)) {
	var path []byte
	var walk func(s state, p float64)
	walk = func(s state, p float64) {
		en := m.enabled(&s, nil)
		if len(en) == 0 {
			visit(path, p)
			return
		}
		for _, t := range en {
			to := s
			m.step(&to, t)
			path = append(path, byte(t))
			walk(to, p/float64(len(en)))
			path = path[:len(path)-1]
		}
	}
	walk(m.begin(), 1)
}

// spread samples, and compares how often each interleaving was met.
func (s *subject) spread(what string, want map[string]float64, seed func(i uint64) kernel.Chooser) {
	s.begin(what)
	n := s.plan.Runs
	seen, strange := map[string]int{}, 0
	var key []byte
	s.each(times(n, seed), func(res *kernel.Result) {
		key = key[:0]
		for _, t := range res.Seq {
			key = append(key, byte(t))
		}
		if _, ok := want[string(key)]; !ok {
			strange++
		}
		seen[string(key)]++
	})
	var got []int
	var expect []float64
	for _, k := range slices.Sorted(maps.Keys(want)) {
		got = append(got, seen[k])
		expect = append(expect, want[k]*float64(n))
	}
	r := Row{Program: s.Name, What: what, Against: "model", Rate: true, P: spread(got, expect)}
	r.Got = fmt.Sprintf("%d of %d, %d unknown", len(seen)-strange, len(want), strange)
	r.Want = fmt.Sprintf("%d, as likely as they are", len(want))
	r.OK = strange == 0 && r.P >= level
	s.rows = append(s.rows, r)
}

// replay records schedules and runs them again: nothing may differ.
func (s *subject) replay() {
	if s.plan.Replays == 0 {
		return
	}
	s.begin("replays")
	a, b := kernel.NewSim(), kernel.NewSim()
	defer a.Close()
	defer b.Close()
	var random explore.Random
	differ := 0
	for i := range s.plan.Replays {
		s.plan.goOn()
		random.Seed(s.plan.Seed, ^uint64(i))
		res := s.Program.Run(a, &random, kernel.Options{})
		sch := explore.Take(res, nil)
		again := s.Program.Run(b, explore.NewReplay(sch), kernel.Options{})
		if again.Hash != res.Hash || !slices.Equal(again.Seq, res.Seq) || len(again.Findings) != len(res.Findings) {
			differ++
		}
	}
	s.row(fmt.Sprintf("%d replays", s.plan.Replays), fmt.Sprintf("%d differ", differ), "0 differ", "repeat")
}

// biased is a random walk that likes the oldest task a little more than the others: what a calibration must notice.
type biased struct{ r *rand.PCG }

func (b biased) Pick(c *kernel.Choice) *kernel.Task {
	const liking = 8 // one time in so many
	if x := b.r.Uint64(); x%liking != 0 {
		return c.Runnable[x>>32*uint64(len(c.Runnable))>>32]
	}
	return slices.MinFunc(c.Runnable, func(a, b *kernel.Task) int { return a.Index() - b.Index() })
}

// noticed is how many schedules it takes to notice a small bias.
const noticed = 20_000

// canary samples with a wrong chooser, and is as it should be if that is noticed.
func (s *subject) canary(walk map[string]float64) {
	if s.plan.Runs < noticed {
		return
	}
	ch := biased{rand.NewPCG(0, 0)}
	s.spread("canary: a biased random walk", walk, func(i uint64) kernel.Chooser { ch.r.Seed(s.plan.Seed, i); return ch })
	last := &s.rows[len(s.rows)-1]
	last.Want, last.OK = "not "+last.Want, !last.OK
}
