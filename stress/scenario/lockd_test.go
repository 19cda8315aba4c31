// SPDX-License-Identifier: MIT

package scenario

import "testing"

func TestLockdStart(t *testing.T) {
	for _, params := range []string{
		"", "clients=2,proto=2", "clients=3,proto=2", "proto=1", "clients=2,proto=2,stop=2", "rpcbind=4,proto=1",
	} {
		t.Run(params, func(t *testing.T) { both(t, "lockd-start", params) })
	}
}
