// SPDX-License-Identifier: MIT

// Package portfolio explores one program by several searches beside each other, on all cores: an exhaustive one, one
// that goes through the preemptions, and samplers. It ends with what may be said about the program, search by search.
//
// What a search with a budget of schedules comes to depends on the seed and the budget alone, not on how many workers
// share its schedules. Findings and progress are on disk at every moment, so that a crash costs a second of work.
package portfolio

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// explorer is one exploration under way.
type explorer struct {
	job      job.Job
	lanes    []*lane
	workers  []*worker
	start    time.Time
	progress func(job.Progress)
	store    *state // nil: nothing is kept
	stopped  atomic.Bool

	mu       sync.Mutex
	change   *sync.Cond // a lane has become ready, or all is over
	finds    map[string]*find
	err      error // the first fault
	complete bool  // exhaustive searches came to their end, and nothing else is left
	enough   bool  // as many findings as were asked for
	spent    bool  // the time is over
}

// worker is one goroutine with a machine of its own.
type worker struct {
	m       *kernel.Machine
	target  *job.Target
	run     explore.Runner
	streams map[*lane]*explore.Stream
}

// Execute runs a job, whether it has a portfolio or anything else in it: progress is called about once a second and may
// be nil. The error is a [*job.UsageError], the end of ctx, or a fault of the suite; with the end of ctx comes a result
// of what was done until then, if the job has a portfolio.
func Execute(ctx context.Context, j job.Job, progress func(job.Progress)) (*job.Result, error) {
	if j.Explore == nil {
		return job.Execute(ctx, j, progress)
	}
	if progress == nil {
		progress = func(job.Progress) {}
	}
	x := &explorer{job: j, progress: progress, start: time.Now(), finds: map[string]*find{}}
	x.change = sync.NewCond(&x.mu)
	defer x.close()
	if err := x.prepare(); err != nil {
		return nil, err
	}
	if n := j.Explore.MaxFindings; n > 0 && len(x.finds) >= n {
		x.enough = true // an earlier process has found them
	}
	if !x.complete && !x.enough {
		x.search(ctx)
	}
	if x.err == nil && x.store != nil {
		x.err = x.store.end(x)
	}
	if x.err != nil {
		return nil, x.err
	}
	return x.result(ctx), ctx.Err()
}

// refuse is a job that cannot be executed as it was asked for: one line with the thing, the reason and the remedy.
func refuse(format string, args ...any) error {
	return &job.UsageError{What: fmt.Sprintf(format, args...)}
}

// prepare checks the job, makes the workers and lanes, and reads what an earlier process has left.
func (x *explorer) prepare() error {
	e := x.job.Explore
	t, err := job.FindTarget(x.job.Scenario, x.job.Params)
	if err != nil {
		return err
	}
	x.job.Params = t.Params
	if x.job.Backend != "sim" {
		return refuse("back end %q: nobody chooses there; a portfolio needs sim", x.job.Backend)
	}
	if e.Shards < 0 || e.Shards > 0 && (e.Shard < 1 || e.Shard > e.Shards) {
		return refuse("shard %d/%d: there is no such part; write 1/%d up to %d/%d", e.Shard, e.Shards,
			max(e.Shards, 1), max(e.Shards, 1), max(e.Shards, 1))
	}
	n := e.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		w := &worker{m: kernel.NewSim(), streams: map[*lane]*explore.Stream{}}
		x.workers = append(x.workers, w)
		if w.target, err = job.FindTarget(x.job.Scenario, x.job.Params); err != nil {
			return err
		}
		w.run = w.target.On(w.m)
	}
	if x.lanes, err = x.open(); err != nil {
		return err
	}
	if e.State != "" {
		x.store, err = openState(x)
	}
	return err
}

// close gives the machines back.
func (x *explorer) close() {
	for _, w := range x.workers {
		w.m.Close()
	}
	for _, l := range x.lanes {
		if l.serial != nil {
			l.serial.close()
		}
	}
	x.store.close()
}

// search lets the workers work until the budget is spent, the exhaustive search is over, or enough was found.
func (x *explorer) search(ctx context.Context) {
	if d := x.job.Explore.For; d > 0 {
		timer := time.AfterFunc(d, func() {
			x.mu.Lock()
			x.spent = true
			x.mu.Unlock()
			x.stop()
		})
		defer timer.Stop()
	}
	defer context.AfterFunc(ctx, x.stop)()
	var wg sync.WaitGroup
	for _, w := range x.workers {
		wg.Go(func() { x.work(w) })
	}
	over := make(chan struct{})
	var pulse sync.WaitGroup
	pulse.Go(func() { x.pulse(over) })
	wg.Wait()
	close(over)
	pulse.Wait()
}

// stop ends the search at the next schedule of each worker.
func (x *explorer) stop() {
	x.stopped.Store(true)
	x.mu.Lock()
	x.change.Broadcast()
	x.mu.Unlock()
}

// fail notes a fault and ends the search.
func (x *explorer) fail(err error) {
	x.mu.Lock()
	x.err = cmp.Or(x.err, err)
	x.mu.Unlock()
	x.stop()
}

// beat is how often the journal is written: a crash costs at most so much, and what the disk needs.
const beat = 500 * time.Millisecond

// pulse writes the journal and shows signs of life.
func (x *explorer) pulse(over <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for odd := true; ; odd = !odd {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if x.store != nil {
			if err := x.store.flush(x); err != nil {
				x.fail(err)
			}
		}
		if odd {
			x.show()
		}
	}
}

// show tells how far the search is.
func (x *explorer) show() {
	p := job.Progress{Elapsed: time.Since(x.start)}
	x.mu.Lock()
	for _, l := range x.lanes {
		p.Schedules += l.total.Schedules
		p.Steps += l.total.Steps
	}
	p.Chooser = fmt.Sprintf("%d searches", len(x.lanes))
	if n := len(x.finds); n > 0 {
		p.Chooser += fmt.Sprintf(", findings so far: %d", n)
	}
	x.mu.Unlock()
	x.progress(p)
}

// work is a worker's day.
func (x *explorer) work(w *worker) {
	defer func() {
		if p := recover(); p != nil {
			x.fail(fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	for p := x.take(); p != nil; p = x.take() {
		start := time.Now()
		if err := x.run(w, p); err != nil {
			x.fail(err)
			return
		}
		p.spent = time.Since(start)
		x.mu.Lock()
		p.lane.done(p)
		if p.last && p.lane.proves() {
			x.covered(p.lane)
		}
		x.change.Broadcast()
		x.mu.Unlock()
	}
}

// covered notes that an exhaustive search has come to its end: the others with the same faults have nothing to add.
func (x *explorer) covered(by *lane) {
	x.complete = true
	for _, l := range x.lanes {
		if l.opt.Faults == by.opt.Faults {
			l.finished, l.covered = true, l != by
			l.over.Store(true)
		}
		x.complete = x.complete && l.finished && (l.covered || l.total.Exhausted)
	}
	if x.complete {
		x.stopped.Store(true)
	}
}

// take waits for a chunk of the lane that has used least of its share; nil when there is nothing more to do.
func (x *explorer) take() *piece {
	x.mu.Lock()
	defer x.mu.Unlock()
	window := 4 * len(x.workers)
	for !x.stopped.Load() {
		var best *lane
		busy := false
		for _, l := range x.lanes {
			busy = busy || l.busy > 0
			if l.ready(window) && (best == nil || l.cost() < best.cost()) {
				best = l
			}
		}
		if best != nil {
			return best.take()
		}
		if !busy {
			return nil
		}
		x.change.Wait()
	}
	return nil
}

// run performs the schedules of a piece.
func (x *explorer) run(w *worker, p *piece) error {
	l := p.lane
	run := w.run
	if l.serial != nil {
		run = l.serial.on()
	} else if w.streams[l] == nil {
		stream, err := explore.NewStream(l.search, x.job.Seed, run, l.opt)
		if err != nil {
			return &job.UsageError{What: err.Error()}
		}
		w.streams[l] = stream
	}
	for i := range p.size {
		if x.stopped.Load() || l.over.Load() {
			p.cut = true
			break
		}
		n := p.first + uint64(i)
		ch, more := kernel.Chooser(nil), true
		if l.serial != nil {
			ch, more = l.serial.next()
		} else {
			ch = w.streams[l].Chooser(n)
			p.drawn(w.streams[l].Depth())
		}
		if p.last = !more; p.last {
			break
		}
		count := explore.Counter{Chooser: ch}
		res := run.Run(&count, l.opt)
		f := res.Worst()
		p.note(res, count.Choices, traceOf(res, f))
		if f != nil && !res.Pruned {
			key := keyOf(f)
			p.hit(key)
			if err := x.found(l, int(n), key, res, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// traceOf is the trace of a run. One that a failure has cut short shows only a part of its trace, and which part is
// chance: all that end in the same failure count as one.
func traceOf(res *kernel.Result, f *kernel.Finding) uint64 {
	if f == nil || !f.Fatal {
		return res.State
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(keyOf(f)))
	return h.Sum64()
}

// find is a finding with the earliest schedule that has it: of the first lane, and there the one with the lowest
// number.
type find struct {
	job.Found
	key   string
	place int // of the lane
}

// keyOf tells findings apart.
func keyOf(f *kernel.Finding) string { return explore.Key(f).String() }

// found keeps a finding that is new, or whose schedule comes before the one that is known.
func (x *explorer) found(l *lane, n int, key string, res *kernel.Result, f *kernel.Finding) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.finds[key]
	if old != nil && (old.place < l.place || old.place == l.place && old.At <= n) {
		return nil
	}
	limit := x.job.Explore.MaxFindings
	if old == nil && limit > 0 && len(x.finds) >= limit {
		return nil
	}
	add := &find{key: key, place: l.place}
	add.Found = job.Found{By: l.name, At: n, Finding: f, Schedule: explore.Take(res, nil)}
	x.finds[key] = add
	if limit > 0 && len(x.finds) >= limit {
		x.enough = true
		x.stopped.Store(true)
		x.change.Broadcast()
	}
	if x.store != nil {
		return x.store.keep(x.job, add, l.opt)
	}
	return nil
}

// sorted is the findings in the order of their schedules.
func (x *explorer) sorted() []*find {
	var all []*find
	for _, f := range x.finds {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *find) int { return cmp.Or(a.place-b.place, a.At-b.At, cmp.Compare(a.key, b.key)) })
	return all
}

// Grace is how long after its time an exploration may still make small what it has found: half as long again, but not
// less than leastGrace.
func Grace(period time.Duration) time.Duration { return max(period/2, leastGrace) }

const leastGrace = 10 * time.Second

// explain makes every finding small and draws it, on all workers. Those that are left share the time that is left.
func (x *explorer) explain(ctx context.Context) []*job.Result {
	all := x.sorted()
	out := make([]*job.Result, len(all))
	end := x.start.Add(x.job.Explore.For + Grace(x.job.Explore.For))
	over := func(i int) func() bool {
		if x.job.Explore.For == 0 {
			return x.job.Over(ctx)
		}
		share := end
		if rounds := (len(all) - i + len(x.workers) - 1) / len(x.workers); rounds > 1 {
			share = time.Now().Add(time.Until(end) / time.Duration(rounds))
		}
		return func() bool { return ctx.Err() != nil || time.Now().After(share) }
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, w := range x.workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
				j := x.job
				j.Explore = nil
				out[i] = job.Explain(w.m, w.target, j, &all[i].Found, x.lanes[all[i].place].opt, over(i))
			}
		})
	}
	wg.Wait()
	return out
}

// result puts everything together.
func (x *explorer) result(ctx context.Context) *job.Result {
	r := &job.Result{Job: x.job, Verdict: job.Clean}
	e := &job.Explored{Covered: -1, Searched: time.Since(x.start), Unfinished: x.enough || ctx.Err() != nil}
	if ctx.Err() == nil {
		e.Findings = x.explain(ctx)
	}
	if len(e.Findings) > 0 {
		*r = *e.Findings[0]
		r.Job = x.job
	}
	for _, f := range e.Findings {
		r.Fault = cmp.Or(r.Fault, f.Fault)
	}
	r.Schedules, r.Steps, r.Coverage, r.Explored = 0, 0, nil, e
	for _, l := range x.lanes {
		l.settle()
		if l.covered {
			continue
		}
		x.report(e, l)
		t := &l.total
		r.Schedules += t.Schedules
		r.Steps += t.Steps
	}
	x.say(e)
	r.Elapsed = time.Since(x.start)
	return r
}
