// SPDX-License-Identifier: MIT

package fuzz

import "testing"

func FuzzRecordMark(f *testing.F) {
	addSeeds(f, "FuzzRecordMark")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunRecordMark(data); failure != nil {
			fail(t, "FuzzRecordMark", data, failure)
		}
	})
}
