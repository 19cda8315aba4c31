// SPDX-License-Identifier: MIT

package bench

import (
	"iter"
	"math/rand/v2"
)

// What follows is LSR, the program of stress/program, on nothing but coroutines: the least that running it schedule by
// schedule can cost in Go. It chooses in the yielding task and switches only to somebody else; it keeps no trace, no
// clock and no history, checks nothing, and knows this one program only.

// bareOp is what a bare task is about to do.
type bareOp uint8

const (
	bareFree bareOp = iota // can always be done
	bareLock
	barePark
	bareJoin
)

// bareTask is a task on a coroutine that is used again in the next run.
type bareTask struct {
	loop  *bareLoop
	body  func(t *bareTask)
	op    bareOp
	child *bareTask // bareJoin
	done  bool
	fresh bool // it was picked for its first operation
	prio  uint64
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// bareLoop runs LSR.
type bareLoop struct {
	r     rand.PCG
	pct   bool // d=2 with k=19; else the random walk
	tasks [3]*bareTask
	n     int // tasks of this run
	to    *bareTask
	steps int
	point int // PCT's change point

	held, idle, token, stored, lost bool
	pend                            int
}

func newBareLoop(pct bool) *bareLoop {
	l := &bareLoop{pct: pct}
	for i, body := range []func(*bareTask){bareStarter, bareEnqueuer, bareThread} {
		t := &bareTask{loop: l, body: body}
		t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
			t.yield = yield
			for {
				t.body(t)
				t.done = true
				l.to = l.pick()
				if !yield(struct{}{}) {
					return
				}
			}
		})
		l.tasks[i] = t
	}
	return l
}

func (l *bareLoop) close() {
	for _, t := range l.tasks {
		t.stop()
	}
}

// run performs the n-th schedule, and returns how many steps it had and whether the wake-up was lost.
func (l *bareLoop) run(n uint64) (steps int, lost bool) {
	l.r.Seed(1, n)
	l.steps, l.n, l.pend = 0, 0, 0
	l.held, l.idle, l.token, l.stored, l.lost = false, false, false, false, false
	if l.pct {
		l.point = 1 + int(l.r.Uint64()>>32*19>>32)
	}
	l.to = l.spawn()
	for l.to != nil {
		l.to.next()
	}
	return l.steps, l.lost
}

// spawn makes the next task, as far as its first operation.
func (l *bareLoop) spawn() *bareTask {
	t := l.tasks[l.n]
	l.n++
	t.done, t.fresh, t.op = false, l.n > 1, bareFree // the first one is picked by nobody
	if l.pct {
		t.prio = l.r.Uint64() | 1<<63
	}
	return t
}

// point announces an operation and returns when it may be performed.
func (t *bareTask) point(op bareOp) {
	if t.fresh { // the choice was made when it was known to begin with an operation that can always be done
		t.fresh = false
		return
	}
	t.op = op
	l := t.loop
	if n := l.pick(); n != t {
		l.to = n
		t.yield(struct{}{})
	}
}

// pick is the choice of who goes on; nil when all have ended.
func (l *bareLoop) pick() *bareTask {
	var can [3]*bareTask
	n := 0
	for _, t := range l.tasks[:l.n] {
		if !t.done && t.can() {
			can[n] = t
			n++
		}
	}
	if n == 0 {
		return nil
	}
	l.steps++
	switch {
	case l.pct:
		t := best(can[:n])
		if l.steps == l.point {
			t.prio = 1
			t = best(can[:n])
		}
		return t
	case n == 1:
		return can[0]
	}
	return can[l.r.Uint64()>>32*uint64(n)>>32]
}

func best(can []*bareTask) *bareTask {
	t := can[0]
	for _, u := range can[1:] {
		if u.prio > t.prio {
			t = u
		}
	}
	return t
}

func (t *bareTask) can() bool {
	switch t.op {
	case bareLock:
		return !t.loop.held
	case barePark:
		return t.loop.token
	case bareJoin:
		return t.child.done
	}
	return true
}

func (t *bareTask) lock() {
	t.point(bareLock)
	t.loop.held = true
}

func (t *bareTask) unlock() {
	t.point(bareFree)
	t.loop.held = false
}

func (t *bareTask) park() {
	t.point(barePark)
	t.loop.token = false
}

func (t *bareTask) unpark() {
	t.point(bareFree)
	t.loop.token = true
}

func (t *bareTask) start() *bareTask {
	t.point(bareFree)
	return t.loop.spawn()
}

func (t *bareTask) join(u *bareTask) {
	t.child = u
	t.point(bareJoin)
}

func bareStarter(t *bareTask) {
	l := t.loop
	e := t.start()
	t.lock()
	t.unlock()
	thread := t.start()
	t.point(bareFree)
	l.stored = true
	if l.lost {
		t.unpark()
	}
	t.join(thread)
	t.join(e)
}

func bareThread(t *bareTask) {
	l := t.loop
	t.point(bareFree) // rq_err
	for {
		t.lock()
		took := l.pend > 0
		if took {
			l.pend--
		}
		l.idle = !took
		t.unlock()
		if took {
			break
		}
		t.park()
	}
	t.point(bareFree) // busy
}

func bareEnqueuer(t *bareTask) {
	l := t.loop
	t.point(bareFree) // busy
	t.lock()
	l.pend++
	took := l.idle
	l.idle = false
	t.unlock()
	if !took {
		return
	}
	t.point(bareFree)
	if !l.stored {
		l.lost = true
		return
	}
	t.unpark()
}
