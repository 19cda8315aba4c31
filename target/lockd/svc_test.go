// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// world is a machine with lockd loaded and two namespaces that have an rpcbind each.
type world struct {
	*Lockd
	rpc  *sunrpc.Sunrpc
	nets [2]*sock.Net
	rpcb [2]*sunrpc.RpcbindTable
	base int // live objects before the first LockdUp

	unregisters bool // no failure was injected into an unregistration, which nobody repeats
}

// boot returns nil if an injected failure hit the booting.
func boot(cur *kernel.Task) *world {
	m := cur.Machine()
	w := &world{rpc: sunrpc.New(cur, m), unregisters: true}
	for i, name := range []string{"init_net", "net1"} {
		w.nets[i] = sock.NewNet(cur, m, name)
		if sunrpc.SunrpcInitNet(cur, w.rpc, w.nets[i]) != 0 {
			return nil
		}
		w.rpcb[i] = sunrpc.NewRpcbindTable(m)
		w.rpc.SunrpcNet(w.nets[i]).RpcbindPort = w.rpcb[i]
	}
	w.Lockd = New(cur, w.rpc, w.nets[0])
	w.NlmUdpport, w.NlmTcpport = 4045, 4045
	w.base = len(m.LiveObjects())
	return w
}

// started brings lockd up in namespace i, as it must come.
func (w *world) started(cur *kernel.Task, fail func(string, ...any), i int) bool {
	err := w.LockdUp(cur, w.nets[i])
	if err != 0 {
		fail("up in %s: %s", w.nets[i].Name, kernel.ErrName(err))
	}
	return err == 0
}

// down checks that lockd is down everywhere and left nothing behind.
func (w *world) down(cur *kernel.Task, fail func(string, ...any), when string) {
	if w.NlmsvcUsers != 0 || w.NlmsvcTask != nil || w.NlmsvcRqst != nil {
		fail("%s: users %d task %v rqst %v", when, w.NlmsvcUsers, w.NlmsvcTask, w.NlmsvcRqst)
	}
	for i, net := range w.nets {
		w.netDown(net, fail, when)
		if n := w.registered(i); n != 0 && w.unregisters {
			fail("%s: %d registrations in %s", when, n, net.Name)
		}
		if n := w.rpc.SunrpcNet(net).RpcbUsers.Peek(); n != 0 {
			fail("%s: %d users of rpcbind in %s", when, n, net.Name)
		}
	}
	choosertest.NothingLeft(cur, w.base, fail, when)
}

// registered counts lockd's entries at the rpcbind of namespace i.
func (w *world) registered(i int) (n int) {
	for _, e := range w.rpcb[i].Peek() {
		if e.Prog == NLM_PROGRAM {
			n++
		}
	}
	return n
}

func (w *world) netDown(net *sock.Net, fail func(string, ...any), when string) {
	ln := w.LockdNet(net)
	if ln == nil {
		return
	}
	if ln.NlmsvcUsers != 0 || len(ln.GraceNet.GraceList.Peek()) != 0 || ln.GracePeriodEnd.Pending() {
		fail("%s: %s has %d users, grace list %d, timer %t", when, net.Name, ln.NlmsvcUsers,
			len(ln.GraceNet.GraceList.Peek()), ln.GracePeriodEnd.Pending())
	}
}

func TestUpDown(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		for round := range 3 {
			for range 3 {
				if !w.started(cur, fail, 0) {
					return
				}
				if got := w.NlmsvcTimeout.Load(); got != LOCKD_DFLT_TIMEO*kernel.HZ {
					fail("nlmsvc_timeout is %d behind lockd_up", got)
				}
			}
			if w.NlmsvcUsers != 3 || w.NlmsvcTask == nil || w.LockdNet(w.nets[0]).NlmsvcUsers != 3 {
				fail("up three times: %d users", w.NlmsvcUsers)
			}
			if !w.Grace.LocksInGrace(w.LockdNet(w.nets[0]).GraceNet) {
				fail("not in grace after the start")
			}
			// Versions 1, 3 and 4 over udp, tcp, udp6 and tcp6.
			if n := w.registered(0); n != 12 {
				fail("%d registrations", n)
			}
			for range 3 {
				w.LockdDown(cur, w.nets[0])
			}
			w.down(cur, fail, fmt.Sprint("round ", round))
		}
	})
}

func TestSecondNet(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		for i := range w.nets {
			if !w.started(cur, fail, i) {
				return
			}
		}
		serv := w.NlmsvcRqst.RqServer
		count := func(net *sock.Net) (n int) {
			for _, x := range serv.SvPermsocks.Peek() {
				if x.XptNet == net {
					n++
				}
			}
			return n
		}
		if a, b := count(w.nets[0]), count(w.nets[1]); a != 4 || b != 4 {
			fail("%d and %d sockets", a, b)
		}
		w.LockdDown(cur, w.nets[0])
		w.netDown(w.nets[0], fail, "first net down")
		if a, b := count(w.nets[0]), count(w.nets[1]); a != 0 || b != 4 || w.NlmsvcUsers != 1 || w.NlmsvcTask == nil {
			fail("first net down: %d and %d sockets, %d users", a, b, w.NlmsvcUsers)
		}
		if !w.Grace.LocksInGrace(w.LockdNet(w.nets[1]).GraceNet) {
			fail("second net left grace with the first")
		}
		kernel.Msleep(cur, 1) // the thread may be about to release a socket, and with it the port
		if err := w.LockdUp(cur, w.nets[0]); err != 0 || w.NlmsvcRqst.RqServer != serv {
			fail("first net up again: %s", kernel.ErrName(err))
		}
		w.LockdDown(cur, w.nets[1])
		w.LockdDown(cur, w.nets[0])
		w.down(cur, fail, "all down")
		w.LockdExitNet(cur, w.nets[1])
		if w.LockdNet(w.nets[1]) != nil || w.LockdNet(w.nets[0]) == nil {
			fail("lockd_exit_net")
		}
	})
}

// TestConcurrentUsers has three tasks bring lockd up and down in both namespaces at once.
func TestConcurrentUsers(t *testing.T) {
	choosertest.Simulate(t, 60, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		var users []*kernel.Task
		for i := range 3 {
			users = append(users, cur.Machine().Spawn(cur, fmt.Sprint("user", i), func(cur *kernel.Task) {
				for j := range 2 {
					at := (i + j) % 2
					if !w.started(cur, fail, at) {
						return
					}
					if w.NlmsvcTimeout.Load() == 0 {
						fail("nlmsvc_timeout is 0 behind lockd_up")
					}
					w.LockdDown(cur, w.nets[at])
				}
			}))
		}
		for _, u := range users {
			kernel.Join(cur, u)
		}
		w.down(cur, fail, "all down")
	})
}

// TestFailures makes every fallible step of two starts fail in turn: the one in the second net while lockd runs for
// the first. LockdUp must report it with everything as before, and must work the next time.
func TestFailures(t *testing.T) {
	failed, errs := map[string]bool{}, 0
	for r := range choosertest.Failing(t, func(cur *kernel.Task, fail func(string, ...any)) {
		errs = 0
		w := boot(cur)
		if w == nil {
			return
		}
		for i := range w.nets {
			errs += w.upFailing(cur, fail, i)
		}
		if t.Failed() {
			return
		}
		w.LockdDown(cur, w.nets[0])
		w.LockdDown(cur, w.nets[1])
		w.unregisters = errs > 0
		w.down(cur, fail, "all down")
	}) {
		if errs > 0 {
			failed[r.Failed] = true
		}
	}
	choosertest.Seen(t, failed, "svc_serv", "svc_pool", "svc_rqst", "rq_argp", "rq_resp", "page", "kthread", "bind",
		"listen")
}

// upFailing brings lockd up in namespace i, where a step may fail once. It returns how many starts failed.
func (w *world) upFailing(cur *kernel.Task, fail func(string, ...any), i int) int {
	users := w.NlmsvcUsers
	err := w.LockdUp(cur, w.nets[i])
	if err == 0 {
		return 0
	}
	if users == 0 {
		w.down(cur, fail, "failed start: "+kernel.ErrName(err))
	} else {
		w.netDown(w.nets[i], fail, "failed second start: "+kernel.ErrName(err))
		if w.NlmsvcUsers != users || w.NlmsvcTask == nil {
			fail("failed second start: %d users, were %d", w.NlmsvcUsers, users)
		}
		if n := w.rpc.SunrpcNet(w.nets[i]).RpcbUsers.Peek(); n != 0 {
			fail("failed second start: %d users of rpcbind", n)
		}
	}
	if err := w.LockdUp(cur, w.nets[i]); err != 0 {
		fail("start after a failed one: %s", kernel.ErrName(err))
	}
	return 1
}

// TestSigkill sends lockd a SIGKILL: it stays and goes back into grace.
func TestSigkill(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		m := cur.Machine()
		if !w.started(cur, fail, 0) {
			return
		}
		gn := w.LockdNet(w.nets[0]).GraceNet
		kernel.Msleep(cur, 51_000)
		if w.Grace.LocksInGrace(gn) {
			fail("in grace for more than 50 s")
		}

		kernel.SendSig(kernel.SIGKILL, w.NlmsvcTask)
		kernel.Msleep(cur, 1000)
		if w.Grace.LocksInGrace(gn) {
			fail("in grace again without an nfsd")
		}

		w.NlmsvcOps.Assign(kernel.StaticObj[NlmsvcBinding](m, "nlmsvc_binding"))
		kernel.SendSig(kernel.SIGKILL, w.NlmsvcTask)
		kernel.Msleep(cur, 1000)
		if !w.Grace.LocksInGrace(gn) || w.NlmsvcTask.Exited() {
			fail("not in grace again, or gone")
		}
		kernel.Msleep(cur, 50_000)
		if w.Grace.LocksInGrace(gn) {
			fail("second grace period does not end")
		}
		w.LockdDown(cur, w.nets[0])
		w.NlmsvcOps.Assign(nil)
		w.down(cur, fail, "down")
	})
}

// TestSigkillWhileStopping sends the SIGKILL at any step of lockd_down: no grace period survives lockd.
func TestSigkillWhileStopping(t *testing.T) {
	choosertest.Simulate(t, 200, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		m := cur.Machine()
		w.NlmsvcOps.Assign(kernel.StaticObj[NlmsvcBinding](m, "nlmsvc_binding"))
		if !w.started(cur, fail, 0) {
			return
		}
		kernel.Msleep(cur, 10)
		task := w.NlmsvcTask
		killer := m.Spawn(cur, "kill", func(*kernel.Task) { kernel.KillPid(kernel.SIGKILL, task) })
		w.LockdDown(cur, w.nets[0])
		kernel.Join(cur, killer)
		w.down(cur, fail, "down")
	})
}

// TestSigkillForOtherNet has lockd serve the second namespace only when the signal comes: init_net is in grace
// without users, and its next start finds its manager on the list.
func TestSigkillForOtherNet(t *testing.T) {
	choosertest.Simulate(t, 20, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		w.NlmsvcOps.Assign(kernel.StaticObj[NlmsvcBinding](cur.Machine(), "nlmsvc_binding"))
		if !w.started(cur, fail, 1) {
			return
		}
		kernel.Msleep(cur, 10)
		kernel.SendSig(kernel.SIGKILL, w.NlmsvcTask)
		kernel.Msleep(cur, 10)
		if !w.started(cur, fail, 0) {
			return
		}
		if n := len(w.LockdNet(w.nets[0]).GraceNet.GraceList.Peek()); n != 1 {
			fail("%d managers in grace", n)
		}
		w.LockdDown(cur, w.nets[0])
		w.LockdDown(cur, w.nets[1])
		w.down(cur, fail, "down")
	})
}

// call is an AUTH_NULL call without arguments.
func call(xid, prog, vers, proc uint32) []byte {
	return xdr{}.words(xid, sunrpc.RPC_CALL, sunrpc.RPC_VERSION, prog, vers, proc, 0, 0, 0, 0)
}

func words(ws ...uint32) string {
	return string(xdr{}.words(ws...))
}

// TestProcedures looks at the answers to callers that need not be known: NULL and its kin succeed, those that have
// arguments miss them, and what is behind the last procedure or version is said to be missing.
func TestProcedures(t *testing.T) {
	type want struct{ vers, proc, stat uint32 }
	var wants []want
	for _, v := range []uint32{1, 3, 4} {
		wants = append(wants, want{v, NLMPROC_NULL, sunrpc.RPC_SUCCESS}, want{v, NLMPROC_LOCK_RES, sunrpc.RPC_SUCCESS},
			want{v, NLMPROC_GRANTED, sunrpc.RPC_GARBAGE_ARGS}, want{v, NLMPROC_NSM_NOTIFY, sunrpc.RPC_GARBAGE_ARGS})
	}
	wants = append(wants, want{0, 0, sunrpc.RPC_PROG_MISMATCH}, want{2, 0, sunrpc.RPC_PROG_MISMATCH},
		want{5, 0, sunrpc.RPC_PROG_MISMATCH})
	choosertest.Simulate(t, 3, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		if !w.started(cur, fail, 0) {
			return
		}
		c, err := sock.Dial(cur, w.nets[0], sock.IPPROTO_UDP, sock.LoopbackAddr(sock.AF_INET, 4045))
		if err != 0 {
			fail("dial: %s", kernel.ErrName(err))
			return
		}
		buf := make([]byte, 4096)
		for i, x := range wants {
			xid := uint32(100 + i)
			c.Write(cur, call(xid, NLM_PROGRAM, x.vers, x.proc))
			n := c.Read(cur, buf, 10*kernel.HZ)
			if n < 0 {
				fail("version %d procedure %d: %s", x.vers, x.proc, kernel.ErrName(n))
				continue
			}
			exp := words(xid, sunrpc.RPC_REPLY, sunrpc.RPC_MSG_ACCEPTED, 0, 0, x.stat)
			if x.stat == sunrpc.RPC_PROG_MISMATCH {
				exp += words(1, 4)
			}
			if string(buf[:n]) != exp {
				fail("version %d procedure %d: % x", x.vers, x.proc, buf[:n])
			}
		}
		c.Close()
		w.LockdDown(cur, w.nets[0])
		w.down(cur, fail, "down")
	})
}

// TestStartUnderTraffic sends calls from before the sockets exist until lockd answers one.
func TestStartUnderTraffic(t *testing.T) {
	choosertest.Simulate(t, 300, kernel.Options{}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := boot(cur)
		client := cur.Machine().Spawn(cur, "client", func(cur *kernel.Task) {
			c, err := sock.Dial(cur, w.nets[0], sock.IPPROTO_UDP, sock.LoopbackAddr(sock.AF_INET, 4045))
			if err != 0 {
				fail("dial: %s", kernel.ErrName(err))
				return
			}
			buf := make([]byte, 64)
			for i := range 60 {
				c.Write(cur, call(1, NLM_PROGRAM, 4, NLMPROC_NULL))
				if c.Read(cur, buf, 10) == 24 {
					c.Close()
					return
				}
				if i > 30 {
					kernel.Msleep(cur, 1) // a refusal comes at once
				}
			}
			fail("no answer")
		})
		if err := w.LockdUp(cur, w.nets[0]); err != 0 {
			fail("up: %s", kernel.ErrName(err))
		}
		kernel.Join(cur, client)
		w.LockdDown(cur, w.nets[0])
		w.down(cur, fail, "down")
	})
}

func TestGracePeriodLength(t *testing.T) {
	for _, x := range []struct{ grace, timeout, want uint32 }{
		{0, 10, 50}, {0, 3, 15}, {1, 10, 10}, {10, 10, 10}, {11, 10, 20}, {240, 20, 240}, {90, 7, 91},
	} {
		l := &Lockd{NlmGracePeriod: x.grace, NlmTimeout: x.timeout}
		if got := l.getLockdGracePeriod(); got != kernel.Jiffies(x.want)*kernel.HZ {
			t.Errorf("grace %d timeout %d: %d", x.grace, x.timeout, got)
		}
	}
}
