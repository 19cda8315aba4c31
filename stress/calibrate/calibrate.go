// SPDX-License-Identifier: MIT

package calibrate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Plan says what to hold against what.
type Plan struct {
	Programs []string // names as program.Parse reads them
	Runs     int      // schedules for each sampler
	Replays  int      // recorded schedules to run again
	Seed     uint64   // of the samplers
	// Progress is told what is done next. May be nil.
	Progress func(program, what string)

	ended func() bool // nil: there is no end but that of the work
	asked uint        // how often somebody wanted to know
}

// interrupted is the panic with which a calibration leaves whatever it is in the midst of.
type interrupted struct{}

// goOn leaves the calibration if it is to end. It is called at every step of a model, so it does not always look.
func (p *Plan) goOn() {
	if p.asked++; p.asked%512 == 0 {
		p.goOnNow()
	}
}

// goOnNow looks whether the calibration is to end.
func (p *Plan) goOnNow() {
	if p.ended != nil && p.ended() {
		panic(interrupted{})
	}
}

// Default is the programs of a calibration that names none.
func Default() []string {
	return []string{
		"lsr", "lsr-fixed", "pad(5)", "pad(20)", "cont(1)", "cont(2)", "cont(5)", "reorder(2)", "reorder-fixed(2)",
		"twostage(1)", "twostage(2)",
	}
}

// Row is one comparison.
type Row struct {
	Program string `json:"program"`
	What    string `json:"what"` // what was counted or sampled: "all schedules", "pct:d=2"
	Got     string `json:"got"`
	Want    string `json:"want"`
	// Against says where Want comes from: the model, a golden value, theory, or the same again.
	Against string  `json:"against"`
	Rate    bool    `json:"rate"` // sampled, so that chance has a say
	P       float64 `json:"p"`    // for rates: how likely chance alone is at least as far off
	OK      bool    `json:"ok"`
}

// Check reports whether all rows are as they should be.
func Check(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return !r.OK })
}

// Run makes all comparisons of the plan. An error is wrong use: a program that there is not, or that has no model; or
// the end of ctx, and then the rows are those that were made until it came.
func Run(ctx context.Context, plan Plan) (rows []Row, err error) {
	plan.ended = func() bool { return ctx.Err() != nil }
	var subjects []*subject
	defer func() {
		for _, s := range subjects {
			rows = append(rows, s.rows...)
		}
		if p := recover(); p == (interrupted{}) {
			err = ctx.Err()
		} else if p != nil {
			panic(p)
		}
	}()
	for _, name := range plan.Programs {
		s, err := newSubject(name, &plan)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	for _, s := range subjects {
		for _, part := range []func(*subject){
			(*subject).golden, (*subject).enumerate, (*subject).bounds, (*subject).reduce, (*subject).sample,
			(*subject).classes, (*subject).replay,
		} {
			part(s)
		}
	}
	return nil, nil
}

// subject is one program with its model.
type subject struct {
	*program.Program
	plan   *Plan
	m      *model
	counts *counts
	total  *tally
	all    float64 // interleavings
	traces int     // -1 if they are too many
	buggy  int     // traces with the bug
	rows   []Row
}

func newSubject(name string, plan *Plan) (*subject, error) {
	p, err := program.Parse(name)
	if err != nil {
		return nil, err
	}
	m, err := modelOf(p.Family(), p.Size())
	if err != nil {
		return nil, fmt.Errorf("%w; choose e.g. %v", err, Default())
	}
	m.goOn = plan.goOn
	s := &subject{Program: p, plan: plan, m: m}
	if s.counts, s.total, err = m.count(); err != nil {
		return nil, fmt.Errorf("program %s: %w; choose a smaller size", name, err)
	}
	s.all, _ = s.total.all.Float64()
	if s.traces, s.buggy, err = m.traces(); err != nil {
		s.traces = -1
	}
	return s, nil
}

func (s *subject) row(what, got, want, against string) {
	s.rows = append(s.rows, Row{Program: s.Name, What: what, Got: got, Want: want, Against: against, OK: got == want})
}

func (s *subject) begin(what string) {
	s.plan.goOnNow()
	if s.plan.Progress != nil {
		s.plan.Progress(s.Name, what)
	}
}

// each runs one schedule after the other on a machine of its own until more says no; the visitor gets those that were
// not given up.
func (s *subject) each(ch func() (kernel.Chooser, bool), visit func(*kernel.Result)) {
	m := kernel.NewSim()
	defer m.Close()
	for {
		s.plan.goOn()
		c, more := ch()
		if !more {
			return
		}
		if res := s.Program.Run(m, c, kernel.Options{}); !res.Pruned {
			visit(res)
		}
	}
}

// times is a sampler's schedules 1 to n.
func times(n int, seed func(i uint64) kernel.Chooser) func() (kernel.Chooser, bool) {
	i := 0
	return func() (kernel.Chooser, bool) {
		if i++; i > n {
			return nil, false
		}
		return seed(uint64(i)), true
	}
}

func pair(all, buggy any) string { return fmt.Sprintf("%v, %v buggy", all, buggy) }

// golden holds the model itself against what other tools have found.
func (s *subject) golden() {
	k := s.Known
	if k == nil {
		return
	}
	s.begin("golden values")
	s.row("states of the model", fmt.Sprint(len(s.counts.seen)), fmt.Sprint(k.States), "golden")
	s.row("interleavings of the model", pair(s.total.all, s.total.bug), pair(k.Interleavings, k.Buggy), "golden")
	s.row("traces of the model", pair(s.traces, s.buggy), pair(k.Traces, k.BuggyTraces), "golden")
	walk, _ := s.total.walk.Float64()
	s.row("random walk of the model", fmt.Sprintf("%.3g", walk), fmt.Sprintf("%.3g", k.RandomWalk), "golden")
	for _, what := range slices.Sorted(maps.Keys(k.Rates)) {
		s.goldenRate(what, k.Rates[what])
	}
}

// goldenSample is how many schedules a golden rate was measured with.
const goldenSample = 1_000_000

// goldenRate compares the rate of a sampler with one that was measured.
func (s *subject) goldenRate(what string, want float64) {
	got, err := s.exact(what)
	if err != nil {
		return
	}
	r := Row{Program: s.Name, What: what + " of the model", Against: "golden", Rate: true}
	r.Got, r.Want = percent(got), percent(want)
	r.P = hits(int(want*goldenSample+0.5), goldenSample, got)
	r.OK = r.P >= level
	s.rows = append(s.rows, r)
}

// exact is the rate of a sampler, from its definition.
func (s *subject) exact(what string) (float64, error) {
	bug, _ := s.total.bug.Float64()
	switch what {
	case "pct:d=2":
		return s.m.pct(2, s.total.longest), nil
	case "pos":
		return s.m.pos()
	case "urw":
		return s.m.urw()
	case "surw":
		return s.m.surw(s.m.obj)
	}
	return bug / s.all, nil
}

// mostSchedules is how many schedules are worth being gone through one by one.
const mostSchedules = 1_000_000

// enumerate goes through all schedules.
func (s *subject) enumerate() {
	if s.all > mostSchedules {
		return
	}
	s.begin("all schedules")
	all, buggy := s.within(1 << 30)
	s.row("all schedules", pair(all, buggy), pair(s.total.all, s.total.bug), "model")
}

// within counts the schedules with at most n preemptions.
func (s *subject) within(n int) (all, buggy int) {
	b := &explore.Bounded{Bound: n, Plain: true}
	s.each(func() (kernel.Chooser, bool) { return b, b.Next() }, func(res *kernel.Result) {
		all++
		if res.Worst() != nil {
			buggy++
		}
	})
	return all, buggy
}

// How many preemptions, and how many schedules with few of them, are worth being gone through.
const (
	mostPreemptions = 6
	mostBounded     = 50_000
)

// bounds goes through the schedules with few preemptions: at most none, at most one, and so on.
func (s *subject) bounds() {
	var got, want []string
	last := uint64(0)
	for n := range mostPreemptions + 1 {
		all, buggy := s.m.atMost(n)
		if all == last || all > mostBounded {
			break
		}
		last = all
		s.begin(fmt.Sprintf("at most %d preemptions", n))
		gotAll, gotBuggy := s.within(n)
		got = append(got, fmt.Sprintf("%d/%d", gotAll, gotBuggy))
		want = append(want, fmt.Sprintf("%d/%d", all, buggy))
	}
	s.row("at most 0, 1.. preemptions", strings.Join(got, " "), strings.Join(want, " "), "model")
	if k := s.Known; k != nil && k.Bounds != nil {
		want = want[:0]
		for _, b := range k.Bounds {
			want = append(want, fmt.Sprintf("%d/%d", b.Interleavings, b.Buggy))
		}
		s.row("the same", strings.Join(got, " "), strings.Join(want, " "), "golden")
	}
}

// mostTraces is how many traces are worth being gone through.
const mostTraces = 20_000

// reduce counts what partial order reduction leaves over.
func (s *subject) reduce() {
	if s.traces < 0 || s.traces > mostTraces {
		return
	}
	for _, optimal := range []bool{false, true} {
		name := "source DPOR"
		if optimal {
			name = "optimal DPOR"
		}
		s.begin(name)
		d := &explore.DPOR{Optimal: optimal}
		buggy := 0
		s.each(func() (kernel.Chooser, bool) { return d, d.Next() }, func(res *kernel.Result) {
			if res.Worst() != nil {
				buggy++
			}
		})
		if s.m.halt {
			s.halted(name, d.Complete-buggy, buggy)
		} else {
			s.row(name, pair(d.Complete, buggy), pair(s.traces, s.buggy), "model")
		}
		switch {
		case optimal:
			s.row(name+", blocked", fmt.Sprint(d.Blocked), "0", "theory")
		case s.Known != nil && s.Known.Blocked >= 0:
			s.row(name+", blocked", fmt.Sprint(d.Blocked), fmt.Sprint(s.Known.Blocked), "golden")
		}
	}
}

// halted compares where the bug ends the run. Of the traces with the bug there is one for every place at which it can
// end those that do not matter to it: a search need not tell them apart, but it must find every way to the bug.
func (s *subject) halted(name string, clean, buggy int) {
	s.row(name+", clean", fmt.Sprint(clean), fmt.Sprint(s.traces-s.buggy), "model")
	ways := s.m.ways()
	r := Row{Program: s.Name, What: name + ", buggy", Got: fmt.Sprint(buggy), Against: "model"}
	r.Want, r.OK = fmt.Sprintf("%d to %d", ways, s.buggy), ways <= buggy && buggy <= s.buggy
	s.rows = append(s.rows, r)
}

// rate samples, and compares how often the bug was met.
func (s *subject) rate(what string, p float64, seed func(i uint64) kernel.Chooser) {
	s.begin(what)
	bugs := 0
	s.each(times(s.plan.Runs, seed), func(res *kernel.Result) {
		if res.Worst() != nil {
			bugs++
		}
	})
	r := Row{Program: s.Name, What: what, Against: "model", Rate: true, P: hits(bugs, s.plan.Runs, p)}
	r.Got, r.Want, r.OK = percent(float64(bugs)/float64(s.plan.Runs)), percent(p), r.P >= level
	s.rows = append(s.rows, r)
}

// percent spells a probability.
func percent(p float64) string { return fmt.Sprintf("%.4g %%", 100*p) }

// sample runs every sampler.
func (s *subject) sample() {
	seed, k := s.plan.Seed, s.total.longest
	walk, _ := s.total.walk.Float64()
	var random explore.Random
	s.rate("random", walk, func(i uint64) kernel.Chooser { random.Seed(seed, i); return &random })
	for d := 2; d <= 3; d++ {
		if len(s.m.tasks) > 4 || d == 3 && k > 40 {
			break // too many orders and places to go through
		}
		pct := explore.PCT{Depth: d, K: k}
		s.rate(fmt.Sprintf("pct:d=%d", d), s.m.pct(d, k), func(i uint64) kernel.Chooser { pct.Seed(seed, i); return &pct })
	}
	s.samplePOS()
	m := kernel.NewSim()
	defer m.Close()
	profile := explore.TakeProfile(explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result {
		return s.Program.Run(m, ch, opt)
	}), kernel.Options{})
	if p, err := s.m.urw(); err == nil {
		urw := explore.URW{Profile: profile}
		s.rate("urw", p, func(i uint64) kernel.Chooser { urw.Seed(seed, i); return &urw })
	}
	if p, err := s.m.surw(s.m.obj); err == nil {
		surw := explore.SURW{Profile: profile, Cell: s.m.cell}
		s.rate("surw:o="+s.m.cell, p, func(i uint64) kernel.Chooser { surw.Seed(seed, i); return &surw })
	}
	bug, _ := s.total.bug.Float64()
	u := newUniform(s)
	s.rate("uniform", bug/s.all, func(i uint64) kernel.Chooser { u.seed(seed, i); return u })
	s.row("machine like the model", cmp.Or(u.wrong, alike), alike, "model")
}

// alike is what is said where machine and model do the same.
const alike = "at every choice"

// samplePOS compares with the exact rate, and where that is too much to compute with as many schedules of the model.
func (s *subject) samplePOS() {
	var pos explore.POS
	seed := func(i uint64) kernel.Chooser { pos.Seed(s.plan.Seed, i); return &pos }
	p, err := s.m.pos()
	if err == nil {
		s.rate("pos", p, seed)
		return
	}
	s.begin("pos")
	r := rand.New(rand.NewPCG(s.plan.Seed, 0))
	bugs, want := 0, 0
	for range s.plan.Runs {
		if s.m.posRun(r) {
			want++
		}
	}
	s.each(times(s.plan.Runs, seed), func(res *kernel.Result) {
		if res.Worst() != nil {
			bugs++
		}
	})
	n := s.plan.Runs
	row := Row{Program: s.Name, What: "pos", Against: "sampled model", Rate: true, P: same(bugs, n, want, n)}
	row.Got, row.Want, row.OK = percent(float64(bugs)/float64(n)), percent(float64(want)/float64(n)), row.P >= level
	s.rows = append(s.rows, row)
}
