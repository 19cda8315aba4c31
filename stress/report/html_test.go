// SPDX-License-Identifier: MIT

package report

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// race is a synthetic failure that has one of everything: a fold, a lock, a wake-up, a jump of time, decisions, states, and
// the two operations that run into each other.
func race() *Failure {
	load := ev{"mount", kernel.OpLoad, "svc_serv", "sv_setup", "sv_setup -> 0"}
	list := events(slices.Concat(
		many(5, load),
		[]ev{
			{"mount", kernel.OpMutexLock, "lockd", "nlmsvc_mutex", "mutex_lock nlmsvc_mutex"},
			{"mount", kernel.OpStart, "task", "lockd", "kthread_create(lockd)"},
			{"mount", kernel.OpWake, "task", "lockd", "wake_up_process(lockd)"},
			{"lockd", kernel.OpStart, "task", "lockd", "lockd starts"},
			{"lockd", kernel.OpLock, "svc_rqst", "rq_lock", "spin_lock rq_lock"},
			{"lockd", kernel.OpStore, "svc_rqst", "rq_xprt", "rq_xprt = NULL"},
			{"lockd", kernel.OpUnlock, "svc_rqst", "rq_lock", "spin_unlock rq_lock"},
			{"mount", kernel.OpStore, "svc_rqst", "rq_task", "rq_task = NULL"},
			{"lockd", kernel.OpLoad, "svc_rqst", "rq_task", "rq_task -> NULL"},
		})...)
	list[7].Wakes = []string{"lockd"}
	list[10].State, list[12].State = "RqXprt: svc_sock\nRqTask: lockd\n", "RqXprt: svc_sock\nRqTask: NULL\nRqBusy: true\n"
	list[13].State = list[12].State
	for i := range list[12:] {
		list[12+i].Now = 30 * kernel.HZ
	}
	f := &kernel.Finding{Oracle: "oops", Title: "NULL pointer dereference in Foo", Task: "lockd", Func: "Foo", Fatal: true}
	list = append(list, kernel.Event{Step: 15, Task: "lockd", Op: kernel.OpOops, Text: "wake_up_process(NULL)", Now: 30 * kernel.HZ},
		kernel.Event{Step: 15, Task: "lockd", Op: kernel.OpOops, Text: f.Title, Finding: f, Now: 30 * kernel.HZ})
	return &Failure{
		Scenario: "tiny", Finding: f, Events: list, Backend: "sim", Chooser: "pct", Seed: 1, Steps: 15, Preemptions: 2,
		Mutant: "m", Era: "3.19", Schedule: "findings/x.schedule", Depth: 2, Constraints: []string{"a before b"},
		Decisions: []kernel.Decided{
			{Kind: kernel.DecideTimer, Task: "lockd", Step: 9, Value: 1, N: 2, Site: "sv_temptimer"},
			{Kind: kernel.DecideRead, Task: "lockd", Step: 40, Value: 2, N: 3},
		},
		Pending: []kernel.Event{
			{Task: "client", Op: kernel.OpLoad, Obj: "svc_pool", Cell: "sp_lock", Text: "load sp_lock"},
			{Task: "late", Op: kernel.OpStart, Obj: "task", Cell: "late", Text: "starts late"},
		},
	}
}

// rendered is the file of a failure.
func rendered(t *testing.T, f *Failure) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sketch writes the chart of a page in short, a line each.
func sketch(p *page) string {
	var b strings.Builder
	for _, l := range p.Rows {
		task := "-"
		if l.Lane >= 0 {
			task = p.Lanes[l.Lane].Name
		}
		fmt.Fprintf(&b, "%d %s %s %d: %s", l.ID, l.Kind, task, l.Step, l.Text)
		if l.Hidden() {
			fmt.Fprintf(&b, " [fold %d]", l.Fold)
		}
		if l.Fails {
			b.WriteString(" FAILS")
		}
		if l.Conflict {
			b.WriteString(" CONFLICT")
		}
		for _, s := range l.Segments {
			fmt.Fprintf(&b, " <%s>", s.Classes)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestPage(t *testing.T) {
	p := newPage(race())
	const want = `0 fold mount 0: 6 more of mount <bar c0 s0 t0 closed from>
1 step mount 1: sv_setup -> 0 [fold 0]
2 step mount 2: sv_setup -> 0 [fold 0]
3 step mount 3: sv_setup -> 0 [fold 0]
4 step mount 4: sv_setup -> 0 [fold 0]
5 step mount 5: sv_setup -> 0 [fold 0]
6 step mount 6: mutex_lock nlmsvc_mutex [fold 0] <bar c0 s0 t0 from>
7 step mount 7: kthread_create(lockd) <bar c0 s0 t0>
8 step mount 8: wake_up_process(lockd) <bar c0 s0 t0> <wake t1 hop f0>
9 step lockd 9: lockd starts <bar c0 s0 t0> <wake t1 into>
10 decision lockd 0: timer fires early: sv_temptimer <bar c0 s0 t0>
11 step lockd 10: spin_lock rq_lock <bar c1 s0 t1 from> <bar c0 s0 t0>
12 step lockd 11: rq_xprt = NULL <bar c1 s0 t1> <bar c0 s0 t0>
13 step lockd 12: spin_unlock rq_lock <bar c1 s0 t1 to> <bar c0 s0 t0>
14 time - 0: 30 s later <bar c0 s0 t0>
15 step mount 13: rq_task = NULL CONFLICT <bar c0 s0 t0>
16 step lockd 14: rq_task -> NULL CONFLICT <bar c0 s0 t0>
17 step lockd 15: wake_up_process(NULL) FAILS <bar c0 s0 t0>
18 decision lockd 0: short read (2) <bar c0 s0 t0>
19 fold - 0: what 2 other tasks were about to do <bar c0 s0 t0>
20 never client 0: load sp_lock [fold 1] <bar c0 s0 t0>
21 never late 0: starts late [fold 1] <bar c0 s0 t0>
`
	if got := sketch(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p.FailRow != 17 || p.Oracle != "oops" || p.Sentence != "NULL pointer dereference in Foo, task lockd" || p.Visible != 2 {
		t.Errorf("%d %q %q %d", p.FailRow, p.Oracle, p.Sentence, p.Visible)
	}
	if got := fmt.Sprint(p.Lanes); got != "[{mount 9 true 0} {lockd 6 true 1} {client 0 false 2} {late 0 false 2}]" {
		t.Errorf("lanes %s", got)
	}
	if got := fmt.Sprint(p.Facts); got != "[{mutant m} {era 3.19} {back end sim} {chooser pct} {seed 1} {steps 15} {preemptions 2} "+
		"{faults timer fires early: sv_temptimer; short read (2)} {depth 2} {constraints a before b}]" {
		t.Errorf("facts %s", got)
	}
	if got := fmt.Sprint(p.Commands); got != "[{replay go run ./stress replay findings/x.schedule} {keep go run ./stress keep findings/x.schedule NAME}]" {
		t.Errorf("commands %s", got)
	}
}

// A lock that its task's store buffer gives back is no longer held from there on, however many there have been.
func TestPageOfStoreBuffers(t *testing.T) {
	var list []ev
	for i := range 200 {
		lock := fmt.Sprintf("lock%d", i%100)
		list = append(list, ev{"mount", kernel.OpLock, "svc_pool", lock, "spin_lock " + lock},
			ev{"mount/store buffer", kernel.OpUnlock, "svc_pool", lock, "spin_unlock " + lock})
	}
	list = append(list, ev{"mount", kernel.OpOops, "", "", "wake_up_process(NULL)"})
	f := &kernel.Finding{Oracle: "oops", Title: "NULL pointer dereference", Task: "mount", Text: "wake_up_process(NULL)", Fatal: true}
	p := newPage(&Failure{Scenario: "x", Backend: "sim", Memory: "tso", Finding: f, Events: events(list...), Steps: len(list)})
	bars := 0
	for _, l := range p.Rows {
		for _, s := range l.Segments {
			if strings.HasPrefix(s.Classes, "bar ") && strings.Contains(s.Classes, " from") {
				bars++
			}
			if strings.HasPrefix(s.Classes, "bar ") && !strings.Contains(s.Classes, " s0 ") {
				t.Fatalf("line %d: %s, and one lock is held at a time", l.ID, s.Classes)
			}
		}
	}
	if bars != 200 {
		t.Errorf("%d locks are drawn, want 200", bars)
	}
}

// The state of a structure is compared with that after the operation on it before.
func TestStates(t *testing.T) {
	p := newPage(race())
	read := func(id int) (lines []string) {
		d := p.Data.Steps[id].Diff
		for i := 0; i < len(d); i += 2 {
			lines = append(lines, fmt.Sprintf("%+d %s", d[i], p.Data.Words[d[i+1]]))
		}
		return lines
	}
	if got := fmt.Sprint(read(12)); got != "[+0 RqXprt: svc_sock +0 RqTask: lockd]" {
		t.Errorf("the first state: %s", got)
	}
	if got := fmt.Sprint(read(15)); got != "[+0 RqXprt: svc_sock -1 RqTask: lockd +1 RqTask: NULL +1 RqBusy: true]" {
		t.Errorf("the second state: %s", got)
	}
	if got := fmt.Sprint(read(16)); got != "[+0 RqXprt: svc_sock +0 RqTask: NULL +0 RqBusy: true]" {
		t.Errorf("the same state again: %s", got)
	}
	if x := p.Data.Steps[15]; x.Object != "svc_rqst" || x.Prev != 13 || x.Next != 16 || x.Now != "30 s" {
		t.Errorf("%+v", x)
	}
	if x := p.Data.Steps[8]; x.Object != "task lockd" || x.Prev != 7 || x.Next != 9 {
		t.Errorf("%+v", x)
	}
}

// An arrow and a bar that end or begin in a fold do so on the fold's own line while it is closed.
func TestSegmentsInFolds(t *testing.T) {
	noise := ev{"mount", kernel.OpLoad, "svc_serv", "sv_setup", "sv_setup -> 0"}
	list := events(slices.Concat(
		[]ev{{"mount", kernel.OpStart, "task", "lockd", "kthread_create(lockd)"}},
		many(2, noise),
		[]ev{{"mount", kernel.OpWake, "task", "lockd", "wake_up_process(lockd)"}, {"mount", kernel.OpLock, "o", "l", "spin_lock l"}},
		many(2, noise),
		[]ev{{"lockd", kernel.OpStore, "svc_rqst", "rq_task", "rq_task = x"}},
		many(2, noise),
		[]ev{{"mount", kernel.OpUnlock, "o", "l", "spin_unlock l"}},
		many(2, noise),
		[]ev{{"lockd", kernel.OpLoad, "svc_rqst", "rq_task", "rq_task -> x"}},
	)...)
	list[2].Wakes = []string{"lockd"} // in the first fold
	f := &kernel.Finding{Oracle: "oops", Title: "bad", Task: "lockd", Fatal: true}
	list = append(list, kernel.Event{Step: len(list), Task: "lockd", Op: kernel.OpOops, Text: f.Title, Finding: f})
	got := sketch(newPage(&Failure{Scenario: "x", Finding: f, Events: list, Backend: "sim"}))
	for _, line := range []string{
		"1 fold mount 0: 2 more of mount <wake t1 closed hop f0>\n",
		"3 step mount 3: sv_setup -> 0 [fold 0] <wake t1 hop f0>\n",
		"5 fold mount 0: 3 more of mount <bar c0 s0 t0 closed from> <wake t1>\n",
		"6 step mount 5: spin_lock l [fold 1] <bar c0 s0 t0 from> <wake t1>\n",
		"9 step lockd 8: rq_task = x <bar c0 s0 t0> <wake t1 into>\n",
		"10 fold mount 0: 5 more of mount <bar c0 s0 t0 open> <bar c0 s0 t0 closed to>\n",
		"13 step mount 11: spin_unlock l [fold 2] <bar c0 s0 t0 to>\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// What the file holds comes from patches and from the network: nothing of it may become markup or script.
func TestHostileNames(t *testing.T) {
	const evil = `</script><script>alert("x")</script><img src=x onerror=alert(1)>'"` + "`${1}--><!--"
	f := race()
	f.Scenario, f.Mutant, f.Params, f.Schedule, f.Dump, f.Constraints = evil, evil, evil, evil, evil, []string{evil}
	f.Finding.Title, f.Finding.Oracle, f.Finding.Text = evil, evil, "details "+evil
	for i := range f.Events {
		e := &f.Events[i]
		e.Task, e.Obj, e.Cell, e.Text, e.File, e.Func = evil, evil+e.Obj, evil+e.Cell, evil, evil, evil
		e.Wakes, e.State = []string{evil}, evil+": "+evil
	}
	f.Pending[0].Text, f.Pending[0].Task = evil, evil+"2"
	f.Decisions[0].Site, f.Decisions[0].Task = evil, evil+"3"
	text := rendered(t, f)
	for _, bad := range []string{`<script>alert`, `<img`, `"><`, "-->"} {
		plain := strings.Count(rendered(t, race()), bad)
		if n := strings.Count(text, bad); n != plain {
			t.Errorf("%d times %s, %d times without hostile names", n, bad, plain)
		}
	}
	if n := strings.Count(text, "</script>"); n != 2 {
		t.Errorf("%d scripts end", n)
	}
}

// Every colour that the script or the style names is there, in both schemes.
func TestColours(t *testing.T) {
	light, dark, ok := strings.Cut(pageCSS, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "\n}\n")
	light, _, _ = strings.Cut(light, "--sans")
	names := regexp.MustCompile(`(--[a-z0-9-]+): #`)
	list := func(css string) (out []string) {
		for _, m := range names.FindAllStringSubmatch(css, -1) {
			out = append(out, m[1])
		}
		return out
	}
	if a, b := list(light), list(dark); !slices.Equal(a, b) || len(a) < 15+maxColours {
		t.Errorf("light has %v, dark has %v", a, b)
	}
	for i := range maxColours {
		if !strings.Contains(pageCSS, fmt.Sprintf(".c%d { --c: var(--c%d) }", i, i)) {
			t.Errorf("colour %d has no class", i)
		}
	}
}

// long is a long run of many tasks.
func long() *Failure {
	var list []ev
	for i := range 700 {
		task := fmt.Sprintf("task-%d", i/3*7%30)
		list = append(list, ev{task, kernel.OpStore, fmt.Sprintf("svc_rqst#%d", i%20), "rq_task", fmt.Sprintf("rq_task = t%d", i)})
	}
	run := events(list...)
	for i := range run {
		var b strings.Builder
		for k := range 45 {
			fmt.Fprintf(&b, "RqField%d: %d\n", k, (i+k)/40)
		}
		run[i].State = b.String()
		if i%50 == 0 {
			run[i].Op, run[i].Wakes = kernel.OpWake, []string{run[(i+300)%700].Task}
		}
	}
	f := &kernel.Finding{Oracle: "oops", Title: "bad", Task: list[699].task, Fatal: true}
	run = append(run, kernel.Event{Step: 700, Task: f.Task, Op: kernel.OpOops, Text: "wake_up_process(NULL)", Finding: f})
	return &Failure{
		Scenario: "long", Finding: f, Events: run, Backend: "sim", Era: "3.19", Chooser: "pct", Steps: 700, Schedule: "findings/long.schedule",
	}
}

// A long run of many tasks makes no file that a browser chokes on, and most of it is folded away.
func TestLong(t *testing.T) {
	f := long()
	if n := len(rendered(t, f)); n > 2<<20 {
		t.Errorf("%d bytes", n)
	}
	p := newPage(f)
	seen := slices.DeleteFunc(slices.Clone(p.Rows), (*line).Hidden)
	if len(p.Rows) < 700 || len(seen) > 80 || len(p.Lanes) != 30 || p.Visible > 15 {
		t.Errorf("%d lines, %d of them are seen at first; %d lanes, %d of them", len(p.Rows), len(seen), len(p.Lanes), p.Visible)
	}
}

// Whatever the events are, a page comes of it.
func TestAnyPage(t *testing.T) {
	rendered(t, &Failure{Scenario: "x", Finding: &kernel.Finding{Oracle: "oops", Title: "y"}, Backend: "free"})
	f := race()
	f.Finding = &kernel.Finding{Oracle: "SVCFUZZ BUG", Title: "z"}
	if p := newPage(f); !p.Ours || p.FailRow != -1 {
		t.Errorf("%+v", p)
	}
	rendered(t, f)
}
