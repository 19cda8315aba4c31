// SPDX-License-Identifier: MIT

//go:build race

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// steps is what a task of a random program may do next. Whether two of them race depends on the program and on the
// schedule, and Go's detector sees all that the machine's own one looks at.
var steps = []func(cur *kernel.Task, w *world){
	func(_ *kernel.Task, w *world) { w.x.Store(1) },
	func(_ *kernel.Task, w *world) { w.x.Load() },
	func(_ *kernel.Task, w *world) { w.sl.Lock(); w.x.Store(2); w.sl.Unlock() },
	func(_ *kernel.Task, w *world) { w.sl.LockBH(); w.x.Load(); w.sl.UnlockBH() },
	func(_ *kernel.Task, w *world) { w.sl.Lock(); w.n.Inc(); w.sl.Unlock() },
	func(cur *kernel.Task, w *world) { w.mu.Lock(cur); w.x.Load(); w.mu.Unlock(cur) },
	func(cur *kernel.Task, w *world) {
		if w.mu.TryLock(cur) {
			w.x.Store(3)
			w.mu.Unlock(cur)
		}
	},
	func(_ *kernel.Task, w *world) { w.n.Inc() },
	func(_ *kernel.Task, w *world) { w.n.Read() },
	func(_ *kernel.Task, w *world) { w.n.Set(7) },
	func(_ *kernel.Task, w *world) { w.fl.SetBit(0) },
	func(_ *kernel.Task, w *world) { w.fl.TestBit(0) },
	func(_ *kernel.Task, w *world) { w.fl.ClearBit(0) },
	func(_ *kernel.Task, w *world) { w.fl.TestAndSetBit(1) },
	func(_ *kernel.Task, w *world) { w.done.Complete() },
	func(cur *kernel.Task, w *world) { w.done.WaitTimeout(cur, 2) },
	func(_ *kernel.Task, w *world) { w.wq.WakeUpAll() },
	func(cur *kernel.Task, w *world) { kernel.WaitEventTimeout(cur, &w.wq, func() bool { return false }, 1) },
	func(cur *kernel.Task, w *world) { kernel.Msleep(cur, 1) },
	func(_ *kernel.Task, w *world) { w.list.Empty() },
	func(_ *kernel.Task, w *world) { w.list.First() },
	func(_ *kernel.Task, w *world) { w.sl.Lock(); w.list.First(); w.sl.Unlock() },
	func(_ *kernel.Task, w *world) {
		i := newItem(w)
		w.sl.Lock()
		w.list.AddTail(&i.node)
		w.list.Del(&i.node)
		w.sl.Unlock()
		kernel.Kfree(i)
	},
}

// agree asks both detectors about one schedule of each of many random programs, and fails where they differ.
func agree() {
	first, errFirst := strconv.Atoi(os.Args[2])
	count, errCount := strconv.Atoi(os.Args[3])
	if errFirst != nil || errCount != nil {
		fmt.Println("the seed and the count must be numbers")
		os.Exit(2)
	}
	racy, differ := 0, 0
	for seed := first; seed < first+count; seed++ {
		m := kernel.NewSim()
		before := runtime.RaceErrors()
		r := m.Run(new(chooser(seed)), kernel.Options{Detect: true}, "main", run(program{run: random(seed)}))
		theirs, ours := runtime.RaceErrors() > before, r.Worst() != nil
		m.Close()
		if ours && r.Worst().Oracle != "data-race" {
			fmt.Printf("seed %d: %v\n", seed, r.Worst())
			os.Exit(3)
		}
		if ours {
			racy++
		}
		if theirs != ours {
			differ++
			fmt.Printf("seed %d: Go's detector says %t, the machine's says %t\n", seed, theirs, ours)
		}
	}
	fmt.Printf("%d programs, %d racy, %d verdicts differ\n", count, racy, differ)
	if differ > 0 {
		os.Exit(1)
	}
}

// random is a program of two to four tasks of a few steps.
func random(seed int) func(cur *kernel.Task, w *world) {
	return func(cur *kernel.Task, w *world) {
		c := chooser(uint64(seed) * 0x9e3779b97f4a7c15)
		next := func(n int) int {
			c = c*6364136223846793005 + 1442695040888963407
			return int(c>>33) % n
		}
		var bodies [][]int
		for range 2 + next(3) {
			var body []int
			for range 1 + next(5) {
				body = append(body, next(len(steps)))
			}
			bodies = append(bodies, body)
		}
		var tasks []*kernel.Task
		for i, body := range bodies {
			tasks = append(tasks, w.Machine().Spawn(cur, "t"+strconv.Itoa(i), func(cur *kernel.Task) {
				w.born.Inc()
				for w.born.Read() < int64(len(bodies)) { // Go orders a task behind one that has ended, on whose stack it runs
					kernel.Msleep(cur, 1)
				}
				for _, s := range body {
					steps[s](cur, w)
				}
			}))
		}
		for _, t := range tasks {
			kernel.Join(cur, t)
		}
	}
}
