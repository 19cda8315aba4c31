// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// helperTTL is how long an answer of the helper holds, in seconds (mountd's default).
const helperTTL = 30 * 60

// gidMax is the largest number of groups the helper may give a user.
const gidMax = 8192

// classMax is the largest number of bytes in the name of a class that the helper may answer for.
const classMax = 7

// LoopbackClients is the default ClientPolicy: the domain "localhost" holds every loopback address, and nobody else
// is known.
func LoopbackClients(_ *sock.Net, _ string, addr [16]byte) (string, ClientVerdict) {
	v4 := [12]byte{10: 0xff, 11: 0xff}
	if [12]byte(addr[:12]) == v4 && addr[12] == 127 {
		return "localhost", ClientKnown
	}
	if addr == [16]byte{15: 1} {
		return "localhost", ClientKnown
	}
	return "", ClientUnknown
}

// GroupsAlloc makes a list of n group ids with one reference, nil if there is no memory. May sleep.
//
// C: groups_alloc, kernel/groups.c
func GroupsAlloc(m *kernel.Machine, n int) *GroupInfo {
	gi := kernel.Kzalloc[GroupInfo](m, "group_info", kernel.GFP_KERNEL)
	if gi == nil {
		return nil
	}
	gi.Usage.Init(&gi.Obj, "group_info.usage")
	gi.Usage.Set(1)
	gi.Gids = make([]uint32, n)
	return gi
}

// GetGroupInfo takes a reference.
//
// C: get_group_info, include/linux/cred.h
func GetGroupInfo(gi *GroupInfo) *GroupInfo {
	gi.Usage.Inc()
	return gi
}

// PutGroupInfo drops a reference and frees the list with the last.
//
// C: put_group_info, include/linux/cred.h
func PutGroupInfo(gi *GroupInfo) {
	if gi.Usage.DecAndTest() {
		kernel.Kfree(gi)
	}
}

// svcauthUnixDomainRelease frees a domain that nobody refers to any more.
//
// C: svcauth_unix_domain_release, net/sunrpc/svcauth_unix.c
func svcauthUnixDomainRelease(dom *AuthDomain) {
	kernel.Kfree(dom)
}

// UnixDomainFind returns the domain of that name with a reference and makes it if need be; nil if there is no memory
// or the name belongs to another flavour. May sleep.
//
// Differs: the copy of the name is no allocation of its own.
//
// C: unix_domain_find, net/sunrpc/svcauth_unix.c
func UnixDomainFind(cur *kernel.Task, rpc *Sunrpc, name string) *AuthDomain {
	var fresh *AuthDomain
	rv := AuthDomainLookup(rpc, name, nil)
	for {
		if rv != nil {
			if fresh != nil && rv != fresh {
				svcauthUnixDomainRelease(fresh)
			}
			if rv.Flavour != &rpc.Svcauth.svcauthUnix {
				AuthDomainPut(rpc, rv)
				return nil
			}
			return rv
		}
		fresh = kernel.Kzalloc[AuthDomain](cur.Machine(), "unix_domain", kernel.GFP_KERNEL)
		if fresh == nil {
			return nil
		}
		fresh.Ref.Init(&fresh.Obj, "auth_domain.ref")
		fresh.Hash.Init(fresh)
		fresh.Name = name
		fresh.Flavour = &rpc.Svcauth.svcauthUnix
		rv = AuthDomainLookup(rpc, name, fresh)
	}
}

// IPMap is struct ip_map: which domain the peers at one address belong to.
type IPMap struct {
	kernel.Obj
	H       CacheHead
	MClass  string   // a program class, such as "nfsd"
	MAddr   [16]byte // IPv6, or IPv4 mapped
	MClient *AuthDomain
}

// Poison drops the pointers of a freed entry.
func (im *IPMap) Poison() { im.MClient = nil }

// ipMapPut frees an entry that nobody refers to any more.
//
// C: ip_map_put, net/sunrpc/svcauth_unix.c
func ipMapPut(rpc *Sunrpc, h *CacheHead) {
	im := h.Entry.(*IPMap)
	if h.Flags.TestBit(CACHE_VALID) && !h.Flags.TestBit(CACHE_NEGATIVE) {
		AuthDomainPut(rpc, im.MClient)
	}
	kernel.Kfree(im)
}

// ipMapMatch compares the keys of two entries.
//
// C: ip_map_match, net/sunrpc/svcauth_unix.c
func ipMapMatch(a, b *CacheHead) bool {
	x, y := a.Entry.(*IPMap), b.Entry.(*IPMap)
	return x.MClass == y.MClass && x.MAddr == y.MAddr
}

// ipMapInit copies the key of item.
//
// C: ip_map_init, net/sunrpc/svcauth_unix.c
func ipMapInit(fresh, item *CacheHead) {
	x, y := fresh.Entry.(*IPMap), item.Entry.(*IPMap)
	x.MClass = y.MClass
	x.MAddr = y.MAddr
}

// ipMapUpdateEntry copies the answer of item, with a reference.
//
// C: update, net/sunrpc/svcauth_unix.c
func ipMapUpdateEntry(fresh, item *CacheHead) {
	x, y := fresh.Entry.(*IPMap), item.Entry.(*IPMap)
	y.MClient.Ref.Get()
	x.MClient = y.MClient
}

// ipMapAlloc makes an empty entry, nil if there is no memory. May sleep.
//
// C: ip_map_alloc, net/sunrpc/svcauth_unix.c
func ipMapAlloc(cd *CacheDetail) *CacheHead {
	im := kernel.Kzalloc[IPMap](cd.Machine(), "ip_map", kernel.GFP_KERNEL)
	if im == nil {
		return nil
	}
	cacheInit(&im.Obj, &im.H, im)
	return &im.H
}

// ipMapUpcall asks the helper about h. A helper that knows at once answers from here, in the asking task. That nobody
// is there comes before that h is in no cache any more.
//
// Differs: the helper is a ClientPolicy instead of a process that reads a file, so it is asked about an entry that is
// in no cache any more, too.
//
// C: ip_map_request, net/sunrpc/svcauth_unix.c; sunrpc_cache_pipe_upcall, net/sunrpc/cache.c
func ipMapUpcall(cur *kernel.Task, cd *CacheDetail, h *CacheHead) int {
	im := h.Entry.(*IPMap)
	ask := cd.Rpc.Svcauth.ClientPolicy
	if ask == nil {
		ask = LoopbackClients
	}
	domain, verdict := ask(cd.Net, im.MClass, im.MAddr)
	if verdict == ClientNoHelper {
		return -kernel.EINVAL
	}
	if h.Flags.TestBit(CACHE_CLEANED) {
		return -kernel.EAGAIN
	}
	switch verdict {
	case ClientLater:
		return 0
	case ClientUnknown:
		domain = ""
	}
	if IPMapUpdate(cur, cd.Rpc, cd.Net, im.MClass, im.MAddr, domain, secondsSinceBoot(cd.Machine())+helperTTL) < 0 {
		return -kernel.EAGAIN
	}
	return 0
}

// IPMapUpdate is the helper's answer: the peers at addr belong to domain, "" for no domain, until the second expiry.
// -EINVAL if the class has no name or a long one, or expiry is 0; -ENOMEM if there is no memory, -ENOENT if the domain
// cannot be made. May sleep, also in the requests it revisits.
//
// Differs: takes the answer apart, where C has a line of text to read.
//
// C: ip_map_parse, net/sunrpc/svcauth_unix.c
func IPMapUpdate(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, class string, addr [16]byte, domain string,
	expiry int64) int {
	if class == "" || len(class) > classMax || expiry == 0 {
		return -kernel.EINVAL
	}
	var dom *AuthDomain
	if domain != "" {
		dom = UnixDomainFind(cur, rpc, domain)
		if dom == nil {
			return -kernel.ENOENT
		}
	}
	cd := rpc.SunrpcNet(net).IPMapCache
	err := -kernel.ENOMEM
	if im := ipMapLookup(cur, cd, class, addr); im != nil {
		err = ipMapUpdate(cur, cd, im, dom, expiry)
	}
	if dom != nil {
		AuthDomainPut(rpc, dom)
	}
	CacheFlush(cur, cd)
	return err
}

// ipMapLookup finds or makes the entry of an address; nil if there is no memory. The result carries a reference.
//
// C: __ip_map_lookup, net/sunrpc/svcauth_unix.c
func ipMapLookup(cur *kernel.Task, cd *CacheDetail, class string, addr [16]byte) *IPMap {
	key := IPMap{MClass: class, MAddr: addr}
	key.H.Entry = &key
	ch := SunrpcCacheLookup(cur, cd, &key.H)
	if ch == nil {
		return nil
	}
	return ch.Entry.(*IPMap)
}

// ipMapUpdate gives the entry im its answer and consumes the caller's reference to it; udom nil: no domain.
//
// C: __ip_map_update, net/sunrpc/svcauth_unix.c
func ipMapUpdate(cur *kernel.Task, cd *CacheDetail, im *IPMap, udom *AuthDomain, expiry int64) int {
	ip := IPMap{MClient: udom}
	ip.H.Entry = &ip
	ch := SunrpcCacheUpdate(cur, cd, &ip.H, udom == nil, expiry, &im.H)
	if ch == nil {
		return -kernel.ENOMEM
	}
	CachePut(ch, cd)
	return 0
}

// SvcauthUnixPurge forgets all answers about clients of net.
//
// C: svcauth_unix_purge, net/sunrpc/svcauth_unix.c
func SvcauthUnixPurge(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
	CachePurge(cur, rpc.SunrpcNet(net).IPMapCache)
}

// ipMapCachedGet returns the entry that the connection remembers, with a reference; nil if there is none or it is no
// longer the answer.
//
// C: ip_map_cached_get, net/sunrpc/svcauth_unix.c
func ipMapCachedGet(cd *CacheDetail, xprt *SvcXprt) *IPMap {
	if !xprt.XptFlags.TestBit(XPT_CACHE_AUTH) {
		return nil
	}
	xprt.XptLock.Lock()
	im, _ := xprt.XptAuthCache.(*IPMap)
	if im != nil {
		if cacheIsExpired(cd, &im.H) {
			xprt.XptAuthCache = nil
			xprt.XptLock.Unlock()
			CachePut(&im.H, cd)
			return nil
		}
		CacheGet(&im.H)
	}
	xprt.XptLock.Unlock()
	return im
}

// ipMapCachedPut gives the caller's reference to im to the connection if that remembers none yet, else drops it.
//
// C: ip_map_cached_put, net/sunrpc/svcauth_unix.c
func ipMapCachedPut(cd *CacheDetail, xprt *SvcXprt, im *IPMap) {
	if xprt.XptFlags.TestBit(XPT_CACHE_AUTH) {
		xprt.XptLock.Lock()
		if xprt.XptAuthCache == nil {
			xprt.XptAuthCache = im
			im = nil
		}
		xprt.XptLock.Unlock()
	}
	if im != nil {
		CachePut(&im.H, cd)
	}
}

// SvcauthUnixInfoRelease drops what a connection remembers about its client. The transport is being freed.
//
// C: svcauth_unix_info_release, net/sunrpc/svcauth_unix.c
func SvcauthUnixInfoRelease(xpt *SvcXprt) {
	if im, _ := xpt.XptAuthCache.(*IPMap); im != nil {
		CachePut(&im.H, sunrpcNet(xpt.XptNet).IPMapCache)
	}
}

// UnixGid is struct unix_gid: the groups of a user, for those who are in more than fit into a credential.
type UnixGid struct {
	kernel.Obj
	H   CacheHead
	Uid uint32
	Gi  *GroupInfo
}

// Poison drops the pointers of a freed entry.
func (ug *UnixGid) Poison() { ug.Gi = nil }

// unixGidPut frees an entry that nobody refers to any more.
//
// C: unix_gid_put, net/sunrpc/svcauth_unix.c
func unixGidPut(h *CacheHead) {
	ug := h.Entry.(*UnixGid)
	if h.Flags.TestBit(CACHE_VALID) && !h.Flags.TestBit(CACHE_NEGATIVE) {
		PutGroupInfo(ug.Gi)
	}
	kernel.Kfree(ug)
}

// unixGidMatch compares the keys of two entries.
//
// C: unix_gid_match, net/sunrpc/svcauth_unix.c
func unixGidMatch(a, b *CacheHead) bool {
	return a.Entry.(*UnixGid).Uid == b.Entry.(*UnixGid).Uid
}

// unixGidInit copies the key of item.
//
// C: unix_gid_init, net/sunrpc/svcauth_unix.c
func unixGidInit(fresh, item *CacheHead) {
	fresh.Entry.(*UnixGid).Uid = item.Entry.(*UnixGid).Uid
}

// unixGidUpdateEntry copies the answer of item, with a reference.
//
// C: unix_gid_update, net/sunrpc/svcauth_unix.c
func unixGidUpdateEntry(fresh, item *CacheHead) {
	fresh.Entry.(*UnixGid).Gi = GetGroupInfo(item.Entry.(*UnixGid).Gi)
}

// unixGidAlloc makes an empty entry, nil if there is no memory. May sleep.
//
// C: unix_gid_alloc, net/sunrpc/svcauth_unix.c
func unixGidAlloc(cd *CacheDetail) *CacheHead {
	ug := kernel.Kzalloc[UnixGid](cd.Machine(), "unix_gid", kernel.GFP_KERNEL)
	if ug == nil {
		return nil
	}
	cacheInit(&ug.Obj, &ug.H, ug)
	return &ug.H
}

// unixGidUpcall asks the helper about h; as ipMapUpcall.
//
// Differs: as ipMapUpcall.
//
// C: unix_gid_request, net/sunrpc/svcauth_unix.c; sunrpc_cache_pipe_upcall, net/sunrpc/cache.c
func unixGidUpcall(cur *kernel.Task, cd *CacheDetail, h *CacheHead) int {
	ug := h.Entry.(*UnixGid)
	var gids []uint32
	verdict := ClientNoHelper
	if ask := cd.Rpc.Svcauth.GroupPolicy; ask != nil {
		gids, verdict = ask(cd.Net, ug.Uid)
	}
	if verdict == ClientNoHelper {
		return -kernel.EINVAL
	}
	if h.Flags.TestBit(CACHE_CLEANED) {
		return -kernel.EAGAIN
	}
	switch verdict {
	case ClientLater:
		return 0
	case ClientUnknown:
		gids = nil
	}
	if UnixGidUpdate(cur, cd.Rpc, cd.Net, ug.Uid, gids, secondsSinceBoot(cd.Machine())+helperTTL) < 0 {
		return -kernel.EAGAIN
	}
	return 0
}

// UnixGidUpdate is the helper's answer: user uid is in the groups gids, until the second expiry. There is none that
// says that a user is not known: such a user has no groups. -EINVAL: too many groups, one of all ones, or expiry is 0;
// -ENOMEM. May sleep, also in the requests it revisits.
//
// Differs: takes the answer apart, where C has a line of text to read.
//
// C: unix_gid_parse, net/sunrpc/svcauth_unix.c
func UnixGidUpdate(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, uid uint32, gids []uint32, expiry int64) int {
	if expiry == 0 || len(gids) > gidMax || slices.Contains(gids, ^uint32(0)) {
		return -kernel.EINVAL
	}
	ug := UnixGid{Uid: uid}
	ug.H.Entry = &ug
	ug.Gi = GroupsAlloc(cur.Machine(), len(gids))
	if ug.Gi == nil {
		return -kernel.ENOMEM
	}
	copy(ug.Gi.Gids, gids)
	cd := rpc.SunrpcNet(net).UnixGidCache
	err := -kernel.ENOMEM
	if ugp := unixGidLookup(cur, cd, uid); ugp != nil {
		if ch := SunrpcCacheUpdate(cur, cd, &ug.H, false, expiry, &ugp.H); ch != nil {
			err = 0
			CachePut(ch, cd)
		}
	}
	PutGroupInfo(ug.Gi)
	return err
}

// unixGidLookup finds or makes the entry of a user; nil if there is no memory. The result carries a reference.
//
// C: unix_gid_lookup, net/sunrpc/svcauth_unix.c
func unixGidLookup(cur *kernel.Task, cd *CacheDetail, uid uint32) *UnixGid {
	key := UnixGid{Uid: uid}
	key.H.Entry = &key
	ch := SunrpcCacheLookup(cur, cd, &key.H)
	if ch == nil {
		return nil
	}
	return ch.Entry.(*UnixGid)
}

// unixGidFind returns the groups of a user with a reference, or nil and -ENOENT (not known), -ETIMEDOUT (no answer)
// or -EAGAIN (the request has been put aside, or there is no memory).
//
// Differs: -ETIMEDOUT where C turns it into -ESHUTDOWN for its caller to tell apart.
//
// C: unix_gid_find, net/sunrpc/svcauth_unix.c
func unixGidFind(cur *kernel.Task, uid uint32, rqstp *SvcRqst, xprt *SvcXprt) (*GroupInfo, int) {
	cd := rqstp.RqServer.SvRpc.SunrpcNet(xprt.XptNet).UnixGidCache
	ug := unixGidLookup(cur, cd, uid)
	if ug == nil {
		return nil, -kernel.EAGAIN
	}
	switch ret := CacheCheck(cur, cd, &ug.H, &rqstp.RqChandle); ret {
	case -kernel.ENOENT, -kernel.ETIMEDOUT:
		return nil, ret
	case 0:
		gi := GetGroupInfo(ug.Gi)
		CachePut(&ug.H, cd)
		return gi, 0
	default:
		return nil, -kernel.EAGAIN
	}
}

// SvcauthUnixSetClient finds the domain of the peer that sent the request and stores it, with a reference, in
// RqClient; then replaces the groups of the credential if the helper knows better. Procedure 0 is for everybody.
// SVC_OK, SVC_DENIED (unknown peer), SVC_DROP (put aside) or SVC_CLOSE (no answer). The request came over a
// transport: there is no client to set on a back channel. May sleep.
//
// C: svcauth_unix_set_client, net/sunrpc/svcauth_unix.c
func SvcauthUnixSetClient(cur *kernel.Task, rqstp *SvcRqst) int {
	rpc := rqstp.RqServer.SvRpc
	m := cur.Machine()
	cred := &rqstp.RqCred
	xprt := rqstp.RqXprt.Load()
	cd := rpc.SunrpcNet(xprt.XptNet).IPMapCache

	addr, ok := sockAddrIn6(rqstp.RqAddr)
	m.BugOn(!ok, "svcauth_unix_set_client: peer is neither IPv4 nor IPv6")

	rqstp.RqClient = nil
	if rqstp.RqProc == 0 {
		return SVC_OK
	}

	im := ipMapCachedGet(cd, xprt)
	if im == nil {
		im = ipMapLookup(cur, cd, rqstp.RqServer.SvProgram.PgClass, addr)
	}
	if im == nil {
		return SVC_DENIED
	}

	switch CacheCheck(cur, cd, &im.H, &rqstp.RqChandle) {
	default:
		m.BugOn(true, "svcauth_unix_set_client: unknown result of cache_check")
	case -kernel.ETIMEDOUT:
		return SVC_CLOSE
	case -kernel.EAGAIN:
		return SVC_DROP
	case -kernel.ENOENT:
		return SVC_DENIED
	case 0:
		rqstp.RqClient = im.MClient
		rqstp.RqClient.Ref.Get()
		ipMapCachedPut(cd, xprt, im)
	}

	gi, err := unixGidFind(cur, cred.CrUid, rqstp, xprt)
	switch err {
	case -kernel.EAGAIN:
		return SVC_DROP
	case -kernel.ETIMEDOUT:
		return SVC_CLOSE
	case -kernel.ENOENT:
	default:
		PutGroupInfo(cred.CrGroupInfo)
		cred.CrGroupInfo = gi
	}
	return SVC_OK
}

// svcauthNullAccept takes an AUTH_NONE credential and verifier; the sender becomes nobody.
//
// C: svcauth_null_accept, net/sunrpc/svcauth_unix.c
func svcauthNullAccept(cur *kernel.Task, rqstp *SvcRqst, authp *uint32) int {
	argv := &rqstp.RqArg.Head
	resv := &rqstp.RqRes.Head
	cred := &rqstp.RqCred

	cred.CrGroupInfo = nil
	cred.CrPrincipal = ""
	rqstp.RqClient = nil

	// Unsigned in C as well: a datagram too short for its own header passes here.
	if argv.IovLen < 3*4 {
		return SVC_GARBAGE
	}
	if SvcGetu32(argv) != 0 {
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	if SvcGetu32(argv) != RPC_AUTH_NULL || SvcGetu32(argv) != 0 {
		*authp = RPC_AUTH_BADVERF
		return SVC_DENIED
	}

	cred.CrUid = ^uint32(0)
	cred.CrGid = ^uint32(0)
	cred.CrGroupInfo = GroupsAlloc(cur.Machine(), 0)
	if cred.CrGroupInfo == nil {
		return SVC_CLOSE
	}

	SvcPutnl(resv, RPC_AUTH_NULL)
	SvcPutnl(resv, 0)

	cred.CrFlavor = RPC_AUTH_NULL
	return SVC_OK
}

// svcauthNullRelease drops the client and the groups; 0: do send the reply.
//
// C: svcauth_null_release, net/sunrpc/svcauth_unix.c
func svcauthNullRelease(rqstp *SvcRqst) int {
	if rqstp.RqClient != nil {
		AuthDomainPut(rqstp.RqServer.SvRpc, rqstp.RqClient)
	}
	rqstp.RqClient = nil
	if rqstp.RqCred.CrGroupInfo != nil {
		PutGroupInfo(rqstp.RqCred.CrGroupInfo)
	}
	rqstp.RqCred.CrGroupInfo = nil
	return 0
}

// svcauthUnixAccept takes an AUTH_SYS credential and an AUTH_NONE verifier. The credential's own length is not looked
// at; the machine name is measured after rounding to words in 32 bits, so 256 bytes pass and so do the three largest
// lengths, as an empty name. An id of all ones is taken as it is, among the groups, too: whoever uses the credential
// maps it.
//
// C: svcauth_unix_accept, net/sunrpc/svcauth_unix.c
func svcauthUnixAccept(cur *kernel.Task, rqstp *SvcRqst, authp *uint32) int {
	argv := &rqstp.RqArg.Head
	resv := &rqstp.RqRes.Head
	cred := &rqstp.RqCred
	// A signed int here, unlike in the null flavour: a length that wrapped below zero is seen as negative.
	left := int32(argv.IovLen)

	cred.CrGroupInfo = nil
	cred.CrPrincipal = ""
	rqstp.RqClient = nil

	left -= 3 * 4
	if left < 0 {
		return SVC_GARBAGE
	}

	SvcGetu32(argv) // credential length
	SvcGetu32(argv) // stamp
	slen := XdrQuadlen(SvcGetnl(argv))
	if slen > UNX_MAXNODENAME {
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	left -= int32((slen + 3) * 4)
	if left < 0 {
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	argv.IovBase += int(slen) * 4
	argv.IovLen -= uint64(slen) * 4

	cred.CrUid = SvcGetnl(argv)
	cred.CrGid = SvcGetnl(argv)
	slen = SvcGetnl(argv)
	if slen > UNX_NGROUPS {
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	left -= int32((slen + 2) * 4)
	if left < 0 {
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	cred.CrGroupInfo = GroupsAlloc(cur.Machine(), int(slen))
	if cred.CrGroupInfo == nil {
		return SVC_CLOSE
	}
	for i := range cred.CrGroupInfo.Gids {
		cred.CrGroupInfo.Gids[i] = SvcGetnl(argv)
	}
	if SvcGetu32(argv) != RPC_AUTH_NULL || SvcGetu32(argv) != 0 {
		*authp = RPC_AUTH_BADVERF
		return SVC_DENIED
	}

	SvcPutnl(resv, RPC_AUTH_NULL)
	SvcPutnl(resv, 0)

	cred.CrFlavor = RPC_AUTH_UNIX
	return SVC_OK
}

// svcauthUnixRelease does what svcauthNullRelease does; C has it twice.
//
// C: svcauth_unix_release, net/sunrpc/svcauth_unix.c
func svcauthUnixRelease(rqstp *SvcRqst) int {
	return svcauthNullRelease(rqstp)
}

// ipMapCacheCreate makes the address cache of a network namespace; -ENOMEM. May sleep.
//
// Differs: the hash table is part of the cache, which has no files that could fail to be made.
//
// C: ip_map_cache_create, net/sunrpc/svcauth_unix.c
func ipMapCacheCreate(cur *kernel.Task, rpc *Sunrpc, sn *SunrpcNet) int {
	cd := kernel.Kzalloc[CacheDetail](cur.Machine(), "auth.unix.ip", kernel.GFP_KERNEL)
	if cd == nil {
		return -kernel.ENOMEM
	}
	cd.CachePut = func(h *CacheHead) { ipMapPut(rpc, h) }
	cd.Upcall = ipMapUpcall
	cd.Match = ipMapMatch
	cd.Init = ipMapInit
	cd.Update = ipMapUpdateEntry
	cd.Alloc = ipMapAlloc
	SunrpcInitCacheDetail(rpc, sn.Net, cd, "auth.unix.ip")
	sn.IPMapCache = cd
	return 0
}

// ipMapCacheDestroy empties and frees the address cache. No service runs in the namespace any more.
//
// Differs: is done after one purge; C purges again as it takes the cache off the list of all.
//
// C: ip_map_cache_destroy, net/sunrpc/svcauth_unix.c
func ipMapCacheDestroy(cur *kernel.Task, sn *SunrpcNet) {
	cd := sn.IPMapCache
	sn.IPMapCache = nil
	CachePurge(cur, cd)
	kernel.Kfree(cd)
}

// unixGidCacheCreate makes the group cache of a network namespace; -ENOMEM. May sleep.
//
// Differs: as ipMapCacheCreate.
//
// C: unix_gid_cache_create, net/sunrpc/svcauth_unix.c
func unixGidCacheCreate(cur *kernel.Task, rpc *Sunrpc, sn *SunrpcNet) int {
	cd := kernel.Kzalloc[CacheDetail](cur.Machine(), "auth.unix.gid", kernel.GFP_KERNEL)
	if cd == nil {
		return -kernel.ENOMEM
	}
	cd.CachePut = unixGidPut
	cd.Upcall = unixGidUpcall
	cd.Match = unixGidMatch
	cd.Init = unixGidInit
	cd.Update = unixGidUpdateEntry
	cd.Alloc = unixGidAlloc
	SunrpcInitCacheDetail(rpc, sn.Net, cd, "auth.unix.gid")
	sn.UnixGidCache = cd
	return 0
}

// unixGidCacheDestroy empties and frees the group cache. No service runs in the namespace any more.
//
// Differs: as ipMapCacheDestroy.
//
// C: unix_gid_cache_destroy, net/sunrpc/svcauth_unix.c
func unixGidCacheDestroy(cur *kernel.Task, sn *SunrpcNet) {
	cd := sn.UnixGidCache
	sn.UnixGidCache = nil
	CachePurge(cur, cd)
	kernel.Kfree(cd)
}
