// SPDX-License-Identifier: MIT

package scenario

import "github.com/seed17199236/svcfuzz/target/kernel"

// nlmNfsd has nfsd under lockd go and come back, as a module does. Clients are refused meanwhile, and what they have
// stays locked.
var nlmNfsd = &Scenario{
	Name:  "nlm-nfsd",
	Doc:   "nfsd, whose files lockd locks, goes away and comes back while clients lock them",
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "clients, each with one process", Default: 1, Min: 1, Max: 2, Amount: true},
		protoParam,
		{Name: "files", Doc: "files that they lock", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "back", Doc: "0: nfsd stays away", Default: 1, Max: 1},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := w.newLockHosts(cur, w.P.Get("clients"), false)
		if h == nil {
			return
		}
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		for _, c := range h.lockers {
			c.spawn(cur, func(cur *kernel.Task) {
				for _, inode := range h.files {
					c.take(cur, inode, false)
					c.release(cur, inode)
				}
			})
		}
		nfsd := w.M.Spawn(cur, "nfsd", func(cur *kernel.Task) {
			w.Arrive(cur)
			w.Lockd.NfsdLockdShutdown(cur)
			if w.P.Get("back") == 1 {
				w.Arrive(cur)
				w.Lockd.NfsdLockdInit(w.Lockd.Fs)
			}
		})
		h.join(cur)
		kernel.Join(cur, nfsd)
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}
