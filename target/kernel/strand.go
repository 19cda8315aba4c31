// SPDX-License-Identifier: MIT

//go:build !race

package kernel

import "iter"

// strand is a pooled coroutine: the stack that a task of the sim back end runs on.
type strand struct {
	t        *Task
	next     func() (struct{}, bool)
	stopPull func()
	yieldTo  func(struct{}) bool
}

// resume switches to t until it yields or ends.
func (s *sim) resume(t *Task) {
	s.strandOf(t).next()
}

func newStrand(s *sim) *strand {
	st := &strand{}
	st.next, st.stopPull = iter.Pull(func(yield func(struct{}) bool) {
		st.yieldTo = yield
		for {
			t := st.t
			t.main()
			t.exited = true
			t.st, st.t = nil, nil
			s.strands = append(s.strands, st)
			s.finished(t)
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return st
}

// yield gives the processor back to the loop.
func (st *strand) yield() { st.yieldTo(struct{}{}) }

func (st *strand) close() { st.stopPull() }

// handOver is only called in race builds.
func (t *Task) handOver() {}
