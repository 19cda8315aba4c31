// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// A thread is chosen as a victim by taking its svc_rqst off the pool's list. If that happens before its rq_task was
// stored, the stopper has nobody to stop, and nobody will ever find the thread again.
var victim = &Oracle{
	Name:      "victim",
	Doc:       "a thread that was chosen to exit has been told so",
	Quiescent: checkVictims,
}

func checkVictims(s *Subject) {
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if !ok || t.Exited() || t.StopRequested() || rqstp.Freed() {
			continue
		}
		if !rqstp.RqAll.Linked() {
			s.fire("victim", "a victim was chosen that nobody can stop",
				fmt.Sprintf("%s of task %s is off the list of its pool\n%s", rqstp.Name(), t.Name(), s.M.DumpTasks()))
			return
		}
	}
}
