// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// TestExploreWrongUse: each mistake is one line, and nothing is begun.
func TestExploreWrongUse(t *testing.T) {
	names := strings.NewReplacer("FILE", put(t, "file", "x\n"), "FOLDER", t.TempDir()) // which may have spaces
	for _, test := range []struct{ args, want string }{
		{"", "explore: the SCENARIO (stress list names them) is missing"},
		{"lockd-stop", `no scenario "lockd-stop": there are lockd-start, `},
		{"cont(x)", `program "cont(x)": cont takes a size from `},
		{"lsr --params k=1", `program lsr has no parameters; leave "k=1" out`},
		{"lockd-start --params clients=9", "lockd-start: clients=9 is not in 1..3"},
		{"lsr --search dfs", `unknown chooser "dfs"; choose `},
		{"lsr --search bounded:n=2", `search "bounded:n=2": it goes from no preemption upwards by itself; write bounded`},
		{"lsr --search pos+meteor=1", `search "pos+meteor=1": faults: "meteor=1" is no budget; write KIND=NUMBER with `},
		{"lsr --search bounded+timer=1", `search "bounded+timer=1": it goes through preemptions and not through faults; write dpor+timer=1`},
		{"lsr --faults meteor=1", `faults: "meteor=1" is no budget; write KIND=NUMBER with a KIND of alloc, `},
		{"lsr --shard 5/4 --seed 1 --schedules 9", "--shard 5/4: names no part; write 1/4 up to 4/4"},
		{"lsr --shard 1/4 --seed 1", "--shard 1/4: parts of one whole have one seed and one budget; give --seed and "},
		{"lsr --shard 1/4 --schedules 9", "--shard 1/4: parts of one whole"},
		{"lsr --workers 0", "--workers 0: nobody would work; write 1 or more"},
		{"lsr --max-findings -1", "--max-findings -1: not a number of findings"},
		{"lsr --first --max-findings 2", "--first and --max-findings are both given; choose one"},
		{"lsr --for 1s --schedules 9", "--schedules and --for are both given; choose one"},
		{"lsr --memory pso", "--memory: "},
		{"lsr --state FILE", ": no folder can be made there (not a directory); name another with --state"},
		{"lsr --resume --state FOLDER", ": there is no exploration to go on with; leave --resume out to begin one"},
		{"lsr --junit FILE/x", "--junit FILE/x: cannot be written (not a directory)"},
	} {
		args := []string{"explore"}
		for _, arg := range strings.Fields(test.args) {
			args = append(args, names.Replace(arg))
		}
		code, _, stderr := stress(t, tree, args...)
		if want := names.Replace(test.want); code != exitUsage || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want one line with %q", test.args, code, stderr, want)
		}
	}
}

// TestExploreComplete: a small program is gone through to its end, with its finding and without.
func TestExploreComplete(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := stress(t, tree, "explore", "lsr-fixed", "--seed", "7", "--state", filepath.Join(dir, "a"))
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "seed 7\nlsr-fixed (era 3.19, back end sim)") ||
		!strings.Contains(stdout, "\ncomplete: 3 traces, no finding; every interleaving ") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	state, file := filepath.Join(dir, "b"), filepath.Join(dir, "out.json")
	xml, page := filepath.Join(dir, "x"), filepath.Join(dir, "p")
	code, stdout, _ = stress(t, tree, "explore", "lsr", "--state", state, "--json", file, "--junit", xml, "--html", page)
	if code != exitFinding || !strings.Contains(stdout, "\ncomplete: 4 traces, 1 finding; ") ||
		!strings.Contains(stdout, "\nFAIL lsr: oops: ") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	var x explored
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &x); err != nil || !x.Explored.Complete || x.Explored.Traces != 4 ||
		x.Verdict != "oops" || len(x.Explored.Findings) != 1 || len(x.ScheduleFiles) != 1 {
		t.Fatalf("%v: %s", err, data)
	}
	if data, err = os.ReadFile(xml); err != nil || !strings.Contains(string(data), `failures="1"`) {
		t.Errorf("%v: %s", err, data)
	}
	if data, err = os.ReadFile(page); err != nil || !strings.Contains(string(data), "<html") {
		t.Errorf("%v: %.200s", err, data)
	}
	name := x.ScheduleFiles[0]
	if !filepath.IsAbs(name) {
		name = filepath.Join(tree, name)
	}
	if code, stdout, stderr := stress(t, tree, "replay", name); code != exitFinding {
		t.Errorf("replay: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// TestExploreResidual: a search that does not come to its end says what each of its parts can say.
func TestExploreResidual(t *testing.T) {
	code, stdout, stderr := stress(t, tree, "explore", "lockd-start", "--seed", "7", "--schedules", "6000", "--faults",
		"timer=1", "--state", filepath.Join(t.TempDir(), "s"))
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	for _, want := range []string{"  dpor  ", "  bounded  ", "  dpor+timer=1  ", "  pos+timer=1  ",
		"dpor did not come to its end: it ran ",
		"\nmissed: ", "\nnew: ", "\nof all: "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	if strings.Contains(stdout, "complete") {
		t.Errorf("it claims too much: %s", stdout)
	}
}

// TestExploreMutant: a planted bug is found in a scratch build, and its state kept from there.
func TestExploreMutant(t *testing.T) {
	state := filepath.Join(t.TempDir(), "s")
	code, stdout, stderr := stress(t, tree, "explore", "lockd-start", "--mutant", "lockd-run-before-rq-task", "--first",
		"--seed", "1", "--schedules", "20000", "--state", state)
	if code != exitFinding || !strings.Contains(stdout, "FAIL lockd-start: oops: NULL pointer dereference") ||
		!strings.Contains(stdout, "mutant lockd-run-before-rq-task") {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if names, err := filepath.Glob(filepath.Join(state, "found", "*.schedule")); err != nil || len(names) != 1 {
		t.Errorf("%v: %v", err, names)
	}
	code, _, stderr = stress(t, tree, "explore", "lockd-start", "--mutant", "lockd-run-before-rq-task", "--resume",
		"--schedules", "30000", "--state", state)
	if code != exitUsage || !strings.Contains(stderr, `was begun with schedules "20000", and this is "30000"`) {
		t.Errorf("resumed with another budget: exit code %d, %q", code, stderr)
	}
}

// TestExploreInterrupted: an interrupted search says how far it came, and goes on with its seed.
func TestExploreInterrupted(t *testing.T) {
	state := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(binary, "explore", "callback-start", "--seed", "5", "--for", "5m", "--state", state)
	cmd.Dir = tree
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	for range 3000 {
		if info, err := os.Stat(filepath.Join(state, "journal")); err == nil && info.Size() > 1000 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code says it
	const hint = "go on:   the same command with --resume"
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(out.String(), hint) {
		t.Errorf("exit code %d, %s", code, &out)
	}
	code, _, stderr := stress(t, tree, "explore", "callback-start", "--for", "1s", "--state", state)
	if code != exitUsage || !strings.Contains(stderr, "holds an exploration that has not come to its end (seed 5)") {
		t.Errorf("begun anew: exit code %d, %q", code, stderr)
	}
	code, stdout, stderr := stress(t, tree, "explore", "callback-start", "--for", "1s", "--state", state, "--resume")
	if code != exitOK || !strings.HasPrefix(stdout, "seed 5\ncallback-start (") {
		t.Errorf("gone on: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// TestExploreJUnit: a clean search is one case that passed.
func TestExploreJUnit(t *testing.T) {
	var b strings.Builder
	r := &job.Result{Job: job.Job{Scenario: "x"}, Explored: &job.Explored{}}
	if err := exploreJUnit(&b, r); err != nil || !strings.Contains(b.String(), `tests="1" failures="0"`) {
		t.Errorf("%v: %s", err, &b)
	}
}
