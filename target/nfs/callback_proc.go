// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// CbGetattrargs are the arguments of CB_GETATTR.
type CbGetattrargs struct {
	Fh     NfsFh
	Bitmap [2]uint32
}

// CbGetattrres is the result of CB_GETATTR.
type CbGetattrres struct {
	Status       uint32
	Bitmap       [2]uint32
	Size         uint64
	ChangeAttr   uint64
	Ctime, Mtime Timespec
}

// CbRecallargs are the arguments of CB_RECALL.
type CbRecallargs struct {
	Fh       NfsFh
	Stateid  Nfs4Stateid
	Truncate uint32
}

// CbLayoutrecallargs are the arguments of CB_LAYOUTRECALL; which of them count follows from CblRecallType.
type CbLayoutrecallargs struct {
	CblRecallType    uint32 // RETURN_*
	CblLayoutType    uint32
	CblLayoutchanged uint32
	CblFh            NfsFh
	CblRange         PnfsLayoutRange
	CblFsid          NfsFsid
	CblStateid       Nfs4Stateid
}

// CbDevicenotifyargs are the arguments of CB_NOTIFY_DEVICEID; Devs is the procedure's to free.
type CbDevicenotifyargs struct {
	Ndevs uint32
	Devs  *cbDevices
}

// cbDevices is an allocated array.
type cbDevices struct {
	kernel.Obj
	at []CbDevicenotifyitem
}

// CbDevicenotifyitem is one of them.
type CbDevicenotifyitem struct {
	CbdNotifyType uint32 // NOTIFY_DEVICEID4_*
	CbdLayoutType uint32
	CbdDevID      Nfs4Deviceid
	CbdImmediate  uint32
}

// CbSequenceargs are the arguments of CB_SEQUENCE; CsaRclists is the procedure's to free.
type CbSequenceargs struct {
	CsaAddr          sunrpc.SockAddr // who calls
	CsaSessionid     Nfs4Sessionid
	CsaSequenceid    uint32
	CsaSlotid        uint32
	CsaHighestslotid uint32
	CsaCachethis     uint32
	CsaNrclists      uint32
	CsaRclists       *cbRclists
}

// cbRclists is an allocated array.
type cbRclists struct {
	kernel.Obj
	at []ReferringCallList
}

// ReferringCallList names calls of one session to which a callback refers.
type ReferringCallList struct {
	RclSessionid Nfs4Sessionid
	RclNrefcalls uint32
	RclRefcalls  *cbRefcalls
}

// cbRefcalls is an allocated array.
type cbRefcalls struct {
	kernel.Obj
	at []ReferringCall
}

// ReferringCall is one of them.
type ReferringCall struct {
	RcSequenceid uint32
	RcSlotid     uint32
}

// CbSequenceres is the result of CB_SEQUENCE.
type CbSequenceres struct {
	CsrStatus              uint32
	CsrSessionid           Nfs4Sessionid
	CsrSequenceid          uint32
	CsrSlotid              uint32
	CsrHighestslotid       uint32
	CsrTargetHighestslotid uint32
}

// CbRecallanyargs are the arguments of CB_RECALL_ANY.
type CbRecallanyargs struct {
	CraaObjsToKeep uint32
	CraaTypeMask   uint32
}

// CbRecallslotargs are the arguments of CB_RECALL_SLOT.
type CbRecallslotargs struct {
	CrsaTargetHighestSlotid uint32
}

// Poison lets the pointers of a freed array die with it.
func (devs *cbDevices) Poison() { devs.at = nil }

// Poison lets the pointers of a freed array die with it.
func (lists *cbRclists) Poison() { lists.at = nil }

// Poison lets the pointers of a freed array die with it.
func (calls *cbRefcalls) Poison() { calls.at = nil }

// nfs4CallbackGetattr does CB_GETATTR: the attributes that only we know of a file for which we hold a write
// delegation. Returns the status. May sleep.
//
// Differs: keeps the file system mounted meanwhile, NFS4ERR_DELAY if it no longer is (e39d8a186ed0).
//
// C: nfs4_callback_getattr, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackGetattr(cur *kernel.Task, args *CbGetattrargs, res *CbGetattrres,
	cps *cbProcessState) uint32 {
	res.Status = NFS4ERR_OP_NOT_IN_SESSION
	if cps.clp == nil {
		return res.Status
	}
	res.Bitmap = [2]uint32{}
	res.Status = NFS4ERR_BADHANDLE

	inode, err := nfsDelegationFindInode(cps.clp, args.Fh.Bytes())
	if inode == nil {
		if err == -kernel.EAGAIN {
			res.Status = NFS4ERR_DELAY
		}
		return res.Status
	}
	m := n.Machine()
	m.RcuReadLock()
	if d := inode.Delegation.Dereference(); d != nil && d.Type&FMODE_WRITE != 0 {
		res.Size = inode.Attr.Size
		res.ChangeAttr = d.ChangeAttr
		if inode.Attr.Nrequests != 0 {
			res.ChangeAttr++
		}
		res.Ctime, res.Mtime = inode.Attr.Ctime, inode.Attr.Mtime
		res.Bitmap[0] = (FATTR4_WORD0_CHANGE | FATTR4_WORD0_SIZE) & args.Bitmap[0]
		res.Bitmap[1] = (FATTR4_WORD1_TIME_METADATA | FATTR4_WORD1_TIME_MODIFY) & args.Bitmap[1]
		res.Status = NFS4_OK
	}
	m.RcuReadUnlock()
	n.nfsIputAndDeactive(cur, inode)
	return res.Status
}

// nfs4CallbackRecall does CB_RECALL: the delegation will be returned by the client's state manager. Returns the
// status. May sleep.
//
// Differs: as nfs4CallbackGetattr.
//
// C: nfs4_callback_recall, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackRecall(cur *kernel.Task, args *CbRecallargs, cps *cbProcessState) uint32 {
	if cps.clp == nil {
		return NFS4ERR_OP_NOT_IN_SESSION
	}
	inode, err := nfsDelegationFindInode(cps.clp, args.Fh.Bytes())
	if inode == nil {
		if err == -kernel.EAGAIN {
			return NFS4ERR_DELAY
		}
		return NFS4ERR_BADHANDLE
	}
	res := uint32(NFS4ERR_RESOURCE)
	switch n.nfsAsyncInodeReturnDelegation(cur, inode, &args.Stateid) {
	case 0:
		res = NFS4_OK
	case -kernel.ENOENT:
		res = NFS4ERR_BAD_STATEID
	}
	n.nfsIputAndDeactive(cur, inode)
	return res
}

// getLayoutByFhLocked finds the layout of the file with that handle, whatever the sequence number of its stateid:
// referenced, and its inode as nfsIputAndDeactive wants it. nil if there is none. ClLock is held, in an RCU read
// section. Takes ILock.
//
// Differs: as nfs4CallbackGetattr.
//
// C: get_layout_by_fh_locked, fs/nfs/callback_proc.c
func getLayoutByFhLocked(clp *NfsClient, fh []byte, stateid *Nfs4Stateid) *PnfsLayoutHdr {
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		for lo := server.Layouts.First(); lo != nil; lo = server.Layouts.Next(&lo.PlhLayouts) {
			if lo.PlhStateid.Other != stateid.Other || !nfsCompareFh(fh, lo.PlhInode.Fh) {
				continue
			}
			lo.PlhInode.ILock.Lock()
			found := pnfsGrabLayout(lo)
			lo.PlhInode.ILock.Unlock()
			if found {
				return lo
			}
			break
		}
	}
	return nil
}

// getLayoutByFh is getLayoutByFhLocked for those that hold no lock. Takes ClLock.
//
// C: get_layout_by_fh, fs/nfs/callback_proc.c
func getLayoutByFh(clp *NfsClient, fh []byte, stateid *Nfs4Stateid) *PnfsLayoutHdr {
	m := clp.Machine()
	clp.ClLock.Lock()
	m.RcuReadLock()
	lo := getLayoutByFhLocked(clp, fh, stateid)
	m.RcuReadUnlock()
	clp.ClLock.Unlock()
	return lo
}

// initiateFileDraining ends the use of the segments in a range of one file's layout: NFS4ERR_NOMATCHING_LAYOUT once
// none is left, NFS4ERR_DELAY while one is in use. May sleep.
//
// Differs: there is nothing to be committed between the two sections, and no layout driver to be told.
//
// C: initiate_file_draining, fs/nfs/callback_proc.c
func (n *Nfs) initiateFileDraining(cur *kernel.Task, clp *NfsClient, args *CbLayoutrecallargs) uint32 {
	lo := getLayoutByFh(clp, args.CblFh.Bytes(), &args.CblStateid)
	if lo == nil {
		return NFS4ERR_NOMATCHING_LAYOUT
	}
	rv := uint32(NFS4ERR_NOMATCHING_LAYOUT)
	inode := lo.PlhInode
	var free []*PnfsLayoutSegment
	inode.ILock.Lock()
	pnfsSetLayoutStateid(lo, &args.CblStateid)
	inode.ILock.Unlock()

	inode.ILock.Lock()
	if lo.PlhBulkRecall || pnfsMarkMatchingLsegsInvalid(lo, &free, &args.CblRange) != 0 {
		rv = NFS4ERR_DELAY
	}
	inode.ILock.Unlock()
	pnfsFreeLsegList(free)
	pnfsPutLayoutHdr(lo)
	n.nfsIputAndDeactive(cur, inode)
	return rv
}

// initiateBulkDraining does so for all files of a file system or of the client.
//
// C: initiate_bulk_draining, fs/nfs/callback_proc.c
func (n *Nfs) initiateBulkDraining(cur *kernel.Task, clp *NfsClient, args *CbLayoutrecallargs) uint32 {
	var fsid *NfsFsid
	if args.CblRecallType == RETURN_FSID {
		fsid = &args.CblFsid
	}
	if n.pnfsDestroyLayouts(cur, clp, fsid) != 0 {
		return NFS4ERR_DELAY
	}
	return NFS4ERR_NOMATCHING_LAYOUT
}

// doCallbackLayoutrecall recalls layouts. Returns the status. May sleep.
//
// C: do_callback_layoutrecall, fs/nfs/callback_proc.c
func (n *Nfs) doCallbackLayoutrecall(cur *kernel.Task, clp *NfsClient, args *CbLayoutrecallargs) uint32 {
	if args.CblRecallType == RETURN_FILE {
		return n.initiateFileDraining(cur, clp, args)
	}
	return n.initiateBulkDraining(cur, clp, args)
}

// nfs4CallbackLayoutrecall does CB_LAYOUTRECALL. Returns the status. May sleep.
//
// C: nfs4_callback_layoutrecall, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackLayoutrecall(cur *kernel.Task, args *CbLayoutrecallargs, cps *cbProcessState) uint32 {
	if cps.clp == nil {
		return NFS4ERR_OP_NOT_IN_SESSION
	}
	return n.doCallbackLayoutrecall(cur, cps.clp, args)
}

// pnfsRecallAllLayouts gives up all layouts that are not in use. May sleep.
//
// C: pnfs_recall_all_layouts, fs/nfs/callback_proc.c
func (n *Nfs) pnfsRecallAllLayouts(cur *kernel.Task, clp *NfsClient) {
	n.doCallbackLayoutrecall(cur, clp, &CbLayoutrecallargs{CblRecallType: RETURN_ALL})
}

// nfs4CallbackDevicenotify does CB_NOTIFY_DEVICEID: the devices are forgotten, whether they changed or went away, if
// some file system of the client has the layout driver that is named. Frees the array. Returns the status.
//
// Differs: a type without a driver does not make the search start from a place that is no file system the next time
// (7c9d845f0612).
//
// C: nfs4_callback_devicenotify, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackDevicenotify(_ *kernel.Task, args *CbDevicenotifyargs, cps *cbProcessState) uint32 {
	res := uint32(NFS4_OK)
	if cps.clp == nil {
		res = NFS4ERR_OP_NOT_IN_SESSION
	} else {
		for i := range args.Ndevs {
			dev := &args.Devs.at[i]
			if hasLayoutDriver(cps.clp, dev.CbdLayoutType) {
				n.nfs4DeleteDeviceid(dev.CbdLayoutType, cps.clp, &dev.CbdDevID)
			}
		}
	}
	kernel.Kfree(args.Devs)
	return res
}

// hasLayoutDriver tells whether some file system of the client has that layout driver.
//
// C: nfs4_callback_devicenotify, fs/nfs/callback_proc.c
func hasLayoutDriver(clp *NfsClient, ld uint32) bool {
	m := clp.Machine()
	m.RcuReadLock()
	defer m.RcuReadUnlock()
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		if server.PnfsCurrLd != 0 && server.PnfsCurrLd == ld {
			return true
		}
	}
	return false
}

// validateSeqid says what the sequence number of a call means for its slot: NFS4_OK for the next call,
// NFS4ERR_RETRY_UNCACHED_REP for the last one again, whose answer nobody kept, or an error. SlotTblLock is held.
//
// Differs: leaves the slot as it is; tells a call that is still being answered, and a cached answer that nobody can
// have asked for, from others (4.8); wraps from the highest number to 0, as 4.8 did not yet.
//
// C: validate_seqid, fs/nfs/callback_proc.c
func validateSeqid(tbl *Nfs4SlotTable, slot *Nfs4Slot, args *CbSequenceargs) uint32 {
	switch {
	case args.CsaSlotid > tbl.ServerHighestSlotid:
		return NFS4ERR_BADSLOT
	case args.CsaSequenceid == slot.SeqNr && nfs4TestLockedSlot(tbl, slot.SlotNr):
		return NFS4ERR_DELAY
	case args.CsaSequenceid == slot.SeqNr && args.CsaCachethis == 0:
		return NFS4ERR_RETRY_UNCACHED_REP
	case args.CsaSequenceid == slot.SeqNr:
		return NFS4ERR_SEQ_FALSE_RETRY
	case args.CsaSequenceid != slot.SeqNr+1:
		return NFS4ERR_SEQ_MISORDERED
	}
	return NFS4_OK
}

// referringCallExists waits until the calls that a callback refers to are answered, each for half a second at most:
// true if one of them still is not. tbl's lock is held, and dropped for the time. Process context.
//
// Differs: 3.19 says at once that there is one, and looks at any slot number that the server names, within the table
// or not ("NFSv4.1: Delay callback processing when there are referring triples", 4.8). 4.8 keeps tbl's lock while it
// waits; those that drop it do not notice when the time is up, since they look at a comparison where they mean the
// result of the wait; ours says so.
//
// C: referring_call_exists, fs/nfs/callback_proc.c
func referringCallExists(cur *kernel.Task, clp *NfsClient, args *CbSequenceargs, tbl *Nfs4SlotTable) bool {
	session := clp.ClSession
	for i := range args.CsaNrclists {
		rclist := &args.CsaRclists.at[i]
		if rclist.RclSessionid != session.SessID {
			continue
		}
		for j := range rclist.RclNrefcalls {
			ref := &rclist.RclRefcalls.at[j]
			tbl.SlotTblLock.Unlock()
			err := nfs4SlotWaitOnSeqid(cur, &session.FcSlotTable, ref.RcSlotid, ref.RcSequenceid, kernel.HZ/2)
			tbl.SlotTblLock.Lock()
			if err < 0 {
				return true
			}
		}
	}
	return false
}

// nfs4CallbackSequence does CB_SEQUENCE: finds the client whose session it is, with a reference, and takes the slot,
// which the end of the compound gives back. Frees the referring calls. Returns the status; a call that was answered
// before succeeds here and fails at the next operation. Sleeps.
//
// Differs: as validateSeqid and referringCallExists; a failing call leaves the slot's number alone, and one that asks
// for its answer to be kept is refused ("NFSv4.x: Enforce the ca_maxreponsesize_cached on the back channel", 4.8), as
// is any over a session without a back channel (later). The result is filled in for a repeated call too, which 3.19
// answers with zeros.
//
// C: nfs4_callback_sequence, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackSequence(cur *kernel.Task, args *CbSequenceargs, res *CbSequenceres,
	cps *cbProcessState) uint32 {
	clp := n.nfs4FindClientSessionid(cps.net, args.CsaAddr, &args.CsaSessionid, cps.minorversion)
	status := uint32(NFS4ERR_BADSESSION)
	if clp != nil && clp.ClSession.Flags&SESSION4_BACK_CHAN != 0 {
		*res = CbSequenceres{
			CsrSessionid: args.CsaSessionid, CsrSequenceid: args.CsaSequenceid, CsrSlotid: args.CsaSlotid,
		}
		tbl := &clp.ClSession.BcSlotTable
		tbl.SlotTblLock.Lock()
		status = cbSequenceLocked(cur, clp, tbl, args, res, cps)
		tbl.SlotTblLock.Unlock()
	}
	cps.clp = clp
	kfreeRclists(args.CsaRclists)

	if status == NFS4ERR_RETRY_UNCACHED_REP {
		cps.drcStatus = status
		status = NFS4_OK
	}
	res.CsrStatus = status
	return status
}

// cbSequenceLocked is the part of nfs4CallbackSequence under SlotTblLock. Sleeps without it.
//
// C: nfs4_callback_sequence, fs/nfs/callback_proc.c
func cbSequenceLocked(cur *kernel.Task, clp *NfsClient, tbl *Nfs4SlotTable, args *CbSequenceargs, res *CbSequenceres,
	cps *cbProcessState) uint32 {
	if tbl.SlotTblState.TestBit(NFS4_SLOT_TBL_DRAINING) {
		// Only if the session is about to be replaced is there no use in trying again.
		if clp.ClState.TestBit(NFS4CLNT_SESSION_RESET) {
			return NFS4ERR_BADSESSION
		}
		return NFS4ERR_DELAY
	}
	slot := nfs4LookupSlot(tbl, cur.Machine(), args.CsaSlotid)
	if slot == nil {
		return NFS4ERR_BADSLOT
	}
	res.CsrHighestslotid = tbl.ServerHighestSlotid
	res.CsrTargetHighestslotid = tbl.TargetHighestSlotid

	if status := validateSeqid(tbl, slot, args); status != NFS4_OK {
		return status
	}
	if !nfs4TryToLockSlot(tbl, slot) {
		return NFS4ERR_DELAY
	}
	cps.slot = slot
	if args.CsaCachethis != 0 {
		return NFS4ERR_REP_TOO_BIG_TO_CACHE
	}
	if referringCallExists(cur, clp, args, tbl) {
		return NFS4ERR_DELAY
	}
	slot.SeqNr = args.CsaSequenceid
	return NFS4_OK
}

// nfs4CallbackRecallany does CB_RECALL_ANY: delegations and layouts of the given kinds that are not in use are given
// up, however many the server would leave us. Returns the status. May sleep.
//
// C: nfs4_callback_recallany, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackRecallany(cur *kernel.Task, args *CbRecallanyargs, cps *cbProcessState) uint32 {
	if cps.clp == nil {
		return NFS4ERR_OP_NOT_IN_SESSION
	}
	if args.CraaTypeMask&^RCA4_TYPE_MASK_ALL != 0 {
		return NFS4ERR_INVAL
	}
	var flags uint32
	if args.CraaTypeMask>>RCA4_TYPE_MASK_RDATA_DLG&1 != 0 {
		flags |= FMODE_READ
	}
	if args.CraaTypeMask>>RCA4_TYPE_MASK_WDATA_DLG&1 != 0 {
		flags |= FMODE_WRITE
	}
	if args.CraaTypeMask>>RCA4_TYPE_MASK_FILE_LAYOUT&1 != 0 {
		n.pnfsRecallAllLayouts(cur, cps.clp)
	}
	if flags != 0 {
		n.nfsExpireUnusedDelegationTypes(cur, cps.clp, flags)
	}
	return NFS4_OK
}

// nfs4CallbackRecallslot does CB_RECALL_SLOT: the fore channel's table shrinks to the slots that the server wants.
// Returns the status. May sleep.
//
// C: nfs4_callback_recallslot, fs/nfs/callback_proc.c
func (n *Nfs) nfs4CallbackRecallslot(cur *kernel.Task, args *CbRecallslotargs, cps *cbProcessState) uint32 {
	if cps.clp == nil {
		return NFS4ERR_OP_NOT_IN_SESSION
	}
	nfs41SetTargetSlotid(&cps.clp.ClSession.FcSlotTable, args.CrsaTargetHighestSlotid)
	n.nfs41ServerNotifyTargetSlotidUpdate(cur, cps.clp)
	return NFS4_OK
}
