// SPDX-License-Identifier: MIT

package oracle

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// When nobody can run, no work waits beside a thread that could do it. Invariants I9 and I10, the hand-over of a
// transport to a thread that was not woken, a call of svc_wake_up, and the queue of a back channel.
var lostWakeup = &Oracle{
	Name: "lost-wakeup",
	Doc: "at quiescence no transport has work, and nobody has called svc_wake_up, while an idle thread sleeps or nobody " +
		"was asked",
	Quiescent: checkWork,
}

func checkWork(s *Subject) {
	for _, v := range s.services() {
		if s.frozen(v.serv) {
			continue
		}
		title, who := idleBesideQueue(v.serv)
		if title == "" {
			title, who = s.workList(&v.serv.SvPermsocks)
		}
		if title == "" {
			title, who = s.workList(&v.serv.SvTempsocks)
		}
		if title != "" {
			s.fire("lost-wakeup", title, describeXprt(who)+"\n"+s.M.DumpTasks())
			return
		}
		if idleBesideRequest(v.serv) {
			s.fire("lost-wakeup", "svc_wake_up was called and an idle thread sleeps", s.M.DumpTasks())
			return
		}
		if s.callbackWaits(v.serv) {
			s.fire("lost-wakeup", "a back channel request is queued and an idle thread sleeps", s.M.DumpTasks())
			return
		}
	}
}

// frozen reports whether a thread of the service is to stand still until the machine is thawed.
func (s *Subject) frozen(serv *sunrpc.SvcServ) bool {
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if ok && !rqstp.Freed() && rqstp.RqServer == serv && !t.Exited() && t.PeekFreezing() {
			return true
		}
	}
	return false
}

// idleBesideQueue finds a pool with a queued transport and an idle thread.
func idleBesideQueue(serv *sunrpc.SvcServ) (title string, who *sunrpc.SvcXprt) {
	for _, pool := range serv.SvPools {
		who = nil
		pool.SpSockets.Each(func(xprt *sunrpc.SvcXprt) bool { who = xprt; return false })
		if who == nil {
			continue
		}
		if hasIdle(pool) {
			return "a transport is queued and an idle thread sleeps", who
		}
	}
	return "", nil
}

// idleBesideRequest reports whether a pool has an idle thread that has not done what svc_wake_up asks for.
func idleBesideRequest(serv *sunrpc.SvcServ) bool {
	for _, pool := range serv.SvPools {
		if pool.PeekTaskPending() && hasIdle(pool) {
			return true
		}
	}
	return false
}

// hasIdle reports whether a thread of the pool is idle.
func hasIdle(pool *sunrpc.SvcPool) (found bool) {
	pool.SpAllThreads.Each(func(rqstp *sunrpc.SvcRqst) bool {
		found = rqstp.PeekIdle()
		return !found
	})
	return found
}

func (s *Subject) workList(list *kernel.List[sunrpc.SvcXprt]) (title string, who *sunrpc.SvcXprt) {
	list.Each(func(xprt *sunrpc.SvcXprt) bool {
		if xprt.XptFlags.Peek(sunrpc.XPT_DEAD) || xprt.XptReady.Linked() {
			return true
		}
		isBusy := xprt.XptFlags.Peek(sunrpc.XPT_BUSY)
		switch who = xprt; {
		case !isBusy && hasWork(xprt):
			title = "a transport has work and is neither queued nor owned"
		case isBusy && s.holders(xprt) > 0:
			// A thread that owns BUSY does not sleep: this one was handed the transport and was not woken.
			title = "a thread was handed a transport and sleeps"
		}
		return title == ""
	})
	return title, who
}

// hasWork is svc_xprt_has_something_to_do without its visible operations.
func hasWork(xprt *sunrpc.SvcXprt) bool {
	f := &xprt.XptFlags
	if f.Peek(sunrpc.XPT_CONN) || f.Peek(sunrpc.XPT_CLOSE) {
		return true
	}
	// DEFERRED alone is no work: who gives a deferred request up sets it as well, and whoever looks clears it.
	deferred := f.Peek(sunrpc.XPT_DEFERRED) && len(xprt.XptDeferred.Peek()) > 0
	return (f.Peek(sunrpc.XPT_DATA) || deferred) && hasSpace(xprt)
}

// hasSpace is xpo_has_wspace of the socket classes without its visible operations.
func hasSpace(xprt *sunrpc.SvcXprt) bool {
	svsk, ok := xprt.XptContainer.(*sunrpc.SvcSock)
	if !ok || svsk.SkSock == nil {
		return true
	}
	sk := svsk.SkSock
	reserved := xprt.XptReserved.Peek()
	required := reserved + int64(xprt.XptServer.SvMaxMesg)
	space := sk.SkSndbuf.Peek() - sk.SkWmemQueued.Peek()
	if sk.SkProtocol == sock.IPPROTO_UDP {
		return 2*required <= max(space, 0)
	}
	return space >= required || sk.SkWmemQueued.Peek()>>1 == 0 && reserved == 0
}

// callbackWaits looks at the queue of a service that serves back channels: its thread sleeps on a wait queue and is
// not found as an idle one.
func (s *Subject) callbackWaits(serv *sunrpc.SvcServ) bool {
	queued, sleeps := false, false
	serv.SvCbList.Each(func(*sunrpc.RpcRqst) bool { queued = true; return false })
	if !queued {
		return false
	}
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if ok && !rqstp.Freed() && rqstp.RqServer == serv && !t.Exited() {
			sleeps = sleeps || t.State() == kernel.TASK_INTERRUPTIBLE
		}
	}
	return sleeps
}
