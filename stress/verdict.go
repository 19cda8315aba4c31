// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/verdict"
)

func init() { register(verdictCmd) }

// verdictSeed makes the matrix the same every time.
const verdictSeed = 1

// verdictCmd is what the bare command runs.
func verdictCmd() *cobra.Command {
	var readme string
	c := verdict.Config{}
	cmd := &cobra.Command{
		Use:   "verdict",
		Short: "answer the question of 2014 for every way to start the thread (the default)",
		Long: `verdict plants every order of "create the thread, store rq_task, wake it" into every era of the core, explores the
start of lockd and of the NFSv4.0 callback service, and compares what it finds with what the kernel's developers
said in September 2014. Clean rows were covered completely up to the number of preemptions that is shown, and
sampled beyond. Each failing row gets a schedule file and a minimal interleaving. Ends with 0 if all is as expected.`,
		Example: `  go run ./stress
  go run ./stress verdict --json verdict.json
  go run ./stress verdict --readme README.md`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.StringVar(&readme, "readme", "", "write the table into this `FILE`, between the verdict markers")
	fs.Uint64Var(&c.Seed, "seed", verdictSeed, "seed of the sampled schedules")
	fs.IntVar(&c.Samples, "samples", 2000, "sampled schedules of each row")
	fs.DurationVar(&c.Limit, "limit", 5*time.Minute, "how long one row may take to cover one number of preemptions")
	fs.BoolVar(&c.Deep, "deep", false, "cover two preemptions of the callback service with a whole call too (a minute more)")
	addOutputs(fs, "the matrix")

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case c.Samples < 1:
			return usagef("--samples %d: not a number of schedules; write 1 or more", c.Samples)
		case c.Limit <= 0:
			return usagef("--limit %s: not a time to run; write e.g. --limit 100s", c.Limit)
		}
		if readme != "" {
			if err := checkBlock(readme, "verdict"); err != nil {
				return err
			}
		}
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		out, err := openOutputs(cmd, root)
		if err != nil {
			return err
		}
		defer out.discard()
		c.Root, c.Findings, c.Jobs = root, out.findings.dir, runtime.NumCPU()
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "seed %d\n", c.Seed)
		live := newProgress(cmd.ErrOrStderr())
		start := time.Now()
		c.Done = func(r *verdict.Row, n, of int) {
			live.show("%d of %d rows, %s: %s %s %s is %s", n, of, short(time.Since(start)), r.Era, r.Order, r.Service, r.Verdict)
		}
		rows, err := verdict.Run(cmd.Context(), c)
		live.clear()
		if err != nil {
			return err
		}
		if err := verdict.Text(w, rows); err != nil {
			return err
		}
		if err := out.json.json(w, rows); err != nil {
			return err
		}
		if readme != "" {
			var b bytes.Buffer
			if err := verdict.Markdown(&b, rows); err != nil {
				return err
			}
			if err := replaceBlock(readme, "verdict", b.String()); err != nil {
				return err
			}
		}
		if !verdict.AllOK(rows) {
			return errFinding
		}
		return nil
	}
	return cmd
}
