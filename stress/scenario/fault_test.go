// SPDX-License-Identifier: MIT

package scenario

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
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
				last := s.Run(m, choosertest.Straight{}, p, kernel.Options{}).Fallible
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

// fateful has things happen that need not, sooner or later.
type fateful struct {
	kernel.Chooser
	dice *choosertest.Random
	rate int
}

func newFateful(n int) *fateful {
	return &fateful{chooser(n), choosertest.NewRandom(uint64(n + 7)), 1 << (2 * (n % 6))}
}

func (f *fateful) Decide(d *kernel.Decision) int {
	if f.dice.N(f.rate) != 0 {
		return 0
	}
	return 1 + f.dice.N(d.N-1)
}

// The oracles know what each kind of decision excuses, and nothing else goes wrong then. The same goes for steps that
// fail by number.
func TestEveryDecision(t *testing.T) {
	for _, c := range [][2]string{
		{"lockd-start", ""}, {"callback-start", ""}, {"stop-under-load", ""}, {"resize", ""}, {"second-net", ""},
		{"deferral", "groups=1"}, {"backchannel-stop", "drop=1"}, {"backchannel-nets", ""}, {"rpc-garbage", "proto=2"},
		{"cb-compound", ""}, {"cb-session", "calls=4,umount=1"},
		{"nlm-locks", "proto=2"}, {"nlm-locks", "async=1,proto=1"}, {"nlm-locks", "async=1,stop=2,cancel=1"},
		{"lockd-stop-locks", ""}, {"lockd-stop-locks", "async=1,proto=1"},
		{"lockd-stop-locks", "async=1,proto=1,release=2"}, {"nlm-locks", "async=1,proto=1,files=2"},
		{"nlm-requests", "ask=5"}, {"nlm-nfsd", ""}, {"nlm-client", ""}, {"nlm-reboot", ""},
		{"nlm-failover", ""}, {"nlm-failover", "async=1,proto=1"},
	} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			for kind := range kernel.DecisionKinds {
				decide(t, c[0], c[1], kind)
			}
			failSteps(t, c[0], c[1])
		})
	}
}

// decide runs a scenario with decisions of one kind.
func decide(t *testing.T, name, params string, kind kernel.DecisionKind) {
	t.Helper()
	s, p := find(t, name, params)
	m := kernel.NewSim()
	defer m.Close()
	departed := 0
	for n := range 200 {
		opt := kernel.Options{}
		opt.Faults[kind] = 1 + n%2
		if f := s.Run(m, newFateful(n), p, opt).Worst(); f != nil {
			t.Fatalf("%s %s, %v, schedule %d: %v\n%s", s.Name, p, kind, n, f, f.Text)
		}
		departed += m.Departed(kind)
	}
	if departed == 0 && (kind == kernel.DecideAlloc || kind == kernel.DecideSpurious) { // the others not everywhere
		t.Errorf("%s %s: nothing was decided about %v", s.Name, p, kind)
	}
}

// failSteps runs a scenario once for each of its fallible steps.
func failSteps(t *testing.T, name, params string) {
	t.Helper()
	s, p := find(t, name, params)
	m := kernel.NewSim()
	defer m.Close()
	last := s.Run(m, choosertest.Straight{}, p, kernel.Options{}).Fallible
	for k := 1; k <= last; k++ {
		r := s.Run(m, chooser(k), p, kernel.Options{FailAt: k})
		if f := r.Worst(); f != nil {
			t.Fatalf("%s %s, step %d, %s, fails: %v\n%s", s.Name, p, k, r.Failed, f, f.Text)
		}
		if want := min(1, len(r.Failed)); m.Departed(kernel.DecideAlloc) != want {
			t.Fatalf("%s %s, step %d: %q failed, which counts as %d", s.Name, p, k, r.Failed, m.Departed(kernel.DecideAlloc))
		}
	}
}

// find is a scenario with parameters.
func find(t *testing.T, name, params string) (*Scenario, Params) {
	t.Helper()
	s, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.ParseParams(params)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}
