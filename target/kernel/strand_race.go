// SPDX-License-Identifier: MIT

//go:build race

package kernel

import "unsafe"

// strand is a pooled goroutine. In race builds the hand-over goes through channels and is hidden from the
// detector, because the variables of iter.Pull are instrumented and would be reported themselves; and the
// choice is made by the loop, so that choosers and oracles always run on one goroutine.
type strand struct {
	t        *Task
	run, own chan struct{}
	done     chan struct{}
}

//go:norace
func (s *sim) resume(t *Task) {
	st := s.strandOf(t)
	raceHide()
	st.run <- struct{}{}
	<-st.own
	raceShow()
}

//go:norace
func newStrand(s *sim) *strand {
	st := &strand{run: make(chan struct{}), own: make(chan struct{}), done: make(chan struct{})}
	go st.serve(s)
	return st
}

//go:norace
func (st *strand) serve(s *sim) {
	defer close(st.done)
	for {
		raceHide()
		_, ok := <-st.run
		raceShow()
		if !ok {
			return
		}
		t := st.t
		t.main()
		t.exited = true
		t.st, st.t = nil, nil
		s.strands = append(s.strands, st)
		s.finished(t)
		raceReleaseMerge(unsafe.Pointer(&s.hash))
		raceHide()
		st.own <- struct{}{}
		raceShow()
	}
}

// handOver gives the processor back to the loop and returns when it is t's turn.
//
//go:norace
func (t *Task) handOver() {
	st, s := t.st, t.m.sim
	raceReleaseMerge(unsafe.Pointer(&s.hash))
	raceHide()
	st.own <- struct{}{}
	<-st.run
	raceShow()
	if s.killing {
		t.die()
	}
}

//go:norace
func (st *strand) yield() {}

//go:norace
func (st *strand) close() {
	close(st.run)
	<-st.done
}
