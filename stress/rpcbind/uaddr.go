// SPDX-License-Identifier: MIT

package rpcbind

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

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
