// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
)

func init() { register(replayCmd) }

func replayCmd() *cobra.Command {
	var trace, free bool
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "run a schedule file once more",
		Long: `replay follows a schedule file, on the era and with the mutant that it names, and draws what happens. Where the code
has moved since, so that the schedule cannot be followed or gives another run than the recorded one, the constraints of
the file (its "before" lines) are kept instead, in several runs, and replay says so. If neither brings the failure back
the schedule is stale: that is no pass. The file is text and may be edited; leave its hash line out then.

With --free the failure is entered again on real goroutines: they wait a moment in front of the operations that the
constraints put behind others. How often it came back is told.`,
		Example: `  go run ./stress replay findings/lockd-start-7f3a.schedule
  go run ./stress replay findings/lockd-start-7f3a.schedule --trace
  go run ./stress replay findings/lockd-start-7f3a.schedule --free
  go run ./stress replay findings/lockd-start-7f3a.schedule --html page.html`,
		Args: args(1, 1, "the schedule FILE"),
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show the structures as the run left them as well")
	cmd.Flags().BoolVar(&free, "free", false, "bring the failure back on real goroutines, by the constraints")
	addJSON(cmd.Flags(), "the result")
	addHTML(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		shop, err := openHere()
		if err != nil {
			return err
		}
		defer shop.close()
		f, err := readSchedule(shop, args[0])
		if err != nil {
			return err
		}
		out, err := openOutputs(cmd, shop.root)
		if err != nil {
			return err
		}
		defer out.discard()
		if f.job.HTML = out.html != nil; free && f.job.HTML {
			return usagef("--html: what happens on real goroutines is not recorded; leave out --html or --free")
		}
		w := cmd.OutOrStdout()
		if free {
			f.job.Backend = "free"
		}
		fmt.Fprintf(w, "seed %d\n", f.job.Seed)
		res, err := f.watched(cmd, shop)
		if err != nil {
			return err
		}
		page := res.HTML
		res.HTML = ""
		if err := out.json.json(w, result{res, args[0]}); err != nil {
			return err
		}
		if free {
			return f.reentered(w, res)
		}
		stale := f.stale(res)
		if res.Verdict == job.Clean {
			out.noPage(w)
			if stale != nil {
				return stale
			}
			fmt.Fprintf(w, "clean %s (%s): the schedule was followed to its end, %d steps, hash %s\n",
				res.Job.Scenario, setting(res), res.Steps, res.Hash)
			return nil
		}
		if err := out.page(w, page, args[0]); err != nil {
			return err
		}
		if !trace {
			res.Dump = ""
		}
		tellReplayed(w, res, args[0], stale)
		return errFinding
	}
	return cmd
}

// tellReplayed draws what failed once more, and says how it came back.
func tellReplayed(w io.Writer, res *job.Result, file string, stale error) {
	tell(w, res, file)
	if res.Dump != "" {
		fmt.Fprintf(w, "\n%s", res.Dump)
	}
	switch {
	case stale != nil:
		fmt.Fprintf(w, "\n%v\n", stale) // it fails all the same
	case res.By == job.ByConstraints:
		fmt.Fprintf(w, "\nreproduced by constraints, in %d of %d runs (the code has moved since: %s)\n",
			res.Again, res.Tries, cmp.Or(res.Diverged, "the schedule itself fails no more"))
	case res.By == job.ByDecisions:
		fmt.Fprintf(w, "\nreproduced by decisions\n")
	}
}

// reentered says what came of the tries on real goroutines.
func (f *scheduleFile) reentered(w io.Writer, res *job.Result) error {
	fmt.Fprintf(w, "constraints:\n")
	for _, c := range res.Constraints {
		fmt.Fprintf(w, "  %s\n", c)
	}
	again := fmt.Sprintf("%d of %d runs on real goroutines", res.Again, res.Tries)
	if res.By == "" {
		unmet := ""
		if len(res.Unmet) > 0 {
			unmet = "; not kept: " + strings.Join(res.Unmet, ", ")
		}
		return usagef("%s: STALE: the failure came back in %s%s; replay it without --free, on the sim back end",
			f.name, again, unmet)
	}
	fmt.Fprintf(w, "FAIL %s (%s): %s: %s\n", res.Job.Scenario, setting(res), res.Oracle, res.Title)
	fmt.Fprintf(w, "reproduced in %s\n", again)
	if res.Otherwise > 0 {
		fmt.Fprintf(w, "the orders were kept and another oracle told what came of it in %d of %d\n", res.Otherwise, res.Tries)
	}
	return errFinding
}

// scheduleFile is a schedule and what it is to be run on.
type scheduleFile struct {
	name     string
	text     []byte
	schedule *explore.Schedule
	job      job.Job
	tree     planted
}

// readSchedule reads a schedule file and checks all that it names.
func readSchedule(shop *workshop, name string) (*scheduleFile, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("%s: cannot be read (%s); name a file that stress run or stress verdict has written", name, fileError(err))
	}
	f := &scheduleFile{name: name, text: text}
	if f.schedule, err = explore.Parse(text); err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	meta := f.schedule.Meta
	f.job = job.Job{Scenario: meta["scenario"], Params: meta["params"], Backend: "sim", Replay: string(text), Trace: true}
	if f.job.Scenario == "" {
		return nil, usagef("%s: its head lacks a line \"scenario: NAME\"; add one", name)
	}
	if _, err := job.FindTarget(f.job.Scenario, ""); err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	if _, err := job.FindTarget(f.job.Scenario, f.job.Params); err != nil {
		return nil, usagef("%s: params: %v", name, err)
	}
	if at := meta["fail_at"]; at != "" {
		if f.job.FailAt, err = strconv.Atoi(at); err != nil || f.job.FailAt < 0 {
			return nil, usagef("%s: fail_at: %q is not the number of a step; correct it", name, at)
		}
	}
	f.job.Detect, f.job.Memory = meta["detect"] == "yes", meta["memory"]
	if err := job.CheckMemory(f.job.Memory); err != nil {
		return nil, usagef("%s: memory: %v", name, err)
	}
	if seed := meta["seed"]; seed != "" {
		if f.job.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return nil, usagef("%s: seed: %q is not a number; correct it", name, seed)
		}
	}
	_, err = f.schedule.Budgets()
	if _, bad := f.schedule.MaxSteps(); err == nil {
		err = bad
	}
	if err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	if f.tree, err = shop.plant(meta["mutant"], meta["era"]); err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	return f, nil
}

// run follows the schedule.
func (f *scheduleFile) run(cmd *cobra.Command, shop *workshop) (*job.Result, error) {
	res, err := shop.run(cmd.Context(), f.tree, f.job, nil)
	if err != nil {
		return nil, err
	}
	res.Trace = job.Named(res.Trace, f.name)
	return res, nil
}

// watched is run with a line that shows how far it is.
func (f *scheduleFile) watched(cmd *cobra.Command, shop *workshop) (*job.Result, error) {
	live := newProgress(cmd.ErrOrStderr())
	defer live.clear()
	shop.live = live
	return f.run(cmd, shop)
}

// stale says why the run is not the recorded one, nil if it is.
func (f *scheduleFile) stale(res *job.Result) error {
	if res.By == job.ByConstraints || res.Diverged == "" {
		return nil
	}
	return usagef("%s: STALE: %s; find it anew with: go run ./stress run %s (or leave the hash line out, if you edited the file)",
		f.name, res.Diverged, f.job.Scenario)
}
