// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/job"
)

func init() { register(keepCmd) }

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

func keepCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "keep FILE NAME",
		Short: "add a failing schedule to the corpus",
		Long: `keep replays a schedule and, if it still fails, copies it to corpus/schedules/NAME.schedule, where it stays when the
findings folder is emptied.`,
		Example: "  go run ./stress keep findings/lockd-start-7f3a.schedule lockd-null-wake",
		Args:    args(2, 2, "the schedule FILE or its new NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, name := args[0], args[1]
			if !goodName.MatchString(name) {
				return usagef("the name %q will not do; use lower case letters, digits, dots and dashes", name)
			}
			root, err := moduleRoot()
			if err != nil {
				return err
			}
			to := filepath.Join(root, "corpus", "schedules", name+".schedule")
			if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
				return usagef("%s is there already; choose another NAME, or remove it", shown(to))
			}
			shop, err := openWorkshop(root)
			if err != nil {
				return err
			}
			defer shop.close()
			f, err := readSchedule(shop, file)
			if err != nil {
				return err
			}
			res, err := f.watched(cmd, shop)
			if err != nil {
				return err
			}
			if err := f.stale(res); err != nil {
				return err
			}
			if res.Verdict == job.Clean {
				return usagef("%s: the schedule does not fail; only those that do are kept", file)
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := writeFile(to, f.text); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "kept %s: %s: %s\n", shown(to), res.Oracle, res.Title)
			if m := f.schedule.Meta["mutant"]; looksLikeFile(m) {
				fmt.Fprintf(cmd.OutOrStdout(), "go test ./stress replays it with %s, which has to stay; CONTRIBUTING.md, "+
					"\"Add a mutant\", says how to keep it, and then the line \"mutant:\" takes its name\n", m)
			}
			return nil
		},
	}
}
