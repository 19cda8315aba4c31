// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Sizes of the C structures that arguments and results are decoded into on a 64-bit machine, in bytes. They bound
// nothing on the wire, but the largest of them is part of the service's buffer size.
const (
	// NLMSVC_XDRSIZE is the size of struct nlm_args: cookie 40, lock 360 (of which file_lock 192), six words.
	NLMSVC_XDRSIZE = 424
)

// NLM_MAXSTRLEN bounds the name of a caller, in bytes.
const NLM_MAXSTRLEN = 1024

// nlmVoid is no arguments, or no results.
//
// C: struct nlm_void, fs/lockd/svcproc.c
type nlmVoid struct{}

// nlmXdr is how a version writes what version 4 made larger. C has a second set of functions for version 4 instead,
// fs/lockd/xdr4.c and clnt4xdr.c, which say the same in all else.
type nlmXdr struct {
	decodeFh    func(p *sunrpc.XdrPtr, f *NfsFh) bool
	decodeRange func(p *sunrpc.XdrPtr, lock *NlmLock)
	encodeRange func(p *sunrpc.XdrPtr, lock *NlmLock)
	rangeWords  uint32
	lastStat    uint32 // the highest status there is
}

// nlm1Xdr is how versions 1 and 3 write, nlm4Xdr how version 4 does.
var (
	nlm1Xdr = &nlmXdr{
		decodeFh: nlmDecodeFh, decodeRange: nlmDecodeRange, encodeRange: nlmEncodeRange,
		rangeWords: 2, lastStat: NLM_LCK_DENIED_GRACE_PERIOD,
	}
	nlm4Xdr = &nlmXdr{
		decodeFh: nlm4DecodeFh, decodeRange: nlm4DecodeRange, encodeRange: nlm4EncodeRange,
		rangeWords: 4, lastStat: NLM_FAILED,
	}
)

// nlmDecodeCookie reads a cookie at p. An empty one becomes four zero bytes, for the sake of clients that send none
// and want one back. False: longer than NLM_MAXCOOKIELEN.
//
// C: nlm_decode_cookie, fs/lockd/xdr.c; nlm4_decode_cookie, fs/lockd/xdr4.c
func nlmDecodeCookie(p *sunrpc.XdrPtr, c *NlmCookie) bool {
	n := p.Get()
	switch {
	case n == 0:
		c.Len = 4
		clear(c.Data[:4])
	case n <= NLM_MAXCOOKIELEN:
		c.Len = n
		sunrpc.XdrDecodeOpaqueFixed(p, c.Data[:n])
	default:
		return false
	}
	return true
}

// nlmEncodeCookie writes a cookie at p.
//
// Differs: 3.19 steps over the padding and so sends what the page held before (e96735a69805, 447c14d48968).
//
// C: nlm_encode_cookie, fs/lockd/xdr.c; nlm4_encode_cookie, fs/lockd/xdr4.c
func nlmEncodeCookie(p *sunrpc.XdrPtr, c *NlmCookie) {
	sunrpc.XdrEncodeOpaque(p, c.Data[:c.Len])
}

// nlmDecodeFh reads a file handle at p. False: not of the one size that versions 1 and 3 know.
//
// C: nlm_decode_fh, fs/lockd/xdr.c
func nlmDecodeFh(p *sunrpc.XdrPtr, f *NfsFh) bool {
	if p.Get() != NFS2_FHSIZE {
		return false
	}
	f.Size = NFS2_FHSIZE
	clear(f.Data[:])
	sunrpc.XdrDecodeOpaqueFixed(p, f.Data[:NFS2_FHSIZE])
	return true
}

// nlmDecodeOh reads an owner handle at p; it aliases the message. False: longer than XDR_MAX_NETOBJ.
//
// C: nlm_decode_oh, fs/lockd/xdr.c; nlm4_decode_oh, fs/lockd/xdr4.c
func nlmDecodeOh(p *sunrpc.XdrPtr, lock *NlmLock) bool {
	var oh sunrpc.XdrNetobj
	if !sunrpc.XdrDecodeNetobj(p, &oh) {
		return false
	}
	lock.Oh = oh.Data
	return true
}

// nlmDecodeCaller reads the name of the client's host at p; it aliases the message. False: longer than NLM_MAXSTRLEN.
//
// C: xdr_decode_string_inplace of lock->caller, fs/lockd/xdr.c
func nlmDecodeCaller(p *sunrpc.XdrPtr, lock *NlmLock) bool {
	var ok bool
	lock.Caller, ok = sunrpc.XdrDecodeStringInplace(p, NLM_MAXSTRLEN)
	return ok
}

// nlmDecodeRange reads the range of a lock at p, of 32 bits, and clips it at the end of the file where it leaves them:
// no range is refused.
//
// Differs: 3.19 takes the offset as signed. From 2^31 on it becomes a negative one, and what is locked in front of
// the file's start nobody ever unlocks: the release of all locks of a host looks for them for ever (7.3 does as here,
// 6.18 does not). And the end is not cut to 32 bits, which makes a long range end before it begins; the file system
// does not find such a lock again (ours).
//
// C: the end of nlm_decode_lock, fs/lockd/xdr.c
func nlmDecodeRange(p *sunrpc.XdrPtr, lock *NlmLock) {
	start := int64(p.Get())
	n := int64(p.Get())
	end := start + n - 1
	lock.Fl.FlStart = start
	if n == 0 || end > nlmOffsetMax {
		end = fs.OFFSET_MAX
	}
	lock.Fl.FlEnd = end
}

// nlmEncodeRange writes the range of a lock at p, of 32 bits.
//
// C: the end of nlm_encode_testres, fs/lockd/xdr.c, and of encode_nlm_lock, fs/lockd/clntxdr.c
func nlmEncodeRange(p *sunrpc.XdrPtr, lock *NlmLock) {
	start, n := nlmComputeOffsets(lock)
	p.Put(start)
	p.Put(n)
}

// decodeLock reads a lock at p. False: a name or a handle is too long.
//
// C: nlm_decode_lock, fs/lockd/xdr.c; nlm4_decode_lock, fs/lockd/xdr4.c
func (x *nlmXdr) decodeLock(p *sunrpc.XdrPtr, lock *NlmLock) bool {
	if !nlmDecodeCaller(p, lock) || !x.decodeFh(p, &lock.Fh) || !nlmDecodeOh(p, lock) {
		return false
	}
	lock.Svid = p.Get()
	nlmInitLock(lock)
	x.decodeRange(p, lock)
	return true
}

// decodeLockOfType reads a lock at p, and in front of it whether it is exclusive. False: a name or a handle is too
// long.
func (x *nlmXdr) decodeLockOfType(p *sunrpc.XdrPtr, lock *NlmLock) bool {
	exclusive := p.Get()
	if !x.decodeLock(p, lock) {
		return false
	}
	if exclusive != 0 {
		lock.Fl.FlType = fs.F_WRLCK
	}
	return true
}

// nlmInitLock makes the file lock of a lock that was read: a shared POSIX lock of the client's process, without a
// range and without an owner yet.
func nlmInitLock(lock *NlmLock) {
	lock.Fl = fs.FileLock{FlPid: lock.Svid, FlFlags: fs.FL_POSIX, FlType: fs.F_RDLCK}
}

// nlmEncodeHolder writes the head of the lock that is in the way: all but its range.
func nlmEncodeHolder(p *sunrpc.XdrPtr, lock *NlmLock) {
	var exclusive uint32
	if lock.Fl.FlType != fs.F_RDLCK {
		exclusive = 1
	}
	p.Put(exclusive)
	p.Put(lock.Svid)
	sunrpc.XdrEncodeNetobj(p, &sunrpc.XdrNetobj{Len: uint32(len(lock.Oh)), Data: lock.Oh})
}

// decodeTestargs reads the arguments of TEST and GRANTED. As with all readers of arguments, false means that they are
// malformed or end behind the request's head; words that are left over are allowed.
//
// C: nlmsvc_decode_testargs, fs/lockd/xdr.c; nlm4svc_decode_testargs, fs/lockd/xdr4.c
func (x *nlmXdr) decodeTestargs(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	return nlmDecodeCookie(&p, &argp.Cookie) && x.decodeLockOfType(&p, &argp.Lock) && sunrpc.XdrArgsizeCheck(rqstp, p)
}

// encodeTestres writes the result of TEST: with NLM_LCK_DENIED, the lock that is in the way. As with all writers of
// results, false means that it does not fit into the reply.
//
// C: nlmsvc_encode_testres, nlm_encode_testres, fs/lockd/xdr.c; nlm4svc_encode_testres, nlm4_encode_testres,
// fs/lockd/xdr4.c
func (x *nlmXdr) encodeTestres(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp *NlmRes) bool {
	nlmEncodeCookie(&p, &resp.Cookie)
	p.Put(resp.Status)
	if resp.Status == NLM_LCK_DENIED {
		nlmEncodeHolder(&p, &resp.Lock)
		x.encodeRange(&p, &resp.Lock)
	}
	return sunrpc.XdrRessizeCheck(rqstp, p)
}

// decodeLockargs reads the arguments of LOCK and NM_LOCK. The client is to be monitored unless the procedure says
// otherwise.
//
// C: nlmsvc_decode_lockargs, fs/lockd/xdr.c; nlm4svc_decode_lockargs, fs/lockd/xdr4.c
func (x *nlmXdr) decodeLockargs(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	if !nlmDecodeCookie(&p, &argp.Cookie) {
		return false
	}
	argp.Block = p.Get() != 0
	if !x.decodeLockOfType(&p, &argp.Lock) {
		return false
	}
	argp.Reclaim = p.Get() != 0
	argp.State = p.Get()
	argp.Monitor = true
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// decodeCancargs reads the arguments of CANCEL.
//
// C: nlmsvc_decode_cancargs, fs/lockd/xdr.c; nlm4svc_decode_cancargs, fs/lockd/xdr4.c
func (x *nlmXdr) decodeCancargs(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	if !nlmDecodeCookie(&p, &argp.Cookie) {
		return false
	}
	argp.Block = p.Get() != 0
	return x.decodeLockOfType(&p, &argp.Lock) && sunrpc.XdrArgsizeCheck(rqstp, p)
}

// decodeUnlockargs reads the arguments of UNLOCK.
//
// C: nlmsvc_decode_unlockargs, fs/lockd/xdr.c; nlm4svc_decode_unlockargs, fs/lockd/xdr4.c
func (x *nlmXdr) decodeUnlockargs(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	if !nlmDecodeCookie(&p, &argp.Cookie) || !x.decodeLock(&p, &argp.Lock) {
		return false
	}
	argp.Lock.Fl.FlType = fs.F_UNLCK
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// decodeShareargs reads the arguments of SHARE and UNSHARE. Any mode and any access will do, and the word that says
// whether this is a reclaim is left unread, so it never is one. A share belongs to no process.
//
// C: nlmsvc_decode_shareargs, fs/lockd/xdr.c; nlm4svc_decode_shareargs, fs/lockd/xdr4.c
func (x *nlmXdr) decodeShareargs(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	lock := &argp.Lock
	*lock = NlmLock{Svid: ^uint32(0)}
	lock.Fl.FlPid = lock.Svid

	if !nlmDecodeCookie(&p, &argp.Cookie) || !nlmDecodeCaller(&p, lock) || !x.decodeFh(&p, &lock.Fh) ||
		!nlmDecodeOh(&p, lock) {
		return false
	}
	argp.FsmMode = p.Get()
	argp.FsmAccess = p.Get()
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcEncodeShareres writes the result of SHARE and UNSHARE, with a sequence number that is always 0.
//
// C: nlmsvc_encode_shareres, fs/lockd/xdr.c; nlm4svc_encode_shareres, fs/lockd/xdr4.c
func nlmsvcEncodeShareres(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp *NlmRes) bool {
	nlmEncodeCookie(&p, &resp.Cookie)
	p.Put(resp.Status)
	p.Put(0)
	return sunrpc.XdrRessizeCheck(rqstp, p)
}

// nlmsvcEncodeRes writes the result of the procedures that only have a status.
//
// C: nlmsvc_encode_res, fs/lockd/xdr.c; nlm4svc_encode_res, fs/lockd/xdr4.c
func nlmsvcEncodeRes(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp *NlmRes) bool {
	nlmEncodeCookie(&p, &resp.Cookie)
	p.Put(resp.Status)
	return sunrpc.XdrRessizeCheck(rqstp, p)
}

// nlmsvcDecodeNotify reads the arguments of FREE_ALL.
//
// C: nlmsvc_decode_notify, fs/lockd/xdr.c; nlm4svc_decode_notify, fs/lockd/xdr4.c
func nlmsvcDecodeNotify(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmArgs) bool {
	if !nlmDecodeCaller(&p, &argp.Lock) {
		return false
	}
	argp.State = p.Get()
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcDecodeReboot reads the arguments of NSM_NOTIFY; the host's name aliases the message.
//
// C: nlmsvc_decode_reboot, fs/lockd/xdr.c; nlm4svc_decode_reboot, fs/lockd/xdr4.c
func nlmsvcDecodeReboot(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp *NlmReboot) bool {
	var ok bool
	if argp.Mon, ok = sunrpc.XdrDecodeStringInplace(&p, SM_MAXSTRLEN); !ok {
		return false
	}
	argp.State = p.Get()
	sunrpc.XdrDecodeOpaqueFixed(&p, argp.Priv[:])
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcDecodeRes reads the arguments of GRANTED_RES: any status will do.
//
// C: nlmsvc_decode_res, fs/lockd/xdr.c; nlm4svc_decode_res, fs/lockd/xdr4.c
func nlmsvcDecodeRes(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp *NlmRes) bool {
	if !nlmDecodeCookie(&p, &resp.Cookie) {
		return false
	}
	resp.Status = p.Get()
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcDecodeVoid decodes no arguments at p; words that are left over are allowed. False: p lies behind the request.
//
// C: nlmsvc_decode_void, fs/lockd/xdr.c; nlm4svc_decode_void, fs/lockd/xdr4.c
func nlmsvcDecodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ *nlmVoid) bool {
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcEncodeVoid ends the reply at p. False: it is longer than a page.
//
// C: nlmsvc_encode_void, fs/lockd/xdr.c; nlm4svc_encode_void, fs/lockd/xdr4.c
func nlmsvcEncodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ *nlmVoid) bool {
	return sunrpc.XdrRessizeCheck(rqstp, p)
}
