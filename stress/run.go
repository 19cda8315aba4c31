// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
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
	var twice, detect bool
	var memory string
	var limit budget
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "explore the schedules of one scenario until one fails",
		Long: `run explores the schedules of a scenario until one fails or the budget is spent. A failing schedule is made
small, drawn, and written to the findings folder, from where it can be replayed.

stress list says what the choosers of the sim back end do. The free back end runs on real goroutines; its schedules
are runs.

With --detect two accesses of a plain field that nothing orders are a finding, data-race, even where the schedule had
them one after the other. With --memory tso a plain store waits in the store buffer of its task, as on x86, until it is
flushed by a task of its own or by a barrier; with --memory weak set_bit, clear_bit and the atomics without a result
wait there as well, which x86 does not do but the kernel's rules allow.`,
		Example: `  go run ./stress run lockd-start
  go run ./stress run lockd-start --chooser bounded:n=2
  go run ./stress run lockd-start --params clients=2,proto=1 --chooser pct:d=3 --for 1m
  go run ./stress run lockd-start --mutant lockd-run-before-rq-task --era 3.18
  go run ./stress run lockd-start --mutant my.patch --seed 152
  go run ./stress run stop-under-load --detect --memory tso
  go run ./stress run fault-injection --params service=1 --fail-at 1..60 --schedules 100
  go run ./stress run stop-under-load --backend free --for 30s`,
		Args: args(1, 1, "the SCENARIO (stress list names them)"),
	}
	fs := cmd.Flags()
	fs.StringVar(&backend, "backend", "sim", "sim, or free")
	fs.StringVar(&chooser, "chooser", "pct", "sim only: "+explore.Choosers())
	fs.StringVar(&params, "params", "", "parameters of the scenario, `k=v,...`")
	fs.StringVar(&planted, "mutant", "", "plant this bug: a mutant's `ID`, or a patch file")
	fs.StringVar(&era, "era", "", "era of the core (default: that of the mutant, else the tree's)")
	fs.StringVar(&failAt, "fail-at", "", "make the `N`-th fallible step fail; A..B: a search for each of them")
	fs.BoolVar(&twice, "twice", false, "run every schedule twice and compare what happened")
	fs.BoolVar(&detect, "detect", false, "report data races; sim only")
	fs.StringVar(&memory, "memory", job.MemorySC,
		"memory `MODEL`: sc (every store is seen at once), tso (store buffers, as on x86) or weak; sim only")
	limit.add(fs, "schedules")
	addSeed(fs)
	addOutputs(fs, "the result")
	addHTML(fs)

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j := job.Job{Scenario: args[0], Params: params, Backend: backend, Twice: twice, Shrink: shrinkRuns, Trace: true, HTML: true}
		if err := machineFlags(&j, detect, memory); err != nil {
			return err
		}
		plan, err := searchPlan(cmd, &j, chooser, &limit)
		if err != nil {
			return err
		}
		j.Plans = []job.Plan{plan}
		steps, err := stepRange(failAt)
		if err != nil {
			return err
		}
		shop, tree, out, err := openPlanted(cmd, planted, era)
		if err != nil {
			return err
		}
		defer shop.close()
		defer out.discard()
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
		return conclude(cmd, res, out)
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

// machineFlags checks what --detect and --memory say and puts it into the job.
func machineFlags(j *job.Job, detect bool, memory string) error {
	if err := job.CheckMemory(memory); err != nil {
		return usagef("--memory: %v", err)
	}
	if memory == job.MemorySC {
		memory = "" // the default goes without saying, in schedule files as well
	}
	if j.Backend == "free" && (detect || memory != "") {
		flag := "--detect"
		if memory != "" {
			flag = "--memory " + memory
		}
		return usagef("%s: on the free back end memory is the machine's own; choose --backend sim "+
			"(stress soak --race watches the free one)", flag)
	}
	j.Detect, j.Memory = detect, memory
	return nil
}

// searchPlan checks what --backend, --chooser, --params and the budget say, and makes a plan of it. j.Params becomes
// canonical.
func searchPlan(cmd *cobra.Command, j *job.Job, chooser string, limit *budget) (job.Plan, error) {
	var plan job.Plan
	if _, err := job.FindTarget(j.Scenario, ""); err != nil {
		return plan, err
	}
	t, err := job.FindTarget(j.Scenario, j.Params)
	if err != nil {
		return plan, usagef("--params: %v", err)
	}
	j.Scenario, j.Params = t.Name, t.Params
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
		if !given && !spec.Ends() {
			plan.Schedules = defaultSchedules
		}
	case "free":
		if cmd.Flags().Changed("chooser") {
			return plan, usagef("--chooser: nobody chooses on the free back end; leave it out, or choose --backend sim")
		}
		if f := cmd.Flags().Lookup("html"); f != nil && f.Changed {
			return plan, usagef("--html: nobody records what a run of the free back end does; choose --backend sim")
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
func conclude(cmd *cobra.Command, res *job.Result, out *outputs) error {
	w := cmd.OutOrStdout()
	r := result{Result: res}
	if res.Verdict == job.Clean {
		fmt.Fprintf(w, "clean %s (%s): %s%s\n", res.Job.Scenario, setting(res), coverage(res), pace(res))
		if res.Job.Twice {
			fmt.Fprintf(w, "every schedule ran twice and alike\n")
		}
		out.noPage(w)
		return out.json.json(w, r)
	}
	file, err := out.findings.keep(cmd.OutOrStdout(), res)
	if err != nil {
		return err
	}
	tell(w, res, file)
	fmt.Fprintf(w, "\nfound at schedule %s by %s, in %s; the structures are in %s", count(int64(res.FoundAt)), res.FoundBy,
		short(res.Elapsed), beside(file, ".txt"))
	if res.HTML != "" {
		fmt.Fprintf(w, ", all steps in %s", beside(file, ".html"))
	}
	fmt.Fprintln(w)
	perr := out.page(w, res.HTML, file)
	r.ScheduleFile, res.HTML = scheduleOnly(file), ""
	if err := errors.Join(perr, out.json.json(w, r)); err != nil {
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
	if res.Job.Memory != "" {
		s = append(s, "memory "+res.Job.Memory)
	}
	return strings.Join(s, ", ")
}
