// SPDX-License-Identifier: MIT

// Package verdict answers the question of 2014 for every way to start the thread: it plants each order of
// "create, store rq_task, wake" into each era of the core, explores the start of lockd and of the NFSv4.0
// callback service, and compares what it finds with what the kernel's developers said.
package verdict

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
)

// Row is one line of the matrix.
type Row struct {
	Service         string `json:"service"` // lockd or callback0
	Order           string `json:"order"`
	Era             string `json:"era"`
	Verdict         string `json:"verdict"`
	Oracle          string `json:"oracle"`
	Schedules       int    `json:"schedules"`        // to the first failure, or all that were run
	PreemptionBound int    `json:"preemption_bound"` // up to which all schedules were covered; -1: none
	Exhausted       bool   `json:"exhausted"`        // the bound that is asked for was covered
	Expected        string `json:"expected"`
	OK              bool   `json:"ok"`
	ScheduleFile    string `json:"schedule_file"` // of a failing row

	Says        string         `json:"says"`        // who said what to expect
	Scope       string         `json:"scope"`       // what the largest bound was covered for, if not for the whole scenario
	Title       string         `json:"title"`       // of the finding
	Preemptions int            `json:"preemptions"` // of the minimal interleaving
	Elapsed     time.Duration  `json:"elapsed_ns"`
	Trace       string         `json:"-"`
	Covered     []job.Coverage `json:"coverage"`

	capped  bool // a bound was not covered: the row's bound is at most ceiling
	ceiling int
}

// The orders of the lines that start a thread.
const (
	CreateStoreWake   = "create-store-wake" // the fix of 2014, and the tree
	RunThenStore      = "run-then-store"
	RunNeverStore     = "run-never-store"
	ChainedRun        = "chained-run"
	ChainedCreateWake = "chained-create-wake"
	ChooseVictim      = "choose-victim" // not an order: the other reader of rq_task
)

var (
	orders = []string{CreateStoreWake, RunThenStore, RunNeverStore, ChainedRun, ChainedCreateWake}
	eras   = []string{"3.17", "3.18", "3.18-no-net", mutant.TreeEra}
)

// expect says which verdict a row must have and whose word that is.
func expect(order, era string) (verdict, says string) {
	switch {
	case order == ChooseVictim:
		return "leak", "thread: \"an rq_task use in choose_victim()\"; core: a NULL rq_task ends the search for victims"
	case order == CreateStoreWake:
		return job.Clean, "thread: the fix"
	case order == ChainedCreateWake:
		return job.Clean, "thread: \"fine if you call kthread_create()\""
	case era == "3.17":
		return job.Clean, "thread: \"not needed until ... the new sunrpc server scalability stuff\""
	case era == "3.18":
		return "warning", "core: svc_recv of 983c684466e0 warns and stores the task itself"
	case order == ChainedRun:
		return "oops", "thread: \"if you stick with kthread_run(), ... still the same atomicity issue\""
	}
	return "oops", "thread: \"an Oopsable race\""
}

// bound is how many preemptions must be covered completely: two for the fix in the tree, one elsewhere.
func bound(order, era string) int {
	if order == CreateStoreWake && era == mutant.TreeEra {
		return 2
	}
	return 1
}

// Config of a matrix.
type Config struct {
	Root     string // of the module
	Findings string // folder for the schedules of failing rows
	Seed     uint64
	Samples  int           // PCT schedules a row
	Limit    time.Duration // of one row's search
	Deep     bool          // cover the large bound for the whole scenario, also where that takes minutes
	Jobs     int           // rows searched at a time
	// Done is called after each row, from one goroutine at a time. May be nil.
	Done func(r *Row, n, of int)
}

// cell is one run of a build and the rows that it fills.
type cell struct {
	order, era string
	rows       []*Row
	jobs       []job.Job
	rowOf      []*Row // of each job; a row's jobs stand together
	filled     int    // how many jobs have their result
}

// cells lists the runs in the order in which their builds are made, and all rows in the order of the table.
func (c *Config) cells() (cells []*cell, rows []*Row) {
	for _, era := range []string{mutant.TreeEra, "3.18-no-net", "3.18", "3.17"} {
		for _, order := range orders {
			// One build serves both services; they are explored beside each other.
			callback, lockd := &cell{order: order, era: era}, &cell{order: order, era: era}
			callback.add(c, "callback0", order, "callback-start", "minor=0,clients=1,ipv6=0")
			lockd.add(c, "lockd", order, "lockd-start", "clients=1,proto=0")
			if order == CreateStoreWake {
				lockd.add(c, "lockd", ChooseVictim, "careless-admin", "mutex=0")
			}
			cells = append(cells, callback, lockd)
		}
	}
	for _, era := range eras {
		for _, order := range append(orders[:len(orders):len(orders)], ChooseVictim) {
			for _, service := range []string{"lockd", "callback0"} {
				for _, b := range cells {
					for _, r := range b.rows {
						if r.Era == era && r.Order == order && r.Service == service {
							rows = append(rows, r)
						}
					}
				}
			}
		}
	}
	return cells, rows
}

func (b *cell) add(c *Config, service, order, scenario, params string) {
	r := &Row{Service: service, Order: order, Era: b.era, PreemptionBound: -1, Verdict: job.Clean}
	r.Expected, r.Says = expect(order, b.era)
	b.rows = append(b.rows, r)
	plans := []job.Plan{{Chooser: "pct", Schedules: c.Samples}}
	for n := 1; n <= bound(order, b.era); n++ {
		plan := job.Plan{Chooser: fmt.Sprintf("bounded:n=%d", n), For: c.Limit}
		if n > 1 && service == "callback0" && !c.Deep {
			// A whole call over TCP has a million schedules with two preemptions; the connection that wakes the
			// thread has sixty thousand.
			r.Scope = "with a call up to 1 preemption, with a connection alone"
			b.job(c, r, scenario, params, plans)
			params, plans = params+",requests=0", nil
		}
		plans = append(plans, plan)
	}
	b.job(c, r, scenario, params, plans)
}

func (b *cell) job(c *Config, r *Row, scenario, params string, plans []job.Plan) {
	planted := ""
	if b.order != CreateStoreWake {
		planted = b.order
	}
	want := ""
	if r.Order == ChooseVictim {
		want = "victim" // not what else goes wrong without the mutex
	}
	b.rowOf = append(b.rowOf, r)
	b.jobs = append(b.jobs, job.Job{
		Scenario: scenario, Params: params, Backend: "sim", Era: b.era, Mutant: planted,
		Seed: c.Seed, Plans: plans, Want: want, Shrink: 3000, Trace: true,
	})
}

// Run computes the matrix. The error is a fault of the suite or the end of ctx; an unexpected verdict is a row.
func Run(ctx context.Context, c Config) ([]*Row, error) {
	list, err := mutant.Load(filepath.Join(c.Root, "corpus", "orders"))
	if err != nil {
		return nil, err
	}
	eraPatches, err := mutant.LoadEras(filepath.Join(c.Root, "corpus", "eras"))
	if err != nil {
		return nil, err
	}
	pool, err := mutant.NewPool(c.Root, mutant.Options{Eras: eraPatches})
	if err != nil {
		return nil, err
	}
	defer func() { _ = pool.Close() }()
	cells, rows := c.cells()
	requests := make([]mutant.Request, len(cells))
	for i, b := range cells {
		requests[i] = mutant.Request{Era: b.era}
		if b.order != CreateStoreWake {
			m, err := mutant.Find(list, b.order)
			if err != nil {
				return nil, err
			}
			requests[i].Mutant = m.Diff()
		}
		pool.Start(requests[i])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		first error
		done  int
	)
	slots := make(chan struct{}, max(c.Jobs, 1))
	for i, b := range cells {
		slots <- struct{}{} // in their order, so that few builds have to be kept
		wg.Go(func() {
			defer func() { <-slots }()
			v, err := pool.Get(ctx, requests[i])
			defer pool.Done(requests[i])
			if err == nil {
				err = b.run(ctx, v, func(r *Row) {
					mu.Lock()
					defer mu.Unlock()
					done++
					if c.Done != nil {
						c.Done(r, done, len(rows))
					}
				})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = fmt.Errorf("era %s, order %s: %w", b.era, b.order, err)
				cancel()
			}
		})
	}
	wg.Wait()
	if first != nil {
		return nil, first
	}
	return rows, c.write(rows)
}

// run explores the rows of one build.
func (b *cell) run(ctx context.Context, v *mutant.Variant, done func(r *Row)) error {
	b.filled = 0
	err := v.Run(ctx, b.jobs, 10*time.Minute, func(raw json.RawMessage) error { return b.take(raw, done) })
	if err == nil && b.filled < len(b.jobs) {
		return &mutant.FaultError{What: fmt.Sprintf("the runner printed %d results for %d jobs", b.filled, len(b.jobs))}
	}
	return err
}

// take reads one line of a runner.
func (b *cell) take(raw json.RawMessage, done func(r *Row)) error {
	var line job.Line
	if err := json.Unmarshal(raw, &line); err != nil {
		return &mutant.FaultError{What: "the runner's line cannot be read: " + err.Error()}
	}
	if line.Result == nil {
		return nil
	}
	i := b.filled
	if i == len(b.jobs) {
		return &mutant.FaultError{What: "the runner printed more results than it was given jobs"}
	}
	b.rowOf[i].fill(line.Result)
	if b.filled++; b.filled == len(b.jobs) || b.rowOf[i+1] != b.rowOf[i] {
		done(b.rowOf[i])
	}
	return nil
}

// fill takes over what a job found. The first job of a row that finds something decides it.
func (r *Row) fill(res *job.Result) {
	r.Elapsed += res.Elapsed
	r.Covered = append(r.Covered, res.Coverage...)
	for _, c := range res.Coverage {
		switch {
		case !strings.HasPrefix(c.Chooser, "bounded"):
		case !c.Exhausted: // what a larger bound covers elsewhere does not make up for it
			r.capped, r.ceiling = true, c.Bound-1
			r.PreemptionBound = min(r.PreemptionBound, r.ceiling)
		case !r.capped || c.Bound <= r.ceiling:
			r.PreemptionBound = max(r.PreemptionBound, c.Bound)
		}
	}
	if r.Verdict == job.Clean {
		r.Verdict, r.Oracle, r.Title = res.Verdict, res.Oracle, res.Title
		if res.Fault != "" {
			r.Verdict, r.Title = "fault", res.Fault
		}
		r.Preemptions, r.Trace = res.Preemptions, res.Trace
		if res.FoundAt > 0 {
			r.ScheduleFile = res.Schedule // its text, until write gives it a file
			r.Schedules += res.FoundAt
		} else {
			r.Schedules += res.Schedules
		}
	}
	r.Exhausted = r.PreemptionBound >= bound(r.Order, r.Era)
	r.OK = r.Verdict == r.Expected && res.Fault == "" && (r.Verdict != job.Clean || r.Exhausted)
}

// write puts the schedules of failing rows into files.
func (c *Config) write(rows []*Row) error {
	for _, r := range rows {
		if r.ScheduleFile == "" {
			continue
		}
		if err := os.MkdirAll(c.Findings, 0o755); err != nil {
			return err
		}
		name := filepath.Join(c.Findings, fmt.Sprintf("%s-%s-%s.schedule", r.Service, r.Order, r.Era))
		if err := os.WriteFile(name, []byte(r.ScheduleFile), 0o644); err != nil {
			return err
		}
		if rel, err := filepath.Rel(c.Root, name); err == nil && !strings.HasPrefix(rel, "..") {
			name = rel
		}
		r.ScheduleFile = name
		r.Trace = job.Named(r.Trace, name)
	}
	return nil
}

// covered says how much of a row's schedules was run.
func (r *Row) covered() string {
	if r.Verdict != job.Clean {
		return fmt.Sprintf("found at schedule %d", r.Schedules)
	}
	if r.PreemptionBound < 0 {
		return fmt.Sprintf("sampled, %d schedules", r.Schedules)
	}
	s := fmt.Sprintf("all up to %d preemptions", r.PreemptionBound)
	if r.Scope != "" {
		s = r.Scope + " up to " + strconv.Itoa(r.PreemptionBound)
	}
	return fmt.Sprintf("%s, %d schedules", s, r.Schedules)
}
