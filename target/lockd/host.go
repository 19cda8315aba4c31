// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// NlmBindHost returns the initial timeout, in jiffies, of the RPC client through which the caller will talk to its
// lock manager. A client calls it right after LockdUp and relies on the value being set by then. May sleep.
//
// Differs: makes no RPC client and so takes no host's mutex, this cut has no NLM client; what it has is the read of
// nlmsvc_timeout that a mount performs.
//
// C: nlm_bind_host, fs/lockd/host.c
func (l *Lockd) NlmBindHost(cur *kernel.Task) kernel.Jiffies {
	return l.NlmsvcTimeout.Load()
}

// NlmShutdownHostsNet forgets the peers of one namespace, of all if net is nil. May sleep on NlmHostMutex.
//
// Differs: nothing in this cut looks up a peer, so the table is always empty and the walk over it is the taking of
// its mutex; it comes with the lock procedures (see Unported).
//
// C: nlm_shutdown_hosts_net, fs/lockd/host.c
func (l *Lockd) NlmShutdownHostsNet(cur *kernel.Task, net *sock.Net) {
	l.NlmHostMutex.Lock(cur)
	l.NlmHostMutex.Unlock(cur)
}

// NlmShutdownHosts forgets the peers of all namespaces. May sleep on NlmHostMutex.
//
// C: nlm_shutdown_hosts, fs/lockd/host.c
func (l *Lockd) NlmShutdownHosts(cur *kernel.Task) {
	l.NlmShutdownHostsNet(cur, nil)
}
