// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// backchannelStop takes the service away from a connection that goes on, and the connection from the service: calls
// may be on their way in, in the queue or in the thread's hands.
var backchannelStop = &Scenario{
	Name:  "backchannel-stop",
	Doc:   "the back channel service, or the connection it serves, goes away while the server calls back",
	Actor: "mount",
	Params: []Param{
		{Name: "calls", Doc: "calls of the server, one after the other", Default: 2, Min: 1, Max: 4, Amount: true},
		{Name: "servers", Doc: "tasks of the server that call", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "drop", Doc: "1: the connection is given up before the service is", Max: 1},
		stopParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		n, early := w.P.Get("servers"), w.P.Get("stop") == 2 || w.P.Get("drop") == 1
		bc := w.newBackchannel(cur, w.Init, n)
		if bc == nil {
			w.StartFailed("xprt_setup_backchannel", -kernel.ENOMEM, 1)
			return
		}
		w.callbackUp(cur, 1, bc.xprt)
		servers := bc.callers(cur, n, w.P.Get("calls"), early)
		if !early {
			join(cur, servers)
			servers = nil
		}
		w.Arrive(cur)
		if w.P.Get("drop") == 1 {
			// The callers have a reference of their own for as long as a call of theirs is under way.
			join(cur, servers)
			bc.free(cur)
			w.callbackDown(cur, 1)
			return
		}
		w.callbackDown(cur, 1)
		join(cur, servers)
		bc.whole()
		bc.free(cur)
	},
}

// whole looks that all requests of the connection have come back to it. Its service is down, and nobody calls.
func (bc *backchannel) whole() {
	xprt := bc.xprt
	free := uint32(0)
	xprt.BcPaLock.LockBH()
	xprt.BcPaList.Each(func(*sunrpc.RpcRqst) bool { free++; return true })
	reserved := xprt.BcAllocCount
	xprt.BcPaLock.UnlockBH()
	if free != reserved {
		bc.w.report("accounting", "a connection has not as many free requests as are reserved",
			fmt.Sprintf("%d free, %d reserved", free, reserved))
	}
}

// callers starts n tasks that make so many calls each. A call that need not be answered is not waited for.
func (bc *backchannel) callers(cur *kernel.Task, n, calls int, optional bool) []*kernel.Task {
	todo := make([][]*bcCall, n)
	for i := range n {
		for j := range calls {
			// Each is longer than the one before: what a buffer remembers of it is too short.
			c := bc.newCall(numbered("server", i), optional)
			c.machine = 4 * j
			todo[i] = append(todo[i], c)
		}
	}
	var tasks []*kernel.Task
	for i := range n {
		tasks = append(tasks, bc.w.M.Spawn(cur, numbered("server", i), func(cur *kernel.Task) {
			bc.w.Arrive(cur)
			for _, c := range todo[i] {
				if optional {
					bc.send(cur, c)
				} else {
					bc.call(cur, c)
				}
			}
		}))
	}
	return tasks
}

// backchannelNets shares the service between two namespaces. It is one for all, but nothing of a namespace that ends
// may be used on behalf of the other.
var backchannelNets = &Scenario{
	Name:  "backchannel-nets",
	Doc:   "the back channel service serves two network namespaces, and one of them ends",
	Actor: "mount",
	Params: []Param{
		{Name: "calls", Doc: "calls of the server in the namespace that stays", Default: 1, Min: 1, Max: 3, Amount: true},
	},
	Main: func(cur *kernel.Task, w *World) {
		net, _ := w.secondNet(cur)
		if net == nil {
			return
		}
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		stays, ends := w.newBackchannel(cur, w.Init, 1), w.newBackchannel(cur, net, 1)
		if stays != nil && ends != nil {
			w.callbackUp(cur, 1, stays.xprt)
			w.callbackUpIn(cur, net, 1, ends.xprt)
			servers := stays.callers(cur, 1, w.P.Get("calls"), false)
			w.Arrive(cur)
			w.callbackDownIn(cur, net, 1)
			join(cur, servers)
			w.callbackDown(cur, 1)
		} else {
			w.StartFailed("xprt_setup_backchannel", -kernel.ENOMEM, 1)
		}
		for _, bc := range []*backchannel{stays, ends} {
			if bc != nil {
				bc.whole()
				bc.free(cur)
			}
		}
		w.freeNet(cur, net)
	},
}
