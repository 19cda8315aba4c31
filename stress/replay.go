// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

func init() { register(replayCmd) }

func replayCmd() *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "run a schedule file once more",
		Long: `replay follows a schedule file, on the era and with the mutant that it names, and draws what happens. A schedule that
cannot be followed, or that gives another run than the recorded one, is stale: that is no pass. The file is
text and may be edited; leave its hash line out then.`,
		Example: `  go run ./stress replay findings/lockd-start-7f3a.schedule
  go run ./stress replay findings/lockd-start-7f3a.schedule --trace`,
		Args: args(1, 1, "the schedule FILE"),
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show the structures as the run left them as well")
	addJSON(cmd.Flags(), "the result")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		shop, err := openWorkshop(root)
		if err != nil {
			return err
		}
		defer shop.close()
		f, err := readSchedule(shop, args[0])
		if err != nil {
			return err
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "seed %d\n", f.job.Seed)
		live := newProgress(cmd.ErrOrStderr())
		shop.live = live
		res, err := f.run(cmd, shop)
		live.clear()
		if err != nil {
			return err
		}
		if err := out.json(w, result{res, args[0]}); err != nil {
			return err
		}
		stale := f.stale(res)
		if res.Verdict == job.Clean {
			if stale != nil {
				return stale
			}
			fmt.Fprintf(w, "clean %s (%s): the schedule was followed to its end, %d steps, hash %s\n",
				res.Job.Scenario, setting(res), res.Steps, res.Hash)
			return nil
		}
		tell(w, res, args[0])
		if trace && res.Dump != "" {
			fmt.Fprintf(w, "\n%s", res.Dump)
		}
		if stale != nil {
			fmt.Fprintf(w, "\n%v\n", stale) // it fails all the same
		}
		return errFinding
	}
	return cmd
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
	s, err := scenario.Find(f.job.Scenario)
	if err != nil {
		return nil, usagef("%s: %v", name, err)
	}
	if _, err := s.ParseParams(f.job.Params); err != nil {
		return nil, usagef("%s: params: %v", name, err)
	}
	if at := meta["fail_at"]; at != "" {
		if f.job.FailAt, err = strconv.Atoi(at); err != nil || f.job.FailAt < 0 {
			return nil, usagef("%s: fail_at: %q is not the number of a step; correct it", name, at)
		}
	}
	if seed := meta["seed"]; seed != "" {
		if f.job.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return nil, usagef("%s: seed: %q is not a number; correct it", name, seed)
		}
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
	res.Trace = named(res.Trace, f.name)
	return res, nil
}

// stale says why the run is not the recorded one, nil if it is.
func (f *scheduleFile) stale(res *job.Result) error {
	if res.Diverged == "" {
		return nil
	}
	return usagef("%s: STALE: %s; find it anew with: go run ./stress run %s (or leave the hash line out, if you edited the file)",
		f.name, res.Diverged, f.job.Scenario)
}
