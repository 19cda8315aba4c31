// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestBugOn(t *testing.T) {
	f := always(t, "oops", "kernel BUG: list is empty", func(cur *Task) {
		m := cur.Machine()
		m.BugOn(false, "not this")
		m.BugOn(true, "list is empty")
		t.Error("BUG_ON returned")
	})
	if !f.Fatal || f.Task != "main" || len(f.Stack) == 0 || !strings.HasPrefix(f.Stack[0].Func, "kernel.TestBugOn") {
		t.Errorf("%v at %v", f, f.Stack)
	}
	if got := f.String(); got != "oops: kernel BUG: list is empty, task main" {
		t.Errorf("it reads %q", got)
	}
}

func TestWarnOnOnce(t *testing.T) {
	m := NewSim()
	defer m.Close()
	for range 2 { // once a run
		r := m.Run(random(1), Options{}, "main", func(cur *Task) {
			for i := range 6 {
				if m.WarnOnOnce(i%2 == 1, "odd") != (i%2 == 1) {
					t.Error("WARN_ON_ONCE returns its condition")
				}
			}
			spawn(cur, func(*Task) { m.WarnOnOnce(true, "odd"); m.WarnOnOnce(true, "elsewhere") })()
		})
		var got []string
		for _, f := range r.Findings {
			got = append(got, f.String())
			if f.Fatal {
				t.Error("a warning is not fatal")
			}
		}
		if want := []string{"warning: WARNING: odd, task main", "warning: WARNING: elsewhere, task a"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if r.Worst() != r.Findings[0] {
			t.Error("the worst of two warnings is the first")
		}
	}
	r := m.Run(random(1), Options{}, "main", func(cur *Task) {
		m.WarnOnOnce(true, "odd")
		m.BugOn(true, "the end")
	})
	if f := r.Worst(); f == nil || f.Oracle != "oops" {
		t.Errorf("the worst finding is %v, want the fatal one", f)
	}
}

func TestDeadlock(t *testing.T) {
	f := found(t, 10, true, Options{}, "deadlock", "no task can run and no timer is armed", func(cur *Task) {
		b := newBox(cur.Machine())
		b.mu.Lock(cur)
		spawn(cur, func(cur *Task) { b.mu.Lock(cur) }, func(cur *Task) { b.done.Wait(cur) })()
	})
	for _, words := range []string{"main", "a ", "b ", "last at mutex_lock mu", "holds mu"} {
		if !strings.Contains(f.Text, words) {
			t.Errorf("the finding does not say %q:\n%s", words, f.Text)
		}
	}
}

func TestHangs(t *testing.T) {
	spin := func(cur *Task) {
		for {
			Msleep(cur, 100)
		}
	}
	// A start or stop call that takes longer than it may.
	within := func(cur *Task) {
		done := cur.Within(2*HZ, "quick")
		if what, at := cur.Doing(); what != "quick" || at != cur.Machine().Jiffies()+2*HZ {
			t.Errorf("doing %s until %d", what, at)
		}
		Msleep(cur, 1000)
		done()
		if what, _ := cur.Doing(); what != "" {
			t.Errorf("still doing %s", what)
		}
		Msleep(cur, 10_000) // nobody minds
		cur.Within(2*HZ, "lockd_down")
		spin(cur)
	}
	f := found(t, 5, true, Options{}, "hang", "lockd_down does not return", within)
	if f.Task != "main" || !strings.Contains(f.Text, "in lockd_down") {
		t.Errorf("%v\n%s", f, f.Text)
	}
	// The same where the caller is stuck and only others have timers.
	found(t, 5, true, Options{}, "hang", "lockd_down does not return", func(cur *Task) {
		join := spawn(cur, spin)
		defer cur.Within(2*HZ, "lockd_down")()
		join()
	})
	found(t, 5, true, Options{HangAfter: 30 * HZ}, "hang", "the run does not end", spin)
	found(t, 5, true, Options{MaxSteps: 5000}, "hang", "livelock: the run does not end", func(cur *Task) {
		b := newBox(cur.Machine())
		loop := func(*Task) {
			for !b.fl.TestBit(0) {
			}
		}
		spawn(cur, loop, loop)()
	})
	// On real goroutines a watchdog looks at the clock.
	for want, main := range map[string]func(cur *Task){
		"the run does not end":       func(*Task) {},
		"a task is left":             func(cur *Task) { spawn(cur, spin) },
		"lockd_down does not return": func(cur *Task) { cur.Within(HZ, "lockd_down") },
	} {
		r := overdue(func(cur *Task) bool {
			main(cur)
			return want == "a task is left"
		})
		if f := r.Worst(); f == nil || f.Oracle != "hang" || !strings.Contains(f.Title, want) {
			t.Errorf("free: got %v, want %s", f, want)
		}
	}
}

// overdue runs main on real goroutines under a watchdog that is so late that main has come to its end. If that is not
// the end of the task, it sleeps on.
func overdue(main func(cur *Task) (exit bool)) *Result {
	for limit := 300; ; limit *= 2 {
		var done atomic.Bool
		r := NewFree().Run(nil, Options{Watchdog: limit}, "main", func(cur *Task) {
			exit := main(cur)
			done.Store(true)
			if !exit {
				forever(cur)
			}
		})
		if done.Load() {
			return r
		}
	}
}

func TestTaskLeft(t *testing.T) {
	f := found(t, 10, true, Options{}, "leak", "task k is left", func(cur *Task) {
		cur.Machine().KthreadRun(cur, idler, nil, "k")
	})
	if !strings.Contains(f.Text, "INTERRUPTIBLE") {
		t.Errorf("the finding does not show the task:\n%s", f.Text)
	}
	found(t, 10, true, Options{}, "leak", "task k is left", func(cur *Task) { // never woken
		cur.Machine().KthreadCreate(cur, idler, nil, "k")
	})
}

func TestOracleHooks(t *testing.T) {
	m := NewSim()
	defer m.Close()
	quiet, ended := 0, 0
	opt := Options{
		Quiescent: func() {
			if quiet++; m.Tag() != "world" || m.b.here() != nil {
				t.Error("the oracle is in the wrong place")
			}
		},
		AtEnd: func() { ended++ },
	}
	r := m.Run(random(1), opt, "main", func(cur *Task) {
		m.SetTag("world")
		Msleep(cur, 1)
		Msleep(cur, 1)
	})
	wantClean(t, "sim", r)
	if quiet != 3 || ended != 1 { // before each sleep's end, and when all was over
		t.Errorf("quiescent %d times, at the end %d times", quiet, ended)
	}
	opt = Options{Quiescent: func() {
		if m.Jiffies() > 0 {
			m.Report(&Finding{Oracle: "lost-wakeup", Title: "found at rest", Fatal: true})
		}
	}}
	r = m.Run(random(1), opt, "main", func(cur *Task) {
		if m.Tag() != nil {
			t.Error("the tag of the last run is left")
		}
		Msleep(cur, 5)
		Msleep(cur, 5)
		t.Error("went on after a fatal finding")
	})
	if f := r.Worst(); f == nil || f.Title != "found at rest" || f.Task != "" || len(m.Findings()) != 1 {
		t.Errorf("got %v", f)
	}
	r = m.Run(nothing{}, Options{AtEnd: func() { t.Error("at the end of a run that was given up") }}, "main", func(cur *Task) {
		spawn(cur, func(*Task) {}, func(*Task) {})()
	})
	if !r.Pruned || r.Worst() != nil {
		t.Error("a chooser that gives up prunes the run")
	}
	if !raceEnabled { // in a race build the chooser runs on the caller's goroutine, and so does its panic
		r = m.Run(brokenChooser{}, Options{}, "main", func(cur *Task) { spawn(cur, func(*Task) {}, func(*Task) {})() })
		if f := r.Worst(); f == nil || f.Oracle != "SVCFUZZ BUG" {
			t.Errorf("a panic of the chooser: got %v", f)
		}
	}
}

type nothing struct{}

func (nothing) Pick(*Choice) *Task { return nil }

type brokenChooser struct{}

func (brokenChooser) Pick(*Choice) *Task { panic("chooser") }

// TestChoice: what a chooser sees.
func TestChoice(t *testing.T) {
	m := NewSim()
	defer m.Close()
	ch := &lookingChooser{t: t}
	wantClean(t, "sim", m.Run(ch, Options{}, "main", func(cur *Task) { smoke(t, cur) }))
	if ch.n == 0 || ch.free == 0 {
		t.Error("no choices")
	}
}

type lookingChooser struct {
	t       *testing.T
	n, free int
	step    int
}

func (l *lookingChooser) Pick(c *Choice) *Task {
	l.n++
	seen := map[*Task]bool{}
	for _, t := range c.Runnable {
		if seen[t] || t.Exited() || t.Sleeping() {
			l.t.Errorf("%s is no choice", t.Name())
		}
		seen[t] = true
		if k, _ := t.Pending(); k.String() == "" && t.Index() < 0 {
			l.t.Errorf("%s has no index", t.Name())
		}
	}
	if len(c.Runnable) < 2 || c.Cur != nil && !seen[c.Cur] || c.Step < l.step {
		l.t.Errorf("choice of %d at step %d after %d", len(c.Runnable), c.Step, l.step)
	}
	if c.Cur == nil {
		l.free++
	}
	l.step = c.Step
	return c.Runnable[l.n%len(c.Runnable)]
}

// TestKilledRun: a run that ends in its middle leaves a machine that works, whatever the tasks were doing.
func TestKilledRun(t *testing.T) {
	m := NewSim()
	defer m.Close()
	want := m.Run(random(9), Options{Causal: true}, "main", func(cur *Task) { smoke(t, cur) })
	hash, state := want.Hash, want.State
	for steps := range 120 {
		unwound := 0
		r := m.Run(random(steps), Options{MaxSteps: steps + 1}, "main", func(cur *Task) {
			defer func() { unwound++ }()
			b := newBox(m)
			defer b.mu.Unlock(cur) // must not run as a visible operation while the stack unwinds
			b.mu.Lock(cur)
			busy := func(cur *Task) {
				var w WaitEntry
				m.RcuReadLock()
				b.sl.LockBH()
				b.n.Inc()
				b.sl.UnlockBH()
				m.RcuReadUnlock()
				b.wq.PrepareToWait(cur, &w, TASK_UNINTERRUPTIBLE)
				defer b.wq.FinishWait(cur, &w)
				ScheduleTimeout(cur, 5)
				b.done.Wait(cur)
			}
			c := newClock(m)
			c.t[0].Mod(2)
			c.w.Init(&c.Obj, "work", busy)
			c.w.Schedule(3)
			b.irq.Raise(func() { b.n.Inc() })
			KfreeRcu(newItem(m))
			m.KthreadCreate(cur, idler, nil, "never")
			m.KthreadRun(cur, idler, nil, "k")
			spawn(cur, busy, busy, func(cur *Task) { b.mu.Lock(cur) })()
		})
		if f := r.Worst(); f == nil || f.Oracle != "hang" && f.Oracle != "deadlock" || unwound != 1 {
			t.Fatalf("ended after %d steps: %v, unwound %d times", steps, f, unwound)
		}
		again := m.Run(random(9), Options{Causal: true}, "main", func(cur *Task) { smoke(t, cur) })
		wantClean(t, fmt.Sprintf("after %d steps", steps), again)
		if again.Hash != hash || again.State != state {
			t.Fatalf("ended after %d steps, the next run is another one than on a fresh machine", steps)
		}
	}
}

// TestClose: no goroutine of a machine outlives it. (goleak looks at the end of all tests as well.)
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for seed := range 5 {
		m := NewSim()
		m.Run(random(seed), Options{}, "main", func(cur *Task) { smoke(t, cur) })
		m.Run(random(seed), Options{MaxSteps: 30}, "main", func(cur *Task) { smoke(t, cur) })
		m.Close()
		m.Close()
		if n := len(m.sim.strands); n != 0 {
			t.Errorf("%d strands are left", n)
		}
	}
	for i := 0; i < 100 && runtime.NumGoroutine() > before; i++ {
		time.Sleep(10 * time.Millisecond) // a goroutine that has ended may still be counted
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines, %d before", now, before)
	}
}

// TestRecord: keeping readable events changes nothing, and they say what happened.
func TestRecord(t *testing.T) {
	m := NewSim()
	defer m.Close()
	main := func(cur *Task) {
		b := newBox(m)
		m.Printk("boot %d", 1)
		b.x.Store(3)
		b.task.Store(cur)
		b.task.Load()
		b.fl.SetBit(1)
		k := m.KthreadRun(cur, func(cur *Task, _ any) int { m.Printk("in k"); return idler(cur, nil) }, nil, "k")
		spawn(cur, func(*Task) { b.n.Inc() }, func(*Task) { b.n.Read() })()
		Msleep(cur, 1)
		KthreadStop(cur, k)
		Kfree(b)
	}
	for seed := range 50 {
		plain := m.Run(random(seed), Options{Causal: true}, "main", main)
		seq := slices.Clone(plain.Seq)
		rec := m.Run(random(seed), Options{Record: true, Causal: true}, "main", main)
		wantClean(t, "recorded", rec)
		if plain.Hash != rec.Hash || plain.State != rec.State || plain.Steps != rec.Steps || !slices.Equal(seq, rec.Seq) {
			t.Fatalf("seed %d: a recorded run differs", seed)
		}
		if len(plain.Events) != 0 || len(rec.Events) < rec.Steps {
			t.Fatalf("%d events for %d steps", len(rec.Events), rec.Steps)
		}
		var text []string
		for _, e := range rec.Events {
			text = append(text, e.Task+": "+e.Text)
			if e.Step < 0 || e.Step > rec.Steps {
				t.Errorf("event at step %d of %d", e.Step, rec.Steps)
			}
		}
		all := strings.Join(text, "\n")
		for _, words := range []string{
			"main: alloc box", "main: printk: boot 1", "main: x = 3", "main: task = main", "main: task -> main",
			"main: set_bit B", "main: wake_up_process(k)", "k: printk: in k", "a: n +1 -> 1", "main: kthread_stop(k)", "main: free box",
		} {
			if !strings.Contains(all, words) {
				t.Fatalf("no event says %q:\n%s", words, all)
			}
		}
		for _, e := range rec.Events {
			if e.Task == "a" && e.Op == OpAdd && (e.File != "kernel/run_test.go" || e.Line == 0 || e.Cell != "n" || e.Obj != "box") {
				t.Errorf("%+v", e)
			}
		}
	}
	r := m.Run(random(1), Options{Record: true}, "main", func(cur *Task) {
		b := newBox(m)
		join := spawn(cur, func(cur *Task) { b.mu.Lock(cur) })
		b.mu.Lock(cur)
		m.BugOn(true, "here")
		join()
	})
	last := r.Events[len(r.Events)-1]
	if last.Finding == nil || last.Op != OpOops || last.Text != "kernel BUG: here" {
		t.Errorf("the last event is %+v", last)
	}
	names := map[OpKind]string{OpWake: "wake_up_process", OpBitTAS: "test_and_set_bit", OpNone: ""}
	for k, want := range names {
		if k.String() != want {
			t.Errorf("operation %d reads %s", k, k)
		}
	}
	for k := OpNone + 1; k < opKinds; k++ {
		if k.String() == "" {
			t.Errorf("operation %d has no name", k)
		}
	}
	if OpLoad.Writes() || !OpStore.Writes() || !OpLock.Writes() {
		t.Error("a load does not write, a store does")
	}
}

func TestErrName(t *testing.T) {
	for res, want := range map[int]string{0: "0", 7: "7", -ENOMEM: "-ENOMEM", -EINTR: "-EINTR", -9999: "-9999", ENOMEM: "12"} {
		if got := ErrName(res); got != want {
			t.Errorf("%d reads %s, want %s", res, got, want)
		}
	}
}

func TestDaemonAndBlock(t *testing.T) {
	m := NewFree()
	stopped := false
	r := m.Run(nil, Options{}, "main", func(cur *Task) {
		b := newBox(m)
		quit := m.Daemon("poller", func(stop <-chan struct{}) {
			b.irq.Raise(func() { b.n.Inc() }) // from outside any task
			<-stop
			stopped = true
		})
		until(cur, func() bool { return b.n.Read() == 1 })
		ch := make(chan int, 1)
		ch <- 1
		m.Block(cur, func(dead <-chan struct{}) {
			select {
			case <-ch:
			case <-dead:
			}
		})
		quit()
		Kfree(b)
	})
	wantClean(t, "free", r)
	if !stopped {
		t.Error("the daemon was not told to stop")
	}
	// A run that ends early takes them along.
	r = NewFree().Run(nil, Options{Watchdog: 200}, "main", func(cur *Task) {
		m := cur.Machine()
		m.Daemon("poller", func(stop <-chan struct{}) { <-stop })
		m.Block(cur, func(dead <-chan struct{}) { <-dead })
		t.Error("went on after the end")
	})
	if f := r.Worst(); f == nil || f.Oracle != "hang" {
		t.Errorf("got %v", f)
	}
	found(t, 1, true, Options{}, "SVCFUZZ BUG", "a daemon on the sim back end", func(cur *Task) {
		cur.Machine().Daemon("poller", func(<-chan struct{}) {})
	})
	found(t, 1, true, Options{}, "SVCFUZZ BUG", "main blocks outside the sim", func(cur *Task) {
		cur.Machine().Block(cur, func(<-chan struct{}) {})
	})
	if NewSeed() == NewSeed() {
		t.Error("two seeds are the same")
	}
}
