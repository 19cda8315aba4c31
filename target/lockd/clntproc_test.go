// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"encoding/binary"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// rpcServer answers every call with what fn says behind the header of a good reply; nil: with nothing. It is its own
// rpcbind.
type rpcServer struct {
	addr  sock.Addr
	fn    func(call []byte) []byte
	calls [][]byte // but repetitions and those of rpcbind
	stop  kernel.Atomic
	task  *kernel.Task
}

// newRPCServer starts one on addr; nil if an injected failure hit it.
func newRPCServer(cur *kernel.Task, net *sock.Net, prot int, addr sock.Addr, fn func(call []byte) []byte) *rpcServer {
	s := &rpcServer{addr: addr, fn: fn}
	s.stop.Init(&net.Obj, "stop")
	l, err := sock.Listen(cur, net, prot, addr)
	if err != 0 {
		return nil
	}
	s.task = cur.Machine().Spawn(cur, "peer", func(cur *kernel.Task) {
		var buf [4096]byte
		for s.stop.Read() == 0 {
			if prot == sock.IPPROTO_TCP {
				if c, err := l.Accept(cur, kernel.HZ); err == 0 {
					s.connection(cur, c)
					c.Close()
				}
			} else if n, from := l.ReadFrom(cur, buf[:], kernel.HZ); n >= 24 {
				if reply := s.reply(buf[:n]); reply != nil {
					l.WriteTo(cur, reply, from)
				}
			}
		}
		l.Close()
	})
	return s
}

// connection answers the calls of a connection until its other end is closed.
func (s *rpcServer) connection(cur *kernel.Task, c *sock.Conn) {
	var mark [4]byte
	for c.ReadFull(cur, mark[:], 10*kernel.HZ) == 4 {
		call := make([]byte, binary.BigEndian.Uint32(mark[:])&^(1<<31))
		if c.ReadFull(cur, call, kernel.HZ) != len(call) || len(call) < 24 {
			return
		}
		if reply := s.reply(call); reply != nil {
			c.Write(cur, append([]byte(words(1<<31|uint32(len(reply)))), reply...))
		}
	}
}

// reply is the whole answer to a call.
func (s *rpcServer) reply(call []byte) []byte {
	reply := append(call[:4:4], words(sunrpc.RPC_REPLY, 0, 0, 0, sunrpc.RPC_SUCCESS)...)
	if binary.BigEndian.Uint32(call[12:]) == sunrpc.RPCBIND_PROGRAM {
		return append(reply, words(uint32(s.addr.Port))...)
	}
	if n := len(s.calls); n == 0 || string(s.calls[n-1][:4]) != string(call[:4]) { // no repetition
		s.calls = append(s.calls, append([]byte(nil), call...))
	}
	if res := s.fn(call); res != nil {
		return append(reply, res...)
	}
	return nil
}

func (s *rpcServer) end(cur *kernel.Task) {
	s.stop.Set(1)
	kernel.Join(cur, s.task)
}

// peerAddr is where an rpcServer stands that is a client's lock manager.
var peerAddr = sock.Addr4(127, 0, 0, 5, peerPort)

// asked is a host of the client at peerAddr, with a reference.
func asked(cur *kernel.Task, w *world, vers uint32) *NlmHost {
	me := sock.LoopbackAddr(sock.AF_INET, 4045)
	return w.NlmsvcLookupHost(cur, rqstFrom(w.nets[0], peerAddr, me, 17, vers), []byte("client"))
}

// TestAsyncCall makes GRANTED calls and sends an answer.
func TestAsyncCall(t *testing.T) {
	main := func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		p := newRPCServer(cur, w.nets[0], sock.IPPROTO_UDP, peerAddr, func(call []byte) []byte {
			if binary.BigEndian.Uint32(call[20:]) == NLMPROC_GRANTED {
				return []byte(words(4, 0x01020304, NLM_LCK_DENIED))
			}
			return []byte{}
		})
		for _, vers := range []uint32{1, 3, 4} {
			host := asked(cur, w, vers)
			var released kernel.Atomic
			released.Init(&w.nets[0].Obj, "released")
			ops := &sunrpc.RpcCallOps{
				RpcCallDone: func(_ *kernel.Task, task *sunrpc.RpcTask, data any) {
					res := &data.(*NlmRqst).ARes
					if task.TkStatus != 0 || task.TkClient.ClVers != vers {
						fail("%s", kernel.ErrName(task.TkStatus))
					}
					if res.Cookie.Len == 4 && res.Status != NLM_LCK_DENIED {
						fail("status %d", res.Status)
					}
				},
				RpcRelease: func(cur *kernel.Task, data any) {
					w.NlmsvcReleaseCall(cur, data.(*NlmRqst))
					released.Inc()
				},
			}
			for _, proc := range []uint32{NLMPROC_GRANTED, NLMPROC_GRANTED_MSG} {
				req := w.NlmAllocCall(cur, host)
				w.NlmclntNextCookie(&req.AArgs.Cookie)
				if err := w.NlmAsyncCall(cur, req, proc, ops); err != 0 {
					fail("call: %s", kernel.ErrName(err))
				}
			}
			req := w.NlmAllocCall(cur, host)
			if err := w.NlmAsyncReply(cur, req, NLMPROC_LOCK_RES, ops); err != 0 {
				fail("reply: %s", kernel.ErrName(err))
			}
			for released.Read() < 3 {
				kernel.Msleep(cur, 10)
			}
			if n := host.HCount.Peek(); n != 1 {
				fail("%d references", n)
			}
			w.NlmsvcReleaseHost(cur, host)
		}
		p.end(cur)
		if n := len(p.calls); n < 9 || n > 9 && cur.Machine().Sim() { // real time may repeat them out of order
			fail("%d calls", len(p.calls))
		}
	}
	hosts(t, 60, main)
	hostsFree(t, main)
}

// TestCookies wants every cookie to be another one; the first is that of a Linux that has just started.
func TestCookies(t *testing.T) {
	hosts(t, 1, func(_ *kernel.Task, w *world, fail func(string, ...any)) {
		var a, b NlmCookie
		w.NlmclntNextCookie(&a)
		w.NlmclntNextCookie(&b)
		if a.Len != 4 || string(a.Data[:4]) != "\x35\x12\x00\x00" || string(b.Data[:4]) != "\x36\x12\x00\x00" {
			fail("%x, %x", a.Data[:4], b.Data[:4])
		}
	})
}

// TestCallsAtShutdown shuts the hosts down at any step of calls that begin meanwhile: each is released once, and no
// client is used that is gone.
func TestCallsAtShutdown(t *testing.T) {
	hosts(t, 400, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		p := newRPCServer(cur, w.nets[0], sock.IPPROTO_UDP, peerAddr, func([]byte) []byte { return []byte{} })
		host := asked(cur, w, 4)
		released := [3]int{}
		lockd := cur.Machine().Spawn(cur, "lockd", func(cur *kernel.Task) {
			for i := range released {
				ops := &sunrpc.RpcCallOps{RpcRelease: func(cur *kernel.Task, data any) {
					w.NlmsvcReleaseCall(cur, data.(*NlmRqst))
					released[i]++
				}}
				w.NlmAsyncReply(cur, w.NlmAllocCall(cur, host), NLMPROC_LOCK_RES, ops)
			}
			w.NlmsvcReleaseHost(cur, host)
		})
		for range 1 + cur.Machine().RandomU32()%2 {
			w.NlmShutdownHostsNet(cur, w.nets[0])
		}
		kernel.Join(cur, lockd)
		w.NlmShutdownHosts(cur)
		if released != [3]int{1, 1, 1} {
			fail("released %v", released)
		}
		p.end(cur)
	})
}

// TestReleaseClientCall has calls to a server of ours: the last release takes the host along, from within the call.
func TestReleaseClientCall(t *testing.T) {
	hosts(t, 100, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		p := newRPCServer(cur, w.nets[0], sock.IPPROTO_UDP, peerAddr, func([]byte) []byte { return []byte{} })
		host := w.NlmclntLookupHost(cur, peerAddr, 17, 3, []byte("server"), false, w.nets[0])
		ops := &sunrpc.RpcCallOps{RpcRelease: func(cur *kernel.Task, data any) {
			w.NlmclntReleaseCall(cur, data.(*NlmRqst))
		}}
		for range 2 {
			w.NlmAsyncCall(cur, w.NlmAllocCall(cur, host), NLMPROC_GRANTED_MSG, ops)
		}
		w.NlmclntReleaseHost(cur, host)
		kernel.Msleep(cur, 20_000)
		w.noHosts(fail)
		p.end(cur)
	})
}

// TestCallFaults lets every step fail that can: a call that cannot be made is released once all the same.
func TestCallFaults(t *testing.T) {
	choosertest.Failed(t, func(cur *kernel.Task, fail func(string, ...any)) {
		if w := hostWorld(cur); w != nil {
			callFault(cur, w, fail)
			w.NlmShutdownHosts(cur)
			w.noHosts(fail)
			w.down(cur, fail, "shut down")
		}
	}, "nlm_host", "nsm_handle", "statd", "nlm_rqst", "rpc_clnt", "rpc_task", "kthread")
}

// callFault has a client monitored and called.
func callFault(cur *kernel.Task, w *world, fail func(string, ...any)) {
	p := newRPCServer(cur, w.nets[0], sock.IPPROTO_UDP, peerAddr, func([]byte) []byte { return []byte{} })
	if p == nil {
		return
	}
	if host := asked(cur, w, 4); host != nil {
		if err := w.NsmMonitor(cur, host); err != 0 && err != -kernel.ECONNREFUSED {
			fail("monitor: %s", kernel.ErrName(err))
		}
		done, released := 0, 0
		ops := &sunrpc.RpcCallOps{
			RpcCallDone: func(*kernel.Task, *sunrpc.RpcTask, any) { done++ },
			RpcRelease: func(cur *kernel.Task, data any) {
				w.NlmsvcReleaseCall(cur, data.(*NlmRqst))
				released++
			},
		}
		err := w.NlmAsyncCall(cur, w.NlmAllocCall(cur, host), NLMPROC_GRANTED_MSG, ops)
		kernel.Msleep(cur, 80_000)
		if released != 1 || (done == 1) != (err == 0) || err != 0 && err != -kernel.ENOMEM && err != -kernel.ENOLCK {
			fail("%s, done %d times, released %d times", kernel.ErrName(err), done, released)
		}
		w.NlmsvcReleaseHost(cur, host)
	}
	p.end(cur)
}
