// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

// pages are what a person reads first.
var pages = []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"}

// page reads a page, without what is generated.
func page(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?s)<!-- [a-z-]+:begin -->.*?<!-- [a-z-]+:end -->`).ReplaceAllString(string(data), "")
}

// TestDocs compares the pages with what they speak of: files, make targets, commands and their flags, scenarios, oracles.
func TestDocs(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		text := page(t, name)
		for _, m := range regexp.MustCompile("(?m)(?:`|^ {4,})make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no make %s", name, m[1])
			}
		}
		checkFiles(t, name, text)
		for _, m := range regexp.MustCompile("go run (?:-trimpath )?\\./stress ([^`#|\n]*)").FindAllStringSubmatch(text, -1) {
			checkCommand(t, name, strings.Fields(m[1]))
		}
	}
	if n := strings.Count(page(t, "ARCHITECTURE.md"), "\n"); n >= 150 {
		t.Errorf("ARCHITECTURE.md has %d lines; it is to be read at one go, in less than 150", n)
	}
	for _, block := range []string{"run", "verdict", "track-record", "conformance"} {
		if err := checkBlock("../README.md", block); err != nil {
			t.Error(err)
		}
	}
}

// checkFiles looks for what a page names as a file, from the root of the module.
func checkFiles(t *testing.T, name, text string) {
	t.Helper()
	files := regexp.MustCompile("`((?:\\.ci|\\.github|\\.clusterfuzzlite|target|stress|fuzz|corpus)(?:/[A-Za-z0-9_./-]*)?|[a-z_]+_test\\.go)`")
	for _, m := range files.FindAllStringSubmatch(text, -1) {
		if slices.Contains(madeLater, m[1]) {
			continue
		}
		found := false
		for _, dir := range []string{"..", "../target/kernel", "../stress/explore", "../stress/oracle"} {
			_, err := os.Stat(filepath.Join(dir, m[1]))
			found = found || err == nil
		}
		if !found {
			t.Errorf("%s: there is no %s", name, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^):#]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("%s: there is no %s", name, m[1])
		}
	}
}

// madeLater are files that a command makes, and the examples of CONTRIBUTING.md.
var madeLater = []string{"corpus/schedules", "fuzz/testdata/fuzz", "fuzz/testdata/fuzz/TARGET", "fuzz/oss-fuzz/out",
	"corpus/wire/TARGET", "corpus/mutants/NAME.patch", "corpus/eras/NAME.patch", "stress/scenario/mounts.go",
	"stress/oracle/temp.go"}

// checkCommand looks at one command line of a page: whether the command is there, and what it is given.
func checkCommand(t *testing.T, name string, words []string) {
	t.Helper()
	if len(words) == 0 || words[0] == "help" {
		return
	}
	root := rootCmd()
	cmd, _, err := root.Find(words[:1])
	if err != nil || cmd == root {
		t.Errorf("%s: there is no command %s", name, words[0])
		return
	}
	all, err := mutant.Load("../corpus/mutants")
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range words[1:] {
		flag, ok := strings.CutPrefix(w, "--")
		switch {
		case ok && cmd.Flags().Lookup(flag) == nil:
			t.Errorf("%s: %s has no flag %s", name, words[0], w)
		case ok && flag == "mutant" && !strings.HasSuffix(words[i+2], ".patch"):
			if _, err := mutant.Find(all, words[i+2]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case i == 0 && words[0] == "run" && w != "two-mounts": // the example of CONTRIBUTING.md
			if _, err := scenario.Find(w); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestDocsTables compares the tables of the README with the code.
func TestDocsTables(t *testing.T) {
	text := page(t, "README.md")
	row := func(kind, name, doc string) {
		if line := "| `" + name + "` | " + doc + " |\n"; !strings.Contains(text, line) {
			t.Errorf("README.md: the table of %ss lacks this row:\n%s", kind, line)
		}
	}
	for _, s := range scenario.All() {
		row("scenario", s.Name, s.Doc)
	}
	for _, o := range oracle.All() {
		row("oracle", o.Name, o.Doc)
	}
	n := strings.Count(text, "\n| `")
	if want := len(scenario.All()) + len(oracle.All()); n != want {
		t.Errorf("README.md: the tables have %d rows, there are %d scenarios and oracles", n, want)
	}
}

var update = flag.Bool("update", false, "run the failing run of the README anew and paste what it prints")

// TestDocsRun holds the failing run of the README to its form. With -update it makes it anew, which is wanted now and then:
// steps and line numbers move with the code.
func TestDocsRun(t *testing.T) {
	const readme = "../README.md"
	command := regexp.MustCompile("`go run -trimpath \\./stress (run lockd-start [^`]*)`").FindStringSubmatch(page(t, "README.md"))
	if command == nil {
		t.Fatal("README.md does not say which command prints its failing run")
	}
	if *update {
		var out, errs bytes.Buffer
		args := append(strings.Fields(command[1]), "--findings", t.TempDir())
		if code := execute(args, &out, &errs); code != exitFinding {
			t.Fatalf("exit code %d\n%s%s", code, &out, &errs)
		}
		shown := out.String()
		shown = shown[strings.Index(shown, "FAIL "):strings.Index(shown, "\nreplay:")]
		if err := replaceBlock(readme, "run", "```\n"+shown+"```\n"); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(data), "<!-- run:begin -->\n")
	block, _, _ = strings.Cut(block, "<!-- run:end -->")
	for _, want := range []string{
		"```\nFAIL lockd-start: oops: NULL pointer dereference in svcXprtDoEnqueue, task softirq/udp\n",
		"\nmutant lockd-run-before-rq-task  era 3.19  back end sim ", "wake_up_process(lockd)", "clear_bit RQ_BUSY",
		"rq_task -> NULL", "<- oops\n", "never reached: mount  store rq_task\n```\n",
	} {
		if !strings.Contains(block, want) {
			t.Errorf("README.md: the failing run lacks %q; go test ./stress -run TestDocsRun -update makes it anew", want)
		}
	}
}
