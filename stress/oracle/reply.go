// SPDX-License-Identifier: MIT

package oracle

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Every request that reached a service which stayed up is answered once, with octets that the law of the called
// procedure allows; no request is answered twice, and nothing arrives that answers nothing. Invariants I41 and I42.
var reply = &Oracle{
	Name: "reply",
	Doc:  "every request on a connection that stayed up is answered exactly once, with a well-formed reply",
	End:  checkReplies,
}

// Exchange is one request of a client and what came back.
type Exchange struct {
	Who              string // the client
	Xid              uint32
	Prog, Vers, Proc uint32 // what was called; not set: a procedure without results
	Want             Status // of the answer
	Why              uint32 // with DeniedAuthError: the reason

	// Octets is the one reply that there is, where no law of the package wire says what it means; nil: there is a law.
	Octets []byte
	// Look says what is wrong with a reply that is sound otherwise, "" for nothing; nil: there is nothing else to ask.
	Look func(*wire.Reply) string

	Optional bool // the service may go away meanwhile, or was made to fail: no answer is fine, a wrong one is not
	Silent   bool // it deserves no answer, and must get none
	Runt     bool // no more than an XID: what lies behind it in memory decides whether it is answered, and with what
	poor     bool // there was no memory or no patience at some moment: the call may be refused for want of it

	Sent    bool
	Err     int      // -errno that ended the wait, if there was no answer
	Replies [][]byte // what came back, without record markers
	Cut     bool     // the connection ended within a record
}

// Status is what a reply says: an accept status, or how the call was denied.
type Status uint32

// The accept statuses, and the two ways to be denied, which have other numbers on the wire.
const (
	AcceptSuccess      = Status(wire.SUCCESS)
	AcceptProgUnavail  = Status(wire.PROG_UNAVAIL)
	AcceptProgMismatch = Status(wire.PROG_MISMATCH)
	AcceptProcUnavail  = Status(wire.PROC_UNAVAIL)
	AcceptGarbageArgs  = Status(wire.GARBAGE_ARGS)
	AcceptSystemErr    = Status(wire.SYSTEM_ERR)
	DeniedRpcMismatch  = Status(100)
	DeniedAuthError    = Status(101)
)

// statusOf is the status of a decoded reply.
func statusOf(r *wire.Reply) Status {
	switch {
	case !r.Denied:
		return Status(r.Accept)
	case r.Reject == wire.AUTH_ERROR:
		return DeniedAuthError
	}
	return DeniedRpcMismatch
}

func checkReplies(s *Subject) {
	// Where a step failed, or time was made to pass quicker than the machine works, a request may go unanswered.
	poor := s.M.Departed(kernel.DecideAlloc) > 0
	hurried := s.M.Departed(kernel.DecideTimer) > 0
	excused := poor || hurried
	for _, x := range s.Exchanges {
		x.Optional, x.poor = x.Optional || excused, excused
		if hurried {
			x.Look = nil // a client that lost patience went on, and what it asked about may be over
		}
		title, text := x.check()
		if title != "" {
			s.fire("reply", title, fmt.Sprintf("%s, xid %#x: %s", x.Who, x.Xid, text))
			return
		}
	}
}

// check returns what is wrong with the exchange, "" if nothing.
func (x *Exchange) check() (title, text string) {
	switch {
	case x.Cut:
		return "a connection ends within a reply", ""
	case len(x.Replies) > 1:
		return "a request is answered more than once", fmt.Sprintf("%d answers", len(x.Replies))
	case x.Runt:
		return x.judgeRunt()
	case len(x.Replies) > 0 && x.Silent:
		return "an answer to what deserves none", fmt.Sprintf("% x", x.Replies[0])
	case len(x.Replies) == 0 && !x.Optional && !x.Sent:
		return "a service that is up cannot be reached", kernel.ErrName(x.Err)
	case len(x.Replies) == 0 && !x.Optional && !x.Silent:
		return "a request is never answered", kernel.ErrName(x.Err)
	case len(x.Replies) == 0:
		return "", ""
	case !x.Sent:
		return "an answer without a request", fmt.Sprintf("% x", x.Replies[0])
	}
	return x.judge(x.Replies[0])
}

// judgeRunt returns what is wrong with the answer to a runt, "" if nothing: there need not be one, and it can be that
// of any call, but it is a reply, to the runt.
func (x *Exchange) judgeRunt() (title, text string) {
	if len(x.Replies) == 0 {
		return "", ""
	}
	b := x.Replies[0]
	switch {
	case !x.Sent:
		return "an answer without a request", fmt.Sprintf("% x", b)
	case len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != uint32(wire.REPLY):
		return "a malformed reply", fmt.Sprintf("% x", b)
	case binary.BigEndian.Uint32(b) != x.Xid:
		return "a reply to somebody else", fmt.Sprintf("xid %#x: % x", binary.BigEndian.Uint32(b), b)
	}
	return "", ""
}

// judgeOctets returns what is wrong with the one reply, "" if nothing, where there can be only one.
func (x *Exchange) judgeOctets(b []byte) (title, text string) {
	for i, want := range x.Octets {
		if i >= len(b) || b[i] != want {
			return "a reply with wrong results", fmt.Sprintf("%d octets, want %d, differs from octet %d on: % x",
				len(b), len(x.Octets), i, b[min(i, len(b)):])
		}
	}
	if len(b) > len(x.Octets) {
		return "a malformed reply", fmt.Sprintf("%d octets behind it", len(b)-len(x.Octets))
	}
	return "", ""
}

// judge returns what is wrong with the one reply, "" if nothing.
func (x *Exchange) judge(b []byte) (title, text string) {
	if x.Octets != nil && (bytes.Equal(b, x.Octets) || !x.poor) {
		return x.judgeOctets(b)
	}
	r, err := wire.DecodeReply(x.Prog, x.Vers, x.Proc, b)
	if err != nil {
		return "a malformed reply", fmt.Sprintf("%v: % x", err, b)
	}
	status := statusOf(r)
	switch {
	case r.Xid != x.Xid:
		return "a reply to somebody else", fmt.Sprintf("xid %#x: % x", r.Xid, b)
	case r.Verf.Flavor != uint32(wire.AUTH_NONE) || len(r.Verf.Body) != 0:
		return "a verifier that nobody asked for", fmt.Sprintf("flavour %d: % x", r.Verf.Flavor, b)
	case x.poor && (status == AcceptSystemErr || status == DeniedAuthError):
		return "", "" // the client's entry in the export table may be what there was no memory for
	case status != x.Want:
		return "a reply with a wrong status", fmt.Sprintf("status %d, want %d: % x", status, x.Want, b)
	case status == DeniedAuthError && uint32(r.Why) != x.Why:
		return "a call is denied for a wrong reason", fmt.Sprintf("%v, want %v: % x", r.Why, wire.Auth_stat(x.Why), b)
	case x.Look != nil:
		if wrong := x.Look(r); wrong != "" {
			return "a reply with wrong results", fmt.Sprintf("%s: % x", wrong, b)
		}
	}
	return "", ""
}
