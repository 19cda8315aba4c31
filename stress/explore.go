// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/portfolio"
	"github.com/seed17199236/svcfuzz/stress/report"
)

func init() { register(exploreCmd) }

const (
	defaultExplore  = time.Minute // how long explore runs when nothing is said
	defaultFindings = 10          // after how many it stops
)

// exploreFlags are the flags of explore.
type exploreFlags struct {
	params, mutant, era string
	shard               string
	memory              string
	first, detect       bool
	limit               budget
	e                   job.Explore
}

// explored is what --json writes.
type explored struct {
	*job.Result
	ScheduleFiles []string `json:"schedule_files,omitempty"` // of the findings, in their order
	State         string   `json:"state,omitempty"`
}

func exploreCmd() *cobra.Command {
	var f exploreFlags
	cmd := &cobra.Command{
		Use:   "explore SCENARIO",
		Short: "ask whether any interleaving of a scenario fails, and say how far the answer reaches",
		Long: `explore runs several searches beside each other on all cores. dpor runs one schedule of every trace (schedules
that differ in the order of independent steps only are one trace): if it ends in time, that is a proof for this scenario
and these parameters. bounded runs all schedules with no preemption, then with one, two and so on. The others draw
schedules: pos, pct, surw, and feedback, which goes on from schedules that showed something new.

Without a proof it says what each search can say for itself: the number of traces, estimated, and the part that was
seen; the probability that pct has missed a bug that needs so many ordering constraints; the probability that the next
schedule of a sampler is of a trace that it has not seen. No two of these numbers mean the same.

The search goes on after a finding; each different one is made small, drawn and kept. After --for that takes half as
long again at most, but 10 s are always granted; what is not small by then is kept as it is and says so. Findings and
progress are in the state folder at every moment: explore --resume goes on after an interruption or a crash; dpor,
bounded and feedback, which build on all that they have run, then run that part again.`,
		Example: `  go run ./stress explore lockd-start
  go run ./stress explore lockd-start --params clients=2 --for 10m
  go run ./stress explore lockd-start --mutant lockd-run-before-rq-task --era 3.18 --first
  go run ./stress explore callback-start --faults timer=1,alloc=1
  go run ./stress explore lockd-start --seed 7 --schedules 1000000 --shard 2/8
  go run ./stress explore 'cont(4)' --json -`,
		Args: args(1, 1, "the SCENARIO (stress list names them)"),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.params, "params", "", "parameters of the scenario, `k=v,...`")
	fs.StringVar(&f.mutant, "mutant", "", "plant this bug: a mutant's `ID`, or a patch file")
	fs.StringVar(&f.era, "era", "", "era of the core (default: that of the mutant, else the tree's)")
	fs.StringSliceVar(&f.e.Searches, "search", nil, "searches in place of the usual ones, with "+
		"commas; pct+timer=1 is one in whose runs that may happen")
	fs.StringVar(&f.e.Faults, "faults", "", "what else may happen in a run, and how often, `KIND=N,...`: timer, "+
		"spurious, alloc, read, rcu, signal; a search each")
	fs.BoolVar(&f.detect, "detect", false, "report data races as well")
	fs.StringVar(&f.memory, "memory", job.MemorySC, "memory `MODEL`: sc, tso or weak, as for run")
	fs.BoolVar(&f.first, "first", false, "stop at the first finding")
	fs.IntVar(&f.e.MaxFindings, "max-findings", defaultFindings, "stop after so many different findings; 0: never")
	fs.IntVar(&f.e.Workers, "workers", 0, "how many machines run beside each other (default: one a core)")
	fs.StringVar(&f.shard, "shard", "", "run this part of the schedules only, `I/N`; needs --seed and --schedules")
	fs.StringVar(&f.e.State, "state", "", "`DIR` for findings and progress (default: findings/explore-SCENARIO-HASH)")
	fs.BoolVar(&f.e.Resume, "resume", false, "go on with the exploration in the state folder")
	f.limit.add(fs, "schedules in all")
	addSeed(fs)
	addJSON(fs, "the result")
	addJUnit(fs)
	addHTML(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) }
	return cmd
}

// job makes the job that the flags ask for, all but its state folder and its seed.
func (f *exploreFlags) job(cmd *cobra.Command, name string) (job.Job, error) {
	j := job.Job{Scenario: name, Params: f.params, Backend: "sim", Explore: &f.e}
	j.Shrink, j.Trace, j.HTML = shrinkRuns, true, true
	t, err := job.FindTarget(name, f.params)
	if err != nil {
		return j, err
	}
	j.Scenario, j.Params = t.Name, t.Params
	if err := machineFlags(&j, f.detect, f.memory); err != nil {
		return j, err
	}
	given, err := f.limit.check(cmd)
	if err != nil {
		return j, err
	}
	f.e.Schedules, f.e.For = f.limit.schedules, f.limit.period
	if !given {
		f.e.For = defaultExplore
	}
	changed := cmd.Flags().Changed
	switch {
	case f.e.MaxFindings < 0:
		return j, usagef("--max-findings %d: not a number of findings; write 0 or more", f.e.MaxFindings)
	case changed("workers") && f.e.Workers < 1:
		return j, usagef("--workers %d: nobody would work; write 1 or more", f.e.Workers)
	case f.first && changed("max-findings"):
		return j, usagef("--first and --max-findings are both given; choose one")
	}
	if f.first {
		f.e.MaxFindings = 1
	}
	if f.shard == "" {
		return j, nil
	}
	if n, err := fmt.Sscanf(f.shard+" ", "%d/%d ", &f.e.Shard, &f.e.Shards); n != 2 || err != nil || f.e.Shards < 1 ||
		f.e.Shard < 1 || f.e.Shard > f.e.Shards {
		return j, usagef("--shard %s: names no part; write 1/4 up to 4/4 for four parts", f.shard)
	}
	if f.e.Schedules == 0 || !changed("seed") && !f.e.Resume {
		return j, usagef("--shard %s: parts of one whole have one seed and one budget; give --seed and --schedules, the "+
			"same for all", f.shard)
	}
	return j, nil
}

// folder is where the exploration of a job is kept when nothing is said: one folder for everything that makes it
// another one, but for the seed and the budget.
func (f *exploreFlags) folder(root string, j *job.Job, tree planted) string {
	h := fnv.New32a()
	fmt.Fprint(h, j.Scenario, j.Params, j.Detect, j.Memory, tree, f.e.Searches, f.e.Faults, f.e.Shard, f.e.Shards)
	name := strings.NewReplacer("(", "-", ")", "").Replace(j.Scenario)
	return filepath.Join(root, "findings", fmt.Sprintf("explore-%s-%04x", name, h.Sum32()&0xffff))
}

// seed is that of the exploration to go on with, or another one.
func (f *exploreFlags) seed(cmd *cobra.Command) (uint64, error) {
	if !f.e.Resume {
		return drawSeed(cmd)
	}
	header, _, err := portfolio.Header(f.e.State)
	if err != nil {
		return 0, usagef("--resume: %v", err)
	}
	if !cmd.Flags().Changed("seed") && header["seed"] != "" {
		if err := cmd.Flags().Set("seed", header["seed"]); err != nil {
			return 0, usagef("--resume: %s: the seed %q is none; begin anew with another --state", shown(f.e.State),
				header["seed"])
		}
	}
	return drawSeed(cmd)
}

func (f *exploreFlags) run(cmd *cobra.Command, name string) error {
	j, err := f.job(cmd, name)
	if err != nil {
		return err
	}
	shop, tree, out, err := openPlanted(cmd, f.mutant, f.era)
	if err != nil {
		return err
	}
	defer shop.close()
	defer out.discard()
	switch {
	case f.e.State == "" && cmd.Flags().Changed("state"):
		return usagef("--state: the name is empty; write --state DIR")
	case f.e.State == "":
		f.e.State = f.folder(shop.root, &j, tree)
	}
	if f.e.State, err = filepath.Abs(f.e.State); err != nil {
		return err
	}
	if j.Seed, err = f.seed(cmd); err != nil {
		return err
	}
	live := newProgress(cmd.ErrOrStderr())
	shop.live = live
	res, err := shop.run(cmd.Context(), tree, j, live.job(j.Scenario))
	live.clear()
	if err != nil {
		return f.interrupted(cmd, res, err)
	}
	return f.conclude(cmd, res, out)
}

// interrupted prints how far an exploration came that was ended before its time, and how to go on.
func (f *exploreFlags) interrupted(cmd *cobra.Command, res *job.Result, err error) error {
	w := cmd.OutOrStdout()
	if res != nil && res.Explored != nil {
		tellExplored(w, res)
	}
	if header, _, _ := portfolio.Header(f.e.State); errors.Is(err, context.Canceled) && header != nil {
		fmt.Fprintf(w, "\nfound:   %s\ngo on:   the same command with --resume\n", shown(filepath.Join(f.e.State, "found")))
	}
	return err
}

// conclude prints what the searches came to, keeps what they found, and says how the command ends.
func (f *exploreFlags) conclude(cmd *cobra.Command, res *job.Result, out *outputs) error {
	w := cmd.OutOrStdout()
	store := &findings{f.e.State}
	x := explored{Result: res, State: shown(f.e.State)}
	var lost error
	for i, r := range res.Explored.Findings {
		file, err := store.keep(w, r)
		if err != nil {
			lost = cmp.Or(lost, err)
			continue
		}
		x.ScheduleFiles = append(x.ScheduleFiles, scheduleOnly(file))
		tell(w, r, file)
		fmt.Fprintf(w, "\nfound at schedule %s of %s; the structures are in %s, all steps in %s\n\n", count(int64(r.FoundAt)),
			r.FoundBy, beside(file, ".txt"), beside(file, ".html"))
		if i == 0 {
			if err := out.page(w, r.HTML, file); err != nil {
				return err
			}
		}
		r.HTML = ""
	}
	res.HTML = ""
	tellExplored(w, res)
	if lost != nil {
		return lost
	}
	out.noPage(w)
	err := errors.Join(out.json.json(w, x), out.junit.write(w, func(w io.Writer) error { return exploreJUnit(w, res) }))
	if err == nil && len(res.Explored.Findings) > 0 {
		err = errFinding
	}
	return err
}

// tellExplored prints what a portfolio did and came to.
func tellExplored(w io.Writer, res *job.Result) {
	e := res.Explored
	rate := ""
	if t := e.Searched.Seconds(); t > 0 {
		rate = fmt.Sprintf(", %s schedules/s", count(int64(float64(res.Schedules)/t)))
	}
	fmt.Fprintf(w, "%s (%s): %s steps in %s%s\n\n", res.Job.Scenario, setting(res), count(res.Steps),
		short(e.Searched), rate)
	tellSearches(w, e, func(string) bool { return false })
}

// tellSearches prints the table of the searches, and what they come to but for the sentences that skip takes. No
// searches are fine.
func tellSearches(w io.Writer, e *job.Explored, skip func(sentence string) bool) {
	if e == nil {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "search\tschedules\tfailing\ttraces\tonce\tof all\tnew\tmissed: d=1\td=2\td=3\td=4\t\n")
	for i := range e.Searches {
		fmt.Fprintln(tw, strings.Join(exploreRow(&e.Searches[i]), "\t")+"\t")
	}
	_ = tw.Flush()
	fmt.Fprintln(w)
	for _, s := range e.Says {
		if !skip(s) {
			fmt.Fprintf(w, "%s\n", s)
		}
	}
}

// exploreRow is the line of one search; a number that it cannot give is left out.
func exploreRow(s *job.Search) []string {
	failing := 0
	for _, n := range s.Hits {
		failing += n
	}
	part := func(p *float64) string {
		if p == nil {
			return ""
		}
		return fmt.Sprintf("%.3g%%", 100**p)
	}
	about := ""
	if s.Rounded {
		about = "~"
	}
	row := []string{s.Name, count(int64(s.Schedules)), count(int64(failing)), about + count(int64(s.Traces)), "",
		part(s.Share), part(s.Unseen)}
	if s.Unseen != nil {
		row[4] = about + count(int64(s.Once))
	}
	for d := range 4 {
		cell := ""
		if d < len(s.Missed) {
			cell = fmt.Sprintf("%.2g", s.Missed[d])
		}
		row = append(row, cell)
	}
	return row
}

// exploreJUnit is one case for each finding, or one that passed.
func exploreJUnit(w io.Writer, res *job.Result) error {
	cases := []report.Case{}
	for _, r := range res.Explored.Findings {
		cases = append(cases, report.Case{
			Class: "explore", Name: fmt.Sprintf("%s: %s: %s", res.Job.Scenario, r.Oracle, r.Title), Elapsed: r.Elapsed,
			Failure: r.Oracle + ": " + r.Title, Text: r.Trace,
		})
	}
	if len(cases) == 0 {
		cases = append(cases, report.Case{Class: "explore", Name: res.Job.Scenario, Elapsed: res.Elapsed})
	}
	return report.JUnit(w, "explore", cases)
}
