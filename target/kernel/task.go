// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"strings"
)

// TaskState is the state word of a task. Waking acts on a sleeping state and is otherwise forgotten.
type TaskState uint8

// The task states. C: include/linux/sched.h.
const (
	TASK_RUNNING         TaskState = 0
	TASK_INTERRUPTIBLE   TaskState = 1
	TASK_UNINTERRUPTIBLE TaskState = 2
)

//go:norace
func (s TaskState) String() string {
	return [...]string{"RUNNING", "INTERRUPTIBLE", "UNINTERRUPTIBLE"}[s]
}

// Signal numbers. C: include/uapi/asm-generic/signal.h.
const (
	SIGHUP  = 1
	SIGINT  = 2
	SIGQUIT = 3
	SIGKILL = 9
)

type contextKind uint8

const (
	ctxProcess contextKind = iota
	ctxSoftirq
)

// Task is a thread of the machine: a kthread, an actor of the harness, or one run of a softirq.
type Task struct {
	m     *Machine
	o     Obj    // owner of the task's own cells
	c     cell   // the task as an object: state, wake-ups, stop
	path  uint64 // identity in every interleaving: parent's path and birth number
	from  *Task  // the task that made it, nil if none did
	h     uint64 // sim: causal history
	name  string
	label string // its name among all of the run, with Options.Order or NameOps
	ctx   contextKind
	err   int // non-zero: an ERR_PTR, not a task

	g       guard
	state   TaskState
	parked  bool
	created bool // has not been woken for the first time
	entered bool
	exited  bool
	reaped  uint64 // RCU generation after which its memory is gone, 0 if it is not
	stopReq bool
	fn      func(cur *Task, data any) int
	data    any
	actor   func(cur *Task) // of the harness, in the place of fn
	run     func()          // softirq body
	result  int
	exitC   Completion

	allowed, pending uint64
	hidden           uint64
	freezable        bool
	frozen           bool

	atomic   int // preemption count
	bh       int // depth of local_bh_disable
	rcu      int
	rcuLazy  bool // sim: the outermost read section begins with the next operation
	rcuGen   uint64
	held     *heldLocks
	nheld    int
	allocs   uint64
	births   uint64
	rng      uint64
	noise    uint64
	what     string // what a start or stop call is under way, for the hang oracle
	deadline Jiffies

	// sim
	idx         int   // this and what follows is what every step looks at, of every task that it concerns
	alsoPending *Task // the next one in rawLock.pending
	pend        OpKind
	pendCell    *cell
	pendBit     int // which bit it is about, if it is about one
	ri          int // index+1 in sim.run
	st          *strand
	waits       bool // is in the chain of those who have been resumed and have not given back
	idleGen     int
	softq       *Softirq
	exitName    string // of exitC, made once
	exitOf      string // for which name
	bare        bool   // see Machine.Go
	eager       bool   // runs ahead to its first operation
	gate        *rawLock
	round       uint64
	nth         [DecisionKinds]uint16 // decisions so far

	stores *storeBuffer // Options.TSO: nil as long as the task has stored nothing

	// free
	steps  int
	yields uint32 // how often it has offered the processor
	doing  []int  // operations that Options.Order names and that have not come to their end
	ch     chan struct{}
	dying  bool
}

// unwind is the panic value that takes a task off its stack when the run ends early.
var unwind any = &struct{ what string }{"svcfuzz: run ended"}

// Name is what the task is called in traces; unique within a run.
//
//go:norace
func (t *Task) Name() string {
	if t == nil {
		return "NULL"
	}
	if t.err != 0 {
		return "ERR_PTR(" + ErrName(t.err) + ")"
	}
	return t.name
}

// Machine returns the machine that the task runs on.
//
//go:norace
func (t *Task) Machine() *Machine { return t.m }

// Index is the task's number within the run, in order of creation.
//
//go:norace
func (t *Task) Index() int { return t.idx }

// Path identifies the task in every interleaving of the same program.
//
//go:norace
func (t *Task) Path() uint64 { return t.path }

// pidMax bounds the number of a process. C: PID_MAX_LIMIT, include/linux/threads.h.
const pidMax = 1 << 22

// Pid is the number by which user space knows the task, never 0. It is the same in every interleaving of the same
// program. C: task_tgid_nr, include/linux/sched.h.
//
//go:norace
func (t *Task) Pid() uint32 { return 1 + uint32(t.path%(pidMax-1)) }

// Pending tells which visible operation the task is about to perform and on which cell. For choosers.
//
//go:norace
func (t *Task) Pending() (k OpKind, cellID uint64) {
	if t.pendCell == nil {
		return t.pend, 0
	}
	return t.pend, t.pendCell.id
}

// PendingObject tells the kind of the task's next operation and the id of the object that its cell belongs to.
//
//go:norace
func (t *Task) PendingObject() (k OpKind, objectID uint64) {
	if t.pendCell == nil {
		return t.pend, 0
	}
	return t.pend, t.pendCell.o.c.id
}

// PendingName is the name of the cell that the task is about to operate on, "" if there is none. For choosers.
//
//go:norace
func (t *Task) PendingName() string {
	if t.pendCell == nil {
		return ""
	}
	return t.pendCell.label()
}

// Parent is the task that made this one, nil if none did: the first task, a softirq. For choosers.
//
//go:norace
func (t *Task) Parent() *Task { return t.from }

// Runnable reports whether the task can perform an operation now. For choosers.
//
//go:norace
func (t *Task) Runnable() bool { return t.ri > 0 }

// Exited reports whether the task has ended; State is its state word. For oracles.
//
//go:norace
func (t *Task) Exited() bool { return t.exited }

// State returns the state word without a visible operation. For oracles.
//
//go:norace
func (t *Task) State() TaskState { return t.state }

// IsSoftirq reports whether the task is one run of a softirq.
//
//go:norace
func (t *Task) IsSoftirq() bool { return t.ctx == ctxSoftirq }

// StopRequested reports whether kthread_stop has been called. For oracles.
//
//go:norace
func (t *Task) StopRequested() bool { return t.stopReq }

// Sleeping reports whether the task is asleep and its wake-up has not come. For oracles.
//
//go:norace
func (t *Task) Sleeping() bool { return t.parked }

//go:norace
func (m *Machine) newTask(parent *Task, name string, ctx contextKind) *Task {
	if parent != nil {
		parent.births++
		t := m.newTaskAt(mix(parent.path+parent.births*cellStride), name, ctx)
		t.from = parent
		return t
	}
	m.statics++
	return m.newTaskAt(mix(^(m.statics * cellStride)), name, ctx)
}

//go:norace
func (m *Machine) newTaskAt(path uint64, name string, ctx contextKind) *Task {
	t := m.b.taskFor()
	t.m, t.name, t.ctx, t.path = m, name, ctx, path
	t.o = Obj{m: m, id: mix(t.path), class: "task"}
	t.o.c = cell{o: &t.o, name: name, id: t.o.id}
	t.c.init(&t.o, name)
	t.h = t.path
	if m.rec != nil {
		m.rec.owns(&t.o, t)
	}
	m.b.spawn(t)
	return t
}

// ends gives t, whose name is set, a completion for its end.
//
//go:norace
func (t *Task) ends() {
	if t.exitOf != t.name {
		t.exitOf, t.exitName = t.name, t.name+".exited"
	}
	t.exitC.Init(&t.o, t.exitName)
}

// KthreadCreate makes a thread that will run fn(task, data) after its first wake-up. It sleeps until the
// thread exists and returns it, or an ERR_PTR (see IsErr). C: kthread_create, kernel/kthread.c.
//
//go:norace
func (m *Machine) KthreadCreate(cur *Task, fn func(cur *Task, data any) int, data any, name string) *Task {
	m.mightSleep(cur, "kthread_create")
	if m.AllocFails("kthread") {
		return &Task{m: m, err: -ENOMEM}
	}
	t := m.newTask(cur, name, ctxProcess)
	t.ends()
	t.fn, t.data = fn, data
	t.state, t.created = TASK_UNINTERRUPTIBLE, true
	t.parked = true
	t.c.release()
	t.c.visible(OpStart, 0)
	if m.rec != nil {
		m.rec.text("kthread_create(%s)", name)
	}
	return t
}

// KthreadRun makes a thread and wakes it. By the time it returns fn may have run arbitrarily far.
// C: kthread_run, include/linux/kthread.h.
//
//go:norace
func (m *Machine) KthreadRun(cur *Task, fn func(cur *Task, data any) int, data any, name string) *Task {
	t := m.KthreadCreate(cur, fn, data, name)
	if !IsErr(t) {
		WakeUpProcess(t)
	}
	return t
}

// IsErr reports whether t is an ERR_PTR and not a task. C: IS_ERR, include/linux/err.h.
//
//go:norace
func IsErr(t *Task) bool { return t != nil && t.err != 0 }

// PtrErr is the negative errno of an ERR_PTR. C: PTR_ERR, include/linux/err.h.
//
//go:norace
func PtrErr(t *Task) int { return t.err }

// Spawn starts an actor of the harness: a task of its own that runs at once. Not part of the kernel's API.
//
//go:norace
func (m *Machine) Spawn(parent *Task, name string, fn func(cur *Task)) *Task {
	t := m.newTask(parent, name, ctxProcess)
	t.ends()
	t.actor = fn
	t.allowed = ^uint64(0)
	t.c.release()
	if parent != nil {
		t.c.visible(OpStart, 0)
		if m.rec != nil {
			m.rec.text("spawn %s", name)
		}
	}
	m.b.ready(t)
	return t
}

// Join waits until t has ended. For the harness.
//
//go:norace
func Join(cur, t *Task) { t.exitC.Wait(cur) }

// main is the body of every task, on its own stack.
//
//go:norace
func (t *Task) main() {
	defer t.recovered()
	t.c.acquire()
	if t.run != nil {
		t.run()
		return
	}
	if t.bare {
		t.actor(t)
		t.openGate()
		return
	}
	if t.created && t.stopReq {
		t.result = -EINTR
	} else {
		t.entered = true
		t.c.visible(OpStart, 1)
		if t.m.rec != nil {
			t.m.rec.text("%s starts", t.name)
		}
		if t.actor != nil {
			t.actor(t)
		} else {
			t.result = t.fn(t, t.data)
		}
	}
	t.exit()
}

// exit publishes the end of a process task and wakes whoever waits for it.
//
//go:norace
func (t *Task) exit() {
	if t.nheld > 0 {
		t.m.Report(&Finding{Oracle: "lockdep", Title: t.name + " exits with " + t.held[t.nheld-1].class + " held", Fatal: true})
	}
	if t.rcu > 0 || t.atomic > 0 {
		t.m.Report(&Finding{Oracle: "lockdep", Title: t.name + " exits inside a section that must not sleep", Fatal: true})
	}
	t.c.visible(OpExit, uint64(t.result))
	t.g.lock(t.m)
	own := t.created && !t.stopReq
	t.g.unlock(t.m)
	if own { // nobody holds a reference: the task's memory goes with it
		t.reap(t)
	}
	if t.m.rec != nil {
		t.m.rec.text("%s exits with %s", t.name, ErrName(t.result))
	}
	if t.m.sim == nil { // in sim nobody runs between here and the end
		t.exited = true
	}
	t.exitC.completeAll()
}

// recovered turns a panic of the target into a finding. It is the only recover of the floor.
//
//go:norace
func (t *Task) recovered() {
	p := recover()
	t.exited = true
	if p == nil || p == unwind {
		return
	}
	defer func() { _ = recover() }() // Report unwinds; there is nothing left to unwind
	m := t.m
	stack := callers(2)
	f := &Finding{Oracle: "oops", Stack: stack, Func: targetFunc(stack), Fatal: true}
	switch p := p.(type) {
	case nullDeref:
		f.Title = "NULL pointer dereference"
		f.Text = string(p)
		if m.rec != nil {
			m.rec.oops(t, string(p), stack)
		}
	case error:
		f.Title = "general protection fault"
		f.Text = p.Error()
		if p.Error() == "runtime error: invalid memory address or nil pointer dereference" {
			f.Title = "NULL pointer dereference"
		}
	default:
		f.Title = fmt.Sprint(p)
	}
	bug, ours := strings.CutPrefix(f.Title, "SVCFUZZ BUG: ")
	switch {
	case ours:
		f.Oracle, f.Title = "SVCFUZZ BUG", bug
	case len(stack) == 0 || targetFunc(stack[:1]) == "": // a chooser runs on top of the port, too
		f.Oracle, f.Title = "SVCFUZZ BUG", "panic outside the port: "+f.Title
	default:
		f.Title += " in " + f.Func
	}
	m.Report(f)
}

// nullDeref is the panic of a primitive that was handed NULL where C would have dereferenced it.
type nullDeref string

// WakeUpProcess makes t runnable if it sleeps, and reports whether it did. It remembers nothing. A nil t is
// a NULL dereference, an ERR_PTR is a wild one. Any context. C: wake_up_process, kernel/sched/core.c.
//
//go:norace
func WakeUpProcess(t *Task) bool {
	switch {
	case t == nil:
		panic(nullDeref("wake_up_process(NULL)"))
	case t.err != 0:
		panic(nullDeref("wake_up_process(" + t.Name() + ")"))
	}
	t.c.visible(OpWake, 0)
	if t.m.rec != nil {
		t.m.rec.text("wake_up_process(%s)", t.name)
	}
	if t.gone() {
		t.m.Report(&Finding{Oracle: "use-after-free", Title: "wake_up_process of a task that is gone", Text: t.name, Fatal: true})
		return false
	}
	return t.wake()
}

// wake is the part of waking that has no preemption point: timeouts and wait queues use it as well.
//
//go:norace
func (t *Task) wake() bool {
	s := t.m.sim
	t.g.lock(t.m)
	if t.state == TASK_RUNNING || t.exited {
		t.g.unlock(t.m)
		if s != nil {
			s.also(&t.c, false)
		}
		return false
	}
	t.c.merge() // before the state can be seen
	t.state = TASK_RUNNING
	parked := t.parked
	t.parked = false
	t.g.unlock(t.m)
	if s != nil {
		s.also(&t.c, true)
	}
	if parked {
		if s != nil {
			s.touch(t, t.c.hw) // now: when the task is then picked is no operation and must leave no trace
		}
		t.m.b.ready(t)
	}
	return true
}

// KthreadStop asks t to end and waits until it has: its result, -EINTR if its function was never entered.
// Not to be called twice for a task. Process context. C: kthread_stop, kernel/kthread.c.
//
//go:norace
func KthreadStop(cur, t *Task) int {
	m := cur.m
	m.mightSleep(cur, "kthread_stop")
	if t == nil {
		panic(nullDeref("kthread_stop(NULL)"))
	}
	if t.err != 0 {
		panic(nullDeref("kthread_stop(" + t.Name() + ")"))
	}
	t.c.visible(OpStop, 0)
	if m.rec != nil {
		m.rec.text("kthread_stop(%s)", t.name)
	}
	if t.gone() {
		m.Report(&Finding{Oracle: "use-after-free", Title: "kthread_stop of a task that is gone", Text: t.name, Fatal: true})
	}
	t.c.merge()
	t.g.lock(m)
	t.stopReq = true
	t.g.unlock(m)
	t.wake()
	t.exitC.Wait(cur)
	t.reap(cur)
	return t.result
}

// reap drops the last reference to t, on behalf of by: its memory goes when the RCU read sections that are
// open now have been left.
//
//go:norace
func (t *Task) reap(by *Task) {
	r := &t.m.rcu
	t.m.b.note(by, OpRcuCall, &r.c, 1)
	if s := t.m.sim; s != nil {
		s.also(&t.c, true)
	}
	r.g.lock(t.m)
	r.gen++
	t.reaped = r.gen
	r.g.unlock(t.m)
}

// gone reports whether the memory of t has been given back: it has ended, nobody holds a reference, and the running task is in no RCU read section that was open then.
// C: delayed_put_task_struct, kernel/exit.c.
//
//go:norace
func (t *Task) gone() bool {
	if t.reaped == 0 {
		return false
	}
	cur := t.m.b.here()
	return cur == nil || cur.rcu == 0 || cur.rcuGen >= t.reaped
}

// KthreadShouldStop reports whether kthread_stop has been called for the running task.
// C: kthread_should_stop, kernel/kthread.c.
//
//go:norace
func (t *Task) KthreadShouldStop() bool {
	t.c.visible(OpShouldStop, 0)
	t.g.lock(t.m)
	stop := t.stopReq
	t.g.unlock(t.m)
	t.c.acquire()
	if t.m.rec != nil {
		t.m.rec.text("kthread_should_stop -> %t", stop)
	}
	return stop
}

// SetCurrentState sets the state of the running task, a full barrier. C: set_current_state.
//
//go:norace
func (t *Task) SetCurrentState(s TaskState) {
	t.c.visible(OpSetState, uint64(s))
	t.c.acquire()
	if t.m.rec != nil {
		t.m.rec.text("state = %s", s)
	}
	t.g.lock(t.m)
	t.state = s
	t.g.unlock(t.m)
}

// become sets the state of the running task inside another operation of its own.
//
//go:norace
func (t *Task) become(s TaskState) {
	t.g.lock(t.m)
	t.state = s
	t.g.unlock(t.m)
	if t.m.sim != nil {
		t.m.sim.also(&t.c, true)
	}
}

// Schedule gives the processor away: until a wake-up if the state is a sleeping one and no signal is pending
// for an interruptible sleep. It returns in state RUNNING. Process context. C: schedule, kernel/sched/core.c.
//
//go:norace
func Schedule(cur *Task) {
	m := cur.m
	m.mightSleep(cur, "schedule")
	cur.c.visible(OpSchedule, 0)
	if cur.state == TASK_INTERRUPTIBLE {
		cur.maybeSignal("schedule")
	}
	cur.g.lock(m)
	sleeps := cur.state != TASK_RUNNING && !(cur.state == TASK_INTERRUPTIBLE && cur.pending != 0)
	if !sleeps {
		cur.state = TASK_RUNNING
		cur.g.unlock(m)
		cur.c.acquire() // woken before it slept
		return
	}
	if m.Decide(DecideSpurious, 2, "schedule") != 0 {
		cur.state = TASK_RUNNING // sim only: the guard is nothing there
		return
	}
	cur.parked = true
	cur.g.unlock(m)
	if m.rec != nil {
		m.rec.text("schedule (sleeps)")
	}
	m.b.park(cur)
	cur.c.acquire()
}

// ScheduleTimeout is Schedule with a limit in jiffies; it returns what is left of it, 0 on expiry.
// C: schedule_timeout, kernel/time/timer.c.
//
//go:norace
func ScheduleTimeout(cur *Task, timeout Jiffies) Jiffies {
	if timeout >= MaxScheduleTimeout {
		Schedule(cur)
		return timeout
	}
	m := cur.m
	end := m.Jiffies() + max(timeout, 0)
	a := alarm{when: end, fire: wakeSleeper, task: cur}
	m.b.arm(&a)
	Schedule(cur)
	m.b.disarm(&a)
	return max(end-m.Jiffies(), 0)
}

//go:norace
func wakeSleeper(a *alarm) { a.task.wake() }

// ScheduleTimeoutInterruptible sleeps for at most timeout jiffies, interruptibly.
// C: schedule_timeout_interruptible, kernel/time/timer.c.
//
//go:norace
func ScheduleTimeoutInterruptible(cur *Task, timeout Jiffies) Jiffies {
	cur.SetCurrentState(TASK_INTERRUPTIBLE)
	return ScheduleTimeout(cur, timeout)
}

// ScheduleTimeoutUninterruptible sleeps for at most timeout jiffies.
// C: schedule_timeout_uninterruptible, kernel/time/timer.c.
//
//go:norace
func ScheduleTimeoutUninterruptible(cur *Task, timeout Jiffies) Jiffies {
	cur.SetCurrentState(TASK_UNINTERRUPTIBLE)
	return ScheduleTimeout(cur, timeout)
}

// Msleep sleeps for ms milliseconds; 0 still gives the processor away. In sim, where time passes only when nobody
// can run, a sleep of 0 is one that may be over while others still run. C: msleep, kernel/time/timer.c.
//
//go:norace
func Msleep(cur *Task, ms int) {
	if ms == 0 && cur.m.sim != nil {
		CondResched(cur)
		return
	}
	left := Jiffies(ms)*HZ/1000 + 1
	for left > 0 {
		left = ScheduleTimeoutUninterruptible(cur, left)
	}
}

// CondResched lets others run. C: cond_resched, kernel/sched/core.c.
//
//go:norace
func CondResched(cur *Task) {
	cur.m.mightSleep(cur, "cond_resched")
	cur.c.visible(OpYield, 0)
}

// AllowSignal makes the running kthread accept sig; kthreads ignore all others. C: allow_signal, kernel/exit.c.
//
//go:norace
func (t *Task) AllowSignal(sig int) {
	t.c.visible(OpSignal, uint64(sig)<<8)
	t.g.lock(t.m)
	t.allowed |= 1 << sig
	t.g.unlock(t.m)
	if t.m.rec != nil {
		t.m.rec.text("allow_signal(%d)", sig)
	}
}

// SendSig sends sig to t. A signal that t does not allow is lost. Any context. C: send_sig, kernel/signal.c.
//
//go:norace
func SendSig(sig int, t *Task) {
	switch {
	case t == nil:
		panic(nullDeref("send_sig(NULL)"))
	case t.err != 0:
		panic(nullDeref("send_sig(" + t.Name() + ")"))
	}
	t.c.visible(OpSignal, uint64(sig))
	if t.m.rec != nil {
		t.m.rec.text("send_sig(%d, %s)", sig, t.name)
	}
	if t.gone() {
		t.m.Report(&Finding{Oracle: "use-after-free", Title: "send_sig to a task that is gone", Text: t.name, Fatal: true})
		return
	}
	t.deliver(sig)
}

// KillPid sends sig to the process that t was, as kill(2) does: it is looked up by its number, so one that has ended
// is not found. It reports whether it was. Any context. C: kill_pid, kernel/signal.c.
//
//go:norace
func KillPid(sig int, t *Task) bool {
	t.c.visible(OpSignal, uint64(sig))
	if t.m.rec != nil {
		t.m.rec.text("kill(%d, %s)", sig, t.name)
	}
	if t.exited || t.reaped != 0 {
		return false
	}
	t.deliver(sig)
	return true
}

//go:norace
func (t *Task) deliver(sig int) {
	t.g.lock(t.m)
	accept := t.allowed>>sig&1 != 0
	if accept {
		t.pending |= 1 << sig
	}
	wake := accept && t.state == TASK_INTERRUPTIBLE
	t.g.unlock(t.m)
	if wake {
		t.wake()
	}
}

// SignalPending reports whether a signal waits for the running task. C: signal_pending.
//
//go:norace
func (t *Task) SignalPending() bool {
	t.c.visible(OpSignal, 1<<16)
	t.maybeSignal("signal_pending")
	t.g.lock(t.m)
	defer t.g.unlock(t.m)
	return t.pending != 0
}

// FlushSignals forgets all pending signals of the running task. C: flush_signals, kernel/signal.c.
//
//go:norace
func (t *Task) FlushSignals() {
	t.c.visible(OpSignal, 2<<16)
	t.g.lock(t.m)
	t.pending, t.hidden = 0, 0
	t.g.unlock(t.m)
}

// ClearSigpending hides the pending signals of the running task until RecalcSigpending, so that a call that
// must not be interrupted is not. C: clear_thread_flag(TIF_SIGPENDING).
//
//go:norace
func (t *Task) ClearSigpending() {
	t.c.visible(OpSignal, 3<<16)
	t.g.lock(t.m)
	t.hidden |= t.pending
	t.pending = 0
	t.g.unlock(t.m)
}

// RecalcSigpending shows the hidden signals again. C: recalc_sigpending, kernel/signal.c.
//
//go:norace
func (t *Task) RecalcSigpending() {
	t.c.visible(OpSignal, 4<<16)
	t.g.lock(t.m)
	t.pending |= t.hidden
	t.hidden = 0
	t.g.unlock(t.m)
}

// KthreadData is the data that t was created with. C: kthread_data, kernel/kthread.c.
//
//go:norace
func KthreadData(t *Task) any { return t.data }

// SetFreezable lets the freezer stop the running kthread. C: set_freezable, kernel/freezer.c.
//
//go:norace
func (t *Task) SetFreezable() {
	m := t.m
	m.b.note(t, OpFreeze, &m.freezing.c, 0)
	m.timers.lock(m)
	if !t.freezable {
		t.freezable = true
		m.freezables = append(m.freezables, t)
	}
	m.timers.unlock(m)
}

// freezableTasks lists the tasks that have called SetFreezable.
//
//go:norace
func (m *Machine) freezableTasks() []*Task {
	m.timers.lock(m)
	defer m.timers.unlock(m)
	return append([]*Task(nil), m.freezables...)
}

// Freezing reports whether the freezer wants the running task. C: freezing, include/linux/freezer.h.
//
//go:norace
func (t *Task) Freezing() bool {
	if !t.freezable {
		return false
	}
	t.m.b.note(t, OpBitTest, &t.m.freezing.c, 0)
	return t.m.freezing.Peek(0)
}

// PeekFreezing is Freezing without a visible operation, for oracles.
//
//go:norace
func (t *Task) PeekFreezing() bool { return t.freezable && t.m.freezing.Peek(0) }

// TryToFreeze blocks the running task while the machine is frozen, and reports whether it was.
// C: try_to_freeze, include/linux/freezer.h.
//
//go:norace
func TryToFreeze(cur *Task) bool {
	m := cur.m
	m.mightSleep(cur, "try_to_freeze")
	if !cur.Freezing() {
		return false
	}
	for m.freezing.TestBit(0) {
		cur.frozen = true
		cur.SetCurrentState(TASK_UNINTERRUPTIBLE)
		if !m.freezing.TestBit(0) {
			cur.SetCurrentState(TASK_RUNNING)
			break
		}
		Schedule(cur)
	}
	cur.frozen = false
	return true
}

// FreezeProcesses asks all freezable tasks to freeze and wakes those that sleep interruptibly.
// C: freeze_kernel_threads, kernel/power/process.c.
//
//go:norace
func (m *Machine) FreezeProcesses(cur *Task) {
	m.freezing.SetBit(0)
	for _, t := range m.freezableTasks() {
		t.c.visible(OpFreeze, 1)
		t.g.lock(m)
		asleep := t.state == TASK_INTERRUPTIBLE
		t.g.unlock(m)
		if asleep {
			t.wake()
		}
	}
}

// ThawProcesses lets frozen tasks go on. C: thaw_processes, kernel/power/process.c.
//
//go:norace
func (m *Machine) ThawProcesses(cur *Task) {
	m.freezing.ClearBit(0)
	for _, t := range m.freezableTasks() {
		t.c.visible(OpFreeze, 2)
		if t.frozen {
			t.wake()
		}
	}
}

// Tasks lists the tasks of this run in order of creation. For oracles and dumps.
//
//go:norace
func (m *Machine) Tasks() []*Task {
	return m.b.tasks()
}

// Within marks the running task as being inside a start or stop call that must return within limit jiffies
// of virtual time; the hang oracle watches it. Call the result when the call has returned. For the harness.
//
//go:norace
func (t *Task) Within(limit Jiffies, what string) (done func()) {
	t.what, t.deadline = what, t.m.Jiffies()+limit
	return t.within
}

// within ends what Within began.
//
//go:norace
func (t *Task) within() { t.what = "" }

// Doing returns what Within marked the task with, and the deadline; "" if nothing.
//
//go:norace
func (t *Task) Doing() (string, Jiffies) { return t.what, t.deadline }
