// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// nlmClient is the other side of lockd: this machine has mounted from a server, its processes wait for locks there, and
// the server calls.
var nlmClient = &Scenario{
	Name:  "nlm-client",
	Doc:   "processes of this machine wait for locks on a server, which calls lockd when they have got them",
	Actor: "mount",
	Params: []Param{
		{Name: "waiters", Doc: "processes that wait for a lock", Default: 2, Min: 1, Max: 3, Amount: true},
		{Name: "files", Doc: "files that they lock", Default: 1, Min: 1, Max: 1},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := w.newLockHosts(cur, 1, false)
		if h == nil {
			return
		}
		w.lockdUp(cur, w.Init)
		server := h.lockers[0]
		var waiters []*kernel.Task
		var waits []*waiter
		for i := range w.P.Get("waiters") {
			x := newWaiter(server, i)
			waits = append(waits, x)
			waiters = append(waiters, w.M.Spawn(cur, numbered("waiter", i), x.run))
		}
		server.spawn(cur, func(cur *kernel.Task) {
			for _, x := range waits {
				x.grant(cur)
			}
		})
		join(cur, waiters)
		h.join(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}

// waiter is a process that waits for a lock on a server.
type waiter struct {
	kernel.Obj
	server *locker
	lock   lockd.NlmLock
	asks   rangeLock
	failed bool              // it does not wait; before ready
	ready  kernel.Completion // GRANTED will find it
	done   kernel.Completion // the server has called
}

func newWaiter(server *locker, i int) *waiter {
	x := kernel.StaticObj[waiter](server.h.w.M, "waiter")
	x.server = server
	x.ready.Init(&x.Obj, "ready")
	x.done.Init(&x.Obj, "done")
	x.asks = server.process(int32(i)).waits(uint64(20*i), 10)
	alock := x.asks.alock()
	x.lock.Svid = uint32(alock.Svid)
	x.lock.Fh.Size = uint32(copy(x.lock.Fh.Data[:], alock.Fh))
	x.lock.Fl.FlStart, x.lock.Fl.FlEnd = int64(alock.L_offset), int64(alock.L_offset+alock.L_len-1)
	return x
}

// run is the process.
//
// C: nlmclnt_lock, fs/lockd/clntproc.c
func (x *waiter) run(cur *kernel.Task) {
	w := x.server.h.w
	l := w.Lockd
	w.Arrive(cur)
	var host *lockd.NlmHost
	var block *lockd.NlmWait
	host = l.NlmclntLookupHost(cur, x.server.addr, sock.IPPROTO_UDP, nlmVersion, []byte(x.server.name), false, w.Init)
	if host != nil {
		block = l.NlmclntPrepareBlock(cur, host, &x.lock)
	}
	x.failed = block == nil
	x.ready.Complete()
	if !x.failed {
		var req lockd.NlmRqst
		if err := l.NlmclntBlock(cur, block, &req, grantTimeout); err != 0 {
			x.server.complain("locks", "a process waits for a lock in vain", kernel.ErrName(err))
		} else if req.ARes.Status != lockd.NLM_LCK_GRANTED {
			x.server.complain("locks", "a process does not hear that it has got a lock", fmt.Sprint(req.ARes.Status))
		}
	}
	x.done.Wait(cur)
	l.NlmclntFinishBlock(block)
	l.NlmclntReleaseHost(cur, host)
}

// grant is the server's call to the process when it waits.
func (x *waiter) grant(cur *kernel.Task) {
	defer x.done.Complete()
	x.ready.Wait(cur)
	if x.failed {
		return
	}
	res, ok := x.server.ask(cur, lockd.NLMPROC_GRANTED, x.asks.testargs()).(*wire.Nlm4_res)
	if ok && res.Stat.Stat != wire.NLM4_GRANTED {
		x.server.complain("reply", "lockd does not take a lock that one of its processes waits for",
			fmt.Sprint(res.Stat.Stat))
	}
}
