// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/sunrpc"

// Sizes of the C structures that arguments and results are decoded into on a 64-bit machine, in bytes. They bound
// nothing on the wire, but the largest of them is part of the service's buffer size.
const (
	// NLMSVC_XDRSIZE is the size of struct nlm_args: cookie 40, lock 368 (of which file_lock 192), six words.
	NLMSVC_XDRSIZE = 432
)

// nlmsvcDecodeVoid decodes no arguments at p; words that are left over are allowed. False: p lies behind the request.
//
// C: nlmsvc_decode_void, fs/lockd/xdr.c
func nlmsvcDecodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlmsvcEncodeVoid ends the reply at p. False: it is longer than a page.
//
// C: nlmsvc_encode_void, fs/lockd/xdr.c
func nlmsvcEncodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrRessizeCheck(rqstp, p)
}
