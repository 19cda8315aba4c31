// SPDX-License-Identifier: MIT

package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/scenario"
)

// Draw is one way to run a scenario.
type Draw struct {
	Scenario  string `json:"scenario"`
	Params    string `json:"params"`
	Procs     int    `json:"gomaxprocs"`
	Noise     uint32 `json:"noise"` // probability of a disturbance before a visible operation, in 1/65536
	TimeScale int64  `json:"timescale"`
	Seed      uint64 `json:"seed"` // of the noise and of the moments of arrival

	scenario *scenario.Scenario
	params   scenario.Params
}

func (d *Draw) String() string {
	return fmt.Sprintf("%s %s, GOMAXPROCS=%d, noise %d/65536, time x%d", d.Scenario, d.Params, d.Procs, d.Noise, d.TimeScale)
}

// drawer makes draws.
type drawer struct {
	seed      uint64
	scenarios []*scenario.Scenario
	fixed     []map[string]bool // by scenario: parameters that are not drawn
	base      []scenario.Params
}

func newDrawer(cfg Config) (*drawer, error) {
	d := &drawer{seed: cfg.Seed}
	for _, name := range cfg.Scenarios {
		s, err := scenario.Find(name)
		if err != nil {
			return nil, err
		}
		d.scenarios = append(d.scenarios, s)
	}
	if len(d.scenarios) == 0 {
		d.scenarios = scenario.All()
	}
	if cfg.Iterations < 0 || cfg.For < 0 || cfg.Repeat < 0 {
		return nil, errors.New("iterations, repeats and time cannot be negative")
	}
	for _, s := range d.scenarios {
		p, err := s.ParseParams(cfg.Params)
		if err != nil {
			return nil, err
		}
		fixed := map[string]bool{}
		for field := range strings.SplitSeq(cfg.Params, ",") {
			name, _, _ := strings.Cut(field, "=")
			fixed[strings.TrimSpace(name)] = true
		}
		d.base, d.fixed = append(d.base, p), append(d.fixed, fixed)
	}
	return d, nil
}

// The bounds of a draw. Most often time is fast, since most of a run is waiting for it.
const (
	maxProcs     = 8  // beyond the host's processors this is but more ways to be preempted
	maxTimeScale = 16 // a client's patience of 20 s is still more than a second
)

// draw makes the n-th draw. It depends on nothing but the seed and n.
func (d *drawer) draw(n uint64) Draw {
	r := rand.New(rand.NewPCG(d.seed, n))
	i := r.IntN(len(d.scenarios))
	s := d.scenarios[i]
	p := s.Draw(r, d.base[i], d.fixed[i])
	draw := Draw{
		Scenario: s.Name, Params: p.String(), scenario: s, params: p,
		Procs: min(1<<r.IntN(4), maxProcs), TimeScale: int64(min(1<<r.IntN(8), maxTimeScale)), Seed: r.Uint64(),
	}
	if k := r.IntN(16); k > 2 {
		draw.Noise = 1 << (k - 2)
	}
	return draw
}
