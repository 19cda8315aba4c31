// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/bench"
)

func init() { register(benchCmd) }

func benchCmd() *cobra.Command {
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "measure the sim back end against the bare coroutine switch",
		Long: `bench measures what a step and a schedule of the sim back end cost, next to the bare coroutine switch that bounds
them, on one core and in one run: compare the figures of one run with each other, not with another machine's. The start
race of lockd, as a tiny program, is run under every chooser and search, against the same program on nothing but
coroutines: "1.50 x NAME" says that it takes one and a half times as long as NAME did in the same rounds.`,
		Example: `  go run ./stress bench
  go run ./stress bench --each 5s --json bench.json`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.DurationVar(&each, "each", 2*time.Second, "how long to measure each figure")
	addJSON(fs, "the figures")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if each <= 0 {
			return usagef("--each %s: not a time to measure; write e.g. --each 2s", each)
		}
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		figures, err := bench.Measure(each)
		if err != nil {
			return faultf("%v", err)
		}
		tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, f := range figures {
			ratio := ""
			if f.Of != "" {
				ratio = fmt.Sprintf("%.2f x %s", f.Ratio, f.Of)
			}
			fmt.Fprintf(tw, "%s\t%.2f\t%s\t%s\t\n", f.Name, f.Value, f.Unit, ratio)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		return out.json(cmd.OutOrStdout(), figures)
	}
	return cmd
}
