// SPDX-License-Identifier: GPL-2.0-only

// Package lockd is Linux's lock manager service, fs/lockd, as of 3.19: bringing the service and its one thread up and
// down for any number of users in any number of network namespaces, the grace period, the NLM program in versions 1, 3
// and 4, blocked locks and the calls that grant them, the hosts on the other side and who monitors them.
package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

const (
	// LOCKD_BUFSIZE is the size of the largest request or reply, in bytes.
	LOCKD_BUFSIZE = 1024 + NLMSVC_XDRSIZE
	// LOCKD_DFLT_TIMEO is the default of NlmTimeout, in seconds.
	LOCKD_DFLT_TIMEO = 10
)

// Lockd is the lockd module of one machine: what C keeps in variables of the module.
type Lockd struct {
	kernel.Obj
	Rpc     *sunrpc.Sunrpc
	InitNet *sock.Net
	Grace   *Grace

	NlmsvcMutex kernel.Mutex    // held across every start and stop
	NlmsvcUsers uint32          // sum of the users of all namespaces; NlmsvcMutex
	NlmsvcTask  *kernel.Task    // the lockd thread; NlmsvcMutex
	NlmsvcRqst  *sunrpc.SvcRqst // set exactly while lockd runs; NlmsvcMutex
	nets        []*LockdNet     // NlmsvcMutex; init_net first
	initLn      *LockdNet       // nets[0]; constant
	warned      uint32          // makeSocks failures since the last success; NlmsvcMutex
	program     *sunrpc.SvcProgram

	// NlmsvcTimeout is the timeout of the client side, in jiffies: written on the way up, read by NlmBindHost without
	// a lock.
	NlmsvcTimeout kernel.Var[kernel.Jiffies]
	// NlmsvcOps is stored by nfsd while it is there, nil otherwise. See nlmsvcOpsGet.
	NlmsvcOps kernel.Rcu[*NlmsvcBinding]

	// host.go
	NlmServerHosts nlmHostTable // our clients; NlmHostMutex
	NlmClientHosts nlmHostTable // our servers; NlmHostMutex
	NlmHostMutex   kernel.Mutex
	nrhosts        int // in both tables; NlmHostMutex

	// mon.go
	NsmHandles    []*NsmHandle // NsmLock
	NsmLock       kernel.Spinlock
	NsmLocalState kernel.Atomic // the status monitor's count of our own reboots
	NsmPort       NsmPort       // the way to it; set before the first LockdUp

	NlmCookie kernel.Atomic // clntproc.go: of the call made last

	// Fs is where clients lock. Set it before NlmsvcOps.
	Fs                   *fs.VFS
	NlmsvcLockOperations *fs.LockManagerOperations // of every lock that a client has; constant
	NlmFileMutex         kernel.Mutex
	NlmFiles             [FILE_NRHASH]*NlmFile // files with locks, by handle, through FNext; NlmFileMutex
	NlmBlocked           kernel.List[NlmBlock] // by BWhen, through BList; NlmBlockedLock
	NlmBlockedLock       kernel.Spinlock       // inside FMutex and BlockedLockLock
	nlmsvcGrantOps       *sunrpc.RpcCallOps

	NlmclntBlocked     kernel.List[NlmWait] // locks that this host waits for, through BList; NlmclntBlockedLock
	NlmclntBlockedLock kernel.Spinlock

	// Module parameters. Set them before the first LockdUp.
	NlmGracePeriod    uint32 // seconds, 0..240; 0: derive from NlmTimeout
	NlmTimeout        uint32 // seconds, 3..20
	NlmUdpport        uint16 // 0: any
	NlmTcpport        uint16 // 0: any
	NlmMaxConnections uint32
	NsmUseHostnames   bool // tell the status monitor names, not addresses
}

// New loads the lockd module. rpc is the sunrpc module that its service will live in, init the initial namespace.
//
// C: init_nlm, fs/lockd/svc.c
func New(cur *kernel.Task, rpc *sunrpc.Sunrpc, init *sock.Net) *Lockd {
	m := cur.Machine()
	l := kernel.StaticObj[Lockd](m, "lockd")
	l.Rpc = rpc
	l.InitNet = init
	l.Grace = NewGrace(m)
	l.NlmsvcMutex.Init(&l.Obj, "nlmsvc_mutex")
	l.NlmsvcTimeout.Init(&l.Obj, "nlmsvc_timeout")
	l.NlmsvcOps.Init(&l.Obj, "nlmsvc_ops")
	l.NlmHostMutex.Init(&l.Obj, "nlm_host_mutex")
	l.NlmFileMutex.Init(&l.Obj, "nlm_file_mutex")
	l.NlmBlocked.Init(&l.Obj, "nlm_blocked")
	l.NlmBlockedLock.Init(&l.Obj, "nlm_blocked_lock")
	l.NlmsvcLockOperations = l.nlmsvcLockOperations()
	l.nlmsvcGrantOps = l.nlmsvcGrantCallOps()
	l.NlmTimeout = LOCKD_DFLT_TIMEO
	l.NlmMaxConnections = 1024
	l.NlmclntBlocked.Init(&l.Obj, "nlmclnt_blocked")
	l.NlmclntBlockedLock.Init(&l.Obj, "nlmclnt_blocked_lock")
	l.program = l.nlmsvcProgram()
	l.initLn = l.lockdInitNet(init)
	l.NsmLock.Init(&l.Obj, "nsm_lock")
	l.NsmLocalState.Init(&l.Obj, "nsm_local_state")
	l.NsmPort = NewStatd(m)
	l.NlmCookie.Init(&l.Obj, "nlm_cookie")
	l.NlmCookie.Preset(0x1234)
	return l
}

// lockdNetKey is the slot of a namespace in which LockdNet is kept.
const lockdNetKey = "lockd"

// LockdNet is the state of net, nil if lockd was never brought up there. Any context.
//
// C: net_generic(net, lockd_net_id), fs/lockd/svc.c
func (l *Lockd) LockdNet(net *sock.Net) *LockdNet {
	if ln, _ := net.Data(lockdNetKey).(*LockdNet); ln != nil && ln.lockd == l {
		return ln
	}
	return nil
}

// Nets lists the namespaces in which lockd was ever brought up, for oracles. The caller holds NlmsvcMutex or knows that
// nobody else does.
func (l *Lockd) Nets() []*LockdNet { return l.nets }

// getLockdGracePeriod is the length of a grace period, in jiffies.
//
// C: get_lockd_grace_period, fs/lockd/svc.c
func (l *Lockd) getLockdGracePeriod() kernel.Jiffies {
	if l.NlmGracePeriod != 0 {
		rounds := (l.NlmGracePeriod + l.NlmTimeout - 1) / l.NlmTimeout
		return kernel.Jiffies(rounds*l.NlmTimeout) * kernel.HZ
	}
	return kernel.Jiffies(l.NlmTimeout) * 5 * kernel.HZ
}

// graceEnder runs when the grace period of a namespace is over.
//
// C: grace_ender, fs/lockd/svc.c
func (l *Lockd) graceEnder(ln *LockdNet) {
	l.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
}

// setGracePeriod starts a grace period in a namespace, or starts the one that is running afresh. May sleep.
//
// C: set_grace_period, fs/lockd/svc.c
func (l *Lockd) setGracePeriod(cur *kernel.Task, ln *LockdNet) {
	gracePeriod := l.getLockdGracePeriod()

	l.Grace.LocksStartGrace(ln.GraceNet, &ln.LockdManager)
	ln.GracePeriodEnd.CancelSync(cur)
	ln.GracePeriodEnd.Schedule(gracePeriod)
}

// restartGrace is what a SIGKILL does: all locks are dropped and the initial namespace goes back into grace. Only
// if there is an nfsd. Called by the lockd thread without NlmsvcMutex, so it may run at any step of a LockdUp or
// LockdDown, and it does not ask whether init_net has users at all.
//
// C: restart_grace, fs/lockd/svc.c
func (l *Lockd) restartGrace(cur *kernel.Task) {
	if l.NlmsvcOps.Dereference() != nil {
		ln := l.initLn

		ln.GracePeriodEnd.CancelSync(cur)
		l.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
		l.NlmsvcInvalidateAll(cur)
		l.setGracePeriod(cur, ln)
	}
}

// lockd is the lockd thread; data is its *SvcRqst, which the stopper frees. Returns 0.
//
// Differs: ends the grace period of init_net on its way out, since a SIGKILL can start one behind the back of
// lockdDownNet and nobody else would end it (efda760fe95e); and drops all locks whether there is an nfsd or not, where
// 3.19 leaves the files that clients had locked when nfsd went.
//
// C: lockd, fs/lockd/svc.c
func (l *Lockd) lockd(cur *kernel.Task, data any) int {
	rqstp := data.(*sunrpc.SvcRqst)

	cur.SetFreezable()
	cur.AllowSignal(kernel.SIGKILL)

	for !cur.KthreadShouldStop() {
		rqstp.RqServer.SvMaxconn = l.NlmMaxConnections

		if cur.SignalPending() {
			cur.FlushSignals()
			l.restartGrace(cur)
			continue
		}

		timeout := l.NlmsvcRetryBlocked(cur)
		err := sunrpc.SvcRecv(cur, rqstp, timeout)
		if err == -kernel.EAGAIN || err == -kernel.EINTR {
			continue
		}
		sunrpc.SvcProcess(cur, rqstp)
	}
	cur.FlushSignals()
	l.NlmsvcInvalidateAll(cur)
	l.NlmShutdownHosts(cur)
	l.initLn.GracePeriodEnd.CancelSync(cur)
	l.Grace.LocksEndGrace(l.initLn.GraceNet, &l.initLn.LockdManager)
	return 0
}

// createLockdListener makes sure that the service listens on a transport class in a namespace. NlmsvcMutex is held.
// Returns the port of a new listener, 0 if there was one, or -errno.
//
// C: create_lockd_listener, fs/lockd/svc.c
func (l *Lockd) createLockdListener(cur *kernel.Task, serv *sunrpc.SvcServ, name string, net *sock.Net, family int,
	port uint16) int {
	xprt := sunrpc.SvcFindXprt(serv, name, net, family, 0)
	if xprt == nil {
		return sunrpc.SvcCreateXprt(cur, serv, name, net, family, port, sunrpc.SVC_SOCK_DEFAULTS)
	}
	sunrpc.SvcXprtPut(cur, xprt)
	return 0
}

// createLockdFamily makes sure that the service listens on UDP and TCP of a protocol family. NlmsvcMutex is held.
// Returns -errno on failure; what was opened before stays open.
//
// C: create_lockd_family, fs/lockd/svc.c
func (l *Lockd) createLockdFamily(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net, family int) int {
	if err := l.createLockdListener(cur, serv, "udp", net, family, l.NlmUdpport); err < 0 {
		return err
	}
	return l.createLockdListener(cur, serv, "tcp", net, family, l.NlmTcpport)
}

// makeSocks opens the sockets of a namespace. NlmsvcMutex is held. IPv6 may be missing. On failure (-errno) all of
// the namespace is closed again, registrations with rpcbind included.
//
// C: make_socks, fs/lockd/svc.c
func (l *Lockd) makeSocks(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net) int {
	err := l.createLockdFamily(cur, serv, net, sock.PF_INET)
	if err < 0 {
		goto outErr
	}
	err = l.createLockdFamily(cur, serv, net, sock.PF_INET6)
	if err < 0 && err != -kernel.EAFNOSUPPORT {
		goto outErr
	}
	l.warned = 0
	return 0

outErr:
	if l.warned == 0 {
		l.Machine().Printk("lockd_up: makesock failed, error=%d", err)
	}
	l.warned++
	sunrpc.SvcShutdownNet(cur, serv, net)
	return err
}

// lockdUpNet adds a user to a namespace; for the first one it opens the sockets and starts the grace period.
// NlmsvcMutex is held. On failure (-errno) the user is not counted.
//
// C: lockd_up_net, fs/lockd/svc.c
func (l *Lockd) lockdUpNet(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net) int {
	ln := l.LockdNet(net)
	if ln == nil {
		ln = l.lockdInitNet(net)
	}

	ln.NlmsvcUsers++
	if ln.NlmsvcUsers > 1 {
		return 0
	}

	err := sunrpc.SvcBind(cur, serv, net)
	if err != 0 {
		goto errBind
	}
	err = l.makeSocks(cur, serv, net)
	if err < 0 {
		goto errBind
	}
	l.setGracePeriod(cur, ln)
	return 0

errBind:
	ln.NlmsvcUsers--
	return err
}

// lockdDownNet takes a user from a namespace; behind the last one it ends the grace period and closes the sockets.
// NlmsvcMutex is held and the thread still runs. One call too many is a BUG.
//
// C: lockd_down_net, fs/lockd/svc.c
func (l *Lockd) lockdDownNet(cur *kernel.Task, serv *sunrpc.SvcServ, net *sock.Net) {
	ln := l.LockdNet(net)
	if ln == nil || ln.NlmsvcUsers == 0 {
		l.Machine().BugOn(true, "lockd_down_net: no users")
		return
	}
	ln.NlmsvcUsers--
	if ln.NlmsvcUsers == 0 {
		l.NlmShutdownHostsNet(cur, net)
		ln.GracePeriodEnd.CancelSync(cur)
		l.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
		sunrpc.SvcShutdownNet(cur, serv, net)
	}
}

// lockdStartSvc starts the lockd thread if it is not running. NlmsvcMutex is held, and the sockets are open: from
// the wake-up on, requests go to the thread. On failure (-errno) there is neither thread nor SvcRqst.
//
// C: lockd_start_svc, fs/lockd/svc.c
func (l *Lockd) lockdStartSvc(cur *kernel.Task, serv *sunrpc.SvcServ) int {
	if l.NlmsvcRqst != nil {
		return 0
	}

	rqstp, err := sunrpc.SvcPrepareThread(cur, serv, serv.SvPools[0], sunrpc.NUMA_NO_NODE)
	if err != 0 {
		l.Machine().Printk("lockd_up: svc_rqst allocation failed, error=%d", err)
		return err
	}
	l.NlmsvcRqst = rqstp

	sunrpc.SvcSockUpdateBufs(serv)
	serv.SvMaxconn = l.NlmMaxConnections

	l.NlmsvcTask = l.Machine().KthreadCreate(cur, l.lockd, l.NlmsvcRqst, serv.SvName)
	if kernel.IsErr(l.NlmsvcTask) {
		err = kernel.PtrErr(l.NlmsvcTask)
		l.Machine().Printk("lockd_up: kthread_run failed, error=%d", err)
		goto outTask
	}
	l.NlmsvcRqst.RqTask.Store(l.NlmsvcTask)
	kernel.WakeUpProcess(l.NlmsvcTask)
	return 0

outTask:
	sunrpc.SvcExitThread(cur, l.NlmsvcRqst)
	l.NlmsvcTask = nil
	l.NlmsvcRqst = nil
	return err
}

// lockdCreateSvc returns the running service with one more reference, or a new one, whose first reference is then
// the caller's. NlmsvcMutex is held. -ENOMEM if it cannot be made.
//
// C: lockd_create_svc, fs/lockd/svc.c
func (l *Lockd) lockdCreateSvc(cur *kernel.Task) (*sunrpc.SvcServ, int) {
	if l.NlmsvcRqst != nil {
		sunrpc.SvcGet(l.NlmsvcRqst.RqServer)
		return l.NlmsvcRqst.RqServer, 0
	}

	if l.NlmsvcUsers != 0 {
		l.Machine().Printk("lockd_up: no pid, %d users??", l.NlmsvcUsers)
	}

	if l.NlmTimeout == 0 {
		l.NlmTimeout = LOCKD_DFLT_TIMEO
	}
	l.NlmsvcTimeout.Store(kernel.Jiffies(l.NlmTimeout) * kernel.HZ)

	serv := sunrpc.SvcCreate(cur, l.Rpc, l.program, LOCKD_BUFSIZE, sunrpc.SvcRpcbCleanup)
	if serv == nil {
		l.Machine().Printk("lockd_up: create service failed")
		return nil, -kernel.ENOMEM
	}
	return serv, 0
}

// LockdUp adds a user of lockd in net and starts what is not running yet: the service, the sockets of the
// namespace, the thread. Takes NlmsvcMutex; may sleep. 0, or -errno with everything as it was before.
//
// C: lockd_up, fs/lockd/svc.c
func (l *Lockd) LockdUp(cur *kernel.Task, net *sock.Net) int {
	l.NlmsvcMutex.Lock(cur)

	serv, err := l.lockdCreateSvc(cur)
	if err != 0 {
		goto errCreate
	}

	err = l.lockdUpNet(cur, serv, net)
	if err < 0 {
		goto errNet
	}

	err = l.lockdStartSvc(cur, serv)
	if err < 0 {
		goto errStart
	}

	l.NlmsvcUsers++
	// From here on the thread's reference keeps the service; ours goes, whether we succeeded or not.
errNet:
	sunrpc.SvcDestroy(cur, serv)
errCreate:
	l.NlmsvcMutex.Unlock(cur)
	return err

errStart:
	l.lockdDownNet(cur, serv, net)
	goto errNet
}

// LockdDown takes a user of lockd from net and stops what nobody uses any more; the thread is gone when it returns.
// Takes NlmsvcMutex; may sleep. A call without its LockdUp is a BUG or, with lockd down, an oops.
//
// C: lockd_down, fs/lockd/svc.c
func (l *Lockd) LockdDown(cur *kernel.Task, net *sock.Net) {
	l.NlmsvcMutex.Lock(cur)
	l.lockdDownNet(cur, l.NlmsvcRqst.RqServer, net)
	if l.NlmsvcUsers != 0 {
		l.NlmsvcUsers--
		if l.NlmsvcUsers != 0 {
			goto out
		}
	} else {
		l.Machine().BugOn(true, "lockd_down: no users")
	}

	l.Machine().BugOn(l.NlmsvcTask == nil, "lockd_down: no lockd running")
	kernel.KthreadStop(cur, l.NlmsvcTask)
	sunrpc.SvcExitThread(cur, l.NlmsvcRqst)
	l.NlmsvcTask = nil
	l.NlmsvcRqst = nil
out:
	l.NlmsvcMutex.Unlock(cur)
}

// isCallback tells whether a procedure is an answer of a peer's lock manager rather than a client's request.
//
// C: is_callback, fs/lockd/svc.c
func isCallback(proc uint32) bool {
	switch proc {
	case NLMPROC_GRANTED, NLMPROC_GRANTED_MSG, NLMPROC_TEST_RES, NLMPROC_LOCK_RES, NLMPROC_CANCEL_RES,
		NLMPROC_UNLOCK_RES, NLMPROC_NSM_NOTIFY:
		return true
	}
	return false
}

// lockdAuthenticate is the program's own check of a caller that passed its flavour: SVC_OK, SVC_DENIED or what the
// client look-up says. Called by the lockd thread.
//
// C: lockd_authenticate, fs/lockd/svc.c
func lockdAuthenticate(cur *kernel.Task, rqstp *sunrpc.SvcRqst) int {
	rqstp.RqClient = nil
	switch rqstp.RqAuthop.Flavour {
	case sunrpc.RPC_AUTH_NULL, sunrpc.RPC_AUTH_UNIX:
		if rqstp.RqProc == NLMPROC_NULL {
			return sunrpc.SVC_OK
		}
		if isCallback(rqstp.RqProc) {
			return sunrpc.SVC_OK
		}
		return sunrpc.SvcSetClient(cur, rqstp)
	}
	return sunrpc.SVC_DENIED
}

// lockdInitNet makes lockd's state of a namespace. NlmsvcMutex is held, or nobody else knows l yet.
//
// Differs: the kernel does this when the namespace is made, for every loaded module; here it is done on the first
// LockdUp.
//
// C: lockd_init_net, fs/lockd/svc.c
func (l *Lockd) lockdInitNet(net *sock.Net) *LockdNet {
	ln := kernel.StaticObj[LockdNet](l.Machine(), "lockd_net")
	ln.Net, ln.lockd = net, l
	ln.GracePeriodEnd.Init(&ln.Obj, "grace_period_end", func(*kernel.Task) { l.graceEnder(ln) })
	ln.LockdManager.List.Init(&ln.LockdManager)
	ln.GraceNet = l.Grace.graceInitNet()
	l.nets = append(l.nets, ln)
	net.SetData(lockdNetKey, ln)
	return ln
}

// LockdExitNet ends lockd's state of a namespace that is going away. Nobody uses lockd there any more; a manager that
// is still on its grace list is a BUG. Takes NlmsvcMutex; may sleep. Not for the initial namespace.
//
// Differs: the kernel does this when the namespace dies; here it is for those who want the memory back.
//
// C: lockd_exit_net, fs/lockd/svc.c; grace_exit_net, fs/nfs_common/grace.c
func (l *Lockd) LockdExitNet(cur *kernel.Task, net *sock.Net) {
	l.NlmsvcMutex.Lock(cur)
	for i, ln := range l.nets {
		if ln.Net == net && ln != l.initLn {
			l.Machine().BugOn(!ln.GraceNet.GraceList.Empty(), "grace_exit_net: grace list not empty")
			l.nets = append(l.nets[:i], l.nets[i+1:]...)
			net.SetData(lockdNetKey, nil)
			kernel.Kfree(ln.GraceNet)
			kernel.Kfree(ln)
			break
		}
	}
	l.NlmsvcMutex.Unlock(cur)
}

// nlmsvcVersions makes the version table of the program: 1, 3 and 4.
//
// C: nlmsvc_version, fs/lockd/svc.c
func nlmsvcVersions() []*sunrpc.SvcVersion {
	procs := nlmProcedures(nlmsvcTable)
	return []*sunrpc.SvcVersion{
		1: {VsVers: 1, VsNproc: 17, VsProc: procs, VsXdrsize: NLMSVC_XDRSIZE},
		3: {VsVers: 3, VsNproc: 24, VsProc: procs, VsXdrsize: NLMSVC_XDRSIZE},
		4: {VsVers: 4, VsNproc: 24, VsProc: nlmProcedures(nlm4svcTable), VsXdrsize: NLMSVC_XDRSIZE},
	}
}

// nlmsvcProgram makes the NLM program of this machine.
//
// C: nlmsvc_program, fs/lockd/svc.c
func (l *Lockd) nlmsvcProgram() *sunrpc.SvcProgram {
	vers := nlmsvcVersions()
	prog := &sunrpc.SvcProgram{
		PgProg:         NLM_PROGRAM,
		PgNvers:        uint32(len(vers)),
		PgVers:         vers,
		PgName:         "lockd",
		PgClass:        "nfsd",
		PgStats:        &sunrpc.SvcStat{},
		PgData:         l,
		PgAuthenticate: lockdAuthenticate,
	}
	prog.PgStats.Program = prog
	return prog
}
