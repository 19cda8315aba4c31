// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// sunrpcNetKey is the slot of a namespace in which SunrpcNet is kept.
const sunrpcNetKey = "sunrpc"

// SunrpcNet is the module's state in one network namespace. It lives from SunrpcInitNet to SunrpcExitNet.
//
// C: struct sunrpc_net, net/sunrpc/netns.h
type SunrpcNet struct {
	kernel.Obj
	Net          *sock.Net
	IPMapCache   *CacheDetail
	UnixGidCache *CacheDetail

	RpcbLocalClnt  kernel.Var[*rpcbClnt] // speaks version 2; written under RpcbClntLock or by the creator
	RpcbLocalClnt4 kernel.Var[*rpcbClnt] // speaks version 4; nil if rpcbind does not
	RpcbClntLock   kernel.Spinlock
	// RpcbUsers counts the services that need the two clients. C has an unsigned int that the creator sets without
	// the lock, behind a write barrier.
	RpcbUsers kernel.Atomic

	// RpcbindPort is how this namespace's rpcbind is reached; nil: as RpcbState.Port says.
	RpcbindPort RpcbindPort
}

// Poison drops the pointers of a freed namespace.
func (sn *SunrpcNet) Poison() { sn.IPMapCache, sn.UnixGidCache, sn.RpcbindPort = nil, nil, nil }

// SunrpcInitNet makes the module's state in net. To be called once for every namespace, before any service starts in
// it; -ENOMEM. May sleep.
//
// C: sunrpc_init_net, net/sunrpc/sunrpc_syms.c
func SunrpcInitNet(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) int {
	m := cur.Machine()
	sn := kernel.Kzalloc[SunrpcNet](m, "sunrpc_net", kernel.GFP_KERNEL)
	if sn == nil {
		return -kernel.ENOMEM
	}
	sn.Net = net
	sn.RpcbLocalClnt.Init(&sn.Obj, "rpcb_local_clnt")
	sn.RpcbLocalClnt4.Init(&sn.Obj, "rpcb_local_clnt4")
	sn.RpcbClntLock.Init(&sn.Obj, "rpcb_clnt_lock")
	sn.RpcbUsers.Init(&sn.Obj, "rpcb_users")
	err := ipMapCacheCreate(cur, rpc, sn)
	if err == 0 {
		err = unixGidCacheCreate(cur, rpc, sn)
		if err != 0 {
			ipMapCacheDestroy(cur, sn)
		}
	}
	if err != 0 {
		kernel.Kfree(sn)
		return err
	}
	net.SetData(sunrpcNetKey, sn)
	return 0
}

// SunrpcExitNet ends the module's state in net. No service runs in it any more. May sleep.
//
// C: sunrpc_exit_net, net/sunrpc/sunrpc_syms.c
func SunrpcExitNet(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
	sn := rpc.SunrpcNet(net)
	unixGidCacheDestroy(cur, sn)
	ipMapCacheDestroy(cur, sn)
	net.SetData(sunrpcNetKey, nil)
	kernel.Kfree(sn)
}

// SunrpcNet is the module's state in net.
//
// C: net_generic(net, sunrpc_net_id), net/sunrpc/netns.h
func (rpc *Sunrpc) SunrpcNet(net *sock.Net) *SunrpcNet {
	return sunrpcNet(net)
}

// sunrpcNet is SunrpcNet for those that have no module at hand: the slot is the namespace's.
func sunrpcNet(net *sock.Net) *SunrpcNet {
	sn, _ := net.Data(sunrpcNetKey).(*SunrpcNet)
	net.Machine().BugOn(sn == nil, "sunrpc used in a net without sunrpc_init_net")
	return sn
}
