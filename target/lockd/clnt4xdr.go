// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/fs"

// nlm4ComputeOffsets is the range of a lock as version 4 writes it; length 0: to the end of the file. An offset of
// ours is never more than version 4 can name.
//
// C: loff_t_to_s64, nlm4_compute_offsets, fs/lockd/clnt4xdr.c
func nlm4ComputeOffsets(lock *NlmLock) (offset, length uint64) {
	fl := &lock.Fl
	if fl.FlEnd != fs.OFFSET_MAX {
		length = uint64(fl.FlEnd - fl.FlStart + 1)
	}
	return uint64(fl.FlStart), length
}
