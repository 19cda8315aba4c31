// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/kernel"

// nlmCmpOwner tells whether oh is the owner of a share.
//
// C: nlm_cmp_owner, fs/lockd/svcshare.c
func nlmCmpOwner(share *NlmShare, oh []byte) bool {
	return string(share.SOwner) == string(oh)
}

// NlmsvcShareFile reserves a file for an owner on host with the access and the mode that argp names, or changes what
// it has reserved: NLM_LCK_GRANTED, NLM_LCK_DENIED if a share of somebody else is in the way, or
// NLM_LCK_DENIED_NOLOCKS without memory. A change is not held against shares that are older than the one it changes.
// Called by the lockd thread; takes FMutex.
//
// Differs: 3.19 goes through the shares of a file without a lock, here and below, and whoever takes lockd down in a
// namespace goes through them too, to see which hosts are in use (ours).
//
// C: nlmsvc_share_file, fs/lockd/svcshare.c
func (l *Lockd) NlmsvcShareFile(cur *kernel.Task, host *NlmHost, file *NlmFile, argp *NlmArgs) uint32 {
	oh := argp.Lock.Oh
	file.FMutex.Lock(cur)
	defer file.FMutex.Unlock(cur)

	var share *NlmShare
	for share = file.FShares; share != nil; share = share.SNext {
		if share.SHost == host && nlmCmpOwner(share, oh) {
			break
		}
		if argp.FsmAccess&share.SMode != 0 || argp.FsmMode&share.SAccess != 0 {
			return NLM_LCK_DENIED
		}
	}
	if share == nil {
		share = kernel.Kzalloc[NlmShare](l.Machine(), "nlm_share", kernel.GFP_KERNEL)
		if share == nil {
			return NLM_LCK_DENIED_NOLOCKS
		}
		share.SFile = file
		share.SHost = host
		share.SOwner = append([]byte(nil), oh...) // what oh lies in is the message
		share.SNext = file.FShares
		file.FShares = share
	}
	share.SAccess = argp.FsmAccess
	share.SMode = argp.FsmMode
	return NLM_LCK_GRANTED
}

// NlmsvcUnshareFile ends what an owner on host has reserved of a file: always NLM_LCK_GRANTED, also if that was
// nothing. Called by the lockd thread; takes FMutex.
//
// C: nlmsvc_unshare_file, fs/lockd/svcshare.c
func (l *Lockd) NlmsvcUnshareFile(cur *kernel.Task, host *NlmHost, file *NlmFile, argp *NlmArgs) uint32 {
	file.FMutex.Lock(cur)
	for shpp := &file.FShares; *shpp != nil; shpp = &(*shpp).SNext {
		if share := *shpp; share.SHost == host && nlmCmpOwner(share, argp.Lock.Oh) {
			*shpp = share.SNext
			kernel.Kfree(share)
			break
		}
	}
	file.FMutex.Unlock(cur)
	return NLM_LCK_GRANTED
}

// NlmsvcTraverseShares ends the shares of a file for whose host match says so; host is handed on to it. Takes FMutex.
//
// C: nlmsvc_traverse_shares, fs/lockd/svcshare.c
func (l *Lockd) NlmsvcTraverseShares(cur *kernel.Task, host *NlmHost, file *NlmFile,
	match func(a, b *NlmHost) bool) {
	file.FMutex.Lock(cur)
	for shpp := &file.FShares; *shpp != nil; {
		share := *shpp
		if match(share.SHost, host) {
			*shpp = share.SNext
			kernel.Kfree(share)
			continue
		}
		shpp = &share.SNext
	}
	file.FMutex.Unlock(cur)
}
