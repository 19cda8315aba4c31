// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Sizes and times of the host cache.
const (
	NLM_HOST_NRHASH  = 32
	NLM_HOST_REBIND  = 60 * kernel.HZ  // how long a peer's port is believed
	NLM_HOST_EXPIRE  = 300 * kernel.HZ // how long a host stays that nobody uses
	NLM_HOST_COLLECT = 120 * kernel.HZ // how often that is looked at
)

// nlmHostTable is a hash table of hosts by address, the one used last in front of its bucket. NlmHostMutex.
type nlmHostTable [NLM_HOST_NRHASH][]*NlmHost

// nlmLookupHostInfo is what a host is looked up by.
//
// C: struct nlm_lookup_host_info, fs/lockd/host.c
type nlmLookupHostInfo struct {
	server     bool
	sap        sunrpc.SockAddr
	srcAddr    sunrpc.SockAddr // ours, which the client has addressed; a server's host has none
	protocol   uint32
	version    uint32
	hostname   []byte
	noresvport bool
	net        *sock.Net
}

// nlmHash32 mixes the octets of a word, as they lie in memory.
//
// C: __nlm_hash32, fs/lockd/host.c
func nlmHash32(b []byte) uint32 {
	n := binary.LittleEndian.Uint32(b)
	hash := n ^ n>>16
	return hash ^ hash>>8
}

// nlmHashAddress is the bucket of an address.
//
// C: nlm_hash_address, fs/lockd/host.c
func nlmHashAddress(sap *sunrpc.SockAddr) uint32 {
	hash := uint32(0)
	switch sap.Family {
	case sock.AF_INET:
		hash = nlmHash32(sap.IP[:])
	case sock.AF_INET6:
		for i := 0; i < len(sap.IP); i += 4 {
			hash ^= nlmHash32(sap.IP[i:])
		}
	}
	return hash & (NLM_HOST_NRHASH - 1)
}

// nlmAllocHost makes a host with one reference that is in no table yet; nsm is its handle if it is known. nil: no
// memory, or a name that cannot be one. NlmHostMutex is held; may sleep.
//
// C: nlm_alloc_host, fs/lockd/host.c
func (l *Lockd) nlmAllocHost(cur *kernel.Task, ni *nlmLookupHostInfo, nsm *NsmHandle) *NlmHost {
	if nsm != nil {
		nsm.SmCount.Inc()
	} else if nsm = l.NsmGetHandle(ni.net, ni.sap, ni.hostname); nsm == nil {
		return nil
	}
	host := kernel.Kzalloc[NlmHost](cur.Machine(), "nlm_host", kernel.GFP_KERNEL)
	if host == nil {
		l.NsmRelease(nsm)
		return nil
	}
	host.HAddr, host.HSrcaddr = ni.sap.WithPort(0), ni.srcAddr
	host.HName = nsm.SmName
	host.HVersion, host.HProto = ni.version, ni.protocol
	host.HServer, host.HNoresvport = ni.server, ni.noresvport
	host.HCount.Init(&host.Obj, "h_count")
	host.HCount.Preset(1)
	host.HMutex.Init(&host.Obj, "h_mutex")
	host.HNextrebind = l.Machine().Jiffies() + NLM_HOST_REBIND
	host.HExpires.Init(&host.Obj, "h_expires")
	host.HExpires.Preset(int64(l.Machine().Jiffies() + NLM_HOST_EXPIRE))
	host.HNsmhandle = nsm
	host.Net = ni.net
	return host
}

// Poison drops the pointers of a freed host.
func (host *NlmHost) Poison() { host.HRpcclnt, host.HNsmhandle, host.Net = nil, nil, nil }

// nlmDestroyHostLocked frees a host that nobody refers to. NlmHostMutex is held; may sleep.
//
// C: nlm_destroy_host_locked, fs/lockd/host.c
func (l *Lockd) nlmDestroyHostLocked(cur *kernel.Task, host *NlmHost) {
	table := l.hostTable(host.HServer)
	bucket := &table[nlmHashAddress(&host.HAddr)]
	for i, h := range *bucket {
		if h == host {
			*bucket = append((*bucket)[:i:i], (*bucket)[i+1:]...)
			break
		}
	}
	l.NsmUnmonitor(cur, host)
	l.NsmRelease(host.HNsmhandle)
	if host.HRpcclnt != nil {
		sunrpc.RpcShutdownClient(cur, host.HRpcclnt)
	}
	l.LockdNet(host.Net).Nrhosts--
	l.nrhosts--
	kernel.Kfree(host)
}

// hostTable is the table of our clients, or of our servers.
func (l *Lockd) hostTable(server bool) *nlmHostTable {
	if server {
		return &l.NlmServerHosts
	}
	return &l.NlmClientHosts
}

// nlmLookupHost finds the host that ni describes, or makes it; either way with one more reference. A client's host is
// also told by the address of ours, and is the first of its bucket then. nil: no memory, or a name that cannot be one.
// NlmHostMutex is held; may sleep.
//
// C: nlmclnt_lookup_host, nlmsvc_lookup_host, fs/lockd/host.c
func (l *Lockd) nlmLookupHost(cur *kernel.Task, ni *nlmLookupHostInfo) *NlmHost {
	bucket := &l.hostTable(ni.server)[nlmHashAddress(&ni.sap)]
	var nsm *NsmHandle
	for i, host := range *bucket {
		if host.Net != ni.net || !host.HAddr.SameIP(ni.sap) {
			continue
		}
		// A status monitor knows addresses only: share its handle.
		if nsm == nil {
			nsm = host.HNsmhandle
		}
		if host.HProto != ni.protocol || host.HVersion != ni.version ||
			ni.server && !host.HSrcaddr.SameIP(ni.srcAddr) {
			continue
		}
		if ni.server {
			copy((*bucket)[1:i+1], (*bucket)[:i])
			(*bucket)[0] = host
		}
		return l.NlmGetHost(host)
	}
	host := l.nlmAllocHost(cur, ni, nsm)
	if host == nil {
		return nil
	}
	*bucket = append([]*NlmHost{host}, *bucket...)
	l.LockdNet(ni.net).Nrhosts++
	l.nrhosts++
	return host
}

// NlmclntLookupHost finds or makes the host of a server that locks of ours are on; it comes with a reference. lockd is
// up in net. nil: no memory, or a name with a slash. Takes NlmHostMutex; may sleep.
//
// C: nlmclnt_lookup_host, fs/lockd/host.c
func (l *Lockd) NlmclntLookupHost(cur *kernel.Task, sap sunrpc.SockAddr, protocol, version uint32, hostname []byte,
	noresvport bool, net *sock.Net) *NlmHost {
	l.NlmHostMutex.Lock(cur)
	host := l.nlmLookupHost(cur, &nlmLookupHostInfo{
		sap: sap, protocol: protocol, version: version, hostname: hostname, noresvport: noresvport, net: net,
	})
	l.NlmHostMutex.Unlock(cur)
	return host
}

// NlmclntReleaseHost drops a reference to a server's host, which goes with the last one; nil is allowed. Takes
// NlmHostMutex for that; may sleep.
//
// Differs: the reference is dropped with NlmHostMutex held, as kernels after 4.19 drop the last one
// (refcount_dec_and_mutex_lock); in 3.19 a look-up can find a host that is about to go.
//
// C: nlmclnt_release_host, fs/lockd/host.c
func (l *Lockd) NlmclntReleaseHost(cur *kernel.Task, host *NlmHost) {
	if host == nil {
		return
	}
	l.Machine().WarnOnOnce(host.HServer, "nlmclnt_release_host: a client's host")
	l.NlmHostMutex.Lock(cur)
	if host.HCount.DecAndTest() {
		l.nlmDestroyHostLocked(cur, host)
	}
	l.NlmHostMutex.Unlock(cur)
}

// NlmsvcLookupHost finds or makes the host that a request came from; it comes with a reference. The same client over
// another transport, in another version or to another address of ours is another host. From time to time hosts that
// nobody uses are collected here. nil: no memory, or a name with a slash. Takes NlmHostMutex; may sleep.
//
// C: nlmsvc_lookup_host, fs/lockd/host.c
func (l *Lockd) NlmsvcLookupHost(cur *kernel.Task, rqstp *sunrpc.SvcRqst, hostname []byte) *NlmHost {
	net := sunrpc.SvcNet(rqstp)
	l.NlmHostMutex.Lock(cur)
	if l.Machine().Jiffies() >= l.LockdNet(net).NextGc {
		l.nlmGcHosts(cur, net)
	}
	host := l.nlmLookupHost(cur, &nlmLookupHostInfo{
		server: true, sap: rqstp.RqAddr, srcAddr: rqstp.RqDaddr, protocol: rqstp.RqProt, version: rqstp.RqVers,
		hostname: hostname, net: net,
	})
	l.NlmHostMutex.Unlock(cur)
	return host
}

// NlmsvcReleaseHost drops a reference to a client's host; nil is allowed. The host goes later, see nlmGcHosts.
//
// C: nlmsvc_release_host, fs/lockd/host.c
func (l *Lockd) NlmsvcReleaseHost(cur *kernel.Task, host *NlmHost) {
	if host == nil {
		return
	}
	l.Machine().WarnOnOnce(!host.HServer, "nlmsvc_release_host: a server's host")
	host.HCount.Dec()
}

// NlmBindHost is the RPC client to call the peer with, which is made when it is first needed; nil if it cannot be. A
// peer's port is asked for again after a while. Takes HMutex; may sleep.
//
// C: nlm_bind_host, fs/lockd/host.c
func (l *Lockd) NlmBindHost(cur *kernel.Task, host *NlmHost) *sunrpc.RpcClnt {
	host.HMutex.Lock(cur)
	clnt := l.nlmBindHost(cur, host)
	host.HMutex.Unlock(cur)
	return clnt
}

// nlmBindHost is NlmBindHost with HMutex held: the timeouts come from nlmsvc_timeout, which is set by the time that
// lockd is up.
//
// C: nlm_bind_host, fs/lockd/host.c
func (l *Lockd) nlmBindHost(cur *kernel.Task, host *NlmHost) *sunrpc.RpcClnt {
	if host.HRpcclnt != nil {
		l.rebind(host)
		return host.HRpcclnt
	}
	increment := l.NlmsvcTimeout.Load()
	args := &sunrpc.RpcCreateArgs{
		Rpc:      l.Rpc,
		Net:      host.Net,
		Protocol: host.HProto,
		Address:  host.HAddr,
		Saddress: host.HSrcaddr,
		Timeout: &sunrpc.RpcTimeout{
			ToInitval: increment, ToIncrement: increment, ToMaxval: 6 * increment, ToRetries: 5,
		},
		Servername: host.HName,
		Program:    nlmCallTable,
		Version:    host.HVersion,
		Authflavor: sunrpc.RPC_AUTH_UNIX,
		Flags:      sunrpc.RPC_CLNT_CREATE_AUTOBIND,
	}
	// Blocked locks are looked at again in any case, so calls to clients may give up.
	if !host.HServer {
		args.Flags |= sunrpc.RPC_CLNT_CREATE_HARDRTRY
	}
	if host.HNoresvport {
		args.Flags |= sunrpc.RPC_CLNT_CREATE_NONPRIVPORT
	}
	clnt, err := sunrpc.RpcCreate(cur, args)
	if err != 0 {
		l.Machine().Printk("lockd: couldn't create RPC handle for %s", host.HName)
		return nil
	}
	host.HRpcclnt = clnt
	return clnt
}

// rebind makes a host's client ask for the port again unless that was done within the last minute. HMutex is held.
func (l *Lockd) rebind(host *NlmHost) {
	if now := l.Machine().Jiffies(); now >= host.HNextrebind {
		sunrpc.RpcForceRebind(host.HRpcclnt)
		host.HNextrebind = now + NLM_HOST_REBIND
	}
}

// NlmRebindHost makes the next call ask for the peer's port again, once a minute at most. Takes HMutex; may sleep.
//
// Differs: C takes no lock, and may use a client that a shutdown of the host frees (ours).
//
// C: nlm_rebind_host, fs/lockd/host.c
func (l *Lockd) NlmRebindHost(cur *kernel.Task, host *NlmHost) {
	host.HMutex.Lock(cur)
	if host.HRpcclnt != nil {
		l.rebind(host)
	}
	host.HMutex.Unlock(cur)
}

// NlmGetHost takes a reference to a host; the caller holds one or NlmHostMutex. nil is allowed.
//
// C: nlm_get_host, fs/lockd/host.c
func (l *Lockd) NlmGetHost(host *NlmHost) *NlmHost {
	if host != nil {
		host.HCount.Inc()
		host.HExpires.Set(int64(l.Machine().Jiffies() + NLM_HOST_EXPIRE))
	}
	return host
}

// nextHostState finds a host of the rebooted peer that has not been told yet, marks it and takes a reference; nil:
// all have. Takes NlmHostMutex; may sleep.
//
// C: next_host_state, fs/lockd/host.c
func (l *Lockd) nextHostState(cur *kernel.Task, table *nlmHostTable, nsm *NsmHandle, info *NlmReboot) *NlmHost {
	l.NlmHostMutex.Lock(cur)
	defer l.NlmHostMutex.Unlock(cur)
	for _, bucket := range table {
		for _, host := range bucket {
			if host.HNsmhandle == nsm && host.HNsmstate != info.State {
				host.HNsmstate = info.State
				host.HState++
				return l.NlmGetHost(host)
			}
		}
	}
	return nil
}

// NlmHostRebooted drops all that the peer holds that a status monitor says has rebooted, known by the cookie that we
// gave with its name. May sleep.
//
// Differs: nothing is reclaimed from a server that rebooted, since this lockd takes no locks as a client.
//
// C: nlm_host_rebooted, fs/lockd/host.c
func (l *Lockd) NlmHostRebooted(cur *kernel.Task, net *sock.Net, info *NlmReboot) {
	nsm := l.NsmRebootLookup(net, info)
	if nsm == nil {
		return
	}
	for host := l.nextHostState(cur, &l.NlmServerHosts, nsm, info); host != nil; {
		l.NlmsvcFreeHostResources(cur, host)
		l.NlmsvcReleaseHost(cur, host)
		host = l.nextHostState(cur, &l.NlmServerHosts, nsm, info)
	}
	for host := l.nextHostState(cur, &l.NlmClientHosts, nsm, info); host != nil; {
		l.NlmclntReleaseHost(cur, host)
		host = l.nextHostState(cur, &l.NlmClientHosts, nsm, info)
	}
	l.NsmRelease(nsm)
}

// nlmComplainHosts says that there are hosts left of a namespace, of any if net is nil, and which of them are clients'.
// NlmHostMutex is held.
//
// Differs: C goes through the table after it has dropped the mutex, while the table may change; and it names the hosts
// only where it debugs.
//
// C: nlm_complain_hosts, fs/lockd/host.c
func (l *Lockd) nlmComplainHosts(net *sock.Net) {
	left, of := l.nrhosts, ""
	if net != nil {
		left, of = l.LockdNet(net).Nrhosts, " for net "+net.Name
	}
	if left == 0 {
		return
	}
	l.Machine().Printk("lockd: couldn't shutdown host module%s!", of)
	for _, bucket := range l.NlmServerHosts {
		for _, host := range bucket {
			if net == nil || host.Net == net {
				l.Machine().Printk("lockd: %s (cnt %d use %t) is left", host.HName, host.HCount.Peek(), host.HInuse)
			}
		}
	}
}

// NlmShutdownHostsNet forgets the clients of one namespace, of all if net is nil: calls to them are ended, and all that
// hold nothing and that nobody refers to are freed; the others are when hosts are collected the next time. Takes
// NlmHostMutex; may sleep.
//
// Differs: HMutex is held when a host's RPC client is taken from it (see nlmDoAsyncCall).
//
// C: nlm_shutdown_hosts_net, fs/lockd/host.c
func (l *Lockd) NlmShutdownHostsNet(cur *kernel.Task, net *sock.Net) {
	l.NlmHostMutex.Lock(cur)
	for _, bucket := range l.NlmServerHosts {
		for _, host := range bucket {
			if net != nil && host.Net != net {
				continue
			}
			host.HExpires.Set(int64(l.Machine().Jiffies() - 1))
			host.HMutex.Lock(cur)
			clnt := host.HRpcclnt
			host.HRpcclnt = nil
			host.HMutex.Unlock(cur)
			if clnt != nil {
				sunrpc.RpcShutdownClient(cur, clnt)
			}
		}
	}
	l.nlmGcHosts(cur, net)
	l.nlmComplainHosts(net)
	l.NlmHostMutex.Unlock(cur)
}

// NlmShutdownHosts forgets the clients of all namespaces. Takes NlmHostMutex; may sleep.
//
// C: nlm_shutdown_hosts, fs/lockd/host.c
func (l *Lockd) NlmShutdownHosts(cur *kernel.Task) {
	l.NlmShutdownHostsNet(cur, nil)
}

// nlmGcHosts frees the clients' hosts of one namespace, of all if net is nil, that nobody refers to, that hold no
// lock, block or share, and that have not been used for a while. NlmHostMutex is held; may sleep.
//
// C: nlm_gc_hosts, fs/lockd/host.c
func (l *Lockd) nlmGcHosts(cur *kernel.Task, net *sock.Net) {
	for _, bucket := range l.NlmServerHosts {
		for _, host := range bucket {
			if net == nil || host.Net == net {
				host.HInuse = false
			}
		}
	}
	l.NlmsvcMarkResources(cur, net)
	for _, bucket := range l.NlmServerHosts {
		for _, host := range bucket { // the bucket as it was
			if net != nil && host.Net != net || host.HCount.Read() != 0 || host.HInuse ||
				int64(l.Machine().Jiffies()) < host.HExpires.Read() {
				continue
			}
			l.nlmDestroyHostLocked(cur, host)
		}
	}
	if net != nil {
		l.LockdNet(net).NextGc = l.Machine().Jiffies() + NLM_HOST_COLLECT
	}
}
