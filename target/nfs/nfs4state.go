// SPDX-License-Identifier: GPL-2.0-only

package nfs

import "github.com/seed17199236/svcfuzz/target/kernel"

// nfs4ClearStateManagerBit says that no state manager of the client runs any more.
//
// C: nfs4_clear_state_manager_bit, fs/nfs/nfs4state.c
func nfs4ClearStateManagerBit(clp *NfsClient) {
	kernel.ClearAndWakeUpBit(&clp.ClState, NFS4CLNT_MANAGER_RUNNING)
}

// nfs4ScheduleStateManager starts the client's state manager unless one runs, which then finds the work. It holds a
// reference to the client. If no thread can be made the work waits for the next occasion. May sleep.
//
// C: nfs4_schedule_state_manager, fs/nfs/nfs4state.c
func (n *Nfs) nfs4ScheduleStateManager(cur *kernel.Task, clp *NfsClient) {
	if clp.ClState.TestAndSetBit(NFS4CLNT_MANAGER_RUNNING) {
		return
	}
	clp.ClCount.Get()
	task := n.Machine().KthreadRun(cur, nfs4RunStateManager, clp, clp.ClAddr.Host()+"-manager")
	if kernel.IsErr(task) {
		n.Machine().Printk("nfs4_schedule_state_manager: kthread_run: %d", kernel.PtrErr(task))
		nfs4ClearStateManagerBit(clp)
		n.NfsPutClient(cur, clp)
	}
}

// nfs41ServerNotifyTargetSlotidUpdate tells the server with the next call how large our slot table is now.
//
// C: nfs41_server_notify_target_slotid_update, nfs41_ping_server, fs/nfs/nfs4state.c
func (n *Nfs) nfs41ServerNotifyTargetSlotidUpdate(cur *kernel.Task, clp *NfsClient) {
	clp.ClState.SetBit(NFS4CLNT_CHECK_LEASE)
	n.nfs4ScheduleStateManager(cur, clp)
}

// nfs4StateManager does what the bits of ClState ask for, until there is nothing left or nobody else has the client.
//
// Differs: there is nothing to recover, and a failing delegation return waits for the next occasion. Whether anybody
// else has the client is looked at when the work is done, where 3.19 does so behind every piece of it.
//
// C: nfs4_state_manager, fs/nfs/nfs4state.c
func (n *Nfs) nfs4StateManager(cur *kernel.Task, clp *NfsClient) {
	for {
		if clp.ClState.TestAndClearBit(NFS4CLNT_CHECK_LEASE) {
			clp.ClLock.Lock()
			clp.pings++
			clp.ClLock.Unlock()
		}
		if clp.ClState.TestAndClearBit(NFS4CLNT_DELEGRETURN) {
			if n.nfsClientReturnMarkedDelegations(cur, clp) == 0 {
				continue
			}
			nfs4ClearStateManagerBit(clp)
			return
		}
		nfs4ClearStateManagerBit(clp)
		if !clp.ClState.TestAny(NFS4CLNT_CHECK_LEASE, NFS4CLNT_DELEGRETURN) {
			return
		}
		if clp.ClState.TestAndSetBit(NFS4CLNT_MANAGER_RUNNING) || clp.ClCount.Read() <= 1 {
			return
		}
	}
}

// nfs4RunStateManager is the thread; data is its client. Returns 0.
//
// C: nfs4_run_state_manager, fs/nfs/nfs4state.c
func nfs4RunStateManager(cur *kernel.Task, data any) int {
	clp := data.(*NfsClient)
	n := clp.nfs
	n.nfs4StateManager(cur, clp)
	n.NfsPutClient(cur, clp)
	return 0
}
