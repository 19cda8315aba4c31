// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"bytes"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Bits of NfsDelegation.Flags.
const (
	NFS_DELEGATION_RETURN           = 1
	NFS_DELEGATION_RETURN_IF_CLOSED = 2
	NFS_DELEGATION_RETURNING        = 4
)

var delegationFlagNames = []string{
	NFS_DELEGATION_RETURN: "RETURN", NFS_DELEGATION_RETURN_IF_CLOSED: "RETURN_IF_CLOSED",
	NFS_DELEGATION_RETURNING: "RETURNING",
}

// NfsDelegation is a delegation of one file.
//
// C: struct nfs_delegation, fs/nfs/delegation.h
type NfsDelegation struct {
	kernel.Obj
	SuperList  kernel.Node[NfsDelegation] // in Delegations; ClLock, read under RCU
	Stateid    Nfs4Stateid
	Type       uint32 // FMODE_*
	ChangeAttr uint64
	Flags      kernel.Flags // NFS_DELEGATION_*
	Lock       kernel.Spinlock
	Inode      *NfsInode // nil once the delegation is detached; Lock
}

// Poison lets the pointers of a freed delegation die with it.
func (d *NfsDelegation) Poison() { d.Inode = nil }

// nfsFreeDelegation frees a delegation that is on no list.
//
// C: nfs_free_delegation, fs/nfs/delegation.c
func nfsFreeDelegation(d *NfsDelegation) { kernel.KfreeRcu(d) }

// nfsDoReturnDelegation tells the server that a detached delegation is given back, and frees it. 0 or -ENOMEM.
//
// Differs: the call is recorded, not sent.
//
// C: nfs_do_return_delegation, fs/nfs/delegation.c
func nfsDoReturnDelegation(inode *NfsInode, d *NfsDelegation) int {
	ret := 0
	if inode.Machine().AllocFails("nfs4_delegreturndata") {
		ret = -kernel.ENOMEM
	} else {
		clp := inode.Server.NfsClient
		clp.ClLock.Lock()
		clp.delegreturns = append(clp.delegreturns, Delegreturn{bytes.Clone(inode.Fh), d.Stateid})
		clp.ClLock.Unlock()
	}
	nfsFreeDelegation(d)
	return ret
}

// nfsDelegationGrabInode takes a reference to the inode of a delegation; nil if it has none any more. RCU read
// section.
//
// C: nfs_delegation_grab_inode, fs/nfs/delegation.c
func nfsDelegationGrabInode(d *NfsDelegation) *NfsInode {
	var inode *NfsInode
	d.Lock.Lock()
	if d.Inode != nil && igrab(d.Inode) {
		inode = d.Inode
	}
	d.Lock.Unlock()
	return inode
}

// nfsStartDelegationReturnLocked makes the caller the one that returns the inode's delegation; nil if there is none or
// somebody else does. RCU read section.
//
// C: nfs_start_delegation_return_locked, fs/nfs/delegation.c
func nfsStartDelegationReturnLocked(inode *NfsInode) *NfsDelegation {
	d := inode.Delegation.Dereference()
	if d == nil {
		return nil
	}
	d.Lock.Lock()
	mine := !d.Flags.TestAndSetBit(NFS_DELEGATION_RETURNING)
	d.Lock.Unlock()
	if !mine {
		return nil
	}
	return d
}

// nfsDetachDelegation takes the delegation off its inode and list; nil if it was not there any more. Takes ClLock.
//
// C: nfs_detach_delegation, fs/nfs/delegation.c
func nfsDetachDelegation(inode *NfsInode, d *NfsDelegation, server *NfsServer) *NfsDelegation {
	clp := server.NfsClient
	clp.ClLock.Lock()
	defer clp.ClLock.Unlock()
	if inode.Delegation.Dereference() != d {
		return nil
	}
	d.Lock.Lock()
	d.Flags.SetBit(NFS_DELEGATION_RETURNING)
	server.Delegations.DelRcu(&d.SuperList)
	d.Inode = nil
	inode.Delegation.Assign(nil)
	d.Lock.Unlock()
	return d
}

// nfsInodeDetachDelegation does both steps for the delegation of an inode; nil if there is none to return.
//
// C: nfs_inode_detach_delegation, fs/nfs/delegation.c
func nfsInodeDetachDelegation(inode *NfsInode) *NfsDelegation {
	m := inode.Machine()
	m.RcuReadLock()
	d := nfsStartDelegationReturnLocked(inode)
	m.RcuReadUnlock()
	if d == nil {
		return nil
	}
	return nfsDetachDelegation(inode, d, inode.Server)
}

// AddDelegation gives the client a delegation of a file that has none: typ is FMODE_READ, FMODE_WRITE or both,
// changeAttr what the server said with it. 0 or -ENOMEM. Takes ClLock; may sleep.
//
// Differs: nobody replaces a delegation by a better one.
//
// C: nfs_inode_set_delegation, fs/nfs/delegation.c
func (n *Nfs) AddDelegation(cur *kernel.Task, inode *NfsInode, stateid Nfs4Stateid, typ uint32, changeAttr uint64) int {
	d := kernel.Kzalloc[NfsDelegation](cur.Machine(), "nfs_delegation", kernel.GFP_KERNEL)
	if d == nil {
		return -kernel.ENOMEM
	}
	d.Stateid, d.Type, d.ChangeAttr, d.Inode = stateid, typ, changeAttr, inode
	d.SuperList.Init(d)
	d.Flags.Init(&d.Obj, "delegation.flags", delegationFlagNames)
	d.Lock.Init(&d.Obj, "delegation.lock")
	clp := inode.Server.NfsClient
	clp.ClLock.Lock()
	n.Machine().BugOn(inode.Delegation.Dereference() != nil, "two delegations of one file")
	inode.Server.Delegations.AddRcu(&d.SuperList)
	inode.Delegation.Assign(d) // until here a callback that finds the file finds no delegation of it
	clp.ClLock.Unlock()
	return 0
}

// nfsEndDelegationReturn returns a delegation that the caller made its own; nil is allowed. 0 or -errno. May sleep.
//
// Differs: there are no opens to claim first.
//
// C: nfs_end_delegation_return, fs/nfs/delegation.c
func nfsEndDelegationReturn(inode *NfsInode, d *NfsDelegation) int {
	if d == nil || nfsDetachDelegation(inode, d, inode.Server) == nil {
		return 0
	}
	return nfsDoReturnDelegation(inode, d)
}

// nfsDelegationNeedReturn tells whether a delegation is marked to be returned now, and takes the mark off. RCU read
// section.
//
// C: nfs_delegation_need_return, fs/nfs/delegation.c
func nfsDelegationNeedReturn(d *NfsDelegation) bool {
	ret := d.Flags.TestAndClearBit(NFS_DELEGATION_RETURN)
	if d.Flags.TestAndClearBit(NFS_DELEGATION_RETURN_IF_CLOSED) && !ret {
		d.Lock.Lock()
		ret = d.Inode != nil && !d.Inode.Attr.Open
		d.Lock.Unlock()
	}
	return ret
}

// nfsClientReturnMarkedDelegations returns one delegation after the other that is marked. 0 or -errno, and then the
// client is marked to try again. Process context; may sleep.
//
// Differs: keeps the file system mounted meanwhile (e39d8a186ed0).
//
// C: nfs_client_return_marked_delegations, fs/nfs/delegation.c
func (n *Nfs) nfsClientReturnMarkedDelegations(cur *kernel.Task, clp *NfsClient) int {
	for {
		server, inode, d := n.nextMarkedDelegation(clp)
		if server == nil {
			return 0
		}
		if inode == nil {
			n.nfsSbDeactive(cur, server)
			continue
		}
		err := nfsEndDelegationReturn(inode, d)
		n.nfsIputAndDeactive(cur, inode)
		if err != 0 {
			clp.ClState.SetBit(NFS4CLNT_DELEGRETURN)
			return err
		}
	}
}

// nextMarkedDelegation finds a marked delegation and takes the mark off: its file system, kept mounted; its inode,
// referenced, or nil if it was returned meanwhile; and the delegation itself if the caller is to return it. All nil:
// there is none.
//
// C: nfs_client_return_marked_delegations, fs/nfs/delegation.c
func (n *Nfs) nextMarkedDelegation(clp *NfsClient) (*NfsServer, *NfsInode, *NfsDelegation) {
	m := n.Machine()
	m.RcuReadLock()
	defer m.RcuReadUnlock()
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		for d := server.Delegations.FirstRcu(); d != nil; d = server.Delegations.NextRcu(&d.SuperList) {
			if !nfsDelegationNeedReturn(d) || !nfsSbActive(server) {
				continue
			}
			inode := nfsDelegationGrabInode(d)
			if inode == nil {
				return server, nil, nil
			}
			return server, inode, nfsStartDelegationReturnLocked(inode)
		}
	}
	return nil, nil, nil
}

// nfsInodeReturnDelegationNoreclaim returns the delegation of an inode that is going away.
//
// C: nfs_inode_return_delegation_noreclaim, fs/nfs/delegation.c
func (n *Nfs) nfsInodeReturnDelegationNoreclaim(inode *NfsInode) {
	if d := nfsInodeDetachDelegation(inode); d != nil {
		nfsDoReturnDelegation(inode, d)
	}
}

// nfsMarkReturnIfClosedDelegation marks a delegation to be returned unless the file is open.
//
// C: nfs_mark_return_if_closed_delegation, fs/nfs/delegation.c
func nfsMarkReturnIfClosedDelegation(server *NfsServer, d *NfsDelegation) {
	d.Flags.SetBit(NFS_DELEGATION_RETURN_IF_CLOSED)
	server.NfsClient.ClState.SetBit(NFS4CLNT_DELEGRETURN)
}

// nfsMarkReturnDelegation marks a delegation to be returned.
//
// C: nfs_mark_return_delegation, fs/nfs/delegation.c
func nfsMarkReturnDelegation(server *NfsServer, d *NfsDelegation) {
	d.Flags.SetBit(NFS_DELEGATION_RETURN)
	server.NfsClient.ClState.SetBit(NFS4CLNT_DELEGRETURN)
}

// nfsDelegationRunStateManager starts the state manager if a delegation is marked. May sleep.
//
// C: nfs_delegation_run_state_manager, fs/nfs/delegation.c
func (n *Nfs) nfsDelegationRunStateManager(cur *kernel.Task, clp *NfsClient) {
	if clp.ClState.TestBit(NFS4CLNT_DELEGRETURN) {
		n.nfs4ScheduleStateManager(cur, clp)
	}
}

// nfsExpireUnusedDelegationTypes has the delegations of the given kinds returned whose files are not open. May sleep.
//
// C: nfs_expire_unused_delegation_types, fs/nfs/delegation.c
func (n *Nfs) nfsExpireUnusedDelegationTypes(cur *kernel.Task, clp *NfsClient, flags uint32) {
	m := n.Machine()
	m.RcuReadLock()
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		for d := server.Delegations.FirstRcu(); d != nil; d = server.Delegations.NextRcu(&d.SuperList) {
			if d.Type == FMODE_READ|FMODE_WRITE && flags&FMODE_WRITE == 0 {
				continue
			}
			if d.Type&flags != 0 {
				nfsMarkReturnIfClosedDelegation(server, d)
			}
		}
	}
	m.RcuReadUnlock()
	n.nfsDelegationRunStateManager(cur, clp)
}

// nfsAsyncInodeReturnDelegation has the delegation of an inode returned if it is the one that stateid names: 0, or
// -ENOENT. May sleep.
//
// Differs: there are no pages to be written back first.
//
// C: nfs_async_inode_return_delegation, fs/nfs/delegation.c
func (n *Nfs) nfsAsyncInodeReturnDelegation(cur *kernel.Task, inode *NfsInode, stateid *Nfs4Stateid) int {
	m := n.Machine()
	clp := inode.Server.NfsClient
	m.RcuReadLock()
	d := inode.Delegation.Dereference()
	if d == nil || !clp.matchStateid(&d.Stateid, stateid) {
		m.RcuReadUnlock()
		return -kernel.ENOENT
	}
	nfsMarkReturnDelegation(inode.Server, d)
	m.RcuReadUnlock()
	n.nfsDelegationRunStateManager(cur, clp)
	return 0
}

// matchStateid tells whether two stateids name the same state: in minor version 0 if they are equal, later also if one
// of them leaves the sequence number open.
//
// C: nfs4_match_stateid, nfs41_match_stateid, fs/nfs/nfs4proc.c
func (clp *NfsClient) matchStateid(a, b *Nfs4Stateid) bool {
	if clp.ClMinorversion == 0 {
		return *a == *b
	}
	return a.Other == b.Other && (a.Seqid == b.Seqid || a.Seqid == 0 || b.Seqid == 0)
}

// nfsDelegationFindInodeServer looks for the file with that handle among the delegations of a file system: referenced
// as nfsIputAndDeactive wants it, or nil with -EAGAIN (it is going away) or -ENOENT. RCU read section.
//
// Differs: keeps the file system mounted (e39d8a186ed0).
//
// C: nfs_delegation_find_inode_server, fs/nfs/delegation.c
func nfsDelegationFindInodeServer(server *NfsServer, fh []byte) (*NfsInode, int) {
	for d := server.Delegations.FirstRcu(); d != nil; d = server.Delegations.NextRcu(&d.SuperList) {
		var found *NfsInode
		d.Lock.Lock()
		match := d.Inode != nil && nfsCompareFh(fh, d.Inode.Fh)
		if match && nfsSbActive(server) {
			// Inodes of a mounted file system are not freed.
			server.Machine().BugOn(!igrab(d.Inode), "a mounted file system without an inode")
			found = d.Inode
		}
		d.Lock.Unlock()
		if found != nil {
			return found, 0
		}
		if match {
			return nil, -kernel.EAGAIN
		}
	}
	return nil, -kernel.ENOENT
}

// nfsDelegationFindInode does that for all file systems of a client.
//
// C: nfs_delegation_find_inode, fs/nfs/delegation.c
func nfsDelegationFindInode(clp *NfsClient, fh []byte) (*NfsInode, int) {
	m := clp.Machine()
	m.RcuReadLock()
	defer m.RcuReadUnlock()
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		if inode, err := nfsDelegationFindInodeServer(server, fh); err != -kernel.ENOENT {
			return inode, err
		}
	}
	return nil, -kernel.ENOENT
}
