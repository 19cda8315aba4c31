// SPDX-License-Identifier: MIT

package explore

import (
	"math/rand/v2"
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Constrained runs a program so that the constraints of kernel.Options.Order are kept: a task whose next operation must
// come after one that has not happened yet is held back, unless nobody else can run. Among the others the default goes
// on, or priorities decide that are drawn once for each task.
type Constrained struct {
	prio    *rand.PCG // nil: by default
	drawn   []uint64
	answers *Replay
	may     []*kernel.Task
}

// NewConstrained prepares one run. Seed 0 goes on by default, any other draws priorities. Decisions are those of s.
func NewConstrained(s *Schedule, seed uint64) *Constrained {
	c := &Constrained{answers: NewReplay(s)}
	c.answers.Lenient = true
	if seed != 0 {
		c.prio = rand.NewPCG(seed, 0)
	}
	return c
}

// Decide implements kernel.Decider.
func (c *Constrained) Decide(d *kernel.Decision) int { return c.answers.Decide(d) }

// Pick implements kernel.Chooser.
func (c *Constrained) Pick(ch *kernel.Choice) *kernel.Task {
	c.may = c.may[:0]
	for _, t := range ch.Runnable {
		if !t.Held() {
			c.may = append(c.may, t)
		}
	}
	if len(c.may) == 0 {
		c.may = append(c.may, ch.Runnable...)
	}
	if c.prio != nil {
		return slices.MaxFunc(c.may, func(a, b *kernel.Task) int {
			if c.priority(a) > c.priority(b) {
				return 1
			}
			return -1
		})
	}
	mine := kernel.Choice{Step: ch.Step, Runnable: c.may}
	if slices.Contains(c.may, ch.Cur) {
		mine.Cur = ch.Cur
	}
	return Default(&mine)
}

func (c *Constrained) priority(t *kernel.Task) uint64 {
	for len(c.drawn) <= t.Index() {
		c.drawn = append(c.drawn, c.prio.Uint64())
	}
	return c.drawn[t.Index()]
}

// A failure is explained by constraints if it comes back in at least enforceGood of enforceSeeds runs that keep them:
// one by default, the others with priorities that have nothing to do with the run that the constraints were taken from.
const (
	enforceSeeds = 10
	enforceGood  = 9
)

// Enforced is what came of runs that kept a schedule's constraints.
type Enforced struct {
	Runs, Failed int             // how many were made, in how many the failure came back
	Schedule     *Schedule       // of the first that failed, with the constraints; nil if none did
	Finding      *kernel.Finding // of that run
	Unmet        []kernel.Before // what could not be met in the first run that did not fail
	Other        *kernel.Finding // what that run ended with instead
	key          func(*kernel.Finding) bool
}

// Reproduced reports whether the failure comes back often enough to call it explained.
func (e *Enforced) Reproduced() bool { return e.Failed >= enforceGood }

// Enforce runs the program several times with the constraints and the decisions of s, and counts how often it ends in a
// finding that is the same.
func Enforce(r Runner, s *Schedule, same func(*kernel.Finding) bool, opt kernel.Options) *Enforced {
	e := &Enforced{key: same}
	for seed := range enforceSeeds {
		e.try(r, s, opt, uint64(seed))
	}
	return e
}

// try makes one run and reports whether it failed.
func (e *Enforced) try(r Runner, s *Schedule, opt kernel.Options, seed uint64) bool {
	opt.Order = s.Constraints
	res := r.Run(NewConstrained(s, seed), opt)
	e.Runs++
	f := res.Worst()
	if f == nil || !e.key(f) {
		if e.Runs-e.Failed == 1 {
			e.Unmet, e.Other = res.Unmet, f
		}
		return false
	}
	if e.Failed++; e.Schedule == nil {
		e.Schedule, e.Finding = Take(res, s.Meta), f
		e.Schedule.Constraints = s.Constraints
	}
	return true
}

// Explanation is why a run fails: the orders of operations that suffice.
type Explanation struct {
	// Constraints is a set from which none can be left out. Their number is the depth of the failure in the sense of
	// Burckhardt et al., ASPLOS 2010. It is empty for a failure that comes in every order.
	Constraints []kernel.Before
	Found       bool // false: not even all orders of the run together bring the failure back, or the budget was spent
	Runs        int
	Candidates  int
	Failed      int // in how many of the runs that keep the constraints, of enforceSeeds
}

// explainer looks for the constraints of one failure.
type explainer struct {
	r      Runner
	s      *Schedule
	same   func(*kernel.Finding) bool
	opt    kernel.Options
	effort Effort
	out    Explanation
}

// Explain finds a minimal set of constraints between operations of different tasks that brings the failure of s back.
// Candidates are the pairs of dependent operations of the failing run. It takes about as
// many runs as the effort allows.
func Explain(r Runner, s *Schedule, f *kernel.Finding, opt kernel.Options, effort Effort) *Explanation {
	key := Key(f)
	x := &explainer{
		r: r, s: s, opt: opt, effort: effort,
		same: func(g *kernel.Finding) bool { return Key(g) == key },
	}
	failing, usual := x.named(NewReplay(s)), x.named(NewConstrained(&Schedule{Decisions: s.Decisions}, 0))
	x.opt.MaxSteps = max(20*len(failing), 10_000)
	if endless(f) {
		x.opt.MaxSteps = min(x.opt.MaxSteps, LivelockSteps)
	}
	all := candidatePairs(failing, usual)
	x.out.Candidates = len(all)
	if x.holds(nil) {
		x.out.Found = true
		return &x.out
	}
	start := unusual(all, usual)
	if !x.holds(start) {
		if start = all; !x.holds(start) {
			return &x.out
		}
	}
	small := ddmin(start, func(set []kernel.Before) bool { return !effort.spent(x.out.Runs) && x.holds(set) })
	small = x.combine(small, failing)
	x.out.Found = !effort.spent(x.out.Runs)
	x.out.Constraints = small
	e := Enforce(r, &Schedule{Decisions: s.Decisions, Constraints: small}, x.same, x.opt)
	x.out.Failed = e.Failed
	x.out.Runs += e.Runs
	return &x.out
}

// combine puts one constraint in the place of two where that will do: that something of a task comes after the later
// one of two operations of another task. The two need not depend on each other; it is what happens in between that
// counts.
func (x *explainer) combine(set []kernel.Before, ops []kernel.NamedOp) []kernel.Before {
	at := positions(ops)
	for smaller := set; smaller != nil; smaller = x.oneFewer(set, at) {
		set = smaller
	}
	return set
}

// oneFewer is set with one constraint in the place of two, nil if none will do.
func (x *explainer) oneFewer(set []kernel.Before, at map[kernel.OpName]int) []kernel.Before {
	for i, a := range set {
		for j, b := range set {
			both, ok := later(a, b, at)
			if i == j || !ok || x.effort.spent(x.out.Runs) {
				continue
			}
			rest := slices.DeleteFunc(slices.Clone(set), func(c kernel.Before) bool { return c == a || c == b || c == both })
			if rest = append(rest, both); x.holds(rest) {
				return rest
			}
		}
	}
	return nil
}

// later is a with the later one of the first operations of both; ok is false if they are of different tasks, or the run
// does not show it.
func later(a, b kernel.Before, at map[kernel.OpName]int) (c kernel.Before, ok bool) {
	if a.First.Task != b.First.Task || a.First.Task == a.Then.Task {
		return a, false
	}
	if at[a.First] < at[b.First] {
		a.First = b.First
	}
	return a, at[a.Then] == 0 || at[a.First] < at[a.Then]
}

// positions says when each operation happened, from 1.
func positions(ops []kernel.NamedOp) map[kernel.OpName]int {
	at := map[kernel.OpName]int{}
	for i, o := range ops {
		at[o.OpName] = i + 1
	}
	return at
}

// named is the operations of one run.
func (x *explainer) named(ch kernel.Chooser) []kernel.NamedOp {
	opt := x.opt
	opt.NameOps = true
	x.out.Runs++
	return slices.Clone(x.r.Run(ch, opt).Ops)
}

// holds reports whether the failure comes back under the constraints; it gives up as soon as it cannot any more.
func (x *explainer) holds(set []kernel.Before) bool {
	e := &Enforced{key: x.same}
	s := &Schedule{Decisions: x.s.Decisions, Constraints: set}
	for seed := range enforceSeeds {
		e.try(x.r, s, x.opt, uint64(seed))
		if e.Runs-e.Failed > enforceSeeds-enforceGood {
			break
		}
	}
	x.out.Runs += e.Runs
	return e.Reproduced()
}

// candidatePairs are the orders that a run shows: each operation that can be held back, after the last one of every
// other task that it depends on. Of a task that the failure stopped the next operations are those it usually performs.
func candidatePairs(ops, usual []kernel.NamedOp) []kernel.Before {
	var out []kernel.Before
	seen := map[kernel.Before]bool{}
	for j := range slices.Backward(ops) {
		if ops[j].Announced || ops[j].Pending {
			out = lastOnes(out, seen, ops[:j], &ops[j])
		}
	}
	done := map[kernel.OpName]int{}
	for _, o := range ops {
		key := o.OpName
		key.Nth = 0
		done[key] = o.Nth
	}
	ahead := map[[2]uint64]bool{}
	for i := range usual {
		o := &usual[i]
		key := o.OpName
		key.Nth = 0
		if at := [2]uint64{uint64(o.Index), o.Cell}; o.Announced && o.Nth > done[key] && !ahead[at] {
			ahead[at] = true
			out = lastOnes(out, seen, ops, o)
		}
	}
	return out
}

// lastOnes adds, for each other task, the order of then and the last operation before it that it depends on.
func lastOnes(out []kernel.Before, seen map[kernel.Before]bool, before []kernel.NamedOp,
	then *kernel.NamedOp) []kernel.Before {
	var tasks []string
	for i := range slices.Backward(before) {
		first := &before[i]
		if first.Task == then.Task || first.Pending || !dependent(first, then) || slices.Contains(tasks, first.Task) {
			continue
		}
		tasks = append(tasks, first.Task)
		if b := (kernel.Before{First: first.OpName, Then: then.OpName}); !seen[b] {
			seen[b] = true
			out = append(out, b)
		}
	}
	return out
}

func dependent(a, b *kernel.NamedOp) bool {
	if a.Free || b.Free {
		return a.Object == b.Object
	}
	return a.Cell == b.Cell && (a.Write || b.Write)
}

// unusual are those constraints that a usual run does not keep.
func unusual(all []kernel.Before, usual []kernel.NamedOp) []kernel.Before {
	at := positions(usual)
	var out []kernel.Before
	for _, b := range all {
		first, then := at[b.First], at[b.Then]
		if first == 0 || then != 0 && then < first {
			out = append(out, b)
		}
	}
	return out
}

// ddmin returns a part of set that still passes, and from which nothing can be left out (Zeller and Hildebrandt, IEEE
// TSE 2002). The whole set passes. Later elements are left out first.
func ddmin[T any](set []T, passes func([]T) bool) []T {
	if len(set) == 0 {
		return set
	}
	for n := 2; ; {
		size := (len(set) + n - 1) / n
		smaller := false
		for end := len(set); end > 0; end -= size {
			start := max(end-size, 0)
			if rest := slices.Concat(set[:start], set[end:]); passes(rest) {
				set, smaller = rest, true
				n = max(n-1, 2)
				break
			}
		}
		switch {
		case len(set) == 0:
			return set
		case smaller:
		case n >= len(set):
			return set
		default:
			n = min(2*n, len(set))
		}
	}
}
