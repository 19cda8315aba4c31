// SPDX-License-Identifier: MIT

package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// RunNLM makes calls to a lock manager that serves files, in all versions and procedures, with arguments that are well
// formed, nearly so, or not at all. Every reply must be one that the protocol has, with the caller's cookie; what does
// not decode must be GARBAGE_ARGS and nothing else may be. The request's memory is overwritten behind each reply: what
// lockd keeps of a request it must have copied. It returns nil if all is as it must be.
func RunNLM(data []byte) *Failure { return execute("FuzzNLM", nlm(data)).failure }

func nlm(data []byte) func() *plan {
	return func() *plan {
		schedule, rest := split(data)
		in := newInput(rest)
		s := &nlmSession{
			protocol: pick(in, sock.IPPROTO_UDP, sock.IPPROTO_TCP), nfsd: !in.chance(8), grace: in.chance(4),
			async: in.chance(4), early: in.chance(8), peer: in.chance(2),
		}
		for range 1 + in.below(10) {
			s.calls = append(s.calls, in.nlmCall())
		}
		return &plan{
			scenario: &scenario.Scenario{Name: "nlm", Main: s.main}, params: scenario.Params{},
			schedule: schedule, about: s.String, check: func() string { return s.wrong },
		}
	}
}

// nlmCall is one call.
type nlmCall struct {
	vers, proc uint32
	args       []byte
	port       uint16 // local, 0: any
	// file and where stand for what is only known when the file system is there: which handle goes where in args.
	file  int
	where int
}

// Files of a session, as an input names them.
const (
	nlmFiles = 5 // two regular, an asynchronous one, a directory, one that is gone
	nlmFhLen = 20
)

// nlmCall makes a call from small domains, so that calls meet each other's locks.
func (in *input) nlmCall() nlmCall {
	c := nlmCall{
		vers: pick[uint32](in, 4, 4, 4, 1, 3),
		proc: pick[uint32](in, 2, 2, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 20, 21, 22, 23, 0, 11, 12, 17, 24),
		port: pick[uint16](in, 0, 0, 0, 700), where: -1,
	}
	if in.chance(8) {
		c.args = in.bytes(255)
		return c
	}
	caller := pick(in, "a", "b", "", "with/slash", "\x00", strings.Repeat("h", 1024), strings.Repeat("h", 1025))
	cookie := pick(in, []byte("ck"), nil, []byte{1, 0, 0, 0}, make([]byte, 32), make([]byte, 33))
	flag := func() uint32 { return pick[uint32](in, 0, 1, 1, 0, 2, 1<<32-1) }
	args := []byte{}
	switch nlmShapes[c.proc] {
	case nlmTest, nlmLock, nlmCancel, nlmUnlock, nlmShare, nlmResult:
		args = opaque(args, cookie)
	}
	switch shape := nlmShapes[c.proc]; shape {
	case nlmTest, nlmLock, nlmCancel, nlmUnlock:
		switch shape {
		case nlmTest:
			args = words(args, flag())
		case nlmLock, nlmCancel:
			args = words(args, flag(), flag())
		}
		args = in.nlmOwner(&c, opaque(args, []byte(caller)))
		args = in.nlmRange(&c, words(args, pick[uint32](in, 1, 2, 1<<32-1)))
		if shape == nlmLock {
			args = words(args, pick[uint32](in, 0, 0, 0, 1), pick[uint32](in, 0, 1, 1<<32-1))
		}
	case nlmShare:
		args = in.nlmOwner(&c, opaque(args, []byte(caller)))
		args = words(args, pick[uint32](in, 0, 1, 2, 3, 99), pick[uint32](in, 0, 1, 2, 3, 1<<32-1), flag())
	case nlmNotify:
		args = words(opaque(args, []byte(caller)), 0)
	case nlmReboot:
		args = append(words(opaque(args, []byte(caller)), in.uint32()), make([]byte, 16)...)
		// The cookies of lockd count up, in memory order, from the time of the start.
		args[len(args)-9] = byte(in.byte())
	case nlmResult:
		args = words(args, pick[uint32](in, 0, 1, 4, 2, 1<<32-1))
	}
	c.args = args
	in.damage(&c)
	return c
}

// nlmOwner appends handle and owner of a lock or a share.
func (in *input) nlmOwner(c *nlmCall, b []byte) []byte {
	c.file = in.below(nlmFiles + 1)
	n := pick(in, nlmFhLen, nlmFhLen, nlmFhLen, 0, 32, 128, 129)
	if c.vers != 4 {
		n = pick(in, 32, 32, 32, 32, 32, 31, 33)
	}
	if c.file < nlmFiles && n >= nlmFhLen {
		c.where = len(b) + 4
	}
	b = opaque(b, bytes.Repeat([]byte{0xff * byte(c.file/nlmFiles)}, n))
	return opaque(b, []byte(pick(in, "owner", "", "o", strings.Repeat("o", 1024), strings.Repeat("o", 1025))))
}

// nlmRange appends a range.
func (in *input) nlmRange(c *nlmCall, b []byte) []byte {
	edge := func() uint64 {
		return pick[uint64](in, 0, 10, 20, 5, 1, 1<<31-1, 1<<31, 1<<32-1, 1<<63-1, 1<<63, 1<<64-1)
	}
	start, n := edge(), edge()
	if c.vers != 4 {
		return words(b, uint32(start), uint32(n))
	}
	return words(b, uint32(start>>32), uint32(start), uint32(n>>32), uint32(n))
}

// damage cuts, prolongs or changes a few arguments.
func (in *input) damage(c *nlmCall) {
	switch in.below(16) {
	case 13:
		c.args = c.args[:in.byte()%(len(c.args)+1)]
		c.where = -1
	case 14:
		c.args = append(c.args, in.bytes(16)...)
	case 15:
		if len(c.args) > 0 {
			c.args[in.below(min(len(c.args), 256))] = byte(in.byte())
		}
	}
}

// opaque appends counted octets with their padding.
func opaque(b, data []byte) []byte {
	b = append(words(b, uint32(len(data))), data...)
	return append(b, make([]byte, -len(data)&3)...)
}

// nlmSession is one run.
type nlmSession struct {
	protocol           int
	nfsd, grace, async bool
	early, peer        bool
	calls              []nlmCall

	v     *fs.VFS
	late  *fs.Inode // the asynchronous one
	files [nlmFiles][]byte
	conns map[uint16]*sock.Conn
	gone  kernel.Atomic // 1: lockd was asked to go down
	wrong string
}

func (s *nlmSession) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "protocol %d, nfsd %t, grace %t, asynchronous %t, early stop %t, portmapper %t, calls:\n",
		s.protocol, s.nfsd, s.grace, s.async, s.early, s.peer)
	for _, c := range s.calls {
		fmt.Fprintf(&b, "    version %d procedure %d from port %d, file %d at %d: %x\n",
			c.vers, c.proc, c.port, c.file, c.where, c.args)
	}
	return b.String()
}

// main is the scenario.
func (s *nlmSession) main(cur *kernel.Task, w *scenario.World) {
	w.Rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, sunrpc.ClientVerdict) {
		return "clients", sunrpc.ClientKnown
	}
	done := cur.Within(startLimit, "lockd up")
	errno := lockdService.up(cur, w)
	done()
	if errno != 0 {
		title := "lockd does not start: " + kernel.ErrName(errno)
		w.M.Report(&kernel.Finding{Oracle: "start", Title: title, Fatal: true})
	}
	s.export(cur, w)

	tasks := []*kernel.Task{w.M.Spawn(cur, "client", func(cur *kernel.Task) { s.client(cur, w) })}
	if s.peer {
		tasks = append(tasks, w.M.Spawn(cur, "portmapper", func(cur *kernel.Task) { s.portmapper(cur, w.Init) }))
	}
	if !s.early {
		kernel.Join(cur, tasks[0])
	}
	s.gone.Set(1)
	done = cur.Within(startLimit, "lockd down")
	lockdService.down(cur, w)
	done()
	w.Lockd.NlmsvcOps.Assign(nil)
	for _, t := range tasks {
		kernel.Join(cur, t)
	}
	if s.async {
		scenario.SettleLocks(cur, s.v, s.late)
	}
	for _, inode := range s.v.PeekInodes() {
		if n := len(inode.PeekLocks()); n > 0 && s.wrong == "" {
			s.wrong = fmt.Sprintf("lock: %d locks of %s are left when lockd is down", n, inode.IName)
		}
	}
}

// export makes the file system.
func (s *nlmSession) export(cur *kernel.Task, w *scenario.World) {
	s.v = fs.New(cur, w.M)
	s.gone.Init(&s.v.Obj, "gone")
	s.late = s.v.Create("late", false, 3)
	if s.async {
		s.v.SetAsync(s.late, 2)
	}
	gone := s.v.Create("gone", false, 5)
	for i, inode := range []*fs.Inode{
		s.v.Create("one", false, 1), s.v.Create("two", false, 2), s.late, s.v.Create("dir", true, 4), gone,
	} {
		s.files[i] = s.v.FhOf(inode)
	}
	s.v.Remove(gone)
	w.Lockd.Fs = s.v
	if s.nfsd {
		w.Lockd.NlmsvcOps.Assign(lockd.NewBinding(s.v))
	}
	if !s.grace {
		ln := w.Lockd.LockdNet(w.Init)
		w.Lockd.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
	}
}

// portmapper sends whoever asks to lockd itself, which thus answers its own calls.
func (s *nlmSession) portmapper(cur *kernel.Task, net *sock.Net) {
	conn, errno := sock.Listen(cur, net, sock.IPPROTO_UDP, sock.LoopbackAddr(sock.AF_INET, 111))
	if errno != 0 {
		return
	}
	defer conn.Close()
	buf := make([]byte, 512)
	for s.gone.Read() == 0 {
		n, from := conn.ReadFrom(cur, buf, kernel.HZ/2)
		if n < 24 {
			continue
		}
		conn.WriteTo(cur, words(append([]byte{}, buf[:4]...), isReply, accepted, 0, 0, success, lockdPort), from)
	}
}

// client makes the calls.
func (s *nlmSession) client(cur *kernel.Task, w *scenario.World) {
	s.conns = map[uint16]*sock.Conn{}
	defer func() {
		for _, port := range []uint16{0, 700} {
			if conn := s.conns[port]; conn != nil {
				conn.Close()
			}
		}
	}()
	for i, c := range s.calls {
		conn := s.conn(cur, w, c.port)
		if conn == nil {
			return
		}
		xid := 0x53000000 + uint32(i)
		args := c.args
		if c.where >= 0 {
			args = bytes.Clone(args)
			copy(args[c.where:], s.files[c.file])
		}
		msg := append(words(nil, xid, 0, 2, lockdService.prog, c.vers, c.proc, 0, 0, 0, 0), args...)
		reply := s.exchange(cur, conn, msg, xid)
		if reply == nil {
			if s.gone.Read() != 0 || s.wrong != "" {
				return
			}
			s.silence(&c, args)
			continue
		}
		s.judge(&c, args, reply)
		if s.wrong != "" {
			return
		}
		s.poison(w)
	}
}

// conn is the connection from a local port.
func (s *nlmSession) conn(cur *kernel.Task, w *scenario.World, port uint16) *sock.Conn {
	conn := s.conns[port]
	if conn == nil {
		from := sock.Addr{}
		if port != 0 {
			from = sock.LoopbackAddr(sock.AF_INET, port)
		}
		var errno int
		conn, errno = sock.DialFrom(cur, w.Init, s.protocol, from, sock.LoopbackAddr(sock.AF_INET, lockdPort))
		if errno != 0 {
			if !s.early {
				s.wrong = "reply: no connection: " + kernel.ErrName(errno)
			}
			return nil
		}
		s.conns[port] = conn
	}
	return conn
}

// exchange sends a call and waits for its reply; nil: none.
func (s *nlmSession) exchange(cur *kernel.Task, conn *sock.Conn, msg []byte, xid uint32) []byte {
	if s.protocol == sock.IPPROTO_TCP {
		msg = mark(msg)
	}
	if n := conn.Write(cur, msg); n != len(msg) {
		return nil
	}
	buf := make([]byte, 9000)
	n := 0
	for {
		got := conn.Read(cur, buf[n:], must)
		if got <= 0 {
			return nil
		}
		n += got
		reply := buf[:n]
		if s.protocol == sock.IPPROTO_TCP {
			if n < 4 || n < 4+int(binary.BigEndian.Uint32(buf)&^(1<<31)) {
				continue
			}
			reply = reply[4:]
		}
		if len(reply) >= 4 && binary.BigEndian.Uint32(reply) == xid {
			return reply
		}
		n = 0 // the late answer to a call that was given up
	}
}

// silence judges a call that was not answered: a request may be put aside only for the asynchronous file.
func (s *nlmSession) silence(c *nlmCall, args []byte) {
	if s.async && readNlm(c.vers, c.proc, args).ok {
		return
	}
	s.wrong = fmt.Sprintf("reply: none to version %d procedure %d", c.vers, c.proc)
}

// poison overwrites what the last request lay in.
func (s *nlmSession) poison(w *scenario.World) {
	if s.early {
		return // lockd may be gone
	}
	kernel.Scribble(w.Lockd.NlmsvcRqst.RqPages)
}

// judge holds a reply against the protocol and the model.
func (s *nlmSession) judge(c *nlmCall, args, reply []byte) {
	fail := func(format string, a ...any) {
		s.wrong = fmt.Sprintf("reply: to version %d procedure %d: ", c.vers, c.proc) + fmt.Sprintf(format, a...) +
			fmt.Sprintf(": %x", reply)
	}
	r, err := wire.DecodeReply(wire.NLM, c.vers, c.proc, reply)
	nproc := uint32(24)
	if c.vers == 1 {
		nproc = 17
	}
	switch {
	case c.proc >= nproc:
		if err != nil || r.Denied || r.Accept != wire.PROC_UNAVAIL {
			fail("not PROC_UNAVAIL (%v)", err)
		}
		return
	case c.proc >= 17 && c.proc <= 19:
		// No procedures of any law; 3.19 answers them as it does NULL.
		if !bytes.Equal(reply[4:], words(nil, isReply, accepted, 0, 0, success)) {
			fail("not an empty success")
		}
		return
	case err != nil:
		fail("%v", err)
		return
	case r.Denied:
		fail("denied")
		return
	}
	a := readNlm(c.vers, c.proc, args)
	switch {
	case !a.ok && r.Accept != wire.GARBAGE_ARGS:
		fail("%v for arguments that do not decode", r.Accept)
	case a.ok && r.Accept == wire.SYSTEM_ERR && (c.proc >= 6 && c.proc <= 10 || c.proc == 16):
		// No such host, or not the status monitor.
	case a.ok && r.Accept != wire.SUCCESS:
		fail("%v", r.Accept)
	case a.ok && len(reply) > 24 && !bytes.HasPrefix(reply[24:], opaque(nil, a.cookie)):
		fail("another cookie than %x", a.cookie)
	}
}
