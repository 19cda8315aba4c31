// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// anyOrder lets a random task go next.
type anyOrder struct{ x uint64 }

func (r *anyOrder) Pick(c *kernel.Choice) *kernel.Task {
	r.x = r.x*6364136223846793005 + 1442695040888963407
	return c.Runnable[int((r.x>>33)%uint64(len(c.Runnable)))]
}

// inSim runs main n times, in different orders, and fails on findings and on objects left behind.
func inSim(t *testing.T, n int, opt kernel.Options, main func(cur *kernel.Task)) {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	for seed := range n {
		r := m.Run(&anyOrder{uint64(seed)}, opt, "main", main)
		if f := r.Worst(); f != nil {
			t.Fatalf("seed %d: %v\n%s\n%v", seed, f, f.Text, f.Stack)
		}
		if r.Live != 0 {
			t.Fatalf("seed %d: %d objects left", seed, r.Live)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// authWorld is a service with one request, as far as authentication looks at them.
type authWorld struct {
	rpc  *Sunrpc
	net  *sock.Net
	serv *SvcServ
	xprt *SvcXprt
	rqst *SvcRqst
}

func bootAuth(cur *kernel.Task) *authWorld {
	m := cur.Machine()
	w := &authWorld{rpc: New(cur, m), net: sock.NewNet(cur, m, "init_net")}
	SunrpcInitNet(cur, w.rpc, w.net)
	w.serv = kernel.StaticObj[SvcServ](m, "svc_serv")
	w.serv.SvRpc = w.rpc
	w.serv.SvProgram = &SvcProgram{PgClass: "nfsd"}
	w.xprt = kernel.StaticObj[SvcXprt](m, "svc_xprt")
	w.xprt.XptFlags.Init(&w.xprt.Obj, "xpt_flags", xptFlagNames)
	w.xprt.XptLock.Init(&w.xprt.Obj, "xpt_lock")
	w.xprt.XptServer = w.serv
	w.xprt.XptNet = w.net
	w.rqst = w.newRqst(m)
	return w
}

func (w *authWorld) newRqst(m *kernel.Machine) *SvcRqst {
	rqstp := kernel.StaticObj[SvcRqst](m, "svc_rqst")
	rqstp.RqXprt.Init(&rqstp.Obj, "rq_xprt")
	rqstp.RqXprt.Store(w.xprt)
	rqstp.RqServer = w.serv
	rqstp.RqAddr = sock.LoopbackAddr(sock.AF_INET, 700)
	rqstp.RqProc = 1
	rqstp.RqChandle.Rqstp = rqstp
	rqstp.RqChandle.Defer = func(*kernel.Task, *CacheReq) *CacheDeferredReq { return nil }
	rqstp.RqRes.Head = KvecOf(make([]byte, PAGE_SIZE), 0)
	return rqstp
}

func (w *authWorld) exit(cur *kernel.Task) {
	SvcauthUnixInfoRelease(w.xprt)
	SunrpcExitNet(cur, w.rpc, w.net)
	w.rpc.Exit(cur)
}

// unixCall is the part of a call that the flavour AUTH_SYS looks at.
func unixCall(name string, nameLen uint32, uid, gid uint32, count uint32, gids []uint32, verf ...uint32) []byte {
	b := words(RPC_AUTH_UNIX, 12345, 678, nameLen)
	b = append(b, name...)
	b = append(b, make([]byte, -len(name)&3)...)
	b = append(b, words(uid, gid, count)...)
	b = append(b, words(gids...)...)
	return append(b, words(verf...)...)
}

func TestAccept(t *testing.T) {
	ids := make([]uint32, 17)
	for i := range ids {
		ids[i] = uint32(100 + i)
	}
	ok := unixCall("host", 4, 1000, 100, 2, ids[:2], 0, 0)
	nobody := ^uint32(0)
	for _, tc := range []struct {
		name string
		call []byte
		cut  int // bytes of call that are not in the window
		want int
		stat uint32
		uid  uint32
		gids []uint32
	}{
		{"none", words(0, 0, 0, 0), 0, SVC_OK, 0, nobody, nil},
		{"none, short", words(0, 0, 0, 0), 4, SVC_GARBAGE, 0, 0, nil},
		{"none, cred not empty", words(0, 4, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"none, verf flavour", words(0, 0, 1, 0), 0, SVC_DENIED, RPC_AUTH_BADVERF, 0, nil},
		{"none, verf not empty", words(0, 0, 0, 8), 0, SVC_DENIED, RPC_AUTH_BADVERF, 0, nil},
		{"sys", ok, 0, SVC_OK, 0, 1000, ids[:2]},
		{"sys, last word missing", ok, 4, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"sys, two words", ok[:16], 8, SVC_GARBAGE, 0, 0, nil},
		{"sys, no name", unixCall("", 0, 1, 2, 0, nil, 0, 0), 0, SVC_OK, 0, 1, nil},
		{"sys, 255", unixCall(strings.Repeat("x", 255), 255, 1, 2, 0, nil, 0, 0), 0, SVC_OK, 0, 1, nil},
		{"sys, 256", unixCall(strings.Repeat("x", 256), 256, 1, 2, 0, nil, 0, 0), 0, SVC_OK, 0, 1, nil},
		{"sys, 257", unixCall(strings.Repeat("x", 257), 257, 1, 2, 0, nil, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0,
			nil},
		{"sys, rounds to 0", unixCall("", 0xfffffffd, 1, 2, 0, nil, 0, 0), 0, SVC_OK, 0, 1, nil},
		{"sys, largest", unixCall("", 0xffffffff, 1, 2, 0, nil, 0, 0), 0, SVC_OK, 0, 1, nil},
		{"sys, nearly", unixCall("", 0xfffffffc, 1, 2, 0, nil, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"sys, 16 groups", unixCall("h", 1, 7, 2, 16, ids[:16], 0, 0), 0, SVC_OK, 0, 7, ids[:16]},
		{"sys, 17 groups", unixCall("h", 1, 7, 2, 17, ids, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"sys, nobody", unixCall("h", 1, nobody, nobody, 2, []uint32{nobody, 5}, 0, 0), 0, SVC_OK, 0, nobody,
			[]uint32{nobody, 5}},
		{"sys, verf", unixCall("h", 1, 7, 2, 0, nil, 1, 0), 0, SVC_DENIED, RPC_AUTH_BADVERF, 0, nil},
		{"flavour 3", words(3, 0, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"flavour 6", words(6, 0, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
		{"flavour 8", words(8, 0, 0, 0), 0, SVC_DENIED, RPC_AUTH_BADCRED, 0, nil},
	} {
		inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
			w := bootAuth(cur)
			w.rqst.RqArg.Head = KvecOf(tc.call, uint64(len(tc.call)-tc.cut))
			w.rqst.RqAuthSlack = 99
			var stat uint32
			got := SvcAuthenticate(cur, w.rqst, &stat)
			if got != tc.want || got == SVC_DENIED && stat != tc.stat {
				t.Errorf("%s: %d, status %d, want %d, %d", tc.name, got, stat, tc.want, tc.stat)
			}
			if got == SVC_OK {
				if !bytes.Equal(w.rqst.RqRes.Head.Bytes(), words(0, 0)) {
					t.Errorf("%s: verifier %x", tc.name, w.rqst.RqRes.Head.Bytes())
				}
				cred := &w.rqst.RqCred
				if cred.CrUid != tc.uid || !slices.Equal(cred.CrGroupInfo.Gids, tc.gids) {
					t.Errorf("%s: credential %+v", tc.name, cred)
				}
				if w.rqst.RqArg.Head.IovLen != 0 || w.rqst.RqAuthSlack != 0 {
					t.Errorf("%s: %d bytes left, slack %d", tc.name, w.rqst.RqArg.Head.IovLen, w.rqst.RqAuthSlack)
				}
			} else if w.rqst.RqRes.Head.IovLen != 0 {
				t.Errorf("%s: a verifier in a reply that is none", tc.name)
			}
			if SvcAuthorise(w.rqst) != 0 || w.rqst.RqAuthop != nil || SvcAuthorise(w.rqst) != 0 {
				t.Errorf("%s: authorise", tc.name)
			}
			w.exit(cur)
		})
	}
}

// A datagram too short for its header leaves a wrapped length: AUTH_NONE compares it as unsigned and goes on with
// stale bytes, AUTH_SYS copies it to a signed int.
func TestAcceptWithWrappedLength(t *testing.T) {
	for _, tc := range []struct {
		mem  []byte
		want int
	}{
		{words(0, 0, 0, 0), SVC_OK},
		{unixCall("", 0, 1, 2, 0, nil, 0, 0), SVC_GARBAGE},
	} {
		inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
			w := bootAuth(cur)
			w.rqst.RqArg.Head = KvecOf(tc.mem, 0)
			w.rqst.RqArg.Head.IovLen -= 20
			var stat uint32
			if got := SvcAuthenticate(cur, w.rqst, &stat); got != tc.want {
				t.Errorf("%x: %d, want %d", tc.mem, got, tc.want)
			}
			SvcAuthorise(w.rqst)
			w.exit(cur)
		})
	}
}

func TestAuthRegister(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		w := bootAuth(cur)
		ops := &AuthOps{Name: "gss", Flavour: RPC_AUTH_GSS,
			Accept:  func(*kernel.Task, *SvcRqst, *uint32) int { return SVC_DROP },
			Release: func(*SvcRqst) int { return 1 }}
		if SvcAuthRegister(w.rpc, RPC_AUTH_GSS, ops) != 0 ||
			SvcAuthRegister(w.rpc, RPC_AUTH_GSS, ops) != -kernel.EINVAL ||
			SvcAuthRegister(w.rpc, RPC_AUTH_MAXFLAVOR, ops) != -kernel.EINVAL {
			t.Error("register")
		}
		var stat uint32
		w.rqst.RqArg.Head = KvecOf(words(RPC_AUTH_GSS), 4)
		if got := SvcAuthenticate(cur, w.rqst, &stat); got != SVC_DROP {
			t.Errorf("registered flavour: %d", got)
		}
		SvcAuthUnregister(w.rpc, RPC_AUTH_GSS)
		if SvcAuthorise(w.rqst) != 1 {
			t.Error("the release of an unregistered flavour is not called")
		}
		w.rqst.RqArg.Head = KvecOf(words(RPC_AUTH_GSS), 4)
		if got := SvcAuthenticate(cur, w.rqst, &stat); got != SVC_DENIED {
			t.Errorf("unregistered flavour: %d", got)
		}
		w.exit(cur)
	})
}

// login authenticates AUTH_SYS user 1000 in group 5 and asks for the client.
func (w *authWorld) login(cur *kernel.Task, rqstp *SvcRqst) int {
	call := unixCall("h", 1, 1000, 5, 1, []uint32{5}, 0, 0)
	rqstp.RqArg.Head = KvecOf(call, uint64(len(call)))
	var stat uint32
	if got := SvcAuthenticate(cur, rqstp, &stat); got != SVC_OK {
		return -got
	}
	return SvcSetClient(cur, rqstp)
}

func TestSetClient(t *testing.T) {
	verdict := func(v ClientVerdict) ClientPolicy {
		return func(_ *sock.Net, class string, _ [16]byte) (string, ClientVerdict) { return "dom-" + class, v }
	}
	groups := func(v ClientVerdict) GroupPolicy {
		return func(*sock.Net, uint32) ([]uint32, ClientVerdict) { return []uint32{7, 8, 9}, v }
	}
	for _, tc := range []struct {
		name   string
		peer   SockAddr
		proc   uint32
		client ClientPolicy
		group  GroupPolicy
		cached bool
		want   int
		domain string
		gids   []uint32
	}{
		{"loopback", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, nil, false, SVC_OK, "localhost", []uint32{5}},
		{"127.9", sock.Addr4(127, 9, 9, 9, 1), 1, nil, nil, false, SVC_OK, "localhost", []uint32{5}},
		{"::1", sock.LoopbackAddr(sock.AF_INET6, 1), 1, nil, nil, false, SVC_OK, "localhost", []uint32{5}},
		{"cached", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, nil, true, SVC_OK, "localhost", []uint32{5}},
		{"stranger", sock.Addr4(192, 0, 2, 1, 1), 1, nil, nil, false, SVC_DENIED, "", nil},
		{"stranger's null call", sock.Addr4(192, 0, 2, 1, 1), 0, nil, nil, false, SVC_OK, "", []uint32{5}},
		{"known", sock.Addr4(192, 0, 2, 1, 1), 1, verdict(ClientKnown), nil, false, SVC_OK, "dom-nfsd", []uint32{5}},
		{"no helper", sock.LoopbackAddr(sock.AF_INET, 1), 1, verdict(ClientNoHelper), nil, false, SVC_DENIED, "", nil},
		{"no answer", sock.LoopbackAddr(sock.AF_INET, 1), 1, verdict(ClientLater), nil, false, SVC_CLOSE, "", nil},
		{"groups", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, groups(ClientKnown), false, SVC_OK, "localhost",
			[]uint32{7, 8, 9}},
		{"no groups", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, groups(ClientNoHelper), false, SVC_OK, "localhost",
			[]uint32{5}},
		{"groups of a stranger", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, groups(ClientUnknown), false, SVC_OK,
			"localhost", []uint32{}},
		{"groups unanswered", sock.LoopbackAddr(sock.AF_INET, 1), 1, nil, groups(ClientLater), false, SVC_CLOSE,
			"localhost", []uint32{5}},
	} {
		inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
			w := bootAuth(cur)
			w.rpc.Svcauth.ClientPolicy, w.rpc.Svcauth.GroupPolicy = tc.client, tc.group
			if tc.cached {
				w.xprt.XptFlags.SetBit(XPT_CACHE_AUTH)
			}
			for range 2 { // the second time from the cache
				w.rqst.RqAddr, w.rqst.RqProc = tc.peer, tc.proc
				w.rqst.RqRes.Head.IovLen = 0
				if got := w.login(cur, w.rqst); got != tc.want {
					t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
				}
				if dom := w.rqst.RqClient; (dom != nil) != (tc.domain != "") || dom != nil && dom.Name != tc.domain {
					t.Errorf("%s: domain %v", tc.name, dom)
				}
				if tc.gids != nil && !slices.Equal(w.rqst.RqCred.CrGroupInfo.Gids, tc.gids) {
					t.Errorf("%s: groups %v", tc.name, w.rqst.RqCred.CrGroupInfo.Gids)
				}
				SvcAuthorise(w.rqst)
				if w.rqst.RqClient != nil || w.rqst.RqCred.CrGroupInfo != nil {
					t.Errorf("%s: authorise left something", tc.name)
				}
			}
			if (w.xprt.XptAuthCache != nil) != tc.cached {
				t.Errorf("%s: the connection remembers %v", tc.name, w.xprt.XptAuthCache)
			}
			w.exit(cur)
		})
	}
}

// An answer that comes while the thread waits, or while it gives up, is either seen or leads to a revisit.
func TestPendingClient(t *testing.T) {
	for _, wait := range []kernel.Jiffies{5 * kernel.HZ, 1, 0} {
		inSim(t, 300, kernel.Options{}, func(cur *kernel.Task) {
			m := cur.Machine()
			w := bootAuth(cur)
			w.rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, ClientVerdict) {
				return "", ClientLater
			}
			type deferred struct {
				kernel.Obj
				handle CacheDeferredReq
			}
			made, revisited := 0, 0
			rqstp := w.newRqst(m)
			rqstp.RqChandle.ThreadWait = wait
			rqstp.RqChandle.Defer = func(cur *kernel.Task, req *CacheReq) *CacheDeferredReq {
				made++
				d := kernel.Kzalloc[deferred](m, "deferred", kernel.GFP_KERNEL)
				d.handle.Owner = w.serv
				d.handle.Container = d
				d.handle.Revisit = func(cur *kernel.Task, dreq *CacheDeferredReq, tooMany bool) {
					revisited++
					kernel.Kfree(dreq.Container.(*deferred))
				}
				return &d.handle
			}
			res := 0
			thread := m.Spawn(cur, "thread", func(cur *kernel.Task) {
				res = w.login(cur, rqstp)
				SvcAuthorise(rqstp)
			})
			helper := m.Spawn(cur, "mountd", func(cur *kernel.Task) {
				addr, _ := sockAddrIn6(rqstp.RqAddr)
				IPMapUpdate(cur, w.rpc, w.net, "nfsd", addr, "dom", 1000)
			})
			kernel.Join(cur, thread)
			kernel.Join(cur, helper)
			switch res {
			case SVC_OK:
				if made != revisited {
					t.Errorf("wait %d: OK, %d put aside, %d revisited", wait, made, revisited)
				}
			case SVC_DROP:
				if made != 1 || revisited != 1 {
					t.Errorf("wait %d: DROP, %d put aside, %d revisited", wait, made, revisited)
				}
			default:
				t.Errorf("wait %d: result %d", wait, res)
			}
			if w.rpc.Cache.CacheDeferCnt.Peek() != 0 || len(w.rpc.Cache.CacheDeferHash.Peek()) != 0 {
				t.Errorf("wait %d: somebody still waits", wait)
			}
			w.exit(cur)
		})
	}
}

func TestDeferLimitAndClean(t *testing.T) {
	inSim(t, 3, kernel.Options{}, func(cur *kernel.Task) {
		m := cur.Machine()
		w := bootAuth(cur)
		w.rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, ClientVerdict) {
			return "", ClientLater
		}
		other := kernel.StaticObj[SvcServ](m, "svc_serv")
		other.SvRpc = w.rpc
		given, kept := 0, 0
		rqstp := w.newRqst(m)
		owner := w.serv
		rqstp.RqChandle.Defer = func(*kernel.Task, *CacheReq) *CacheDeferredReq {
			return &CacheDeferredReq{Owner: owner, Revisit: func(_ *kernel.Task, _ *CacheDeferredReq, tooMany bool) {
				if tooMany {
					given++
				} else {
					kept++
				}
			}}
		}
		for i := range DFR_MAX + 10 {
			owner = w.serv
			if i%10 == 0 {
				owner = other
			}
			if got := w.login(cur, rqstp); got != SVC_DROP {
				t.Errorf("request %d: %d", i, got)
			}
			SvcAuthorise(rqstp)
		}
		if given != 10 || w.rpc.Cache.CacheDeferCnt.Peek() != DFR_MAX {
			t.Errorf("%d given up, %d wait", given, w.rpc.Cache.CacheDeferCnt.Peek())
		}
		CacheCleanDeferred(cur, w.serv)
		left := len(w.rpc.Cache.CacheDeferList.Peek())
		if left == 0 || left > 31 || given+left != DFR_MAX+10 {
			t.Errorf("%d given up, %d of the other service left", given, left)
		}
		CacheCleanDeferred(cur, other)
		if kept != 0 || len(w.rpc.Cache.CacheDeferHash.Peek()) != 0 {
			t.Errorf("%d kept, %d left", kept, len(w.rpc.Cache.CacheDeferHash.Peek()))
		}
		w.exit(cur)
	})
}

func TestCacheExpiryAndReplacement(t *testing.T) {
	inSim(t, 1, kernel.Options{HangAfter: 10000 * kernel.HZ}, func(cur *kernel.Task) {
		w := bootAuth(cur)
		asked := 0
		name := "one"
		w.rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, ClientVerdict) {
			asked++
			return name, ClientKnown
		}
		w.xprt.XptFlags.SetBit(XPT_CACHE_AUTH)
		who := func() string {
			w.rqst.RqRes.Head.IovLen = 0
			if got := w.login(cur, w.rqst); got != SVC_OK {
				t.Errorf("login: %d", got)
				return ""
			}
			dom := w.rqst.RqClient.Name
			SvcAuthorise(w.rqst)
			return dom
		}
		if got := who() + who(); got != "oneone" || asked != 1 {
			t.Errorf("got %s, asked %d", got, asked)
		}
		// Past half of its life the entry is still good for this request, and is replaced for the next.
		name = "two"
		kernel.Msleep(cur, (helperTTL/2+2)*1000)
		if got := who() + who(); got != "onetwo" || asked != 2 {
			t.Errorf("after half of the time: got %s, asked %d", got, asked)
		}
		SvcauthUnixPurge(cur, w.rpc, w.net)
		name = "three"
		kernel.Msleep(cur, 2000)
		// The connection goes on with what it remembers, as the purge does not invalidate that.
		if got := who(); got != "two" {
			t.Errorf("after the purge: got %s", got)
		}
		w.exit(cur)
	})
}

func TestUnixDomainFind(t *testing.T) {
	inSim(t, 100, kernel.Options{}, func(cur *kernel.Task) {
		m := cur.Machine()
		w := bootAuth(cur)
		var doms [2]*AuthDomain
		var tasks [2]*kernel.Task
		for i := range tasks {
			tasks[i] = m.Spawn(cur, "finder", func(cur *kernel.Task) { doms[i] = UnixDomainFind(cur, w.rpc, "x") })
		}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		if doms[0] == nil || doms[0] != doms[1] || doms[0].Ref.Peek() != 2 {
			t.Errorf("two finders got %v and %v", doms[0], doms[1])
		}
		if AuthDomainFind(w.rpc, "x") != doms[0] || AuthDomainFind(w.rpc, "y") != nil {
			t.Error("find")
		}
		w.rpc.Svcauth.AuthDomainLock.Lock() // which nobody but the last needs
		AuthDomainPut(w.rpc, doms[0])
		AuthDomainPut(w.rpc, doms[0])
		w.rpc.Svcauth.AuthDomainLock.Unlock()
		AuthDomainPut(w.rpc, doms[0])
		if AuthDomainFind(w.rpc, "x") != nil {
			t.Error("found after the last put")
		}
		w.exit(cur)
	})
}

// Every allocation of a login may fail; nothing may leak and the request must be refused or put off.
func TestLoginWithoutMemory(t *testing.T) {
	hit := false
	for r := range choosertest.Failing(t, func(cur *kernel.Task, fail func(string, ...any)) {
		hit = false
		m := cur.Machine()
		rpc, net := New(cur, m), sock.NewNet(cur, m, "init_net")
		if SunrpcInitNet(cur, rpc, net) != 0 {
			hit = true
			rpc.Exit(cur)
			return
		}
		w := &authWorld{rpc: rpc, net: net}
		w.serv = kernel.StaticObj[SvcServ](m, "svc_serv")
		w.serv.SvRpc, w.serv.SvProgram = rpc, &SvcProgram{PgClass: "nfsd"}
		w.xprt = kernel.StaticObj[SvcXprt](m, "svc_xprt")
		w.xprt.XptFlags.Init(&w.xprt.Obj, "xpt_flags", xptFlagNames)
		w.xprt.XptLock.Init(&w.xprt.Obj, "xpt_lock")
		w.xprt.XptServer, w.xprt.XptNet = w.serv, net
		w.rqst = w.newRqst(m)
		switch got := w.login(cur, w.rqst); got {
		case SVC_OK:
		case SVC_DENIED, SVC_DROP, SVC_CLOSE, -SVC_CLOSE:
			hit = true
		default:
			fail("status %d", got)
		}
		SvcAuthorise(w.rqst)
		w.exit(cur)
	}) {
		if r.Live != 0 || !hit && r.Failed != "unix_gid" && r.Failed != "" {
			t.Errorf("%q fails: noticed %t, %d objects left", r.Failed, hit, r.Live)
		}
	}
}

// A request that waits for an entry which expires unanswered is revisited when a look-up replaces the entry.
func TestExpiredEntryWithWaiter(t *testing.T) {
	inSim(t, 1, kernel.Options{HangAfter: 10000 * kernel.HZ}, func(cur *kernel.Task) {
		m := cur.Machine()
		w := bootAuth(cur)
		w.rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, ClientVerdict) {
			return "", ClientLater
		}
		revisited, given := 0, 0
		rqstp := w.newRqst(m)
		rqstp.RqChandle.Defer = func(*kernel.Task, *CacheReq) *CacheDeferredReq {
			return &CacheDeferredReq{Owner: w.serv, Revisit: func(_ *kernel.Task, _ *CacheDeferredReq, tooMany bool) {
				if tooMany {
					given++
				} else {
					revisited++
				}
			}}
		}
		for i := range 3 {
			if got := w.login(cur, rqstp); got != SVC_DROP {
				t.Errorf("request %d: %d", i, got)
			}
			SvcAuthorise(rqstp)
			if revisited != i || w.rpc.Cache.CacheDeferCnt.Peek() != 1 {
				t.Errorf("request %d: %d revisited, %d wait", i, revisited, w.rpc.Cache.CacheDeferCnt.Peek())
			}
			kernel.Msleep(cur, (CACHE_NEW_EXPIRY+2)*1000)
		}
		CacheCleanDeferred(cur, w.serv)
		if revisited != 2 || given != 1 {
			t.Errorf("%d revisited, %d given up", revisited, given)
		}
		w.exit(cur)
	})
}

// With nobody to ask, the credential's own groups hold, and the next who comes asks again two minutes later.
func TestGroupsWithoutHelper(t *testing.T) {
	inSim(t, 1, kernel.Options{HangAfter: 10000 * kernel.HZ}, func(cur *kernel.Task) {
		w := bootAuth(cur)
		for range 2 {
			if got := w.login(cur, w.rqst); got != SVC_OK || !slices.Equal(w.rqst.RqCred.CrGroupInfo.Gids, []uint32{5}) {
				t.Errorf("login: %d, groups %v", got, w.rqst.RqCred.CrGroupInfo.Gids)
			}
			SvcAuthorise(w.rqst)
			cd := w.rpc.SunrpcNet(w.net).UnixGidCache
			now := secondsSinceBoot(cur.Machine())
			for _, h := range cd.Entries.Peek() {
				negative, left := h.Flags.Peek(CACHE_NEGATIVE), h.ExpiryTime.Peek()-now
				if !negative || left > CACHE_NEW_EXPIRY {
					t.Errorf("the entry: negative %t, %d seconds left", negative, left)
				}
			}
			kernel.Msleep(cur, (CACHE_NEW_EXPIRY+2)*1000)
		}
		w.exit(cur)
	})
}

// That there is nobody to ask comes before that an entry has been taken out meanwhile: the peer is refused at once and
// keeps its connection.
func TestCleanedEntryWithoutHelper(t *testing.T) {
	for _, tc := range []struct {
		verdict ClientVerdict
		want    int
	}{{ClientNoHelper, -kernel.ENOENT}, {ClientKnown, -kernel.ETIMEDOUT}} {
		inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
			w := bootAuth(cur)
			w.rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, ClientVerdict) {
				return "dom", tc.verdict
			}
			w.rpc.Svcauth.GroupPolicy = func(*sock.Net, uint32) ([]uint32, ClientVerdict) { return nil, tc.verdict }
			sn := w.rpc.SunrpcNet(w.net)
			im, ug := ipMapLookup(cur, sn.IPMapCache, "nfsd", [16]byte{1}), unixGidLookup(cur, sn.UnixGidCache, 7)
			CachePurge(cur, sn.IPMapCache)
			CachePurge(cur, sn.UnixGidCache)
			if got := CacheCheck(cur, sn.IPMapCache, &im.H, &w.rqst.RqChandle); got != tc.want {
				t.Errorf("verdict %d, client: %d, want %d", tc.verdict, got, tc.want)
			}
			if got := CacheCheck(cur, sn.UnixGidCache, &ug.H, &w.rqst.RqChandle); got != tc.want {
				t.Errorf("verdict %d, groups: %d, want %d", tc.verdict, got, tc.want)
			}
			w.exit(cur)
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		w := bootAuth(cur)
		client := func(class string, expiry int64) int {
			return IPMapUpdate(cur, w.rpc, w.net, class, [16]byte{}, "dom", expiry)
		}
		groups := func(gids []uint32, expiry int64) int {
			return UnixGidUpdate(cur, w.rpc, w.net, 7, gids, expiry)
		}
		for _, tc := range []struct {
			name string
			got  int
			want int
		}{
			{"class", client("seven77", 9), 0},
			{"no class", client("", 9), -kernel.EINVAL},
			{"long class", client("eight888", 9), -kernel.EINVAL},
			{"client without an end", client("nfsd", 0), -kernel.EINVAL},
			{"groups", groups(make([]uint32, gidMax), 9), 0},
			{"too many groups", groups(make([]uint32, gidMax+1), 9), -kernel.EINVAL},
			{"no such group", groups([]uint32{1, ^uint32(0)}, 9), -kernel.EINVAL},
			{"groups without an end", groups(nil, 0), -kernel.EINVAL},
		} {
			if tc.got != tc.want {
				t.Errorf("%s: %d, want %d", tc.name, tc.got, tc.want)
			}
		}
		w.exit(cur)
	})
}
