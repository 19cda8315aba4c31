// SPDX-License-Identifier: MIT

package explore

import "github.com/seed17199236/svcfuzz/target/kernel"

// queue finds the runnable task of the highest priority. A task that ceases to be runnable stays in it until it comes
// to the top, and keeps its priority when it is taken out, so that a lock that stops a hundred tasks and lets them go
// again costs next to nothing here.
type queue struct {
	heap []waiting      // the highest priority first
	slot []int32        // by task index: place in heap plus one, 0 if it is not there
	prio []uint64       // by task index: as moved last
	task []*kernel.Task // by task index
}

// waiting is a task in line, with what is needed to compare it.
type waiting struct {
	prio uint64
	task int32
}

// above orders tasks; the older one goes first where priorities are equal.
func (w waiting) above(x waiting) bool { return w.prio > x.prio || w.prio == x.prio && w.task < x.task }

// clear empties the queue for another run.
func (q *queue) clear() {
	q.heap = q.heap[:0]
	clear(q.slot)
}

// know makes room for the task of index i.
func (q *queue) know(i int) {
	for len(q.slot) <= i {
		q.slot, q.prio, q.task = append(q.slot, 0), append(q.prio, 0), append(q.task, nil)
	}
}

// move gives t another priority and puts it in line.
func (q *queue) move(t *kernel.Task, prio uint64) {
	i := t.Index()
	q.know(i)
	q.task[i], q.prio[i] = t, prio
	w := waiting{prio, int32(i)}
	at := int(q.slot[i]) - 1
	if at < 0 {
		q.heap = append(q.heap, w)
		at = len(q.heap) - 1
	}
	if up := q.up(at, w); up == at {
		q.down(at, w)
	}
}

// aside gives t another priority without putting it in line, if it is not there.
func (q *queue) aside(t *kernel.Task, prio uint64) {
	i := t.Index()
	q.know(i)
	if q.task[i], q.prio[i] = t, prio; q.slot[i] != 0 {
		q.move(t, prio)
	}
}

// back puts a task that has been in line before there again, if it is not, with the same priority.
func (q *queue) back(t *kernel.Task) {
	if i := t.Index(); q.slot[i] == 0 {
		q.move(t, q.prio[i])
	}
}

// top is the runnable task of the highest priority. There must be one.
func (q *queue) top() *kernel.Task {
	for {
		i := q.heap[0].task
		if t := q.task[i]; t.Runnable() {
			return t
		}
		q.slot[i] = 0
		n := len(q.heap) - 1
		w := q.heap[n]
		if q.heap = q.heap[:n]; n > 0 {
			q.down(0, w)
		}
	}
}

// up moves w, which belongs at i or above, to its place.
func (q *queue) up(i int, w waiting) int {
	for i > 0 {
		p := (i - 1) / 2
		if !w.above(q.heap[p]) {
			break
		}
		q.put(i, q.heap[p])
		i = p
	}
	q.put(i, w)
	return i
}

// down moves w, which belongs at i or below, to its place.
func (q *queue) down(i int, w waiting) {
	for {
		c := 2*i + 1
		if c >= len(q.heap) {
			break
		}
		if c+1 < len(q.heap) && q.heap[c+1].above(q.heap[c]) {
			c++
		}
		if !q.heap[c].above(w) {
			break
		}
		q.put(i, q.heap[c])
		i = c
	}
	q.put(i, w)
}

func (q *queue) put(i int, w waiting) {
	q.heap[i] = w
	q.slot[w.task] = int32(i + 1)
}
