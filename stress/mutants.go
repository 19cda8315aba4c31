// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func init() { register(mutantsCmd) }

const (
	// trackSeed makes the track record the same every time.
	trackSeed = 1
	// trackWorkers is how many mutants are hunted at a time.
	trackWorkers = 2
	// canary is the mutant that is always found: where it is not, the suite is broken and no other word counts.
	canary = "canary"
)

// record is a row of the track record.
type record struct {
	Mutant    string        `json:"mutant"`
	Bug       string        `json:"bug"`
	KernelFix string        `json:"kernel_fix"`
	Scenario  string        `json:"scenario"`
	Params    string        `json:"params,omitempty"`
	Era       string        `json:"era"`
	Backend   string        `json:"backend"`
	Memory    string        `json:"memory,omitempty"` // the model of memory; empty: sequentially consistent
	Word      mutant.Word   `json:"word"`
	Why       string        `json:"why"`
	Schedules int           `json:"schedules"` // to the finding, or all that were run
	Verdict   string        `json:"verdict,omitempty"`
	Oracle    string        `json:"oracle,omitempty"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	File      string        `json:"schedule_file,omitempty"`
	// What the smallest failing schedule that was found needs.
	Preemptions int      `json:"preemptions"`
	Faults      string   `json:"faults,omitempty"` // decisions, or the fallible step that fails
	Depth       int      `json:"depth"`            // how many orders of operations bring it about; -1: not known
	Constraints []string `json:"constraints,omitempty"`

	trace string
}

func mutantsCmd() *cobra.Command {
	var only, readme, chooser string
	cmd := &cobra.Command{
		Use:   "mutants",
		Short: "plant every historical bug and see it found: the track record",
		Long: `mutants plants each patch of corpus/mutants in the era that it names, runs the scenario that it names within the
budget that it names, and compares what is found with what it expects; the same search on the era without the
patch must stay clean. KILLED (and CLEAN for a negative control, which no order of events may break) is
good. STALE does not apply, BROKEN does not build, SICK fails without the patch, SURVIVED was not found, WRONG ORACLE
was found by another one. Ends with 0 if all is good.`,
		Example: `  go run ./stress mutants
  go run ./stress mutants --only lockd-run-before-rq-task,canary
  go run ./stress mutants --readme README.md --json mutants.json`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.StringVar(&only, "only", "", "these mutants alone, `ID,...`")
	fs.StringVar(&readme, "readme", "", "write the table into this `FILE`, between the track-record markers")
	fs.StringVar(&chooser, "chooser", "pct", "what draws the schedules of sim, where a mutant does not say: "+explore.Choosers())
	fs.Uint64("seed", trackSeed, "seed of all random choices")
	addOutputs(fs, "the table")
	addJUnit(fs)

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := explore.ParseSpec(chooser); err != nil {
			return usagef("--chooser: %v", err)
		}
		if readme != "" && only != "" {
			return usagef("--readme writes the whole table, --only asks for a part of it; drop one of them")
		}
		if readme != "" {
			if err := checkBlock(readme, "track-record"); err != nil {
				return err
			}
		}
		shop, err := openHere()
		if err != nil {
			return err
		}
		defer shop.close()
		list, err := chosenMutants(shop.mutants, only)
		if err != nil {
			return err
		}
		out, err := openOutputs(cmd, shop.root)
		if err != nil {
			return err
		}
		defer out.discard()
		seed, err := cmd.Flags().GetUint64("seed")
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "seed %d\n", seed)
		h := &hunt{shop: shop, seed: seed, chooser: chooser, store: out.findings, live: newProgress(cmd.ErrOrStderr()), bases: map[string]*base{}}
		rows, err := h.all(cmd.Context(), list)
		h.live.clear()
		if err != nil {
			return err
		}
		if err := printRecords(w, rows); err != nil {
			return err
		}
		if err := errors.Join(out.json.json(w, rows), out.junit.write(w, func(w io.Writer) error { return recordJUnit(w, rows) })); err != nil {
			return err
		}
		if readme != "" {
			if err := replaceBlock(readme, "track-record", recordMarkdown(rows)); err != nil {
				return err
			}
		}
		return judgement(rows)
	}
	return cmd
}

// chosenMutants are those that --only names, all if it is empty.
func chosenMutants(all []*mutant.Mutant, only string) ([]*mutant.Mutant, error) {
	if len(all) == 0 {
		return nil, faultf("corpus/mutants holds no mutants")
	}
	if only == "" {
		return all, nil
	}
	var list []*mutant.Mutant
	for id := range strings.SplitSeq(only, ",") {
		m, err := mutant.Find(all, strings.TrimSpace(id))
		if err != nil {
			return nil, usagef("--only: %v", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// judgement is how the command ends.
func judgement(rows []*record) error {
	good := true
	for _, r := range rows {
		if r.Mutant == canary && r.Word != mutant.KILLED {
			return faultf("the canary is %s, so no other verdict counts: %s", r.Word, r.Why)
		}
		good = good && r.Word.Green()
	}
	if !good {
		return errFinding
	}
	return nil
}

// hunt looks for many mutants.
type hunt struct {
	shop    *workshop
	seed    uint64
	chooser string
	store   *findings
	live    *progress

	bases map[string]*base

	mu    sync.Mutex
	start time.Time
	of    int
	done  int
	last  string     // what was done last, and its word
	now   []activity // what the workers do, in the order in which they began
}

// activity is what somebody does for a mutant.
type activity struct {
	mutant string
	builds string // the tree that it cannot go on without; empty: none
	what   string // that runs
}

// begin notes that a mutant's turn has come, end that it is over.
func (h *hunt) begin(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = append(h.now, activity{mutant: id})
}

func (h *hunt) end(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = slices.DeleteFunc(h.now, func(a activity) bool { return a.mutant == id })
}

// note changes what is known of the activity for a mutant.
func (h *hunt) note(id string, change func(a *activity)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.now {
		if h.now[i].mutant == id {
			change(&h.now[i])
		}
	}
}

// running takes the progress of a search that is made for a mutant.
func (h *hunt) running(id, where string) func(job.Progress) {
	return func(p job.Progress) {
		h.note(id, func(a *activity) { a.what = fmt.Sprintf("%s%s %s", where, p.Chooser, count(int64(p.Schedules))) })
	}
}

// line says how far the hunt is: what is done, and what it waits for.
func (h *hunt) line(building, ready int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	parts := []string{fmt.Sprintf("%d of %d mutants", h.done, h.of)}
	if h.last != "" {
		parts = append(parts, "last "+h.last)
	}
	var runs, waits []string
	for _, a := range h.now {
		switch {
		case a.builds != "":
			waits = append(waits, a.builds)
		case a.what != "":
			runs = append(runs, fmt.Sprintf("%s (%s)", a.mutant, a.what))
		default:
			runs = append(runs, a.mutant)
		}
	}
	if len(runs) > 0 {
		parts = append(parts, fmt.Sprintf("%d running: %s", len(runs), strings.Join(runs, " and ")))
	}
	if len(waits) > 0 {
		parts = append(parts, "waiting for the build of "+strings.Join(waits, " and "))
	}
	if building > 0 || ready > 0 {
		parts = append(parts, fmt.Sprintf("%d building and %d built ahead", building, ready))
	}
	return strings.Join(append(parts, short(time.Since(h.start).Truncate(time.Second))), ", ")
}

// base is a search on an era without a mutant, made once for all that share it, as long as the longest of them.
type base struct {
	job  job.Job
	once sync.Once
	res  *job.Result
	err  error
}

// all hunts the mutants, a few at a time; the builds run ahead.
func (h *hunt) all(ctx context.Context, list []*mutant.Mutant) ([]*record, error) {
	rows := make([]*record, len(list))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := h.plan(list); err != nil {
		return nil, err
	}
	for _, m := range list {
		if err := h.shop.start(plantedIn(m)); err != nil {
			return nil, err
		}
	}
	h.start, h.of = time.Now(), len(list)
	defer h.live.watching(func() string { return h.line(h.shop.building()) })()
	var wg sync.WaitGroup
	var first error
	next := make(chan int)
	for range trackWorkers {
		wg.Go(func() {
			for i := range next {
				h.begin(list[i].ID)
				r, err := h.one(ctx, list[i])
				h.shop.done(plantedIn(list[i]))
				h.end(list[i].ID)
				h.mu.Lock()
				rows[i] = r
				h.done++
				if err != nil && first == nil {
					first = fmt.Errorf("mutant %s: %w", list[i].ID, err)
					cancel()
				}
				h.last = fmt.Sprintf("%s %s", r.Mutant, r.Word)
				h.mu.Unlock()
			}
		})
	}
	for i := range list {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return rows, first
}

func plantedIn(m *mutant.Mutant) planted { return planted{era: m.Era, name: m.ID, patch: m.Diff()} }

// jobOf is the search that a mutant asks for.
func (h *hunt) jobOf(m *mutant.Mutant) (job.Job, error) {
	s, err := scenario.Find(m.Scenario)
	if err != nil {
		return job.Job{}, usagef("%s: %v", m.Path, err)
	}
	p, err := s.ParseParams(m.Params)
	if err != nil {
		return job.Job{}, usagef("%s: %v", m.Path, err)
	}
	plan := job.Plan{Schedules: m.Budget.Schedules, For: m.Budget.For}
	if m.Backend == "sim" {
		plan.Chooser = cmp.Or(m.Chooser, h.chooser)
		if _, err := explore.ParseSpec(plan.Chooser); err != nil {
			return job.Job{}, usagef("%s: Chooser: %v", m.Path, err)
		}
	}
	return job.Job{
		Scenario: m.Scenario, Params: p.String(), Backend: m.Backend, Memory: m.Memory, Seed: h.seed, Plans: []job.Plan{plan},
		Shrink: shrinkRuns, Trace: true,
	}, nil
}

// one hunts one mutant.
func (h *hunt) one(ctx context.Context, m *mutant.Mutant) (*record, error) {
	r := &record{
		Mutant: m.ID, Bug: m.Subject, KernelFix: m.KernelFix, Scenario: m.Scenario, Params: m.Params, Era: m.Era,
		Backend: m.Backend, Memory: m.Memory, Depth: -1,
	}
	j, err := h.jobOf(m)
	if err != nil {
		return r, err
	}
	accepted := func(res *job.Result) bool { return m.Accepts(res.Verdict, res.Oracle) }
	ctx = waitingFor(ctx, func(p planted) func() {
		h.note(m.ID, func(a *activity) { a.builds = p.String() })
		return func() { h.note(m.ID, func(a *activity) { a.builds = "" }) }
	})
	got, err := h.shop.sweep(ctx, plantedIn(m), j, m.Fails(), accepted, h.running(m.ID, ""))
	if err != nil {
		var ok bool
		if r.Word, r.Why, ok = mutant.JudgeError(err); ok {
			return r, nil
		}
		return r, err
	}
	without, err := h.without(ctx, m, j)
	if err != nil {
		return r, err
	}
	r.Word, r.Why = mutant.Judge(m, outcome(without), outcome(got))
	r.Verdict, r.Oracle, r.Schedules, r.Elapsed = got.Verdict, got.Oracle, got.Schedules, got.Elapsed
	if got.Verdict != job.Clean {
		r.Schedules = got.FoundAt
		r.Preemptions, r.Faults, r.Depth, r.Constraints = got.Preemptions, got.Faults, got.Depth, got.Constraints
		if k := got.Job.FailAt; k != 0 {
			r.Faults = strings.TrimPrefix(fmt.Sprintf("%s,step %d fails", r.Faults, k), ",")
		}
		file, err := h.store.save(got)
		if err != nil {
			return r, err
		}
		r.File = scheduleOnly(file)
		r.trace = got.Trace
	}
	return r, nil
}

// plan finds out which searches on eras without a mutant the list needs.
func (h *hunt) plan(list []*mutant.Mutant) error {
	for _, m := range list {
		j, err := h.jobOf(m)
		if err != nil {
			return fmt.Errorf("mutant %s: %w", m.ID, err)
		}
		key, plan := baseKey(m, j), j.Plans[0]
		b := h.bases[key]
		if b == nil {
			j.Shrink = 0
			h.bases[key] = &base{job: j}
			continue
		}
		longest := &b.job.Plans[0]
		longest.Schedules, longest.For = max(longest.Schedules, plan.Schedules), max(longest.For, plan.For)
	}
	return nil
}

// baseKey is the same for searches of which one holds the other. Those that are bounded by another kind of budget
// do not compare.
func baseKey(m *mutant.Mutant, j job.Job) string {
	plan := j.Plans[0]
	return fmt.Sprintf("%s %s %s %s %s %s %v %t %t",
		m.Era, j.Scenario, j.Params, j.Backend, j.Memory, plan.Chooser, m.Fails(), plan.Schedules > 0, plan.For > 0)
}

// without runs the search on the era as it is.
func (h *hunt) without(ctx context.Context, m *mutant.Mutant, j job.Job) (*job.Result, error) {
	b := h.bases[baseKey(m, j)]
	h.note(m.ID, func(a *activity) { a.what = "the search on era " + m.Era })
	b.once.Do(func() {
		b.res, b.err = h.shop.sweep(ctx, planted{era: m.Era}, b.job, m.Fails(), anyFinding, h.running(m.ID, "era "+m.Era+", "))
	})
	return b.res, b.err
}

func outcome(res *job.Result) mutant.Outcome {
	return mutant.Outcome{Verdict: res.Verdict, Oracle: res.Oracle, Sentence: res.Title, Schedules: res.Schedules}
}

// columns are what the two tables show of a row.
func (r *record) columns() []string {
	n := "-"
	if r.Schedules > 0 {
		n = count(int64(r.Schedules))
	}
	where := r.Backend
	if r.Memory != "" {
		where += ", " + r.Memory
	}
	return append([]string{r.Bug, dash(r.KernelFix), strings.TrimSpace(r.Scenario + " " + r.Params), r.Era, where, string(r.Word), n},
		append(r.needs(), dash(r.Oracle))...)
}

// needs are the columns that say what it takes: preemptions, faults, depth. The free back end cannot tell.
func (r *record) needs() []string {
	if r.Verdict == "" || r.Verdict == job.Clean || r.Backend != "sim" {
		return []string{"-", "-", "-"}
	}
	depth := "-"
	if r.Depth >= 0 {
		depth = strconv.Itoa(r.Depth)
	}
	return []string{strconv.Itoa(r.Preemptions), cmp.Or(r.Faults, "none"), depth}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

var recordHead = []string{
	"bug", "kernel fix", "scenario", "era", "back end", "verdict", "schedules", "preemptions", "faults", "depth", "oracle",
}

func printRecords(w io.Writer, rows []*record) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "mutant\t%s\n", strings.Join(recordHead[1:], "\t"))
	good := 0
	for _, r := range rows {
		columns := r.columns()
		columns[0], columns[1] = r.Mutant, clip(columns[1], 24)
		fmt.Fprintln(tw, strings.Join(columns, "\t"))
		if r.Word.Green() {
			good++
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if !r.Word.Green() {
			fmt.Fprintf(w, "\n%s %s: %s\n", r.Word, r.Mutant, r.Why)
			if r.trace != "" {
				fmt.Fprintf(w, "\n%s", r.trace)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%d of %s as they must be\n", good, plural(len(rows), "mutant"))
	return err
}

// clip cuts a text that would make a column too wide for a terminal.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-2]) + ".."
	}
	return s
}

// recordMarkdown is the table of the README.
func recordMarkdown(rows []*record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(recordHead, " | "), strings.Repeat("---|", len(recordHead)))
	for _, r := range rows {
		columns := r.columns()
		columns[0] = fmt.Sprintf("%s (`%s`)", columns[0], r.Mutant)
		for i, c := range columns {
			columns[i] = strings.ReplaceAll(c, "|", "\\|")
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(columns, " | "))
	}
	return b.String()
}

func recordJUnit(w io.Writer, rows []*record) error {
	var cases []report.Case
	for _, r := range rows {
		x := report.Case{Class: "mutants", Name: r.Mutant, Elapsed: r.Elapsed}
		if !r.Word.Green() {
			x.Failure, x.Text = fmt.Sprintf("%s: %s", r.Word, r.Why), r.trace
		}
		cases = append(cases, x)
	}
	return report.JUnit(w, "mutants", cases)
}
