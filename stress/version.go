// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/mutant"
)

func init() { register(versionCmd) }

func versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "say what this command was built from",
		Example: "  go run ./stress version",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			revision := "unknown revision"
			if info, ok := debug.ReadBuildInfo(); ok {
				values := map[string]string{}
				for _, s := range info.Settings {
					values[s.Key] = s.Value
				}
				if r := values["vcs.revision"]; r != "" {
					revision = r[:min(len(r), 12)]
					if values["vcs.modified"] == "true" {
						revision += " with changes"
					}
				} else if v := info.Main.Version; v != "" && v != "(devel)" {
					revision = v
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "svcfuzz %s, core of Linux %s, %s %s/%s\n",
				revision, mutant.TreeEra, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
