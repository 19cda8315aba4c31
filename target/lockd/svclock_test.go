// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// peerPort is where a peer's rpcbind and its lock manager are, behind one datagram socket.
const peerPort = 2049 + 4096

// lockWorld is a world whose lockd is up and out of grace, with an nfsd that exports one file.
type lockWorld struct {
	*world
	fail  func(string, ...any)
	inode *fs.Inode
	bare  int // live objects before the first LockdUp
}

// bootLocks is boot with a file system; nil if an injected failure hit it.
func bootLocks(cur *kernel.Task, fail func(string, ...any)) *lockWorld {
	w := boot(cur)
	if w == nil {
		return nil
	}
	w.rpc.Rpcb.PeerPort = peerPort
	w.Fs = fs.New(cur, cur.Machine())
	lw := &lockWorld{world: w, fail: fail, inode: w.Fs.Create("file", false, 7)}
	w.NlmsvcOps.Assign(NewBinding(w.Fs))
	lw.bare = len(cur.Machine().LiveObjects())
	return lw
}

// up brings lockd up and ends its grace period at once.
func (w *lockWorld) up(cur *kernel.Task) bool {
	if !w.started(cur, w.fail, 0) {
		return false
	}
	w.graceEnder(w.initLn)
	return true
}

// end takes lockd down and checks that nothing is left.
func (w *lockWorld) end(cur *kernel.Task) {
	w.LockdDown(cur, w.nets[0])
	w.clean(cur, "down")
}

// clean checks that nothing is left of a lockd that is down.
func (w *lockWorld) clean(cur *kernel.Task, when string) {
	if got := w.locks(); got != "" {
		w.fail("%s: locks are left: %s", when, got)
	}
	w.noBlocks(when)
	kernel.Msleep(cur, 20_000) // calls that nobody answers are over
	sunrpc.SvcauthUnixPurge(cur, w.rpc, w.nets[0])
	w.base = w.bare
	for _, o := range cur.Machine().LiveObjects() {
		if strings.HasPrefix(o.Name(), "unix_gid") { // stays as long as its namespace
			w.base++
		}
	}
	w.down(cur, w.fail, when)
}

// locks spells the locks of the file: "1W0-9 2R10-".
func (w *lockWorld) locks() string {
	var words []string
	for _, fl := range w.inode.Locks() {
		end := fmt.Sprint(fl.FlEnd)
		if fl.FlEnd == fs.OFFSET_MAX {
			end = ""
		}
		words = append(words, fmt.Sprintf("%d%c%d-%s", fl.FlPid, "RWU"[fl.FlType], fl.FlStart, end))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// noBlocks checks that nobody waits for a lock.
func (w *lockWorld) noBlocks(when string) {
	if n := len(w.NlmBlocked.Peek()); n != 0 {
		w.fail("%s: %d blocks are left", when, n)
	}
}

// want checks what is locked.
func (w *lockWorld) want(when, locks string) {
	if got := w.locks(); got != locks {
		w.fail("%s: locked is %q, want %q", when, got, locks)
	}
}

// peer is a client host: it locks, and answers what lockd calls it for. One task uses it at a time.
type peer struct {
	w       *lockWorld
	conn    *sock.Conn
	addr    sock.Addr
	xid     uint32
	answer  func(svid uint32) int // what is said to a GRANTED call; silent or mute in special
	grants  map[uint32]int        // GRANTED calls by svid
	replies map[uint32][]byte     // not asked for yet, by xid
	faulty  bool                  // lockd may fail; owner handles need memory of their own
}

// Special answers of a peer to a GRANTED call.
const (
	silent = -1 // the call is answered, but the lock manager says nothing
	mute   = -2 // nothing is
)

// newPeer makes the n-th client host.
func newPeer(cur *kernel.Task, w *lockWorld, n byte) *peer {
	p, err := listenPeer(cur, w, n)
	if err != 0 {
		w.fail("peer: %s", kernel.ErrName(err))
	}
	return p
}

// listenPeer is newPeer where that may fail: a peer or an error.
func listenPeer(cur *kernel.Task, w *lockWorld, n byte) (*peer, int) {
	addr := sock.Addr4(127, 0, 0, 1+n, peerPort)
	conn, err := sock.Listen(cur, w.nets[0], sock.IPPROTO_UDP, addr)
	if err != 0 {
		return nil, err
	}
	return &peer{
		w: w, conn: conn, addr: addr, xid: uint32(n) << 16,
		answer: func(uint32) int { return NLM_LCK_GRANTED }, grants: map[uint32]int{}, replies: map[uint32][]byte{},
	}, 0
}

func (p *peer) close() { p.conn.Close() }

// msg is a message that grows.
type msg []byte

func (x *msg) words(ws ...uint32) { *x = append(*x, words(ws...)...) }

func (x *msg) opaque(b []byte) {
	x.words(uint32(len(b)))
	*x = append(append(*x, b...), make([]byte, -len(b)&3)...)
}

// header begins a call with an AUTH_SYS credential.
func (p *peer) header(proc uint32) msg {
	var x msg
	p.xid++
	x.words(p.xid, sunrpc.RPC_CALL, sunrpc.RPC_VERSION, NLM_PROGRAM, 4, proc)
	var cred msg
	cred.words(0)
	cred.opaque([]byte("peer"))
	cred.words(0, 0, 0)
	x.words(sunrpc.RPC_AUTH_UNIX)
	x.opaque(cred)
	x.words(0, 0)
	return x
}

// alock is a lock on the wire: that of a process of the peer.
func (p *peer) alock(x *msg, svid uint32, start, length uint64) {
	x.opaque([]byte(p.addr.Host()))
	x.opaque(p.w.Fs.FhOf(p.w.inode))
	oh := fmt.Appendf(nil, "owner %d", svid)
	if p.faulty {
		oh = append(oh, make([]byte, NLMCLNT_OHSIZE)...)
	}
	x.opaque(oh)
	x.words(svid, uint32(start>>32), uint32(start), uint32(length>>32), uint32(length))
}

// send sends a call without waiting; the result is its xid.
func (p *peer) send(cur *kernel.Task, x msg) uint32 {
	p.conn.WriteTo(cur, x, sock.LoopbackAddr(sock.AF_INET, 4045))
	return binary.BigEndian.Uint32(x)
}

// pump handles what comes in until done or for a time in ms; true if done.
func (p *peer) pump(cur *kernel.Task, ms int, done func() bool) bool {
	end := cur.Machine().Jiffies() + kernel.Jiffies(ms)
	for !done() {
		buf := make([]byte, 4096)
		left := end - cur.Machine().Jiffies()
		if left <= 0 {
			return false
		}
		n, from := p.conn.ReadFrom(cur, buf, left)
		if n < 12 {
			continue
		}
		p.handle(cur, buf[:n], from)
	}
	return true
}

// handle takes a reply, or answers a call.
func (p *peer) handle(cur *kernel.Task, b []byte, from sock.Addr) {
	at := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	if at(4) == sunrpc.RPC_REPLY {
		p.replies[at(0)] = b
		return
	}
	reply := msg(words(at(0), sunrpc.RPC_REPLY, sunrpc.RPC_MSG_ACCEPTED, 0, 0, sunrpc.RPC_SUCCESS))
	args := argsAt(b)
	if at(12) == sunrpc.RPCBIND_PROGRAM {
		reply.words(peerPort)
		p.conn.WriteTo(cur, reply, from)
		return
	}
	if at(12) != NLM_PROGRAM || at(20) != NLMPROC_GRANTED_MSG {
		p.w.fail("peer is called: program %d procedure %d", at(12), at(20))
		return
	}
	ck := args + 4 + int(at(args)+3)&^3
	cookie := b[args+4 : args+4+int(at(args))]
	pos := ck + 4 // behind the cookie and the type
	for range 3 { // name, handle, owner
		pos += 4 + int(at(pos)+3)&^3
	}
	svid := at(pos)
	p.grants[svid]++
	ans := p.answer(svid)
	if ans == mute {
		return
	}
	p.conn.WriteTo(cur, reply, from)
	if ans != silent {
		x := p.header(NLMPROC_GRANTED_RES)
		x.opaque(cookie)
		x.words(uint32(ans))
		p.send(cur, x)
	}
}

// argsAt is where the arguments of a call begin, behind credential and verifier.
func argsAt(call []byte) int {
	pos := 24
	for range 2 {
		pos += 8 + int(binary.BigEndian.Uint32(call[pos+4:])+3)&^3
	}
	return pos
}

// await is pump for what has to happen. On the free back end the time is real and fast, and the machine may be slow: there
// it waits until the run's own watchdog ends it.
func (p *peer) await(cur *kernel.Task, ms int, done func() bool) bool {
	if cur.Machine().Sim() {
		return p.pump(cur, ms, done)
	}
	for !done() {
		p.pump(cur, 1000, done)
	}
	return true
}

// settled waits until lockd has nothing to look at any more, and checks that it has not.
func (p *peer) settled(cur *kernel.Task, ms int) {
	none := func() bool { return len(p.w.NlmBlocked.Peek()) == 0 }
	if cur.Machine().Sim() {
		p.pump(cur, ms, func() bool { return false })
	} else {
		p.await(cur, ms, func() bool { return p.pump(cur, 100, none) })
	}
	p.w.noBlocks("settled")
}

// status waits for the answer to a call and returns its status; -1 if there is none in time.
func (p *peer) status(cur *kernel.Task, xid uint32, ms int) int {
	if !p.await(cur, ms, func() bool { return p.replies[xid] != nil }) {
		return -1
	}
	b := p.replies[xid]
	delete(p.replies, xid)
	if len(b) < 28 || binary.BigEndian.Uint32(b[20:]) != sunrpc.RPC_SUCCESS {
		if !p.faulty {
			p.w.fail("reply: % x", b)
		}
		return -1
	}
	ck := 24 + 4 + int(binary.BigEndian.Uint32(b[24:])+3)&^3
	return int(binary.BigEndian.Uint32(b[ck:]))
}

// lockMsg is a LOCK call.
func (p *peer) lockMsg(svid uint32, typ uint8, start, length uint64, block, reclaim bool) msg {
	x := p.header(NLMPROC_LOCK)
	x.opaque([]byte{byte(svid), 1})
	x.words(word(block), word(typ == fs.F_WRLCK))
	p.alock(&x, svid, start, length)
	x.words(word(reclaim), 1)
	return x
}

// call makes a call and insists on an answer.
func (p *peer) call(cur *kernel.Task, x msg) int {
	st := p.status(cur, p.send(cur, x), 10_000)
	if st < 0 {
		p.w.fail("no answer to procedure %d", binary.BigEndian.Uint32(x[20:]))
	}
	return st
}

func (p *peer) lock(cur *kernel.Task, svid uint32, typ uint8, start, length uint64, block bool) int {
	return p.call(cur, p.lockMsg(svid, typ, start, length, block, false))
}

func (p *peer) unlockMsg(svid uint32, start, length uint64) msg {
	x := p.header(NLMPROC_UNLOCK)
	x.opaque([]byte{byte(svid), 2})
	p.alock(&x, svid, start, length)
	return x
}

func (p *peer) unlock(cur *kernel.Task, svid uint32, start, length uint64) int {
	return p.call(cur, p.unlockMsg(svid, start, length))
}

func (p *peer) cancelMsg(svid uint32, typ uint8, start, length uint64) msg {
	x := p.header(NLMPROC_CANCEL)
	x.opaque([]byte{byte(svid), 3})
	x.words(1, word(typ == fs.F_WRLCK))
	p.alock(&x, svid, start, length)
	return x
}

func (p *peer) test(cur *kernel.Task, svid uint32, typ uint8, start, length uint64) int {
	x := p.header(NLMPROC_TEST)
	x.opaque([]byte{byte(svid), 4})
	x.words(word(typ == fs.F_WRLCK))
	p.alock(&x, svid, start, length)
	return p.call(cur, x)
}

// granted waits until a process has had n GRANTED calls.
func (p *peer) granted(cur *kernel.Task, svid uint32, n, ms int) bool {
	return p.await(cur, ms, func() bool { return p.grants[svid] >= n })
}

// gets waits until a process has been granted its lock, as it must be.
func (p *peer) gets(cur *kernel.Task, svid uint32) {
	if !p.granted(cur, svid, 1, 5000) {
		p.w.fail("process %d is not granted its lock", svid)
	}
}

// expect compares the answer to a call.
func (p *peer) expect(what string, got, want int) {
	if got != want {
		p.w.fail("%s: status %d, want %d", what, got, want)
	}
}

// locking runs main n times on the sim back end, in which a run may take hours of its time, and a few times on the
// free one, with a lockd that is up and out of grace and that goes down without a trace when main is over.
func locking(t *testing.T, n int, main func(cur *kernel.Task, w *lockWorld)) {
	t.Helper()
	run := func(cur *kernel.Task, fail func(string, ...any)) {
		w := bootLocks(cur, fail)
		if w.up(cur) {
			main(cur, w)
			w.end(cur)
		}
	}
	choosertest.Simulate(t, n, kernel.Options{Detect: true}, run)
	opt := kernel.Options{Noise: 1 << 8, TimeScale: 200, Watchdog: 20_000}
	choosertest.Free(t, 1+min(n/60, 1), opt, run)
}

const (
	rd = fs.F_RDLCK
	wr = fs.F_WRLCK
)

// withPeer is locking with a client host.
func withPeer(t *testing.T, n int, main func(cur *kernel.Task, w *lockWorld, p *peer)) {
	t.Helper()
	locking(t, n, func(cur *kernel.Task, w *lockWorld) {
		p := newPeer(cur, w, 1)
		main(cur, w, p)
		p.close()
	})
}

// withPeers is locking with two client hosts.
func withPeers(t *testing.T, n int, main func(cur *kernel.Task, w *lockWorld, p, q *peer)) {
	t.Helper()
	withPeer(t, n, func(cur *kernel.Task, w *lockWorld, p *peer) {
		q := newPeer(cur, w, 2)
		main(cur, w, p, q)
		q.close()
	})
}

// contended is withPeer, with a process 1 that has the octets 0 to 9 to itself and a process 2 that waits for them.
func contended(t *testing.T, n int, main func(cur *kernel.Task, w *lockWorld, p *peer)) {
	t.Helper()
	withPeer(t, n, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("waits", p.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
		main(cur, w, p)
	})
}

// contendedByTwo is contended with the process 2 on a host of its own.
func contendedByTwo(t *testing.T, n int, main func(cur *kernel.Task, w *lockWorld, p, q *peer)) {
	t.Helper()
	withPeers(t, n, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		q.expect("waits", q.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
		main(cur, w, p, q)
	})
}

// TestLock is one client's life without waiting.
func TestLock(t *testing.T) {
	withPeer(t, 60, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("test of another", p.test(cur, 2, rd, 5, 1), NLM_LCK_DENIED)
		p.expect("test beside", p.test(cur, 2, wr, 10, 0), NLM_LCK_GRANTED)
		p.expect("lock of another", p.lock(cur, 2, rd, 5, 10, false), NLM_LCK_DENIED)
		p.expect("lock beside", p.lock(cur, 2, rd, 10, 0, false), NLM_LCK_GRANTED)
		w.want("two locks", "1W0-9 2R10-")
		p.expect("unlock in the middle", p.unlock(cur, 1, 3, 2), NLM_LCK_GRANTED)
		w.want("split", "1W0-2 1W5-9 2R10-")
		p.expect("unlock of nothing", p.unlock(cur, 3, 0, 0), NLM_LCK_GRANTED)
		p.expect("cancel of nothing", p.call(cur, p.cancelMsg(3, wr, 0, 10)), NLM_LCK_GRANTED)
		p.expect("unlock", p.unlock(cur, 2, 0, 0), NLM_LCK_GRANTED)
	})
}

// TestGrantOrder has three processes of two hosts wait for one range; each gives it back when it has it.
func TestGrantOrder(t *testing.T) {
	withPeers(t, 200, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("first", p.lock(cur, 2, wr, 0, 5, true), NLM_LCK_BLOCKED)
		q.expect("second", q.lock(cur, 3, wr, 2, 6, true), NLM_LCK_BLOCKED)
		p.expect("third", p.lock(cur, 4, wr, 4, 6, true), NLM_LCK_BLOCKED)
		p.expect("unlock 1", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		p.gets(cur, 2)
		if p.grants[4]+q.grants[3] != 0 {
			w.fail("granted out of turn: %v %v", p.grants, q.grants)
		}
		w.want("first", "2W0-4")
		p.expect("unlock 2", p.unlock(cur, 2, 0, 0), NLM_LCK_GRANTED)
		q.gets(cur, 3)
		w.want("second", "3W2-7")
		q.expect("unlock 3", q.unlock(cur, 3, 0, 0), NLM_LCK_GRANTED)
		p.gets(cur, 4)
		w.want("third", "4W4-9")
		p.settled(cur, 100)
	})
}

// local is a process of this host.
type local struct {
	w    *lockWorld
	filp *fs.File
}

func newLocal(cur *kernel.Task, w *lockWorld) *local {
	filp, err := w.Fs.Open(cur, w.inode, fs.FMODE_READ|fs.FMODE_WRITE)
	if err != 0 {
		w.fail("open: %s", kernel.ErrName(err))
	}
	return &local{w, filp}
}

// set locks or unlocks the whole file, waiting for it if need be.
func (l *local) set(cur *kernel.Task, typ uint8) {
	fl := fs.FileLock{FlOwner: l, FlPid: 9, FlType: typ, FlEnd: fs.OFFSET_MAX}
	if err := l.w.Fs.FcntlSetlk(cur, l.filp, fs.F_SETLKW, &fl); err != 0 {
		l.w.fail("local lock: %s", kernel.ErrName(err))
	}
}

func (l *local) close(cur *kernel.Task) { l.w.Fs.FilpClose(cur, l.filp, l) }

// dawdle performs n operations that do nothing.
func (w *lockWorld) dawdle(n int) {
	for range n {
		w.NlmsvcOps.Dereference()
	}
}

// dawdleUntil dawdles for n operations, or until seen. On the free back end nobody can see anything.
func (w *lockWorld) dawdleUntil(cur *kernel.Task, n int, seen func() bool) {
	for range n {
		w.dawdle(1)
		if cur.Machine().Sim() && seen() {
			return
		}
	}
}

// fileLocked tells whether lockd works on a lock.
//
//go:norace
func (w *lockWorld) fileLocked() bool {
	for _, file := range w.NlmFiles {
		if file != nil && file.FMutex.PeekOwner() != nil {
			return true
		}
	}
	return false
}

// retrying tells whether lockd has begun to try again to get what is waited for.
//
//go:norace
func (w *lockWorld) retrying() bool {
	blocks := w.NlmBlocked.Peek()
	return len(blocks) == 0 || blocks[0].BWhen == NLM_NEVER
}

// withLocal is withPeer, with a process of this host that has the whole file to itself at first. do is the client's
// part, while that process plays its own, play, from a task of its own; run counts. In the end the client has the octets
// 0 to 9.
func withLocal(t *testing.T, play func(cur *kernel.Task, w *lockWorld, l *local, run int),
	do func(cur *kernel.Task, w *lockWorld, p *peer, start func(), run int)) {
	t.Helper()
	run := 0
	withPeer(t, 400, func(cur *kernel.Task, w *lockWorld, p *peer) {
		run++
		l := newLocal(cur, w)
		l.set(cur, wr)
		var task *kernel.Task
		start := func() {
			task = cur.Machine().Spawn(cur, "local", func(cur *kernel.Task) { play(cur, w, l, run) })
		}
		do(cur, w, p, start, run)
		kernel.Join(cur, task)
		w.want("granted", "1W0-9")
		l.close(cur)
	})
}

// TestUnlockedByLocalProcess has a process of this host give the range back at any moment of the request that waits
// for it: the notice must not get lost.
func TestUnlockedByLocalProcess(t *testing.T) {
	withLocal(t, func(cur *kernel.Task, w *lockWorld, l *local, run int) {
		w.dawdleUntil(cur, 2000, w.fileLocked)
		w.dawdle(run % 40)
		l.set(cur, fs.F_UNLCK)
	}, func(cur *kernel.Task, w *lockWorld, p *peer, start func(), _ int) {
		start()
		switch st := p.lock(cur, 1, wr, 0, 10, true); st {
		case NLM_LCK_BLOCKED:
			p.gets(cur, 1)
		case NLM_LCK_GRANTED:
		default:
			w.fail("lock: status %d", st)
		}
	})
}

// TestLocalProcessComesAndGoes has a process of this host lock and unlock while a client waits for the range, and
// perhaps asks again for it: in the end the client has it.
func TestLocalProcessComesAndGoes(t *testing.T) {
	withLocal(t, func(cur *kernel.Task, w *lockWorld, l *local, run int) {
		for i := range 3 {
			l.set(cur, fs.F_UNLCK)
			w.dawdle(run >> (2 * i) % 8)
			fl := fs.FileLock{FlOwner: l, FlPid: 9, FlType: wr, FlEnd: fs.OFFSET_MAX}
			w.Fs.FcntlSetlk(cur, l.filp, fs.F_SETLK, &fl)
			w.dawdleUntil(cur, 300, w.retrying)
			w.dawdle(run * (i + 3) % 17)
		}
		l.set(cur, fs.F_UNLCK)
	}, func(cur *kernel.Task, w *lockWorld, p *peer, start func(), run int) {
		p.expect("waits", p.lock(cur, 1, wr, 0, 10, true), NLM_LCK_BLOCKED)
		start()
		if run%2 == 1 || p.call(cur, p.lockMsg(1, wr, 0, 10, true, false)) != NLM_LCK_GRANTED {
			p.gets(cur, 1)
		}
	})
}

// TestRetransmission asks twice for a lock that has to wait: there is one block, and one lock in the end.
func TestRetransmission(t *testing.T) {
	contended(t, 150, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("waits again", p.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
		if n := len(w.NlmBlocked.Peek()); n != 1 {
			w.fail("%d blocks", n)
		}
		p.expect("without waiting", p.lock(cur, 2, wr, 0, 10, false), NLM_LCK_DENIED)
		// The lock is given back and asked for in one go: be it by this answer or by a GRANTED call, it is there. A
		// client that has the answer does not wait any more and rejects the call.
		a := p.send(cur, p.unlockMsg(1, 0, 0))
		b := p.send(cur, p.lockMsg(2, wr, 0, 10, true, false))
		p.answer = func(uint32) int { return int(word(p.replies[b] != nil)) * NLM_LCK_DENIED }
		p.expect("unlock", p.status(cur, a, 10_000), NLM_LCK_GRANTED)
		p.pump(cur, 1000, func() bool { return p.replies[b] != nil && p.grants[2] > 0 })
		p.await(cur, 0, func() bool { return p.replies[b] != nil || p.grants[2] > 0 })
		if st := p.status(cur, b, 10_000); st != NLM_LCK_GRANTED && st != NLM_LCK_BLOCKED || p.grants[2] == 0 &&
			st == NLM_LCK_BLOCKED {
			w.fail("status %d and %d GRANTED calls", st, p.grants[2])
		}
		p.settled(cur, 100)
		w.want("granted", "2W0-9")
	})
}

// TestCancelCrossesGrant cancels while the range is given back: the client has the lock or has it not, as it is told.
func TestCancelCrossesGrant(t *testing.T) {
	contendedByTwo(t, 300, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		other := cur.Machine().Spawn(cur, "canceller", func(cur *kernel.Task) {
			st := q.call(cur, q.cancelMsg(2, wr, 0, 10))
			if st == NLM_LCK_DENIED { // it came too late: what has been granted has to be given back
				st = q.unlock(cur, 2, 0, 10)
			}
			q.expect("cancel", st, NLM_LCK_GRANTED)
		})
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		kernel.Join(cur, other)
		p.settled(cur, 50)
		w.want("cancelled", "")
	})
}

// TestUnlockOfUnansweredGrant unlocks what was granted, before the GRANTED call has been answered.
func TestUnlockOfUnansweredGrant(t *testing.T) {
	contended(t, 100, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.answer = func(uint32) int { return silent }
		p.expect("unlock 1", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		p.gets(cur, 2)
		p.expect("unlock 2", p.unlock(cur, 2, 0, 10), NLM_LCK_GRANTED)
		w.want("unlocked", "")
		if p.pump(cur, 200_000, func() bool { return p.grants[2] > 1 }) {
			w.fail("the call is made again for a lock that was given back")
		}
	})
}

// TestGrantDenied has the client reject what it is granted: it is free for the next one.
func TestGrantDenied(t *testing.T) {
	contended(t, 100, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.answer = func(svid uint32) int { return int(word(svid == 2)) * NLM_LCK_DENIED }
		p.expect("waits too", p.lock(cur, 3, wr, 0, 10, true), NLM_LCK_BLOCKED)
		p.expect("unlock 1", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		if !p.granted(cur, 3, 1, 10_000) {
			w.fail("the next one is not granted what the first rejected")
		}
		w.want("granted", "3W0-9")
	})
}

// TestGrantRepeated has the client's lock manager answer nothing, nothing, "in grace", and then yes: the call is made
// again each time, and the lock is held meanwhile.
func TestGrantRepeated(t *testing.T) {
	contended(t, 60, func(cur *kernel.Task, w *lockWorld, p *peer) {
		answers := []int{mute, silent, NLM_LCK_DENIED_GRACE_PERIOD, NLM_LCK_GRANTED}
		p.answer = func(svid uint32) int { return answers[min(p.grants[svid], len(answers))-1] }
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		if !p.granted(cur, 2, 4, 400_000) {
			w.fail("%d GRANTED calls", p.grants[2])
		}
		w.want("granted", "2W0-9")
		p.settled(cur, 1000)
	})
}

// TestClientVanishes takes lockd down while it calls a client that is not there any more, and one that waits.
func TestClientVanishes(t *testing.T) {
	locking(t, 100, func(cur *kernel.Task, w *lockWorld) {
		p, q := newPeer(cur, w, 1), newPeer(cur, w, 2)
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		q.expect("waits", q.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
		q.expect("waits too", q.lock(cur, 3, wr, 0, 10, true), NLM_LCK_BLOCKED)
		q.close()
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		p.close()
	})
}

// TestDeadlock closes a circle of two processes.
func TestDeadlock(t *testing.T) {
	withPeer(t, 60, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("1 locks", p.lock(cur, 1, wr, 0, 1, false), NLM_LCK_GRANTED)
		p.expect("2 locks", p.lock(cur, 2, wr, 1, 1, false), NLM_LCK_GRANTED)
		p.expect("1 waits for 2", p.lock(cur, 1, wr, 1, 1, true), NLM_LCK_BLOCKED)
		p.expect("2 waits for 1", p.lock(cur, 2, wr, 0, 1, true), NLM_DEADLCK)
		p.expect("1 gives up", p.call(cur, p.cancelMsg(1, wr, 1, 1)), NLM_LCK_GRANTED)
		p.expect("2 waits for 1", p.lock(cur, 2, wr, 0, 1, true), NLM_LCK_BLOCKED)
	})
}

// until waits for a state that lockd has to reach in ms; on the free back end for as long as it takes.
func (w *lockWorld) until(cur *kernel.Task, ms int, what string, done func() bool) {
	for i := 0; !done(); i += 1000 {
		if i >= ms && cur.Machine().Sim() {
			w.fail("%s: not within %d ms", what, ms)
			return
		}
		kernel.Msleep(cur, 1000)
	}
}

// TestGraceRules looks at every procedure in grace and out of it. The grace that the procedures see is another lock
// manager's, which lasts as long as the test needs it; lockd's own is seen to end.
func TestGraceRules(t *testing.T) {
	withPeer(t, 30, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("reclaim too late", p.call(cur, p.lockMsg(1, wr, 0, 1, false, true)), NLM_LCK_DENIED_GRACE_PERIOD)
		var other LockManager
		other.List.Init(&other)
		w.setGracePeriod(cur, w.initLn)
		w.Grace.LocksStartGrace(w.initLn.GraceNet, &other)
		const grace = NLM_LCK_DENIED_GRACE_PERIOD
		p.expect("lock", p.lock(cur, 1, wr, 0, 1, false), grace)
		p.expect("test", p.test(cur, 1, wr, 0, 1), grace)
		p.expect("unlock", p.unlock(cur, 1, 0, 1), grace)
		p.expect("cancel", p.call(cur, p.cancelMsg(1, wr, 0, 1)), grace)
		w.want("in grace", "")
		p.expect("reclaim", p.call(cur, p.lockMsg(1, wr, 0, 1, false, true)), NLM_LCK_GRANTED)
		w.want("reclaimed", "1W0-0")
		w.Grace.LocksEndGrace(w.initLn.GraceNet, &other)
		w.until(cur, 51_000, "end of grace", func() bool { return !w.Grace.LocksInGrace(w.initLn.GraceNet) })
		p.expect("lock out of grace", p.lock(cur, 2, wr, 0, 1, false), NLM_LCK_DENIED)
	})
}

// TestSignalDropsLocks sends lockd a SIGKILL: all locks go, grace begins, and the client reclaims.
func TestSignalDropsLocks(t *testing.T) {
	contended(t, 60, func(cur *kernel.Task, w *lockWorld, p *peer) {
		kernel.SendSig(kernel.SIGKILL, w.NlmsvcTask)
		w.until(cur, 1000, "the locks go", func() bool { return w.locks() == "" && len(w.NlmBlocked.Peek()) == 0 })
		// A slow free run may see the grace only when it is over: another lock manager keeps it up.
		if cur.Machine().Sim() {
			w.until(cur, 1000, "grace", func() bool { return w.Grace.LocksInGrace(w.initLn.GraceNet) })
		}
		var other LockManager
		other.List.Init(&other)
		w.Grace.LocksStartGrace(w.initLn.GraceNet, &other)
		p.expect("lock", p.lock(cur, 2, wr, 0, 10, false), NLM_LCK_DENIED_GRACE_PERIOD)
		p.expect("reclaim", p.call(cur, p.lockMsg(1, wr, 0, 10, false, true)), NLM_LCK_GRANTED)
		w.Grace.LocksEndGrace(w.initLn.GraceNet, &other)
	})
}

// asyncLocking is locking with a file system that answers after delay ms.
func asyncLocking(t *testing.T, n int, delay kernel.Jiffies, main func(cur *kernel.Task, w *lockWorld, p *peer)) {
	t.Helper()
	withPeer(t, n, func(cur *kernel.Task, w *lockWorld, p *peer) {
		w.Fs.SetAsync(w.inode, delay)
		main(cur, w, p)
	})
}

// TestAsyncLock has requests that will not wait be put aside until the file system answers: granted and denied.
func TestAsyncLock(t *testing.T) {
	asyncLocking(t, 150, 5, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		w.want("granted", "1W0-9")
		p.expect("lock of another", p.lock(cur, 2, wr, 0, 10, false), NLM_LCK_DENIED)
		w.Fs.SetAsyncAnswer(w.inode, -kernel.ENOLCK)
		p.expect("lock that fails", p.lock(cur, 3, wr, 20, 10, false), NLM_LCK_DENIED)
		w.Fs.SetAsyncAnswer(w.inode, 0)
		p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		w.want("unlocked", "")
		w.noBlocks("unlocked")
	})
}

// TestAsyncAtOnce has the answer race with the putting aside.
func TestAsyncAtOnce(t *testing.T) {
	asyncLocking(t, 400, 0, func(cur *kernel.Task, w *lockWorld, p *peer) {
		before := cur.Machine().Jiffies()
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		w.want("granted", "1W0-9")
		p.expect("lock of another", p.lock(cur, 2, wr, 0, 10, false), NLM_LCK_DENIED)
		if cur.Machine().Sim() && cur.Machine().Jiffies()-before > kernel.HZ {
			w.fail("an answer that was there took %d ms", cur.Machine().Jiffies()-before)
		}
		p.expect("waits", p.lock(cur, 3, wr, 0, 10, true), NLM_LCK_BLOCKED)
		p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		p.gets(cur, 3)
		w.want("granted", "3W0-9")
	})
}

// answered waits until the file system has nothing to answer any more, and has taken back what nobody wants.
func (p *peer) answered(cur *kernel.Task) {
	asked := func(o *kernel.Obj) bool { return strings.HasPrefix(o.Name(), "plock_op") }
	p.await(cur, 20_000, func() bool { return !slices.ContainsFunc(cur.Machine().LiveObjects(), asked) })
	p.pump(cur, 100, func() bool { return false })
}

// TestAsyncTimeout has the file system answer after NLM_TIMEOUT: the client has been told no, and must not get the
// lock.
func TestAsyncTimeout(t *testing.T) {
	asyncLocking(t, 60, 9000, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("lock", p.status(cur, p.send(cur, p.lockMsg(1, wr, 0, 10, false, false)), 20_000), NLM_LCK_DENIED)
		p.answered(cur)
		w.want("too late", "")
	})
}

// TestAsyncCancel cancels and unlocks while the file system thinks.
func TestAsyncCancel(t *testing.T) {
	asyncLocking(t, 200, 3, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("waits", p.lock(cur, 1, wr, 0, 10, true), NLM_LCK_BLOCKED)
		p.expect("asks again", p.lock(cur, 1, wr, 0, 10, true), NLM_LCK_BLOCKED)
		if n := w.Fs.AsyncPending(w.inode); n > 1 {
			w.fail("the file system is asked %d times", n)
		}
		if st := p.call(cur, p.cancelMsg(1, wr, 0, 10)); st == NLM_LCK_DENIED || p.grants[1] > 0 {
			p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		}
		p.answered(cur)
		w.want("cancelled", "")
		first := p.send(cur, p.lockMsg(2, wr, 0, 10, false, false))
		p.expect("unlock", p.unlock(cur, 2, 0, 10), NLM_LCK_GRANTED)
		p.pump(cur, 10_000, func() bool { return p.replies[first] != nil }) // what was given up need not be answered
		p.answered(cur)
		p.expect("unlock", p.unlock(cur, 2, 0, 10), NLM_LCK_GRANTED)
		p.answered(cur)
		w.want("unlocked", "")
		w.noBlocks("unlocked")
	})
}

// TestAsyncStop takes lockd down with a request put aside and one that waits.
func TestAsyncStop(t *testing.T) {
	asyncLocking(t, 200, 50, func(cur *kernel.Task, w *lockWorld, p *peer) {
		p.expect("waits", p.lock(cur, 1, wr, 0, 10, true), NLM_LCK_BLOCKED)
		p.send(cur, p.lockMsg(2, wr, 20, 10, false, false))
		kernel.Msleep(cur, 10)
	})
}

// TestLockFailures makes every fallible step fail in turn, from the first request on: whatever the client is told,
// nothing is left in the end, and what it is granted it has.
func TestLockFailures(t *testing.T) {
	failed := map[string]bool{}
	for _, async := range []bool{false, true} {
		for r := range choosertest.Failing(t, func(cur *kernel.Task, fail func(string, ...any)) {
			lockFailure(cur, async, fail)
		}) {
			failed[r.Failed] = true
		}
	}
	choosertest.Seen(t, failed, "nlm_file", "nlm_block", "nlm_rqst", "file_lock", "file", "rpc_task", "rpc_clnt",
		"plock_op", "svc_deferred_req", "nlm_owner_handle")
}

// lockFailure is one run of TestLockFailures.
func lockFailure(cur *kernel.Task, async bool, fail func(string, ...any)) {
	w := bootLocks(cur, fail)
	if w == nil {
		return
	}
	w.unregisters = false
	if async {
		w.Fs.SetAsync(w.inode, 5)
	}
	if w.LockdUp(cur, w.nets[0]) != 0 {
		return
	}
	w.graceEnder(w.initLn)
	if p, err := listenPeer(cur, w, 1); err == 0 {
		p.faulty = true
		try := func(x msg) int { return p.status(cur, p.send(cur, x), 20_000) }
		got := try(p.lockMsg(1, wr, 0, 10, false, false)) == NLM_LCK_GRANTED
		blocked := try(p.lockMsg(2, wr, 0, 10, true, false)) == NLM_LCK_BLOCKED
		if got && !strings.Contains(w.locks(), "1W0-9") {
			fail("granted, and not there: %s", w.locks())
		}
		for i := 0; got && try(p.unlockMsg(1, 0, 0)) != NLM_LCK_GRANTED; i++ {
			if i > 1 {
				fail("cannot unlock")
				break
			}
		}
		if got && blocked && !p.granted(cur, 2, 1, 100_000) {
			fail("not granted")
		}
		p.pump(cur, 30_000, func() bool { return false })
		p.close()
	}
	w.end(cur)
}
