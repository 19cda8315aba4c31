// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

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
		module := w.watchNfsd()
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
			module.gone.Set(1)
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

// nfsdModule is the code of nfsd. Who is in it when it is unloaded has nowhere to return to.
type nfsdModule struct {
	kernel.Obj
	w    *World
	gone kernel.Atomic // 1: unloaded
}

// watchNfsd looks after those who run in the nfsd that is there. Nobody does yet.
func (w *World) watchNfsd() *nfsdModule {
	x := kernel.StaticObj[nfsdModule](w.M, "nfsd")
	x.w = w
	x.gone.Init(&x.Obj, "gone")
	b := w.Lockd.NlmsvcOps.Peek()
	fopen, fclose := b.Fopen, b.Fclose
	b.Fopen = func(cur *kernel.Task, rqstp *sunrpc.SvcRqst, fh *lockd.NfsFh) (*fs.File, uint32) {
		filp, status := fopen(cur, rqstp, fh)
		x.leave()
		return filp, status
	}
	b.Fclose = func(cur *kernel.Task, filp *fs.File) {
		fclose(cur, filp)
		x.leave()
	}
	return x
}

// leave is the last thing that a function of the module does.
func (x *nfsdModule) leave() {
	if x.gone.Read() != 0 {
		x.w.report("oops", "lockd runs in nfsd, which is gone", "")
	}
}
