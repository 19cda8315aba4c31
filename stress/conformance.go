// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"errors"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/replay"
)

func init() { register(conformanceCmd) }

// conformanceCmd holds the port, or another server, against the recordings of real kernels.
func conformanceCmd() *cobra.Command {
	var readme string
	var opt replay.Options
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "play what was sent to real kernels to the port, and compare octet by octet",
		Long: `conformance starts lockd and the NFSv4 callback service in this process, set up as the recorded kernels were, sends
each of them what that kernel got, and compares every octet of the answers, what became of the connection, and what
the server then called at the client. corpus/kernel has the recordings, and says where and why 3.19 differs. Ends
with 1 if a difference is not explained, or an explanation explains nothing. Some of the requests come from ports
that only root has; without these rights they are left out, and named.

With --against it asks another server, and shows how far it is from each kernel; nothing explains a difference then.`,
		Example: `  go run ./stress conformance
  go run ./stress conformance --group nlm-proc,nlm-range --kernel 6.18
  go run ./stress conformance --case 'nlm-v4-tcp-*-lock-*'
  go run ./stress conformance --against 127.0.0.1:4045 --group nlm-rpc,nlm-rm
  go run ./stress conformance --readme README.md`,
		Args: args(0, 0, "nothing"),
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&opt.Groups, "group", nil, "play these groups alone, `NAME,...`")
	fs.StringSliceVar(&opt.Kernels, "kernel", nil, "compare with these kernels alone, `NAME,...` of 6.1, 6.12, 6.18, 7.3")
	fs.StringVar(&opt.Case, "case", "", "report these cases alone, a `PATTERN` as of file names; what leads to them is played")
	fs.StringVar(&opt.Against, "against", "", "ask the lockd or callback service at `HOST:PORT` instead, over UDP and TCP")
	fs.StringVar(&readme, "readme", "", "write the counts into this `FILE`, between the conformance markers,\nand the differences into corpus/kernel/README.md")
	addJSON(fs, "the results")

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkConformance(cmd, opt); err != nil {
			return err
		}
		if readme != "" {
			if err := checkBlock(readme, "conformance"); err != nil {
				return err
			}
		}
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		opt.Folder = filepath.Join(root, "corpus", "kernel")
		out, err := openJSON(cmd)
		if err != nil {
			return err
		}
		defer out.discard()
		live := newProgress(cmd.ErrOrStderr())
		opt.Progress = func(played, of int) { live.show("%s of %s played", count(int64(played)), count(int64(of))) }
		report, err := replay.Conform(cmd.Context(), opt)
		live.clear()
		var usage *replay.UsageError
		switch {
		case errors.As(err, &usage):
			return usagef("%s", usage.What)
		case err != nil:
			return err
		}
		if err := report.Text(cmd.OutOrStdout()); err != nil {
			return err
		}
		if err := out.json(cmd.OutOrStdout(), report.Summary()); err != nil {
			return err
		}
		if readme != "" {
			if err := writeConformance(readme, opt.Folder, report); err != nil {
				return err
			}
		}
		if !report.OK() {
			return errFinding
		}
		return nil
	}
	return cmd
}

// writeConformance writes the counts into readme, and what differs into the page beside the recordings.
func writeConformance(readme, folder string, report *replay.Report) error {
	var counts, differences bytes.Buffer
	report.CountsTable(&counts)
	report.DifferencesTable(&differences)
	if err := replaceBlock(readme, "conformance", counts.String()); err != nil {
		return err
	}
	return replaceBlock(filepath.Join(folder, "README.md"), "differences", differences.String())
}

// checkConformance says what is wrong with the flags by themselves.
func checkConformance(cmd *cobra.Command, opt replay.Options) error {
	flags := cmd.Flags()
	for _, part := range []string{"group", "kernel", "case"} {
		if !flags.Changed(part) {
			continue
		}
		if value := flags.Lookup(part).Value.String(); value == "" || value == "[]" {
			return usagef("--%[1]s: nothing is named; name something, or leave --%[1]s out", part)
		}
		if flags.Changed("readme") {
			return usagef("--readme writes the whole tables, --%s asks for a part of them; drop one of them", part)
		}
	}
	if !flags.Changed("against") {
		return nil
	}
	if host, port, err := net.SplitHostPort(opt.Against); err != nil || host == "" || port == "" {
		return usagef("--against %s: is no address; write host:port", opt.Against)
	}
	if flags.Changed("readme") {
		return usagef("--against and --readme are both given; the tables of the README are about the port alone")
	}
	return nil
}
