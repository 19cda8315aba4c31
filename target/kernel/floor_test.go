// SPDX-License-Identifier: MIT

package kernel

import "testing"

// TestSmoke is one program with a little of everything: two runs of a seed are the same run.
func TestSmoke(t *testing.T) {
	m := NewSim()
	defer m.Close()
	hashes := map[uint64]bool{}
	for seed := range 200 {
		var h [2]uint64
		for k := range h {
			r := m.Run(random(seed), Options{}, "main", func(cur *Task) { smoke(t, cur) })
			wantClean(t, "sim", r)
			h[k] = r.Hash
		}
		if h[0] != h[1] {
			t.Fatalf("seed %d: hashes differ", seed)
		}
		hashes[h[0]] = true
	}
	if len(hashes) < 190 {
		t.Errorf("only %d different runs of 200", len(hashes))
	}
	for seed := range 4 {
		wantClean(t, "free", runFree(seed, func(cur *Task) { smoke(t, cur) }))
	}
}

func smoke(t *testing.T, cur *Task) {
	m := cur.Machine()
	b := newBox(m)
	body := func(cur *Task) {
		for range 3 {
			b.mu.Lock(cur)
			b.sl.LockBH()
			b.n.Inc()
			b.sl.UnlockBH()
			b.mu.Unlock(cur)
			Msleep(cur, 1)
		}
	}
	join := spawn(cur, body, body, body)
	k := m.KthreadRun(cur, idler, nil, "k")
	join()
	if res := KthreadStop(cur, k); res != 7 && res != -EINTR {
		t.Errorf("kthread_stop returned %d", res)
	}
	m.SynchronizeRcu(cur)
	if n := b.n.Read(); n != 9 {
		t.Errorf("n = %d, want 9", n)
	}
	Kfree(b)
}

// idler is a kthread that waits to be stopped, by the book, and returns 7.
func idler(cur *Task, _ any) int {
	for {
		cur.SetCurrentState(TASK_INTERRUPTIBLE)
		if cur.KthreadShouldStop() {
			cur.SetCurrentState(TASK_RUNNING)
			return 7
		}
		Schedule(cur)
	}
}
