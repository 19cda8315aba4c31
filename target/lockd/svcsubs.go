// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// FILE_HASH_BITS is the size of the file table, FILE_NRHASH, as a power of two.
const (
	FILE_HASH_BITS = 7
	FILE_NRHASH    = 1 << FILE_HASH_BITS
)

// NlmsvcBinding is what nfsd hands to lockd so that lockd can open files.
//
// C: struct nlmsvc_binding, include/linux/lockd/bind.h
//
// Differs: has its owner, a reference of which pins it while its functions run ("lockd, nfsd: RCU-protect nlmsvc_ops
// dispatch", 7.3).
type NlmsvcBinding struct {
	kernel.Obj
	// Owner counts who runs in it, and nfsd while that is there. C: try_module_get, kernel/module.c
	Owner kernel.Kref
	gone  kernel.Completion // nobody has a reference any more
	// Fopen opens the file of a handle on behalf of a request: 0, NLM_DROP_REPLY, NLM_STALE_FH, NLM_FAILED or
	// NLM_LCK_DENIED_NOLOCKS. May sleep, but not for long: lockd has one thread.
	Fopen func(cur *kernel.Task, rqstp *sunrpc.SvcRqst, fh *NfsFh) (*fs.File, uint32)
	// Fclose undoes it.
	Fclose func(cur *kernel.Task, filp *fs.File)
}

// Poison drops the functions of a binding whose module is gone.
func (b *NlmsvcBinding) Poison() { b.Fopen, b.Fclose = nil, nil }

// nlmsvcOpsGet gives what nfsd has stored, with a reference to its owner; nil if there is no nfsd, or if it is about
// to go. Does not sleep.
//
// C: nlmsvc_ops, fs/lockd/svcsubs.c (its uses)
func (l *Lockd) nlmsvcOpsGet() *NlmsvcBinding {
	m := l.Machine()
	m.RcuReadLock()
	ops := l.NlmsvcOps.Dereference()
	if ops != nil && !ops.Owner.GetUnlessZero() {
		ops = nil
	}
	m.RcuReadUnlock()
	return ops
}

// put undoes nlmsvcOpsGet.
func (b *NlmsvcBinding) put() { b.Owner.Put(b.gone.Complete) }

// fileHash gives the bucket of NlmFiles for a handle.
//
// C: file_hash, fs/lockd/svcsubs.c
func fileHash(fh *NfsFh) int {
	sum := 0
	for _, octet := range fh.Data[:NFS2_FHSIZE] {
		sum += int(octet)
	}
	return sum & (FILE_NRHASH - 1)
}

// NlmLookupFile returns the file of a handle with a reference; it is opened if no client has a lock on it yet. Else the
// result is nil and the status for the client: NLM_LCK_DENIED_NOLOCKS or what Fopen says. Takes NlmFileMutex; may
// sleep.
//
// Differs: nfsd is asked for once, and kept while it opens the file. 3.19 loads the pointer here and has tested it
// before, in nlmsvc_retrieve_args; nfsd may go in between (see NlmsvcBinding).
//
// C: nlm_lookup_file, fs/lockd/svcsubs.c
func (l *Lockd) NlmLookupFile(cur *kernel.Task, rqstp *sunrpc.SvcRqst, fh *NfsFh) (*NlmFile, uint32) {
	l.NlmFileMutex.Lock(cur)
	defer l.NlmFileMutex.Unlock(cur)

	bucket := &l.NlmFiles[fileHash(fh)]
	file := *bucket
	for ; file != nil; file = file.FNext {
		if nfsCompareFh(&file.FHandle, fh) {
			file.FCount.Inc()
			return file, 0
		}
	}

	file = kernel.Kzalloc[NlmFile](l.Machine(), "nlm_file", kernel.GFP_KERNEL)
	if file == nil {
		return nil, NLM_LCK_DENIED_NOLOCKS
	}
	file.FHandle = *fh
	file.FMutex.Init(&file.Obj, "f_mutex")
	file.FCount.Init(&file.Obj, "f_count")
	file.FBlocks.Init(&file.Obj, "f_blocks")

	status := uint32(NLM_LCK_DENIED_NOLOCKS)
	if ops := l.nlmsvcOpsGet(); ops != nil {
		file.FFile, status = ops.Fopen(cur, rqstp, fh)
		ops.put()
	}
	if status != 0 {
		kernel.Kfree(file)
		return nil, status
	}
	file.FNext, *bucket = *bucket, file
	file.FCount.Inc()
	return file, 0
}

// nlmDeleteFile closes a file that nobody uses and frees it. NlmFileMutex is held; may sleep.
//
// Differs: closes the file by itself if nfsd is gone, where 3.19 follows a NULL pointer (see NlmsvcBinding).
//
// C: nlm_delete_file, fs/lockd/svcsubs.c
func (l *Lockd) nlmDeleteFile(cur *kernel.Task, file *NlmFile) {
	pos := &l.NlmFiles[fileHash(&file.FHandle)]
	for *pos != nil && *pos != file {
		pos = &(*pos).FNext
	}
	if *pos == nil {
		l.Machine().Printk("lockd: attempt to release unknown file!")
		return
	}
	*pos = file.FNext
	if ops := l.nlmsvcOpsGet(); ops != nil {
		ops.Fclose(cur, file.FFile)
		ops.put()
	} else {
		l.Fs.Fput(file.FFile)
	}
	kernel.Kfree(file)
}

// nlmUnlockFile gives back all that the owner of fl has locked of a file; false if the file system fails. May sleep.
//
// C: nlm_traverse_locks, fs/lockd/svcsubs.c
func (l *Lockd) nlmUnlockFile(cur *kernel.Task, file *NlmFile, owner any, pid uint32) bool {
	var lock fs.FileLock
	l.Fs.LocksInitLock(&lock)
	lock.FlType = fs.F_UNLCK
	lock.FlStart, lock.FlEnd = 0, fs.OFFSET_MAX
	lock.FlOwner, lock.FlPid = owner, pid
	lock.FlFlags = fs.FL_POSIX
	lock.FlFile = file.FFile
	lock.FlLmops = l.NlmsvcLockOperations
	if l.Fs.VfsLockFile(cur, file.FFile, fs.F_SETLK, &lock, nil) < 0 {
		l.Machine().Printk("lockd: unlock failure in nlm_traverse_locks")
		return false
	}
	return true
}

// nlmTraverseLocks shows the host of every lock of a file to match, and unlocks what it wants. False if the file
// system fails. Takes ILock; may sleep.
//
// Differs: 3.19 unlocks by a copy of the lock that it has found; this is the later form, which names the owner and
// process itself (aec158242b87). The locks are not counted: the count is out of date when NlmFileMutex is taken again,
// and 3.19 then frees a file on which a client has got a lock meanwhile (ours).
//
// C: nlm_traverse_locks, fs/lockd/svcsubs.c
func (l *Lockd) nlmTraverseLocks(cur *kernel.Task, host *NlmHost, file *NlmFile,
	match func(a, b *NlmHost) bool) bool {
	inode := file.FFile.FInode
again:
	inode.ILock.Lock()
	for fl := inode.IFlock; fl != nil; fl = fl.FlNext {
		if fl.FlLmops != l.NlmsvcLockOperations {
			continue
		}
		if owner, pid := fl.FlOwner, fl.FlPid; match(owner.(*NlmHost), host) {
			inode.ILock.Unlock()
			if !l.nlmUnlockFile(cur, file, owner, pid) {
				return false
			}
			goto again
		}
	}
	inode.ILock.Unlock()
	return true
}

// nlmsvcAlwaysMatch matches every host.
//
// C: nlmsvc_always_match, fs/lockd/svcsubs.c
func nlmsvcAlwaysMatch(_, _ *NlmHost) bool { return true }

// nlmInspectFile takes the blocks, shares and locks of the hosts that match from a file. False if the file system
// fails. May sleep.
//
// C: nlm_inspect_file, fs/lockd/svcsubs.c
func (l *Lockd) nlmInspectFile(cur *kernel.Task, host *NlmHost, file *NlmFile, match func(a, b *NlmHost) bool) bool {
	l.NlmsvcTraverseBlocks(cur, host, file, match)
	l.NlmsvcTraverseShares(cur, host, file, match)
	return l.nlmTraverseLocks(cur, host, file, match)
}

// nlmFileInuse tells whether anybody uses a file, or has a lock, block or share on it. NlmFileMutex is held; takes
// ILock.
//
// C: nlm_file_inuse, fs/lockd/svcsubs.c
func (l *Lockd) nlmFileInuse(file *NlmFile) bool {
	if file.FCount.Read() != 0 || !file.FBlocks.Empty() || file.FShares != nil {
		return true
	}

	inode := file.FFile.FInode
	inuse := false
	inode.ILock.Lock()
	for fl := inode.IFlock; fl != nil && !inuse; fl = fl.FlNext {
		inuse = fl.FlLmops == l.NlmsvcLockOperations
	}
	inode.ILock.Unlock()
	return inuse
}

// nlmTraverseFiles takes blocks, shares and locks of the hosts that match from all files, or from those that
// isFailoverFile names, and closes the files that nobody uses any more. ok: the file system did not fail; left: there
// is something on a file that nobody works on. NlmFileMutex is taken, and given back while a file is worked on; may
// sleep.
//
// Differs: the next file is looked up when NlmFileMutex is held again; the one that 3.19 has remembered may be freed
// by then (upstream pins it: "lockd: pin next file across nlm_inspect_file lock-drop", 7.3). And see nlmTraverseLocks.
//
// C: nlm_traverse_files, fs/lockd/svcsubs.c
func (l *Lockd) nlmTraverseFiles(cur *kernel.Task, host *NlmHost, match func(a, b *NlmHost) bool,
	isFailoverFile func(file *NlmFile) bool) (ok, left bool) {
	ok = true
	l.NlmFileMutex.Lock(cur)
	for i := range l.NlmFiles {
		for file := l.NlmFiles[i]; file != nil; {
			if isFailoverFile != nil && !isFailoverFile(file) {
				file = file.FNext
				continue
			}
			file.FCount.Inc()
			l.NlmFileMutex.Unlock(cur)

			if !l.nlmInspectFile(cur, host, file, match) {
				ok = false
			}

			l.NlmFileMutex.Lock(cur)
			next := file.FNext
			if file.FCount.DecAndTest() {
				if l.nlmFileInuse(file) {
					left = true
				} else {
					l.nlmDeleteFile(cur, file)
				}
			}
			file = next
		}
	}
	l.NlmFileMutex.Unlock(cur)
	return ok, left
}

// NlmReleaseFile drops a reference and closes the file if there is nothing of a client on it any more. The file system
// makes, splits and removes locks by itself, so they are looked for each time. Takes NlmFileMutex; may sleep.
//
// C: nlm_release_file, fs/lockd/svcsubs.c
func (l *Lockd) NlmReleaseFile(cur *kernel.Task, file *NlmFile) {
	l.NlmFileMutex.Lock(cur)
	if file.FCount.DecAndTest() && !l.nlmFileInuse(file) {
		l.nlmDeleteFile(cur, file)
	}
	l.NlmFileMutex.Unlock(cur)
}

// nlmsvcMarkHost marks a host as one that has something, if it is of the namespace of hint or hint has none. It never
// matches. NlmHostMutex is held.
//
// C: nlmsvc_mark_host, fs/lockd/svcsubs.c
func nlmsvcMarkHost(host, hint *NlmHost) bool {
	if hint.Net == nil || host.Net == hint.Net {
		host.HInuse = true
	}
	return false
}

// nlmsvcSameHost matches one host.
//
// C: nlmsvc_same_host, fs/lockd/svcsubs.c
func nlmsvcSameHost(host, other *NlmHost) bool {
	return host == other
}

// nlmsvcIsClient matches the clients of ours. They have not asked to lose their locks, so they stay monitored.
//
// C: nlmsvc_is_client, fs/lockd/svcsubs.c
func nlmsvcIsClient(host, _ *NlmHost) bool {
	if !host.HServer {
		return false
	}
	if host.HNsmhandle != nil {
		host.HNsmhandle.SmSticky = true
	}
	return true
}

// NlmsvcMarkResources marks the hosts of a namespace, of all if net is nil, that have something. NlmHostMutex is
// held; may sleep.
//
// C: nlmsvc_mark_resources, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcMarkResources(cur *kernel.Task, net *sock.Net) {
	hint := &NlmHost{Net: net}
	l.nlmTraverseFiles(cur, hint, nlmsvcMarkHost, nil)
}

// NlmsvcFreeHostResources takes from a client all that it has. A file system that refuses is a BUG. May sleep.
//
// C: nlmsvc_free_host_resources, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcFreeHostResources(cur *kernel.Task, host *NlmHost) {
	if ok, _ := l.nlmTraverseFiles(cur, host, nlmsvcSameHost, nil); !ok {
		l.Machine().Printk("lockd: couldn't remove all locks held by %s", host.HName)
		l.Machine().BugOn(true, "nlmsvc_free_host_resources: locks are left")
	}
}

// NlmsvcInvalidateAll takes from all clients all that they have. Called by the lockd thread; may sleep.
//
// Differs: again if something is left. A file system that answers later may just be locking for a request that was
// given up, and take that back in a moment; 3.19 leaves the file open then, and its client in the host cache, with
// nobody to look after them when lockd is gone (ours).
//
// C: nlmsvc_invalidate_all, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcInvalidateAll(cur *kernel.Task) {
	for ok, left := true, true; ok && left; {
		ok, left = l.nlmTraverseFiles(cur, nil, nlmsvcIsClient, nil)
	}
}

// NlmsvcUnlockAllBySb takes from all clients what they have on a file system, before it is unmounted: 0 or -EIO. Any
// process; may sleep.
//
// C: nlmsvc_match_sb, nlmsvc_unlock_all_by_sb, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcUnlockAllBySb(cur *kernel.Task, sb *fs.VFS) int {
	matchSb := func(*NlmFile) bool { return sb == l.Fs }
	if ok, _ := l.nlmTraverseFiles(cur, nil, nlmsvcAlwaysMatch, matchSb); !ok {
		return -kernel.EIO
	}
	return 0
}

// NlmsvcUnlockAllByIp takes from all clients what they have got by an address of ours, before it moves to another
// server: 0 or -EIO. The port does not matter. Any process; may sleep.
//
// C: nlmsvc_match_ip, nlmsvc_unlock_all_by_ip, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcUnlockAllByIp(cur *kernel.Task, serverAddr *sunrpc.SockAddr) int {
	matchIp := func(host, _ *NlmHost) bool {
		return host.HSrcaddr.SameIP(*serverAddr)
	}
	if ok, _ := l.nlmTraverseFiles(cur, nil, matchIp, nil); !ok {
		return -kernel.EIO
	}
	return 0
}
