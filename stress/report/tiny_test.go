// SPDX-License-Identifier: MIT

//go:build !race

package report

// The bug that is drawn here is a data race on rq_task, which the race detector reports before anything is drawn.

import (
	"context"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/explore"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

type pool struct {
	kernel.Obj
	lock  kernel.Spinlock
	queue kernel.Atomic
}

type rqst struct {
	kernel.Obj
	flags kernel.Flags
	task  kernel.Var[*kernel.Task]
}

func newRqst(m *kernel.Machine) *rqst {
	r := kernel.Kzalloc[rqst](m, "svc_rqst", kernel.GFP_KERNEL)
	r.flags.Init(&r.Obj, "rq_flags", []string{"SECURE", "BUSY"})
	r.flags.Preset(1)
	r.task.Init(&r.Obj, "rq_task")
	return r
}

// lockdStart is the 2014 race with the surroundings that make a drawing hard: setup before it, traffic that has nothing
// to do with it, objects of one class, sleeping and time.
func lockdStart(cur *kernel.Task) {
	m := cur.Machine()
	p := kernel.Kzalloc[pool](m, "svc_pool", kernel.GFP_KERNEL)
	p.lock.Init(&p.Obj, "sp_lock")
	p.queue.Init(&p.Obj, "sp_queue")
	other, r := newRqst(m), newRqst(m)
	other.task.Store(cur)
	for range 20 {
		other.flags.TestBit(0)
		p.lock.LockBH()
		p.queue.Read()
		p.lock.UnlockBH()
	}
	var udp kernel.Softirq
	udp.Init(&p.Obj, "udp")
	client := m.Spawn(cur, "client", func(cur *kernel.Task) {
		udp.Raise(func() {
			p.lock.LockBH()
			p.queue.Inc()
			p.lock.UnlockBH()
			if r.flags.TestAndSetBit(1) {
				return
			}
			kernel.WakeUpProcess(r.task.Load())
		})
	})
	t := m.KthreadRun(cur, func(cur *kernel.Task, _ any) int {
		for !cur.KthreadShouldStop() {
			cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
			p.lock.LockBH()
			n := p.queue.Read()
			if n > 0 {
				p.queue.Dec()
			}
			p.lock.UnlockBH()
			if n == 0 {
				r.flags.ClearBit(1)
			}
			if cur.KthreadShouldStop() {
				break
			}
			if n == 0 {
				kernel.Schedule(cur)
			}
		}
		cur.SetCurrentState(kernel.TASK_RUNNING)
		return 0
	}, nil, "lockd")
	r.task.Store(t)
	kernel.Join(cur, client)
	kernel.Msleep(cur, 1) // until nothing is left to do
	kernel.KthreadStop(cur, t)
	kernel.Kfree(other)
	kernel.Kfree(r)
	kernel.Kfree(p)
}

// find explores main until it fails and returns the shrunk, recorded failure.
func find(t *testing.T, name string, main func(cur *kernel.Task)) *Failure {
	t.Helper()
	m := kernel.NewSim()
	t.Cleanup(m.Close)
	r := explore.RunnerFunc(func(ch kernel.Chooser, opt kernel.Options) *kernel.Result { return m.Run(ch, opt, name, main) })
	out, err := explore.Search(context.Background(), r, explore.Plan{Chooser: "random", Seed: 1, Schedules: 20000})
	if err != nil {
		t.Fatal(err)
	}
	if out.Finding == nil {
		t.Fatal("no finding")
	}
	sh := explore.Shrink(explore.Work{Runner: r}, out.Schedule, out.Finding, kernel.Options{}, explore.Effort{Runs: 2000})
	return &Failure{
		Scenario: "tiny", Finding: sh.Finding, Events: sh.Result.Events, Pending: sh.Result.Pending,
		Era: "3.19", Backend: "sim", Chooser: "random", Seed: 1, Steps: sh.Result.Steps, Preemptions: sh.Preemptions,
		Schedule: "findings/tiny-7f3a.schedule",
	}
}

func TestTinyRace(t *testing.T) {
	text := draw(t, find(t, "lockd_up", lockdStart))
	want(t, text,
		// The culprit is this test and no port, so the floor calls it a fault of its own.
		"SVCFUZZ BUG: tiny: panic outside the port: NULL pointer dereference, task softirq/udp\n",
		"era 3.19  back end sim  chooser random  seed 1  steps ", "  preemptions ",
		"step  lockd_up", "client", "lockd", "softirq/udp", "at\n",
		"more", "kthread_create(lockd)", "wake_up_process(lockd)", "clear_bit RQ_BUSY", "test_and_set_bit RQ_BUSY",
		"rq_task -> NULL", "wake_up_process(NULL)", "stress/report/tiny_test.go:", "  <- SVCFUZZ BUG\n",
		"never reached: lockd_up  store rq_task",
		"\nreplay:  go run ./stress replay findings/tiny-7f3a.schedule\n",
		"keep:    go run ./stress keep findings/tiny-7f3a.schedule NAME\n")
	if strings.Contains(text, "test_bit RQ_SECURE") {
		t.Errorf("what another object's owner did before is shown:\n%s", text)
	}
}
