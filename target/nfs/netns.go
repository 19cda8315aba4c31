// SPDX-License-Identifier: GPL-2.0-only

package nfs

import "github.com/seed17199236/svcfuzz/target/kernel/sock"

// NfsNet is the callback service's state in one network namespace.
//
// C: struct nfs_net, fs/nfs/netns.h
type NfsNet struct {
	Net                 *sock.Net
	CbUsers             [NFS4_MAX_MINOR_VERSION + 1]uint32 // users of each service here; NfsCallbackMutex
	NfsCallbackTcpport  uint16                             // where the minor version 0 service listens; 0: never did
	NfsCallbackTcpport6 uint16
}
