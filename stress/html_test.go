// SPDX-License-Identifier: MIT

package main

import (
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// read is the content of a file.
func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The page of a finding is where it was asked for and beside the schedule, and a replay gives it again.
func TestPageOfAFinding(t *testing.T) {
	t.Chdir(tree) // names are short from where the command runs
	dir := t.TempDir()
	page, object := filepath.Join(dir, "page.html"), filepath.Join(dir, "out.json")
	code, stdout, stderr := stress(t, tree, "run", "careless-admin", "--params", "mutex=0", "--seed", "1", "--findings", dir,
		"--html", page, "--json", object)
	if code != exitFinding || stderr != "" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	files, err := filepath.Glob(filepath.Join(dir, "careless-admin-*.schedule"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	text := read(t, page)
	if text != read(t, beside(files[0], ".html")) {
		t.Error("the page that was asked for is another one than that of the findings folder")
	}
	for _, want := range []string{
		"<!DOCTYPE html>", "a victim was chosen that nobody can stop",
		"go run ./stress replay " + html.EscapeString(job.ShellWord(shown(files[0]))), "RQ_VICTIM", "RqTask: nfsd",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if !strings.Contains(stdout, "all steps in "+shown(beside(files[0], ".html"))) {
		t.Errorf("the output does not name the page:\n%s", stdout)
	}
	if strings.Contains(read(t, object), "DOCTYPE") {
		t.Error("the JSON holds the whole page")
	}

	again := filepath.Join(dir, "again.html")
	code, stdout, _ = stress(t, tree, "replay", files[0], "--html", again)
	if code != exitFinding || !strings.Contains(read(t, again), "RqTask: nfsd") {
		t.Errorf("replay: exit code %d, %q", code, stdout)
	}
}

// Where there is nothing to draw an old page stays, and that is said.
func TestNoPage(t *testing.T) {
	page := put(t, "page.html", "old")
	code, stdout, _ := stress(t, tree, "run", "careless-admin", "--schedules", "5", "--html", page)
	if code != 0 || !strings.Contains(stdout, "--html: nothing failed, so "+page+" was not written\n") || read(t, page) != "old" {
		t.Errorf("exit code %d, %q, %q", code, stdout, read(t, page))
	}
	for _, c := range []struct{ args, want string }{
		{"run careless-admin --backend free --html x.html", "nobody records"},
		{"run careless-admin --html=", "the name is empty"},
		{"run careless-admin --html /nowhere/x.html", "cannot be written"},
		{"mutants --only canary --junit=", "--junit: the name is empty"},
	} {
		code, _, stderr := stress(t, tree, strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %q", c.args, code, stderr)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(page), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
