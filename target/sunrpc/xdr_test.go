// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// words is a message of big-endian words.
func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

func TestKvecTakesAndGivesBackWords(t *testing.T) {
	v := KvecOf(words(1, 2, 3), 8)
	if a, b := SvcGetnl(&v), SvcGetu32(&v); a != 1 || b != 2 || v.IovLen != 0 || v.IovBase != 8 {
		t.Errorf("got %d %d, window %d+%d", a, b, v.IovBase, v.IovLen)
	}
	SvcUngetu32(&v)
	if v.IovLen != 4 || v.P().Look() != 2 || v.IovClamped {
		t.Errorf("after unget: window %d+%d, clamped %t", v.IovBase, v.IovLen, v.IovClamped)
	}
}

// A window shorter than what is taken from it wraps as size_t does, and the bytes behind it are seen.
func TestKvecWraps(t *testing.T) {
	v := KvecOf(words(1, 0xdead, 0xbeef), 4)
	SvcGetnl(&v)
	if got := SvcGetnl(&v); got != 0xdead || v.IovLen != math.MaxUint64-3 {
		t.Errorf("stale word %#x, length %#x", got, v.IovLen)
	}
	if v.IovLen < 6*4 {
		t.Error("the wrapped length does not pass the 24 byte check")
	}
	if got := SvcGetnl(&v); got != 0xbeef || v.IovClamped {
		t.Errorf("stale word %#x, clamped %t", got, v.IovClamped)
	}
	if got := SvcGetnl(&v); got != 0 || !v.IovClamped {
		t.Errorf("behind the storage: %#x, clamped %t", got, v.IovClamped)
	}
	if got := len(v.Bytes()); got != 0 {
		t.Errorf("%d bytes behind the storage", got)
	}
}

func TestKvecAppends(t *testing.T) {
	mem := make([]byte, 8)
	v := KvecOf(mem, 0)
	SvcPutnl(&v, 7)
	SvcPutu32(&v, 8)
	if !bytes.Equal(mem, words(7, 8)) || v.IovLen != 8 || v.IovClamped {
		t.Errorf("got %x, length %d, clamped %t", mem, v.IovLen, v.IovClamped)
	}
	SvcPutnl(&v, 9)
	if v.IovLen != 12 || !v.IovClamped {
		t.Errorf("past the storage: length %d, clamped %t", v.IovLen, v.IovClamped)
	}
}

func TestArgsizeAndRessizeChecks(t *testing.T) {
	var rqstp SvcRqst
	rqstp.RqArg.Head = Kvec{IovMem: make([]byte, 64), IovBase: 16, IovLen: 8}
	rqstp.RqRes.Head = KvecOf(make([]byte, PAGE_SIZE+8), 0)
	p := func(off int) XdrPtr { return XdrPtr{Mem: rqstp.RqArg.Head.IovMem, Off: off} }
	if !XdrArgsizeCheck(&rqstp, p(24)) || XdrArgsizeCheck(&rqstp, p(28)) {
		t.Error("the argument check is not at the end of the head")
	}
	rqstp.RqArg.Head.IovLen = math.MaxUint64 - 3 // the head ends four bytes before it starts
	if XdrArgsizeCheck(&rqstp, p(12)) || XdrArgsizeCheck(&rqstp, p(16)) {
		t.Error("the argument check finds a place in a head with a wrapped length")
	}
	q := XdrPtr{Mem: rqstp.RqRes.Head.IovMem, Off: PAGE_SIZE}
	if !XdrRessizeCheck(&rqstp, q) || rqstp.RqRes.Head.IovLen != PAGE_SIZE {
		t.Error("a full page does not fit")
	}
	q.Off += 4
	if XdrRessizeCheck(&rqstp, q) || rqstp.RqRes.Head.IovLen != PAGE_SIZE+4 {
		t.Error("more than a page fits")
	}
}

func TestXdrItems(t *testing.T) {
	mem := make([]byte, 64)
	p := XdrPtr{Mem: mem}
	XdrEncodeHyper(&p, 0x0102030405060708)
	XdrEncodeNetobj(&p, &XdrNetobj{Len: 5, Data: []byte("hello")})
	XdrEncodeString(&p, "abcd")
	XdrEncodeOpaqueFixed(&p, []byte{9, 9, 9})
	want := append(words(0x01020304, 0x05060708, 5), "hello\x00\x00\x00\x00\x00\x00\x04abcd\x09\x09\x09\x00"...)
	if p.Off != len(want) || !bytes.Equal(mem[:p.Off], want) {
		t.Fatalf("encoded %x, want %x", mem[:p.Off], want)
	}
	p = XdrPtr{Mem: mem}
	var obj XdrNetobj
	if h := XdrDecodeHyper(&p); h != 0x0102030405060708 {
		t.Errorf("hyper %#x", h)
	}
	if !XdrDecodeNetobj(&p, &obj) || obj.Len != 5 || string(obj.Data) != "hello" {
		t.Errorf("netobj %+v", obj)
	}
	if s, ok := XdrDecodeStringInplace(&p, 4); !ok || string(s) != "abcd" {
		t.Errorf("string %q, %t", s, ok)
	}
	var fixed [3]byte
	XdrDecodeOpaqueFixed(&p, fixed[:])
	if fixed != [3]byte{9, 9, 9} || p.Off != len(want) {
		t.Errorf("fixed %v, at %d", fixed, p.Off)
	}
}

func TestXdrLimits(t *testing.T) {
	for _, tc := range []struct {
		n  uint32
		ok bool
	}{{0, true}, {1024, true}, {1025, false}, {math.MaxUint32, false}} {
		p := XdrPtr{Mem: words(tc.n)}
		var obj XdrNetobj
		if got := XdrDecodeNetobj(&p, &obj); got != tc.ok {
			t.Errorf("netobj of %d: %t", tc.n, got)
		} else if got && (len(obj.Data) != int(tc.n) || p.Off != 4+int(tc.n)) {
			t.Errorf("netobj of %d: %d bytes, at %d", tc.n, len(obj.Data), p.Off)
		}
	}
	p := XdrPtr{Mem: words(5)}
	if _, ok := XdrDecodeStringInplace(&p, 4); ok {
		t.Error("a string of 5 bytes passes a limit of 4")
	}
	for _, tc := range []struct{ n, want uint32 }{
		{0, 0}, {1, 1}, {4, 1}, {256, 64}, {257, 65}, {0xfffffffc, 0x3fffffff}, {0xfffffffd, 0}, {0xffffffff, 0},
	} {
		if got := XdrQuadlen(tc.n); got != tc.want {
			t.Errorf("XdrQuadlen(%#x) = %d, want %d", tc.n, got, tc.want)
		}
	}
}

// streamBuf is a message of 16 bytes in the head, 4096+8 in two pages from offset 4088 of the first, 4 in the tail.
func streamBuf() *XdrBuf {
	var pages []*kernel.Page
	for i := range 3 {
		pg := new(kernel.Page)
		for j := 0; j < PAGE_SIZE; j += 4 {
			binary.BigEndian.PutUint32(pg.Data[j:], uint32(0x10000*(i+1)+j))
		}
		pages = append(pages, pg)
	}
	return &XdrBuf{
		Head:     KvecOf(words(1, 2, 3, 4), 16),
		Pages:    pages,
		PageBase: PAGE_SIZE - 8,
		PageLen:  PAGE_SIZE + 8,
		Tail:     KvecOf(words(99), 4),
		Buflen:   16 + PAGE_SIZE + 8 + 4,
		Len:      16 + PAGE_SIZE + 8 + 4,
	}
}

func TestStreamWalksAllPieces(t *testing.T) {
	buf := streamBuf()
	var xdr XdrStream
	XdrInitDecode(&xdr, buf, buf.Head.P())
	var got []uint32
	for {
		p, ok := XdrInlineDecode(&xdr, 4)
		if !ok {
			break
		}
		got = append(got, p.Look())
	}
	if len(got) != int(buf.Len/4) || got[3] != 4 || got[4] != 0x10000+PAGE_SIZE-8 || got[6] != 0x20000 ||
		got[len(got)-1] != 99 {
		t.Errorf("%d words, %#x...", len(got), got[:8])
	}
}

func TestStreamNeedsScratchToStraddle(t *testing.T) {
	buf := streamBuf()
	var xdr XdrStream
	XdrInitDecode(&xdr, buf, XdrPtr{})
	XdrInlineDecode(&xdr, 12)
	if _, ok := XdrInlineDecode(&xdr, 8); ok {
		t.Error("an item in two pieces decoded without a scratch buffer")
	}
	XdrInitDecode(&xdr, buf, XdrPtr{})
	XdrSetScratchBuffer(&xdr, make([]byte, 16))
	XdrInlineDecode(&xdr, 12)
	p, ok := XdrInlineDecode(&xdr, 8)
	if a, b := p.Get(), p.Get(); !ok || a != 4 || b != 0x10000+PAGE_SIZE-8 {
		t.Errorf("got %#x %#x, %t", a, b, ok)
	}
}

func TestStreamEndsAtLen(t *testing.T) {
	buf := &XdrBuf{Head: KvecOf(words(1, 2, 3, 4), 16), Len: 8}
	var xdr XdrStream
	XdrInitDecode(&xdr, buf, XdrPtr{})
	if _, ok := XdrInlineDecode(&xdr, 12); ok {
		t.Error("read past the message")
	}
	if p, ok := XdrInlineDecode(&xdr, 5); !ok || p.Off != 0 || xdr.P.Off != 8 {
		t.Errorf("5 bytes: %t, at %d", ok, xdr.P.Off)
	}
	if _, ok := XdrInlineDecode(&xdr, 0); !ok {
		t.Error("nothing is too much")
	}
	if _, ok := XdrInlineDecode(&xdr, math.MaxUint64-2); ok {
		t.Error("a huge item fits")
	}
}

func TestStreamReservesInTheHead(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	r := m.Run(first{}, kernel.Options{}, "main", func(cur *kernel.Task) {
		buf := &XdrBuf{Head: KvecOf(make([]byte, PAGE_SIZE), 24), Buflen: PAGE_SIZE}
		var xdr XdrStream
		XdrInitEncode(m, &xdr, buf, buf.Head.End())
		if xdr.Room() != (PAGE_SIZE-24)/4 {
			t.Errorf("room %d", xdr.Room())
		}
		p, ok := XdrReserveSpace(&xdr, 5)
		if !ok || p.Off != 24 || buf.Head.IovLen != 32 || buf.Len != 8 {
			t.Errorf("5 bytes: %t at %d, head %d, length %d", ok, p.Off, buf.Head.IovLen, buf.Len)
		}
		if _, ok := XdrReserveSpace(&xdr, PAGE_SIZE-32); !ok {
			t.Error("the rest of the page does not fit")
		}
		if _, ok := XdrReserveSpace(&xdr, 1); ok || buf.Head.IovLen != PAGE_SIZE {
			t.Error("more than the page fits")
		}
	})
	if f := r.Worst(); f != nil {
		t.Error(f)
	}
}

func TestFlatten(t *testing.T) {
	buf := streamBuf()
	b := buf.Flatten()
	if len(b) != int(buf.Len) || binary.BigEndian.Uint32(b[16:]) != 0x10000+PAGE_SIZE-8 ||
		binary.BigEndian.Uint32(b[len(b)-4:]) != 99 {
		t.Errorf("%d bytes, %x...%x", len(b), b[:24], b[len(b)-4:])
	}
	buf.Len = 6
	if got := buf.Flatten(); !bytes.Equal(got, b[:6]) {
		t.Errorf("cut at 6: %x", got)
	}
}

// first runs whichever task can run and comes first.
type first struct{}

func (first) Pick(c *kernel.Choice) *kernel.Task { return c.Runnable[0] }
