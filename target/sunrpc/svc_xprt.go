// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// SockAddr is a socket address: family, address, port. It is a comparable value that knows its own length, so C's
// length fields next to it have no counterpart.
type SockAddr = sock.Addr

// SvcXprtOps is what a transport class does. Where C uses container_of, an implementation takes its own object from
// xprt.XptContainer.
type SvcXprtOps interface {
	// XpoCreate opens a permanent transport on sa; -errno on failure.
	XpoCreate(cur *kernel.Task, serv *SvcServ, net *sock.Net, sa SockAddr, flags int) (*SvcXprt, int)
	// XpoAccept takes one connection from a listener, nil if there is none or it cannot be set up.
	XpoAccept(cur *kernel.Task, xprt *SvcXprt) *SvcXprt
	// XpoHasWspace tells whether a reply of the largest size would fit. Any context, no locks taken here.
	XpoHasWspace(xprt *SvcXprt) bool
	// XpoRecvfrom reads a request into rqstp: bytes, 0 or -errno if there is none yet.
	XpoRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int
	// XpoSendto writes the reply: bytes or -errno. XptMutex is held.
	XpoSendto(cur *kernel.Task, rqstp *SvcRqst) int
	// XpoReleaseRqst gives up what the transport keeps in RqXprtCtxt.
	XpoReleaseRqst(cur *kernel.Task, rqstp *SvcRqst)
	// XpoDetach takes the transport off the network: no callback of its socket runs afterwards.
	XpoDetach(cur *kernel.Task, xprt *SvcXprt)
	// XpoFree frees the transport; the last reference is gone.
	XpoFree(cur *kernel.Task, xprt *SvcXprt)
	// XpoSecurePort tells whether the peer's port is a privileged one.
	XpoSecurePort(rqstp *SvcRqst) bool
	// XpoAdjustWspace runs after XptReserved shrank. Any context.
	XpoAdjustWspace(xprt *SvcXprt)
}

// SvcXprtClass is a kind of transport, known by name.
type SvcXprtClass struct {
	kernel.Obj
	XclName       string
	XclOwner      *Module
	XclOps        SvcXprtOps
	XclList       kernel.Node[SvcXprtClass] // in SvcXprtClassList
	XclMaxPayload uint32                    // bytes
	XclIdent      int
}

// SvcXptUser is a wish to be told when a transport dies. Callback runs under XptLock.
type SvcXptUser struct {
	List     kernel.Node[SvcXptUser]
	Callback func(u *SvcXptUser)
}

// Bits of SvcXprt.XptFlags.
const (
	XPT_BUSY       = 0  // queued, or owned by the thread that receives from it
	XPT_CONN       = 1  // maybe a connection to accept
	XPT_CLOSE      = 2  // on its way out, for good
	XPT_DATA       = 3  // maybe data to read
	XPT_TEMP       = 4  // an accepted connection
	XPT_DEAD       = 6  // deleted
	XPT_CHNGBUF    = 7  // socket buffers want resizing
	XPT_DEFERRED   = 8  // maybe a deferred request to replay
	XPT_OLD        = 9  // idle since the last ageing round
	XPT_LISTENER   = 10 // accepts connections
	XPT_CACHE_AUTH = 11 // XptAuthCache may be used
	XPT_LOCAL      = 12 // the peer is this host
)

var xptFlagNames = []string{"BUSY", "CONN", "CLOSE", "DATA", "TEMP", "5", "DEAD", "CHNGBUF", "DEFERRED", "OLD",
	"LISTENER", "CACHE_AUTH", "LOCAL"}

// SvcXprt is one transport end point of a service. It is embedded in the object of its class and shares that
// object's kernel.Obj.
type SvcXprt struct {
	kernel.Obj
	XptClass     *SvcXprtClass
	XptOps       SvcXprtOps
	XptContainer any // the class's own object, e.g. *SvcSock: what container_of finds in C
	XptRef       kernel.Kref
	XptList      kernel.Node[SvcXprt] // in SvPermsocks or SvTempsocks; SvLock
	XptReady     kernel.Node[SvcXprt] // in SpSockets; SpLock
	XptFlags     kernel.Flags         // XPT_*

	XptServer    *SvcServ
	XptReserved  kernel.Atomic // bytes promised to replies
	XptMutex     kernel.Mutex  // one sender at a time
	XptLock      kernel.Spinlock
	XptAuthCache any                           // XptLock
	XptDeferred  kernel.List[CacheDeferredReq] // requests to replay, through Recent; XptLock
	XptLocal     SockAddr
	XptRemote    SockAddr
	XptBcPending kernel.WaitQueueHead    // back channel senders waiting for XptMutex
	XptUsers     kernel.List[SvcXptUser] // XptLock
	XptNet       *sock.Net
	XptBcXprt    *RpcXprt // the client transport that shares the connection, else nil
}

// svcConnAgePeriod is how long a connection may stay idle: marked OLD after one period, closed after the next.
// Clients are expected to close idle connections earlier. Seconds.
const svcConnAgePeriod = 6 * 60

// SvcRegXprtClass makes a transport class known by its name. -EEXIST if the name is taken. xcl.XclList must be fresh.
//
// C: svc_reg_xprt_class, net/sunrpc/svc_xprt.c
func SvcRegXprtClass(rpc *Sunrpc, xcl *SvcXprtClass) int {
	xcl.XclList.Init(xcl)
	res := -kernel.EEXIST
	rpc.SvcXprtClassLock.Lock()
	for cl := rpc.SvcXprtClassList.First(); ; cl = rpc.SvcXprtClassList.Next(&cl.XclList) {
		if cl == nil {
			rpc.SvcXprtClassList.AddTail(&xcl.XclList)
			res = 0
			break
		}
		if cl.XclName == xcl.XclName {
			break
		}
	}
	rpc.SvcXprtClassLock.Unlock()
	return res
}

// SvcUnregXprtClass forgets a transport class. Transports of the class may still live.
//
// C: svc_unreg_xprt_class, net/sunrpc/svc_xprt.c
func SvcUnregXprtClass(rpc *Sunrpc, xcl *SvcXprtClass) {
	rpc.SvcXprtClassLock.Lock()
	rpc.SvcXprtClassList.DelInit(&xcl.XclList)
	rpc.SvcXprtClassLock.Unlock()
}

// SvcPrintXprts lists the transport classes, one line "name payload" each, in at most maxlen bytes; a line that does
// not fit ends the list.
//
// C: svc_print_xprts, net/sunrpc/svc_xprt.c
func SvcPrintXprts(rpc *Sunrpc, maxlen int) string {
	var buf []byte
	rpc.SvcXprtClassLock.Lock()
	for xcl := rpc.SvcXprtClassList.First(); xcl != nil; xcl = rpc.SvcXprtClassList.Next(&xcl.XclList) {
		line := fmt.Sprintf("%s %d\n", xcl.XclName, xcl.XclMaxPayload)
		if len(buf)+len(line) > maxlen {
			break
		}
		buf = append(buf, line...)
	}
	rpc.SvcXprtClassLock.Unlock()
	return string(buf)
}

// svcXprtFree ends a transport whose last reference is gone. May sleep: it closes the socket.
//
// C: svc_xprt_free, net/sunrpc/svc_xprt.c
func svcXprtFree(cur *kernel.Task, xprt *SvcXprt) {
	owner := xprt.XptClass.XclOwner
	if xprt.XptFlags.TestBit(XPT_CACHE_AUTH) {
		SvcauthUnixInfoRelease(xprt)
	}
	xprt.XptNet.Put()
	if xprt.XptBcXprt != nil {
		XprtPut(xprt.XptBcXprt)
	}
	xprt.XptOps.XpoFree(cur, xprt)
	ModulePut(owner)
}

// SvcXprtGet takes a reference; the caller knows that there is one already. Any context.
//
// C: svc_xprt_get, include/linux/sunrpc/svc_xprt.h
func SvcXprtGet(xprt *SvcXprt) {
	xprt.XptRef.Get()
}

// SvcXprtPut drops a reference and frees the transport with the last one, which may sleep.
//
// C: svc_xprt_put, net/sunrpc/svc_xprt.c
func SvcXprtPut(cur *kernel.Task, xprt *SvcXprt) {
	if xprt.XptRef.Put(nil) {
		svcXprtFree(cur, xprt)
	}
}

// SvcXprtInit sets up the class-independent part of a new transport: one reference (the future list's), no list,
// BUSY, so that socket callbacks cannot queue it before it is complete. xprt must be fresh from kernel.Kzalloc.
//
// C: svc_xprt_init, net/sunrpc/svc_xprt.c
func SvcXprtInit(net *sock.Net, xcl *SvcXprtClass, xprt *SvcXprt, serv *SvcServ) {
	o := &xprt.Obj
	xprt.XptClass = xcl
	xprt.XptOps = xcl.XclOps
	xprt.XptRef.Init(o, "xpt_ref")
	xprt.XptServer = serv
	xprt.XptList.Init(xprt)
	xprt.XptReady.Init(xprt)
	xprt.XptDeferred.Init(o, "xpt_deferred")
	xprt.XptUsers.Init(o, "xpt_users")
	xprt.XptMutex.Init(o, "xpt_mutex")
	xprt.XptLock.Init(o, "xpt_lock")
	xprt.XptFlags.Init(o, "xpt_flags", xptFlagNames)
	xprt.XptFlags.Preset(XPT_BUSY)
	xprt.XptReserved.Init(o, "xpt_reserved")
	xprt.XptBcPending.Init(o, "xpt_bc_pending")
	net.Get()
	xprt.XptNet = net
}

// svcXpoCreate opens a transport of class xcl on the any-address of family at port. -EAFNOSUPPORT: neither IPv4 nor
// IPv6; else what the class returns.
//
// C: __svc_xpo_create, net/sunrpc/svc_xprt.c
func svcXpoCreate(cur *kernel.Task, xcl *SvcXprtClass, serv *SvcServ, net *sock.Net, family int, port uint16,
	flags int) (*SvcXprt, int) {
	if family != sock.PF_INET && family != sock.PF_INET6 {
		return nil, -kernel.EAFNOSUPPORT
	}
	return xcl.XclOps.XpoCreate(cur, serv, net, sock.AnyAddr(family, port), flags)
}

// svcXprtReceived ends the caller's ownership of the receive side and queues the transport again if there is more to
// do. The caller owns BUSY and must not touch receive state afterwards. From the clear on anybody may close and free
// the transport, hence the reference.
//
// C: svc_xprt_received, net/sunrpc/svc_xprt.c
func svcXprtReceived(cur *kernel.Task, xprt *SvcXprt) {
	m := xprt.Machine()
	if m.WarnOnOnce(!xprt.XptFlags.TestBit(XPT_BUSY), "svc_xprt_received: XPT_BUSY clear") {
		return
	}
	SvcXprtGet(xprt)
	m.SmpMb()
	xprt.XptFlags.ClearBit(XPT_BUSY)
	svcXprtDoEnqueue(xprt)
	SvcXprtPut(cur, xprt)
}

// SvcAddNewPermXprt puts a new listener or datagram transport on the service's list and opens it for business.
//
// C: svc_add_new_perm_xprt, net/sunrpc/svc_xprt.c
func SvcAddNewPermXprt(cur *kernel.Task, serv *SvcServ, newxprt *SvcXprt) {
	newxprt.XptFlags.ClearBit(XPT_TEMP)
	serv.SvLock.LockBH()
	serv.SvPermsocks.Add(&newxprt.XptList)
	serv.SvLock.UnlockBH()
	svcXprtReceived(cur, newxprt)
}

// SvcCreateXprt makes a permanent transport of the named class on port (0: any) and adds it to the service. Returns
// the local port, -EPROTONOSUPPORT if there is no such class or it is going away, or what the class says. The
// service mutex is held.
//
// Differs: holds a reference while it reads the port; 3.19 and all later versions read it from a transport that
// threads, and a closing of the net, may have freed by then (ours, no upstream fix).
//
// C: svc_create_xprt, net/sunrpc/svc_xprt.c
func SvcCreateXprt(cur *kernel.Task, serv *SvcServ, xprtName string, net *sock.Net, family int, port uint16,
	flags int) int {
	rpc := serv.SvRpc
	rpc.SvcXprtClassLock.Lock()
	xcl := rpc.SvcXprtClassList.First()
	for xcl != nil && xcl.XclName != xprtName {
		xcl = rpc.SvcXprtClassList.Next(&xcl.XclList)
	}
	if xcl == nil || !TryModuleGet(xcl.XclOwner) {
		rpc.SvcXprtClassLock.Unlock()
		return -kernel.EPROTONOSUPPORT
	}
	rpc.SvcXprtClassLock.Unlock()

	newxprt, err := svcXpoCreate(cur, xcl, serv, net, family, port, flags)
	if err != 0 {
		ModulePut(xcl.XclOwner)
		return err
	}
	SvcXprtGet(newxprt)
	SvcAddNewPermXprt(cur, serv, newxprt)
	newport := SvcXprtLocalPort(newxprt)
	SvcXprtPut(cur, newxprt)
	return int(newport)
}

// SvcXprtCopyAddrs tells the request where it came from and where it was sent to; the latter is the source address
// of the reply.
//
// C: svc_xprt_copy_addrs, net/sunrpc/svc_xprt.c
func SvcXprtCopyAddrs(rqstp *SvcRqst, xprt *SvcXprt) {
	rqstp.RqAddr = xprt.XptRemote
	rqstp.RqDaddr = xprt.XptLocal
}

// svcXprtHasSomethingToDo is true if a thread would find work: a connection or a close in any case, data or a
// deferred request only while the reply would find room. Whoever changed a flag or the reservation has that seen before
// it reads what others change: of two callers at least one sees both changes.
//
// Differs: 3.19 has no barrier here, and both callers may see their own change alone (95503d295ad6).
//
// C: svc_xprt_has_something_to_do, net/sunrpc/svc_xprt.c
func svcXprtHasSomethingToDo(xprt *SvcXprt) bool {
	xprt.Machine().SmpMb()
	if xprt.XptFlags.TestAny(XPT_CONN, XPT_CLOSE) {
		return true
	}
	if xprt.XptFlags.TestAny(XPT_DATA, XPT_DEFERRED) {
		return xprt.XptOps.XpoHasWspace(xprt)
	}
	return false
}

// svcXprtDoEnqueue hands the transport to an idle thread of this CPU's pool, or queues it if there is none. Whoever
// wins BUSY here carries it on to that thread. After queueing it looks for an idle thread once more, because one may
// have gone to sleep in between; such a thread is only woken and finds the transport in the queue by itself. Any
// context; takes RqLock, SpLock. The caller has a reference or holds the transport's list.
//
// Differs: wakes inside the RCU read section, which is what keeps the thread alive; 3.19 left it before
// (22700f3c6df5). The section goes on to the end, and keeps the pool; 3.19 begins another one when it looks again (see
// svcFreePools). Has a full barrier before it looks for an idle thread again: a CPU may read RQ_BUSY before others see
// what it has just queued, x86 too, since giving back a spinlock is a plain store (ours).
//
// C: svc_xprt_do_enqueue, net/sunrpc/svc_xprt.c
func svcXprtDoEnqueue(xprt *SvcXprt) {
	if !svcXprtHasSomethingToDo(xprt) {
		return
	}
	if xprt.XptFlags.TestAndSetBit(XPT_BUSY) {
		return
	}
	m := xprt.Machine()
	pool := SvcPoolForCpu(xprt.XptServer, m.GetCpu())
	pool.SpStats.Packets.Inc()
	m.RcuReadLock()
	for queued := false; ; queued = true {
		for rqstp := pool.SpAllThreads.FirstRcu(); rqstp != nil; rqstp = pool.SpAllThreads.NextRcu(&rqstp.RqAll) {
			if rqstp.RqFlags.TestBit(RQ_BUSY) {
				continue
			}
			if !queued {
				rqstp.RqLock.LockBH()
				if rqstp.RqFlags.TestAndSetBit(RQ_BUSY) {
					rqstp.RqLock.UnlockBH()
					continue
				}
				rqstp.RqXprt.Store(xprt)
				SvcXprtGet(xprt)
				rqstp.RqLock.UnlockBH()
			}
			pool.SpStats.ThreadsWoken.Inc()
			kernel.WakeUpProcess(rqstp.RqTask.Load())
			m.RcuReadUnlock()
			m.PutCpu()
			return
		}
		if queued {
			break
		}
		pool.SpLock.LockBH()
		pool.SpSockets.AddTail(&xprt.XptReady)
		pool.SpStats.SocketsQueued.Inc()
		pool.SpLock.UnlockBH()
		m.SmpMb()
	}
	m.RcuReadUnlock()
	m.PutCpu()
}

// SvcXprtEnqueue is called after a flag was set or reply space came free: it gets the transport to a thread if there
// is something to do. A transport that is BUSY is left to its owner, who looks at the flags again when done. Any
// context. The caller has a reference or holds the transport's list or its socket's callback.
//
// C: svc_xprt_enqueue, net/sunrpc/svc_xprt.c
func SvcXprtEnqueue(xprt *SvcXprt) {
	if xprt.XptFlags.TestBit(XPT_BUSY) {
		return
	}
	svcXprtDoEnqueue(xprt)
}

// svcXprtDequeue takes the oldest transport off the pool's queue, with a reference; nil if the queue is empty. The
// caller becomes the owner of its BUSY.
//
// C: svc_xprt_dequeue, net/sunrpc/svc_xprt.c
func svcXprtDequeue(pool *SvcPool) *SvcXprt {
	if pool.SpSockets.Empty() {
		return nil
	}
	pool.SpLock.LockBH()
	xprt := pool.SpSockets.First()
	if xprt != nil {
		pool.SpSockets.DelInit(&xprt.XptReady)
		SvcXprtGet(xprt)
	}
	pool.SpLock.UnlockBH()
	return xprt
}

// SvcReserve lowers the reply space reserved for the request to what its reply head holds plus space bytes. Space
// given back may let the transport be served again. Any context.
//
// Differs: tolerates a request without a transport, as those of a back channel are (d4b09acf924b).
//
// C: svc_reserve, net/sunrpc/svc_xprt.c
func SvcReserve(rqstp *SvcRqst, space int) {
	space += int(rqstp.RqRes.Head.IovLen)
	if space >= rqstp.RqReserved {
		return
	}
	xprt := rqstp.RqXprt.Load()
	if xprt == nil {
		return
	}
	xprt.XptReserved.Sub(int64(rqstp.RqReserved - space))
	rqstp.RqReserved = space
	xprt.XptOps.XpoAdjustWspace(xprt)
	SvcXprtEnqueue(xprt)
}

// svcXprtRelease ends the request: gives back what the transport keeps with it, the reply pages, the reservation
// (which may queue the transport again) and the reference. May sleep.
//
// C: svc_xprt_release, net/sunrpc/svc_xprt.c
func svcXprtRelease(cur *kernel.Task, rqstp *SvcRqst) {
	xprt := rqstp.RqXprt.Load()
	xprt.XptOps.XpoReleaseRqst(cur, rqstp)

	if rqstp.RqDeferred != nil {
		kernel.Kfree(rqstp.RqDeferred)
		rqstp.RqDeferred = nil
	}

	SvcFreeResPages(rqstp)
	rqstp.RqRes.PageLen = 0
	rqstp.RqRes.PageBase = 0

	if int(rqstp.RqRes.Len) > rqstp.RqReserved {
		xprt.Machine().Printk("RPC request reserved %d but used %d", rqstp.RqReserved, rqstp.RqRes.Len)
	}
	rqstp.RqRes.Head.IovLen = 0
	SvcReserve(rqstp, 0)
	rqstp.RqXprt.Store(nil)

	SvcXprtPut(cur, xprt)
}

// SvcWakeUp gets a thread of pool 0 to look around although no transport is ready: the next that looks for work finds
// SP_TASK_PENDING, and an idle one is woken to do so. Any context.
//
// Differs: sets the flag before it looks for an idle thread, and always. 3.19 sets it only if it has found none, and
// misses a thread that has become idle meanwhile (6.6). Wakes inside the RCU read section, as svcXprtDoEnqueue does
// (ours; upstream kept the wake outside until the search moved into one helper).
//
// C: svc_wake_up, net/sunrpc/svc_xprt.c
func SvcWakeUp(serv *SvcServ) {
	m := serv.Machine()
	pool := serv.SvPools[0]

	pool.SpFlags.SetBit(SP_TASK_PENDING)
	m.SmpMb()
	m.RcuReadLock()
	for rqstp := pool.SpAllThreads.FirstRcu(); rqstp != nil; rqstp = pool.SpAllThreads.NextRcu(&rqstp.RqAll) {
		if !rqstp.RqFlags.TestBit(RQ_BUSY) {
			kernel.WakeUpProcess(rqstp.RqTask.Load())
			break
		}
	}
	m.RcuReadUnlock()
}

// SvcPortIsPrivileged is true for a port that only a privileged process of the peer can use.
//
// C: svc_port_is_privileged, net/sunrpc/svc_xprt.c
func SvcPortIsPrivileged(sin *SockAddr) bool {
	switch sin.Family {
	case sock.AF_INET, sock.AF_INET6:
		return sin.Port < PROT_SOCK
	}
	return false
}

// PROT_SOCK is the first port that is not privileged.
const PROT_SOCK = 1024

// svcCheckConnLimits closes the oldest connection if there are more than the service wants. The new connection is
// accepted all the same. No lock held.
//
// C: svc_check_conn_limits, net/sunrpc/svc_xprt.c
func svcCheckConnLimits(cur *kernel.Task, serv *SvcServ) {
	limit := serv.SvMaxconn
	if limit == 0 {
		limit = uint32(serv.SvNrthreads.Read()+3) * 20
	}
	if uint32(serv.SvTmpcnt.Read()) <= limit {
		return
	}
	serv.SvLock.LockBH()
	xprt := serv.SvTempsocks.Last()
	if xprt != nil {
		what := "number of threads"
		if serv.SvMaxconn != 0 {
			what = "max number of connections"
		}
		serv.Machine().Printk("%s: too many open connections, consider increasing the %s", serv.SvName, what)
		xprt.XptFlags.SetBit(XPT_CLOSE)
		SvcXprtGet(xprt)
	}
	serv.SvLock.UnlockBH()

	if xprt != nil {
		SvcXprtEnqueue(xprt)
		SvcXprtPut(cur, xprt)
	}
}

// svcAllocArg fills the thread's page array and points RqArg at it: the head is the first page, the last page is
// kept for the reply. Sleeps until there is memory; -EINTR if signalled or told to stop meanwhile.
//
// C: svc_alloc_arg, net/sunrpc/svc_xprt.c
func svcAllocArg(cur *kernel.Task, rqstp *SvcRqst) int {
	m := rqstp.Machine()
	pages := int(rqstp.RqServer.SvMaxMesg+PAGE_SIZE) / PAGE_SIZE
	if m.WarnOnOnce(pages >= RPCSVC_MAXPAGES, "svc_alloc_arg: too many pages") {
		pages = RPCSVC_MAXPAGES - 1
	}
	for i := range pages {
		for rqstp.RqPages[i] == nil {
			p := m.AllocPage(kernel.GFP_KERNEL)
			if p == nil {
				cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
				if cur.SignalPending() || cur.KthreadShouldStop() {
					cur.SetCurrentState(kernel.TASK_RUNNING)
					return -kernel.EINTR
				}
				kernel.ScheduleTimeout(cur, kernel.HZ/2)
			}
			rqstp.RqPages[i] = p
		}
	}
	rqstp.RqPageEnd = pages
	rqstp.RqPages[pages] = nil

	arg := &rqstp.RqArg
	arg.Head = KvecPage(rqstp.RqPages[0], PAGE_SIZE)
	arg.Pages = rqstp.RqPages[1:]
	arg.PageBase = 0
	arg.PageLen = uint32(pages-2) * PAGE_SIZE
	arg.Len = uint32(pages-1) * PAGE_SIZE
	arg.Tail.IovLen = 0
	return 0
}

// rqstShouldSleep tells whether a thread that has just shown itself idle finds no reason to stay awake: nobody called
// SvcWakeUp (the flag is consumed), nothing is queued, it is not told to stop or freeze.
//
// C: rqst_should_sleep, net/sunrpc/svc_xprt.c
func rqstShouldSleep(cur *kernel.Task, rqstp *SvcRqst) bool {
	pool := rqstp.RqPool
	if pool.SpFlags.TestAndClearBit(SP_TASK_PENDING) {
		return false
	}
	if !pool.SpSockets.Empty() {
		return false
	}
	if cur.SignalPending() || cur.KthreadShouldStop() {
		return false
	}
	return !cur.Freezing()
}

// svcGetNextXprt waits until there is a transport for this thread and returns it, with a reference and with its BUSY
// owned. -EAGAIN: woken or timed out without one; -EINTR: signalled or told to stop.
//
// The order is what counts: the state is set before RQ_BUSY is cleared, and the queue is looked at after that, so
// that an enqueuer who queued without seeing this thread idle is noticed here. RQ_BUSY is set again under RqLock, so
// that a transport handed over meanwhile is visible.
//
// C: svc_get_next_xprt, net/sunrpc/svc_xprt.c
func svcGetNextXprt(cur *kernel.Task, rqstp *SvcRqst, timeout kernel.Jiffies) (*SvcXprt, int) {
	pool := rqstp.RqPool
	m := rqstp.Machine()
	timeLeft := kernel.Jiffies(0)

	m.WarnOnOnce(rqstp.RqXprt.Load() != nil, "svc_get_next_xprt: rq_xprt set")
	rqstp.RqChandle.ThreadWait = 5 * kernel.HZ

	if xprt := svcXprtDequeue(pool); xprt != nil {
		rqstp.RqXprt.Store(xprt)
		// It had to be queued, so threads are short: do not wait long for a cache.
		rqstp.RqChandle.ThreadWait = 1 * kernel.HZ
		pool.SpFlags.ClearBit(SP_TASK_PENDING)
		return xprt, 0
	}

	cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
	rqstp.RqFlags.ClearBit(RQ_BUSY)
	m.SmpMb()
	if rqstShouldSleep(cur, rqstp) {
		timeLeft = kernel.ScheduleTimeout(cur, timeout)
	} else {
		cur.SetCurrentStateRelaxed(kernel.TASK_RUNNING)
	}
	kernel.TryToFreeze(cur)

	rqstp.RqLock.LockBH()
	rqstp.RqFlags.SetBit(RQ_BUSY)
	rqstp.RqLock.UnlockBH()

	if xprt := rqstp.RqXprt.Load(); xprt != nil {
		return xprt, 0
	}
	if timeLeft == 0 {
		pool.SpStats.ThreadsTimedout.Inc()
	}
	if cur.SignalPending() || cur.KthreadShouldStop() {
		return nil, -kernel.EINTR
	}
	return nil, -kernel.EAGAIN
}

// svcAddNewTempXprt puts an accepted connection on the service's list and opens it for business. The first one of a
// service starts the ageing timer.
//
// C: svc_add_new_temp_xprt, net/sunrpc/svc_xprt.c
func svcAddNewTempXprt(cur *kernel.Task, serv *SvcServ, newxpt *SvcXprt) {
	serv.SvLock.LockBH()
	newxpt.XptFlags.SetBit(XPT_TEMP)
	serv.SvTempsocks.Add(&newxpt.XptList)
	serv.SvTmpcnt.Inc()
	if !serv.SvTemptimer.HasFunction() {
		serv.SvTemptimer.SetFunction(func() { svcAgeTempXprts(serv) })
		serv.SvTemptimer.Mod(serv.Machine().Jiffies() + svcConnAgePeriod*kernel.HZ)
	}
	serv.SvLock.UnlockBH()
	svcXprtReceived(cur, newxpt)
}

// svcHandleXprt does what the transport asks for: close it, accept from it, or receive a request, which is the only
// case with a result: the request's length, or <= 0 for none. The caller owns BUSY and loses it, except that a closed
// transport stays BUSY for ever. The reply space is reserved before BUSY is cleared, so that the next look at the
// write space sees it.
//
// C: svc_handle_xprt, net/sunrpc/svc_xprt.c
func svcHandleXprt(cur *kernel.Task, rqstp *SvcRqst, xprt *SvcXprt) int {
	serv := rqstp.RqServer
	length := 0

	if xprt.XptFlags.TestBit(XPT_CLOSE) {
		svcDeleteXprt(cur, xprt)
		return 0
	}
	if xprt.XptFlags.TestBit(XPT_LISTENER) {
		// The listener has the module pinned, so this cannot fail.
		ModuleGet(xprt.XptClass.XclOwner)
		svcCheckConnLimits(cur, xprt.XptServer)
		if newxpt := xprt.XptOps.XpoAccept(cur, xprt); newxpt != nil {
			svcAddNewTempXprt(cur, serv, newxpt)
		} else {
			ModulePut(xprt.XptClass.XclOwner)
		}
	} else {
		rqstp.RqDeferred = svcDeferredDequeue(xprt)
		if rqstp.RqDeferred != nil {
			length = svcDeferredRecv(rqstp)
		} else {
			length = xprt.XptOps.XpoRecvfrom(cur, rqstp)
		}
		rqstp.RqReserved = int(serv.SvMaxMesg)
		xprt.XptReserved.Add(int64(rqstp.RqReserved))
	}
	svcXprtReceived(cur, xprt)
	return length
}

// SvcRecv waits up to timeout for the next request of any transport and returns its length in bytes; RqXprt then
// holds a reference to its transport, which SvcProcess gives back. -EAGAIN: nothing yet (timeout, accept, close, part
// of a record); -EINTR: signalled or told to stop. cur is the thread of rqstp.
//
// C: svc_recv, net/sunrpc/svc_xprt.c
func SvcRecv(cur *kernel.Task, rqstp *SvcRqst, timeout kernel.Jiffies) int {
	serv := rqstp.RqServer

	if rqstp.RqXprt.Load() != nil {
		rqstp.Machine().Printk("svc_recv: service %s, transport not NULL!", rqstp.Name())
	}
	if err := svcAllocArg(cur, rqstp); err != 0 {
		return err
	}
	kernel.TryToFreeze(cur)
	kernel.CondResched(cur)
	if cur.SignalPending() || cur.KthreadShouldStop() {
		return -kernel.EINTR
	}

	xprt, err := svcGetNextXprt(cur, rqstp, timeout)
	if err != 0 {
		return err
	}
	length := svcHandleXprt(cur, rqstp, xprt)
	if length <= 0 {
		rqstp.RqRes.Len = 0
		svcXprtRelease(cur, rqstp)
		return -kernel.EAGAIN
	}

	xprt.XptFlags.ClearBit(XPT_OLD)
	if xprt.XptOps.XpoSecurePort(rqstp) {
		rqstp.RqFlags.SetBit(RQ_SECURE)
	} else {
		rqstp.RqFlags.ClearBit(RQ_SECURE)
	}
	rqstp.RqChandle.Defer = SvcDefer
	rqstp.RqXid = SvcGetu32(&rqstp.RqArg.Head)

	if serv.SvStats != nil {
		serv.SvStats.Netcnt.Inc()
	}
	return length
}

// SvcDrop ends a request without a reply.
//
// C: svc_drop, net/sunrpc/svc_xprt.c
func SvcDrop(cur *kernel.Task, rqstp *SvcRqst) {
	svcXprtRelease(cur, rqstp)
}

// SvcSend sends the reply and ends the request: bytes sent, 0 if the connection is gone or full, -errno. -EFAULT:
// there is no transport. Takes XptMutex; may sleep.
//
// C: svc_send, net/sunrpc/svc_xprt.c
func SvcSend(cur *kernel.Task, rqstp *SvcRqst) int {
	xprt := rqstp.RqXprt.Load()
	if xprt == nil {
		return -kernel.EFAULT
	}
	// The received packet is charged to the socket: let it go before the reply needs room.
	xprt.XptOps.XpoReleaseRqst(cur, rqstp)

	xb := &rqstp.RqRes
	xb.Len = uint32(xb.Head.IovLen) + xb.PageLen + uint32(xb.Tail.IovLen)

	length := -kernel.ENOTCONN
	xprt.XptMutex.Lock(cur)
	if !xprt.XptFlags.TestBit(XPT_DEAD) && !xprt.XptFlags.TestBit(XPT_CLOSE) {
		length = xprt.XptOps.XpoSendto(cur, rqstp)
	}
	xprt.XptMutex.Unlock(cur)
	xprt.XptBcPending.WakeUpAll()
	svcXprtRelease(cur, rqstp)

	switch length {
	case -kernel.ECONNREFUSED, -kernel.ENOTCONN, -kernel.EAGAIN:
		return 0
	}
	return length
}

// svcAgeTempXprts is the ageing timer: a connection that was idle for a whole period is closed, the others are marked
// OLD. It only tries the lock, since whoever holds it may not have disabled softirqs. Softirq context.
//
// Differs: leaves the transport on SvTempsocks. 3.19, and upstream to this day, takes it off here, so that a service
// that shuts down cannot see it although it is still queued, and frees the queue under it (ours, no upstream fix).
//
// C: svc_age_temp_xprts, net/sunrpc/svc_xprt.c
func svcAgeTempXprts(serv *SvcServ) {
	m := serv.Machine()
	if !serv.SvLock.TryLock() {
		serv.SvTemptimer.Mod(m.Jiffies() + kernel.HZ)
		return
	}
	for xprt := serv.SvTempsocks.First(); xprt != nil; xprt = serv.SvTempsocks.Next(&xprt.XptList) {
		if !xprt.XptFlags.TestAndSetBit(XPT_OLD) {
			continue
		}
		if xprt.XptRef.Read() > 1 || xprt.XptFlags.TestBit(XPT_BUSY) {
			continue
		}
		xprt.XptFlags.SetBit(XPT_CLOSE)
		SvcXprtEnqueue(xprt)
	}
	serv.SvLock.Unlock()

	serv.SvTemptimer.Mod(m.Jiffies() + svcConnAgePeriod*kernel.HZ)
}

// callXptUsers tells everybody who asked that the transport is gone. The callbacks run under XptLock.
//
// C: call_xpt_users, net/sunrpc/svc_xprt.c
func callXptUsers(xprt *SvcXprt) {
	xprt.XptLock.Lock()
	for u := xprt.XptUsers.First(); u != nil; u = xprt.XptUsers.First() {
		xprt.XptUsers.Del(&u.List)
		u.Callback(u)
	}
	xprt.XptLock.Unlock()
}

// svcDeleteXprt takes a transport out of service: off the network, off its list, its deferred requests freed, the
// list's reference dropped. The caller owns BUSY, which stays set for ever. Happens once. May sleep.
//
// C: svc_delete_xprt, net/sunrpc/svc_xprt.c
func svcDeleteXprt(cur *kernel.Task, xprt *SvcXprt) {
	serv := xprt.XptServer
	m := xprt.Machine()

	m.BugOn(xprt.XptFlags.TestAndSetBit(XPT_DEAD), "svc_delete_xprt: already dead")
	xprt.XptOps.XpoDetach(cur, xprt)

	serv.SvLock.LockBH()
	// On which of the two lists it is only matters to the reader of a trace.
	if xprt.XptFlags.TestBit(XPT_TEMP) {
		serv.SvTempsocks.DelInit(&xprt.XptList)
		serv.SvTmpcnt.Dec()
	} else {
		serv.SvPermsocks.DelInit(&xprt.XptList)
	}
	m.WarnOnOnce(xprt.XptReady.Linked(), "svc_delete_xprt: still queued")
	serv.SvLock.UnlockBH()

	for dr := svcDeferredDequeue(xprt); dr != nil; dr = svcDeferredDequeue(xprt) {
		kernel.Kfree(dr)
	}
	callXptUsers(xprt)
	SvcXprtPut(cur, xprt)
}

// SvcCloseXprt closes a transport: here and now if nobody owns it, which works without any thread; else its owner
// finds CLOSE when done. The caller has a reference. May sleep.
//
// C: svc_close_xprt, net/sunrpc/svc_xprt.c
func SvcCloseXprt(cur *kernel.Task, xprt *SvcXprt) {
	xprt.XptFlags.SetBit(XPT_CLOSE)
	if xprt.XptFlags.TestAndSetBit(XPT_BUSY) {
		return
	}
	svcDeleteXprt(cur, xprt)
}

// svcCloseList asks for the close of every transport of net on the list and returns how many there still are.
//
// It takes SvLock without disabling softirqs, unlike everybody else: the only softirq that wants the lock is the
// ageing timer, which does not wait for it.
//
// C: svc_close_list, net/sunrpc/svc_xprt.c
func svcCloseList(serv *SvcServ, xprtList *kernel.List[SvcXprt], net *sock.Net) int {
	n := 0
	serv.SvLock.Lock()
	for xprt := xprtList.First(); xprt != nil; xprt = xprtList.Next(&xprt.XptList) {
		if xprt.XptNet != net {
			continue
		}
		n++
		xprt.XptFlags.SetBit(XPT_CLOSE)
		SvcXprtEnqueue(xprt)
	}
	serv.SvLock.Unlock()
	return n
}

// svcDequeueNet takes the first queued transport of net off its pool's queue, nil if there is none. The caller
// becomes the owner of its BUSY; the list's reference keeps it alive.
//
// C: svc_dequeue_net, net/sunrpc/svc_xprt.c
func svcDequeueNet(serv *SvcServ, net *sock.Net) *SvcXprt {
	for _, pool := range serv.SvPools {
		pool.SpLock.LockBH()
		for xprt := pool.SpSockets.First(); xprt != nil; xprt = pool.SpSockets.Next(&xprt.XptReady) {
			if xprt.XptNet != net {
				continue
			}
			pool.SpSockets.DelInit(&xprt.XptReady)
			pool.SpLock.UnlockBH()
			return xprt
		}
		pool.SpLock.UnlockBH()
	}
	return nil
}

// svcCleanUpXprts deletes the queued transports of net, in place of the threads that may not be there any more.
//
// C: svc_clean_up_xprts, net/sunrpc/svc_xprt.c
func svcCleanUpXprts(cur *kernel.Task, serv *SvcServ, net *sock.Net) {
	for xprt := svcDequeueNet(serv, net); xprt != nil; xprt = svcDequeueNet(serv, net) {
		xprt.XptFlags.SetBit(XPT_CLOSE)
		svcDeleteXprt(cur, xprt)
	}
}

// SvcCloseNet closes all transports of net and returns when they are gone. It works as if the service went on
// running, because for other nets it may: it marks and queues them, takes back what no thread has picked up, and
// waits a growing time for those that a thread owns. The service mutex is held; sleeps.
//
// C: svc_close_net, net/sunrpc/svc_xprt.c
func SvcCloseNet(cur *kernel.Task, serv *SvcServ, net *sock.Net) {
	for delay := 0; ; delay++ {
		left := svcCloseList(serv, &serv.SvPermsocks, net)
		left += svcCloseList(serv, &serv.SvTempsocks, net)
		if left == 0 {
			return
		}
		svcCleanUpXprts(cur, serv, net)
		kernel.Msleep(cur, delay)
	}
}

// svcRevisit is the cache's answer to a deferred request: it goes back to its transport for a replay, or is dropped
// if there are too many of them or the transport is dead. The cache's reference to the transport ends here.
//
// C: svc_revisit, net/sunrpc/svc_xprt.c
func svcRevisit(cur *kernel.Task, dreq *CacheDeferredReq, tooMany bool) {
	dr := dreq.Container.(*SvcDeferredReq)
	xprt := dr.Xprt

	xprt.XptLock.Lock()
	xprt.XptFlags.SetBit(XPT_DEFERRED)
	if tooMany || xprt.XptFlags.TestBit(XPT_DEAD) {
		xprt.XptLock.Unlock()
		SvcXprtPut(cur, xprt)
		kernel.Kfree(dr)
		return
	}
	dr.Xprt = nil
	xprt.XptDeferred.Add(&dr.Handle.Recent)
	xprt.XptLock.Unlock()
	SvcXprtEnqueue(xprt)
	SvcXprtPut(cur, xprt)
}

// SvcDefer puts the present request aside for a cache and marks it as not to be answered now. Only a request that
// lies in the head can be kept. A request that is being replayed is reused. nil: refused, or no memory.
//
// C: svc_defer, net/sunrpc/svc_xprt.c
func SvcDefer(cur *kernel.Task, req *CacheReq) *CacheDeferredReq {
	rqstp := req.Rqstp
	if rqstp.RqArg.PageLen != 0 || !rqstp.RqFlags.TestBit(RQ_USEDEFERRAL) {
		return nil
	}
	dr := rqstp.RqDeferred
	if dr != nil {
		rqstp.RqDeferred = nil
	} else {
		arg := &rqstp.RqArg
		dr = kernel.Kzalloc[SvcDeferredReq](rqstp.Machine(), "svc_deferred_req", kernel.GFP_KERNEL)
		if dr == nil {
			return nil
		}
		dr.Handle.Owner = rqstp.RqServer
		dr.Handle.Container = dr
		dr.Handle.Recent.Init(&dr.Handle)
		dr.Handle.Hash.Init(&dr.Handle)
		dr.Prot = rqstp.RqProt
		dr.Addr = rqstp.RqAddr
		dr.Daddr = rqstp.RqDaddr
		dr.Argslen = arg.Len >> 2
		dr.XprtHlen = rqstp.RqXprtHlen

		// What has been consumed of the head belongs to the copy, too.
		skip := int(uint64(arg.Len) - arg.Head.IovLen)
		dr.Args = make([]byte, dr.Argslen<<2)
		if from := arg.Head.IovBase - skip; from >= 0 && from < len(arg.Head.IovMem) {
			copy(dr.Args, arg.Head.IovMem[from:])
		}
	}
	xprt := rqstp.RqXprt.Load()
	SvcXprtGet(xprt)
	dr.Xprt = xprt
	rqstp.RqFlags.SetBit(RQ_DROPME)

	dr.Handle.Revisit = svcRevisit
	return &dr.Handle
}

// svcDeferredRecv makes RqDeferred the present request, as if it had just been received, and returns its length.
//
// C: svc_deferred_recv, net/sunrpc/svc_xprt.c
func svcDeferredRecv(rqstp *SvcRqst) int {
	dr := rqstp.RqDeferred
	total := uint64(dr.Argslen) << 2

	rqstp.RqArg.Head = Kvec{IovMem: dr.Args, IovBase: int(dr.XprtHlen>>2) * 4, IovLen: total - dr.XprtHlen}
	rqstp.RqArg.PageLen = 0
	rqstp.RqArg.Len = uint32(total)
	rqstp.RqProt = dr.Prot
	rqstp.RqAddr = dr.Addr
	rqstp.RqXprtHlen = dr.XprtHlen
	rqstp.RqDaddr = dr.Daddr
	rqstp.RqRespages = 0
	return int(total - dr.XprtHlen)
}

// svcDeferredDequeue takes the latest request that waits for its replay, nil if there is none. XPT_DEFERRED saves the
// lock in the usual case and is cleared once the list was found empty.
//
// C: svc_deferred_dequeue, net/sunrpc/svc_xprt.c
func svcDeferredDequeue(xprt *SvcXprt) *SvcDeferredReq {
	if !xprt.XptFlags.TestBit(XPT_DEFERRED) {
		return nil
	}
	var dr *SvcDeferredReq
	xprt.XptLock.Lock()
	if handle := xprt.XptDeferred.First(); handle != nil {
		xprt.XptDeferred.DelInit(&handle.Recent)
		dr = handle.Container.(*SvcDeferredReq)
	} else {
		xprt.XptFlags.ClearBit(XPT_DEFERRED)
	}
	xprt.XptLock.Unlock()
	return dr
}

// SvcFindXprt looks for a permanent transport of net by class, family and port, 0 being any, and returns it with a
// reference; nil if there is none.
//
// C: svc_find_xprt, net/sunrpc/svc_xprt.c
func SvcFindXprt(serv *SvcServ, xclName string, net *sock.Net, af int, port uint16) *SvcXprt {
	if serv == nil || xclName == "" {
		return nil
	}
	serv.SvLock.LockBH()
	xprt := serv.SvPermsocks.First()
	for ; xprt != nil; xprt = serv.SvPermsocks.Next(&xprt.XptList) {
		if xprt.XptNet != net || xprt.XptClass.XclName != xclName {
			continue
		}
		if af != sock.AF_UNSPEC && af != xprt.XptLocal.Family {
			continue
		}
		if port != 0 && port != SvcXprtLocalPort(xprt) {
			continue
		}
		SvcXprtGet(xprt)
		break
	}
	serv.SvLock.UnlockBH()
	return xprt
}

// svcOneXprtName is one line of SvcXprtNames.
//
// C: svc_one_xprt_name, net/sunrpc/svc_xprt.c
func svcOneXprtName(xprt *SvcXprt, remaining int) (string, int) {
	line := fmt.Sprintf("%s %d\n", xprt.XptClass.XclName, SvcXprtLocalPort(xprt))
	if len(line) >= remaining {
		return "", -kernel.ENAMETOOLONG
	}
	return line, len(line)
}

// SvcXprtNames lists the permanent transports, one line "class port" each. Returns the length as well, or
// -ENAMETOOLONG if they do not fit into buflen bytes with a final zero.
//
// C: svc_xprt_names, net/sunrpc/svc_xprt.c
func SvcXprtNames(serv *SvcServ, buflen int) (string, int) {
	if serv == nil {
		return "", 0
	}
	var buf []byte
	totlen := 0
	serv.SvLock.LockBH()
	for xprt := serv.SvPermsocks.First(); xprt != nil; xprt = serv.SvPermsocks.Next(&xprt.XptList) {
		line, n := svcOneXprtName(xprt, buflen-totlen)
		if n < 0 {
			buf, totlen = nil, n
			break
		}
		buf = append(buf, line...)
		totlen += n
	}
	serv.SvLock.UnlockBH()
	return string(buf), totlen
}

// SvcPoolStatsShow is the text of the pool statistics file: a heading and one line a pool. Takes no lock.
//
// C: svc_pool_stats_show, net/sunrpc/svc_xprt.c
func SvcPoolStatsShow(serv *SvcServ) string {
	buf := []byte("# pool packets-arrived sockets-enqueued threads-woken threads-timedout\n")
	for _, pool := range serv.SvPools {
		s := &pool.SpStats
		buf = fmt.Appendf(buf, "%d %d %d %d %d\n", pool.SpID, s.Packets.Peek(), s.SocketsQueued.Peek(),
			s.ThreadsWoken.Peek(), s.ThreadsTimedout.Peek())
	}
	return string(buf)
}

// UnregisterXptUser takes back RegisterXptUser; nothing happens if the transport is already gone.
//
// C: unregister_xpt_user, include/linux/sunrpc/svc_xprt.h
func UnregisterXptUser(xpt *SvcXprt, u *SvcXptUser) {
	xpt.XptLock.Lock()
	xpt.XptUsers.DelInit(&u.List)
	xpt.XptLock.Unlock()
}

// RegisterXptUser asks for u.Callback when the transport is deleted. -ENOTCONN if it is on its way out already.
//
// C: register_xpt_user, include/linux/sunrpc/svc_xprt.h
func RegisterXptUser(xpt *SvcXprt, u *SvcXptUser) int {
	xpt.XptLock.Lock()
	if xpt.XptFlags.TestBit(XPT_CLOSE) {
		xpt.XptLock.Unlock()
		return -kernel.ENOTCONN
	}
	u.List.Init(u)
	xpt.XptUsers.Add(&u.List)
	xpt.XptLock.Unlock()
	return 0
}

// SvcXprtSetLocal stores the address the transport is bound to.
//
// C: svc_xprt_set_local, include/linux/sunrpc/svc_xprt.h
func SvcXprtSetLocal(xprt *SvcXprt, sa SockAddr) {
	xprt.XptLocal = sa
}

// SvcXprtSetRemote stores the peer's address.
//
// C: svc_xprt_set_remote, include/linux/sunrpc/svc_xprt.h
func SvcXprtSetRemote(xprt *SvcXprt, sa SockAddr) {
	xprt.XptRemote = sa
}

// SvcAddrPort is the port of an internet address, 0 for any other.
//
// C: svc_addr_port, include/linux/sunrpc/svc_xprt.h
func SvcAddrPort(sa *SockAddr) uint16 {
	switch sa.Family {
	case sock.AF_INET, sock.AF_INET6:
		return sa.Port
	}
	return 0
}

// SvcXprtLocalPort is the port the transport is bound to.
//
// C: svc_xprt_local_port, include/linux/sunrpc/svc_xprt.h
func SvcXprtLocalPort(xprt *SvcXprt) uint16 {
	return SvcAddrPort(&xprt.XptLocal)
}
