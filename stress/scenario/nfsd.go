// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// The smallest service whose threads svc_set_num_threads makes: one program with one version with the NULL procedure.
const (
	nfsProgram = 100003
	nfsVersion = 3
	nfsPort    = 2049
)

// nfsd is that service, with the mutex that its administrators take.
type nfsd struct {
	kernel.Obj
	w     *World
	mutex kernel.Mutex
	serv  *sunrpc.SvcServ
}

// nfsdPayload is how many octets a call or a reply of the service holds in pages, at most.
const nfsdPayload = 1024

// newNfsd makes the service without threads and sockets, nil if a step was made to fail. handmade: nobody but the
// scenario starts its threads, as lockd starts its own. service is the mutex's class.
func (w *World) newNfsd(cur *kernel.Task, service string, handmade bool) *nfsd {
	return w.newNfsdWith(cur, service, handmade, nfsdPayload)
}

// newNfsdWith is newNfsd with another payload; more fill in the procedures from 1 on.
func (w *World) newNfsdWith(cur *kernel.Task, service string, handmade bool, payload uint32,
	more ...func(*sunrpc.SvcProcedure)) *nfsd {
	d := kernel.StaticObj[nfsd](w.M, "nfsd")
	d.w = w
	d.mutex.Init(&d.Obj, service)
	fill := append([]func(*sunrpc.SvcProcedure){nullProcedure}, more...)
	vers := &sunrpc.SvcVersion{
		VsVers: nfsVersion, VsNproc: uint32(len(fill)), VsXdrsize: 64, VsHidden: true,
		VsProc: make([]sunrpc.SvcProcedure, len(fill)),
	}
	for i := range fill {
		fill[i](&vers.VsProc[i])
	}
	prog := &sunrpc.SvcProgram{
		PgProg: nfsProgram, PgName: "nfsd", PgClass: "nfsd",
		PgNvers: nfsVersion + 1, PgVers: []*sunrpc.SvcVersion{nfsVersion: vers},
		PgStats:        &sunrpc.SvcStat{},
		PgAuthenticate: func(*kernel.Task, *sunrpc.SvcRqst) int { return sunrpc.SVC_OK },
	}
	prog.PgStats.Program = prog
	if handmade {
		d.serv = sunrpc.SvcCreate(cur, w.Rpc, prog, payload, nil)
	} else {
		d.serv = sunrpc.SvcCreatePooled(cur, w.Rpc, prog, payload, nil, nfsdThread, w.Rpc.Module)
	}
	if d.serv == nil {
		return nil
	}
	w.Track(oracle.Service{Serv: d.serv, Mutex: &d.mutex, Refs: 1})
	return d
}

// nullProcedure fills in procedure 0.
func nullProcedure(p *sunrpc.SvcProcedure) {
	p.PcName = "NULL"
	p.PcFunc = func(*kernel.Task, *sunrpc.SvcRqst, any, any) uint32 { return sunrpc.RPC_SUCCESS }
	p.PcDecode = func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool { return sunrpc.XdrArgsizeCheck(rqstp, p) }
	p.PcEncode = func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool { return sunrpc.XdrRessizeCheck(rqstp, p) }
	p.PcXdrressize = 1
}

// nfsdThread is the body of a thread of the service.
func nfsdThread(cur *kernel.Task, data any) int {
	rqstp := data.(*sunrpc.SvcRqst)
	mod := rqstp.RqServer.SvModule
	for !cur.KthreadShouldStop() {
		err := sunrpc.SvcRecv(cur, rqstp, 3600*kernel.HZ)
		if err == -kernel.EAGAIN || err == -kernel.EINTR {
			continue
		}
		sunrpc.SvcProcess(cur, rqstp)
	}
	sunrpc.SvcExitThread(cur, rqstp)
	sunrpc.ModulePut(mod)
	return 0
}

// listen opens the service's datagram socket on nfsPort. -errno.
func (d *nfsd) listen(cur *kernel.Task, net *sock.Net) int { return d.listenTo(cur, net, "udp") }

// listenTo opens a socket of a class of transports on nfsPort. -errno.
func (d *nfsd) listenTo(cur *kernel.Task, net *sock.Net, class string) int {
	d.mutex.Lock(cur)
	defer d.mutex.Unlock(cur)
	return sunrpc.SvcCreateXprt(cur, d.serv, class, net, sock.PF_INET, nfsPort, sunrpc.SVC_SOCK_ANONYMOUS)
}

// setThreads is what an administrator does: from now on there are n threads. -errno.
func (d *nfsd) setThreads(cur *kernel.Task, n int) int {
	d.mutex.Lock(cur)
	defer d.mutex.Unlock(cur)
	err := sunrpc.SvcSetNumThreads(cur, d.serv, nil, n)
	if err == 0 {
		d.w.Resized(d.serv, nil, n)
	}
	return err
}

// destroy ends the service, which has no threads any more.
func (d *nfsd) destroy(cur *kernel.Task, net *sock.Net) {
	within(cur, "svc_destroy", func() {
		d.mutex.Lock(cur)
		sunrpc.SvcShutdownNet(cur, d.serv, net)
		d.w.Untrack(d.serv)
		sunrpc.SvcDestroy(cur, d.serv)
		d.mutex.Unlock(cur)
	})
}

// poolsParam is the parameter that says how many CPUs the machine has, for services with a pool a CPU.
const poolsParam = "pools"

// resize changes the number of threads under load, by several administrators at a time.
var resize = &Scenario{
	Name: "resize",
	Doc:  "administrators change the number of threads of a pooled service while clients use it",
	Params: []Param{
		{Name: "threads", Doc: "the most threads", Default: 2, Min: 1, Max: 4, Amount: true},
		{Name: "admins", Doc: "administrators", Default: 2, Min: 1, Max: 3, Amount: true},
		{Name: "clients", Doc: "clients, each with one request", Default: 1, Max: 3, Amount: true},
		{Name: poolsParam, Doc: "pools, one a CPU; more than one only without clients", Default: 1, Min: 1, Max: 2},
	},
	Main: func(cur *kernel.Task, w *World) {
		pools, most := w.P.Get(poolsParam), w.P.Get("threads")
		if pools > 1 {
			sunrpc.ParamSetPoolMode(cur, w.Rpc, "percpu")
		}
		d := w.newNfsd(cur, "nfsd_mutex", false)
		if d == nil {
			w.StartFailed("svc_create_pooled", -kernel.ENOMEM, 1)
			return
		}
		w.insist(cur, "svc_create_xprt", 0, func() int { return d.listen(cur, w.Init) })
		if pools == 1 { // the pools of a service need not all have a thread, and who arrives at an empty one waits
			for range w.P.Get("clients") {
				c := w.newClient(w.Init, sock.IPPROTO_UDP, nfsProgram, nfsVersion, 1, false)
				w.spawnAt(cur, c, nfsPort)
			}
		}
		var admins []*kernel.Task
		for i := range w.P.Get("admins") {
			admins = append(admins, w.M.Spawn(cur, numbered("admin", i), func(cur *kernel.Task) {
				w.Arrive(cur)
				d.mustSet(cur, max(most-i, 0))
				w.Arrive(cur)
				d.mustSet(cur, i%2)
			}))
		}
		join(cur, admins)
		d.mustSet(cur, 1)
		w.joinClients(cur)
		settle(cur)
		d.mustSet(cur, 0)
		d.destroy(cur, w.Init)
	},
}

// mustSet is setThreads that succeeds in the end.
func (d *nfsd) mustSet(cur *kernel.Task, n int) {
	d.w.insist(cur, "svc_set_num_threads", 0, func() int { return d.setThreads(cur, n) })
}

// carelessAdmin is the case that was called a strange one in 2014: a thread that is started by hand, as lockd and the
// callback service do it, and somebody who sets the number of threads to 0 at the same time. With the service mutex
// the two cannot meet. Without it choose_victim can take a svc_rqst whose rq_task is still NULL.
//
// The service is handmade instead of lockd itself, because lockd's thread leaves its own cleaning up to lockd_down:
// nobody else may stop it, mutex or not.
var carelessAdmin = &Scenario{
	Name: "careless-admin",
	Doc:  "a thread is started by hand while an administrator sets the number of threads to 0",
	Params: []Param{
		{Name: "mutex", Doc: "the administrator 1: takes the service mutex; 0: does not", Default: 1, Max: 1, Defect: true},
	},
	Main: func(cur *kernel.Task, w *World) {
		d := w.newNfsd(cur, "nlmsvc_mutex", true)
		if d == nil {
			w.StartFailed("svc_create", -kernel.ENOMEM, 1)
			return
		}
		careful := w.P.Get("mutex") == 1
		pool := d.serv.SvPools[0]
		up := w.M.Spawn(cur, "service_up", func(cur *kernel.Task) {
			w.Arrive(cur)
			within(cur, "service_up", func() { d.startByHand(cur) })
		})
		admin := w.M.Spawn(cur, "admin", func(cur *kernel.Task) {
			w.Arrive(cur)
			within(cur, "svc_set_num_threads", func() {
				if careful {
					d.mutex.Lock(cur)
				}
				if err := sunrpc.SvcSetNumThreads(cur, d.serv, pool, 0); err != 0 {
					w.StartFailed("svc_set_num_threads", err, 1)
				}
				if careful {
					w.Resized(d.serv, pool, 0)
					d.mutex.Unlock(cur)
				}
			})
		})
		join(cur, []*kernel.Task{up, admin})
		settle(cur)
		within(cur, "svc_set_num_threads", func() {
			d.mutex.Lock(cur)
			if sunrpc.SvcSetNumThreads(cur, d.serv, pool, 0) == 0 {
				w.Resized(d.serv, pool, 0)
			}
			d.mutex.Unlock(cur)
		})
		d.destroy(cur, w.Init)
	},
}

// startByHand starts one thread the way lockd_start_svc and nfs_callback_start_svc do it.
func (d *nfsd) startByHand(cur *kernel.Task) {
	d.mutex.Lock(cur)
	defer d.mutex.Unlock(cur)
	rqstp, err := sunrpc.SvcPrepareThread(cur, d.serv, d.serv.SvPools[0], sunrpc.NUMA_NO_NODE)
	if err != 0 {
		d.w.StartFailed("svc_prepare_thread", err, 1)
		return
	}
	task := d.w.M.KthreadCreate(cur, nfsdThread, rqstp, d.serv.SvName)
	if kernel.IsErr(task) {
		sunrpc.SvcExitThread(cur, rqstp)
		d.w.StartFailed("kthread_create", kernel.PtrErr(task), 1)
		return
	}
	rqstp.RqTask.Store(task)
	kernel.WakeUpProcess(task)
}
