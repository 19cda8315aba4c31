// SPDX-License-Identifier: MIT

package oracle

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// XPT_BUSY is the ownership of a transport: by the queue it is on, or by one thread. Invariants I4, I5
// and I7; that nothing is queued twice (I3) is what the floor's lists see to.
var busy = &Oracle{
	Name:      "busy",
	Doc:       "a queued transport is BUSY, a BUSY one has an owner, and a DEAD one is BUSY for ever and never queued",
	Quiescent: checkBusy,
}

func checkBusy(s *Subject) {
	for _, v := range s.services() {
		title, who := busyQueues(v.serv)
		if title == "" {
			title, who = s.busyList(&v.serv.SvPermsocks)
		}
		if title == "" {
			title, who = s.busyList(&v.serv.SvTempsocks)
		}
		if title == "" {
			title, who = busyThreads(v.serv)
		}
		if title != "" {
			s.fire("busy", title, describeXprt(who)+"\n"+s.M.DumpTasks())
			return
		}
	}
}

// busyQueues looks at what is queued; it returns what is wrong, "" if nothing, and with which transport.
func busyQueues(serv *sunrpc.SvcServ) (title string, who *sunrpc.SvcXprt) {
	for _, pool := range serv.SvPools {
		pool.SpSockets.Each(func(xprt *sunrpc.SvcXprt) bool {
			switch who = xprt; {
			case xprt.Freed():
				title = "a freed transport is queued"
			case !xprt.XptFlags.Peek(sunrpc.XPT_BUSY):
				title = "a queued transport is not BUSY"
			case xprt.XptFlags.Peek(sunrpc.XPT_DEAD):
				title = "a queued transport is DEAD"
			}
			return title == ""
		})
		if title != "" {
			return title, who
		}
	}
	return "", nil
}

// busyList looks at a service's transports.
func (s *Subject) busyList(list *kernel.List[sunrpc.SvcXprt]) (title string, who *sunrpc.SvcXprt) {
	list.Each(func(xprt *sunrpc.SvcXprt) bool {
		dead, isBusy := xprt.XptFlags.Peek(sunrpc.XPT_DEAD), xprt.XptFlags.Peek(sunrpc.XPT_BUSY)
		switch who = xprt; {
		case xprt.Freed():
			title = "a freed transport is on the list of its service"
		case dead && !isBusy:
			title = "a DEAD transport is not BUSY"
		case isBusy && !dead && !xprt.XptReady.Linked() && s.holders(xprt) == 0:
			title = "a transport is BUSY and nobody owns it"
		}
		return title == ""
	})
	return title, who
}

// busyThreads looks at the transports that threads have.
func busyThreads(serv *sunrpc.SvcServ) (title string, who *sunrpc.SvcXprt) {
	for _, pool := range serv.SvPools {
		pool.SpAllThreads.Each(func(rqstp *sunrpc.SvcRqst) bool {
			xprt := rqstp.RqXprt.Peek()
			if xprt == nil {
				return true
			}
			switch who = xprt; {
			case xprt.Freed():
				title = "a thread has a freed transport"
			case xprt.XptFlags.Peek(sunrpc.XPT_DEAD) && !xprt.XptFlags.Peek(sunrpc.XPT_BUSY):
				title = "a DEAD transport is not BUSY"
			}
			return title == ""
		})
		if title != "" {
			return title, who
		}
	}
	return "", nil
}

// holders counts the threads that have the transport, those included that were taken off their pool's list to be
// stopped.
func (s *Subject) holders(xprt *sunrpc.SvcXprt) int64 {
	n := int64(0)
	s.eachThread(xprt.XptServer, func(rqstp *sunrpc.SvcRqst) {
		if rqstp.RqXprt.Peek() == xprt {
			n++
		}
	})
	return n
}

// eachThread calls fn for every svc_rqst of a service: those on the pools' lists, and those of victims, which are
// found through their tasks.
func (s *Subject) eachThread(serv *sunrpc.SvcServ, fn func(rqstp *sunrpc.SvcRqst)) {
	for _, pool := range serv.SvPools {
		pool.SpAllThreads.Each(func(rqstp *sunrpc.SvcRqst) bool {
			fn(rqstp)
			return true
		})
	}
	for _, t := range s.M.Tasks() {
		rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst)
		if ok && !rqstp.Freed() && rqstp.RqServer == serv && !rqstp.RqAll.Linked() {
			fn(rqstp)
		}
	}
}
