// SPDX-License-Identifier: MIT

package verdict

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/mutant"
	"github.com/seed17199236/svcfuzz/stress/scenario"
)

// matrix is a matrix without its results.
func matrix(c Config) ([]*cell, []*Row) {
	c.Seed, c.Samples, c.Limit = 7, 100, time.Minute
	return c.cells()
}

func find(t *testing.T, rows []*Row, era, order, service string) *Row {
	t.Helper()
	for _, r := range rows {
		if r.Era == era && r.Order == order && r.Service == service {
			return r
		}
	}
	t.Fatalf("no row %s %s %s", era, order, service)
	return nil
}

// TestExpectations spells the matrix of 2014 out: what the thread and the code of each era say must come of each
// order, for either service.
func TestExpectations(t *testing.T) {
	want := map[string]map[string]string{
		"3.17": {
			CreateStoreWake: "clean", RunThenStore: "clean", RunNeverStore: "clean",
			ChainedRun: "clean", ChainedCreateWake: "clean", ChooseVictim: "leak",
		},
		"3.18": {
			CreateStoreWake: "clean", RunThenStore: "warning", RunNeverStore: "warning",
			ChainedRun: "warning", ChainedCreateWake: "clean", ChooseVictim: "leak",
		},
		"3.18-no-net": {
			CreateStoreWake: "clean", RunThenStore: "oops", RunNeverStore: "oops",
			ChainedRun: "oops", ChainedCreateWake: "clean", ChooseVictim: "leak",
		},
		mutant.TreeEra: {
			CreateStoreWake: "clean", RunThenStore: "oops", RunNeverStore: "oops",
			ChainedRun: "oops", ChainedCreateWake: "clean", ChooseVictim: "leak",
		},
	}
	_, rows := matrix(Config{})
	if n := len(want) * (2*len(orders) + 1); len(rows) != n {
		t.Errorf("%d rows, want %d", len(rows), n)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		key := r.Era + " " + r.Order + " " + r.Service
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if r.Expected != want[r.Era][r.Order] {
			t.Errorf("%s: expected %s, want %s", key, r.Expected, want[r.Era][r.Order])
		}
		if r.Says == "" || r.PreemptionBound != -1 || r.Verdict != job.Clean || r.OK || r.Exhausted {
			t.Errorf("%s before its run: %+v", key, r)
		}
	}
	// The table goes from the oldest era to the tree, and within an era through the orders.
	if !slices.IsSortedFunc(rows, func(a, b *Row) int { return slices.Index(eras, a.Era) - slices.Index(eras, b.Era) }) {
		t.Error("the eras are not in their order")
	}
	if rows[0].Service != "lockd" || rows[1].Service != "callback0" || rows[0].Order != CreateStoreWake || rows[1].Order != CreateStoreWake {
		t.Errorf("the table begins with %+v, %+v", rows[0], rows[1])
	}
}

// TestJobs: each row is explored by jobs that can be run, up to the bound that it must cover.
func TestJobs(t *testing.T) {
	for _, deep := range []bool{false, true} {
		cells, rows := matrix(Config{Deep: deep})
		left := map[*Row]bool{}
		for _, r := range rows {
			left[r] = true
		}
		for _, b := range cells {
			if len(b.jobs) != len(b.rowOf) || len(b.rows) == 0 {
				t.Fatalf("%s %s: %d jobs, %d rows of jobs", b.era, b.order, len(b.jobs), len(b.rowOf))
			}
			deepest := map[*Row]int{}
			for i, j := range b.jobs {
				r := b.rowOf[i]
				delete(left, r)
				s, err := scenario.Find(j.Scenario)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.ParseParams(j.Params); err != nil {
					t.Error(err)
				}
				planted := b.order
				if b.order == CreateStoreWake {
					planted = ""
				}
				if j.Backend != "sim" || j.Seed != 7 || j.Era != r.Era || b.era != r.Era || j.Mutant != planted || j.Shrink == 0 || !j.Trace {
					t.Errorf("%s %s %s: %+v", r.Era, r.Order, r.Service, j)
				}
				if (j.Want == "victim") != (r.Order == ChooseVictim) || j.Want != "" && j.Want != "victim" {
					t.Errorf("%s %s: wants %q", r.Era, r.Order, j.Want)
				}
				for k, p := range j.Plans {
					if strings.HasPrefix(p.Chooser, "bounded") {
						n := 0
						if _, err := fmt.Sscanf(p.Chooser, "bounded:n=%d", &n); err != nil || n != deepest[r]+1 || p.For != time.Minute {
							t.Errorf("%s %s %s: plan %+v after %d preemptions", r.Era, r.Order, r.Service, p, deepest[r])
						}
						deepest[r] = n
					} else if p.Chooser != "pct" || p.Schedules != 100 || k != 0 || deepest[r] != 0 {
						t.Errorf("%s %s %s: plan %d is %+v", r.Era, r.Order, r.Service, k, p)
					}
				}
			}
			for r, n := range deepest {
				if n != bound(r.Order, r.Era) {
					t.Errorf("%s %s %s: searched up to %d preemptions, must be %d", r.Era, r.Order, r.Service, n, bound(r.Order, r.Era))
				}
			}
			for _, r := range b.rows {
				if (r.Scope != "") != (!deep && r.Service == "callback0" && bound(r.Order, r.Era) > 1) {
					t.Errorf("deep %t, %s %s %s: scope %q", deep, r.Era, r.Order, r.Service, r.Scope)
				}
			}
		}
		if len(left) != 0 {
			t.Errorf("%d rows have no job", len(left))
		}
	}
	if bound(CreateStoreWake, mutant.TreeEra) != 2 || bound(CreateStoreWake, "3.17") != 1 || bound(RunThenStore, mutant.TreeEra) != 1 {
		t.Error("the fix in the tree must be covered up to two preemptions, all else up to one")
	}
}

// result is what a job came to: its verdict, and for each bound whether it was exhausted.
func result(verdict string, exhausted ...bool) *job.Result {
	res := &job.Result{Verdict: verdict, Schedules: 100, Coverage: []job.Coverage{{Chooser: "pct", Schedules: 100}}}
	for i, e := range exhausted {
		res.Coverage = append(res.Coverage, job.Coverage{Chooser: fmt.Sprintf("bounded:n=%d", i+1), Bound: i + 1, Exhausted: e, Schedules: 10})
		res.Schedules += 10
	}
	if verdict != job.Clean {
		res.FoundAt, res.Oracle, res.Title, res.Preemptions = 42, "victim", "a title", 1
		res.Schedule = "a schedule\n"
		res.Trace = "a trace with " + job.SchedulePlaceholder + "\n"
	}
	return res
}

func TestFill(t *testing.T) {
	for name, c := range map[string]struct {
		era, order string
		results    []*job.Result
		want       Row
	}{
		"covered": {
			"3.17", RunThenStore, []*job.Result{result("clean", true)},
			Row{Verdict: "clean", Schedules: 110, PreemptionBound: 1, Exhausted: true, OK: true},
		},
		"not covered": {
			"3.17", RunThenStore, []*job.Result{result("clean", false)},
			Row{Verdict: "clean", Schedules: 110, PreemptionBound: -1},
		},
		"two are wanted": {
			mutant.TreeEra, CreateStoreWake, []*job.Result{result("clean", true, false)},
			Row{Verdict: "clean", Schedules: 120, PreemptionBound: 1},
		},
		"two": {
			mutant.TreeEra, CreateStoreWake, []*job.Result{result("clean", true, true)},
			Row{Verdict: "clean", Schedules: 120, PreemptionBound: 2, Exhausted: true, OK: true},
		},
		"a larger bound elsewhere": {
			mutant.TreeEra, CreateStoreWake, []*job.Result{result("clean", false), result("clean", false, true)},
			Row{Verdict: "clean", Schedules: 230, PreemptionBound: -1},
		},
		"found": {
			mutant.TreeEra, RunThenStore, []*job.Result{result("oops")},
			Row{Verdict: "oops", Oracle: "victim", Schedules: 42, PreemptionBound: -1, OK: true},
		},
		"found later": {
			mutant.TreeEra, CreateStoreWake, []*job.Result{result("clean", true), result("hang", true)},
			Row{Verdict: "hang", Oracle: "victim", Schedules: 152, PreemptionBound: 1},
		},
		"found first": {
			mutant.TreeEra, CreateStoreWake, []*job.Result{result("hang"), result("clean", true, true)},
			Row{Verdict: "hang", Oracle: "victim", Schedules: 42, PreemptionBound: 2, Exhausted: true},
		},
		"another verdict": {
			mutant.TreeEra, RunThenStore, []*job.Result{result("warning")},
			Row{Verdict: "warning", Oracle: "victim", Schedules: 42, PreemptionBound: -1},
		},
		"a fault": {
			"3.17", RunThenStore, []*job.Result{{Fault: "no scenario \"x\""}},
			Row{Verdict: "fault", PreemptionBound: -1},
		},
		"a fault behind a cover": {
			"3.17", RunThenStore, []*job.Result{result("clean", true), {Fault: "no scenario \"x\""}},
			Row{Verdict: "fault", PreemptionBound: 1, Exhausted: true, Schedules: 110},
		},
	} {
		r := &Row{Service: "lockd", Era: c.era, Order: c.order, Verdict: job.Clean, PreemptionBound: -1}
		r.Expected, r.Says = expect(c.order, c.era)
		for _, res := range c.results {
			r.fill(res)
		}
		got := Row{
			Verdict: r.Verdict, Oracle: r.Oracle, Schedules: r.Schedules, PreemptionBound: r.PreemptionBound,
			Exhausted: r.Exhausted, OK: r.OK,
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, c.want)
		}
	}
}

// TestTake: the lines of a runner fill the rows in the order of the jobs.
func TestTake(t *testing.T) {
	cells, _ := matrix(Config{})
	for _, b := range cells {
		var done []*Row
		feed := func(l job.Line) error {
			t.Helper()
			raw, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			return b.take(raw, func(r *Row) { done = append(done, r) })
		}
		for i := range b.jobs {
			if err := feed(job.Line{Progress: &job.Progress{Chooser: "pct"}}); err != nil || b.filled != i {
				t.Fatalf("progress: %v, %d filled", err, b.filled)
			}
			if err := feed(job.Line{Result: result("clean", true, true)}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(done, b.rows) {
			t.Errorf("%s %s: %d rows are done of %d", b.era, b.order, len(done), len(b.rows))
		}
		if err := feed(job.Line{Result: result("clean")}); err == nil || !strings.Contains(err.Error(), "more results") {
			t.Errorf("one result too many: %v", err)
		}
		if err := b.take(json.RawMessage("{"), nil); err == nil {
			t.Error("half a line is accepted")
		}
	}
}

// TestJSON: the fields that the matrix promises are there under their names, in every row.
func TestJSON(t *testing.T) {
	_, rows := matrix(Config{})
	rows[0].fill(result("clean", true, true))
	find(t, rows, mutant.TreeEra, RunThenStore, "lockd").fill(result("oops"))
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	var back []map[string]any
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]any{
		"service": "", "order": "", "era": "", "verdict": "", "oracle": "", "schedules": 0.0, "preemption_bound": 0.0,
		"exhausted": false, "expected": "", "ok": false, "schedule_file": "",
	}
	for i, r := range back {
		for name, kind := range kinds {
			if v, ok := r[name]; !ok || fmt.Sprintf("%T", v) != fmt.Sprintf("%T", kind) {
				t.Errorf("row %d: %s is %T %v", i, name, v, v)
			}
		}
		if _, ok := r["Trace"]; ok {
			t.Errorf("row %d has its trace in it", i)
		}
	}
}

func TestText(t *testing.T) {
	cells, rows := matrix(Config{})
	for _, b := range cells {
		for i, r := range b.rowOf {
			if r.Expected == job.Clean {
				r.fill(result(job.Clean, true, true))
			} else if i == 0 || b.rowOf[i-1] != r {
				r.fill(result(r.Expected))
			}
		}
	}
	if !AllOK(rows) {
		t.Error("all is as expected, and yet not ok")
	}
	var b strings.Builder
	if err := Text(&b, rows); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !strings.HasPrefix(lines[0], "era ") || !strings.HasSuffix(lines[0], "says") {
		t.Errorf("head: %s", lines[0])
	}
	for i, r := range rows {
		fields := strings.Fields(lines[i+1])
		if len(fields) < 8 || !slices.Equal(fields[:4], []string{r.Era, r.Order, r.Service, r.Verdict}) || !strings.HasSuffix(lines[i+1], r.Says) {
			t.Errorf("line %d: %s", i+1, lines[i+1])
		}
		if strings.Contains(lines[i+1], "UNEXPECTED") || !strings.Contains(lines[i+1], " ok ") {
			t.Errorf("line %d: %s", i+1, lines[i+1])
		}
	}
	if n := strings.Count(b.String(), "a trace with"); n == 0 {
		t.Error("no interleaving is shown")
	}

	b.Reset()
	if err := Markdown(&b, rows); err != nil {
		t.Fatal(err)
	}
	table := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(table) != 2+len(eras)*(len(orders)+1) {
		t.Errorf("%d lines:\n%s", len(table), b.String())
	}
	for _, l := range table {
		if strings.Count(l, "|") != 6 || strings.Contains(l, "UNEXPECTED") {
			t.Errorf("line %s", l)
		}
	}

	bad := find(t, rows, mutant.TreeEra, CreateStoreWake, "lockd")
	bad.OK = false
	b.Reset()
	if err := Text(&b, rows); err != nil || AllOK(rows) || !strings.Contains(b.String(), "UNEXPECTED") {
		t.Errorf("a row that is not as expected is not shown, %v", err)
	}
	b.Reset()
	if err := Markdown(&b, rows); err != nil || strings.Count(b.String(), "UNEXPECTED") != 1 {
		t.Errorf("the same for the README, %v", err)
	}
}

func TestWrite(t *testing.T) {
	root := t.TempDir()
	_, rows := matrix(Config{})
	r := find(t, rows, "3.18-no-net", RunNeverStore, "callback0")
	r.fill(result("oops"))
	c := &Config{Root: root, Findings: filepath.Join(root, "findings")}
	if err := c.write(rows); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join("findings", "callback0-run-never-store-3.18-no-net.schedule")
	if r.ScheduleFile != want || r.Trace != "a trace with "+want+"\n" {
		t.Errorf("%q, %q", r.ScheduleFile, r.Trace)
	}
	if text, err := os.ReadFile(filepath.Join(root, want)); err != nil || string(text) != "a schedule\n" {
		t.Errorf("%q, %v", text, err)
	}
	files, err := os.ReadDir(c.Findings)
	if err != nil || len(files) != 1 {
		t.Errorf("%d files for one failing row, %v", len(files), err)
	}

	// A folder outside the module keeps its whole name; one that cannot be made is an error.
	r.ScheduleFile = "a schedule\n"
	c.Findings = t.TempDir()
	if err := c.write(rows); err != nil || !filepath.IsAbs(r.ScheduleFile) {
		t.Errorf("%q, %v", r.ScheduleFile, err)
	}
	r.ScheduleFile = "a schedule\n"
	c.Findings = filepath.Join(root, want, "below-a-file")
	if err := c.write(rows); err == nil {
		t.Error("a folder below a file is accepted")
	}
}

// Without the corpus there is no matrix, and the error says what is missing.
func TestRunWithoutCorpus(t *testing.T) {
	if _, err := Run(t.Context(), Config{Root: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "orders") {
		t.Errorf("%v", err)
	}
}
