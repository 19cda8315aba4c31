// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// sticky lets a task run on for a random while, so that calls run whole and actors meet at few places.
type sticky struct{ *choosertest.Random }

func (r sticky) Pick(c *kernel.Choice) *kernel.Task {
	if c.Cur != nil && r.N(24) != 0 {
		return c.Cur
	}
	return r.Random.Pick(c)
}

// chooser is the n-th of a mixed lot.
func chooser(n int) kernel.Chooser {
	switch {
	case n == 0:
		return choosertest.Straight{}
	case n%3 == 0:
		return sticky{choosertest.NewRandom(uint64(n))}
	case n%3 == 1:
		return choosertest.NewRanked(uint64(n), 100<<(n%5))
	}
	return choosertest.NewRandom(uint64(n))
}

// explain spells a finding with the schedule that leads to it.
func explain(s *Scenario, p Params, r *kernel.Result, n int) string {
	f := r.Worst()
	m := kernel.NewSim()
	defer m.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, schedule %d: %v\n%s\n", s.Name, p, n, f, f.Text)
	again := s.Run(m, chooser(n), p, kernel.Options{Record: true, FailAt: 0})
	for _, e := range again.Events[max(0, len(again.Events)-200):] {
		fmt.Fprintf(&b, "%5d %-16s %-60s %s:%d\n", e.Step, e.Task, e.Text, e.File, e.Line)
	}
	return b.String()
}

// inSim runs n schedules twice each.
func inSim(t *testing.T, s *Scenario, params string, n int) {
	t.Helper()
	p, err := s.ParseParams(params)
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	steps, least, most, longest := 0, 1<<30, 0, 0
	different := map[uint64]bool{}
	for i := range n {
		a := s.Run(m, chooser(i), p, kernel.Options{Causal: true})
		if a.Worst() != nil {
			t.Fatal(explain(s, p, a, i))
		}
		longest = max(longest, m.Tag().(*World).LongestWait())
		hash, state := a.Hash, a.State
		steps, least, most = steps+a.Steps, min(least, a.Steps), max(most, a.Steps)
		b := s.Run(m, chooser(i), p, kernel.Options{Causal: true})
		if b.Hash != hash || b.State != state {
			t.Fatalf("%s %s, schedule %d: two runs of one schedule differ", s.Name, p, i)
		}
		different[hash] = true
	}
	t.Logf("%s %s: %d..%d steps, mean %d; %d different runs of %d; a transport waits for up to %d fair rounds",
		s.Name, p, least, most, steps/n, len(different), n, longest)
	if longest > oracle.Patience/4 {
		t.Errorf("%s %s: a transport waits for %d fair rounds: the liveness oracle's limit of %d is too near",
			s.Name, p, longest, oracle.Patience)
	}
}

// onFree runs n times on the free back end.
func onFree(t *testing.T, s *Scenario, params string, n int) {
	t.Helper()
	p, err := s.ParseParams(params)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := s.Run(kernel.NewFree(), nil, p, kernel.Options{
			Seed: uint64(i) + 1, Noise: uint32(i%4) * 800, TimeScale: 10, Watchdog: 20_000,
		})
		if f := r.Worst(); f != nil {
			t.Fatalf("%s %s, seed %d: %v\n%s\n%v", s.Name, p, i+1, f, f.Text, f.Stack)
		}
	}
}

// both is the test of a scenario with one set of parameters.
func both(t *testing.T, name, params string) {
	t.Helper()
	s, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	inSim(t, s, params, 300)
	onFree(t, s, params, 20)
}

func TestScenarios(t *testing.T) {
	for _, c := range [][2]string{
		{"callback-start", ""}, {"callback-start", "clients=3"}, {"callback-start", "minor=1"},
		{"callback-start", "minor=1,clients=3"},
		{"callback-start", "stop=2"}, {"callback-start", "minor=1,clients=2,stop=2"},
		{"careless-admin", ""},
		{"start-stop-restart", ""}, {"start-stop-restart", "rounds=3,proto=2"},
		{"stop-under-load", ""}, {"stop-under-load", "clients=3,requests=2"}, {"stop-under-load", "proto=0"},
		{"stop-under-load", "signal=1,clients=1,proto=0"},
		{"stop-under-load", "proto=1,requests=3"},
		{"resize", ""}, {"resize", "threads=4,admins=3,clients=2"}, {"resize", "pools=2,clients=0"},
		{"second-net", ""}, {"second-net", "rounds=2,proto=1,clients=2"},
		{"fault-injection", ""}, {"fault-injection", "service=1"}, {"fault-injection", "service=2"},
		{"fault-injection", "service=3"},
		{"nlm-locks", ""}, {"nlm-locks", "clients=3,proto=2,files=2"}, {"nlm-locks", "proto=1,cancel=1"},
		{"nlm-locks", "async=1,proto=2"}, {"nlm-locks", "async=2"}, {"nlm-locks", "stop=2"}, {"nlm-locks", "stop=2,proto=1,async=1"},
		{"lockd-stop-locks", ""}, {"lockd-stop-locks", "clients=3,proto=2,files=2"},
		{"lockd-stop-locks", "release=0,proto=1"}, {"lockd-stop-locks", "async=1"},
		{"lockd-stop-locks", "clients=3,async=1,release=0"},
		{"lockd-stop-locks", "release=2"},
		{"cb-session", "first=5,calls=14"}, {"backchannel-stop", "servers=2"},
		{"nlm-requests", "ask=0"}, {"nlm-requests", "ask=1"}, {"nlm-requests", "ask=2"}, {"nlm-requests", "ask=3"},
		{"nlm-requests", "ask=4"}, {"nlm-requests", "ask=5"}, {"nlm-requests", "ask=6,files=2"}, {"nlm-requests", "ask=7"},
		{"nlm-requests", "ask=3,stop=2"},
		{"nlm-nfsd", ""}, {"nlm-nfsd", "clients=2,proto=2,files=2"}, {"nlm-client", "waiters=3"}, {"nlm-reboot", ""},
		{"nlm-failover", ""}, {"nlm-failover", "clients=3,release=2,proto=1"}, {"nlm-failover", "release=3,files=2"},
		{"nlm-failover", "release=4,files=2"}, {"nlm-failover", "release=5,clients=3"}, {"nlm-failover", "release=1,async=2,proto=1"},
	} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) { both(t, c[0], c[1]) })
	}
}
