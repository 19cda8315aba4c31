// SPDX-License-Identifier: MIT

//go:build !386 && !s390x

package sock

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// pair is a client's connection to a server's.
func pair(t *testing.T, cur *kernel.Task, net *Net) (c *Conn, s *server, done func()) {
	t.Helper()
	l := newServer(t, cur, net, IPPROTO_TCP)
	c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
	if err != 0 {
		t.Fatalf("Dial: %s", kernel.ErrName(err))
	}
	s = l.accept(t, cur)
	return c, s, l.sk.Release
}

// exactly reads n octets in pieces of the size, as a server reads marks and payloads.
func (s *server) exactly(t *testing.T, cur *kernel.Task, n int) []byte {
	var got []byte
	for len(got) < n {
		b, res := s.recv(cur, n-len(got))
		if res <= 0 {
			t.Errorf("recv: %s", kernel.ErrName(res))
			break
		}
		got = append(got, b...)
	}
	return got
}

// Answers to calls that were read ahead come all, and in order, however they are put together.
func TestManyCallsAtOnce(t *testing.T) {
	const calls = 20000 // more than is read ahead
	onFree(t, true, func(t *testing.T, cur *kernel.Task, net *Net) {
		c, s, done := pair(t, cur, net)
		var all []byte
		for i := range uint32(calls) {
			all = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(all, 4), i)
		}
		writer := spawn(cur, "writer", func(cur *kernel.Task) {
			if n := c.Write(cur, all); n != len(all) {
				t.Errorf("Write: %s", kernel.ErrName(n))
			}
		})
		reader := spawn(cur, "reader", func(cur *kernel.Task) {
			got := make([]byte, len(all))
			if n := c.ReadFull(cur, got, 5*sec); n != len(all) || !bytes.Equal(got, all) {
				t.Errorf("ReadFull: %s, %d octets", kernel.ErrName(n), len(all))
			}
		})
		for range calls {
			mark := s.exactly(t, cur, 4)
			b := append(mark, s.exactly(t, cur, 4)...)
			if n := s.sk.SendMsg(cur, Msg{}, b, 0); n != len(b) {
				t.Fatalf("SendMsg: %s", kernel.ErrName(n))
			}
		}
		kernel.Join(cur, writer)
		kernel.Join(cur, reader)
		s.sk.Release()
		c.Close()
		done()
	})
}

// An answer that was kept back because there is another call goes out when the server does something else: it sleeps,
// it shuts the connection down, it closes it.
func TestKeptBackGoesOut(t *testing.T) {
	for name, instead := range map[string]func(cur *kernel.Task, s *server){
		"sleep":    func(cur *kernel.Task, _ *server) { kernel.Msleep(cur, 1) },
		"shutdown": func(_ *kernel.Task, s *server) { s.sk.Shutdown(SHUT_WR) },
		"read":     func(_ *kernel.Task, s *server) { s.sk.RecvMsg([][]byte{make([]byte, 100)}, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			onFree(t, true, func(t *testing.T, cur *kernel.Task, net *Net) {
				c, s, done := pair(t, cur, net)
				c.Write(cur, []byte("onetwo"))
				if got := s.exactly(t, cur, 3); string(got) != "one" {
					t.Errorf("%q", got)
				}
				s.sk.SendMsg(cur, Msg{}, []byte("answer"), 0)
				instead(cur, s)
				got := make([]byte, 6)
				if n := c.ReadFull(cur, got, 5*sec); n != 6 || string(got) != "answer" {
					t.Errorf("ReadFull: %s, %q", kernel.ErrName(n), got)
				}
				s.sk.Release()
				c.Close()
				done()
			})
		})
	}
}

// What was read ahead and not by the server makes the close a reset, as what is still in the host's buffer does; a peek
// takes nothing, and a receive of nothing tells whether there is something.
func TestReadAheadUnread(t *testing.T) {
	onFree(t, true, func(t *testing.T, cur *kernel.Task, net *Net) {
		c, s, done := pair(t, cur, net)
		if n := s.sk.RecvMsg(nil, 0); n != -kernel.EAGAIN {
			t.Errorf("RecvMsg of nothing: %s", kernel.ErrName(n))
		}
		c.Write(cur, []byte("hello"))
		s.until(cur, func() bool { return s.sk.RecvMsg([][]byte{make([]byte, 5)}, MSG_PEEK) == 5 })
		if n := s.sk.RecvMsg(nil, 0); n != 0 {
			t.Errorf("RecvMsg of nothing: %s", kernel.ErrName(n))
		}
		if got := s.exactly(t, cur, 2); string(got) != "he" {
			t.Errorf("%q", got)
		}
		s.sk.Release()
		if n := c.Read(cur, make([]byte, 1), 5*sec); n != -kernel.ECONNRESET {
			t.Errorf("Read: %s", kernel.ErrName(n))
		}
		c.Close()
		done()
	})
}

// The end of a stream, and a reset, come behind the octets that were sent before, in whatever pieces those are read.
func TestEndBehindOctets(t *testing.T) {
	for _, reset := range []bool{false, true} {
		onFree(t, true, func(t *testing.T, cur *kernel.Task, net *Net) {
			c, s, done := pair(t, cur, net)
			c.Write(cur, []byte("last words"))
			s.until(cur, func() bool { return s.sk.RecvMsg([][]byte{make([]byte, 10)}, MSG_PEEK) == 10 })
			want := 0
			if reset {
				c.Reset()
				want = -kernel.ECONNRESET
			} else {
				c.CloseWrite()
			}
			s.until(cur, func() bool { return s.state.Read() > 0 })
			if got := s.exactly(t, cur, 4); string(got) != "last" {
				t.Errorf("reset %t: %q", reset, got)
			}
			if got := s.exactly(t, cur, 6); string(got) != " words" {
				t.Errorf("reset %t: %q", reset, got)
			}
			if _, n := s.recv(cur, 10); n != want {
				t.Errorf("reset %t: recv behind the end: %s", reset, kernel.ErrName(n))
			}
			s.sk.Release()
			if !reset {
				c.Close()
			}
			done()
		})
	}
}

// Datagrams that were read ahead keep their order, their limits and their senders.
func TestManyDatagramsAtOnce(t *testing.T) {
	onFree(t, true, func(t *testing.T, cur *kernel.Task, net *Net) {
		s := newServer(t, cur, net, IPPROTO_UDP)
		var ends []*Conn
		for range 3 {
			c, err := Dial(cur, net, IPPROTO_UDP, s.addr())
			if err != 0 {
				t.Fatalf("Dial: %s", kernel.ErrName(err))
			}
			ends = append(ends, c)
		}
		const rounds = 10
		for i := range rounds {
			for _, c := range ends {
				c.Write(cur, bytes.Repeat([]byte{byte(i)}, i))
			}
		}
		for i := range rounds * len(ends) {
			var msg Msg
			var skb *Skb
			s.until(cur, func() bool {
				var err int
				if msg, err = s.sk.PeekMsg(); err != 0 {
					return false
				}
				skb, err = s.sk.RecvDatagram()
				return err == 0
			})
			n, from := i/len(ends), ends[i%len(ends)].LocalAddr()
			if !bytes.Equal(skb.Octets(), bytes.Repeat([]byte{byte(n)}, n)) || skb.From != from || msg != skb.Msg {
				t.Errorf("datagram %d: %d octets from %v, want %d from %v", i, skb.Len, skb.From, n, from)
			}
			FreeSkb(skb)
		}
		if _, err := s.sk.PeekMsg(); err != -kernel.EAGAIN {
			t.Errorf("PeekMsg: %s", kernel.ErrName(err))
		}
		for _, c := range ends {
			c.Close()
		}
		s.sk.Release()
	})
}
