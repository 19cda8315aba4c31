// SPDX-License-Identifier: MIT

// Package rpcbind speaks the rpcbind protocol (RFC 1833, versions 2 to 4 of program 100000) over real sockets: a
// Server with a table of its own, for runs on machines without a portmapper, and a Client for a real one.
package rpcbind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Program and its procedures. Version 2 calls number 3 GETPORT, versions 3 and 4 call it GETADDR.
const (
	Program = 100000
	Port    = 111

	procNull        = 0
	procSet         = 1
	procUnset       = 2
	procGetaddr     = 3
	procDump        = 4
	procGettime     = 6
	procGetversaddr = 9
	procGetaddrlist = 11
)

// Numbers of RFC 5531.
const (
	rpcVersion = 2

	msgCall  = 0
	msgReply = 1

	msgAccepted = 0
	msgDenied   = 1

	acceptSuccess      = 0
	acceptProgUnavail  = 1
	acceptProgMismatch = 2
	acceptProcUnavail  = 3
	acceptGarbageArgs  = 4
	acceptSystemErr    = 5

	rejectRPCMismatch = 0
	rejectAuthError   = 1

	maxAuthBody = 400
	maxString   = 1024
	maxRecord   = 1 << 20
	lastFrag    = 1 << 31

	protoTCP = 6
	protoUDP = 17
)

// Entry is one line of the table: a program version that is served under a netid ("tcp", "udp6", ...) at a universal
// address ("127.0.0.1.0.111").
type Entry struct {
	Prog, Vers uint32
	Netid      string
	Addr       string
	Owner      string
}

var errShort = errors.New("rpcbind: message too short or an item in it too long")

// enc appends XDR items; integers are four bytes, opaques are padded to four.
type enc []byte

func (e *enc) u32(v uint32) { *e = binary.BigEndian.AppendUint32(*e, v) }

func (e *enc) bool(v bool) {
	if v {
		e.u32(1)
	} else {
		e.u32(0)
	}
}

func (e *enc) str(s string) {
	e.u32(uint32(len(s)))
	*e = append(*e, s...)
	for len(*e)%4 != 0 {
		*e = append(*e, 0)
	}
}

// entry writes a struct rpcb.
func (e *enc) entry(x Entry) {
	e.u32(x.Prog)
	e.u32(x.Vers)
	e.str(x.Netid)
	e.str(x.Addr)
	e.str(x.Owner)
}

// dec takes XDR items off the front of b. After the first item that does not fit, all are zero and bad is set.
type dec struct {
	b   []byte
	bad bool
}

func (d *dec) u32() uint32 {
	if d.bad || len(d.b) < 4 {
		d.bad = true
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *dec) opaque(limit int) []byte {
	n := d.u32()
	if d.bad || n > uint32(limit) || (int(n)+3)&^3 > len(d.b) {
		d.bad = true
		return nil
	}
	s := d.b[:n]
	d.b = d.b[(int(n)+3)&^3:]
	return s
}

func (d *dec) str() string { return string(d.opaque(maxString)) }

func (d *dec) entry() Entry {
	var x Entry
	x.Prog = d.u32()
	x.Vers = d.u32()
	x.Netid = d.str()
	x.Addr = d.str()
	x.Owner = d.str()
	return x
}

// readRecord reads one record of a stream, all its fragments together.
func readRecord(r io.Reader) ([]byte, error) {
	var rec []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n := int(m &^ lastFrag)
		if len(rec)+n > maxRecord {
			return nil, fmt.Errorf("rpcbind: record of more than %d bytes", maxRecord)
		}
		at := len(rec)
		rec = append(rec, make([]byte, n)...)
		if _, err := io.ReadFull(r, rec[at:]); err != nil {
			return nil, err
		}
		if m&lastFrag != 0 {
			return rec, nil
		}
	}
}

// writeRecord writes one record in one fragment.
func writeRecord(w io.Writer, rec []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(rec)), lastFrag|uint32(len(rec)))
	_, err := w.Write(append(b, rec...))
	return err
}

// Uaddr is the universal address of RFC 5665: the host and the two bytes of the port, with dots between.
func Uaddr(a netip.AddrPort) string {
	return fmt.Sprintf("%s.%d.%d", a.Addr().WithZone(""), a.Port()>>8, a.Port()&0xff)
}

// ParseUaddr is the reverse of Uaddr.
func ParseUaddr(s string) (netip.AddrPort, error) {
	bad := fmt.Errorf("rpcbind: %q is no universal address", s)
	rest, lo, ok := cutLast(s)
	if !ok {
		return netip.AddrPort{}, bad
	}
	host, hi, ok := cutLast(rest)
	if !ok {
		return netip.AddrPort{}, bad
	}
	h, err1 := strconv.ParseUint(hi, 10, 8)
	l, err2 := strconv.ParseUint(lo, 10, 8)
	ip, err3 := netip.ParseAddr(host)
	if err1 != nil || err2 != nil || err3 != nil {
		return netip.AddrPort{}, bad
	}
	return netip.AddrPortFrom(ip, uint16(h<<8|l)), nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// protOf is the protocol number that version 2 uses for a netid, 0 if it has none.
func protOf(netid string) uint32 {
	switch netid {
	case "tcp":
		return protoTCP
	case "udp":
		return protoUDP
	}
	return 0
}

func netidOf(prot uint32) string {
	switch prot {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	}
	return ""
}
