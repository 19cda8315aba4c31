// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/kernel"

// NlmsvcRetryBlocked looks after the blocked locks whose time has come and returns how many jiffies lockd may sleep
// until the next one, MaxScheduleTimeout if there is none. Called by the lockd thread.
//
// Differs: no procedure of this cut can block a lock, so there is never a next one; the list of blocked locks and
// its lock come with the lock procedures (see Unported).
//
// C: nlmsvc_retry_blocked, fs/lockd/svclock.c
func (l *Lockd) NlmsvcRetryBlocked(cur *kernel.Task) kernel.Jiffies {
	return kernel.MaxScheduleTimeout
}
