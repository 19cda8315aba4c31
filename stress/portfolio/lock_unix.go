// SPDX-License-Identifier: MIT

//go:build unix

package portfolio

import (
	"os"
	"syscall"
)

// lockFile keeps other processes out until the file is closed; false if one of them does so to us. The lock goes with
// the process, however it ends.
func lockFile(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
