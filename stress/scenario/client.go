// SPDX-License-Identifier: MIT

package scenario

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// How long a client waits for an answer: one that must come, and one that need not.
const (
	replyTimeout = 20 * kernel.HZ
	shortTimeout = kernel.HZ
)

// portTimeout is how long a client waits for the service to register: longer than any start call may take.
const portTimeout = 2 * callLimit

// client is an actor with one socket. Its fields are its own until it has been joined.
type client struct {
	name string
	net  *sock.Net
	prot int
	prog uint32
	vers uint32
	xs   []*oracle.Exchange      // its requests, in order
	msg  func(xid uint32) []byte // a request; nil: of procedure 0
	conn *sock.Conn
	dead bool // the connection cannot be used any more
	task *kernel.Task
	wait kernel.Jiffies         // for an answer
	last func(cur *kernel.Task) // what it does when all is answered; may be nil
}

// newClient prepares a client that makes n requests. It is called by main before the client runs.
func (w *World) newClient(net *sock.Net, prot int, prog, vers uint32, n int, optional bool) *client {
	c := &client{net: net, prot: prot, prog: prog, vers: vers, name: "udp-client", wait: replyTimeout}
	if optional {
		c.wait = shortTimeout
	}
	if prot == sock.IPPROTO_TCP {
		c.name = "tcp-client"
	}
	same := 0
	for _, x := range w.clients {
		if x.prot == prot {
			same++
		}
	}
	c.name = numbered(c.name, same)
	for range n {
		w.xids++
		x := &oracle.Exchange{Who: c.name, Xid: 0x51000000 + w.xids, Prog: prog, Vers: vers, Optional: optional}
		c.xs = append(c.xs, x)
		w.Exchanges = append(w.Exchanges, x)
	}
	w.clients = append(w.clients, c)
	return c
}

// numbered is the name of the i-th actor of a kind; the first has no number.
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, i+1)
}

// spawn starts a client as an actor that waits for the port and then makes its requests.
func (w *World) spawn(cur *kernel.Task, c *client, wait *portWait) {
	c.task = w.M.Spawn(cur, c.name, func(cur *kernel.Task) {
		w.Arrive(cur)
		if wait.done.WaitTimeout(cur, portTimeout) == 0 {
			c.fail(-kernel.ETIMEDOUT)
			return
		}
		c.run(cur, wait.port)
	})
}

// spawnAt starts a client as an actor that waits until something listens on port.
func (w *World) spawnAt(cur *kernel.Task, c *client, port uint16) {
	c.task = w.M.Spawn(cur, c.name, func(cur *kernel.Task) {
		w.Arrive(cur)
		if err := c.net.AwaitPort(cur, c.prot, port, 2*c.wait); err != 0 {
			c.fail(err)
			return
		}
		c.run(cur, port)
	})
}

// run makes all requests of the client to a port, one after the other.
func (c *client) run(cur *kernel.Task, port uint16) {
	if err := c.dial(cur, port); err != 0 {
		c.fail(err)
		return
	}
	for _, x := range c.xs {
		if !c.call(cur, x) {
			c.fail(x.Err)
			return
		}
	}
	if c.last != nil {
		c.last(cur)
	}
}

// fail notes for all requests not made why they were not.
func (c *client) fail(err int) {
	for _, x := range c.xs {
		if !x.Sent && x.Err == 0 {
			x.Err = err
		}
	}
}

func (c *client) dial(cur *kernel.Task, port uint16) int {
	conn, err := sock.Dial(cur, c.net, c.prot, sock.LoopbackAddr(sock.AF_INET, port))
	if err != 0 {
		c.dead = true
		return err
	}
	c.conn = conn
	return 0
}

// call makes one request and waits for the answer; false if the socket is of no use afterwards.
func (c *client) call(cur *kernel.Task, x *oracle.Exchange) bool {
	msg := c.request(x.Xid)
	if c.prot == sock.IPPROTO_TCP {
		msg = record(msg)
	}
	if n := c.conn.Write(cur, msg); n != len(msg) {
		x.Err = min(n, -1)
		return false
	}
	x.Sent = true
	if x.Silent {
		return true // should an answer come, it will be found
	}
	if c.prot == sock.IPPROTO_UDP {
		return c.readDatagram(cur, x)
	}
	b, err := c.readRecord(cur, x)
	if err != 0 {
		x.Err = err
		return false
	}
	x.Replies = append(x.Replies, b)
	return true
}

// request is one request of the client, without a marker.
func (c *client) request(xid uint32) []byte {
	if c.msg != nil {
		return c.msg(xid)
	}
	return nullCall(xid, c.prog, c.vers)
}

// readDatagram waits for the answer to x. What answers a request that was given up is filed under that.
func (c *client) readDatagram(cur *kernel.Task, x *oracle.Exchange) bool {
	for {
		var buf [256]byte
		n := c.conn.Read(cur, buf[:], c.wait)
		if n < 0 {
			x.Err = n
			return n == -kernel.ETIMEDOUT
		}
		b := append([]byte(nil), buf[:n]...)
		if old := c.asked(b); old != nil && (old.Err == -kernel.ETIMEDOUT || old.Silent) {
			old.Replies = append(old.Replies, b)
			continue
		}
		x.Replies = append(x.Replies, b)
		return true
	}
}

// asked is the request of this client that b claims to answer, nil if there is none.
func (c *client) asked(b []byte) *oracle.Exchange {
	for _, x := range c.xs {
		if len(b) >= 4 && binary.BigEndian.Uint32(b) == x.Xid {
			return x
		}
	}
	return nil
}

// longestReply is more than any reply has. What claims to be longer is not waited for.
const longestReply = 16384

// readRecord reads one record of the stream: its octets, or why there is none.
func (c *client) readRecord(cur *kernel.Task, x *oracle.Exchange) ([]byte, int) {
	var rec []byte
	for {
		var marker [4]byte
		n := c.conn.ReadFull(cur, marker[:], c.wait)
		if n != 4 {
			x.Cut = n > 0 || n == 0 && len(rec) > 0
			return nil, min(n, -kernel.ECONNRESET)
		}
		m := binary.BigEndian.Uint32(marker[:])
		frag := make([]byte, min(m&^(1<<31), longestReply))
		if n = c.conn.ReadFull(cur, frag, c.wait); n != len(frag) {
			x.Cut = n >= 0
			return nil, min(n, -kernel.ECONNRESET)
		}
		rec = append(rec, frag...)
		if m>>31 != 0 {
			return rec, 0
		}
	}
}

// nullCall is a call of procedure 0 with AUTH_NONE.
func nullCall(xid, prog, vers uint32) []byte {
	return wire.EncodeNull(xid, prog, vers)
}

// sysCall is a call without arguments that carries an AUTH_SYS credential of a user on a machine of that name.
func sysCall(xid, prog, vers, proc uint32, machine string) []byte {
	c := wire.NewCall(xid, prog, vers, proc, nil)
	c.Header.Cred = wire.Sys(&wire.Authsys_parms{Machinename: machine, Uid: 1000, Gid: 100})
	return wire.EncodeCall(c)
}

// record puts a marker in front of a message.
func record(msg []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(msg)), 1<<31|uint32(len(msg)))
	return append(b, msg...)
}

// joinClients waits for all clients that run as actors.
func (w *World) joinClients(cur *kernel.Task) {
	for _, c := range w.clients {
		if c.task != nil {
			kernel.Join(cur, c.task)
		}
	}
}

// finish is called when every service is down: whatever has come in since an answer was read answers nothing. Then
// it closes the sockets.
func (w *World) finish(cur *kernel.Task) {
	for _, c := range w.clients {
		if c.conn == nil {
			continue
		}
		c.drain()
		c.conn.Close()
		c.conn = nil
	}
	w.clients = nil
}

// drain takes what is left in the socket and files it under the request that it claims to answer.
func (c *client) drain() {
	sk := c.conn.Sock()
	if c.prot == sock.IPPROTO_UDP {
		for {
			skb, err := sk.RecvDatagram()
			if err != 0 {
				return
			}
			c.late(skb.Octets())
			sock.FreeSkb(skb)
		}
	}
	var left []byte
	for {
		var buf [4096]byte
		n := sk.RecvMsg([][]byte{buf[:]}, sock.MSG_DONTWAIT)
		if n <= 0 {
			break
		}
		left = append(left, buf[:n]...)
	}
	for len(left) > 0 {
		if len(left) < 4 { // not even a mark
			c.late(left)
			return
		}
		n := int(binary.BigEndian.Uint32(left) &^ (1 << 31))
		if n > len(left)-4 && sk.Machine().Departed(kernel.DecideTimer) > 0 {
			return // the service has closed the connection before the client came to read all of it
		}
		n = min(n, len(left)-4)
		c.late(left[4 : 4+n])
		left = left[4+n:]
	}
}

// late files an answer that was not waited for.
func (c *client) late(b []byte) {
	x := c.asked(b)
	if x == nil {
		x = c.xs[len(c.xs)-1]
	}
	x.Replies = append(x.Replies, bytes.Clone(b))
}
