// SPDX-License-Identifier: MIT

package scenario

import (
	"encoding/binary"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

const (
	callbackPort    = 4045
	callbackVersion = 1
)

// callbackStart is the other half of the fix of 2014: the callback service's listener, or the client's own
// connection, takes calls before the thread runs.
var callbackStart = &Scenario{
	Name:  "callback-start",
	Doc:   "the NFSv4 callback service comes up while servers already call back",
	Actor: "mount",
	Params: []Param{
		{Name: "minor", Doc: "minor version: 0 has a listener, 1 the back channel of a connection", Max: 1},
		{Name: "clients", Doc: "servers that call back", Default: 1, Min: 1, Max: 3, Amount: true},
		{Name: "requests", Doc: "calls of each server; 0: it only connects, for minor 0", Default: 1, Max: 3, Amount: true},
		{Name: "ipv6", Doc: "0: a kernel without IPv6", Default: 1, Max: 1},
		stopParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		if w.P.Get("minor") == 0 {
			w.callbackListener(cur)
		} else {
			w.callbackBackchannel(cur)
		}
	},
}

func (w *World) callbackListener(cur *kernel.Task) {
	w.Nfs.NfsCallbackSetTcpport = callbackPort
	w.Init.NoIPv6 = w.P.Get("ipv6") == 0
	early := w.P.Get("stop") == 2
	for range w.P.Get("clients") {
		c := w.newClient(w.Init, sock.IPPROTO_TCP, nfs.NFS4_CALLBACK, callbackVersion, w.P.Get("requests"), early)
		w.spawnAt(cur, c, callbackPort)
	}
	w.Arrive(cur)
	w.callbackUp(cur, 0, nil)
	if !early {
		w.joinClients(cur)
	}
	w.Arrive(cur)
	w.callbackDown(cur, 0)
	w.joinClients(cur)
}

func (w *World) callbackBackchannel(cur *kernel.Task) {
	n, early := w.P.Get("clients"), w.P.Get("stop") == 2
	bc := w.newBackchannel(cur, w.Init, n)
	if bc == nil {
		w.StartFailed("xprt_setup_backchannel", -kernel.ENOMEM, 1)
		return
	}
	up := kernel.StaticObj[gate](w.M, "callback_up")
	up.open.Init(&up.Obj, "callback_up")
	var servers []*kernel.Task
	for i := range n {
		early, late := bc.newCall(numbered("server", i), early), bc.newCall(numbered("server", i), early)
		servers = append(servers, w.M.Spawn(cur, numbered("server", i), func(cur *kernel.Task) {
			w.Arrive(cur)
			bc.call(cur, early)
			up.open.Wait(cur)
			bc.call(cur, late)
		}))
	}
	w.Arrive(cur)
	w.callbackUp(cur, 1, bc.xprt)
	for range n {
		up.open.Complete()
	}
	if !early {
		join(cur, servers)
	}
	w.Arrive(cur)
	w.callbackDown(cur, 1)
	join(cur, servers)
	bc.free(cur)
}

// gate is a completion that actors wait at.
type gate struct {
	kernel.Obj
	open kernel.Completion
}

// callbackUp brings the callback service of a minor version up in the initial namespace.
func (w *World) callbackUp(cur *kernel.Task, minor int, xprt *sunrpc.RpcXprt) {
	w.callbackUpIn(cur, w.Init, minor, xprt)
}

// callbackUpIn is callbackUp for another namespace.
func (w *World) callbackUpIn(cur *kernel.Task, net *sock.Net, minor int, xprt *sunrpc.RpcXprt) {
	w.insist(cur, "nfs_callback_up", 0, func() int { return w.Nfs.NfsCallbackUp(cur, minor, xprt, net) })
}

// callbackDown takes back a callbackUp.
func (w *World) callbackDown(cur *kernel.Task, minor int) {
	w.callbackDownIn(cur, w.Init, minor)
}

// callbackDownIn takes back a callbackUpIn.
func (w *World) callbackDownIn(cur *kernel.Task, net *sock.Net, minor int) {
	within(cur, "nfs_callback_down", func() { w.Nfs.NfsCallbackDown(cur, minor, net) })
}

// backchannel is a client's connection as its server sees it: calls go in, answers come out.
type backchannel struct {
	kernel.Obj
	w     *World
	xprt  *sunrpc.RpcXprt
	slots uint32
	irq   kernel.Softirq // the connection's receive side
	calls []*bcCall
}

// bcCall is one call over a back channel.
type bcCall struct {
	kernel.Obj
	x         *oracle.Exchange
	machine   int    // octets of the caller's name in an AUTH_SYS credential; 0: AUTH_NONE
	msg       []byte // nil: of procedure 0
	delivered kernel.Completion
	answered  kernel.Completion
}

// newBackchannel makes a connection of net with room for n calls at a time; nil if a step was made to fail.
func (w *World) newBackchannel(cur *kernel.Task, net *sock.Net, n int) *backchannel {
	bc := kernel.StaticObj[backchannel](w.M, "connection")
	bc.w = w
	bc.irq.Init(&bc.Obj, "tcp")
	// A slot comes back after its answer has gone out: the next call may be faster.
	bc.slots = uint32(2 * n)
	bc.xprt = sunrpc.XprtAlloc(cur, net, sock.LoopbackAddr(sock.AF_INET, nfsPort), bc.sink)
	if bc.xprt == nil {
		return nil
	}
	if sunrpc.XprtSetupBackchannel(cur, bc.xprt, bc.slots) != 0 {
		sunrpc.XprtPut(bc.xprt)
		return nil
	}
	return bc
}

// free closes the connection. Nobody calls any more.
func (bc *backchannel) free(cur *kernel.Task) {
	sunrpc.XprtDestroyBackchannel(bc.xprt, bc.slots)
	sunrpc.XprtPut(bc.xprt)
}

// newCall prepares a call. It is called before anybody calls.
func (bc *backchannel) newCall(who string, optional bool) *bcCall {
	w := bc.w
	w.xids++
	c := kernel.StaticObj[bcCall](w.M, "call")
	c.x = &oracle.Exchange{Who: who, Xid: 0x51000000 + w.xids, Prog: nfs.NFS4_CALLBACK, Vers: callbackVersion,
		Optional: optional}
	c.delivered.Init(&c.Obj, "delivered")
	c.answered.Init(&c.Obj, "answered")
	bc.calls = append(bc.calls, c)
	w.Exchanges = append(w.Exchanges, c.x)
	return c
}

// call delivers a call and waits for the answer; nobody answers a call that came before there was a service.
func (bc *backchannel) call(cur *kernel.Task, c *bcCall) {
	wait := replyTimeout
	switch {
	case !bc.send(cur, c):
		c.x.Optional = true
		return
	case c.x.Optional:
		wait = shortTimeout
	}
	if c.answered.WaitTimeout(cur, wait) == 0 {
		c.x.Err = -kernel.ETIMEDOUT
	}
}

// send delivers a call and reports whether there was a service when it arrived.
func (bc *backchannel) send(cur *kernel.Task, c *bcCall) (taken bool) {
	c.x.Sent = true
	sunrpc.XprtGet(bc.xprt)
	bc.irq.Raise(func() {
		bc.xprt.BcPaLock.Lock()
		taken = bc.xprt.BcServ.Load() != nil
		bc.xprt.BcPaLock.Unlock()
		sunrpc.XsTcpReadCallback(bc.xprt, c.request())
		sunrpc.XprtPut(bc.xprt)
		c.delivered.Complete()
	})
	c.delivered.Wait(cur)
	return taken
}

// request is the call without a marker.
func (c *bcCall) request() []byte {
	if c.msg != nil {
		return c.msg
	}
	if c.machine == 0 {
		return nullCall(c.x.Xid, nfs.NFS4_CALLBACK, callbackVersion)
	}
	return sysCall(c.x.Xid, nfs.NFS4_CALLBACK, callbackVersion, 0, strings.Repeat("m", c.machine))
}

// sink takes the answers. The service has one thread, so they come one at a time.
func (bc *backchannel) sink(_ *kernel.Task, _ *sunrpc.RpcRqst, rec []byte) int {
	to := bc.calls[0]
	if len(rec) >= 8 {
		for _, c := range bc.calls {
			if c.x.Xid == binary.BigEndian.Uint32(rec[4:]) {
				to = c
			}
		}
	}
	if len(rec) < 4 || binary.BigEndian.Uint32(rec) != 1<<31|uint32(len(rec)-4) {
		to.x.Cut = true
	} else {
		to.x.Replies = append(to.x.Replies, append([]byte(nil), rec[4:]...))
	}
	to.answered.Complete()
	return 0
}
