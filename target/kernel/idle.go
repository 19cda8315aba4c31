// SPDX-License-Identifier: MIT

package kernel

import (
	ctx "context"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"
	"unsafe"
)

// Poller is a place where events come from that the machine does not make itself, such as real sockets. Free back end
// only: in sim there is nothing outside the machine.
type Poller interface {
	// Poll runs the softirqs of what has happened by [Softirq.Run]. With wait it first waits for something to happen.
	// It is called by one goroutine at a time.
	Poll(wait bool)
	// Kick makes the Poll that waits return, else the next one not wait. Any goroutine.
	Kick()
	// Idle is called by a task that is about to sleep: what was put off must be done now.
	Idle()
	// Tick is called now and then for what no event tells of, and reports whether there is a reason to poll.
	Tick() bool
}

// interrupts is how the events of a poller reach the machine: as on a processor that has nothing to do, the task that
// goes to sleep takes them itself, and if one of them is its own wake-up it simply goes on, without a hand-over to
// another thread of the host. Tasks that are busy look now and then; a daemon does when nobody else looks.
type interrupts struct {
	f    *free
	p    Poller
	soft *Task          // in whose name softirqs run, on whatever stack
	tag  unsafe.Pointer // its profile label
	who  atomic.Pointer[Task]
	gone atomic.Bool

	woke *Task // who: another task than the one that polls, which a softirq has woken
}

// yieldsPerLook is how many times a busy task offers the processor before it looks for events.
const yieldsPerLook = 16

// interruptTick is how often the daemon looks.
const interruptTick = 5 * time.Millisecond

//go:linkname setProfLabel runtime/pprof.runtime_setProfLabel
func setProfLabel(label unsafe.Pointer)

// Attach makes the tasks of m take the events of p until detach, which returns when nobody polls any more.
//
//go:norace
func (m *Machine) Attach(name string, p Poller) (detach func()) {
	f, ok := m.b.(*free)
	if !ok {
		panic("SVCFUZZ BUG: a poller on the sim back end")
	}
	x := &interrupts{f: f, p: p, soft: f.taskFor()}
	t := x.soft
	t.m, t.ctx, t.name = m, ctxSoftirq, "softirq/"+name
	m.statics++
	t.path = mix(^(m.statics * cellStride))
	t.o = Obj{m: m, id: mix(t.path), class: "task"}
	t.o.c = cell{o: &t.o, name: t.name, id: t.o.id}
	t.c.init(&t.o, t.name)
	t.noise = mix(f.m.opt.Seed + t.path)
	own := runtimeProfLabel()
	x.tag = f.tag("task", t)
	setProfLabel(own)

	quit := m.Daemon(name, x.watch)
	f.intr.CompareAndSwap(nil, x) // a second poller is looked after by its daemon alone
	return func() { x.detach(); quit() }
}

//go:norace
func (x *interrupts) detach() {
	raceHide()
	defer raceShow()
	x.gone.Store(true)
	x.f.intr.CompareAndSwap(x, nil)
	for i := 0; !x.who.CompareAndSwap(nil, x.soft); i++ { // for good
		x.p.Kick()
		if i < 64 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
	x.f.untag(x.tag)
}

// watch is the daemon.
//
//go:norace
func (x *interrupts) watch(stop <-chan struct{}) {
	tick := time.NewTicker(interruptTick)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if x.p.Tick() {
			x.p.Kick()
		}
		x.look()
	}
}

// take makes t the one that polls, unless somebody does: those who do so for a moment are waited for.
//
//go:norace
func (x *interrupts) take(t *Task) bool {
	raceHide()
	defer raceShow()
	for !x.gone.Load() {
		if x.who.CompareAndSwap(nil, t) {
			return true
		}
		if x.who.Load() != x.soft {
			return false
		}
		runtime.Gosched()
	}
	return false
}

//go:norace
func (x *interrupts) give() {
	raceHide()
	x.who.Store(nil)
	raceShow()
}

// poll runs the softirqs that are due on the stack of the running task, in the name of another.
//
//go:norace
func (x *interrupts) poll(wait bool) {
	x.woke = nil
	own := runtimeProfLabel()
	setProfLabel(x.tag)
	x.p.Poll(wait)
	setProfLabel(own)
}

// sleep polls until t is woken, or another task is: that one will look for the events to come.
//
//go:norace
func (x *interrupts) sleep(t *Task) {
	x.p.Idle()
	for x.take(t) {
		for len(t.ch) == 0 && x.woke == nil && !x.f.dying.Load() && !x.gone.Load() {
			x.poll(true)
		}
		other := x.woke
		x.woke = nil
		x.give()
		// The other may have gone to sleep already, and left the events to us.
		if len(t.ch) > 0 || other == nil || !other.asleep() {
			return
		}
	}
}

// asleep reports whether the task has gone to sleep.
//
//go:norace
func (t *Task) asleep() bool {
	t.g.lock(t.m)
	defer t.g.unlock(t.m)
	return t.parked
}

// look polls for a moment.
//
//go:norace
func (x *interrupts) look() {
	raceHide()
	mine := x.who.CompareAndSwap(nil, x.soft)
	raceShow()
	if mine {
		x.poll(false)
		x.woke = nil
		x.give()
	}
}

// yield is called when the busy task t offers the processor.
//
//go:norace
func (f *free) yield(t *Task) {
	if t.yields++; t.yields%yieldsPerLook == 0 {
		if x := f.intr.Load(); x != nil {
			x.look()
		}
	}
}

// woken is called when t has been made runnable, by the task by.
//
//go:norace
func (x *interrupts) woken(t, by *Task) {
	raceHide()
	who := x.who.Load()
	raceShow()
	switch {
	case by == x.soft:
		if who != t {
			x.woke = t
		}
	case who == t:
		x.p.Kick()
	}
}

// SoftirqFn is an item of softirq work.
type SoftirqFn interface{ Softirq(arg uint32) }

// Run runs an item in softirq context at once. It is called within Poll only, and a source is used by Raise or by Run,
// not by both.
//
//go:norace
func (q *Softirq) Run(fn SoftirqFn, arg uint32) {
	t := q.c.o.m.b.here()
	if t.dying {
		return
	}
	t.item(q, fn, arg)
	t.exited = false
}

//go:norace
func (t *Task) item(q *Softirq, fn SoftirqFn, arg uint32) {
	defer t.recovered()
	q.c.visible(OpStart, 0)
	if t.m.rec != nil {
		t.m.rec.text("%s runs", t.name)
	}
	q.c.acquire()
	fn.Softirq(arg)
	if t.nheld > 0 || t.rcu > 0 || t.atomic > 0 {
		t.m.Report(&Finding{Oracle: "lockdep", Title: t.name + " returns with a lock or a read section open", Fatal: true})
	}
	q.c.merge()
	t.m.b.note(t, OpExit, &q.c, 0)
}

// tagged is a task and the profile label of its goroutine.
type tagged struct {
	label unsafe.Pointer
	t     *Task
}

// tagSlot is where tagged tasks are looked for first.
//
//go:norace
func tagSlot(label unsafe.Pointer) int {
	p := uintptr(label)
	return int((p>>4 ^ p>>10) % tagSlots)
}

const tagSlots = 64

// tag labels the running goroutine as that of t.
//
//go:norace
func (f *free) tag(what string, t *Task) unsafe.Pointer {
	pprof.SetGoroutineLabels(pprof.WithLabels(ctx.Background(), pprof.Labels(what, t.name)))
	label := runtimeProfLabel()
	raceHide()
	f.labels.Store(label, &tagged{label, t})
	raceShow()
	return label
}

//go:norace
func (f *free) untag(label unsafe.Pointer) {
	raceHide()
	defer raceShow()
	x, _ := f.labels.LoadAndDelete(label)
	if x, ok := x.(*tagged); ok {
		f.recent[tagSlot(label)].CompareAndSwap(x, nil)
	}
}

// here finds the task by the goroutine's profile labels, which also name the goroutine in every dump.
//
//go:norace
func (f *free) here() *Task {
	label := runtimeProfLabel()
	if label == nil {
		return nil
	}
	if raceEnabled {
		raceHide() // the table orders nothing
		defer raceShow()
	}
	slot := &f.recent[tagSlot(label)]
	if x := slot.Load(); x != nil && x.label == label {
		return x.t
	}
	if x, ok := f.labels.Load(label); ok {
		x := x.(*tagged)
		slot.Store(x)
		return x.t
	}
	return nil
}
