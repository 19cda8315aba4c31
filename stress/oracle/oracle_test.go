// SPDX-License-Identifier: MIT

package oracle

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/history"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// tiny is a machine with one service, one datagram transport and, after start, one thread.
type tiny struct {
	*Subject
	net  *sock.Net
	serv *sunrpc.SvcServ
	pool *sunrpc.SvcPool
	xprt *sunrpc.SvcXprt
	rqst *sunrpc.SvcRqst
	task *kernel.Task
}

func boot(cur *kernel.Task, s *Subject) *tiny {
	m := cur.Machine()
	s.Rpc = sunrpc.New(cur, m)
	w := &tiny{Subject: s, net: sock.NewNet(cur, m, "init_net")}
	sunrpc.SunrpcInitNet(cur, s.Rpc, w.net)
	s.AddNet(w.net)
	vers := &sunrpc.SvcVersion{VsVers: 1, VsNproc: 1, VsXdrsize: 64, VsHidden: true,
		VsProc: make([]sunrpc.SvcProcedure, 1)}
	prog := &sunrpc.SvcProgram{PgProg: 4711, PgName: "tiny", PgNvers: 2, PgVers: []*sunrpc.SvcVersion{1: vers},
		PgStats: &sunrpc.SvcStat{}, PgAuthenticate: func(*kernel.Task, *sunrpc.SvcRqst) int { return sunrpc.SVC_OK }}
	w.serv = sunrpc.SvcCreate(cur, s.Rpc, prog, 1024, nil)
	w.pool = w.serv.SvPools[0]
	sunrpc.SvcCreateXprt(cur, w.serv, "udp", w.net, sock.PF_INET, 9, sunrpc.SVC_SOCK_ANONYMOUS)
	w.xprt = w.serv.SvPermsocks.Peek()[0]
	s.Track(Service{Serv: w.serv, Refs: 1})
	return w
}

// prepare makes the svc_rqst of a thread.
func (w *tiny) prepare(cur *kernel.Task) {
	w.rqst, _ = sunrpc.SvcPrepareThread(cur, w.serv, w.pool, sunrpc.NUMA_NO_NODE)
}

// run starts the thread of the svc_rqst; body nil is a proper one.
func (w *tiny) run(cur *kernel.Task, body sunrpc.SvcThreadFn) {
	if body == nil {
		body = func(cur *kernel.Task, data any) int {
			for !cur.KthreadShouldStop() {
				if sunrpc.SvcRecv(cur, data.(*sunrpc.SvcRqst), kernel.MaxScheduleTimeout) > 0 {
					sunrpc.SvcProcess(cur, data.(*sunrpc.SvcRqst))
				}
			}
			return 0
		}
	}
	w.task = w.M.KthreadCreate(cur, body, w.rqst, "tiny")
	w.rqst.RqTask.Store(w.task)
	kernel.WakeUpProcess(w.task)
}

// start makes a thread and waits until it is idle.
func (w *tiny) start(cur *kernel.Task) {
	w.prepare(cur)
	w.run(cur, nil)
	kernel.Msleep(cur, 1)
}

// stop takes everything back.
func (w *tiny) stop(cur *kernel.Task) {
	sunrpc.SvcShutdownNet(cur, w.serv, w.net)
	kernel.KthreadStop(cur, w.task)
	sunrpc.SvcExitThread(cur, w.rqst)
	w.Untrack(w.serv)
	sunrpc.SvcDestroy(cur, w.serv)
	w.end(cur)
}

func (w *tiny) end(cur *kernel.Task) {
	w.DropNet(w.net)
	sunrpc.SunrpcExitNet(cur, w.Rpc, w.net)
	w.Rpc.Exit(cur)
	w.net.Put()
}

// owned makes the transport look as if its owner had it.
func (w *tiny) owned() { w.xprt.XptFlags.SetBit(sunrpc.XPT_BUSY) }

func (w *tiny) queue() {
	w.pool.SpLock.LockBH()
	w.pool.SpSockets.AddTail(&w.xprt.XptReady)
	w.pool.SpLock.UnlockBH()
}

func (w *tiny) locked(change func()) {
	w.pool.SpLock.LockBH()
	change()
	w.pool.SpLock.UnlockBH()
}

// thing is an object that nobody frees.
type thing struct {
	kernel.Obj
	timer kernel.Timer
}

// broken are machines that are not sound, each with the oracle that must say so and what it says.
var broken = []struct {
	oracle, title string
	make          func(cur *kernel.Task, w *tiny)
}{
	{"victim", "a victim was chosen that nobody can stop", func(cur *kernel.Task, w *tiny) {
		w.prepare(cur)
		sunrpc.SvcSetNumThreads(cur, w.serv, w.pool, 0)
		w.run(cur, nil)
	}},

	{"task", "rq_task is not the thread that runs", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.rqst.RqTask.Store(nil)
	}},
	{"task", "rq_task is not the thread that runs", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.rqst.RqTask.Store(cur)
	}},
	{"task", "a thread can be selected whose rq_task is no task", func(cur *kernel.Task, w *tiny) {
		w.prepare(cur)
		w.rqst.RqFlags.ClearBit(sunrpc.RQ_BUSY)
	}},
	{"task", "a thread can be selected that has exited", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		kernel.KthreadStop(cur, w.task)
		w.rqst.RqFlags.ClearBit(sunrpc.RQ_BUSY)
	}},
	{"task", "an idle thread has a transport", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.rqst.RqXprt.Store(w.xprt)
	}},

	{"busy", "a queued transport is not BUSY", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.queue()
	}},
	{"busy", "a queued transport is DEAD", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.owned()
		w.xprt.XptFlags.SetBit(sunrpc.XPT_DEAD)
		w.queue()
	}},
	{"busy", "a DEAD transport is not BUSY", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.xprt.XptFlags.SetBit(sunrpc.XPT_DEAD)
	}},
	{"busy", "a transport is BUSY and nobody owns it", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.owned()
	}},
	{"busy", "a freed transport is on the list of its service", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		kernel.Kfree(w.xprt.XptContainer.(*sunrpc.SvcSock))
	}},
	{"busy", "a freed transport is queued", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.owned()
		w.queue()
		kernel.Kfree(w.xprt.XptContainer.(*sunrpc.SvcSock))
	}},
	{"busy", "a thread has a freed transport", func(cur *kernel.Task, w *tiny) {
		w.prepare(cur)
		w.rqst.RqXprt.Store(w.xprt)
		w.serv.SvLock.LockBH()
		w.serv.SvPermsocks.Del(&w.xprt.XptList)
		w.serv.SvLock.UnlockBH()
		w.locked(func() { w.pool.SpSockets.DelInit(&w.xprt.XptReady) })
		kernel.Kfree(w.xprt.XptContainer.(*sunrpc.SvcSock))
	}},

	{"liveness", "a transport is queued and not served although everybody gets a turn", func(cur *kernel.Task, w *tiny) {
		w.prepare(cur)
		w.run(cur, func(cur *kernel.Task, _ any) int { // is never idle and never looks at the queue
			for !cur.KthreadShouldStop() {
				kernel.CondResched(cur)
			}
			return 0
		})
		for range 4096 {
			kernel.CondResched(cur)
		}
	}},

	{"lost-wakeup", "a transport is queued and an idle thread sleeps", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.owned()
		w.queue()
	}},
	{"lost-wakeup", "a transport has work and is neither queued nor owned", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.xprt.XptFlags.SetBit(sunrpc.XPT_DATA)
	}},
	{"lost-wakeup", "a transport has work and is neither queued nor owned", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.xprt.XptFlags.SetBit(sunrpc.XPT_CLOSE)
	}},
	{"lost-wakeup", "a thread was handed a transport and sleeps", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.owned()
		w.rqst.RqFlags.SetBit(sunrpc.RQ_BUSY)
		w.rqst.RqXprt.Store(w.xprt)
	}},
	{"lost-wakeup", "svc_wake_up was called and an idle thread sleeps", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.serv.SvPools[0].SpFlags.SetBit(sunrpc.SP_TASK_PENDING)
	}},
	{"lost-wakeup", "a back channel request is queued and an idle thread sleeps", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		req := kernel.Kzalloc[sunrpc.RpcRqst](w.M, "rpc_rqst", kernel.GFP_KERNEL)
		req.RqBcList.Init(req)
		w.serv.SvCbLock.LockBH()
		w.serv.SvCbList.Add(&req.RqBcList)
		w.serv.SvCbLock.UnlockBH()
	}},

	{"start", "nlmsvc_timeout is not set while lockd is up", func(cur *kernel.Task, w *tiny) {
		w.Lockd = lockd.New(cur, w.Rpc, w.net)
		w.Lockd.NlmsvcUsers = 1
	}},
	{"start", "nlmsvc_timeout is not set when the start call returns", func(cur *kernel.Task, w *tiny) {
		w.Started("nlmsvc_timeout", 0)
	}},
	{"start", "lockd_up fails", func(cur *kernel.Task, w *tiny) { w.StartFailed("lockd_up", -kernel.ENOMEM, 1) }},

	{"stop", "svc_set_num_threads succeeds and leaves another number of threads", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.Resized(w.serv, w.pool, 0)
	}},
	{"stop", "a thread sleeps on after it was told to stop", func(cur *kernel.Task, w *tiny) {
		w.prepare(cur)
		w.run(cur, func(cur *kernel.Task, data any) int {
			data.(*sunrpc.SvcRqst).RqFlags.ClearBit(sunrpc.RQ_BUSY)
			for {
				cur.SetCurrentState(kernel.TASK_INTERRUPTIBLE)
				kernel.Schedule(cur)
			}
		})
		sunrpc.SvcShutdownNet(cur, w.serv, w.net)
		kernel.Msleep(cur, 1)
		kernel.KthreadStop(cur, w.task)
	}},

	{"accounting", "sp_nrthreads is not the number of threads of the pool", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.locked(func() { w.pool.SpNrthreads++ })
	}},
	{"accounting", "sv_nrthreads is not the number of threads and users", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		sunrpc.SvcGet(w.serv)
	}},
	{"accounting", "sv_tmpcnt is not the number of connections", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.serv.SvTmpcnt.Inc()
	}},
	{"accounting", "the references of a transport do not add up", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		sunrpc.SvcXprtGet(w.xprt)
	}},
	{"accounting", "the reservations of a transport do not add up", func(cur *kernel.Task, w *tiny) {
		w.start(cur)
		w.xprt.XptReserved.Add(8)
	}},
	{"accounting", "lockd has users and no thread", func(cur *kernel.Task, w *tiny) {
		w.Lockd = lockd.New(cur, w.Rpc, w.net)
		w.Lockd.NlmsvcTimeout.Store(1)
		w.Lockd.NlmsvcUsers = 1
	}},
	{"accounting", "lockd has a transport in a namespace without users", func(cur *kernel.Task, w *tiny) {
		w.lockdUp(cur)
		w.Lockd.LockdNet(w.net).NlmsvcUsers = 0
	}},
	{"accounting", "nlmsvc_users is not the sum of the users of all namespaces", func(cur *kernel.Task, w *tiny) {
		w.lockdUp(cur)
		w.Lockd.NlmsvcUsers++
	}},
	{"accounting", "the users of rpcbind's clients are not the services bound", func(cur *kernel.Task, w *tiny) {
		w.lockdUp(cur)
		w.Rpc.SunrpcNet(w.net).RpcbUsers.Inc()
	}},
	{"accounting", "a callback service has users and no thread", func(cur *kernel.Task, w *tiny) {
		w.Nfs = nfs.New(cur, w.Rpc, w.net)
		w.Nfs.NfsCallbackInfo[0].Users = 1
	}},
	{"accounting", "a callback service has a namespace with users and no transport", func(cur *kernel.Task, w *tiny) {
		w.Nfs = nfs.New(cur, w.Rpc, w.net)
		w.Nfs.NfsNet(w.net).CbUsers[0] = 1
	}},
	{"accounting", "the users of a callback service are not the sum", func(cur *kernel.Task, w *tiny) {
		w.Nfs = nfs.New(cur, w.Rpc, w.net)
		w.Nfs.NfsCallbackUp(cur, 0, nil, w.net)
		w.Nfs.NfsCallbackInfo[0].Users++
	}},

	{"grace", "a namespace without lockd users is in grace", func(cur *kernel.Task, w *tiny) {
		w.Lockd = lockd.New(cur, w.Rpc, w.net)
		ln := w.Lockd.LockdNet(w.net)
		w.Lockd.Grace.LocksStartGrace(ln.GraceNet, &ln.LockdManager)
	}},
	{"grace", "the end of a grace period is pending", func(cur *kernel.Task, w *tiny) {
		w.Lockd = lockd.New(cur, w.Rpc, w.net)
		w.Lockd.LockdNet(w.net).GracePeriodEnd.Schedule(50 * kernel.HZ)
	}},
	{"grace", "a grace period that nothing ends", func(cur *kernel.Task, w *tiny) {
		w.lockdUp(cur)
		w.Lockd.LockdNet(w.net).GracePeriodEnd.CancelSync(cur)
	}},

	{"reply", "a request is never answered", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Err: -kernel.ETIMEDOUT})
	}},
	{"reply", "a service that is up cannot be reached", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Err: -kernel.ECONNREFUSED})
	}},
	{"reply", "a request is answered more than once", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Replies: [][]byte{words(7, 1, 0, 0, 0, 0), words(7, 1, 0, 0, 0, 0)}})
	}},
	{"reply", "a malformed reply", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Optional: true, Replies: [][]byte{words(7, 1, 0, 0, 0)}})
	}},
	{"reply", "a reply to somebody else", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Replies: [][]byte{words(8, 1, 0, 0, 0, 0)}})
	}},
	{"reply", "a reply with a wrong status", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Replies: [][]byte{words(7, 1, 0, 0, 0, 5)}})
	}},
	{"reply", "a malformed reply", func(cur *kernel.Task, w *tiny) { // results of NULL
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Replies: [][]byte{words(7, 1, 0, 0, 0, 0, 1)}})
	}},
	{"reply", "a malformed reply", func(cur *kernel.Task, w *tiny) { // a status that version 1 of the lock manager has not
		w.answered(cur, &Exchange{Xid: 7, Prog: wire.NLM, Vers: 1, Proc: 2, Sent: true,
			Replies: [][]byte{words(7, 1, 0, 0, 0, 0, 0, 5)}})
	}},
	{"reply", "a reply with wrong results", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Prog: wire.NLM, Vers: 4, Proc: 2, Sent: true,
			Replies: [][]byte{words(7, 1, 0, 0, 0, 0, 0, 5)}, Look: func(r *wire.Reply) string {
				if stat := r.Results.(*wire.Nlm4_res).Stat.Stat; stat != wire.NLM4_GRANTED {
					return stat.String()
				}
				return ""
			}})
	}},
	{"reply", "a verifier that nobody asked for", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Replies: [][]byte{words(7, 1, 0, 1, 0, 0)}})
	}},
	{"reply", "a call is denied for a wrong reason", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Want: DeniedAuthError, Why: 3, Sent: true, Replies: [][]byte{words(7, 1, 1, 1, 1)}})
	}},
	{"reply", "an answer to what deserves none", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Silent: true, Sent: true, Replies: [][]byte{words(7, 1, 0, 0, 0, 0)}})
	}},
	{"reply", "a connection ends within a reply", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Sent: true, Optional: true, Cut: true})
	}},
	{"reply", "an answer without a request", func(cur *kernel.Task, w *tiny) {
		w.answered(cur, &Exchange{Xid: 7, Replies: [][]byte{words(7, 1, 0, 0, 0, 0)}})
	}},

	{"locks", "locks that exclude each other are held", func(cur *kernel.Task, w *tiny) {
		w.held(cur, fs.FileLock{FlPid: 1, FlEnd: 9}, fs.FileLock{FlPid: 2, FlType: fs.F_WRLCK, FlStart: 9, FlEnd: fs.OFFSET_MAX})
	}},
	{"locks", "locks of one owner overlap", func(cur *kernel.Task, w *tiny) {
		w.held(cur, fs.FileLock{FlPid: 1, FlEnd: 9}, fs.FileLock{FlPid: 1, FlType: fs.F_WRLCK, FlStart: 5, FlEnd: 6})
	}},
	{"locks", "locks of one owner touch and are not one", func(cur *kernel.Task, w *tiny) {
		w.held(cur, fs.FileLock{FlPid: 1, FlStart: 10, FlEnd: fs.OFFSET_MAX}, fs.FileLock{FlPid: 1, FlEnd: 9})
	}},
	{"locks", "a lock has no range", func(cur *kernel.Task, w *tiny) {
		w.held(cur, fs.FileLock{FlPid: 1, FlEnd: 9}, fs.FileLock{FlPid: 1, FlStart: 20, FlEnd: 19})
	}},
	{"locks", "no order of the requests explains the answers", func(cur *kernel.Task, w *tiny) {
		w.told(cur, history.Granted, history.Granted)
	}},
	{"SVCFUZZ BUG", "a lock history is too long to be judged", func(cur *kernel.Task, w *tiny) {
		w.told(cur, history.Granted, history.Denied)
		w.History.Budget = 1
	}},

	{"leak", "thing was never freed", func(cur *kernel.Task, w *tiny) {
		kernel.Kzalloc[thing](w.M, "thing", kernel.GFP_KERNEL)
		w.answered(cur)
	}},
	{"leak", "timer ticker is still armed", func(cur *kernel.Task, w *tiny) {
		x := kernel.StaticObj[thing](w.M, "thing")
		x.timer.Init(&x.Obj, "ticker", func() {})
		x.timer.Mod(3 * kernel.HZ)
		w.answered(cur)
	}},
	{"leak", "module sunrpc is still pinned", func(cur *kernel.Task, w *tiny) {
		sunrpc.ModuleGet(w.Rpc.Module)
		w.answered(cur)
	}},
	{"leak", "a namespace is still referenced", func(cur *kernel.Task, w *tiny) {
		w.net.Get()
		w.answered(cur)
	}},
}

// answered runs a sound machine to its end, with the given exchanges.
func (w *tiny) answered(cur *kernel.Task, xs ...*Exchange) {
	w.Exchanges = xs
	w.start(cur)
	w.stop(cur)
}

// held makes a file on which there are these locks, in this order.
func (w *tiny) held(cur *kernel.Task, locks ...fs.FileLock) {
	w.Lockd = lockd.New(cur, w.Rpc, w.net)
	w.Lockd.Fs = fs.New(cur, w.M)
	inode := w.Lockd.Fs.Create("file", false, 1)
	for i := range locks {
		locks[i].FlNext, inode.IFlock = inode.IFlock, &locks[i]
	}
	kernel.Msleep(cur, 1)
}

// told makes a history of two clients that asked for the same lock one after the other.
func (w *tiny) told(cur *kernel.Task, answers ...history.Status) {
	w.History = history.New(history.Steps())
	for i, answer := range answers {
		op := history.Op{Kind: history.Lock, File: "file", Owner: history.Owner{Host: "h", Svid: uint32(i)}, Exclusive: true}
		w.History.Client("h").Begin(op).End(answer, nil)
	}
	w.answered(cur)
}

// yes is an rpcbind that agrees to everything.
type yes struct{}

func (yes) Ping(*kernel.Task, bool, uint32) int { return 0 }
func (yes) Call(*kernel.Task, bool, uint32, uint32, *sunrpc.RpcbindArgs) (uint32, int) {
	return 1, 0
}

func (w *tiny) lockdUp(cur *kernel.Task) {
	w.Rpc.Rpcb.Port = yes{}
	w.Lockd = lockd.New(cur, w.Rpc, w.net)
	w.Lockd.LockdUp(cur, w.net)
}

func words(ws ...uint32) []byte {
	var b []byte
	for _, w := range ws {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// on runs main on a machine that the given oracles watch.
func on(m *kernel.Machine, all []*Oracle, main func(cur *kernel.Task, w *tiny)) *kernel.Result {
	s := &Subject{M: m}
	var opt kernel.Options
	install(s, &opt, all)
	return m.Run(choosertest.Straight{}, opt, "main", func(cur *kernel.Task) { main(cur, boot(cur, s)) })
}

func TestOraclesFire(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	for _, c := range broken {
		if raceEnabled && c.oracle == "liveness" {
			continue // it looks in the middle of runs, which a race build does not allow
		}
		r := on(m, All(), func(cur *kernel.Task, w *tiny) {
			c.make(cur, w)
			kernel.Msleep(cur, 1)
		})
		f := r.Worst()
		switch {
		case f == nil:
			t.Errorf("%s: %s: not found", c.oracle, c.title)
		case f.Oracle != c.oracle || !strings.Contains(f.Title, c.title):
			t.Errorf("want %s: %s, got %v\n%s", c.oracle, c.title, f, f.Text)
		case strings.ContainsAny(f.Title, "0123456789"):
			t.Errorf("%v: a title is the same in every run", f)
		}
	}
	// Every oracle is in the table.
	for _, o := range All() {
		found := false
		for _, c := range broken {
			found = found || c.oracle == o.Name
		}
		if !found || o.Doc == "" {
			t.Errorf("oracle %s has no broken machine, or no Doc", o.Name)
		}
	}
}

// sound is the opposite of the table: everything that the oracles look at, in good order.
func sound(cur *kernel.Task, w *tiny) {
	w.start(cur)
	w.lockdUp(cur)
	w.Started("nlmsvc_timeout", int64(w.Lockd.NlmsvcTimeout.Load()))
	w.Nfs = nfs.New(cur, w.Rpc, w.net)
	w.Nfs.NfsCallbackUp(cur, 0, nil, w.net)
	kernel.Msleep(cur, 1)
	w.Resized(w.serv, nil, 1)
	w.Exchanges = []*Exchange{
		{Xid: 7, Sent: true, Replies: [][]byte{words(7, 1, 0, 0, 0, 0)}},
		{Xid: 8, Sent: true, Optional: true, Err: -kernel.ETIMEDOUT},
		{Xid: 9, Optional: true, Err: -kernel.ECONNREFUSED},
		{Xid: 10, Sent: true, Want: AcceptProgMismatch, Replies: [][]byte{words(10, 1, 0, 0, 0, 2, 1, 4)}},
	}
	w.Lockd.LockdDown(cur, w.net)
	w.Nfs.NfsCallbackDown(cur, 0, w.net)
	kernel.Msleep(cur, 1)
	w.stop(cur)
}

func TestOraclesAreSilentAndInvisible(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	bare := on(m, nil, sound)
	if f := bare.Worst(); f != nil {
		t.Fatalf("%v\n%s\n%v", f, f.Text, f.Stack)
	}
	hash, steps := bare.Hash, bare.Steps
	watched := on(m, All(), sound)
	if f := watched.Worst(); f != nil {
		t.Fatalf("%v\n%s", f, f.Text)
	}
	if watched.Hash != hash || watched.Steps != steps {
		t.Errorf("with oracles %d steps, hash %x; without %d steps, hash %x", watched.Steps, watched.Hash, steps, hash)
	}
}

func TestInstallKeepsHooks(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	quiescent, end := 0, 0
	opt := kernel.Options{Quiescent: func() { quiescent++ }, AtEnd: func() { end++ }}
	s := &Subject{M: m}
	Install(s, &opt)
	m.Run(choosertest.Straight{}, opt, "main", func(cur *kernel.Task) { boot(cur, s).answered(cur) })
	if quiescent == 0 || end != 1 {
		t.Errorf("quiescent hook called %d times, end hook %d times", quiescent, end)
	}
}

// TestJudge holds replies against what was asked.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		x    Exchange
		b    []byte
		want string
	}{
		{Exchange{}, words(3, 1, 0, 0, 0, 0), ""},
		{Exchange{Want: AcceptProgMismatch}, words(3, 1, 0, 0, 0, 2, 1, 4), ""},
		{Exchange{Want: AcceptProcUnavail}, words(3, 1, 0, 0, 0, 3), ""},
		{Exchange{Want: DeniedRpcMismatch}, words(3, 1, 1, 0, 2, 2), ""},
		{Exchange{Want: DeniedAuthError, Why: 7}, words(3, 1, 1, 1, 7), ""},
		{Exchange{Prog: wire.NLM, Vers: 4, Proc: 2}, words(3, 1, 0, 0, 0, 0, 0, 5), ""},
		{Exchange{Prog: wire.Callback, Vers: 1, Proc: 1}, words(3, 1, 0, 0, 0, 0, 0, 0, 1, 4, 0), ""},
		{Exchange{Octets: words(3, 1, 0, 0, 0, 0, 7)}, words(3, 1, 0, 0, 0, 0, 7), ""},
		{Exchange{Octets: words(3, 1, 0, 0, 0, 0, 7)}, words(3, 1, 0, 0, 0, 0, 8), "a reply with wrong results"},
		{Exchange{Octets: words(3, 1, 0, 0, 0, 0, 7)}, words(3, 1, 0, 0, 0, 0), "a reply with wrong results"},
		{Exchange{Octets: words(3, 1, 0, 0, 0, 0, 7)}, words(3, 1, 0, 0, 0, 0, 7, 0), "a malformed reply"},
		{Exchange{Octets: words(3, 1, 0, 0, 0, 0, 7), poor: true}, words(3, 1, 0, 0, 0, 5), ""},
		{Exchange{}, nil, "a malformed reply"},
		{Exchange{}, words(3, 1, 0, 0, 0, 3, 0), "a malformed reply"},
		{Exchange{Prog: wire.NLM, Vers: 4, Proc: 1}, words(3, 1, 0, 0, 0, 0, 0, 1), "a malformed reply"},
		{Exchange{Prog: wire.Callback, Vers: 1, Proc: 1}, words(3, 1, 0, 0, 0, 0, 0, 0, 1, 4, 10025), "a malformed reply"},
		{Exchange{}, words(3, 1, 0, 0, 4, 0, 0), "a verifier that nobody asked for"},
		{Exchange{}, words(3, 1, 1, 1, 0), "a reply with a wrong status"},
	} {
		c.x.Xid, c.x.Sent, c.x.Replies = 3, true, [][]byte{c.b}
		if got, text := c.x.check(); got != c.want {
			t.Errorf("%+v: %q (%s), want %q", c.x, got, text, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for oracle, want := range map[string]string{
		"oops": "oops", "warning": "warning", "use-after-free": "use-after-free", "refcount": "use-after-free",
		"hang": "hang", "deadlock": "hang", "lost-wakeup": "hang", "stop": "hang", "leak": "leak", "victim": "leak",
		"task": "task", "busy": "busy", "reply": "reply", "grace": "grace", "accounting": "accounting",
		"start": "start", "lockdep": "lockdep", "sleep-in-atomic": "sleep-in-atomic", "list": "list",
	} {
		if got := Verdict(&kernel.Finding{Oracle: oracle}); got != want {
			t.Errorf("%s: %s, want %s", oracle, got, want)
		}
	}
}
