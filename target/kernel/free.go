// SPDX-License-Identifier: MIT

package kernel

import (
	ctx "context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// free runs every task as a goroutine of its own, in parallel and in real time. Its own state is hidden from
// the race detector like that of all the floor, see guard.
type free struct {
	m      *Machine
	mu     sync.Mutex
	all    []*Task
	labels sync.Map // profile label pointer -> *tagged
	recent [tagSlots]atomic.Pointer[tagged]
	intr   atomic.Pointer[interrupts]
	past   int // steps of tasks that are forgotten
	active int // tasks and alarms under way
	over   bool
	ended  chan struct{} // closed when active falls to 0
	start  time.Time
	dead   chan struct{} // closed when the run ends early
	dying  atomic.Bool
	outer  []func()
}

// NewFree makes a machine of the free back end, for one Run.
//
//go:norace
func NewFree() *Machine {
	m := &Machine{}
	m.b = &free{m: m, dead: make(chan struct{}), ended: make(chan struct{})}
	return m
}

//go:linkname runtimeProfLabel runtime/pprof.runtime_getProfLabel
func runtimeProfLabel() unsafe.Pointer

//go:norace
func (m *Machine) runFree(opt Options, name string, main func(cur *Task)) *Result {
	f := m.b.(*free)
	f.start = time.Now()
	m.reset(&opt)
	limit := time.Duration(opt.Watchdog) * time.Millisecond
	if limit == 0 {
		limit = 10 * time.Second
	}
	t := m.Spawn(nil, name, main)
	watch := time.NewTimer(limit)
	defer watch.Stop()
	select {
	case <-f.ended:
	case <-f.dead:
		<-f.ended
	case <-watch.C:
		title := "the run does not end"
		if t.exited {
			title = "a task is left"
		}
		for _, t := range f.tasks() {
			if t.what != "" && !t.exited {
				title = t.what + " does not return"
			}
		}
		m.file(&Finding{Oracle: "hang", Title: title, Text: m.DumpTasks(), Fatal: true})
		f.kill()
		<-f.ended
	}
	for _, stop := range f.outer {
		stop()
	}
	if opt.AtEnd != nil {
		opt.AtEnd()
	}
	r := &Result{
		Findings: m.findings, Now: f.now(), Fallible: m.fallible,
		Failed: m.failed, Live: len(m.live),
	}
	r.Steps = f.past
	for _, t := range f.all {
		r.Steps += t.steps
		r.Tasks = append(r.Tasks, t.name)
	}
	if m.rec != nil {
		r.Events = m.rec.events
	}
	m.order.ordered(r)
	return r
}

//go:norace
func (f *free) taskFor() *Task { return &Task{held: new(heldLocks)} }

//go:norace
func (f *free) tasks() []*Task {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Task(nil), f.all...)
}

//go:norace
func (f *free) spawn(t *Task) {
	t.ch = make(chan struct{}, 1)
	f.mu.Lock()
	t.idx = len(f.all)
	f.all = append(f.all, t)
	f.mu.Unlock()
	if f.m.order != nil {
		f.m.order.born(t)
	}
	t.noise = mix(f.m.opt.Seed + t.path)
	if f.enter() { // else a daemon was late: the run is over and nothing may start
		go f.body(t)
	}
}

// enter counts something that keeps the run alive; false when the run is over.
//
//go:norace
func (f *free) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	f.active++
	return true
}

//go:norace
func (f *free) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active--
	if f.active == 0 {
		f.over = true
		close(f.ended)
	}
}

//go:norace
func (f *free) body(t *Task) {
	defer f.leave()
	defer f.untag(f.tag("task", t))
	select {
	case <-t.ch:
	case <-f.dead:
		t.exited = true
		return
	}
	t.main()
	if f.m.order != nil {
		f.m.order.settle(t)
	}
	if t.ctx == ctxSoftirq {
		f.forget(t)
	}
}

// forget drops a softirq that has run: a server that runs for days has one for every packet.
//
//go:norace
func (f *free) forget(t *Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.all[len(f.all)-1]
	f.all[t.idx], last.idx = last, t.idx
	f.all[len(f.all)-1] = nil
	f.all = f.all[:len(f.all)-1]
	f.past += t.steps
}

//go:norace
func (f *free) ready(t *Task) {
	t.ch <- struct{}{}
	if x := f.intr.Load(); x != nil {
		x.woken(t, f.here())
	}
}

//go:norace
func (f *free) park(t *Task) {
	if f.m.order != nil {
		f.m.order.settle(t)
	}
	if x := f.intr.Load(); x != nil {
		x.sleep(t)
	}
	select {
	case <-t.ch:
	case <-f.dead:
		t.die()
	}
}

// point adds noise: now and then it lets others go first, for a moment or for longer.
//
//go:norace
func (f *free) point(k OpKind, c *cell) *Task {
	t := f.here()
	if t == nil {
		return nil
	}
	if f.dying.Load() {
		t.die()
	}
	t.pend, t.pendCell = k, c
	if k == OpYield {
		f.yield(t)
	}
	if f.m.order != nil {
		f.m.order.await(t, k, c, t.pendBit, &f.dying)
	}
	if p := f.m.opt.Noise; p != 0 {
		t.noise ^= t.noise << 13
		t.noise ^= t.noise >> 7
		t.noise ^= t.noise << 17
		if uint32(t.noise)&0xffff < p {
			f.disturb(t.noise >> 32)
		}
	}
	return t
}

//go:norace
func (f *free) disturb(x uint64) {
	switch x % 8 {
	case 0:
		time.Sleep(time.Duration(x>>3%200) * time.Microsecond)
	case 1, 2:
		for range x >> 3 % 16 {
			runtime.Gosched()
		}
	default:
		runtime.Gosched()
	}
}

//go:norace
func (f *free) note(t *Task, k OpKind, c *cell, aux uint64) {
	// Counted per task: one counter for all would order every operation of the machine for the race detector.
	n := 0
	if t != nil {
		t.steps++
		n = t.steps
	}
	if f.m.rec != nil {
		f.m.rec.add(t, k, c, n)
	}
	if f.m.order != nil {
		f.m.order.performed(t, k, c, int(aux))
	}
}

//go:norace
func (f *free) acquire(k OpKind, l *rawLock) *Task {
	t := f.point(k, &l.c)
	for i := 0; !l.mu.TryLock(); i++ {
		if f.dying.Load() && t != nil {
			t.die()
		}
		if i < 64 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
	return t
}

//go:norace
func (f *free) tryAcquire(l *rawLock) bool { return l.mu.TryLock() }

//go:norace
func (f *free) release(l *rawLock) { l.mu.Unlock() }

//go:norace
func (f *free) scale() int64 { return max(f.m.opt.TimeScale, 1) }

//go:norace
func (f *free) now() Jiffies {
	return Jiffies(int64(time.Since(f.start)) * f.scale() / int64(time.Second/time.Duration(HZ)))
}

//go:norace
func (f *free) arm(a *alarm) {
	d := time.Duration(int64(a.when-f.now()) * int64(time.Second/time.Duration(HZ)) / f.scale())
	cp := *a
	var spent atomic.Bool
	tm := time.AfterFunc(max(d, 0), func() {
		if spent.Swap(true) || !f.enter() {
			return
		}
		defer f.leave()
		if !f.dying.Load() {
			cp.fire(&cp)
		}
	})
	a.stop = func() bool {
		tm.Stop()
		return !spent.Swap(true)
	}
}

//go:norace
func (f *free) disarm(a *alarm) bool {
	if a.stop == nil {
		return false
	}
	return a.stop()
}

// kill ends the run: sleepers unwind at once, the others at their next visible operation.
//
//go:norace
func (f *free) kill() {
	if f.dying.Swap(true) {
		return
	}
	close(f.dead)
	if x := f.intr.Load(); x != nil {
		x.p.Kick()
	}
}

//go:norace
func (f *free) stop() {
	f.kill()
	if t := f.here(); t != nil {
		t.die()
	}
}

// Daemon starts a goroutine that belongs to no task, such as a poller of real sockets; fn returns soon after
// stop is closed, and Quit closes it. Free back end only: in sim there is nothing outside the machine.
//
//go:norace
func (m *Machine) Daemon(name string, fn func(stop <-chan struct{})) (quit func()) {
	f, ok := m.b.(*free)
	if !ok {
		panic("SVCFUZZ BUG: a daemon on the sim back end")
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		pprof.SetGoroutineLabels(pprof.WithLabels(ctx.Background(), pprof.Labels("daemon", name)))
		fn(stop)
	}()
	var once sync.Once
	quit = func() { once.Do(func() { close(stop); <-ended }) }
	f.mu.Lock()
	f.outer = append(f.outer, quit)
	f.mu.Unlock()
	return quit
}

// Block calls fn, which may block outside the machine (on a real socket, on a signal), from the task cur. Free
// back end only.
//
//go:norace
func (m *Machine) Block(cur *Task, fn func(dead <-chan struct{})) {
	f, ok := m.b.(*free)
	if !ok {
		panic(fmt.Sprintf("SVCFUZZ BUG: %s blocks outside the sim", cur.name))
	}
	fn(f.dead)
	if f.dying.Load() {
		cur.die()
	}
}

// NewSeed draws a seed from the system's entropy, for a harness that was given none.
//
//go:norace
func NewSeed() uint64 { return rand.Uint64() }
