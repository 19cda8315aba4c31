// SPDX-License-Identifier: GPL-2.0-only

package nfs

import "github.com/seed17199236/svcfuzz/target/kernel"

// PnfsLayoutRange is a part of a file in one mode. A length of NFS4_MAX_UINT64 reaches to the end.
type PnfsLayoutRange struct {
	Iomode         uint32 // IOMODE_*
	Offset, Length uint64
}

// PnfsLayoutHdr is what the client holds of one file's layout.
//
// C: struct pnfs_layout_hdr, fs/nfs/pnfs.h
type PnfsLayoutHdr struct {
	kernel.Obj
	PlhRefcount   kernel.Kref                // one for each segment; dropped to 0 under ILock only
	PlhLayouts    kernel.Node[PnfsLayoutHdr] // in Layouts; ClLock
	PlhSegs       []*PnfsLayoutSegment       // ILock
	PlhStateid    Nfs4Stateid                // ILock; its Other does not change
	PlhBlockLgets int                        // above 0: no more segments; ILock
	PlhBulkRecall bool                       // a bulk recall waits for segments; ILock
	PlhInode      *NfsInode
	bulk          bool // on the list of a bulk recall; ILock
}

// PnfsLayoutSegment is one segment. All of it is guarded by ILock.
//
// C: struct pnfs_layout_segment, fs/nfs/pnfs.h
type PnfsLayoutSegment struct {
	kernel.Obj
	PlsRange PnfsLayoutRange
	plsRefs  int // one for its list, one for each transfer that uses it
	valid    bool
	lo       *PnfsLayoutHdr
}

// Poison lets the pointers of a freed layout die with it.
func (lo *PnfsLayoutHdr) Poison() { lo.PlhInode, lo.PlhSegs = nil, nil }

// Poison lets the pointers of a freed segment die with it.
func (lseg *PnfsLayoutSegment) Poison() { lseg.lo = nil }

// AddLayout gives the client a layout of a file that has none, with one segment for each range. 0 or -ENOMEM. The
// file system is mounted. May sleep.
//
// C: pnfs_update_layout, pnfs_layout_insert_lseg, fs/nfs/pnfs.c
func (n *Nfs) AddLayout(cur *kernel.Task, inode *NfsInode, stateid Nfs4Stateid, ranges ...PnfsLayoutRange) int {
	m := cur.Machine()
	lo := kernel.Kzalloc[PnfsLayoutHdr](m, "pnfs_layout_hdr", kernel.GFP_KERNEL)
	if lo == nil {
		return -kernel.ENOMEM
	}
	lo.PlhStateid, lo.PlhInode = stateid, inode
	lo.PlhRefcount.Init(&lo.Obj, "plh_refcount")
	lo.PlhLayouts.Init(lo)
	for _, r := range ranges {
		lseg := kernel.Kzalloc[PnfsLayoutSegment](m, "pnfs_layout_segment", kernel.GFP_KERNEL)
		if lseg == nil {
			pnfsFreeLsegList(lo.PlhSegs)
			kernel.Kfree(lo)
			return -kernel.ENOMEM
		}
		lseg.PlsRange, lseg.plsRefs, lseg.valid, lseg.lo = r, 1, true, lo
		lo.PlhSegs = append(lo.PlhSegs, lseg)
	}
	for range ranges {
		lo.PlhRefcount.Get()
	}
	clp := inode.Server.NfsClient
	clp.ClLock.Lock()
	inode.Server.Layouts.AddTail(&lo.PlhLayouts)
	inode.ILock.Lock()
	m.BugOn(inode.Layout != nil, "two layouts of one file")
	inode.Layout = lo
	inode.ILock.Unlock()
	clp.ClLock.Unlock()
	pnfsPutLayoutHdr(lo)
	return 0
}

// PnfsGetLseg begins a transfer through the i-th segment of the file's layout: nil if there is none that is valid. It
// ends with PnfsPutLseg; the file system stays mounted meanwhile. Takes ILock.
//
// C: pnfs_get_lseg, fs/nfs/pnfs.h
func PnfsGetLseg(inode *NfsInode, i int) *PnfsLayoutSegment {
	inode.ILock.Lock()
	defer inode.ILock.Unlock()
	if inode.Layout == nil || i >= len(inode.Layout.PlhSegs) || !inode.Layout.PlhSegs[i].valid {
		return nil
	}
	lseg := inode.Layout.PlhSegs[i]
	lseg.plsRefs++
	return lseg
}

// PnfsPutLseg ends a transfer; a segment that was recalled meanwhile goes away with the last one. Takes ILock.
//
// Differs: as NfsPutClient, the lock is taken for every put.
//
// C: pnfs_put_lseg, fs/nfs/pnfs.c
func PnfsPutLseg(lseg *PnfsLayoutSegment) {
	lo := lseg.lo
	inode := lo.PlhInode
	var free []*PnfsLayoutSegment
	inode.ILock.Lock()
	if lseg.plsRefs > 1 {
		lseg.plsRefs--
		inode.ILock.Unlock()
		return
	}
	lo.PlhRefcount.Get()
	pnfsLsegDecAndRemoveZero(lseg, &free)
	inode.ILock.Unlock()
	pnfsFreeLsegList(free)
	pnfsPutLayoutHdr(lo)
}

// pnfsPutLayoutHdr drops a reference to a layout; with the last one it is taken off its inode and file system and
// freed. Takes ILock, then ClLock if it is on Layouts.
//
// Differs: as NfsPutClient, ILock is taken for every put; warns of segments that are left.
//
// C: pnfs_put_layout_hdr, pnfs_free_layout_hdr, fs/nfs/pnfs.c
func pnfsPutLayoutHdr(lo *PnfsLayoutHdr) {
	inode := lo.PlhInode
	inode.ILock.Lock()
	last := lo.PlhRefcount.Put(func() { inode.Layout = nil })
	left := len(lo.PlhSegs)
	inode.ILock.Unlock()
	if !last {
		return
	}
	lo.Machine().WarnOnOnce(left != 0, "pnfs_put_layout_hdr: unfreed layout segments")
	if lo.PlhLayouts.Linked() {
		clp := inode.Server.NfsClient
		clp.ClLock.Lock()
		inode.Server.Layouts.DelInit(&lo.PlhLayouts)
		clp.ClLock.Unlock()
	}
	kernel.Kfree(lo)
}

// pnfsLsegDecAndRemoveZero drops a reference to a segment; with the last one it moves to free, its layout loses the
// reference of the segment, and the result is true. Somebody else holds a reference to the layout. ILock is held.
//
// C: pnfs_lseg_dec_and_remove_zero, pnfs_layout_remove_lseg, fs/nfs/pnfs.c
func pnfsLsegDecAndRemoveZero(lseg *PnfsLayoutSegment, free *[]*PnfsLayoutSegment) bool {
	lseg.plsRefs--
	if lseg.plsRefs != 0 {
		return false
	}
	lo := lseg.lo
	for i, x := range lo.PlhSegs {
		if x == lseg {
			lo.PlhSegs = append(lo.PlhSegs[:i:i], lo.PlhSegs[i+1:]...)
		}
	}
	*free = append(*free, lseg)
	lo.PlhRefcount.Put(func() { lo.Machine().BugOn(true, "pnfs_layout_remove_lseg: the layout's last reference") })
	if len(lo.PlhSegs) == 0 {
		lo.PlhBulkRecall = false
	}
	return true
}

// pnfsFreeLsegList frees segments that are on no layout. No lock is held.
//
// C: pnfs_free_lseg_list, fs/nfs/pnfs.c
func pnfsFreeLsegList(free []*PnfsLayoutSegment) {
	for _, lseg := range free {
		kernel.Kfree(lseg)
	}
}

// endOffset is the first octet behind a range, NFS4_MAX_UINT64 if it has no end.
//
// C: end_offset, fs/nfs/pnfs.c
func endOffset(start, length uint64) uint64 {
	if end := start + length; end >= start {
		return end
	}
	return NFS4_MAX_UINT64
}

// shouldFreeLseg tells whether a recall of a range is about a segment.
//
// C: should_free_lseg, pnfs_lseg_range_intersecting, fs/nfs/pnfs.c
func shouldFreeLseg(lseg, recall *PnfsLayoutRange) bool {
	if recall.Iomode != IOMODE_ANY && lseg.Iomode != recall.Iomode {
		return false
	}
	end1, end2 := endOffset(lseg.Offset, lseg.Length), endOffset(recall.Offset, recall.Length)
	return (end1 == NFS4_MAX_UINT64 || end1 > recall.Offset) && (end2 == NFS4_MAX_UINT64 || end2 > lseg.Offset)
}

// pnfsMarkMatchingLsegsInvalid ends the use of the segments in a range; those that no transfer uses move to free. The
// result is how many are still in use. The caller holds a reference to the layout, and ILock.
//
// C: pnfs_mark_matching_lsegs_invalid, mark_lseg_invalid, fs/nfs/pnfs.c
func pnfsMarkMatchingLsegsInvalid(lo *PnfsLayoutHdr, free *[]*PnfsLayoutSegment, recall *PnfsLayoutRange) int {
	busy := 0
	for _, lseg := range append([]*PnfsLayoutSegment(nil), lo.PlhSegs...) {
		if !shouldFreeLseg(&lseg.PlsRange, recall) {
			continue
		}
		removed := false
		if lseg.valid {
			lseg.valid = false
			removed = pnfsLsegDecAndRemoveZero(lseg, free)
		}
		if !removed {
			busy++
		}
	}
	return busy
}

// pnfsDestroyLayout forgets the layout of an inode that is going away; no transfer uses it.
//
// Differs: takes its reference first; the count of 3.19 passes through 0 with the last segment, and lives on.
//
// C: pnfs_destroy_layout, fs/nfs/pnfs.c
func pnfsDestroyLayout(inode *NfsInode) {
	inode.ILock.Lock()
	lo := inode.Layout
	if lo == nil {
		inode.ILock.Unlock()
		return
	}
	lo.PlhRefcount.Get()
	lo.PlhBlockLgets++
	var free []*PnfsLayoutSegment
	pnfsMarkMatchingLsegsInvalid(lo, &free, &wholeFile)
	inode.ILock.Unlock()
	pnfsFreeLsegList(free)
	pnfsPutLayoutHdr(lo)
}

// pnfsSeqidIsNewer compares two sequence numbers of a stateid, which wrap.
//
// C: pnfs_seqid_is_newer, fs/nfs/pnfs.c
func pnfsSeqidIsNewer(s1, s2 uint32) bool { return int32(s1-s2) > 0 }

// pnfsSetLayoutStateid makes a stateid that a server sent with a recall the layout's, if it is newer or nothing is left
// that the old one was about. ILock is held.
//
// Differs: there is no LAYOUTGET that a barrier would keep from bringing back what was recalled.
//
// C: pnfs_set_layout_stateid, fs/nfs/pnfs.c
func pnfsSetLayoutStateid(lo *PnfsLayoutHdr, stateid *Nfs4Stateid) {
	if len(lo.PlhSegs) == 0 || pnfsSeqidIsNewer(stateid.Seqid, lo.PlhStateid.Seqid) {
		lo.PlhStateid = *stateid
	}
}

// wholeFile is the range of a recall of everything.
var wholeFile = PnfsLayoutRange{Iomode: IOMODE_ANY, Offset: 0, Length: NFS4_MAX_UINT64}

// pnfsDestroyLayouts takes the layouts of a client's file systems off their lists and ends the use of all their
// segments: those of one file system, or of all if fsid is nil. 0, or -EAGAIN if some segments are still in use. May
// sleep.
//
// Differs: keeps the file system mounted meanwhile (e39d8a186ed0). A layout that is going away stays on its list, and
// whoever frees it takes it off; 3.19 takes it off, lets go of the lock to drop the inode, and starts again.
//
// C: pnfs_destroy_layouts_byfsid, pnfs_destroy_layouts_byclid, fs/nfs/pnfs.c
func (n *Nfs) pnfsDestroyLayouts(cur *kernel.Task, clp *NfsClient, fsid *NfsFsid) int {
	m := n.Machine()
	var list []*PnfsLayoutHdr
	clp.ClLock.Lock()
	m.RcuReadLock()
	for server := clp.ClSuperblocks.FirstRcu(); server != nil; server = clp.ClSuperblocks.NextRcu(&server.ClientLink) {
		if fsid == nil || server.Fsid == *fsid {
			list = pnfsLayoutBulkDestroyByserverLocked(server, list)
		}
	}
	m.RcuReadUnlock()
	clp.ClLock.Unlock()
	return n.pnfsLayoutFreeBulkDestroyList(cur, list)
}

// pnfsLayoutBulkDestroyByserverLocked moves the layouts of a file system to list, with a reference to layout, inode
// and file system each. ClLock is held.
//
// C: pnfs_layout_bulk_destroy_byserver_locked, pnfs_layout_add_bulk_destroy_list, fs/nfs/pnfs.c
func pnfsLayoutBulkDestroyByserverLocked(server *NfsServer, list []*PnfsLayoutHdr) []*PnfsLayoutHdr {
	for lo := server.Layouts.First(); lo != nil; {
		next := server.Layouts.Next(&lo.PlhLayouts)
		inode := lo.PlhInode
		inode.ILock.Lock()
		if !lo.bulk && pnfsGrabLayout(lo) {
			server.Layouts.DelInit(&lo.PlhLayouts)
			lo.bulk = true
			list = append(list, lo)
		}
		inode.ILock.Unlock()
		lo = next
	}
	return list
}

// pnfsGrabLayout takes a reference to a layout that was found on Layouts, to its inode and to their file system; false
// if it is going away. A layout leaves Layouts before its inode is freed. ClLock and ILock are held.
//
// C: get_layout_by_fh_locked, fs/nfs/callback_proc.c; pnfs_layout_bulk_destroy_byserver_locked, fs/nfs/pnfs.c
func pnfsGrabLayout(lo *PnfsLayoutHdr) bool {
	inode := lo.PlhInode
	if inode.Layout != lo || !nfsSbActive(inode.Server) {
		return false
	}
	inode.Machine().BugOn(!igrab(inode), "a mounted file system without an inode")
	lo.PlhRefcount.Get()
	return true
}

// pnfsLayoutFreeBulkDestroyList ends the use of the layouts on list: 0, or -EAGAIN if some segments are still in use.
// May sleep.
//
// Differs: there is nothing to be committed first.
//
// C: pnfs_layout_free_bulk_destroy_list, fs/nfs/pnfs.c
func (n *Nfs) pnfsLayoutFreeBulkDestroyList(cur *kernel.Task, list []*PnfsLayoutHdr) int {
	ret := 0
	for _, lo := range list {
		inode := lo.PlhInode
		var free []*PnfsLayoutSegment
		inode.ILock.Lock()
		lo.bulk = false
		lo.PlhBlockLgets++
		lo.PlhBulkRecall = true
		if pnfsMarkMatchingLsegsInvalid(lo, &free, &wholeFile) != 0 {
			ret = -kernel.EAGAIN
		}
		inode.ILock.Unlock()
		pnfsFreeLsegList(free)
		pnfsPutLayoutHdr(lo)
		n.nfsIputAndDeactive(cur, inode)
	}
	return ret
}

// NfsDeviceid is a data server that a layout driver knows.
//
// C: struct nfs4_deviceid_node, fs/nfs/pnfs.h
type NfsDeviceid struct {
	kernel.Obj
	Node  kernel.Node[NfsDeviceid] // in Nfs4DeviceidCache; Nfs4DeviceidLock
	Ld    uint32
	Clp   *NfsClient
	Devid Nfs4Deviceid
}

// Poison lets the pointers of a freed device die with it.
func (d *NfsDeviceid) Poison() { d.Clp = nil }

// AddDevice tells the layout driver ld of a data server. 0 or -ENOMEM. The caller holds a reference to the client. May
// sleep.
//
// C: nfs4_find_get_deviceid, fs/nfs/pnfs_dev.c
func (n *Nfs) AddDevice(cur *kernel.Task, clp *NfsClient, ld uint32, id Nfs4Deviceid) int {
	d := kernel.Kzalloc[NfsDeviceid](cur.Machine(), "nfs4_deviceid_node", kernel.GFP_KERNEL)
	if d == nil {
		return -kernel.ENOMEM
	}
	d.Ld, d.Clp, d.Devid = ld, clp, id
	d.Node.Init(d)
	n.Nfs4DeviceidLock.Lock()
	n.Nfs4DeviceidCache.AddTail(&d.Node)
	n.Nfs4DeviceidLock.Unlock()
	return 0
}

// HasDevice tells whether the layout driver still knows a data server. Takes Nfs4DeviceidLock.
//
// C: _lookup_deviceid, fs/nfs/pnfs_dev.c
func (n *Nfs) HasDevice(clp *NfsClient, ld uint32, id Nfs4Deviceid) bool {
	n.Nfs4DeviceidLock.Lock()
	d := n.lookupDeviceid(clp, ld, &id)
	n.Nfs4DeviceidLock.Unlock()
	return d != nil
}

// lookupDeviceid finds a device. Nfs4DeviceidLock is held.
//
// C: _lookup_deviceid, fs/nfs/pnfs_dev.c
func (n *Nfs) lookupDeviceid(clp *NfsClient, ld uint32, id *Nfs4Deviceid) *NfsDeviceid {
	for d := n.Nfs4DeviceidCache.First(); d != nil; d = n.Nfs4DeviceidCache.Next(&d.Node) {
		if d.Clp == clp && d.Ld == ld && d.Devid == *id {
			return d
		}
	}
	return nil
}

// nfs4DeleteDeviceid makes a layout driver forget a data server. Takes Nfs4DeviceidLock.
//
// Differs: nobody looks at a data server without the lock, so it has neither a count nor readers to be waited for.
//
// C: nfs4_delete_deviceid, fs/nfs/pnfs_dev.c
func (n *Nfs) nfs4DeleteDeviceid(ld uint32, clp *NfsClient, id *Nfs4Deviceid) {
	n.Nfs4DeviceidLock.Lock()
	d := n.lookupDeviceid(clp, ld, id)
	if d != nil {
		n.Nfs4DeviceidCache.Del(&d.Node)
	}
	n.Nfs4DeviceidLock.Unlock()
	kernel.Kfree(d)
}

// nfs4DeviceidPurgeClient forgets all data servers of a client that goes away. Takes Nfs4DeviceidLock.
//
// Differs: as nfs4DeleteDeviceid.
//
// C: nfs4_deviceid_purge_client, fs/nfs/pnfs_dev.c
func (n *Nfs) nfs4DeviceidPurgeClient(clp *NfsClient) {
	n.Nfs4DeviceidLock.Lock()
	for d := n.Nfs4DeviceidCache.First(); d != nil; {
		next := n.Nfs4DeviceidCache.Next(&d.Node)
		if d.Clp == clp {
			n.Nfs4DeviceidCache.Del(&d.Node)
			kernel.Kfree(d)
		}
		d = next
	}
	n.Nfs4DeviceidLock.Unlock()
}
