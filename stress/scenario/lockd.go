// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// nlmVersion is the version of the lock manager that clients talk to.
const nlmVersion = 4

var protoParam = Param{Name: "proto", Doc: "how clients talk: 0 UDP, 1 TCP, 2 both in turn", Max: 2}

var rpcbindParam = Param{
	Name: "rpcbind", Doc: "the latest version that rpcbind speaks: 2 (no IPv6) or 4", Default: 2, Min: 2, Max: 4,
}

var stopParam = Param{
	Name: "stop", Doc: "the service goes down 1: when all is answered; 2: as soon as it is up", Default: 1, Min: 1, Max: 2,
}

// lockdStart is where the bug of 2014 lived: the sockets are open before the thread runs, so requests come in at any
// moment of its start.
var lockdStart = &Scenario{
	Name: "lockd-start",
	Doc:  "lockd comes up while clients already talk to its sockets",
	// One task starts and stops, as a mount does: what only it touches is then known to be its own.
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "clients, each with one request", Default: 1, Min: 1, Max: 3, Amount: true},
		protoParam,
		rpcbindParam,
		stopParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		early := w.P.Get("stop") == 2
		for i := range w.P.Get("clients") {
			prot := protocol(w.P.Get("proto"), i)
			c := w.newClient(w.Init, prot, lockd.NLM_PROGRAM, nlmVersion, 1, early)
			w.spawn(cur, c, w.Rpcb.await(w.M, lockd.NLM_PROGRAM, prot))
		}
		w.Arrive(cur)
		w.lockdUp(cur, w.Init)
		if !early {
			w.joinClients(cur)
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		w.joinClients(cur)
	},
}

// protocol is what the i-th client uses.
func protocol(proto, i int) int {
	if proto == 0 || proto == 2 && i%2 == 0 {
		return sock.IPPROTO_UDP
	}
	return sock.IPPROTO_TCP
}

// lockdUp brings lockd up for a mount, which takes the timeouts of its RPC client from nlmsvc_timeout right after, as
// nlm_bind_host does.
func (w *World) lockdUp(cur *kernel.Task, net *sock.Net) {
	w.insist(cur, "lockd_up", 0, func() int { return w.Lockd.LockdUp(cur, net) })
	w.Started("nlmsvc_timeout", int64(w.Lockd.NlmsvcTimeout.Load()))
}

// lockdDown takes back a lockdUp.
func (w *World) lockdDown(cur *kernel.Task, net *sock.Net) {
	within(cur, "lockd_down", func() { w.Lockd.LockdDown(cur, net) })
}
