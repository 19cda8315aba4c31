// SPDX-License-Identifier: GPL-2.0-only

// Package sunrpc is the port of the SunRPC server core of Linux 3.19 (net/sunrpc): services, pools and threads, the
// transports and their sockets, the dispatch of calls, null and unix authentication, an RPC client, rpcbind, deferral
// and the back channel. Each file has the name of its C original.
package sunrpc

import (
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// SvcThreadFn is the body of a service thread; data is what the creator passed, normally the thread's *SvcRqst.
type SvcThreadFn func(cur *kernel.Task, data any) int

// Module is a kernel module as far as services pin one: a count that must not go away under a transport or a thread.
type Module struct {
	kernel.Obj
	Name   string
	Refcnt kernel.Atomic
	Going  kernel.Var[bool] // unloading: no new pins
}

// NewModule makes a loaded module without users.
//
// C: struct module, include/linux/module.h
func NewModule(m *kernel.Machine, name string) *Module {
	mod := kernel.StaticObj[Module](m, name)
	mod.Name = name
	mod.Refcnt.Init(&mod.Obj, "refcnt")
	mod.Going.Init(&mod.Obj, "going")
	return mod
}

// TryModuleGet pins a module unless it is being unloaded. nil, something built in, can always be pinned.
//
// C: try_module_get, kernel/module.c
func TryModuleGet(mod *Module) bool {
	if mod == nil {
		return true
	}
	if mod.Going.Load() {
		return false
	}
	mod.Refcnt.Inc()
	return true
}

// ModuleGet pins a module that is known to be pinned already.
//
// C: __module_get, kernel/module.c
func ModuleGet(mod *Module) {
	if mod != nil {
		mod.Refcnt.Inc()
	}
}

// ModulePut undoes TryModuleGet or ModuleGet.
//
// C: module_put, kernel/module.c
func ModulePut(mod *Module) {
	if mod != nil {
		n := mod.Refcnt.AddReturn(-1)
		mod.Machine().BugOn(n < 0, "module_put: not pinned")
	}
}

// SvcPoolStats counts what one pool did.
type SvcPoolStats struct {
	Packets         kernel.Count
	SocketsQueued   kernel.Count // changed under SpLock, read without
	ThreadsWoken    kernel.Count
	ThreadsTimedout kernel.Count
}

// Bits of SvcPool.SpFlags.
const (
	SP_TASK_PENDING = 0 // there is work although no transport is queued
)

var spFlagNames = []string{"TASK_PENDING"}

// SvcPool is the threads and the ready transports that belong together. A service has one, or one per CPU or node.
type SvcPool struct {
	kernel.Obj
	SpID         uint32 // also the index in SvPools
	SpLock       kernel.Spinlock
	SpSockets    kernel.List[SvcXprt] // ready transports, oldest first, through XptReady; changed under SpLock
	SpNrthreads  uint32               // SpLock
	SpAllThreads kernel.List[SvcRqst] // through RqAll; changed under SpLock, walked under RCU
	SpStats      SvcPoolStats
	SpFlags      kernel.Flags // SP_*
}

// SvcServ is one RPC service: its programs, its transports, its threads.
type SvcServ struct {
	kernel.Obj
	SvRpc        *Sunrpc // the sunrpc module this service lives in
	SvProgram    *SvcProgram
	SvStats      *SvcStat
	SvLock       kernel.Spinlock
	SvNrthreads  kernel.Atomic        // creator + threads + SvcGet; the service mutex
	SvMaxconn    uint32               // 0: derived from the number of threads
	SvMaxPayload uint32               // bytes
	SvMaxMesg    uint32               // bytes, a whole number of pages
	SvXdrsize    uint32               // bytes
	SvPermsocks  kernel.List[SvcXprt] // listeners and datagram sockets, through XptList; SvLock
	SvTempsocks  kernel.List[SvcXprt] // accepted connections, newest first, through XptList; SvLock
	SvTmpcnt     kernel.Atomic        // changed under SvLock, read without
	SvTemptimer  kernel.Timer         // ages SvTempsocks; given its function with the first of them
	SvName       string
	SvNrpools    uint32
	SvPools      []*SvcPool
	SvShutdown   func(cur *kernel.Task, serv *SvcServ, net *sock.Net) // last step of SvcShutdownNet; may be nil
	SvFunction   SvcThreadFn                                          // non-nil: a pooled service
	SvModule     *Module                                              // pinned once a pooled thread; may be nil

	SvCbList  kernel.List[RpcRqst] // requests of an NFSv4.1 back channel, through RqBcList; SvCbLock
	SvCbLock  kernel.Spinlock
	SvCbWaitq kernel.WaitQueueHead
	// SvBcEnabled is 1 once the service has a back channel; read without a lock.
	//
	// Differs: 3.19 points to the place holder transport that was made last, which may be gone (d4b09acf924b).
	SvBcEnabled kernel.Atomic
}

// Limits of a service; bytes and pages.
const (
	RPCSVC_MAXPAYLOAD     = 1 << 20
	RPCSVC_MAXPAYLOAD_TCP = RPCSVC_MAXPAYLOAD
	RPCSVC_MAXPAYLOAD_UDP = 32 << 10
	RPCSVC_MAXPAGES       = (RPCSVC_MAXPAYLOAD+PAGE_SIZE-1)/PAGE_SIZE + 2 + 1
)

// Bits of SvcRqst.RqFlags.
const (
	RQ_SECURE      = 0 // the peer's port is privileged
	RQ_LOCAL       = 1 // the peer is this host
	RQ_USEDEFERRAL = 2 // the request may be put off
	RQ_DROPME      = 3 // send no reply now
	RQ_SPLICE_OK   = 4 // page cache pages may go into the reply
	RQ_VICTIM      = 5 // chosen to exit and off SpAllThreads
	RQ_BUSY        = 6 // clear: the thread is idle and may be handed a transport
)

var rqFlagNames = []string{"SECURE", "LOCAL", "USEDEFERRAL", "DROPME", "SPLICE_OK", "VICTIM", "BUSY"}

// SvcRqst is one service thread as the core sees it, with the request it is working on. Everything that is not a
// cell belongs to that thread alone.
type SvcRqst struct {
	kernel.Obj
	RqAll  kernel.Node[SvcRqst] // in SpAllThreads
	RqXprt kernel.Var[*SvcXprt] // the transport being served; an enqueuer stores it under RqLock

	RqAddr  SockAddr // peer
	RqDaddr SockAddr // where the request was sent to, so where the reply comes from

	RqServer   *SvcServ
	RqPool     *SvcPool
	RqProcinfo *SvcProcedure
	RqAuthop   *AuthOps
	RqCred     SvcCred
	RqXprtCtxt any // what the transport keeps with a request
	RqDeferred *SvcDeferredReq

	RqXprtHlen uint64 // bytes of transport header in front of the request
	RqArg      XdrBuf
	RqRes      XdrBuf
	// RqPages is the thread's pages; RqRespages (the first reply page), RqNextPage (the next free reply page) and
	// RqPageEnd (behind the last page) are indices into it where C keeps pointers.
	RqPages    []*kernel.Page
	RqRespages int
	RqNextPage int
	RqPageEnd  int

	RqXid  uint32
	RqProg uint32
	RqVers uint32
	RqProc uint32
	RqProt uint32 // IPPROTO_*

	RqFlags kernel.Flags // RQ_*

	RqArgp      any // decoded arguments: what PcNewArgs of the procedure made
	RqResp      any // results: what PcNewRes of the procedure made
	RqAuthData  any
	RqAuthSlack int // bytes the flavour wants left in the reply head
	RqReserved  int // bytes of XptReserved that are ours

	RqChandle   CacheReq
	RqClient    *AuthDomain
	RqGssclient *AuthDomain
	RqTask      kernel.Var[*kernel.Task] // stored by the creator, read by whoever wakes the thread
	RqLock      kernel.Spinlock
	RqBcNet     *sock.Net // the net of a back channel request, which has no RqXprt

	rqArgpMem *svcXdrMem
	rqRespMem *svcXdrMem
}

// svcXdrMem stands for the SvXdrsize bytes of rq_argp or rq_resp: it can fail to be allocated and it can leak.
type svcXdrMem struct {
	kernel.Obj
}

// SvcNet is the network namespace of the request being served; on a back channel there is no transport to ask.
//
// Differs: falls back to rq_bc_net (d4b09acf924b).
//
// C: SVC_NET, include/linux/sunrpc/svc.h
func SvcNet(rqstp *SvcRqst) *sock.Net {
	if xprt := rqstp.RqXprt.Load(); xprt != nil {
		return xprt.XptNet
	}
	return rqstp.RqBcNet
}

// SvcDeferredReq is a request put aside until a cache can answer. It is owned by the cache, by the XptDeferred list
// of its transport or by the SvcRqst that replays it, never by two of them.
type SvcDeferredReq struct {
	kernel.Obj
	Prot     uint32
	Xprt     *SvcXprt // referenced while the cache owns the request
	Addr     SockAddr
	Daddr    SockAddr
	Handle   CacheDeferredReq
	XprtHlen uint64 // bytes
	Argslen  uint32 // words
	Args     []byte
}

// SvcProgram is one RPC program of a service.
type SvcProgram struct {
	PgNext         *SvcProgram // other programs on the same transports
	PgProg         uint32
	PgLovers       uint32
	PgHivers       uint32
	PgNvers        uint32
	PgVers         []*SvcVersion // PgNvers entries, nil where a version is missing
	PgName         string
	PgClass        string
	PgStats        *SvcStat
	PgData         any                                        // the module's own, for its procedures
	PgAuthenticate func(cur *kernel.Task, rqstp *SvcRqst) int // one of SVC_OK ... SVC_COMPLETE
}

// SvcVersion is one version of a program. A VsDispatch of nil means the default dispatcher; one that returns 0 wants
// the request dropped; statp is the place of the accept status in the reply head.
type SvcVersion struct {
	VsVers      uint32
	VsNproc     uint32
	VsProc      []SvcProcedure
	VsXdrsize   uint32 // bytes
	VsHidden    bool   // not registered with rpcbind
	VsRpcbOptnl bool   // a failing registration does not matter
	VsDispatch  func(cur *kernel.Task, rqstp *SvcRqst, statp XdrPtr) int
}

// SvcProcedure is one procedure. PcFunc returns an accept status (RPC_SUCCESS...), the others false if the data does
// not fit. PcNewArgs and PcNewRes make zeroed arguments and results, as clearing pc_argsize and pc_ressize bytes of
// rq_argp and rq_resp does in C; nil where there are none.
type SvcProcedure struct {
	PcFunc       func(cur *kernel.Task, rqstp *SvcRqst, argp, resp any) uint32
	PcDecode     func(rqstp *SvcRqst, p XdrPtr, argp any) bool
	PcEncode     func(rqstp *SvcRqst, p XdrPtr, resp any) bool
	PcRelease    func(cur *kernel.Task, rqstp *SvcRqst, resp any)
	PcNewArgs    func() any
	PcNewRes     func() any
	PcCount      kernel.Count
	PcXdrressize uint32 // words
	PcName       string
}

// SvcStat counts what a program's service did.
type SvcStat struct {
	Program    *SvcProgram
	Netcnt     kernel.Count
	Netudpcnt  kernel.Count
	Nettcpcnt  kernel.Count
	Nettcpconn kernel.Count
	Rpccnt     kernel.Count
	Rpcbadfmt  kernel.Count
	Rpcbadauth kernel.Count
	Rpcbadclnt kernel.Count
}

// SvcGet takes a reference to the service, so that the number of threads can be changed. The service mutex is held.
//
// C: svc_get, include/linux/sunrpc/svc.h
func SvcGet(serv *SvcServ) {
	serv.SvNrthreads.Inc()
}

// SvcFreeResPages gives back the reply pages that were not sent.
//
// C: svc_free_res_pages, include/linux/sunrpc/svc.h
func SvcFreeResPages(rqstp *SvcRqst) {
	for rqstp.RqNextPage != rqstp.RqRespages {
		rqstp.RqNextPage--
		if p := rqstp.RqPages[rqstp.RqNextPage]; p != nil {
			p.Put()
			rqstp.RqPages[rqstp.RqNextPage] = nil
		}
	}
}

// SvcReserveAuth is SvcReserve with the room that the flavour wants behind the reply.
//
// C: svc_reserve_auth, include/linux/sunrpc/svc.h
func SvcReserveAuth(rqstp *SvcRqst, space int) {
	SvcReserve(rqstp, space+rqstp.RqAuthSlack)
}

// Poison lets pointers of a freed service die with it.
func (serv *SvcServ) Poison() {
	serv.SvProgram, serv.SvStats, serv.SvPools, serv.SvFunction, serv.SvShutdown = nil, nil, nil, nil, nil
}

// Poison lets pointers of a freed thread die with it.
func (rqstp *SvcRqst) Poison() {
	rqstp.RqServer, rqstp.RqPool, rqstp.RqPages, rqstp.RqProcinfo = nil, nil, nil, nil
	rqstp.RqArgp, rqstp.RqResp = nil, nil
}

// Poison lets pointers of a freed deferred request die with it.
func (dr *SvcDeferredReq) Poison() {
	dr.Xprt, dr.Args = nil, nil
}

// svcServIsPooled is true for a service whose threads SvcSetNumThreads makes.
//
// C: svc_serv_is_pooled, net/sunrpc/svc.c
func svcServIsPooled(serv *SvcServ) bool {
	return serv.SvFunction != nil
}

// The ways of mapping CPUs to pools.
const (
	SVC_POOL_AUTO    = -1 // choose one of the others
	SVC_POOL_GLOBAL  = 0  // one pool
	SVC_POOL_PERCPU  = 1  // one a CPU
	SVC_POOL_PERNODE = 2  // one a NUMA node

	SVC_POOL_DEFAULT = SVC_POOL_GLOBAL
)

// svcPoolArray is one of the two arrays of a pool map: an allocation of its own.
type svcPoolArray struct {
	kernel.Obj
	To []uint32
}

// SvcPoolMap maps CPUs or nodes to pools and back, for all pooled services. While Count is not 0 nothing in it
// changes and readers need no lock.
type SvcPoolMap struct {
	Count  kernel.Atomic // pooled services; changed under SvcPoolMapMutex, read without
	Mode   int           // SVC_POOL_*
	Npools uint32
	PoolTo *svcPoolArray // pool to CPU or node
	ToPool *svcPoolArray // CPU or node to pool
}

// SvcCpuToNode is the node of a CPU: the machine's CPUs are evenly spread over NrNodes nodes.
//
// C: cpu_to_node, include/linux/topology.h
func SvcCpuToNode(rpc *Sunrpc, cpu int) int {
	return cpu * rpc.NrNodes / rpc.Machine().NrCpus()
}

// ParamSetPoolMode sets the mapping of CPUs to pools: "auto", "global", "percpu" or "pernode". -EBUSY while pooled
// services exist, -EINVAL for any other word.
//
// C: param_set_pool_mode, net/sunrpc/svc.c
func ParamSetPoolMode(cur *kernel.Task, rpc *Sunrpc, val string) int {
	rpc.SvcPoolMapMutex.Lock(cur)
	defer rpc.SvcPoolMapMutex.Unlock(cur)
	if rpc.SvcPoolMap.Count.Read() != 0 {
		return -kernel.EBUSY
	}
	switch {
	case strings.HasPrefix(val, "auto"):
		rpc.SvcPoolMap.Mode = SVC_POOL_AUTO
	case strings.HasPrefix(val, "global"):
		rpc.SvcPoolMap.Mode = SVC_POOL_GLOBAL
	case strings.HasPrefix(val, "percpu"):
		rpc.SvcPoolMap.Mode = SVC_POOL_PERCPU
	case strings.HasPrefix(val, "pernode"):
		rpc.SvcPoolMap.Mode = SVC_POOL_PERNODE
	default:
		return -kernel.EINVAL
	}
	return 0
}

// ParamGetPoolMode is the mapping as ParamSetPoolMode names it.
//
// C: param_get_pool_mode, net/sunrpc/svc.c
func ParamGetPoolMode(rpc *Sunrpc) string {
	switch rpc.SvcPoolMap.Mode {
	case SVC_POOL_AUTO:
		return "auto"
	case SVC_POOL_GLOBAL:
		return "global"
	case SVC_POOL_PERCPU:
		return "percpu"
	case SVC_POOL_PERNODE:
		return "pernode"
	}
	return fmt.Sprint(rpc.SvcPoolMap.Mode)
}

// svcPoolMapChooseMode picks a mapping that suits the hardware.
//
// C: svc_pool_map_choose_mode, net/sunrpc/svc.c
func svcPoolMapChooseMode(rpc *Sunrpc) int {
	if rpc.NrNodes > 1 {
		return SVC_POOL_PERNODE
	}
	if rpc.Machine().NrCpus() > 2 {
		return SVC_POOL_PERCPU
	}
	return SVC_POOL_GLOBAL
}

// svcPoolMapAllocArrays allocates both arrays of the map: 0 or -ENOMEM.
//
// C: svc_pool_map_alloc_arrays, net/sunrpc/svc.c
func svcPoolMapAllocArrays(_ *kernel.Task, rpc *Sunrpc, maxpools int) int {
	m, pm := rpc.Machine(), &rpc.SvcPoolMap
	pm.ToPool = kernel.Kzalloc[svcPoolArray](m, "svc_pool_map.to_pool", kernel.GFP_KERNEL)
	if pm.ToPool == nil {
		return -kernel.ENOMEM
	}
	pm.PoolTo = kernel.Kzalloc[svcPoolArray](m, "svc_pool_map.pool_to", kernel.GFP_KERNEL)
	if pm.PoolTo == nil {
		kernel.Kfree(pm.ToPool)
		pm.ToPool = nil
		return -kernel.ENOMEM
	}
	pm.ToPool.To = make([]uint32, maxpools)
	pm.PoolTo.To = make([]uint32, maxpools)
	return 0
}

// svcPoolMapInitPercpu makes one pool a CPU; returns their number or -errno.
//
// C: svc_pool_map_init_percpu, net/sunrpc/svc.c
func svcPoolMapInitPercpu(cur *kernel.Task, rpc *Sunrpc) int {
	return svcPoolMapInitEach(cur, rpc, rpc.Machine().NrCpus())
}

// svcPoolMapInitPernode makes one pool a node; returns their number or -errno.
//
// C: svc_pool_map_init_pernode, net/sunrpc/svc.c
func svcPoolMapInitPernode(cur *kernel.Task, rpc *Sunrpc) int {
	return svcPoolMapInitEach(cur, rpc, rpc.NrNodes)
}

// svcPoolMapInitEach is what the two have in common here, where all CPUs and nodes are online: n pools or -errno.
//
// C: svc_pool_map_init_percpu, svc_pool_map_init_pernode, net/sunrpc/svc.c
func svcPoolMapInitEach(cur *kernel.Task, rpc *Sunrpc, n int) int {
	if err := svcPoolMapAllocArrays(cur, rpc, n); err != 0 {
		return err
	}
	for i := range uint32(n) {
		rpc.SvcPoolMap.ToPool.To[i] = i
		rpc.SvcPoolMap.PoolTo.To[i] = i
	}
	return n
}

// svcPoolMapGet takes a reference to the pool map, which the first user fills, and returns the number of pools. With
// no memory for a map there is one pool.
//
// C: svc_pool_map_get, net/sunrpc/svc.c
func svcPoolMapGet(cur *kernel.Task, rpc *Sunrpc) uint32 {
	pm := &rpc.SvcPoolMap
	rpc.SvcPoolMapMutex.Lock(cur)
	if pm.Count.AddReturn(1) > 1 {
		rpc.SvcPoolMapMutex.Unlock(cur)
		return pm.Npools
	}
	if pm.Mode == SVC_POOL_AUTO {
		pm.Mode = svcPoolMapChooseMode(rpc)
	}
	npools := -1
	switch pm.Mode {
	case SVC_POOL_PERCPU:
		npools = svcPoolMapInitPercpu(cur, rpc)
	case SVC_POOL_PERNODE:
		npools = svcPoolMapInitPernode(cur, rpc)
	}
	if npools < 0 {
		npools = 1
		pm.Mode = SVC_POOL_GLOBAL
	}
	pm.Npools = uint32(npools)
	rpc.SvcPoolMapMutex.Unlock(cur)
	return pm.Npools
}

// svcPoolMapPut drops a reference to the pool map; the last one frees it, so that the mode can be changed.
//
// C: svc_pool_map_put, net/sunrpc/svc.c
func svcPoolMapPut(cur *kernel.Task, rpc *Sunrpc) {
	pm := &rpc.SvcPoolMap
	rpc.SvcPoolMapMutex.Lock(cur)
	if pm.Count.AddReturn(-1) == 0 {
		kernel.Kfree(pm.ToPool)
		pm.ToPool = nil
		kernel.Kfree(pm.PoolTo)
		pm.PoolTo = nil
		pm.Npools = 0
	}
	rpc.SvcPoolMapMutex.Unlock(cur)
}

// NUMA_NO_NODE means that memory and threads may be anywhere.
const NUMA_NO_NODE = -1

// svcPoolMapGetNode is the node that the pool belongs to, or NUMA_NO_NODE.
//
// C: svc_pool_map_get_node, net/sunrpc/svc.c
func svcPoolMapGetNode(rpc *Sunrpc, pidx uint32) int {
	pm := &rpc.SvcPoolMap
	if pm.Count.Read() != 0 {
		switch pm.Mode {
		case SVC_POOL_PERCPU:
			return SvcCpuToNode(rpc, int(pm.PoolTo.To[pidx]))
		case SVC_POOL_PERNODE:
			return int(pm.PoolTo.To[pidx])
		}
	}
	return NUMA_NO_NODE
}

// SvcPoolForCpu is the pool that serves what arrives on a CPU. The pool map is only asked for pooled services: the
// others have one pool and do not hold the map.
//
// C: svc_pool_for_cpu, net/sunrpc/svc.c
func SvcPoolForCpu(serv *SvcServ, cpu int) *SvcPool {
	pidx := uint32(0)
	if svcServIsPooled(serv) {
		rpc := serv.SvRpc
		switch pm := &rpc.SvcPoolMap; pm.Mode {
		case SVC_POOL_PERCPU:
			pidx = pm.ToPool.To[cpu]
		case SVC_POOL_PERNODE:
			pidx = pm.ToPool.To[SvcCpuToNode(rpc, cpu)]
		}
	}
	return serv.SvPools[pidx%serv.SvNrpools]
}

// SvcRpcbSetup gets the net's rpcbind client, one reference, and clears what an earlier life of the service left
// registered. Sleeps.
//
// C: svc_rpcb_setup, net/sunrpc/svc.c
func SvcRpcbSetup(cur *kernel.Task, serv *SvcServ, net *sock.Net) int {
	if err := RpcbCreateLocal(cur, serv.SvRpc, net); err != 0 {
		return err
	}
	svcUnregister(cur, serv, net)
	return 0
}

// SvcRpcbCleanup undoes SvcRpcbSetup and every registration. Sleeps.
//
// C: svc_rpcb_cleanup, net/sunrpc/svc.c
func SvcRpcbCleanup(cur *kernel.Task, serv *SvcServ, net *sock.Net) {
	svcUnregister(cur, serv, net)
	RpcbPutLocal(cur, serv.SvRpc, net)
}

// svcUsesRpcbind is true if some version of some program wants to be found through rpcbind.
//
// C: svc_uses_rpcbind, net/sunrpc/svc.c
func svcUsesRpcbind(serv *SvcServ) bool {
	for progp := serv.SvProgram; progp != nil; progp = progp.PgNext {
		for _, vers := range progp.PgVers[:progp.PgNvers] {
			if vers != nil && !vers.VsHidden {
				return true
			}
		}
	}
	return false
}

// SvcBind readies a net for the service's listeners: SvcRpcbSetup if the service uses rpcbind at all. Sleeps.
//
// C: svc_bind, net/sunrpc/svc.c
func SvcBind(cur *kernel.Task, serv *SvcServ, net *sock.Net) int {
	if !svcUsesRpcbind(serv) {
		return 0
	}
	return SvcRpcbSetup(cur, serv, net)
}

// svcCreate makes a service without transports and threads, with one reference; nil if there is no memory. bufsize
// is the payload in bytes, 0 for 4096. The version range of every program is filled in on the way. Sleeps.
//
// C: __svc_create, net/sunrpc/svc.c
func svcCreate(_ *kernel.Task, rpc *Sunrpc, prog *SvcProgram, bufsize, npools uint32,
	shutdown func(cur *kernel.Task, serv *SvcServ, net *sock.Net)) *SvcServ {
	m := rpc.Machine()
	serv := kernel.Kzalloc[SvcServ](m, "svc_serv", kernel.GFP_KERNEL)
	if serv == nil {
		return nil
	}
	o := &serv.Obj
	serv.SvRpc = rpc
	serv.SvName = prog.PgName
	serv.SvProgram = prog
	serv.SvNrthreads.Init(o, "sv_nrthreads")
	serv.SvNrthreads.Preset(1)
	serv.SvStats = prog.PgStats
	bufsize = min(bufsize, RPCSVC_MAXPAYLOAD)
	if bufsize == 0 {
		bufsize = 4096
	}
	serv.SvMaxPayload = bufsize
	serv.SvMaxMesg = (bufsize + PAGE_SIZE + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE
	serv.SvShutdown = shutdown
	xdrsize := uint32(0)
	for ; prog != nil; prog = prog.PgNext {
		prog.PgLovers = prog.PgNvers - 1
		for vers := range prog.PgNvers {
			v := prog.PgVers[vers]
			if v == nil {
				continue
			}
			prog.PgHivers = vers
			prog.PgLovers = min(prog.PgLovers, vers)
			xdrsize = max(xdrsize, v.VsXdrsize)
		}
	}
	serv.SvXdrsize = xdrsize
	serv.SvTempsocks.Init(o, "sv_tempsocks")
	serv.SvPermsocks.Init(o, "sv_permsocks")
	serv.SvTmpcnt.Init(o, "sv_tmpcnt")
	serv.SvTemptimer.Init(o, "sv_temptimer", nil)
	serv.SvLock.Init(o, "sv_lock")
	serv.SvCbList.Init(o, "sv_cb_list")
	serv.SvCbLock.Init(o, "sv_cb_lock")
	serv.SvCbWaitq.Init(o, "sv_cb_waitq")
	serv.SvBcEnabled.Init(o, "sv_bc_enabled")

	serv.SvNrpools = npools
	serv.SvPools = make([]*SvcPool, npools)
	for i := range serv.SvPools {
		pool := kernel.Kzalloc[SvcPool](m, "svc_pool", kernel.GFP_KERNEL)
		if pool == nil {
			svcFreePools(serv)
			kernel.Kfree(serv)
			return nil
		}
		serv.SvPools[i] = pool
		o := &pool.Obj
		pool.SpID = uint32(i)
		pool.SpSockets.Init(o, "sp_sockets")
		pool.SpAllThreads.Init(o, "sp_all_threads")
		pool.SpLock.Init(o, "sp_lock")
		pool.SpFlags.Init(o, "sp_flags", spFlagNames)
	}
	return serv
}

// svcFreePools frees the pools, which C has in one array, when nobody walks their threads any more.
//
// Differs: 3.19 frees them at once. A transport that svc_revisit enqueues can be taken off its pool and closed, and its
// service destroyed, while svc_xprt_do_enqueue goes on through sp_all_threads (ours; FuzzStartup found it).
//
// C: svc_destroy (kfree of sv_pools), net/sunrpc/svc.c
func svcFreePools(serv *SvcServ) {
	for _, pool := range serv.SvPools {
		if pool != nil {
			kernel.KfreeRcu(pool)
		}
	}
}

// SvcCreate makes a service with one pool, whose threads its owner starts by hand; nil if there is no memory.
// shutdown is the last step of SvcShutdownNet, nil for none: whoever calls SvcBind passes SvcRpcbCleanup, or a step
// that calls it. The service mutex is held; sleeps.
//
// C: svc_create, net/sunrpc/svc.c
func SvcCreate(cur *kernel.Task, rpc *Sunrpc, prog *SvcProgram, bufsize uint32,
	shutdown func(cur *kernel.Task, serv *SvcServ, net *sock.Net)) *SvcServ {
	return svcCreate(cur, rpc, prog, bufsize, 1, shutdown)
}

// SvcCreatePooled makes a service with the pools that the pool map says, whose threads SvcSetNumThreads starts with
// fn; mod, if not nil, is pinned once for each of them. nil if there is no memory. Sleeps.
//
// C: svc_create_pooled, net/sunrpc/svc.c
func SvcCreatePooled(cur *kernel.Task, rpc *Sunrpc, prog *SvcProgram, bufsize uint32,
	shutdown func(cur *kernel.Task, serv *SvcServ, net *sock.Net), fn SvcThreadFn, mod *Module) *SvcServ {
	npools := svcPoolMapGet(cur, rpc)
	serv := svcCreate(cur, rpc, prog, bufsize, npools, shutdown)
	if serv == nil {
		svcPoolMapPut(cur, rpc)
		return nil
	}
	serv.SvFunction = fn
	serv.SvModule = mod
	return serv
}

// SvcShutdownNet closes all transports of net and then lets the service's own shutdown step run. The service mutex
// is held; sleeps.
//
// C: svc_shutdown_net, net/sunrpc/svc.c
func SvcShutdownNet(cur *kernel.Task, serv *SvcServ, net *sock.Net) {
	SvcCloseNet(cur, serv, net)
	if serv.SvShutdown != nil {
		serv.SvShutdown(cur, serv, net)
	}
}

// SvcDestroy drops a reference; the last one frees the service, whose transports must be gone by then. A reference
// too many is only complained about, and destroys all the same. The service mutex is held; sleeps.
//
// C: svc_destroy, net/sunrpc/svc.c
func SvcDestroy(cur *kernel.Task, serv *SvcServ) {
	m := serv.Machine()
	if serv.SvNrthreads.Read() != 0 {
		if serv.SvNrthreads.AddReturn(-1) != 0 {
			SvcSockUpdateBufs(serv)
			return
		}
	} else {
		m.Printk("svc_destroy: no threads for serv=%s!", serv.Name())
	}

	serv.SvTemptimer.DelSync(cur)

	m.BugOn(!serv.SvPermsocks.Empty(), "svc_destroy: sv_permsocks not empty")
	m.BugOn(!serv.SvTempsocks.Empty(), "svc_destroy: sv_tempsocks not empty")

	CacheCleanDeferred(cur, serv)

	if svcServIsPooled(serv) {
		svcPoolMapPut(cur, serv.SvRpc)
	}
	svcFreePools(serv)
	kernel.Kfree(serv)
}

// svcInitBuffer allocates the pages for requests of up to size bytes and their replies; false if that fails half-way.
// A back channel service works in the buffers of its rpc_rqsts.
//
// Differs: memory belongs to no node; RqPages has room for the pages of this service, where C has it for the largest.
//
// C: svc_init_buffer, net/sunrpc/svc.c
func svcInitBuffer(_ *kernel.Task, rqstp *SvcRqst, size uint32) bool {
	if SvcIsBackchannel(rqstp) {
		return true
	}
	m := rqstp.Machine()
	// One more than the payload needs: request and reply are there at the same time and one of them is short.
	pages := int(size/PAGE_SIZE) + 1
	if m.WarnOnOnce(pages > RPCSVC_MAXPAGES, "svc_init_buffer: too many pages") {
		pages = RPCSVC_MAXPAGES
	}
	// The last entry stays nil: it ends the array.
	rqstp.RqPages = make([]*kernel.Page, pages+1)
	for i := range pages {
		p := m.AllocPage(kernel.GFP_KERNEL)
		if p == nil {
			return false
		}
		rqstp.RqPages[i] = p
	}
	return true
}

// svcReleaseBuffer gives all pages of the thread back.
//
// C: svc_release_buffer, net/sunrpc/svc.c
func svcReleaseBuffer(rqstp *SvcRqst) {
	for _, p := range rqstp.RqPages {
		if p != nil {
			p.Put()
		}
	}
}

// SvcPrepareThread makes what a thread of the pool needs and puts it on the pool's list, busy; the caller starts the
// thread and stores its RqTask before it runs. -ENOMEM: nothing is left behind. The service mutex is held; sleeps.
//
// Differs: memory belongs to no node.
//
// C: svc_prepare_thread, net/sunrpc/svc.c
func SvcPrepareThread(cur *kernel.Task, serv *SvcServ, pool *SvcPool, node int) (*SvcRqst, int) {
	m := serv.Machine()
	rqstp := kernel.Kzalloc[SvcRqst](m, "svc_rqst", kernel.GFP_KERNEL)
	if rqstp == nil {
		return nil, -kernel.ENOMEM
	}
	o := &rqstp.Obj
	rqstp.RqAll.Init(rqstp)
	rqstp.RqXprt.Init(o, "rq_xprt")
	rqstp.RqTask.Init(o, "rq_task")
	rqstp.RqFlags.Init(o, "rq_flags", rqFlagNames)
	rqstp.RqChandle.Rqstp = rqstp

	serv.SvNrthreads.Inc()
	rqstp.RqFlags.Preset(RQ_BUSY)
	rqstp.RqLock.Init(o, "rq_lock")
	rqstp.RqServer = serv
	rqstp.RqPool = pool
	pool.SpLock.LockBH()
	pool.SpNrthreads++
	pool.SpAllThreads.AddRcu(&rqstp.RqAll)
	pool.SpLock.UnlockBH()

	rqstp.rqArgpMem = kernel.Kzalloc[svcXdrMem](m, "rq_argp", kernel.GFP_KERNEL)
	if rqstp.rqArgpMem != nil {
		rqstp.rqRespMem = kernel.Kzalloc[svcXdrMem](m, "rq_resp", kernel.GFP_KERNEL)
	}
	if rqstp.rqRespMem == nil || !svcInitBuffer(cur, rqstp, serv.SvMaxMesg) {
		SvcExitThread(cur, rqstp)
		return nil, -kernel.ENOMEM
	}
	return rqstp, 0
}

// choosePool is where the next new thread goes: the given pool, else one after the other.
//
// C: choose_pool, net/sunrpc/svc.c
func choosePool(serv *SvcServ, pool *SvcPool, state *uint32) *SvcPool {
	if pool != nil {
		return pool
	}
	pool = serv.SvPools[*state%serv.SvNrpools]
	*state++
	return pool
}

// chooseVictim picks a thread to stop, from the given pool or from the pools one after the other, and takes it off
// its pool's list, so that it is not found again. Returns its task; nil means that there is none left, or that the
// thread was prepared but has no task yet: that one is off the list for good.
//
// C: choose_victim, net/sunrpc/svc.c
func chooseVictim(serv *SvcServ, pool *SvcPool, state *uint32) *kernel.Task {
	if pool != nil {
		pool.SpLock.LockBH()
	} else {
		for range serv.SvNrpools {
			*state--
			p := serv.SvPools[*state%serv.SvNrpools]
			p.SpLock.LockBH()
			if !p.SpAllThreads.Empty() {
				pool = p
				break
			}
			p.SpLock.UnlockBH()
		}
		if pool == nil {
			return nil
		}
	}
	var task *kernel.Task
	if rqstp := pool.SpAllThreads.First(); rqstp != nil {
		rqstp.RqFlags.SetBit(RQ_VICTIM)
		pool.SpAllThreads.DelRcu(&rqstp.RqAll)
		task = rqstp.RqTask.Load()
	}
	pool.SpLock.UnlockBH()
	return task
}

// svcStartKthreads starts nrservs threads: 0 or -errno, in which case those started before stay.
//
// Differs: threads are not bound to the CPUs of their pool (svc_pool_map_set_cpumask); any task of the floor may be
// on any CPU.
//
// C: svc_set_num_threads (growing), net/sunrpc/svc.c
func svcStartKthreads(cur *kernel.Task, serv *SvcServ, pool *SvcPool, nrservs int, state uint32) int {
	m := serv.Machine()
	for ; nrservs > 0; nrservs-- {
		chosenPool := choosePool(serv, pool, &state)
		node := svcPoolMapGetNode(serv.SvRpc, chosenPool.SpID)
		rqstp, err := SvcPrepareThread(cur, serv, chosenPool, node)
		if err != 0 {
			return err
		}
		ModuleGet(serv.SvModule)
		task := m.KthreadCreate(cur, serv.SvFunction, rqstp, serv.SvName)
		if kernel.IsErr(task) {
			ModulePut(serv.SvModule)
			SvcExitThread(cur, rqstp)
			return kernel.PtrErr(task)
		}
		rqstp.RqTask.Store(task)
		SvcSockUpdateBufs(serv)
		kernel.WakeUpProcess(task)
	}
	return 0
}

// svcStopKthreads stops -nrservs threads and waits for each. A thread that was stopped before its function was
// entered cannot clean up after itself; -EINTR says so, which is why no thread function may return that.
//
// C: svc_set_num_threads (shrinking), net/sunrpc/svc.c; later svc_stop_kthreads
func svcStopKthreads(cur *kernel.Task, serv *SvcServ, pool *SvcPool, nrservs int, state uint32) {
	for ; nrservs < 0; nrservs++ {
		task := chooseVictim(serv, pool, &state)
		if task == nil {
			break
		}
		// Not through the task afterwards: it may be gone by then.
		rqstp := kernel.KthreadData(task).(*SvcRqst)
		if kernel.KthreadStop(cur, task) == -kernel.EINTR {
			SvcExitThread(cur, rqstp)
			ModulePut(serv.SvModule)
		}
	}
}

// SvcSetNumThreads starts or stops threads of a pooled service until pool, or with nil the service as a whole, has
// nrservs. 0 or -errno, in which case the threads started so far stay. With a nil pool there is exactly one reference
// to the service besides those of its threads, the caller's. The thread function ends with SvcExitThread, then
// ModulePut(SvModule), and does not return -EINTR. The service mutex is held; sleeps.
//
// Differs: stops threads with kthread_stop and waits for them, where 3.19 sent SIGINT and returned (ed6473ddc704);
// cleans up after a thread whose function was never entered (9ca6705d9d60; its module count is ours, upstream had
// none any more by then).
//
// C: svc_set_num_threads, net/sunrpc/svc.c
func SvcSetNumThreads(cur *kernel.Task, serv *SvcServ, pool *SvcPool, nrservs int) int {
	users := serv.SvNrthreads.Read()
	if pool == nil {
		nrservs -= int(users - 1)
	} else {
		pool.SpLock.LockBH()
		nrservs -= int(pool.SpNrthreads)
		pool.SpLock.UnlockBH()
	}
	state := uint32(users - 1)
	if nrservs > 0 {
		return svcStartKthreads(cur, serv, pool, nrservs, state)
	}
	svcStopKthreads(cur, serv, pool, nrservs, state)
	return 0
}

// SvcExitThread frees what SvcPrepareThread made and drops the thread's reference to the service. It is called by
// the thread as its last act, or by whoever stopped it; nobody uses rqstp any more, except readers of the pool's
// list, for whom it lives on for a grace period. The service mutex is held, by a stopper for its thread; sleeps.
//
// Differs: rq_auth_data is not freed, since neither of the flavours here allocates it.
//
// C: svc_exit_thread, net/sunrpc/svc.c
func SvcExitThread(cur *kernel.Task, rqstp *SvcRqst) {
	serv := rqstp.RqServer
	pool := rqstp.RqPool

	svcReleaseBuffer(rqstp)
	kernel.Kfree(rqstp.rqRespMem)
	kernel.Kfree(rqstp.rqArgpMem)

	pool.SpLock.LockBH()
	pool.SpNrthreads--
	if !rqstp.RqFlags.TestAndSetBit(RQ_VICTIM) {
		pool.SpAllThreads.DelRcu(&rqstp.RqAll)
	}
	pool.SpLock.UnlockBH()

	kernel.KfreeRcu(rqstp)

	if serv != nil {
		SvcDestroy(cur, serv)
	}
}

// svcNetid is rpcbind's name for a protocol; -ENOPROTOOPT: neither UDP nor TCP.
func svcNetid(proto int, udp, tcp string) (string, int) {
	switch proto {
	case IPPROTO_UDP:
		return udp, 0
	case IPPROTO_TCP:
		return tcp, 0
	}
	return "", -kernel.ENOPROTOOPT
}

// svcRpcbRegister4 registers one version for any IPv4 address through rpcbind's version 4, or 2 if rpcbind does not
// know that. -ENOPROTOOPT: neither UDP nor TCP.
//
// C: __svc_rpcb_register4, net/sunrpc/svc.c
func svcRpcbRegister4(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prog, vers uint32, proto int, port uint16) int {
	netid, err := svcNetid(proto, "udp", "tcp")
	if err < 0 {
		return err
	}
	sin := sock.AnyAddr(sock.AF_INET, port)
	err = RpcbV4Register(cur, rpc, net, prog, vers, &sin, netid)
	if err == -kernel.EPROTONOSUPPORT {
		err = RpcbRegister(cur, rpc, net, prog, vers, uint32(proto), port)
	}
	return err
}

// svcRpcbRegister6 registers one version for any IPv6 address; an rpcbind without version 4 has no place for that,
// -EAFNOSUPPORT.
//
// C: __svc_rpcb_register6, net/sunrpc/svc.c
func svcRpcbRegister6(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prog, vers uint32, proto int, port uint16) int {
	netid, err := svcNetid(proto, "udp6", "tcp6")
	if err < 0 {
		return err
	}
	sin6 := sock.AnyAddr(sock.AF_INET6, port)
	err = RpcbV4Register(cur, rpc, net, prog, vers, &sin6, netid)
	if err == -kernel.EPROTONOSUPPORT {
		err = -kernel.EAFNOSUPPORT
	}
	return err
}

// svcRegister1 registers one version of one program.
//
// C: __svc_register, net/sunrpc/svc.c
func svcRegister1(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prog, vers uint32, family, proto int,
	port uint16) int {
	switch family {
	case sock.PF_INET:
		return svcRpcbRegister4(cur, rpc, net, prog, vers, proto, port)
	case sock.PF_INET6:
		return svcRpcbRegister6(cur, rpc, net, prog, vers, proto, port)
	}
	return -kernel.EAFNOSUPPORT
}

// SvcRegister tells rpcbind on which port the visible versions of the service's programs can be reached. An error
// ends a program, not the walk over the programs, whose last result counts; what is registered stays registered.
// -EINVAL: neither protocol nor port. Sleeps.
//
// C: svc_register, net/sunrpc/svc.c
func SvcRegister(cur *kernel.Task, serv *SvcServ, net *sock.Net, family, proto int, port uint16) int {
	m := serv.Machine()
	if m.WarnOnOnce(proto == 0 && port == 0, "svc_register: neither protocol nor port") {
		return -kernel.EINVAL
	}
	err := 0
	for progp := serv.SvProgram; progp != nil; progp = progp.PgNext {
		for i, vers := range progp.PgVers[:progp.PgNvers] {
			if vers == nil || vers.VsHidden {
				continue
			}
			err = svcRegister1(cur, serv.SvRpc, net, progp.PgProg, uint32(i), family, proto, port)
			if vers.VsRpcbOptnl {
				err = 0
				continue
			}
			if err < 0 {
				m.Printk("svc: failed to register %sv%d RPC service (errno %d).", progp.PgName, i, -err)
				break
			}
		}
	}
	return err
}

// svcUnregister1 clears all registrations of one version. The result does not matter.
//
// C: __svc_unregister, net/sunrpc/svc.c
func svcUnregister1(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prog, vers uint32) {
	err := RpcbV4Register(cur, rpc, net, prog, vers, nil, "")
	if err == -kernel.EPROTONOSUPPORT {
		RpcbRegister(cur, rpc, net, prog, vers, 0, 0)
	}
}

// svcUnregister clears all registrations of the visible versions, best effort. A pending signal would end the calls
// to rpcbind early, so it is hidden meanwhile. Sleeps.
//
// C: svc_unregister, net/sunrpc/svc.c
func svcUnregister(cur *kernel.Task, serv *SvcServ, net *sock.Net) {
	cur.ClearSigpending()
	for progp := serv.SvProgram; progp != nil; progp = progp.PgNext {
		for i, vers := range progp.PgVers[:progp.PgNvers] {
			if vers == nil || vers.VsHidden {
				continue
			}
			svcUnregister1(cur, serv.SvRpc, net, progp.PgProg, uint32(i))
		}
	}
	cur.RecalcSigpending()
}

// svcSendit ends the processing of a request that has its reply: 1, or 0 if the flavour wants it dropped.
//
// C: svc_process_common (sendit), net/sunrpc/svc.c
func svcSendit(rqstp *SvcRqst) int {
	if SvcAuthorise(rqstp) != 0 {
		return svcDropit(rqstp)
	}
	return 1
}

// svcDropit ends the processing of a request that gets no reply: 0. Authorising twice does no harm.
//
// C: svc_process_common (dropit), net/sunrpc/svc.c
func svcDropit(rqstp *SvcRqst) int {
	SvcAuthorise(rqstp)
	return 0
}

// svcErrBadAuth takes the reply back to replyStatp and makes it a denial for authStat.
//
// C: svc_process_common (err_bad_auth), net/sunrpc/svc.c
func svcErrBadAuth(rqstp *SvcRqst, resv *Kvec, replyStatp XdrPtr, authStat uint32) int {
	rqstp.RqServer.SvStats.Rpcbadauth.Inc()
	XdrRessizeCheck(rqstp, replyStatp)
	SvcPutnl(resv, RPC_MSG_DENIED)
	SvcPutnl(resv, RPC_AUTH_ERROR)
	SvcPutnl(resv, authStat)
	return svcSendit(rqstp)
}

// svcErrBad answers with a bare accept status at the present place in the reply. Returns what svcSendit does.
//
// C: svc_process_common (err_bad), net/sunrpc/svc.c
func svcErrBad(rqstp *SvcRqst, resv *Kvec, stat uint32) int {
	rqstp.RqServer.SvStats.Rpcbadfmt.Inc()
	SvcPutnl(resv, stat)
	return svcSendit(rqstp)
}

// svcProcessCommon does one request: argv is the request from the RPC version on, resv the reply's head. 1: the
// reply is to be sent, 0: the request is to be dropped. Sleeps.
//
// Differs: a back channel request has no transport; the reply's record marker is reserved by protocol instead of
// by transport, and SVC_CLOSE without a transport only drops (d4b09acf924b). A handler's RPC_DROP_REPLY drops the
// request, where 3.19 sends it as accept status 60000 (0533b13072f4); RPC_AUTHERR_BADCRED exists (a4e187d83d88).
// Arguments that do not decode are GARBAGE_ARGS, where 3.19 leaves SUCCESS in front of it (for lockd a9ad1a8090f5); a
// credential that does not is an authentication error, where 3.19 answers without a verifier (94d10a4dba0b).
//
// C: svc_process_common, net/sunrpc/svc.c
func svcProcessCommon(cur *kernel.Task, rqstp *SvcRqst, argv, resv *Kvec) int {
	serv := rqstp.RqServer

	if argv.IovLen < 6*4 {
		return svcDropit(rqstp)
	}
	rqstp.RqFlags.SetBit(RQ_SPLICE_OK)
	rqstp.RqFlags.SetBit(RQ_USEDEFERRAL)
	rqstp.RqFlags.ClearBit(RQ_DROPME)

	if rqstp.RqProt == IPPROTO_TCP {
		SvcTcpPrepReplyHdr(rqstp)
	}
	SvcPutu32(resv, rqstp.RqXid)
	rpcvers := SvcGetnl(argv)
	SvcPutnl(resv, RPC_REPLY)

	if rpcvers != RPC_VERSION {
		serv.SvStats.Rpcbadfmt.Inc()
		SvcPutnl(resv, RPC_MSG_DENIED)
		SvcPutnl(resv, RPC_MISMATCH)
		SvcPutnl(resv, RPC_VERSION)
		SvcPutnl(resv, RPC_VERSION)
		return svcSendit(rqstp)
	}

	replyStatp := resv.End()
	SvcPutnl(resv, RPC_MSG_ACCEPTED)

	prog := SvcGetnl(argv)
	vers := SvcGetnl(argv)
	proc := SvcGetnl(argv)
	rqstp.RqProg, rqstp.RqVers, rqstp.RqProc = prog, vers, proc

	progp := serv.SvProgram
	for progp != nil && progp.PgProg != prog {
		progp = progp.PgNext
	}

	// Before anything else, since every accepted reply carries a verifier.
	var authStat uint32
	authRes := SvcAuthenticate(cur, rqstp, &authStat)
	if authRes == SVC_OK && progp != nil {
		authStat = RPC_AUTH_BADCRED
		authRes = progp.PgAuthenticate(cur, rqstp)
	}
	switch authRes {
	case SVC_OK:
	case SVC_GARBAGE:
		return svcErrBadAuth(rqstp, resv, replyStatp, RPC_AUTH_BADCRED)
	case SVC_SYSERR:
		return svcErrBad(rqstp, resv, RPC_SYSTEM_ERR)
	case SVC_DENIED:
		return svcErrBadAuth(rqstp, resv, replyStatp, authStat)
	case SVC_CLOSE:
		if xprt := rqstp.RqXprt.Load(); xprt != nil && xprt.XptFlags.TestBit(XPT_TEMP) {
			SvcCloseXprt(cur, xprt)
		}
		return svcDropit(rqstp)
	case SVC_DROP:
		return svcDropit(rqstp)
	case SVC_COMPLETE:
		return svcSendit(rqstp)
	}

	if progp == nil {
		return svcErrBad(rqstp, resv, RPC_PROG_UNAVAIL)
	}
	if vers >= progp.PgNvers || progp.PgVers[vers] == nil {
		serv.SvStats.Rpcbadfmt.Inc()
		SvcPutnl(resv, RPC_PROG_MISMATCH)
		SvcPutnl(resv, progp.PgLovers)
		SvcPutnl(resv, progp.PgHivers)
		return svcSendit(rqstp)
	}
	versp := progp.PgVers[vers]
	if proc >= versp.VsNproc || versp.VsProc[proc].PcFunc == nil {
		return svcErrBad(rqstp, resv, RPC_PROC_UNAVAIL)
	}
	procp := &versp.VsProc[proc]
	rqstp.RqProcinfo = procp

	serv.SvStats.Rpccnt.Inc()

	statp := resv.End()
	SvcPutnl(resv, RPC_SUCCESS)
	procp.PcCount.Inc()

	rqstp.RqArgp, rqstp.RqResp = nil, nil
	if procp.PcNewArgs != nil {
		rqstp.RqArgp = procp.PcNewArgs()
	}
	if procp.PcNewRes != nil {
		rqstp.RqResp = procp.PcNewRes()
	}

	// Now the size of the reply is known better than "as large as they come".
	if procp.PcXdrressize != 0 {
		SvcReserveAuth(rqstp, int(procp.PcXdrressize)<<2)
	}

	if versp.VsDispatch == nil {
		if procp.PcDecode != nil && !procp.PcDecode(rqstp, argv.P(), rqstp.RqArgp) {
			XdrRessizeCheck(rqstp, statp) // without the SUCCESS
			return svcErrBad(rqstp, resv, RPC_GARBAGE_ARGS)
		}
		stat := procp.PcFunc(cur, rqstp, rqstp.RqArgp, rqstp.RqResp)
		xdrStore(statp, stat)
		if stat == RPC_DROP_REPLY || rqstp.RqFlags.TestBit(RQ_DROPME) {
			if procp.PcRelease != nil {
				procp.PcRelease(cur, rqstp, rqstp.RqResp)
			}
			return svcDropit(rqstp)
		}
		if stat == RPC_AUTHERR_BADCRED {
			if procp.PcRelease != nil {
				procp.PcRelease(cur, rqstp, rqstp.RqResp)
			}
			return svcErrBadAuth(rqstp, resv, replyStatp, RPC_AUTH_BADCRED)
		}
		if stat == RPC_SUCCESS && procp.PcEncode != nil && !procp.PcEncode(rqstp, resv.End(), rqstp.RqResp) {
			xdrStore(statp, RPC_SYSTEM_ERR)
		}
	} else if versp.VsDispatch(cur, rqstp, statp) == 0 {
		if procp.PcRelease != nil {
			procp.PcRelease(cur, rqstp, rqstp.RqResp)
		}
		return svcDropit(rqstp)
	}

	if statp.Look() != RPC_SUCCESS {
		resv.IovLen = uint64(statp.Off-resv.IovBase) + 4
	}
	if procp.PcRelease != nil {
		procp.PcRelease(cur, rqstp, rqstp.RqResp)
	}
	if procp.PcEncode == nil {
		return svcDropit(rqstp)
	}
	return svcSendit(rqstp)
}

// xdrStore writes one word at p and leaves p where it is.
func xdrStore(p XdrPtr, w uint32) {
	p.Put(w)
}

// SvcProcess does the request that SvcRecv received and sends the reply or drops the request; either way the
// transport is given back. Returns what SvcSend does, or 0. Sleeps.
//
// C: svc_process, net/sunrpc/svc.c
func SvcProcess(cur *kernel.Task, rqstp *SvcRqst) int {
	argv := &rqstp.RqArg.Head
	res := &rqstp.RqRes
	resv := &res.Head

	rqstp.RqNextPage = rqstp.RqRespages + 1
	*resv = KvecPage(rqstp.RqPages[rqstp.RqRespages], 0)
	res.Pages = rqstp.RqPages[rqstp.RqRespages+1:]
	res.Len = 0
	res.PageBase = 0
	res.PageLen = 0
	res.Buflen = PAGE_SIZE
	res.Tail = Kvec{}

	if dir := SvcGetnl(argv); dir != RPC_CALL {
		rqstp.RqServer.SvStats.Rpcbadfmt.Inc()
		SvcDrop(cur, rqstp)
		return 0
	}
	if svcProcessCommon(cur, rqstp, argv, resv) != 0 {
		return SvcSend(cur, rqstp)
	}
	SvcDrop(cur, rqstp)
	return 0
}

// BcSvcProcess does a request that arrived on a connection we opened, for the callback service, and sends the reply
// the same way: what BcSend returns, or 0 if there is none to send. rqstp has no transport meanwhile. Sleeps.
//
// Differs: names the net in RqBcNet instead of borrowing the transport of whichever net came first (d4b09acf924b). The
// call ends where it was received to, where 3.19 goes on into what was in the buffer before (38b7631fbe42).
//
// C: bc_svc_process, net/sunrpc/svc.c
func BcSvcProcess(cur *kernel.Task, serv *SvcServ, req *RpcRqst, rqstp *SvcRqst) int {
	argv := &rqstp.RqArg.Head
	resv := &rqstp.RqRes.Head

	rqstp.RqXid = req.RqXid
	rqstp.RqProt = req.RqXprt.Prot
	rqstp.RqServer = serv
	rqstp.RqBcNet = req.RqXprt.XprtNet

	rqstp.RqAddr = req.RqXprt.Addr
	rqstp.RqArg = req.RqRcvBuf
	rqstp.RqArg.Len = req.RqPrivateBuf.Len
	argv.IovLen = uint64(rqstp.RqArg.Len)
	rqstp.RqRes = req.RqSndBuf

	resv.IovLen = 0

	if rqstp.RqProt != IPPROTO_TCP {
		serv.Machine().Printk("No support for Non-TCP transports!")
		serv.Machine().BugOn(true, "bc_svc_process: not TCP")
	}

	// The receive side of the connection has looked at both already.
	SvcGetu32(argv) // xid
	SvcGetnl(argv)  // direction

	if svcProcessCommon(cur, rqstp, argv, resv) != 0 {
		req.RqSndBuf = rqstp.RqRes
		return BcSend(cur, req)
	}
	XprtFreeBcRequest(req)
	return 0
}

// SvcMaxPayload is the payload limit of the request's transport and service, in bytes.
//
// C: svc_max_payload, net/sunrpc/svc.c
func SvcMaxPayload(rqstp *SvcRqst) uint32 {
	return min(rqstp.RqXprt.Load().XptClass.XclMaxPayload, rqstp.RqServer.SvMaxPayload)
}
