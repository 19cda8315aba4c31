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
// that leaves the offsets of a file is cut there: nlmsvcRetrieveArgs is what refuses it.
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

// nlm4DecodeRange reads the range of a lock at p, of 64 bits.
//
// Differs: keeps the range as it was sent, for nlmsvcRetrieveArgs to check (6930bcbfb6ce); gives the file lock its
// range here all the same, since GRANTED compares it (7ff84910c66c).
//
// C: the end of nlm4_decode_lock, fs/lockd/xdr4.c
func nlm4DecodeRange(p *sunrpc.XdrPtr, lock *NlmLock) {
	lock.LockStart = sunrpc.XdrDecodeHyper(p)
	lock.LockLen = sunrpc.XdrDecodeHyper(p)
	nlm4SetFileLockRange(&lock.Fl, lock.LockStart, lock.LockLen)
}

// nlm4EncodeRange writes the range of a lock at p, of 64 bits.
//
// C: the end of nlm4_encode_testres, fs/lockd/xdr4.c, and of encode_nlm4_lock, fs/lockd/clnt4xdr.c
func nlm4EncodeRange(p *sunrpc.XdrPtr, lock *NlmLock) {
	start, n := nlm4ComputeOffsets(lock)
	sunrpc.XdrEncodeHyper(p, start)
	sunrpc.XdrEncodeHyper(p, n)
}
