// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// TestMonitor has hosts monitored and forgotten: one entry a peer, which goes with its last host.
func TestMonitor(t *testing.T) {
	hosts(t, 3, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		statd := w.NsmPort.(*Statd)
		watched := func(when string, want int) {
			if n := len(statd.Peek()); n != want {
				fail("%s: %d hosts are watched, want %d", when, n, want)
			}
		}
		a, b := asked(cur, w, 4), asked(cur, w, 3)
		for i, host := range []*NlmHost{a, a, b} {
			if err := w.NsmMonitor(cur, host); err != 0 {
				fail("monitor %d: %s", i, kernel.ErrName(err))
			}
			watched("monitored", 1)
		}
		e := statd.Peek()[0]
		if e.Net != w.nets[0] || e.MonName != "127.0.0.5" || e.Nodename != "guest" || e.Prog != NLM_PROGRAM || e.Vers != 3 ||
			e.Proc != NLMPROC_NSM_NOTIFY || e.Priv != a.HNsmhandle.SmPriv || e.Priv == (NsmPrivate{}) {
			fail("%+v", e)
		}
		w.NsmUnmonitor(cur, a) // b needs it
		watched("two hosts", 1)
		w.NlmsvcReleaseHost(cur, a)
		w.NlmShutdownHostsNet(cur, w.nets[0])
		watched("one host", 1)
		b.HNsmhandle.SmSticky = true
		w.NsmUnmonitor(cur, b)
		watched("sticky", 1)
		b.HNsmhandle.SmSticky = false
		statd.Fail(cur, -kernel.ETIMEDOUT)
		w.NsmUnmonitor(cur, b)
		if !b.HNsmhandle.SmMonitored {
			fail("forgotten by a statd that does not answer")
		}
		statd.Fail(cur, 0)
		w.NlmsvcReleaseHost(cur, b)
		w.NlmShutdownHostsNet(cur, w.nets[0])
		watched("none", 0)
	})
}

// TestMonitorFails has a status monitor that does not answer, and one that does not want to.
func TestMonitorFails(t *testing.T) {
	hosts(t, 2, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		statd := w.NsmPort.(*Statd)
		host := asked(cur, w, 4)
		for _, tc := range []struct{ err, want int }{{-kernel.ETIMEDOUT, -kernel.ETIMEDOUT}, {1, -kernel.EIO}, {0, 0}} {
			statd.Fail(cur, tc.err)
			if err := w.NsmMonitor(cur, host); err != tc.want || host.HNsmhandle.SmMonitored != (err == 0) {
				fail("%s, want %s", kernel.ErrName(err), kernel.ErrName(tc.want))
			}
		}
		if got := w.NsmLocalState.Peek(); got != 1 {
			fail("state %d", got)
		}
		if err := statd.Notify(cur, w.rpc, w.nets[1], 4045, "127.0.0.5", 3); err != -kernel.ENOENT {
			fail("notify for another namespace: %s", kernel.ErrName(err))
		}
		w.NlmsvcReleaseHost(cur, host)
	})
}

// TestNsmHandlesByName has hosts that share a handle because of their name, and others that do not although they have
// one address.
func TestNsmHandlesByName(t *testing.T) {
	hosts(t, 2, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		w.NsmUseHostnames = true
		a := w.NsmGetHandle(w.nets[0], sock.Addr4(10, 0, 0, 1, 0), []byte("x"))
		b := w.NsmGetHandle(w.nets[0], sock.Addr4(10, 0, 0, 2, 0), []byte("x"))
		c := w.NsmGetHandle(w.nets[0], sock.Addr4(10, 0, 0, 1, 0), []byte("y"))
		d := w.NsmGetHandle(w.nets[1], sock.Addr4(10, 0, 0, 1, 0), []byte("x"))
		if a != b || a == c || a == d || a.SmPriv == c.SmPriv || a.SmPriv == d.SmPriv {
			fail("%p %p %p %p", a, b, c, d)
		}
		host := asked(cur, w, 4)
		w.NsmMonitor(cur, host)
		if got := host.HNsmhandle.SmMonName; got != "client" {
			fail("monitored as %q", got)
		}
		w.NlmsvcReleaseHost(cur, host)
		for _, nsm := range []*NsmHandle{a, b, c, d} {
			w.NsmRelease(nsm)
		}
	})
}

// TestNsmNames: a name ends where a C string does, and one that goes on behind that is not the same.
func TestNsmNames(t *testing.T) {
	hosts(t, 2, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		w.NsmUseHostnames = true
		get := func(name string) *NsmHandle {
			return w.NsmGetHandle(w.nets[0], sock.Addr4(10, 0, 0, 1, 0), []byte(name))
		}
		long := get("x\x00y")
		again, short, empty := get("x\x00y"), get("x"), get("")
		if long.SmName != "x" || again == long || short != again || empty == short || get("") != empty {
			fail("%p %p %p %p, %q", long, again, short, empty, long.SmName)
		}
		for _, nsm := range []*NsmHandle{long, again, short, empty, empty} {
			w.NsmRelease(nsm)
		}
	})
}

// TestNsmHandles has tasks that find, make and drop the handle of one peer at any step of each other.
func TestNsmHandles(t *testing.T) {
	hosts(t, 300, func(cur *kernel.Task, w *world, _ func(string, ...any)) {
		var tasks []*kernel.Task
		for range 3 {
			tasks = append(tasks, cur.Machine().Spawn(cur, "user", func(cur *kernel.Task) {
				nsm := w.NsmGetHandle(w.nets[0], peerAddr, nil)
				if same := w.NsmRebootLookup(w.nets[0], &NlmReboot{Priv: nsm.SmPriv}); same != nsm {
					t.Errorf("%p by its cookie is %p", nsm, same)
				}
				w.NsmRelease(nsm)
				w.NsmRelease(nsm)
			}))
		}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
	})
}

// TestNsmClient watches by way of a status monitor that is reached over the network, at the port that is given or at
// the one that rpcbind knows.
func TestNsmClient(t *testing.T) {
	const (
		mon = "00000009" + "3132372e302e302e35000000" + "00000005" + "6775657374000000" + "000186b5" + "00000003" + "00000010"
		hdr = "0000000000000002" + "000186b8" + "00000001" + "0000000"
		nul = "0000000000000000" + "0000000000000000"
	)
	main := func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		for _, tc := range []struct {
			proto uint32
			port  uint16 // where it is looked for, 0: where rpcbind says
		}{{sunrpc.IPPROTO_UDP, 0}, {0, 0}, {0, peerPort}} {
			var status kernel.Atomic
			status.Init(&w.nets[0].Obj, "status")
			addr := sock.LoopbackAddr(sock.AF_INET, peerPort)
			prot := sock.IPPROTO_TCP
			if tc.proto == sunrpc.IPPROTO_UDP {
				prot = sock.IPPROTO_UDP
			}
			s := newRPCServer(cur, w.nets[0], prot, addr, func(call []byte) []byte {
				if binary.BigEndian.Uint32(call[20:]) == NSMPROC_MON {
					return []byte(words(uint32(status.Read()), 7))
				}
				return []byte(words(9))
			})
			w.NsmPort = &NsmClient{Rpc: w.rpc, Addr: addr.WithPort(tc.port), Proto: tc.proto}
			host := asked(cur, w, 4)
			status.Set(1)
			if err := w.NsmMonitor(cur, host); err != -kernel.EIO {
				fail("refused: %s", kernel.ErrName(err))
			}
			status.Set(0)
			if err := w.NsmMonitor(cur, host); err != 0 || w.NsmLocalState.Peek() != 7 {
				fail("monitor: %s, state %d", kernel.ErrName(err), w.NsmLocalState.Peek())
			}
			priv := hex.EncodeToString(host.HNsmhandle.SmPriv[:])
			w.NlmsvcReleaseHost(cur, host)
			w.NlmShutdownHosts(cur)
			s.end(cur)
			for i, want := range []string{hdr + "2" + nul + mon + priv, hdr + "2" + nul + mon + priv, hdr + "3" + nul + mon} {
				if got := hex.EncodeToString(s.calls[i][4:]); got != want {
					fail("call %d:\n%s, want\n%s", i, got, want)
				}
			}
		}
	}
	hosts(t, 10, main)
	hostsFree(t, main)
}

// TestNsmClientAlone has no status monitor where one should be.
func TestNsmClientAlone(t *testing.T) {
	hosts(t, 2, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		for _, tc := range []struct {
			proto uint32
			addr  sock.Addr
			want  int
		}{
			{0, sock.Addr{}, -kernel.ECONNREFUSED},
			{0, sock.LoopbackAddr(sock.AF_INET, peerPort), -kernel.ECONNREFUSED}, // twice, and rpcbind is not asked
			{sunrpc.IPPROTO_UDP, sock.Addr{}, -kernel.ETIMEDOUT},
		} {
			w.NsmPort = &NsmClient{Rpc: w.rpc, Addr: tc.addr, Proto: tc.proto}
			host := asked(cur, w, 4)
			if err := w.NsmMonitor(cur, host); err != tc.want {
				fail("protocol %d at port %d: %s", tc.proto, tc.addr.Port, kernel.ErrName(err))
			}
			w.NlmsvcReleaseHost(cur, host)
		}
	})
}
