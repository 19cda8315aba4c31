// SPDX-License-Identifier: MIT

package fuzz

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// RunCallback sends compounds of all minor versions, well formed, nearly so, or not at all, to the callback services of
// a client that holds delegations, a layout, a data server and a session: to the listener and over the back channel.
// Every reply must be one that the protocol has, as the arguments say; between two operations their memory is
// overwritten. It returns nil if all is as it must be.
func RunCallback(data []byte) *Failure { return execute("FuzzCallback", callback(data)).failure }

func callback(data []byte) func() *plan {
	return func() *plan {
		schedule, rest := split(data)
		in := newInput(rest)
		s := &cbRun{}
		for range 1 + in.below(8) {
			s.calls = append(s.calls, in.cbCall(s))
		}
		return &plan{
			scenario: &scenario.Scenario{Name: "callback", Main: s.main}, params: scenario.Params{},
			schedule: schedule, about: s.String, check: func() string { return s.wrong },
		}
	}
}

// cbCall is one call.
type cbCall struct {
	back bool // over the back channel
	args []byte
}

// cbRun is one run: a client with all it holds, and a server that calls it back.
type cbRun struct {
	calls []cbCall
	seq   uint32 // of the session's last call, if all went well
	taken uint32 // the number of the last call that the session's slot has taken
	lost  bool   // that is not known any more
	wrong string
}

func (s *cbRun) String() string {
	var b strings.Builder
	for _, c := range s.calls {
		fmt.Fprintf(&b, "back channel %t: % x\n", c.back, c.args)
	}
	return b.String()
}

// cbCall makes a call.
func (in *input) cbCall(s *cbRun) cbCall {
	minor := pick[uint32](in, 0, 1, 1, 1, 2, 3, 1<<32-1)
	c := cbCall{back: minor != 0}
	if in.chance(8) {
		c.back = !c.back
	}
	if in.chance(8) {
		c.args = in.bytes(255)
		return c
	}
	tag := make([]byte, pick(in, 0, 3, 4, 20, 500, 501, 513))
	ident := pick[uint32](in, scenario.CbIdent, scenario.CbIdent, scenario.CbIdent, 0, scenario.CbIdent+1)
	var ops []byte
	n := in.below(6)
	for i := range n {
		if i == 0 && minor != 0 && !in.chance(8) {
			ops = in.cbSequence(s, ops)
			continue
		}
		ops = in.cbOp(s, ops)
	}
	if n == 5 && in.chance(4) {
		// As much as a page has room for in the reply, and more.
		for range 200 {
			ops = in.cbFh(words(ops, nfs.OP_CB_GETATTR))
			ops = words(ops, 1, 0x18)
			n++
		}
	}
	count := pick(in, uint32(n), uint32(n), uint32(n), uint32(n)+1, 1<<32-1)
	c.args = append(words(opaque(nil, tag), minor, ident, count), ops...)
	if in.chance(8) {
		c.args = c.args[:in.below(min(len(c.args), 255)+1)]
	}
	if in.chance(8) && len(c.args) > 0 {
		c.args[in.below(min(len(c.args), 256))] = byte(in.byte())
	}
	return c
}

// cbFh appends a handle.
func (in *input) cbFh(b []byte) []byte {
	return opaque(b, pick(in, scenario.CbWritten, scenario.CbRead, nil, make([]byte, 128), make([]byte, 129)))
}

// cbStateid appends a stateid of the client or another.
func (in *input) cbStateid(b []byte) []byte {
	b = append(words(b, pick[uint32](in, 1, 0, 2)), pick[byte](in, 'w', 'r', 'l', 0))
	return append(b, make([]byte, 11)...)
}

// number is a count that is right or one that is not.
func (in *input) number(right uint32) uint32 {
	return pick(in, right, right, right, right+1, 1<<16, 1<<30, 1<<31+1, 1<<32-1)
}

// cbSequence appends CB_SEQUENCE.
func (in *input) cbSequence(s *cbRun, b []byte) []byte {
	session := func(b []byte) []byte {
		return append(b, append([]byte(pick(in, "sess", "sess", "none")), make([]byte, 12)...)...)
	}
	b = session(words(b, nfs.OP_CB_SEQUENCE))
	seq := pick(in, s.seq+1, s.seq+1, s.seq+1, s.seq, s.seq+2, 0)
	s.seq = max(s.seq, min(seq, s.seq+1))
	lists := uint32(in.below(3))
	b = words(b, seq, pick[uint32](in, 0, 0, 0, 1, 1<<32-1), 0, pick[uint32](in, 0, 0, 0, 1, 2), in.number(lists))
	for range lists {
		calls := uint32(in.below(3))
		b = words(session(b), in.number(calls))
		for range calls {
			b = words(b, pick[uint32](in, 1, 0, 2), pick[uint32](in, 0, 1, 1023, 1024, 1<<32-1))
		}
	}
	return b
}

// cbOp appends an operation.
func (in *input) cbOp(s *cbRun, b []byte) []byte {
	op := pick[uint32](in, 3, 4, 5, 8, 10, 11, 14, 6, 7, 9, 12, 13, 15, 10044, 0, 1<<32-1)
	if op == nfs.OP_CB_SEQUENCE {
		return in.cbSequence(s, b)
	}
	b = words(b, op)
	switch op {
	case nfs.OP_CB_GETATTR:
		n := uint32(in.below(4))
		b = words(in.cbFh(b), in.number(n))
		for range n {
			b = words(b, pick[uint32](in, 0x18, 0x300000, 1<<32-1, 0))
		}
	case nfs.OP_CB_RECALL:
		b = in.cbFh(words(in.cbStateid(b), pick[uint32](in, 0, 1)))
	case nfs.OP_CB_LAYOUTRECALL:
		kind := pick[uint32](in, nfs.RETURN_FILE, nfs.RETURN_FSID, nfs.RETURN_ALL, 0)
		b = words(b, 2, pick[uint32](in, 3, 2, 1, 0), 0, kind)
		switch kind {
		case nfs.RETURN_FILE:
			b = in.cbFh(b)
			b = in.cbStateid(words(b, 0, pick[uint32](in, 0, 99, 100), pick[uint32](in, 0, 1<<32-1), 1<<32-1))
		case nfs.RETURN_FSID:
			b = words(b, 0, pick[uint32](in, 1, 2), 0, 0)
		}
	case nfs.OP_CB_RECALL_ANY:
		b = words(b, 0, in.number(1), pick[uint32](in, 1, 2, 3, 8, 0, 0x20, 1<<32-1))
	case nfs.OP_CB_RECALL_SLOT:
		b = words(b, pick[uint32](in, 0, 1, 1<<32-1))
	case nfs.OP_CB_NOTIFY_DEVICEID:
		n := uint32(in.below(3))
		b = words(b, in.number(n))
		for range n {
			b = words(b, pick[uint32](in, 1, 1, 2), pick[uint32](in, 1, 2, 2, 0), pick[uint32](in, 20, 24, 20))
			b = words(b, pick[uint32](in, 2, 1, 2))
			b = append(b, append([]byte{pick[byte](in, 'd', 0)}, make([]byte, 15)...)...)
		}
	}
	return b
}

// cbChannel is the connection to the server: its back channel and what came back over it.
type cbChannel struct {
	kernel.Obj
	irq      kernel.Softirq
	answered kernel.Completion
	answer   []byte
}

// main is the body of the run.
func (s *cbRun) main(cur *kernel.Task, w *scenario.World) {
	w.Nfs = nfs.New(cur, w.Rpc, w.Init)
	w.Nfs.NfsCallbackSetTcpport = callbackPort
	w.Init.NoIPv6 = true
	ch := kernel.StaticObj[cbChannel](w.M, "connection")
	ch.irq.Init(&ch.Obj, "tcp")
	ch.answered.Init(&ch.Obj, "answered")
	mounts := []*scenario.Mount{w.NewMount(cur, 0), w.NewMount(cur, 1)}
	sink := func(_ *kernel.Task, _ *sunrpc.RpcRqst, rec []byte) int {
		ch.answer = append([]byte(nil), rec[4:]...)
		ch.answered.Complete()
		return 0
	}
	xprt := sunrpc.XprtAlloc(cur, w.Init, sock.LoopbackAddr(sock.AF_INET, 2049), sink)
	sunrpc.XprtSetupBackchannel(cur, xprt, 2)
	for minor, x := range []*sunrpc.RpcXprt{nil, xprt} {
		done := cur.Within(startLimit, "nfs_callback_up")
		if errno := w.Nfs.NfsCallbackUp(cur, minor, x, w.Init); errno != 0 {
			w.M.Report(&kernel.Finding{Oracle: "start", Title: "callback does not start: " + kernel.ErrName(errno), Fatal: true})
		}
		done()
	}
	s.talk(cur, w, ch, xprt)
	for _, m := range mounts {
		m.End(cur, func() {})
	}
	for minor := range 2 {
		done := cur.Within(startLimit, "nfs_callback_down")
		w.Nfs.NfsCallbackDown(cur, minor, w.Init)
		done()
	}
	sunrpc.XprtDestroyBackchannel(xprt, 2)
	sunrpc.XprtPut(xprt)
}

// talk makes the calls, one after the other.
func (s *cbRun) talk(cur *kernel.Task, w *scenario.World, ch *cbChannel, xprt *sunrpc.RpcXprt) {
	conn, errno := sock.Dial(cur, w.Init, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, callbackPort))
	if errno != 0 {
		s.wrong = "reply: no connection: " + kernel.ErrName(errno)
		return
	}
	defer conn.Close()
	for i, c := range s.calls {
		xid := 0x51000000 + uint32(i)
		call := wire.NewCall(xid, nfs.NFS4_CALLBACK, 1, nfs.CB_COMPOUND, nil)
		call.Header.Cred = wire.Sys(&wire.Authsys_parms{Machinename: "server"})
		head := wire.EncodeCall(call)
		msg := append(head, c.args...)
		if c.back {
			msg = msg[:min(len(msg), sunrpc.PAGE_SIZE)]
			ch.answer = nil
			ch.irq.Raise(func() { sunrpc.XsTcpReadCallback(xprt, msg) })
			ch.answered.WaitTimeout(cur, must)
		} else {
			msg = msg[:min(len(msg), maxRecord)]
			ch.answer = roundTrip(cur, conn, msg)
		}
		res, wrong := judgeCompound(xid, msg[len(head):], ch.answer)
		if s.wrong = cmp.Or(wrong, s.judgeSequence(res)); s.wrong != "" {
			s.wrong = fmt.Sprintf("%s (call %d: % x)", s.wrong, i, ch.answer)
			return
		}
	}
}

// roundTrip sends a call and reads one record, nil if there is none.
func roundTrip(cur *kernel.Task, conn *sock.Conn, msg []byte) []byte {
	conn.Write(cur, mark(msg))
	head := make([]byte, 4)
	if conn.ReadFull(cur, head, must) != 4 {
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint32(head)&^(1<<31))
	conn.ReadFull(cur, b, must)
	return b
}

// cbHeader reads the header of a compound, and whether it is one.
func cbHeader(args []byte) (tag []byte, minor, ident uint32, ok bool) {
	r := &reader{args}
	if r.left() < 4 {
		return nil, 0, 0, false
	}
	n := int(r.word())
	if padded := (n + 3) &^ 3; n > 500 || r.left()&^3 < padded+12 {
		return nil, 0, 0, false
	} else {
		tag, r.b = r.b[:n], r.b[padded:]
	}
	return tag, r.word(), r.word(), true
}

// judgeSequence says what is wrong with how the session's slot took a call: the next one in order, or the last one again,
// behind which nothing is done. Nobody has the answer to that: none is kept. (RFC 5661, section 2.10.6.1)
func (s *cbRun) judgeSequence(res *wire.CB_COMPOUND4res) string {
	if res == nil {
		return ""
	}
	s.lost = s.lost || res.Status == wire.NFS4ERR_RESOURCE && len(res.Resarray) == 0
	if s.lost || len(res.Resarray) == 0 || res.Resarray[0].Resop != uint32(wire.OP_CB_SEQUENCE) {
		return ""
	}
	first := res.Resarray[0].Opcbsequence()
	if first.Csr_status != wire.NFS4_OK {
		return ""
	}
	switch seq := first.Csr_resok4().Csr_sequenceid; {
	case seq == s.taken+1:
		s.taken = seq
		return ""
	case seq != s.taken:
		return fmt.Sprintf("reply: the slot has taken call %d and now takes call %d", s.taken, seq)
	case len(res.Resarray) > 2 || res.Status == wire.NFS4_OK && len(res.Resarray) > 1:
		return fmt.Sprintf("reply: call %d came a second time, and was obeyed", seq)
	}
	return ""
}

// judgeCompound says what is wrong with the answer to a compound, "" if nothing; and what it is, if it has been judged.
func judgeCompound(xid uint32, args, answer []byte) (*wire.CB_COMPOUND4res, string) {
	if answer == nil {
		return nil, "reply: none"
	}
	tag, minor, ident, ok := cbHeader(args)
	switch {
	case !ok:
		if want := words(nil, xid, isReply, accepted, 0, 0, garbage); string(answer) != string(want) {
			return nil, "reply: no GARBAGE_ARGS"
		}
		return nil, ""
	case minor == 0 && ident != scenario.CbIdent:
		if want := words(nil, xid, isReply, denied, authError, authBadCred); string(answer) != string(want) {
			return nil, "reply: no AUTH_BADCRED"
		}
		return nil, ""
	}
	const resource = wire.NFS4ERR_RESOURCE
	if len(answer) > 28 && binary.BigEndian.Uint32(answer[24:]) == uint32(resource) && len(answer) > sunrpc.PAGE_SIZE-64 {
		return &wire.CB_COMPOUND4res{Status: resource}, "" // the end of the room may cut a result
	}
	r, err := wire.DecodeReply(nfs.NFS4_CALLBACK, 1, nfs.CB_COMPOUND, answer)
	if err != nil {
		return nil, "reply: malformed: " + err.Error()
	}
	res, ok := r.Results.(*wire.CB_COMPOUND4res)
	switch {
	case r.Xid != xid || !ok:
		return nil, "reply: not to this call, or no success"
	case string(res.Tag) != string(tag):
		return nil, "reply: another tag"
	case minor > 2 && (res.Status != wire.NFS4ERR_MINOR_VERS_MISMATCH || len(res.Resarray) != 0):
		return nil, "reply: a minor version that does not exist"
	}
	return res, ""
}

// cbResults is what a client that knows no server answers to a compound from the accept status on. nil: in minor
// version 0 it does not get so far, and of what a session would do there is too much to say.
func cbResults(_, _ uint32, args []byte) []byte {
	tag, minor, _, ok := cbHeader(args)
	switch {
	case !ok:
		return words(nil, garbage)
	case minor > 2:
		return words(opaque(words(nil, success, uint32(wire.NFS4ERR_MINOR_VERS_MISMATCH)), tag), 0)
	}
	return nil
}
