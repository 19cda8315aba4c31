// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// nlmReboot has a client in each of two namespaces, both with the same address, and one of them reboots.
var nlmReboot = &Scenario{
	Name:  "nlm-reboot",
	Doc:   "two clients in two namespaces have one address and a lock each, and the monitor says that one has rebooted",
	Actor: "mount",
	Params: []Param{
		{Name: "files", Doc: "files that there are", Default: 1, Min: 1, Max: 1},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		net, rpcb := w.secondNet(cur)
		if net == nil {
			return
		}
		h := w.newLockHosts(cur, 1, false)
		if h == nil {
			w.freeNet(cur, net)
			return
		}
		c := h.newLockerIn(cur, net, rpcb, 0)
		if c == nil {
			w.StartFailed("listen", -kernel.ENOMEM, 1)
		} else {
			h.lockers = append(h.lockers, c)
			h.reboot(cur, net)
		}
		h.end(cur)
		w.finish(cur)
		w.freeNet(cur, net)
	},
}

// reboot is a session of the two clients, of which the one in net reboots.
func (h *lockHosts) reboot(cur *kernel.Task, net *sock.Net) {
	w := h.w
	stays, reboots := h.lockers[0], h.lockers[1]
	w.lockdUp(cur, w.Init)
	w.lockdUp(cur, net)
	w.endGrace(w.Init)
	w.endGrace(net)
	stays.spawn(cur, func(cur *kernel.Task) {
		stays.want1(cur, stays.process(0).lock(0, 10, true), wire.NLM4_GRANTED)
	})
	reboots.spawn(cur, func(cur *kernel.Task) {
		other := reboots.process(1)
		reboots.want1(cur, other.lock(20, 10, true), wire.NLM4_GRANTED)
		reboots.rebooted(cur)
		if st, _ := reboots.testRange(cur, other.lock(20, 10, true)); st == wire.NLM4_DENIED {
			reboots.complain("locks", "a client that has rebooted has its lock", "")
		}
	})
	h.join(cur)
	stays.spawn(cur, func(cur *kernel.Task) {
		if st, _ := stays.testRange(cur, stays.process(1).lock(0, 10, true)); st == wire.NLM4_GRANTED {
			stays.complain("locks", "a client loses its lock because another one has rebooted", "")
		}
	})
	h.join(cur)
	w.lockdDown(cur, net)
	w.lockdDown(cur, w.Init)
}

// rebooted is the status monitor of the client's namespace: it says to lockd what lockd has asked to hear.
func (c *locker) rebooted(cur *kernel.Task) {
	w := c.h.w
	args := &wire.Sm_status{Mon_name: c.name, State: 3}
	w.Lockd.NlmHostMutex.Lock(cur)
	for _, bucket := range w.Lockd.NlmServerHosts {
		for _, host := range bucket {
			if host.Net == c.net {
				args.Priv = host.HNsmhandle.SmPriv
			}
		}
	}
	w.Lockd.NlmHostMutex.Unlock(cur)
	statd, err := sock.DialFrom(cur, c.net, c.prot, sock.LoopbackAddr(sock.AF_INET, statdPort), c.lockdAddr())
	if err != 0 {
		return
	}
	conn := c.conn
	c.conn = statd
	c.ask(cur, lockd.NLMPROC_NSM_NOTIFY, args)
	c.conn = conn
	statd.Close()
}

// statdPort is where the status monitor calls from: a privileged one.
const statdPort = 700
