// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/calibrate"
)

func TestCalibrateCommand(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := stress(t, dir, "calibrate", "--programs", "lsr, twostage(1)", "--runs", "2000",
		"--json", "rows.json")
	if code != exitOK || !strings.Contains(out, "rows, all as expected") || !strings.Contains(out, "source DPOR, blocked") {
		t.Errorf("exit %d:\n%s%s", code, out, errs)
	}
	data, err := os.ReadFile(filepath.Join(dir, "rows.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []calibrate.Row
	if err := json.Unmarshal(data, &rows); err != nil || len(rows) < 30 || !calibrate.Check(rows) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	for _, test := range []struct{ args, want string }{
		{"--runs 0", "--runs 0: not a number of schedules; write 1 or more"},
		{"--programs ,", "--programs: the list is empty; write e.g."},
		{"--programs nope", `--programs: unknown program "nope"; choose lsr`},
		{"--programs etcd-3077", "etcd-3077 has no model"},
		{"--programs pad(x)", "pad takes a size from 0 to 1000; write e.g. pad(5)"},
		{"lsr", `"lsr" is one argument too many`},
	} {
		code, _, errs := stress(t, dir, append([]string{"calibrate"}, strings.Fields(test.args)...)...)
		if code != exitUsage || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, want %s", test.args, code, errs, test.want)
		}
	}
}

func TestPrintRows(t *testing.T) {
	var b strings.Builder
	if err := printRows(&b, []calibrate.Row{
		{Program: "lsr", What: "all schedules", Got: "204", Want: "204", OK: true},
		{Program: "lsr", What: "pos", Got: "3.1 %", Want: "3.3 %", Rate: true, P: 1e-9},
	}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, want := range []string{
		"program compared found expected chance", "ok lsr all schedules 204", "RED lsr pos 3.1 % 3.3 % 1e-09",
		"1 of 2 rows are not as expected",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %q, want %q", i, got, want)
		}
	}
}
