// SPDX-License-Identifier: MIT

package fuzz

import "testing"

func FuzzNLM(f *testing.F) {
	addSeeds(f, "FuzzNLM")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunNLM(data); failure != nil {
			fail(t, "FuzzNLM", data, failure)
		}
	})
}
