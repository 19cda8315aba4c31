// SPDX-License-Identifier: MIT

package kernel

import (
	"strings"
	"sync/atomic"
	"testing"
)

func TestKthreadCreateDoesNotRun(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		k := m.KthreadCreate(cur, func(cur *Task, data any) int {
			if data != any(b) || KthreadData(cur) != any(b) {
				t.Error("the thread did not get its data")
			}
			b.n.Inc()
			return 3
		}, b, "k")
		if IsErr(k) || PtrErr(k) != 0 || k.Name() != "k" || k.Machine() != m || k.State() != TASK_UNINTERRUPTIBLE {
			t.Errorf("made %s in state %s", k.Name(), k.State())
		}
		Msleep(cur, 20)
		if b.n.Read() != 0 {
			t.Error("the function was entered before the first wake-up")
		}
		if !WakeUpProcess(k) {
			t.Error("the first wake-up did not wake")
		}
		until(cur, func() bool { return b.n.Read() != 0 })
		Join(cur, k)
		Kfree(b)
	})
}

func TestKthreadRunMayRunFirst(t *testing.T) {
	first := [2]int{}
	m := NewSim()
	defer m.Close()
	for seed := range 100 {
		r := m.Run(random(seed), Options{}, "main", func(cur *Task) {
			m := cur.Machine()
			b := newBox(m)
			k := m.KthreadRun(cur, func(*Task, any) int { b.n.Inc(); return 0 }, nil, "k")
			first[b.n.Read()]++
			Join(cur, k)
			Kfree(b)
		})
		wantClean(t, "sim", r)
	}
	if first[0] == 0 || first[1] == 0 {
		t.Errorf("creator first %d times, thread first %d times", first[0], first[1])
	}
}

func TestKthreadStopBeforeFirstRun(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		k := m.KthreadCreate(cur, func(*Task, any) int { t.Error("entered"); return 0 }, nil, "k")
		if res := KthreadStop(cur, k); res != -EINTR {
			t.Errorf("kthread_stop of a thread that was never woken: %s", ErrName(res))
		}
	})
	// After a successful wake-up the thread may still find the stop first; if so its function is not entered.
	results := map[int]int{}
	m := NewSim()
	defer m.Close()
	for seed := range 200 {
		r := m.Run(random(seed), Options{}, "main", func(cur *Task) {
			m := cur.Machine()
			b := newBox(m)
			k := m.KthreadCreate(cur, func(cur *Task, _ any) int { b.n.Inc(); return idler(cur, nil) }, nil, "k")
			if !WakeUpProcess(k) {
				t.Error("the first wake-up did not wake")
			}
			res := KthreadStop(cur, k)
			results[res]++
			if entered := b.n.Read() == 1; entered != (res == 7) {
				t.Errorf("entered: %t, result %s", entered, ErrName(res))
			}
			Kfree(b)
		})
		wantClean(t, "sim", r)
	}
	if results[-EINTR] == 0 || results[7] == 0 || len(results) != 2 {
		t.Errorf("results %v, want some of -EINTR and 7", results)
	}
}

func TestKthreadStop(t *testing.T) {
	clean(t, 300, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		k := m.KthreadRun(cur, func(cur *Task, _ any) int { b.n.Inc(); return idler(cur, nil) }, nil, "k")
		if k.KthreadShouldStop() {
			t.Error("told to stop before the stop")
		}
		until(cur, func() bool { return b.n.Read() == 1 })
		if res := KthreadStop(cur, k); res != 7 {
			t.Errorf("kthread_stop: %s", ErrName(res))
		}
		if !k.Exited() || !k.StopRequested() {
			t.Error("kthread_stop returned before the thread had ended")
		}
		Kfree(b)
	})
}

// TestWakeUpRemembersNothing: a wake-up that finds a running task leaves no trace.
func TestWakeUpRemembersNothing(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		b := newBox(cur.Machine())
		s := cur.Machine().Spawn(cur, "sleeper", func(cur *Task) {
			until(cur, func() bool { return b.n.Read() != 0 })
			cur.SetCurrentState(TASK_INTERRUPTIBLE)
			if left := ScheduleTimeout(cur, 300); left != 0 {
				t.Errorf("woken %d jiffies before the end by a wake-up of the past", left)
			}
		})
		for range 3 {
			WakeUpProcess(s) // may end one of its short sleeps, which it repeats
		}
		b.n.Set(1)
		Join(cur, s)
		Kfree(b)
	})
}

// TestLostWakeUp: who tests before setting the state sleeps through the wake-up, and the finding names it.
func TestLostWakeUp(t *testing.T) {
	program := func(setFirst bool) func(cur *Task) {
		return func(cur *Task) {
			b := newBox(cur.Machine())
			s := cur.Machine().Spawn(cur, "sleeper", func(cur *Task) {
				for {
					if setFirst {
						cur.SetCurrentState(TASK_UNINTERRUPTIBLE)
					}
					if b.n.Read() != 0 {
						break
					}
					if !setFirst {
						cur.SetCurrentState(TASK_UNINTERRUPTIBLE)
					}
					Schedule(cur)
				}
				cur.SetCurrentState(TASK_RUNNING)
			})
			b.n.Inc()
			WakeUpProcess(s)
			Join(cur, s)
			Kfree(b)
		}
	}
	f := found(t, 200, false, Options{}, "deadlock", "no task can run", program(false))
	for _, words := range []string{"sleeper", "main", "UNINTERRUPTIBLE", "schedule"} {
		if !strings.Contains(f.Text, words) {
			t.Errorf("the finding does not say %q:\n%s", words, f.Text)
		}
	}
	clean(t, 500, program(true))
}

func TestStatesAndTimeouts(t *testing.T) {
	simClean(t, 50, func(cur *Task) {
		m := cur.Machine()
		now := m.Jiffies()
		if left := ScheduleTimeout(cur, 50); left != 50 || m.Jiffies() != now {
			t.Errorf("schedule_timeout in state RUNNING: %d left at %d", left, m.Jiffies()-now)
		}
		for _, sleep := range []func(*Task, Jiffies) Jiffies{ScheduleTimeoutInterruptible, ScheduleTimeoutUninterruptible} {
			now = m.Jiffies()
			if left := sleep(cur, 50); left != 0 || m.Jiffies() != now+50 || cur.State() != TASK_RUNNING {
				t.Errorf("%d left after %d jiffies in state %s", left, m.Jiffies()-now, cur.State())
			}
		}
		now = m.Jiffies()
		Msleep(cur, 10)
		if passed := m.Jiffies() - now; passed != 11 {
			t.Errorf("msleep(10) took %d jiffies", passed)
		}
		CondResched(cur)

		// Woken early: what is left comes back. For ever stays for ever.
		var left, rest [2]Jiffies
		s := m.Spawn(cur, "sleeper", func(cur *Task) {
			cur.SetCurrentState(TASK_INTERRUPTIBLE)
			left[0], rest[0] = ScheduleTimeout(cur, 100), 70
			cur.SetCurrentState(TASK_UNINTERRUPTIBLE)
			left[1], rest[1] = ScheduleTimeout(cur, MaxScheduleTimeout), MaxScheduleTimeout
		})
		for range 2 {
			ScheduleTimeoutUninterruptible(cur, 30)
			if !s.Sleeping() || s.State() == TASK_RUNNING {
				t.Errorf("state %s, want asleep", s.State())
			}
			if !WakeUpProcess(s) {
				t.Error("a wake-up of a sleeper did not wake it")
			}
		}
		Join(cur, s)
		if left != rest {
			t.Errorf("left %v, want %v", left, rest)
		}
	})
	for seed := range 3 {
		r := runFree(seed, func(cur *Task) {
			m := cur.Machine()
			now := m.Jiffies()
			if left := ScheduleTimeoutInterruptible(cur, 50); left != 0 || m.Jiffies() < now+50 {
				t.Errorf("%d left after %d jiffies", left, m.Jiffies()-now)
			}
		})
		wantClean(t, "free", r)
	}
}

func TestSignals(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		k := m.KthreadRun(cur, func(cur *Task, _ any) int {
			cur.AllowSignal(SIGKILL)
			b.n.Inc()
			until(cur, func() bool { return b.n.Read() == 2 })
			if cur.SignalPending() {
				t.Error("a signal that is not allowed came through")
			}
			b.n.Inc()
			until(cur, func() bool { return b.n.Read() == 4 })
			if !cur.SignalPending() {
				t.Error("an allowed signal is lost")
			}
			// An interruptible sleep does not begin, any other does.
			if left := ScheduleTimeoutInterruptible(cur, 1000); left == 0 {
				t.Error("slept interruptibly with a signal pending")
			}
			if left := ScheduleTimeoutUninterruptible(cur, 10); left != 0 {
				t.Errorf("a signal cut an uninterruptible sleep short by %d", left)
			}
			cur.ClearSigpending()
			if cur.SignalPending() {
				t.Error("a hidden signal is seen")
			}
			cur.RecalcSigpending()
			if !cur.SignalPending() {
				t.Error("a hidden signal did not come back")
			}
			cur.ClearSigpending()
			cur.FlushSignals()
			cur.RecalcSigpending()
			if cur.SignalPending() {
				t.Error("a hidden signal survived flush_signals")
			}
			b.n.Inc()
			cur.SetCurrentState(TASK_INTERRUPTIBLE)
			if left := ScheduleTimeout(cur, 1000*HZ); left == 0 {
				t.Error("the signal did not end the sleep")
			}
			cur.FlushSignals()
			if cur.SignalPending() {
				t.Error("a signal survived flush_signals")
			}
			return 0
		}, nil, "k")
		until(cur, func() bool { return b.n.Read() == 1 })
		SendSig(SIGINT, k)
		b.n.Inc()
		until(cur, func() bool { return b.n.Read() == 3 })
		SendSig(SIGKILL, k)
		b.n.Inc()
		until(cur, func() bool { return b.n.Read() == 5 })
		Msleep(cur, 20)
		SendSig(SIGKILL, k)
		Join(cur, k)
		Kfree(b)
	})
}

func TestFreezer(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		var frozen atomic.Bool
		var rounds, others atomic.Int64
		k := m.KthreadRun(cur, func(cur *Task, _ any) int {
			cur.SetFreezable()
			b.n.Inc()
			for !cur.KthreadShouldStop() {
				if cur.Freezing() && TryToFreeze(cur) {
					frozen.Store(true)
				}
				rounds.Add(1)
				ScheduleTimeoutInterruptible(cur, 3)
			}
			return 0
		}, nil, "freezable")
		other := m.KthreadRun(cur, func(cur *Task, _ any) int {
			for !cur.KthreadShouldStop() {
				if cur.Freezing() || TryToFreeze(cur) {
					t.Error("the freezer got a thread that did not ask for it")
				}
				others.Add(1)
				ScheduleTimeoutInterruptible(cur, 3)
			}
			return 0
		}, nil, "other")
		until(cur, func() bool { return b.n.Read() == 1 })
		m.FreezeProcesses(cur)
		until(cur, func() bool { return k.frozen })
		before, alive := rounds.Load(), others.Load()
		until(cur, func() bool { return others.Load() >= alive+10 }) // stands still itself if the freezer got it
		if now := rounds.Load(); now != before {
			t.Errorf("the frozen thread went from %d to %d", before, now)
		}
		m.ThawProcesses(cur)
		until(cur, func() bool { return rounds.Load() > before && frozen.Load() })
		KthreadStop(cur, k)
		KthreadStop(cur, other)
		Kfree(b)
	})
	// A sleeper is woken to freeze, and a stop reaches it once it is thawed.
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		k := m.KthreadRun(cur, func(cur *Task, _ any) int {
			cur.SetFreezable()
			for {
				cur.SetCurrentState(TASK_INTERRUPTIBLE)
				if cur.KthreadShouldStop() {
					cur.SetCurrentState(TASK_RUNNING)
					return 0
				}
				if !cur.Freezing() {
					Schedule(cur)
				}
				cur.SetCurrentState(TASK_RUNNING)
				TryToFreeze(cur)
			}
		}, nil, "k")
		join := spawn(cur, func(cur *Task) {
			m.FreezeProcesses(cur)
			m.ThawProcesses(cur)
		})
		KthreadStop(cur, k)
		join()
	})
}

func TestTaskThatIsGone(t *testing.T) {
	for name, use := range map[string]func(cur, k *Task){
		"wake_up_process of": func(_, k *Task) { WakeUpProcess(k) },
		"kthread_stop of":    func(cur, k *Task) { KthreadStop(cur, k) },
		"send_sig to":        func(_, k *Task) { SendSig(SIGKILL, k) },
	} {
		always(t, "use-after-free", name+" a task that is gone", func(cur *Task) {
			k := cur.Machine().KthreadRun(cur, idler, nil, "k")
			KthreadStop(cur, k)
			use(cur, k)
		})
		always(t, "use-after-free", name+" a task that is gone", func(cur *Task) {
			k := cur.Machine().KthreadRun(cur, func(*Task, any) int { return 0 }, nil, "k")
			Join(cur, k) // it ended by itself, and nobody held a reference
			use(cur, k)
		})
	}
	// Inside an RCU read section that began before the end, the memory is still there.
	program := func(inside bool) func(cur *Task) {
		return func(cur *Task) {
			m := cur.Machine()
			b := newBox(m)
			k := m.KthreadRun(cur, func(cur *Task, _ any) int {
				b.n.Set(1)
				res := idler(cur, nil)
				b.n.Set(2)
				return res
			}, nil, "k")
			join := spawn(cur, func(*Task) {
				m.RcuReadLock()
				alive := b.n.Read() == 1
				if inside && alive {
					WakeUpProcess(k)
				}
				m.RcuReadUnlock()
				if !inside && alive {
					WakeUpProcess(k)
				}
			})
			KthreadStop(cur, k)
			join()
			Kfree(b)
		}
	}
	found(t, 300, false, Options{}, "use-after-free", "wake_up_process of a task that is gone", program(false))
	simClean(t, 500, program(true))
}

func TestJoinByMany(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		a := cur.Machine().Spawn(cur, "first", func(cur *Task) { Msleep(cur, 3) })
		wait := func(cur *Task) { Join(cur, a) }
		spawn(cur, wait, wait, wait)()
		Join(cur, a)
	})
}

// TestNullWakeHere: the functions of this test are no functions of the port, so the fault is the suite's own.
func TestNullWakeHere(t *testing.T) {
	always(t, "SVCFUZZ BUG", "panic outside the port: NULL pointer dereference", func(*Task) { WakeUpProcess(nil) })
	always(t, "SVCFUZZ BUG", "panic outside the port: NULL pointer dereference", func(cur *Task) { KthreadStop(cur, nil) })
	always(t, "SVCFUZZ BUG", "panic outside the port: NULL pointer dereference", func(*Task) { SendSig(SIGINT, nil) })
	always(t, "SVCFUZZ BUG", "panic outside the port: general protection fault", func(*Task) {
		var a []int
		a[len(a)] = 1
	})
	always(t, "SVCFUZZ BUG", "panic outside the port: oh", func(*Task) { panic("oh") })
	// Misuse of the floor itself: a sleeper that was handed the cur of another task.
	always(t, "SVCFUZZ BUG", "with the cur of main, called by a", func(cur *Task) {
		spawn(cur, func(*Task) { Msleep(cur, 1) })()
	})
}

func TestTargetFunc(t *testing.T) {
	frame := func(fn string) Frame { return Frame{Func: shortFunc(fn)} }
	for want, stack := range map[string][]Frame{
		"SvcXprtEnqueue": {frame("target/sunrpc.SvcXprtEnqueue"), frame("target/lockd.Lockd")},
		"LockdUp":        {frame("stress/scenario.start.func1"), frame("target/lockd.(*Lockd).LockdUp")},
		"svcRecv":        {frame("target/sunrpc.svcRecv.func2.1")},
		"SkDataReady":    {frame("target/kernel/sock.(*Sock).SkDataReady")},
		"NfsCallbackUp":  {frame("target/nfs.(*Nfs).NfsCallbackUp.func1")},
		"":               {frame("stress/scenario.start"), frame("stress/oracle.sunrpc")},
	} {
		if got := targetFunc(stack); got != want {
			t.Errorf("%v: got %q, want %q", stack, got, want)
		}
	}
	for file, want := range map[string]string{
		"/x/target/sunrpc/svc.go":        "sunrpc/svc.go",
		"/x/target/kernel/sock/sock.go":  "kernel/sock/sock.go",
		"/x/stress/scenario/start.go":    "stress/scenario/start.go",
		"/x/fuzz/FuzzStartup_test.go":    "fuzz/FuzzStartup_test.go",
		"/usr/lib/go/src/testing/run.go": "run.go",
	} {
		if got := shortFile(file); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
	}
}
