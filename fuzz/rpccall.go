// SPDX-License-Identifier: MIT

package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// RunRPCCall sends calls, well formed and not, over UDP or TCP to lockd or the callback service and holds every answer
// against the model. It returns nil if all is as it must be.
func RunRPCCall(data []byte) *Failure { return execute("FuzzRPCCall", rpcCall(data)).failure }

func rpcCall(data []byte) func() *plan {
	return func() *plan {
		schedule, rest := split(data)
		in := newInput(rest)
		kind, protocol := lockdService, sock.IPPROTO_UDP
		switch in.below(3) {
		case 1:
			protocol = sock.IPPROTO_TCP
		case 2:
			kind, protocol = callbackService, sock.IPPROTO_TCP
		}
		svc := kind.with(pick(in, sunrpc.ClientKnown, sunrpc.ClientKnown, sunrpc.ClientUnknown, sunrpc.ClientNoHelper,
			sunrpc.ClientLater))
		early := in.chance(8)
		var messages [][]byte
		for range 1 + in.below(4) {
			messages = append(messages, in.call(svc, 0x51000000+uint32(len(messages))))
		}
		c := &caller{svc: svc, protocol: protocol, early: early, messages: messages}
		return &plan{
			scenario: svc.talk("rpc-call", []func(*kernel.Task, *sock.Net){c.run}, early), params: scenario.Params{},
			schedule: schedule, about: c.String, check: c.check,
		}
	}
}

// call makes one message.
func (in *input) call(svc *service, xid uint32) []byte {
	prog := pick(in, svc.prog, svc.prog, svc.prog, svc.prog, 100000, 0, svc.prog+1, 1<<32-1)
	b := words(nil, xid, pick[uint32](in, 0, 0, 0, 0, 0, 0, 1, 2), pick[uint32](in, 2, 2, 2, 2, 2, 0, 1, 3), prog,
		pick[uint32](in, 1, 4, 3, 1, 4, 0, 2, 5, 1<<32-1),
		pick[uint32](in, 0, 0, 0, 0, 1, 5, 10, 11, 12, 15, 16, 17, 20, 23, 24, 99, 1<<31, 1<<32-1))
	b = in.credential(b)
	b = words(b, pick[uint32](in, 0, 0, 0, 0, 0, 0, 1, 6), pick[uint32](in, 0, 0, 0, 0, 0, 0, 4, 400, 401, 1<<32-1))
	if n := in.byte(); n < 195 {
		b = append(b, in.take(n%65)...)
	} else {
		c := in.nlmCall()
		binary.BigEndian.PutUint32(b[16:], c.vers)
		binary.BigEndian.PutUint32(b[20:], c.proc)
		b = append(b, c.args...)
	}
	if n := pick(in, 0, 0, 0, 0, 100, 4000, 8000, 8192); n > len(b) {
		b = append(b, make([]byte, n-len(b))...)
	}
	if in.chance(8) {
		b = b[:min(in.byte(), len(b))]
	}
	if in.chance(16) && len(b) > 8 {
		b[8+in.below(min(len(b)-8, 256))] = byte(in.byte())
	}
	return b
}

// credential appends flavour, length and body.
func (in *input) credential(b []byte) []byte {
	flavour := pick[uint32](in, 0, 1, 0, 1, 1, 2, 3, 6, 7, 8, 99, 1<<32-1)
	var body []byte
	if flavour == 1 {
		name := pick[uint32](in, 4, 0, 1, 5, 255, 256, 257, 1<<32-1, 1<<32-3, 1<<32-4)
		body = words(body, in.uint32(), name)
		if name < 300 {
			body = append(body, make([]byte, (name+3)&^3)...)
		}
		groups := pick[uint32](in, 0, 1, 16, 17, 1<<32-1)
		body = words(body, 0, pick[uint32](in, 0, 1000, 1<<32-1), groups)
		for range min(groups, 17) {
			body = words(body, pick[uint32](in, 0, 1, 100, 1<<32-1))
		}
	} else if in.chance(4) {
		body = in.bytes(40)
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
	}
	n := uint32(len(body))
	if in.chance(8) {
		n = pick(in, n-4, n+4, n+400, 0, 1<<32-1)
	}
	return append(words(b, flavour, n), body...)
}

// caller is the client of one run.
type caller struct {
	svc      *service
	protocol int
	early    bool
	messages [][]byte

	dialed int
	sent   int      // messages that went out
	got    [][]byte // what came back, in order; nil: nothing within the time
	ended  int      // errno that ended the conversation, or 1 for the end of the stream
}

func (c *caller) String() string {
	name := map[int]string{sock.IPPROTO_UDP: "UDP", sock.IPPROTO_TCP: "TCP"}[c.protocol]
	return fmt.Sprintf("%s over %s, early stop %t, messages:%s\n", c.svc.name, name, c.early, hexes(c.messages))
}

// How long to wait for what must come, and for what must not: virtual time.
const (
	must    = 20 * kernel.HZ
	mustNot = kernel.HZ
)

// expect is what the model says to a message over this protocol.
func (c *caller) expect(msg []byte) (verdict, []byte) {
	if c.protocol == sock.IPPROTO_UDP {
		if len(msg) > maxRecord {
			return silence, nil
		}
		return c.svc.reply(msg)
	}
	st := c.svc.read(mark(msg))
	switch {
	case st.late:
		return unknown, nil // it closes the connection, but only when the next message comes
	case st.closed:
		return closes, nil
	case st.fuzzy:
		return unknown, nil
	case len(st.replies) == 0:
		return silence, nil
	}
	return answers, st.replies[0]
}

// closes is the verdict on a message that ends the connection.
const closes verdict = 200

// run is the body of the client's task.
func (c *caller) run(cur *kernel.Task, net *sock.Net) {
	conn, errno := c.svc.dial(cur, net, c.protocol)
	if errno != 0 {
		c.dialed = errno
		return
	}
	defer conn.Close()
	buf := make([]byte, 9000)
	for _, msg := range c.messages {
		what, want := c.expect(msg)
		if c.protocol == sock.IPPROTO_TCP {
			msg = mark(msg)
		}
		if n := conn.Write(cur, msg); n != len(msg) {
			c.ended = min(n, -1)
			return
		}
		c.sent++
		wait := mustNot
		if what == answers || what == closes {
			wait = must
		}
		var got []byte
		for {
			n := conn.Read(cur, buf, wait)
			if n > 0 {
				got = append(got, buf[:n]...)
				wait = 0 // an answer comes in one piece, and one of them is enough
				if c.protocol == sock.IPPROTO_TCP && len(got) < len(want) {
					wait = must
				}
				continue
			}
			if n == 0 && c.protocol == sock.IPPROTO_TCP {
				c.ended = 1
			} else if n != -kernel.ETIMEDOUT && n != 0 {
				c.ended = n
			}
			break
		}
		c.got = append(c.got, got)
		if c.ended != 0 {
			return
		}
	}
}

// mark puts a record mark in front of a message.
func mark(msg []byte) []byte { return append(words(nil, 1<<31|uint32(len(msg))), msg...) }

// unmark is the first reply of what came back.
func (c *caller) unmark(got []byte) []byte {
	if c.protocol == sock.IPPROTO_UDP || len(got) < 4 {
		return got
	}
	return got[4:min(len(got), 4+int(binary.BigEndian.Uint32(got)&^(1<<31)))]
}

// check holds what came back against the law and the model.
func (c *caller) check() string {
	if c.dialed != 0 && !c.early {
		return "reply: no connection: " + kernel.ErrName(c.dialed)
	}
	for i, got := range c.got {
		what, want := c.expect(c.messages[i])
		if reply := c.unmark(got); len(reply) > 0 {
			if wrong := lawless(c.messages[i], reply); wrong != "" {
				return c.wrong("reply: malformed: "+wrong, i, got, want)
			}
		}
		switch {
		case what == unknown:
			return "" // nor is it known what becomes of the rest
		case what == closes:
			if len(got) > 0 || c.ended == 0 && !c.early {
				return c.wrong("reply: an answer to what must close the connection", i, got, nil)
			}
			return ""
		case bytes.Equal(got, want):
		case len(got) == 0 && c.early:
			// The service went down before it came to this one.
		case len(got) == 0:
			return c.wrong("reply: no answer", i, got, want)
		case len(want) == 0:
			return c.wrong("reply: an answer where there must be none", i, got, want)
		default:
			return c.wrong("reply: not what the model says", i, got, want)
		}
	}
	if !c.early && c.ended != 0 {
		return "reply: the connection was closed without a reason"
	}
	if !c.early && len(c.got) != len(c.messages) {
		return "reply: not all messages were sent"
	}
	return ""
}

func (c *caller) wrong(title string, i int, got, want []byte) string {
	return strings.TrimSpace(fmt.Sprintf("%s: message %d, got %x, want %x", title, i+1, got, want))
}
