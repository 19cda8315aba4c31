// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// rqstFrom is a request as far as a look-up of its host needs it.
func rqstFrom(net *sock.Net, addr, daddr sock.Addr, prot, vers uint32) *sunrpc.SvcRqst {
	rqstp := kernel.StaticObj[sunrpc.SvcRqst](net.Machine(), "rqst")
	rqstp.RqXprt.Init(&rqstp.Obj, "rq_xprt")
	rqstp.RqBcNet = net
	rqstp.RqAddr, rqstp.RqDaddr, rqstp.RqProt, rqstp.RqVers = addr, daddr, prot, vers
	return rqstp
}

// hosts runs main under n schedules in a world whose lockd is down, and wants nothing left when its hosts are shut
// down.
func hosts(t *testing.T, n int, main func(cur *kernel.Task, w *world, fail func(string, ...any))) {
	t.Helper()
	choosertest.Simulate(t, n, kernel.Options{Detect: true}, func(cur *kernel.Task, fail func(string, ...any)) {
		w := hostWorld(cur)
		main(cur, w, fail)
		w.NlmShutdownHosts(cur)
		w.noHosts(fail)
		w.down(cur, fail, "hosts are shut down")
	})
}

// hostsFree is hosts for the free back end: in memory, and on the real loopback interface.
func hostsFree(t *testing.T, main func(cur *kernel.Task, w *world, fail func(string, ...any))) {
	t.Helper()
	opt := kernel.Options{Noise: 1 << 8, TimeScale: 20}
	for _, real := range []bool{false, true} {
		choosertest.Free(t, 1, opt, func(cur *kernel.Task, fail func(string, ...any)) {
			w := hostWorld(cur)
			if real {
				net, err := sock.NewRealNet(cur.Machine())
				if err != 0 {
					fail("NewRealNet: %s", kernel.ErrName(err))
					return
				}
				defer net.Put()
				w.nets[0] = net
				w.lockdInitNet(net)
			}
			main(cur, w, fail)
			w.NlmShutdownHosts(cur)
			w.noHosts(fail)
		})
	}
}

// hostWorld is a world in which lockd has been started once; nil if an injected failure hit it.
func hostWorld(cur *kernel.Task) *world {
	w := boot(cur)
	if w == nil {
		return nil
	}
	w.rpc.Nodename = "guest"
	w.rpc.Rpcb.PeerPort = peerPort
	w.Fs = fs.New(cur, cur.Machine())
	w.NlmsvcTimeout.Store(10 * kernel.HZ)
	w.lockdInitNet(w.nets[1])
	w.base = len(cur.Machine().LiveObjects())
	return w
}

// noHosts wants no host and no handle.
func (w *world) noHosts(fail func(string, ...any)) {
	for _, table := range []*nlmHostTable{&w.NlmServerHosts, &w.NlmClientHosts} {
		for _, bucket := range table {
			for _, host := range bucket {
				fail("host %s is left, count %d", host.HName, host.HCount.Peek())
			}
		}
	}
	for _, ln := range w.Nets() {
		if ln.Nrhosts != 0 || w.nrhosts != 0 {
			fail("%d hosts in %s, %d in all", ln.Nrhosts, ln.Net.Name, w.nrhosts)
		}
	}
	if len(w.NsmHandles) != 0 {
		fail("%d handles are left", len(w.NsmHandles))
	}
}

// TestHostLookup looks up clients that differ in one thing each.
func TestHostLookup(t *testing.T) {
	hosts(t, 4, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		a, b := sock.Addr4(10, 0, 0, 1, 700), sock.Addr4(10, 0, 0, 2, 700)
		me, me2 := sock.Addr4(10, 0, 0, 9, 4045), sock.Addr4(10, 0, 0, 8, 4045)
		six := sock.LoopbackAddr(sock.AF_INET6, 700)
		lookup := func(net int, addr, daddr sock.Addr, prot, vers uint32) *NlmHost {
			return w.NlmsvcLookupHost(cur, rqstFrom(w.nets[net], addr, daddr, prot, vers), []byte("client"))
		}
		first := lookup(0, a, me, sunrpc.IPPROTO_UDP, 4)
		all := []*NlmHost{
			first,
			lookup(0, b, me, sunrpc.IPPROTO_UDP, 4),
			lookup(0, a, me2, sunrpc.IPPROTO_UDP, 4),
			lookup(0, a, me, sunrpc.IPPROTO_TCP, 4),
			lookup(0, a, me, sunrpc.IPPROTO_UDP, 3),
			lookup(1, a, me, sunrpc.IPPROTO_UDP, 4),
			lookup(0, six, me, sunrpc.IPPROTO_UDP, 4),
		}
		for i, x := range all {
			for _, y := range all[:i] {
				if x == y {
					fail("host %d is another one", i)
				}
			}
			same := i == 0 || i == 2 || i == 3 || i == 4
			if (x.HNsmhandle == first.HNsmhandle) != same {
				fail("host %d shares the handle: %t", i, !same)
			}
		}
		if again := lookup(0, a.WithPort(701), me.WithPort(1), sunrpc.IPPROTO_UDP, 4); again != first {
			fail("the same client is another host")
		}
		if first.HCount.Peek() != 2 || first.HAddr.Port != 0 || first.HName != "client" || !first.HServer {
			fail("count %d, port %d, name %q", first.HCount.Peek(), first.HAddr.Port, first.HName)
		}
		if x := w.NlmsvcLookupHost(cur, rqstFrom(w.nets[0], sock.Addr4(10, 0, 0, 3, 1), me, 17, 4), []byte("a/b")); x != nil {
			fail("a name with a slash is a host")
		}
		w.NlmsvcReleaseHost(cur, first)
		w.NlmsvcReleaseHost(cur, nil)
		for _, host := range all {
			w.NlmsvcReleaseHost(cur, host)
		}
	})
}

// TestHostExpires looks up a client again and again: another one that is not heard of goes after five minutes, when
// somebody looks, one that is referred to stays.
func TestHostExpires(t *testing.T) {
	hosts(t, 2, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		lookup := func(n byte) *NlmHost {
			addr := sock.Addr4(10, 0, 0, n, 700)
			return w.NlmsvcLookupHost(cur, rqstFrom(w.nets[0], addr, sock.Addr4(10, 0, 0, 9, 4045), 17, 4), []byte("client"))
		}
		there := func(host *NlmHost) bool { return !host.Freed() }
		gone, held := lookup(1), lookup(2)
		w.NlmsvcReleaseHost(cur, gone)
		for i := range 14 {
			w.NlmsvcReleaseHost(cur, lookup(3))
			if there(gone) != (i < 12) || !there(held) { // every 120 s is looked, from 300 s on it may go
				fail("after %d s: %t, %t", i*30, there(gone), there(held))
			}
			kernel.Msleep(cur, 30_000)
		}
		w.NlmShutdownHostsNet(cur, w.nets[1])
		left := func() int { return w.LockdNet(w.nets[0]).Nrhosts }
		recent := lookup(3)
		w.NlmsvcReleaseHost(cur, held)
		if !there(held) || left() != 2 {
			fail("shut down in another namespace")
		}
		w.NlmShutdownHostsNet(cur, w.nets[0])
		if there(held) || !there(recent) || left() != 1 || w.nrhosts != 1 {
			fail("shut down: %d hosts, %d in all", left(), w.nrhosts)
		}
		// What is left then is gone when hosts are collected the next time, if nobody has used it again.
		w.NlmsvcReleaseHost(cur, recent)
		kernel.Msleep(cur, 121_000)
		w.NlmsvcReleaseHost(cur, lookup(4))
		if there(recent) {
			fail("a host that was shut down stays as long as others")
		}
	})
}

// TestHostWithLocks has a client that holds a lock: its host stays for hours, and goes when it has none.
func TestHostWithLocks(t *testing.T) {
	withPeers(t, 4, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		if !cur.Machine().Sim() {
			return // hours of virtual time
		}
		hosts := func() int {
			w.NlmHostMutex.Lock(cur)
			defer w.NlmHostMutex.Unlock(cur)
			return w.LockdNet(w.nets[0]).Nrhosts
		}
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		for range 40 {
			kernel.Msleep(cur, 60_000)
			q.test(cur, 2, rd, 100, 1)
		}
		if n := hosts(); n != 2 {
			w.fail("%d hosts, of which one has a lock", n)
		}
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		for range 8 {
			kernel.Msleep(cur, 60_000)
			q.test(cur, 2, rd, 100, 1)
		}
		if n := hosts(); n != 1 {
			w.fail("%d hosts, none with locks", n)
		}
	})
}

// TestBindHost looks at the RPC client of a host: made once, with the timeouts of lockd, and asked for the port again
// once a minute at most.
func TestBindHost(t *testing.T) {
	hosts(t, 3, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		peer, me := sock.Addr4(127, 0, 0, 5, 700), sock.LoopbackAddr(sock.AF_INET, 4045)
		for i := range 2 {
			host := w.NlmsvcLookupHost(cur, rqstFrom(w.nets[0], peer, me, 17, 4), []byte("client"))
			release := w.NlmsvcReleaseHost
			if i == 1 {
				release(cur, host)
				host = w.NlmclntLookupHost(cur, peer, 6, 3, []byte("server"), true, w.nets[0])
				release = w.NlmclntReleaseHost
			}
			clnt := w.NlmBindHost(cur, host)
			to := sunrpc.RpcTimeout{
				ToInitval: 10 * kernel.HZ, ToIncrement: 10 * kernel.HZ, ToMaxval: 60 * kernel.HZ, ToRetries: 5,
			}
			if clnt.ClTimeout != to || clnt.ClSoftrtry != host.HServer || clnt.ClVers != host.HVersion ||
				clnt.ClNodename != "guest" || sunrpc.RpcPeeraddr(clnt) != peer.WithPort(0) {
				fail("%+v", clnt)
			}
			known := func(want bool, when string) {
				if got := sunrpc.RpcPeeraddr(clnt).Port != 0; got != want {
					fail("%s: port is known: %t", when, got)
				}
			}
			learn := func() {
				clnt.ClLock.Lock()
				clnt.ClAddr.Port = 99
				clnt.ClLock.Unlock()
			}
			learn()
			if w.NlmBindHost(cur, host) != clnt {
				fail("a second RPC client")
			}
			w.NlmRebindHost(cur, host)
			known(true, "at once")
			kernel.Msleep(cur, 60_000)
			w.NlmBindHost(cur, host)
			known(false, "after a minute")
			learn()
			w.NlmRebindHost(cur, host)
			known(true, "at once again")
			kernel.Msleep(cur, 60_000)
			w.NlmRebindHost(cur, host)
			known(false, "after another minute")
			release(cur, host)
		}
	})
}

// TestClientHosts is about hosts that are our servers: they go with their last reference.
func TestClientHosts(t *testing.T) {
	hosts(t, 200, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		srv := sock.Addr4(10, 0, 0, 1, 2049)
		lookup := func(cur *kernel.Task, vers uint32) *NlmHost {
			return w.NlmclntLookupHost(cur, srv, 6, vers, []byte("server"), false, w.nets[0])
		}
		a := lookup(cur, 4)
		if b := lookup(cur, 4); a != b {
			fail("another host the second time")
		}
		c := lookup(cur, 3)
		if a == c || a.HNsmhandle != c.HNsmhandle {
			fail("the same host in another version, or another handle")
		}
		w.NlmclntReleaseHost(cur, a)
		w.NlmclntReleaseHost(cur, c)
		// The last reference goes while others look the host up.
		var tasks []*kernel.Task
		for range 2 {
			tasks = append(tasks, cur.Machine().Spawn(cur, "mount", func(cur *kernel.Task) {
				w.NlmclntReleaseHost(cur, lookup(cur, 4))
			}))
		}
		w.NlmclntReleaseHost(cur, a)
		w.NlmclntReleaseHost(cur, nil)
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		w.noHosts(fail)
	})
}

// TestHostRebooted tells of reboots by cookie: all hosts of that peer in that namespace hear of each state once.
func TestHostRebooted(t *testing.T) {
	hosts(t, 3, func(cur *kernel.Task, w *world, fail func(string, ...any)) {
		me := sock.LoopbackAddr(sock.AF_INET, 4045)
		lookup := func(net int, n byte, vers uint32) *NlmHost {
			addr := sock.Addr4(127, 0, 0, n, 700)
			return w.NlmsvcLookupHost(cur, rqstFrom(w.nets[net], addr, me, 17, vers), []byte("client"))
		}
		all := []*NlmHost{lookup(0, 5, 4), lookup(0, 5, 3), lookup(0, 6, 4), lookup(1, 5, 4)}
		mount := w.NlmclntLookupHost(cur, sock.Addr4(127, 0, 0, 5, 0), 6, 4, []byte("server"), false, w.nets[0])
		priv := all[0].HNsmhandle.SmPriv
		for _, tc := range []struct {
			net   int
			state uint32
			priv  NsmPrivate
			want  [5]uint32
		}{
			{0, 3, NsmPrivate{1}, [5]uint32{}},
			{1, 3, priv, [5]uint32{}},
			{0, 3, priv, [5]uint32{1, 1, 0, 0, 1}},
			{0, 3, priv, [5]uint32{1, 1, 0, 0, 1}},
			{0, 5, priv, [5]uint32{2, 2, 0, 0, 2}},
			{1, 7, all[3].HNsmhandle.SmPriv, [5]uint32{2, 2, 0, 1, 2}},
		} {
			w.NlmHostRebooted(cur, w.nets[tc.net], &NlmReboot{Mon: []byte("client"), State: tc.state, Priv: tc.priv})
			var got [5]uint32
			for i, host := range append(all[:4:4], mount) {
				got[i] = host.HState
			}
			if got != tc.want {
				fail("state %d in net %d: %v, want %v", tc.state, tc.net, got, tc.want)
			}
		}
		for _, host := range all {
			if host.HCount.Peek() != 1 {
				fail("count %d", host.HCount.Peek())
			}
			w.NlmsvcReleaseHost(cur, host)
		}
		w.NlmclntReleaseHost(cur, mount)
	})
}
