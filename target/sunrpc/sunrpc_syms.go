// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import "github.com/seed17199236/svcfuzz/target/kernel"

// Sunrpc is the sunrpc module of one machine: what C keeps in variables of the module. It is made once by New and
// handed to everything that uses the module.
type Sunrpc struct {
	kernel.Obj
	Module  *Module
	NrNodes int // NUMA nodes of the machine; changed only before the first pooled service is made
	// Nodename is the name of the machine, as clients tell it to their peers; changed only before the first is made.
	// C: utsname()->nodename
	Nodename string

	// svc_xprt.c
	SvcXprtClassLock kernel.Spinlock
	SvcXprtClassList kernel.List[SvcXprtClass] // through XclList; SvcXprtClassLock

	// svc.c
	SvcPoolMapMutex kernel.Mutex
	SvcPoolMap      SvcPoolMap

	// the other files, each with its own type next to its code
	Svcauth SvcauthState // svcauth.go, svcauth_unix.go
	Rpcb    RpcbState    // rpcb_clnt.go
	Cache   CacheState   // cache.go
}

// New loads the sunrpc module: the transport classes "udp", "tcp" and "tcp-bc" and the authentication flavours are
// known afterwards.
//
// C: init_sunrpc, net/sunrpc/sunrpc_syms.c
func New(cur *kernel.Task, m *kernel.Machine) *Sunrpc {
	rpc := kernel.StaticObj[Sunrpc](m, "sunrpc")
	o := &rpc.Obj
	rpc.Module = NewModule(m, "sunrpc")
	rpc.NrNodes = 1
	rpc.Nodename = "localhost"
	rpc.SvcXprtClassLock.Init(o, "svc_xprt_class_lock")
	rpc.SvcXprtClassList.Init(o, "svc_xprt_class_list")
	rpc.SvcPoolMapMutex.Init(o, "svc_pool_map_mutex")
	rpc.SvcPoolMap.Count.Init(o, "svc_pool_map.count")
	rpc.SvcPoolMap.Mode = SVC_POOL_DEFAULT
	rpc.Svcauth.init(rpc)
	rpc.Rpcb.init(rpc)
	rpc.Cache.init(rpc)
	SvcInitXprtSock(rpc)
	return rpc
}

// Exit unloads the module. No service is left.
//
// C: cleanup_sunrpc, net/sunrpc/sunrpc_syms.c
func (rpc *Sunrpc) Exit(cur *kernel.Task) {
	SvcCleanupXprtSock(rpc)
}
