// SPDX-License-Identifier: MIT

package kernel

import (
	"strings"
	"sync/atomic"
	"testing"
)

// ticker is an object with timers and works.
type ticker struct {
	Obj
	t [4]Timer
	w DelayedWork
	n Atomic
	d diary
}

func newClock(m *Machine) *ticker {
	c := Kzalloc[ticker](m, "clock", GFP_ATOMIC)
	c.n.Init(&c.Obj, "n")
	for i := range c.t {
		name := "t" + string(rune('0'+i))
		c.t[i].Init(&c.Obj, name, func() { c.d.add(name) })
	}
	return c
}

func TestTimerOrder(t *testing.T) {
	m := NewSim()
	defer m.Close()
	r := m.Run(lazyChooser{}, Options{}, "main", func(cur *Task) {
		c := newClock(m)
		now := m.Jiffies()
		for i, at := range []Jiffies{30, 10, 20, 20} {
			c.t[i].Mod(now + at)
		}
		if got := strings.Join(m.ArmedTimers(), " "); got != "t0 t1 t2 t3" {
			t.Errorf("armed: %s", got)
		}
		Msleep(cur, 50)
		if got := c.d.read(); got != "t1 t2 t3 t0" {
			t.Errorf("fired in the order %s", got)
		}
		// Moved to later and to earlier: it fires once, at the last place.
		c.d.reset()
		now = m.Jiffies()
		c.t[0].Mod(now + 10)
		c.t[0].Mod(now + 40)
		c.t[1].Mod(now + 40)
		c.t[1].Mod(now + 10)
		if got := strings.Join(m.ArmedTimers(), " "); got != "t0 t1" {
			t.Errorf("armed: %s", got)
		}
		if !c.t[0].Pending() || !c.t[0].Peek() || c.t[2].Pending() {
			t.Error("pending is not what is armed")
		}
		Msleep(cur, 20)
		if got := c.d.read(); got != "t1" {
			t.Errorf("fired after 20 ms: %s", got)
		}
		Msleep(cur, 30)
		if got := c.d.read(); got != "t1 t0" {
			t.Errorf("fired after 50 ms: %s", got)
		}
		// Deleted: it does not fire, and nothing of it is left.
		c.d.reset()
		c.t[0].Mod(m.Jiffies() + 10)
		c.t[0].Mod(m.Jiffies() + 15)
		if !c.t[0].Del() || c.t[0].Del() || c.t[0].Pending() || len(m.ArmedTimers()) != 0 {
			t.Error("del_timer of an armed timer, then of one that is not")
		}
		Msleep(cur, 20)
		if got := c.d.read(); got != "" {
			t.Errorf("fired after its end: %s", got)
		}
		// What lies in the past fires as soon as time passes at all.
		c.t[0].Mod(m.Jiffies() - 5)
		Msleep(cur, 1)
		if got := c.d.read(); got != "t0" {
			t.Errorf("fired: %s", got)
		}
		if c.t[0].HasFunction() != true {
			t.Error("the timer has a function")
		}
		c.t[0].SetFunction(nil)
		if c.t[0].HasFunction() {
			t.Error("the timer has no function")
		}
		Kfree(c)
	})
	wantClean(t, "sim", r)
}

// TestTimers: on both back ends a timer does not fire early, fires once, and never after del_timer_sync.
func TestTimers(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		var inside, ran atomic.Int32
		var at atomic.Int64
		c.t[0].SetFunction(func() {
			if now := m.Jiffies(); int64(now) < at.Load() {
				t.Errorf("fired at %d, armed for %d", now, at.Load())
			}
			inside.Add(1)
			c.n.Inc()
			c.n.Inc()
			inside.Add(-1)
			ran.Add(1)
		})
		arm := func(in Jiffies) {
			at.Store(int64(m.Jiffies() + in))
			c.t[0].Mod(m.Jiffies() + in)
		}
		for range 3 {
			ran.Store(0)
			arm(5)
			Msleep(cur, 5)
			was := c.t[0].DelSync(cur)
			if inside.Load() != 0 {
				t.Error("del_timer_sync returned while the function ran")
			}
			if n := ran.Load(); was != (n == 0) {
				t.Errorf("del_timer_sync: %t after %d runs", was, n)
			}
			n := ran.Load()
			Msleep(cur, 10)
			if ran.Load() != n {
				t.Error("ran after del_timer_sync")
			}
		}
		Kfree(c)
	})
}

// TestTimerDelSyncWaits: the schedule in which the function is in its middle does exist, del_timer does not wait.
func TestTimerDelSyncWaits(t *testing.T) {
	m := NewSim()
	defer m.Close()
	caught := map[bool]int{}
	for seed := range 300 {
		sync := seed%2 == 0
		r := m.Run(random(seed), Options{}, "main", func(cur *Task) {
			c := newClock(m)
			var inside atomic.Bool
			c.t[0].SetFunction(func() { inside.Store(true); c.n.Inc(); c.n.Inc(); c.n.Inc(); inside.Store(false) })
			c.t[0].Mod(m.Jiffies() + 5)
			ScheduleTimeoutUninterruptible(cur, 5)
			if c.n.Read(); inside.Load() {
				caught[sync]++
				if sync {
					if c.t[0].DelSync(cur); inside.Load() {
						t.Error("del_timer_sync did not wait")
					}
				} else {
					c.t[0].Del()
				}
			}
			c.t[0].DelSync(cur)
			Kfree(c)
		})
		wantClean(t, "sim", r)
	}
	if caught[true] == 0 || caught[false] == 0 {
		t.Errorf("caught the function in its middle %v times", caught)
	}
}

// TestTimerRearms: a function that arms its own timer, and one that frees it.
func TestTimerRearms(t *testing.T) {
	clean(t, 100, func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		c.t[0].SetFunction(func() {
			if c.n.AddReturn(1) < 20 {
				c.t[0].Mod(m.Jiffies() + 2)
			}
		})
		c.t[0].Mod(m.Jiffies() + 2)
		Msleep(cur, 11)
		c.t[0].DelSync(cur)
		n := c.n.Read()
		Msleep(cur, 10)
		if now := c.n.Read(); now != n || len(m.ArmedTimers()) != 0 {
			t.Errorf("%d expiries before del_timer_sync and %d after; armed %v", n, now-n, m.ArmedTimers())
		}
		Kfree(c)
		d := newClock(m)
		d.t[0].SetFunction(func() { Kfree(d) })
		d.t[0].Mod(m.Jiffies() + 2)
		until(cur, d.Freed)
	})
	always(t, "use-after-free", "in freed clock", func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		c.t[0].Mod(m.Jiffies() + 5)
		Kfree(c)
		forever(cur)
	})
}

func TestDelayedWork(t *testing.T) {
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		var inside, ran atomic.Int32
		var due atomic.Int64
		c.w.Init(&c.Obj, "work", func(cur *Task) {
			if now := m.Jiffies(); int64(now) < due.Load() {
				t.Errorf("ran at %d, due at %d", now, due.Load())
			}
			if inside.Add(1) != 1 {
				t.Error("two workers run one work")
			}
			Msleep(cur, 1) // process context
			inside.Add(-1)
			ran.Add(1)
		})
		queue := func(in Jiffies) bool {
			due.Store(int64(m.Jiffies() + in))
			return c.w.Schedule(in)
		}
		const never = 1000 * HZ
		if !queue(never) || c.w.Schedule(3) || !c.w.Pending() || !c.w.Peek() {
			t.Error("queued is queued, and no second time")
		}
		if got := strings.Join(m.ArmedTimers(), " "); got != "work" {
			t.Errorf("armed: %s", got)
		}
		// Cancelled in time it does not run; queued anew at once it is not early.
		cancelled := func() {
			if !c.w.CancelSync(cur) || c.w.Pending() {
				t.Error("cancel_delayed_work_sync of a queued work")
			}
		}
		cancelled()
		queue(5)
		until(cur, func() bool { return ran.Load() == 1 })
		if c.w.Pending() || c.w.CancelSync(cur) || len(m.ArmedTimers()) != 0 {
			t.Error("the work has run and is not queued")
		}
		for range 3 {
			n := ran.Load()
			queue(never)
			cancelled()
			queue(5)
			Msleep(cur, 4)
			was := c.w.CancelSync(cur)
			if inside.Load() != 0 {
				t.Error("cancel_delayed_work_sync returned while the work ran")
			}
			if runs := ran.Load() - n; was != (runs == 0) {
				t.Errorf("cancelled: %t after %d runs", was, runs)
			}
		}
		n := ran.Load()
		Msleep(cur, 20)
		if ran.Load() != n {
			t.Error("ran after cancel_delayed_work_sync")
		}
		Kfree(c)
	})
	// A work that queues itself is one worker's at a time, and is caught by a cancel.
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		var inside, ran atomic.Int32
		c.w.Init(&c.Obj, "work", func(cur *Task) {
			if inside.Add(1) != 1 {
				t.Error("two workers run one work")
			}
			c.w.Schedule(1)
			Msleep(cur, 5)
			c.n.Inc()
			inside.Add(-1)
			ran.Add(1)
		})
		c.w.Schedule(0)
		until(cur, func() bool { return ran.Load() >= 2 })
		if !c.w.CancelSync(cur) || inside.Load() != 0 {
			t.Error("a work that queues itself is always queued or running")
		}
		n := ran.Load()
		Msleep(cur, 20)
		if ran.Load() != n {
			t.Error("ran after cancel_delayed_work_sync")
		}
		Kfree(c)
	})
	// Without a delay it need not wait until nobody else can run.
	var early atomic.Int32
	clean(t, 200, func(cur *Task) {
		m := cur.Machine()
		c := newClock(m)
		var ran atomic.Int32
		at := m.Jiffies()
		c.w.Init(&c.Obj, "work", func(cur *Task) {
			if m.Sim() && m.Jiffies() != at {
				t.Errorf("ran at %d, queued at %d without delay", m.Jiffies(), at)
			}
			ran.Add(1)
		})
		if !c.w.Schedule(0) {
			t.Error("was queued before")
		}
		for range 4 {
			c.n.Inc()
			if m.Sim() && ran.Load() == 1 {
				early.Add(1)
			}
		}
		until(cur, func() bool { return ran.Load() == 1 })
		c.w.CancelSync(cur)
		Kfree(c)
	})
	if early.Load() == 0 {
		t.Error("a work without delay never runs beside who has queued it")
	}
	always(t, "use-after-free", "queue_work of work in freed clock", func(cur *Task) {
		c := newClock(cur.Machine())
		c.w.Init(&c.Obj, "work", func(*Task) {})
		c.w.Schedule(5)
		Kfree(c)
		forever(cur)
	})
}

// TestSoftirqOrder: one source's items run in order, one at a time; two sources run beside each other.
func TestSoftirqOrder(t *testing.T) {
	var beside atomic.Int32
	program := func(cur *Task) {
		m := cur.Machine()
		p, q := newBox(m), newBox(m)
		var inside [2]atomic.Int32
		var next [2]atomic.Int32
		raise := func(i int, b *box, n int32) {
			b.irq.Raise(func() {
				if !next[i].CompareAndSwap(n, n+1) {
					t.Errorf("source %d ran item %d, want %d", i, n, next[i].Load())
				}
				if inside[i].Add(1) != 1 {
					t.Error("two items of one source at a time")
				}
				b.n.Inc()
				if m.Sim() && inside[1-i].Load() != 0 {
					beside.Add(1)
				}
				b.n.Inc()
				inside[i].Add(-1)
			})
		}
		for n := range int32(4) {
			raise(0, p, n)
			raise(1, q, n)
		}
		until(cur, func() bool {
			return next[0].Load() == 4 && next[1].Load() == 4 && inside[0].Load()+inside[1].Load() == 0
		})
		for _, task := range m.Tasks() {
			if task.IsSoftirq() && task.Name() != "softirq/irq" {
				t.Errorf("a softirq named %s", task.Name())
			}
		}
		Kfree(p)
		Kfree(q)
	}
	simClean(t, 200, program)
	if beside.Load() == 0 {
		t.Error("two sources never ran beside each other")
	}
	clean(t, 1, program)
}
