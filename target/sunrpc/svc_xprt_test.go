// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// wire is a transport that only exists in this test: a queue of requests and a count of replies.
type wire struct {
	SvcXprt
	lock    kernel.Spinlock
	in      [][]byte
	irq     kernel.Softirq
	replies [][]byte
	pending int // connections to accept, for a listener
	wd      *wireWorld
	detach  bool
}

type wireWorld struct {
	rpc     *Sunrpc
	net     *sock.Net
	serv    *SvcServ
	prog    *SvcProgram
	xcl     *SvcXprtClass
	all     []*wire
	freed   kernel.Count
	handled kernel.Count

	guard    *wireGuard
	accepted kernel.Jiffies // when the first connection was
}

// wireGuard orders what the test itself shares between tasks, so that the race detector sees the port alone.
type wireGuard struct {
	kernel.Obj
	lock kernel.Spinlock
}

// at is the i-th transport that was made.
func (wd *wireWorld) at(i int) (w *wire) {
	wd.locked(func() { w = wd.all[i] })
	return w
}

// locked runs fn as the only one.
func (wd *wireWorld) locked(fn func()) {
	wd.guard.lock.LockBH()
	fn()
	wd.guard.lock.UnlockBH()
}

func (wd *wireWorld) newWire(serv *SvcServ, sa SockAddr) *SvcXprt {
	w := kernel.Kzalloc[wire](wd.rpc.Machine(), "wire", kernel.GFP_KERNEL)
	if w == nil {
		return nil
	}
	w.wd = wd
	w.lock.Init(&w.Obj, "wire")
	w.irq.Init(&w.Obj, "wire")
	SvcXprtInit(wd.net, wd.xcl, &w.SvcXprt, serv)
	w.XptContainer = w
	SvcXprtSetLocal(&w.SvcXprt, sa)
	wd.locked(func() { wd.all = append(wd.all, w) })
	return &w.SvcXprt
}

// dataReady is what the test's network calls.
func (w *wire) dataReady(b []byte) {
	w.irq.Raise(func() {
		w.lock.LockBH()
		if w.detach {
			w.lock.UnlockBH()
			return
		}
		if b == nil {
			w.pending++
		} else {
			w.in = append(w.in, b)
		}
		if b == nil {
			w.XptFlags.SetBit(XPT_CONN)
		} else {
			w.XptFlags.SetBit(XPT_DATA)
		}
		SvcXprtEnqueue(&w.SvcXprt)
		w.lock.UnlockBH()
	})
}

type wireOps struct{ wd *wireWorld }

func (o *wireOps) XpoCreate(cur *kernel.Task, serv *SvcServ, net *sock.Net, sa SockAddr, flags int) (*SvcXprt, int) {
	if flags == 7 {
		return nil, -kernel.EADDRINUSE
	}
	xprt := o.wd.newWire(serv, sa)
	if xprt == nil {
		return nil, -kernel.ENOMEM
	}
	if flags == 1 {
		xprt.XptFlags.SetBit(XPT_LISTENER)
	}
	return xprt, 0
}

func (o *wireOps) XpoAccept(cur *kernel.Task, xprt *SvcXprt) *SvcXprt {
	w := xprt.XptContainer.(*wire)
	xprt.XptFlags.ClearBit(XPT_CONN)
	w.lock.LockBH()
	n := w.pending
	if n > 0 {
		w.pending--
	}
	w.lock.UnlockBH()
	if n == 0 {
		return nil
	}
	xprt.XptFlags.SetBit(XPT_CONN)
	o.wd.locked(func() {
		if o.wd.accepted == 0 {
			o.wd.accepted = cur.Machine().Jiffies()
		}
	})
	return o.wd.newWire(xprt.XptServer, sock.Addr4(127, 0, 0, 1, 700))
}

func (o *wireOps) XpoHasWspace(xprt *SvcXprt) bool { return true }

func (o *wireOps) XpoRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int {
	w := rqstp.RqXprt.Load().XptContainer.(*wire)
	w.XptFlags.ClearBit(XPT_DATA)
	w.lock.LockBH()
	var b []byte
	if len(w.in) > 0 {
		b, w.in = w.in[0], w.in[1:]
	}
	w.lock.UnlockBH()
	if b == nil {
		return -kernel.EAGAIN
	}
	w.XptFlags.SetBit(XPT_DATA)
	copy(rqstp.RqArg.Head.IovMem, b)
	rqstp.RqArg.Head.IovLen = uint64(len(b))
	rqstp.RqArg.Len = uint32(len(b))
	rqstp.RqArg.PageLen = 0
	rqstp.RqProt = IPPROTO_UDP
	rqstp.RqRespages = 1
	rqstp.RqNextPage = 2
	return len(b)
}

func (o *wireOps) XpoSendto(cur *kernel.Task, rqstp *SvcRqst) int {
	w := rqstp.RqXprt.Load().XptContainer.(*wire)
	o.wd.locked(func() { w.replies = append(w.replies, rqstp.RqRes.Flatten()) })
	o.wd.handled.Inc()
	return int(rqstp.RqRes.Len)
}

func (o *wireOps) XpoReleaseRqst(cur *kernel.Task, rqstp *SvcRqst) {}

func (o *wireOps) XpoDetach(cur *kernel.Task, xprt *SvcXprt) {
	w := xprt.XptContainer.(*wire)
	w.lock.LockBH()
	w.detach = true
	w.lock.UnlockBH()
}

func (o *wireOps) XpoFree(cur *kernel.Task, xprt *SvcXprt) {
	o.wd.freed.Inc()
	kernel.Kfree(xprt.XptContainer.(*wire))
}

func (o *wireOps) XpoSecurePort(rqstp *SvcRqst) bool { return SvcPortIsPrivileged(&rqstp.RqAddr) }
func (o *wireOps) XpoAdjustWspace(xprt *SvcXprt)     {}

func wireCall(xid, proc uint32) []byte {
	return words(xid, RPC_CALL, RPC_VERSION, 4711, 1, proc, 0, 0, 0, 0)
}

// bootWire makes the wireWorld of one run: a program 4711 with one procedure that answers with its xid.
func bootWire(cur *kernel.Task) *wireWorld {
	m := cur.Machine()
	wd := &wireWorld{}
	g := kernel.StaticObj[wireGuard](m, "test")
	g.lock.Init(&g.Obj, "test")
	wd.guard = g
	wd.rpc = New(cur, m)
	wd.net = sock.NewNet(cur, m, "init_net")
	wd.xcl = kernel.StaticObj[SvcXprtClass](m, "wire_class")
	wd.xcl.XclName, wd.xcl.XclOwner, wd.xcl.XclMaxPayload = "wire", wd.rpc.Module, 8192
	wd.xcl.XclOps = &wireOps{wd}
	SvcRegXprtClass(wd.rpc, wd.xcl)
	encode := func(rqstp *SvcRqst, p XdrPtr, _ any) bool {
		p.Put(rqstp.RqXid)
		return XdrRessizeCheck(rqstp, p)
	}
	vers := &SvcVersion{VsVers: 1, VsNproc: 1, VsXdrsize: 64, VsHidden: true, VsProc: []SvcProcedure{{
		PcFunc:       func(*kernel.Task, *SvcRqst, any, any) uint32 { return RPC_SUCCESS },
		PcEncode:     encode,
		PcXdrressize: 8,
	}}}
	wd.prog = &SvcProgram{PgProg: 4711, PgName: "test", PgClass: "test", PgNvers: 2, PgVers: []*SvcVersion{nil, vers},
		PgStats:        &SvcStat{},
		PgAuthenticate: func(*kernel.Task, *SvcRqst) int { return SVC_OK }}
	return wd
}

// wireLoop is a pooled service's thread.
func wireLoop(cur *kernel.Task, data any) int {
	rqstp := data.(*SvcRqst)
	mod := rqstp.RqServer.SvModule
	for !cur.KthreadShouldStop() {
		switch SvcRecv(cur, rqstp, 60*kernel.HZ) {
		case -kernel.EAGAIN, -kernel.EINTR:
			continue
		}
		SvcProcess(cur, rqstp)
	}
	SvcExitThread(cur, rqstp)
	ModulePut(mod)
	return 0
}

func (wd *wireWorld) waitFor(cur *kernel.Task, n int) bool {
	for range 200 {
		if wd.handled.Peek() >= int64(n) {
			return true
		}
		kernel.Msleep(cur, 5)
	}
	return false
}

func wireRuns(t *testing.T, opt kernel.Options, n int, main func(cur *kernel.Task, fail func(string))) {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	for seed := range n {
		var bad string
		var ch kernel.Chooser = choosertest.NewRandom(uint64(seed))
		if seed%4 != 0 {
			ch = choosertest.NewRanked(uint64(seed), 100<<(seed%3))
		}
		r := m.Run(ch, opt, "main", func(cur *kernel.Task) {
			main(cur, func(s string) { bad = s })
		})
		if f := r.Worst(); f != nil {
			t.Fatalf("seed %d: %v\n%s\n%v", seed, f, f.Text, f.Stack)
		}
		if bad != "" || r.Live != 0 {
			t.Fatalf("seed %d: %s, %d objects left", seed, bad, r.Live)
		}
	}
}

func TestPooledService(t *testing.T) {
	wireRuns(t, kernel.Options{}, 3000, func(cur *kernel.Task, fail func(string)) {
		wd := bootWire(cur)
		serv := SvcCreatePooled(cur, wd.rpc, wd.prog, 1024, nil, wireLoop, wd.rpc.Module)
		wd.serv = serv
		if got := SvcCreateXprt(cur, serv, "nosuch", wd.net, sock.PF_INET, 1, 0); got != -kernel.EPROTONOSUPPORT {
			fail("unknown class")
		}
		if got := SvcCreateXprt(cur, serv, "wire", wd.net, 99, 1, 0); got != -kernel.EAFNOSUPPORT {
			fail("unknown family")
		}
		if got := SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 1, 7); got != -kernel.EADDRINUSE {
			fail("create error")
		}
		for port := range uint16(2) {
			if got := SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 9+port, 0); got != int(9+port) {
				fail("port")
			}
		}
		wd.at(0).dataReady(wireCall(1, 0))
		if SvcSetNumThreads(cur, serv, nil, 2) != 0 {
			fail("start")
		}
		for i := range uint32(3) {
			wd.at(int(i % 2)).dataReady(wireCall(2+i, 0))
		}
		wd.at(1).dataReady(wireCall(9, 5))
		if !wd.waitFor(cur, 5) {
			fail("requests lost")
		}
		SvcSetNumThreads(cur, serv, nil, 1)
		wd.at(1).dataReady(wireCall(6, 0))
		if !wd.waitFor(cur, 6) {
			fail("request lost after the shrink")
		}
		SvcSetNumThreads(cur, serv, nil, 0)
		if n := serv.SvNrthreads.Peek(); n != 1 {
			fail("threads left")
		}
		SvcShutdownNet(cur, serv, wd.net)
		SvcDestroy(cur, serv)
		if wd.freed.Peek() != 2 || wd.rpc.Module.Refcnt.Peek() != 0 {
			fail("transports or module pins left")
		}
		for _, w := range wd.all {
			for _, b := range w.replies {
				if binary.BigEndian.Uint32(b[4:]) != RPC_REPLY {
					fail("not a reply")
				}
			}
		}
	})
}

// What files and other services ask of a service: its classes, transports, statistics and payload, how it is spread over
// processors, and to be told when a transport goes.
func TestAskedOfAService(t *testing.T) {
	wireRuns(t, kernel.Options{}, 20, func(cur *kernel.Task, fail func(string)) {
		wd := bootWire(cur)
		same := func(what, got, want string) {
			if got != want {
				fail(fmt.Sprintf("%s: %q, want %q", what, got, want))
			}
		}
		classes := SvcPrintXprts(wd.rpc, 1000)
		first, _, _ := strings.Cut(classes, "\n")
		if !strings.Contains("\n"+classes, "\nwire 8192\n") {
			fail("classes: " + classes)
		}
		same("room for one class", SvcPrintXprts(wd.rpc, len(first)+2), first+"\n")
		for _, mode := range []string{"global", "percpu", "pernode", "auto"} {
			ParamSetPoolMode(cur, wd.rpc, mode)
			same("pool mode", ParamGetPoolMode(wd.rpc), mode)
		}
		var payload kernel.Count
		wd.prog.PgVers[1].VsProc[0].PcFunc = func(_ *kernel.Task, rqstp *SvcRqst, _, _ any) uint32 {
			payload.Add(int64(SvcMaxPayload(rqstp)))
			return RPC_SUCCESS
		}
		ParamSetPoolMode(cur, wd.rpc, "global")
		serv := SvcCreatePooled(cur, wd.rpc, wd.prog, 1024, nil, wireLoop, nil)
		for port := range uint16(2) {
			SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 9+port, 0)
		}
		const names = "wire 10\nwire 9\n"
		got, n := SvcXprtNames(serv, len(names)+1)
		same("transports", got, names)
		if _, short := SvcXprtNames(serv, len(names)); n != len(names) || short != -kernel.ENAMETOOLONG {
			fail(fmt.Sprintf("transports: %d octets; %d where they do not fit", n, short))
		}

		told := ""
		users := [3]SvcXptUser{}
		for i := range users {
			users[i].Callback = func(*SvcXptUser) { told += fmt.Sprint(i) }
		}
		w := &wd.at(0).SvcXprt
		if RegisterXptUser(w, &users[0]) != 0 || RegisterXptUser(w, &users[1]) != 0 {
			fail("register_xpt_user")
		}
		UnregisterXptUser(w, &users[0])

		SvcSetNumThreads(cur, serv, nil, 1)
		wd.at(1).dataReady(wireCall(1, 0))
		if !wd.waitFor(cur, 1) || payload.Peek() != 1024 {
			fail(fmt.Sprintf("the payload is %d", payload.Peek()))
		}
		SvcSetNumThreads(cur, serv, nil, 0)
		// The one call, and the look that found no other behind it; who was woken depends on the schedule.
		stats := strings.Fields(SvcPoolStatsShow(serv))
		if same("statistics", strings.Join(stats[:8], " "),
			"# pool packets-arrived sockets-enqueued threads-woken threads-timedout 0 2"); len(stats) != 11 {
			fail(fmt.Sprint("statistics: ", stats))
		}

		SvcXprtGet(w)
		SvcCloseXprt(cur, w)
		if same("told of the end", told, "1"); RegisterXptUser(w, &users[2]) != -kernel.ENOTCONN {
			fail("register_xpt_user on what is closed")
		}
		UnregisterXptUser(w, &users[1])
		SvcXprtPut(cur, w)
		SvcShutdownNet(cur, serv, wd.net)
		SvcDestroy(cur, serv)
	})
}

func TestStopBeforeFirstRun(t *testing.T) {
	wireRuns(t, kernel.Options{}, 1000, func(cur *kernel.Task, fail func(string)) {
		wd := bootWire(cur)
		serv := SvcCreatePooled(cur, wd.rpc, wd.prog, 1024, nil, wireLoop, wd.rpc.Module)
		SvcSetNumThreads(cur, serv, nil, 3)
		SvcSetNumThreads(cur, serv, serv.SvPools[0], 0)
		SvcDestroy(cur, serv)
		if wd.rpc.Module.Refcnt.Peek() != 0 {
			fail("module pins left")
		}
	})
}

func TestFailingSteps(t *testing.T) {
	for k := 1; k <= 24; k++ {
		wireRuns(t, kernel.Options{FailAt: k}, 10, func(cur *kernel.Task, fail func(string)) {
			wd := bootWire(cur)
			ParamSetPoolMode(cur, wd.rpc, "percpu")
			serv := SvcCreatePooled(cur, wd.rpc, wd.prog, 1024, nil, wireLoop, nil)
			if serv == nil {
				return
			}
			SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 9, 0)
			SvcSetNumThreads(cur, serv, nil, 2)
			SvcSetNumThreads(cur, serv, nil, 0)
			SvcShutdownNet(cur, serv, wd.net)
			SvcDestroy(cur, serv)
		})
	}
}

// Connections, the ageing timer that fires while the net is shut down, and threads that stop right after.
func TestAgeingAgainstShutdown(t *testing.T) {
	wireRuns(t, kernel.Options{}, 3000, func(cur *kernel.Task, fail func(string)) {
		wd := bootWire(cur)
		serv := SvcCreatePooled(cur, wd.rpc, wd.prog, 1024, nil, wireLoop, nil)
		SvcCreateXprt(cur, serv, "wire", wd.net, sock.PF_INET, 9, 1)
		SvcSetNumThreads(cur, serv, nil, 1)
		for range 3 {
			wd.at(0).dataReady(nil)
		}
		for range 50 {
			if serv.SvTmpcnt.Peek() == 3 {
				break
			}
			kernel.Msleep(cur, 1)
		}
		SvcCloseXprt(cur, &wd.at(0).SvcXprt)
		// Virtual time stands still while anybody wireRuns, so this is the very jiffy of the second round.
		var accepted kernel.Jiffies
		wd.locked(func() { accepted = wd.accepted })
		kernel.ScheduleTimeoutUninterruptible(cur, accepted+2*svcConnAgePeriod*kernel.HZ-cur.Machine().Jiffies())
		SvcShutdownNet(cur, serv, wd.net)
		SvcSetNumThreads(cur, serv, nil, 0)
		if serv.SvTmpcnt.Peek() != 0 || serv.SvTempsocks.Peek() != nil {
			fail("connections left")
		}
		SvcDestroy(cur, serv)
		if int(wd.freed.Peek()) != len(wd.all) {
			fail("transports left")
		}
	})
}

// A service that rpcbind knows has a step for its end only if its maker gives it one.
func TestNoShutdownUnasked(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		rpc, prog := New(cur, cur.Machine()), sockProgram()
		prog.PgVers[1].VsHidden = false
		serv := SvcCreate(cur, rpc, prog, PAGE_SIZE, nil)
		if serv.SvShutdown != nil {
			t.Error("the service has a step that nobody gave it")
		}
		SvcDestroy(cur, serv)
		rpc.Exit(cur)
	})
}
