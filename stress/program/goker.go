// SPDX-License-Identifier: MIT

package program

import "github.com/seed17199236/svcfuzz/target/kernel"

// The programs here tell ten concurrency bugs of real Go programs anew, on the primitives of the floor. Their source is
// the collection of bug kernels GoKer (Yuan et al., GoBench, CGO 2021), whose names they keep: the project and the
// number of the issue or of the pull request. What is a channel there is a token here; what is a lock of Go there is a
// mutex here, or a token where the order of locks is the bug, since the floor's lockdep would find that in every run.

// kit is the memory of each of them: some of everything. What a kernel does not name it does not use.
type kit struct {
	kernel.Obj
	mu, other kernel.Mutex
	a, b      kernel.Token
	done      kernel.Token
	never     kernel.Token // what nobody sets: a channel that is nil
	n, gone   kernel.Atomic
	bits      kernel.Flags
	wq        kernel.WaitQueueHead
	x         bool // under mu
	cached    bool // under mu

	fixed  bool
	bug    *gokerBug
	bodies []func(cur *kernel.Task)
	tasks  []*kernel.Task
	woken  func() bool // the condition of wq, made once
}

// gokerBug is one kernel: what the first task does, and the others in the order in which it starts them.
type gokerBug struct {
	name, doc, bug string
	first          func(x *kit, cur *kernel.Task) // nil: it starts all others
	names          []string
	bodies         []func(x *kit, cur *kernel.Task)
}

func (b *gokerBug) build(fixed bool) func(int) func(cur *kernel.Task) {
	return func(int) func(cur *kernel.Task) {
		x := &kit{bug: b, fixed: fixed, tasks: make([]*kernel.Task, len(b.bodies))}
		for _, body := range b.bodies {
			x.bodies = append(x.bodies, func(cur *kernel.Task) { body(x, cur) })
		}
		x.woken = func() bool { return x.n.Read() != 0 }
		return x.main
	}
}

func (x *kit) main(cur *kernel.Task) {
	kernel.Bind(cur.Machine(), &x.Obj, x.bug.name)
	x.mu.Init(&x.Obj, "mu")
	x.other.Init(&x.Obj, "other")
	x.a.Init(&x.Obj, "a")
	x.b.Init(&x.Obj, "b")
	x.done.Init(&x.Obj, "done")
	x.never.Init(&x.Obj, "never")
	x.n.Init(&x.Obj, "n")
	x.gone.Init(&x.Obj, "gone")
	x.bits.Init(&x.Obj, "bits", nil)
	x.wq.Init(&x.Obj, "wq")
	x.x, x.cached = false, true
	if x.bug.first != nil {
		x.bug.first(x, cur)
	} else {
		x.start(cur)
	}
	for _, t := range x.tasks {
		kernel.WaitGone(cur, t)
	}
}

// start starts the other tasks.
func (x *kit) start(cur *kernel.Task) {
	for i, name := range x.bug.names {
		x.tasks[i] = cur.Machine().Go(cur, name, x.bodies[i])
	}
}

// send hands something to who receives, as a channel without a buffer does: a says that it is there, b that it was
// taken.
func (x *kit) send() {
	x.a.Unpark()
	x.b.Park()
}

func (x *kit) receive() {
	x.a.Park()
	x.b.Unpark()
}

func gokerFamilies() []family {
	var list []family
	for _, b := range gokerBugs() {
		tasks := fixed(1 + len(b.names))
		list = append(list, family{name: b.name, doc: b.doc, bug: b.bug, tasks: tasks, build: b.build(false)},
			family{name: b.name + "-fixed", doc: b.doc, tasks: tasks, build: b.build(true)})
	}
	return list
}

func gokerBugs() []*gokerBug {
	return []*gokerBug{
		{
			name: "cockroach-7504", doc: "one task locks a lease and then the cache, another both the other way round",
			bug:   "each holds what the other waits for",
			first: lockOrderFirst, names: []string{"release", "acquire"},
			bodies: []func(*kit, *kernel.Task){lockOrderRelease, lockOrderAcquire},
		},
		{
			name: "cockroach-4407", doc: "a worker is added while Stop waits for all workers",
			bug:    "Stop has looked before the worker was added, which then works on what is torn down",
			names:  []string{"gossip", "stop"},
			bodies: []func(*kit, *kernel.Task){lateWorkerGossip, lateWorkerStop},
		},
		{
			name: "etcd-3077", doc: "a node makes the channel that stops it when it runs, and its server sends to that channel",
			bug:   "the server sends before the channel is made, and to no channel one sends for ever",
			first: lateChannelFirst, names: []string{"raft", "server"},
			bodies: []func(*kit, *kernel.Task){lateChannelRaft, lateChannelServer},
		},
		{
			name: "etcd-6873", doc: "stop holds the lock while it waits for a worker",
			bug:   "the worker has an update left, for which it needs the lock",
			first: heldStopFirst, names: []string{"worker", "stop"},
			bodies: []func(*kit, *kernel.Task){heldStopWorker, heldStopStop},
		},
		{
			name: "grpc-2371", doc: "a connection is closed while its watcher has news for the balancer",
			bug:    "Close has taken the balancer away, and the watcher does not look",
			names:  []string{"watcher", "close"},
			bodies: []func(*kit, *kernel.Task){closedConnWatcher, closedConnClose},
		},
		{
			name: "grpc-3017", doc: "a timer deletes a cached connection that is about to be used again",
			bug:    "the timer is told too late, gives up, and keeps the lock",
			names:  []string{"timer", "client"},
			bodies: []func(*kit, *kernel.Task){keptLockTimer, keptLockClient},
		},
		{
			name: "grpc-3090", doc: "a resolver is built, which calls back what will hold it",
			bug:   "the callback's task uses the resolver before it is stored",
			first: earlyCallbackFirst, names: []string{"resolve"},
			bodies: []func(*kit, *kernel.Task){earlyCallbackResolve},
		},
		{
			name: "istio-8967", doc: "Stop closes a channel and forgets it, which ends the task that waits for it",
			bug:    "the task takes the channel only then, and waits for none for ever",
			names:  []string{"watch", "stop"},
			bodies: []func(*kit, *kernel.Task){forgottenChannelWatch, forgottenChannelStop},
		},
		{
			name: "kubernetes-10182", doc: "two tasks send a status under a lock, and the receiver takes the lock for each",
			bug:    "one task sends while the receiver waits for the lock that it holds",
			names:  []string{"sync", "set1", "set2"},
			bodies: []func(*kit, *kernel.Task){heldSendSync, heldSendSet, heldSendSet},
		},
		{
			name: "kubernetes-11298", doc: "a task sleeps until it is told once to end",
			bug:    "it is told before it sleeps, and nothing remembers that",
			names:  []string{"loop", "abort"},
			bodies: []func(*kit, *kernel.Task){lostSignalLoop, lostSignalAbort},
		},
	}
}

func lockOrderFirst(x *kit, cur *kernel.Task) {
	x.a.Unpark() // both locks are free
	x.b.Unpark()
	x.start(cur)
}

func lockOrderRelease(x *kit, _ *kernel.Task) {
	x.a.Park()
	x.b.Park()
	x.b.Unpark()
	x.a.Unpark()
}

func lockOrderAcquire(x *kit, cur *kernel.Task) {
	if x.fixed {
		lockOrderRelease(x, cur)
		return
	}
	x.b.Park()
	x.a.Park()
	x.a.Unpark()
	x.b.Unpark()
}

func lateWorkerGossip(x *kit, cur *kernel.Task) {
	if x.fixed {
		x.mu.Lock(cur)
		if x.x {
			x.mu.Unlock(cur)
			return
		}
	}
	x.n.Inc()
	if x.fixed {
		x.mu.Unlock(cur)
	}
	if x.gone.Read() != 0 {
		fail(cur.Machine(), "a worker runs after Stop has returned")
	}
	if x.n.DecAndTest() {
		x.done.Unpark()
	}
}

func lateWorkerStop(x *kit, cur *kernel.Task) {
	if x.fixed {
		x.mu.Lock(cur)
		x.x = true // no more workers
		x.mu.Unlock(cur)
	}
	if x.n.Read() != 0 {
		x.done.Park()
	}
	x.gone.Set(1)
}

func lateChannelFirst(x *kit, cur *kernel.Task) {
	if x.fixed {
		x.n.Set(1)
	}
	x.start(cur)
}

func lateChannelRaft(x *kit, _ *kernel.Task) {
	if !x.fixed {
		x.n.Set(1)
	}
	x.a.Park()
	x.done.Unpark()
}

func lateChannelServer(x *kit, _ *kernel.Task) {
	if x.n.Read() == 0 {
		x.never.Park()
	}
	x.a.Unpark()
	x.done.Park()
}

func heldStopFirst(x *kit, cur *kernel.Task) {
	x.a.Unpark() // an update
	x.start(cur)
}

func heldStopWorker(x *kit, cur *kernel.Task) {
	x.a.Park()
	x.mu.Lock(cur)
	x.mu.Unlock(cur)
	x.b.Park() // no more updates
	x.done.Unpark()
}

func heldStopStop(x *kit, cur *kernel.Task) {
	if x.fixed {
		x.b.Unpark()
		x.done.Park()
		return
	}
	x.mu.Lock(cur)
	x.b.Unpark()
	x.done.Park()
	x.mu.Unlock(cur)
}

func closedConnWatcher(x *kit, cur *kernel.Task) {
	x.mu.Lock(cur)
	if !x.cached && !x.fixed {
		fail(cur.Machine(), "NULL pointer dereference: the balancer is gone")
	}
	x.mu.Unlock(cur)
}

func closedConnClose(x *kit, cur *kernel.Task) {
	x.mu.Lock(cur)
	x.cached = false
	x.mu.Unlock(cur)
}

func keptLockTimer(x *kit, cur *kernel.Task) {
	if x.bits.TestAndSetBit(0) {
		return // stopped in time
	}
	x.mu.Lock(cur)
	if x.x && !x.fixed {
		return
	}
	x.cached = false
	x.mu.Unlock(cur)
}

func keptLockClient(x *kit, cur *kernel.Task) {
	x.mu.Lock(cur)
	if x.cached {
		x.cached = false
		x.x = x.bits.TestAndSetBit(0) // the timer has begun: tell it that the connection is in use
	}
	x.mu.Unlock(cur)
	x.mu.Lock(cur)
	x.mu.Unlock(cur)
}

func earlyCallbackFirst(x *kit, cur *kernel.Task) {
	if x.fixed {
		x.mu.Lock(cur)
	}
	x.start(cur)
	x.n.Set(1)
	if x.fixed {
		x.mu.Unlock(cur)
	}
}

func earlyCallbackResolve(x *kit, cur *kernel.Task) {
	x.mu.Lock(cur)
	if x.n.Read() == 0 {
		fail(cur.Machine(), "NULL pointer dereference: the resolver is not stored yet")
	}
	x.mu.Unlock(cur)
}

func forgottenChannelWatch(x *kit, _ *kernel.Task) {
	if x.gone.Read() != 0 {
		x.never.Park()
	}
	x.done.Park()
}

func forgottenChannelStop(x *kit, _ *kernel.Task) {
	x.done.Unpark()
	if !x.fixed {
		x.gone.Set(1)
	}
}

func heldSendSync(x *kit, cur *kernel.Task) {
	for range 2 {
		x.receive()
		x.mu.Lock(cur)
		x.mu.Unlock(cur)
	}
}

func heldSendSet(x *kit, cur *kernel.Task) {
	x.mu.Lock(cur)
	if x.fixed {
		x.mu.Unlock(cur)
		x.other.Lock(cur)
		x.send()
		x.other.Unlock(cur)
		return
	}
	x.send()
	x.mu.Unlock(cur)
}

func lostSignalLoop(x *kit, cur *kernel.Task) {
	if x.fixed {
		kernel.WaitEvent(cur, &x.wq, x.woken)
		return
	}
	var w kernel.WaitEntry
	x.wq.PrepareToWait(cur, &w, kernel.TASK_UNINTERRUPTIBLE)
	kernel.Schedule(cur)
	x.wq.FinishWait(cur, &w)
}

func lostSignalAbort(x *kit, _ *kernel.Task) {
	if x.fixed {
		x.n.Set(1)
	}
	x.wq.WakeUp()
}
