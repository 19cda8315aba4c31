// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/portfolio"
)

// workshop makes trees: the one that this command was built from, and scratch builds with an era and a patch.
type workshop struct {
	root    string
	eras    mutant.Eras
	mutants []*mutant.Mutant // the track record
	orders  []*mutant.Mutant // the ways to start a thread, of the verdict
	live    *progress        // where builds show; may be nil

	mu   sync.Mutex
	pool *mutant.Pool
}

// openHere opens the workshop of the module that the working directory is in. Close it.
func openHere() (*workshop, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	return openWorkshop(root)
}

// openPlanted is openHere with a tree planted in it, and the files open that the flags of the command name. Close the
// one, discard the others.
func openPlanted(cmd *cobra.Command, name, era string) (*workshop, planted, *outputs, error) {
	shop, err := openHere()
	if err != nil {
		return nil, planted{}, nil, err
	}
	tree, err := shop.plant(name, era)
	if err == nil {
		var out *outputs
		if out, err = openOutputs(cmd, shop.root); err == nil {
			return shop, tree, out, nil
		}
	}
	shop.close()
	return nil, planted{}, nil, err
}

// openWorkshop reads the patches of corpus. Close it.
func openWorkshop(root string) (*workshop, error) {
	w := &workshop{root: root, eras: mutant.Eras{}}
	corpus := filepath.Join(root, "corpus")
	read := func(what string, load func(dir string) error) error {
		err := load(filepath.Join(corpus, what))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return usagef("%s", strings.ReplaceAll(err.Error(), root+string(filepath.Separator), ""))
	}
	return w, errors.Join(
		read("eras", func(dir string) (err error) {
			eras, err := mutant.LoadEras(dir)
			if err == nil {
				w.eras = eras
			}
			return err
		}),
		read("mutants", func(dir string) (err error) { w.mutants, err = mutant.Load(dir); return err }),
		read("orders", func(dir string) (err error) { w.orders, err = mutant.Load(dir); return err }),
	)
}

// close removes what the workshop made.
func (w *workshop) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool != nil {
		_ = w.pool.Close()
		w.pool = nil
	}
}

// planted is what a tree differs in from the one on disk.
type planted struct {
	era   string        // mutant.TreeEra if none
	name  string        // of the patch, as a schedule file keeps it: ID or file; empty: none
	patch *mutant.Patch // nil: none
	race  bool          // built with the race detector
}

func (p planted) request() mutant.Request {
	return mutant.Request{Era: p.era, Mutant: p.patch, Race: p.race}
}

// plain says that it is the tree on disk, as this command was built.
func (p planted) plain() bool { return p.patch == nil && p.era == mutant.TreeEra && !p.race }

// String is the form for a person.
func (p planted) String() string {
	s := "era " + p.era
	if p.name != "" {
		s = p.name + " on " + s
	}
	if p.race {
		s += ", with the race detector"
	}
	return s
}

// plant reads what --mutant and --era say. name is a mutant's ID or a patch file; an empty era is that of
// the mutant.
func (w *workshop) plant(name, era string) (planted, error) {
	p := planted{era: era}
	if name != "" {
		all := append(slices.Clone(w.mutants), w.orders...)
		if m, err := mutant.Find(all, name); err == nil {
			p.name, p.patch = m.ID, m.Diff()
			if p.era == "" {
				p.era = m.Era
			}
		} else if looksLikeFile(name) {
			file := name
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(file) {
				file = filepath.Join(w.root, file) // as a schedule file names it
			}
			patch, err := mutant.ReadPlain(file)
			if err != nil {
				return p, usagef("%s", strings.ReplaceAll(err.Error(), file, name))
			}
			p.name, p.patch = w.fileName(file), patch
		} else {
			return p, err
		}
	}
	if p.era == "" {
		p.era = mutant.TreeEra
	}
	if _, err := w.eras.Series(p.era); err != nil {
		return p, usagef("%v", err)
	}
	return p, nil
}

// looksLikeFile tells a patch file from an ID.
func looksLikeFile(name string) bool {
	if strings.ContainsRune(name, filepath.Separator) || slices.Contains([]string{".patch", ".diff", ".eml", ".mbox"}, filepath.Ext(name)) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// fileName is a file as a schedule file keeps it: from the root of the module where that is possible.
func (w *workshop) fileName(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	if rel, err := filepath.Rel(w.root, abs); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return abs
}

// thePool is the pool of builds.
func (w *workshop) thePool() (*mutant.Pool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool == nil {
		pool, err := mutant.NewPool(w.root, mutant.Options{Eras: w.eras})
		if err != nil {
			return nil, err
		}
		w.pool = pool
	}
	return w.pool, nil
}

// start begins to build a tree beside other work.
func (w *workshop) start(p planted) error {
	if p.plain() {
		return nil
	}
	pool, err := w.thePool()
	if err != nil {
		return err
	}
	pool.Start(p.request())
	return nil
}

// building is how many builds are under way, and how many are ready for somebody who has not come for them.
func (w *workshop) building() (now, ready int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool == nil {
		return 0, 0
	}
	return w.pool.Building()
}

// done says that a tree that start was called for is needed no more.
func (w *workshop) done(p planted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool != nil && !p.plain() {
		w.pool.Done(p.request())
	}
}

// run runs a job on a tree, which is built if it has to be. The error is one of wrong use, of a patch that does not
// fit, the end of ctx, or a fault.
func (w *workshop) run(ctx context.Context, p planted, j job.Job, show func(job.Progress)) (*job.Result, error) {
	j.Era, j.Mutant = p.era, p.name
	var res *job.Result
	if p.plain() {
		var err error
		if res, err = portfolio.Execute(ctx, j, show); err != nil {
			return res, err
		}
	} else {
		pool, err := w.thePool()
		if err != nil {
			return nil, err
		}
		waits, ok := ctx.Value(waitsKey{}).(func(planted) func())
		if !ok {
			waits = func(p planted) func() { return w.live.waiting("building %s", p) }
		}
		stop := waits(p)
		v, err := pool.Get(ctx, p.request())
		stop()
		if err != nil {
			return nil, err
		}
		if res, err = runVariant(ctx, v, j, show); err != nil {
			return nil, err
		}
	}
	switch {
	case res.Refused != "":
		return nil, &job.UsageError{What: res.Refused}
	case res.Fault != "":
		return res, faultf("%s", res.Fault)
	case res.Unequal > 0:
		return res, faultf("%s: %d of %d schedules ran differently the second time", j.Scenario, res.Unequal, res.Schedules)
	}
	return res, nil
}

type waitsKey struct{}

// waitingFor has waits told when somebody waits for a build, in the place of the line of progress; what it returns is
// called when the build is over.
func waitingFor(ctx context.Context, waits func(p planted) (over func())) context.Context {
	return context.WithValue(ctx, waitsKey{}, waits)
}

// sweep runs a job once for each fallible step that is to fail, and returns the first result that good accepts; else the
// first one with a finding, else one that adds them all up. No steps stand for one run in which none fails.
func (w *workshop) sweep(ctx context.Context, p planted, j job.Job, steps []int, good func(*job.Result) bool,
	show func(job.Progress)) (*job.Result, error) {
	if len(steps) == 0 {
		return w.run(ctx, p, j, show)
	}
	var found *job.Result
	var sum job.Result
	for _, k := range steps {
		j.FailAt = k
		res, err := w.run(ctx, p, j, show)
		if err != nil {
			return res, err
		}
		before := sum.Schedules
		add(&sum, res)
		if res.Verdict == job.Clean {
			continue
		}
		res.FoundAt += before
		res.Schedules, res.Steps, res.Elapsed = sum.Schedules, sum.Steps, sum.Elapsed
		if good(res) {
			return res, nil
		}
		if found == nil {
			found = res
		}
	}
	if found != nil {
		return found, nil
	}
	j.FailAt = 0
	sum.Job, sum.Verdict = j, job.Clean
	sum.Job.Era, sum.Job.Mutant = p.era, p.name
	return &sum, nil
}

// add adds what a search covered to sum.
func add(sum, res *job.Result) {
	sum.Schedules += res.Schedules
	sum.Steps += res.Steps
	sum.Elapsed += res.Elapsed
	sum.Explored = cmp.Or(res.Explored, sum.Explored)
	for _, c := range res.Coverage {
		i := slices.IndexFunc(sum.Coverage, func(have job.Coverage) bool { return have.Chooser == c.Chooser })
		if i < 0 {
			sum.Coverage = append(sum.Coverage, c)
			continue
		}
		have := &sum.Coverage[i]
		have.Schedules += c.Schedules
		have.States += c.States
		have.Exhausted = have.Exhausted && c.Exhausted
		have.MaxTasks, have.MaxSteps = max(have.MaxTasks, c.MaxTasks), max(have.MaxSteps, c.MaxSteps)
	}
}

// anyFinding accepts the first finding of a sweep.
func anyFinding(*job.Result) bool { return true }

// runVariant runs one job in a runner.
func runVariant(ctx context.Context, v *mutant.Variant, j job.Job, show func(job.Progress)) (*job.Result, error) {
	var res *job.Result
	err := v.Run(ctx, []job.Job{j}, limit(j), func(raw json.RawMessage) error {
		var line job.Line
		if err := json.Unmarshal(raw, &line); err != nil {
			return faultf("the runner's line cannot be read: %v", err)
		}
		if line.Progress != nil && show != nil {
			show(*line.Progress)
		}
		if line.Result != nil {
			res = line.Result
		}
		return nil
	})
	if err == nil && res == nil {
		return nil, faultf("the runner ended without a result")
	}
	return res, err
}

// limit is how long a runner may take for a job before it counts as stuck; 0 if nothing bounds the job.
func limit(j job.Job) time.Duration {
	total := 5 * time.Minute // to shrink and to draw
	for _, plan := range j.Plans {
		if plan.For == 0 {
			return 0
		}
		total += 2 * plan.For
	}
	if e := j.Explore; e != nil {
		if e.For == 0 || e.MaxFindings == 0 {
			return 0
		}
		total += 2*e.For + time.Duration(e.MaxFindings)*total
	}
	return total
}

// coverage says in words what a clean search covered.
func coverage(res *job.Result) string {
	var exhausted, sampled []string
	for _, c := range res.Coverage {
		n := count(int64(c.Schedules))
		kind, _, _ := strings.Cut(c.Chooser, ":")
		switch {
		case kind == "dpor" || kind == "sdpor":
			if c.Exhausted {
				exhausted = append(exhausted, fmt.Sprintf("every trace, by %s in %s runs", kind, n))
			} else {
				sampled = append(sampled, fmt.Sprintf("%s runs of %s, which did not come to its end", n, kind))
			}
		case c.Exhausted && kind == "delayall":
			exhausted = append(exhausted, fmt.Sprintf("all schedules with up to %s (%s)", plural(c.Bound, "delay"), n))
		case c.Exhausted:
			exhausted = append(exhausted, fmt.Sprintf("all schedules with up to %s (%s)", plural(c.Bound, "preemption"), n))
		case strings.HasPrefix(c.Chooser, "bounded"):
			sampled = append(sampled, fmt.Sprintf("%s schedules of those with up to %s", n, plural(c.Bound, "preemption")))
		case c.Chooser == "free":
			sampled = append(sampled, n+" runs on real goroutines")
		default:
			sampled = append(sampled, fmt.Sprintf("%s schedules drawn by %s", n, c.Chooser))
		}
	}
	return strings.Join(append(exhausted, sampled...), ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
