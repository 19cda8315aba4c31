// SPDX-License-Identifier: MIT

//go:build !race

package explore

import (
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// pairOf is two locks, and something to free.
type pairOf struct {
	kernel.Obj
	a, b kernel.Mutex
	n    kernel.Atomic
}

// Whichever task comes second: the failure is the same, and so is its title.
func TestKeysDoNotDependOnTheSchedule(t *testing.T) {
	both := func(first, second func(cur *kernel.Task, p *pairOf)) func(cur *kernel.Task) {
		return func(cur *kernel.Task) {
			m := cur.Machine()
			p := kernel.Kzalloc[pairOf](m, "pair", kernel.GFP_KERNEL)
			p.a.Init(&p.Obj, "a_mutex")
			p.b.Init(&p.Obj, "b_mutex")
			p.n.Init(&p.Obj, "pair.n")
			one := m.Spawn(cur, "one", func(cur *kernel.Task) { first(cur, p) })
			two := m.Spawn(cur, "two", func(cur *kernel.Task) { second(cur, p) })
			kernel.Join(cur, one)
			kernel.Join(cur, two)
		}
	}
	nest := func(cur *kernel.Task, outer, inner *kernel.Mutex) {
		outer.Lock(cur)
		inner.Lock(cur)
		inner.Unlock(cur)
		outer.Unlock(cur)
	}
	for want, main := range map[string]func(cur *kernel.Task){
		"lockdep - a_mutex is taken with b_mutex held, and the other way round": both(
			func(cur *kernel.Task, p *pairOf) { nest(cur, &p.a, &p.b) },
			func(cur *kernel.Task, p *pairOf) { nest(cur, &p.b, &p.a) }),
		"use-after-free - double free of pair": both(
			func(_ *kernel.Task, p *pairOf) { kernel.Kfree(p) },
			func(_ *kernel.Task, p *pairOf) { kernel.Kfree(p) }),
		"use-after-free - add of pair.n in freed pair": both(
			func(_ *kernel.Task, p *pairOf) { kernel.Kfree(p) },
			func(_ *kernel.Task, p *pairOf) { p.n.Inc() }),
	} {
		r := machine(t, main)
		random := &Random{}
		all := map[string]int{}
		titles := map[string]bool{}
		last := map[string]bool{} // who was told off
		for n := range uint64(200) {
			random.Seed(1, n)
			if f := r.Run(random, kernel.Options{}).Worst(); f != nil {
				titles[f.Title], last[f.Task] = true, true
				all[Key(f).String()]++
			}
		}
		if len(all) != 1 || all[want] < 20 {
			t.Errorf("%s: %v", want, all)
		}
		if symmetric := !strings.Contains(want, "add of"); symmetric && (len(titles) != 1 || len(last) != 2) {
			t.Errorf("%s: titles %v, told to %v", want, titles, last)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		f    kernel.Finding
		want string
	}{
		{kernel.Finding{Oracle: "oops", Title: "NULL pointer in wake_up_process in svc_xprt_enqueue", Func: "svc_xprt_enqueue"},
			"oops svc_xprt_enqueue NULL pointer in wake_up_process"},
		{kernel.Finding{Oracle: "use-after-free", Title: "load of xpt_flags in freed svc_xprt#3 in svc_recv", Func: "svc_recv"},
			"use-after-free svc_recv svc_xprt"},
		{kernel.Finding{Oracle: "leak", Title: "task lockd/2 is left"}, "leak - task lockd is left"},
	} {
		if got := Key(&c.f).String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		renamed := Key(&c.f)
		renamed.Func = "other"
		if k, ok := ParseKey(c.want); !ok || k != Key(&c.f) || !k.Same(renamed) || k.Same(FailureKey{k.Oracle, k.Func, "x"}) {
			t.Errorf("%q is read as %v", c.want, k)
		}
	}
}
