// SPDX-License-Identifier: MIT

package kernel

// Softirq is one source of softirq work, such as a socket: its items run in order, one at a time, each as a
// task softirq/NAME that never sleeps. Different sources run beside each other, as on different CPUs.
type Softirq struct {
	c     cell
	g     guard
	queue []func()
	busy  bool
	seq   uint64
}

// Init makes the source as part of o; name shows in task names. No C original: open_softirq's users.
//
//go:norace
func (q *Softirq) Init(o *Obj, name string) {
	*q = Softirq{}
	q.c.init(o, name)
}

// Raise queues fn to run in softirq context, after all that was raised before. Any context.
// C: raise_softirq, kernel/softirq.c.
//
//go:norace
func (q *Softirq) Raise(fn func()) {
	q.c.visible(OpRaise, 0)
	if m := q.c.o.m; m.rec != nil {
		m.rec.text("raise softirq/%s", q.c.name)
	}
	q.raise(fn)
}

// raise is Raise without a preemption point, for the clock and RCU.
//
//go:norace
func (q *Softirq) raise(fn func()) {
	m := q.c.o.m
	q.c.merge()
	if m.sim != nil {
		m.sim.also(&q.c, true)
	}
	q.g.lock(m)
	q.queue = append(q.queue, fn)
	start := !q.busy
	q.busy = true
	if start {
		q.seq++
	}
	q.g.unlock(m)
	if start {
		q.start(m)
	}
}

// start makes the task that will serve the queue until it is empty.
//
//go:norace
func (q *Softirq) start(m *Machine) {
	raiser := m.b.here()
	t := m.b.taskFor()
	t.m, t.ctx, t.softq = m, ctxSoftirq, q
	t.name = "softirq/" + q.c.name
	t.path = mix(q.c.id + q.seq*cellStride)
	t.o = Obj{m: m, id: mix(t.path), class: "task"}
	t.o.c = cell{o: &t.o, name: t.name, id: t.o.id}
	t.c.init(&t.o, t.name)
	t.h = mix(t.path + q.c.hw)
	if raiser != nil {
		t.h = mix(t.h + raiser.h)
	} else if m.sim != nil {
		t.h = mix(t.h + m.sim.tick)
	}
	t.run = func() { q.serve(t) }
	m.b.spawn(t)
	m.b.ready(t)
}

//go:norace
func (q *Softirq) serve(t *Task) {
	m := t.m
	for {
		q.c.visible(OpStart, 0)
		if m.rec != nil {
			m.rec.text("%s runs", t.name)
		}
		q.c.acquire()
		q.g.lock(m)
		fn := q.queue[0]
		q.queue = q.queue[1:]
		q.g.unlock(m)
		fn()
		if t.nheld > 0 || t.rcu > 0 || t.atomic > 0 {
			m.Report(&Finding{Oracle: "lockdep", Title: t.name + " returns with a lock or a read section open", Fatal: true})
		}
		q.c.merge() // the next item comes after this one, whoever raised it
		q.g.lock(m)
		if len(q.queue) == 0 {
			q.busy = false
			q.g.unlock(m)
			m.b.note(t, OpExit, &q.c, 0)
			return
		}
		q.g.unlock(m)
		if m.sim != nil {
			m.sim.also(&q.c, false) // it goes on because of what was raised meanwhile
		}
	}
}

// Timer is a struct timer_list; its function runs in softirq context.
type Timer struct {
	c       cell
	g       guard
	fn      func()
	soft    Softirq
	a       alarm
	active  bool
	gen     uint64 // counts Mod
	running int    // expiries whose function has not returned
	idle    Completion
	waiting int
}

// Init makes the timer, not armed, as part of o. C: setup_timer, include/linux/timer.h.
//
//go:norace
func (t *Timer) Init(o *Obj, name string, fn func()) {
	*t = Timer{fn: fn}
	t.c.init(o, name)
	t.soft.Init(o, name)
	t.idle.Init(o, name)
}

// SetFunction sets what the timer calls. C: timer.function.
//
//go:norace
func (t *Timer) SetFunction(fn func()) { t.fn = fn }

// HasFunction reports whether the timer has been given something to call.
//
//go:norace
func (t *Timer) HasFunction() bool { return t.fn != nil }

// Mod arms the timer for the jiffy at, or moves it there. Any context. C: mod_timer, kernel/time/timer.c.
//
//go:norace
func (t *Timer) Mod(at Jiffies) {
	t.c.visible(OpTimer, uint64(at))
	m := t.c.o.m
	if m.rec != nil {
		m.rec.text("mod_timer %s, +%d ms", t.c.name, at-m.Jiffies())
	}
	t.c.merge()
	t.g.lock(m)
	was := t.active
	if was {
		m.b.disarm(&t.a)
	}
	t.active = true
	t.gen++
	t.a = alarm{when: at, fire: fireTimer, tm: t, gen: t.gen}
	m.b.arm(&t.a)
	if !was {
		m.timers.lock(m)
		m.armed = append(m.armed, t)
		m.timers.unlock(m)
	}
	t.g.unlock(m)
}

//go:norace
func fireTimer(a *alarm) {
	t := a.tm
	m := t.c.o.m
	t.g.lock(m)
	if !t.active || t.gen != a.gen { // deleted or moved while the clock was on its way here
		t.g.unlock(m)
		return
	}
	t.active = false
	t.running++
	m.unarm(t)
	t.g.unlock(m)
	t.soft.raise(t.expire)
}

//go:norace
func (t *Timer) expire() {
	m := t.c.o.m
	t.c.acquire()
	t.fn()
	m.b.note(m.b.here(), OpTimer, &t.c, 0)
	t.c.merge()
	t.g.lock(m)
	t.running--
	n := 0
	if t.running == 0 {
		n, t.waiting = t.waiting, 0
	}
	t.g.unlock(m)
	for range n {
		t.idle.Complete()
	}
}

//go:norace
func (m *Machine) unarm(t *Timer) {
	m.timers.lock(m)
	for i, x := range m.armed {
		if x == t {
			m.armed = removeAt(m.armed, i)
			break
		}
	}
	m.timers.unlock(m)
}

// Del disarms the timer and reports whether it was armed. Its function may be running. C: del_timer.
//
//go:norace
func (t *Timer) Del() bool {
	t.c.visible(OpTimerDel, 0)
	m := t.c.o.m
	if m.rec != nil {
		m.rec.text("del_timer %s", t.c.name)
	}
	return t.disarm(m)
}

//go:norace
func (t *Timer) disarm(m *Machine) bool {
	t.g.lock(m)
	was := t.active
	if was {
		t.active = false
		m.b.disarm(&t.a)
		m.unarm(t)
	}
	t.g.unlock(m)
	return was
}

// DelSync disarms the timer and waits until its function has returned. No lock that the function takes may
// be held. Process context. C: del_timer_sync, kernel/time/timer.c.
//
//go:norace
func (t *Timer) DelSync(cur *Task) bool {
	m := cur.m
	m.mightSleep(cur, "del_timer_sync")
	for {
		was := t.Del()
		t.g.lock(m)
		if t.running == 0 {
			armed := t.active
			t.g.unlock(m)
			t.c.acquire()
			if !armed {
				return was
			}
			continue
		}
		t.waiting++
		t.g.unlock(m)
		t.idle.Wait(cur)
	}
}

// Pending reports whether the timer is armed. C: timer_pending.
//
//go:norace
func (t *Timer) Pending() bool {
	t.c.visible(OpLoad, 0)
	m := t.c.o.m
	t.g.lock(m)
	armed := t.active
	t.g.unlock(m)
	if m.rec != nil {
		m.rec.text("timer_pending %s -> %t", t.c.name, armed)
	}
	return armed
}

// Peek is Pending without a visible operation, for oracles.
//
//go:norace
func (t *Timer) Peek() bool { return t.active }

// ArmedTimers names the timers that are armed, for the leak oracle.
//
//go:norace
func (m *Machine) ArmedTimers() []string {
	m.timers.lock(m)
	defer m.timers.unlock(m)
	var names []string
	for _, t := range m.armed {
		names = append(names, t.c.name)
	}
	for _, w := range m.works {
		if w.queued {
			names = append(names, w.c.name)
		}
	}
	return names
}

// DelayedWork is a struct delayed_work: a function that runs in process context some time after Schedule.
type DelayedWork struct {
	c       cell
	g       guard
	fn      func(cur *Task)
	a       alarm
	queued  bool   // armed or waiting for its worker
	due     bool   // its time came while it ran: the same worker runs it again
	gen     uint64 // counts Schedule
	runs    uint64 // counts workers
	running bool
	waiting int
	idle    Completion
	known   bool
}

// Init makes the work, idle, as part of o. C: INIT_DELAYED_WORK.
//
//go:norace
func (w *DelayedWork) Init(o *Obj, name string, fn func(cur *Task)) {
	*w = DelayedWork{fn: fn}
	w.c.init(o, name)
	w.idle.Init(o, name)
}

// Schedule queues the work to run after delay jiffies, at once without one, unless it is queued already, and reports
// whether it did. Any context. C: schedule_delayed_work, include/linux/workqueue.h.
//
//go:norace
func (w *DelayedWork) Schedule(delay Jiffies) bool {
	w.c.visible(OpWork, uint64(delay))
	m := w.c.o.m
	if m.rec != nil {
		m.rec.text("schedule_delayed_work %s, +%d ms", w.c.name, delay)
	}
	w.g.lock(m)
	if w.queued {
		w.g.unlock(m)
		return false
	}
	w.c.merge()
	w.queued, w.due = true, false
	w.gen++
	now := alarm{gen: w.gen}
	if delay > 0 {
		w.a = alarm{when: m.Jiffies() + delay, fire: w.expire, gen: w.gen}
		m.b.arm(&w.a)
	}
	known := w.known
	w.known = true
	w.g.unlock(m)
	if !known {
		m.timers.lock(m)
		m.works = append(m.works, w)
		m.timers.unlock(m)
	}
	if delay == 0 {
		w.expire(&now)
	}
	return true
}

// expire hands the work to a worker; a work is never run by two workers at a time.
//
//go:norace
func (w *DelayedWork) expire(a *alarm) {
	m := w.c.o.m
	w.g.lock(m)
	current := w.queued && w.gen == a.gen
	w.due = w.due || current && w.running
	start := current && !w.running
	w.g.unlock(m)
	if start {
		w.start(a.gen)
	}
}

//go:norace
func (w *DelayedWork) start(gen uint64) {
	m := w.c.o.m
	w.runs++
	t := m.newTaskAt(mix(w.c.id+w.runs*cellStride), "kworker/"+w.c.name, ctxProcess)
	t.ends()
	t.fn = func(cur *Task, _ any) int { w.work(cur, gen); return 0 }
	if m.sim != nil {
		m.sim.touch(t, w.c.hw+m.sim.tick)
	}
	m.b.ready(t)
}

//go:norace
func (w *DelayedWork) work(cur *Task, gen uint64) {
	m := cur.m
	for again := true; again; {
		w.g.lock(m)
		if !w.queued || w.gen != gen { // cancelled, perhaps queued anew since, perhaps freed
			w.g.unlock(m)
			if m.sim != nil {
				m.sim.also(&w.c, false)
			}
			return
		}
		w.queued, w.running = false, true
		w.g.unlock(m)
		if m.sim != nil {
			m.sim.also(&w.c, true)
		}
		w.c.visible(OpWork, 1)
		w.c.acquire()
		w.fn(cur)
		m.b.note(cur, OpWork, &w.c, 2)
		w.c.merge()
		w.g.lock(m)
		w.running = false
		again, w.due = w.due && w.queued, false
		gen = w.gen
		n := w.waiting
		w.waiting = 0
		w.g.unlock(m)
		for range n {
			w.idle.Complete()
		}
	}
}

// CancelSync takes the work off its queue and waits until it no longer runs; it reports whether it was
// queued. Process context. C: cancel_delayed_work_sync, kernel/workqueue.c.
//
//go:norace
func (w *DelayedWork) CancelSync(cur *Task) bool {
	m := cur.m
	m.mightSleep(cur, "cancel_delayed_work_sync")
	was := false
	for {
		w.c.visible(OpTimerDel, 0)
		if m.rec != nil {
			m.rec.text("cancel_delayed_work_sync %s", w.c.name)
		}
		w.g.lock(m)
		if w.queued {
			m.b.disarm(&w.a)
			w.queued, w.due, was = false, false, true
		}
		if !w.running {
			w.g.unlock(m)
			w.c.acquire()
			return was
		}
		w.waiting++
		w.g.unlock(m)
		w.idle.Wait(cur)
	}
}

// Pending reports whether the work is queued. C: delayed_work_pending.
//
//go:norace
func (w *DelayedWork) Pending() bool {
	w.c.visible(OpLoad, 0)
	m := w.c.o.m
	w.g.lock(m)
	queued := w.queued
	w.g.unlock(m)
	if m.rec != nil {
		m.rec.text("delayed_work_pending %s -> %t", w.c.name, queued)
	}
	return queued
}

// Peek is Pending without a visible operation, for oracles.
//
//go:norace
func (w *DelayedWork) Peek() bool { return w.queued }
