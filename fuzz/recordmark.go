// SPDX-License-Identifier: MIT

package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// RunRecordMark sends streams of records, whole and in fragments, with true marks and false ones, in one piece or in
// many, over one or two connections, and holds what comes back against the model. It returns nil if all is as
// it must be.
func RunRecordMark(data []byte) *Failure { return execute("FuzzRecordMark", recordMark(data)).failure }

func recordMark(data []byte) func() *plan {
	return func() *plan {
		schedule, rest := split(data)
		in := newInput(rest)
		kind := pick(in, lockdService, callbackService)
		svc := kind.with(sunrpc.ClientKnown)
		early := in.chance(8)
		p := &plan{schedule: schedule, params: scenario.Params{}}
		var streams []*streamer
		var clients []func(*kernel.Task, *sock.Net)
		for i := range 1 + in.below(2) {
			s := &streamer{svc: svc, early: early}
			for j := range 1 + in.below(5) {
				s.octets = append(s.octets, in.record(svc, 0x52000000+uint32(i)<<16+uint32(j))...)
			}
			s.piece = pick(in, 1<<20, 1000, 256, 64, 7, 4, 3, 1)
			if len(s.octets)/s.piece > 64 {
				s.piece = len(s.octets)/64 + 1 // small pieces of much would only be slow
			}
			s.pause = in.chance(3)
			s.end = pick(in, leaveOpen, leaveOpen, halfClose, reset, closeNow)
			streams, clients = append(streams, s), append(clients, s.run)
		}
		p.scenario = svc.talk("record-mark", clients, early)
		p.about = func() string {
			text := ""
			for _, s := range streams {
				text += s.String()
			}
			return text
		}
		p.check = func() string {
			for _, s := range streams {
				if wrong := s.check(); wrong != "" {
					return wrong
				}
			}
			return ""
		}
		return p
	}
}

// record makes the octets of one record, or of something like it.
func (in *input) record(svc *service, xid uint32) []byte {
	msg := words(nil, xid, 0, 2, svc.prog, 1, 0, 0, 0, 0, 0)
	switch in.below(8) {
	case 1: // larger, up to the limit and beyond
		n := pick(in, 44, 100, 4090, 4096, 8000, maxRecord-1, maxRecord, maxRecord+1, maxRecord+4)
		// Not with zeros: behind a false mark each four of them would be one more empty fragment.
		msg = append(msg, bytes.Repeat([]byte{0x5a}, n-len(msg))...)
	case 2: // a reply
		msg[7] = byte(1 + in.below(3))
	case 3: // cut
		msg = msg[:in.below(len(msg)+1)]
	case 4: // no such procedure
		msg[23] = 99
	case 5: // raw octets, which need not be a record at all
		return in.bytes(64)
	case 6: // no octets
		msg = nil
	}
	var out []byte
	for range in.below(6) {
		n := in.uint16() % (len(msg) + 1)
		out = append(words(out, in.length(n)), msg[:n]...)
		msg = msg[n:]
	}
	last := uint32(1 << 31)
	if in.chance(16) {
		last = 0
	}
	return append(words(out, last|in.length(len(msg))), msg...)
}

// length is what a mark says about a fragment: nearly always the truth.
func (in *input) length(n int) uint32 {
	if !in.chance(32) {
		return uint32(n)
	}
	return pick(in, uint32(n)+1, max(uint32(n), 1)-1, 0, 4, 8, maxRecord, maxRecord+1, 1<<20, 1<<31-1)
}

// How a client ends its stream. Only one that stays is owed all answers.
const (
	leaveOpen = iota
	halfClose
	reset
	closeNow
)

// streamer is the client of one connection.
type streamer struct {
	svc    *service
	early  bool
	octets []byte
	piece  int
	pause  bool
	end    int

	dialed int
	probed bool
	got    []byte
	ended  int // as of caller
}

func (s *streamer) String() string {
	how := [...]string{"stay", "half close", "reset", "close"}[s.end]
	return fmt.Sprintf("%s, pieces of %d, pause %t, then %s, early stop %t, octets:%s\n", s.svc.name, s.piece, s.pause, how,
		s.early, hexes([][]byte{s.octets}))
}

// probeXid is that of the call at the end of a stream.
const probeXid = 0x50524f42

// run is the body of the client's task.
func (s *streamer) run(cur *kernel.Task, net *sock.Net) {
	conn, errno := s.svc.dial(cur, net, sock.IPPROTO_TCP)
	if errno != 0 {
		s.dialed = errno
		return
	}
	if !s.talk(cur, conn) {
		conn.Close()
	}
}

// talk is the conversation; true if it has ended with a reset, and the socket with it.
func (s *streamer) talk(cur *kernel.Task, conn *sock.Conn) (over bool) {
	conn.SetWriteTimeout(must)
	for rest := s.octets; len(rest) > 0; {
		n := min(s.piece, len(rest))
		if conn.Write(cur, rest[:n]) != n {
			break // the server has closed; what it sent before can still be read
		}
		rest = rest[n:]
		if s.pause {
			kernel.Msleep(cur, 0)
		}
	}
	st := s.svc.read(s.octets)
	want := s.want(st)
	switch s.end {
	case leaveOpen:
		if !st.inside && (!st.closed || st.late) {
			// An empty last fragment is noticed only when something follows it.
			probe := mark(words(nil, probeXid, 0, 2, s.svc.prog, 1, 0, 0, 0, 0, 0))
			s.probed = conn.Write(cur, probe) == len(probe)
		}
	case halfClose:
		conn.CloseWrite()
	case reset:
		conn.Reset()
		return true
	case closeNow:
		return false
	}
	buf := make([]byte, 1024)
	for {
		wait := must
		if len(s.got) >= len(want) && !st.closed {
			wait = mustNot
		}
		n := conn.Read(cur, buf, wait)
		if n > 0 {
			s.got = append(s.got, buf[:n]...)
			continue
		}
		switch {
		case n == 0:
			s.ended = 1
		case n != -kernel.ETIMEDOUT:
			s.ended = n
		}
		return false
	}
}

// want is what must come back, with the answer to the probe.
func (s *streamer) want(st stream) []byte {
	want := bytes.Join(st.replies, nil)
	if s.end == leaveOpen && !st.closed && !st.inside {
		want = append(want, words(nil, 1<<31|24, probeXid, isReply, accepted, 0, 0, success)...)
	}
	return want
}

// check holds what came back against the model.
func (s *streamer) check() string {
	if s.dialed != 0 && !s.early {
		return "reply: no connection: " + kernel.ErrName(s.dialed)
	}
	if s.dialed != 0 || s.end == reset || s.end == closeNow {
		return ""
	}
	st := s.svc.read(s.octets)
	want := s.want(st)
	for b := s.got; len(b) >= 4; {
		n := int(binary.BigEndian.Uint32(b) &^ (1 << 31))
		if n > len(b)-4 {
			break
		}
		if wrong := lawless(nil, b[4:4+n]); wrong != "" { // nobody here calls what has results
			return fmt.Sprintf("reply: malformed: %s: %x", wrong, b[:4+n])
		}
		b = b[4+n:]
	}
	if !bytes.HasPrefix(want, s.got) {
		return fmt.Sprintf("reply: not what the model says: got %x, want %x", s.got, want)
	}
	if s.early || s.end == halfClose || s.ended < 0 {
		if s.ended < 0 && !s.early && s.end == leaveOpen && !st.closed {
			return "reply: the connection was reset without a reason"
		}
		return ""
	}
	switch {
	case len(s.got) < len(want):
		return fmt.Sprintf("reply: answers are missing: got %x, want %x", s.got, want)
	case st.closed && s.ended == 0:
		return "reply: the connection must be closed and is not"
	case !st.closed && s.ended != 0:
		return "reply: the connection was closed without a reason"
	}
	return ""
}
