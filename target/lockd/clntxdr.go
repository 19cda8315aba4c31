// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// nlmOffsetMax is the last offset that versions 1 and 3 can name, in octets.
//
// C: NLM_OFFSET_MAX, include/linux/lockd/nlm.h
const nlmOffsetMax = 1<<31 - 1

// loffTToS32 clips an offset to what versions 1 and 3 can name.
//
// C: loff_t_to_s32, fs/lockd/clntxdr.c
func loffTToS32(offset int64) uint32 {
	return uint32(int32(min(max(offset, -nlmOffsetMax), nlmOffsetMax)))
}

// nlmComputeOffsets is the range of a lock as versions 1 and 3 write it; length 0: to the end of the file.
//
// C: nlm_compute_offsets, fs/lockd/clntxdr.c
func nlmComputeOffsets(lock *NlmLock) (offset, length uint32) {
	fl := &lock.Fl
	offset = loffTToS32(fl.FlStart)
	if fl.FlEnd != fs.OFFSET_MAX {
		length = loffTToS32(fl.FlEnd - fl.FlStart + 1)
	}
	return offset, length
}

// encodeBool writes a boolean.
//
// C: encode_bool, fs/lockd/clntxdr.c
func encodeBool(xdr *sunrpc.XdrStream, value bool) {
	w := uint32(0)
	if value {
		w = 1
	}
	encodeInt32(xdr, w)
}

// encodeInt32 writes a word.
//
// C: encode_int32, fs/lockd/clntxdr.c
func encodeInt32(xdr *sunrpc.XdrStream, value uint32) {
	p, _ := sunrpc.XdrReserveSpace(xdr, 4)
	p.Put(value)
}

// encodeNetobj writes counted octets. The bounds of all that we send keep a message within its page.
//
// Differs: 3.19 makes room for an owner handle of its own, NLMCLNT_OHSIZE, but those of clients have up to 1024 octets:
// it follows a NULL pointer when one with such a handle gets the lock that it waited for. Nobody has corrected that so
// far.
//
// C: encode_netobj, fs/lockd/clntxdr.c
func encodeNetobj(xdr *sunrpc.XdrStream, data []byte) {
	p, _ := sunrpc.XdrReserveSpace(xdr, 4+uint64(len(data)))
	sunrpc.XdrEncodeOpaque(&p, data)
}

// encodeCookie writes a cookie.
//
// C: encode_cookie, fs/lockd/clntxdr.c
func encodeCookie(xdr *sunrpc.XdrStream, cookie *NlmCookie) {
	encodeNetobj(xdr, cookie.Data[:cookie.Len])
}

// decodeCookie reads a cookie; an empty one, as HP-UX sends it, counts as four zero octets. 0 or -EIO.
//
// C: decode_cookie, fs/lockd/clntxdr.c
func decodeCookie(xdr *sunrpc.XdrStream, cookie *NlmCookie) int {
	p, ok := sunrpc.XdrInlineDecode(xdr, 4)
	if !ok {
		return -kernel.EIO
	}
	length := p.Get()
	if length == 0 {
		*cookie = NlmCookie{Len: 4}
		return 0
	}
	if length > NLM_MAXCOOKIELEN {
		return -kernel.EIO
	}
	if p, ok = sunrpc.XdrInlineDecode(xdr, uint64(length)); !ok {
		return -kernel.EIO
	}
	cookie.Len = length
	sunrpc.XdrDecodeOpaqueFixed(&p, cookie.Data[:length])
	return 0
}

// encodeFh writes a file handle.
//
// C: encode_fh, fs/lockd/clntxdr.c, fs/lockd/clnt4xdr.c
func encodeFh(xdr *sunrpc.XdrStream, fh *NfsFh) {
	encodeNetobj(xdr, fh.Data[:fh.Size])
}

// decodeStat reads a status, which is last at most. 0 or -EIO.
//
// C: decode_nlm_stat, fs/lockd/clntxdr.c; decode_nlm4_stat, fs/lockd/clnt4xdr.c
func decodeStat(xdr *sunrpc.XdrStream, status *uint32, last uint32) int {
	p, ok := sunrpc.XdrInlineDecode(xdr, 4)
	if !ok {
		return -kernel.EIO
	}
	stat := p.Get()
	if stat > last {
		return -kernel.EIO
	}
	*status = stat
	return 0
}

// encodeLockRange writes the range of a lock.
func (x *nlmXdr) encodeLockRange(xdr *sunrpc.XdrStream, lock *NlmLock) {
	p, _ := sunrpc.XdrReserveSpace(xdr, 4*uint64(x.rangeWords))
	x.encodeRange(&p, lock)
}

// encodeHolder writes the lock that is in the way.
//
// Differs: C writes that the lock is exclusive if it is not, and in version 4 reserves 8 octets for the 16 of the
// range, so that the length is cut off; nobody has corrected that so far.
//
// C: encode_nlm_holder, fs/lockd/clntxdr.c; encode_nlm4_holder, fs/lockd/clnt4xdr.c
func (x *nlmXdr) encodeHolder(xdr *sunrpc.XdrStream, lock *NlmLock) {
	encodeBool(xdr, lock.Fl.FlType != fs.F_RDLCK)
	encodeInt32(xdr, lock.Svid)
	encodeNetobj(xdr, lock.Oh)
	x.encodeLockRange(xdr, lock)
}

// encodeLock writes a lock.
//
// C: encode_nlm_lock, fs/lockd/clntxdr.c; encode_nlm4_lock, fs/lockd/clnt4xdr.c
func (x *nlmXdr) encodeLock(xdr *sunrpc.XdrStream, lock *NlmLock) {
	encodeNetobj(xdr, lock.Caller)
	encodeFh(xdr, &lock.Fh)
	encodeNetobj(xdr, lock.Oh)
	encodeInt32(xdr, lock.Svid)
	x.encodeLockRange(xdr, lock)
}

// encTestargs writes the arguments of GRANTED and GRANTED_MSG, which are those of TEST.
//
// C: nlm_xdr_enc_testargs, fs/lockd/clntxdr.c; nlm4_xdr_enc_testargs, fs/lockd/clnt4xdr.c
func (x *nlmXdr) encTestargs(xdr *sunrpc.XdrStream, argp any) {
	args := argp.(*NlmArgs)
	encodeCookie(xdr, &args.Cookie)
	encodeBool(xdr, args.Lock.Fl.FlType == fs.F_WRLCK)
	x.encodeLock(xdr, &args.Lock)
}

// nlmXdrEncRes writes a cookie and a status.
//
// Differs: C warns of a status that versions 1 and 3 do not have, and stops the machine at one that is not in version 4
// either; castToNlm lets none through.
//
// C: nlm_xdr_enc_res, fs/lockd/clntxdr.c; nlm4_xdr_enc_res, fs/lockd/clnt4xdr.c
func nlmXdrEncRes(xdr *sunrpc.XdrStream, argp any) {
	res := argp.(*NlmRes)
	encodeCookie(xdr, &res.Cookie)
	encodeInt32(xdr, res.Status)
}

// encTestres writes the answer to a TEST.
//
// C: nlm_xdr_enc_testres, fs/lockd/clntxdr.c; nlm4_xdr_enc_testres, fs/lockd/clnt4xdr.c
func (x *nlmXdr) encTestres(xdr *sunrpc.XdrStream, argp any) {
	nlmXdrEncRes(xdr, argp)
	if res := argp.(*NlmRes); res.Status == NLM_LCK_DENIED {
		x.encodeHolder(xdr, &res.Lock)
	}
}

// decRes reads a cookie and a status. 0 or -EIO.
//
// C: nlm_xdr_dec_res, fs/lockd/clntxdr.c; nlm4_xdr_dec_res, fs/lockd/clnt4xdr.c
func (x *nlmXdr) decRes(xdr *sunrpc.XdrStream, resp any) int {
	res := resp.(*NlmRes)
	if err := decodeCookie(xdr, &res.Cookie); err != 0 {
		return err
	}
	return decodeStat(xdr, &res.Status, x.lastStat)
}

// calls makes a table of the procedures that we call at peers: GRANTED, and the messages that are answers to
// messages. Nothing is read of the replies to messages.
//
// C: nlm_procedures, fs/lockd/clntxdr.c; nlm4_procedures, fs/lockd/clnt4xdr.c
func (x *nlmXdr) calls() []*sunrpc.RpcProcinfo {
	return []*sunrpc.RpcProcinfo{
		NLMPROC_GRANTED:     {PProc: NLMPROC_GRANTED, PEncode: x.encTestargs, PDecode: x.decRes, PName: "GRANTED"},
		NLMPROC_GRANTED_MSG: {PProc: NLMPROC_GRANTED_MSG, PEncode: x.encTestargs, PName: "GRANTED_MSG"},
		NLMPROC_TEST_RES:    {PProc: NLMPROC_TEST_RES, PEncode: x.encTestres, PName: "TEST_RES"},
		NLMPROC_LOCK_RES:    {PProc: NLMPROC_LOCK_RES, PEncode: nlmXdrEncRes, PName: "LOCK_RES"},
		NLMPROC_CANCEL_RES:  {PProc: NLMPROC_CANCEL_RES, PEncode: nlmXdrEncRes, PName: "CANCEL_RES"},
		NLMPROC_UNLOCK_RES:  {PProc: NLMPROC_UNLOCK_RES, PEncode: nlmXdrEncRes, PName: "UNLOCK_RES"},
		NLMPROC_GRANTED_RES: {PProc: NLMPROC_GRANTED_RES, PEncode: nlmXdrEncRes, PName: "GRANTED_RES"},
	}
}

// nlmCallTable is the lock manager as its clients know it: versions 1, 3 and 4.
//
// C: nlm_program, nlm_versions, fs/lockd/clntxdr.c
var nlmCallTable = &sunrpc.RpcProgram{
	Name:   "lockd",
	Number: NLM_PROGRAM,
	Version: []*sunrpc.RpcVersion{
		1: {Number: 1, Procs: nlm1Xdr.calls()},
		3: {Number: 3, Procs: nlm1Xdr.calls()},
		4: {Number: 4, Procs: nlm4Xdr.calls()},
	},
}
