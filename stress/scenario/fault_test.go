// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Every step of every service is made to fail once, under several schedules.
func TestEveryFailure(t *testing.T) {
	s := faultInjection
	for service := range 4 {
		for _, rpcbind := range []int{2, 4} {
			t.Run(fmt.Sprintf("service=%d,rpcbind=%d", service, rpcbind), func(t *testing.T) {
				m := kernel.NewSim()
				defer m.Close()
				p := s.Defaults().With("service", service).With("rpcbind", rpcbind)
				last := s.Run(m, straight{}, p, kernel.Options{}).Fallible
				failed := 0
				for k := 1; k <= last; k++ {
					q := p.With(failParam, k)
					for i := range 10 {
						r := s.Run(m, chooser(i), q, kernel.Options{})
						if r.Worst() != nil {
							t.Fatalf("%s fails\n%s", r.Failed, explain(s, q, r, i))
						}
						if r.Failed != "" {
							failed++
						}
					}
				}
				t.Logf("%d fallible steps, %d failures", last, failed)
				if failed < 9*last {
					t.Errorf("only %d of %d runs met their failure", failed, 10*last)
				}
			})
		}
	}
}
