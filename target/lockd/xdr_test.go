// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// xdr builds the octets of arguments.
type xdr []byte

func (x xdr) words(ws ...uint32) xdr {
	for _, w := range ws {
		x = binary.BigEndian.AppendUint32(x, w)
	}
	return x
}

// opaque appends what the length says, whatever is in b: a length that lies is the point of some tests.
func (x xdr) opaque(n uint32, b []byte) xdr {
	x = append(x.words(n), b...)
	for len(x)%4 != 0 {
		x = append(x, 0)
	}
	return x
}

func (x xdr) bytes(b string) xdr { return x.opaque(uint32(len(b)), []byte(b)) }

// wire is one version as a test speaks it.
type wire struct {
	vers   uint32
	decode func(proc uint32, octets []byte) (any, int, bool)
}

var wires = []wire{{1, NlmDecodeArgs}, {3, NlmDecodeArgs}, {4, Nlm4DecodeArgs}}

// lockOf is a lock on the wire.
func (w wire) lockOf(caller string, fh []byte, oh string, svid uint32, start, n uint64) xdr {
	x := xdr{}.bytes(caller)
	if w.vers != 4 {
		fh = append(append([]byte{}, fh...), make([]byte, max(0, NFS2_FHSIZE-len(fh)))...)
	}
	x = x.opaque(uint32(len(fh)), fh).bytes(oh).words(svid)
	return w.rangeOf(x, start, n)
}

func (w wire) rangeOf(x xdr, start, n uint64) xdr {
	if w.vers == 4 {
		return x.words(uint32(start>>32), uint32(start), uint32(n>>32), uint32(n))
	}
	return x.words(uint32(start), uint32(n))
}

// someLock is a lock that any version takes.
func (w wire) someLock() xdr {
	return w.lockOf("client", bytes.Repeat([]byte{7}, NFS2_FHSIZE), "owner", 4711, 10, 20)
}

// argsOf is valid arguments of a procedure of version w.
func (w wire) argsOf(proc uint32) xdr {
	switch proc {
	case NLMPROC_TEST, NLMPROC_GRANTED, NLMPROC_TEST_MSG, NLMPROC_GRANTED_MSG:
		return append(xdr{}.bytes("cook").words(1), w.someLock()...)
	case NLMPROC_LOCK, NLMPROC_LOCK_MSG, NLMPROC_NM_LOCK:
		return append(xdr{}.bytes("cook").words(1, 1), w.someLock()...).words(1, 99)
	case NLMPROC_CANCEL, NLMPROC_CANCEL_MSG:
		return append(xdr{}.bytes("cook").words(1, 1), w.someLock()...)
	case NLMPROC_UNLOCK, NLMPROC_UNLOCK_MSG:
		return append(xdr{}.bytes("cook"), w.someLock()...)
	case NLMPROC_SHARE, NLMPROC_UNSHARE:
		return xdr{}.bytes("cook").bytes("client").opaque(NFS2_FHSIZE, bytes.Repeat([]byte{7}, NFS2_FHSIZE)).
			bytes("owner").words(2, 3)
	case NLMPROC_FREE_ALL:
		return xdr{}.bytes("client").words(99)
	case NLMPROC_NSM_NOTIFY:
		return append(xdr{}.bytes("client").words(99), "0123456789abcdef"...)
	case NLMPROC_GRANTED_RES:
		return xdr{}.bytes("cook").words(NLM_LCK_DENIED)
	}
	return nil
}

// TestDecode decodes valid arguments of every procedure of every version: what was sent is what comes out, one octet
// less is refused, more does not matter.
func TestDecode(t *testing.T) {
	for _, w := range wires {
		for proc := uint32(0); proc <= NLMPROC_FREE_ALL; proc++ {
			octets := w.argsOf(proc)
			args, n, ok := w.decode(proc, octets)
			if !ok || n != len(octets) {
				t.Errorf("version %d procedure %d: %t after %d of %d", w.vers, proc, ok, n, len(octets))
				continue
			}
			if _, n, ok := w.decode(proc, append(octets[:len(octets):len(octets)], 1, 2, 3, 4, 5)); !ok || n != len(octets) {
				t.Errorf("version %d procedure %d with more behind: %t after %d", w.vers, proc, ok, n)
			}
			for cut := 1; cut <= len(octets); cut++ {
				if _, _, ok := w.decode(proc, octets[:len(octets)-cut]); ok {
					t.Errorf("version %d procedure %d: %d octets less are enough", w.vers, proc, cut)
				}
			}
			if bad := w.wrong(proc, args); bad != "" {
				t.Errorf("version %d procedure %d: %s", w.vers, proc, bad)
			}
		}
	}
}

// wrong holds decoded arguments against argsOf.
func (w wire) wrong(proc uint32, args any) string {
	switch a := args.(type) {
	case nil:
		if len(w.argsOf(proc)) != 0 {
			return "nothing decoded"
		}
	case *NlmReboot:
		if string(a.Mon) != "client" || a.State != 99 || string(a.Priv[:]) != "0123456789abcdef" {
			return fmt.Sprintf("%+v", a)
		}
	case *NlmRes:
		if string(a.Cookie.Data[:a.Cookie.Len]) != "cook" || a.Status != NLM_LCK_DENIED {
			return fmt.Sprintf("%+v", a)
		}
	case *NlmArgs:
		want := NlmArgs{Lock: NlmLock{Caller: []byte("client")}}
		lock := &want.Lock
		if proc == NLMPROC_FREE_ALL {
			want.State = 99
			return sameArgs(a, &want)
		}
		want.Cookie.Len = uint32(copy(want.Cookie.Data[:], "cook"))
		lock.Oh = []byte("owner")
		lock.Fh.Size = NFS2_FHSIZE
		copy(lock.Fh.Data[:], bytes.Repeat([]byte{7}, NFS2_FHSIZE))
		lock.Svid, lock.Fl = 4711, fs.FileLock{FlPid: 4711, FlFlags: fs.FL_POSIX, FlStart: 10, FlEnd: 29, FlType: fs.F_WRLCK}
		if w.vers == 4 {
			lock.LockStart, lock.LockLen = 10, 20
		}
		switch proc {
		case NLMPROC_LOCK, NLMPROC_LOCK_MSG, NLMPROC_NM_LOCK:
			want.Block, want.Reclaim, want.State, want.Monitor = true, true, 99, true
		case NLMPROC_CANCEL, NLMPROC_CANCEL_MSG:
			want.Block = true
		case NLMPROC_UNLOCK, NLMPROC_UNLOCK_MSG:
			lock.Fl.FlType = fs.F_UNLCK
		case NLMPROC_SHARE, NLMPROC_UNSHARE:
			want.FsmMode, want.FsmAccess = 2, 3
			lock.Svid, lock.Fl, lock.LockStart, lock.LockLen = ^uint32(0), fs.FileLock{FlPid: ^uint32(0)}, 0, 0
		}
		return sameArgs(a, &want)
	}
	return ""
}

func sameArgs(got, want *NlmArgs) string {
	if g, w := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", *want); g != w {
		return "\n got " + g + "\nwant " + w
	}
	return ""
}

// TestBounds looks at every bound of the arguments from both sides.
func TestBounds(t *testing.T) {
	name := func(n int) string { return strings.Repeat("n", n) }
	for _, w := range wires {
		fhs := map[int]bool{0: w.vers == 4, 1: w.vers == 4, 20: w.vers == 4, 31: w.vers == 4, 32: true,
			33: w.vers == 4, 64: w.vers == 4, 127: w.vers == 4, 128: w.vers == 4, 129: false, 1 << 20: false}
		test := func(cookie, caller string, fh, oh int) xdr {
			x := xdr{}.bytes(cookie).words(0).bytes(caller).opaque(uint32(fh), make([]byte, min(fh, 200)))
			return w.rangeOf(x.bytes(name(oh)).words(1), 0, 0)
		}
		try := func(what string, proc uint32, octets xdr, want bool) {
			t.Helper()
			if _, _, ok := w.decode(proc, octets); ok != want {
				t.Errorf("version %d: %s: %t", w.vers, what, ok)
			}
		}
		for n, ok := range map[int]bool{0: true, 1: true, 31: true, 32: true, 33: false, 1024: false} {
			try(fmt.Sprint("cookie of ", n), NLMPROC_TEST, test(name(n), "c", 32, 1), ok)
			try(fmt.Sprint("cookie of a share of ", n), NLMPROC_SHARE,
				xdr{}.bytes(name(n)).bytes("c").opaque(32, make([]byte, 32)).bytes("o").words(0, 0), ok)
			try(fmt.Sprint("cookie of a result of ", n), NLMPROC_GRANTED_RES, xdr{}.bytes(name(n)).words(0), ok)
		}
		for n, ok := range map[int]bool{0: true, 1: true, 1023: true, 1024: true, 1025: false} {
			try(fmt.Sprint("caller of ", n), NLMPROC_TEST, test("c", name(n), 32, 1), ok)
			try(fmt.Sprint("owner of ", n), NLMPROC_TEST, test("c", "c", 32, n), ok)
			try(fmt.Sprint("caller of FREE_ALL of ", n), NLMPROC_FREE_ALL, xdr{}.bytes(name(n)).words(0), ok)
			try(fmt.Sprint("rebooted host of ", n), NLMPROC_NSM_NOTIFY,
				append(xdr{}.bytes(name(n)).words(0), make([]byte, SM_PRIV_SIZE)...), ok)
			try(fmt.Sprint("caller of a share of ", n), NLMPROC_SHARE,
				xdr{}.bytes("").bytes(name(n)).opaque(32, make([]byte, 32)).bytes("o").words(0, 0), ok)
			try(fmt.Sprint("owner of a share of ", n), NLMPROC_SHARE,
				xdr{}.bytes("").bytes("c").opaque(32, make([]byte, 32)).bytes(name(n)).words(0, 0), ok)
		}
		for n, ok := range fhs {
			try(fmt.Sprint("file handle of ", n), NLMPROC_TEST, test("c", "c", n, 1), ok)
			try(fmt.Sprint("file handle of a share of ", n), NLMPROC_UNSHARE,
				xdr{}.bytes("").bytes("c").opaque(uint32(n), make([]byte, min(n, 200))).bytes("").words(0, 0), ok)
		}
		// Lengths that become small ones when they are rounded up to words in 32 bits.
		for _, n := range []uint32{1<<32 - 1, 1<<32 - 3, 1<<32 - 4, 1 << 31} {
			try(fmt.Sprintf("cookie of %#x", n), NLMPROC_GRANTED_RES, xdr{}.words(n, 0, 0, 0), false)
			try(fmt.Sprintf("caller of %#x", n), NLMPROC_FREE_ALL, xdr{}.words(n, 0, 0, 0), false)
			try(fmt.Sprintf("owner of %#x", n), NLMPROC_TEST,
				w.rangeOf(xdr{}.bytes("").words(0).bytes("c").opaque(32, make([]byte, 32)).words(n, 1), 0, 0), false)
		}
	}
}

// TestEmptyCookie: no cookie is four zero octets.
func TestEmptyCookie(t *testing.T) {
	for _, w := range wires {
		args, n, ok := w.decode(NLMPROC_GRANTED_RES, xdr{}.words(0, NLM_LCK_GRANTED))
		if res, is := args.(*NlmRes); !ok || n != 8 || !is || res.Cookie != (NlmCookie{Len: 4}) {
			t.Errorf("version %d: %t %d %+v", w.vers, ok, n, args)
		}
	}
}

// TestRange decodes ranges and encodes them as the one that is in the way.
func TestRange(t *testing.T) {
	const top = 1<<63 - 1
	for _, x := range []struct {
		vers             uint32
		start, n         uint64
		wantStart, wantE int64
		backStart, backN uint64 // what TEST tells of it
	}{
		{1, 0, 0, 0, top, 0, 0},
		{1, 0, 1, 0, 0, 0, 1},
		{1, 5, 10, 5, 14, 5, 10},
		{1, 0, 1<<31 - 1, 0, 1<<31 - 2, 0, 1<<31 - 1},
		{1, 0, 1 << 31, 0, 1<<31 - 1, 0, 1<<31 - 1}, // one octet more than can be told
		{1, 0, 1<<31 + 1, 0, top, 0, 0},
		{1, 1, 1<<31 - 1, 1, 1<<31 - 1, 1, 1<<31 - 1},
		{1, 1, 1 << 31, 1, top, 1, 0},
		{1, 0, 1<<32 - 1, 0, top, 0, 0},
		{1, 1<<31 - 1, 1, 1<<31 - 1, 1<<31 - 1, 1<<31 - 1, 1},
		{1, 1<<31 - 1, 2, 1<<31 - 1, top, 1<<31 - 1, 0},
		{1, 1<<31 - 1, 0, 1<<31 - 1, top, 1<<31 - 1, 0},
		{1, 1 << 31, 0, 1 << 31, top, 1<<31 - 1, 0},
		{1, 1 << 31, 1, 1 << 31, top, 1<<31 - 1, 0},
		{1, 1<<32 - 1, 1, 1<<32 - 1, top, 1<<31 - 1, 0},
		{1, 2, 1<<32 - 1, 2, top, 2, 0}, // wraps in 32 bits
		{1, 1<<31 - 1, 1<<32 - 1, 1<<31 - 1, top, 1<<31 - 1, 0},
		{1, 1 << 31, 1<<31 + 1, 1 << 31, top, 1<<31 - 1, 0},
		{4, 0, 0, 0, top, 0, 0},
		{4, 0, 1, 0, 0, 0, 1},
		{4, 5, 10, 5, 14, 5, 10},
		{4, 1 << 31, 1 << 32, 1 << 31, 1<<32 + 1<<31 - 1, 1 << 31, 1 << 32},
		{4, 0, top, 0, top - 1, 0, top},
		{4, 0, 1 << 63, 0, top, 0, 0}, // reaches the last octet: to the end
		{4, top, 1, top, top, top, 0},
		{4, top, 0, top, top, top, 0},
		{4, top - 1, 1, top - 1, top - 1, top - 1, 1},
	} {
		w := wires[min(x.vers, 3)-1]
		args, _, ok := w.decode(NLMPROC_TEST, append(xdr{}.bytes("").words(1),
			w.lockOf("c", make([]byte, NFS2_FHSIZE), "o", 1, x.start, x.n)...))
		if !ok {
			t.Errorf("%+v is refused", x)
			continue
		}
		fl := &args.(*NlmArgs).Lock.Fl
		if fl.FlStart != x.wantStart || fl.FlEnd != x.wantE {
			t.Errorf("%+v becomes %d to %d", x, fl.FlStart, fl.FlEnd)
		}
		want := w.rangeOf(xdr{}.bytes("ck").words(NLM_LCK_DENIED, 1, 1).bytes("o"), x.backStart, x.backN)
		res := NlmRes{Status: NLM_LCK_DENIED, Lock: args.(*NlmArgs).Lock}
		res.Cookie.Len = uint32(copy(res.Cookie.Data[:], "ck"))
		if got := encode(t, x.vers, NLMPROC_TEST, &res); !bytes.Equal(got, want) {
			t.Errorf("%+v is told as % x, want % x", x, got, want)
		}
	}
}

// encode writes a result over what a reply page held before.
func encode(t *testing.T, vers, proc uint32, res any) []byte {
	t.Helper()
	procs := nlmsvcTable
	if vers == 4 {
		procs = nlm4svcTable
	}
	rqstp := &sunrpc.SvcRqst{}
	mem := bytes.Repeat([]byte{0xee}, sunrpc.PAGE_SIZE)
	rqstp.RqRes.Head = sunrpc.KvecOf(mem, 0)
	if !procs[proc].encode(rqstp, rqstp.RqRes.Head.P(), res) {
		t.Errorf("version %d procedure %d: does not encode", vers, proc)
	}
	return rqstp.RqRes.Head.Bytes()
}

// TestEncode writes each form of result: padding is zero, an empty owner and one that fills no word are both fine.
func TestEncode(t *testing.T) {
	for _, w := range wires {
		for _, oh := range []string{"", "o", "abcd", strings.Repeat("x", 1021), strings.Repeat("x", 1024)} {
			res := NlmRes{Status: NLM_LCK_DENIED, Lock: NlmLock{Oh: []byte(oh), Svid: 7,
				Fl: fs.FileLock{FlType: fs.F_RDLCK, FlStart: 1, FlEnd: 2}}}
			res.Cookie.Len = uint32(copy(res.Cookie.Data[:], "12345"))
			want := w.rangeOf(xdr{}.bytes("12345").words(NLM_LCK_DENIED, 0, 7).bytes(oh), 1, 2)
			if got := encode(t, w.vers, NLMPROC_TEST, &res); !bytes.Equal(got, want) {
				t.Errorf("version %d, owner of %d: % x", w.vers, len(oh), got)
			}
		}
		for status := uint32(0); status <= NLM_FAILED; status++ {
			res := NlmRes{Status: status, Cookie: NlmCookie{Len: 4}}
			head := xdr{}.words(4, 0, status)
			for proc, want := range map[uint32]xdr{NLMPROC_LOCK: head, NLMPROC_CANCEL: head, NLMPROC_UNLOCK: head,
				NLMPROC_GRANTED: head, NLMPROC_NM_LOCK: head, NLMPROC_SHARE: head.words(0), NLMPROC_UNSHARE: head.words(0)} {
				if got := encode(t, w.vers, proc, &res); !bytes.Equal(got, want) {
					t.Errorf("version %d procedure %d status %d: % x", w.vers, proc, status, got)
				}
			}
			if status != NLM_LCK_DENIED {
				if got := encode(t, w.vers, NLMPROC_TEST, &res); !bytes.Equal(got, head) {
					t.Errorf("version %d TEST status %d: % x", w.vers, status, got)
				}
			}
		}
	}
}

// TestCastToNlm is the whole table of what versions say for a status.
func TestCastToNlm(t *testing.T) {
	old := map[uint32]uint32{NLM_LCK_GRANTED: 0, NLM_LCK_DENIED: 1, NLM_LCK_DENIED_NOLOCKS: 2, NLM_LCK_BLOCKED: 3,
		NLM_LCK_DENIED_GRACE_PERIOD: 4, NLM_DEADLCK: 1, NLM_ROFS: 2, NLM_STALE_FH: 2, NLM_FBIG: 2, NLM_FAILED: 2,
		10: 2, NLM_DROP_REPLY: NLM_DROP_REPLY}
	for status, want := range old {
		for _, vers := range []uint32{1, 3} {
			if got := castToNlm(status, vers); got != want {
				t.Errorf("version %d: %d is told as %d, want %d", vers, status, got, want)
			}
		}
		if got := castToNlm(status, 4); got != status {
			t.Errorf("version 4: %d is told as %d", status, got)
		}
	}
}
