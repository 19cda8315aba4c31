// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"bytes"
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// TestGrant: a GRANTED call finds who waits by server, file, process and range, not by cookie.
func TestGrant(t *testing.T) {
	locking(t, 20, func(cur *kernel.Task, s *lockWorld) {
		lock := &NlmLock{Svid: 4711, Fl: fs.FileLock{FlStart: 10, FlEnd: 29}}
		lock.Fh.Size = uint32(copy(lock.Fh.Data[:], bytes.Repeat([]byte{7}, NFS2_FHSIZE)))
		host := kernel.Kzalloc[NlmHost](cur.Machine(), "nlm_host", kernel.GFP_KERNEL)
		host.HAddr = sock.LoopbackAddr(sock.AF_INET, 0)

		for _, speaks := range wires {
			c := s.connect(cur, speaks, sock.IPPROTO_UDP, sock.Addr{})
			grant := func(fh byte, svid uint32, start, n uint64, want uint32) {
				args := append(xdr{}.bytes("cook").words(1),
					speaks.lockOf("server", bytes.Repeat([]byte{fh}, NFS2_FHSIZE), "any", svid, start, n)...)
				if got := c.status(cur, NLMPROC_GRANTED, args); got != want {
					s.fail("version %d, file %d process %d range %d %d: status %d", speaks.vers, fh, svid, start, n, got)
				}
			}
			block := s.NlmclntPrepareBlock(cur, host, lock)
			waiter := cur.Machine().Spawn(cur, "waiter", func(cur *kernel.Task) {
				req := &NlmRqst{}
				for req.ARes.Status = NLM_LCK_BLOCKED; req.ARes.Status == NLM_LCK_BLOCKED; {
					if err := s.NlmclntBlock(cur, block, req, 30*kernel.HZ); err != 0 {
						s.fail("nlmclnt_block: %s", kernel.ErrName(err))
						return
					}
				}
				if req.ARes.Status != NLM_LCK_GRANTED {
					s.fail("status %d", req.ARes.Status)
				}
			})
			grant(8, 4711, 10, 20, NLM_LCK_DENIED)
			grant(7, 4712, 10, 20, NLM_LCK_DENIED)
			grant(7, 4711, 11, 20, NLM_LCK_DENIED)
			grant(7, 4711, 10, 21, NLM_LCK_DENIED)
			grant(7, 4711, 10, 0, NLM_LCK_DENIED)
			host.HAddr.IP[3] = 2
			grant(7, 4711, 10, 20, NLM_LCK_DENIED)
			host.HAddr.IP[3] = 1
			if got := block.BStatus.Read(); got != NLM_LCK_BLOCKED {
				s.fail("status %d before the GRANTED call", got)
			}
			grant(7, 4711, 10, 20, NLM_LCK_GRANTED)
			kernel.Join(cur, waiter)
			grant(7, 4711, 10, 20, NLM_LCK_GRANTED) // it was retransmitted
			s.NlmclntFinishBlock(block)
			grant(7, 4711, 10, 20, NLM_LCK_DENIED)
			c.conn.Close()
		}
		kernel.Kfree(host)
	})
}

// TestBlock: what ends the waiting for a lock.
func TestBlock(t *testing.T) {
	locking(t, 10, func(cur *kernel.Task, s *lockWorld) {
		req := &NlmRqst{}
		if err := s.NlmclntBlock(cur, nil, req, kernel.HZ); err != -kernel.EAGAIN {
			s.fail("without a block: %s", kernel.ErrName(err))
		}
		s.NlmclntFinishBlock(nil)

		lock := &NlmLock{}
		block := s.NlmclntPrepareBlock(cur, &NlmHost{}, lock)
		if err := s.NlmclntBlock(cur, block, req, kernel.HZ); err != 0 || req.ARes.Status != NLM_LCK_BLOCKED {
			s.fail("time is over: %s, status %d", kernel.ErrName(err), req.ARes.Status)
		}
		block.BStatus.Set(NLM_LCK_DENIED_GRACE_PERIOD)
		if err := s.NlmclntBlock(cur, block, req, kernel.HZ); err != 0 || req.ARes.Status != NLM_LCK_BLOCKED {
			s.fail("the server rebooted: %s, status %d", kernel.ErrName(err), req.ARes.Status)
		}
		waiter := cur.Machine().Spawn(cur, "waiter", func(cur *kernel.Task) {
			cur.AllowSignal(kernel.SIGKILL)
			if err := s.NlmclntBlock(cur, block, req, kernel.MaxScheduleTimeout); err != -kernel.ERESTARTSYS {
				s.fail("signal: %s", kernel.ErrName(err))
			}
		})
		kernel.Msleep(cur, 10)
		kernel.SendSig(kernel.SIGKILL, waiter)
		kernel.Join(cur, waiter)
		s.NlmclntFinishBlock(block)
	})
}
