// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain wants no goroutine of a machine to outlive it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
