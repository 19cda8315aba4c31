// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

const (
	sockProg    = 4712
	sockMaxMesg = 8192 // of a service with a buffer of one page
)

// sockWorld is a machine with one single-threaded service over sockets, stopped and started as lockd does it.
type sockWorld struct {
	t    *testing.T
	rpc  *Sunrpc
	net  *sock.Net
	serv *SvcServ
	rqst *SvcRqst
	task *kernel.Task
}

// sockProgram answers procedure 0 with the length and the sum of the argument's octets, and procedure 1 with as many
// octets as the argument says.
func sockProgram() *SvcProgram {
	ok := func(*kernel.Task, *SvcRqst, any, any) uint32 { return RPC_SUCCESS }
	sum := func(rqstp *SvcRqst, p XdrPtr, _ any) bool {
		args := rqstp.RqArg.Flatten()
		p.Put(uint32(len(args)))
		p.Put(sockSum(args))
		return XdrRessizeCheck(rqstp, p)
	}
	fill := func(rqstp *SvcRqst, p XdrPtr, _ any) bool {
		n := binary.BigEndian.Uint32(rqstp.RqArg.Flatten())
		first := rqstp.RqRespages + 1
		rqstp.RqRes.Pages = rqstp.RqPages[first:]
		rqstp.RqRes.PageLen = n
		rqstp.RqNextPage = first + int(n+PAGE_SIZE-1)/PAGE_SIZE
		return XdrRessizeCheck(rqstp, p)
	}
	vers := &SvcVersion{VsVers: 1, VsNproc: 2, VsXdrsize: 64, VsHidden: true, VsProc: []SvcProcedure{
		{PcFunc: ok, PcEncode: sum, PcXdrressize: 8},
		{PcFunc: ok, PcEncode: fill, PcXdrressize: 1024},
	}}
	return &SvcProgram{PgProg: sockProg, PgName: "socktest", PgClass: "socktest", PgNvers: 2,
		PgVers: []*SvcVersion{nil, vers}, PgStats: &SvcStat{},
		PgAuthenticate: func(*kernel.Task, *SvcRqst) int { return SVC_OK }}
}

func sockSum(b []byte) uint32 {
	s := uint32(1)
	for _, c := range b {
		s = s*31 + uint32(c)
	}
	return s
}

// sockCall is a call without a record marker; sockReply is what procedure 0 answers.
func sockCall(xid, proc uint32, args []byte) []byte {
	return append(words(xid, RPC_CALL, RPC_VERSION, sockProg, 1, proc, 0, 0, 0, 0), args...)
}

func sockReply(xid uint32, args []byte) []byte {
	return words(xid, RPC_REPLY, RPC_MSG_ACCEPTED, 0, 0, RPC_SUCCESS, uint32(len(args)), sockSum(args))
}

// frag is one fragment of a record.
func frag(last bool, b []byte) []byte {
	mark := uint32(len(b))
	if last {
		mark |= rpcLastStreamFragment
	}
	return append(binary.BigEndian.AppendUint32(nil, mark), b...)
}

func octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// bootSock makes the service in net, without transports and not running. It takes over the reference to net.
func bootSock(t *testing.T, cur *kernel.Task, net *sock.Net) *sockWorld {
	w := &sockWorld{t: t, net: net, rpc: New(cur, cur.Machine())}
	w.serv = SvcCreate(cur, w.rpc, sockProgram(), PAGE_SIZE, nil)
	if w.serv == nil || w.serv.SvMaxMesg != sockMaxMesg {
		t.Fatalf("no service, or of another size")
	}
	return w
}

// add opens a transport and returns where to reach it.
func (w *sockWorld) add(cur *kernel.Task, class string, family int) SockAddr {
	port := SvcCreateXprt(cur, w.serv, class, w.net, family, 0, SVC_SOCK_ANONYMOUS)
	if port <= 0 {
		w.t.Fatalf("%s: %s", class, kernel.ErrName(port))
	}
	return sock.LoopbackAddr(family, uint16(port))
}

// start starts the thread.
func (w *sockWorld) start(cur *kernel.Task) {
	rqst, err := SvcPrepareThread(cur, w.serv, w.serv.SvPools[0], -1)
	if err != 0 {
		w.t.Fatalf("SvcPrepareThread: %s", kernel.ErrName(err))
	}
	w.rqst = rqst
	w.task = cur.Machine().KthreadCreate(cur, func(cur *kernel.Task, data any) int {
		rqstp := data.(*SvcRqst)
		for !cur.KthreadShouldStop() {
			if res := SvcRecv(cur, rqstp, kernel.MaxScheduleTimeout); res != -kernel.EAGAIN && res != -kernel.EINTR {
				SvcProcess(cur, rqstp)
			}
		}
		return 0
	}, rqst, "socktest")
	rqst.RqTask.Store(w.task)
	kernel.WakeUpProcess(w.task)
}

// stop closes the transports, stops the thread and frees everything.
func (w *sockWorld) stop(cur *kernel.Task) {
	SvcShutdownNet(cur, w.serv, w.net)
	if w.task != nil {
		kernel.KthreadStop(cur, w.task)
		SvcExitThread(cur, w.rqst)
	}
	SvcDestroy(cur, w.serv)
	w.rpc.Exit(cur)
	w.net.Put()
}

// client starts the service with a socket of a class, and connects to that.
func (w *sockWorld) client(cur *kernel.Task, class string, family int) *sock.Conn {
	addr := w.add(cur, class, family)
	w.start(cur)
	prot := IPPROTO_TCP
	if class == "udp" {
		prot = IPPROTO_UDP
	}
	return w.dial(cur, prot, addr)
}

func (w *sockWorld) dial(cur *kernel.Task, protocol int, to SockAddr) *sock.Conn {
	c, err := sock.Dial(cur, w.net, protocol, to)
	if err != 0 {
		w.t.Fatalf("Dial: %s", kernel.ErrName(err))
	}
	return c
}

// readRecord reads one reply of one fragment: nil at the end of the stream, or the errno.
func readRecord(cur *kernel.Task, c *sock.Conn, timeout kernel.Jiffies) ([]byte, int) {
	var mark [4]byte
	if n := c.ReadFull(cur, mark[:], timeout); n != 4 {
		return nil, n
	}
	m := binary.BigEndian.Uint32(mark[:])
	b := make([]byte, m&^rpcLastStreamFragment)
	if n := c.ReadFull(cur, b, timeout); n != len(b) || m&rpcLastStreamFragment == 0 {
		return nil, -kernel.EPROTO
	}
	return b, len(b)
}

// sockRuns runs main on the sim back end in n orders, then on the free one in memory and over the loopback interface.
// It wants no finding and nothing left.
func sockRuns(t *testing.T, n int, main func(t *testing.T, cur *kernel.Task, net *sock.Net, x *choosertest.Random)) {
	t.Helper()
	one := func(t *testing.T, m *kernel.Machine, ch kernel.Chooser, opt kernel.Options, seed int, real bool) {
		r := m.Run(ch, opt, "main", func(cur *kernel.Task) {
			net := sock.NewNet(cur, m, "init_net")
			if real {
				net.Put()
				var err int
				if net, err = sock.NewRealNet(m); err != 0 {
					t.Errorf("NewRealNet: %s", kernel.ErrName(err))
					return
				}
			}
			main(t, cur, net, choosertest.NewRandom(uint64(seed)*77+5))
		})
		for _, f := range r.Findings {
			t.Fatalf("seed %d: %v\n%s\n%v", seed, f, f.Text, f.Stack)
		}
		if r.Live != 0 {
			t.Fatalf("seed %d: %d objects left", seed, r.Live)
		}
	}
	t.Run("sim", func(t *testing.T) {
		m := kernel.NewSim()
		defer m.Close()
		for seed := 1; seed <= n && !t.Failed(); seed++ {
			var ch kernel.Chooser = choosertest.NewRandom(uint64(seed))
			if seed%2 == 0 {
				ch = choosertest.NewRanked(uint64(seed), 200<<(seed%3))
			}
			one(t, m, ch, kernel.Options{}, seed, false)
		}
	})
	for _, real := range []bool{false, true} {
		t.Run(fmt.Sprintf("free real=%t", real), func(t *testing.T) {
			one(t, kernel.NewFree(), nil, kernel.Options{Seed: 3, Noise: 1500}, 3, real)
		})
	}
}

func TestRecordMarking(t *testing.T) {
	call := func(xid uint32, n int) []byte { return sockCall(xid, 0, octets(n)) }
	full := sockMaxMesg - 40
	var single, empties, chain, long []byte
	for _, c := range call(1, 20) {
		single = append(single, frag(false, []byte{c})...)
		empties = append(empties, frag(false, nil)...)
	}
	single = append(single[:len(single)-5], frag(true, call(1, 20)[59:])...)
	empties = append(append(empties, frag(false, call(1, 20)[:10])...), frag(true, call(1, 20)[10:])...)
	for i := range uint32(5) {
		chain = append(chain, frag(true, call(i+1, int(i)*4))...)
	}
	for range 9 {
		long = append(long, frag(false, octets(1000))...)
	}
	reply := append([]byte(nil), call(9, 0)...)
	reply[7] = RPC_REPLY
	answers := func(lens ...int) (out [][]byte) {
		for i, n := range lens {
			out = append(out, sockReply(uint32(i+1), octets(n)))
		}
		return out
	}

	for _, tc := range []struct {
		name string
		in   []byte
		want [][]byte
		// What becomes of the connection when a further call comes after that: it is answered or the connection closes.
		closes bool
	}{
		{"one fragment", frag(true, call(1, 100)), answers(100), false},
		{"two pages", frag(true, call(1, 5000)), answers(5000), false},
		{"three fragments", append(append(frag(false, call(1, 6000)[:4000]), frag(false, call(1, 6000)[4000:4500])...),
			frag(true, call(1, 6000)[4500:])...), answers(6000), false},
		{"fragments of one octet", single, answers(20), false},
		{"empty fragments", empties, answers(20), false},
		{"records in a row", chain, answers(0, 4, 8, 12, 16), false},
		{"the longest record", frag(true, call(1, full)), answers(full), false},
		{"the longest record, in two", append(frag(false, call(1, full)[:100]), frag(true, call(1, full)[100:])...),
			answers(full), false},
		{"too long", frag(true, call(1, full+1))[:44], nil, true},
		{"too long, not the last", frag(false, call(1, full+1))[:4], nil, true},
		{"too long in sum", long, nil, true},
		{"too short", frag(true, octets(7)), nil, true},
		{"a reply", append(frag(true, reply), frag(true, call(1, 8))...), answers(8), false},
		{"an empty record", frag(true, nil), nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sockRuns(t, 40, func(t *testing.T, cur *kernel.Task, net *sock.Net, x *choosertest.Random) {
				w := bootSock(t, cur, net)
				c := w.client(cur, "tcp", sock.AF_INET)
				writer := cur.Machine().Spawn(cur, "writer", func(cur *kernel.Task) {
					for rest := tc.in; len(rest) > 0; {
						n := min(len(rest), 1+x.N(len(rest)))
						if res := c.Write(cur, rest[:n]); res != n && !tc.closes {
							t.Errorf("Write: %s", kernel.ErrName(res))
						}
						rest = rest[n:]
					}
				})
				for i, want := range tc.want {
					if got, n := readRecord(cur, c, 5*kernel.HZ); !bytes.Equal(got, want) {
						t.Errorf("reply %d: %x (%s), want %x", i, got, kernel.ErrName(n), want)
					}
				}
				kernel.Join(cur, writer)
				n := c.Write(cur, frag(true, call(77, 4)))
				got, n2 := readRecord(cur, c, 5*kernel.HZ)
				switch {
				case !tc.closes && !bytes.Equal(got, sockReply(77, octets(4))):
					t.Errorf("after that: %x (%s, %s)", got, kernel.ErrName(n), kernel.ErrName(n2))
				case tc.closes && n2 != 0 && n2 != -kernel.ECONNRESET && n2 != -kernel.EPIPE:
					t.Errorf("not closed: %x (%s, %s)", got, kernel.ErrName(n), kernel.ErrName(n2))
				}
				c.Close()
				w.stop(cur)
			})
		})
	}
}

// withService runs fn with a client of a service of one socket.
func withService(t *testing.T, n int, class string, family int,
	fn func(t *testing.T, cur *kernel.Task, w *sockWorld, c *sock.Conn)) {
	sockRuns(t, n, func(t *testing.T, cur *kernel.Task, net *sock.Net, _ *choosertest.Random) {
		w := bootSock(t, cur, net)
		c := w.client(cur, class, family)
		fn(t, cur, w, c)
		c.Close()
		w.stop(cur)
	})
}

// A call whose last fragment is empty is answered only when more data arrives: an empty read of an empty queue gives
// no octets but "again".
func TestEmptyLastFragment(t *testing.T) {
	withService(t, 60, "tcp", sock.AF_INET6, func(t *testing.T, cur *kernel.Task, w *sockWorld, c *sock.Conn) {
		c.Write(cur, append(frag(false, sockCall(1, 0, octets(12))), frag(true, nil)...))
		if got, n := readRecord(cur, c, kernel.HZ/10); n != -kernel.ETIMEDOUT {
			t.Errorf("answered early: %x (%s)", got, kernel.ErrName(n))
		}
		c.Write(cur, frag(true, sockCall(2, 0, octets(4))))
		for i, n := range []int{12, 4} {
			if got, res := readRecord(cur, c, 5*kernel.HZ); !bytes.Equal(got, sockReply(uint32(i+1), octets(n))) {
				t.Errorf("reply %d: %x (%s)", i, got, kernel.ErrName(res))
			}
		}
	})
}

func TestDatagramTransport(t *testing.T) {
	withService(t, 60, "udp", sock.AF_INET, func(t *testing.T, cur *kernel.Task, w *sockWorld, c *sock.Conn) {
		buf := make([]byte, 9000)
		for _, tc := range []struct {
			n      int // octets of arguments, or -1-length of a datagram cut short
			answer bool
		}{
			{4, true}, {4000, true}, {6000, true}, {sockMaxMesg - 40, true}, {sockMaxMesg - 39, false},
			{-21, false}, {-24, false}, {0, true},
		} {
			b := sockCall(5, 0, octets(max(tc.n, 0)))
			if tc.n < 0 {
				b = b[:-1-tc.n]
			}
			c.Write(cur, b)
			timeout := 5 * kernel.HZ
			if !tc.answer {
				timeout = 30
			}
			n := c.Read(cur, buf, timeout)
			if tc.answer != (n > 0) || n > 0 && !bytes.Equal(buf[:n], sockReply(5, octets(tc.n))) {
				t.Errorf("%d: %x (%s)", tc.n, buf[:max(n, 0)], kernel.ErrName(n))
			}
		}
	})
}

// Datagrams that are shorter than the words the core reads first make it read what lies behind them. Whatever comes
// of that, the service survives and goes on.
func TestShortDatagram(t *testing.T) {
	withService(t, 40, "udp", sock.AF_INET, func(t *testing.T, cur *kernel.Task, w *sockWorld, c *sock.Conn) {
		for n := range 8 {
			c.Write(cur, sockCall(6, 0, nil)[:n])
		}
		c.Write(cur, sockCall(7, 0, nil))
		buf := make([]byte, 1000)
		for {
			n := c.Read(cur, buf, 5*kernel.HZ)
			if n <= 0 {
				t.Fatalf("no reply: %s", kernel.ErrName(n))
			}
			if bytes.Equal(buf[:n], sockReply(7, nil)) {
				break
			}
		}
	})
}

// A client that does not read makes the connection wait for space; when it reads, every call is answered in order.
func TestConnectionWaitsForSpace(t *testing.T) {
	const calls = 30
	withService(t, 40, "tcp", sock.AF_INET, func(t *testing.T, cur *kernel.Task, w *sockWorld, c *sock.Conn) {
		c.SetBuffers(60000, map[string]int{"init_net": 4096, "real": 20000}[w.net.Name])
		args := binary.BigEndian.AppendUint32(nil, 4000)
		for i := range uint32(calls) {
			c.Write(cur, frag(true, sockCall(i, 1, args)))
		}
		kernel.Msleep(cur, 20)
		for i := range uint32(calls) {
			got, n := readRecord(cur, c, 10*kernel.HZ)
			if n != 24+4000 || binary.BigEndian.Uint32(got) != i {
				t.Fatalf("reply %d: %s", i, kernel.ErrName(n))
			}
		}
	})
}

// A client that never reads: with less than a whole reply of space a send ends short after 30 s and the connection
// is shut.
func TestShortSendCloses(t *testing.T) {
	m := kernel.NewSim()
	defer m.Close()
	r := m.Run(choosertest.NewRanked(1, 100), kernel.Options{}, "main", func(cur *kernel.Task) {
		w := bootSock(t, cur, sock.NewNet(cur, m, "init_net"))
		c := w.client(cur, "tcp", sock.AF_INET)
		c.SetBuffers(60000, 100)
		// The send buffer is what the service asked for; make it small behind its back.
		kernel.Msleep(cur, 10)
		w.serv.SvLock.LockBH()
		svsk := svcSockOf(w.serv.SvTempsocks.First())
		w.serv.SvLock.UnlockBH()
		svsk.SkSock.SetSndRcvBuf(500, 4096)
		c.Write(cur, frag(true, sockCall(1, 1, binary.BigEndian.AppendUint32(nil, 4000))))
		before := m.Jiffies()
		buf := make([]byte, 8000)
		kernel.Msleep(cur, 60*1000)
		n := c.ReadFull(cur, buf, 5*kernel.HZ)
		if n != 1100 && n != -kernel.ECONNRESET {
			t.Errorf("%s octets of the reply", kernel.ErrName(n))
		}
		if d := m.Jiffies() - before; d < svcTcpSndtimeo {
			t.Errorf("after %d ms", d)
		}
		c.Close()
		w.stop(cur)
	})
	for _, f := range r.Findings {
		t.Errorf("%v\n%s\n%v", f, f.Text, f.Stack)
	}
	if r.Live != 0 {
		t.Errorf("%d objects left", r.Live)
	}
}

// Clients come and go while the service starts and stops; whatever the order, nothing is lost track of.
func TestClientsAgainstStartAndStop(t *testing.T) {
	sockRuns(t, 200, func(t *testing.T, cur *kernel.Task, net *sock.Net, x *choosertest.Random) {
		w := bootSock(t, cur, net)
		tcp, udp := w.add(cur, "tcp", sock.AF_INET), w.add(cur, "udp", sock.AF_INET)
		var clients []*kernel.Task
		for i := range 3 {
			how := x.N(5)
			net.Get() // the service may be gone before the client
			clients = append(clients, cur.Machine().Spawn(cur, fmt.Sprintf("client%d", i), func(cur *kernel.Task) {
				defer net.Put()
				if i == 2 {
					c, err := sock.Dial(cur, net, IPPROTO_UDP, udp)
					if err == 0 {
						c.Write(cur, sockCall(1, 0, octets(40)))
						c.Read(cur, make([]byte, 100), kernel.HZ/20)
						c.Close()
					}
					return
				}
				c, err := sock.Dial(cur, net, IPPROTO_TCP, tcp)
				if err != 0 {
					return
				}
				rec := frag(true, sockCall(1, 0, octets(40)))
				switch how {
				case 0:
				case 1:
					c.Write(cur, rec)
				case 2:
					c.Write(cur, rec[:30])
				case 3:
					c.Write(cur, rec)
					readRecord(cur, c, kernel.HZ/20)
				case 4:
					c.Write(cur, rec)
					c.Reset()
					return
				}
				c.Close()
			}))
		}
		w.start(cur)
		kernel.Msleep(cur, x.N(20))
		w.stop(cur)
		for _, c := range clients {
			kernel.Join(cur, c)
		}
	})
}

// Several connections wait before the thread first looks: each is accepted and answered, though one event may stand
// for many. Of those that were closed meanwhile none stays.
func TestConnectionsBeforeStart(t *testing.T) {
	sockRuns(t, 60, func(t *testing.T, cur *kernel.Task, net *sock.Net, _ *choosertest.Random) {
		w := bootSock(t, cur, net)
		addr := w.add(cur, "tcp", sock.AF_INET)
		w.dial(cur, IPPROTO_TCP, addr).Close()
		var conns []*sock.Conn
		for range 4 {
			conns = append(conns, w.dial(cur, IPPROTO_TCP, addr))
		}
		w.dial(cur, IPPROTO_TCP, addr).Reset()
		kernel.Msleep(cur, 20)
		w.start(cur)
		for i, c := range conns {
			c.Write(cur, frag(true, sockCall(uint32(i), 0, octets(i))))
			if got, n := readRecord(cur, c, 5*kernel.HZ); !bytes.Equal(got, sockReply(uint32(i), octets(i))) {
				t.Errorf("connection %d: %x (%s)", i, got, kernel.ErrName(n))
			}
		}
		for range 100 {
			if w.serv.SvTmpcnt.Read() == int64(len(conns)) {
				break
			}
			kernel.Msleep(cur, 5)
		}
		if n := w.serv.SvTmpcnt.Read(); n != int64(len(conns)) {
			t.Errorf("%d connections, want %d", n, len(conns))
		}
		for _, c := range conns {
			c.Close()
		}
		w.stop(cur)
	})
}

func TestBackchannelPlaceholder(t *testing.T) {
	sockRuns(t, 5, func(t *testing.T, cur *kernel.Task, net *sock.Net, _ *choosertest.Random) {
		w := bootSock(t, cur, net)
		if res := SvcCreateXprt(cur, w.serv, "tcp-bc", net, sock.PF_INET, 0, SVC_SOCK_ANONYMOUS); res != 0 {
			t.Errorf("tcp-bc: %s", kernel.ErrName(res))
		}
		if w.serv.SvBcEnabled.Peek() == 0 {
			t.Errorf("the service does not know its place holder")
		}
		w.stop(cur)
	})
}

func TestAddsockAndNames(t *testing.T) {
	sockRuns(t, 5, func(t *testing.T, cur *kernel.Task, net *sock.Net, _ *choosertest.Random) {
		w := bootSock(t, cur, net)
		so, err := sock.Create(cur, net, sock.AF_INET, sock.SOCK_STREAM, IPPROTO_TCP)
		if err != 0 {
			t.Fatalf("Create: %s", kernel.ErrName(err))
		}
		so.Bind(sock.LoopbackAddr(sock.AF_INET, 0))
		so.Listen(8)
		addr, _ := so.GetSockName()
		want := fmt.Sprintf("ipv4 tcp 127.0.0.1 %d\n", addr.Port)
		if name, n := SvcAddsock(cur, w.serv, so, 100); name != want || n != len(want) {
			t.Errorf("SvcAddsock: %q, %s", name, kernel.ErrName(n))
		}
		if SvcAlienSock(net, so) {
			t.Errorf("the socket is in another net")
		}
		w.start(cur)
		c := w.dial(cur, IPPROTO_TCP, addr)
		c.Write(cur, frag(true, sockCall(3, 0, nil)))
		if got, n := readRecord(cur, c, 5*kernel.HZ); !bytes.Equal(got, sockReply(3, nil)) {
			t.Errorf("%x (%s)", got, kernel.ErrName(n))
		}
		c.Close()
		w.stop(cur)
	})
}

// A datagram socket may have a peer, a connection is refused.
func TestAddsockWithPeer(t *testing.T) {
	sockRuns(t, 5, func(t *testing.T, cur *kernel.Task, net *sock.Net, _ *choosertest.Random) {
		w := bootSock(t, cur, net)
		to := w.add(cur, "tcp", sock.AF_INET)
		for _, tc := range []struct {
			typ, proto int
			want       string
			errno      int
		}{
			{sock.SOCK_DGRAM, IPPROTO_UDP, "ipv4 udp", 0},
			{sock.SOCK_STREAM, IPPROTO_TCP, "", -kernel.EISCONN},
		} {
			so, err := sock.Create(cur, net, sock.AF_INET, tc.typ, tc.proto)
			if err != 0 {
				t.Fatalf("Create: %s", kernel.ErrName(err))
			}
			so.Bind(sock.LoopbackAddr(sock.AF_INET, 0))
			if err = so.Connect(cur, to); err != 0 {
				t.Fatalf("Connect: %s", kernel.ErrName(err))
			}
			name, n := SvcAddsock(cur, w.serv, so, 100)
			if !strings.HasPrefix(name, tc.want) || min(n, 0) != tc.errno {
				t.Errorf("protocol %d: %q, %s", tc.proto, name, kernel.ErrName(n))
			}
			if n < 0 {
				so.Release()
			}
		}
		w.stop(cur)
	})
}

// A datagram says to which of our addresses it was sent; the port is what it was.
func TestDestAddress(t *testing.T) {
	rqstp := &SvcRqst{RqDaddr: sock.Addr4(192, 0, 2, 1, 4045)}
	if !svcUdpGetDestAddress(rqstp, &sock.Msg{To: sock.Addr4(192, 0, 2, 2, 111)}) ||
		rqstp.RqDaddr != sock.Addr4(192, 0, 2, 2, 4045) {
		t.Errorf("sent to %v", rqstp.RqDaddr)
	}
	if svcUdpGetDestAddress(rqstp, &sock.Msg{}) || rqstp.RqDaddr != sock.Addr4(192, 0, 2, 2, 4045) {
		t.Errorf("sent to nowhere: %v", rqstp.RqDaddr)
	}
}

// Every fallible step on the way to a socket, failing once: an error that leaves nothing behind, or success.
func TestFailingSocketSteps(t *testing.T) {
	made := 0
	for r := range choosertest.Failing(t, func(cur *kernel.Task, _ func(string, ...any)) {
		made = 0
		net := sock.NewNet(cur, cur.Machine(), "init_net")
		rpc := New(cur, cur.Machine())
		serv := SvcCreate(cur, rpc, sockProgram(), PAGE_SIZE, nil)
		if serv != nil {
			for _, class := range []string{"udp", "tcp", "tcp-bc"} {
				if SvcCreateXprt(cur, serv, class, net, sock.PF_INET6, 0, SVC_SOCK_ANONYMOUS) >= 0 {
					made++
				}
			}
			SvcShutdownNet(cur, serv, net)
			SvcDestroy(cur, serv)
		}
		rpc.Exit(cur)
		net.Put()
	}) {
		if r.Live != 0 || (made == 3) != (r.Failed == "") {
			t.Errorf("%q fails: %d transports, %d objects left", r.Failed, made, r.Live)
		}
	}
}
