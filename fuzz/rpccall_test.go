// SPDX-License-Identifier: MIT

package fuzz

import "testing"

func FuzzRPCCall(f *testing.F) {
	addSeeds(f, "FuzzRPCCall")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunRPCCall(data); failure != nil {
			fail(t, "FuzzRPCCall", data, failure)
		}
	})
}
