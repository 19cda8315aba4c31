// SPDX-License-Identifier: MIT

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// handshake is how a thread of 6.12 tells its creator that it is up: the result is stored, then whoever waits for it is
// woken if there is anybody.
func handshake(barrier bool) func(cur *Task) {
	return func(cur *Task) {
		m := cur.Machine()
		b := newBox(m)
		b.n.Preset(-EAGAIN)
		k := m.KthreadRun(cur, func(cur *Task, _ any) int {
			b.n.Set(0)
			if barrier {
				m.SmpMb()
			}
			m.WakeUpVar()
			idler(cur, nil)
			return 0
		}, nil, "k")
		WaitVarEvent(cur, func() bool { return b.n.Read() != -EAGAIN })
		KthreadStop(cur, k)
		Kfree(b)
	}
}

// TestHandshake is the hang of September 2024: without a full barrier between the two the thread may read that nobody
// waits before its creator can see the result. It takes a store buffer.
func TestHandshake(t *testing.T) {
	simClean(t, 500, handshake(false))
	found(t, 2000, false, Options{TSO: true}, "deadlock", "no task can run", handshake(false))
	m := NewSim()
	defer m.Close()
	for seed := range 2000 {
		wantClean(t, fmt.Sprintf("seed %d", seed), m.Run(random(seed), Options{TSO: true}, "main", handshake(true)))
	}
}

// TestLateStore: a store that leaves the buffer when its object is gone is a use after free, by whoever stored.
func TestLateStore(t *testing.T) {
	main := func(cur *Task) {
		b := newBox(cur.Machine())
		var stored Count
		join := spawn(cur, func(*Task) {
			b.x.Store(1)
			stored.Inc()
		}, func(cur *Task) {
			for stored.Peek() == 0 {
				CondResched(cur)
			}
			Kfree(b)
		})
		join()
	}
	simClean(t, 300, main)
	f := found(t, 300, false, Options{TSO: true}, "use-after-free", "store of x in freed box", main)
	if !strings.Contains(f.Text, "the store of a left the store buffer") || len(f.Stack) == 0 {
		t.Errorf("%v\n%s", f, f.Text)
	}
}

// TestLostState: a sleeper that shows its state with __set_current_state, without a barrier, may look at the condition
// before its waker can see the state, and sleep on. It takes a store buffer.
func TestLostState(t *testing.T) {
	m := NewSim()
	defer m.Close()
	lost := func(opt Options, set func(t *Task, s TaskState)) (n int) {
		for seed := range 500 {
			var left Jiffies
			wantClean(t, fmt.Sprintf("seed %d", seed), m.Run(random(seed), opt, "main", func(cur *Task) {
				b := newBox(m)
				k := m.Spawn(cur, "k", func(cur *Task) {
					set(cur, TASK_UNINTERRUPTIBLE)
					if b.n.Read() == 0 {
						Schedule(cur)
					}
					cur.SetCurrentState(TASK_RUNNING)
					b.done.Complete()
				})
				b.n.Inc()
				WakeUpProcess(k)
				if left = b.done.WaitTimeout(cur, 10); left == 0 {
					WakeUpProcess(k)
				}
				Join(cur, k)
				Kfree(b)
			}))
			if left == 0 {
				n++
			}
		}
		return n
	}
	relaxed, full := (*Task).SetCurrentStateRelaxed, (*Task).SetCurrentState
	tso := Options{TSO: true}
	if a, b, c := lost(Options{}, relaxed), lost(tso, full), lost(tso, relaxed); a+b > 0 || c == 0 {
		t.Errorf("lost wake-ups: %d without store buffers, %d with a barrier, %d with neither", a, b, c)
	}
}

// TestStoreBuffers: programs that do nothing wrong do nothing wrong with store buffers either, one seed is one run, and
// without the option nothing is left of it.
func TestStoreBuffers(t *testing.T) {
	m := NewSim()
	defer m.Close()
	n := 1000
	if raceEnabled {
		n = 100
	}
	late := 0
	for seed := range n {
		p := randomProgram(400_000 + seed)
		plain := m.Run(random(seed), Options{}, "main", p.run).Hash
		opt := Options{TSO: true, Detect: seed%2 == 0, Causal: true}
		r := m.Run(random(seed), opt, "main", p.run)
		wantClean(t, fmt.Sprintf("program %d", p.seed), r)
		hash, state, seq := r.Hash, r.State, slices.Clone(r.Seq)
		opt.Record = true
		if r = m.Run(random(seed), opt, "main", p.run); r.Hash != hash || r.State != state || !slices.Equal(r.Seq, seq) {
			t.Fatalf("program %d: the second time it is another run", p.seed)
		}
		for _, e := range r.Events {
			if strings.Contains(e.Text, "reaches memory") {
				late++
			}
		}
		if r := m.Run(random(seed), Options{}, "main", p.run); r.Hash != plain {
			t.Fatalf("program %d: a store buffer is left", p.seed)
		}
	}
	if late < n/10 {
		t.Errorf("only %d stores went through a buffer", late)
	}
}
