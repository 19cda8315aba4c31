// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// A transport that is queued is served in bounded time, not only once the machine has nothing else to do. Time is
// counted in fair rounds, in each of which everybody who can go on does: an unfair schedule has few of them, so it can
// starve nobody in the eyes of this oracle.
var liveness = &Oracle{
	Name:   "liveness",
	Doc:    fmt.Sprintf("a transport is on the queue of a pool that has a thread for less than %d fair rounds", Patience),
	Rounds: checkQueues,
}

// Patience is how many fair rounds a transport may wait. A call takes a thread about a hundred operations, a round each,
// and some hundreds if it is about a lock, so this is enough for dozens of calls that are served before. The tests of
// the scenarios say how long it takes.
const Patience = 16384

// roundsAtOnce is how many fair rounds pass between two looks: where only one task runs every operation is a round.
const roundsAtOnce = 64

// waiter is a transport on a queue, and for how many rounds it has been seen there.
type waiter struct {
	xprt   *sunrpc.SvcXprt
	rounds int
	seen   bool
}

func checkQueues(s *Subject) {
	for i := range s.waiters {
		s.waiters[i].seen = false
	}
	for _, v := range s.services() {
		for _, pool := range v.serv.SvPools {
			queued := false
			pool.SpSockets.Each(func(*sunrpc.SvcXprt) bool { queued = true; return false })
			if queued && s.staffed(pool) {
				pool.SpSockets.Each(s.waits)
			}
		}
	}
	rest := s.waiters[:0]
	for _, w := range s.waiters {
		if !w.seen {
			continue
		}
		rest = append(rest, w)
		s.longest = max(s.longest, w.rounds)
		if w.rounds >= Patience {
			s.fire("liveness", "a transport is queued and not served although everybody gets a turn",
				fmt.Sprintf("%s has waited for %d fair rounds\n%s", describeXprt(w.xprt), w.rounds, s.M.DumpTasks()))
			break
		}
	}
	s.waiters = rest
}

// LongestWait is for how many fair rounds a transport has waited on a queue in this run, at most.
func (s *Subject) LongestWait() int { return s.longest }

// waits counts more rounds for a queued transport.
func (s *Subject) waits(xprt *sunrpc.SvcXprt) bool {
	for i := range s.waiters {
		if w := &s.waiters[i]; w.xprt == xprt {
			w.rounds += roundsAtOnce
			w.seen = true
			return true
		}
	}
	s.waiters = append(s.waiters, waiter{xprt: xprt, seen: true})
	return true
}

// staffed reports whether the pool has a thread that is to serve it: alive, not told to stop, not to be frozen.
func (s *Subject) staffed(pool *sunrpc.SvcPool) bool {
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if ok && !rqstp.Freed() && rqstp.RqPool == pool && !t.Exited() && !t.StopRequested() && !t.PeekFreezing() {
			return true
		}
	}
	return false
}
