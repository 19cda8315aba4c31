// SPDX-License-Identifier: MIT

package scenario

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/history"
	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

var asyncParam = Param{
	Name: "async", Max: 2,
	Doc: "1: the file system answers requests for locks later, as that of a cluster does; 2: perhaps before lockd goes on",
}

// nlmLocks is what lockd is there for.
var nlmLocks = &Scenario{
	Name:  "nlm-locks",
	Doc:   "clients take, wait for, test and release locks, and lockd calls back those that waited",
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "clients, each with one process", Default: 2, Min: 1, Max: 3, Amount: true},
		protoParam,
		{Name: "files", Doc: "files that they lock, one after the other", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "cancel", Doc: "1: every second client has no patience and cancels what it has to wait for", Max: 1},
		asyncParam,
		stopParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		early := w.P.Get("stop") == 2
		h := w.newLockHosts(cur, w.P.Get("clients"), early)
		if h == nil {
			return
		}
		w.Arrive(cur)
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		for _, c := range h.lockers {
			c.spawn(cur, func(cur *kernel.Task) {
				for _, inode := range h.files {
					if !c.session(cur, inode) {
						return
					}
				}
			})
		}
		if !early {
			h.join(cur)
			h.settled()
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}

// lockdStopLocks stops lockd while it has something to lose.
var lockdStopLocks = &Scenario{
	Name:  "lockd-stop-locks",
	Doc:   "lockd goes down while clients hold locks and wait for others, and perhaps while one is granted",
	Actor: "mount",
	Params: []Param{
		{Name: "clients", Doc: "clients; the first one holds, the others wait", Default: 2, Min: 1, Max: 3, Amount: true},
		protoParam,
		{Name: "files", Doc: "files that they lock", Default: 1, Min: 1, Max: 2, Amount: true},
		{Name: "release", Doc: "while lockd goes down, 1: the first client releases its locks; 2: the others cancel",
			Default: 1, Max: 2},
		asyncParam,
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := w.newLockHosts(cur, w.P.Get("clients"), true)
		if h == nil {
			return
		}
		w.lockdUp(cur, w.Init)
		w.endGrace(w.Init)
		h.queue(cur, len(h.lockers))
		if w.P.Get("release") == 0 {
			h.settled()
		}
		for i, c := range h.lockers {
			c.spawn(cur, func(cur *kernel.Task) {
				switch {
				case i > 0 && w.P.Get("release") == 2:
					for _, inode := range h.files {
						c.giveUp(cur, inode)
					}
				case i > 0:
					c.await(cur, hurry)
				case w.P.Get("release") == 1:
					for _, inode := range h.files {
						c.release(cur, inode)
					}
				}
			})
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		h.end(cur)
	},
}

// endGrace is what the administrator does who knows that nobody has anything to reclaim.
func (w *World) endGrace(net *sock.Net) { w.Lockd.NlmEndGraceWrite(net, []byte("Y")) }

// lockerPort is where a client host has its rpcbind and its lock manager.
const lockerPort = 4046

// maxFiles is how many files the clients of a scenario lock at most.
const maxFiles = 2

// hurry is how long a client waits for an answer of a lockd that may be gone.
const hurry = kernel.HZ / 10

// grantTimeout is how long a client waits for a lock. lockd may have to call it more than once.
const grantTimeout = 100 * kernel.HZ

// patience is how long the client waits for GRANTED.
func (c *locker) patience() kernel.Jiffies {
	if c.h.early {
		return 2 * kernel.HZ // lockd may never call
	}
	return grantTimeout
}

// lockHosts is the clients of a lock scenario and the files that they lock.
type lockHosts struct {
	w       *World
	lockers []*locker
	files   []*fs.Inode
	early   bool // lockd may go away under their hands
}

// newLockHosts loads lockd with a file system and prepares n clients, each on a host of its own. nil if a step was
// made to fail.
func (w *World) newLockHosts(cur *kernel.Task, n int, early bool) *lockHosts {
	h := &lockHosts{w: w, early: early}
	w.Rpc.Rpcb.PeerPort = lockerPort
	w.Lockd = lockd.New(cur, w.Rpc, w.Init)
	w.Lockd.Fs = fs.New(cur, w.M)
	for i := range w.P.Get("files") {
		// The next number with the generation before: lockd has all files in one bucket of its table.
		inode := w.Lockd.Fs.Create(numbered("file", i), false, uint32(maxFiles-i))
		if async := w.P.Get("async"); async > 0 {
			w.Lockd.Fs.SetAsync(inode, kernel.Jiffies(2-async))
		}
		h.files = append(h.files, inode)
	}
	w.Lockd.NlmsvcOps.Assign(lockd.NewBinding(w.Lockd.Fs))
	clock := history.Wall()
	if w.M.Sim() {
		clock = history.Steps()
	}
	w.History = history.New(clock)
	for i := range n {
		c := h.newLocker(cur, i)
		if c == nil {
			w.StartFailed("listen", -kernel.ENOMEM, 1)
			h.end(cur)
			return nil
		}
		h.lockers = append(h.lockers, c)
	}
	return h
}

// disturbed tells whether a step was made to fail or a timer to go off early: then a client may give up although it
// has a lock, and others wait for it in vain.
func (h *lockHosts) disturbed() bool {
	m := h.w.M
	return m.Departed(kernel.DecideAlloc)+m.Departed(kernel.DecideTimer)+m.Departed(kernel.DecideSignal) > 0
}

// settled tells the history that who waits now has something in the way.
func (h *lockHosts) settled() {
	if !h.disturbed() {
		h.w.History.Settled()
	}
}

// queue has the first n clients ask for all files, one client behind the other, so that each finds the locks of the
// first.
func (h *lockHosts) queue(cur *kernel.Task, n int) {
	for i, c := range h.lockers[:n] {
		c.spawn(cur, func(cur *kernel.Task) {
			for _, inode := range h.files {
				if c.take(cur, inode, true) == history.Blocked && i%2 == 0 { // its neighbour is in nobody's way
					c.await(cur, grantTimeout)
				}
			}
		})
		c.join(cur)
	}
}

// join waits until the clients have done their work. They still listen.
func (h *lockHosts) join(cur *kernel.Task) {
	for _, c := range h.lockers {
		c.join(cur)
	}
}

// end waits for the clients and closes what they have open. lockd is down.
func (h *lockHosts) end(cur *kernel.Task) {
	h.join(cur)
	for _, c := range h.lockers {
		c.close(cur)
	}
	if h.w.P.Get("async") > 0 {
		SettleLocks(cur, h.w.Lockd.Fs, h.files...)
	}
	h.excuse()
}

// SettleLocks waits until a file system that answers later has answered all that lockd asked it about these files, which
// lockd may not have waited for, and its clocks are not set any more.
func SettleLocks(cur *kernel.Task, v *fs.VFS, files ...*fs.Inode) {
	pending := func(o *kernel.Obj) bool { return strings.HasPrefix(o.Name(), "plock_op") }
	for slices.ContainsFunc(cur.Machine().LiveObjects(), pending) {
		pause(cur, 2)
	}
	for _, inode := range files {
		for !v.AsyncIdle(inode) {
			pause(cur, 2)
		}
	}
}

// excuse allows that clients of a file system that answers later are not answered if somebody sent lockd a SIGKILL: it
// takes back what they wait for, and gives up the requests that are put aside for it. A client without an answer asks
// for nothing more.
func (h *lockHosts) excuse() {
	if h.w.P.Get("async") == 0 || h.w.M.Departed(kernel.DecideSignal) == 0 {
		return
	}
	for _, c := range h.lockers {
		for _, x := range c.xs {
			x.Optional = true
		}
	}
}

// locker is a client host with one process that locks. Over UDP it has one socket for all that it says and hears, and
// one task. Over TCP it has a connection to lockd, and a task that listens for what lockd says.
type locker struct {
	kernel.Obj
	client  // without a place in World.clients
	h       *lockHosts
	svid    int32
	start   uint64 // of its range
	addr    sock.Addr
	listen  *sock.Conn // over TCP
	server  *kernel.Task
	calls   *history.Client // of the task that asks
	granted *history.Client // of the task that is called
	wait0   *portWait
	used    int                // of xs
	results uint32             // GRANTED_RES calls made; of the task that is called
	called  bool               // over UDP: what it waits for has been granted
	tested  *wire.Nlm4_testres // over UDP: what the last TEST_RES call has said
	offer   wire.Nlm4_lock     // over UDP: what the last GRANTED_MSG call was about

	holderPid int32 // process that lockd names when it has got the lock in the way

	lock  kernel.Spinlock
	want  *history.Op       // what it waits for or has; lock
	ended bool              // the listener is to end; lock
	done  kernel.Completion // over TCP: as called
	told  kernel.Completion // it has answered that call, or had no patience
}

// Of each client: how many requests it makes in a run at most, and how many octets it locks, of which the next client
// wants half.
const (
	requestsOfLocker = 16
	rangeOfLocker    = 10
)

// newLocker makes the i-th client and opens the socket that lockd calls. nil if a step was made to fail.
func (h *lockHosts) newLocker(cur *kernel.Task, i int) *locker {
	return h.newLockerIn(cur, h.w.Init, h.w.Rpcb, i)
}

// newLockerIn is newLocker in another namespace.
func (h *lockHosts) newLockerIn(cur *kernel.Task, net *sock.Net, rpcb *Rpcbind, i int) *locker {
	w := h.w
	c := kernel.StaticObj[locker](w.M, "locker")
	c.h, c.svid, c.start = h, int32(100+i), uint64(i)*rangeOfLocker/2
	c.client = client{
		name: numbered("locker", i), net: net, prot: protocol(w.P.Get("proto"), i), prog: lockd.NLM_PROGRAM,
		vers: nlmVersion, wait: replyTimeout,
	}
	if h.early {
		c.wait = hurry
	}
	c.addr = sock.Addr4(127, 0, 0, byte(2+i), lockerPort)
	c.lock.Init(&c.Obj, "locker")
	c.done.Init(&c.Obj, "granted")
	c.told.Init(&c.Obj, "told")
	c.calls = w.History.Client(c.name)
	c.granted = c.calls
	c.wait0 = rpcb.await(w.M, c.prog, c.prot)
	for range requestsOfLocker {
		w.xids++
		x := &oracle.Exchange{Who: c.name, Xid: 0x51000000 + w.xids, Prog: c.prog, Vers: c.vers, Optional: true}
		c.xs = append(c.xs, x)
		w.Exchanges = append(w.Exchanges, x)
	}
	conn, err := sock.Listen(cur, net, c.prot, c.addr)
	if err != 0 {
		return nil
	}
	if c.prot == sock.IPPROTO_UDP {
		c.conn = conn
		return c
	}
	c.listen = conn
	c.granted = w.History.Client(c.name + "-lockd")
	c.server = w.M.Spawn(cur, c.name+"-lockd", c.listener)
	return c
}

// lockdAddr is where lockd listens. It is up.
func (c *locker) lockdAddr() sock.Addr { return sock.LoopbackAddr(sock.AF_INET, c.wait0.port) }

// spawn starts the client as an actor.
func (c *locker) spawn(cur *kernel.Task, work func(cur *kernel.Task)) {
	c.task = c.h.w.M.Spawn(cur, c.name, func(cur *kernel.Task) {
		c.h.w.Arrive(cur)
		if c.conn == nil && !c.dead {
			conn, err := sock.DialFrom(cur, c.net, c.prot, c.addr.WithPort(0), c.lockdAddr())
			c.conn, c.dead = conn, err != 0
		}
		if !c.dead {
			work(cur)
		}
	})
}

// join waits until the client has done its work.
func (c *locker) join(cur *kernel.Task) {
	if c.task != nil {
		kernel.Join(cur, c.task)
		c.task = nil
	}
}

// close closes all that the client has open. lockd is down and talks to nobody any more.
func (c *locker) close(cur *kernel.Task) {
	if c.server != nil {
		c.lock.Lock()
		c.ended = true
		c.lock.Unlock()
		// The listener sees that it is to end when somebody connects; that can fail, too.
		conn, err := sock.Dial(cur, c.net, c.prot, c.addr)
		for err != 0 {
			conn, err = sock.Dial(cur, c.net, c.prot, c.addr)
		}
		conn.Close()
		kernel.Join(cur, c.server)
		c.listen.Close()
	}
	if c.conn == nil {
		return
	}
	if c.prot == sock.IPPROTO_TCP {
		c.drain()
	} else {
		for {
			skb, err := c.conn.Sock().RecvDatagram()
			if err != 0 {
				break
			}
			c.file(skb.Octets())
			sock.FreeSkb(skb)
		}
	}
	c.conn.Close()
}

// file notes a reply that nobody waits for. False if b is none.
func (c *locker) file(b []byte) bool {
	if len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != uint32(wire.REPLY) {
		return false
	}
	if x := c.asked(b); x != nil { // the others answer GRANTED_RES calls
		x.Replies = append(x.Replies, append([]byte(nil), b...))
	}
	return true
}

// ask makes a request and returns its results, nil if there is no answer.
func (c *locker) ask(cur *kernel.Task, proc uint32, args wire.Value) wire.Value {
	x := c.xs[c.used]
	c.used++
	x.Proc, x.Optional = proc, c.h.early
	msg := c.message(x.Xid, proc, args)
	if c.prot == sock.IPPROTO_TCP {
		if c.dead || c.conn.Write(cur, record(msg)) < 0 {
			c.dead = true
			return nil
		}
		x.Sent = true
		b, err := c.readRecord(cur, x)
		if err != 0 {
			x.Err, c.dead = err, true
			return nil
		}
		x.Replies = append(x.Replies, b)
	} else {
		if n := c.conn.WriteTo(cur, msg, c.lockdAddr()); n < 0 {
			x.Err = n
			return nil
		}
		x.Sent = true
		if !c.pump(cur, c.wait, func() bool { return len(x.Replies) > 0 }) {
			x.Err = -kernel.ETIMEDOUT
			return nil
		}
	}
	r, err := wire.DecodeReply(c.prog, c.vers, proc, x.Replies[0])
	switch {
	case err != nil || r.Denied:
	case r.Accept == wire.SUCCESS:
		return r.Results
	case r.Accept == wire.SYSTEM_ERR && c.h.disturbed():
		x.Want = oracle.AcceptSystemErr // there was no memory for more
	}
	return nil
}

// message is a call of the client's user.
func (c *locker) message(xid, proc uint32, args wire.Value) []byte {
	call := wire.NewCall(xid, c.prog, c.vers, proc, args)
	call.Header.Cred = wire.Sys(&wire.Authsys_parms{Machinename: c.name, Uid: 1000, Gid: 100})
	return wire.EncodeCall(call)
}

// pump handles datagrams until done or for a time; true if done.
func (c *locker) pump(cur *kernel.Task, wait kernel.Jiffies, done func() bool) bool {
	until := c.h.w.M.Jiffies() + wait
	for !done() {
		var buf [1024]byte
		n, from := c.conn.ReadFrom(cur, buf[:], until-c.h.w.M.Jiffies())
		if n == -kernel.ETIMEDOUT {
			return false
		}
		if n <= 0 || c.file(buf[:n]) {
			continue
		}
		if reply, res := c.answer(buf[:n]); reply != nil {
			c.conn.WriteTo(cur, reply, from)
			if res != nil {
				c.conn.WriteTo(cur, res, c.lockdAddr())
			}
		}
	}
	return true
}

// listener takes the connections that lockd makes, until close.
func (c *locker) listener(cur *kernel.Task) {
	var conns []*kernel.Task
	for {
		conn, err := c.listen.Accept(cur, kernel.MaxScheduleTimeout)
		c.lock.Lock()
		ended := c.ended
		c.lock.Unlock()
		if err == 0 && !ended {
			conns = append(conns, c.h.w.M.Spawn(cur, numbered(c.name+"-conn", len(conns)), func(cur *kernel.Task) {
				c.serve(cur, conn)
			}))
			continue
		}
		if err == 0 {
			conn.Close()
		}
		if ended {
			join(cur, conns)
			return
		}
	}
}

// serve answers what comes over a connection that lockd has made, until lockd closes it.
func (c *locker) serve(cur *kernel.Task, conn *sock.Conn) {
	lockd := client{prot: c.prot, conn: conn, wait: kernel.MaxScheduleTimeout}
	for {
		b, err := lockd.readRecord(cur, &oracle.Exchange{})
		if err != 0 {
			break
		}
		reply, res := c.answer(b)
		if reply == nil || conn.Write(cur, record(reply)) < 0 {
			break
		}
		if res != nil {
			c.tell(cur, res)
		}
	}
	conn.Close()
}

// tell sends a GRANTED_RES call over a connection of its own.
func (c *locker) tell(cur *kernel.Task, res []byte) {
	conn, err := sock.DialFrom(cur, c.net, c.prot, c.addr.WithPort(0), c.lockdAddr())
	if err != 0 {
		return
	}
	lockd := client{prot: c.prot, conn: conn, wait: hurry}
	if conn.Write(cur, record(res)) > 0 {
		lockd.readRecord(cur, &oracle.Exchange{})
	}
	conn.Close()
}

// answer is what the client's host replies to a call of lockd's, and what its lock manager tells lockd then, if
// anything. nil for what is not understood.
func (c *locker) answer(b []byte) (reply, res []byte) {
	call, err := wire.DecodeCall(b)
	if err != nil {
		c.h.w.report("reply", "lockd makes a malformed call", fmt.Sprintf("%v: % x", err, b))
		return nil, nil
	}
	switch args := call.Args.(type) {
	case *wire.Pmap_mapping:
		port := uint32(0)
		if args.Prog == c.prog {
			port = lockerPort
		}
		return binary.BigEndian.AppendUint32(wire.EncodeReply(call.Header.Xid, nil), port), nil
	case *wire.Nlm4_testargs:
		if c.prot == sock.IPPROTO_UDP {
			c.offer = args.Alock
		}
		status := wire.NLM4_DENIED
		if c.offered(&args.Alock, args.Exclusive) {
			status = wire.NLM4_GRANTED
		}
		c.results++
		res = c.message(0x52000000+c.results, lockd.NLMPROC_GRANTED_RES, &wire.Nlm4_res{
			Cookie: args.Cookie, Stat: wire.Nlm4_stat{Stat: status},
		})
		return wire.EncodeReply(call.Header.Xid, nil), res
	case *wire.Nlm4_testres:
		c.tested = args
		return wire.EncodeReply(call.Header.Xid, nil), nil
	}
	c.h.w.report("reply", "lockd makes a call that nobody expects", fmt.Sprintf("% x", b))
	return nil, nil
}

// offered tells whether the client wants a lock that lockd has granted, which it has then.
func (c *locker) offered(alock *wire.Nlm4_lock, exclusive bool) bool {
	c.lock.Lock()
	want := c.want
	c.lock.Unlock()
	if want == nil || want.Start != alock.L_offset || want.Len != alock.L_len || want.Exclusive != exclusive ||
		uint32(alock.Svid) != want.Owner.Svid || string(alock.Fh) != string(c.handle(want.File)) {
		return false
	}
	c.granted.Granted(*want)
	if c.prot == sock.IPPROTO_UDP {
		c.called = true
	} else {
		c.done.Complete()
	}
	return true
}

// handle is the handle of a file of that name.
func (c *locker) handle(name string) []byte {
	for _, inode := range c.h.files {
		if inode.IName == name {
			return c.h.w.Lockd.Fs.FhOf(inode)
		}
	}
	return nil
}

// op is a request about the client's range of a file.
func (c *locker) op(kind history.Kind, inode *fs.Inode, svid int32) history.Op {
	return history.Op{
		Kind: kind, File: inode.IName, Owner: history.Owner{Host: c.name, Svid: uint32(svid)}, Start: c.start,
		Len: rangeOfLocker, Exclusive: true, Deferred: c.h.w.P.Get("async") > 0,
	}
}

// alock is the lock of a request.
func (c *locker) alock(op *history.Op) wire.Nlm4_lock {
	return wire.Nlm4_lock{
		Caller_name: c.name, Fh: c.handle(op.File), Oh: fmt.Appendf(nil, "%s-%d", c.name, op.Owner.Svid),
		Svid: int32(op.Owner.Svid), L_offset: op.Start, L_len: op.Len,
	}
}

// status ends a request whose result is a status; NoAnswer if there was no answer. A file system that answers later may
// fail or take too long, and then its lock is denied although nothing is in the way.
func (c *locker) status(call *history.Call, results wire.Value) history.Status {
	res, ok := results.(*wire.Nlm4_res)
	if !ok {
		return history.NoAnswer
	}
	st := history.FromNLM(uint32(res.Stat.Stat))
	if st == history.Denied && call.Kind == history.Lock && call.Deferred && c.h.disturbed() {
		call.End(history.Refused, nil)
	} else {
		call.End(st, nil)
	}
	return st
}

// take asks for the client's range of a file. If that is Blocked, lockd will call.
func (c *locker) take(cur *kernel.Task, inode *fs.Inode, block bool) history.Status {
	op := c.op(history.Lock, inode, c.svid)
	op.Block = block
	if block {
		c.called = false
		c.done.Reinit()
		c.lock.Lock()
		c.want = &op
		c.lock.Unlock()
	}
	call := c.calls.Begin(op)
	return c.status(call, c.ask(cur, lockd.NLMPROC_LOCK, &wire.Nlm4_lockargs{
		Cookie: wire.Netobj(c.name), Block: block, Exclusive: true, Alock: c.alock(&op), State: 1,
	}))
}

// await waits until lockd calls; true if it does.
func (c *locker) await(cur *kernel.Task, timeout kernel.Jiffies) bool {
	if c.prot == sock.IPPROTO_TCP {
		return c.done.WaitTimeout(cur, timeout) != 0
	}
	return c.pump(cur, timeout, func() bool { return c.called })
}

// giveUp cancels a request that waits.
func (c *locker) giveUp(cur *kernel.Task, inode *fs.Inode) {
	op := c.op(history.Cancel, inode, c.svid)
	call := c.calls.Begin(op)
	c.status(call, c.ask(cur, lockd.NLMPROC_CANCEL, &wire.Nlm4_cancargs{
		Cookie: wire.Netobj(c.name), Block: true, Exclusive: true, Alock: c.alock(&op),
	}))
}

// test has another process of the client ask what is in the way of the client's range.
func (c *locker) test(cur *kernel.Task, inode *fs.Inode) {
	op := c.op(history.Test, inode, c.svid+1000)
	call := c.calls.Begin(op)
	results := c.ask(cur, lockd.NLMPROC_TEST, &wire.Nlm4_testargs{
		Cookie: wire.Netobj(c.name), Exclusive: true, Alock: c.alock(&op),
	})
	res, ok := results.(*wire.Nlm4_testres)
	if !ok {
		return
	}
	st := history.FromNLM(uint32(res.Test_stat.Stat))
	if st != history.Denied {
		call.End(st, nil)
		return
	}
	in := res.Test_stat.Holder()
	call.End(st, &history.Holder{Start: in.L_offset, Len: in.L_len, Exclusive: in.Exclusive})
}

// release gives back the client's range of a file. It does not want it any more.
func (c *locker) release(cur *kernel.Task, inode *fs.Inode) history.Status {
	c.lock.Lock()
	c.want = nil
	c.lock.Unlock()
	op := c.op(history.Unlock, inode, c.svid)
	call := c.calls.Begin(op)
	return c.status(call, c.ask(cur, lockd.NLMPROC_UNLOCK, &wire.Nlm4_unlockargs{
		Cookie: wire.Netobj(c.name), Alock: c.alock(&op),
	}))
}

// session locks the client's range of a file, tests it and gives it back. Every second client tries without waiting
// first, or has no patience. False if lockd is gone.
func (c *locker) session(cur *kernel.Task, inode *fs.Inode) bool {
	odd := c.svid%2 == 1
	hasty := odd && c.h.w.P.Get("cancel") == 1
	st := history.Denied
	if odd && !hasty {
		st = c.take(cur, inode, false)
	}
	if st == history.Denied {
		st = c.take(cur, inode, true)
	}
	switch {
	case st == history.Blocked && hasty:
		c.giveUp(cur, inode)
	case st == history.Blocked && !c.await(cur, c.patience()):
		if !c.h.early && !c.h.disturbed() {
			c.h.w.report("locks", "a client that waits for a lock is never called", c.name)
		}
		return false
	case st == history.Granted || st == history.Blocked:
		c.test(cur, inode)
	}
	return c.release(cur, inode) == history.Granted
}
