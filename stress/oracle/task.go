// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Whoever wakes a thread does it through rq_task. Invariants I1, I2 and I11.
var task = &Oracle{
	Name:      "task",
	Doc:       "rq_task of every thread that can be selected is that thread, alive; an idle thread has no transport",
	Quiescent: checkTasks,
}

func checkTasks(s *Subject) {
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		// A thread that was created and not yet woken sleeps uninterruptibly; its rq_task may still be to come.
		if !ok || t.Exited() || rqstp.Freed() || t.State() == kernel.TASK_UNINTERRUPTIBLE {
			continue
		}
		if wakee, used := rqstp.PeekWakee(); used && wakee != t {
			s.fire("task", "rq_task is not the thread that runs", describeRqst(rqstp))
			return
		}
	}
	for _, v := range s.services() {
		for _, pool := range v.serv.SvPools {
			title, who := "", (*sunrpc.SvcRqst)(nil)
			pool.SpAllThreads.Each(func(rqstp *sunrpc.SvcRqst) bool {
				if !rqstp.PeekIdle() {
					return true
				}
				who = rqstp
				switch t, used := rqstp.PeekWakee(); {
				case used && (t == nil || kernel.IsErr(t)):
					title = "a thread can be selected whose rq_task is no task"
				case t != nil && !kernel.IsErr(t) && t.Exited():
					title = "a thread can be selected that has exited"
				case rqstp.RqXprt.Peek() != nil:
					title = "an idle thread has a transport"
				}
				return title == ""
			})
			if title != "" {
				s.fire("task", title, describeRqst(who))
				return
			}
		}
	}
}

// describeRqst spells a svc_rqst for the text of a finding.
func describeRqst(rqstp *sunrpc.SvcRqst) string {
	xprt := "NULL"
	if x := rqstp.RqXprt.Peek(); x != nil {
		xprt = describeXprt(x)
	}
	return fmt.Sprintf("%s: rq_task %s, rq_flags %v, rq_xprt %s", rqstp.Name(), rqstp.RqTask.Peek().Name(),
		rqstp.RqFlags.PeekNames(), xprt)
}

// describeXprt spells a transport for the text of a finding.
func describeXprt(xprt *sunrpc.SvcXprt) string {
	return fmt.Sprintf("%s (%s) flags %v ref %d reserved %d queued %v", xprt.Name(), xprt.XptLocal,
		xprt.XptFlags.PeekNames(), xprt.XptRef.Peek(), xprt.XptReserved.Peek(), xprt.XptReady.Linked())
}
