// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"bytes"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// bcWorld is a client's transport and the queue of a callback service.
type bcWorld struct {
	rpc  *Sunrpc
	xprt *RpcXprt
	irq  kernel.Softirq
	sent [][]byte
}

func bootBc(cur *kernel.Task, reqs uint32) *bcWorld {
	m := cur.Machine()
	w := &bcWorld{rpc: New(cur, m)}
	net := sock.NewNet(cur, m, "init_net")
	w.irq.Init(&w.rpc.Obj, "tcp")
	w.xprt = XprtAlloc(cur, net, sock.Addr4(192, 0, 2, 1, 2049), func(_ *kernel.Task, _ *RpcRqst, rec []byte) int {
		w.sent = append(w.sent, rec)
		return 0
	})
	if got := XprtSetupBackchannel(cur, w.xprt, reqs); got != 0 {
		m.BugOn(true, "setup")
	}
	return w
}

// newServ makes what a callback service is to the producer.
func (w *bcWorld) newServ(m *kernel.Machine) *SvcServ {
	serv := kernel.Kzalloc[SvcServ](m, "svc_serv", kernel.GFP_KERNEL)
	serv.SvRpc = w.rpc
	serv.SvCbLock.Init(&serv.Obj, "sv_cb_lock")
	serv.SvCbList.Init(&serv.Obj, "sv_cb_list")
	serv.SvCbWaitq.Init(&serv.Obj, "sv_cb_waitq")
	return serv
}

func (w *bcWorld) exit(cur *kernel.Task, reqs uint32) {
	XprtDestroyBackchannel(w.xprt, reqs)
	XprtPut(w.xprt)
	w.rpc.Exit(cur)
}

func (w *bcWorld) arrive(record []byte, res *int) {
	xprt := XprtGet(w.xprt)
	w.irq.Raise(func() {
		*res = XsTcpReadCallback(xprt, record)
		XprtPut(xprt)
	})
}

func TestBcRequestGoesRound(t *testing.T) {
	inSim(t, 20, kernel.Options{}, func(cur *kernel.Task) {
		m := cur.Machine()
		w := bootBc(cur, 2)
		serv := w.newServ(m)
		XprtSvcSetBc(w.xprt, serv)
		var res [6]int
		for i := range uint32(3) {
			w.arrive(words(10+i, RPC_CALL, 7), &res[i])
		}
		w.arrive([]byte{1, 2, 3}, &res[3])
		w.arrive(words(13, RPC_REPLY, 0), &res[4])
		w.arrive(words(13, 2, 7), &res[5])
		kernel.Msleep(cur, 10)
		if res != [6]int{0, 0, -kernel.EAGAIN, -kernel.EINVAL, 0, -kernel.EINVAL} || w.xprt.Disconnects.Peek() != 3 {
			t.Errorf("results %v, %d disconnects", res, w.xprt.Disconnects.Peek())
		}
		queued := serv.SvCbList.Peek()
		if len(queued) != 2 || queued[0].RqXid != 11 || queued[1].RqXid != 10 || len(w.xprt.BcPaList.Peek()) != 0 {
			t.Fatalf("%d queued", len(queued))
		}
		req := queued[0]
		if req.RqPrivateBuf.Len != 12 || !bytes.Equal(req.RqRcvBuf.Head.Bytes()[:12], words(11, RPC_CALL, 7)) {
			t.Errorf("received %d bytes: %x", req.RqPrivateBuf.Len, req.RqRcvBuf.Head.Bytes()[:12])
		}
		if n := w.xprt.Kref.Peek(); n != 3 {
			t.Errorf("%d references to the transport, want 3", n)
		}
		serv.SvCbLock.LockBH()
		serv.SvCbList.Del(&req.RqBcList)
		serv.SvCbLock.UnlockBH()
		for _, word := range []uint32{0, 11, RPC_REPLY} { // the first is the marker's place
			SvcPutnl(&req.RqSndBuf.Head, word)
		}
		if got := BcSend(cur, req); got != 0 || len(w.sent) != 1 ||
			!bytes.Equal(w.sent[0], words(1<<31|8, 11, RPC_REPLY)) {
			t.Errorf("send: %d, %x", got, w.sent)
		}
		back := w.xprt.BcPaList.Peek()
		if len(back) != 1 || back[0].RqSndBuf.Head.IovLen != 0 || back[0].RqSndBuf.Len != 0 ||
			back[0].RqRcvBuf.Len != PAGE_SIZE {
			t.Errorf("%d free requests", len(back))
		}
		XprtSvcShutdownBc(w.xprt)
		XprtSvcDrainBc(serv)
		if n := len(w.xprt.BcPaList.Peek()); n != 2 || w.xprt.Kref.Peek() != 1 {
			t.Errorf("after the drain: %d free requests, %d references", n, w.xprt.Kref.Peek())
		}
		kernel.Kfree(serv)
		w.exit(cur, 2)
	})
}

// An answer that cannot be sent is lost, and so is the connection if the server cannot be reached over it.
func TestBcSendFails(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		w := bootBc(cur, 1)
		serv := w.newServ(cur.Machine())
		XprtSvcSetBc(w.xprt, serv)
		want := int64(0)
		for _, tc := range []struct {
			err          int
			again, drops bool
		}{
			{-kernel.ENOTCONN, false, false}, {-kernel.EHOSTDOWN, false, true}, {-kernel.EHOSTUNREACH, false, true},
			{-kernel.ENETUNREACH, false, true}, {-kernel.ETIMEDOUT, false, true}, {-kernel.ETIMEDOUT, true, false},
		} {
			w.xprt.BcSink = func(*kernel.Task, *RpcRqst, []byte) int {
				if tc.again {
					XprtReconnected(w.xprt)
				}
				return tc.err
			}
			var res int
			w.arrive(words(1, RPC_CALL), &res)
			kernel.Msleep(cur, 10)
			serv.SvCbLock.LockBH()
			req := serv.SvCbList.First()
			serv.SvCbList.Del(&req.RqBcList)
			serv.SvCbLock.UnlockBH()
			SvcPutnl(&req.RqSndBuf.Head, 0)
			if got := BcSend(cur, req); got != tc.err {
				t.Errorf("%s: %s", kernel.ErrName(tc.err), kernel.ErrName(got))
			}
			if tc.drops {
				want++
			}
			if n := w.xprt.Disconnects.Peek(); n != want {
				t.Errorf("%s, reconnected %v: %d disconnects, want %d", kernel.ErrName(tc.err), tc.again, n, want)
			}
		}
		XprtSvcShutdownBc(w.xprt)
		kernel.Kfree(serv)
		w.exit(cur, 1)
	})
}

// A request in use when its reservation is taken back is freed when it comes back; its transport outlives it.
func TestBcRequestOutlivesReservation(t *testing.T) {
	inSim(t, 20, kernel.Options{}, func(cur *kernel.Task) {
		w := bootBc(cur, 1)
		serv := w.newServ(cur.Machine())
		XprtSvcSetBc(w.xprt, serv)
		var res int
		w.arrive(words(1, RPC_CALL), &res)
		kernel.Msleep(cur, 10)
		w.exit(cur, 1)
		XprtSvcDrainBc(serv)
		kernel.Kfree(serv)
	})
}

// The oldest half-received call of the present connection is found again, one of an earlier connection is not.
func TestBcLookup(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		w := bootBc(cur, 2)
		a := XprtLookupBcRequest(w.xprt, 5)
		if b := XprtLookupBcRequest(w.xprt, 5); a == nil || b != a {
			t.Error("not found again")
		}
		a.RqPrivateBuf.Len = 77
		XprtReconnected(w.xprt)
		if b := XprtLookupBcRequest(w.xprt, 5); b == nil || b.RqPrivateBuf.Len == 77 {
			t.Error("found across a reconnect")
		}
		w.exit(cur, 2)
	})
}

// Calls arrive while the service goes away: each is queued or given back, and nobody touches the freed service.
func TestBcShutdownRace(t *testing.T) {
	inSim(t, 2000, kernel.Options{}, func(cur *kernel.Task) {
		w := bootBc(cur, 3)
		serv := w.newServ(cur.Machine())
		XprtSvcSetBc(w.xprt, serv)
		var res [3]int
		for i := range res {
			w.arrive(words(uint32(i), RPC_CALL), &res[i])
		}
		XprtSvcShutdownBc(w.xprt)
		XprtSvcDrainBc(serv)
		kernel.Kfree(serv)
		kernel.Msleep(cur, 10)
		if n := len(w.xprt.BcPaList.Peek()); n != 3 || w.xprt.Kref.Peek() != 1 || res != [3]int{} {
			t.Errorf("%d free requests, %d references, results %v", n, w.xprt.Kref.Peek(), res)
		}
		w.exit(cur, 3)
	})
}

func TestBcSetupWithoutMemory(t *testing.T) {
	got := 0
	for r := range choosertest.Failing(t, func(cur *kernel.Task, _ func(string, ...any)) {
		rpc, net := New(cur, cur.Machine()), sock.NewNet(cur, cur.Machine(), "init_net")
		xprt := XprtAlloc(cur, net, sock.Addr4(192, 0, 2, 1, 2049), nil)
		if xprt == nil {
			got = -kernel.ENOMEM
		} else {
			if got = XprtSetupBackchannel(cur, xprt, 2); got == 0 {
				XprtDestroyBackchannel(xprt, 2)
			}
			XprtPut(xprt)
		}
		rpc.Exit(cur)
	}) {
		if r.Live != 0 || (got == 0) != (r.Failed == "") {
			t.Errorf("%q fails: %d, %d objects left", r.Failed, got, r.Live)
		}
	}
}
