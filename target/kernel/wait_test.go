// SPDX-License-Identifier: MIT

package kernel

import (
	"strings"
	"sync/atomic"
	"testing"
)

func TestWaitEvent(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		b := newBox(cur.Machine())
		var through atomic.Int32
		wait := func(cur *Task) {
			WaitEvent(cur, &b.wq, func() bool { return b.n.Read() == 2 })
			if b.n.Peek() != 2 || cur.State() != TASK_RUNNING {
				t.Errorf("woken at %d in state %s", b.n.Peek(), cur.State())
			}
			through.Add(1)
		}
		join := spawn(cur, wait, wait, wait)
		b.n.Inc()
		b.wq.WakeUpAll() // in vain: everybody looks and sleeps on
		b.n.Inc()
		b.wq.WakeUp() // none of them is exclusive, so all wake
		join()
		if through.Load() != 3 || b.wq.Active() {
			t.Errorf("%d are through, queue in use: %t", through.Load(), b.wq.Active())
		}
		Kfree(b)
	})
}

func TestWaitEventTimeout(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		now := m.Jiffies()
		if left := WaitEventTimeout(cur, &b.wq, func() bool { return b.n.Read() == 1 }, 40); left != 0 {
			t.Errorf("%d left, want 0", left)
		}
		if passed := m.Jiffies() - now; passed < 40 || m.Sim() && passed != 40 {
			t.Errorf("took %d jiffies", passed)
		}
		if left := WaitEventTimeout(cur, &b.wq, func() bool { return true }, 0); left != 1 {
			t.Errorf("%d left, want at least 1 where the condition holds", left)
		}
		join := spawn(cur, func(*Task) { b.n.Inc(); b.wq.WakeUp() })
		if left := WaitEventTimeout(cur, &b.wq, func() bool { return b.n.Read() == 1 }, 30_000); left <= 0 {
			t.Errorf("%d left", left)
		}
		join()
		Kfree(b)
	})
}

// TestWaitQueue looks at the queue itself: who is on it, who is woken, who leaves it.
func TestWaitQueue(t *testing.T) {
	m := NewSim()
	defer m.Close()
	r := m.Run(lazyChooser{}, Options{}, "main", func(cur *Task) {
		b := newBox(m)
		var woken diary
		sleepers := func(n int, prepare func(cur *Task, w *WaitEntry)) func() {
			woken.reset()
			body := func(cur *Task) {
				var w WaitEntry
				prepare(cur, &w)
				Schedule(cur)
				woken.add(cur.Name())
				b.wq.FinishWait(cur, &w)
			}
			join := spawn(cur, []func(*Task){body, body, body, body}[:n]...)
			Msleep(cur, 1) // all asleep
			return join
		}
		look := func(what string, want int, active bool) {
			t.Helper()
			if b.wq.Active() != active {
				t.Errorf("%s: queue in use: %t", what, !active)
			}
			Msleep(cur, 1)
			if got := woken.read(); len(strings.Fields(got)) != want {
				t.Errorf("%s: woken %s, want %d", what, got, want)
			}
		}

		join := sleepers(3, func(cur *Task, w *WaitEntry) { b.wq.PrepareToWait(cur, w, TASK_UNINTERRUPTIBLE) })
		look("prepared", 0, true)
		b.wq.WakeUp()
		look("one wake-up", 3, false) // woken sleepers left the queue before they ran
		join()

		join = sleepers(3, func(cur *Task, w *WaitEntry) { b.wq.PrepareToWaitExclusive(cur, w, TASK_UNINTERRUPTIBLE) })
		for i := range 3 {
			b.wq.WakeUp()
			look("one wake-up, exclusive", i+1, i < 2)
		}
		if got := woken.read(); got != "a b c" {
			t.Errorf("woken in the order %s", got)
		}
		join()

		mixed := func(cur *Task, w *WaitEntry) { // a and b exclusive, c and d not
			if cur.Name() <= "b" {
				b.wq.PrepareToWaitExclusive(cur, w, TASK_INTERRUPTIBLE)
			} else {
				b.wq.PrepareToWait(cur, w, TASK_INTERRUPTIBLE)
			}
		}
		join = sleepers(4, mixed)
		b.wq.WakeUp()
		look("mixed", 3, true)
		b.wq.WakeUpAll()
		look("mixed, all", 4, false)
		join()

		join = sleepers(2, func(cur *Task, w *WaitEntry) {
			b.wq.AddWaitQueue(cur, w)
			b.wq.AddWaitQueue(cur, w) // queued is queued
			cur.SetCurrentState(TASK_INTERRUPTIBLE)
		})
		b.wq.WakeUpAll()
		look("added", 2, true) // these stay until they take themselves off
		join()
		if b.wq.Active() {
			t.Error("somebody is left on the queue")
		}

		// A sleeper that is awake does not use up the one wake-up.
		var w WaitEntry
		b.wq.PrepareToWaitExclusive(cur, &w, TASK_INTERRUPTIBLE)
		cur.SetCurrentState(TASK_RUNNING)
		woken.reset()
		join = spawn(cur, func(cur *Task) {
			var w WaitEntry
			b.wq.PrepareToWaitExclusive(cur, &w, TASK_INTERRUPTIBLE)
			Schedule(cur)
			woken.add(cur.Name())
		})
		Msleep(cur, 1)
		b.wq.WakeUp()
		look("behind one that is awake", 1, true)
		b.wq.RemoveWaitQueue(&w)
		b.wq.RemoveWaitQueue(&w)
		join()
		if b.wq.Active() || cur.State() != TASK_RUNNING {
			t.Error("somebody is left on the queue")
		}
		Kfree(b)
	})
	wantClean(t, "sim", r)
}

// TestWaitLost: who goes on the queue after testing loses the wake-up.
func TestWaitLost(t *testing.T) {
	found(t, 200, false, Options{}, "deadlock", "no task can run", func(cur *Task) {
		b := newBox(cur.Machine())
		join := spawn(cur, func(cur *Task) {
			var w WaitEntry
			if b.n.Read() == 0 {
				b.wq.PrepareToWait(cur, &w, TASK_UNINTERRUPTIBLE)
				Schedule(cur)
			}
			b.wq.FinishWait(cur, &w)
		})
		b.n.Inc()
		b.wq.WakeUp()
		join()
		Kfree(b)
	})
}

func TestCompletion(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		// It is remembered, and counted: each lets one through.
		b.done.Complete()
		b.done.Complete()
		b.done.Wait(cur)
		if left := b.done.WaitTimeout(cur, 10); left < 1 {
			t.Errorf("%d left, want at least 1", left)
		}
		if left := b.done.WaitTimeout(cur, 10); left != 0 {
			t.Errorf("%d left after two had passed", left)
		}
		b.done.Complete()
		b.done.Reinit()
		if left := b.done.WaitTimeout(cur, 0); left != 0 {
			t.Error("reinit_completion did not forget")
		}
		var through atomic.Int32
		wait := func(cur *Task) { b.done.Wait(cur); through.Add(1) }
		join := spawn(cur, wait, wait, wait)
		for i := range int32(3) {
			until(cur, func() bool { return through.Load() >= i })
			Msleep(cur, 10)
			if n := through.Load(); n != i {
				t.Errorf("%d are through, want %d", n, i)
			}
			b.done.Complete()
		}
		join()
		Kfree(b)
	})
	clean(t, 100, func(cur *Task) {
		b := newBox(cur.Machine())
		s := cur.Machine().Spawn(cur, "s", func(cur *Task) {
			if left := b.done.WaitInterruptibleTimeout(cur, 20); left != 0 {
				t.Errorf("%d left, want 0", left)
			}
			b.n.Inc()
			if left := b.done.WaitInterruptibleTimeout(cur, 1000*HZ); left != -EINTR {
				t.Errorf("%d left, want -EINTR", left)
			}
			b.done.Complete()
			if left := b.done.WaitInterruptibleTimeout(cur, 20); left <= 0 {
				t.Errorf("%d left: what is completed passes, signal or not", left)
			}
		})
		until(cur, func() bool { return b.n.Read() != 0 })
		SendSig(SIGINT, s)
		Join(cur, s)
		Kfree(b)
	})
}

func TestWaitOnBit(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		b := newBox(cur.Machine())
		if res := WaitOnBit(cur, &b.fl, 1, TASK_UNINTERRUPTIBLE); res != 0 {
			t.Errorf("wait_on_bit of a clear bit: %d", res)
		}
		b.fl.SetBit(0)
		b.fl.SetBit(1)
		var clear atomic.Bool
		wait := func(cur *Task) {
			if res := WaitOnBit(cur, &b.fl, 1, TASK_UNINTERRUPTIBLE); res != 0 || !clear.Load() {
				t.Errorf("wait_on_bit: %d, bit cleared: %t", res, clear.Load())
			}
		}
		join := spawn(cur, wait, wait)
		Msleep(cur, 2)
		ClearAndWakeUpBit(&b.fl, 0) // another bit
		clear.Store(true)
		ClearAndWakeUpBit(&b.fl, 1)
		join()
		Kfree(b)
	})
	clean(t, 100, func(cur *Task) {
		b := newBox(cur.Machine())
		b.fl.Preset(0)
		s := cur.Machine().Spawn(cur, "s", func(cur *Task) {
			if res := WaitOnBit(cur, &b.fl, 0, TASK_INTERRUPTIBLE); res != -EINTR {
				t.Errorf("wait_on_bit: %d, want -EINTR", res)
			}
		})
		Msleep(cur, 2)
		SendSig(SIGKILL, s)
		Join(cur, s)
		Kfree(b)
	})
	// The object with the word may go as soon as the bit is clear: the waker does not touch it again.
	clean(t, 200, func(cur *Task) {
		b := newBox(cur.Machine())
		b.fl.Preset(0)
		join := spawn(cur, func(*Task) { ClearAndWakeUpBit(&b.fl, 0) })
		WaitOnBit(cur, &b.fl, 0, TASK_UNINTERRUPTIBLE)
		Kfree(b)
		join()
	})
	// Clearing without waking is a hang.
	found(t, 100, false, Options{}, "deadlock", "no task can run", func(cur *Task) {
		b := newBox(cur.Machine())
		b.fl.Preset(0)
		join := spawn(cur, func(*Task) { b.fl.ClearBit(0) })
		WaitOnBit(cur, &b.fl, 0, TASK_UNINTERRUPTIBLE)
		join()
		Kfree(b)
	})
}

func TestWaitVarEvent(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		WaitVarEvent(cur, func() bool { return true })
		join := spawn(cur,
			func(cur *Task) {
				WaitVarEvent(cur, func() bool { return b.n.Read() == 1 })
				b.fl.SetBit(0)
				m.WakeUpVar()
			},
			func(cur *Task) { WaitVarEvent(cur, func() bool { return b.fl.TestBit(0) }) })
		b.n.Inc()
		m.WakeUpVar()
		join()
		Kfree(b)
	})
}
