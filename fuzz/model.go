// SPDX-License-Identifier: MIT

package fuzz

import (
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/wire"
)

// The model says what a 3.19 server answers to a message. It knows nothing of the port: it is a second reading
// of the same rules, on plain slices.

// verdict is what becomes of a call.
type verdict uint8

const (
	goOn    verdict = iota
	answers         // reply holds the answer
	silence         // nothing, and the connection stays
	badCred
	unknown // the rules do not say: stale memory is read
)

// Words of replies.
const (
	isReply   = 1
	accepted  = 0
	denied    = 1
	mismatch  = 0 // denied: version of RPC
	authError = 1 // denied

	success      = 0
	progUnavail  = 1
	progMismatch = 2
	procUnavail  = 3
	garbage      = 4
	systemErr    = 5

	authBadCred = 1
	authBadVerf = 3
)

// reader takes words off a message.
type reader struct{ b []byte }

func (r *reader) left() int { return len(r.b) }

func (r *reader) word() uint32 {
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// reply is the answer to msg, without a record mark.
func (s *service) reply(msg []byte) (verdict, []byte) {
	if len(msg) < 8 {
		return unknown, nil // XID and direction are taken whether they are there or not
	}
	r := &reader{msg}
	xid := r.word()
	if r.word() != 0 {
		return silence, nil // no call
	}
	if r.left() < 24 {
		return silence, nil
	}
	if r.word() != 2 {
		return answers, words(nil, xid, isReply, denied, mismatch, 2, 2)
	}
	prog, vers, proc := r.word(), r.word(), r.word()
	flavour := r.word()
	what := badCred
	if flavour <= 1 {
		what = map[uint32]func(*reader) verdict{0: nullCredential, 1: unixCredential}[flavour](r)
	}
	switch what {
	case badCred:
		return answers, words(nil, xid, isReply, denied, authError, authBadCred)
	case badVerf:
		return answers, words(nil, xid, isReply, denied, authError, authBadVerf)
	}
	ok := func(stat ...uint32) (verdict, []byte) {
		return answers, words(words(nil, xid, isReply, accepted, 0, 0), stat...)
	}
	if prog != s.prog {
		return ok(progUnavail)
	}
	switch s.auth(flavour, proc, s.stranger()) {
	case unknown:
		return unknown, nil
	case badCred:
		return answers, words(nil, xid, isReply, denied, authError, authBadCred)
	case silence:
		return silence, nil
	}
	table, known := s.versions[vers]
	switch {
	case !known:
		return ok(progMismatch, s.low, s.hi)
	case uint64(proc) >= uint64(len(table)) || table[proc] == unavailable:
		return ok(procUnavail)
	case table[proc] == asked:
		results := s.results(vers, proc, r.b)
		if results == nil {
			return unknown, nil
		}
		v, b := ok()
		return v, append(b, results...)
	}
	return ok(success)
}

// badVerf is one more verdict, on credentials.
const badVerf verdict = 100

// nullCredential reads AUTH_NONE behind its flavour word.
func nullCredential(r *reader) verdict {
	if r.left() < 12 {
		return badCred
	}
	if r.word() != 0 {
		return badCred
	}
	return emptyVerifier(r)
}

// unixCredential reads AUTH_SYS behind its flavour word: length (of which nobody takes notice), stamp, machine name,
// user, group, more groups.
func unixCredential(r *reader) verdict {
	if r.left() < 12 {
		return badCred
	}
	r.word()
	r.word()
	name := (r.word() + 3) >> 2 // wraps: a name of nearly 4 GiB is empty
	// User, group, number of groups must follow: in words.
	if name > 64 || r.left() < 4*int(name)+12 {
		return badCred
	}
	r.b = r.b[4*name:]
	r.word()
	r.word()
	groups := r.word()
	// Groups and verifier must follow.
	if groups > 16 || r.left() < 4*int(groups)+8 {
		return badCred
	}
	r.b = r.b[4*groups:]
	return emptyVerifier(r)
}

func emptyVerifier(r *reader) verdict {
	flavour, length := r.word(), r.word()
	if flavour != 0 || length != 0 {
		return badVerf
	}
	return goOn
}

// stream is what a server does with the octets of a connection.
type stream struct {
	replies [][]byte // in order, with marks
	closed  bool     // it closes the connection then
	fuzzy   bool     // what it answers is unknown
	inside  bool     // the octets end inside a record
	late    bool     // it closes the connection only when something follows: an empty last fragment is noticed then
}

// read takes a stream apart as the server does.
func (s *service) read(b []byte) stream {
	var st stream
	var record []byte
	for {
		if len(b) < 4 {
			st.inside = len(b) > 0 || len(record) > 0
			return st
		}
		mark := binary.BigEndian.Uint32(b)
		n, last := int(mark&^(1<<31)), mark>>31 == 1
		if n+len(record) > maxRecord {
			st.closed = true // judged by the mark alone
			return st
		}
		if len(b)-4 < n {
			st.inside = true
			return st
		}
		record = append(record, b[4:4+n]...)
		b = b[4+n:]
		if !last {
			if len(b) == 0 {
				st.inside = true
				return st
			}
			continue
		}
		if len(record) < 8 {
			st.closed, st.late = true, n == 0 && len(b) == 0
			return st
		}
		what, reply := s.reply(record)
		st.fuzzy = st.fuzzy || what == unknown
		if what == answers {
			st.replies = append(st.replies, append(words(nil, 1<<31|uint32(len(reply))), reply...))
		}
		record = nil
		if len(b) == 0 {
			return st
		}
	}
}

// lawless says what the law of the called procedure has against a reply to msg, "" if nothing. What msg is too short to
// call has no results.
func lawless(msg, reply []byte) string {
	var prog, vers, proc uint32
	if len(msg) >= 24 {
		r := &reader{msg[12:]}
		prog, vers, proc = r.word(), r.word(), r.word()
	}
	if _, err := wire.DecodeReply(prog, vers, proc, reply); err != nil {
		return err.Error()
	}
	return ""
}

// hexes spells messages for a person.
func hexes(list [][]byte) string {
	s := ""
	for _, b := range list {
		s += fmt.Sprintf("\n    %x", b)
	}
	if s == "" {
		return " none"
	}
	return s
}
