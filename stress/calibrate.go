// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/calibrate"
)

func init() { register(calibrateCmd) }

func calibrateCmd() *cobra.Command {
	plan := calibrate.Plan{Replays: 10_000}
	var list string
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "hold every chooser and every search against programs whose numbers are known",
		Long: `calibrate runs tiny programs of which everything is known: how many schedules there are, how many of them fail,
and how likely each chooser is to meet one that does. Counts must be equal; rates must be as far off as chance allows (a
deviation that one calibration in a million would show is none). What is expected comes from a model of each program
that shares nothing with the explorer, and from values that other tools have confirmed. A wrong chooser, which must be
noticed, is among the rows. With one seed the rows are always the same.

Programs with a size are lsr's longer forms pad(N) and cont(N), reorder(N) and twostage(N); see stress/program.`,
		Example: `  go run ./stress calibrate
  go run ./stress calibrate --programs 'cont(4),pad(60)' --runs 1000000
  go run ./stress calibrate --json calibrate.json`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.StringVar(&list, "programs", strings.Join(calibrate.Default(), ","), "which programs, with commas between them")
	fs.IntVar(&plan.Runs, "runs", 100_000, "how many schedules to draw with each chooser")
	fs.Uint64Var(&plan.Seed, "seed", 1, "seed of all random choices")
	addJSON(fs, "the rows")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if plan.Runs <= 0 {
			return usagef("--runs %d: not a number of schedules; write 1 or more", plan.Runs)
		}
		plan.Programs = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		if len(plan.Programs) == 0 {
			return usagef("--programs: the list is empty; write e.g. --programs 'lsr,cont(2)'")
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		p := newProgress(cmd.ErrOrStderr())
		plan.Progress = func(program, what string) { p.show("%s: %s", program, what) }
		rows, err := calibrate.Run(cmd.Context(), plan)
		p.clear()
		switch {
		case errors.Is(err, context.Canceled):
			w := cmd.OutOrStdout()
			if err := printRows(w, rows); err != nil {
				return err
			}
			fmt.Fprintln(w, "interrupted: there would have been more rows")
			return redOr(rows, err)
		case err != nil:
			return usagef("--programs: %v", err)
		}
		if err := printRows(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
		if err := out.json(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
		return redOr(rows, nil)
	}
	return cmd
}

// redOr is how a calibration ends: with a finding if a row is not as it should be, else with err.
func redOr(rows []calibrate.Row, err error) error {
	if !calibrate.Check(rows) {
		return errFinding
	}
	return err
}

// printRows prints what was compared. What was expected stands only where it is not what was found.
func printRows(w io.Writer, rows []calibrate.Row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\tprogram\tcompared\tfound\texpected\tchance")
	red := 0
	for _, r := range rows {
		verdict, want, chance := "ok", r.Want, ""
		if !r.OK {
			verdict = "RED"
			red++
		}
		if want == r.Got {
			want = ""
		}
		if r.Rate {
			chance = fmt.Sprintf("%.2g", r.P)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", verdict, r.Program, r.What, r.Got, want, chance)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if red == 0 {
		_, err := fmt.Fprintf(w, "%d rows, all as expected\n", len(rows))
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d rows are not as expected\n", red, len(rows))
	return err
}
