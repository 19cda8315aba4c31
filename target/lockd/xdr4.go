// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// nlm4DecodeFh reads a file handle at p, of any size that NFS knows. False: longer than that.
//
// C: nlm4_decode_fh, fs/lockd/xdr4.c
func nlm4DecodeFh(p *sunrpc.XdrPtr, f *NfsFh) bool {
	clear(f.Data[:])
	f.Size = p.Get()
	if f.Size > NFS_MAXFHSIZE {
		return false
	}
	sunrpc.XdrDecodeOpaqueFixed(p, f.Data[:f.Size])
	return true
}

// nlm4SetFileLockRange gives fl the range that a client named; a length of 0 means to the end of the file. A range
// that leaves the offsets of a file is cut there: nlm4svcRetrieveArgs is what refuses it.
//
// C: nlm4svc_set_file_lock_range (later), fs/lockd/xdr4.c
func nlm4SetFileLockRange(fl *fs.FileLock, start, n uint64) {
	end := int64(start + n - 1)
	fl.FlStart = int64(start)
	if n == 0 || end < 0 {
		fl.FlEnd = fs.OFFSET_MAX
	} else {
		fl.FlEnd = end
	}
}

// nlm4DecodeLock reads a lock at p, with a range of 64 bits. False: a name or a handle is too long.
//
// Differs: keeps the range as it was sent, for nlm4svcRetrieveArgs to check (6930bcbfb6ce); gives the file lock its
// range here all the same, since GRANTED compares it (7ff84910c66c).
//
// C: nlm4_decode_lock, fs/lockd/xdr4.c
func nlm4DecodeLock(p *sunrpc.XdrPtr, lock *NlmLock) bool {
	if !nlmDecodeCaller(p, lock) || !nlm4DecodeFh(p, &lock.Fh) || !nlmDecodeOh(p, lock) {
		return false
	}
	lock.Svid = p.Get()
	lock.LockStart = sunrpc.XdrDecodeHyper(p)
	lock.LockLen = sunrpc.XdrDecodeHyper(p)

	nlmInitLock(lock)
	nlm4SetFileLockRange(&lock.Fl, lock.LockStart, lock.LockLen)
	return true
}

// nlm4EncodeTestres writes the result of TEST at p: with NLM_LCK_DENIED, the lock that is in the way.
//
// C: nlm4_encode_testres, fs/lockd/xdr4.c
func nlm4EncodeTestres(p *sunrpc.XdrPtr, resp *NlmRes) {
	nlmEncodeCookie(p, &resp.Cookie)
	p.Put(resp.Status)
	if resp.Status != NLM_LCK_DENIED {
		return
	}
	nlmEncodeHolder(p, &resp.Lock)
	start, n := nlm4ComputeOffsets(&resp.Lock)
	sunrpc.XdrEncodeHyper(p, start)
	sunrpc.XdrEncodeHyper(p, n)
}

// nlm4svcEncodeTestres writes the result of TEST. False: it does not fit into the reply.
//
// C: nlm4svc_encode_testres, fs/lockd/xdr4.c
func nlm4svcEncodeTestres(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp *NlmRes) bool {
	nlm4EncodeTestres(&p, resp)
	return sunrpc.XdrRessizeCheck(rqstp, p)
}
