// SPDX-License-Identifier: GPL-2.0-only

//go:build !race

package sunrpc

// The race detector reports the bug that is planted here as the data race that it is, before it becomes an oops.

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// The defect of 2014: a thread that wireRuns before its creator has stored rq_task must be found.
func TestRunBeforeRqTask(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for seed := range 3000 {
		r := m.Run(choosertest.NewRanked(uint64(seed), 150), kernel.Options{}, "main", func(cur *kernel.Task) {
			m := cur.Machine()
			wd := bootWire(cur)
			serv := SvcCreate(cur, wd.rpc, wd.prog, 1024, nil)
			SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 9, 0)
			wd.at(0).dataReady(wireCall(1, 0))
			wd.at(0).dataReady(wireCall(2, 0))
			rqstp, _ := SvcPrepareThread(cur, serv, serv.SvPools[0], NUMA_NO_NODE)
			task := m.KthreadRun(cur, func(cur *kernel.Task, _ any) int {
				for !cur.KthreadShouldStop() {
					if SvcRecv(cur, rqstp, kernel.MaxScheduleTimeout) > 0 {
						SvcProcess(cur, rqstp)
					}
				}
				return 0
			}, nil, "lockd")
			rqstp.RqTask.Store(task)
			wd.waitFor(cur, 2)
			SvcShutdownNet(cur, serv, wd.net)
			kernel.KthreadStop(cur, task)
			SvcExitThread(cur, rqstp)
			SvcDestroy(cur, serv)
		})
		if f := r.Worst(); f != nil {
			if f.Oracle != "oops" {
				t.Fatalf("seed %d: %v %s", seed, f, f.Text)
			}
			t.Logf("seed %d: %v", seed, f)
			return
		}
	}
	t.Fatal("never found")
}
