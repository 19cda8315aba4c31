// SPDX-License-Identifier: MIT

// Package kernel is the floor: as much of a Linux kernel as the SunRPC server core stands on. Tasks, locks,
// wait queues, RCU, timers, memory and the rest are written once, above a narrow seam with two back ends:
// free (tasks are goroutines that really run in parallel) and sim (one task at a time, a chooser picks who
// performs the next visible operation, time is virtual, the same choices give the same run).
package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Jiffies counts ticks since boot, or a span of them.
type Jiffies int64

// HZ is the number of jiffies in a second.
const HZ Jiffies = 1000

// MaxScheduleTimeout as a timeout means "for ever". C: MAX_SCHEDULE_TIMEOUT, include/linux/sched.h.
const MaxScheduleTimeout Jiffies = 1 << 62

// Options configures a machine for one run.
type Options struct {
	// FailAt makes the k-th fallible step (1-based) of the run fail; 0 lets all succeed.
	FailAt int
	// HangAfter ends a sim run in which virtual time passed this mark, in jiffies. 0 means one hour.
	HangAfter Jiffies
	// MaxSteps ends a sim run that performed this many visible operations. 0 means one million.
	MaxSteps int
	// Cpus is the number of CPUs that GetCpu answers with; 0 means 1.
	Cpus int
	// Record keeps a readable event for every visible operation.
	Record bool
	// Detect reports data races: two accesses of a plain cell or of a locked list, one of them a write, that no
	// primitive orders, even where this schedule had them one after the other. Oracle "data-race", not fatal, once a
	// run for each title; the schedule is the same as without. Sim only: a race build watches the free back end.
	Detect bool
	// TSO lets a plain store wait in a buffer of its task, as on x86, until a flush writes it to memory: a step of a
	// task "NAME/store buffer", or part of the task's next barrier. Sim only.
	TSO bool
	// WeakAtomics lets set_bit, clear_bit and the atomics without a result wait there as well: on x86 they are locked
	// instructions, but the kernel does not promise it. With TSO only.
	WeakAtomics bool
	// Snapshot, with Record, describes a structure that a visible operation has touched, for Event.State; sim only. It
	// must not perform operations.
	Snapshot func(of any) string
	// Causal keeps the causal histories that Choice.State and Result.State are made of; a run without is faster. Sim only.
	Causal bool
	// Faults is, for each kind of decision, how many of them may differ from the default in one run; 0: the chooser is
	// not asked. Sim only.
	Faults [DecisionKinds]int
	// Rounds is called whenever RoundsEvery fair rounds are over, 0 means one: in a round every task that could go on at
	// its beginning has performed an operation or ceased to be runnable. For oracles; sim only, and not in race builds,
	// where somebody who looks in the middle of a run needs an order that would hide races.
	Rounds      func()
	RoundsEvery int
	// Quiescent is called whenever no task can run, before time passes. For oracles; sim only.
	Quiescent func()
	// AtEnd is called when all tasks are done or nothing can happen any more. For oracles.
	AtEnd func()

	// Order is what Task.Held knows of on the sim back end, where choosers keep it; the free back end keeps it itself,
	// each task waiting at most Hold real milliseconds for what must come before its operation; 0 means 50.
	Order []Before
	Hold  int
	// NameOps fills Result.Ops. Sim only.
	NameOps bool

	// Seed drives the noise of the free back end, and its random numbers.
	Seed uint64
	// Noise is the probability, in 1/65536, that a visible operation of a free task lets others go first.
	Noise uint32
	// TimeScale divides all timeouts of the free back end; 0 means 1.
	TimeScale int64
	// ReusePages hands out freed pages again on the free back end. Without, a page is used once, so that who still holds
	// one that was freed is caught in the act; sim machines always reuse theirs.
	ReusePages bool
	// Watchdog ends a free run that did not finish in this many real milliseconds. 0 means 10,000.
	Watchdog int
}

// Machine is one simulated kernel. It is a value without package state: make as many as you like. A sim
// machine is used for many runs, one after the other; a free machine for one.
type Machine struct {
	b   backend
	sim *sim
	rec *recorder
	opt Options

	static   Obj // owner of the machine's own cells
	mem      guard
	order    *order    // with Options.Order or NameOps
	detector *detector // with Options.Detect, in sim
	tso      bool      // Options.TSO, in sim
	weak     bool      // Options.WeakAtomics as well
	live     []*Obj
	classes  []classCount
	statics  uint64
	fallible int
	failAt   int
	failed   string

	pages, freePages []*Page

	faultCell cell
	clockCell cell
	rcu       rcuState
	lockdep   lockdep
	vars      varWaiters
	freezing  Flags

	freezables []*Task

	report   guard
	findings []*Finding
	warned   []string
	timers   guard
	armed    []*Timer
	works    []*DelayedWork

	rng uint64
	tag any
}

// Livelock is the title of the finding, of oracle "hang", that a run with more than Options.MaxSteps operations ends in.
const Livelock = "livelock: the run does not end"

// Finding is what an oracle has to say about a run.
type Finding struct {
	Oracle string // oops, warning, use-after-free, hang, deadlock, lockdep, leak, refcount, ...
	Title  string // one line that is the same for every schedule with this failure
	Text   string // details
	Task   string // who was running
	Step   int    // at which step, sim
	Func   string // the target's function, if there is one
	Fatal  bool   // the run cannot go on
	// Symmetric marks what two tasks do to each other: which of them comes second, and is told off, depends on the
	// schedule, so its function is no part of what the failure is. Nor is it for a run that is cut off.
	Symmetric bool
	Stack     []Frame
}

// Frame is one call of a stack, outside the floor.
type Frame struct {
	Func string // "sunrpc.SvcXprtEnqueue"
	File string // "sunrpc/svc_xprt.go"
	Line int
}

//go:norace
func (f *Finding) String() string {
	s := f.Oracle + ": " + f.Title
	if f.Task != "" {
		s += ", task " + f.Task
	}
	return s
}

// Result is what one run left behind.
type Result struct {
	Steps    int
	Hash     uint64 // of all visible operations in order
	State    uint64 // of the happens-before graph: equal for equivalent schedules; see Options.Causal
	Findings []*Finding
	Tasks    []string // names, by index
	Seq      []uint16 // which task performed each step, by index into Tasks, and who failed before its next one
	Events   []Event  // with Options.Record
	Pending  []Event  // with Options.Record: what the other tasks were about to do when the run was ended
	Now      Jiffies
	Fallible int       // how many fallible steps there were
	Failed   string    // which one was made to fail
	Pruned   bool      // the chooser gave the run up
	Unmet    []Before  // constraints of Options.Order that were broken
	Ops      []NamedOp // with Options.NameOps
	// Decisions are those that differ from the default, in order. Overwritten by the machine's next run.
	Decisions []Decided
	Live      int // objects that were not freed
}

// Worst returns the finding that decides the verdict: the first fatal one, else the first; nil if clean.
//
//go:norace
func (r *Result) Worst() *Finding {
	for _, f := range r.Findings {
		if f.Fatal {
			return f
		}
	}
	if len(r.Findings) > 0 {
		return r.Findings[0]
	}
	return nil
}

//go:norace
func (m *Machine) reset(opt *Options) {
	m.opt = *opt
	if m.opt.HangAfter == 0 {
		m.opt.HangAfter = 3600 * HZ
	}
	if m.opt.MaxSteps == 0 {
		m.opt.MaxSteps = 1_000_000
	}
	m.live, m.classes, m.statics = m.live[:0], m.classes[:0], 0
	m.fallible, m.failAt, m.failed = 0, opt.FailAt, ""
	m.findings, m.warned = nil, m.warned[:0]
	m.armed, m.works = m.armed[:0], m.works[:0]
	m.rng = 0x2545f4914f6cdd1d
	m.tag = nil
	for _, p := range m.pages {
		clear(p.Data[:])
	}
	m.freePages = append(m.freePages[:0], m.pages...)
	m.static = Obj{}
	m.adopt(&m.static, "machine", nil)
	m.faultCell.init(&m.static, "faults")
	m.clockCell.init(&m.static, "clock")
	m.freezing.Init(&m.static, "system_freezing", freezingBits)
	m.freezables = m.freezables[:0]
	m.rcu.reset(m)
	m.lockdep.reset()
	m.vars.reset(m)
	m.order = newOrder(m, &m.opt)
	m.detect()
	m.tso = m.opt.TSO && m.sim != nil
	m.weak = m.tso && m.opt.WeakAtomics
	m.rec = nil
	if opt.Record {
		m.rec = &recorder{m: m}
	}
}

// Sim reports whether this is a machine of the sim back end.
//
//go:norace
func (m *Machine) Sim() bool { return m.sim != nil }

// Options returns the options of the present run.
//
//go:norace
func (m *Machine) Options() *Options { return &m.opt }

// SetTag and Tag keep one value of the harness with the run, such as a scenario's world for the oracles.
//
//go:norace
func (m *Machine) SetTag(x any) { m.tag = x }

// Tag returns the value of SetTag, nil at the start of a run.
//
//go:norace
func (m *Machine) Tag() any { return m.tag }

// Jiffies is the time since boot.
//
//go:norace
func (m *Machine) Jiffies() Jiffies {
	if m.opt.Faults[DecideTimer] != 0 && m.sim != nil {
		m.sim.also(&m.clockCell, false) // time may pass while others run
	}
	return m.b.now()
}

// RandomU32 returns a number from the machine's own generator; in sim the n-th draw of a task is the same
// in every run, on the free back end in every run with one Options.Seed. C: prandom_u32, lib/random32.c.
//
//go:norace
func (m *Machine) RandomU32() uint32 {
	if t := m.b.here(); t != nil {
		t.rng++
		if m.sim != nil {
			return uint32(mix(t.path+t.rng) >> 32)
		}
		return uint32(mix(mix(m.opt.Seed)+t.path+t.rng) >> 32)
	}
	m.rng = mix(m.rng)
	return uint32(m.rng >> 32)
}

// SmpMb is a full barrier. With Options.TSO it waits until memory has seen the task's stores; else cells are
// sequentially consistent and it only names the place.
//
//go:norace
func (m *Machine) SmpMb() {
	if m.tso {
		m.barrier()
	}
}

// SmpWmb marks a write barrier. It does nothing: stores of one task are never reordered, with Options.TSO neither.
//
//go:norace
func (m *Machine) SmpWmb() {}

// SmpRmb marks a read barrier. It does nothing: nor are loads.
//
//go:norace
func (m *Machine) SmpRmb() {}

// NrCpus is the number of CPUs, of which a task may find itself on any.
//
//go:norace
func (m *Machine) NrCpus() int { return max(m.opt.Cpus, 1) }

// GetCpu disables preemption until PutCpu and returns the number of the CPU it runs on. C: get_cpu.
//
//go:norace
func (m *Machine) GetCpu() int {
	t := m.b.here()
	if t != nil {
		t.atomic++
	}
	if m.opt.Cpus < 2 {
		return 0
	}
	return int(m.RandomU32()) % m.opt.Cpus
}

// PutCpu ends GetCpu. C: put_cpu.
//
//go:norace
func (m *Machine) PutCpu() {
	if t := m.b.here(); t != nil {
		t.atomic--
	}
}

// BugOn ends the run with an oops if cond holds. what says which rule was broken. C: BUG_ON.
//
//go:norace
func (m *Machine) BugOn(cond bool, what string) {
	if cond {
		m.Report(&Finding{Oracle: "oops", Title: "kernel BUG: " + what, Fatal: true})
	}
}

// WarnOnOnce reports a warning if cond holds, once a run for each what, and returns cond. C: WARN_ON_ONCE.
//
//go:norace
func (m *Machine) WarnOnOnce(cond bool, what string) bool {
	if !cond {
		return false
	}
	if m.firstTime(what) {
		m.Report(&Finding{Oracle: "warning", Title: "WARNING: " + what})
	}
	return true
}

// firstTime reports whether it has not been asked about what before in this run.
//
//go:norace
func (m *Machine) firstTime(what string) bool {
	m.report.lock(m)
	seen := false
	for _, w := range m.warned {
		seen = seen || w == what
	}
	if !seen {
		m.warned = append(m.warned, what)
	}
	m.report.unlock(m)
	return !seen
}

// Printk notes a line of the kernel log in the trace. Any context.
//
//go:norace
func (m *Machine) Printk(format string, args ...any) {
	if m.rec != nil { // no visible operation: a recorded run takes the same steps as one that is not
		m.rec.printk(m.b.here(), fmt.Sprintf("printk: "+format, args...))
	}
}

// Report files a finding. A fatal one ends the run: in a task it does not return.
//
//go:norace
func (m *Machine) Report(f *Finding) {
	t := m.b.here()
	if t != nil && t.dying {
		panic(unwind)
	}
	if t != nil {
		f.Task = t.Name()
	}
	if m.sim != nil {
		f.Step = m.sim.steps
	}
	if f.Stack == nil {
		f.Stack = callers(3)
	}
	if f.Func == "" {
		f.Func = targetFunc(f.Stack)
		if f.Func != "" && f.Fatal && !f.Symmetric {
			f.Title += " in " + f.Func
		}
	}
	m.file(f)
	if f.Fatal {
		m.b.stop()
	}
}

//go:norace
func (m *Machine) file(f *Finding) {
	m.report.lock(m)
	if len(m.findings) < 64 {
		m.findings = append(m.findings, f)
	}
	m.report.unlock(m)
	if m.rec != nil {
		m.rec.finding(f)
	}
}

// Findings returns what has been reported so far. For oracles and the harness.
//
//go:norace
func (m *Machine) Findings() []*Finding {
	m.report.lock(m)
	defer m.report.unlock(m)
	return append([]*Finding(nil), m.findings...)
}

// LiveObjects lists the objects that are allocated now, for the leak oracle and for dumps.
//
//go:norace
func (m *Machine) LiveObjects() []*Obj {
	m.mem.lock(m)
	defer m.mem.unlock(m)
	return append([]*Obj(nil), m.live...)
}

const modulePath = "github.com/seed17199236/svcfuzz/"

// callers returns the stack above skip without the frames of the floor and of the Go runtime.
//
//go:norace
func callers(skip int) []Frame {
	var pcs [64]uintptr
	n := runtime.Callers(skip+1, pcs[:])
	return frames(pcs[:n])
}

//go:norace
func frames(pcs []uintptr) []Frame {
	var out []Frame
	it := runtime.CallersFrames(pcs)
	for {
		f, more := it.Next()
		if name, ok := strings.CutPrefix(f.Function, modulePath); ok && !inFloor(name, f.File) {
			out = append(out, Frame{Func: shortFunc(name), File: shortFile(f.File), Line: f.Line})
		}
		if !more {
			return out
		}
	}
}

//go:norace
func inFloor(fn, file string) bool {
	return strings.HasPrefix(fn, "target/kernel.") && !strings.HasSuffix(file, "_test.go")
}

// shortFunc turns "target/sunrpc.(*SvcServ).Foo" into "sunrpc.(*SvcServ).Foo".
//
//go:norace
func shortFunc(name string) string { return name[strings.LastIndex(name, "/")+1:] }

//go:norace
func shortFile(file string) string {
	if i := strings.LastIndex(file, "/target/"); i >= 0 {
		return file[i+len("/target/"):]
	}
	for _, room := range []string{"/stress/", "/fuzz/"} {
		if i := strings.LastIndex(file, room); i >= 0 {
			return file[i+1:]
		}
	}
	return file[strings.LastIndex(file, "/")+1:]
}

// portRooms are the packages whose panics are the target's, not the suite's.
var portRooms = []string{"sunrpc", "lockd", "nfs", "fs", "sock"}

// targetFunc is the name, without its package, of the innermost function of the port on the stack.
//
//go:norace
func targetFunc(stack []Frame) string {
	for _, f := range stack {
		if pkg, fn, ok := strings.Cut(f.Func, "."); ok && slices.Contains(portRooms, pkg) {
			if i := strings.LastIndex(fn, ")."); i >= 0 {
				fn = fn[i+2:]
			}
			fn, _, _ = strings.Cut(fn, ".func")
			return fn
		}
	}
	return ""
}

// mix is a 64-bit finaliser (splitmix64).
//
//go:norace
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

var freezingBits = []string{"FREEZING"}

// mightSleep checks that the running task may sleep here.
//
//go:norace
func (m *Machine) mightSleep(t *Task, what string) { m.mightSleepOn(t, what, "") }

//go:norace
func (m *Machine) mightSleepOn(t *Task, what, on string) {
	if run := m.b.here(); run != t && run != nil {
		if t != nil && run.ctx == ctxProcess {
			panic("SVCFUZZ BUG: " + what + on + " with the cur of " + t.name + ", called by " + run.name)
		}
		t = run // a softirq that was handed the cur of a task
	}
	if t == nil || (t.atomic == 0 && t.ctx == ctxProcess && t.rcu == 0) {
		return
	}
	why := "in softirq context"
	switch {
	case t.spinning() != "":
		why = "with " + t.spinning() + " held"
	case t.rcu > 0:
		why = "in an RCU read section"
	case t.atomic > 0:
		why = "with preemption disabled"
	}
	m.Report(&Finding{Oracle: "sleep-in-atomic", Title: fmt.Sprintf("%s%s may sleep %s", what, on, why), Fatal: true})
}
