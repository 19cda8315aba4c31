// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NfsFh is a file handle as a client sends it.
//
// C: struct nfs_fh, include/linux/nfs.h
type NfsFh struct {
	Size uint32 // bytes of Data in use
	Data [NFS_MAXFHSIZE]byte
}

// nfsCompareFh tells whether two handles are the same.
//
// C: nfs_compare_fh, include/linux/nfs.h
func nfsCompareFh(a, b *NfsFh) bool {
	return string(a.Data[:a.Size]) == string(b.Data[:b.Size])
}

// NLM_MAXCOOKIELEN bounds a cookie; bytes.
const NLM_MAXCOOKIELEN = 32

// NFS_MAXFHSIZE bounds a file handle, NFS2_FHSIZE is the size of those of versions 1 and 3; bytes.
const (
	NFS_MAXFHSIZE = 128
	NFS2_FHSIZE   = 32
)

// NlmCookie is how a client recognises the answer to an asynchronous call.
//
// C: struct nlm_cookie, include/linux/lockd/xdr.h
type NlmCookie struct {
	Data [NLM_MAXCOOKIELEN]byte
	Len  uint32
}

// NlmLock is a lock as a client names it.
//
// C: struct nlm_lock, include/linux/lockd/xdr.h
type NlmLock struct {
	Caller []byte // name of the client's host
	Fh     NfsFh
	Oh     []byte // owner handle
	Svid   uint32
	// LockStart and LockLen are the range as it came over the wire, for the check of version 4.
	//
	// Differs: 3.19 forgets them, and a range that overflows is granted as a negative one (6930bcbfb6ce).
	LockStart, LockLen uint64
	Fl                 fs.FileLock
}

// NlmArgs is the arguments of any procedure.
//
// C: struct nlm_args, include/linux/lockd/xdr.h
type NlmArgs struct {
	Cookie    NlmCookie
	Lock      NlmLock
	Block     bool
	Reclaim   bool
	State     uint32
	Monitor   bool
	FsmAccess uint32
	FsmMode   uint32
}

// NlmRes is the results of any procedure.
//
// C: struct nlm_res, include/linux/lockd/xdr.h
type NlmRes struct {
	Cookie NlmCookie
	Status uint32 // NLM_..., host byte order
	Lock   NlmLock
}

// NsmPrivate is what a monitored host's status monitor gives back when that host reboots; opaque.
//
// C: struct nsm_private, include/linux/lockd/xdr.h
type NsmPrivate [SM_PRIV_SIZE]byte

// SM_PRIV_SIZE is the size of the private data that a status monitor keeps for us, SM_MAXSTRLEN bounds a host's name
// in its calls; bytes.
const (
	SM_PRIV_SIZE = 16
	SM_MAXSTRLEN = 1024
)

// NlmReboot is the status monitor's news that a host rebooted.
//
// C: struct nlm_reboot, include/linux/lockd/xdr.h
type NlmReboot struct {
	Mon   []byte
	State uint32
	Priv  NsmPrivate
}

// NsmHandle is one host as the status monitor knows it.
//
// C: struct nsm_handle, include/linux/lockd/lockd.h
type NsmHandle struct {
	kernel.Obj
	SmNet       *sock.Net
	SmCount     kernel.Atomic // the last one is dropped under NsmLock
	SmName      string
	SmMonName   string
	SmAddr      sunrpc.SockAddr
	SmMonitored bool // NSM's own
	SmSticky    bool
	SmPriv      NsmPrivate
}

// NlmHost is one peer: a client whose locks we keep, over one transport and version.
//
// C: struct nlm_host, include/linux/lockd/lockd.h
type NlmHost struct {
	kernel.Obj
	HAddr       sunrpc.SockAddr // peer; its port is where the peer's lock manager is, 0: not known yet
	HSrcaddr    sunrpc.SockAddr // ours, as the peer addressed it
	HRpcclnt    *sunrpc.RpcClnt // to call the peer, nil as long as it is not called; HMutex
	HName       string
	HVersion    uint32
	HProto      uint32 // IPPROTO_*
	HServer     bool   // a client of ours, not a server of ours
	HNoresvport bool
	HInuse      bool   // mark of the garbage collector; NlmHostMutex
	HState      uint32 // NlmHostMutex
	HNsmstate   uint32 // NlmHostMutex
	HCount      kernel.Atomic
	HMutex      kernel.Mutex   // the making of HRpcclnt, and the start of calls
	HNextrebind kernel.Jiffies // HMutex
	// HExpires is when the host may be collected, in jiffies; written by whoever takes a reference, without a lock.
	//
	// Differs: a plain word in 3.19, which a namespace that goes down sets back while a request renews it (ours).
	HExpires   kernel.Atomic
	HNsmhandle *NsmHandle
	Net        *sock.Net
}

// NLMCLNT_OHSIZE is the longest owner handle for which a call has room in itself; bytes.
const NLMCLNT_OHSIZE = 64 + 10

// NlmRqst is a call of ours to a peer, or an answer that is sent as one.
//
// C: struct nlm_rqst, include/linux/lockd/lockd.h
type NlmRqst struct {
	kernel.Obj
	ACount kernel.Atomic
	AHost  *NlmHost
	AArgs  NlmArgs
	ARes   NlmRes
	ABlock *NlmBlock
}

// NlmFile is a file that some client has, or had just now, a lock on.
//
// C: struct nlm_file, include/linux/lockd/lockd.h
type NlmFile struct {
	kernel.Obj
	FNext   *NlmFile // in its bucket of NlmFiles; NlmFileMutex
	FHandle NfsFh
	FFile   *fs.File
	FShares *NlmShare             // FMutex
	FBlocks kernel.List[NlmBlock] // through BFlist; FMutex
	// FCount is the number of users. The last one leaves under NlmFileMutex.
	//
	// Differs: a plain number in 3.19, which a new block adds to without NlmFileMutex, so that an addition can be lost
	// (ours).
	FCount kernel.Atomic
	FMutex kernel.Mutex
}

// NlmShare is a DOS share reservation.
//
// C: struct nlm_share, include/linux/lockd/share.h
type NlmShare struct {
	kernel.Obj
	SNext   *NlmShare
	SHost   *NlmHost
	SFile   *NlmFile
	SOwner  []byte
	SAccess uint32
	SMode   uint32
}

// NlmBlock is a lock that a client waits for.
//
// C: struct nlm_block, include/linux/lockd/lockd.h
type NlmBlock struct {
	kernel.Obj
	BCount       kernel.Kref
	BList        kernel.Node[NlmBlock] // in NlmBlocked; NlmBlockedLock
	BFlist       kernel.Node[NlmBlock] // in FBlocks of its file; FMutex
	BCall        *NlmRqst              // the GRANTED call, ready to be sent
	BDaemon      *sunrpc.SvcServ
	BHost        *NlmHost
	BWhen        kernel.Jiffies // when lockd has to look at it, or NLM_NEVER; NlmBlockedLock
	BGranted     bool           // the file system has granted it; NlmBlockedLock
	BFile        *NlmFile
	BCacheReq    *sunrpc.CacheReq
	BDeferredReq *sunrpc.CacheDeferredReq // the request that waits for it; lockd's own
	BFlags       uint32                   // B_*; NlmBlockedLock
	// BLock is what nlmCompareLocks needs to know of the lock.
	//
	// Differs: 3.19 looks into the GRANTED call, where the file system may be changing the range (ours).
	BLock nlmLockKey
}

const (
	// NLM_NEVER is the time of a block at which lockd has to look only when it is told to, in jiffies.
	NLM_NEVER = kernel.MaxScheduleTimeout
	// NLM_TIMEOUT is how long a request waits for the file system, in jiffies.
	NLM_TIMEOUT = 7 * kernel.HZ
)

// nlmLockKey is what tells the locks of clients from each other.
type nlmLockKey struct {
	inode      *fs.Inode
	owner      any
	pid        uint32
	start, end int64
	typ        uint8
}

// nlmLockKeyOf makes the key of a lock.
func nlmLockKeyOf(fl *fs.FileLock) nlmLockKey {
	return nlmLockKey{fl.FlFile.FInode, fl.FlOwner, fl.FlPid, fl.FlStart, fl.FlEnd, fl.FlType}
}

// nlmCompareLocks tells whether fl is the lock of a key. F_UNLCK is any type.
//
// Differs: 3.19 does not compare the files. A process that waits for one range of two of them has two blocks that look
// the same, and the notice that one may have its lock goes to the other ("nlm: Ensure callback code also checks that
// the files match", 4.11).
//
// C: nlm_compare_locks, include/linux/lockd/lockd.h
func nlmCompareLocks(key *nlmLockKey, fl *fs.FileLock) bool {
	other := nlmLockKeyOf(fl)
	if other.typ == fs.F_UNLCK {
		other.typ = key.typ
	}
	return *key == other
}

// Bits of NlmBlock.BFlags.
const (
	B_QUEUED       = 1 // the request waits for the file system
	B_GOT_CALLBACK = 2 // which has answered
	B_TIMED_OUT    = 4 // or was too slow
)

// NlmWait is a lock that this host, as a client, waits for.
//
// C: struct nlm_wait, fs/lockd/clntlock.c
type NlmWait struct {
	kernel.Obj
	BList   kernel.Node[NlmWait] // in NlmclntBlocked; NlmclntBlockedLock
	BWait   kernel.WaitQueueHead
	BHost   *NlmHost
	BLock   *NlmLock
	BStatus kernel.Atomic // NLM_LCK_BLOCKED until the GRANTED call is there. A plain word in C
}

// Status of a lock request on the wire; the last four are of version 4.
//
// C: NLM_LCK_GRANTED, include/linux/lockd/nlm.h
const (
	NLM_LCK_GRANTED             = 0
	NLM_LCK_DENIED              = 1
	NLM_LCK_DENIED_NOLOCKS      = 2
	NLM_LCK_BLOCKED             = 3
	NLM_LCK_DENIED_GRACE_PERIOD = 4
	NLM_DEADLCK                 = 5
	NLM_ROFS                    = 6
	NLM_STALE_FH                = 7
	NLM_FBIG                    = 8
	NLM_FAILED                  = 9

	// NLM_DROP_REPLY is internal: send no reply now.
	NLM_DROP_REPLY = 30000
)
