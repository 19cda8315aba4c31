// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NlmclntPrepareBlock puts a lock that is about to be asked for where GRANTED will look for it; nil without memory.
// The caller keeps host and lock until NlmclntFinishBlock. May sleep.
//
// Differs: takes the lock as it goes over the wire, where C follows the file lock to the NFS inode for its handle and
// to the lock owner for its number.
//
// C: nlmclnt_prepare_block, fs/lockd/clntlock.c
func (l *Lockd) NlmclntPrepareBlock(cur *kernel.Task, host *NlmHost, lock *NlmLock) *NlmWait {
	block := kernel.Kzalloc[NlmWait](cur.Machine(), "nlm_wait", kernel.GFP_KERNEL)
	if block == nil {
		return nil
	}
	block.BList.Init(block)
	block.BHost = host
	block.BLock = lock
	block.BWait.Init(&block.Obj, "b_wait")
	block.BStatus.Init(&block.Obj, "b_status")
	block.BStatus.Preset(NLM_LCK_BLOCKED)

	l.NlmclntBlockedLock.Lock()
	l.NlmclntBlocked.Add(&block.BList)
	l.NlmclntBlockedLock.Unlock()
	return block
}

// NlmclntFinishBlock undoes NlmclntPrepareBlock; nil is allowed.
//
// C: nlmclnt_finish_block, fs/lockd/clntlock.c
func (l *Lockd) NlmclntFinishBlock(block *NlmWait) {
	if block == nil {
		return
	}
	l.NlmclntBlockedLock.Lock()
	l.NlmclntBlocked.Del(&block.BList)
	l.NlmclntBlockedLock.Unlock()
	kernel.Kfree(block)
}

// NlmclntBlock sleeps until the lock was granted or the timeout, in jiffies, is over, and stores what is known then
// as the result of req: NLM_LCK_BLOCKED means that it has to be asked for again, since callbacks get lost. 0,
// -ERESTARTSYS on a signal, -EAGAIN without a block: the server told somebody to wait who will not.
//
// C: nlmclnt_block, fs/lockd/clntlock.c
func (l *Lockd) NlmclntBlock(cur *kernel.Task, block *NlmWait, req *NlmRqst, timeout kernel.Jiffies) int {
	if block == nil {
		return -kernel.EAGAIN
	}
	var w kernel.WaitEntry
	for left := timeout; ; {
		block.BWait.PrepareToWait(cur, &w, kernel.TASK_INTERRUPTIBLE)
		if block.BStatus.Read() != NLM_LCK_BLOCKED || left <= 0 {
			break
		}
		if cur.SignalPending() {
			block.BWait.FinishWait(cur, &w)
			return -kernel.ERESTARTSYS
		}
		left = kernel.ScheduleTimeout(cur, left)
	}
	block.BWait.FinishWait(cur, &w)

	// The server rebooted: ask again.
	if block.BStatus.Read() == NLM_LCK_DENIED_GRACE_PERIOD {
		block.BStatus.Set(NLM_LCK_BLOCKED)
	}
	req.ARes.Status = uint32(block.BStatus.Read())
	return 0
}

// NlmclntGrant wakes everybody who waits for a lock that the server at addr has granted now. NLM_LCK_DENIED if that
// is nobody: the server then takes the lock back. The cookie is not compared, since servers choose their own.
//
// C: nlmclnt_grant, fs/lockd/clntlock.c
func (l *Lockd) NlmclntGrant(addr *sunrpc.SockAddr, lock *NlmLock) uint32 {
	res := uint32(NLM_LCK_DENIED)
	l.NlmclntBlockedLock.Lock()
	for block := l.NlmclntBlocked.First(); block != nil; block = l.NlmclntBlocked.Next(&block.BList) {
		blocked := block.BLock
		if blocked.Fl.FlStart != lock.Fl.FlStart || blocked.Fl.FlEnd != lock.Fl.FlEnd || blocked.Svid != lock.Svid {
			continue
		}
		if !block.BHost.HAddr.SameIP(*addr) || !nfsCompareFh(&blocked.Fh, &lock.Fh) {
			continue
		}
		block.BStatus.Set(NLM_LCK_GRANTED)
		block.BWait.WakeUp()
		res = NLM_LCK_GRANTED
	}
	l.NlmclntBlockedLock.Unlock()
	return res
}
