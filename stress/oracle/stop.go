// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// A stop call that returned has stopped what it was asked to stop. That it returns at all is the floor's hang oracle.
var stop = &Oracle{
	Name:      "stop",
	Doc:       "after a call that sets the number of threads returned 0 there are that many",
	Quiescent: checkStopped,
}

// checkStopped looks for threads that were told to stop and sleep on although whoever told them waits.
func checkStopped(s *Subject) {
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if !ok || t.Exited() || !t.StopRequested() || rqstp.Freed() || t.PeekFreezing() {
			continue
		}
		idle := rqstp.PeekIdle() || rqstp.RqServer.SvBcEnabled.Peek() != 0
		if idle && t.State() == kernel.TASK_INTERRUPTIBLE {
			s.fire("stop", "a thread sleeps on after it was told to stop", t.Name()+"\n"+s.M.DumpTasks())
			return
		}
	}
}

// Resized is called by cur, which holds the service mutex, after svc_set_num_threads for a pool, or for all with nil,
// returned 0: the threads are then want.
func (s *Subject) Resized(serv *sunrpc.SvcServ, pool *sunrpc.SvcPool, want int) {
	got := 0
	for _, p := range serv.SvPools {
		if pool != nil && p != pool {
			continue
		}
		p.SpLock.LockBH()
		got += int(p.SpNrthreads)
		p.SpLock.UnlockBH()
	}
	if got != want {
		s.fire("stop", "svc_set_num_threads succeeds and leaves another number of threads",
			fmt.Sprintf("%d threads, want %d\n%s", got, want, s.M.DumpTasks()))
	}
}
