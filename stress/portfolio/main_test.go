// SPDX-License-Identifier: MIT

package portfolio

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the process that TestKilled starts and kills.
func TestMain(m *testing.M) {
	if os.Getenv(victimOf) != "" {
		os.Exit(victim())
	}
	goleak.VerifyTestMain(m)
}
