// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
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
)

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

// nfs4CallbackProcedures1 makes the procedures that versions 1 and 4 share. Each program has its own table, since
// the core counts calls in it. CB_COMPOUND has no handler yet, see Unported.
//
// C: nfs4_callback_procedures1, fs/nfs/callback_xdr.c
func nfs4CallbackProcedures1() []sunrpc.SvcProcedure {
	return []sunrpc.SvcProcedure{
		CB_NULL: {
			PcFunc:       nfs4CallbackNull,
			PcDecode:     nfs4DecodeVoid,
			PcEncode:     nfs4EncodeVoid,
			PcXdrressize: 1,
			PcName:       "CB_NULL",
		},
		CB_COMPOUND: {
			PcEncode:     nfs4EncodeVoid,
			PcXdrressize: NFS4_CALLBACK_BUFSIZE,
			PcName:       "CB_COMPOUND",
		},
	}
}

// nfs4CallbackVersions makes the version table of the program: 1 and 4, with the same procedures, both unknown to
// rpcbind.
//
// C: nfs4_callback_version, fs/nfs/callback.c; nfs4_callback_version1, nfs4_callback_version4, fs/nfs/callback_xdr.c
func nfs4CallbackVersions() []*sunrpc.SvcVersion {
	procs := nfs4CallbackProcedures1()
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
