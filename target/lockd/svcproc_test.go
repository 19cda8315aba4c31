// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// client speaks one version to a server.
type client struct {
	*lockWorld
	wire
	conn *sock.Conn
	tcp  bool
	xid  uint32
	name string
	wait kernel.Jiffies // for an answer
}

// patience is how long an answer that must come may take: it must not depend on how busy the machine is, whose time
// passes faster than real time on the free back end.
const patience = 1000 * kernel.HZ

// connect makes a client that sits at an address, any if it is zero.
func (w *lockWorld) connect(cur *kernel.Task, speaks wire, protocol int, from sock.Addr) *client {
	family := sock.AF_INET
	if from.Family != 0 {
		family = from.Family
	}
	conn, err := sock.DialFrom(cur, w.nets[0], protocol, from, sock.LoopbackAddr(family, 4045))
	if err != 0 {
		w.fail("dial: %s", kernel.ErrName(err))
	}
	return &client{lockWorld: w, wire: speaks, conn: conn, tcp: protocol == sock.IPPROTO_TCP, xid: 100, name: "client",
		wait: patience}
}

// send makes a call with AUTH_NULL and returns the accept status and the results; ^0 if nothing comes.
func (c *client) send(cur *kernel.Task, proc uint32, args []byte) (uint32, []byte) {
	c.xid++
	msg := append(call(c.xid, NLM_PROGRAM, c.vers, proc), args...)
	if c.tcp {
		msg = append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(msg))), msg...)
	}
	c.conn.Write(cur, msg)
	buf := make([]byte, 9000)
	n := 0
	for {
		got := c.conn.Read(cur, buf[n:], c.wait)
		if got <= 0 {
			return ^uint32(0), nil
		}
		n += got
		if !c.tcp || n >= 4 && n >= 4+int(binary.BigEndian.Uint32(buf)&^(1<<31)) {
			break
		}
	}
	reply := buf[:n]
	if c.tcp {
		reply = reply[4:]
	}
	head := words(c.xid, sunrpc.RPC_REPLY, sunrpc.RPC_MSG_ACCEPTED, 0, 0)
	if len(reply) < len(head)+4 || string(reply[:len(head)]) != head {
		c.fail("version %d procedure %d: reply % x", c.vers, proc, reply)
		return ^uint32(0), nil
	}
	return binary.BigEndian.Uint32(reply[len(head):]), reply[len(head)+4:]
}

// call makes a call that must be accepted.
func (c *client) call(cur *kernel.Task, proc uint32, args []byte) []byte {
	stat, body := c.send(cur, proc, args)
	if stat != sunrpc.RPC_SUCCESS {
		c.fail("version %d procedure %d: accept status %#x", c.vers, proc, int32(stat))
	}
	return body
}

// status makes a call that answers with a status behind the cookie.
func (c *client) status(cur *kernel.Task, proc uint32, args []byte) uint32 {
	body := c.call(cur, proc, args)
	if len(body) < 12 || string(body[:8]) != string(xdr{}.bytes("cook")) {
		c.fail("version %d procedure %d: results % x", c.vers, proc, body)
		return ^uint32(0)
	}
	return binary.BigEndian.Uint32(body[8:])
}

// fh is the handle of the file as the version has it.
func (c *client) fh(inode *fs.Inode) []byte { return c.Fs.FhOf(inode) }

// ask is a lock request: who, which procedure, of which file and range.
type ask struct {
	proc     uint32
	svid     uint32
	start, n uint64
	shared   bool
	block    bool
	reclaim  bool
	fh       []byte // nil: of the file
}

func word(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func (c *client) args(a ask) xdr {
	fh := a.fh
	if fh == nil {
		fh = c.fh(c.inode)
	}
	lock := c.lockOf(c.name, fh, fmt.Sprint("owner", a.svid), a.svid, a.start, a.n)
	x := xdr{}.bytes("cook")
	switch a.proc {
	case NLMPROC_TEST, NLMPROC_GRANTED, NLMPROC_TEST_MSG, NLMPROC_GRANTED_MSG:
		return append(x.words(word(!a.shared)), lock...)
	case NLMPROC_LOCK, NLMPROC_LOCK_MSG, NLMPROC_NM_LOCK:
		return append(x.words(word(a.block), word(!a.shared)), lock...).words(word(a.reclaim), 0)
	case NLMPROC_CANCEL, NLMPROC_CANCEL_MSG:
		return append(x.words(word(a.block), word(!a.shared)), lock...)
	}
	return append(x, lock...)
}

// do makes a lock request.
func (c *client) do(cur *kernel.Task, a ask, want uint32) {
	if got := c.status(cur, a.proc, c.args(a)); got != want {
		c.fail("version %d %+v: status %d, want %d", c.vers, a, got, want)
	}
}

// old is what versions 1 and 3 say where version 4 has a status of its own.
func (c *client) old(status uint32) uint32 {
	if c.vers != 4 {
		return NLM_LCK_DENIED_NOLOCKS
	}
	return status
}

// transports runs a conversation over UDP and TCP, in every version.
func transports(cur *kernel.Task, w *lockWorld, talk func(c *client)) {
	for _, protocol := range []int{sock.IPPROTO_UDP, sock.IPPROTO_TCP} {
		for _, speaks := range wires {
			c := w.connect(cur, speaks, protocol, sock.Addr{})
			talk(c)
			c.conn.Close()
		}
	}
}

// TestLocking has two processes of a client test, lock, wait, cancel and unlock.
func TestLocking(t *testing.T) {
	locking(t, 6, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 2, start: 9, n: 1, shared: true}, NLM_LCK_DENIED)
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 2, start: 10, n: 1}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 0}, NLM_LCK_DENIED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 5, block: true}, NLM_LCK_BLOCKED)
			c.do(cur, ask{proc: NLMPROC_CANCEL, svid: 2, n: 5, block: true}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_CANCEL, svid: 2, n: 5, block: true}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10, shared: true}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 10, shared: true}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 10}, NLM_LCK_DENIED)
			c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 1, n: 0}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 2, n: 0}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10, reclaim: true}, NLM_LCK_DENIED_GRACE_PERIOD)
			if n := len(s.inode.PeekLocks()); n != 0 {
				s.fail("version %d: %d locks are left", c.vers, n)
			}
		})
	})
}

// TestHolder looks at what TEST says of the lock in the way, up to the highest offsets of each version: who has it is
// the process of this host that got it, which for a client's lock is lockd.
func TestHolder(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			top := uint64(fs.OFFSET_MAX)
			if c.vers != 4 {
				top = nlmOffsetMax
			}
			test := func(shared bool, of *kernel.Task, r [2]uint64) {
				body := c.call(cur, NLMPROC_TEST, c.args(ask{proc: NLMPROC_TEST, svid: 2}))
				want := xdr{}.bytes("cook").words(NLM_LCK_DENIED, word(!shared), of.Pid()).bytes("")
				if want = c.rangeOf(want, r[0], r[1]); !bytes.Equal(body, want) {
					s.fail("version %d, %v: % x, want % x", c.vers, r, body, want)
				}
			}
			for _, r := range [][2]uint64{{5, 10}, {5, 0}, {0, 0}, {top, 0}, {0, 1}} {
				for _, shared := range []bool{false, true} {
					c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, start: r[0], n: r[1], shared: shared}, NLM_LCK_GRANTED)
					test(shared, s.NlmsvcTask, r)
					c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 1}, NLM_LCK_GRANTED)
				}
			}
			filp, err := s.Fs.Open(cur, s.inode, fs.FMODE_READ)
			if err != 0 {
				s.fail("open: %s", kernel.ErrName(err))
			}
			s.Fs.FcntlSetlk(cur, filp, fs.F_SETLK, &fs.FileLock{FlOwner: cur, FlType: fs.F_RDLCK, FlStart: 3, FlEnd: 7})
			test(true, cur, [2]uint64{3, 5})
			s.Fs.FilpClose(cur, filp, cur)
		})
	})
}

// TestRangeOverflow: version 4 refuses what leaves the offsets of a file, in every procedure that has a range;
// versions 1 and 3 take it as far as it goes. No range keeps lockd from stopping.
func TestRangeOverflow(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			const top = 1<<63 - 1
			for _, r := range []struct {
				start, n uint64
				ok       bool
			}{
				{1 << 63, 0, false}, {1<<64 - 1, 100, false}, {1<<64 - 1, 0, false}, {top, 2, false}, {1, top + 1, false},
				{0, 1<<64 - 1, false}, {top - 1, 3, false}, {top, 1, true}, {top, 0, true}, {0, 1 << 63, true},
				{1, top, true}, {top - 1, 2, true},
			} {
				want := uint32(NLM_FBIG)
				if r.ok || c.vers != 4 {
					want = NLM_LCK_GRANTED
				}
				for _, proc := range []uint32{NLMPROC_TEST, NLMPROC_LOCK, NLMPROC_CANCEL, NLMPROC_UNLOCK} {
					c.do(cur, ask{proc: proc, svid: 1, start: r.start, n: r.n, shared: true}, want)
				}
			}
			c.name = fmt.Sprint("client", c.vers, c.tcp)
			for _, start := range []uint64{1 << 31, 1<<32 - 1, 5} {
				for _, n := range []uint64{0, 1, 1 << 31, 1<<32 - 1} {
					c.do(cur, ask{proc: NLMPROC_LOCK, svid: 3, start: start, n: n, shared: true}, NLM_LCK_GRANTED)
				}
			}
		})
	})
}

// TestHandles: what each version says to a handle that is no regular file's.
func TestHandles(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		gone := s.Fs.Create("gone", false, 8)
		stale := s.Fs.FhOf(gone)
		s.Fs.Remove(gone)
		dir := s.Fs.FhOf(s.Fs.Create("dir", true, 9))
		transports(cur, s, func(c *client) {
			for _, proc := range []uint32{NLMPROC_TEST, NLMPROC_LOCK, NLMPROC_CANCEL, NLMPROC_UNLOCK} {
				c.do(cur, ask{proc: proc, svid: 1, fh: stale}, c.old(NLM_STALE_FH))
				c.do(cur, ask{proc: proc, svid: 1, fh: dir}, c.old(NLM_FAILED))
				c.do(cur, ask{proc: proc, svid: 1, fh: bytes.Repeat([]byte{0xff}, 20)}, c.old(NLM_FAILED))
				c.do(cur, ask{proc: proc, svid: 1, fh: []byte{}}, c.old(NLM_FAILED))
			}
		})
	})
}

// TestVoid: the procedures without results, and those that are none.
func TestVoid(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			void := []uint32{NLMPROC_NULL, NLMPROC_TEST_RES, NLMPROC_LOCK_RES, NLMPROC_CANCEL_RES, NLMPROC_UNLOCK_RES}
			missing := []uint32{24, 25, 1 << 31, 1<<32 - 1}
			if c.vers == 1 {
				missing = append(missing, 17, 18, 19, NLMPROC_SHARE, NLMPROC_UNSHARE, NLMPROC_NM_LOCK, NLMPROC_FREE_ALL)
			} else {
				void = append(void, 17, 18, 19)
			}
			for _, proc := range void {
				if stat, body := c.send(cur, proc, []byte("whatever")); stat != sunrpc.RPC_SUCCESS || len(body) != 0 {
					s.fail("version %d procedure %d: %d % x", c.vers, proc, stat, body)
				}
			}
			if stat, body := c.send(cur, NLMPROC_GRANTED_RES, c.argsOf(NLMPROC_GRANTED_RES)); stat != 0 || len(body) != 0 {
				s.fail("version %d GRANTED_RES: %d % x", c.vers, stat, body)
			}
			for _, proc := range missing {
				if stat, body := c.send(cur, proc, nil); stat != sunrpc.RPC_PROC_UNAVAIL || len(body) != 0 {
					s.fail("version %d procedure %d: %d % x", c.vers, proc, stat, body)
				}
			}
			for proc := uint32(0); proc <= NLMPROC_FREE_ALL; proc++ {
				args := c.argsOf(proc)
				if len(args) == 0 || c.vers == 1 && proc > NLMPROC_NSM_NOTIFY {
					continue
				}
				if stat, body := c.send(cur, proc, args[:len(args)-4]); stat != sunrpc.RPC_GARBAGE_ARGS || len(body) != 0 {
					s.fail("version %d procedure %d cut short: %d % x", c.vers, proc, stat, body)
				}
			}
		})
	})
}

// TestUnmonitored: NM_LOCK locks, FREE_ALL frees the locks and shares of the caller that it names and of no other.
func TestUnmonitored(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			if c.vers == 1 {
				return
			}
			free := func() {
				if body := c.call(cur, NLMPROC_FREE_ALL, xdr{}.bytes(c.name).words(0)); len(body) != 0 {
					s.fail("FREE_ALL: % x", body)
				}
			}
			c.do(cur, ask{proc: NLMPROC_NM_LOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, start: 20, n: 10}, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "o", 1, 1, NLM_LCK_GRANTED)
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 2}, NLM_LCK_DENIED)
			c.share(cur, NLMPROC_SHARE, "p", 1, 1, NLM_LCK_DENIED)
			free()
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 2}, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "p", 1, 1, NLM_LCK_GRANTED)
			free()
			if n := len(s.inode.PeekLocks()); n != 0 {
				s.fail("version %d: %d locks are left", c.vers, n)
			}
		})
	})
}

// share makes a share request.
func (c *client) share(cur *kernel.Task, proc uint32, owner string, mode, access, want uint32) {
	fh := c.fh(c.inode)
	if c.vers != 4 {
		fh = append(append([]byte{}, fh...), make([]byte, NFS2_FHSIZE-len(fh))...)
	}
	args := xdr{}.bytes("cook").bytes(c.name).opaque(uint32(len(fh)), fh).bytes(owner).words(mode, access, 0)
	body := c.call(cur, proc, args)
	if exp := (xdr{}).bytes("cook").words(want, 0); !bytes.Equal(body, exp) {
		c.fail("version %d procedure %d %s mode %d access %d: % x, want % x", c.vers, proc, owner, mode, access, body, exp)
	}
}

// TestShares is the whole table of shares: a second owner is let in if neither denies what the other does.
func TestShares(t *testing.T) {
	locking(t, 2, func(cur *kernel.Task, s *lockWorld) {
		transports(cur, s, func(c *client) {
			if c.vers == 1 {
				return
			}
			table := uint32(256)
			if c.tcp || c.vers != 4 {
				table = 0 // once is enough
			}
			for i := range table {
				mode, access, mode2, access2 := i&3, i>>2&3, i>>4&3, i>>6&3
				want := uint32(NLM_LCK_GRANTED)
				if access2&mode != 0 || mode2&access != 0 {
					want = NLM_LCK_DENIED
				}
				c.share(cur, NLMPROC_SHARE, "a", mode, access, NLM_LCK_GRANTED)
				c.share(cur, NLMPROC_SHARE, "b", mode2, access2, want)
				c.share(cur, NLMPROC_UNSHARE, "b", mode2, access2, NLM_LCK_GRANTED)
				c.share(cur, NLMPROC_UNSHARE, "a", 0, 0, NLM_LCK_GRANTED)
			}
			// An owner changes its own share; nothing is unshared with success; owners differ by every octet.
			c.share(cur, NLMPROC_SHARE, "", 3, 3, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "\x00", 0, 3, NLM_LCK_DENIED)
			c.share(cur, NLMPROC_SHARE, "", 0, 3, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "\x00", 0, 3, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_UNSHARE, "\x00\x00", 0, 0, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "x", 1, 0, NLM_LCK_DENIED)
			c.share(cur, NLMPROC_UNSHARE, "", 0, 0, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_UNSHARE, "\x00", 0, 0, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_SHARE, "x", 99, 99, NLM_LCK_GRANTED)
			c.share(cur, NLMPROC_UNSHARE, "x", 0, 0, NLM_LCK_GRANTED)
		})
		// What is left at the end goes with lockd.
		c := s.connect(cur, wires[2], sock.IPPROTO_UDP, sock.Addr{})
		c.share(cur, NLMPROC_SHARE, "a", 1, 1, NLM_LCK_GRANTED)
		c.share(cur, NLMPROC_SHARE, "b", 0, 2, NLM_LCK_GRANTED)
		c.conn.Close()
	})
}

// TestProceduresInGrace: in grace, reclaims of locks alone are served; what has nothing to do with locks goes on.
func TestProceduresInGrace(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		ln := s.LockdNet(s.nets[0])
		s.Grace.LocksStartGrace(ln.GraceNet, &ln.LockdManager)
		transports(cur, s, func(c *client) {
			for _, proc := range []uint32{NLMPROC_TEST, NLMPROC_LOCK, NLMPROC_CANCEL, NLMPROC_UNLOCK} {
				c.do(cur, ask{proc: proc, svid: 1, n: 10}, NLM_LCK_DENIED_GRACE_PERIOD)
			}
			locks := len(s.inode.PeekLocks())
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10, shared: true, reclaim: true}, NLM_LCK_GRANTED)
			if n := len(s.inode.PeekLocks()); n != locks+1 {
				s.fail("version %d: %d locks behind a reclaim, %d before", c.vers, n, locks)
			}
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10, shared: true}, NLM_LCK_DENIED_GRACE_PERIOD)
			c.do(cur, ask{proc: NLMPROC_GRANTED, svid: 1, n: 10}, NLM_LCK_DENIED)
			if c.vers == 1 {
				return
			}
			c.share(cur, NLMPROC_SHARE, "a", 0, 0, NLM_LCK_DENIED_GRACE_PERIOD)
			c.share(cur, NLMPROC_UNSHARE, "a", 0, 0, NLM_LCK_DENIED_GRACE_PERIOD)
			c.do(cur, ask{proc: NLMPROC_NM_LOCK, svid: 1, start: 20, n: 10}, NLM_LCK_DENIED_GRACE_PERIOD)
			c.call(cur, NLMPROC_FREE_ALL, xdr{}.bytes(c.name).words(0))
			if n := len(s.inode.PeekLocks()); n != locks {
				s.fail("version %d: %d locks behind FREE_ALL, %d before", c.vers, n, locks)
			}
		})
	})
}

// TestWithoutNfsd: there is no file system to lock in.
func TestWithoutNfsd(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		s.NlmsvcOps.Assign(nil)
		transports(cur, s, func(c *client) {
			for _, proc := range []uint32{NLMPROC_TEST, NLMPROC_LOCK, NLMPROC_CANCEL, NLMPROC_UNLOCK} {
				c.do(cur, ask{proc: proc, svid: 1, start: 1 << 63}, NLM_LCK_DENIED_NOLOCKS)
			}
			c.call(cur, NLMPROC_GRANTED_RES, c.argsOf(NLMPROC_GRANTED_RES))
			if c.vers != 1 {
				c.share(cur, NLMPROC_SHARE, "a", 0, 0, NLM_LCK_DENIED_NOLOCKS)
				c.call(cur, NLMPROC_FREE_ALL, xdr{}.bytes(c.name).words(0))
			}
		})
	})
}

// TestSmNotify: only a privileged port of the loopback interface may say that a host rebooted.
func TestSmNotify(t *testing.T) {
	other := sock.Addr4(192, 0, 2, 7, 700)
	other6 := sock.LoopbackAddr(sock.AF_INET6, 700)
	other6.IP[0] = 0x20
	mapped := sock.LoopbackAddr(sock.AF_INET6, 700)
	mapped.IP = [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	type source struct {
		from sock.Addr
		ok   bool
	}
	for _, x := range []source{
		{sock.LoopbackAddr(sock.AF_INET, 700), true},
		{sock.LoopbackAddr(sock.AF_INET, 1023), true},
		{sock.LoopbackAddr(sock.AF_INET, 1024), false},
		{sock.Addr4(127, 9, 9, 9, 700), true},
		{other, false},
		{sock.LoopbackAddr(sock.AF_INET6, 700), true},
		{sock.LoopbackAddr(sock.AF_INET6, 1024), false},
		{other6, false},
		{mapped, true},
		{sock.Addr{}, false},
	} {
		rqstp := &sunrpc.SvcRqst{RqAddr: x.from}
		if got := nlmPrivilegedRequester(rqstp); got != x.ok {
			t.Errorf("%v is privileged: %t", x.from, got)
		}
	}

	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		for _, w := range wires {
			for _, port := range []uint16{700, 5000} {
				want := uint32(sunrpc.RPC_SUCCESS)
				if port == 5000 {
					want = sunrpc.RPC_SYSTEM_ERR
				}
				c := s.connect(cur, w, sock.IPPROTO_UDP, sock.LoopbackAddr(sock.AF_INET, port))
				c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
				notify := func(priv NsmPrivate) {
					args := append(xdr{}.bytes(c.name).words(99), priv[:]...)
					if stat, body := c.send(cur, NLMPROC_NSM_NOTIFY, args); stat != want || len(body) != 0 {
						s.fail("version %d port %d: %d % x", w.vers, port, stat, body)
					}
				}
				locks := func(when string, want int) {
					if n := len(s.inode.PeekLocks()); n != want {
						s.fail("version %d port %d, %s: %d locks", w.vers, port, when, n)
					}
				}
				notify(NsmPrivate{1, 2, 3})
				locks("wrong cookie", 1)
				notify(s.privOf())
				if want != sunrpc.RPC_SUCCESS {
					locks("right cookie, wrong port", 1)
					c.do(cur, ask{proc: NLMPROC_UNLOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
				}
				locks("right cookie", 0)
				c.conn.Close()
			}
		}
	})
}

// privOf is the cookie under which the one client is monitored.
func (w *lockWorld) privOf() NsmPrivate {
	w.NsmLock.Lock()
	defer w.NsmLock.Unlock()
	if len(w.NsmHandles) != 1 {
		w.fail("%d hosts are monitored", len(w.NsmHandles))
		return NsmPrivate{}
	}
	return w.NsmHandles[0].SmPriv
}

// mailbox is a client host that is called back: its portmapper and its lock manager are on one port.
type mailbox struct {
	*lockWorld
	wire
	conn *sock.Conn
	xid  uint32
}

// post makes a call and returns what comes: the body of the reply, and the procedure and arguments of the call that
// lockd makes, whichever is first.
func (m *mailbox) post(cur *kernel.Task, proc uint32, args []byte) (reply []byte, back uint32, backArgs []byte) {
	m.xid++
	m.conn.WriteTo(cur, append(call(m.xid, NLM_PROGRAM, m.vers, proc), args...), sock.LoopbackAddr(sock.AF_INET, 4045))
	buf := make([]byte, 4096)
	for reply == nil || backArgs == nil {
		n, from := m.conn.ReadFrom(cur, buf, patience)
		if n < 24 {
			m.fail("version %d procedure %d: nothing more, reply % x, call % x", m.vers, proc, reply, backArgs)
			return reply, back, backArgs
		}
		b := bytes.Clone(buf[:n])
		at := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
		if at(4) == sunrpc.RPC_REPLY {
			if head := words(m.xid, sunrpc.RPC_REPLY, sunrpc.RPC_MSG_ACCEPTED, 0, 0); string(b[:len(head)]) != head {
				m.fail("version %d procedure %d: reply % x", m.vers, proc, b)
			}
			reply = b[20:]
			continue
		}
		answer := words(at(0), sunrpc.RPC_REPLY, sunrpc.RPC_MSG_ACCEPTED, 0, 0, sunrpc.RPC_SUCCESS)
		if at(12) == sunrpc.RPCBIND_PROGRAM {
			m.conn.WriteTo(cur, []byte(answer+words(peerPort)), from)
			continue
		}
		m.conn.WriteTo(cur, []byte(answer), from)
		if at(12) != NLM_PROGRAM || at(16) != m.vers {
			m.fail("called: program %d version %d", at(12), at(16))
		}
		back, backArgs = at(20), b[argsAt(b):]
	}
	return reply, back, backArgs
}

// TestMessages: each *_MSG is answered with nothing, and with a call that has the result.
func TestMessages(t *testing.T) {
	locking(t, 6, func(cur *kernel.Task, w *lockWorld) {
		conn, err := sock.Listen(cur, w.nets[0], sock.IPPROTO_UDP, sock.Addr4(127, 0, 0, 9, peerPort))
		if err != 0 {
			w.fail("listen: %s", kernel.ErrName(err))
			return
		}
		for _, speaks := range wires {
			m := &mailbox{lockWorld: w, wire: speaks, conn: conn, xid: speaks.vers << 16}
			c := &client{lockWorld: w, wire: speaks, name: "client"}
			status := func(status uint32) []byte { return xdr{}.bytes("cook").words(status) }
			holder := speaks.rangeOf(xdr{}.bytes("cook").words(NLM_LCK_DENIED, 1, w.NlmsvcTask.Pid()).bytes(""), 0, 10)
			for _, x := range []struct {
				a    ask
				want []byte
			}{
				{ask{proc: NLMPROC_TEST_MSG, svid: 1, n: 10}, status(NLM_LCK_GRANTED)},
				{ask{proc: NLMPROC_LOCK_MSG, svid: 1, n: 10}, status(NLM_LCK_GRANTED)},
				{ask{proc: NLMPROC_TEST_MSG, svid: 2, n: 10}, holder},
				{ask{proc: NLMPROC_LOCK_MSG, svid: 2, n: 10}, status(NLM_LCK_DENIED)},
				{ask{proc: NLMPROC_LOCK_MSG, svid: 2, n: 10, block: true}, status(NLM_LCK_BLOCKED)},
				{ask{proc: NLMPROC_CANCEL_MSG, svid: 2, n: 10, block: true}, status(NLM_LCK_GRANTED)},
				{ask{proc: NLMPROC_UNLOCK_MSG, svid: 1, n: 10}, status(NLM_LCK_GRANTED)},
				{ask{proc: NLMPROC_GRANTED_MSG, svid: 1, n: 10}, status(NLM_LCK_DENIED)},
				{ask{proc: NLMPROC_LOCK_MSG, svid: 1, fh: []byte{0xff, 1, 2, 3}}, status(c.old(NLM_FAILED))},
			} {
				reply, back, args := m.post(cur, x.a.proc, c.args(x.a))
				if string(reply) != words(sunrpc.RPC_SUCCESS) {
					w.fail("version %d %+v: reply % x", speaks.vers, x.a, reply)
				}
				if back != x.a.proc+5 || !bytes.Equal(args, x.want) {
					w.fail("version %d %+v: called %d % x, want % x", speaks.vers, x.a, back, args, x.want)
				}
			}
		}
		conn.Close()
		// A name that no host can have.
		c := w.connect(cur, wires[2], sock.IPPROTO_UDP, sock.Addr{})
		c.name = "etc/passwd"
		if stat, _ := c.send(cur, NLMPROC_TEST_MSG, c.args(ask{proc: NLMPROC_TEST_MSG})); stat != sunrpc.RPC_SYSTEM_ERR {
			w.fail("TEST_MSG of %q: accept status %d", c.name, stat)
		}
		c.do(cur, ask{proc: NLMPROC_TEST}, NLM_LCK_DENIED_NOLOCKS)
		c.conn.Close()
	})
}

// TestMemoryOfRequests: what lockd keeps of a request it has copied.
func TestMemoryOfRequests(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		c := s.connect(cur, wires[2], sock.IPPROTO_TCP, sock.Addr{})
		poison := func() { kernel.Scribble(s.NlmsvcRqst.RqPages) }
		if cur.Machine().Sim() { // elsewhere the thread may still be at work
			c.share(cur, NLMPROC_SHARE, "a", 1, 1, NLM_LCK_GRANTED)
			poison()
			c.share(cur, NLMPROC_SHARE, "a", 2, 1, NLM_LCK_GRANTED)
			poison()
			c.share(cur, NLMPROC_SHARE, "b", 1, 1, NLM_LCK_DENIED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 1, n: 10}, NLM_LCK_GRANTED)
			poison()
			c.do(cur, ask{proc: NLMPROC_TEST, svid: 2, n: 10}, NLM_LCK_DENIED)
			c.do(cur, ask{proc: NLMPROC_LOCK, svid: 2, n: 10, block: true}, NLM_LCK_BLOCKED)
			poison()
			c.do(cur, ask{proc: NLMPROC_CANCEL, svid: 2, n: 10, block: true}, NLM_LCK_GRANTED)
		}
		c.conn.Close()
	})
}

// TestFileSystemSays: what each version makes of what the file system says to a handle, and that lockd keeps silent
// when it is told to.
func TestFileSystemSays(t *testing.T) {
	locking(t, 4, func(cur *kernel.Task, s *lockWorld) {
		sound := s.NlmsvcOps.Dereference()
		says := uint32(0)
		b := kernel.StaticObj[NlmsvcBinding](cur.Machine(), "nlmsvc_binding")
		b.Owner.Init(&b.Obj, "owner")
		b.Fopen = func(*kernel.Task, *sunrpc.SvcRqst, *NfsFh) (*fs.File, uint32) { return nil, says }
		b.Fclose = sound.Fclose
		s.NlmsvcOps.Assign(b)
		procs := []uint32{NLMPROC_TEST, NLMPROC_LOCK, NLMPROC_CANCEL, NLMPROC_UNLOCK}
		transports(cur, s, func(c *client) {
			for status, old := range map[uint32]uint32{
				NLM_LCK_DENIED: NLM_LCK_DENIED, NLM_LCK_DENIED_NOLOCKS: NLM_LCK_DENIED_NOLOCKS,
				NLM_LCK_DENIED_GRACE_PERIOD: NLM_LCK_DENIED_GRACE_PERIOD, NLM_DEADLCK: NLM_LCK_DENIED,
				NLM_ROFS: NLM_LCK_DENIED_NOLOCKS, NLM_STALE_FH: NLM_LCK_DENIED_NOLOCKS, NLM_FAILED: NLM_LCK_DENIED_NOLOCKS,
			} {
				says = status
				if c.vers == 4 {
					old = status
				}
				for _, proc := range procs {
					c.do(cur, ask{proc: proc, svid: 1}, old)
				}
			}
			says, c.wait = NLM_DROP_REPLY, 3*kernel.HZ
			for _, proc := range procs {
				if stat, body := c.send(cur, proc, c.args(ask{proc: proc})); stat != ^uint32(0) {
					s.fail("version %d procedure %d: accept status %d % x, want none", c.vers, proc, stat, body)
				}
			}
			c.wait = patience
			if stat, _ := c.send(cur, NLMPROC_NULL, nil); stat != sunrpc.RPC_SUCCESS {
				s.fail("version %d: accept status %d of NULL behind silence", c.vers, stat)
			}
		})
		s.NlmsvcOps.Assign(sound)
	})
}
