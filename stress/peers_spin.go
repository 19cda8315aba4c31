// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/stress/spin"
)

// peersSpinCmd is the part of peers that has a table of its own.
func peersSpinCmd() *cobra.Command {
	var each time.Duration
	var only string
	cmd := &cobra.Command{
		Use:   "spin",
		Short: "compare the explorer with SPIN on the same small programs",
		Long: `spin verifies tiny programs twice: as models in Promela with SPIN, and as they are with the explorer, on
one core and in one run: compare the figures of one run with each other. It replays SPIN's shortest counterexample on
the floor. Ends with 1 if the two disagree: about the number of states, whether there is a bug, how short the
shortest counterexample is, or what happens along it. Needs spin and gcc: make install-peers-spin`,
		Example: `  go run ./stress peers spin
  go run ./stress peers spin --only 'lsr,pad(60)' --json spin.json`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.DurationVar(&each, "each", 3*time.Second, "how long each search of the explorer may take")
	fs.StringVar(&only, "only", "", "these programs alone, `NAME,...` of lsr, lsr-fixed, pad(N), cont(N)")
	addJSON(fs, "the table")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if each <= 0 {
			return usagef("--each %s: not a time to search; write e.g. --each 3s", each)
		}
		names, err := peerPrograms(only)
		if err != nil {
			return err
		}
		if err := spin.Installed(); err != nil {
			return usagef("%v", err)
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		live := newProgress(cmd.ErrOrStderr())
		stop := live.waiting("verifying %d programs", len(names))
		var rows []spin.Row
		err = spin.Compare(cmd.Context(), names, each, func(r []spin.Row) { rows = append(rows, r...) })
		stop()
		live.clear()
		w := cmd.OutOrStdout()
		if err := printPeers(w, rows); err != nil {
			return err
		}
		var differs *spin.DisagreeError
		if errors.As(err, &differs) {
			fmt.Fprintf(w, "\n%s\n", differs)
			return errors.Join(out.json(w, rows), errFinding)
		}
		if err != nil {
			return err
		}
		var built time.Duration
		for _, r := range rows {
			built += r.Build
		}
		fmt.Fprintf(w, "\npeers: SPIN and the explorer agree about %s; SPIN's shortest counterexamples fail on the floor, too.\n"+
			"SPIN's verifiers took another %s to compile, and their times include their start\n",
			plural(len(names), "program"), short(built))
		return out.json(w, rows)
	}
	return cmd
}

// peerPrograms are the programs that only names, or the usual ones.
func peerPrograms(only string) ([]string, error) {
	if only == "" {
		return spin.Programs, nil
	}
	names := strings.Split(only, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if _, err := program.Parse(names[i]); err != nil {
			return nil, usagef("--only: %v", err)
		}
		if err := spin.Models(names[i]); err != nil {
			return nil, usagef("--only: %v", err)
		}
	}
	return names, nil
}

// printPeers prints the table.
func printPeers(w io.Writer, rows []spin.Row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "program\ttool\tmode\tcount\ttime\tper second\tbug\tshortest")
	for i, r := range rows {
		name := r.Program
		if i > 0 && rows[i-1].Program == name {
			name = ""
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", name, r.Tool, r.Mode, count(int64(r.Count)), r.Unit,
			r.Elapsed.Round(10*time.Microsecond), count(int64(float64(r.Count)/r.Elapsed.Seconds())), found(r), trailOf(r))
	}
	return tw.Flush()
}

// found says whether a row saw the bug.
func found(r spin.Row) string {
	switch {
	case r.Bug && r.Note != "":
		return "found, " + r.Note
	case r.Bug:
		return "found"
	case !r.Whole:
		return r.Note
	}
	return "none"
}

// trailOf is the length of the shortest counterexample of a row.
func trailOf(r spin.Row) string {
	if r.Trail == 0 {
		return "-"
	}
	return fmt.Sprint(r.Trail)
}
