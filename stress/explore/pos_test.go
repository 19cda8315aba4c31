// SPDX-License-Identifier: MIT

//go:build !race

// The machines here use plain cells without order on purpose; the race detector would report each as what it is.

package explore

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// posRules checks each choice of a POS against the algorithm, naively: the highest priority goes; a priority stays as
// long as the operation is pending and nothing that races with it has been performed, and is drawn anew then.
type posRules struct {
	t       *testing.T
	pos     *POS
	prio    map[*kernel.Task]uint64 // of pending operations, as of the last choice
	redrawn int
	kept    int
}

func (s *posRules) Pick(ch *kernel.Choice) *kernel.Task {
	changed := map[*kernel.Task]bool{ch.Last: true}
	for _, t := range ch.Changed {
		changed[t] = true
	}
	got := s.pos.Pick(ch)
	best := ch.Runnable[0]
	for _, t := range ch.Runnable {
		p := s.pos.line.prio[t.Index()]
		if old, ok := s.prio[t]; ok && !changed[t] {
			if old != p {
				s.t.Fatalf("step %d: the priority of %s was drawn anew", ch.Step, t.Name())
			}
			s.kept++
		} else {
			for u, q := range s.prio {
				if p == q {
					s.t.Fatalf("step %d: %s has the priority that %s had", ch.Step, t.Name(), u.Name())
				}
			}
			s.redrawn++
		}
		if p > s.pos.line.prio[best.Index()] {
			best = t
		}
	}
	if got != best {
		s.t.Fatalf("step %d: %s goes, %s has the highest priority", ch.Step, got.Name(), best.Name())
	}
	k, cell := got.Pending()
	clear(s.prio)
	for _, t := range ch.Runnable {
		l, other := t.Pending()
		if races := cell != 0 && cell == other && (k.Writes() || l.Writes()); t != got && !races {
			s.prio[t] = s.pos.line.prio[t.Index()]
		}
	}
	return got
}

func TestPOSRules(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	redrawn, kept := 0, 0
	for seed := range 400 {
		p := newProgram(seed, 2+seed%6, 2+seed%5)
		for i := range 4 {
			s := &posRules{t: t, pos: &POS{}, prio: map[*kernel.Task]uint64{}}
			s.pos.Seed(2, uint64(seed*4+i))
			m.Run(s, p.options(), "main", p.main)
			redrawn, kept = redrawn+s.redrawn, kept+s.kept
		}
	}
	if redrawn < 10_000 || kept < 10_000 {
		t.Errorf("%d priorities drawn, %d kept", redrawn, kept)
	}
}
