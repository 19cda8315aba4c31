// SPDX-License-Identifier: MIT

package scenario

import (
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// rpcGarbage sends calls that must be refused, or must not be answered, each of them in its turn the first that a fresh
// thread sees; then one that is in order.
var rpcGarbage = &Scenario{
	Name: "rpc-garbage",
	Doc:  "clients call with bad credentials, versions, numbers, arguments and records, and are refused as the law says",
	Params: []Param{
		{Name: "clients", Doc: "clients", Default: 1, Min: 1, Max: 3, Amount: true},
		protoParam,
		{Name: "service", Doc: "0: lockd; 1: one whose results hold something, over UDP; 2: one whose results fill all its " +
			"pages, over TCP", Max: 2},
		{Name: "first", Doc: "which bad call comes first, then the next ones in turn", Max: len(badCalls) - 1},
		{Name: "calls", Doc: "how many bad calls each client makes", Default: len(badCalls), Min: 1, Max: len(badCalls), Amount: true},
		{Name: "last", Doc: "1: then a record that is too long, 2: one that is too short; over TCP they end the connection",
			Default: 1, Max: 2},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		switch w.P.Get("service") {
		case 1:
			w.garbageFor(cur, &ownService{"udp", sock.IPPROTO_UDP, nfsdPayload, holding, heldCall})
			return
		case 2:
			w.garbageFor(cur, &ownService{"tcp", sock.IPPROTO_TCP, fullPayload, filling, fullCall})
			return
		}
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		for i := range w.P.Get("clients") {
			prot := protocol(w.P.Get("proto"), i)
			c := w.garbler(prot, lockd.NLM_PROGRAM, nlmVersion, wire.Version_range{Low: 1, High: 4}, lockCall)
			w.spawn(cur, c, w.Rpcb.await(w.M, lockd.NLM_PROGRAM, prot))
		}
		w.Arrive(cur)
		w.lockdUp(cur, w.Init)
		w.joinClients(cur)
		w.lockdDown(cur, w.Init)
	},
}

// ownService is a service of the scenario's own: its transport, its payload, its procedure 1 and a call of that.
type ownService struct {
	class   string
	prot    int
	payload uint32
	fill    func(*sunrpc.SvcProcedure)
	good    goodCall
}

// garbageFor is the scenario for a service of its own.
func (w *World) garbageFor(cur *kernel.Task, s *ownService) {
	d := w.newNfsdWith(cur, "nfsd_mutex", false, s.payload, s.fill)
	if d == nil {
		w.StartFailed("svc_create_pooled", -kernel.ENOMEM, 1)
		return
	}
	w.insist(cur, "svc_create_xprt", 0, func() int { return d.listenTo(cur, w.Init, s.class) })
	for range w.P.Get("clients") {
		c := w.garbler(s.prot, nfsProgram, nfsVersion, wire.Version_range{Low: nfsVersion, High: nfsVersion}, s.good)
		w.spawnAt(cur, c, nfsPort)
	}
	d.mustSet(cur, 1)
	w.joinClients(cur)
	d.mustSet(cur, 0)
	d.destroy(cur, w.Init)
}

// held is what a result of holding holds until it is released; heldResult is that result.
type held struct{ kernel.Obj }

type heldResult struct{ h *held }

// holding fills in a procedure with one word of arguments.
func holding(p *sunrpc.SvcProcedure) {
	nullProcedure(p)
	p.PcName = "HOLD"
	p.PcNewRes = func() any { return &heldResult{} }
	p.PcDecode = func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, _ any) bool {
		p.Get()
		return sunrpc.XdrArgsizeCheck(rqstp, p)
	}
	p.PcFunc = func(cur *kernel.Task, _ *sunrpc.SvcRqst, _, res any) uint32 {
		r := res.(*heldResult)
		if r.h = kernel.Kzalloc[held](cur.Machine(), "held", kernel.GFP_KERNEL); r.h == nil {
			return sunrpc.RPC_SYSTEM_ERR
		}
		return sunrpc.RPC_SUCCESS
	}
	p.PcRelease = func(_ *kernel.Task, _ *sunrpc.SvcRqst, res any) {
		if r := res.(*heldResult); r.h != nil {
			kernel.Kfree(r.h)
		}
	}
}

// fullPayload is what fits into three pages.
const fullPayload = 3 * sunrpc.PAGE_SIZE

// fullWords is the argument of filling, and its result but for the octets, which are in the pages.
type fullWords struct{ count uint32 }

// filling fills in a procedure whose argument says how many octets the result is to have. They lie in pages, as those of
// a file do that is read; what is missing to a whole word lies behind them.
//
// C: nfs3svc_encode_readres, fs/nfsd/nfs3xdr.c
func filling(p *sunrpc.SvcProcedure) {
	nullProcedure(p)
	p.PcName = "FILL"
	p.PcXdrressize = 2 + fullPayload/4
	p.PcNewArgs = func() any { return &fullWords{} }
	p.PcNewRes = func() any { return &fullWords{} }
	p.PcDecode = func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, args any) bool {
		args.(*fullWords).count = p.Get()
		return sunrpc.XdrArgsizeCheck(rqstp, p)
	}
	p.PcFunc = func(_ *kernel.Task, rqstp *sunrpc.SvcRqst, args, res any) uint32 {
		n := min(args.(*fullWords).count, fullPayload)
		res.(*fullWords).count = n
		for i, at := 0, uint32(0); at < n; i, at = i+1, at+sunrpc.PAGE_SIZE {
			copy(rqstp.RqRes.Pages[i].Data[:], fullOctets(at, min(n-at, sunrpc.PAGE_SIZE)))
			rqstp.RqNextPage++
		}
		return sunrpc.RPC_SUCCESS
	}
	p.PcEncode = func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, res any) bool {
		n := res.(*fullWords).count
		p.Put(n)
		body := &rqstp.RqRes
		body.PageLen = n
		if !sunrpc.XdrRessizeCheck(rqstp, p) {
			return false
		}
		if n%4 != 0 {
			pad := p
			p.Put(0)
			body.Tail = sunrpc.Kvec{IovMem: pad.Mem, IovBase: pad.Off, IovLen: uint64(4 - n%4)}
		}
		return true
	}
}

// fullOctets are n octets of the result of filling, from the one with number at on.
func fullOctets(at, n uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		k := at + uint32(i)
		b[i] = byte(k ^ k>>8)
	}
	return b
}

// fullCall calls filling for as much as makes most pieces of a reply: all pages, and padding.
func fullCall(x *oracle.Exchange) *wire.Call {
	const fill, n = 1, fullPayload - 3
	x.Proc = fill
	x.Octets = binary.BigEndian.AppendUint32(wire.EncodeReply(x.Xid, nil), n)
	x.Octets = append(append(x.Octets, fullOctets(0, n)...), 0, 0, 0)
	return wire.NewCall(x.Xid, x.Prog, x.Vers, fill, &wire.Sm_stat{State: n})
}

// goodCall is a call of a service that is in order and has results; it says in x which.
type goodCall func(x *oracle.Exchange) *wire.Call

// lockCall locks at a lock manager that has no files to lock.
func lockCall(x *oracle.Exchange) *wire.Call {
	const lock = 2
	x.Proc = lock
	cookie := binary.BigEndian.AppendUint32(nil, x.Xid)
	x.Look = func(r *wire.Reply) string {
		res := r.Results.(*wire.Nlm4_res)
		if string(res.Cookie) != string(cookie) || res.Stat.Stat != wire.NLM4_DENIED_NOLOCKS {
			return fmt.Sprintf("cookie %x, want %x, %v, want %v", res.Cookie, cookie, res.Stat.Stat, wire.NLM4_DENIED_NOLOCKS)
		}
		return ""
	}
	return wire.NewCall(x.Xid, x.Prog, x.Vers, lock, &wire.Nlm4_lockargs{
		Cookie: cookie, Alock: wire.Nlm4_lock{Caller_name: "client", Fh: make([]byte, 20), Oh: []byte("owner"), L_len: 1},
	})
}

// heldCall calls holding.
func heldCall(x *oracle.Exchange) *wire.Call {
	const hold = 1
	return wire.NewCall(x.Xid, x.Prog, x.Vers, hold, &wire.Sm_stat{})
}

// badCall makes the octets of a call from one that is in order, and says in x what must come back.
type badCall struct {
	name string
	make func(x *oracle.Exchange, good *wire.Call) []byte
}

// denied says that a call is denied.
func denied(x *oracle.Exchange, why wire.Auth_stat) {
	x.Want, x.Why, x.Look, x.Octets = oracle.DeniedAuthError, uint32(why), nil, nil
}

// refused says that a call is refused with a status.
func refused(x *oracle.Exchange, s oracle.Status) { x.Want, x.Look, x.Octets = s, nil, nil }

// badCalls are in the order in which they are sent, the one that is in order among them.
var badCalls = []badCall{
	{"a credential that is cut", func(x *oracle.Exchange, c *wire.Call) []byte {
		denied(x, wire.AUTH_BADCRED)
		c.Header.Cred = wire.Sys(&wire.Authsys_parms{Machinename: "client"})
		return wire.EncodeCall(c)[:36] // flavour, length and stamp are left of it
	}},
	{"a verifier that is cut", func(x *oracle.Exchange, c *wire.Call) []byte {
		denied(x, wire.AUTH_BADCRED)
		return wire.EncodeCall(c)[:36]
	}},
	{"a credential of an unknown flavour", func(x *oracle.Exchange, c *wire.Call) []byte {
		denied(x, wire.AUTH_BADCRED)
		c.Header.Cred.Flavor = 99
		return wire.EncodeCall(c)
	}},
	{"a verifier with octets", func(x *oracle.Exchange, c *wire.Call) []byte {
		denied(x, wire.AUTH_BADVERF)
		c.Header.Verf.Body = make([]byte, 4)
		return wire.EncodeCall(c)
	}},
	{"too many groups", func(x *oracle.Exchange, c *wire.Call) []byte {
		denied(x, wire.AUTH_BADCRED)
		c.Header.Cred = wire.Sys(&wire.Authsys_parms{Gids: make([]uint32, 16)})
		body := append(c.Header.Cred.Body, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(body[16:], 17) // behind stamp, name, user and group
		c.Header.Cred.Body = body
		return wire.EncodeCall(c)
	}},
	{"an unknown version of RPC", func(x *oracle.Exchange, c *wire.Call) []byte {
		refused(x, oracle.DeniedRpcMismatch)
		x.Look = speaks(wire.Version_range{Low: 2, High: 2})
		c.Header.Rpcvers = 3
		return wire.EncodeCall(c)
	}},
	{"an unknown program", func(x *oracle.Exchange, c *wire.Call) []byte {
		refused(x, oracle.AcceptProgUnavail)
		c.Header.Prog++
		return wire.EncodeCall(c)
	}},
	{"an unknown version", func(x *oracle.Exchange, c *wire.Call) []byte {
		refused(x, oracle.AcceptProgMismatch)
		c.Header.Vers = 99
		return wire.EncodeCall(c)
	}},
	{"an unknown procedure", func(x *oracle.Exchange, c *wire.Call) []byte {
		refused(x, oracle.AcceptProcUnavail)
		c.Header.Proc = 99
		return wire.EncodeCall(c)
	}},
	{"arguments that are cut", func(x *oracle.Exchange, c *wire.Call) []byte {
		refused(x, oracle.AcceptGarbageArgs)
		return wire.EncodeCall(c)[:40]
	}},
	{"a reply", func(x *oracle.Exchange, _ *wire.Call) []byte {
		x.Silent = true
		return wire.EncodeReply(x.Xid, nil)
	}},
	{"a header that is cut", func(x *oracle.Exchange, c *wire.Call) []byte {
		x.Silent = true
		return wire.EncodeCall(c)[:20]
	}},
	{"a call that is in order", func(_ *oracle.Exchange, c *wire.Call) []byte { return wire.EncodeCall(c) }},
}

// speaks looks at the versions that a mismatch names.
func speaks(want wire.Version_range) func(*wire.Reply) string {
	return func(r *wire.Reply) string {
		if r.Range != want {
			return fmt.Sprintf("versions %d to %d, want %d to %d", r.Range.Low, r.Range.High, want.Low, want.High)
		}
		return ""
	}
}

// garbler prepares a client that makes bad calls, then calls procedure 0, then sends what ends a connection.
func (w *World) garbler(prot int, prog, vers uint32, served wire.Version_range, good goodCall) *client {
	n := w.P.Get("calls")
	c := w.newClient(w.Init, prot, prog, vers, n+1, false)
	msgs := map[uint32][]byte{}
	for i, x := range c.xs[:n] {
		msgs[x.Xid] = badCalls[(w.P.Get("first")+i)%len(badCalls)].make(x, good(x))
		if x.Want == oracle.AcceptProgMismatch {
			x.Look = speaks(served)
		}
	}
	c.msg = func(xid uint32) []byte {
		if msg, ok := msgs[xid]; ok {
			return msg
		}
		return nullCall(xid, prog, vers)
	}
	end := w.P.Get("last")
	switch {
	case end == 2 && prot == sock.IPPROTO_UDP:
		runt := w.runt(c)
		c.last = func(cur *kernel.Task) { c.sendRunt(cur, runt) }
	case end != 0:
		c.last = func(cur *kernel.Task) { w.endOfClient(cur, c, end) }
	}
	return c
}

// runt prepares a datagram of an XID alone. The core takes such a one for as much as it likes: it reads on in the
// page, where there is nothing on the free back end, which makes an RPC version that it refuses, and in sim perhaps the
// rest of a call that lay there before, which it answers.
func (w *World) runt(c *client) *oracle.Exchange {
	w.xids++
	x := &oracle.Exchange{
		Who: c.name, Xid: 0x51000000 + w.xids, Prog: c.prog, Vers: c.vers, Optional: true, Runt: true,
	}
	w.Exchanges = append(w.Exchanges, x)
	return x
}

// sendRunt sends a runt. Nobody waits for what may come back.
func (c *client) sendRunt(cur *kernel.Task, x *oracle.Exchange) {
	c.xs = append(c.xs, x)
	x.Sent = c.conn.Write(cur, binary.BigEndian.AppendUint32(nil, x.Xid)) >= 0
}

// longest is the longest record that the service of the scenario takes: two pages, or one more than its payload has.
func (w *World) longest() int {
	if w.P.Get("service") == 2 {
		return fullPayload + sunrpc.PAGE_SIZE
	}
	return 2 * sunrpc.PAGE_SIZE
}

// endOfClient sends what no service answers, and sees whether it closes the connection.
func (w *World) endOfClient(cur *kernel.Task, c *client, end int) {
	msg := make([]byte, w.longest()+1)
	if end == 2 {
		msg = msg[:4]
	}
	if c.prot != sock.IPPROTO_TCP {
		c.conn.Write(cur, msg)
		return
	}
	// The mark says it all: the rest need not come.
	c.conn.Write(cur, record(msg)[:8])
	var buf [64]byte
	switch n := c.conn.Read(cur, buf[:], c.wait); {
	case n > 0:
		w.report("reply", "an answer to what deserves none", fmt.Sprintf("%s: % x", c.name, buf[:n]))
	case n == -kernel.ETIMEDOUT && w.M.Departed(kernel.DecideTimer) == 0: // else it may be the client's patience
		w.report("reply", "a connection stays open that must be closed", c.name)
	}
}
