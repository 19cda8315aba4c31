// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// What an authenticator, or a program's PgAuthenticate, says about a request.
const (
	SVC_GARBAGE  = 1  // undecodable
	SVC_SYSERR   = 2  // our fault
	SVC_VALID    = 3  // not used by the server
	SVC_NEGATIVE = 4  // not used by the server
	SVC_OK       = 5  // go on
	SVC_DROP     = 6  // no reply now, maybe later
	SVC_CLOSE    = 7  // no reply, and close the connection
	SVC_DENIED   = 8  // refuse, with an RPC_AUTH_* status
	SVC_PENDING  = 9  // not used by the server
	SVC_COMPLETE = 10 // the reply is in place
)

// GroupInfo is struct group_info: a counted list of group ids.
type GroupInfo struct {
	kernel.Obj
	Usage kernel.Atomic
	Gids  []uint32
}

// SvcCred is struct svc_cred: who sent the request. An id of all ones means "map to nobody".
type SvcCred struct {
	CrUid       uint32
	CrGid       uint32
	CrGroupInfo *GroupInfo // referenced
	CrFlavor    uint32     // RPC_AUTH_*
	CrPrincipal string
}

// AuthDomain is struct auth_domain: a group of clients under one name.
type AuthDomain struct {
	kernel.Obj
	Ref     kernel.Kref
	Hash    kernel.Node[AuthDomain] // in AuthDomainTable; AuthDomainLock
	Name    string
	Flavour *AuthOps
}

// AuthOps is struct auth_ops: one authentication flavour. Accept decodes the credential and the verifier, emits the
// reply's verifier and returns an SVC_* code, with an RPC_AUTH_* status in *authp if that is SVC_DENIED; Release ends
// the request, non-zero: send no reply; SetClient fills RqClient.
type AuthOps struct {
	Name          string
	Owner         *Module // nil: part of this module, which cannot go away under a request
	Flavour       uint32
	Accept        func(cur *kernel.Task, rqstp *SvcRqst, authp *uint32) int
	Release       func(rqstp *SvcRqst) int
	DomainRelease func(dom *AuthDomain)
	SetClient     func(cur *kernel.Task, rqstp *SvcRqst) int
}

// ClientVerdict is what a policy says about a client.
type ClientVerdict uint8

const (
	// ClientUnknown: the helper answers that it does not know the client.
	ClientUnknown ClientVerdict = iota
	// ClientKnown: the helper knows the client and answers at once.
	ClientKnown
	// ClientLater: the helper has been asked and will answer some time, through IPMapUpdate or UnixGidUpdate.
	ClientLater
	// ClientNoHelper: there is no helper to ask.
	ClientNoHelper
)

// ClientPolicy stands for the user space helper that knows the export table: to which domain a peer belongs, for a
// program class such as "nfsd". addr is an IPv6 address, IPv4 ones are mapped. Any task may call it; it must not
// sleep nor touch the machine.
type ClientPolicy func(net *sock.Net, class string, addr [16]byte) (domain string, verdict ClientVerdict)

// GroupPolicy stands for the helper's other table: the groups of a user. A user who is not known to the helper
// (ClientUnknown) has none.
type GroupPolicy func(net *sock.Net, uid uint32) (gids []uint32, verdict ClientVerdict)

// SvcauthState is what svcauth.go and svcauth_unix.go keep in variables. The policies are set before the first
// service starts; nil means LoopbackClients, and that nobody is there to ask for the groups of a user.
type SvcauthState struct {
	AuthtabLock kernel.Spinlock
	Authtab     [RPC_AUTH_MAXFLAVOR]*AuthOps // AuthtabLock

	AuthDomainLock  kernel.Spinlock
	AuthDomainTable kernel.List[AuthDomain] // through Hash; AuthDomainLock

	ClientPolicy ClientPolicy
	GroupPolicy  GroupPolicy

	svcauthNull AuthOps
	svcauthUnix AuthOps
}

// sockAddrIn6 is an address as IPv6 has it, an IPv4 one mapped; false for any other family.
func sockAddrIn6(a SockAddr) ([16]byte, bool) {
	switch a.Family {
	case sock.AF_INET:
		return [16]byte{10: 0xff, 11: 0xff, 12: a.IP[0], 13: a.IP[1], 14: a.IP[2], 15: a.IP[3]}, true
	case sock.AF_INET6:
		return a.IP, true
	}
	return [16]byte{}, false
}

// init readies what C initialises statically, and knows the flavours null and unix.
//
// Differs: the two have no owner, where C counts each request in the module that the service pins anyhow.
//
// C: authtab, net/sunrpc/svcauth.c
func (s *SvcauthState) init(rpc *Sunrpc) {
	s.AuthtabLock.Init(&rpc.Obj, "authtab_lock")
	s.AuthDomainLock.Init(&rpc.Obj, "auth_domain_lock")
	s.AuthDomainTable.Init(&rpc.Obj, "auth_domain_table")
	s.svcauthNull = AuthOps{
		Name:      "null",
		Flavour:   RPC_AUTH_NULL,
		Accept:    svcauthNullAccept,
		Release:   svcauthNullRelease,
		SetClient: SvcauthUnixSetClient,
	}
	s.svcauthUnix = AuthOps{
		Name:          "unix",
		Flavour:       RPC_AUTH_UNIX,
		Accept:        svcauthUnixAccept,
		Release:       svcauthUnixRelease,
		DomainRelease: svcauthUnixDomainRelease,
		SetClient:     SvcauthUnixSetClient,
	}
	s.Authtab[RPC_AUTH_NULL] = &s.svcauthNull
	s.Authtab[RPC_AUTH_UNIX] = &s.svcauthUnix
}

// SvcAuthenticate takes the credential's flavour from the request and hands the rest to that flavour. Returns an
// SVC_* code; *authp is the RPC_AUTH_* status to send with SVC_DENIED. Leaves RqAuthop set unless the flavour is
// unknown. May sleep.
//
// C: svc_authenticate, net/sunrpc/svcauth.c
func SvcAuthenticate(cur *kernel.Task, rqstp *SvcRqst, authp *uint32) int {
	s := &rqstp.RqServer.SvRpc.Svcauth
	*authp = RPC_AUTH_OK
	flavor := SvcGetnl(&rqstp.RqArg.Head)

	var aops *AuthOps
	s.AuthtabLock.Lock()
	if flavor < RPC_AUTH_MAXFLAVOR {
		aops = s.Authtab[flavor]
	}
	if aops == nil || !TryModuleGet(aops.Owner) {
		s.AuthtabLock.Unlock()
		*authp = RPC_AUTH_BADCRED
		return SVC_DENIED
	}
	s.AuthtabLock.Unlock()

	rqstp.RqAuthSlack = 0

	rqstp.RqAuthop = aops
	return aops.Accept(cur, rqstp, authp)
}

// SvcSetClient finds out which client sent the request and stores it in RqClient. The request has been
// authenticated. Returns an SVC_* code. May sleep.
//
// C: svc_set_client, net/sunrpc/svcauth.c
func SvcSetClient(cur *kernel.Task, rqstp *SvcRqst) int {
	return rqstp.RqAuthop.SetClient(cur, rqstp)
}

// SvcAuthorise ends what SvcAuthenticate began; calling it again does nothing. Non-zero: send no reply.
//
// C: svc_authorise, net/sunrpc/svcauth.c
func SvcAuthorise(rqstp *SvcRqst) int {
	aops := rqstp.RqAuthop
	rv := 0
	rqstp.RqAuthop = nil
	if aops != nil {
		rv = aops.Release(rqstp)
		ModulePut(aops.Owner)
	}
	return rv
}

// SvcAuthRegister adds a flavour; -EINVAL if there is one under that number or the number is too large.
//
// C: svc_auth_register, net/sunrpc/svcauth.c
func SvcAuthRegister(rpc *Sunrpc, flavor uint32, aops *AuthOps) int {
	s := &rpc.Svcauth
	rv := -kernel.EINVAL
	s.AuthtabLock.Lock()
	if flavor < RPC_AUTH_MAXFLAVOR && s.Authtab[flavor] == nil {
		s.Authtab[flavor] = aops
		rv = 0
	}
	s.AuthtabLock.Unlock()
	return rv
}

// SvcAuthUnregister removes a flavour; requests that were accepted under it still finish with it.
//
// C: svc_auth_unregister, net/sunrpc/svcauth.c
func SvcAuthUnregister(rpc *Sunrpc, flavor uint32) {
	s := &rpc.Svcauth
	s.AuthtabLock.Lock()
	if flavor < RPC_AUTH_MAXFLAVOR {
		s.Authtab[flavor] = nil
	}
	s.AuthtabLock.Unlock()
}

// AuthDomainPut drops a reference to dom and frees it with the last one, under AuthDomainLock, which only the last one
// takes. Process context.
//
// C: auth_domain_put, net/sunrpc/svcauth.c
func AuthDomainPut(rpc *Sunrpc, dom *AuthDomain) {
	s := &rpc.Svcauth
	dom.Ref.PutLock(&s.AuthDomainLock, func() {
		s.AuthDomainTable.Del(&dom.Hash)
		dom.Flavour.DomainRelease(dom)
		s.AuthDomainLock.Unlock()
	})
}

// AuthDomainLookup returns the domain of that name with a reference. If there is none, fresh (which may be nil) goes
// into the table and is returned.
//
// Differs: the table is one list.
//
// C: auth_domain_lookup, net/sunrpc/svcauth.c
func AuthDomainLookup(rpc *Sunrpc, name string, fresh *AuthDomain) *AuthDomain {
	s := &rpc.Svcauth
	s.AuthDomainLock.Lock()
	for hp := s.AuthDomainTable.First(); hp != nil; hp = s.AuthDomainTable.Next(&hp.Hash) {
		if hp.Name == name {
			hp.Ref.Get()
			s.AuthDomainLock.Unlock()
			return hp
		}
	}
	if fresh != nil {
		s.AuthDomainTable.Add(&fresh.Hash)
	}
	s.AuthDomainLock.Unlock()
	return fresh
}

// AuthDomainFind returns the domain of that name with a reference, nil if there is none.
//
// C: auth_domain_find, net/sunrpc/svcauth.c
func AuthDomainFind(rpc *Sunrpc, name string) *AuthDomain {
	return AuthDomainLookup(rpc, name, nil)
}
