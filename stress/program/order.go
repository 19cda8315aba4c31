// SPDX-License-Identifier: MIT

package program

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// most is how many tasks the programs here may have, the first one included.
const most = 1001

// names of the tasks 1 to n of a kind.
func taskNames(kind string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(kind, i+1)
	}
	return names
}

// reorder is the order check of the CHESS and SCTBench families: tasks store a = 1 and then b = -1, and one task that
// comes by must find both or neither.
type reorder struct {
	kernel.Obj
	lock  kernel.Mutex
	a, b  kernel.Atomic
	names []string // of the setters
	tasks []*kernel.Task
	fixed bool

	setter, checker func(cur *kernel.Task)
}

func reorderBuild(fixed bool) func(size int) func(cur *kernel.Task) {
	return func(size int) func(cur *kernel.Task) {
		x := &reorder{names: taskNames("set", size), tasks: make([]*kernel.Task, size), fixed: fixed}
		x.setter, x.checker = x.set, x.check
		return x.main
	}
}

func (x *reorder) main(cur *kernel.Task) {
	m := cur.Machine()
	kernel.Bind(m, &x.Obj, "reorder")
	x.lock.Init(&x.Obj, "lock")
	x.a.Init(&x.Obj, "a")
	x.b.Init(&x.Obj, "b")
	for i, name := range x.names {
		x.tasks[i] = m.Go(cur, name, x.setter)
	}
	checker := m.Go(cur, "check", x.checker)
	for _, t := range x.tasks {
		kernel.WaitGone(cur, t)
	}
	kernel.WaitGone(cur, checker)
}

func (x *reorder) set(cur *kernel.Task) {
	x.enter(cur)
	x.a.Set(1)
	x.b.Set(-1)
	x.leave(cur)
}

func (x *reorder) check(cur *kernel.Task) {
	x.enter(cur)
	a, b := x.a.Read(), x.b.Read()
	x.leave(cur)
	if b != -a {
		fail(cur.Machine(), "a is stored and b is not")
	}
}

func (x *reorder) enter(cur *kernel.Task) {
	if x.fixed {
		x.lock.Lock(cur)
	}
}

func (x *reorder) leave(cur *kernel.Task) {
	if x.fixed {
		x.lock.Unlock(cur)
	}
}

// twostage is SCTBench's program of that name: tasks change one value under a lock and then another, which depends on
// it, under a second lock; one task that reads both must not come between.
type twostage struct {
	kernel.Obj
	first, second kernel.Mutex
	a, b          int // under first, under second
	names         []string
	tasks         []*kernel.Task
	fixed         bool

	writer, reader func(cur *kernel.Task)
}

func twostageBuild(fixed bool) func(size int) func(cur *kernel.Task) {
	return func(size int) func(cur *kernel.Task) {
		x := &twostage{names: taskNames("stage", size), tasks: make([]*kernel.Task, size), fixed: fixed}
		x.writer, x.reader = x.write, x.read
		return x.main
	}
}

func (x *twostage) main(cur *kernel.Task) {
	m := cur.Machine()
	kernel.Bind(m, &x.Obj, "twostage")
	x.first.Init(&x.Obj, "first")
	x.second.Init(&x.Obj, "second")
	x.a, x.b = 0, 0
	for i, name := range x.names {
		x.tasks[i] = m.Go(cur, name, x.writer)
	}
	reader := m.Go(cur, "read", x.reader)
	for _, t := range x.tasks {
		kernel.WaitGone(cur, t)
	}
	kernel.WaitGone(cur, reader)
}

func (x *twostage) write(cur *kernel.Task) {
	x.first.Lock(cur)
	x.a = 1
	if !x.fixed {
		x.first.Unlock(cur)
	}
	x.second.Lock(cur)
	x.b = 2
	x.second.Unlock(cur)
	if x.fixed {
		x.first.Unlock(cur)
	}
}

func (x *twostage) read(cur *kernel.Task) {
	x.first.Lock(cur)
	a := x.a
	x.first.Unlock(cur)
	if a == 0 {
		return
	}
	x.second.Lock(cur)
	b := x.b
	x.second.Unlock(cur)
	if b != a+1 {
		fail(cur.Machine(), "the first stage is done and the second is not")
	}
}

func orderFamilies() []family {
	tasks := func(size int) int { return size + 2 }
	const (
		stores = "N tasks store a and then b, and one loads both"
		stages = "N tasks change one value under a lock and then another under a second lock, and one task reads both"
	)
	return []family{
		{
			name: "reorder", doc: stores, bug: "the loads come between the two stores",
			low: 1, high: most - 2, shown: []int{2, 3, 9}, tasks: tasks, build: reorderBuild(false),
		},
		{
			name: "reorder-fixed", doc: stores + ", under a lock", low: 1, high: most - 2, shown: []int{2},
			tasks: tasks, build: reorderBuild(true),
		},
		{
			name: "twostage", doc: stages, bug: "the reader comes between the two stages",
			low: 1, high: most - 2, shown: []int{1, 2, 19, 98}, tasks: tasks, build: twostageBuild(false),
		},
		{
			name: "twostage-fixed", doc: stages + "; the first lock is kept", low: 1, high: most - 2, shown: []int{2},
			tasks: tasks, build: twostageBuild(true),
		},
	}
}
