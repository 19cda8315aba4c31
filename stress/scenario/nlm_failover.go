// SPDX-License-Identifier: MIT

package scenario

import (
	"slices"

	"github.com/seed17199236/svcfuzz/target/fs"
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
			"only begin to ask; 4: the others cancel, and the first one releases; 5: as for 1, and the administrator waits " +
			"until the second has been called", Default: 1, Max: 5},
		asyncParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := w.newLockHosts(cur, w.P.Get("clients"), true)
		if h == nil {
			return
		}
		w.History = nil // nobody tells the clients what they have lost
		release := w.P.Get("release")
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		if release == 3 {
			h.queue(cur, 1)
		} else {
			h.queue(cur, len(h.lockers))
		}
		for i, c := range h.lockers {
			c.spawn(cur, func(cur *kernel.Task) {
				for _, inode := range h.files {
					switch {
					case i > 0 && (release == 2 || release == 4):
						c.giveUp(cur, inode)
					case i > 0 && release == 3:
						c.take(cur, inode, true)
					case i > 0:
						c.await(cur, hurry)
						c.told.Complete()
					case release == 1 || release >= 4:
						c.release(cur, inode)
					}
				}
			})
		}
		w.Arrive(cur)
		if release == 5 {
			h.lockers[1].told.WaitTimeout(cur, kernel.HZ) // what it answers is on its way; a step may have failed
		}
		w.Lockd.NlmsvcUnlockAllBySb(cur, w.Lockd.Fs)
		h.join(cur)
		if release != 3 && !h.disturbed() {
			h.bare(cur)
		}
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}

// bare looks that nobody has a lock when lockd has done what it was about to do. Nobody asks for any.
func (h *lockHosts) bare(cur *kernel.Task) {
	held := func(inode *fs.Inode) bool { return len(inode.Locks()) > 0 }
	for range 20 {
		settle(cur)
		if !slices.ContainsFunc(h.files, held) {
			return
		}
	}
	h.w.report("locks", "a client has a lock although all were taken back", h.w.M.DumpTasks())
}
