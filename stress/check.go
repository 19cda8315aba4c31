// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/report"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func init() { register(checkCmd) }

// checked is what came of one scenario on a patched tree.
type checked struct {
	*job.Result
	ScheduleFile string `json:"schedule_file,omitempty"`
	// Variants is how many other ways to run the scenario were searched, Varied by how many of the schedules.
	Variants int `json:"variants,omitempty"`
	Varied   int `json:"varied,omitempty"`
	// Sick says that the scenario fails without the patch as well.
	Sick bool `json:"sick,omitempty"`
}

func checkCmd() *cobra.Command {
	var era string
	var race bool
	var limit budget
	cmd := &cobra.Command{
		Use:   "check PATCH [SCENARIO...]",
		Short: "ask whether any interleaving breaks a change of your own",
		Long: `check applies a patch to a copy of the port, runs the scenarios on it (all of them if none is named), and answers
with a minimal interleaving for each that fails, or with how much of the schedule space was covered. The patch
is a git diff or a mail of git format-patch that changes files below target/. The checkout stays as it is.

Each scenario is searched four times: all schedules with at most one preemption, as many as the budget allows drawn
by pct, as many by the searches of explore, which say what each of them leaves open, and as many by pct and pos over
variants of the scenario: every other value of every parameter, every memory model, every kind of fault, data races, and
mixtures of all that, drawn from the seed. fault-injection is searched for each service and for each step that may fail.

What the port guards by a lock is a plain field, and tasks do not interleave at an access to it. If a change leaves the
lock, only the race detector sees that, and it does so in any schedule that comes by: --race draws some more of each
scenario with a build that has it.`,
		Example: `  git diff > my.patch && git stash && go run ./stress check my.patch
  go run ./stress check my.patch lockd-start resize --for 1m
  go run ./stress check my.patch --race
  go run ./stress check my.patch --era 3.18`,
		Args: args(1, -1, "the PATCH"),
	}
	fs := cmd.Flags()
	fs.StringVar(&era, "era", "", "era of the core that the patch is for (default: the tree's)")
	fs.BoolVar(&race, "race", false, "under the race detector as well (needs a C compiler)")
	limit.add(fs, "schedules a scenario")
	addSeed(fs)
	addOutputs(fs, "the results")
	addJUnit(fs)
	addHTML(fs)

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		scenarios, err := chosenScenarios(args[1:])
		if err != nil {
			return err
		}
		given, err := limit.check(cmd)
		if err != nil {
			return err
		}
		if !given {
			limit.schedules = defaultSchedules
		}
		shop, tree, out, err := openPlanted(cmd, args[0], era)
		if err != nil {
			return err
		}
		defer shop.close()
		defer out.discard()
		seed, err := drawSeed(cmd)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s (era %s) changes %s\n", args[0], tree.era, strings.Join(tree.patch.Files(), ", "))
		live := newProgress(cmd.ErrOrStderr())
		shop.live = live
		var all []checked
		failed := 0
		var legend legend
		for _, name := range scenarios {
			c, err := checkOne(cmd, shop, tree, name, seed, &limit, live)
			if err == nil && race && c.Verdict == job.Clean {
				err = checkRace(cmd, shop, tree, &c, seed, live)
			}
			live.clear()
			if err != nil {
				return checkError(args[0], err)
			}
			if c.Verdict == job.Clean {
				fmt.Fprintf(w, "clean %s: %s\n", name, coverage(c.Result))
				if c.Variants > 0 {
					fmt.Fprintf(w, "%s of parameters, memory, faults and data races: %s schedules drawn by pct and pos\n",
						plural(c.Variants, "variant"), count(int64(c.Varied)))
				}
				tellSearches(w, c.Explored, func(sentence string) bool { return legend.takes(sentence, c.Coverage) })
			} else {
				failed++
				if err := c.failed(w, out); err != nil {
					return err
				}
			}
			all = append(all, c)
		}
		legend.tell(w)
		if failed == 0 {
			fmt.Fprintf(w, "verdict: clean in %s\n", plural(len(all), "scenario"))
			tellRest(w, args[0], tree.era, scenarios[0], race)
			out.noPage(w)
		} else {
			fmt.Fprintf(w, "verdict: fails in %d of %s\n", failed, plural(len(all), "scenario"))
		}
		err = out.junit.write(w, func(w io.Writer) error { return checkJUnit(w, args[0], all) })
		if err := errors.Join(out.json.json(w, all), err); err != nil {
			return err
		}
		if failed > 0 {
			return errFinding
		}
		return nil
	}
	return cmd
}

// chosenScenarios are those that were named, all if none was.
func chosenScenarios(names []string) ([]string, error) {
	for _, name := range names {
		if _, err := scenario.Find(name); err != nil {
			return nil, usagef("%v", err)
		}
	}
	if len(names) == 0 {
		for _, s := range scenario.All() {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// failed keeps a finding and tells it.
func (c *checked) failed(w io.Writer, out *outputs) error {
	file, err := out.findings.keep(w, c.Result)
	if err != nil {
		return err
	}
	if err := out.page(w, c.HTML, file); err != nil {
		return err
	}
	page := c.HTML != ""
	c.ScheduleFile, c.HTML = scheduleOnly(file), ""
	fmt.Fprintln(w)
	tell(w, c.Result, file)
	if page {
		fmt.Fprintf(w, "page:    %s\n", beside(file, ".html"))
	}
	if c.Sick {
		fmt.Fprintf(w, "SICK: %s fails without the patch as well\n", c.Job.Scenario)
	}
	fmt.Fprintln(w)
	return nil
}

// exhaustive is how many times as many schedules as the others the exhaustive part of a search has: it runs more of them
// in the same time, and has an end of its own where it is of most use.
const exhaustive = 10

// legend are the sentences about the columns of the searches. They are the same for all scenarios and said once.
type legend []string

// takes keeps a sentence of a search back if it belongs to the legend, or if it is known better: check itself runs all
// schedules with few preemptions, and the part of explore that does so may come less far.
func (l *legend) takes(sentence string, coverage []job.Coverage) bool {
	switch {
	case strings.HasPrefix(sentence, "bounded: "):
		return slices.ContainsFunc(coverage, func(c job.Coverage) bool {
			return c.Exhausted && strings.HasPrefix(c.Chooser, "bounded")
		})
	case !strings.HasPrefix(sentence, "new: ") && !strings.HasPrefix(sentence, "of all: "):
		return false
	case !slices.Contains(*l, sentence):
		*l = append(*l, sentence)
	}
	return true
}

func (l *legend) tell(w io.Writer) {
	if len(*l) > 0 {
		fmt.Fprintf(w, "%s\n", strings.Join(*l, "\n"))
	}
}

// tellRest says of a clean patch what was not looked at, and the commands that do.
func tellRest(w io.Writer, patch, era, name string, race bool) {
	patch = job.ShellWord(patch)
	flags := ""
	if era != mutant.TreeEra {
		flags = " --era " + era
	}
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "  %-30s go run ./stress %s%s\n", what, fmt.Sprintf(format, args...), flags)
	}
	fmt.Fprint(w, "not looked at, and what does:\n")
	if !race {
		line("fields that left their lock", "check %s --race", patch)
	}
	line("real goroutines, real time", "soak --mutant %s --for 1m", patch)
	line("one scenario for longer", "explore %s --mutant %s --for 10m", name, patch)
}

// exhaustFor bounds the exhaustive part of a search: as long as the other part, and not without end.
func exhaustFor(limit *budget) time.Duration {
	if limit.period > 0 {
		return limit.period
	}
	return 10 * time.Second
}

// shrinkFor is how long check works on one finding: with store buffers and the race detector a run takes ten times as long
// as without.
const shrinkFor = 20 * time.Second

// failingSteps are the steps that check makes fail, one after the other. There are fewer in every start; one that there
// is not changes nothing.
const failingSteps = 60

// searches are the jobs that check runs for a scenario, and the steps to make fail in each.
func searches(s *scenario.Scenario, seed uint64, limit *budget) (jobs []job.Job, steps []int) {
	j := job.Job{
		Scenario: s.Name, Backend: "sim", Seed: seed, Shrink: shrinkRuns, ShrinkFor: shrinkFor, Trace: true, HTML: true,
		Plans: []job.Plan{
			{Chooser: "bounded:n=1", Schedules: exhaustive * limit.schedules, For: exhaustFor(limit)},
			{Chooser: "pct", Schedules: limit.schedules, For: limit.period},
		},
	}
	fails := slices.ContainsFunc(s.Params, func(p scenario.Param) bool { return p.Name == "k" })
	if !fails {
		all := j
		all.Plans, all.Explore = nil, &job.Explore{Schedules: limit.schedules, For: limit.period, MaxFindings: 1}
		return []job.Job{j, all}, nil
	}
	for k := range failingSteps {
		steps = append(steps, k+1)
	}
	services := 1
	for _, p := range s.Params {
		if p.Name == "service" {
			services = p.Max + 1
		}
	}
	n := time.Duration(services * failingSteps)
	j.Plans = []job.Plan{{Chooser: "pct", For: limit.period / n}}
	if limit.schedules > 0 {
		j.Plans[0].Schedules = max(limit.schedules/int(n), 1)
	}
	for i := range services {
		if services > 1 {
			j.Params = fmt.Sprintf("service=%d", i)
		}
		jobs = append(jobs, j)
	}
	return jobs, steps
}

// checkOne searches one scenario on the patched tree, and upon a finding on the era without the patch.
func checkOne(cmd *cobra.Command, shop *workshop, tree planted, name string, seed uint64, limit *budget,
	live *progress) (checked, error) {
	s, err := scenario.Find(name)
	if err != nil {
		return checked{}, usagef("%v", err)
	}
	c := checked{Result: &job.Result{Verdict: job.Clean}}
	jobs, steps := searches(s, seed, limit)
	for _, j := range jobs {
		res, err := shop.sweep(cmd.Context(), tree, j, steps, anyFinding, live.job(name))
		if err != nil {
			return c, err
		}
		if res.Verdict != job.Clean {
			return blame(cmd, shop, tree, res, live)
		}
		add(c.Result, res)
		c.Job = res.Job
	}
	if len(steps) > 0 {
		return c, nil
	}
	list := variants(s, seed)
	share(list, seed, limit)
	for _, j := range list {
		res, err := shop.run(cmd.Context(), tree, j, live.job(name))
		if err != nil {
			return c, err
		}
		res.FoundAt += c.Schedules
		if res.Verdict != job.Clean {
			return blame(cmd, shop, tree, res, live)
		}
		c.Schedules += res.Schedules
		c.Steps += res.Steps
		c.Elapsed += res.Elapsed
		c.Varied += res.Schedules
	}
	c.Variants = len(list)
	return c, nil
}

// blame asks whether what was found is the patch's fault: the same search goes over the era without it.
func blame(cmd *cobra.Command, shop *workshop, tree planted, res *job.Result, live *progress) (checked, error) {
	plain := res.Job
	plain.Shrink, plain.Trace, plain.HTML = 0, false, false
	base, err := shop.run(cmd.Context(), planted{era: tree.era}, plain, live.job(plain.Scenario+" without the patch"))
	if err != nil {
		return checked{}, err
	}
	return checked{Result: res, Sick: base.Verdict != job.Clean}, nil
}

// raceOracle is who reports what a build with the race detector sees.
const raceOracle = "race detector"

// raceSchedules are the schedules of each job of a scenario that run under the race detector. It sees a race in whatever
// order the two accesses come, so what counts is that both are reached.
const raceSchedules = 200

// checkRace runs a clean scenario once more, built with the race detector, and puts a race in the place of what was
// found, or what was run beside what was covered.
func checkRace(cmd *cobra.Command, shop *workshop, tree planted, c *checked, seed uint64, live *progress) error {
	s, err := scenario.Find(c.Job.Scenario)
	if err != nil {
		return usagef("%v", err)
	}
	run := func(tree planted, j job.Job, what string) (*job.Result, error) {
		tree.race = true
		j.Plans = []job.Plan{{Chooser: "pct", Schedules: raceSchedules}}
		res, err := shop.run(cmd.Context(), tree, j, live.job(what))
		if race := (*mutant.RaceError)(nil); errors.As(err, &race) {
			j.Era, j.Mutant = tree.era, tree.name
			return raced(j, race.Report), nil
		}
		return res, err
	}
	jobs, _ := searches(s, seed, &budget{})
	for _, j := range jobs {
		if j.Explore != nil {
			continue
		}
		res, err := run(tree, j, s.Name+" under the race detector")
		if err != nil {
			return err
		}
		if res.Verdict != job.Clean {
			base, err := run(planted{era: tree.era}, j, s.Name+" without the patch")
			if err != nil {
				return err
			}
			*c = checked{Result: res, Sick: base.Verdict != job.Clean}
			return nil
		}
		for i := range res.Coverage {
			res.Coverage[i].Chooser += " under the race detector"
		}
		add(c.Result, res)
	}
	return nil
}

// raced is the result of a job that the race detector ended.
func raced(j job.Job, report string) *job.Result {
	return &job.Result{
		Job: j, Verdict: "data-race", Oracle: raceOracle, Title: "two accesses that nothing orders",
		Text: raceInShort(report), Dump: report,
	}
}

// raceInShort leaves of what the race detector reports who accesses the field, down to where the scenario calls the port.
func raceInShort(report string) string {
	var out []string
	function, kept := "", false
	for line := range strings.Lines(report) {
		text := strings.TrimSpace(line)
		access, _, isAccess := strings.Cut(text, " at 0x")
		at, _, isPlace := strings.Cut(strings.TrimPrefix(text, modulePath+"/"), " +0x")
		switch {
		case isAccess:
			kept = true
			out = append(out, strings.ToLower(access)+" in")
		case text == "":
			kept = false
		case kept && isPlace:
			kept = !strings.HasPrefix(at, "stress/")
			out = append(out, fmt.Sprintf("  %-45s %s", function, at))
		default:
			function = strings.TrimSuffix(text[strings.LastIndex(text, "/")+1:], "()")
		}
	}
	return strings.Join(out, "\n")
}

// checkError puts the word of the track record before a patch that does not fit.
func checkError(name string, err error) error {
	word, why, ok := mutant.JudgeError(err)
	if !ok {
		return err
	}
	return usagef("%s: %s: %s", name, word, why)
}

func checkJUnit(w io.Writer, suite string, all []checked) error {
	var cases []report.Case
	for _, c := range all {
		x := report.Case{Class: "check", Name: c.Job.Scenario, Elapsed: c.Elapsed}
		if c.Verdict != job.Clean {
			x.Failure, x.Text = c.Oracle+": "+c.Title, cmp.Or(c.Trace, c.Text)
		}
		cases = append(cases, x)
	}
	return report.JUnit(w, suite, cases)
}
