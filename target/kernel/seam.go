// SPDX-License-Identifier: MIT

package kernel

import "sync"

// backend is the seam between the primitives, which are written once, and the two ways to run them.
// Both back ends are below it, everything else in this package is above it.
//
// Context: point, park, acquire and release are called by the running task itself; ready, arm and disarm by
// any task or by the back end's own clock.
type backend interface {
	// here returns the running task, nil outside any.
	here() *Task
	// taskFor returns an empty task, tasks all that are known.
	taskFor() *Task
	tasks() []*Task
	// point is the preemption point in front of a visible operation of kind k on c. It returns the running
	// task once that task may perform the operation.
	point(k OpKind, c *cell) *Task
	// note records that t performs the operation announced last; aux tells apart operations of one kind.
	note(t *Task, k OpKind, c *cell, aux uint64)
	// spawn makes a new task known; it runs after its first ready.
	spawn(t *Task)
	// ready lets a parked or new task run.
	ready(t *Task)
	// park stops the running task until the next ready.
	park(t *Task)
	// acquire waits until l is free and takes it; release gives it back.
	acquire(k OpKind, l *rawLock) *Task
	tryAcquire(l *rawLock) bool
	release(l *rawLock)
	// now is the time in jiffies since boot.
	now() Jiffies
	// arm calls a.fire at a.when, outside any task; disarm reports whether it was still armed.
	arm(a *alarm)
	disarm(a *alarm) bool
	// stop ends the run: the running task unwinds, the others follow.
	stop()
}

// rawLock is what a spinlock and a mutex share: one holder, no rules.
type rawLock struct {
	c       cell
	held    bool  // sim
	pending *Task // sim: tasks whose next operation is to take this lock
	mu      sync.Mutex
}

// alarm is one shot of the machine's clock.
type alarm struct {
	when Jiffies
	fire func(a *alarm)
	task *Task  // whom a timeout wakes
	tm   *Timer // which timer expires
	seq  uint64 // order of arming, breaks ties
	gen  uint64 // which arming of the timer this is
	pos  int    // index+1 in the sim heap, 0 if not armed
	stop func() bool
	ours bool // of the floor itself: no decision
}

// guard protects the floor's own state on the free back end. In sim one task runs at a time and there is
// nothing to protect. It is never held across a call that leaves this package, and the race detector does not
// see it: it would take the floor's own bookkeeping for an order that the kernel's primitives give.
type guard struct{ mu sync.Mutex }

//go:norace
func (g *guard) lock(m *Machine) {
	if m.sim == nil {
		raceHide()
		g.mu.Lock()
		raceShow()
	}
}

//go:norace
func (g *guard) unlock(m *Machine) {
	if m.sim == nil {
		raceHide()
		g.mu.Unlock()
		raceShow()
	}
}

// OpKind says what kind of visible operation a task performs.
type OpKind uint8

// The kinds of visible operations.
const (
	OpNone OpKind = iota
	OpStart
	OpExit
	OpLoad
	OpStore
	OpRead
	OpSet
	OpAdd
	OpBitSet
	OpBitClear
	OpBitTest
	OpBitTAS
	OpBitTAC
	OpLock
	OpUnlock
	OpTryLock
	OpMutexLock
	OpMutexUnlock
	OpListAdd
	OpListDel
	OpListRead
	OpWake
	OpSetState
	OpSchedule
	OpYield
	OpStop
	OpShouldStop
	OpSignal
	OpComplete
	OpWait
	OpAlloc
	OpFree
	OpRcuLock
	OpRcuUnlock
	OpRcuCall
	OpTimer
	OpTimerDel
	OpWork
	OpRaise
	OpFault
	OpFreeze
	OpPrintk
	OpOops
	OpBuffer
	OpBarrier
	opKinds
)

// opInfo tells for each kind how it reads in a trace and whether it changes its object.
var opInfo = [opKinds]struct {
	name  string
	write bool
}{
	OpNone: {"", false}, OpStart: {"starts", true}, OpExit: {"exits", true},
	OpLoad: {"load", false}, OpStore: {"store", true}, OpRead: {"read", false}, OpSet: {"set", true},
	OpAdd: {"add", true}, OpBitSet: {"set_bit", true}, OpBitClear: {"clear_bit", true},
	OpBitTest: {"test_bit", false}, OpBitTAS: {"test_and_set_bit", true}, OpBitTAC: {"test_and_clear_bit", true},
	OpLock: {"spin_lock", true}, OpUnlock: {"spin_unlock", true}, OpTryLock: {"spin_trylock", true},
	OpMutexLock: {"mutex_lock", true}, OpMutexUnlock: {"mutex_unlock", true},
	OpListAdd: {"list_add", true}, OpListDel: {"list_del", true}, OpListRead: {"list_read", false},
	OpWake: {"wake_up_process", true}, OpSetState: {"set_current_state", true}, OpSchedule: {"schedule", true},
	OpYield: {"cond_resched", false}, OpStop: {"kthread_stop", true}, OpShouldStop: {"kthread_should_stop", false},
	OpSignal: {"send_sig", true}, OpComplete: {"complete", true}, OpWait: {"wait", true},
	OpAlloc: {"alloc", true}, OpFree: {"free", true}, OpRcuLock: {"rcu_read_lock", false},
	OpRcuUnlock: {"rcu_read_unlock", false}, OpRcuCall: {"call_rcu", true}, OpTimer: {"mod_timer", true},
	OpTimerDel: {"del_timer", true}, OpWork: {"queue_work", true}, OpRaise: {"raise", true},
	OpFault: {"fallible", true}, OpFreeze: {"freeze", true}, OpPrintk: {"printk", false}, OpOops: {"oops", true},
	OpBuffer: {"buffer", true}, OpBarrier: {"smp_mb", true},
}

//go:norace
func (k OpKind) String() string { return opInfo[k].name }

// Writes reports whether an operation of this kind changes its object.
//
//go:norace
func (k OpKind) Writes() bool { return opInfo[k].write }

// removeAt takes the i-th element out of s, in place. It moves elements one by one because copy is
// instrumented by the race detector even where the caller is not.
//
//go:norace
func removeAt[T any](s []T, i int) []T {
	for ; i+1 < len(s); i++ {
		s[i] = s[i+1]
	}
	var zero T
	s[len(s)-1] = zero
	return s[:len(s)-1]
}
