// SPDX-License-Identifier: MIT

package portfolio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/job"
)

// ask is a job with a portfolio.
func ask(name string, schedules, workers int) job.Job {
	return job.Job{Scenario: name, Backend: "sim", Seed: 7, Explore: &job.Explore{Schedules: schedules, Workers: workers}}
}

// explored executes a job.
func explored(t *testing.T, j job.Job) *job.Result {
	t.Helper()
	r, err := Execute(t.Context(), j, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// outcome is everything about a result that does not depend on time.
func outcome(r *job.Result) string {
	e := *r.Explored
	var keys []string
	for _, f := range e.Findings {
		keys = append(keys, fmt.Sprintf("%s: %s by %s at %d\n%s", f.Oracle, f.Title, f.FoundBy, f.FoundAt, f.Schedule))
	}
	e.Findings, e.Searched = nil, 0
	e.Searches = slices.Clone(e.Searches)
	for i := range e.Searches {
		e.Searches[i].Spent = 0
	}
	e.Says = slices.Clone(e.Says)
	for i := range e.Says {
		e.Says[i] = regexp.MustCompile(", and at .*").ReplaceAllString(e.Says[i], "") // how long the rest would take
	}
	text, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		panic(err)
	}
	return strings.Join(append(keys, string(text)), "\n")
}

// careless is the administrator without the mutex, where that is no matter for the race detector.
var careless = map[bool]string{true: "mutex=0", false: "mutex=1"}[slow == 1]

// TestWorkers: how many workers share the schedules changes nothing but the time.
func TestWorkers(t *testing.T) {
	for _, name := range []string{"cont(5)", "careless-admin"} {
		j := ask(name, 4000, 1)
		if name == "careless-admin" {
			j.Params, j.Explore.Schedules, j.Explore.Faults = careless, 1500/slow, "timer=1"
		}
		one := outcome(explored(t, j))
		if !strings.Contains(one, " at ") && slow == 1 {
			t.Fatalf("%s: nothing was found:\n%s", name, one)
		}
		for _, workers := range []int{2, 4} {
			j.Explore.Workers = workers
			if many := outcome(explored(t, j)); many != one {
				t.Errorf("%s: %d workers come to\n%s\nand one to\n%s", name, workers, many, one)
			}
		}
	}
}

// TestProof: what is said to be complete holds every finding that any other search makes.
func TestProof(t *testing.T) {
	for _, c := range []struct{ name, params string }{
		{"lsr", ""}, {"cont(3)", ""}, {"twostage(2)", ""}, {"careless-admin", careless},
	} {
		j := ask(c.name, 0, 2)
		j.Params = c.params
		found := func() (map[string]bool, *job.Explored) {
			e := explored(t, j).Explored
			keys := map[string]bool{}
			for _, s := range e.Searches {
				for key := range s.Hits {
					keys[key] = true
				}
			}
			return keys, e
		}
		all, e := found()
		says := fmt.Sprintf("complete: %d traces, ", e.Traces)
		if !e.Complete || len(e.Searches) != 1 || !strings.HasPrefix(e.Says[0], says) {
			t.Fatalf("%s: %+v", c.name, e)
		}
		j.Explore.Searches, j.Explore.Schedules = []string{"bounded", "pos", "random", "feedback"}, 4000/slow
		some, sampled := found()
		for key := range some {
			if !all[key] {
				t.Errorf("%s %s: %s was found, but not by the proof (%v)", c.name, c.params, key, slices.Collect(maps.Keys(all)))
			}
		}
		for _, s := range sampled.Searches {
			if s.Traces > e.Traces {
				t.Errorf("%s %s: %s saw %d traces of %d", c.name, c.params, s.Name, s.Traces, e.Traces)
			}
		}
	}
}

// TestSearchWithFaults: a search that names its faults does what the one of that name does that faults for all bring.
func TestSearchWithFaults(t *testing.T) {
	j := ask("lockd-start", 100, 2)
	j.Explore.Searches, j.Explore.Faults = []string{"pct"}, "timer=1"
	search := func() *job.Search {
		s := named(explored(t, j).Explored.Searches, "pos+timer=1")
		if s == nil {
			t.Fatal("there is no such search")
		}
		s.Spent = 0
		return s
	}
	all := search()
	j.Explore.Searches, j.Explore.Faults, j.Explore.Schedules = []string{"pos+timer=1"}, "", all.Schedules
	if own := search(); all.Schedules == 0 || all.Traces == 0 || !reflect.DeepEqual(all, own) {
		t.Errorf("%+v, want %+v", own, all)
	}
}

// TestShards: the shards of an exploration add up to the whole.
func TestShards(t *testing.T) {
	j := ask("cont(5)", 2001, 2)
	j.Explore.Searches = []string{"bounded", "pos", "pct"}
	whole := explored(t, j)
	sum := map[string]*job.Search{}
	first := map[string]string{} // the earliest schedule of each finding, by search
	note := func(r *job.Result) {
		for _, f := range r.Explored.Findings {
			key := fmt.Sprintf("%s: %s", f.Oracle, f.Title)
			at := fmt.Sprintf("%s %09d", f.FoundBy, f.FoundAt)
			if old, ok := first[key]; !ok || at < old {
				first[key] = at
			}
		}
	}
	const n = 3
	for i := range n {
		j.Explore.Shard, j.Explore.Shards = i+1, n
		r := explored(t, j)
		note(r)
		for _, s := range r.Explored.Searches {
			if sum[s.Name] == nil {
				sum[s.Name] = &job.Search{Name: s.Name}
			}
			add(sum[s.Name], &s)
		}
	}
	parts := maps.Clone(first)
	clear(first)
	note(whole)
	if !reflect.DeepEqual(parts, first) || len(first) == 0 {
		t.Errorf("the shards found %v, the whole %v", parts, first)
	}
	total := 0
	for _, s := range whole.Explored.Searches {
		got := sum[s.Name]
		if got.Schedules != s.Schedules || got.Steps != s.Steps || !maps.Equal(got.Hits, s.Hits) || got.MaxPick != s.MaxPick {
			t.Errorf("%s: the shards add up to %+v, the whole is %+v", s.Name, got, s)
		}
		total += s.Schedules
	}
	if total < 1990 || total > 2001 {
		t.Errorf("%d schedules of 2001", total)
	}
}

// TestShare: the shards' shares of a budget add up to it.
func TestShare(t *testing.T) {
	for n := range 700 {
		for _, of := range []int{1, 2, 3, 7} {
			sum := 0
			for at := range of {
				share := shard{at, of}.share(n)
				if share < 0 {
					t.Fatalf("shard %d/%d of %d: %d", at, of, n, share)
				}
				sum += share
			}
			if sum != n {
				t.Fatalf("%d shards of %d have %d", of, n, sum)
			}
		}
	}
}

// TestClasses: beyond its limit the set is a sample that does not depend on the order of what was added.
func TestClasses(t *testing.T) {
	a, b := classes{limit: 100}, classes{limit: 100}
	const n = 5000
	for i := range n {
		a.add(uint64(i)*7919, false)
		b.add(uint64(n-1-i)*7919, false)
	}
	for i := 0; i < n; i += 2 {
		a.add(uint64(i)*7919, false)
		b.add(uint64(i)*7919, true)
	}
	if a.zeros != b.zeros || a.once != b.once || !maps.Equal(a.more, b.more) || a.exact() {
		t.Fatalf("%d/%d/%d and %d/%d/%d", a.zeros, a.once, len(a.more), b.zeros, b.once, len(b.more))
	}
	seen, once := a.counts()
	if seen < n*7/10 || seen > n*13/10 || once < n*3/10 || once > n*7/10 {
		t.Errorf("%d traces, %d of them once; it should be about %d and %d", seen, once, n, n/2)
	}
	for state, more := range a.more {
		if even := state/7919%2 == 0; even != more {
			t.Fatalf("trace %d: more %t", state, more)
		}
	}
	var small classes
	small.add(1, false)
	if small.add(1, false); small.add(1, false) {
		t.Error("the third time changes something")
	}
	if seen, once := small.counts(); seen != 1 || once != 0 || !small.exact() {
		t.Errorf("%d, %d", seen, once)
	}
}

// victimOf is the folder of an exploration that the test's own process is to run until it is killed.
const victimOf = "SVCFUZZ_TEST_STATE"

// long is an exploration that takes a few seconds.
func long(dir string) job.Job {
	j := ask("cont(5)", 200_000/slow, 2)
	j.Explore.State, j.Explore.Searches = dir, []string{"bounded", "pos", "pct", "feedback"}
	return j
}

func victim() int {
	if _, err := Execute(context.Background(), long(os.Getenv(victimOf)), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKilled kills an exploration in its midst: what it had found is there, and going on comes to what an exploration
// that nobody disturbs comes to.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimOf+"="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return progress(dir) > 3000/slow })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it says "killed"
	names, err := filepath.Glob(filepath.Join(dir, foundFolder, "*"+foundSuffix))
	if err != nil || len(names) == 0 {
		t.Fatalf("no finding is left: %v", err)
	}
	if tapes, _, err := readLedger(filepath.Join(dir, corpusName)); err != nil || len(tapes) == 0 {
		t.Errorf("%d parents are left: %v", len(tapes), err)
	}
	left := progress(dir)
	j := long(dir)
	_, err = Execute(t.Context(), j, nil)
	if err == nil || !strings.Contains(err.Error(), "go on with it with --resume") {
		t.Errorf("beginning anew on top of it: %v", err)
	}
	j.Explore.Resume = true
	resumed := explored(t, j)
	if total := resumed.Schedules; left >= total {
		t.Fatalf("it was not killed in its midst: %d of %d schedules", left, total)
	}
	j = long("")
	if a, b := outcome(resumed), outcome(explored(t, j)); a != b {
		t.Errorf("resumed:\n%s\nundisturbed:\n%s", a, b)
	}
}

// TestResumeTime: with a budget of time every process adds to what there is, and one that finds all done says so.
func TestResumeTime(t *testing.T) {
	j := ask("cont(5)", 0, 2)
	j.Explore.State, j.Explore.For, j.Explore.Searches = t.TempDir(), 300*time.Millisecond, []string{"pos", "feedback"}
	first := explored(t, j).Explored.Searches
	j.Explore.Resume = true
	second := explored(t, j).Explored.Searches
	for i := range first {
		a, b := first[i], second[i]
		if b.Schedules <= a.Schedules-chunk*j.Explore.Workers || b.Schedules == 0 || b.Traces < a.Traces/2 {
			t.Errorf("%+v went on as %+v", a, b)
		}
	}
	j = ask("cont(2)", 0, 2)
	j.Explore.State = t.TempDir()
	whole := outcome(explored(t, j))
	j.Explore.Resume = true
	if again := outcome(explored(t, j)); again != whole || !strings.Contains(whole, "complete: 50 traces, 1 finding") {
		t.Errorf("gone on behind the proof:\n%s\nthe proof:\n%s", again, whole)
	}
}

// TestInterrupted: a search that is ended before its time gives what it has, and is not over for those who go on with
// it.
func TestInterrupted(t *testing.T) {
	j := ask("cont(5)", 0, 2)
	j.Explore.State, j.Explore.Searches, j.Explore.For = t.TempDir(), []string{"pos"}, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Execute(ctx, j, func(p job.Progress) {
		if p.Schedules > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || r == nil || !r.Explored.Unfinished || r.Schedules == 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	if header, ended, err := Header(j.Explore.State); err != nil || ended || header["seed"] != "7" {
		t.Errorf("%v, ended %t: %v", header, ended, err)
	}
}

// TestEnough: a search ends with as many findings as were asked for, and going on with it does not go beyond.
// What is found when the time to make it small is over is kept and drawn, and says that it may need less.
func TestGrace(t *testing.T) {
	if Grace(time.Second) != 10*time.Second || Grace(time.Minute) != 30*time.Second {
		t.Errorf("%s for a second, %s for a minute", Grace(time.Second), Grace(time.Minute))
	}
	for _, late := range []time.Duration{0, 2 * time.Hour} {
		j := ask("cont(2)", 0, 2)
		j.Explore.For, j.Explore.MaxFindings = time.Hour, 1
		j.Shrink, j.Trace = 3000, true
		x := &explorer{job: j, progress: func(job.Progress) {}, start: time.Now(), finds: map[string]*find{}}
		x.change = sync.NewCond(&x.mu)
		if err := x.prepare(); err != nil {
			t.Fatal(err)
		}
		x.search(t.Context())
		x.start = x.start.Add(-late)
		all := x.result(t.Context()).Explored.Findings
		x.close()
		if len(all) != 1 {
			t.Fatalf("%d findings", len(all))
		}
		if f := all[0]; f.Cut != (late > 0) || f.Cut != (f.Depth < 0) || f.Schedule == "" || f.Trace == "" || f.Needs == "" {
			t.Errorf("%s late: cut off %t, depth %d, %q, %q", late, f.Cut, f.Depth, f.Needs, f.Schedule)
		}
	}
}

func TestEnough(t *testing.T) {
	j := ask("cont(5)", 0, 2)
	j.Explore.State, j.Explore.For, j.Explore.MaxFindings = t.TempDir(), time.Minute, 1
	for _, resume := range []bool{false, true} {
		j.Explore.Resume = resume
		r := explored(t, j)
		if len(r.Explored.Findings) != 1 || !r.Explored.Unfinished || r.Verdict == job.Clean || r.Trace != "" {
			t.Errorf("resumed %t: %d findings, %+v", resume, len(r.Explored.Findings), r)
		}
	}
}

// TestLocked: two processes do not explore into one folder.
func TestLocked(t *testing.T) {
	j := ask("cont(2)", 0, 1)
	j.Explore.State = t.TempDir()
	x := &explorer{job: j}
	s, err := openState(x)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.journal.append(entry{Ended: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.journal.flush(); err != nil {
		t.Fatal(err)
	}
	_, err = Execute(t.Context(), j, nil)
	if err == nil || !strings.Contains(err.Error(), "another process explores there") {
		t.Errorf("beside another: %v", err)
	}
	s.close()
	explored(t, j)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for range 1500 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not get on")
}

// progress is how many schedules a journal speaks of.
func progress(dir string) int {
	records, _, err := readLedger(filepath.Join(dir, journalName))
	if err != nil {
		return 0
	}
	last := map[string]int{}
	for _, r := range records {
		var e entry
		if json.Unmarshal(r, &e) == nil && e.Total != nil {
			last[e.Lane] = e.Total.Schedules
		}
	}
	sum := 0
	for _, n := range last {
		sum += n
	}
	return sum
}

// TestResumeRefuses: what is in a folder is not mixed with another search.
func TestResumeRefuses(t *testing.T) {
	dir := t.TempDir()
	j := ask("cont(1)", 500, 1)
	j.Explore.State, j.Explore.Searches = dir, []string{"pos"}
	before := outcome(explored(t, j))
	for want, change := range map[string]func(*job.Job){
		`scenario "cont(1)", and this is "cont(2)"`: func(j *job.Job) { j.Scenario = "cont(2)" },
		`seed "7", and this is "8"`:                 func(j *job.Job) { j.Seed = 8 },
		`schedules "500", and this is "501"`:        func(j *job.Job) { j.Explore.Schedules = 501 },
		`searches "pos", and this is "pct"`:         func(j *job.Job) { j.Explore.Searches = []string{"pct"} },
		"there is no exploration to go on with":     func(j *job.Job) { j.Explore.State = filepath.Join(dir, "other") },
	} {
		k, e := j, *j.Explore
		k.Explore = &e
		e.Resume = true
		change(&k)
		_, err := Execute(t.Context(), k, nil)
		var usage *job.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	j.Explore.Resume = true
	if again := outcome(explored(t, j)); again != before {
		t.Errorf("going on behind the end comes to\n%s\nnot\n%s", again, before)
	}
	j.Explore.Resume = false
	if again := outcome(explored(t, j)); again != before {
		t.Errorf("beginning anew comes to\n%s\nnot\n%s", again, before)
	}
}

// TestLedger: a torn last record is cut off, a damaged one in the midst is told.
func TestLedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := createLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := l.append(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(name, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		l, records, err := openLedger(name)
		if err != nil || len(records) != cut*3/len(whole) {
			t.Fatalf("cut at %d: %d records, %v", cut, len(records), err)
		}
		if err := errors.Join(l.append("more"), l.close()); err != nil {
			t.Fatal(err)
		}
		if again, _, err := readLedger(name); err != nil || len(again) != len(records)+1 {
			t.Fatalf("cut at %d and gone on: %d records, %v", cut, len(again), err)
		}
	}
	bad := slices.Clone(whole)
	bad[9] ^= 1
	if err := os.WriteFile(name, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readLedger(name); err == nil || !strings.Contains(err.Error(), ":1: the record is damaged") {
		t.Errorf("a damaged record: %v", err)
	}
}
