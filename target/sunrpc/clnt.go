// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// Flags of RpcCreateArgs.
const (
	RPC_CLNT_CREATE_HARDRTRY    = 1 << 0 // calls never give up, unless they ask to
	RPC_CLNT_CREATE_AUTOBIND    = 1 << 2 // RpcForceRebind makes it look up the port again
	RPC_CLNT_CREATE_NONPRIVPORT = 1 << 3 // any source port will do
)

// RpcTimeout is how a call is repeated: first after ToInitval, then after ToIncrement more each time, or twice as
// long if ToExponential, but never after more than ToMaxval. A major timeout is what ToRetries repetitions take.
//
// C: struct rpc_timeout, include/linux/sunrpc/xprt.h
type RpcTimeout struct {
	ToInitval, ToMaxval, ToIncrement kernel.Jiffies
	ToRetries                        uint32
	ToExponential                    bool
}

// RpcProcinfo is a procedure that can be called. PEncode writes the arguments; PDecode reads the results and returns
// 0 or -errno; nil: there are none to be read.
//
// Differs: without the lengths of arguments and results; every call has a page for either.
//
// C: struct rpc_procinfo, include/linux/sunrpc/clnt.h
type RpcProcinfo struct {
	PProc   uint32
	PEncode func(xdr *XdrStream, argp any)
	PDecode func(xdr *XdrStream, resp any) int
	PName   string
}

// RpcVersion is a version of a program; procedures that are never called are nil.
//
// C: struct rpc_version, include/linux/sunrpc/clnt.h
type RpcVersion struct {
	Number uint32
	Procs  []*RpcProcinfo
}

// RpcProgram is a program that can be called, its versions by number.
//
// C: struct rpc_program, include/linux/sunrpc/clnt.h
type RpcProgram struct {
	Name    string
	Number  uint32
	Version []*RpcVersion
}

// RpcCreateArgs is what RpcCreate is told.
//
// C: struct rpc_create_args, include/linux/sunrpc/clnt.h
type RpcCreateArgs struct {
	Rpc        *Sunrpc
	Net        *sock.Net
	Protocol   uint32      // IPPROTO_UDP or IPPROTO_TCP
	Address    SockAddr    // port 0: to be asked of the peer's rpcbind
	Saddress   SockAddr    // source address, its port is ignored; the zero SockAddr: any
	Timeout    *RpcTimeout // nil: the default of the protocol
	Servername string
	Program    *RpcProgram
	Version    uint32
	Authflavor uint32 // RPC_AUTH_NULL or RPC_AUTH_UNIX
	Flags      uint32 // RPC_CLNT_CREATE_*
}

// RpcClnt is a client: it calls one version of a program at one peer, over one socket that all its calls share.
//
// Differs: client and transport are one structure, since no two clients of ours share a transport, and one lock,
// ClLock, is in the place of cl_lock and transport_lock. A mutex, clWrite, is XPRT_LOCKED: it is held while a call
// looks up the port, connects and sends.
//
// C: struct rpc_clnt, include/linux/sunrpc/clnt.h; struct rpc_xprt, include/linux/sunrpc/xprt.h; struct sock_xprt,
// net/sunrpc/xprtsock.c
type RpcClnt struct {
	kernel.Obj
	Rpc          *Sunrpc
	ClNet        *sock.Net
	ClProgram    *RpcProgram
	ClVers       uint32
	ClProt       uint32 // IPPROTO_*
	ClServername string
	ClNodename   string // the machine in AUTH_UNIX credentials; that of the time when the client was made
	ClAuthflavor uint32
	ClTimeout    RpcTimeout
	ClSoftrtry   bool // all calls are RPC_TASK_SOFT
	ClAutobind   bool

	clSaddr    SockAddr
	clResvport bool

	ClLock        kernel.Spinlock
	ClAddr        SockAddr   // peer; port 0: to be looked up; ClLock
	ClTasks       []*RpcTask // calls under way, oldest first; ClLock
	ClRecv        []*RpcTask // of them, those that went out and have no answer; ClLock
	clDying       bool       // ClLock
	clOrphan      bool       // shut down by a call of its own, which frees it in the end; ClLock
	clDestroyWait kernel.WaitQueueHead

	clWrite     kernel.Mutex
	clPending   kernel.WaitQueueHead // calls that wait for an answer
	clSock      *sock.Sock           // written under clWrite and ClLock, read under either
	clBroken    bool                 // the connection is no more; ClLock
	clCookie    uint32               // counts connections; ClLock
	clReconnect kernel.Jiffies       // pause before the next connection; ClLock
	clNext      kernel.Jiffies       // when that may be made; clWrite
	clXid       uint32               // ClLock
	clRecord    tcpRecord            // ClLock
	clBindIndex int                  // which version of rpcbind is asked next; clWrite
}

// Poison drops the pointers of a freed client.
func (clnt *RpcClnt) Poison() {
	clnt.Rpc, clnt.ClNet, clnt.ClProgram, clnt.clSock, clnt.ClTasks, clnt.ClRecv = nil, nil, nil, nil, nil, nil
}

// Default timeouts.
//
// C: xs_udp_default_timeout, xs_tcp_default_timeout, net/sunrpc/xprtsock.c
var (
	xsUdpDefaultTimeout = RpcTimeout{
		ToInitval: 5 * kernel.HZ, ToMaxval: 30 * kernel.HZ, ToIncrement: 5 * kernel.HZ, ToRetries: 5,
	}
	xsTcpDefaultTimeout = RpcTimeout{
		ToInitval: 60 * kernel.HZ, ToMaxval: 60 * kernel.HZ, ToRetries: 2,
	}
)

// RpcCreate makes a client. No packet is sent. -ENOMEM; -EIO for a version that the program does not have; -EINVAL
// for a protocol that is neither UDP nor TCP. May sleep.
//
// Differs: never pings the peer; all our callers ask not to.
//
// C: rpc_create, net/sunrpc/clnt.c
func RpcCreate(cur *kernel.Task, args *RpcCreateArgs) (*RpcClnt, int) {
	if args.Protocol != IPPROTO_UDP && args.Protocol != IPPROTO_TCP {
		return nil, -kernel.EINVAL
	}
	if int(args.Version) >= len(args.Program.Version) || args.Program.Version[args.Version] == nil {
		return nil, -kernel.EIO
	}
	clnt := kernel.Kzalloc[RpcClnt](cur.Machine(), "rpc_clnt", kernel.GFP_KERNEL)
	if clnt == nil {
		return nil, -kernel.ENOMEM
	}
	clnt.Rpc, clnt.ClNet, clnt.ClProgram, clnt.ClVers = args.Rpc, args.Net, args.Program, args.Version
	clnt.ClProt, clnt.ClAddr, clnt.clSaddr = args.Protocol, args.Address, args.Saddress.WithPort(0)
	clnt.ClServername, clnt.ClAuthflavor = args.Servername, args.Authflavor
	clnt.ClNodename = args.Rpc.Nodename
	if len(clnt.ClNodename) > UNX_MAXNODENAME {
		clnt.ClNodename = clnt.ClNodename[:UNX_MAXNODENAME]
	}
	clnt.ClSoftrtry = args.Flags&RPC_CLNT_CREATE_HARDRTRY == 0
	clnt.ClAutobind = args.Flags&RPC_CLNT_CREATE_AUTOBIND != 0
	clnt.clResvport = args.Flags&RPC_CLNT_CREATE_NONPRIVPORT == 0
	switch {
	case args.Timeout != nil:
		clnt.ClTimeout = *args.Timeout
	case args.Protocol == IPPROTO_UDP:
		clnt.ClTimeout = xsUdpDefaultTimeout
	default:
		clnt.ClTimeout = xsTcpDefaultTimeout
	}
	clnt.clXid = cur.Machine().RandomU32()
	o := &clnt.Obj
	clnt.ClLock.Init(o, "cl_lock")
	clnt.clDestroyWait.Init(o, "destroy_wait")
	class := "xprt_locked"
	if clnt.ClAddr.Port != 0 && !clnt.ClAutobind { // asks no rpcbind, and may be one that is asked with such a mutex held
		class = "xprt_locked/bound"
	}
	clnt.clWrite.Init(o, class)
	clnt.clPending.Init(o, "xprt_pending")
	return clnt, 0
}

// rpcKillallTasks makes all calls of a client end with -EIO as soon as they notice. ClLock is held.
//
// C: rpc_killall_tasks, net/sunrpc/clnt.c
func rpcKillallTasks(clnt *RpcClnt) {
	for _, task := range clnt.ClTasks {
		task.killed.Set(1)
		kernel.WakeUpProcess(task.runner)
	}
}

// RpcShutdownClient ends the calls under way, waits for them and frees the client. Nobody makes new ones. A call's
// RpcRelease may do this to its own client, which then goes with the call. May sleep; nil is not allowed.
//
// Differs: kills the calls once, where 3.19 does so again every second, for the sake of new ones. Drops the one
// reference that our clients have.
//
// C: rpc_shutdown_client, net/sunrpc/clnt.c
func RpcShutdownClient(cur *kernel.Task, clnt *RpcClnt) {
	alone, free := false, false
	look := func() bool {
		alone = rpcOthers(cur, clnt) == 0
		free = len(clnt.ClTasks) == 0
		clnt.clOrphan = alone && !free
		return alone
	}
	clnt.ClLock.Lock()
	clnt.clDying = true
	rpcKillallTasks(clnt)
	look()
	clnt.ClLock.Unlock()
	if !alone {
		kernel.WaitEvent(cur, &clnt.clDestroyWait, func() bool {
			clnt.ClLock.Lock()
			defer clnt.ClLock.Unlock()
			return look()
		})
	}
	if free {
		rpcFreeClient(clnt)
	}
}

// rpcOthers counts the calls that somebody else than cur runs. ClLock is held.
func rpcOthers(cur *kernel.Task, clnt *RpcClnt) int {
	n := 0
	for _, task := range clnt.ClTasks {
		if task.runner != cur {
			n++
		}
	}
	return n
}

// rpcFreeClient closes the socket of a client without calls and frees it.
//
// C: rpc_free_client, net/sunrpc/clnt.c
func rpcFreeClient(clnt *RpcClnt) {
	if clnt.clSock != nil {
		clnt.clSock.Release()
	}
	kernel.Kfree(clnt)
}

// RpcCallSync makes a call and waits for its end: 0 or -errno, as PDecode says, or as the peer or the way to it makes
// it. -ENOMEM: there was no memory for it. May sleep, until a soft call gives up or for ever.
//
// Differs: a signal does not end it.
//
// C: rpc_call_sync, net/sunrpc/clnt.c
func RpcCallSync(cur *kernel.Task, clnt *RpcClnt, msg *RpcMessage, flags uint32) int {
	return rpcCallFor(cur, clnt, msg, flags, nil)
}

// rpcCallFor is RpcCallSync for a call that is part of another one and dies with it.
func rpcCallFor(cur *kernel.Task, clnt *RpcClnt, msg *RpcMessage, flags uint32, parent *RpcTask) int {
	task := rpcNewTask(clnt, msg, flags, nil, nil)
	if task == nil {
		return -kernel.ENOMEM
	}
	task.parent = parent
	rpcTaskSetClient(task, cur, false)
	return rpcExecute(cur, task)
}

// RpcCallAsync starts a call in a task of its own: 0, or -ENOMEM if it cannot be made, and then ops' RpcRelease has
// run already. The message is copied; what it points to must stay until RpcRelease. ops may be nil. May sleep.
//
// Differs: each call has a task; C runs them all in the workers of rpciod.
//
// C: rpc_call_async, net/sunrpc/clnt.c
func RpcCallAsync(cur *kernel.Task, clnt *RpcClnt, msg *RpcMessage, flags uint32, ops *RpcCallOps, data any) int {
	task := rpcNewTask(clnt, msg, flags, ops, data)
	if task == nil {
		rpcReleaseCalldata(cur, ops, data)
		return -kernel.ENOMEM
	}
	runner := cur.Machine().KthreadCreate(cur, func(cur *kernel.Task, _ any) int {
		rpcExecute(cur, task)
		return 0
	}, nil, "rpciod")
	if kernel.IsErr(runner) {
		kernel.Kfree(task)
		rpcReleaseCalldata(cur, ops, data)
		return kernel.PtrErr(runner)
	}
	rpcTaskSetClient(task, runner, true)
	return 0
}

// RpcPeeraddr is the address of the peer; its port is 0 if it is not known. Process context.
//
// C: rpc_peeraddr, net/sunrpc/clnt.c
func RpcPeeraddr(clnt *RpcClnt) SockAddr {
	clnt.ClLock.Lock()
	addr := clnt.ClAddr
	clnt.ClLock.Unlock()
	return addr
}

// RpcForceRebind makes the next call ask for the peer's port again, if the client is one that may. Process context.
//
// C: rpc_force_rebind, net/sunrpc/clnt.c
func RpcForceRebind(clnt *RpcClnt) {
	if clnt.ClAutobind {
		clnt.ClLock.Lock()
		clnt.ClAddr.Port = 0
		clnt.ClLock.Unlock()
	}
}

// callStart begins the call, which has a number: timeouts and the message.
//
// C: call_start, call_reserve, call_allocate, net/sunrpc/clnt.c; xprt_request_init, net/sunrpc/xprt.c
func callStart(_ *kernel.Task, task *RpcTask) {
	task.TkStatus = 0
	task.timeout, task.retries = task.TkClient.ClTimeout.ToInitval, 0
	xprtResetMajortimeo(task)
	rpcXdrEncode(task)
	task.action = callTransmit
}

// callRestart begins the call anew: with another number, so that no answer to what was sent before counts.
//
// C: rpc_restart_call, net/sunrpc/clnt.c; xprt_release, net/sunrpc/xprt.c
func callRestart(cur *kernel.Task, task *RpcTask) {
	clnt := task.TkClient
	clnt.ClLock.Lock()
	clnt.ClRecv = withoutTask(clnt.ClRecv, task)
	task.waiting, task.reply = false, nil
	task.xid = xprtAllocXid(clnt)
	clnt.ClLock.Unlock()
	callStart(cur, task)
}

// rpcXdrEncode writes the message: record marker, header, credential, verifier, arguments.
//
// C: rpc_xdr_encode, rpc_encode_header, net/sunrpc/clnt.c
func rpcXdrEncode(task *RpcTask) {
	clnt := task.TkClient
	proc := task.msg.RpcProc
	mem := make([]byte, rpcFraghdrSize+PAGE_SIZE)
	buf := &XdrBuf{Head: KvecOf(mem, rpcFraghdrSize), Buflen: uint32(len(mem))}
	p := buf.Head.P()
	p.Off += rpcFraghdrSize
	for _, w := range [...]uint32{task.xid, RPC_CALL, RPC_VERSION, clnt.ClProgram.Number, clnt.ClVers, proc.PProc} {
		p.Put(w)
	}
	rpcauthMarshcred(task, &p)
	buf.Len = rpcFraghdrSize
	var xdr XdrStream
	XdrInitEncode(task.Machine(), &xdr, buf, p)
	proc.PEncode(&xdr, task.msg.RpcArgp)
	task.sndBuf = buf.Head.Bytes()
	binary.BigEndian.PutUint32(task.sndBuf, rpcLastStreamFragment|uint32(len(task.sndBuf)-rpcFraghdrSize))
}

// rpcauthMarshcred writes the credential and the verifier: root without groups for AUTH_UNIX.
//
// C: nul_marshal, net/sunrpc/auth_null.c; unx_marshal, net/sunrpc/auth_unix.c
func rpcauthMarshcred(task *RpcTask, p *XdrPtr) {
	clnt := task.TkClient
	p.Put(clnt.ClAuthflavor)
	if clnt.ClAuthflavor == RPC_AUTH_UNIX {
		name := []byte(clnt.ClNodename)
		p.Put(4 * (2 + XdrQuadlen(uint32(len(name))) + 3))
		p.Put(uint32(task.Machine().Jiffies() / kernel.HZ))
		XdrEncodeOpaque(p, name)
		for range 3 { // uid, gid, number of groups
			p.Put(0)
		}
	} else {
		p.Put(0)
	}
	p.Put(RPC_AUTH_NULL)
	p.Put(0)
}

// callTransmit sends the message, and before that finds the port and connects if need be.
//
// C: call_bind, call_connect, call_transmit, net/sunrpc/clnt.c
func callTransmit(cur *kernel.Task, task *RpcTask) {
	clnt := task.TkClient
	clnt.clWrite.Lock(cur)
	status, next := 0, callStatus
	send, ready := xprtPrepareTransmit(task)
	if !ready {
		status, next = xprtBind(cur, task), callBindStatus
		if status == 0 {
			status, next = xsConnect(cur, task), callConnectStatus
		}
		if status == 0 {
			next = callStatus
			if send, ready = xprtPrepareTransmit(task); !ready {
				status = -kernel.EAGAIN // to be bound again already, or cut off
			}
		}
	}
	if send {
		status = xsSendRequest(cur, task)
	}
	clnt.clWrite.Unlock(cur)
	task.TkStatus = status
	task.action = next
}

// callBindStatus looks at why the port was not found. A call that ends here ends with -EIO, unless there was no way to
// the peer's rpcbind.
//
// Differs: no procedure 0 that ends at once; no client of ours calls it.
//
// C: call_bind_status, net/sunrpc/clnt.c
func callBindStatus(cur *kernel.Task, task *RpcTask) {
	status, exit := task.TkStatus, -kernel.EIO
	task.TkStatus = 0
	task.action = callTimeout
	switch status {
	case -kernel.ENOMEM:
		if rpcSleepOn(cur, task, kernel.HZ>>2) {
			return
		}
	case -kernel.EACCES:
		// The peer's rpcbind knows no such program: its server may be starting.
		if task.rebindRetry > 0 {
			task.rebindRetry--
			if rpcSleepOn(cur, task, 3*kernel.HZ) {
				return
			}
		}
	case -kernel.ETIMEDOUT, -kernel.EPROTONOSUPPORT: // the latter asks in another version then
		return
	case -kernel.ECONNREFUSED, -kernel.ECONNRESET, -kernel.ECONNABORTED, -kernel.ENOTCONN, -kernel.EHOSTDOWN,
		-kernel.EHOSTUNREACH, -kernel.ENETUNREACH, -kernel.ENOBUFS, -kernel.EPIPE:
		if !task.isSoftconn() && rpcSleepOn(cur, task, 5*kernel.HZ) {
			return
		}
		exit = status
	}
	rpcFail(task, exit)
}

// rpcFail ends the call with status, or with -EIO if it was killed.
func rpcFail(task *RpcTask, status int) {
	if rpcKilled(task) {
		status = -kernel.EIO
	}
	rpcExit(task, status)
}

// callConnectStatus looks at why there is no connection.
//
// C: call_connect_status, net/sunrpc/clnt.c
func callConnectStatus(cur *kernel.Task, task *RpcTask) {
	status := task.TkStatus
	task.TkStatus = 0
	task.action = callTimeout
	switch status {
	case -kernel.ECONNREFUSED, -kernel.ECONNRESET, -kernel.ECONNABORTED, -kernel.ENETUNREACH, -kernel.EHOSTUNREACH,
		-kernel.ENOBUFS, -kernel.EPIPE:
		if !task.isSoftconn() && rpcSleepOn(cur, task, 3*kernel.HZ) {
			return
		}
	case -kernel.EAGAIN, -kernel.ETIMEDOUT:
		return
	}
	rpcFail(task, status)
}

// callStatus waits for the answer to a message that went out, and looks at why there is none, or why it did not go out.
//
// C: call_status, call_transmit_status, net/sunrpc/clnt.c
func callStatus(cur *kernel.Task, task *RpcTask) {
	status := task.TkStatus
	if status == 0 {
		status = xprtWaitReply(cur, task)
	}
	task.TkStatus = 0
	switch status {
	case 0:
		task.action = callDecode
		return
	case -kernel.EHOSTDOWN, -kernel.EHOSTUNREACH, -kernel.ENETUNREACH, -kernel.EPERM:
		if !task.isSoftconn() && rpcSleepOn(cur, task, 3*kernel.HZ) {
			task.action = callTimeout
			return
		}
	case -kernel.ETIMEDOUT:
		task.action = callTimeout
		return
	case -kernel.ECONNREFUSED, -kernel.ECONNRESET, -kernel.ECONNABORTED, -kernel.ENOBUFS:
		if status == -kernel.ECONNREFUSED && task.isSoftconn() {
			break
		}
		if status != -kernel.ENOBUFS {
			RpcForceRebind(task.TkClient)
		}
		if rpcSleepOn(cur, task, 3*kernel.HZ) {
			task.action = callTransmit
			return
		}
	case -kernel.EPIPE, -kernel.ENOTCONN, -kernel.EAGAIN:
		task.action = callTransmit
		return
	}
	rpcFail(task, status)
}

// callTimeout decides whether the call is tried again.
//
// C: call_timeout, net/sunrpc/clnt.c
func callTimeout(_ *kernel.Task, task *RpcTask) {
	clnt := task.TkClient
	task.action = callTransmit
	if xprtAdjustTimeout(task) == 0 {
		return
	}
	if task.isSoftconn() {
		rpcExit(task, -kernel.ETIMEDOUT)
		return
	}
	if task.isSoft() {
		task.Machine().Printk("%s: server %s not responding, timed out", clnt.ClProgram.Name, clnt.ClServername)
		status := -kernel.EIO
		if task.TkFlags&RPC_TASK_TIMEOUT != 0 {
			status = -kernel.ETIMEDOUT
		}
		rpcExit(task, status)
		return
	}
	if task.TkFlags&rpcCallMajorseen == 0 {
		task.TkFlags |= rpcCallMajorseen
		task.Machine().Printk("%s: server %s not responding, still trying", clnt.ClProgram.Name, clnt.ClServername)
	}
	RpcForceRebind(clnt)
}

// callDecode reads the answer.
//
// C: call_decode, net/sunrpc/clnt.c
func callDecode(_ *kernel.Task, task *RpcTask) {
	if task.TkFlags&rpcCallMajorseen != 0 {
		task.TkFlags &^= rpcCallMajorseen
		task.Machine().Printk("%s: server %s OK", task.TkClient.ClProgram.Name, task.TkClient.ClServername)
	}
	reply := task.answer
	task.answer = nil
	if len(reply) < 12 {
		task.action = callTransmit
		if task.isSoft() {
			task.action = callTimeout
		}
		return
	}
	p, ok := rpcVerifyHeader(task, reply)
	if !ok {
		return
	}
	task.action = nil
	if decode := task.msg.RpcProc.PDecode; decode != nil {
		buf := &XdrBuf{Head: KvecOf(reply, uint64(len(reply))), Buflen: uint32(len(reply)), Len: uint32(len(reply))}
		var xdr XdrStream
		XdrInitDecode(&xdr, buf, p)
		task.TkStatus = decode(&xdr, task.msg.RpcResp)
	}
}

// rpcVerifyHeader looks at the header of an answer of at least three words and returns where the results begin.
// False: there are none, and the call is over or goes on with its next step.
//
// Differs: an answer that ends behind its verifier is garbage; 3.19 takes its status from what the buffer had.
//
// C: rpc_verify_header, net/sunrpc/clnt.c
func rpcVerifyHeader(task *RpcTask, reply []byte) (XdrPtr, bool) {
	if len(reply)&3 != 0 {
		rpcExit(task, -kernel.EIO)
		return XdrPtr{}, false
	}
	p := XdrPtr{Mem: reply, Off: 4}
	if p.Get() != RPC_REPLY {
		return rpcGarbage(task, -kernel.EIO)
	}
	if p.Get() != RPC_MSG_ACCEPTED {
		return rpcVerifyDenied(task, p)
	}
	if err := rpcauthCheckverf(task, &p); err != 0 {
		return rpcGarbage(task, err)
	}
	if p.Off+4 > len(reply) {
		return rpcGarbage(task, -kernel.EACCES)
	}
	err := -kernel.EACCES
	switch p.Get() {
	case RPC_SUCCESS:
		return p, true
	case RPC_PROG_UNAVAIL:
		err = -kernel.EPFNOSUPPORT
	case RPC_PROG_MISMATCH:
		err = -kernel.EPROTONOSUPPORT
	case RPC_PROC_UNAVAIL:
		err = -kernel.EOPNOTSUPP
	default: // garbage arguments among them
		return rpcGarbage(task, err)
	}
	rpcExit(task, err)
	return XdrPtr{}, false
}

// rpcGarbage repeats a call whose answer makes no sense, twice at most; then err is its result.
func rpcGarbage(task *RpcTask, err int) (XdrPtr, bool) {
	if task.garbRetry > 0 {
		task.garbRetry--
		task.action = callTransmit
	} else {
		rpcExit(task, err)
	}
	return XdrPtr{}, false
}

// rpcVerifyDenied looks at why the peer denied the call; p is behind the reply's status.
func rpcVerifyDenied(task *RpcTask, p XdrPtr) (XdrPtr, bool) {
	const credproblem, ctxproblem = 13, 14 // of RPCSEC_GSS
	if p.Off+4 > len(p.Mem) {
		return rpcGarbage(task, -kernel.EACCES)
	}
	err := -kernel.EACCES
	switch p.Get() {
	case RPC_AUTH_ERROR:
		if p.Off+4 > len(p.Mem) {
			return rpcGarbage(task, err)
		}
		switch p.Get() {
		case RPC_AUTH_REJECTEDCRED, RPC_AUTH_REJECTEDVERF, credproblem, ctxproblem:
			if task.credRetry > 0 {
				task.credRetry--
				task.action = callRestart
				return XdrPtr{}, false
			}
		case RPC_AUTH_BADCRED, RPC_AUTH_BADVERF:
			if task.garbRetry > 0 {
				return rpcGarbage(task, err)
			}
		case RPC_AUTH_TOOWEAK:
			task.Machine().Printk("RPC: server %s requires stronger authentication", task.TkClient.ClServername)
		default:
			err = -kernel.EIO
		}
	case RPC_MISMATCH:
		err = -kernel.EPROTONOSUPPORT
	default:
		err = -kernel.EIO
	}
	rpcExit(task, err)
	return XdrPtr{}, false
}

// rpcauthCheckverf steps over the verifier of an answer, over its whole words; -EIO if it is none of the flavour.
//
// Differs: -EIO too if the answer ends before the verifier's words do, where 3.19 reads on in the buffer.
//
// C: nul_validate, net/sunrpc/auth_null.c; unx_validate, net/sunrpc/auth_unix.c
func rpcauthCheckverf(task *RpcTask, p *XdrPtr) int {
	if p.Off+8 > len(p.Mem) {
		return -kernel.EIO
	}
	flavour, size := p.Get(), p.Get()
	unix := task.TkClient.ClAuthflavor == RPC_AUTH_UNIX
	if flavour != RPC_AUTH_NULL && !(unix && (flavour == RPC_AUTH_UNIX || flavour == RPC_AUTH_SHORT)) {
		return -kernel.EIO
	}
	if size > RPC_MAX_AUTH_SIZE || !unix && size != 0 {
		return -kernel.EIO
	}
	p.Off += int(size>>2) * 4
	return 0
}
