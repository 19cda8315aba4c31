// SPDX-License-Identifier: GPL-2.0-only

// Package nfs is the NFSv4 callback service of Linux's NFS client, fs/nfs/callback.c as of 3.19: one service for each
// minor version, shared by all network namespaces, with one thread that serves a listener (minor version 0) or the
// back channels of the client's own connections (1 and 2).
package nfs

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NFS4_MAX_MINOR_VERSION is the highest minor version that has a callback service.
const NFS4_MAX_MINOR_VERSION = 2

// NfsCallbackData is the callback service of one minor version. All of it is guarded by NfsCallbackMutex.
type NfsCallbackData struct {
	Users uint32
	Serv  *sunrpc.SvcServ
	Rqst  *sunrpc.SvcRqst
	Task  *kernel.Task // set exactly while the service runs

	xprts   []bcXprt // the transports whose bc_serv is Serv, each with a reference
	program *sunrpc.SvcProgram
}

// bcXprt is a transport that was given a back channel service on behalf of a namespace.
type bcXprt struct {
	xprt *sunrpc.RpcXprt
	net  *sock.Net
}

// Nfs is the part of the NFS client module of one machine that callbacks need: what C keeps in variables.
type Nfs struct {
	kernel.Obj
	Rpc     *sunrpc.Sunrpc
	InitNet *sock.Net

	NfsCallbackInfo  [NFS4_MAX_MINOR_VERSION + 1]NfsCallbackData // by minor version
	NfsCallbackMutex kernel.Mutex                                // held across every start and stop
	nets             []*NfsNet                                   // NfsCallbackMutex

	// NfsClientLock guards the list of clients and their last reference; Nfs4DeviceidLock the data servers.
	//
	// Differs: one list for all namespaces, whose entries name theirs; the kernel has one in each.
	NfsClientLock     kernel.Spinlock
	NfsClientList     kernel.List[NfsClient] // through ClShareLink
	Nfs4DeviceidLock  kernel.Spinlock
	Nfs4DeviceidCache kernel.List[NfsDeviceid]

	// NfsCallbackSetTcpport is the module parameter callback_tcpport; 0: any. Set it before the first NfsCallbackUp.
	NfsCallbackSetTcpport uint16
}

// New loads the callback part of the NFS client module. rpc is the sunrpc module that its services will live in,
// init the initial namespace.
//
// C: init_nfs_fs, fs/nfs/inode.c
func New(cur *kernel.Task, rpc *sunrpc.Sunrpc, init *sock.Net) *Nfs {
	n := kernel.StaticObj[Nfs](cur.Machine(), "nfs")
	n.Rpc = rpc
	n.InitNet = init
	n.NfsCallbackMutex.Init(&n.Obj, "nfs_callback_mutex")
	n.initClients()
	for i := range n.NfsCallbackInfo {
		n.NfsCallbackInfo[i].program = n.nfs4CallbackProgram()
	}
	n.nfsNet(init)
	return n
}

// NfsNet is the state of net, nil if no callback service was ever brought up there. The caller holds
// NfsCallbackMutex or knows that nobody else does: this is for oracles.
func (n *Nfs) NfsNet(net *sock.Net) *NfsNet {
	for _, nn := range n.nets {
		if nn.Net == net {
			return nn
		}
	}
	return nil
}

// Nets lists the namespaces in which a callback service was ever brought up, for oracles; the same rule as for
// NfsNet.
func (n *Nfs) Nets() []*NfsNet { return n.nets }

// nfsNet is the state of net, made on the first call for it. NfsCallbackMutex is held, or nobody else knows n yet.
//
// Differs: the kernel makes it when the namespace is made.
//
// C: net_generic(net, nfs_net_id), fs/nfs/callback.c
func (n *Nfs) nfsNet(net *sock.Net) *NfsNet {
	nn := n.NfsNet(net)
	if nn == nil {
		nn = &NfsNet{Net: net}
		n.nets = append(n.nets, nn)
	}
	return nn
}

// nfs4CallbackUpNet opens the listeners of the minor version 0 service in a namespace. NfsCallbackMutex is held.
// IPv6 may be missing. On failure (-errno) the IPv4 listener may be left open: the caller closes.
//
// C: nfs4_callback_up_net, fs/nfs/callback.c
func (n *Nfs) nfs4CallbackUpNet(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net) int {
	nn := n.nfsNet(net)

	ret := sunrpc.SvcCreateXprt(cur, serv, "tcp", net, sock.PF_INET, n.NfsCallbackSetTcpport,
		sunrpc.SVC_SOCK_ANONYMOUS)
	if ret <= 0 {
		goto outErr
	}
	nn.NfsCallbackTcpport = uint16(ret)

	ret = sunrpc.SvcCreateXprt(cur, serv, "tcp", net, sock.PF_INET6, n.NfsCallbackSetTcpport,
		sunrpc.SVC_SOCK_ANONYMOUS)
	if ret > 0 {
		nn.NfsCallbackTcpport6 = uint16(ret)
	} else if ret != -kernel.EAFNOSUPPORT {
		goto outErr
	}
	return 0

outErr:
	if ret == 0 {
		return -kernel.ENOMEM
	}
	return ret
}

// nfs4CallbackSvc is the thread of the minor version 0 service; data is its *SvcRqst, which the stopper frees.
// Returns 0.
//
// C: nfs4_callback_svc, fs/nfs/callback.c
func nfs4CallbackSvc(cur *kernel.Task, data any) int {
	rqstp := data.(*sunrpc.SvcRqst)

	cur.SetFreezable()

	for !cur.KthreadShouldStop() {
		err := sunrpc.SvcRecv(cur, rqstp, kernel.MaxScheduleTimeout)
		if err == -kernel.EAGAIN || err == -kernel.EINTR {
			continue
		}
		sunrpc.SvcProcess(cur, rqstp)
	}
	return 0
}

// nfs4CallbackUp prepares the thread of the minor version 0 service. NfsCallbackMutex is held; -errno.
//
// C: nfs4_callback_up, fs/nfs/callback.c
func nfs4CallbackUp(cur *kernel.Task, serv *sunrpc.SvcServ) (*sunrpc.SvcRqst, int) {
	return sunrpc.SvcPrepareThread(cur, serv, serv.SvPools[0], sunrpc.NUMA_NO_NODE)
}

// nfs41CallbackUpNet makes the place holder transport of a back channel service in a namespace. NfsCallbackMutex is
// held. 0 or -errno.
//
// C: nfs41_callback_up_net, fs/nfs/callback.c
func nfs41CallbackUpNet(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net) int {
	return sunrpc.SvcCreateXprt(cur, serv, "tcp-bc", net, sock.PF_INET, 0, sunrpc.SVC_SOCK_ANONYMOUS)
}

// nfs41CallbackSvc is the thread of a back channel service; data is its *SvcRqst, which the stopper frees. Requests
// reach it through SvCbList and SvCbWaitq, not through a transport of the service. Returns 0.
//
// Differs: looks for a stop request once more between announcing its sleep and sleeping. 3.19 sleeps without, and
// the wake-up of a kthread_stop that came since the loop's own test is lost (ed6473ddc704). Leaves the queue before it
// processes a call, where 3.19 does so behind it and may block in the state of a sleeper ("nfs: don't call blocking
// operations while !TASK_RUNNING", 4.0). Forgets signals ("nfs: fix high load average due to callback thread
// sleeping", 4.0).
//
// C: nfs41_callback_svc, fs/nfs/callback.c
func nfs41CallbackSvc(cur *kernel.Task, data any) int {
	rqstp := data.(*sunrpc.SvcRqst)
	serv := rqstp.RqServer
	var wq kernel.WaitEntry

	cur.SetFreezable()

	for !cur.KthreadShouldStop() {
		if kernel.TryToFreeze(cur) {
			continue
		}
		serv.SvCbWaitq.PrepareToWait(cur, &wq, kernel.TASK_INTERRUPTIBLE)
		serv.SvCbLock.LockBH()
		if req := serv.SvCbList.First(); req != nil {
			serv.SvCbList.Del(&req.RqBcList)
			serv.SvCbLock.UnlockBH()
			serv.SvCbWaitq.FinishWait(cur, &wq)
			sunrpc.BcSvcProcess(cur, serv, req, rqstp)
		} else {
			serv.SvCbLock.UnlockBH()
			if !cur.KthreadShouldStop() {
				kernel.Schedule(cur)
			}
			serv.SvCbWaitq.FinishWait(cur, &wq)
		}
		cur.FlushSignals()
	}
	return 0
}

// nfs41CallbackUp prepares the thread of a back channel service. NfsCallbackMutex is held; -errno.
//
// Differs: SvCbList, SvCbLock and SvCbWaitq are set up by SvcCreate. 3.19 does it here, when bc_serv may already
// have shown the service to the receive side of the transport. There is no sv_bc_xprt whose reference a failure drops
// (d4b09acf924b).
//
// C: nfs41_callback_up, fs/nfs/callback.c
func nfs41CallbackUp(cur *kernel.Task, serv *sunrpc.SvcServ) (*sunrpc.SvcRqst, int) {
	return sunrpc.SvcPrepareThread(cur, serv, serv.SvPools[0], sunrpc.NUMA_NO_NODE)
}

// nfsMinorversionCallbackSvcSetup prepares the thread of a back channel service and says what it runs.
// NfsCallbackMutex is held; -errno.
//
// C: nfs_minorversion_callback_svc_setup, fs/nfs/callback.c
func nfsMinorversionCallbackSvcSetup(cur *kernel.Task, serv *sunrpc.SvcServ) (*sunrpc.SvcRqst, sunrpc.SvcThreadFn,
	int) {
	rqstp, err := nfs41CallbackUp(cur, serv)
	return rqstp, nfs41CallbackSvc, err
}

// nfsCallbackBcServ tells a transport where its back channel requests go: from now on they may arrive. Nothing to do
// for minor version 0. NfsCallbackMutex is held.
//
// Differs: under bc_pa_lock, where the receive side reads it; 3.19 has no lock on either side (9e9fdd0ad0fb).
// Remembers the transport, with a reference, since 3.19 does not tell nfs_callback_down which one it is about.
//
// C: nfs_callback_bc_serv, fs/nfs/callback.c
func (n *Nfs) nfsCallbackBcServ(minorversion int, xprt *sunrpc.RpcXprt, serv *sunrpc.SvcServ, net *sock.Net) {
	if minorversion == 0 {
		return
	}
	cbInfo := &n.NfsCallbackInfo[minorversion]
	known := false
	for _, b := range cbInfo.xprts {
		known = known || b.xprt == xprt
	}
	if !known {
		cbInfo.xprts = append(cbInfo.xprts, bcXprt{sunrpc.XprtGet(xprt), net})
	}
	sunrpc.XprtSvcSetBc(xprt, serv)
}

// nfsCallbackShutdownBc closes the back channels that were opened for net: behind it no transport of that namespace
// leads to the service any more. Nothing to do for minor version 0. NfsCallbackMutex is held.
//
// Differs: 3.19 never takes the pointer back, and a late request goes to a freed service. This is the form posted
// 2026-05-28 ("SUNRPC: close backchannel before destroying callback service", Fixes: 441244d4273a, 9e9fdd0ad0fb),
// for all transports of the namespace instead of the one that the caller names.
//
// C: nfs_callback_down, fs/nfs/callback.c
func (n *Nfs) nfsCallbackShutdownBc(minorversion int, net *sock.Net) {
	cbInfo := &n.NfsCallbackInfo[minorversion]
	var keep []bcXprt
	for _, b := range cbInfo.xprts {
		if b.net != net {
			keep = append(keep, b)
			continue
		}
		sunrpc.XprtSvcShutdownBc(b.xprt)
		sunrpc.XprtPut(b.xprt)
	}
	cbInfo.xprts = keep
}

// nfsCallbackStartSvc starts the thread of a service if it is not running and opens the transport's back channel.
// NfsCallbackMutex is held, and the listeners are open: from the wake-up on, requests go to the thread. On failure
// (-errno) there is neither thread nor SvcRqst, and the caller closes the back channel.
//
// Differs: Serv is forgotten on failure as well; 3.19 leaves it pointing to the service that the caller destroys
// (ours).
//
// C: nfs_callback_start_svc, fs/nfs/callback.c
func (n *Nfs) nfsCallbackStartSvc(cur *kernel.Task, minorversion int, xprt *sunrpc.RpcXprt, serv *sunrpc.SvcServ,
	net *sock.Net) int {
	var rqstp *sunrpc.SvcRqst
	var callbackSvc sunrpc.SvcThreadFn
	var ret int
	cbInfo := &n.NfsCallbackInfo[minorversion]

	n.nfsCallbackBcServ(minorversion, xprt, serv, net)

	if cbInfo.Task != nil {
		return 0
	}

	switch minorversion {
	case 0:
		rqstp, ret = nfs4CallbackUp(cur, serv)
		callbackSvc = nfs4CallbackSvc
	default:
		rqstp, callbackSvc, ret = nfsMinorversionCallbackSvcSetup(cur, serv)
	}
	if ret != 0 {
		return ret
	}

	sunrpc.SvcSockUpdateBufs(serv)

	cbInfo.Serv = serv
	cbInfo.Rqst = rqstp
	cbInfo.Task = n.Machine().KthreadCreate(cur, callbackSvc, cbInfo.Rqst, fmt.Sprintf("nfsv4.%d-svc", minorversion))
	if kernel.IsErr(cbInfo.Task) {
		ret = kernel.PtrErr(cbInfo.Task)
		sunrpc.SvcExitThread(cur, cbInfo.Rqst)
		cbInfo.Serv = nil
		cbInfo.Rqst = nil
		cbInfo.Task = nil
		return ret
	}
	rqstp.RqTask.Store(cbInfo.Task)
	kernel.WakeUpProcess(cbInfo.Task)
	return 0
}

// nfsCallbackDownNet takes a user of a service from a namespace; behind the last one it closes the namespace's
// sockets. NfsCallbackMutex is held and the thread, if there is one, still runs.
//
// C: nfs_callback_down_net, fs/nfs/callback.c
func (n *Nfs) nfsCallbackDownNet(cur *kernel.Task, minorversion int, serv *sunrpc.SvcServ, net *sock.Net) {
	nn := n.nfsNet(net)

	nn.CbUsers[minorversion]--
	if nn.CbUsers[minorversion] != 0 {
		return
	}
	sunrpc.SvcShutdownNet(cur, serv, net)
}

// nfsCallbackUpNet adds a user of a service to a namespace; for the first one it opens the sockets. NfsCallbackMutex
// is held. On failure (-errno) the user is not counted and no socket is left.
//
// Differs: 3.19 keeps the user counted on failure, and the next one finds a service without sockets (98b0f80c2396).
// Closes whatever was opened, where 3.19 and its successors only run svc_rpcb_cleanup: a failing IPv6 listener would
// leave the IPv4 one to a service that is about to be destroyed, and the rpcbind reference that svc_rpcb_cleanup
// drops was never taken for this hidden program but by another service of the namespace (ours).
//
// C: nfs_callback_up_net, fs/nfs/callback.c
func (n *Nfs) nfsCallbackUpNet(cur *kernel.Task, minorversion int, serv *sunrpc.SvcServ, net *sock.Net) int {
	nn := n.nfsNet(net)

	nn.CbUsers[minorversion]++
	if nn.CbUsers[minorversion] > 1 {
		return 0
	}

	ret := sunrpc.SvcBind(cur, serv, net)
	if ret < 0 {
		n.Machine().Printk("NFS: bind callback service failed")
		goto errBind
	}

	switch minorversion {
	case 0:
		ret = n.nfs4CallbackUpNet(cur, serv, net)
	case 1, 2:
		ret = nfs41CallbackUpNet(cur, serv, net)
	default:
		n.Machine().Printk("NFS: unknown callback version: %d", minorversion)
		ret = -kernel.EINVAL
	}
	if ret < 0 {
		n.Machine().Printk("NFS: callback service start failed")
		goto errSocks
	}
	return 0

errSocks:
	sunrpc.SvcShutdownNet(cur, serv, net)
errBind:
	nn.CbUsers[minorversion]--
	return ret
}

// nfsCallbackCreateSvc returns the running service with one more reference, or a new one, whose first reference is
// then the caller's. NfsCallbackMutex is held. -ENOMEM if it cannot be made.
//
// C: nfs_callback_create_svc, fs/nfs/callback.c
func (n *Nfs) nfsCallbackCreateSvc(cur *kernel.Task, minorversion int) (*sunrpc.SvcServ, int) {
	cbInfo := &n.NfsCallbackInfo[minorversion]

	if cbInfo.Task != nil {
		sunrpc.SvcGet(cbInfo.Serv)
		return cbInfo.Serv, 0
	}

	if cbInfo.Users != 0 {
		n.Machine().Printk("nfs_callback_create_svc: no kthread, %d users??", cbInfo.Users)
	}

	serv := sunrpc.SvcCreate(cur, n.Rpc, cbInfo.program, NFS4_CALLBACK_BUFSIZE, nil)
	if serv == nil {
		n.Machine().Printk("nfs_callback_create_svc: create service failed")
		return nil, -kernel.ENOMEM
	}
	// With one thread the default would be 80 connections.
	serv.SvMaxconn = 1024
	return serv, 0
}

// NfsCallbackUp adds a user of the callback service of a minor version in net and starts what is not running yet.
// xprt is the client's transport, whose back channel is opened; it is nil for minor version 0. Takes
// NfsCallbackMutex; may sleep. 0, or -errno with everything as it was before.
//
// Differs: 3.19 has a transport for minor version 0 as well, of which it uses the namespace alone. A failing start
// closes the back channel and gives back what came by it meanwhile; 3.19 leaves the transport with a freed service, see
// nfsCallbackShutdownBc.
//
// C: nfs_callback_up, fs/nfs/callback.c
func (n *Nfs) NfsCallbackUp(cur *kernel.Task, minorversion int, xprt *sunrpc.RpcXprt, net *sock.Net) int {
	cbInfo := &n.NfsCallbackInfo[minorversion]

	n.NfsCallbackMutex.Lock(cur)

	serv, ret := n.nfsCallbackCreateSvc(cur, minorversion)
	if ret != 0 {
		goto errCreate
	}

	ret = n.nfsCallbackUpNet(cur, minorversion, serv, net)
	if ret < 0 {
		goto errNet
	}

	ret = n.nfsCallbackStartSvc(cur, minorversion, xprt, serv, net)
	if ret < 0 {
		goto errStart
	}

	cbInfo.Users++
	// From here on the thread's reference keeps the service; ours goes, whether we succeeded or not.
errNet:
	sunrpc.SvcDestroy(cur, serv)
errCreate:
	n.NfsCallbackMutex.Unlock(cur)
	return ret

errStart:
	n.nfsCallbackShutdownBc(minorversion, net)
	n.nfsCallbackDownNet(cur, minorversion, serv, net)
	sunrpc.XprtSvcDrainBc(serv)
	goto errNet
}

// NfsCallbackDown takes a user of the callback service of a minor version from net and stops what nobody uses any
// more; the thread is gone when it returns. Takes NfsCallbackMutex; may sleep. To be called once for each successful
// NfsCallbackUp.
//
// Differs: the namespace's back channels are closed first, behind its last user, and the requests left over are
// freed when the thread has stopped, see nfsCallbackShutdownBc.
//
// C: nfs_callback_down, fs/nfs/callback.c
func (n *Nfs) NfsCallbackDown(cur *kernel.Task, minorversion int, net *sock.Net) {
	cbInfo := &n.NfsCallbackInfo[minorversion]

	n.NfsCallbackMutex.Lock(cur)
	if n.nfsNet(net).CbUsers[minorversion] == 1 {
		n.nfsCallbackShutdownBc(minorversion, net)
	}
	n.nfsCallbackDownNet(cur, minorversion, cbInfo.Serv, net)
	cbInfo.Users--
	if cbInfo.Users == 0 && cbInfo.Task != nil {
		kernel.KthreadStop(cur, cbInfo.Task)
		sunrpc.XprtSvcDrainBc(cbInfo.Serv)
		sunrpc.SvcExitThread(cur, cbInfo.Rqst)
		cbInfo.Serv = nil
		cbInfo.Rqst = nil
		cbInfo.Task = nil
	}
	n.NfsCallbackMutex.Unlock(cur)
}

// nfsCallbackAuthenticate is the program's own check of a caller that passed its flavour: SVC_OK or SVC_DROP. Called
// by the service's thread. AUTH_NULL is good for CB_NULL only, and RPCSEC_GSS does not work on a back channel.
//
// C: nfs_callback_authenticate, fs/nfs/callback.c
func nfsCallbackAuthenticate(cur *kernel.Task, rqstp *sunrpc.SvcRqst) int {
	switch rqstp.RqAuthop.Flavour {
	case sunrpc.RPC_AUTH_NULL:
		if rqstp.RqProc != CB_NULL {
			return sunrpc.SVC_DROP
		}
	case sunrpc.RPC_AUTH_GSS:
		if sunrpc.SvcIsBackchannel(rqstp) {
			return sunrpc.SVC_DROP
		}
	}
	return sunrpc.SVC_OK
}

// nfs4CallbackProgram makes the callback program. Versions 2 and 3 are holes, so that a version mismatch names the
// range 1 to 4.
//
// Differs: each minor version has its own; the kernel's single one is counted in, and its version range rewritten, by
// one service while another one reads it.
//
// C: nfs4_callback_program, fs/nfs/callback.c
func (n *Nfs) nfs4CallbackProgram() *sunrpc.SvcProgram {
	vers := n.nfs4CallbackVersions()
	prog := &sunrpc.SvcProgram{
		PgProg:         NFS4_CALLBACK,
		PgNvers:        uint32(len(vers)),
		PgVers:         vers,
		PgName:         "NFSv4 callback",
		PgClass:        "nfs",
		PgStats:        &sunrpc.SvcStat{},
		PgAuthenticate: nfsCallbackAuthenticate,
	}
	prog.PgStats.Program = prog
	return prog
}
