// SPDX-License-Identifier: MIT

package fuzz

import "testing"

func FuzzStartup(f *testing.F) {
	addSeeds(f, "FuzzStartup")
	f.Fuzz(func(t *testing.T, data []byte) {
		if failure := RunStartup(data); failure != nil {
			t.Fatal(failure)
		}
	})
}
