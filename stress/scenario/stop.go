// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// startStopRestart runs lockd several times in one boot: what one life leaves behind, the next one trips over.
var startStopRestart = &Scenario{
	Name: "start-stop-restart",
	Doc:  "lockd comes up, answers and goes down, several times over",
	Params: []Param{
		{Name: "rounds", Doc: "lives of lockd", Default: 2, Min: 1, Max: 5, Amount: true},
		protoParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		for i := range w.P.Get("rounds") {
			prot := protocol(w.P.Get("proto"), i)
			c := w.newClient(w.Init, prot, lockd.NLM_PROGRAM, nlmVersion, 1, false)
			w.spawn(cur, c, w.Rpcb.await(w.M, lockd.NLM_PROGRAM, prot))
			w.lockdUp(cur, w.Init)
			w.joinClients(cur)
			settle(cur)
			w.Arrive(cur)
			w.lockdDown(cur, w.Init)
		}
	},
}

// stopUnderLoad stops lockd at any moment of its work: a request may be on its way in, in a thread's hands, or on
// its way out.
var stopUnderLoad = &Scenario{
	Name: "stop-under-load",
	Doc:  "lockd goes down while clients use it",
	Params: []Param{
		{Name: "clients", Doc: "clients", Default: 2, Min: 1, Max: 3, Amount: true},
		{Name: "requests", Doc: "requests of each client", Default: 1, Min: 1, Max: 4, Amount: true},
		{Name: "proto", Doc: protoParam.Doc, Default: 2, Max: 2},
		{Name: "signal", Doc: "1: nfsd runs as well, and somebody sends lockd a SIGKILL: grace starts again", Max: 1},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		signal := w.P.Get("signal") == 1
		if signal {
			w.nfsdRuns()
		}
		for i := range w.P.Get("clients") {
			prot := protocol(w.P.Get("proto"), i)
			w.newClient(w.Init, prot, lockd.NLM_PROGRAM, nlmVersion, w.P.Get("requests"), true)
		}
		var ports []*portWait
		for _, c := range w.clients {
			ports = append(ports, w.Rpcb.await(w.M, c.prog, c.prot))
		}
		w.lockdUp(cur, w.Init)
		for i, c := range w.clients {
			w.spawn(cur, c, ports[i])
		}
		var killer []*kernel.Task
		if signal {
			killer = append(killer, w.killer(cur))
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		w.joinClients(cur)
		join(cur, killer)
	},
}

// nfsdRuns tells lockd that there is an nfsd, from whose files it takes locks.
func (w *World) nfsdRuns() {
	w.Lockd.NlmsvcOps.Assign(kernel.StaticObj[lockd.NlmsvcBinding](w.M, "nfsd_nlm_ops"))
}

// killer is somebody who sends the lockd thread of now a SIGKILL.
func (w *World) killer(cur *kernel.Task) *kernel.Task {
	victim := w.Lockd.NlmsvcTask
	return w.M.Spawn(cur, "killer", func(cur *kernel.Task) {
		w.Arrive(cur)
		kernel.KillPid(kernel.SIGKILL, victim)
	})
}

// secondNet has lockd in two namespaces: one service, one thread, sockets in both. What ends in one must not touch the
// other.
var secondNet = &Scenario{
	Name: "second-net",
	Doc:  "lockd comes up and goes down in two network namespaces at a time",
	Params: []Param{
		{Name: "clients", Doc: "clients in the second namespace, each with one request", Default: 1, Max: 2, Amount: true},
		{Name: "rounds", Doc: "how often lockd comes and goes in the first", Default: 1, Min: 1, Max: 3, Amount: true},
		{Name: "signal", Doc: "1: nfsd runs as well, and somebody sends lockd a SIGKILL while the second has it", Max: 1},
		protoParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		net, rpcb := w.secondNet(cur)
		if net == nil {
			return
		}
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		for i := range w.P.Get("clients") {
			prot := protocol(w.P.Get("proto"), i)
			c := w.newClient(net, prot, lockd.NLM_PROGRAM, nlmVersion, 1, false)
			w.spawn(cur, c, rpcb.await(w.M, lockd.NLM_PROGRAM, prot))
		}
		signal := w.P.Get("signal") == 1
		if signal {
			w.nfsdRuns()
		}
		first := w.M.Spawn(cur, "mount-init_net", func(cur *kernel.Task) {
			for range w.P.Get("rounds") {
				w.Arrive(cur)
				w.lockdUp(cur, w.Init)
				w.lockdDown(cur, w.Init)
			}
		})
		second := w.M.Spawn(cur, "mount-net1", func(cur *kernel.Task) {
			w.Arrive(cur)
			w.lockdUp(cur, net)
			var killer []*kernel.Task
			if signal {
				killer = append(killer, w.killer(cur))
			}
			w.joinClients(cur)
			join(cur, killer)
			settle(cur)
			w.lockdDown(cur, net)
		})
		join(cur, []*kernel.Task{first, second})
		w.finish(cur)
		w.freeNet(cur, net)
	},
}
