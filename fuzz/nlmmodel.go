// SPDX-License-Identifier: MIT

package fuzz

import "bytes"

// What a 3.19 lock manager makes of arguments, as far as it does not depend on locks: another part of the model.

// nlmShape says what arguments look like.
type nlmShape uint8

const (
	nlmNothing nlmShape = iota // no arguments
	nlmTest                    // cookie, exclusive, lock
	nlmLock                    // cookie, block, exclusive, lock, reclaim, state
	nlmCancel                  // cookie, block, exclusive, lock
	nlmUnlock                  // cookie, lock
	nlmShare                   // cookie, caller, handle, owner, mode, access; what follows is not read
	nlmNotify                  // caller, state
	nlmReboot                  // host, state, 16 octets
	nlmResult                  // cookie, status
)

// nlmShapes is by procedure; those that have none are not there, and what follows LOCK_RES and its like is not read.
var nlmShapes = map[uint32]nlmShape{
	1: nlmTest, 2: nlmLock, 3: nlmCancel, 4: nlmUnlock, 5: nlmTest,
	6: nlmTest, 7: nlmLock, 8: nlmCancel, 9: nlmUnlock, 10: nlmTest,
	15: nlmResult, 16: nlmReboot, 20: nlmShare, 21: nlmShare, 22: nlmLock, 23: nlmNotify,
}

// nlmArgs is what the model remembers of arguments.
type nlmArgs struct {
	ok     bool   // they decode
	cookie []byte // as it comes back
	caller []byte
}

// shapeReader takes arguments apart; bad is sticky.
type shapeReader struct {
	reader
	bad bool
}

func (r *shapeReader) take(n int) []byte {
	if r.bad = r.bad || n > r.left(); r.bad {
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *shapeReader) word() uint32 {
	if b := r.take(4); b != nil {
		w := reader{b}
		return w.word()
	}
	return 0
}

func (r *shapeReader) words(n int) { r.take(4 * n) }

// opaque is counted octets, from low to high of them.
func (r *shapeReader) opaque(low, high uint32) []byte {
	n := r.word()
	if r.bad = r.bad || n < low || n > high; r.bad {
		return nil
	}
	b := r.take(int(n+3) &^ 3)
	if r.bad {
		return nil
	}
	return b[:n]
}

func (r *shapeReader) handle(vers uint32) {
	if vers == 4 {
		r.opaque(0, 128)
	} else {
		r.opaque(32, 32)
	}
}

// readNlm reads the arguments of a procedure.
func readNlm(vers, proc uint32, b []byte) nlmArgs {
	r := &shapeReader{reader: reader{b}}
	var a nlmArgs
	shape := nlmShapes[proc]
	switch shape {
	case nlmTest, nlmLock, nlmCancel, nlmUnlock, nlmShare, nlmResult:
		a.cookie = r.opaque(0, 32)
		if len(a.cookie) == 0 {
			a.cookie = make([]byte, 4)
		}
	}
	switch shape {
	case nlmLock, nlmCancel:
		r.words(2)
	case nlmTest:
		r.words(1)
	}
	switch shape {
	case nlmTest, nlmLock, nlmCancel, nlmUnlock:
		a.caller = r.opaque(0, 1024)
		r.handle(vers)
		r.opaque(0, 1024)
		r.words(3)
		if vers == 4 {
			r.words(2)
		}
		if shape == nlmLock {
			r.words(2)
		}
	case nlmShare:
		a.caller = r.opaque(0, 1024)
		r.handle(vers)
		r.opaque(0, 1024)
		r.words(2)
	case nlmNotify, nlmReboot:
		a.caller = r.opaque(0, 1024)
		r.words(1)
		if shape == nlmReboot {
			r.words(4)
		}
	case nlmResult:
		r.words(1)
	}
	a.ok = !r.bad
	return a
}

// Status of a lock request.
const (
	nlmDenied  = 1
	nlmNoLocks = 2
	nlmGrace   = 4
)

// nlmInGrace is what a lock manager says that has just come up and that has no file system, to a caller on a port that
// is not privileged: accept status and results; nil if that depends on what happened before.
func nlmInGrace(vers, proc uint32, args []byte) []byte {
	a := readNlm(vers, proc, args)
	if !a.ok {
		return words(nil, garbage)
	}
	result := func(status ...uint32) []byte {
		return words(opaque(words(nil, success), a.cookie), status...)
	}
	switch proc {
	case 1, 2, 22:
		return result(nlmNoLocks)
	case 3, 4:
		return result(nlmGrace)
	case 5:
		return result(nlmDenied)
	case 6, 7, 8, 9, 10:
		// No host's name is a path; but nobody looks at the name when a host at the caller's address is known already.
		if bytes.IndexByte(a.caller, '/') >= 0 {
			return nil
		}
	case 16:
		return words(nil, systemErr)
	case 20, 21:
		return result(nlmGrace, 0)
	}
	return words(nil, success)
}
