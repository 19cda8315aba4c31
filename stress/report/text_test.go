// SPDX-License-Identifier: MIT

package report

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func draw(t *testing.T, f *Failure) string {
	t.Helper()
	var b bytes.Buffer
	Text(&b, f)
	text := b.String()
	rows := 0
	for i, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); i > 1 && n > maxWidth {
			t.Errorf("line %d is %d columns wide: %s", i+1, n, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("line %d ends in blanks: %q", i+1, line)
		}
		rows++
	}
	if rows > maxRows+maxDetails+9 {
		t.Errorf("%d lines", rows)
	}
	return text
}

// want checks that the lines stand in text in this order.
func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	rest := text
	for _, line := range lines {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Fatalf("no %q, or not in its place, in\n%s", line, text)
		}
		rest = after
	}
}

// ev is an event of a synthetic run; steps count themselves.
type ev struct {
	task string
	op   kernel.OpKind
	obj  string
	cell string
	text string
}

func events(list ...ev) []kernel.Event {
	var out []kernel.Event
	for i, e := range list {
		out = append(out, kernel.Event{
			Step: i + 1, Task: e.task, Op: e.op, Obj: e.obj, Cell: e.cell, Text: e.text, File: "sunrpc/svc_xprt.go", Line: 100 + i,
		})
	}
	return out
}

func many(n int, e ev) []ev {
	var out []ev
	for range n {
		out = append(out, e)
	}
	return out
}

// TestDesign draws the example of the design, octet by octet.
func TestDesign(t *testing.T) {
	list := events(
		ev{"lockd_up", kernel.OpWake, "task", "lockd", "wake_up_process(lockd)"},
		ev{"lockd", kernel.OpBitClear, "svc_rqst", "rq_flags", "clear_bit BUSY"},
		ev{"lockd", kernel.OpSchedule, "task", "lockd", "schedule (sleeps)"},
		ev{"softirq/udp", kernel.OpBitTAS, "svc_rqst", "rq_flags", "test_and_set_bit BUSY -> false"},
		ev{"softirq/udp", kernel.OpLoad, "svc_rqst", "rq_task", "rq_task -> NULL"},
		ev{"softirq/udp", kernel.OpOops, "", "", "wake_up_process(NULL)"},
	)
	list[0].File, list[0].Line = "lockd/svc.go", 318
	f := &kernel.Finding{
		Oracle: "oops", Title: "NULL pointer dereference in SvcXprtEnqueue", Task: "softirq/udp", Func: "SvcXprtEnqueue",
		Text: "wake_up_process(NULL)", Fatal: true,
	}
	list = append(list, kernel.Event{Step: 5, Task: f.Task, Op: kernel.OpOops, Text: f.Title, Finding: f})
	got := draw(t, &Failure{
		Scenario: "lockd-start", Finding: f, Events: list, Mutant: "lockd-run-before-rq-task", Era: "3.19", Backend: "sim",
		Unusual: "proto=1", Memory: "tso", Chooser: "pct:d=3", Seed: 152, Steps: 5, Preemptions: 2, Schedule: "findings/lockd-start-7f3a.schedule",
		Pending: []kernel.Event{
			{Task: "lockd_up", Op: kernel.OpStore, Obj: "svc_rqst", Cell: "rq_task", Text: "store rq_task", File: "lockd/svc.go", Line: 319},
			{Task: "lockd", Op: kernel.OpLoad, Obj: "svc_rqst", Cell: "rq_task", Text: "load rq_task"},
			{Task: "client", Op: kernel.OpStore, Obj: "svc_rqst#2", Cell: "rq_task", Text: "store rq_task"},
		},
	})
	const design = `FAIL lockd-start: oops: NULL pointer dereference in SvcXprtEnqueue, task softirq/udp
mutant lockd-run-before-rq-task  era 3.19  back end sim  proto=1  memory tso  chooser pct(d=3)  seed 152  steps 5  preemptions 2

step  lockd_up                lockd              softirq/udp                        at
   1  wake_up_process(lockd)                                                        lockd/svc.go:318
   2                          clear_bit RQ_BUSY                                     sunrpc/svc_xprt.go:101
   3                          schedule (sleeps)                                     sunrpc/svc_xprt.go:102
   4                                             test_and_set_bit RQ_BUSY -> false  sunrpc/svc_xprt.go:103
   5                                             rq_task -> NULL                    sunrpc/svc_xprt.go:104
   6                                             wake_up_process(NULL)              sunrpc/svc_xprt.go:105  <- oops
      never reached: lockd_up  store rq_task                                        lockd/svc.go:319

replay:  go run ./stress replay findings/lockd-start-7f3a.schedule
keep:    go run ./stress keep findings/lockd-start-7f3a.schedule NAME
`
	if got != design {
		t.Errorf("got\n%s\nwant\n%s", got, design)
	}
}

func TestFolds(t *testing.T) {
	noise := ev{"main", kernel.OpLoad, "svc_serv", "sv_setup", "sv_setup -> 0"}
	list := slices.Concat(
		many(60, noise),
		[]ev{{"main", kernel.OpStart, "task", "lockd", "kthread_create(lockd)"}},
		many(3, noise),
		[]ev{{"lockd", kernel.OpStart, "task", "lockd", "lockd starts"}},
		many(4, ev{"lockd", kernel.OpLoad, "svc_pool", "sp_x", "sp_x -> 1"}),
		many(4, ev{"idle", kernel.OpLoad, "svc_pool", "sp_y", "sp_y -> 1"}),
		many(4, ev{"idler", kernel.OpLoad, "svc_pool", "sp_y", "sp_y -> 1"}),
		[]ev{
			{"lockd", kernel.OpLock, "svc_pool", "sp_lock", "spin_lock sp_lock"},
			{"lockd", kernel.OpBitSet, "svc_xprt#2", "xpt_flags", "set_bit DATA"},
			{"lockd", kernel.OpBitTest, "svc_xprt", "xpt_flags", "test_bit BUSY -> true"},
		},
	)
	f := &kernel.Finding{Oracle: "oops", Title: "kernel BUG: svc_xprt_received in Foo", Func: "Foo", Task: "lockd", Fatal: true}
	run := events(list...)
	for i := range run[70:] {
		run[70+i].Now = 20 * kernel.HZ
	}
	run = append(run, kernel.Event{Step: len(run), Task: "lockd", Op: kernel.OpOops, Text: f.Title, Finding: f, Now: 20 * kernel.HZ})
	text := draw(t, &Failure{Scenario: "x", Finding: f, Events: run, Backend: "free", Chooser: "free", Seed: 1, Steps: 81})
	want(t, text,
		"FAIL x: oops: kernel BUG: svc_xprt_received in Foo, task lockd\n",
		"back end free  seed 1  steps 81\n\n",
		"step  main", "lockd", "at\n",
		"      ... 60 more of main\n",
		"  61  kthread_create(lockd)",
		"      ... 3 more\n",
		"  65                         lockd starts",
		"      ... 9 more of idle, idler, lockd\n", "      --- 20 s later ---\n",
		"set_bit XPT_DATA (svc_xprt#2)", "test_bit XPT_BUSY -> true (svc_xprt)",
		"kernel BUG: svc_xprt_received ", "  <- oops\n")
	if strings.Contains(text, "replay:") {
		t.Errorf("there is no schedule to replay:\n%s", text)
	}
}

// A finding of an oracle at a moment when nobody runs is explained by what everybody did last.
func TestNobody(t *testing.T) {
	f := &kernel.Finding{
		Oracle: "lost-wakeup", Title: "a transport waits and a thread sleeps", Fatal: true,
		Text: "svc_xprt is queued\n" + strings.Repeat("lockd INTERRUPTIBLE\n", 30),
	}
	run := events(slices.Concat(
		[]ev{{"gone", kernel.OpExit, "task", "gone", "gone exits with 0"}},
		many(30, ev{"lockd", kernel.OpLoad, "a", "b", "b -> 1"}),
		[]ev{
			{"lockd", kernel.OpSchedule, "task", "lockd", "schedule (sleeps)"},
			{"udp", kernel.OpListAdd, "svc_pool", "sp_sockets", "list_add svc_xprt, sp_sockets"},
		})...)
	run = append(run, kernel.Event{Step: len(run), Op: kernel.OpOops, Text: f.Title, Finding: f})
	text := draw(t, &Failure{Scenario: "x", Finding: f, Events: run, Backend: "sim", Seed: 1})
	want(t, text, "FAIL x: lost-wakeup: a transport waits and a thread sleeps\n",
		"schedule (sleeps)", "list_add svc_xprt, sp_sockets", "a transport waits and a thread sleeps", "  <- lost-wakeup\n",
		"\n      svc_xprt is queued\n      lockd INTERRUPTIBLE\n", "... 19 more lines\n")
}

// Whatever the events are, the drawing has its bounds.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var list []ev
		tasks := 1 + r.IntN(9)
		for range 1 + r.IntN(400) {
			k := kernel.OpKind(1 + r.IntN(int(kernel.OpOops)))
			o := fmt.Sprintf("obj#%d", r.IntN(5))
			c := fmt.Sprintf("cell%d", r.IntN(4))
			list = append(list, ev{
				strings.Repeat("t", 1+r.IntN(30)) + fmt.Sprint(r.IntN(tasks)), k, o, c, k.String() + strings.Repeat(" "+c, 1+r.IntN(20)),
			})
		}
		run := events(list...)
		f := &kernel.Finding{Oracle: "oops", Title: strings.Repeat("x", 1+r.IntN(100)), Text: "obj#1 was freed by t1", Fatal: true}
		if r.IntN(3) > 0 {
			f.Task = list[r.IntN(len(list))].task
		}
		if r.IntN(3) > 0 {
			run = append(run, kernel.Event{Step: len(run), Task: f.Task, Op: kernel.OpOops, Text: f.Title, Finding: f})
		}
		draw(t, &Failure{Scenario: "x", Finding: f, Events: run, Pending: run[:min(len(run), 20)], Backend: "sim"})
	}
	draw(t, &Failure{Scenario: "x", Finding: &kernel.Finding{Oracle: "oops", Title: "y"}, Backend: "sim"})
}
