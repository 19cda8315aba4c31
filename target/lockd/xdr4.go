// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/sunrpc"

// nlm4svcDecodeVoid decodes no arguments at p; words that are left over are allowed. False: p lies behind the
// request.
//
// C: nlm4svc_decode_void, fs/lockd/xdr4.c
func nlm4svcDecodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrArgsizeCheck(rqstp, p)
}

// nlm4svcEncodeVoid ends the reply at p. False: it is longer than a page.
//
// C: nlm4svc_encode_void, fs/lockd/xdr4.c
func nlm4svcEncodeVoid(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
	return sunrpc.XdrRessizeCheck(rqstp, p)
}
