// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NFS4_CALLBACK is the program number of the NFSv4 callback service.
const NFS4_CALLBACK = 0x40000000

// Procedures of the callback program.
const (
	CB_NULL     = 0
	CB_COMPOUND = 1
)

// Sizes in bytes.
const (
	NFS4_CALLBACK_XDRSIZE = 2048
	NFS4_CALLBACK_BUFSIZE = 1024 + NFS4_CALLBACK_XDRSIZE
	CB_OP_TAGLEN_MAXSZ    = 512
)

// KMALLOC_MAX_SIZE is the largest piece of memory that kmalloc has, in bytes.
const KMALLOC_MAX_SIZE = 4 << 20

// NfsFh is a file handle.
//
// C: struct nfs_fh, include/linux/nfs.h
type NfsFh struct {
	Size uint32
	Data [NFS4_FHSIZE]byte
}

// Bytes is the handle itself. A size that no decoder lets through is a bug.
func (fh *NfsFh) Bytes() []byte { return fh.Data[:fh.Size] }

// cbCompoundHdrArg is the header of a compound.
type cbCompoundHdrArg struct {
	tag          []byte // in the request
	minorversion uint32
	cbIdent      uint32 // minor version 0 only
	nops         uint32
}

// cbCompoundHdrRes is where the header of the answer has what is known only at its end.
type cbCompoundHdrRes struct {
	status sunrpc.XdrPtr
	nops   sunrpc.XdrPtr
}

// cbProcessState is what the operations of one compound share.
type cbProcessState struct {
	drcStatus    uint32     // of the next operation, if the call was answered before
	clp          *NfsClient // referenced; nil: not known yet
	slot         *Nfs4Slot  // of the back channel, in use; nil: none
	minorversion uint32
	net          *sock.Net
}

// cbArgs stands for rq_argp and rq_resp: the arguments and the result of one operation. All operations of a compound
// use the same octets, so each finds there what another has left: an operation of the same kind its own fields, one of
// another kind garbage, see at. The first finds zeros.
type cbArgs struct {
	op           uint32 // whose arguments these are; 0: nobody's yet
	getattr      CbGetattrargs
	recall       CbRecallargs
	layoutrecall CbLayoutrecallargs
	devicenotify CbDevicenotifyargs
	sequence     CbSequenceargs
	recallany    CbRecallanyargs
	recallslot   CbRecallslotargs

	getattrRes  CbGetattrres
	sequenceRes CbSequenceres
}

// at makes the memory that of an operation's arguments.
func (args *cbArgs) at(op uint32) {
	if args.op != op && args.op != 0 {
		args.scribble()
	}
	args.op = op
}

// scribble makes every field that an operation could take for its own one that it cannot use: counts that are too
// large, and arrays that are none.
func (args *cbArgs) scribble() {
	const junk = 0x6b6b6b6b
	*args = cbArgs{
		getattr:      CbGetattrargs{Fh: NfsFh{Size: junk}, Bitmap: [2]uint32{junk, junk}},
		recall:       CbRecallargs{Fh: NfsFh{Size: junk}, Truncate: junk},
		layoutrecall: CbLayoutrecallargs{CblRecallType: junk, CblFh: NfsFh{Size: junk}},
		devicenotify: CbDevicenotifyargs{Ndevs: junk, Devs: &cbDevices{}},
		sequence:     CbSequenceargs{CsaNrclists: junk, CsaRclists: &cbRclists{}},
		recallany:    CbRecallanyargs{CraaTypeMask: junk},
		recallslot:   CbRecallslotargs{CrsaTargetHighestSlotid: junk},
		getattrRes:   CbGetattrres{Status: junk, Bitmap: [2]uint32{junk, junk}},
		sequenceRes:  CbSequenceres{CsrStatus: junk},
	}
}

// callbackOp is how one operation is done: its arguments read into args, itself, its result written from args; nil:
// it has none. All return a status.
type callbackOp struct {
	processOp  func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32
	decodeArgs func(rqstp *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, args *cbArgs) uint32
	encodeRes  func(xdr *sunrpc.XdrStream, args *cbArgs) uint32
}

// nfs4CallbackNull is the NULL procedure.
//
// C: nfs4_callback_null, fs/nfs/callback_xdr.c
func nfs4CallbackNull(_ *kernel.Task, _ *sunrpc.SvcRqst, _, _ any) uint32 {
	return sunrpc.RPC_SUCCESS
}

// nfs4DecodeVoid decodes no arguments at p; words that are left over are allowed. False: p lies behind the request.
//
// C: nfs4_decode_void, fs/nfs/callback_xdr.c
func nfs4DecodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nfs4EncodeVoid ends the reply at p. False: it is longer than a page.
//
// C: nfs4_encode_void, fs/nfs/callback_xdr.c
func nfs4EncodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrRessizeCheck(rqstp, p)
}

// readBuf takes the next nbytes of the request; false if it has not so many.
//
// Differs: nothing is printed, here and where a tag is too long or a minor version too high. The kernel has the number
// in 32 bits with a sign, and takes the highest three for 0; who reads so much fails a moment later all the same.
//
// C: read_buf, fs/nfs/callback_xdr.c
func readBuf(xdr *sunrpc.XdrStream, nbytes uint64) (sunrpc.XdrPtr, bool) {
	return sunrpc.XdrInlineDecode(xdr, nbytes)
}

// fixed copies octets from p to dst.
func fixed(p *sunrpc.XdrPtr, dst []byte) { sunrpc.XdrDecodeOpaqueFixed(p, dst) }

// decodeString reads a counted string of any length; it stays in the request.
//
// C: decode_string, fs/nfs/callback_xdr.c
func decodeString(xdr *sunrpc.XdrStream) ([]byte, uint32) {
	p, ok := readBuf(xdr, 4)
	if !ok {
		return nil, NFS4ERR_RESOURCE
	}
	size := p.Get()
	if p, ok = readBuf(xdr, uint64(size)); !ok {
		return nil, NFS4ERR_RESOURCE
	}
	return p.Mem[p.Off : p.Off+int(size) : p.Off+int(size)], NFS4_OK
}

// decodeFh reads a file handle.
//
// C: decode_fh, fs/nfs/callback_xdr.c
func decodeFh(xdr *sunrpc.XdrStream, fh *NfsFh) uint32 {
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	size := p.Get()
	if size > NFS4_FHSIZE {
		return NFS4ERR_BADHANDLE
	}
	if p, ok = readBuf(xdr, uint64(size)); !ok {
		return NFS4ERR_RESOURCE
	}
	*fh = NfsFh{Size: size}
	fixed(&p, fh.Data[:size])
	return NFS4_OK
}

// decodeBitmap reads a bitmap of any length and keeps its first two words.
//
// Differs: a word that the bitmap does not have is 0, where the kernel leaves what the memory had; 2^30 words and more
// are too long, where the kernel takes the octets that are left of them in 32 bits, be it none, and reads on behind
// them (ours).
//
// C: decode_bitmap, fs/nfs/callback_xdr.c
func decodeBitmap(xdr *sunrpc.XdrStream, bitmap *[2]uint32) uint32 {
	*bitmap = [2]uint32{}
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	attrlen := p.Get()
	if p, ok = readBuf(xdr, uint64(attrlen)<<2); !ok {
		return NFS4ERR_RESOURCE
	}
	for i := range min(attrlen, 2) {
		bitmap[i] = p.Get()
	}
	return NFS4_OK
}

// decodeStateid reads a stateid.
//
// C: decode_stateid, fs/nfs/callback_xdr.c
func decodeStateid(xdr *sunrpc.XdrStream, stateid *Nfs4Stateid) uint32 {
	p, ok := readBuf(xdr, NFS4_STATEID_SIZE)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	stateid.Seqid = p.Get()
	fixed(&p, stateid.Other[:])
	return NFS4_OK
}

// decodeCompoundHdrArg reads the header of a compound. NFS4ERR_RESOURCE: it is none; another error becomes the
// compound's status.
//
// C: decode_compound_hdr_arg, fs/nfs/callback_xdr.c
func decodeCompoundHdrArg(xdr *sunrpc.XdrStream, hdr *cbCompoundHdrArg) uint32 {
	var status uint32
	if hdr.tag, status = decodeString(xdr); status != NFS4_OK {
		return status
	}
	if len(hdr.tag) > CB_OP_TAGLEN_MAXSZ-12 {
		return NFS4ERR_RESOURCE
	}
	p, ok := readBuf(xdr, 12)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	hdr.minorversion = p.Get()
	if hdr.minorversion > NFS4_MAX_MINOR_VERSION {
		return NFS4ERR_MINOR_VERS_MISMATCH
	}
	hdr.cbIdent = p.Get()
	hdr.nops = p.Get()
	return NFS4_OK
}

// decodeOpHdr reads which operation comes next. NFS4ERR_RESOURCE_HDR: nothing does.
//
// C: decode_op_hdr, fs/nfs/callback_xdr.c
func decodeOpHdr(xdr *sunrpc.XdrStream) (uint32, uint32) {
	p, ok := readBuf(xdr, 4)
	if !ok {
		return 0, NFS4ERR_RESOURCE_HDR
	}
	return p.Get(), NFS4_OK
}

// decodeGetattrArgs reads the arguments of CB_GETATTR.
//
// C: decode_getattr_args, fs/nfs/callback_xdr.c
func decodeGetattrArgs(_ *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.getattr
	if status := decodeFh(xdr, &args.Fh); status != NFS4_OK {
		return status
	}
	return decodeBitmap(xdr, &args.Bitmap)
}

// decodeRecallArgs reads the arguments of CB_RECALL.
//
// C: decode_recall_args, fs/nfs/callback_xdr.c
func decodeRecallArgs(_ *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.recall
	if status := decodeStateid(xdr, &args.Stateid); status != NFS4_OK {
		return status
	}
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	args.Truncate = p.Get()
	return decodeFh(xdr, &args.Fh)
}

// decodeLayoutrecallArgs reads the arguments of CB_LAYOUTRECALL.
//
// C: decode_layoutrecall_args, fs/nfs/callback_xdr.c
func decodeLayoutrecallArgs(_ *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.layoutrecall
	p, ok := readBuf(xdr, 4*4)
	if !ok {
		return NFS4ERR_BADXDR
	}
	args.CblLayoutType = p.Get()
	iomode := p.Get()
	args.CblLayoutchanged = p.Get()
	args.CblRecallType = p.Get()

	switch args.CblRecallType {
	case RETURN_FILE:
		args.CblRange.Iomode = iomode
		if status := decodeFh(xdr, &args.CblFh); status != NFS4_OK {
			return status
		}
		if p, ok = readBuf(xdr, 2*8); !ok {
			return NFS4ERR_BADXDR
		}
		args.CblRange.Offset = sunrpc.XdrDecodeHyper(&p)
		args.CblRange.Length = sunrpc.XdrDecodeHyper(&p)
		return decodeStateid(xdr, &args.CblStateid)
	case RETURN_FSID:
		if p, ok = readBuf(xdr, 2*8); !ok {
			return NFS4ERR_BADXDR
		}
		args.CblFsid.Major = sunrpc.XdrDecodeHyper(&p)
		args.CblFsid.Minor = sunrpc.XdrDecodeHyper(&p)
	case RETURN_ALL:
	default:
		return NFS4ERR_BADXDR
	}
	return NFS4_OK
}

// arrayFits says whether kmalloc has memory for n elements of size octets.
//
// C: kmalloc_array, include/linux/slab.h; __alloc_pages_nodemask, mm/page_alloc.c
func arrayFits(m *kernel.Machine, n uint32, size uint64) bool {
	return !m.WarnOnOnce(uint64(n)*size > KMALLOC_MAX_SIZE, "kmalloc_array: more memory than there can be")
}

// cbDevicenotifyitemXdr is the size of the smallest notification in a request, in octets; cbRclistXdr that of the
// smallest list of referring calls.
const (
	cbDevicenotifyitemXdr = 4*4 + NFS4_DEVICEID4_SIZE
	cbRclistXdr           = NFS4_MAX_SESSIONID_LEN + 4
)

// decodeDevicenotifyArgs reads the arguments of CB_NOTIFY_DEVICEID. Only if it succeeds there is an array to free.
//
// As in every kernel so far, it is the layout type that decides whether cbd_immediate is read, not the kind of the
// notification.
//
// Differs: an empty array is none at all, where 3.19 leaves what the memory had (b05bf5c63b32). More notifications
// than the request has room for are NFS4ERR_BADXDR before there is memory for them, also from 2^31 on, which 3.19 takes
// for none (ours).
//
// C: decode_devicenotify_args, fs/nfs/callback_xdr.c
func decodeDevicenotifyArgs(rqstp *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.devicenotify
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_BADXDR
	}
	n := p.Get()
	args.Ndevs = 0
	args.Devs = nil
	if n == 0 {
		return NFS4_OK
	}
	if n > xdr.Buf.Len/cbDevicenotifyitemXdr {
		return NFS4ERR_BADXDR
	}
	devs := kernel.Kzalloc[cbDevices](rqstp.Machine(), "cbn_devs", kernel.GFP_KERNEL)
	if devs == nil {
		return NFS4ERR_DELAY
	}
	devs.at = make([]CbDevicenotifyitem, n)
	for i := range devs.at {
		if status := decodeDevicenotifyitem(xdr, &devs.at[i]); status != NFS4_OK {
			kernel.Kfree(devs)
			return status
		}
	}
	args.Ndevs, args.Devs = n, devs
	return NFS4_OK
}

// decodeDevicenotifyitem reads one notification.
//
// C: decode_devicenotify_args, fs/nfs/callback_xdr.c
func decodeDevicenotifyitem(xdr *sunrpc.XdrStream, dev *CbDevicenotifyitem) uint32 {
	p, ok := readBuf(xdr, cbDevicenotifyitemXdr)
	if !ok {
		return NFS4ERR_BADXDR
	}
	if p.Get() != 1 { // words of the bitmap
		return NFS4ERR_INVAL
	}
	dev.CbdNotifyType = p.Get()
	size := p.Get()
	switch dev.CbdNotifyType {
	case NOTIFY_DEVICEID4_CHANGE:
		ok = size == NFS4_DEVICEID4_SIZE+8
	case NOTIFY_DEVICEID4_DELETE:
		ok = size == NFS4_DEVICEID4_SIZE+4
	default:
		ok = false
	}
	if !ok {
		return NFS4ERR_INVAL
	}
	dev.CbdLayoutType = p.Get()
	fixed(&p, dev.CbdDevID[:])
	if dev.CbdLayoutType == NOTIFY_DEVICEID4_CHANGE {
		if p, ok = readBuf(xdr, 4); !ok {
			return NFS4ERR_BADXDR
		}
		dev.CbdImmediate = p.Get()
	}
	return NFS4_OK
}

// decodeSessionid reads a session id.
//
// C: decode_sessionid, fs/nfs/callback_xdr.c
func decodeSessionid(xdr *sunrpc.XdrStream, sid *Nfs4Sessionid) uint32 {
	p, ok := readBuf(xdr, NFS4_MAX_SESSIONID_LEN)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	fixed(&p, sid[:])
	return NFS4_OK
}

// decodeRcList reads the referring calls of one session. Only if it succeeds there may be an array to free.
//
// Differs: looks at the number before it multiplies it, in 32 bits (6dbf1f341b6b).
//
// C: decode_rc_list, fs/nfs/callback_xdr.c
func decodeRcList(m *kernel.Machine, xdr *sunrpc.XdrStream, rcList *ReferringCallList) uint32 {
	if status := decodeSessionid(xdr, &rcList.RclSessionid); status != NFS4_OK {
		return status
	}
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	n := p.Get()
	if n == 0 {
		return NFS4_OK
	}
	if n > xdr.Buf.Len {
		return NFS4ERR_RESOURCE
	}
	if p, ok = readBuf(xdr, uint64(n*2*4)); !ok {
		return NFS4ERR_RESOURCE
	}
	if !arrayFits(m, n, 2*4) {
		return NFS4ERR_RESOURCE
	}
	calls := kernel.Kzalloc[cbRefcalls](m, "rcl_refcalls", kernel.GFP_KERNEL)
	if calls == nil {
		return NFS4ERR_RESOURCE
	}
	calls.at = make([]ReferringCall, n)
	for i := range calls.at {
		calls.at[i].RcSequenceid = p.Get()
		calls.at[i].RcSlotid = p.Get()
	}
	rcList.RclNrefcalls, rcList.RclRefcalls = n, calls
	return NFS4_OK
}

// kfreeRclists frees lists of referring calls; nil is allowed.
//
// C: decode_cb_sequence_args (out_free), fs/nfs/callback_xdr.c
func kfreeRclists(lists *cbRclists) {
	if lists == nil {
		return
	}
	for i := range lists.at {
		kernel.Kfree(lists.at[i].RclRefcalls)
	}
	kernel.Kfree(lists)
}

// decodeCbSequenceArgs reads the arguments of CB_SEQUENCE. Only if it succeeds there may be an array to free.
//
// Differs: more lists than the request has room for are refused before there is memory for them. A list without calls,
// or one that was not read, has no array; 3.19 frees what its memory had (ours).
//
// C: decode_cb_sequence_args, fs/nfs/callback_xdr.c
func decodeCbSequenceArgs(rqstp *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.sequence
	if status := decodeSessionid(xdr, &args.CsaSessionid); status != NFS4_OK {
		return status
	}
	p, ok := readBuf(xdr, 5*4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	args.CsaAddr = rqstp.RqAddr
	args.CsaSequenceid = p.Get()
	args.CsaSlotid = p.Get()
	args.CsaHighestslotid = p.Get()
	args.CsaCachethis = p.Get()
	n := p.Get()
	args.CsaNrclists, args.CsaRclists = n, nil
	if n == 0 {
		return NFS4_OK
	}
	if n > xdr.Buf.Len/cbRclistXdr {
		return NFS4ERR_RESOURCE
	}
	m := rqstp.Machine()
	lists := kernel.Kzalloc[cbRclists](m, "csa_rclists", kernel.GFP_KERNEL)
	if lists == nil {
		return NFS4ERR_RESOURCE
	}
	lists.at = make([]ReferringCallList, n)
	for i := range lists.at {
		if status := decodeRcList(m, xdr, &lists.at[i]); status != NFS4_OK {
			kfreeRclists(lists)
			return status
		}
	}
	args.CsaRclists = lists
	return NFS4_OK
}

// decodeRecallanyArgs reads the arguments of CB_RECALL_ANY.
//
// C: decode_recallany_args, fs/nfs/callback_xdr.c
func decodeRecallanyArgs(_ *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	args := &cb.recallany
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_BADXDR
	}
	args.CraaObjsToKeep = p.Get()
	var bitmap [2]uint32
	status := decodeBitmap(xdr, &bitmap)
	args.CraaTypeMask = bitmap[0]
	return status
}

// decodeRecallslotArgs reads the arguments of CB_RECALL_SLOT.
//
// C: decode_recallslot_args, fs/nfs/callback_xdr.c
func decodeRecallslotArgs(_ *sunrpc.SvcRqst, xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	p, ok := readBuf(xdr, 4)
	if !ok {
		return NFS4ERR_BADXDR
	}
	cb.recallslot.CrsaTargetHighestSlotid = p.Get()
	return NFS4_OK
}

// encodeString writes a counted string.
//
// C: encode_string, fs/nfs/callback_xdr.c
func encodeString(xdr *sunrpc.XdrStream, str []byte) uint32 {
	p, ok := sunrpc.XdrReserveSpace(xdr, 4+uint64(len(str)))
	if !ok {
		return NFS4ERR_RESOURCE
	}
	sunrpc.XdrEncodeOpaque(&p, str)
	return NFS4_OK
}

// Attributes that CB_GETATTR answers.
const (
	CB_SUPPORTED_ATTR0 = FATTR4_WORD0_CHANGE | FATTR4_WORD0_SIZE
	CB_SUPPORTED_ATTR1 = FATTR4_WORD1_TIME_METADATA | FATTR4_WORD1_TIME_MODIFY
)

// encodeAttrBitmap writes the bitmap with as few words as it needs, and leaves room for the length of the attributes,
// which is what it returns.
//
// C: encode_attr_bitmap, fs/nfs/callback_xdr.c
func encodeAttrBitmap(xdr *sunrpc.XdrStream, bitmap *[2]uint32) (sunrpc.XdrPtr, uint32) {
	words := []uint32{bitmap[0] & CB_SUPPORTED_ATTR0, bitmap[1] & CB_SUPPORTED_ATTR1}
	for len(words) > 0 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	p, ok := sunrpc.XdrReserveSpace(xdr, 8+4*uint64(len(words)))
	if !ok {
		return p, NFS4ERR_RESOURCE
	}
	p.Put(uint32(len(words)))
	for _, w := range words {
		p.Put(w)
	}
	return p, NFS4_OK
}

// encodeAttrHyper writes the change attribute or the size.
//
// C: encode_attr_change, encode_attr_size, fs/nfs/callback_xdr.c
func encodeAttrHyper(xdr *sunrpc.XdrStream, value uint64) uint32 {
	p, ok := sunrpc.XdrReserveSpace(xdr, 8)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	sunrpc.XdrEncodeHyper(&p, value)
	return NFS4_OK
}

// encodeAttrTime writes a time.
//
// C: encode_attr_time, fs/nfs/callback_xdr.c
func encodeAttrTime(xdr *sunrpc.XdrStream, time *Timespec) uint32 {
	p, ok := sunrpc.XdrReserveSpace(xdr, 12)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	sunrpc.XdrEncodeHyper(&p, uint64(time.Sec))
	p.Put(time.Nsec)
	return NFS4_OK
}

// encodeCompoundHdrRes writes the header of the answer, with room for what is known only at its end.
//
// C: encode_compound_hdr_res, fs/nfs/callback_xdr.c
func encodeCompoundHdrRes(xdr *sunrpc.XdrStream, tag []byte, hdr *cbCompoundHdrRes) uint32 {
	var ok bool
	if hdr.status, ok = sunrpc.XdrReserveSpace(xdr, 4); !ok {
		return NFS4ERR_RESOURCE
	}
	if status := encodeString(xdr, tag); status != NFS4_OK {
		return status
	}
	if hdr.nops, ok = sunrpc.XdrReserveSpace(xdr, 4); !ok {
		return NFS4ERR_RESOURCE
	}
	return NFS4_OK
}

// encodeOpHdr writes the header of an operation's result. NFS4ERR_RESOURCE_HDR: there is no room for it.
//
// C: encode_op_hdr, fs/nfs/callback_xdr.c
func encodeOpHdr(xdr *sunrpc.XdrStream, op, res uint32) uint32 {
	p, ok := sunrpc.XdrReserveSpace(xdr, 8)
	if !ok {
		return NFS4ERR_RESOURCE_HDR
	}
	p.Put(op)
	p.Put(res)
	return NFS4_OK
}

// encodeGetattrRes writes the result of a CB_GETATTR that succeeded. If the room ends within it, the answer ends there
// too: as in the kernel, what was written of it stays.
//
// Differs: the length of attributes of which not even the last was reached is 0; 3.19 leaves what the page had.
//
// C: encode_getattr_res, fs/nfs/callback_xdr.c
func encodeGetattrRes(xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	res := &cb.getattrRes
	if res.Status != NFS4_OK {
		return res.Status
	}
	savep, status := encodeAttrBitmap(xdr, &res.Bitmap)
	if status != NFS4_OK {
		return status
	}
	if status == NFS4_OK && res.Bitmap[0]&FATTR4_WORD0_CHANGE != 0 {
		status = encodeAttrHyper(xdr, res.ChangeAttr)
	}
	if status == NFS4_OK && res.Bitmap[0]&FATTR4_WORD0_SIZE != 0 {
		status = encodeAttrHyper(xdr, res.Size)
	}
	if status == NFS4_OK && res.Bitmap[1]&FATTR4_WORD1_TIME_METADATA != 0 {
		status = encodeAttrTime(xdr, &res.Ctime)
	}
	if status != NFS4_OK {
		savep.Put(0)
		return status
	}
	if res.Bitmap[1]&FATTR4_WORD1_TIME_MODIFY != 0 {
		status = encodeAttrTime(xdr, &res.Mtime)
	}
	savep.Put(uint32(xdr.P.Off - savep.Off - 4))
	return status
}

// encodeSessionid writes a session id.
//
// C: encode_sessionid, fs/nfs/callback_xdr.c
func encodeSessionid(xdr *sunrpc.XdrStream, sid *Nfs4Sessionid) uint32 {
	p, ok := sunrpc.XdrReserveSpace(xdr, NFS4_MAX_SESSIONID_LEN)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	sunrpc.XdrEncodeOpaqueFixed(&p, sid[:])
	return NFS4_OK
}

// encodeCbSequenceRes writes the result of a CB_SEQUENCE that succeeded. If the room ends behind the session id, that
// stays.
//
// Differs: no room for the session id is an error at once; 3.19 goes on (ours).
//
// C: encode_cb_sequence_res, fs/nfs/callback_xdr.c
func encodeCbSequenceRes(xdr *sunrpc.XdrStream, cb *cbArgs) uint32 {
	res := &cb.sequenceRes
	if res.CsrStatus != NFS4_OK {
		return res.CsrStatus
	}
	if status := encodeSessionid(xdr, &res.CsrSessionid); status != NFS4_OK {
		return status
	}
	p, ok := sunrpc.XdrReserveSpace(xdr, 4*4)
	if !ok {
		return NFS4ERR_RESOURCE
	}
	p.Put(res.CsrSequenceid)
	p.Put(res.CsrSlotid)
	p.Put(res.CsrHighestslotid)
	p.Put(res.CsrTargetHighestslotid)
	return NFS4_OK
}

// preprocessNfs41Op says whether the nop-th operation of a compound of minor version 1 may be opNr.
//
// C: preprocess_nfs41_op, fs/nfs/callback_xdr.c
func preprocessNfs41Op(nop, opNr uint32) uint32 {
	if opNr == OP_CB_SEQUENCE {
		if nop != 0 {
			return NFS4ERR_SEQUENCE_POS
		}
	} else if nop == 0 {
		return NFS4ERR_OP_NOT_IN_SESSION
	}
	switch opNr {
	case OP_CB_GETATTR, OP_CB_RECALL, OP_CB_SEQUENCE, OP_CB_RECALL_ANY, OP_CB_RECALL_SLOT, OP_CB_LAYOUTRECALL,
		OP_CB_NOTIFY_DEVICEID:
		return NFS4_OK
	case OP_CB_NOTIFY, OP_CB_PUSH_DELEG, OP_CB_RECALLABLE_OBJ_AVAIL, OP_CB_WANTS_CANCELLED, OP_CB_NOTIFY_LOCK:
		return NFS4ERR_NOTSUPP
	}
	return NFS4ERR_OP_ILLEGAL
}

// nfs4CbFreeSlot gives back the slot that a compound's CB_SEQUENCE took. Takes SlotTblLock.
//
// Differs: gives back that slot, and once (4.8); 3.19 says that no slot of the table is in use any more.
//
// C: nfs4_callback_free_slot, fs/nfs/callback_xdr.c
func nfs4CbFreeSlot(cps *cbProcessState) {
	if cps.slot == nil {
		return
	}
	tbl := &cps.clp.ClSession.BcSlotTable
	tbl.SlotTblLock.Lock()
	nfs4FreeSlot(tbl, cps.slot)
	tbl.SlotTblLock.Unlock()
	cps.slot = nil
}

// preprocessNfs42Op is preprocessNfs41Op for minor version 2.
//
// C: preprocess_nfs42_op, fs/nfs/callback_xdr.c
func preprocessNfs42Op(nop, opNr uint32) uint32 {
	status := preprocessNfs41Op(nop, opNr)
	if status == NFS4ERR_OP_ILLEGAL && opNr == OP_CB_OFFLOAD {
		return NFS4ERR_NOTSUPP
	}
	return status
}

// preprocessNfs4Op says whether an operation of a compound of minor version 0 may be opNr.
//
// C: preprocess_nfs4_op, fs/nfs/callback_xdr.c
func preprocessNfs4Op(opNr uint32) uint32 {
	if opNr == OP_CB_GETATTR || opNr == OP_CB_RECALL {
		return NFS4_OK
	}
	return NFS4ERR_OP_ILLEGAL
}

// processOp reads, does and answers the nop-th operation of a compound. Returns its status, or NFS4ERR_RESOURCE_HDR if
// there is nothing to count. May sleep.
//
// C: process_op, fs/nfs/callback_xdr.c
func (n *Nfs) processOp(cur *kernel.Task, nop uint32, rqstp *sunrpc.SvcRqst, in, out *sunrpc.XdrStream, args *cbArgs,
	cps *cbProcessState) uint32 {
	opNr, status := decodeOpHdr(in)
	if status != NFS4_OK {
		return status
	}
	switch cps.minorversion {
	case 0:
		status = preprocessNfs4Op(opNr)
	case 1:
		status = preprocessNfs41Op(nop, opNr)
	case 2:
		status = preprocessNfs42Op(nop, opNr)
	default:
		status = NFS4ERR_MINOR_VERS_MISMATCH
	}
	var op callbackOp
	switch {
	case status == NFS4ERR_OP_ILLEGAL:
		opNr = OP_CB_ILLEGAL
	case status != NFS4_OK:
	case cps.drcStatus != NFS4_OK:
		status = cps.drcStatus
	default:
		op = callbackOps[opNr]
		status = NFS4ERR_RESOURCE
		if room := out.Room(); room > 0 && room < sunrpc.PAGE_SIZE {
			args.at(opNr)
			if status = op.decodeArgs(rqstp, in, args); status == NFS4_OK {
				status = op.processOp(n, cur, args, cps)
			}
		}
	}
	if res := encodeOpHdr(out, opNr, status); res != NFS4_OK {
		return res
	}
	if op.encodeRes != nil && status == NFS4_OK {
		status = op.encodeRes(out, args)
	}
	return status
}

// nfs4CallbackCompound is the COMPOUND procedure: operation after operation until one fails. Sleeps.
//
// Differs: a server that names no client of ours is told AUTH_BADCRED, where 3.19 drops its call (a4e187d83d88). The
// client is let go of if the header of the answer does not fit (ours). The stream ends where the call does, whatever
// was read of it before (38b7631fbe42). Nobody has RPCSEC_GSS, so there is no principal of a caller to be looked at
// (check_gss_callback_principal).
//
// C: nfs4_callback_compound, fs/nfs/callback_xdr.c
func (n *Nfs) nfs4CallbackCompound(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp, _ any) uint32 {
	var in, out sunrpc.XdrStream
	var hdrArg cbCompoundHdrArg
	var hdrRes cbCompoundHdrRes
	cps := cbProcessState{net: sunrpc.SvcNet(rqstp)}

	rqstp.RqArg.Len = uint32(rqstp.RqArg.Head.IovLen) + rqstp.RqArg.PageLen
	sunrpc.XdrInitDecode(&in, &rqstp.RqArg, rqstp.RqArg.Head.P())
	sunrpc.XdrInitEncode(n.Machine(), &out, &rqstp.RqRes, rqstp.RqRes.Head.End())

	status := decodeCompoundHdrArg(&in, &hdrArg)
	if status == NFS4ERR_RESOURCE {
		return sunrpc.RPC_GARBAGE_ARGS
	}
	if hdrArg.minorversion == 0 {
		cps.clp = n.nfs4FindClientIdent(cps.net, hdrArg.cbIdent)
		if cps.clp == nil {
			return sunrpc.RPC_AUTHERR_BADCRED
		}
	}
	cps.minorversion = hdrArg.minorversion
	if encodeCompoundHdrRes(&out, hdrArg.tag, &hdrRes) != NFS4_OK {
		n.NfsPutClient(cur, cps.clp)
		return sunrpc.RPC_SYSTEM_ERR
	}

	var nops uint32
	for status == NFS4_OK && nops != hdrArg.nops {
		status = n.processOp(cur, nops, rqstp, &in, &out, argp.(*cbArgs), &cps)
		nops++
	}
	if status == NFS4ERR_RESOURCE_HDR {
		status = NFS4ERR_RESOURCE
		nops--
	}
	hdrRes.status.Put(status)
	hdrRes.nops.Put(nops)
	nfs4CbFreeSlot(&cps)
	n.NfsPutClient(cur, cps.clp)
	return sunrpc.RPC_SUCCESS
}

// callbackOps is how each operation is done.
//
// C: callback_ops, fs/nfs/callback_xdr.c
var callbackOps = [...]callbackOp{
	OP_CB_GETATTR: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackGetattr(cur, &args.getattr, &args.getattrRes, cps)
		},
		decodeArgs: decodeGetattrArgs,
		encodeRes:  encodeGetattrRes,
	},
	OP_CB_RECALL: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackRecall(cur, &args.recall, cps)
		},
		decodeArgs: decodeRecallArgs,
	},
	OP_CB_LAYOUTRECALL: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackLayoutrecall(cur, &args.layoutrecall, cps)
		},
		decodeArgs: decodeLayoutrecallArgs,
	},
	OP_CB_NOTIFY_DEVICEID: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackDevicenotify(cur, &args.devicenotify, cps)
		},
		decodeArgs: decodeDevicenotifyArgs,
	},
	OP_CB_SEQUENCE: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackSequence(cur, &args.sequence, &args.sequenceRes, cps)
		},
		decodeArgs: decodeCbSequenceArgs,
		encodeRes:  encodeCbSequenceRes,
	},
	OP_CB_RECALL_ANY: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackRecallany(cur, &args.recallany, cps)
		},
		decodeArgs: decodeRecallanyArgs,
	},
	OP_CB_RECALL_SLOT: {
		processOp: func(n *Nfs, cur *kernel.Task, args *cbArgs, cps *cbProcessState) uint32 {
			return n.nfs4CallbackRecallslot(cur, &args.recallslot, cps)
		},
		decodeArgs: decodeRecallslotArgs,
	},
}

// nfs4CallbackProcedures1 makes the procedures that versions 1 and 4 share. Each program has its own table, since
// the core counts calls in it.
//
// C: nfs4_callback_procedures1, fs/nfs/callback_xdr.c
func (n *Nfs) nfs4CallbackProcedures1() []sunrpc.SvcProcedure {
	return []sunrpc.SvcProcedure{
		CB_NULL: {
			PcFunc:       nfs4CallbackNull,
			PcDecode:     nfs4DecodeVoid,
			PcEncode:     nfs4EncodeVoid,
			PcXdrressize: 1,
			PcName:       "CB_NULL",
		},
		CB_COMPOUND: {
			PcFunc:       n.nfs4CallbackCompound,
			PcEncode:     nfs4EncodeVoid,
			PcNewArgs:    func() any { return &cbArgs{} },
			PcXdrressize: NFS4_CALLBACK_BUFSIZE,
			PcName:       "CB_COMPOUND",
		},
	}
}

// nfs4CallbackVersions makes the version table of the program: 1 and 4, with the same procedures, both unknown to
// rpcbind.
//
// C: nfs4_callback_version, fs/nfs/callback.c; nfs4_callback_version1, nfs4_callback_version4, fs/nfs/callback_xdr.c
func (n *Nfs) nfs4CallbackVersions() []*sunrpc.SvcVersion {
	procs := n.nfs4CallbackProcedures1()
	version := func(vers uint32) *sunrpc.SvcVersion {
		return &sunrpc.SvcVersion{
			VsVers:    vers,
			VsNproc:   uint32(len(procs)),
			VsProc:    procs,
			VsXdrsize: NFS4_CALLBACK_XDRSIZE,
			VsHidden:  true,
		}
	}
	return []*sunrpc.SvcVersion{1: version(1), 4: version(4)}
}
