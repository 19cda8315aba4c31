// SPDX-License-Identifier: GPL-2.0-only

package nfs

// UnportedProc names a procedure that the kernel has and the port has not.
type UnportedProc struct {
	Prog, Vers, Proc uint32
	Name             string
}

// Unported lists every procedure of the callback program that has no handler yet: CB_COMPOUND, and with it all that
// fs/nfs/callback_proc.c does. The core answers it as it does any procedure without a handler, with PROC_UNAVAIL.
var Unported = unported()

// unported derives the list from the procedure tables, so that the two cannot differ.
func unported() []UnportedProc {
	var list []UnportedProc
	for _, v := range nfs4CallbackVersions() {
		if v == nil {
			continue
		}
		for proc := range v.VsNproc {
			if pc := &v.VsProc[proc]; pc.PcFunc == nil {
				list = append(list, UnportedProc{Prog: NFS4_CALLBACK, Vers: v.VsVers, Proc: proc, Name: pc.PcName})
			}
		}
	}
	return list
}
