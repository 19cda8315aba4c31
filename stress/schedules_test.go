// SPDX-License-Identifier: MIT

//go:build !race

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// Every schedule that is kept still fails, by its decisions or, where the code has moved since, by its constraints. Those
// of a careless administrator are data races first for the race detector, hence the build tag.
func TestKeptSchedulesFail(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "corpus", "schedules", "*.schedule"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d schedules, %v", len(files), err)
	}
	shop, err := openWorkshop(root)
	if err != nil {
		t.Fatal(err)
	}
	defer shop.close()
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".schedule")
		t.Run(name, func(t *testing.T) {
			f, err := readSchedule(shop, file)
			if err != nil {
				t.Fatal(err)
			}
			cmd := &cobra.Command{}
			cmd.SetContext(t.Context())
			res, err := f.run(cmd, shop)
			if err != nil {
				t.Fatal(err)
			}
			if res.By != job.ByDecisions && res.By != job.ByConstraints || res.Oracle != f.schedule.Meta["oracle"] {
				t.Fatalf("%s %s: %s; %s", res.Verdict, res.Oracle, res.Title, res.Diverged)
			}
			t.Logf("%s: %s, by %s, depth %d", res.Oracle, res.Title, res.By, res.Depth)
		})
	}
}
