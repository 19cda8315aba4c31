// SPDX-License-Identifier: MIT

package program

import "github.com/seed17199236/svcfuzz/target/kernel"

// lsrForm says which form of LSR a program is.
type lsrForm struct {
	fixed  bool // the thread waits until rq_task is stored
	panics bool // the bug ends the run; else it is counted, and S wakes the thread itself
	plain  bool // rq_task is a plain field, so that the race is seen where it does no harm, too
	pad    bool // the size counts operations of T and of E on nothing that they share
	cont   bool // the size counts rounds of T and of E on the lock
}

// lsr is the start race of lockd, as small as it gets: S starts the thread T and then stores rq_task, which E, who has
// work for the thread, loads as soon as T says that it is idle.
type lsr struct {
	kernel.Obj
	pool    kernel.Spinlock // guards idle, pend and took
	rqTask  kernel.Atomic
	rqPlain kernel.Var[int]
	busy    kernel.Flags
	rqErr   kernel.Var[int]
	token   kernel.Token // wakes T
	padT    kernel.Atomic
	padE    kernel.Atomic

	lsrForm
	size int
	idle bool // T waits for work
	pend int  // work that nobody has taken yet
	took int  // how often the lock was taken for nothing else
	lost bool // the wake-up went nowhere

	thread, enqueuer func(cur *kernel.Task) // T and E
}

func lsrBuild(form lsrForm) func(size int) func(cur *kernel.Task) {
	return func(size int) func(cur *kernel.Task) {
		x := &lsr{lsrForm: form, size: size}
		x.thread, x.enqueuer = x.runThread, x.runEnqueuer
		return x.runStarter
	}
}

func (x *lsr) bind(m *kernel.Machine) {
	kernel.Bind(m, &x.Obj, "svc_rqst")
	x.pool.Init(&x.Obj, "sp_lock")
	if x.plain {
		x.rqPlain.Init(&x.Obj, "rq_task")
		x.rqPlain.Preset(0)
	} else {
		x.rqTask.Init(&x.Obj, "rq_task")
	}
	x.busy.Init(&x.Obj, "xpt_flags", busyBits)
	x.rqErr.Init(&x.Obj, "rq_err")
	x.token.Init(&x.Obj, "wakeup")
	if x.pad {
		x.padT.Init(&x.Obj, "pad.T")
		x.padE.Init(&x.Obj, "pad.E")
	}
	x.idle, x.pend, x.took = false, 0, 0
	x.setLost(false)
}

var busyBits = []string{"XPT_BUSY"}

// runStarter is S: it makes E and T, and stores rq_task only then.
func (x *lsr) runStarter(cur *kernel.Task) {
	m := cur.Machine()
	x.bind(m)
	e := m.Go(cur, "E", x.enqueuer)
	x.pool.Lock()
	x.took++
	x.pool.Unlock()
	t := m.Go(cur, "T", x.thread)
	if x.plain {
		x.rqPlain.Store(1)
	} else {
		x.rqTask.Set(1)
	}
	if x.fixed || x.wasLost() {
		x.token.Unpark()
	}
	kernel.WaitGone(cur, t)
	kernel.WaitGone(cur, e)
}

// runThread is T: it takes the work, or says that it is idle and sleeps.
func (x *lsr) runThread(*kernel.Task) {
	if x.fixed {
		x.token.Park()
	}
	x.rounds(&x.padT)
	x.rqErr.Store(0)
	for {
		x.pool.Lock()
		took := x.pend > 0
		if took {
			x.pend--
		}
		x.idle = !took
		x.pool.Unlock()
		if took {
			break
		}
		x.token.Park()
	}
	x.busy.ClearBit(0)
}

// runEnqueuer is E: it leaves work, and wakes the thread if that is idle.
func (x *lsr) runEnqueuer(cur *kernel.Task) {
	x.rounds(&x.padE)
	x.busy.TestAndSetBit(0)
	x.pool.Lock()
	x.pend++
	took := x.idle
	x.idle = false
	x.pool.Unlock()
	if !took {
		return
	}
	if x.stored() {
		x.token.Unpark()
		return
	}
	x.setLost(true)
	cur.Machine().Report(&kernel.Finding{
		Oracle: Oracle, Title: "wake_up_process(NULL): rq_task is not stored yet", Fatal: x.panics,
	})
}

// rounds is what makes the program longer.
func (x *lsr) rounds(pad *kernel.Atomic) {
	for range x.size {
		if x.pad {
			pad.Inc()
			continue
		}
		x.pool.Lock()
		x.took++
		x.pool.Unlock()
	}
}

// stored loads rq_task and reports whether it is there.
func (x *lsr) stored() bool {
	if x.plain {
		return x.rqPlain.Load() != 0
	}
	return x.rqTask.Read() != 0
}

// lost is bookkeeping of the harness: E's word to S that passes the machine by, and the race detector, too.
//
//go:norace
func (x *lsr) setLost(lost bool) { x.lost = lost }

//go:norace
func (x *lsr) wasLost() bool { return x.lost }

func lsrFamilies() []family {
	const (
		doc   = "a service thread is started before rq_task is stored, and work arrives"
		bug   = "the enqueuer sees the thread idle and wakes rq_task, which is still NULL"
		safe  = "a service thread waits until rq_task is stored, and work arrives"
		pads  = "; thread and enqueuer first perform N operations that nobody else sees"
		conts = "; thread and enqueuer first take the lock of the pool N times"
		most  = 1000
	)
	list := []family{
		{name: "lsr", doc: doc, bug: bug},
		{name: "lsr-fixed", doc: safe},
		{name: "lsr-panic", doc: doc + "; the bug ends the run", bug: bug},
		{name: "lsr-plain", doc: doc + "; rq_task is a plain field", bug: bug},
		{name: "pad", doc: doc + pads, bug: bug, shown: []int{5, 20, 60}},
		{name: "pad-fixed", doc: safe + pads, shown: []int{5}},
		{name: "pad-panic", doc: doc + pads + "; the bug ends the run", bug: bug, shown: []int{5}},
		{name: "cont", doc: doc + conts, bug: bug, shown: []int{1, 2, 4, 5}},
		{name: "cont-fixed", doc: safe + conts, shown: []int{1}},
		{name: "cont-panic", doc: doc + conts + "; the bug ends the run", bug: bug, shown: []int{1}},
	}
	forms := []lsrForm{
		{}, {fixed: true}, {panics: true}, {plain: true}, {pad: true}, {pad: true, fixed: true}, {pad: true, panics: true},
		{cont: true}, {cont: true, fixed: true}, {cont: true, panics: true},
	}
	for i := range list {
		list[i].tasks = fixed(3)
		list[i].build = lsrBuild(forms[i])
		if forms[i].pad || forms[i].cont {
			list[i].high = most
		}
	}
	return list
}
