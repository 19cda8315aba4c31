// SPDX-License-Identifier: MIT

package kernel

// WaitQueueHead is a wait_queue_head_t.
type WaitQueueHead struct {
	c       cell
	g       guard
	waiters []*WaitEntry // sleepers in order of arrival
}

// WaitEntry is one sleeper's place on a wait queue.
type WaitEntry struct {
	t         *Task
	on        bool
	exclusive bool // wake-ups of one stop here
	auto      bool // leaves the queue when it is woken
}

// Init makes an empty queue as part of o. C: init_waitqueue_head.
//
//go:norace
func (q *WaitQueueHead) Init(o *Obj, name string) {
	q.c.init(o, name)
	q.waiters = q.waiters[:0]
}

// AddWaitQueue puts cur on the queue without changing its state. C: add_wait_queue, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) AddWaitQueue(cur *Task, w *WaitEntry) {
	q.c.visible(OpWait, 0)
	q.c.merge()
	if m := q.c.o.m; m.rec != nil {
		m.rec.text("add_wait_queue %s", q.c.name)
	}
	w.exclusive, w.auto = false, false
	q.put(cur, w)
}

// put queues the sleeper unless it is queued: exclusive ones behind all others.
//
//go:norace
func (q *WaitQueueHead) put(cur *Task, w *WaitEntry) {
	m := q.c.o.m
	q.g.lock(m)
	if !w.on {
		w.t, w.on = cur, true
		q.waiters = append(q.waiters, w)
		for i := len(q.waiters) - 1; i > 0 && !w.exclusive && q.waiters[i-1].exclusive; i-- {
			q.waiters[i-1], q.waiters[i] = w, q.waiters[i-1]
		}
	}
	q.g.unlock(m)
}

// RemoveWaitQueue takes the sleeper off the queue. C: remove_wait_queue, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) RemoveWaitQueue(w *WaitEntry) {
	q.c.visible(OpWait, 1)
	q.c.acquire()
	if m := q.c.o.m; m.rec != nil {
		m.rec.text("remove_wait_queue %s", q.c.name)
	}
	q.take(w)
}

//go:norace
func (q *WaitQueueHead) take(w *WaitEntry) {
	m := q.c.o.m
	q.g.lock(m)
	for i, x := range q.waiters {
		if x == w {
			q.waiters = removeAt(q.waiters, i)
			break
		}
	}
	w.on = false
	q.g.unlock(m)
}

// PrepareToWait queues cur unless it is queued, then sets its state. C: prepare_to_wait, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) PrepareToWait(cur *Task, w *WaitEntry, state TaskState) {
	w.exclusive = false
	q.prepare(cur, w, state)
}

// PrepareToWaitExclusive is PrepareToWait for a sleeper of whom one wake-up wakes only the first.
// C: prepare_to_wait_exclusive, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) PrepareToWaitExclusive(cur *Task, w *WaitEntry, state TaskState) {
	w.exclusive = true
	q.prepare(cur, w, state)
}

//go:norace
func (q *WaitQueueHead) prepare(cur *Task, w *WaitEntry, state TaskState) {
	q.c.visible(OpWait, 2)
	w.auto = true
	q.c.merge()
	q.c.acquire()
	m := q.c.o.m
	if m.rec != nil {
		m.rec.text("prepare_to_wait %s, %s", q.c.name, state)
	}
	q.put(cur, w)
	cur.become(state)
}

// FinishWait sets cur running and takes it off the queue. C: finish_wait, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) FinishWait(cur *Task, w *WaitEntry) {
	q.c.visible(OpWait, 3)
	q.c.acquire()
	m := q.c.o.m
	if m.rec != nil {
		m.rec.text("finish_wait %s", q.c.name)
	}
	cur.become(TASK_RUNNING)
	q.take(w)
}

// WakeUp wakes all sleepers that are not exclusive, and the first that is. Any context.
// C: wake_up, include/linux/wait.h.
//
//go:norace
func (q *WaitQueueHead) WakeUp() { q.wake(1) }

// WakeUpAll wakes all sleepers. Any context. C: wake_up_all, kernel/sched/wait.c.
//
//go:norace
func (q *WaitQueueHead) WakeUpAll() { q.wake(1 << 30) }

// wake wakes the sleepers that are not exclusive and up to n that are; those that were awake do not count and
// stay on the queue.
//
//go:norace
func (q *WaitQueueHead) wake(n int) {
	q.c.visible(OpWake, 0)
	q.c.merge()
	m := q.c.o.m
	if m.rec != nil {
		m.rec.text("wake_up %s", q.c.name)
	}
	q.wakeNow(n)
}

//go:norace
func (q *WaitQueueHead) wakeNow(n int) {
	m := q.c.o.m
	q.g.lock(m)
	for i := 0; i < len(q.waiters); i++ {
		w := q.waiters[i]
		if !w.t.wake() {
			continue
		}
		if w.auto {
			w.on = false
			q.waiters = removeAt(q.waiters, i)
			i--
		}
		if w.exclusive {
			if n--; n == 0 {
				break
			}
		}
	}
	q.g.unlock(m)
}

// Active reports whether anybody is on the queue. It orders nothing. C: waitqueue_active, include/linux/wait.h.
//
//go:norace
func (q *WaitQueueHead) Active() bool {
	q.c.visible(OpLoad, 0)
	m := q.c.o.m
	q.g.lock(m)
	n := len(q.waiters)
	q.g.unlock(m)
	if m.rec != nil {
		m.rec.text("waitqueue_active %s -> %t", q.c.name, n > 0)
	}
	return n > 0
}

// WaitEvent sleeps uninterruptibly until cond holds; cond is evaluated in cur's context.
// C: wait_event, include/linux/wait.h.
//
//go:norace
func WaitEvent(cur *Task, q *WaitQueueHead, cond func() bool) {
	cur.m.mightSleep(cur, "wait_event")
	var w WaitEntry
	for {
		q.PrepareToWait(cur, &w, TASK_UNINTERRUPTIBLE)
		if cond() {
			break
		}
		Schedule(cur)
	}
	q.FinishWait(cur, &w)
}

// WaitEventTimeout is WaitEvent with a limit in jiffies: what is left of it, at least 1 if cond held, 0 on
// expiry. C: wait_event_timeout, include/linux/wait.h.
//
//go:norace
func WaitEventTimeout(cur *Task, q *WaitQueueHead, cond func() bool, timeout Jiffies) Jiffies {
	cur.m.mightSleep(cur, "wait_event_timeout")
	var w WaitEntry
	left := timeout
	for {
		q.PrepareToWait(cur, &w, TASK_UNINTERRUPTIBLE)
		if cond() {
			left = max(left, 1)
			break
		}
		if left <= 0 {
			left = 0
			break
		}
		left = ScheduleTimeout(cur, left)
	}
	q.FinishWait(cur, &w)
	return left
}

// Completion is a struct completion: Complete lets one waiter through and is remembered.
type Completion struct {
	c       cell
	g       guard
	done    int
	waiters []*Task
}

// Init makes the completion as part of o. C: init_completion.
//
//go:norace
func (x *Completion) Init(o *Obj, name string) {
	x.c.init(o, name)
	x.done = 0
	x.waiters = x.waiters[:0]
}

// Reinit forgets what was completed. C: reinit_completion.
//
//go:norace
func (x *Completion) Reinit() {
	x.c.visible(OpWait, 9)
	x.g.lock(x.c.o.m)
	x.done = 0
	x.g.unlock(x.c.o.m)
}

// Complete lets one waiter through, now or later. Any context. C: complete, kernel/sched/completion.c.
//
//go:norace
func (x *Completion) Complete() {
	x.c.visible(OpComplete, 0)
	m := x.c.o.m
	if m.rec != nil {
		m.rec.text("complete %s", x.c.name)
	}
	x.c.merge()
	x.g.lock(m)
	x.done++
	var t *Task
	if len(x.waiters) > 0 {
		t = x.waiters[0]
		x.waiters = removeAt(x.waiters, 0)
	}
	x.g.unlock(m)
	if t != nil {
		t.wake()
	}
}

// completeAll lets everybody through, now and later. C: complete_all, kernel/sched/completion.c.
//
//go:norace
func (x *Completion) completeAll() {
	x.c.visible(OpComplete, 1)
	m := x.c.o.m
	if m.rec != nil {
		m.rec.text("complete_all %s", x.c.name)
	}
	x.c.merge()
	x.g.lock(m)
	x.done = 1 << 40
	woken := x.waiters
	x.waiters = nil
	x.g.unlock(m)
	for _, t := range woken {
		t.wake()
	}
}

// Wait sleeps uninterruptibly until it may pass. Process context. C: wait_for_completion.
//
//go:norace
func (x *Completion) Wait(cur *Task) { x.WaitTimeout(cur, MaxScheduleTimeout) }

// WaitTimeout is Wait with a limit in jiffies: what is left of it, 0 on expiry. C: wait_for_completion_timeout.
//
//go:norace
func (x *Completion) WaitTimeout(cur *Task, timeout Jiffies) Jiffies {
	return x.wait(cur, timeout, TASK_UNINTERRUPTIBLE)
}

// WaitInterruptibleTimeout is WaitTimeout that a signal ends with -EINTR.
// C: wait_for_completion_interruptible_timeout, kernel/sched/completion.c.
//
//go:norace
func (x *Completion) WaitInterruptibleTimeout(cur *Task, timeout Jiffies) Jiffies {
	return x.wait(cur, timeout, TASK_INTERRUPTIBLE)
}

//go:norace
func (x *Completion) wait(cur *Task, timeout Jiffies, state TaskState) Jiffies {
	m := cur.m
	m.mightSleep(cur, "wait_for_completion")
	for {
		x.c.visible(OpWait, 0)
		if m.rec != nil {
			m.rec.text("wait_for_completion %s", x.c.name)
		}
		x.g.lock(m)
		if x.done > 0 {
			x.done--
			x.g.unlock(m)
			x.c.acquire()
			return max(timeout, 1)
		}
		if timeout <= 0 {
			x.g.unlock(m)
			return 0
		}
		if state == TASK_INTERRUPTIBLE && cur.pending != 0 {
			x.g.unlock(m)
			return -EINTR
		}
		x.waiters = append(x.waiters, cur)
		cur.become(state)
		x.g.unlock(m)
		timeout = ScheduleTimeout(cur, timeout)
		x.g.lock(m)
		was := len(x.waiters)
		for i, t := range x.waiters {
			if t == cur {
				x.waiters = removeAt(x.waiters, i)
				break
			}
		}
		left := len(x.waiters) < was // by itself, not taken off by who woke it
		x.g.unlock(m)
		if m.sim != nil {
			m.sim.also(&x.c, left)
		}
	}
}

// varWaiters is the machine's table of sleepers on bits and variables: one queue, keyed by address.
type varWaiters struct {
	q WaitQueueHead
}

//go:norace
func (v *varWaiters) reset(m *Machine) { v.q.Init(&m.static, "var_wait") }

// WaitOnBit sleeps until the bit is clear: 0, or -EINTR if a signal ends an interruptible sleep. Process
// context. C: wait_on_bit, kernel/sched/wait.c.
//
//go:norace
func WaitOnBit(cur *Task, f *Flags, bit int, state TaskState) int {
	q := &cur.m.vars.q
	cur.m.mightSleep(cur, "wait_on_bit")
	if !f.TestBit(bit) {
		return 0
	}
	var w WaitEntry
	res := 0
	for {
		q.PrepareToWait(cur, &w, state)
		if !f.TestBit(bit) {
			break
		}
		Schedule(cur)
		if state == TASK_INTERRUPTIBLE && cur.SignalPending() {
			res = -EINTR
			break
		}
	}
	q.FinishWait(cur, &w)
	return res
}

// ClearAndWakeUpBit clears the bit and wakes who waits for it. Any context. C: clear_and_wake_up_bit.
//
//go:norace
func ClearAndWakeUpBit(f *Flags, bit int) {
	m := f.c.o.m
	f.ClearBit(bit)
	m.SmpMb()
	m.wakeVar()
}

// wakeVar wakes the sleepers on bits and variables if there are any: to look is a plain load, so the caller's store
// must have a full barrier behind it. C: __wake_up_bit, kernel/sched/wait_bit.c.
//
//go:norace
func (m *Machine) wakeVar() {
	if m.vars.q.Active() {
		m.vars.q.WakeUpAll()
	}
}

// WaitVarEvent sleeps until cond holds; WakeUpVar announces changes. Process context. C: wait_var_event.
//
//go:norace
func WaitVarEvent(cur *Task, cond func() bool) {
	if !cond() {
		WaitEvent(cur, &cur.m.vars.q, cond)
	}
}

// WakeUpVar wakes who waits for a variable; the caller has put a full barrier behind its store. C: wake_up_var.
//
//go:norace
func (m *Machine) WakeUpVar() { m.wakeVar() }
