// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// nlm4ComputeOffsets is the range of a lock as version 4 writes it; length 0: to the end of the file. An offset of
// ours is never more than version 4 can name.
//
// C: loff_t_to_s64, nlm4_compute_offsets, fs/lockd/clnt4xdr.c
func nlm4ComputeOffsets(lock *NlmLock) (offset, length uint64) {
	fl := &lock.Fl
	if fl.FlEnd != fs.OFFSET_MAX {
		length = uint64(fl.FlEnd - fl.FlStart + 1)
	}
	return uint64(fl.FlStart), length
}

// encodeHypers writes two words of 64 bits.
func encodeHypers(xdr *sunrpc.XdrStream, a, b uint64) {
	p, _ := sunrpc.XdrReserveSpace(xdr, 16)
	sunrpc.XdrEncodeHyper(&p, a)
	sunrpc.XdrEncodeHyper(&p, b)
}

// encodeNlm4Holder writes the lock that is in the way.
//
// Differs: C writes that the lock is exclusive if it is not, and reserves 8 octets for the 16 of the range, so that
// the length is cut off; nobody has corrected that so far.
//
// C: encode_nlm4_holder, fs/lockd/clnt4xdr.c
func encodeNlm4Holder(xdr *sunrpc.XdrStream, result *NlmRes) {
	lock := &result.Lock
	encodeBool(xdr, lock.Fl.FlType != fs.F_RDLCK)
	encodeInt32(xdr, lock.Svid)
	encodeNetobj(xdr, lock.Oh)
	offset, length := nlm4ComputeOffsets(lock)
	encodeHypers(xdr, offset, length)
}

// encodeNlm4Lock writes a lock.
//
// C: encode_nlm4_lock, fs/lockd/clnt4xdr.c
func encodeNlm4Lock(xdr *sunrpc.XdrStream, lock *NlmLock) {
	encodeNetobj(xdr, lock.Caller)
	encodeFh(xdr, &lock.Fh)
	encodeNetobj(xdr, lock.Oh)
	encodeInt32(xdr, lock.Svid)
	offset, length := nlm4ComputeOffsets(lock)
	encodeHypers(xdr, offset, length)
}

// nlm4XdrEncTestargs writes the arguments of GRANTED and GRANTED_MSG, which are those of TEST.
//
// C: nlm4_xdr_enc_testargs, fs/lockd/clnt4xdr.c
func nlm4XdrEncTestargs(xdr *sunrpc.XdrStream, argp any) {
	args := argp.(*NlmArgs)
	encodeCookie(xdr, &args.Cookie)
	encodeBool(xdr, args.Lock.Fl.FlType == fs.F_WRLCK)
	encodeNlm4Lock(xdr, &args.Lock)
}

// nlm4XdrEncTestres writes the answer to a TEST.
//
// C: nlm4_xdr_enc_testres, fs/lockd/clnt4xdr.c
func nlm4XdrEncTestres(xdr *sunrpc.XdrStream, argp any) {
	nlmXdrEncRes(xdr, argp)
	if res := argp.(*NlmRes); res.Status == NLM_LCK_DENIED {
		encodeNlm4Holder(xdr, res)
	}
}

// nlm4XdrDecRes reads a cookie and a status. 0 or -EIO.
//
// C: nlm4_xdr_dec_res, fs/lockd/clnt4xdr.c
func nlm4XdrDecRes(xdr *sunrpc.XdrStream, resp any) int {
	res := resp.(*NlmRes)
	if err := decodeCookie(xdr, &res.Cookie); err != 0 {
		return err
	}
	return decodeStat(xdr, &res.Status, NLM_FAILED)
}
