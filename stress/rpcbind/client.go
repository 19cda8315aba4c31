// SPDX-License-Identifier: MIT

// Package rpcbind is the rpcbind protocol (RFC 1833, versions 2 to 4 of program 100000) over real sockets: a Server
// with a table of its own, for runs on machines without a portmapper, and a Client for a real one.
package rpcbind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/xdrpp/goxdr/xdr"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// Port is where an rpcbind listens if nothing else is said.
const Port = 111

// Program and its procedures. Version 2 calls number 3 GETPORT, versions 3 and 4 call it GETADDR.
const (
	Program = wire.Rpcbind

	procNull        = 0
	procSet         = 1
	procUnset       = 2
	procGetaddr     = 3
	procDump        = 4
	procGettime     = 6
	procGetversaddr = 9
	procGetaddrlist = 11
)

// Protocols as version 2 names them.
const (
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

// rpcb is the entry as it travels.
func (e Entry) rpcb() wire.Rpcb {
	return wire.Rpcb{R_prog: e.Prog, R_vers: e.Vers, R_netid: e.Netid, R_addr: e.Addr, R_owner: e.Owner}
}

func entryOf(r *wire.Rpcb) Entry { return Entry{r.R_prog, r.R_vers, r.R_netid, r.R_addr, r.R_owner} }

// ErrRefused is rpcbind's no to a SET or UNSET: the entry is taken, malformed or somebody else's.
var ErrRefused = errors.New("rpcbind: refused")

// DefaultSocket is where rpcbind listens for the host's own programs. Debian's rpcbind lets everybody on the host
// register, over this socket in their own name, over loopback TCP and UDP as "unknown"; what one registered, only the
// same name can remove, or the super-user over this socket.
const DefaultSocket = "/run/rpcbind.sock"

// Client is a connection to an rpcbind. An answer other than success is a [*rpcclient.Refusal] in the error.
type Client struct{ rpc *rpcclient.Client }

// Dial connects to an rpcbind: network is "tcp", "udp" or "unix". No call takes longer than timeout; 0 means 10 s.
func Dial(network, addr string, timeout time.Duration) (*Client, error) {
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := rpcclient.Dial(ctx, network, addr, rpcclient.Options{Timeout: timeout})
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.rpc.Close() }

// call makes one call; res nil: it has no results.
func (c *Client) call(vers, proc uint32, arg, res wire.Value) error {
	var args []byte
	if arg != nil {
		args = wire.Encode(arg)
	}
	b, err := c.rpc.Call(context.Background(), Program, vers, proc, args)
	if err != nil || res == nil {
		return err
	}
	if err := wire.Decode(b, res); err != nil {
		return fmt.Errorf("rpcbind: the answer to %s: %w", wire.Name(Program, vers, proc), err)
	}
	return nil
}

// Null calls procedure 0: does the server speak this version?
func (c *Client) Null(vers uint32) error { return c.call(vers, procNull, nil, nil) }

// Set registers e in version 3 or 4.
func (c *Client) Set(vers uint32, e Entry) error {
	arg := e.rpcb()
	return c.change(vers, procSet, &arg)
}

// Unset removes the entries of e.Prog and e.Vers under e.Netid, or under all netids if that is empty.
func (c *Client) Unset(vers uint32, e Entry) error {
	arg := e.rpcb()
	return c.change(vers, procUnset, &arg)
}

// Set2 registers a port in version 2; prot is 6 for TCP, 17 for UDP.
func (c *Client) Set2(prog, vers, prot uint32, port uint16) error {
	return c.change(2, procSet, &wire.Pmap_mapping{Prog: prog, Vers: vers, Prot: prot, Port: uint32(port)})
}

// Unset2 removes both ports of a program version in version 2.
func (c *Client) Unset2(prog, vers uint32) error {
	return c.change(2, procUnset, &wire.Pmap_mapping{Prog: prog, Vers: vers})
}

// change is a SET or UNSET, with its boolean result as an error.
func (c *Client) change(vers, proc uint32, arg wire.Value) error {
	var ok bool
	if err := c.call(vers, proc, arg, xdr.XDR_bool(&ok)); err != nil {
		return err
	}
	if !ok {
		return ErrRefused
	}
	return nil
}

// Register is Set in version 4, or in version 2 if the server is an old portmapper; that can only take "tcp" and
// "udp".
func (c *Client) Register(e Entry) error {
	err := c.Set(4, e)
	if !unsupported(err) {
		return err
	}
	a, perr := ParseUaddr(e.Addr)
	prot := protOf(e.Netid)
	if perr != nil || prot == 0 {
		return err
	}
	return c.Set2(e.Prog, e.Vers, prot, a.Port())
}

// Unregister is Unset in version 4, or in version 2 if the server is an old portmapper.
func (c *Client) Unregister(e Entry) error {
	err := c.Unset(4, e)
	if !unsupported(err) {
		return err
	}
	return c.Unset2(e.Prog, e.Vers)
}

// unsupported reports whether err says that the server does not speak the version.
func unsupported(err error) bool {
	return errors.Is(err, rpcclient.ErrProgMismatch) || errors.Is(err, rpcclient.ErrProgUnavail)
}

// GetPort asks in version 2 for the port of a program version; 0: not registered.
func (c *Client) GetPort(prog, vers, prot uint32) (uint16, error) {
	var port uint32
	err := c.call(2, procGetaddr, &wire.Pmap_mapping{Prog: prog, Vers: vers, Prot: prot}, xdr.XDR_uint32(&port))
	if err == nil && port > 0xffff {
		err = fmt.Errorf("rpcbind: %d is no port", port)
	}
	if err != nil {
		return 0, err
	}
	return uint16(port), nil
}

// GetAddr asks in version 3 or 4 for the universal address of a program version; "": not registered. rpcbind looks for
// the transport that the question came by ("local" on the local socket), whatever e.Netid says.
func (c *Client) GetAddr(vers uint32, e Entry) (string, error) {
	return c.addr(vers, procGetaddr, e)
}

// GetVersAddr is GetAddr in version 4 that does not fall back on another version of the program.
func (c *Client) GetVersAddr(e Entry) (string, error) { return c.addr(4, procGetversaddr, e) }

func (c *Client) addr(vers, proc uint32, e Entry) (string, error) {
	arg := e.rpcb()
	var s string
	err := c.call(vers, proc, &arg, wire.XDR_Rpcb_uaddr(&s))
	return s, err
}

// Time asks in version 3 or 4 for the server's clock.
func (c *Client) Time(vers uint32) (time.Time, error) {
	var t uint32
	if err := c.call(vers, procGettime, nil, xdr.XDR_uint32(&t)); err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(t), 0), nil
}

// Dump is the server's table, as version 2, 3 or 4 shows it.
func (c *Client) Dump(vers uint32) ([]Entry, error) {
	var out []Entry
	if vers > 2 {
		var list *wire.Rpcb_list
		err := c.call(vers, procDump, nil, wire.XDR_Rpcb_list_ptr(&list))
		for ; list != nil; list = list.Next {
			out = append(out, entryOf(&list.Map))
		}
		return out, err
	}
	var list *wire.Pmap_list
	err := c.call(vers, procDump, nil, wire.XDR_Pmap_list_ptr(&list))
	for ; list != nil; list = list.Next {
		m := &list.Map
		out = append(out, Entry{Prog: m.Prog, Vers: m.Vers, Netid: netidOf(m.Prot),
			Addr: Uaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(m.Port)))})
	}
	return out, err
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
