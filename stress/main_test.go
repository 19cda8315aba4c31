// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
)

// binary is the built command, and tree a copy of what its scratch builds need, so that tests may write into it.
var binary, tree string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "svcfuzz-stress-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary, tree = filepath.Join(dir, "stress"), filepath.Join(dir, "tree")
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		if err := copyTree(); err != nil {
			panic(err)
		}
		code := m.Run()
		if err := goleak.Find(); code == 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

func copyTree() error {
	for _, part := range []string{"target", "stress", "corpus"} {
		if err := os.CopyFS(filepath.Join(tree, part), os.DirFS(filepath.Join("..", part))); err != nil {
			return err
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stress runs the built command in dir.
func stress(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("stress %q: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), signOfLife.ReplaceAllString(errs.String(), "")
}

// signOfLife is a line that a command writes on standard error every ten seconds of its work: on a machine that is busy
// any command may get so far.
var signOfLife = regexp.MustCompile(`(?m)^(.*, [0-9.hms]+s|.* of [0-9,]+ played|.*schedules in [0-9.hms]+, [0-9,]+/s)\n`)

// put writes a file of the test and returns its name.
func put(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func scheduleText(meta map[string]string, segments ...explore.Segment) string {
	return string((&explore.Schedule{Meta: meta, Segments: segments}).Text())
}

// TestWrongUse: each mistake is one line that names the thing, the reason and the remedy, and exit code 2.
func TestWrongUse(t *testing.T) {
	whole := scheduleText(map[string]string{"scenario": "lockd-start"}, explore.Segment{Task: "mount", Steps: 3})
	file := put(t, "file", "x\n")
	const svc = "target/lockd/svc.go"
	const diff = "diff --git a/" + svc + " b/" + svc + "\n--- a/" + svc + "\n+++ b/" + svc + "\n@@ -1,2 +1,2 @@\n %s\n-%s\n+%s\n"
	schedule := func(text string) string { return put(t, "x.schedule", text) }
	with := func(key, value string) string {
		return schedule(strings.Replace(whole, "scenario: lockd-start\n", "scenario: lockd-start\n"+key+": "+value+"\n", 1))
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"fly"}, `unknown command "fly"; choose verdict, list, run`},
		{[]string{"help", "fly"}, `help: unknown command "fly"; choose verdict, list, run`},
		{[]string{"help", "run", "lockd-start"}, `help: unknown command "run lockd-start"`},
		{[]string{"--bogus"}, "unknown flag: --bogus; see stress --help"},
		{[]string{"run"}, "run: the SCENARIO (stress list names them) is missing; the form is: stress run SCENARIO"},
		{[]string{"run", "lockd-start", "more"}, `run: "more" is one argument too many`},
		{[]string{"run", "lockd-start", "--bogus"}, "run: unknown flag: --bogus; see stress run --help"},
		{[]string{"run", "lockd-stop"}, `no scenario "lockd-stop": there are lockd-start, `},
		{[]string{"run", "lockd-start", "--chooser", "dfs"}, `--chooser: unknown chooser "dfs"; choose random, pct`},
		{[]string{"run", "lockd-start", "--chooser", "pct:d=x"}, `"x" is not a number; choose random, pct`},
		{[]string{"run", "lockd-start", "--backend", "warp"}, `unknown back end "warp"; choose sim or free`},
		{[]string{"run", "lockd-start", "--backend", "free", "--chooser", "pct"}, "--chooser: nobody chooses on the free back end"},
		{[]string{"run", "lockd-start", "--backend", "free", "--twice"}, "--twice: a run of the free back end cannot be repeated"},
		{[]string{"run", "lockd-start", "--mutant", "nope"}, `unknown mutant "nope" (known: `},
		{[]string{"run", "lockd-start", "--mutant", "nope.patch"}, "nope.patch: cannot read the patch: no such file"},
		{[]string{"run", "lockd-start", "--mutant", file}, "no diff in it (make one with git diff)"},
		{[]string{"run", "lockd-start", "--mutant", put(t, "a.patch", fmt.Sprintf(diff, "x", "y", "z"))}, "does not apply: " + svc},
		{[]string{"run", "lockd-start", "--era", "2.6"}, `unknown era "2.6" (known: 3.17, `},
		{[]string{"run", "lockd-start", "--params", "clients=9"}, "--params: lockd-start: clients=9 is not in 1..3"},
		{[]string{"run", "lockd-start", "--params", "wheels=4"}, `--params: lockd-start has no parameter "wheels": it has clients`},
		{[]string{"run", "lockd-start", "--params", "clients"}, `--params: parameter "clients" of lockd-start: want NAME=NUMBER`},
		{[]string{"run", "lockd-start", "--for", "-1s"}, "--for -1s: not a time to run; write e.g. --for 30s"},
		{[]string{"run", "lockd-start", "--for", "soon"}, `run: invalid argument "soon" for "--for" flag: write a time, as 30s or 10m; see`},
		{[]string{"run", "lockd-start", "--schedules", "-3"}, "--schedules -3: not a number of runs; write 1 or more"},
		{[]string{"run", "lockd-start", "--schedules", "0"}, "--schedules 0: not a number of runs"},
		{[]string{"run", "lockd-start", "--schedules", "9", "--for", "1s"}, "--schedules and --for are both given; choose one"},
		{[]string{"run", "lockd-start", "--seed", "-1"}, `run: invalid argument "-1" for "--seed" flag: write a whole number from 0 on; see`},
		{[]string{"run", "lockd-start", "--fail-at", "9..3"}, "--fail-at 9..3: names no step; write 20, or 1..60"},
		{[]string{"run", "lockd-start", "--json", file + "/x"}, "/x: cannot be written (not a directory); choose another place"},
		{[]string{"run", "lockd-start", "--json", t.TempDir()}, ": is a folder; name a file"},
		{[]string{"run", "lockd-start", "--json", ""}, "--json: the name is empty"},
		{[]string{"run", "lockd-start", "--findings", file}, ": no folder can be made there (not a directory); choose another place"},
		{[]string{"run", "lockd-start", "--findings", file + "/x"}, ": no folder can be made there (not a directory)"},
		{[]string{"run", "lockd-start", "--findings", ""}, "--findings: the name is empty"},
		{[]string{"replay"}, "replay: the schedule FILE is missing"},
		{[]string{"replay", "nope.schedule"}, "nope.schedule: cannot be read (no such file or directory); name a file that"},
		{[]string{"replay", schedule(whole[:len(whole)/2])}, "the file is cut short"},
		{[]string{"replay", file}, "not a schedule file: it must begin with"},
		{[]string{"replay", schedule(strings.Replace(whole, "mount 3", "mount three", 1))}, "line 4: \"three\" is not a positive number of steps"},
		{[]string{"replay", schedule(strings.Replace(whole, "scenario: lockd-start\n", "", 1))}, `its head lacks a line "scenario: NAME"; add one`},
		{[]string{"replay", schedule(strings.Replace(whole, "lockd-start", "nope", 1))}, `x.schedule: no scenario "nope"`},
		{[]string{"replay", schedule(strings.Replace(whole, "mount 3", "nobody 900", 1))}, "the schedule says nobody, which cannot run"},
		{[]string{"replay", with("hash", "00000000000000ff")}, "STALE: the trace hash is "},
		{[]string{"replay", with("params", "clients=9")}, "x.schedule: params: lockd-start: clients=9 is not in 1..3"},
		{[]string{"replay", with("mutant", "nope")}, `x.schedule: unknown mutant "nope"`},
		{[]string{"replay", with("era", "2.6")}, `x.schedule: unknown era "2.6"`},
		{[]string{"replay", with("fail_at", "x")}, `fail_at: "x" is not the number of a step; correct it`},
		{[]string{"replay", with("seed", "x")}, `seed: "x" is not a number; correct it`},
		{[]string{"keep", schedule(whole)}, "keep: the schedule FILE or its new NAME is missing"},
		{[]string{"keep", schedule(whole), "../x"}, `the name "../x" will not do; use lower case letters`},
		{[]string{"keep", schedule(whole), "x"}, "the schedule does not fail; only those that do are kept"},
		{[]string{"check"}, "check: the PATCH is missing"},
		{[]string{"check", "nope.patch"}, "nope.patch: cannot read the patch: no such file"},
		{[]string{"check", put(t, "b.patch", fmt.Sprintf(diff, "x", "y", "z"))}, "b.patch: STALE: patch own-b-"},
		{[]string{"check", put(t, "c.patch", fmt.Sprintf(diff, "// SPDX-License-Identifier: GPL-2.0-only", "", "}"))}, "c.patch: BROKEN: the tree with own-c-"},
		{[]string{"check", put(t, "d.patch", strings.ReplaceAll(fmt.Sprintf(diff, "x", "y", "z"), "target/", "stress/"))}, "only files below target/ can be patched"},
		{[]string{"check", put(t, "e.patch", fmt.Sprintf(diff, "x", "y", "z")), "nope"}, `no scenario "nope"`},
		{[]string{"mutants", "--only", "nope"}, `--only: unknown mutant "nope"`},
		{[]string{"mutants", "--only", "canary", "--readme", file}, "--readme writes the whole table, --only asks for a part of it"},
		{[]string{"mutants", "--chooser", "dfs"}, `--chooser: unknown chooser "dfs"`},
		{[]string{"mutants", "--readme", file}, `lacks the lines "<!-- track-record:begin -->" and "<!-- track-record:end -->"`},
		{[]string{"mutants", "--junit", file + "/x"}, "--junit " + file + "/x: cannot be written (not a directory)"},
		{[]string{"list", "x"}, `list: "x" is one argument too many`},
		{[]string{"version", "x"}, `version: "x" is one argument too many`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			code, _, stderr := stress(t, tree, test.args...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if !strings.Contains(stderr, test.want) || !strings.HasPrefix(stderr, "stress: ") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", stderr, test.want)
			}
		})
	}
}

func TestOutside(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"list", "run lockd-start", "replay x", "keep x y", "check x", "mutants"} {
		code, _, stderr := stress(t, dir, strings.Fields(command)...)
		if code != exitUsage || !strings.Contains(stderr, "is not inside a checkout of svcfuzz; change to one\n") {
			t.Errorf("%s: exit code %d, %q", command, code, stderr)
		}
	}
	if code, stdout, _ := stress(t, dir, "version"); code != 0 || !strings.Contains(stdout, "core of Linux 3.19") {
		t.Errorf("version: exit code %d, %q", code, stdout)
	}
	// Any folder inside will do, that of another module within ours as well.
	inner := filepath.Join(tree, "corpus", "inner")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inner, "go.mod"), []byte("module other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := stress(t, inner, "list"); code != 0 || !strings.Contains(stdout, "lockd-start") {
		t.Errorf("list: exit code %d, %q", code, stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, c := range rootCmd().Commands() {
		if c.Short == "" || c.Example == "" || c.Name() != "version" && c.Name() != "list" && c.Long == "" {
			t.Errorf("%s lacks a help text or an example", c.Name())
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 121 {
				t.Errorf("%s: a line of the help text is longer than 120: %s", c.Name(), line)
			}
		}
	}
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"mutants", "-h"}, {"help", "check"}} {
		code, stdout, stderr := stress(t, tree, args...)
		if code != 0 || !strings.Contains(stdout, "\nExamples:\n") || !strings.Contains(stdout, "  go run ./stress ") || stderr != "" {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestRunClean(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	code, stdout, stderr := stress(t, tree, "run", "lockd-start", "--schedules", "50", "--seed", "7", "--twice", "--json", file)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "seed 7\nclean lockd-start (era 3.19, back end sim, clients=1,") ||
		!strings.Contains(stdout, "50 schedules drawn by pct") || !strings.HasSuffix(stdout, "every schedule ran twice and alike\n") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil || r.Verdict != job.Clean || r.Schedules != 50 || r.Job.Seed != 7 {
		t.Errorf("%v: %s", err, data)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	code, stdout, _ = stress(t, tree, "run", "lockd-start", "--chooser", "bounded:n=0")
	if code != 0 || !strings.Contains(stdout, "all schedules with up to 0 preemptions (") {
		t.Errorf("bounded: exit code %d, %q", code, stdout)
	}
	_, again, _ := stress(t, tree, "run", "lockd-start", "--chooser", "bounded:n=0")
	first, second := strings.SplitN(stdout, "\n", 2)[0], strings.SplitN(again, "\n", 2)[0]
	if !regexp.MustCompile(`^seed \d+$`).MatchString(first) || first == second {
		t.Errorf("no fresh seed in the first line: %q, %q", first, second)
	}
	code, stdout, _ = stress(t, tree, "run", "lockd-start", "--schedules", "5", "--json", "-")
	_, object, _ := strings.Cut(stdout, "schedules/s\n")
	if err := json.Unmarshal([]byte(object), &r); code != 0 || err != nil {
		t.Errorf("--json -: exit code %d, %v, %q", code, err, stdout)
	}
}

// TestFinding goes the way of a finding: run, replay, keep, and once more from the corpus.
func TestFinding(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := stress(t, tree, "run", "lockd-start", "--mutant", "canary", "--seed", "1", "--findings", dir)
	if code != exitFinding || stderr != "" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	match := regexp.MustCompile(`\nreplay:  go run \./stress replay (.*/lockd-start-[0-9a-f]{4}\.schedule)\n`).FindStringSubmatch(stdout)
	if match == nil || !strings.Contains(stdout, "seed 1\nFAIL lockd-start: oops: NULL pointer dereference in LockdUp") &&
		!strings.Contains(stdout, "FAIL lockd-start: oops: NULL pointer dereference in ") {
		t.Fatalf("no finding in %q", stdout)
	}
	file := match[1]
	if !filepath.IsAbs(file) {
		file = filepath.Join(tree, file)
	}
	text, err := os.ReadFile(strings.TrimSuffix(file, ".schedule") + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	trace, dump, _ := strings.Cut(string(text), "\n\n(report.Snapshot)")
	if !strings.Contains(stdout, trace) || !strings.Contains(dump, "report.ServState") {
		t.Errorf("the text is\n%s\nthe output\n%s", text, stdout)
	}

	code, replayed, _ := stress(t, tree, "replay", file, "--trace")
	if code != exitFinding || !strings.Contains(replayed, "FAIL lockd-start: oops: ") || !strings.Contains(replayed, "report.ServState") {
		t.Errorf("replay: exit code %d, %q", code, replayed)
	}
	code, kept, _ := stress(t, tree, "keep", file, "canary-1")
	if code != 0 || !strings.HasPrefix(kept, "kept corpus/schedules/canary-1.schedule: oops: NULL pointer") {
		t.Errorf("keep: exit code %d, %q", code, kept)
	}
	if code, _, stderr := stress(t, tree, "keep", file, "canary-1"); code != exitUsage || !strings.Contains(stderr, "is there already") {
		t.Errorf("keep twice: exit code %d, %q", code, stderr)
	}
	if code, out, _ := stress(t, tree, "replay", "corpus/schedules/canary-1.schedule"); code != exitFinding {
		t.Errorf("replay of the kept one: exit code %d, %q", code, out)
	}

	// The tree without the mutant gives another run, or a clean one: stale in either case, never a pass.
	schedule, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pristine := put(t, "pristine.schedule", strings.Replace(string(schedule), "mutant: canary\n", "", 1))
	if code, _, stderr := stress(t, tree, "replay", pristine); code != exitUsage || !strings.Contains(stderr, ": STALE: ") {
		t.Errorf("replay on another tree: exit code %d, %q", code, stderr)
	}
}

// TestMutants hunts the canary, and one that survives because nothing is wrong with it.
func TestMutants(t *testing.T) {
	xml, list := filepath.Join(t.TempDir(), "junit.xml"), filepath.Join(t.TempDir(), "list.json")
	code, stdout, _ := stress(t, tree, "mutants", "--only", "canary", "--json", list, "--junit", xml)
	if code != 0 || !strings.HasPrefix(stdout, "seed 1\nmutant") || !strings.Contains(stdout, "KILLED") ||
		!strings.HasSuffix(stdout, "\n1 of 1 mutant as they must be\n") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	var rows []record
	data, err := os.ReadFile(list)
	if err != nil || json.Unmarshal(data, &rows) != nil || len(rows) != 1 || rows[0].Word != mutant.KILLED || rows[0].Schedules < 1 {
		t.Errorf("%v: %s", err, data)
	}
	if data, err := os.ReadFile(xml); err != nil || !strings.Contains(string(data), `<testcase classname="mutants" name="canary"`) {
		t.Errorf("%v: %s", err, data)
	}
}

func TestJudgement(t *testing.T) {
	row := func(id string, w mutant.Word) *record { return &record{Mutant: id, Word: w, Bug: "a | b", Why: "why"} }
	for _, test := range []struct {
		rows []*record
		code int
	}{
		{[]*record{row("a", mutant.KILLED), row("b", mutant.CLEAN), row(canary, mutant.KILLED)}, exitOK},
		{[]*record{row("a", mutant.SURVIVED), row(canary, mutant.KILLED)}, exitFinding},
		{[]*record{row("a", mutant.KILLED), row(canary, mutant.SURVIVED)}, exitFault},
	} {
		if code := finish(io.Discard, judgement(test.rows)); code != test.code {
			t.Errorf("%v: exit code %d, want %d", test.rows[0], code, test.code)
		}
	}
	want := "| bug | kernel fix | scenario | era | back end | verdict | schedules | preemptions | faults | depth | oracle |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|\n| a \\| b (`a`) | - |  |  |  | STALE | - | - | - | - | - |\n"
	if got := recordMarkdown([]*record{row("a", mutant.STALE)}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFinish(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{nil, exitOK, ""},
		{errFinding, exitFinding, ""},
		{usagef("a\n  b"), exitUsage, "stress: a; b\n"},
		{fmt.Errorf("x: %w", &job.UsageError{What: "y"}), exitUsage, "stress: x: y\n"},
		{faultf("z"), exitFault, "SVCFUZZ BUG: z\n"},
		{errors.New("odd"), exitFault, "SVCFUZZ BUG: odd\n"},
		{
			fmt.Errorf("x: %w", &fs.PathError{Op: "write", Path: "findings/x", Err: syscall.ENOSPC}), exitUsage,
			"stress: the disk is full: findings/x cannot be written; make room there, or choose another place\n",
		},
		{fmt.Errorf("x: %w", context.Canceled), exitInterrupted, "interrupted\n"},
	} {
		var b bytes.Buffer
		if code := finish(&b, test.err); code != test.code || b.String() != test.want {
			t.Errorf("%v: %d %q, want %d %q", test.err, code, b.String(), test.code, test.want)
		}
	}
}

// What nobody takes must not pass for written.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return // no other device is always full
	} else if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"list"}, {"run", "lockd-start", "--schedules", "1", "--json", "/dev/full"}} {
		var stderr, stdout bytes.Buffer
		w := io.Writer(full)
		if len(args) > 1 {
			w = &stdout
		}
		code := execute(args, w, &stderr)
		if want := "stress: the disk is full: /dev/full cannot be written; "; code != exitUsage || !strings.HasPrefix(stderr.String(), want) {
			t.Errorf("%q: %d, %q, want %q", args, code, stderr.String(), want)
		}
	}
}

// A finding that cannot be written is printed with its schedule.
func TestFindingNotKept(t *testing.T) {
	f := &findings{put(t, "file", "x") + "/no/folder"}
	var b strings.Builder
	_, err := f.keep(&b, &job.Result{Job: job.Job{Scenario: "s"}, Oracle: "oops", Title: "odd", Schedule: "the schedule"})
	if err == nil || !strings.HasPrefix(b.String(), "FAIL s: oops: odd\n") || !strings.HasSuffix(b.String(), "its file:\n\nthe schedule\n") {
		t.Errorf("%v: %q", err, b.String())
	}
}

func TestReplaceBlock(t *testing.T) {
	file := put(t, "README.md", "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n")
	for range 2 {
		if err := replaceBlock(file, "x", "new\nlines"); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if want := "a\n<!-- x:begin -->\nnew\nlines\n<!-- x:end -->\nb\n"; err != nil || string(data) != want {
			t.Errorf("got %q, want %q", data, want)
		}
	}
}

func TestWhy(t *testing.T) {
	for _, test := range []struct {
		res  job.Result
		want string
	}{
		{job.Result{}, ""},
		{job.Result{Needs: "needs 1 preemption", Depth: -1}, "\nwhy:     needs 1 preemption; no set of orders was found that brings it back\n"},
		{job.Result{Needs: "needs 0 preemptions"}, "\nwhy:     needs 0 preemptions; depth 0: it fails in any order\n"},
		{
			job.Result{Needs: "needs 7 preemptions", Depth: -1, Cut: true, ShrinkRuns: 1234},
			"\nwhy:     needs 7 preemptions; the time was over after 1,234 runs: it may need less, and shorter schedules may do\n",
		},
	} {
		var b strings.Builder
		if why(&b, &test.res); b.String() != test.want {
			t.Errorf("got %q, want %q", b.String(), test.want)
		}
	}
}

func TestFindingNames(t *testing.T) {
	f := &findings{t.TempDir()}
	names := map[string]bool{}
	for i := range 600 { // more than 4 hexadecimal digits keep apart by luck
		res := &job.Result{Job: job.Job{Scenario: "s"}, Schedule: fmt.Sprint(i), Trace: job.SchedulePlaceholder}
		name, err := f.save(res)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := f.save(res); err != nil || again != name {
			t.Fatalf("the same finding is %s and then %s (%v)", name, again, err)
		}
		names[name] = true
		if want := job.ShellWord(name); res.Trace != want {
			t.Fatalf("the trace names %q, not %q", res.Trace, want)
		}
	}
	if len(names) != 600 {
		t.Errorf("%d names for 600 findings", len(names))
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.show("too early")
	p.next = time.Now()
	p.show("a\nline of %d", 2)
	p.show("too early")
	p.clear()
	if got := b.String(); got != "a; line of 2\n" {
		t.Errorf("%q", got)
	}
	b.Reset()
	p.live, p.every, p.next = true, time.Millisecond, time.Time{}
	p.waiting("building")()
	p.clear()
	if got := b.String(); got != "\r\x1b[Kbuilding, 0s\r\x1b[K" {
		t.Errorf("%q", got)
	}
	(*progress)(nil).waiting("nothing")()
}

func TestSpelling(t *testing.T) {
	for got, want := range map[string]string{
		count(7): "7", count(1234): "1,234", count(1234567): "1,234,567", short(1500 * time.Millisecond): "1.5s",
		short(90 * time.Second): "1m30s", plural(1, "run"): "1 run", plural(0, "run"): "0 runs",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
