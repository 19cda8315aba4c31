// SPDX-License-Identifier: MIT

//go:build unix

package load

import "syscall"

// FdLimit is how many files this process may have open.
func FdLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fewFds
	}
	return int(min(l.Cur, 1<<30))
}
