// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Wire constants of RFC 5531 (ONC RPC) and of the in-kernel headers.
const (
	PAGE_SIZE = 4096

	RPC_VERSION = 2

	RPC_CALL  = 0
	RPC_REPLY = 1

	RPC_MSG_ACCEPTED = 0
	RPC_MSG_DENIED   = 1

	RPC_SUCCESS       = 0
	RPC_PROG_UNAVAIL  = 1
	RPC_PROG_MISMATCH = 2
	RPC_PROC_UNAVAIL  = 3
	RPC_GARBAGE_ARGS  = 4
	RPC_SYSTEM_ERR    = 5
	// RPC_DROP_REPLY is a kernel-internal accept status: a handler's wish that no reply be sent.
	RPC_DROP_REPLY = 60000
	// RPC_AUTHERR_BADCRED is another: that the caller be told AUTH_BADCRED. In C it has the number of that
	// authentication status, and so that of RPC_PROG_UNAVAIL, which no handler returns.
	RPC_AUTHERR_BADCRED = 1

	RPC_MISMATCH   = 0
	RPC_AUTH_ERROR = 1

	RPC_AUTH_NULL      = 0
	RPC_AUTH_UNIX      = 1
	RPC_AUTH_SHORT     = 2
	RPC_AUTH_DES       = 3
	RPC_AUTH_KRB       = 4
	RPC_AUTH_GSS       = 6
	RPC_AUTH_MAXFLAVOR = 8

	RPC_AUTH_OK           = 0
	RPC_AUTH_BADCRED      = 1
	RPC_AUTH_REJECTEDCRED = 2
	RPC_AUTH_BADVERF      = 3
	RPC_AUTH_REJECTEDVERF = 4
	RPC_AUTH_TOOWEAK      = 5
	RPC_AUTH_FAILED       = 7

	// RPC_MAX_AUTH_SIZE bounds one credential or verifier body, in bytes.
	RPC_MAX_AUTH_SIZE = 400
	// XDR_MAX_NETOBJ bounds a netobj (lock handle, cookie), in bytes.
	XDR_MAX_NETOBJ = 1024
	// UNX_MAXNODENAME is the name buffer of the kernel's uname, without the final zero, in bytes.
	UNX_MAXNODENAME = 64
	// UNX_NGROUPS bounds the groups of one AUTH_SYS credential.
	UNX_NGROUPS = 16

	IPPROTO_TCP = 6
	IPPROTO_UDP = 17
)

// Kvec is struct kvec: a window of IovLen bytes that starts at IovMem[IovBase].
//
// IovMem is the storage the window lies in (a page, or a packet or kmalloc buffer) and reaches past the window: the
// server parses in place, and where C's length arithmetic lets it run past the datagram, it sees the stale bytes
// that follow. IovLen is size_t, so taking a word from an empty window wraps it to a huge number exactly as in C.
// What C would read beyond the storage is not ours to give: such bytes read as zero, such writes vanish, and
// IovClamped is set so that an oracle can tell.
type Kvec struct {
	IovMem     []byte
	IovBase    int
	IovLen     uint64
	IovClamped bool
}

// KvecOf makes a window over the first n bytes of mem. Units: bytes.
func KvecOf(mem []byte, n uint64) Kvec {
	return Kvec{IovMem: mem, IovLen: n}
}

// KvecPage makes a window over the first n bytes of a page; bytes after n stay reachable as stale memory.
func KvecPage(page *kernel.Page, n uint64) Kvec {
	return Kvec{IovMem: page.Data[:], IovLen: n}
}

// Bytes returns the window itself, cut at the end of the storage. The slice aliases the storage.
func (v *Kvec) Bytes() []byte {
	lo := min(max(v.IovBase, 0), len(v.IovMem))
	room := uint64(len(v.IovMem) - lo)
	return v.IovMem[lo : lo+int(min(v.IovLen, room))]
}

// P is the window's start as a word pointer, as iov_base is handed to decoders.
func (v *Kvec) P() XdrPtr {
	return XdrPtr{Mem: v.IovMem, Off: v.IovBase}
}

// End is the place right behind the window, where the next reply word goes.
func (v *Kvec) End() XdrPtr {
	return XdrPtr{Mem: v.IovMem, Off: v.IovBase + int(v.IovLen)}
}

// word reads four bytes at off, zero where there is no storage.
func (v *Kvec) word(off int) uint32 {
	if off >= 0 && off+4 <= len(v.IovMem) {
		return binary.BigEndian.Uint32(v.IovMem[off:])
	}
	v.IovClamped = true
	return loadWord(v.IovMem, off)
}

// loadWord reads four bytes at off, zero for each that mem does not have.
func loadWord(mem []byte, off int) uint32 {
	if off >= 0 && off+4 <= len(mem) {
		return binary.BigEndian.Uint32(mem[off:])
	}
	var w uint32
	for i := off; i < off+4; i++ {
		w <<= 8
		if i >= 0 && i < len(mem) {
			w |= uint32(mem[i])
		}
	}
	return w
}

// storeWord writes four bytes at off; false and nothing written if they do not all fit.
func storeWord(mem []byte, off int, w uint32) bool {
	if off < 0 || off+4 > len(mem) {
		return false
	}
	binary.BigEndian.PutUint32(mem[off:], w)
	return true
}

// XdrBuf is struct xdr_buf: a message in a head window, a run of pages and a tail window.
// PageBase and PageLen are bytes within Pages, Buflen is the room in all parts, Len the bytes of the message.
type XdrBuf struct {
	Head     Kvec
	Tail     Kvec
	Pages    []*kernel.Page
	PageBase uint32
	PageLen  uint32
	Buflen   uint32
	Len      uint32
}

// Flatten copies the message (head, pages, tail) into one new slice, cut at Len. Parts that have no storage are
// left out, so the result can be shorter than Len.
func (b *XdrBuf) Flatten() []byte {
	out := make([]byte, 0, min(int(b.Len), 1<<21))
	out = append(out, b.Head.Bytes()...)
	left := int(b.PageLen)
	off := int(b.PageBase)
	for _, pg := range b.Pages {
		if left <= 0 || pg == nil {
			break
		}
		if off >= PAGE_SIZE {
			off -= PAGE_SIZE
			continue
		}
		n := min(PAGE_SIZE-off, left)
		out = append(out, pg.Data[off:off+n]...)
		left -= n
		off = 0
	}
	out = append(out, b.Tail.Bytes()...)
	return out[:min(len(out), int(b.Len))]
}

// XdrNetobj is struct xdr_netobj: a counted opaque that points into the message it was decoded from.
type XdrNetobj struct {
	Len  uint32
	Data []byte
}

// XdrPtr is C's `__be32 *p` into a message: a byte offset into the storage the message lies in. Reading where there
// is no storage gives zero, writing there does nothing (Kvec says why).
type XdrPtr struct {
	Mem []byte
	Off int
}

// Get reads one word and steps behind it.
func (p *XdrPtr) Get() uint32 {
	w := loadWord(p.Mem, p.Off)
	p.Off += 4
	return w
}

// Look reads the word at p without moving.
func (p XdrPtr) Look() uint32 {
	return loadWord(p.Mem, p.Off)
}

// Put writes one word and steps behind it; false: there was no storage and nothing was written.
func (p *XdrPtr) Put(w uint32) bool {
	ok := storeWord(p.Mem, p.Off, w)
	p.Off += 4
	return ok
}

// PutBytes copies b to p, zero-pads it to a word boundary and steps behind it; what has no storage is left out.
func (p *XdrPtr) PutBytes(b []byte) bool {
	n := (len(b) + 3) &^ 3
	ok := p.Off >= 0 && p.Off+n <= len(p.Mem)
	for i := range n {
		at := p.Off + i
		if at < 0 || at >= len(p.Mem) {
			continue
		}
		if i < len(b) {
			p.Mem[at] = b[i]
		} else {
			p.Mem[at] = 0
		}
	}
	p.Off += n
	return ok
}

// Words returns p - q in whole words.
func (p XdrPtr) Words(q XdrPtr) int {
	return (p.Off - q.Off) / 4
}

// window returns n bytes at p. They alias the storage as far as it reaches; a window that leaves it is copied out
// and padded with zeros.
func (p XdrPtr) window(n uint32) []byte {
	end := p.Off + int(n)
	if p.Off >= 0 && end <= len(p.Mem) {
		return p.Mem[p.Off:end:end]
	}
	out := make([]byte, n)
	if p.Off >= 0 && p.Off < len(p.Mem) {
		copy(out, p.Mem[p.Off:])
	}
	return out
}

// XdrQuadlen is the number of words that hold l bytes. It rounds in 32 bits, so the three largest lengths give 0;
// the AUTH_SYS machine name check lives with that.
//
// C: XDR_QUADLEN, include/linux/sunrpc/xdr.h
func XdrQuadlen(l uint32) uint32 {
	return (l + 3) >> 2
}

// SvcGetnl takes one word from the front of the window, in host order. No length check: IovLen may wrap.
//
// C: svc_getnl, include/linux/sunrpc/svc.h
func SvcGetnl(iov *Kvec) uint32 {
	w := iov.word(iov.IovBase)
	iov.IovBase += 4
	iov.IovLen -= 4
	return w
}

// SvcPutnl appends one word, given in host order, behind the window. No room check, as in C.
//
// C: svc_putnl, include/linux/sunrpc/svc.h
func SvcPutnl(iov *Kvec, val uint32) {
	if !storeWord(iov.IovMem, iov.IovBase+int(iov.IovLen), val) {
		iov.IovClamped = true
	}
	iov.IovLen += 4
}

// SvcGetu32 takes one word from the front of the window. C keeps it in wire order and compares it with constants in
// wire order; here both are in host order.
//
// C: svc_getu32, include/linux/sunrpc/svc.h
func SvcGetu32(iov *Kvec) uint32 {
	return SvcGetnl(iov)
}

// SvcUngetu32 gives back the word taken last.
//
// C: svc_ungetu32, include/linux/sunrpc/svc.h
func SvcUngetu32(iov *Kvec) {
	iov.IovBase -= 4
	iov.IovLen += 4
}

// SvcPutu32 appends one word; as SvcPutnl, since words are kept in host order here.
//
// C: svc_putu32, include/linux/sunrpc/svc.h
func SvcPutu32(iov *Kvec, val uint32) {
	SvcPutnl(iov, val)
}

// XdrArgsizeCheck is true if p, the place where argument decoding stopped, still lies in the request's head. The
// end of the head is computed modulo 2^64, so a wrapped length puts it before the head and the check fails.
//
// C: xdr_argsize_check, include/linux/sunrpc/svc.h
func XdrArgsizeCheck(rqstp *SvcRqst, p XdrPtr) bool {
	vec := &rqstp.RqArg.Head
	return p.Off >= vec.IovBase && int64(p.Off) <= int64(vec.IovBase)+int64(vec.IovLen)
}

// XdrRessizeCheck ends the reply head at p and is true if it still fits into one page.
//
// C: xdr_ressize_check, include/linux/sunrpc/svc.h
func XdrRessizeCheck(rqstp *SvcRqst, p XdrPtr) bool {
	vec := &rqstp.RqRes.Head
	vec.IovLen = uint64(int64(p.Off - vec.IovBase))
	return vec.IovLen <= PAGE_SIZE
}

// XdrEncodeHyper writes a 64-bit value at p.
//
// C: xdr_encode_hyper, include/linux/sunrpc/xdr.h
func XdrEncodeHyper(p *XdrPtr, val uint64) {
	p.Put(uint32(val >> 32))
	p.Put(uint32(val))
}

// XdrDecodeHyper reads a 64-bit value at p.
//
// C: xdr_decode_hyper, include/linux/sunrpc/xdr.h
func XdrDecodeHyper(p *XdrPtr) uint64 {
	hi := p.Get()
	lo := p.Get()
	return uint64(hi)<<32 | uint64(lo)
}

// XdrEncodeNetobj writes obj as a counted, padded opaque.
//
// C: xdr_encode_netobj, net/sunrpc/xdr.c
func XdrEncodeNetobj(p *XdrPtr, obj *XdrNetobj) {
	p.Put(obj.Len)
	b := obj.Data
	if uint32(len(b)) > obj.Len {
		b = b[:obj.Len]
	}
	p.PutBytes(b)
}

// XdrDecodeNetobj reads a counted opaque of at most XDR_MAX_NETOBJ bytes; obj.Data aliases the message. False: too
// long, and obj is left as it was except for its length having been read. Whether the body lies within the request
// is only checked later, by XdrArgsizeCheck.
//
// C: xdr_decode_netobj, net/sunrpc/xdr.c
func XdrDecodeNetobj(p *XdrPtr, obj *XdrNetobj) bool {
	n := p.Get()
	if n > XDR_MAX_NETOBJ {
		return false
	}
	obj.Len = n
	obj.Data = p.window(n)
	p.Off += int(XdrQuadlen(n)) * 4
	return true
}

// XdrEncodeOpaqueFixed writes b without a count, zero-padded to a word boundary.
//
// C: xdr_encode_opaque_fixed, net/sunrpc/xdr.c
func XdrEncodeOpaqueFixed(p *XdrPtr, b []byte) {
	p.PutBytes(b)
}

// XdrDecodeOpaqueFixed copies len(dst) bytes from p and steps behind their padding.
//
// C: xdr_decode_opaque_fixed, include/linux/sunrpc/xdr.h
func XdrDecodeOpaqueFixed(p *XdrPtr, dst []byte) {
	copy(dst, p.window(uint32(len(dst))))
	p.Off += int(XdrQuadlen(uint32(len(dst)))) * 4
}

// XdrEncodeOpaque writes b with its count, zero-padded to a word boundary.
//
// C: xdr_encode_opaque, net/sunrpc/xdr.c
func XdrEncodeOpaque(p *XdrPtr, b []byte) {
	p.Put(uint32(len(b)))
	p.PutBytes(b)
}

// XdrEncodeString writes s with its count, zero-padded to a word boundary.
//
// C: xdr_encode_string, net/sunrpc/xdr.c
func XdrEncodeString(p *XdrPtr, s string) {
	XdrEncodeOpaque(p, []byte(s))
}

// XdrDecodeStringInplace reads a counted string of at most maxLen bytes; the result aliases the message. False: too
// long. As with a netobj, running past the request is noticed only by XdrArgsizeCheck.
//
// C: xdr_decode_string_inplace, net/sunrpc/xdr.c
func XdrDecodeStringInplace(p *XdrPtr, maxLen uint32) ([]byte, bool) {
	n := p.Get()
	if n > maxLen {
		return nil, false
	}
	s := p.window(n)
	p.Off += int(XdrQuadlen(n)) * 4
	return s, true
}

// XdrStream is struct xdr_stream: a cursor over an XdrBuf that knows where the buffer ends. It is used where the
// kernel checks each item (the NFSv4 callback program), unlike the word pointers above.
type XdrStream struct {
	P       XdrPtr
	Buf     *XdrBuf
	end     int // byte offset in P.Mem
	iov     *Kvec
	page    int // index into Buf.Pages + 1; 0 while in head or tail
	nwords  uint32
	scratch []byte
}

// Room is the space between the cursor and the end of the current piece of the buffer, in words.
func (xdr *XdrStream) Room() int {
	return (xdr.end - xdr.P.Off) / 4
}

// XdrInitEncode starts a stream that appends to buf behind its head; p, if its storage is not nil, must lie between
// the end of the head and the end of the head's room, and the words up to p count as written.
//
// C: xdr_init_encode, net/sunrpc/xdr.c
func XdrInitEncode(m *kernel.Machine, xdr *XdrStream, buf *XdrBuf, p XdrPtr) {
	iov := &buf.Head
	scratchLen := int(int32(buf.Buflen - buf.PageLen - uint32(buf.Tail.IovLen)))
	m.BugOn(scratchLen < 0, "xdr_init_encode: negative room")
	xdr.scratch = nil
	xdr.Buf = buf
	xdr.iov = iov
	xdr.page = 0
	xdr.P = iov.End()
	xdr.end = iov.IovBase + scratchLen
	m.BugOn(iov.IovLen > uint64(scratchLen), "xdr_init_encode: head longer than its room")
	if p.Mem != nil && p.Off != xdr.P.Off {
		m.BugOn(p.Off < xdr.P.Off || p.Off > xdr.end, "xdr_init_encode: start outside of the head")
		n := p.Off - xdr.P.Off
		xdr.P = p
		buf.Len += uint32(n)
		iov.IovLen += uint64(n)
	}
}

// XdrReserveSpace takes nbytes (rounded up to words) at the cursor for writing and adds them to the buffer's
// lengths. False: the head has no room for them.
//
// Differs: the kernel can go on into the buffer's pages here, but a stream made by xdr_init_encode never has its
// page cursor set, so for our callers that path only leads to a wild pointer; it reports no room instead.
//
// C: xdr_reserve_space, net/sunrpc/xdr.c
func XdrReserveSpace(xdr *XdrStream, nbytes uint64) (XdrPtr, bool) {
	nbytes = (nbytes + 3) &^ 3
	if nbytes > PAGE_SIZE || xdr.P.Off+int(nbytes) > xdr.end {
		return XdrPtr{}, false
	}
	p := xdr.P
	xdr.P.Off += int(nbytes)
	xdr.iov.IovLen += nbytes
	xdr.Buf.Len += uint32(nbytes)
	return p, true
}

// xdrSetIov points the stream at a window, at most n bytes of it.
//
// C: xdr_set_iov, net/sunrpc/xdr.c
func xdrSetIov(xdr *XdrStream, iov *Kvec, n uint32) {
	if uint64(n) > iov.IovLen {
		n = uint32(iov.IovLen)
	}
	xdr.P = iov.P()
	xdr.end = iov.IovBase + int(n)
	xdr.iov = iov
	xdr.page = 0
}

// xdrSetPageBase points the stream at byte base of the page part, at most n bytes and never past that page.
// -EINVAL: base lies behind the page part.
//
// C: xdr_set_page_base, net/sunrpc/xdr.c
func xdrSetPageBase(xdr *XdrStream, base, n uint32) int {
	maxlen := xdr.Buf.PageLen
	if base >= maxlen {
		return -kernel.EINVAL
	}
	n = min(n, maxlen-base)
	base += xdr.Buf.PageBase
	nr := int(base / PAGE_SIZE)
	if nr >= len(xdr.Buf.Pages) || xdr.Buf.Pages[nr] == nil {
		return -kernel.EINVAL
	}
	off := int(base % PAGE_SIZE)
	xdr.page = nr + 1
	xdr.P = XdrPtr{Mem: xdr.Buf.Pages[nr].Data[:], Off: off}
	xdr.end = min(off+int(n), PAGE_SIZE)
	xdr.iov = nil
	return 0
}

// xdrSetNextBuffer steps from the head to the pages, from page to page and at last to the tail; false: nothing left.
//
// C: xdr_set_next_buffer, net/sunrpc/xdr.c
func xdrSetNextBuffer(xdr *XdrStream) bool {
	switch {
	case xdr.page != 0:
		base := uint32(xdr.page)*PAGE_SIZE - xdr.Buf.PageBase
		if xdrSetPageBase(xdr, base, PAGE_SIZE) < 0 {
			xdrSetIov(xdr, &xdr.Buf.Tail, xdr.Buf.Len)
		}
	case xdr.iov == &xdr.Buf.Head:
		if xdrSetPageBase(xdr, 0, PAGE_SIZE) < 0 {
			xdrSetIov(xdr, &xdr.Buf.Tail, xdr.Buf.Len)
		}
	}
	return xdr.P.Off != xdr.end
}

// XdrInitDecode starts a stream that reads buf from its head on, or from p if that lies further in the head. The
// stream ends after buf.Len bytes, counted from the head's current start.
//
// C: xdr_init_decode, net/sunrpc/xdr.c
func XdrInitDecode(xdr *XdrStream, buf *XdrBuf, p XdrPtr) {
	*xdr = XdrStream{Buf: buf, nwords: XdrQuadlen(buf.Len)}
	if buf.Head.IovLen != 0 {
		xdrSetIov(xdr, &buf.Head, buf.Len)
	} else if buf.PageLen != 0 {
		xdrSetPageBase(xdr, 0, buf.Len)
	}
	if p.Mem != nil && p.Off > xdr.P.Off && xdr.end >= p.Off {
		xdr.nwords -= uint32(p.Off-xdr.P.Off) / 4
		xdr.P = p
	}
}

// xdrInlineDecode steps over nbytes, rounded to words, of the current piece; false if it has not so many left.
//
// C: __xdr_inline_decode, net/sunrpc/xdr.c
func xdrInlineDecode(xdr *XdrStream, nbytes uint64) (XdrPtr, bool) {
	if nbytes > 4*uint64(xdr.nwords) { // the rounding below might not see how many they are
		return XdrPtr{}, false
	}
	nwords := XdrQuadlen(uint32(nbytes))
	if xdr.P.Off+int(nwords)*4 > xdr.end {
		return XdrPtr{}, false
	}
	p := xdr.P
	xdr.P.Off += int(nwords) * 4
	xdr.nwords -= nwords
	return p, true
}

// XdrSetScratchBuffer attaches the storage into which items that straddle two pieces of the buffer are copied;
// without it such items do not decode.
//
// C: xdr_set_scratch_buffer, include/linux/sunrpc/xdr.h
func XdrSetScratchBuffer(xdr *XdrStream, buf []byte) {
	xdr.scratch = buf
}

// XdrInlineDecode takes the next nbytes (rounded up to words) of the stream and returns where they lie. False: the
// message is too short, or the item straddles two pieces and the scratch buffer is too small.
//
// C: xdr_inline_decode, net/sunrpc/xdr.c
func XdrInlineDecode(xdr *XdrStream, nbytes uint64) (XdrPtr, bool) {
	if nbytes == 0 {
		return xdr.P, true
	}
	if xdr.P.Off == xdr.end && !xdrSetNextBuffer(xdr) {
		return XdrPtr{}, false
	}
	if p, ok := xdrInlineDecode(xdr, nbytes); ok {
		return p, true
	}
	return xdrCopyToScratch(xdr, nbytes)
}

// xdrCopyToScratch joins the rest of the current piece and the start of the next in the scratch buffer.
//
// Differs: 3.19 copies the rest of the piece even if that is more than was asked for, past the end of the scratch
// buffer if need be, before it notices.
//
// C: xdr_copy_to_scratch, net/sunrpc/xdr.c
func xdrCopyToScratch(xdr *XdrStream, nbytes uint64) (XdrPtr, bool) {
	if nbytes > uint64(len(xdr.scratch)) {
		return XdrPtr{}, false
	}
	have := uint64(max(xdr.end-xdr.P.Off, 0))
	if have >= nbytes {
		// Only the word count said no: the piece is longer than the message.
		return XdrPtr{}, false
	}
	copy(xdr.scratch, xdr.P.window(uint32(have)))
	if !xdrSetNextBuffer(xdr) {
		return XdrPtr{}, false
	}
	p, ok := xdrInlineDecode(xdr, nbytes-have)
	if !ok {
		return XdrPtr{}, false
	}
	copy(xdr.scratch[have:nbytes], p.window(uint32(nbytes-have)))
	return XdrPtr{Mem: xdr.scratch}, true
}
