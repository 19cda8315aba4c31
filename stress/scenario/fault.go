// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
)

// failParam is the parameter that says which fallible step fails, for scenarios that bear it.
const failParam = "k"

// faultInjection starts a service with one step made to fail. Either the start call says so and everything is as it
// was before, and then a second call succeeds; or it can do without that step, and then the service works.
var faultInjection = &Scenario{
	Name: "fault-injection",
	Doc:  "a service is started while one of its steps fails",
	Params: []Param{
		{Name: failParam, Doc: "which fallible step fails; 0: none", Max: 1000},
		{Name: "service", Doc: "0 lockd, 1 callback with a listener, 2 callback over a back channel, 3 nfsd", Max: 3},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		switch w.P.Get("service") {
		case 0:
			w.failingLockd(cur)
		case 1:
			w.failingCallback(cur)
		case 2:
			w.failingBackchannel(cur)
		case 3:
			w.failingNfsd(cur)
		}
	},
}

// insist calls start, which starts something or fails without a trace, until it succeeds. It fails as often as a step of it
// was made to fail, at most; it has failed that many times before.
func (w *World) insist(cur *kernel.Task, what string, failed int, start func() int) {
	for {
		err := 0
		within(cur, what, func() { err = start() })
		if err >= 0 {
			return
		}
		failed++
		w.StartFailed(what, err, failed)
	}
}

// tryStart calls start, which takes back all it did if it fails, and calls it again then. The second call must
// succeed: only one step is made to fail.
func (w *World) tryStart(cur *kernel.Task, what string, start func() int) {
	before := len(w.M.LiveObjects())
	err := 0
	within(cur, what, func() { err = start() })
	if err >= 0 {
		return
	}
	w.StartFailed(what, err, 1)
	w.M.SynchronizeRcu(cur)
	settle(cur) // events of sockets that are gone
	if live := w.M.LiveObjects(); len(live) != before {
		var names []string
		for _, o := range live {
			names = append(names, o.Name())
		}
		w.report("leak", what+" fails and leaves something behind",
			fmt.Sprintf("%s: %d objects more\n%s", kernel.ErrName(err), len(live)-before, strings.Join(names, "\n")))
	}
	w.insist(cur, what+" after a failure", 1, start)
}

// reach makes sure that a service answers: attempts may meet the steps that fail, or the client's timeout comes early.
func (w *World) reach(cur *kernel.Task, prot int, prog, vers uint32, port uint16) {
	attempts := 0
	for ; attempts < 3+w.M.Departed(kernel.DecideAlloc)+w.M.Departed(kernel.DecideTimer); attempts++ {
		c := w.newClient(w.Init, prot, prog, vers, 1, true)
		c.run(cur, port)
		if len(c.xs[0].Replies) > 0 {
			return
		}
	}
	w.report("reply", "a service that was started does not answer", fmt.Sprintf("%d attempts", attempts))
}

func (w *World) failingLockd(cur *kernel.Task) {
	w.Lockd = lockd.New(cur, w.Rpc, w.Init)
	var udp, tcp *portWait
	w.tryStart(cur, "lockd_up", func() int {
		w.Rpcb.waits = nil
		udp = w.Rpcb.await(w.M, lockd.NLM_PROGRAM, sock.IPPROTO_UDP)
		tcp = w.Rpcb.await(w.M, lockd.NLM_PROGRAM, sock.IPPROTO_TCP)
		return w.Lockd.LockdUp(cur, w.Init)
	})
	w.reach(cur, sock.IPPROTO_UDP, lockd.NLM_PROGRAM, nlmVersion, udp.port)
	w.reach(cur, sock.IPPROTO_TCP, lockd.NLM_PROGRAM, nlmVersion, tcp.port)
	w.lockdDown(cur, w.Init)
}

func (w *World) failingCallback(cur *kernel.Task) {
	w.Nfs = nfs.New(cur, w.Rpc, w.Init)
	w.Nfs.NfsCallbackSetTcpport = callbackPort
	w.tryStart(cur, "nfs_callback_up", func() int { return w.Nfs.NfsCallbackUp(cur, 0, nil, w.Init) })
	w.reach(cur, sock.IPPROTO_TCP, nfs.NFS4_CALLBACK, callbackVersion, callbackPort)
	w.callbackDown(cur, 0)
}

func (w *World) failingBackchannel(cur *kernel.Task) {
	w.Nfs = nfs.New(cur, w.Rpc, w.Init)
	bc := w.newBackchannel(cur, w.Init, 1)
	if bc == nil {
		return
	}
	w.tryStart(cur, "nfs_callback_up", func() int { return w.Nfs.NfsCallbackUp(cur, 1, bc.xprt, w.Init) })
	for i := range 2 {
		c := bc.newCall("server", i == 0)
		bc.call(cur, c)
		if len(c.x.Replies) > 0 {
			break
		}
	}
	w.callbackDown(cur, 1)
	bc.free(cur)
}

func (w *World) failingNfsd(cur *kernel.Task) {
	d := w.newNfsd(cur, "nfsd_mutex", false)
	if d == nil {
		return
	}
	w.tryStart(cur, "svc_create_xprt", func() int { return d.listen(cur, w.Init) })
	w.tryStart(cur, "svc_set_num_threads", func() int {
		err := d.setThreads(cur, 2)
		if err != 0 {
			d.mustSet(cur, 0)
		}
		return err
	})
	w.reach(cur, sock.IPPROTO_UDP, nfsProgram, nfsVersion, nfsPort)
	d.mustSet(cur, 0)
	d.destroy(cur, w.Init)
}
