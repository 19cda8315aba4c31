// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"bytes"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// What follows, with delegation.go, nfs4session.go and pnfs.go, is the state of the NFS client as far as callbacks
// read and change it: clients (one for each server and minor version), the file systems mounted from them, their
// inodes, delegations, layouts and sessions. Mounting, opening and so on are not ported: who needs such state says so
// with AddClient, AddServer, AddInode, AddDelegation, AddSession, AddLayout and AddDevice.

// States of NfsClient.ClConsState; a client below NFS_CS_READY is not found by its session.
const (
	NFS_CS_READY   = 0
	NFS_CS_INITING = 1
)

// Bits of NfsClient.ClState.
const (
	NFS4CLNT_MANAGER_RUNNING = 0
	NFS4CLNT_CHECK_LEASE     = 1
	NFS4CLNT_SESSION_RESET   = 6
	NFS4CLNT_DELEGRETURN     = 8
)

var clStateNames = []string{
	NFS4CLNT_MANAGER_RUNNING: "MANAGER_RUNNING", NFS4CLNT_CHECK_LEASE: "CHECK_LEASE",
	NFS4CLNT_SESSION_RESET: "SESSION_RESET", NFS4CLNT_DELEGRETURN: "DELEGRETURN",
}

// NfsClient is what the client knows about one server in one minor version.
//
// C: struct nfs_client, include/linux/nfs_fs_sb.h
type NfsClient struct {
	kernel.Obj
	ClCount        kernel.Kref // dropped to 0 under NfsClientLock only
	ClConsState    kernel.Var[int]
	ClNet          *sock.Net
	ClAddr         sunrpc.SockAddr // the server
	ClMinorversion uint32
	ClCbIdent      uint32                 // what the server puts into a compound of minor version 0
	ClShareLink    kernel.Node[NfsClient] // in NfsClientList; NfsClientLock
	ClState        kernel.Flags           // NFS4CLNT_*
	ClSession      *Nfs4Session           // set before the client is NFS_CS_READY; nil for minor version 0

	ClLock        kernel.Spinlock
	ClSuperblocks kernel.List[NfsServer] // through ClientLink; NfsClientLock, read under RCU
	delegreturns  []Delegreturn          // ClLock
	pings         int                    // calls made only to tell the server our slot table; ClLock

	nfs *Nfs
}

// Delegreturn is one DELEGRETURN call that a client made.
type Delegreturn struct {
	Fh      []byte
	Stateid Nfs4Stateid
}

// ClientArgs says what client to make.
type ClientArgs struct {
	Addr         sunrpc.SockAddr // the server; only its IP address counts
	Minorversion uint32
	Ident        uint32 // callback_ident of minor version 0; 0: the next free one, from 1 on
}

// NfsServer is one mounted file system.
//
// C: struct nfs_server with its struct super_block, include/linux/nfs_fs_sb.h
type NfsServer struct {
	kernel.Obj
	SActive     kernel.Kref // while it is not 0 the file system is mounted
	NfsClient   *NfsClient  // referenced
	ClientLink  kernel.Node[NfsServer]
	Fsid        NfsFsid
	PnfsCurrLd  uint32                     // layout type of its layout driver; 0: none
	Delegations kernel.List[NfsDelegation] // through SuperList; ClLock, read under RCU
	Layouts     kernel.List[PnfsLayoutHdr] // through PlhLayouts; ClLock
	inodes      []*NfsInode                // ClLock
}

// NfsInode is one file. Its attributes do not change after AddInode.
//
// C: struct nfs_inode, include/linux/nfs_fs.h
type NfsInode struct {
	kernel.Obj
	ICount     kernel.Kref
	ILock      kernel.Spinlock
	Server     *NfsServer // there while anybody holds SActive
	Attr       InodeAttr
	Fh         []byte
	Delegation kernel.Rcu[*NfsDelegation] // ClLock, read under RCU
	Layout     *PnfsLayoutHdr             // ILock
}

// InodeAttr are attributes of a file as the client has them cached.
type InodeAttr struct {
	Size         uint64
	Ctime, Mtime Timespec
	Nrequests    int  // writes that have not reached the server
	Open         bool // some process has it open
}

// Poison lets the pointers of a freed client die with it.
func (clp *NfsClient) Poison() { clp.ClNet, clp.ClSession, clp.nfs = nil, nil, nil }

// Poison lets the pointers of a freed file system die with it.
func (server *NfsServer) Poison() { server.NfsClient, server.inodes = nil, nil }

// Poison lets the pointers of a freed inode die with it.
func (inode *NfsInode) Poison() { inode.Server, inode.Layout, inode.Fh = nil, nil, nil }

// initClients prepares the module's lists.
func (n *Nfs) initClients() {
	n.NfsClientLock.Init(&n.Obj, "nfs_client_lock")
	n.NfsClientList.Init(&n.Obj, "nfs_client_list")
	n.Nfs4DeviceidLock.Init(&n.Obj, "nfs4_deviceid_lock")
	n.Nfs4DeviceidCache.Init(&n.Obj, "nfs4_deviceid_cache")
}

// AddClient makes a client with one reference, the caller's; nil if there is no memory. One of minor version 0 can be
// called back at once, one of a later minor version as soon as it has a session. May sleep.
//
// C: nfs_get_client, fs/nfs/client.c; nfs4_alloc_client, fs/nfs/nfs4client.c
func (n *Nfs) AddClient(cur *kernel.Task, net *sock.Net, args ClientArgs) *NfsClient {
	clp := kernel.Kzalloc[NfsClient](cur.Machine(), "nfs_client", kernel.GFP_KERNEL)
	if clp == nil {
		return nil
	}
	clp.nfs = n
	clp.ClNet, clp.ClAddr, clp.ClMinorversion = net, args.Addr, args.Minorversion
	clp.ClCount.Init(&clp.Obj, "cl_count")
	clp.ClConsState.Init(&clp.Obj, "cl_cons_state")
	clp.ClState.Init(&clp.Obj, "cl_state", clStateNames)
	clp.ClLock.Init(&clp.Obj, "cl_lock")
	clp.ClSuperblocks.Init(&clp.Obj, "cl_superblocks")
	clp.ClShareLink.Init(clp)
	if args.Minorversion != 0 {
		clp.ClConsState.Preset(NFS_CS_INITING)
	}
	n.NfsClientLock.Lock()
	if args.Minorversion == 0 {
		clp.ClCbIdent = n.nfsGetCbIdent(net, args.Ident)
	}
	n.NfsClientList.AddTail(&clp.ClShareLink)
	n.NfsClientLock.Unlock()
	return clp
}

// nfsGetCbIdent is the ident for a new client: want, or the first free one if that is 0. NfsClientLock is held.
//
// Differs: the kernel gives no ident that is asked for, begins with 0, and does so before it knows the client's list.
//
// C: nfs_get_cb_ident_idr, fs/nfs/nfs4client.c
func (n *Nfs) nfsGetCbIdent(net *sock.Net, want uint32) uint32 {
	ident := max(want, 1)
	for want == 0 && n.findIdent(net, ident) != nil {
		ident++
	}
	n.Machine().BugOn(n.findIdent(net, ident) != nil, "two clients with one callback ident")
	return ident
}

// findIdent looks a client up. NfsClientLock is held.
//
// C: idr_find, lib/idr.c
func (n *Nfs) findIdent(net *sock.Net, ident uint32) *NfsClient {
	for clp := n.NfsClientList.First(); clp != nil; clp = n.NfsClientList.Next(&clp.ClShareLink) {
		if clp.ClNet == net && clp.ClMinorversion == 0 && clp.ClCbIdent == ident {
			return clp
		}
	}
	return nil
}

// NfsPutClient drops a reference and frees the client with the last one. Takes NfsClientLock; may sleep. nil is
// allowed.
//
// Differs: the floor has no "decrement, and lock if that makes zero", so the lock is taken for every put.
//
// C: nfs_put_client, fs/nfs/client.c
func (n *Nfs) NfsPutClient(cur *kernel.Task, clp *NfsClient) {
	if clp == nil {
		return
	}
	n.NfsClientLock.Lock()
	last := clp.ClCount.Put(func() { n.NfsClientList.Del(&clp.ClShareLink) })
	n.NfsClientLock.Unlock()
	if last {
		n.nfs4FreeClient(clp)
	}
}

// nfs4FreeClient frees a client that nobody can find any more.
//
// C: nfs4_free_client, fs/nfs/nfs4client.c
func (n *Nfs) nfs4FreeClient(clp *NfsClient) {
	n.Machine().WarnOnOnce(!clp.ClSuperblocks.Empty(), "nfs_free_client: file systems left")
	n.nfs4DeviceidPurgeClient(clp)
	if clp.ClSession != nil {
		nfs4DestroySession(clp.ClSession)
	}
	kernel.Kfree(clp)
}

// nfs4FindClientIdent returns the client of a minor version 0 compound with a reference, nil if there is none. Takes
// NfsClientLock.
//
// C: nfs4_find_client_ident, fs/nfs/nfs4client.c
func (n *Nfs) nfs4FindClientIdent(net *sock.Net, cbIdent uint32) *NfsClient {
	n.NfsClientLock.Lock()
	clp := n.findIdent(net, cbIdent)
	if clp != nil {
		clp.ClCount.Get()
	}
	n.NfsClientLock.Unlock()
	return clp
}

// nfs4CbMatchClient tells whether a callback of a minor version from addr can be meant for the client. NfsClientLock
// is held.
//
// Differs: a client whose session is being made is not one whose CREATE_SESSION is under way, which 3.19 finds, too:
// AddSession makes the session and its name at once.
//
// C: nfs4_cb_match_client, fs/nfs/nfs4client.c
func nfs4CbMatchClient(net *sock.Net, addr sunrpc.SockAddr, clp *NfsClient, minorversion uint32) bool {
	if clp.ClConsState.Load() != NFS_CS_READY {
		return false
	}
	clp.Machine().SmpRmb()
	return clp.ClNet == net && clp.ClMinorversion == minorversion && clp.ClAddr.SameIP(addr)
}

// nfs4FindClientSessionid returns the client that has the session with the server at addr, with a reference; nil if
// there is none. Takes NfsClientLock.
//
// C: nfs4_find_client_sessionid, fs/nfs/nfs4client.c
func (n *Nfs) nfs4FindClientSessionid(net *sock.Net, addr sunrpc.SockAddr, sid *Nfs4Sessionid,
	minorversion uint32) *NfsClient {
	n.NfsClientLock.Lock()
	clp := n.NfsClientList.First()
	for ; clp != nil; clp = n.NfsClientList.Next(&clp.ClShareLink) {
		if nfs4CbMatchClient(net, addr, clp, minorversion) && clp.ClSession != nil && clp.ClSession.SessID == *sid {
			clp.ClCount.Get()
			break
		}
	}
	n.NfsClientLock.Unlock()
	return clp
}

// Delegreturns lists the DELEGRETURN calls of the client so far. The caller holds a reference.
func (clp *NfsClient) Delegreturns() []Delegreturn {
	clp.ClLock.Lock()
	list := append([]Delegreturn(nil), clp.delegreturns...)
	clp.ClLock.Unlock()
	return list
}

// AddServer mounts a file system of the client's server; layoutType is that of its layout driver, or 0. nil if there
// is no memory. The caller holds a reference to the client, and ends what it got with Umount. Takes NfsClientLock; may
// sleep.
//
// Differs: the newest file system is the first that is looked at, where the kernel has it last.
//
// C: nfs4_create_server, fs/nfs/nfs4client.c; nfs_server_insert_lists, fs/nfs/client.c
func (n *Nfs) AddServer(cur *kernel.Task, clp *NfsClient, fsid NfsFsid, layoutType uint32) *NfsServer {
	server := kernel.Kzalloc[NfsServer](cur.Machine(), "nfs_server", kernel.GFP_KERNEL)
	if server == nil {
		return nil
	}
	clp.ClCount.Get()
	server.NfsClient, server.Fsid, server.PnfsCurrLd = clp, fsid, layoutType
	server.SActive.Init(&server.Obj, "s_active")
	server.ClientLink.Init(server)
	server.Delegations.Init(&server.Obj, "delegations")
	server.Layouts.Init(&server.Obj, "layouts")
	n.NfsClientLock.Lock()
	clp.ClSuperblocks.AddRcu(&server.ClientLink)
	n.NfsClientLock.Unlock()
	return server
}

// nfsSbActive keeps the file system mounted until nfsSbDeactive; false if it is being unmounted. RCU read section.
//
// C: nfs_sb_active, fs/nfs/super.c
func nfsSbActive(server *NfsServer) bool { return server.SActive.GetUnlessZero() }

// nfsSbDeactive undoes nfsSbActive; the last one ends the file system. May sleep.
//
// C: nfs_sb_deactive, fs/nfs/super.c
func (n *Nfs) nfsSbDeactive(cur *kernel.Task, server *NfsServer) {
	if server.SActive.Put(func() {}) {
		n.nfsKillSuper(cur, server)
	}
}

// Umount ends a file system as soon as no callback is busy with it: its delegations are returned, its layouts
// forgotten, its inodes and its reference to the client dropped. May sleep.
//
// C: deactivate_super, fs/super.c
func (n *Nfs) Umount(cur *kernel.Task, server *NfsServer) { n.nfsSbDeactive(cur, server) }

// nfsKillSuper is what is behind Umount. Nobody holds SActive any more.
//
// Differs: the file system is freed behind those that still look at it, where the kernel waits for them.
//
// C: nfs_kill_super, fs/nfs/super.c; nfs_free_server, nfs_server_remove_lists, fs/nfs/client.c
func (n *Nfs) nfsKillSuper(cur *kernel.Task, server *NfsServer) {
	clp := server.NfsClient
	clp.ClLock.Lock()
	inodes := server.inodes
	server.inodes = nil
	clp.ClLock.Unlock()
	for _, inode := range inodes {
		n.nfsInodeReturnDelegationNoreclaim(inode)
		pnfsDestroyLayout(inode)
		iput(inode)
	}
	n.NfsClientLock.Lock()
	clp.ClSuperblocks.DelRcu(&server.ClientLink)
	n.NfsClientLock.Unlock()
	kernel.KfreeRcu(server)
	n.NfsPutClient(cur, clp)
}

// AddInode makes a file of a mounted file system, which keeps the reference; nil if there is no memory. May sleep.
//
// C: nfs_fhget, fs/nfs/inode.c
func (n *Nfs) AddInode(cur *kernel.Task, server *NfsServer, fh []byte, attr InodeAttr) *NfsInode {
	inode := kernel.Kzalloc[NfsInode](cur.Machine(), "nfs_inode", kernel.GFP_KERNEL)
	if inode == nil {
		return nil
	}
	inode.Server, inode.Fh, inode.Attr = server, bytes.Clone(fh), attr
	inode.ICount.Init(&inode.Obj, "i_count")
	inode.ILock.Init(&inode.Obj, "i_lock")
	inode.Delegation.Init(&inode.Obj, "nfsi.delegation")
	clp := server.NfsClient
	clp.ClLock.Lock()
	server.inodes = append(server.inodes, inode)
	clp.ClLock.Unlock()
	return inode
}

// igrab takes a reference; false if the inode is being freed. Its file system is there.
//
// C: igrab, fs/inode.c
func igrab(inode *NfsInode) bool { return inode.ICount.GetUnlessZero() }

// iput drops a reference and frees the inode with the last.
//
// C: iput, fs/inode.c
func iput(inode *NfsInode) {
	inode.ICount.Put(func() { kernel.Kfree(inode) })
}

// nfsIputAndDeactive drops an inode that nfsDelegationFindInode or getLayoutByFh found. May sleep.
//
// C: nfs_iput_and_deactive (later), fs/nfs/internal.h
func (n *Nfs) nfsIputAndDeactive(cur *kernel.Task, inode *NfsInode) {
	server := inode.Server
	iput(inode)
	n.nfsSbDeactive(cur, server)
}

// nfsCompareFh is true if the handles are the same.
//
// Differs: the other way round, as Go has it.
//
// C: nfs_compare_fh, include/linux/nfs.h
func nfsCompareFh(a, b []byte) bool { return bytes.Equal(a, b) }
