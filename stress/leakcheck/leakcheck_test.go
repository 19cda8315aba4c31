// SPDX-License-Identifier: MIT

package leakcheck

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGate(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	patience = 100 * time.Millisecond
	for _, precise := range []bool{false, true} {
		g := Open(precise)
		short := make(chan bool)
		go close(short)
		if err := g.Check(); err != nil {
			t.Errorf("a goroutine that ends: %v", err)
		}
		stop := make(chan bool)
		go leaky(stop)
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "leakcheck.leaky") {
			t.Errorf("a goroutine that stays: %v", err)
		}
		close(stop)
		if err := g.Check(); err != nil {
			t.Error(err)
		}
	}
}

func leaky(stop chan bool) { <-stop }
