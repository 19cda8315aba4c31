// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// nlm4svcProcNull is the NULL procedure, and every procedure that only has to be answered.
//
// C: nlm4svc_proc_null, fs/lockd/svc4proc.c
func nlm4svcProcNull(_ *kernel.Task, _ *sunrpc.SvcRqst, _, _ any) uint32 {
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcedures4 makes the procedures of version 4, one table a service.
//
// C: nlmsvc_procedures4, fs/lockd/svc4proc.c
func nlmsvcProcedures4() []sunrpc.SvcProcedure {
	null := func(name string, words uint32) sunrpc.SvcProcedure {
		return sunrpc.SvcProcedure{
			PcFunc:       nlm4svcProcNull,
			PcDecode:     nlm4svcDecodeVoid,
			PcEncode:     nlm4svcEncodeVoid,
			PcXdrressize: words,
			PcName:       name,
		}
	}
	return []sunrpc.SvcProcedure{
		NLMPROC_NULL:        null("NULL", 1),
		NLMPROC_TEST:        {PcName: "TEST", PcXdrressize: nlmCk + nlmSt + 2 + nlmNo + nlm4Rg},
		NLMPROC_LOCK:        {PcName: "LOCK", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_CANCEL:      {PcName: "CANCEL", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_UNLOCK:      {PcName: "UNLOCK", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_GRANTED:     {PcName: "GRANTED", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_TEST_MSG:    {PcName: "TEST_MSG", PcXdrressize: 1},
		NLMPROC_LOCK_MSG:    {PcName: "LOCK_MSG", PcXdrressize: 1},
		NLMPROC_CANCEL_MSG:  {PcName: "CANCEL_MSG", PcXdrressize: 1},
		NLMPROC_UNLOCK_MSG:  {PcName: "UNLOCK_MSG", PcXdrressize: 1},
		NLMPROC_GRANTED_MSG: {PcName: "GRANTED_MSG", PcXdrressize: 1},
		NLMPROC_TEST_RES:    null("TEST_RES", 1),
		NLMPROC_LOCK_RES:    null("LOCK_RES", 1),
		NLMPROC_CANCEL_RES:  null("CANCEL_RES", 1),
		NLMPROC_UNLOCK_RES:  null("UNLOCK_RES", 1),
		NLMPROC_GRANTED_RES: {PcName: "GRANTED_RES", PcXdrressize: 1},
		NLMPROC_NSM_NOTIFY:  {PcName: "NSM_NOTIFY", PcXdrressize: 1},
		17:                  null("none", 0),
		18:                  null("none", 0),
		19:                  null("none", 0),
		NLMPROC_SHARE:       {PcName: "SHARE", PcXdrressize: nlmCk + nlmSt + 1},
		NLMPROC_UNSHARE:     {PcName: "UNSHARE", PcXdrressize: nlmCk + nlmSt + 1},
		NLMPROC_NM_LOCK:     {PcName: "NM_LOCK", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_FREE_ALL:    {PcName: "FREE_ALL", PcXdrressize: 1},
	}
}
