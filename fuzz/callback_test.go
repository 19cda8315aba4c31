// SPDX-License-Identifier: MIT

package fuzz

import "testing"

func FuzzCallback(f *testing.F) {
	addSeeds(f, "FuzzCallback")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunCallback(data); failure != nil {
			fail(t, "FuzzCallback", data, failure)
		}
	})
}
