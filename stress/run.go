// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func init() { register(runCmd) }

// What a search does when nothing is said.
const (
	defaultSchedules = 20000
	defaultFree      = 10 * time.Second
	shrinkRuns       = 3000
)

// result is a job's result as --json shows it.
type result struct {
	*job.Result
	ScheduleFile string `json:"schedule_file,omitempty"` // of a finding
}

func runCmd() *cobra.Command {
	var backend, chooser, params, planted, era, failAt string
	var twice bool
	var limit budget
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "explore the schedules of one scenario until one fails",
		Long: `run explores the schedules of a scenario until one fails or the budget is spent. A failing schedule is made
small, drawn, and written to the findings folder, from where it can be replayed.

Choosers of the sim back end: random (every task as likely at every step), pct (random priorities and d-1 points where
they change; without d it varies from 2 to 4) and bounded (all schedules with at most n preemptions, each once).
The free back end runs on real goroutines; its schedules are runs.`,
		Example: `  go run ./stress run lockd-start
  go run ./stress run lockd-start --chooser bounded:n=2
  go run ./stress run lockd-start --params clients=2,proto=1 --chooser pct:d=3 --for 1m
  go run ./stress run lockd-start --mutant lockd-run-before-rq-task --era 3.18
  go run ./stress run lockd-start --mutant my.patch --seed 152
  go run ./stress run fault-injection --params service=1 --fail-at 1..60 --schedules 100
  go run ./stress run stop-under-load --backend free --for 30s`,
		Args: args(1, 1, "the SCENARIO (stress list names them)"),
	}
	fs := cmd.Flags()
	fs.StringVar(&backend, "backend", "sim", "sim, or free")
	fs.StringVar(&chooser, "chooser", "pct", "random, pct[:d=N] or bounded[:n=N]; sim only")
	fs.StringVar(&params, "params", "", "parameters of the scenario, `k=v,...`")
	fs.StringVar(&planted, "mutant", "", "plant this bug: a mutant's `ID`, or a patch file")
	fs.StringVar(&era, "era", "", "era of the core (default: that of the mutant, else the tree's)")
	fs.StringVar(&failAt, "fail-at", "", "make the `N`-th fallible step fail; A..B: a search for each of them")
	fs.BoolVar(&twice, "twice", false, "run every schedule twice and compare what happened")
	limit.add(fs, "schedules")
	addSeed(fs)
	addFindings(fs)
	addJSON(fs, "the result")

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j := job.Job{Scenario: args[0], Params: params, Backend: backend, Twice: twice, Shrink: shrinkRuns, Trace: true}
		plan, err := searchPlan(cmd, &j, chooser, &limit)
		if err != nil {
			return err
		}
		j.Plans = []job.Plan{plan}
		steps, err := stepRange(failAt)
		if err != nil {
			return err
		}
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		shop, err := openWorkshop(root)
		if err != nil {
			return err
		}
		defer shop.close()
		tree, err := shop.plant(planted, era)
		if err != nil {
			return err
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		store, err := openFindings(cmd, root)
		if err != nil {
			return err
		}
		if j.Seed, err = drawSeed(cmd); err != nil {
			return err
		}
		live := newProgress(cmd.ErrOrStderr())
		shop.live = live
		res, err := shop.sweep(cmd.Context(), tree, j, steps, anyFinding, live.job(j.Scenario))
		live.clear()
		if err != nil {
			return err
		}
		return conclude(cmd, res, store, out)
	}
	return cmd
}

// stepRange reads "20" or "1..60".
func stepRange(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	from, to, ok := strings.Cut(s, "..")
	if !ok {
		to = from
	}
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err != nil || err2 != nil || first < 1 || last < first || last > 10000 {
		return nil, usagef("--fail-at %s: names no step; write 20, or 1..60", s)
	}
	steps := make([]int, 0, last-first+1)
	for k := first; k <= last; k++ {
		steps = append(steps, k)
	}
	return steps, nil
}

// searchPlan checks what --backend, --chooser, --params and the budget say, and makes a plan of it. j.Params becomes
// canonical.
func searchPlan(cmd *cobra.Command, j *job.Job, chooser string, limit *budget) (job.Plan, error) {
	var plan job.Plan
	s, err := scenario.Find(j.Scenario)
	if err != nil {
		return plan, usagef("%v", err)
	}
	p, err := s.ParseParams(j.Params)
	if err != nil {
		return plan, usagef("--params: %v", err)
	}
	j.Params = p.String()
	given, err := limit.check(cmd)
	if err != nil {
		return plan, err
	}
	plan.Schedules, plan.For = limit.schedules, limit.period
	switch j.Backend {
	case "sim":
		spec, err := explore.ParseSpec(chooser)
		if err != nil {
			return plan, usagef("--chooser: %v", err)
		}
		plan.Chooser = chooser
		if !given && spec.Kind != "bounded" {
			plan.Schedules = defaultSchedules
		}
	case "free":
		if cmd.Flags().Changed("chooser") {
			return plan, usagef("--chooser: nobody chooses on the free back end; leave it out, or choose --backend sim")
		}
		if j.Twice {
			return plan, usagef("--twice: a run of the free back end cannot be repeated; choose --backend sim")
		}
		if !given {
			plan.For = defaultFree
		}
	default:
		return plan, usagef("unknown back end %q; choose sim or free", j.Backend)
	}
	return plan, nil
}

// conclude prints the result of a search, keeps what it found, and says how the command ends.
func conclude(cmd *cobra.Command, res *job.Result, store *findings, out *output) error {
	w := cmd.OutOrStdout()
	r := result{Result: res}
	if res.Verdict == job.Clean {
		fmt.Fprintf(w, "clean %s (%s): %s%s\n", res.Job.Scenario, setting(res), coverage(res), pace(res))
		if res.Job.Twice {
			fmt.Fprintf(w, "every schedule ran twice and alike\n")
		}
		return out.json(w, r)
	}
	file, err := store.save(res)
	if err != nil {
		return err
	}
	tell(w, res, file)
	fmt.Fprintf(w, "\nfound at schedule %s by %s, in %s; the structures are in %s\n", count(int64(res.FoundAt)), res.FoundBy,
		short(res.Elapsed), strings.TrimSuffix(strings.TrimSuffix(file, ".schedule"), ".txt")+".txt")
	r.ScheduleFile = scheduleOnly(file)
	if err := out.json(w, r); err != nil {
		return err
	}
	return errFinding
}

// scheduleOnly is the name of a schedule file, nothing for the text of a finding that has none.
func scheduleOnly(name string) string {
	if strings.HasSuffix(name, ".schedule") {
		return name
	}
	return ""
}

// pace says how long a search took and how fast it was.
func pace(res *job.Result) string {
	s := res.Elapsed.Seconds()
	switch {
	case s <= 0:
		return ""
	case res.Job.Backend == "free":
		return fmt.Sprintf(", in %s", short(res.Elapsed))
	}
	return fmt.Sprintf(", %s steps in %s, %s schedules/s", count(res.Steps), short(res.Elapsed), count(int64(float64(res.Schedules)/s)))
}

// setting is what a job ran on, for a person.
func setting(res *job.Result) string {
	var s []string
	if res.Job.Mutant != "" {
		s = append(s, "mutant "+res.Job.Mutant)
	}
	s = append(s, "era "+res.Job.Era, "back end "+res.Job.Backend)
	if res.Job.Params != "" {
		s = append(s, res.Job.Params)
	}
	return strings.Join(s, ", ")
}
