// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// LockdNet is lockd's state in one network namespace. It lives as long as the namespace.
//
// C: struct lockd_net, fs/lockd/netns.h
type LockdNet struct {
	kernel.Obj
	Net            *sock.Net
	lockd          *Lockd
	NlmsvcUsers    uint32             // how often lockd was brought up here; NlmsvcMutex
	NextGc         kernel.Jiffies     // when unused hosts are looked for; NlmHostMutex
	Nrhosts        int                // hosts of either kind; NlmHostMutex
	GracePeriodEnd kernel.DelayedWork // ends the grace period
	LockdManager   LockManager        // on the grace list during the grace period
	GraceNet       *GraceNet
}
