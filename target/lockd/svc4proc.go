// SPDX-License-Identifier: GPL-2.0-only

package lockd

// nlmsvcProcedures4 makes the procedures of version 4. C has a second set of functions for them that differ from those
// of versions 1 and 3 in what they do to a status alone, and castToNlm knows the version.
//
// C: nlmsvc_procedures4, fs/lockd/svc4proc.c
func nlmsvcProcedures4() []nlmProcedure {
	return nlm4Xdr.procedures(0, 1)
}
