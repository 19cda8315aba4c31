// SPDX-License-Identifier: MIT

// Package leakcheck asks whether a run left goroutines behind, cheaply enough to ask after every run: it counts,
// and only when there are too many does it have goleak look at their stacks.
package leakcheck

import (
	"fmt"
	"runtime"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines that are on their way out may take. Nothing that a run leaves behind may live
// longer than that, however busy the host is.
var patience = 2 * time.Second

// Gate is the number of goroutines before a run.
type Gate struct {
	base   int
	ignore goleak.Option
}

// Open counts the goroutines that are there now; they may stay. It is cheap if precise is false; a precise gate also
// remembers which ones they are, so that the report leaves them out, and costs 0.1 ms.
func Open(precise bool) Gate {
	g := Gate{base: runtime.NumGoroutine()}
	if precise {
		g.ignore = goleak.IgnoreCurrent()
	}
	return g
}

// Check waits until no more goroutines than at Open are left. If that does not come to pass the error names the
// stacks of the others.
func (g Gate) Check() error {
	for range 64 {
		if runtime.NumGoroutine() <= g.base {
			return nil
		}
		runtime.Gosched()
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if runtime.NumGoroutine() <= g.base {
			return nil
		}
	}
	opts := []goleak.Option{}
	if g.ignore != nil {
		opts = append(opts, g.ignore)
	}
	if err := goleak.Find(opts...); err != nil {
		return fmt.Errorf("%d goroutines, were %d before: %w", runtime.NumGoroutine(), g.base, err)
	}
	return nil
}
