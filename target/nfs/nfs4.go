// SPDX-License-Identifier: GPL-2.0-only

package nfs

// Sizes in bytes and counts of the NFSv4 protocol, include/linux/nfs4.h.
const (
	NFS4_FHSIZE            = 128
	NFS4_STATEID_SIZE      = 16
	NFS4_DEVICEID4_SIZE    = 16
	NFS4_MAX_SESSIONID_LEN = 16
	NFS4_MAX_UINT64        = 1<<64 - 1
)

// Status of an operation or of a whole compound. NFS4ERR_RESOURCE_HDR is internal: not even the header of the
// operation could be read or written.
const (
	NFS4_OK                      = 0
	NFS4ERR_INVAL                = 22
	NFS4ERR_BADHANDLE            = 10001
	NFS4ERR_NOTSUPP              = 10004
	NFS4ERR_DELAY                = 10008
	NFS4ERR_RESOURCE             = 10018
	NFS4ERR_MINOR_VERS_MISMATCH  = 10021
	NFS4ERR_BAD_STATEID          = 10025
	NFS4ERR_BADXDR               = 10036
	NFS4ERR_OP_ILLEGAL           = 10044
	NFS4ERR_BADSESSION           = 10052
	NFS4ERR_BADSLOT              = 10053
	NFS4ERR_NOMATCHING_LAYOUT    = 10060
	NFS4ERR_SEQ_MISORDERED       = 10063
	NFS4ERR_SEQUENCE_POS         = 10064
	NFS4ERR_REP_TOO_BIG_TO_CACHE = 10067
	NFS4ERR_RETRY_UNCACHED_REP   = 10068
	NFS4ERR_OP_NOT_IN_SESSION    = 10071
	NFS4ERR_SEQ_FALSE_RETRY      = 10076
	NFS4ERR_RESOURCE_HDR         = 11050
)

// Operations of CB_COMPOUND.
const (
	OP_CB_GETATTR              = 3
	OP_CB_RECALL               = 4
	OP_CB_LAYOUTRECALL         = 5
	OP_CB_NOTIFY               = 6
	OP_CB_PUSH_DELEG           = 7
	OP_CB_RECALL_ANY           = 8
	OP_CB_RECALLABLE_OBJ_AVAIL = 9
	OP_CB_RECALL_SLOT          = 10
	OP_CB_SEQUENCE             = 11
	OP_CB_WANTS_CANCELLED      = 12
	OP_CB_NOTIFY_LOCK          = 13
	OP_CB_NOTIFY_DEVICEID      = 14
	OP_CB_OFFLOAD              = 15
	OP_CB_ILLEGAL              = 10044
)

// Attributes in the bitmap of CB_GETATTR: the first word and the second.
const (
	FATTR4_WORD0_CHANGE        = 1 << 3
	FATTR4_WORD0_SIZE          = 1 << 4
	FATTR4_WORD1_TIME_METADATA = 1 << 20
	FATTR4_WORD1_TIME_MODIFY   = 1 << 21
)

// What CB_LAYOUTRECALL recalls.
const (
	RETURN_FILE = 1
	RETURN_FSID = 2
	RETURN_ALL  = 3
)

// Modes of a layout segment.
const (
	IOMODE_READ = 1
	IOMODE_RW   = 2
	IOMODE_ANY  = 3
)

// Kinds of CB_NOTIFY_DEVICEID.
const (
	NOTIFY_DEVICEID4_CHANGE = 1
	NOTIFY_DEVICEID4_DELETE = 2
)

// Bits of the mask of CB_RECALL_ANY, and all that exist.
const (
	RCA4_TYPE_MASK_RDATA_DLG   = 0
	RCA4_TYPE_MASK_WDATA_DLG   = 1
	RCA4_TYPE_MASK_FILE_LAYOUT = 3
	RCA4_TYPE_MASK_ALL         = 0xf31f
)

// Modes of a delegation.
const (
	FMODE_READ  = 1
	FMODE_WRITE = 2
)

// Nfs4Stateid names one state of the server: a sequence number and twelve octets that stay the same over all updates.
//
// C: nfs4_stateid, include/linux/nfs4.h
type Nfs4Stateid struct {
	Seqid uint32
	Other [12]byte
}

// Nfs4Sessionid names a session.
type Nfs4Sessionid [NFS4_MAX_SESSIONID_LEN]byte

// Nfs4Deviceid names a data server to a layout driver.
type Nfs4Deviceid [NFS4_DEVICEID4_SIZE]byte

// NfsFsid names a file system of the server.
type NfsFsid struct{ Major, Minor uint64 }

// Timespec is a moment: seconds since 1970 and nanoseconds.
type Timespec struct {
	Sec  int64
	Nsec uint32
}
