// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import "github.com/seed17199236/svcfuzz/target/kernel"

// PeekIdle reports whether whoever has work may select the thread. It is for oracles, which must not depend on how an
// era keeps its idle threads, and no visible operation.
func (rqstp *SvcRqst) PeekIdle() bool { return !rqstp.RqFlags.Peek(RQ_BUSY) }

// PeekTaskPending reports whether whoever of the pool looks for work next has been asked to look around. It is for
// oracles and no visible operation.
func (pool *SvcPool) PeekTaskPending() bool { return pool.SpFlags.Peek(SP_TASK_PENDING) }

// PeekWakee is the task that whoever selects the thread would wake. The second result is false if that is not read
// from the svc_rqst, whose RqTask then need not be set. It is for oracles and no visible operation.
func (rqstp *SvcRqst) PeekWakee() (*kernel.Task, bool) { return rqstp.RqTask.Peek(), true }
