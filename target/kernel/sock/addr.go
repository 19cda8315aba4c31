// SPDX-License-Identifier: MIT

package sock

import (
	"fmt"
	"strings"
)

// Address families, socket types and protocols, with the numbers of Linux.
const (
	AF_UNSPEC = 0
	AF_INET   = 2
	AF_INET6  = 10
	PF_INET   = AF_INET
	PF_INET6  = AF_INET6

	SOCK_STREAM = 1
	SOCK_DGRAM  = 2

	IPPROTO_TCP = 6
	IPPROTO_UDP = 17
)

// Addr is a socket address: what a struct sockaddr_in or sockaddr_in6 says. It is comparable. An IPv4 address
// stands in the first four octets of IP and the rest is zero. The zero value has family AF_UNSPEC.
type Addr struct {
	Family int
	IP     [16]byte
	Port   uint16 // host byte order
}

// AnyAddr is the wild-card address of a family with a port. C: INADDR_ANY, in6addr_any.
func AnyAddr(family int, port uint16) Addr { return Addr{Family: family, Port: port} }

// LoopbackAddr is 127.0.0.1 or ::1 with a port. C: INADDR_LOOPBACK, in6addr_loopback.
func LoopbackAddr(family int, port uint16) Addr {
	a := Addr{Family: family, Port: port}
	if family == AF_INET6 {
		a.IP[15] = 1
	} else {
		a.IP[0], a.IP[3] = 127, 1
	}
	return a
}

// Addr4 is an IPv4 address with a port.
func Addr4(a, b, c, d byte, port uint16) Addr {
	return Addr{Family: AF_INET, IP: [16]byte{a, b, c, d}, Port: port}
}

// WithPort is a with another port.
func (a Addr) WithPort(port uint16) Addr {
	a.Port = port
	return a
}

// IsAny reports whether a is the wild-card address of its family.
func (a Addr) IsAny() bool { return a.IP == [16]byte{} }

// IsLoopback reports whether a is an address of the host itself.
func (a Addr) IsLoopback() bool {
	if a.Family == AF_INET {
		return a.IP[0] == 127
	}
	return a.IP == LoopbackAddr(AF_INET6, 0).IP
}

// SameIP reports whether a and b differ in nothing but the port.
func (a Addr) SameIP(b Addr) bool { return a.Family == b.Family && a.IP == b.IP }

// Host is the address without the port: "127.0.0.1", or the eight groups of an IPv6 address without zero
// compression, "0:0:0:0:0:0:0:1".
func (a Addr) Host() string {
	switch a.Family {
	case AF_INET:
		return fmt.Sprintf("%d.%d.%d.%d", a.IP[0], a.IP[1], a.IP[2], a.IP[3])
	case AF_INET6:
		var s strings.Builder
		for i := 0; i < 16; i += 2 {
			if i > 0 {
				s.WriteByte(':')
			}
			fmt.Fprintf(&s, "%x", uint16(a.IP[i])<<8|uint16(a.IP[i+1]))
		}
		return s.String()
	}
	return "unspec"
}

// String is the address for a person: "127.0.0.1:111", "[0:0:0:0:0:0:0:1]:111".
func (a Addr) String() string {
	if a.Family == AF_INET6 {
		return fmt.Sprintf("[%s]:%d", a.Host(), a.Port)
	}
	return fmt.Sprintf("%s:%d", a.Host(), a.Port)
}

// In6 is the address as IPv6 has it: an IPv4 address becomes v4-mapped (::ffff:a.b.c.d).
func (a Addr) In6() [16]byte {
	if a.Family != AF_INET {
		return a.IP
	}
	return [16]byte{10: 0xff, 11: 0xff, 12: a.IP[0], 13: a.IP[1], 14: a.IP[2], 15: a.IP[3]}
}
