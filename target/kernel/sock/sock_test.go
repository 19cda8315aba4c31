// SPDX-License-Identifier: MIT

package sock

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

const sec = kernel.HZ

// random picks any runnable task.
type random struct{ x uint64 }

func (r *random) Pick(c *kernel.Choice) *kernel.Task {
	r.x ^= r.x << 13
	r.x ^= r.x >> 7
	r.x ^= r.x << 17
	return c.Runnable[int(r.x>>33)%len(c.Runnable)]
}

// onSim runs fn as the main task of n sim runs, each in another order, and wants no finding and nothing left.
func onSim(t *testing.T, n int, fn func(t *testing.T, cur *kernel.Task, net *Net)) {
	t.Helper()
	m := kernel.NewSim()
	defer m.Close()
	for seed := range n {
		r := m.Run(&random{uint64(seed)*0x9e3779b97f4a7c15 + 1}, kernel.Options{}, "main", func(cur *kernel.Task) {
			net := NewNet(cur, m, "init")
			fn(t, cur, net)
			net.Put()
		})
		check(t, r, fmt.Sprintf("sim seed %d", seed))
		if t.Failed() {
			return
		}
	}
}

// onFree is onSim for the free back end, in memory and on the real loopback interface.
func onFree(t *testing.T, real bool, fn func(t *testing.T, cur *kernel.Task, net *Net)) {
	t.Helper()
	m := kernel.NewFree()
	r := m.Run(nil, kernel.Options{Seed: 1, Noise: 2000}, "main", func(cur *kernel.Task) {
		var net *Net
		if real {
			var err int
			if net, err = NewRealNet(m); err != 0 {
				t.Errorf("NewRealNet: %s", kernel.ErrName(err))
				return
			}
		} else {
			net = NewNet(cur, m, "init")
		}
		fn(t, cur, net)
		net.Put()
	})
	check(t, r, fmt.Sprintf("free, real %t", real))
}

func check(t *testing.T, r *kernel.Result, where string) {
	t.Helper()
	for _, f := range r.Findings {
		t.Errorf("%s: %s\n%s\n%v", where, f, f.Text, f.Stack)
	}
	if r.Live != 0 {
		t.Errorf("%s: %d objects leaked", where, r.Live)
	}
}

// everywhere runs fn on all back ends and networks.
func everywhere(t *testing.T, fn func(t *testing.T, cur *kernel.Task, net *Net)) {
	t.Run("sim", func(t *testing.T) { onSim(t, 150, fn) })
	t.Run("free", func(t *testing.T) { onFree(t, false, fn) })
	t.Run("real", func(t *testing.T) { onFree(t, true, fn) })
}

// server is a kernel server in small: a listener or datagram socket with callbacks of its own, which wake one task.
type server struct {
	kernel.Obj
	sk    *Sock
	wq    kernel.WaitQueueHead
	data  kernel.Atomic // data_ready calls
	state kernel.Atomic // state_change calls
	space kernel.Atomic // write_space calls
	cbs   [3]*Callback
}

func newServer(t *testing.T, cur *kernel.Task, net *Net, protocol int) *server {
	sk, err := Create(cur, net, AF_INET, typeOf(protocol), protocol)
	if err != 0 {
		t.Fatalf("Create: %s", kernel.ErrName(err))
	}
	if err := sk.Bind(AnyAddr(AF_INET, 0)); err != 0 {
		t.Fatalf("Bind: %s", kernel.ErrName(err))
	}
	if protocol == IPPROTO_TCP {
		if err := sk.Listen(2); err != 0 {
			t.Fatalf("Listen: %s", kernel.ErrName(err))
		}
	}
	s := take(cur.Machine(), sk)
	return s
}

// take installs the callbacks of a new server on sk.
func take(m *kernel.Machine, sk *Sock) *server {
	s := kernel.StaticObj[server](m, "server")
	s.sk = sk
	s.wq.Init(&s.Obj, "wq")
	for i, a := range []*kernel.Atomic{&s.data, &s.state, &s.space} {
		a.Init(&s.Obj, []string{"data", "state", "space"}[i])
		s.cbs[i] = &Callback{Name: "test", Fn: func(sk *Sock) {
			sk.SkUserData.Load()
			a.Inc()
			s.wq.WakeUpAll()
			if sk.SkSleep.Active() {
				sk.SkSleep.WakeUpAll()
			}
		}}
	}
	sk.SkUserData.Store(s)
	sk.SkDataReady.Store(s.cbs[0])
	sk.SkStateChange.Store(s.cbs[1])
	sk.SkWriteSpace.Store(s.cbs[2])
	return s
}

func (s *server) until(cur *kernel.Task, cond func() bool) { kernel.WaitEvent(cur, &s.wq, cond) }

func (s *server) accept(t *testing.T, cur *kernel.Task) *server {
	var child *Sock
	s.until(cur, func() bool {
		c, err := s.sk.Accept()
		if err != 0 && err != -kernel.EAGAIN {
			t.Errorf("Accept: %s", kernel.ErrName(err))
		}
		child = c
		return err == 0
	})
	return take(cur.Machine(), child)
}

// addr is where clients reach the server.
func (s *server) addr() Addr {
	a, _ := s.sk.GetSockName()
	return LoopbackAddr(a.Family, a.Port)
}

// connected makes a listener and a connection: the server's end of it and the client's.
func connected(t *testing.T, cur *kernel.Task, net *Net) (l, s *server, c *Conn) {
	l = newServer(t, cur, net, IPPROTO_TCP)
	c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
	if err != 0 {
		t.Fatalf("Dial: %s", kernel.ErrName(err))
	}
	return l, l.accept(t, cur), c
}

// recv reads what there is, waiting for at least one octet or the end.
func (s *server) recv(cur *kernel.Task, n int) ([]byte, int) {
	buf, res := make([]byte, n), 0
	s.until(cur, func() bool {
		res = s.sk.RecvMsg([][]byte{buf[:n/2], buf[n/2:]}, MSG_DONTWAIT)
		return res != -kernel.EAGAIN
	})
	return buf[:max(res, 0)], res
}

func spawn(cur *kernel.Task, name string, fn func(cur *kernel.Task)) *kernel.Task {
	return cur.Machine().Spawn(cur, name, fn)
}

func TestStreamOrderAndFin(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP)
		var want []byte
		for i := range 400 {
			want = append(want, byte(i), byte(i>>8))
		}
		client := spawn(cur, "client", func(cur *kernel.Task) {
			c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
			if err != 0 {
				t.Errorf("Dial: %s", kernel.ErrName(err))
				return
			}
			if c.RemoteAddr() != l.addr() || c.LocalAddr().Port == 0 {
				t.Errorf("addresses %v -> %v", c.LocalAddr(), c.RemoteAddr())
			}
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)/3)
				if res := c.Write(cur, rest[:n]); res != n {
					t.Errorf("Write: %s", kernel.ErrName(res))
				}
				rest = rest[n:]
			}
			c.CloseWrite()
			echo := make([]byte, len(want)+1)
			if n := c.ReadFull(cur, echo, 5*sec); n != len(want) || !bytes.Equal(echo[:max(n, 0)], want) {
				t.Errorf("echo: %s", kernel.ErrName(n))
			}
			c.Close()
		})
		s := l.accept(t, cur)
		var got []byte
		for {
			b, n := s.recv(cur, 100)
			if n < 0 {
				t.Errorf("recv: %s", kernel.ErrName(n))
			}
			if n <= 0 {
				break
			}
			got = append(got, b...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %d octets, want %d", len(got), len(want))
		}
		for s.state.Read()+l.state.Read() == 0 { // the FIN may have come while the callbacks were the listener's
			kernel.Msleep(cur, 1)
		}
		if st := s.sk.SkState.Read(); st != TCP_CLOSE_WAIT {
			t.Errorf("state %d after a FIN", st)
		}
		if n := s.sk.SendMsg(cur, Msg{}, got[:1], MSG_MORE); n != 1 {
			t.Errorf("SendMsg: %s", kernel.ErrName(n))
		}
		if n := s.sk.SendPage(cur, got[1:], 0); n != len(got)-1 {
			t.Errorf("SendPage: %s", kernel.ErrName(n))
		}
		s.sk.Shutdown(SHUT_RDWR)
		kernel.Join(cur, client)
		s.sk.Release()
		l.sk.Release()
	})
}

func TestReset(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l, s, c := connected(t, cur, net)
		c.Reset()
		s.until(cur, func() bool { return s.state.Read() > 0 })
		if _, n := s.recv(cur, 10); n != -kernel.ECONNRESET {
			t.Errorf("recv after a reset: %s", kernel.ErrName(n))
		}
		if _, err := s.sk.GetPeerName(); err != -kernel.ENOTCONN {
			t.Errorf("GetPeerName after a reset: %s", kernel.ErrName(err))
		}
		if n := s.sk.SendMsg(cur, Msg{}, []byte("x"), MSG_DONTWAIT); n != -kernel.EPIPE {
			t.Errorf("SendMsg after a reset: %s", kernel.ErrName(n))
		}
		s.sk.Release()
		l.sk.Release()
	})
}

func TestServerClosesUnread(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l, s, c := connected(t, cur, net)
		c.Write(cur, []byte("hello"))
		s.until(cur, func() bool { return s.sk.RecvMsg([][]byte{make([]byte, 1)}, MSG_PEEK) == 1 })
		s.sk.Release()
		if n := c.Read(cur, make([]byte, 1), 5*sec); n != -kernel.ECONNRESET {
			t.Errorf("Read: %s", kernel.ErrName(n))
		}
		c.Close()
		l.sk.Release()
	})
}

// A connection that nobody accepted is reset when the listener goes, and one that died before it was accepted says so.
func TestAcceptQueue(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP)
		a, err := Dial(cur, net, IPPROTO_TCP, l.addr())
		b, err2 := Dial(cur, net, IPPROTO_TCP, l.addr())
		if err != 0 || err2 != 0 {
			t.Fatalf("Dial: %s, %s", kernel.ErrName(err), kernel.ErrName(err2))
		}
		a.Reset()
		kernel.Msleep(cur, 20)
		child, err := l.sk.Accept()
		if err != 0 {
			t.Fatalf("Accept: %s", kernel.ErrName(err))
		}
		if _, err := child.GetPeerName(); err != -kernel.ENOTCONN && net.Name != "real" {
			t.Errorf("GetPeerName of a dead connection: %s", kernel.ErrName(err))
		}
		child.Release()
		l.sk.Release()
		if n := b.Read(cur, make([]byte, 1), 5*sec); n != -kernel.ECONNRESET {
			t.Errorf("Read: %s", kernel.ErrName(n))
		}
		b.Close()
		if _, err := Dial(cur, net, IPPROTO_TCP, b.RemoteAddr()); err != -kernel.ECONNREFUSED {
			t.Errorf("Dial without a listener: %s", kernel.ErrName(err))
		}
	})
}

func TestBacklog(t *testing.T) {
	onSim(t, 100, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP) // backlog 2: room for three
		var tasks []*kernel.Task
		var conns [4]*Conn
		for i := range conns {
			tasks = append(tasks, spawn(cur, fmt.Sprintf("client%d", i), func(cur *kernel.Task) {
				c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
				if err != 0 {
					t.Errorf("Dial: %s", kernel.ErrName(err))
				}
				conns[i] = c
			}))
		}
		kernel.Msleep(cur, 500)
		n := 0
		for _, c := range conns {
			if c != nil {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d connections in a backlog of 2", n)
		}
		servers := []*server{l.accept(t, cur)}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		for range 3 {
			servers = append(servers, l.accept(t, cur))
		}
		for i, s := range servers {
			s.sk.Release()
			conns[i].Close()
		}
		l.sk.Release()
	})
}

func TestWriteSpace(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP)
		c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
		if err != 0 {
			t.Fatalf("Dial: %s", kernel.ErrName(err))
		}
		c.SetBuffers(4096, 4096)
		s := l.accept(t, cur)
		s.sk.SetSndRcvBuf(4096, 4096)
		calls := s.space.Read()
		sent := 0
		for {
			n := s.sk.SendMsg(cur, Msg{}, make([]byte, 3000), MSG_DONTWAIT)
			if n == -kernel.EAGAIN {
				break
			}
			if n <= 0 {
				t.Fatalf("SendMsg: %s", kernel.ErrName(n))
			}
			sent += n
		}
		if net.Name != "real" && (sent != 2*4096+4096 || s.sk.SkStreamWspace() != 0) {
			t.Errorf("%d octets fit, %d left", sent, s.sk.SkStreamWspace())
		}
		s.sk.Flags.SetBit(SOCK_NOSPACE)
		reader := spawn(cur, "reader", func(cur *kernel.Task) {
			if n := c.ReadFull(cur, make([]byte, sent+5000), 5*sec); n != sent+5000 {
				t.Errorf("ReadFull: %s", kernel.ErrName(n))
			}
		})
		s.until(cur, func() bool { return s.space.Read() > calls })
		// The rest waits for space, in more than one piece.
		if n := s.sk.SendPage(cur, make([]byte, 5000), 0); n != 5000 {
			t.Errorf("SendPage: %s", kernel.ErrName(n))
		}
		kernel.Join(cur, reader)
		s.sk.Release()
		c.Close()
		l.sk.Release()
	})
}

// A peer that does not read makes a bounded send end short.
func TestSendTimeout(t *testing.T) {
	onSim(t, 50, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP)
		c, _ := Dial(cur, net, IPPROTO_TCP, l.addr())
		c.SetBuffers(1000, 1000)
		s := l.accept(t, cur)
		s.sk.SetSndRcvBuf(500, 500)
		s.sk.SkSndtimeo = 30 * sec
		before := cur.Machine().Jiffies()
		if n := s.sk.SendPage(cur, make([]byte, 5000), 0); n != 2000 {
			t.Errorf("SendPage: %s", kernel.ErrName(n))
		}
		if d := cur.Machine().Jiffies() - before; d < 30*sec || d > 31*sec {
			t.Errorf("waited %d ms", d)
		}
		c.Close()
		s.sk.Release()
		l.sk.Release()
	})
}

func TestDatagrams(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		s := newServer(t, cur, net, IPPROTO_UDP)
		big := bytes.Repeat([]byte{7}, 9000)
		client := spawn(cur, "client", func(cur *kernel.Task) {
			c, err := Dial(cur, net, IPPROTO_UDP, s.addr())
			if err != 0 {
				t.Errorf("Dial: %s", kernel.ErrName(err))
				return
			}
			for _, b := range [][]byte{[]byte("one"), {}, big} {
				if n := c.Write(cur, b); n != len(b) {
					t.Errorf("Write: %s", kernel.ErrName(n))
				}
			}
			buf := make([]byte, 100)
			if n := c.Read(cur, buf, 5*sec); n != 6 || string(buf[:6]) != "answer" {
				t.Errorf("Read: %s", kernel.ErrName(n))
			}
			if n := c.Read(cur, buf, 10); n != -kernel.ETIMEDOUT {
				t.Errorf("Read: %s", kernel.ErrName(n))
			}
			c.Close()
		})
		for _, want := range [][]byte{[]byte("one"), {}, big} {
			var msg Msg
			var skb *Skb
			s.until(cur, func() bool {
				m, err := s.sk.PeekMsg()
				if err == -kernel.EAGAIN {
					return false
				}
				msg = m
				skb, err = s.sk.RecvDatagram()
				if err != 0 {
					t.Errorf("RecvDatagram: %s", kernel.ErrName(err))
				}
				return true
			})
			if !bytes.Equal(skb.Octets(), want) || skb.IsNonlinear() != (len(want) > kernel.PageSize) {
				t.Errorf("datagram of %d octets, want %d", skb.Len, len(want))
			}
			if msg.To.IP != s.addr().IP || msg != skb.Msg {
				t.Errorf("addresses %v, %v", msg, skb.Msg)
			}
			FreeSkb(skb)
			if len(want) == 9000 {
				reply := Msg{From: msg.To, To: msg.From}
				if n := s.sk.SendMsg(cur, reply, nil, MSG_MORE); n != 0 {
					t.Errorf("SendMsg: %s", kernel.ErrName(n))
				}
				s.sk.SendPage(cur, []byte("ans"), MSG_MORE)
				if n := s.sk.SendPage(cur, []byte("wer"), 0); n != 3 {
					t.Errorf("SendPage: %s", kernel.ErrName(n))
				}
			}
		}
		kernel.Join(cur, client)
		if _, err := s.sk.RecvDatagram(); err != -kernel.EAGAIN {
			t.Errorf("RecvDatagram: %s", kernel.ErrName(err))
		}
		s.sk.Release()
		c, _ := Dial(cur, net, IPPROTO_UDP, LoopbackAddr(AF_INET, 9))
		c.Write(cur, []byte("x"))
		if n := c.Read(cur, make([]byte, 1), 5*sec); n != -kernel.ECONNREFUSED {
			t.Errorf("Read from nobody: %s", kernel.ErrName(n))
		}
		c.Close()
	})
}

func TestDatagramSpaceAndLoss(t *testing.T) {
	onSim(t, 50, func(t *testing.T, cur *kernel.Task, net *Net) {
		s := newServer(t, cur, net, IPPROTO_UDP)
		s.sk.SetSndRcvBuf(2000, 1000)
		c, _ := Dial(cur, net, IPPROTO_UDP, s.addr())
		for range 5 {
			c.Write(cur, make([]byte, 300))
		}
		got := 0
		for {
			skb, err := s.sk.RecvDatagram()
			if err != 0 {
				break
			}
			got++
			FreeSkb(skb)
		}
		if got != 2000/(300+skbOverhead) {
			t.Errorf("%d datagrams in a buffer of 2000", got)
		}
		net.HoldTx(true)
		s.sk.SendMsg(cur, Msg{To: c.LocalAddr()}, make([]byte, 300), 0)
		if free := s.sk.SockWspace(); free != 4000-300-skbOverhead {
			t.Errorf("%d octets of space", free)
		}
		calls := s.space.Read()
		net.HoldTx(false)
		s.until(cur, func() bool { return s.space.Read() > calls })
		if free := s.sk.SockWspace(); free != 4000 {
			t.Errorf("%d octets of space", free)
		}
		if n := c.Read(cur, make([]byte, 500), sec); n != 300 {
			t.Errorf("Read: %s", kernel.ErrName(n))
		}
		c.Close()
		s.sk.Release()
	})
}

// Release while packets are still being delivered: no callback runs afterwards, and nothing is leaked.
func TestReleaseDuringEvents(t *testing.T) {
	for _, protocol := range []int{IPPROTO_UDP, IPPROTO_TCP} {
		everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
			s := newServer(t, cur, net, protocol)
			addr := s.addr()
			l := s
			ready := kernel.StaticObj[struct {
				kernel.Obj
				c kernel.Completion
			}](cur.Machine(), "ready")
			ready.c.Init(&ready.Obj, "ready")
			client := spawn(cur, "client", func(cur *kernel.Task) {
				c, err := Dial(cur, net, protocol, addr)
				ready.c.Complete()
				if err != 0 {
					t.Errorf("Dial: %s", kernel.ErrName(err))
					return
				}
				for range 3 {
					c.Write(cur, []byte("abc"))
				}
				c.Close()
			})
			ready.c.Wait(cur)
			if protocol == IPPROTO_TCP {
				s = l.accept(t, cur)
			}
			s.sk.Release()
			calls := s.data.Read()
			kernel.Join(cur, client)
			kernel.Msleep(cur, 10)
			if s.data.Read() != calls {
				t.Errorf("data_ready after the release")
			}
			if l != s {
				l.sk.Release()
			}
		})
	}
}

// A child has the listener's callbacks and user data until its owner replaces them.
func TestChildInherits(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		l := newServer(t, cur, net, IPPROTO_TCP)
		c, _ := Dial(cur, net, IPPROTO_TCP, l.addr())
		c.Write(cur, []byte("early"))
		l.until(cur, func() bool { return l.data.Read() > 0 })
		var child *Sock
		l.until(cur, func() (ok bool) {
			var err int
			child, err = l.sk.Accept()
			return err == 0
		})
		if child.SkUserData.Load() != any(l) || child.SkDataReady.Load() != l.cbs[0] || !child.IsLoopback() {
			t.Errorf("child does not inherit")
		}
		s := take(cur.Machine(), child)
		if b, _ := s.recv(cur, 10); string(b) != "early" {
			t.Errorf("got %q", b)
		}
		s.sk.Release()
		c.Close()
		l.sk.Release()
	})
}

func TestAwaitPort(t *testing.T) {
	everywhere(t, func(t *testing.T, cur *kernel.Task, net *Net) {
		for _, protocol := range []int{IPPROTO_TCP, IPPROTO_UDP} {
			probe, _ := Listen(cur, net, protocol, AnyAddr(AF_INET6, 0))
			port := probe.LocalAddr().Port
			probe.Close()
			if err := net.AwaitPort(cur, protocol, port, 3); err != -kernel.ETIMEDOUT {
				t.Errorf("AwaitPort: %s", kernel.ErrName(err))
			}
			waiter := spawn(cur, "waiter", func(cur *kernel.Task) {
				if err := net.AwaitPort(cur, protocol, port, 5*sec); err != 0 {
					t.Errorf("AwaitPort: %s", kernel.ErrName(err))
				}
			})
			c, err := Listen(cur, net, protocol, AnyAddr(AF_INET6, port))
			if err != 0 {
				t.Fatalf("Listen: %s", kernel.ErrName(err))
			}
			kernel.Join(cur, waiter)
			c.Close()
		}
	})
}

func TestAddressesAndPorts(t *testing.T) {
	onSim(t, 1, func(t *testing.T, cur *kernel.Task, net *Net) {
		other := NewNet(cur, cur.Machine(), "other")
		a, _ := Listen(cur, net, IPPROTO_UDP, AnyAddr(AF_INET, 111))
		for _, try := range []struct {
			net      *Net
			protocol int
			addr     Addr
			want     int
		}{
			{net, IPPROTO_UDP, AnyAddr(AF_INET, 111), -kernel.EADDRINUSE},
			{net, IPPROTO_UDP, LoopbackAddr(AF_INET, 111), -kernel.EADDRINUSE},
			{net, IPPROTO_TCP, AnyAddr(AF_INET, 111), 0},
			{net, IPPROTO_UDP, AnyAddr(AF_INET6, 111), 0},
			{other, IPPROTO_UDP, AnyAddr(AF_INET, 111), 0},
		} {
			c, err := Listen(cur, try.net, try.protocol, try.addr)
			if err != try.want {
				t.Errorf("Listen(%v): %s", try.addr, kernel.ErrName(err))
			}
			if c != nil {
				c.Close()
			}
		}
		c, err := DialFrom(cur, net, IPPROTO_UDP, Addr4(10, 0, 0, 5, 700), LoopbackAddr(AF_INET, 111))
		if err != 0 {
			t.Fatalf("DialFrom: %s", kernel.ErrName(err))
		}
		c.Write(cur, []byte("x"))
		n, from := a.ReadFrom(cur, make([]byte, 8), sec)
		if n != 1 || from != Addr4(10, 0, 0, 5, 700) {
			t.Errorf("ReadFrom: %s from %v", kernel.ErrName(n), from)
		}
		if n := a.WriteTo(cur, []byte("yz"), from); n != 2 {
			t.Errorf("WriteTo: %s", kernel.ErrName(n))
		}
		if n := c.Read(cur, make([]byte, 8), sec); n != 2 {
			t.Errorf("Read: %s", kernel.ErrName(n))
		}
		c.Close()
		a.Close()
		other.SetData("k", 1)
		if other.Data("k") != 1 || net.Data("k") != nil {
			t.Errorf("data slots")
		}
		other.Put()
		for addr, want := range map[Addr]string{
			Addr4(1, 2, 3, 4, 5):        "1.2.3.4:5",
			LoopbackAddr(AF_INET6, 111): "[0:0:0:0:0:0:0:1]:111",
		} {
			if addr.String() != want {
				t.Errorf("%s, want %s", addr, want)
			}
		}
	})
}

// The same schedule gives the same run, and a packet costs few visible operations.
func TestSteps(t *testing.T) {
	run := func(protocol, packets int) (uint64, int) {
		m := kernel.NewSim()
		defer m.Close()
		r := m.Run(&random{42}, kernel.Options{}, "main", func(cur *kernel.Task) {
			net := NewNet(cur, m, "init")
			s := newServer(t, cur, net, protocol)
			l := s
			c, _ := Dial(cur, net, protocol, s.addr())
			if protocol == IPPROTO_TCP {
				s = l.accept(t, cur)
			}
			nop := &Callback{Name: "nop", Fn: func(*Sock) {}}
			s.sk.SkDataReady.Store(nop)
			for range packets {
				c.Write(cur, []byte("abcd"))
				kernel.Msleep(cur, 1)
			}
			c.Close()
			kernel.Msleep(cur, 1)
			s.sk.Release()
			if l != s {
				l.sk.Release()
			}
			net.Put()
		})
		check(t, r, "steps")
		return r.Hash, r.Steps
	}
	for protocol, limit := range map[int]int{IPPROTO_TCP: 8, IPPROTO_UDP: 13} {
		h1, n1 := run(protocol, 10)
		h2, _ := run(protocol, 10)
		_, n2 := run(protocol, 20)
		if h1 != h2 {
			t.Errorf("protocol %d: two runs of one schedule differ", protocol)
		}
		// Two of them are the msleep of the test; with a datagram three are its end, unread, in Release.
		if per := (n2-n1)/10 - 2; per > limit {
			t.Errorf("protocol %d: %d visible operations for a packet, at most %d wanted", protocol, per, limit)
		} else {
			t.Logf("protocol %d: %d visible operations for a packet", protocol, per)
		}
	}
}

// choppy is a random order of tasks in which receives are short as often as they may be.
type choppy struct {
	random
	asked int
}

func (c *choppy) Decide(d *kernel.Decision) int {
	c.asked++
	return c.asked % d.N
}

// A receive that the chooser cuts short loses nothing and has the rest told by an event.
func TestShortReceives(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	var opt kernel.Options
	opt.Faults[kernel.DecideRead] = 6
	for seed := range 100 {
		ch := &choppy{random: random{uint64(seed)*0x9e3779b97f4a7c15 + 1}}
		var got []int
		r := m.Run(ch, opt, "main", func(cur *kernel.Task) {
			net := NewNet(cur, m, "init")
			l := newServer(t, cur, net, IPPROTO_TCP)
			client := spawn(cur, "client", func(cur *kernel.Task) {
				c, err := Dial(cur, net, IPPROTO_TCP, l.addr())
				if err != 0 || c.Write(cur, []byte("abcdefgh")) != 8 {
					t.Errorf("seed %d: Dial: %s", seed, kernel.ErrName(err))
				}
				c.CloseWrite()
				c.Read(cur, make([]byte, 1), 5*sec)
				c.Close()
			})
			s := l.accept(t, cur)
			var text []byte
			for {
				b, n := s.recv(cur, 100)
				if n <= 0 {
					break
				}
				text = append(text, b...)
				got = append(got, n)
			}
			if string(text) != "abcdefgh" {
				t.Errorf("seed %d: got %q", seed, text)
			}
			s.sk.Release()
			l.sk.Release()
			kernel.Join(cur, client)
			net.Put()
		})
		check(t, r, fmt.Sprintf("seed %d", seed))
		if len(r.Decisions) == 0 || len(got) != 1+len(r.Decisions) {
			t.Fatalf("seed %d: received %v, decided %+v", seed, got, r.Decisions)
		}
	}
}
