// SPDX-License-Identifier: MIT

package explore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Runner runs the program under test once. The result's Tasks and Seq live until the next run.
type Runner interface {
	Run(ch kernel.Chooser, opt kernel.Options) *kernel.Result
}

// RunnerFunc makes a function a Runner.
type RunnerFunc func(ch kernel.Chooser, opt kernel.Options) *kernel.Result

// Run implements Runner.
func (f RunnerFunc) Run(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return f(ch, opt) }

// Plan says how to explore.
type Plan struct {
	Chooser   string        // as ParseSpec reads it
	Seed      uint64        // of samplers
	First     uint64        // number of the first schedule of the stream; for shards
	Schedules int           // how many at most; 0 no limit
	For       time.Duration // how long at most; 0 no limit
	Twice     bool          // run every schedule twice and compare the trace hashes
	Classes   bool          // count the classes of equivalent schedules; keeps a word of each
	Corpus    []byte        // of an earlier search with feedback, to go on from; may be nil
	Options   kernel.Options
	// Progress is called now and then with the counts so far. May be nil.
	Progress func(o *Outcome)
	// Keep says whether a finding ends the search; nil ends it with the first.
	Keep func(f *kernel.Finding) (goOn bool)
}

// Outcome is what a search found out.
type Outcome struct {
	Schedules int
	Steps     int64
	Elapsed   time.Duration
	Finding   *kernel.Finding
	FoundAt   int       // number of the failing schedule, 1-based; 0 if none failed
	Schedule  *Schedule // of the failing run
	Bound     int       // preemptions, for a bounded search
	Exhausted bool      // all schedules within the bound were covered
	States    int       // different choice points, for a bounded search
	Pruned    int       // runs given up because their future was known
	Unequal   int       // schedules whose two runs had different hashes
	MaxTasks  int
	MaxSteps  int
	MaxPick   int // most choices in one run

	// What Residuals speak of.
	Sampler string            // the chooser, if it is one
	Depth   int               // of pct, 0 if drawn for each schedule
	Depths  [maxDepth + 1]int // of pct: schedules by depth
	K       int               // of pct: the steps among which the change points lie

	// With Plan.Classes: how many classes of equivalent schedules were seen, and how many of them once only; for the
	// random walk, how many schedules there are.
	Classes, Singletons int
	Knuth               Knuth

	// Of dpor and sdpor: the runs that came to their end, those that were given up as what they could still show is
	// explored elsewhere, and about how many runs there are; 0 if that is not known.
	Complete, Blocked int
	Traces            float64

	// Of feedback: the parents, for Plan.Corpus, and how many orders of dependent operations were seen.
	Corpus []byte
	Edges  int

	classes map[uint64]bool // by Result.State: seen more than once
	pct     *PCT
	walks   bool
}

// Spec is a parsed chooser specification.
type Spec struct {
	Kind  string
	Depth int    // pct; 0 draws it per schedule
	Bound int    // bounded: preemptions; delay: delays
	Cell  string // surw; "" draws one per schedule
}

// kind is one kind of chooser.
type kind struct {
	name     string
	key      string // of its argument; "" if it takes none
	form     string // how to write it
	word     bool   // the argument is a word, not a number
	low      int    // of the argument; high 0 is no limit
	high     int
	ordinary int  // the argument if there is none
	ends     bool // it enumerates
	sampler  func(s Spec) sampler
	source   func(p *Plan, s Spec) (source, error) // for those that are no samplers
}

// kinds are all there are, in the order in which to list them.
var kinds = []kind{
	{name: "random", sampler: func(Spec) sampler { return &Random{} }},
	{
		name: "pct", key: "d", form: fmt.Sprintf("pct:d=1..%d", maxDepth), low: 1, high: maxDepth,
		sampler: func(s Spec) sampler { return &PCT{Depth: s.Depth} },
	},
	{
		name: "pctc", key: "d", form: fmt.Sprintf("pctc:d=1..%d", maxDepth), low: 1, high: maxDepth,
		sampler: func(s Spec) sampler { return &PCT{Depth: s.Depth, Choices: true} },
	},
	{name: "pos", sampler: func(Spec) sampler { return &POS{} }},
	{name: "urw", sampler: func(Spec) sampler { return &URW{} }},
	{
		name: "surw", key: "o", form: "surw:o=CELL", word: true,
		sampler: func(s Spec) sampler { return &SURW{Cell: s.Cell} },
	},
	{
		name: "delay", key: "c", form: "delay:c=0 and up", ordinary: 2,
		sampler: func(s Spec) sampler { return &Delay{Bound: s.Bound} },
	},
	{
		name: "delayall", key: "c", form: "delayall:c=0 and up", ordinary: 2, ends: true,
		source: func(_ *Plan, s Spec) (source, error) { return &delayed{Delayed{Bound: s.Bound}}, nil },
	},
	{
		name: "bounded", key: "n", form: "bounded:n=0 and up", ordinary: 2, ends: true,
		source: func(_ *Plan, s Spec) (source, error) { return &enumerator{Bounded{Bound: s.Bound}}, nil },
	},
	{name: "dpor", ends: true, source: func(p *Plan, _ Spec) (source, error) { return openDPOR(p, true), nil }},
	{name: "sdpor", ends: true, source: func(p *Plan, _ Spec) (source, error) { return openDPOR(p, false), nil }},
	{name: "feedback", source: openFeedback},
}

// kindOf finds a kind by its name; nil if there is none.
func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// ParseSpec reads the name of a chooser with its argument, if any: "random", "pct:d=3", "bounded:n=2". The error lists
// all that there are.
func ParseSpec(s string) (Spec, error) {
	name, arg, given := strings.Cut(s, ":")
	k := kindOf(name)
	if k == nil {
		return Spec{}, fmt.Errorf("unknown chooser %q; choose %s", s, Choosers())
	}
	spec := Spec{Kind: name}
	if !given {
		return k.with(spec, k.ordinary, ""), nil
	}
	key, val, _ := strings.Cut(arg, "=")
	n, err := strconv.Atoi(val)
	switch {
	case key != k.key || k.key == "" || val == "":
		return Spec{}, fmt.Errorf("chooser %q: %s does not take %q; choose %s", s, name, arg, Choosers())
	case k.word:
	case err != nil:
		return Spec{}, fmt.Errorf("chooser %q: %q is not a number; choose %s", s, val, Choosers())
	case n < k.low || k.high > 0 && n > k.high:
		return Spec{}, fmt.Errorf("chooser %q: %d is out of range; choose %s", s, n, Choosers())
	}
	return k.with(spec, n, val), nil
}

// with puts the argument where the kind has it.
func (k *kind) with(s Spec, n int, word string) Spec {
	switch k.key {
	case "d":
		s.Depth = n
	case "o":
		s.Cell = word
	default:
		s.Bound = n
	}
	return s
}

// Ends reports whether a search comes to an end of its own: it enumerates schedules and does not draw them.
func (s Spec) Ends() bool { return kindOf(s.Kind).ends }

// Choosers lists what ParseSpec reads, for usage texts and errors.
func Choosers() string {
	var forms []string
	for i := range kinds {
		forms = append(forms, kinds[i].name)
		if f := kinds[i].form; f != "" {
			forms = append(forms, f)
		}
	}
	return strings.Join(forms[:len(forms)-1], ", ") + " or " + forms[len(forms)-1]
}

// source yields choosers, one per schedule.
type source interface {
	next() (kernel.Chooser, bool)
	// report adds what the source alone knows to the outcome, at the end.
	report(o *Outcome)
}

// sampler is a chooser whose schedules are numbered.
type sampler interface {
	kernel.Decider
	Seed(seed, n uint64)
	faults() *Faults
}

// stream is the schedules of a sampler, one after the other.
type stream struct {
	sampler
	seed, n uint64
}

func (s *stream) next() (kernel.Chooser, bool) {
	s.n++
	s.Seed(s.seed, s.n)
	return s.sampler, true
}

func (s *stream) report(o *Outcome) {
	if c, ok := s.sampler.(*PCT); ok {
		o.K = c.K
	}
}

// enumerator is the schedules of a Bounded.
type enumerator struct{ Bounded }

func (e *enumerator) next() (kernel.Chooser, bool) { return &e.Bounded, e.Next() }

func (e *enumerator) report(o *Outcome) {
	o.States = e.States()
	if e.m != nil && !e.logged {
		e.m.ForgetAccesses()
	}
}

// delayed is the schedules of a Delayed.
type delayed struct{ Delayed }

func (d *delayed) next() (kernel.Chooser, bool) { return &d.Delayed, d.Next() }

func (d *delayed) report(*Outcome) {}

// reduced is the schedules of a DPOR.
type reduced struct{ DPOR }

// openDPOR reduces the schedules without a fault, or those with every set of faults that the options allow.
func openDPOR(p *Plan, optimal bool) source {
	budget := 0
	for _, n := range p.Options.Faults {
		budget += n
	}
	if budget == 0 {
		return &reduced{DPOR{Optimal: optimal}}
	}
	return &planned{FaultPlans{Optimal: optimal, Budget: budget}}
}

func (d *reduced) next() (kernel.Chooser, bool) { return &d.DPOR, d.Next() }

func (d *reduced) report(o *Outcome) {
	o.Complete, o.Blocked, o.Traces = d.Complete, d.Blocked, d.Estimate()
}

// planned is the schedules of FaultPlans.
type planned struct{ FaultPlans }

func (p *planned) next() (kernel.Chooser, bool) { return &p.FaultPlans, p.Next() }

func (p *planned) report(o *Outcome) { o.Complete, o.Blocked, _ = p.Runs() }

// fuzzer is the schedules of a Feedback.
type fuzzer struct{ *Feedback }

func openFeedback(p *Plan, _ Spec) (source, error) {
	f := NewFeedback(p.Seed, p.First, p.Options.Faults)
	if p.Corpus == nil {
		return fuzzer{f}, nil
	}
	return fuzzer{f}, f.Import(p.Corpus)
}

func (f fuzzer) next() (kernel.Chooser, bool) {
	f.Next()
	return f.Feedback, true
}

func (f fuzzer) report(o *Outcome) {
	f.settle()
	o.Corpus, o.Edges = f.Export(), f.Edges()
}

// rehearsals is how many runs tell a sampler how long a run is.
const rehearsals = 16

// rehearse sets what a sampler must know of the program beforehand. It is the same for all shards of a stream, so that
// a schedule depends on its number only, and not on what ran before it.
func (s *stream) rehearse(r Runner, opt kernel.Options) error {
	opt.Record, opt.Causal = false, false
	f := s.faults()
	f.Budget = opt.Faults
	switch c := s.sampler.(type) {
	case *URW:
		c.Profile = TakeProfile(r, opt)
	case *SURW:
		c.Profile = TakeProfile(r, opt)
		if c.Cell != "" && len(c.Profile.named(c.Cell)) == 0 {
			return c.Profile.errNoCell(c.Cell)
		}
	}
	_, pct := s.sampler.(*PCT)
	_, delay := s.sampler.(*Delay)
	if !pct && !delay && f.Budget == [kernel.DecisionKinds]int{} {
		return nil
	}
	steps, choices := 0, 0
	for i := range rehearsals {
		s.Seed(s.seed, ^uint64(i))
		count := Counter{Chooser: s.sampler}
		res := r.Run(&count, opt)
		steps, choices = max(steps, res.Steps), max(choices, count.Choices)
	}
	switch c := s.sampler.(type) {
	case *PCT:
		if c.K = max(steps, maxDepth); c.Choices {
			c.K = max(choices, maxDepth)
		}
	case *Delay:
		c.K = choices
	}
	f.settle()
	return nil
}

// newStream is the stream of a sampler behind its n-th schedule, nil if the chooser is none.
func newStream(spec Spec, seed, n uint64) *stream {
	k := kindOf(spec.Kind)
	if k == nil || k.sampler == nil {
		return nil
	}
	return &stream{sampler: k.sampler(spec), seed: seed, n: n}
}

// open is the source of the plan's schedules.
func (p *Plan) open(r Runner, spec Spec) (source, error) {
	if s := newStream(spec, p.Seed, p.First); s != nil {
		return s, s.rehearse(r, p.Options)
	}
	return kindOf(spec.Kind).source(p, spec)
}

// Search explores until a finding, the end of the plan's limits, or the end of ctx.
func Search(ctx context.Context, r Runner, p Plan) (*Outcome, error) {
	spec, err := ParseSpec(p.Chooser)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	src, err := p.open(r, spec)
	if err != nil {
		return nil, err
	}
	out := &Outcome{Bound: spec.Bound, Depth: spec.Depth}
	if s, ok := src.(*stream); ok {
		out.Sampler = p.Chooser
		out.pct, _ = s.sampler.(*PCT)
		_, out.walks = s.sampler.(*Random)
	}
	if p.Classes {
		p.Options.Causal = true
		out.classes = map[uint64]bool{}
	}
	tick := start.Add(time.Second)
	for p.Schedules == 0 || out.Schedules < p.Schedules {
		if out.Schedules&63 == 63 || p.For > 0 && out.Schedules&7 == 7 {
			now := time.Now()
			if ctx.Err() != nil || p.For > 0 && now.Sub(start) >= p.For {
				break
			}
			if p.Progress != nil && now.After(tick) {
				tick = now.Add(time.Second)
				out.Elapsed = now.Sub(start)
				p.Progress(out)
			}
		}
		ch, more := src.next()
		if !more {
			out.Exhausted = true
			break
		}
		if out.step(r, &p, ch) {
			break
		}
	}
	src.report(out)
	out.Elapsed = time.Since(start)
	return out, nil
}

// step runs one schedule; true ends the search.
func (o *Outcome) step(r Runner, p *Plan, ch kernel.Chooser) bool {
	count := Counter{Chooser: ch}
	var c kernel.Chooser = &count
	var w *weigher
	if o.walks && o.classes != nil {
		w = &weigher{Counter: &count}
		c = w
	}
	res := r.Run(c, p.Options)
	o.Schedules++
	o.Steps += int64(res.Steps)
	o.MaxTasks = max(o.MaxTasks, len(res.Tasks))
	o.MaxSteps = max(o.MaxSteps, res.Steps)
	o.MaxPick = max(o.MaxPick, count.Choices)
	if res.Pruned {
		o.Pruned++
		return false
	}
	if o.pct != nil {
		o.Depths[o.pct.d]++
	}
	if o.classes != nil {
		o.classify(res.State)
		if w != nil {
			o.Knuth.Add(w.log)
		}
	}
	f := res.Worst()
	if f == nil && !p.Twice {
		return false
	}
	s := Take(res, nil)
	if p.Twice {
		again := r.Run(NewReplay(s), p.Options)
		o.Steps += int64(again.Steps)
		if again.Hash != s.Hash {
			o.Unequal++
		}
	}
	if f == nil || p.Keep != nil && p.Keep(f) {
		return false
	}
	o.Finding, o.FoundAt, o.Schedule = f, o.Schedules, s
	return true
}

// classify counts one more schedule of the class that state stands for.
func (o *Outcome) classify(state uint64) {
	again, known := o.classes[state]
	switch {
	case !known:
		o.Classes++
		o.Singletons++
		o.classes[state] = false
	case !again:
		o.Singletons--
		o.classes[state] = true
	}
}
