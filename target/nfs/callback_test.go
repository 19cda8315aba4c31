// SPDX-License-Identifier: GPL-2.0-only

package nfs

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// world is a machine with the callback service loaded and two namespaces, each with a client's transport.
type world struct {
	*Nfs
	rpc   *sunrpc.Sunrpc
	nets  [2]*sock.Net
	xprts [2]*sunrpc.RpcXprt
	irq   kernel.Softirq
	sent  [2][]string       // answers on the back channels
	each  kernel.Completion // of them
	slow  kernel.Jiffies    // how long it takes to send one
	base  int               // live objects before the first NfsCallbackUp
}

// boot returns nil if an injected failure hit the booting.
func boot(cur *kernel.Task) *world {
	m := cur.Machine()
	w := &world{rpc: sunrpc.New(cur, m)}
	w.irq.Init(&w.rpc.Obj, "tcp")
	w.each.Init(&w.rpc.Obj, "answered")
	for i, name := range []string{"init_net", "net1"} {
		w.nets[i] = sock.NewNet(cur, m, name)
		if sunrpc.SunrpcInitNet(cur, w.rpc, w.nets[i]) != 0 {
			return nil
		}
		w.rpc.SunrpcNet(w.nets[i]).RpcbindPort = sunrpc.NewRpcbindTable(m)
		w.xprts[i] = sunrpc.XprtAlloc(cur, w.nets[i], sock.Addr4(192, 0, 2, 1, 2049),
			func(cur *kernel.Task, _ *sunrpc.RpcRqst, record []byte) int {
				if w.slow != 0 {
					kernel.ScheduleTimeoutUninterruptible(cur, w.slow)
				}
				w.sent[i] = append(w.sent[i], string(record))
				w.each.Complete()
				return 0
			})
		if w.xprts[i] == nil || sunrpc.XprtSetupBackchannel(cur, w.xprts[i], 2) != 0 {
			return nil
		}
	}
	w.Nfs = New(cur, w.rpc, w.nets[0])
	w.NfsCallbackSetTcpport = 4046
	w.base = len(m.LiveObjects())
	return w
}

// started brings the service of a minor version up in namespace i, as it must.
func (w *world) started(cur *kernel.Task, fail func(string, ...any), minor, i int) bool {
	err := w.NfsCallbackUp(cur, minor, w.xprts[i], w.nets[i])
	if err != 0 {
		fail("minor %d: up in %s: %s", minor, w.nets[i].Name, kernel.ErrName(err))
	}
	return err == 0
}

// callBack has the server of transport i send CB_NULL; the caller is not the softirq.
func (w *world) callBack(i int, xid uint32) {
	xprt := sunrpc.XprtGet(w.xprts[i])
	w.irq.Raise(func() {
		sunrpc.XsTcpReadCallback(xprt, call(xid, 1, CB_NULL))
		sunrpc.XprtPut(xprt)
	})
}

// down checks that no service runs and that none left anything behind.
func (w *world) down(cur *kernel.Task, fail func(string, ...any), when string) {
	for i := range w.NfsCallbackInfo {
		cb := &w.NfsCallbackInfo[i]
		if cb.Users != 0 || cb.Task != nil || cb.Rqst != nil || cb.Serv != nil || len(cb.xprts) != 0 {
			fail("%s: minor %d: %+v", when, i, *cb)
		}
		for _, nn := range w.Nets() {
			if nn.CbUsers[i] != 0 {
				fail("%s: minor %d: %d users in %s", when, i, nn.CbUsers[i], nn.Net.Name)
			}
		}
	}
	for i, xprt := range w.xprts {
		if xprt.BcServ.Peek() != nil {
			fail("%s: transport %d still has a service", when, i)
		}
		if n := xprt.Kref.Peek(); n != 1 {
			fail("%s: transport %d has %d references", when, i, n)
		}
		if n := len(xprt.BcPaList.Peek()); n != 2 {
			fail("%s: transport %d has %d free requests", when, i, n)
		}
	}
	choosertest.NothingLeft(cur, w.base, fail, when)
}

func TestUpDown(t *testing.T) {
	for minor := range NFS4_MAX_MINOR_VERSION + 1 {
		choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
			w := boot(cur)
			for round := range 3 {
				for range 3 {
					if !w.started(cur, fail, minor, 0) {
						return
					}
				}
				cb, nn := &w.NfsCallbackInfo[minor], w.NfsNet(w.nets[0])
				if cb.Users != 3 || cb.Task == nil || nn.CbUsers[minor] != 3 {
					fail("minor %d up three times: %+v", minor, *cb)
				}
				if cb.Rqst.RqTask.Peek() != cb.Task {
					fail("minor %d: rq_task", minor)
				}
				if (w.xprts[0].BcServ.Peek() == cb.Serv) != (minor > 0) {
					fail("minor %d: bc_serv", minor)
				}
				if minor == 0 && (nn.NfsCallbackTcpport != 4046 || nn.NfsCallbackTcpport6 != 4046) {
					fail("ports %d and %d", nn.NfsCallbackTcpport, nn.NfsCallbackTcpport6)
				}
				for range 3 {
					w.NfsCallbackDown(cur, minor, w.nets[0])
				}
				w.down(cur, fail, fmt.Sprint("round ", round))
			}
		})
	}
}

func TestSecondNet(t *testing.T) {
	for minor := range NFS4_MAX_MINOR_VERSION + 1 {
		choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
			w := boot(cur)
			for i := range w.nets {
				if !w.started(cur, fail, minor, i) {
					return
				}
			}
			cb := &w.NfsCallbackInfo[minor]
			serv, task := cb.Serv, cb.Task
			w.NfsCallbackDown(cur, minor, w.nets[0])
			if cb.Users != 1 || cb.Serv != serv || cb.Task != task || task.Exited() {
				fail("minor %d: first net down: %+v", minor, *cb)
			}
			for _, x := range serv.SvPermsocks.Peek() {
				if x.XptNet == w.nets[0] {
					fail("minor %d: first net down: %s left", minor, x.Name())
				}
			}
			if w.xprts[0].BcServ.Peek() != nil || (w.xprts[1].BcServ.Peek() == serv) != (minor > 0) {
				fail("minor %d: first net down: bc_serv", minor)
			}
			w.NfsCallbackDown(cur, minor, w.nets[1])
			w.down(cur, fail, "all down")
		})
	}
}

// TestConcurrentUsers has a task for each minor version, and one more, bring services up and down at once.
func TestConcurrentUsers(t *testing.T) {
	choosertest.Simulate(t, 60, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		var users []*kernel.Task
		for i, minor := range []int{0, 1, 1} {
			users = append(users, cur.Machine().Spawn(cur, fmt.Sprint("user", i), func(cur *kernel.Task) {
				for j := range 2 {
					at := (i + j) % 2
					if !w.started(cur, fail, minor, at) {
						return
					}
					w.NfsCallbackDown(cur, minor, w.nets[at])
				}
			}))
		}
		for _, u := range users {
			kernel.Join(cur, u)
		}
		w.down(cur, fail, "all down")
	})
}

// TestFailures makes every fallible step of two starts fail in turn: the one in the second net while the service
// runs for the first. NfsCallbackUp must report it with everything as before, and must work the next time.
func TestFailures(t *testing.T) {
	for minor := range 2 {
		failed, errs := map[string]bool{}, 0
		for r := range choosertest.Failing(t, func(cur *kernel.Task, fail func(string, ...any)) {
			errs = 0
			w := boot(cur)
			if w == nil {
				return
			}
			for i := range w.nets {
				errs += w.upFailing(cur, fail, minor, i)
			}
			if t.Failed() {
				return
			}
			w.NfsCallbackDown(cur, minor, w.nets[0])
			w.NfsCallbackDown(cur, minor, w.nets[1])
			w.down(cur, fail, "all down")
		}) {
			if errs > 0 {
				failed[r.Failed] = true
			}
		}
		choosertest.Seen(t, failed, "svc_serv", "svc_pool", "svc_rqst", "rq_argp", "rq_resp", "kthread")
		if minor == 0 {
			choosertest.Seen(t, failed, "page", "bind", "listen")
		}
	}
}

// upFailing brings the service up in namespace i, where a step may fail once. It returns how many starts failed.
func (w *world) upFailing(cur *kernel.Task, fail func(string, ...any), minor, i int) int {
	cb := &w.NfsCallbackInfo[minor]
	users := cb.Users
	err := w.NfsCallbackUp(cur, minor, w.xprts[i], w.nets[i])
	if err == 0 {
		return 0
	}
	if users == 0 {
		w.down(cur, fail, "failed start: "+kernel.ErrName(err))
	} else if nn := w.NfsNet(w.nets[i]); cb.Users != users || cb.Task == nil || nn.CbUsers[minor] != 0 {
		fail("minor %d, failed second start: %+v %+v", minor, *cb, *nn)
	}
	if err := w.NfsCallbackUp(cur, minor, w.xprts[i], w.nets[i]); err != 0 {
		fail("minor %d, start after a failed one: %s", minor, kernel.ErrName(err))
	}
	return 1
}

// TestFailureKeepsRpcbind fails a start of the callback service in a namespace where another service uses rpcbind.
func TestFailureKeepsRpcbind(t *testing.T) {
	choosertest.Simulate(t, 1, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		if err := sunrpc.RpcbCreateLocal(cur, w.rpc, w.nets[0]); err != 0 {
			fail("rpcbind: %s", kernel.ErrName(err))
			return
		}
		blocker, err := sock.Listen(cur, w.nets[0], sock.IPPROTO_TCP, sock.AnyAddr(sock.AF_INET6, 4046))
		if err != 0 {
			fail("listen: %s", kernel.ErrName(err))
			return
		}
		if err := w.NfsCallbackUp(cur, 0, nil, w.nets[0]); err != -kernel.EADDRINUSE {
			fail("up: %s", kernel.ErrName(err))
		}
		if n := w.rpc.SunrpcNet(w.nets[0]).RpcbUsers.Peek(); n != 1 {
			fail("%d users of rpcbind", n)
		}
		blocker.Close()
		sunrpc.RpcbPutLocal(cur, w.rpc, w.nets[0])
		w.down(cur, fail, "failed start")
	})
}

// call is an AUTH_NULL call without arguments.
func call(xid, vers, proc uint32) []byte {
	return []byte(words(xid, sunrpc.RPC_CALL, sunrpc.RPC_VERSION, NFS4_CALLBACK, vers, proc, 0, 0, 0, 0))
}

// words is a message of big-endian words.
func words(ws ...uint32) string {
	var b []byte
	for _, w := range ws {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return string(b)
}

// record is words with a record marker in front.
func record(ws ...uint32) string {
	return words(append([]uint32{1<<31 | uint32(4*len(ws))}, ws...)...)
}

// TestListener talks to the minor version 0 service: CB_NULL is answered, an unknown version is told the range, and
// CB_COMPOUND without a credential is dropped.
func TestListener(t *testing.T) {
	choosertest.Simulate(t, 3, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		if !w.started(cur, fail, 0, 0) {
			return
		}
		for _, family := range []int{sock.AF_INET, sock.AF_INET6} {
			c, err := sock.Dial(cur, w.nets[0], sock.IPPROTO_TCP, sock.LoopbackAddr(family, 4046))
			if err != 0 {
				fail("dial: %s", kernel.ErrName(err))
				return
			}
			send := func(b []byte) { c.Write(cur, append([]byte{0x80, 0, 0, byte(len(b))}, b...)) }
			send(call(1, 1, CB_COMPOUND)) // no answer
			for i, x := range []struct {
				vers uint32
				want string
			}{
				{1, record(10, 1, 0, 0, 0, sunrpc.RPC_SUCCESS)},
				{4, record(11, 1, 0, 0, 0, sunrpc.RPC_SUCCESS)},
				{2, record(12, 1, 0, 0, 0, sunrpc.RPC_PROG_MISMATCH, 1, 4)},
				{0, record(13, 1, 0, 0, 0, sunrpc.RPC_PROG_MISMATCH, 1, 4)},
				{5, record(14, 1, 0, 0, 0, sunrpc.RPC_PROG_MISMATCH, 1, 4)},
			} {
				send(call(uint32(10+i), x.vers, CB_NULL))
				buf := make([]byte, len(x.want))
				if n := c.ReadFull(cur, buf, 10*kernel.HZ); string(buf) != x.want {
					fail("version %d: %d bytes: % x", x.vers, n, buf)
				}
			}
			// AUTH_UNIX gets past the check.
			send([]byte(words(20, 0, 2, NFS4_CALLBACK, 1, CB_COMPOUND, 1, 20, 0, 0, 0, 0, 0, 0, 0)))
			want := record(20, 1, 0, 0, 0, sunrpc.RPC_GARBAGE_ARGS)
			buf := make([]byte, len(want))
			if n := c.ReadFull(cur, buf, 10*kernel.HZ); string(buf) != want {
				fail("compound: %d bytes: % x", n, buf)
			}
			c.Close()
		}
		w.NfsCallbackDown(cur, 0, w.nets[0])
		w.down(cur, fail, "down")
	})
}

// TestStartUnderTraffic has a server connect as soon as it can and call back.
func TestStartUnderTraffic(t *testing.T) {
	choosertest.Simulate(t, 300, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		server := cur.Machine().Spawn(cur, "server", func(cur *kernel.Task) {
			for range 20 {
				c, err := sock.Dial(cur, w.nets[0], sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 4046))
				if err != 0 {
					kernel.Msleep(cur, 1)
					continue
				}
				c.Write(cur, append([]byte{0x80, 0, 0, 40}, call(1, 1, CB_NULL)...))
				buf := make([]byte, 28)
				if n := c.ReadFull(cur, buf, 10*kernel.HZ); n != 28 {
					fail("answer: %d", n)
				}
				c.Close()
				return
			}
			fail("no listener")
		})
		if err := w.NfsCallbackUp(cur, 0, nil, w.nets[0]); err != 0 {
			fail("up: %s", kernel.ErrName(err))
		}
		kernel.Join(cur, server)
		w.NfsCallbackDown(cur, 0, w.nets[0])
		w.down(cur, fail, "down")
	})
}

// TestBackchannel has the servers of both transports call back.
func TestBackchannel(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		for i := range w.nets {
			if !w.started(cur, fail, 1, i) {
				return
			}
		}
		for i := range w.nets {
			w.callBack(i, uint32(30+i))
		}
		kernel.Msleep(cur, 1000)
		for _, net := range w.nets {
			w.NfsCallbackDown(cur, 1, net)
		}
		for i, sent := range w.sent {
			if len(sent) != 1 || sent[0] != record(uint32(30+i), 1, 0, 0, 0, sunrpc.RPC_SUCCESS) {
				fail("transport %d: % x", i, sent)
			}
		}
		w.callBack(0, 40) // nobody serves it, nothing breaks
		kernel.Msleep(cur, 1000)
		w.down(cur, fail, "down")
	})
}

// TestStopAtOnce stops a back channel service at any step of its thread's first round.
func TestStopAtOnce(t *testing.T) {
	choosertest.Simulate(t, 400, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		if !w.started(cur, fail, 1, 0) {
			return
		}
		w.NfsCallbackDown(cur, 1, w.nets[0])
		w.down(cur, fail, "down")
	})
}

// TestStopWithCallback lets calls arrive at any step of the last nfs_callback_down. Answering one takes a moment that
// ends just when the sockets are closed, or longer: then a call is left over when the thread stops.
func TestStopWithCallback(t *testing.T) {
	for _, x := range []struct {
		slow  kernel.Jiffies
		calls uint32
	}{{0, 2}, {1, 1}, {500, 2}} {
		choosertest.Simulate(t, 300, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
			w := boot(cur)
			w.slow = x.slow
			if !w.started(cur, fail, 1, 0) {
				return
			}
			for xid := range x.calls {
				w.callBack(0, 50+xid)
			}
			w.NfsCallbackDown(cur, 1, w.nets[0])
			kernel.Msleep(cur, 1000)
			w.down(cur, fail, "down")
		})
	}
}
