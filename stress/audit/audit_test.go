// SPDX-License-Identifier: MIT

package audit

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/stress/job"
	"github.com/seed17199236/svcfuzz/stress/program"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

const root = "../.."

// TestSites compares the scheduling points of the port with those of the kernel, function by function.
func TestSites(t *testing.T) {
	facts, err := ReadSites(root)
	if err != nil {
		t.Fatal(err)
	}
	port, err := Source(root)
	if err != nil {
		t.Fatal(err)
	}
	c := Compare(facts, port)
	for _, line := range c.Unexplained {
		t.Errorf("%s: %s", SitesFile, line)
	}
	if c.C < 200 || c.Same < c.C*4/5 {
		t.Errorf("%d sites of %d: too few to be true", c.Same, c.C)
	}
	for _, want := range []string{
		"svc_xprt_do_enqueue wake_up_process rq_task", "lockd_start_svc store rq_task", "svc_get_next_xprt clear_bit RQ_BUSY",
		"locks_wake_up_blocks wake_up fl_wait",
	} {
		if !slices.ContainsFunc(facts, func(s *CSite) bool {
			return s.Func+" "+s.Kind+" "+s.Object == want && s.C == 1 && s.Port == 1
		}) {
			t.Errorf("%s is no row", want)
		}
	}
}

// TestCompare sees every way in which the rows can be wrong.
func TestCompare(t *testing.T) {
	const head = "file,function,kind,object,c,port,why\n"
	port := []*Site{
		{CFunc: "f", CFile: CFiles[0], Primitive: "Spinlock.Lock", Object: "sp_lock"},
		{CFunc: "f", CFile: CFiles[0], Primitive: "Task.SignalPending", Object: "ignored"},
		{CFunc: "f", CFile: CFiles[0], Primitive: "Var.Load", Object: "not_compared"},
		{CFunc: "f", CFile: "include/linux/sunrpc/svc.h", Primitive: "Spinlock.Lock", Object: "sp_lock"},
	}
	const good = "net/sunrpc/svc.c,f,spin_lock,sp_lock,1,1,\nnet/sunrpc/svc.c,f,signalled,,1,1,\n"
	for rows, want := range map[string]string{
		good: "",
		good + "net/sunrpc/svc.c,f,set_bit,XPT_BUSY,1,0,left out\n":                               "",
		good + "net/sunrpc/svc.c,f,set_bit,XPT_BUSY,1,0,\n":                                       "say why they differ",
		good + "net/sunrpc/svc.c,f,set_bit,XPT_BUSY,1,1,\n":                                       "there are 0",
		"net/sunrpc/svc.c,f,signalled,,1,1,\n":                                                    "no row",
		strings.Replace(good, "1,1,\n", "1,1,once more\n", 1):                                     "take the reason away",
		strings.Replace(good, "sp_lock,1,1,", "sp_lock,0,1,C has none", 1):                        "",
		strings.Replace(good, "sp_lock,1,1,", "sp_lock,2,1,one is left out", 1):                   "",
		strings.Replace(good, "net/sunrpc/svc.c,f,spin_lock", "net/sunrpc/clnt.c,f,spin_lock", 1): "error: ",
		strings.Replace(good, "spin_lock,", "spin_lok,", 1):                                       "error: ",
		strings.Replace(good, "1,1,", "one,1,", 1):                                                "error: ",
		good + good:            "error: ",
		"net/sunrpc/svc.c,f\n": "error: ",
	} {
		facts, err := parseSites(strings.NewReader(head+rows), "x.csv")
		if err != nil {
			if want != "error: " || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "x.csv: ") {
				t.Errorf("%q: %v", rows, err)
			}
			continue
		}
		got := strings.Join(Compare(facts, port).Unexplained, "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", rows, got, want)
		}
	}
	if _, err := parseSites(strings.NewReader("a,b\n"), "x.csv"); err == nil {
		t.Error("a file without its head is read")
	}
}

// TestSource looks at a few sites of the port whose reading is not obvious.
func TestSource(t *testing.T) {
	port, err := Source(root)
	if err != nil {
		t.Fatal(err)
	}
	has := func(fn, primitive, object string, visible bool) bool {
		return slices.ContainsFunc(port, func(s *Site) bool {
			return s.Func == fn && s.Primitive == primitive && s.Object == object && s.Visible == visible && s.Line > 0
		})
	}
	for _, ok := range []bool{
		has("svcXprtDoEnqueue", "WakeUpProcess", "rq_task", true),
		has("svcXprtDoEnqueue", "Flags.TestAndSetBit", "XPT_BUSY", true),
		has("svcXprtDoEnqueue", "Machine.GetCpu", "", false),
		has("svcXprtHasSomethingToDo", "Flags.TestAny", "XPT_CONN|XPT_CLOSE", true),
		has("lockdStartSvc", "Machine.KthreadCreate", "lockd", true),
		has("svcXprtReceived", "Machine.WarnOnOnce", "", false),
	} {
		if !ok {
			t.Errorf("a site is missing or read otherwise: %v", ok)
		}
	}
	if _, err := Source(t.TempDir()); err == nil {
		t.Error("a folder without a module is read")
	}
}

// TestCollect counts the points of the start race, where every operation is known.
func TestCollect(t *testing.T) {
	p, err := program.Parse("lsr")
	if err != nil {
		t.Fatal(err)
	}
	m := kernel.NewSim()
	defer m.Close()
	c := &Collector{points: map[place]*Point{}}
	run := explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return p.Run(m, ch, opt) })
	const runs = 300
	if err := c.load(t.Context(), run, Workload{}, runs, 1, nil); err != nil {
		t.Fatal(err)
	}
	if c.Schedules != runs {
		t.Errorf("%d schedules", c.Schedules)
	}
	total := 0
	var first, store *Point
	for _, p := range c.Points() {
		total += p.Executed
		if p.Interrupted > p.Choices || p.Choices > p.Executed || p.Executed < p.Alone+p.Switches+p.Joined {
			t.Errorf("%+v", p)
		}
		switch {
		case p.Op == "set" && p.Cell == "rq_task":
			store = p
		case first == nil && p.Op == kernel.OpStart.String():
			first = p
		}
	}
	if int64(total) != c.Steps {
		t.Errorf("%d operations at points, %d steps", total, c.Steps)
	}
	if store == nil || store.Executed != runs || store.Choices == 0 || store.Interrupted == 0 ||
		store.Why() != "" || store.Port() {
		t.Errorf("the store of rq_task: %+v", store)
	}
	if first == nil || first.Choices != 0 || first.Alone != runs || first.Why() != "no other task could run" {
		t.Errorf("the first operation of all: %+v", first)
	}
}

// TestCollectScenario compares what a scenario reaches with the source.
func TestCollectScenario(t *testing.T) {
	port, err := Source(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Collect(t.Context(), []Workload{{Scenario: "lockd-start"}}, 12, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	visible, n := 0, 0
	for _, s := range port {
		if s.Visible {
			visible++
		}
	}
	for _, u := range c.Unreached(port) {
		n++
		if u.Func == "lockdStartSvc" && u.Primitive == "WakeUpProcess" || u.Func == "svcXprtEnqueue" {
			t.Errorf("%s is performed in every run", u.Site)
		}
	}
	if n == 0 || n >= visible {
		t.Errorf("%d of %d visible calls are not reached", n, visible)
	}
	for _, p := range c.Points() {
		if !p.Port() {
			continue
		}
		if !slices.ContainsFunc(port, func(s *Site) bool {
			return s.File == p.File && s.reached(map[int]bool{p.Line: true}) && s.Visible
		}) {
			t.Errorf("%s:%d %s(%s) was performed, and is no visible call of the source", p.File, p.Line, p.Op, p.Cell)
		}
		if p.Op == "alloc" && (p.Joined != p.Executed || p.Choices != 0) || p.Op == "test_and_set_bit" && p.Joined != 0 {
			t.Errorf("%+v", p)
		}
	}
	if _, err := Collect(t.Context(), []Workload{{Scenario: "nothing"}}, 1, 1, nil); err == nil {
		t.Error("an unknown scenario is run")
	}
}

// TestSense asks for the points of a bug that needs one of two.
func TestSense(t *testing.T) {
	const a, b = "lockd/svc.go:1 store(a)", "lockd/svc.go:2 store(b)"
	plain := job.Job{Scenario: "x", Plans: []job.Plan{{Chooser: "pct", Schedules: 100}}, Shrink: 50}
	find := func(_ context.Context, j job.Job) (*job.Result, error) {
		if !j.Points || j.Shrink != 50 {
			t.Errorf("the first search: %+v", j)
		}
		j.FailAt = 3
		points := []string{b, a, b}
		return &job.Result{Job: j, Verdict: "oops", Oracle: "oops", FoundAt: 7, Preemptions: 3, Points: points}, nil
	}
	run := func(_ context.Context, j job.Job) (*job.Result, error) {
		if j.FailAt != 3 || j.Want != "oops" || j.Shrink != 0 || j.Points {
			t.Errorf("a search without points: %+v", j)
		}
		if slices.Contains(j.NoPreempt, a) {
			return &job.Result{Verdict: job.Clean, Schedules: 100}, nil
		}
		return &job.Result{Verdict: "oops", Oracle: "oops", FoundAt: 20, Schedules: 20}, nil
	}
	s, err := Sense(t.Context(), "bug", plain, find, run)
	if err != nil {
		t.Fatal(err)
	}
	want := &Sensitivity{Name: "bug", FoundAt: 7, FailAt: 3, Oracle: "oops", Preemptions: 3, Needs: []Need{
		{Points: []string{a}, Tried: 100},
		{Points: []string{b}, FoundAt: 20, Tried: 20},
		{Points: []string{a, b}, Tried: 100},
	}}
	if !reflect.DeepEqual(s, want) || !s.Needs[0].Needed() || s.Needs[1].Needed() {
		t.Errorf("%+v, want %+v", s, want)
	}
	clean := func(context.Context, job.Job) (*job.Result, error) { return &job.Result{Verdict: job.Clean}, nil }
	if s, err := Sense(t.Context(), "bug", plain, clean, run); err != nil || s.FoundAt != 0 || s.Needs != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
