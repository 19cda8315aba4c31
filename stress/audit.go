// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/audit"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/stress/scratch"
)

func init() { register(auditCmd) }

// auditParts are what there is to audit, in the order in which it is done.
var auditParts = []string{"sites", "points", "mutants"}

// auditReport is what --json writes.
type auditReport struct {
	Sites     *audit.Comparison    `json:"sites,omitempty"`
	Points    []*audit.Point       `json:"points,omitempty"`
	Unreached []audit.Unreached    `json:"unreached,omitempty"`
	Mutants   []*audit.Sensitivity `json:"mutants,omitempty"`
	Schedules int                  `json:"schedules,omitempty"` // recorded for points
}

func auditCmd() *cobra.Command {
	a := &auditor{}
	var only string
	var all bool
	cmd := &cobra.Command{
		Use:   "audit [sites] [points] [mutants]",
		Short: "ask whether tasks are interrupted wherever a kernel would",
		Long: `audit looks for scheduling points that are missing. sites compares the locks, atomics, waits and wake-ups of
the port with those of Linux 3.19, function by function. points records runs of every scenario and says in front of
which operations a task was interrupted, where that never can happen and why, and which calls of the port no scenario
reaches. mutants takes the smallest failing schedule of each planted bug and looks for the bug again, without
interrupting a task at the points that the schedule uses: a point without which it is not found is needed.
Without a name it does all three. Ends with 1 if sites has a difference that corpus/audit/sites.csv does not explain.`,
		Example: `  go run ./stress audit
  go run ./stress audit points --schedules 1000 --json points.json
  go run ./stress audit mutants --all`,
		Args: args(0, len(auditParts), "nothing"),
	}
	fs := cmd.Flags()
	fs.IntVar(&a.schedules, "schedules", 30, "how many schedules of each workload to record for points")
	fs.DurationVar(&a.period, "for", time.Minute, "how long to begin with further mutants; those with a large budget are left to --all")
	fs.BoolVar(&all, "all", false, "all mutants, however long it takes")
	fs.StringVar(&only, "only", "", "these mutants alone, `ID,...`")
	fs.Uint64Var(&a.seed, "seed", trackSeed, "seed of all random choices")
	addJSON(fs, "all that was found out")
	cmd.RunE = func(cmd *cobra.Command, parts []string) error {
		switch {
		case a.schedules < 1:
			return usagef("--schedules %d: not a number of runs; write 1 or more", a.schedules)
		case a.period <= 0:
			return usagef("--for %s: not a time to run; write e.g. --for 5m, or --all", a.period)
		case all && cmd.Flags().Changed("for"):
			return usagef("--all and --for are both given; choose one")
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		if err := a.open(cmd, only); err != nil {
			return err
		}
		defer a.shop.close()
		if all || only != "" {
			a.period = 0
		} else {
			a.list = slices.DeleteFunc(a.list, func(m *mutant.Mutant) bool { return m.Budget.Schedules > slowBudget })
		}
		if err := a.perform(cmd.Context(), parts); err != nil {
			return err
		}
		if err := out.json(a.w, a.report); err != nil {
			return err
		}
		if a.report.Sites != nil && len(a.report.Sites.Unexplained) > 0 {
			return errFinding
		}
		return nil
	}
	return cmd
}

// slowBudget is how many schedules a mutant may ask for without being left to --all: it is hunted anew for every point.
const slowBudget = 100_000

// auditor performs the parts and prints what they find.
type auditor struct {
	root      string
	shop      *workshop
	seed      uint64
	schedules int
	list      []*mutant.Mutant
	period    time.Duration // for which further mutants are begun; 0: without end
	w         io.Writer
	live      *progress
	report    auditReport
}

// open reads what the parts work on.
func (a *auditor) open(cmd *cobra.Command, only string) (err error) {
	if a.root, err = moduleRoot(); err != nil {
		return err
	}
	if a.shop, err = openWorkshop(a.root); err != nil {
		return err
	}
	a.w, a.live = cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr())
	a.shop.live = a.live
	a.list, err = a.choose(only)
	return err
}

// perform performs the named parts, all of them if none is named.
func (a *auditor) perform(ctx context.Context, parts []string) error {
	do := []func(context.Context) error{a.sites, a.points, a.mutants}
	for _, part := range parts {
		if !slices.Contains(auditParts, part) {
			return usagef("audit: there is no part %q; choose %s", part, strings.Join(auditParts, ", "))
		}
	}
	for i, part := range auditParts {
		if len(parts) > 0 && !slices.Contains(parts, part) {
			continue
		}
		err := do[i](ctx)
		a.live.clear()
		if err != nil {
			return err
		}
	}
	return nil
}

// choose lists the mutants to look at: those that only names, else every diff once, those first that are quickly seen.
func (a *auditor) choose(only string) ([]*mutant.Mutant, error) {
	var list []*mutant.Mutant
	if only != "" {
		for id := range strings.SplitSeq(only, ",") {
			m, err := mutant.Find(a.shop.mutants, strings.TrimSpace(id))
			if err != nil {
				return nil, usagef("--only: %v", err)
			}
			if m.Backend != "sim" || m.Control {
				return nil, usagef("--only: %s is not found by a schedule of sim; choose another", m.ID)
			}
			list = append(list, m)
		}
		return list, nil
	}
	for _, m := range a.shop.mutants {
		if m.Backend == "sim" && !m.Control && m.SameAs == "" {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(x, y *mutant.Mutant) int {
		return cmp.Or(cmp.Compare(series(x), series(y)), cmp.Compare(x.FailLast, y.FailLast))
	})
	return list, nil
}

// series is 1 for a mutant that needs another era's patches, too.
func series(m *mutant.Mutant) int {
	if m.Era == mutant.TreeEra {
		return 0
	}
	return 1
}

// table writes rows in columns, under a heading.
func (a *auditor) table(title string, rows [][]string) {
	fmt.Fprintf(a.w, "%s\n", title)
	tw := tabwriter.NewWriter(a.w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(tw, "  %s\n", strings.Join(row, "\t"))
	}
	_ = tw.Flush() // of a writer that has told its errors, if any
	fmt.Fprintln(a.w)
}

// sites compares the port with the kernel.
func (a *auditor) sites(context.Context) error {
	facts, err := audit.ReadSites(a.root)
	if err != nil {
		return usagef("%v", err)
	}
	port, err := audit.Source(a.root)
	if scratch.Full(err) != nil {
		return err
	} else if err != nil {
		return faultf("%v", err)
	}
	c := audit.Compare(facts, port)
	a.report.Sites = c
	for _, side := range []struct {
		title string
		list  []*audit.CSite
	}{{"in the kernel and not in the port", c.Missing}, {"in the port and not in the kernel", c.Extra}} {
		rows := [][]string{{"function", "site", "C", "port", "why"}}
		for _, s := range side.list {
			site := strings.TrimSpace(s.Kind + " " + s.Object)
			rows = append(rows, []string{s.Func, site, fmt.Sprint(s.C), fmt.Sprint(s.Port), s.Why})
		}
		a.table(side.title, rows)
	}
	for _, line := range c.Unexplained {
		fmt.Fprintf(a.w, "UNEXPLAINED %s\n", line)
	}
	missing, extra := 0, 0
	for _, s := range c.Missing {
		missing += s.C - s.Port
	}
	for _, s := range c.Extra {
		extra += s.Port - s.C
	}
	fmt.Fprintf(a.w, "sites: %d in %d files of the kernel, %d of them in the port, %d missing and %d extra for a reason, "+
		"%d unexplained\n\n", c.C, len(audit.CFiles), c.Same, missing, extra, len(c.Unexplained))
	return nil
}

// workloads are the scenarios as they are, with each parameter at its bounds, and as the mutants run them.
func (a *auditor) workloads() []audit.Workload {
	var loads []audit.Workload
	add := func(w audit.Workload) {
		if !slices.Contains(loads, w) {
			loads = append(loads, w)
		}
	}
	for _, s := range scenario.All() {
		add(audit.Workload{Scenario: s.Name})
		for _, p := range s.Params {
			for _, n := range []int{p.Min, p.Max} {
				if n != p.Default {
					add(audit.Workload{Scenario: s.Name, Params: fmt.Sprintf("%s=%d", p.Name, n)})
				}
			}
		}
	}
	for _, m := range a.shop.mutants {
		add(audit.Workload{Scenario: m.Scenario, Params: m.Params, FailLast: m.FailLast})
	}
	return loads
}

// points records runs.
func (a *auditor) points(ctx context.Context) error {
	port, err := audit.Source(a.root)
	if scratch.Full(err) != nil {
		return err
	} else if err != nil {
		return faultf("%v", err)
	}
	loads := a.workloads()
	c, err := audit.Collect(ctx, loads, a.schedules, a.seed, func(c *audit.Collector) {
		a.live.show("points: %d of %d schedules recorded", c.Schedules, len(loads)*a.schedules)
	})
	a.live.clear()
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return faultf("%v", err)
	}
	a.report.Points, a.report.Unreached, a.report.Schedules = c.Points(), c.Unreached(port), c.Schedules
	rows := [][]string{{"executed", "at", "operation", "why"}}
	executed, could, were, others := 0, 0, 0, 0
	for _, p := range a.report.Points {
		if !p.Port() {
			others++
			continue
		}
		executed++
		if p.Choices > 0 {
			could++
		}
		if p.Interrupted > 0 {
			were++
		}
		if why := p.Why(); why != "" {
			rows = append(rows, []string{fmt.Sprint(p.Executed), fmt.Sprintf("%s:%d", p.File, p.Line), p.Op + " " + p.Cell, why})
		}
	}
	a.table("performed, and no task was ever about to be interrupted there", rows)
	a.table("visible calls in the source that no workload performed", unreachedRows(a.report.Unreached))
	visible := 0
	for _, s := range port {
		if s.Visible {
			visible++
		}
	}
	fmt.Fprintf(a.w, "points: %s schedules of %d workloads, %s operations; the port has %d points: interrupted at %d, "+
		"can be at %d, never at %d\n", count(int64(c.Schedules)), len(loads), count(c.Steps), executed, were, could,
		executed-could)
	fmt.Fprintf(a.w, "calls: %d visible calls in the source of the port, %d performed, %d not; "+
		"%d points in sockets and harness\n\n", visible, visible-len(a.report.Unreached), len(a.report.Unreached), others)
	return nil
}

// unreachedRows has one row for each function.
func unreachedRows(list []audit.Unreached) [][]string {
	rows := [][]string{{"in", "at", "calls", "why"}}
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].File == list[i].File && list[j].Func == list[i].Func {
			j++
		}
		at := fmt.Sprintf("%s:%d", list[i].File, list[i].Line)
		rows = append(rows, []string{list[i].Func, at, fmt.Sprint(j - i), list[i].Why})
		i = j
	}
	return rows
}

// mutants looks which points the planted bugs need.
func (a *auditor) mutants(ctx context.Context) error {
	h := &hunt{shop: a.shop, seed: a.seed, chooser: "pct", live: a.live}
	began, start := 0, time.Now()
	var stopped error // by the user, who still gets what there is
	for _, m := range a.list {
		if err := a.shop.start(plantedIn(m)); err != nil {
			return err
		}
	}
	for _, m := range a.list {
		if a.period > 0 && time.Since(start) > a.period {
			break
		}
		began++
		s, err := a.sense(ctx, h, m)
		a.shop.done(plantedIn(m))
		if stopped = ctx.Err(); stopped != nil {
			began--
			break
		}
		if err != nil {
			word, why, ok := mutant.JudgeError(err)
			if !ok {
				return err
			}
			s = &audit.Sensitivity{Name: m.ID, Why: fmt.Sprintf("%s: %s", word, why)}
		}
		a.report.Mutants = append(a.report.Mutants, s)
	}
	a.live.clear()
	rows := [][]string{{"mutant", "found at", "without interrupting at", "it is"}}
	needed, replaceable := 0, 0
	for _, s := range a.report.Mutants {
		rows = append(rows, needRows(s)...)
		for _, n := range s.Needs {
			switch {
			case len(n.Points) > 1:
			case n.Needed():
				needed++
			default:
				replaceable++
			}
		}
	}
	a.table("what the planted bugs need", rows)
	rest := ""
	if began < len(a.list) {
		rest = "; give --all or a longer --for for the rest"
	}
	fmt.Fprintf(a.w, "mutants: %d of %d looked at, %s needed, %d replaceable%s\n", began, len(a.list),
		plural(needed, "point"), replaceable, rest)
	return stopped
}

// needRows are the rows of one bug.
func needRows(s *audit.Sensitivity) [][]string {
	at := count(int64(s.FoundAt))
	switch {
	case s.Why != "":
		return [][]string{{s.Name, "-", "-", s.Why}}
	case s.FoundAt == 0:
		return [][]string{{s.Name, "-", "-", "not found within its budget"}}
	case len(s.Needs) == 0:
		return [][]string{{s.Name, at, "-", "found without any interruption"}}
	}
	var rows [][]string
	for _, n := range s.Needs {
		verdict := fmt.Sprintf("replaceable: found at %s", count(int64(n.FoundAt)))
		if n.Needed() {
			verdict = fmt.Sprintf("needed: not found in %s", count(int64(n.Tried)))
		}
		where := n.Points[0]
		if len(n.Points) > 1 {
			where = "all of these"
		}
		rows = append(rows, []string{s.Name, at, where, verdict})
	}
	for _, row := range rows[1:] {
		row[0], row[1] = "", ""
	}
	return rows
}

// sense looks which points one planted bug needs.
func (a *auditor) sense(ctx context.Context, h *hunt, m *mutant.Mutant) (*audit.Sensitivity, error) {
	j, err := h.jobOf(m)
	if err != nil {
		return nil, err
	}
	p := plantedIn(m)
	find := func(ctx context.Context, j job.Job) (*job.Result, error) {
		accepted := func(res *job.Result) bool { return m.Accepts(res.Verdict, res.Oracle) }
		return a.shop.sweep(ctx, p, j, m.Fails(), accepted, a.live.job(m.ID))
	}
	run := func(ctx context.Context, j job.Job) (*job.Result, error) {
		return a.shop.run(ctx, p, j, a.live.job(m.ID+" without "+strings.Join(j.NoPreempt, ", ")))
	}
	return audit.Sense(ctx, m.ID, j, find, run)
}
