// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import "github.com/seed17199236/svcfuzz/target/kernel"

// Flags of a call.
const (
	RPC_TASK_SOFT     = 0x0200 // gives up after a major timeout: -EIO
	RPC_TASK_SOFTCONN = 0x0400 // gives up when there is no connection
	RPC_TASK_TIMEOUT  = 0x1000 // gives up after a major timeout: -ETIMEDOUT
)

// rpcCallMajorseen in a call's flags says that it has been through a major timeout.
const rpcCallMajorseen = 0x0020

// RpcMessage is what is to be called: the procedure, its arguments and where the results go (nil: they are not
// looked at). Both are used until the call is over.
//
// C: struct rpc_message, include/linux/sunrpc/sched.h
type RpcMessage struct {
	RpcProc *RpcProcinfo
	RpcArgp any
	RpcResp any
}

// RpcCallOps is what an asynchronous call tells its maker. Both may be nil, both run in the task that makes the call
// and may sleep. RpcCallDone runs if the call was made, with its result in TkStatus; RpcRelease runs exactly once in
// any case and is the last that is heard of the call.
//
// C: struct rpc_call_ops, include/linux/sunrpc/sched.h
type RpcCallOps struct {
	RpcCallDone func(cur *kernel.Task, task *RpcTask, data any)
	RpcRelease  func(cur *kernel.Task, data any)
}

// RpcTask is one call, with what C keeps of it in a struct rpc_rqst. Where no lock is named, a field belongs to the
// task that runs the call.
type RpcTask struct {
	kernel.Obj
	TkStatus int // result of the last step, of the call when RpcCallDone runs: 0 or -errno
	TkClient *RpcClnt
	TkFlags  uint32

	msg    RpcMessage
	ops    *RpcCallOps
	data   any
	action func(cur *kernel.Task, task *RpcTask) // the next step; nil: none
	parent *RpcTask                              // the call that this one is made for; killed means both
	runner *kernel.Task                          // runs the call; ClLock
	killed kernel.Atomic
	delay  kernel.Jiffies // RpcDelay

	garbRetry, credRetry, rebindRetry int

	xid           uint32
	sndBuf        []byte   // the message as it goes out, with a record marker in front
	addr          SockAddr // where it goes
	reply         []byte   // ClLock: what has arrived, nil as long as nothing has
	waiting       bool     // ClLock: on ClRecv
	answer        []byte   // what has arrived, taken off reply
	connectCookie uint32   // of the connection that it went out on
	retries       uint32
	timeout       kernel.Jiffies
	majortimeo    kernel.Jiffies // a point in time
}

// Poison drops the pointers of a freed call.
func (task *RpcTask) Poison() {
	task.TkClient, task.msg, task.ops, task.data, task.action, task.parent = nil, RpcMessage{}, nil, nil, nil, nil
}

// rpcNewTask makes a call that nobody runs yet; nil if there is no memory. May sleep.
//
// C: rpc_new_task, net/sunrpc/sched.c
func rpcNewTask(clnt *RpcClnt, msg *RpcMessage, flags uint32, ops *RpcCallOps, data any) *RpcTask {
	task := kernel.Kzalloc[RpcTask](clnt.Machine(), "rpc_task", kernel.GFP_KERNEL)
	if task == nil {
		return nil
	}
	task.TkClient, task.TkFlags = clnt, flags
	task.msg, task.ops, task.data = *msg, ops, data
	task.killed.Init(&task.Obj, "tk_killed")
	task.action = callStart
	task.garbRetry, task.credRetry, task.rebindRetry = 2, 2, 2
	if clnt.ClSoftrtry {
		task.TkFlags |= RPC_TASK_SOFT
	}
	return task
}

// isSoft tells whether the call gives up after a major timeout.
//
// C: RPC_IS_SOFT, include/linux/sunrpc/sched.h
func (task *RpcTask) isSoft() bool { return task.TkFlags&(RPC_TASK_SOFT|RPC_TASK_TIMEOUT) != 0 }

// isSoftconn tells whether the call gives up without a connection.
//
// C: RPC_IS_SOFTCONN, include/linux/sunrpc/sched.h
func (task *RpcTask) isSoftconn() bool { return task.TkFlags&RPC_TASK_SOFTCONN != 0 }

// rpcExit makes status the result of the call. Its steps are over.
//
// C: rpc_exit, net/sunrpc/sched.c
func rpcExit(task *RpcTask, status int) {
	task.TkStatus = status
	task.action = nil
}

// rpcExecute runs the call to its end in cur and frees it; the result is its status. RpcRelease runs while the call
// still counts as one of its client.
//
// Differs: in C the call leaves its client first, so that rpc_shutdown_client can return before the release has
// dropped what the call holds, and lockd finds its hosts still in use; nothing upstream closes that gap.
//
// C: __rpc_execute, rpc_exit_task, rpc_release_task, net/sunrpc/sched.c
func rpcExecute(cur *kernel.Task, task *RpcTask) int {
	for task.action != nil {
		for task.action != nil {
			task.action(cur, task)
		}
		if task.ops != nil && task.ops.RpcCallDone != nil {
			task.ops.RpcCallDone(cur, task, task.data)
		}
		if task.action != nil && task.delay != 0 {
			rpcSleepOn(cur, task, task.delay)
		}
		task.delay = 0
	}
	status := task.TkStatus
	rpcReleaseCalldata(cur, task.ops, task.data)
	rpcTaskReleaseClient(task)
	return status
}

// rpcReleaseCalldata is the end of a call for who made it.
//
// C: rpc_release_calldata, net/sunrpc/sched.c
func rpcReleaseCalldata(cur *kernel.Task, ops *RpcCallOps, data any) {
	if ops != nil && ops.RpcRelease != nil {
		ops.RpcRelease(cur, data)
	}
}

// rpcKilled tells whether the call, or one that it is made for, is to end now.
//
// C: RPC_ASSASSINATED, include/linux/sunrpc/sched.h
func rpcKilled(task *RpcTask) bool {
	for ; task != nil; task = task.parent {
		if task.killed.Read() != 0 {
			return true
		}
	}
	return false
}

// rpcSleepOn sleeps for the given time: true, or false as soon as the call is killed.
//
// C: rpc_sleep_on, net/sunrpc/sched.c
func rpcSleepOn(cur *kernel.Task, task *RpcTask, timeout kernel.Jiffies) bool {
	for timeout > 0 {
		cur.SetCurrentState(kernel.TASK_UNINTERRUPTIBLE)
		if rpcKilled(task) {
			cur.SetCurrentState(kernel.TASK_RUNNING)
			return false
		}
		timeout = kernel.ScheduleTimeout(cur, timeout)
	}
	return true
}

// RpcDelay lets the call wait before it goes on after RpcRestartCall. To be called by RpcCallDone.
//
// C: rpc_delay, net/sunrpc/sched.c
func RpcDelay(task *RpcTask, delay kernel.Jiffies) { task.delay = delay }

// RpcRestartCall makes the call start all over when RpcCallDone returns, which alone may call it; false, and it stays
// over, if it has been killed.
//
// C: rpc_restart_call, net/sunrpc/clnt.c
func RpcRestartCall(task *RpcTask) bool {
	if rpcKilled(task) {
		return false
	}
	task.action = callRestart
	return true
}

// rpcTaskSetClient makes the call one of its client's, with a number of its own, run by runner, which is woken if it
// does not run yet.
//
// C: rpc_task_set_client, net/sunrpc/clnt.c
func rpcTaskSetClient(task *RpcTask, runner *kernel.Task, wake bool) {
	clnt := task.TkClient
	clnt.ClLock.Lock()
	task.runner = runner
	task.xid = xprtAllocXid(clnt)
	clnt.ClTasks = append(clnt.ClTasks, task)
	if wake {
		// Under the lock, so that nobody kills the call before and so wakes the runner first.
		kernel.WakeUpProcess(runner)
	}
	clnt.ClLock.Unlock()
}

// rpcTaskReleaseClient takes the call off its client and frees it. If the client is being shut down, whoever waits
// for its last call is woken, and if that was the call itself, the client goes with it.
//
// C: rpc_task_release_client, net/sunrpc/clnt.c
func rpcTaskReleaseClient(task *RpcTask) {
	clnt := task.TkClient
	clnt.ClLock.Lock()
	clnt.ClTasks = withoutTask(clnt.ClTasks, task)
	clnt.ClRecv = withoutTask(clnt.ClRecv, task)
	if clnt.clDying {
		clnt.clDestroyWait.WakeUpAll()
	}
	orphan := clnt.clOrphan && len(clnt.ClTasks) == 0
	clnt.ClLock.Unlock()
	kernel.Kfree(task)
	if orphan {
		rpcFreeClient(clnt)
	}
}

// withoutTask is list without task, in its order.
func withoutTask(list []*RpcTask, task *RpcTask) []*RpcTask {
	for i, x := range list {
		if x == task {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
