// SPDX-License-Identifier: MIT

package oracle

import (
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Every request that reached a service which stayed up is answered once, with the octets that an RPC reply has; no
// request is answered twice, and nothing arrives that answers nothing. Invariants I41 and I42.
var reply = &Oracle{
	Name: "reply",
	Doc:  "every request on a connection that stayed up is answered exactly once, with a well-formed reply",
	End:  checkReplies,
}

// Exchange is one request of a client and what came back.
type Exchange struct {
	Who  string // the client
	Xid  uint32
	Want uint32 // the accept status of the answer: one of the Accept constants

	Optional bool // the service may go away meanwhile, or was made to fail: no answer is fine, a wrong one is not

	Sent    bool
	Err     int      // -errno that ended the wait, if there was no answer
	Replies [][]byte // what came back, without record markers
	Cut     bool     // the connection ended within a record
}

// Accept status of a reply, and the two that Decode makes of a denied one.
const (
	AcceptSuccess      = 0
	AcceptProgUnavail  = 1
	AcceptProgMismatch = 2
	AcceptProcUnavail  = 3
	AcceptGarbageArgs  = 4
	AcceptSystemErr    = 5
	DeniedRpcMismatch  = 100
	DeniedAuthError    = 101
)

// Reply is what a decoded reply says.
type Reply struct {
	Xid       uint32
	Status    uint32 // Accept... or Denied...
	Low, High uint32 // with a mismatch
	AuthStat  uint32 // with DeniedAuthError
	Results   []byte // with AcceptSuccess
}

// decoder reads words until the octets end; after that it stays short.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) word() uint32 {
	if len(d.b) < 4 {
		d.b, d.short = nil, true
		return 0
	}
	w := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return w
}

// Decode reads a reply, RFC 5531, independently of the code under test. The error says what is wrong with it.
func Decode(b []byte) (Reply, error) {
	d := decoder{b: b}
	var r Reply
	r.Xid = d.word()
	if w := d.word(); w != 1 && !d.short {
		return r, fmt.Errorf("message type %d, want REPLY", w)
	}
	switch w := d.word(); w {
	case 0:
		if flavour := d.word(); flavour != 0 {
			return r, fmt.Errorf("verifier of flavour %d, want AUTH_NONE", flavour)
		}
		if n := d.word(); n != 0 {
			return r, fmt.Errorf("AUTH_NONE verifier of %d octets", n)
		}
		r.Status = d.word()
		switch r.Status {
		case AcceptSuccess:
			r.Results, d.b = d.b, nil
		case AcceptProgMismatch:
			r.Low, r.High = d.word(), d.word()
		case AcceptProgUnavail, AcceptProcUnavail, AcceptGarbageArgs, AcceptSystemErr:
		default:
			return r, fmt.Errorf("accept status %d", r.Status)
		}
	case 1:
		switch w := d.word(); w {
		case 0:
			r.Status, r.Low, r.High = DeniedRpcMismatch, d.word(), d.word()
		case 1:
			r.Status, r.AuthStat = DeniedAuthError, d.word()
		default:
			return r, fmt.Errorf("reject status %d", w)
		}
	default:
		return r, fmt.Errorf("reply status %d", w)
	}
	switch {
	case d.short:
		return r, fmt.Errorf("reply of %d octets is too short", len(b))
	case len(d.b) > 0:
		return r, fmt.Errorf("%d octets behind the reply", len(d.b))
	}
	return r, nil
}

func checkReplies(s *Subject) {
	// Where a step failed, or time was made to pass quicker than the machine works, a request may go unanswered.
	excused := s.M.Departed(kernel.DecideAlloc) > 0 || s.M.Departed(kernel.DecideTimer) > 0
	for _, x := range s.Exchanges {
		x.Optional = x.Optional || excused
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
	case len(x.Replies) == 0 && !x.Optional && !x.Sent:
		return "a service that is up cannot be reached", kernel.ErrName(x.Err)
	case len(x.Replies) == 0 && !x.Optional:
		return "a request is never answered", kernel.ErrName(x.Err)
	case len(x.Replies) == 0:
		return "", ""
	case !x.Sent:
		return "an answer without a request", fmt.Sprintf("% x", x.Replies[0])
	}
	b := x.Replies[0]
	r, err := Decode(b)
	switch {
	case err != nil:
		return "a malformed reply", fmt.Sprintf("%v: % x", err, b)
	case r.Xid != x.Xid:
		return "a reply to somebody else", fmt.Sprintf("xid %#x: % x", r.Xid, b)
	case r.Status != x.Want:
		return "a reply with a wrong status", fmt.Sprintf("status %d, want %d: % x", r.Status, x.Want, b)
	case r.Status == AcceptSuccess && len(r.Results) != 0:
		return "a NULL procedure with results", fmt.Sprintf("% x", b)
	}
	return "", ""
}
