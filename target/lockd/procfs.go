// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// NlmEndGraceWrite is a write to /proc/fs/lockd/nlm_end_grace by an administrator who knows that nobody in net has
// anything to reclaim: what begins with Y, y or 1 ends the grace period of lockd there, if one is running. The octets
// written, or -EINVAL. Any process.
//
// C: nlm_end_grace_write, fs/lockd/procfs.c
func (l *Lockd) NlmEndGraceWrite(net *sock.Net, buf []byte) int {
	if len(buf) < 1 {
		return -kernel.EINVAL
	}
	switch buf[0] {
	case 'Y', 'y', '1':
		if ln := l.LockdNet(net); ln != nil {
			l.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
		}
	default:
		return -kernel.EINVAL
	}
	return len(buf)
}

// NlmEndGraceRead is what the file says: Y if lockd is not in grace in net, else N. Any process.
//
// Differs: looks under GraceLock; in 3.19 a list is looked at that may just be changed.
//
// C: nlm_end_grace_read, fs/lockd/procfs.c
func (l *Lockd) NlmEndGraceRead(net *sock.Net) string {
	ln := l.LockdNet(net)
	if ln == nil {
		return "Y\n"
	}
	l.Grace.GraceLock.Lock()
	inGrace := ln.LockdManager.List.Linked()
	l.Grace.GraceLock.Unlock()
	if inGrace {
		return "N\n"
	}
	return "Y\n"
}
