// SPDX-License-Identifier: MIT

// Package scenario is the workloads of the suite: named programs that start, load, resize and stop the services of
// the target on a machine of either back end, watched by the oracles.
//
// A scenario is small. Every visible operation it performs multiplies the interleavings to search, so it does what
// its subject needs, once, and leaves repetition to its parameters. It ends by stopping all it started.
package scenario

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Param is a parameter of a scenario: an integer with its bounds.
type Param struct {
	Name, Doc         string
	Default, Min, Max int
	Amount            bool // less of it is less work
	Defect            bool // a value other than the default turns a known defect of the target on
}

// Params are values for the parameters of a scenario. The zero value leaves all to their defaults.
type Params struct {
	names  []string // sorted
	values []int
}

// Get is the value of a parameter, 0 if there is none of that name.
func (p Params) Get(name string) int {
	for i, n := range p.names {
		if n == name {
			return p.values[i]
		}
	}
	return 0
}

// Has reports whether the parameter has a value.
func (p Params) Has(name string) bool {
	i := sort.SearchStrings(p.names, name)
	return i < len(p.names) && p.names[i] == name
}

// With is p with one more value, or another one. p stays as it is.
func (p Params) With(name string, value int) Params {
	i := sort.SearchStrings(p.names, name)
	q := Params{append([]string(nil), p.names...), append([]int(nil), p.values...)}
	if i == len(q.names) || q.names[i] != name {
		q.names = append(q.names[:i], append([]string{name}, q.names[i:]...)...)
		q.values = append(q.values[:i], append([]int{value}, q.values[i:]...)...)
	}
	q.values[i] = value
	return q
}

// String is the canonical form, sorted by name: "clients=2,proto=1".
func (p Params) String() string {
	var b strings.Builder
	for i, n := range p.names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n)
		b.WriteByte('=')
		b.WriteString(strconv.Itoa(p.values[i]))
	}
	return b.String()
}

// Scenario is one workload.
type Scenario struct {
	Name   string
	Doc    string // one line
	Params []Param
	// Actor names the first task; "main" if empty.
	Actor string
	// Main is the body of the first task. It returns when all is stopped.
	Main func(cur *kernel.Task, w *World)
}

// All lists the scenarios, the shortest answers first.
func All() []*Scenario {
	return []*Scenario{
		lockdStart, callbackStart, carelessAdmin, startStopRestart, stopUnderLoad, resize, secondNet, faultInjection,
		deferral, backchannelStop, backchannelNets, rpcGarbage, cbCompound, cbSession,
		nlmLocks, lockdStopLocks, nlmRequests, nlmNfsd, nlmClient, nlmReboot, nlmFailover,
	}
}

// Find returns the scenario of that name. The error names all there are.
func Find(name string) (*Scenario, error) {
	var names []string
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("no scenario %q: there are %s", name, strings.Join(names, ", "))
}

// Defaults are the values of all parameters when nothing is said.
func (s *Scenario) Defaults() Params {
	var p Params
	for _, x := range s.Params {
		p = p.With(x.Name, x.Default)
	}
	return p
}

// ParseParams reads "clients=2,proto=1"; what is not named keeps its default. The error names what there is.
func (s *Scenario) ParseParams(text string) (Params, error) {
	p := s.Defaults()
	for field := range strings.SplitSeq(text, ",") {
		field = strings.TrimSpace(field)
		if field == "" {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if !ok || err != nil {
			return Params{}, fmt.Errorf("parameter %q of %s: want NAME=NUMBER", field, s.Name)
		}
		name = strings.TrimSpace(name)
		x := s.param(name)
		switch {
		case x == nil:
			return Params{}, fmt.Errorf("%s has no parameter %q: it has %s", s.Name, name, s.paramNames())
		case n < x.Min || n > x.Max:
			return Params{}, fmt.Errorf("%s: %s=%d is not in %d..%d", s.Name, name, n, x.Min, x.Max)
		}
		p = p.With(name, n)
	}
	return p, nil
}

// Unusual are those of the parameters, in the form of Params.String, that are not the defaults.
func (s *Scenario) Unusual(p Params) string {
	var q Params
	for _, x := range s.Params {
		if n := p.Get(x.Name); n != x.Default {
			q = q.With(x.Name, n)
		}
	}
	return q.String()
}

// Smaller are the parameters with which the scenario does less work than with p, the boldest first: one amount at its
// least, one amount halved.
func (s *Scenario) Smaller(p Params) []Params {
	var least, half []Params
	for _, x := range s.Params {
		n := p.Get(x.Name)
		if !x.Amount || n <= x.Min {
			continue
		}
		least = append(least, p.With(x.Name, x.Min))
		if h := max(n/2, x.Min); h != x.Min {
			half = append(half, p.With(x.Name, h))
		}
	}
	return append(least, half...)
}

// Draw is p with each parameter left as it is or drawn anew, but for those that fixed names and those that turn a known
// defect on. It draws as often for any p and fixed, so that neither changes the other parameters.
func (s *Scenario) Draw(r *rand.Rand, p Params, fixed map[string]bool) Params {
	for _, x := range s.Params {
		keep, value := r.IntN(2) == 0, logUniform(r, x.Min, x.Max)
		if !keep && !fixed[x.Name] && !x.Defect {
			p = p.With(x.Name, value)
		}
	}
	return p
}

// logUniform draws from low to high; where there is much to choose from small numbers are likelier.
func logUniform(r *rand.Rand, low, high int) int {
	span := high - low
	if span <= 8 {
		return low + r.IntN(span+1)
	}
	bits := 0
	for 1<<bits <= span {
		bits++
	}
	return low + min(r.IntN(1<<(1+r.IntN(bits))), span)
}

func (s *Scenario) param(name string) *Param {
	for i := range s.Params {
		if s.Params[i].Name == name {
			return &s.Params[i]
		}
	}
	return nil
}

func (s *Scenario) paramNames() string {
	var names []string
	for _, x := range s.Params {
		names = append(names, fmt.Sprintf("%s (%d..%d)", x.Name, x.Min, x.Max))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Run performs the scenario once on m with all oracles watching. ch is nil on the free back end. What p does not say
// is left to the defaults.
func (s *Scenario) Run(m *kernel.Machine, ch kernel.Chooser, p Params, opt kernel.Options) *kernel.Result {
	w := &World{P: p}
	for i := range s.Params {
		if x := &s.Params[i]; !p.Has(x.Name) {
			w.P = w.P.With(x.Name, x.Default)
		}
	}
	w.M = m
	if k := w.P.Get(failParam); k != 0 && opt.FailAt == 0 {
		opt.FailAt = k
	}
	if n := w.P.Get(poolsParam); n > 1 && opt.Cpus == 0 {
		opt.Cpus = n
	}
	oracle.Install(&w.Subject, &opt)
	return m.Run(ch, opt, cmp.Or(s.Actor, "main"), func(cur *kernel.Task) {
		m.SetTag(w)
		if w.boot(cur) {
			s.Main(cur, w)
			w.shutdown(cur)
		}
	})
}
