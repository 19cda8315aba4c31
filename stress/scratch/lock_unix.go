// SPDX-License-Identifier: MIT

//go:build unix

package scratch

import (
	"os"
	"syscall"
)

// locks says whether Lock keeps anybody out.
const locks = true

// Lock keeps other processes out until the file is closed; false if one of them does so to us. The lock goes with
// the process, however it ends.
func Lock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
