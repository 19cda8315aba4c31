// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NLM_PROGRAM is the program number of the network lock manager.
const NLM_PROGRAM = 100021

// Procedures of the network lock manager.
const (
	NLMPROC_NULL        = 0
	NLMPROC_TEST        = 1
	NLMPROC_LOCK        = 2
	NLMPROC_CANCEL      = 3
	NLMPROC_UNLOCK      = 4
	NLMPROC_GRANTED     = 5
	NLMPROC_TEST_MSG    = 6
	NLMPROC_LOCK_MSG    = 7
	NLMPROC_CANCEL_MSG  = 8
	NLMPROC_UNLOCK_MSG  = 9
	NLMPROC_GRANTED_MSG = 10
	NLMPROC_TEST_RES    = 11
	NLMPROC_LOCK_RES    = 12
	NLMPROC_CANCEL_RES  = 13
	NLMPROC_UNLOCK_RES  = 14
	NLMPROC_GRANTED_RES = 15
	NLMPROC_NSM_NOTIFY  = 16
	NLMPROC_SHARE       = 20
	NLMPROC_UNSHARE     = 21
	NLMPROC_NM_LOCK     = 22
	NLMPROC_FREE_ALL    = 23
)

// UnportedProc names a procedure that the kernel has and the port has not.
type UnportedProc struct {
	Prog, Vers, Proc uint32
	Name             string
}

// Unported lists every procedure of the lock manager that has no handler yet. The core answers them as it does any
// procedure without a handler, with PROC_UNAVAIL. All others, the NULL procedure and those that the kernel maps to
// it, behave as in the kernel.
var Unported = unported()

// unported derives the list from the procedure tables, so that the two cannot differ.
func unported() []UnportedProc {
	var list []UnportedProc
	for _, v := range nlmsvcVersions() {
		if v == nil {
			continue
		}
		for proc := range v.VsNproc {
			if pc := &v.VsProc[proc]; pc.PcFunc == nil {
				list = append(list, UnportedProc{Prog: NLM_PROGRAM, Vers: v.VsVers, Proc: proc, Name: pc.PcName})
			}
		}
	}
	return list
}

// nlmsvcProcNull is the NULL procedure, and every procedure that only has to be answered.
//
// C: nlmsvc_proc_null, fs/lockd/svcproc.c
func nlmsvcProcNull(_ *kernel.Task, _ *sunrpc.SvcRqst, _, _ any) uint32 {
	return sunrpc.RPC_SUCCESS
}

// Words of a reply, for the space that is reserved before a procedure runs.
const (
	nlmCk  = 1 + (NLM_MAXCOOKIELEN+3)/4 // cookie
	nlmSt  = 1                          // status
	nlmNo  = 1 + 1024/4                 // netobj
	nlmRg  = 2                          // range
	nlm4Rg = 4                          // range, 64 bits
)

// nlmsvcProcedures makes the procedures of versions 1 and 3, which share them: version 1 ends behind NSM_NOTIFY.
// Each service has its own table, since the core counts calls in it.
//
// C: nlmsvc_procedures, fs/lockd/svcproc.c
func nlmsvcProcedures() []sunrpc.SvcProcedure {
	null := func(name string, words uint32) sunrpc.SvcProcedure {
		return sunrpc.SvcProcedure{
			PcFunc:       nlmsvcProcNull,
			PcDecode:     nlmsvcDecodeVoid,
			PcEncode:     nlmsvcEncodeVoid,
			PcXdrressize: words,
			PcName:       name,
		}
	}
	return []sunrpc.SvcProcedure{
		NLMPROC_NULL:        null("NULL", 1),
		NLMPROC_TEST:        {PcName: "TEST", PcXdrressize: nlmCk + nlmSt + 2 + nlmNo + nlmRg},
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
		17:                  null("none", 1),
		18:                  null("none", 1),
		19:                  null("none", 1),
		NLMPROC_SHARE:       {PcName: "SHARE", PcXdrressize: nlmCk + nlmSt + 1},
		NLMPROC_UNSHARE:     {PcName: "UNSHARE", PcXdrressize: nlmCk + nlmSt + 1},
		NLMPROC_NM_LOCK:     {PcName: "NM_LOCK", PcXdrressize: nlmCk + nlmSt},
		NLMPROC_FREE_ALL:    {PcName: "FREE_ALL"},
	}
}
