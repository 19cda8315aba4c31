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
	SmLink      kernel.Node[NsmHandle] // in NsmHandles; NsmLock
	SmCount     kernel.Atomic
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
	HHash       kernel.Node[NlmHost] // in NlmServerHosts; NlmHostMutex
	HAddr       sunrpc.SockAddr      // peer; its port is where the peer's lock manager is, 0: not known yet
	HSrcaddr    sunrpc.SockAddr      // ours, as the peer addressed it
	HRpcclnt    *sunrpc.RpcClnt      // to call the peer; HMutex
	HName       string
	HVersion    uint32
	HProto      uint32 // IPPROTO_*
	HServer     bool   // a client of ours, not a server of ours
	HNoresvport bool
	HInuse      bool // mark of the garbage collector; NlmHostMutex
	HState      uint32
	HNsmstate   uint32
	HCount      kernel.Atomic
	HMutex      kernel.Mutex // the making of HRpcclnt
	HNextrebind kernel.Jiffies
	HExpires    kernel.Jiffies // not collected before
	HNsmhandle  *NsmHandle
	Net         *sock.Net
}

// NlmRqst is a call of ours to a peer, or an answer that is sent as one.
//
// C: struct nlm_rqst, include/linux/lockd/lockd.h
type NlmRqst struct {
	kernel.Obj
	ACount   kernel.Atomic
	AFlags   uint32
	AHost    *NlmHost
	AArgs    NlmArgs
	ARes     NlmRes
	ABlock   *NlmBlock
	ARetries uint32
	AOwner   []byte
}

// NlmFile is a file that some client has, or had just now, a lock on.
//
// C: struct nlm_file, include/linux/lockd/lockd.h
type NlmFile struct {
	kernel.Obj
	FList   kernel.Node[NlmFile] // in NlmFiles; NlmFileMutex
	FHandle NfsFh
	FFile   *fs.File
	FShares *NlmShare             // FMutex
	FBlocks kernel.List[NlmBlock] // through BFlist; FMutex
	FLocks  uint32                // locks at the last count; NlmFileMutex
	FCount  uint32                // users; NlmFileMutex
	FMutex  kernel.Mutex
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
	BWhen        kernel.Jiffies // when lockd has to look at it; NlmBlockedLock
	BGranted     bool
	BFile        *NlmFile
	BCacheReq    *sunrpc.CacheReq
	BDeferredReq *sunrpc.CacheDeferredReq
	BFlags       uint32 // B_*
}

// Bits of NlmBlock.BFlags.
const (
	B_QUEUED           = 1 // the file system has been asked
	B_PENDING_CALLBACK = 2 // and has said that it will call back
	B_GOT_CALLBACK     = 4 // and has done so
	B_TIMED_OUT        = 8 // or was too slow
)

// NlmWait is a lock that this host, as a client, waits for.
//
// C: struct nlm_wait, fs/lockd/clntlock.c
type NlmWait struct {
	kernel.Obj
	BList    kernel.Node[NlmWait] // in NlmclntBlocked; NlmclntBlockedLock
	BWait    kernel.WaitQueueHead
	BHost    *NlmHost
	BLock    *fs.FileLock
	BStatus  kernel.Var[uint32] // NLM_LCK_BLOCKED until the GRANTED call is there
	BReclaim bool
}

// Status of a lock request on the wire; the last four are of version 4.
//
// C: enum nlm_stats, include/linux/lockd/nlm.h; nlm4 in include/linux/lockd/xdr4.h
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
	// NLM_LCK_DENIED_DEADLOCK is internal: NLM_DEADLCK in version 4, NLM_LCK_DENIED in the others.
	NLM_LCK_DENIED_DEADLOCK = 30001
)
