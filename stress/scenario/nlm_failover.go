// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// nlmFailover is the one who goes through the locks of all clients while lockd works on them: the administrator, who
// takes them all back before a file system moves to another server.
var nlmFailover = &Scenario{
	Name:  "nlm-failover",
	Doc:   "the administrator takes back all locks of a file system while clients wait for them, cancel and release",
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "clients; the first one holds, the others wait", Default: 2, Min: 2, Max: 3, Amount: true},
		protoParam,
		{Name: "files", Doc: "files that they lock", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "release", Doc: "meanwhile, 1: the first client releases its locks; 2: the others cancel; 3: the others " +
			"only begin to ask", Default: 1, Max: 3},
		asyncParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := w.newLockHosts(cur, w.P.Get("clients"), true)
		if h == nil {
			return
		}
		w.History = nil // nobody tells the clients what they have lost
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		if w.P.Get("release") == 3 {
			h.queue(cur, 1)
		} else {
			h.queue(cur, len(h.lockers))
		}
		for i, c := range h.lockers {
			c.spawn(cur, func(cur *kernel.Task) {
				for _, inode := range h.files {
					switch {
					case i > 0 && w.P.Get("release") == 2:
						c.giveUp(cur, inode)
					case i > 0 && w.P.Get("release") == 3:
						c.take(cur, inode, true)
					case i > 0:
						c.await(cur, hurry)
					case w.P.Get("release") == 1:
						c.release(cur, inode)
					}
				}
			})
		}
		w.Arrive(cur)
		w.Lockd.NlmsvcUnlockAllBySb(cur, w.Lockd.Fs)
		h.join(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}
