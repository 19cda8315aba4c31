// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

type traced struct {
	Obj
	n    Var[int]
	lock Spinlock
}

// tracedRun makes a thread that adds to a counter once it is woken, and records what a snapshot says of it.
func tracedRun(t *testing.T, opt Options) *Result {
	t.Helper()
	m := NewSim()
	t.Cleanup(m.Close)
	res := m.Run(&first{}, opt, "main", func(cur *Task) {
		o := Kzalloc[traced](m, "traced", GFP_KERNEL)
		o.n.Init(&o.Obj, "n")
		o.lock.Init(&o.Obj, "lock")
		k := m.KthreadRun(cur, func(cur *Task, _ any) int {
			for !cur.KthreadShouldStop() {
				o.lock.Lock()
				o.n.Store(o.n.Load() + 1)
				o.lock.Unlock()
				cur.SetCurrentState(TASK_INTERRUPTIBLE)
				if !cur.KthreadShouldStop() {
					Schedule(cur)
				}
				cur.SetCurrentState(TASK_RUNNING)
			}
			return 0
		}, nil, "worker")
		Msleep(cur, 10)
		KthreadStop(cur, k)
		Kfree(o)
		m.WarnOnOnce(true, "the end")
	})
	if f := res.Worst(); f == nil || f.Oracle != "warning" {
		t.Fatalf("%v", f)
	}
	return res
}

// first lets the task go on that ran last, else the one that was made first.
type first struct{}

func (first) Pick(c *Choice) *Task {
	if c.Cur != nil {
		return c.Cur
	}
	return slices.MinFunc(c.Runnable, func(a, b *Task) int { return a.idx - b.idx })
}

func tracedState(of any) string {
	switch of := of.(type) {
	case *traced:
		return fmt.Sprintf("n=%d freed=%t held=%t", of.n.Peek(), of.Freed(), of.lock.PeekOwner() != nil)
	case *Task:
		return of.Name() + " " + of.State().String()
	}
	return "?"
}

// The state of an event is the one after its operation, and what it woke stands with it.
func TestSnapshot(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector no snapshots are taken")
	}
	res := tracedRun(t, Options{Record: true, Snapshot: tracedState})
	state, wakes := map[string]string{}, map[string]string{}
	for _, e := range res.Events {
		state[e.Task+": "+e.Text] = e.State
		if len(e.Wakes) > 0 {
			wakes[e.Task+": "+e.Text] = strings.Join(e.Wakes, " ")
		}
	}
	for text, want := range map[string]string{
		"worker: spin_lock lock":        "n=0 freed=false held=true",
		"worker: n -> 0":                "n=0 freed=false held=true",
		"worker: n = 1":                 "n=1 freed=false held=true",
		"worker: spin_unlock lock":      "n=1 freed=false held=false",
		"main: free traced":             "n=1 freed=true held=false",
		"worker: state = INTERRUPTIBLE": "worker INTERRUPTIBLE",
	} {
		if raceEnabled {
			want = ""
		}
		if got, ok := state[text]; !ok || got != want {
			t.Errorf("after %q the state is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"main: wake_up_process(worker)": "worker", "main: kthread_stop(worker)": "worker"} {
		if wakes[text] != want {
			t.Errorf("%q wakes %q, want %q", text, wakes[text], want)
		}
	}
	if wakes["main: kthread_create(worker)"] != "" {
		t.Error("a new thread is no sleeper that was woken")
	}
}

// A recorded run with snapshots is the same run, and one without a record takes none.
func TestSnapshotChangesNothing(t *testing.T) {
	calls := 0
	count := func(any) string { calls++; return "" }
	plain := tracedRun(t, Options{Snapshot: count}).Hash
	if calls != 0 {
		t.Errorf("%d snapshots of a run that is not recorded", calls)
	}
	if with := tracedRun(t, Options{Record: true, Snapshot: count}).Hash; with != plain || (calls == 0) != raceEnabled {
		t.Errorf("hash %x with %d snapshots, %x without", with, calls, plain)
	}
}
