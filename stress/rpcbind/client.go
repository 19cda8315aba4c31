// SPDX-License-Identifier: MIT

package rpcbind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// MismatchError is the answer of a server that does not speak the version it was called in.
type MismatchError struct {
	Low, High uint32 // what it speaks
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("rpcbind: program version mismatch: the server speaks %d to %d", e.Low, e.High)
}

var (
	// ErrProgUnavail is the answer of a server that is no rpcbind, or not in that version.
	ErrProgUnavail = errors.New("rpcbind: program unavailable")
	// ErrProcUnavail is the answer of a server that lacks the procedure.
	ErrProcUnavail = errors.New("rpcbind: procedure unavailable")
	// ErrGarbage is the answer of a server that cannot decode the arguments.
	ErrGarbage = errors.New("rpcbind: garbage arguments")
	// ErrSystem is the answer of a server in trouble.
	ErrSystem = errors.New("rpcbind: system error")
	// ErrDenied is the answer of a server that rejects the call as such.
	ErrDenied = errors.New("rpcbind: call denied")
	// ErrRefused is rpcbind's no to a SET or UNSET: the entry is taken, malformed or somebody else's.
	ErrRefused = errors.New("rpcbind: refused")
)

// DefaultSocket is where rpcbind listens for the host's own programs. Debian's rpcbind lets everybody on the host
// register, over this socket in their own name, over loopback TCP and UDP as "unknown"; what one registered, only the
// same name can remove, or the super-user over this socket.
const DefaultSocket = "/run/rpcbind.sock"

// Client is a connection to an rpcbind. It does one call at a time: guard it if several goroutines use it.
type Client struct {
	conn    net.Conn
	stream  bool
	xid     uint32
	timeout time.Duration
}

// Dial connects to an rpcbind: network is "tcp", "udp" or "unix". No call takes longer than timeout; 0 means 10 s.
func Dial(network, addr string, timeout time.Duration) (*Client, error) {
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	conn, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return nil, err
	}
	_, isUDP := conn.(*net.UDPConn)
	return &Client{conn: conn, stream: !isUDP, xid: rand.Uint32(), timeout: timeout}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Null calls procedure 0: does the server speak this version?
func (c *Client) Null(vers uint32) error {
	_, err := c.call(vers, procNull, nil)
	return err
}

// Set registers e in version 3 or 4.
func (c *Client) Set(vers uint32, e Entry) error { return c.change(vers, procSet, e) }

// Unset removes the entries of e.Prog and e.Vers under e.Netid, or under all netids if that is empty.
func (c *Client) Unset(vers uint32, e Entry) error { return c.change(vers, procUnset, e) }

func (c *Client) change(vers, proc uint32, e Entry) error {
	var arg enc
	arg.entry(e)
	return c.done(c.call(vers, proc, arg))
}

// Set2 registers a port in version 2; prot is 6 for TCP, 17 for UDP.
func (c *Client) Set2(prog, vers, prot uint32, port uint16) error {
	return c.change2(procSet, prog, vers, prot, port)
}

// Unset2 removes both ports of a program version in version 2.
func (c *Client) Unset2(prog, vers uint32) error { return c.change2(procUnset, prog, vers, 0, 0) }

func (c *Client) change2(proc, prog, vers, prot uint32, port uint16) error {
	return c.done(c.call(2, proc, mapping(prog, vers, prot, port)))
}

// done is the boolean result of a SET or UNSET as an error.
func (c *Client) done(d *dec, err error) error {
	if err != nil {
		return err
	}
	ok := d.u32()
	switch {
	case d.bad:
		return errShort
	case ok == 0:
		return ErrRefused
	}
	return nil
}

func mapping(prog, vers, prot uint32, port uint16) enc {
	var arg enc
	arg.u32(prog)
	arg.u32(vers)
	arg.u32(prot)
	arg.u32(uint32(port))
	return arg
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
	var mismatch *MismatchError
	return errors.As(err, &mismatch) || errors.Is(err, ErrProgUnavail)
}

// GetPort asks in version 2 for the port of a program version; 0: not registered.
func (c *Client) GetPort(prog, vers, prot uint32) (uint16, error) {
	d, err := c.call(2, procGetaddr, mapping(prog, vers, prot, 0))
	if err != nil {
		return 0, err
	}
	port := d.u32()
	if d.bad || port > 0xffff {
		return 0, errShort
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
	var arg enc
	arg.entry(e)
	d, err := c.call(vers, proc, arg)
	if err != nil {
		return "", err
	}
	s := d.str()
	if d.bad {
		return "", errShort
	}
	return s, nil
}

// Time asks in version 3 or 4 for the server's clock.
func (c *Client) Time(vers uint32) (time.Time, error) {
	d, err := c.call(vers, procGettime, nil)
	if err != nil {
		return time.Time{}, err
	}
	t := d.u32()
	if d.bad {
		return time.Time{}, errShort
	}
	return time.Unix(int64(t), 0), nil
}

// Dump is the server's table, as version 2, 3 or 4 shows it.
func (c *Client) Dump(vers uint32) ([]Entry, error) {
	d, err := c.call(vers, procDump, nil)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for d.u32() != 0 && !d.bad {
		if vers > 2 {
			out = append(out, d.entry())
			continue
		}
		prog, pv, prot, port := d.u32(), d.u32(), d.u32(), d.u32()
		out = append(out, Entry{Prog: prog, Vers: pv, Netid: netidOf(prot),
			Addr: Uaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)))})
	}
	if d.bad {
		return nil, errShort
	}
	return out, nil
}

// call makes one call with an AUTH_NONE credential and returns its results.
func (c *Client) call(vers, proc uint32, arg []byte) (*dec, error) {
	c.xid++
	var e enc
	for _, w := range []uint32{c.xid, msgCall, rpcVersion, Program, vers, proc, 0, 0, 0, 0} {
		e.u32(w)
	}
	msg := append(e, arg...)
	deadline := time.Now().Add(c.timeout)
	if c.stream {
		return c.callStream(msg, deadline)
	}
	return c.callDatagram(msg, deadline)
}

func (c *Client) callStream(msg []byte, deadline time.Time) (*dec, error) {
	_ = c.conn.SetDeadline(deadline)
	if err := writeRecord(c.conn, msg); err != nil {
		return nil, err
	}
	for {
		rec, err := readRecord(c.conn)
		if err != nil {
			return nil, err
		}
		if len(rec) >= 4 && binary.BigEndian.Uint32(rec) == c.xid {
			return results(rec)
		}
	}
}

// callDatagram sends the call again, at growing intervals, until the answer or the deadline comes.
func (c *Client) callDatagram(msg []byte, deadline time.Time) (*dec, error) {
	buf := make([]byte, 1<<16)
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		if _, err := c.conn.Write(msg); err != nil {
			return nil, err
		}
		until := time.Now().Add(wait)
		if until.After(deadline) {
			until = deadline
		}
		_ = c.conn.SetReadDeadline(until)
		for {
			n, err := c.conn.Read(buf)
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() && until.Before(deadline) {
				break
			}
			if err != nil {
				return nil, err
			}
			if n >= 4 && binary.BigEndian.Uint32(buf) == c.xid {
				return results(buf[:n])
			}
		}
	}
}

// results takes the header off a reply.
func results(msg []byte) (*dec, error) {
	d := &dec{b: msg[4:]}
	if d.u32() != msgReply {
		return nil, errShort
	}
	if d.u32() != msgAccepted {
		return nil, ErrDenied
	}
	d.u32()
	d.opaque(maxAuthBody)
	stat := d.u32()
	if d.bad {
		return nil, errShort
	}
	switch stat {
	case acceptSuccess:
		return d, nil
	case acceptProgUnavail:
		return nil, ErrProgUnavail
	case acceptProgMismatch:
		m := &MismatchError{Low: d.u32(), High: d.u32()}
		if d.bad {
			return nil, errShort
		}
		return nil, m
	case acceptProcUnavail:
		return nil, ErrProcUnavail
	case acceptGarbageArgs:
		return nil, ErrGarbage
	case acceptSystemErr:
		return nil, ErrSystem
	}
	return nil, fmt.Errorf("rpcbind: accept status %d", stat)
}
