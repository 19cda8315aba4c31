// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

const (
	clntProg = 4713
	clntVers = 1
)

// clntEcho is a procedure that takes a word and gives one.
var clntEcho = &RpcProcinfo{
	PProc: 1,
	PEncode: func(xdr *XdrStream, argp any) {
		p, _ := XdrReserveSpace(xdr, 4)
		p.Put(argp.(uint32))
	},
	PDecode: func(xdr *XdrStream, resp any) int {
		p, ok := XdrInlineDecode(xdr, 4)
		if !ok {
			return -kernel.EIO
		}
		*resp.(*uint32) = p.Get()
		return 0
	},
	PName: "ECHO",
}

var clntTestProgram = &RpcProgram{Name: "clnttest", Number: clntProg, Version: []*RpcVersion{
	clntVers: {Number: clntVers, Procs: []*RpcProcinfo{1: clntEcho}},
}}

// nlmTimeout is the timeout that lockd uses.
var nlmTimeout = &RpcTimeout{
	ToInitval: 10 * kernel.HZ, ToIncrement: 10 * kernel.HZ, ToMaxval: 60 * kernel.HZ, ToRetries: 5,
}

// answer is what a peer does with a call: sends octets, as one record over TCP unless they are raw, and then perhaps
// closes the connection. Without octets it sends nothing.
type answer struct {
	b     []byte
	raw   bool
	close bool
}

// peer is a server that a test scripts: fn is asked what to do with the i-th call.
type peer struct {
	fn    func(i int, call []byte) answer
	port  uint16
	calls [][]byte
	times []kernel.Jiffies
	conns int
	stop  kernel.Atomic
	task  *kernel.Task
}

// newPeer starts a server on addr; port 0: any.
func newPeer(cur *kernel.Task, net *sock.Net, prot int, addr SockAddr, fn func(i int, call []byte) answer) *peer {
	p := &peer{fn: fn}
	p.stop.Init(&net.Obj, "peer.stop")
	l, err := sock.Listen(cur, net, prot, addr)
	if err == -kernel.ENOMEM { // a failure that the test asked for
		l, err = sock.Listen(cur, net, prot, addr)
	}
	if err != 0 {
		panic("listen: " + kernel.ErrName(err))
	}
	p.port = l.LocalAddr().Port
	p.task = cur.Machine().Spawn(cur, "peer", func(cur *kernel.Task) {
		for p.stop.Read() == 0 {
			if prot == sock.IPPROTO_UDP {
				p.datagram(cur, l)
			} else if c, err := l.Accept(cur, kernel.HZ); err == 0 {
				p.conns++
				p.connection(cur, c)
				c.Close()
			}
		}
		l.Close()
	})
	return p
}

// end stops the server.
func (p *peer) end(cur *kernel.Task) {
	p.stop.Set(1)
	kernel.Join(cur, p.task)
}

func (p *peer) ask(cur *kernel.Task, call []byte) answer {
	p.calls = append(p.calls, append([]byte(nil), call...))
	p.times = append(p.times, cur.Machine().Jiffies())
	return p.fn(len(p.calls)-1, call)
}

func (p *peer) datagram(cur *kernel.Task, l *sock.Conn) {
	var buf [4096]byte
	if n, from := l.ReadFrom(cur, buf[:], kernel.HZ); n > 0 {
		if a := p.ask(cur, buf[:n]); a.b != nil {
			l.WriteTo(cur, a.b, from)
		}
	}
}

func (p *peer) connection(cur *kernel.Task, c *sock.Conn) {
	var mark [4]byte
	for p.stop.Read() == 0 {
		n := c.Read(cur, mark[:], kernel.HZ)
		if n == -kernel.ETIMEDOUT {
			continue
		}
		if n <= 0 || n < 4 && c.ReadFull(cur, mark[n:], kernel.HZ) != 4-n {
			return
		}
		call := make([]byte, binary.BigEndian.Uint32(mark[:])&rpcFragmentSizeMask)
		if c.ReadFull(cur, call, kernel.HZ) != len(call) {
			return
		}
		a := p.ask(cur, call)
		if a.b != nil && !a.raw {
			a.b = record(a.b)
		}
		if a.b != nil {
			c.Write(cur, a.b)
		}
		if a.close {
			return
		}
	}
}

// record is b as one record of one fragment.
func record(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, rpcLastStreamFragment|uint32(len(b))), b...)
}

// reply is the answer of a well-behaved server to a call: results follow its header.
func reply(call []byte, results ...uint32) []byte {
	header := words(binary.BigEndian.Uint32(call), RPC_REPLY, RPC_MSG_ACCEPTED, 0, 0, RPC_SUCCESS)
	return append(header, words(results...)...)
}

// echo answers with the argument, which is the last word.
func echo(_ int, call []byte) answer {
	return answer{b: reply(call, binary.BigEndian.Uint32(call[len(call)-4:]))}
}

// client makes a client of a peer on this machine; port 0: to be asked for.
func client(t *testing.T, cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prot uint32, port uint16,
	flags uint32) *RpcClnt {
	clnt, err := RpcCreate(cur, &RpcCreateArgs{
		Rpc: rpc, Net: net, Protocol: prot, Address: sock.LoopbackAddr(sock.AF_INET, port), Timeout: nlmTimeout,
		Servername: "peer", Program: clntTestProgram, Version: clntVers, Authflavor: RPC_AUTH_UNIX, Flags: flags,
	})
	if err != 0 {
		t.Errorf("rpc_create: %s", kernel.ErrName(err))
	}
	return clnt
}

// call asks for an echo of arg: the word and the result of the call.
func call(cur *kernel.Task, clnt *RpcClnt, arg, flags uint32) (uint32, int) {
	var res uint32
	err := RpcCallSync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: arg, RpcResp: &res}, flags)
	return res, err
}

// clntSim runs fn under n schedules and wants no finding and nothing left.
func clntSim(t *testing.T, n int, fn func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net)) {
	t.Helper()
	choosertest.Simulate(t, n, kernel.Options{Detect: true}, func(cur *kernel.Task, fail func(string, ...any)) {
		clntWorld(cur, sock.NewNet(cur, cur.Machine(), "init_net"), fail, fn)
	})
}

// clntWorld runs fn and wants nothing left.
func clntWorld(cur *kernel.Task, net *sock.Net, fail func(string, ...any),
	fn func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net)) {
	rpc := New(cur, cur.Machine())
	rpc.Nodename = "guest"
	base := len(cur.Machine().LiveObjects())
	fn(cur, rpc, net)
	choosertest.NothingLeft(cur, base, fail, "over")
}

// clntEverywhere runs fn on all back ends and networks.
func clntEverywhere(t *testing.T, fn func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net)) {
	t.Run("sim", func(t *testing.T) { clntSim(t, 60, fn) })
	for _, real := range []bool{false, true} {
		t.Run(fmt.Sprint("free, real ", real), func(t *testing.T) {
			m := kernel.NewFree()
			r := m.Run(nil, kernel.Options{Seed: 1, Noise: 1000, TimeScale: 20}, "main", func(cur *kernel.Task) {
				net, err := sock.NewNet(cur, m, "init_net"), 0
				if real {
					if net, err = sock.NewRealNet(m); err != 0 {
						t.Errorf("NewRealNet: %s", kernel.ErrName(err))
						return
					}
				}
				clntWorld(cur, net, t.Errorf, fn)
				net.Put()
			})
			for _, f := range r.Findings {
				t.Errorf("%s\n%s", f, f.Text)
			}
		})
	}
}

var bothProts = []uint32{IPPROTO_UDP, IPPROTO_TCP}

// TestClntCalls makes calls one after the other and many at once, over a port that it is told and one that it asks for.
func TestClntCalls(t *testing.T) {
	clntEverywhere(t, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		for _, prot := range bothProts {
			any4 := sock.LoopbackAddr(sock.AF_INET, 0)
			p := newPeer(cur, net, int(prot), any4, echo)
			rpcbind := newPeer(cur, net, int(prot), any4, func(_ int, call []byte) answer {
				return answer{b: reply(call, uint32(p.port))}
			})
			rpc.Rpcb.PeerPort = rpcbind.port
			clnt := client(t, cur, rpc, net, prot, 0, RPC_CLNT_CREATE_AUTOBIND)
			if res, err := call(cur, clnt, 77, 0); res != 77 || err != 0 {
				t.Errorf("protocol %d: %d, %s", prot, res, kernel.ErrName(err))
			}
			var done, released kernel.Atomic
			done.Init(&net.Obj, "done")
			released.Init(&net.Obj, "released")
			ops := &RpcCallOps{
				RpcCallDone: func(_ *kernel.Task, task *RpcTask, data any) {
					if res := data.([]uint32); task.TkStatus != 0 || res[0] != res[1] {
						t.Errorf("%d, want %d; %s", res[0], res[1], kernel.ErrName(task.TkStatus))
					}
					done.Inc()
				},
				RpcRelease: func(*kernel.Task, any) { released.Inc() },
			}
			const n = 6
			for i := range uint32(n) {
				res := []uint32{0, i}
				RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: i, RpcResp: &res[0]}, 0, ops, res)
			}
			for released.Read() < n {
				kernel.Msleep(cur, 1)
			}
			RpcShutdownClient(cur, clnt)
			p.end(cur)
			rpcbind.end(cur)
			// In real time calls may be repeated.
			more := len(rpcbind.calls) > 1 || len(p.calls) > n+1
			if done.Read() != n || len(rpcbind.calls) == 0 || len(p.calls) <= n || more && cur.Machine().Sim() {
				t.Errorf("protocol %d: %d done, %d calls of rpcbind, %d of the peer", prot, done.Read(),
					len(rpcbind.calls), len(p.calls))
			}
		}
	})
}

// TestClntMessage compares what is sent with what a kernel called guest sends.
func TestClntMessage(t *testing.T) {
	const portmap = "0000000000000002000186a00000000200000003" +
		"000000010000001c0000000000000005677565737400000000000000000000000000000000000000" + "00000000" +
		"000012690000000100000006" + "00000000"
	clntSim(t, 2, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		rpcbind := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, RPCBIND_PORT),
			func(_ int, call []byte) answer { return answer{b: reply(call, 900)} })
		p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 900), echo)
		clnt := client(t, cur, rpc, net, IPPROTO_TCP, 0, RPC_CLNT_CREATE_AUTOBIND)
		for range 2 {
			if _, err := call(cur, clnt, 5, 0); err != 0 {
				t.Errorf("call: %s", kernel.ErrName(err))
			}
		}
		if got := hex.EncodeToString(rpcbind.calls[0][4:]); got != portmap {
			t.Errorf("GETPORT is\n%s, not\n%s", got, portmap)
		}
		a, b := binary.BigEndian.Uint32(p.calls[0]), binary.BigEndian.Uint32(p.calls[1])
		if b != a+1 || !bytes.Equal(p.calls[0][4:], p.calls[1][4:]) {
			t.Errorf("numbers %d and %d, messages\n%x\n%x", a, b, p.calls[0], p.calls[1])
		}
		RpcShutdownClient(cur, clnt)
		p.end(cur)
		rpcbind.end(cur)
	})
}

// TestClntPrivileged looks at the source ports: below 1024 unless the client may do without.
func TestClntPrivileged(t *testing.T) {
	clntSim(t, 4, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		for _, prot := range bothProts {
			for _, flags := range []uint32{0, RPC_CLNT_CREATE_NONPRIVPORT} {
				p := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, 0), echo)
				clnt := client(t, cur, rpc, net, prot, p.port, flags)
				if _, err := call(cur, clnt, 5, 0); err != 0 {
					t.Errorf("call: %s", kernel.ErrName(err))
				}
				a, _ := clnt.clSock.GetSockName()
				if (a.Port >= rpcMinResvport && a.Port <= rpcMaxResvport) != (flags == 0) {
					t.Errorf("protocol %d, flags %#x: port %d", prot, flags, a.Port)
				}
				RpcShutdownClient(cur, clnt)
				p.end(cur)
			}
		}
	})
}

// TestClntTimeouts has a peer that never answers and looks at when it is called and when the caller gives up.
func TestClntTimeouts(t *testing.T) {
	const hard = RPC_CLNT_CREATE_HARDRTRY
	for _, tc := range []struct {
		name  string
		prot  uint32
		cl    uint32 // flags of the client
		flags uint32
		want  []int // seconds at which the message is sent
		end   int
		err   int
	}{
		{"udp soft", IPPROTO_UDP, 0, 0, []int{0, 10, 30}, 70, -kernel.EIO},
		{"udp with timeout", IPPROTO_UDP, hard, RPC_TASK_TIMEOUT, []int{0, 10, 30}, 70, -kernel.ETIMEDOUT},
		{"udp soft connection", IPPROTO_UDP, hard, RPC_TASK_SOFTCONN, []int{0, 10, 30}, 70, -kernel.ETIMEDOUT},
		{"tcp soft", IPPROTO_TCP, 0, 0, []int{0, 10, 30}, 60, -kernel.EIO},
		{"udp hard", IPPROTO_UDP, hard, 0, []int{0, 10, 30, 70, 80, 100, 140}, 140, 0},
		{"tcp hard", IPPROTO_TCP, hard, 0, []int{0, 10, 30, 60, 70, 90, 120}, 120, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clntSim(t, 3, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
				p := newPeer(cur, net, int(tc.prot), sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
					if tc.err == 0 && i == len(tc.want)-1 {
						return echo(i, call)
					}
					return answer{}
				})
				clnt := client(t, cur, rpc, net, tc.prot, p.port, tc.cl)
				start := cur.Machine().Jiffies()
				if _, err := call(cur, clnt, 5, tc.flags); err != tc.err {
					t.Errorf("%s", kernel.ErrName(err))
				}
				at := func(j kernel.Jiffies) int { return int((j - start + kernel.HZ/2) / kernel.HZ) }
				var got []int
				for _, j := range p.times {
					got = append(got, at(j))
				}
				if fmt.Sprint(got) != fmt.Sprint(tc.want) || at(cur.Machine().Jiffies()) != tc.end {
					t.Errorf("sent at %v, over at %d; want %v, %d", got, at(cur.Machine().Jiffies()), tc.want, tc.end)
				}
				for _, c := range p.calls[1:] {
					if !bytes.Equal(c, p.calls[0]) {
						t.Error("a repetition is another message")
					}
				}
				RpcShutdownClient(cur, clnt)
				p.end(cur)
			})
		})
	}
}

// TestClntNoTimeout has a client that was made without a timeout: it waits for ever, until it is shut down.
func TestClntNoTimeout(t *testing.T) {
	clntSim(t, 4, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		for _, prot := range bothProts {
			p := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
				if i == 0 {
					return echo(i, call)
				}
				return answer{}
			})
			clnt, _ := RpcCreate(cur, &RpcCreateArgs{
				Rpc: rpc, Net: net, Protocol: prot, Address: sock.LoopbackAddr(sock.AF_INET, p.port), Timeout: &RpcTimeout{},
				Program: clntTestProgram, Version: clntVers,
			})
			if res, err := call(cur, clnt, 3, 0); res != 3 || err != 0 {
				t.Errorf("%d, %s", res, kernel.ErrName(err))
			}
			status := 0
			ops := &RpcCallOps{RpcCallDone: func(_ *kernel.Task, task *RpcTask, _ any) { status = task.TkStatus }}
			RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(1), RpcResp: new(uint32)}, 0, ops, nil)
			kernel.Msleep(cur, 600_000)
			RpcShutdownClient(cur, clnt)
			p.end(cur)
			if len(p.calls) != 2 || status != -kernel.EIO {
				t.Errorf("%d calls, %s", len(p.calls), kernel.ErrName(status))
			}
		}
	})
}

// TestClntHostile answers with what no server should send. Without an answer that counts the call fails after a
// minute.
func TestClntHostile(t *testing.T) {
	xid := func(call []byte) uint32 { return binary.BigEndian.Uint32(call) }
	word := func(ws ...uint32) func([]byte) []byte {
		return func(call []byte) []byte { return words(append([]uint32{xid(call)}, ws...)...) }
	}
	long := func(n uint32) []uint32 {
		return append([]uint32{RPC_REPLY, RPC_MSG_ACCEPTED, RPC_AUTH_UNIX, n}, make([]uint32, 110)...)
	}
	verf400 := long(400)
	verf400[104], verf400[105] = RPC_SUCCESS, 5
	for _, tc := range []struct {
		name  string
		fn    func(call []byte) []byte
		err   int
		calls int // at least; -1: do not count
	}{
		{"good", word(RPC_REPLY, 0, 0, 0, 0, 5), 0, 1},
		{"more than asked for", word(RPC_REPLY, 0, 0, 0, 0, 5, 6, 7), 0, 1},
		{"short verifier of AUTH_SHORT", word(RPC_REPLY, 0, RPC_AUTH_SHORT, 4, 9, 0, 5), 0, 1},
		{"verifier of a word and an octet", word(RPC_REPLY, 0, RPC_AUTH_SHORT, 5, 9, 0, 5), 0, 1},
		{"verifier of 400 octets", word(verf400...), 0, 1},
		{"verifier of 404 octets", word(long(404)...), -kernel.EIO, 3},
		{"verifier of 4 G", word(long(1<<32 - 1)...), -kernel.EIO, 3},
		{"verifier of an unknown flavour", word(RPC_REPLY, 0, 6, 0, 0, 5), -kernel.EIO, 3},
		{"cut in the verifier", word(RPC_REPLY, 0, 0), -kernel.EIO, 3},
		{"cut behind the verifier", word(RPC_REPLY, 0, 0, 0), -kernel.EACCES, 3},
		{"cut in the results", word(RPC_REPLY, 0, 0, 0, 0), -kernel.EIO, 1},
		{"a call", word(RPC_CALL, 2, clntProg, 1, 1, 0, 0, 0, 0), -kernel.EIO, 3},
		{"wrong number", func(call []byte) []byte { return words(xid(call)+1, RPC_REPLY, 0, 0, 0, 0, 5) }, -kernel.EIO, 3},
		{"no number", func([]byte) []byte { return []byte{1, 2, 3} }, -kernel.EIO, 3},
		{"nothing", func([]byte) []byte { return []byte{} }, -kernel.EIO, 3},
		{"a number alone", word(), -kernel.EIO, -1},
		{"two words", word(RPC_REPLY), -kernel.EIO, -1},
		{"not a multiple of four", func(call []byte) []byte { return append(reply(call, 5), 0) }, -kernel.EIO, 1},
		{"denied, cut", word(RPC_REPLY, RPC_MSG_DENIED), -kernel.EACCES, 3},
		{"denied for its version", word(RPC_REPLY, RPC_MSG_DENIED, RPC_MISMATCH, 2, 2), -kernel.EPROTONOSUPPORT, 1},
		{"denied for no reason", word(RPC_REPLY, RPC_MSG_DENIED, 7, 7), -kernel.EIO, 1},
		{"denied, auth error cut", word(RPC_REPLY, RPC_MSG_DENIED, RPC_AUTH_ERROR), -kernel.EACCES, 3},
		{"credential rejected", word(RPC_REPLY, RPC_MSG_DENIED, RPC_AUTH_ERROR, RPC_AUTH_REJECTEDCRED), -kernel.EACCES, 3},
		{"credential bad", word(RPC_REPLY, RPC_MSG_DENIED, RPC_AUTH_ERROR, RPC_AUTH_BADCRED), -kernel.EACCES, 3},
		{"credential weak", word(RPC_REPLY, RPC_MSG_DENIED, RPC_AUTH_ERROR, RPC_AUTH_TOOWEAK), -kernel.EACCES, 1},
		{"another auth error", word(RPC_REPLY, RPC_MSG_DENIED, RPC_AUTH_ERROR, 99), -kernel.EIO, 1},
		{"no such program", word(RPC_REPLY, 0, 0, 0, RPC_PROG_UNAVAIL), -kernel.EPFNOSUPPORT, 1},
		{"no such version", word(RPC_REPLY, 0, 0, 0, RPC_PROG_MISMATCH, 3, 4), -kernel.EPROTONOSUPPORT, 1},
		{"no such procedure", word(RPC_REPLY, 0, 0, 0, RPC_PROC_UNAVAIL), -kernel.EOPNOTSUPP, 1},
		{"garbage arguments", word(RPC_REPLY, 0, 0, 0, RPC_GARBAGE_ARGS), -kernel.EACCES, 3},
		{"system error", word(RPC_REPLY, 0, 0, 0, RPC_SYSTEM_ERR), -kernel.EACCES, 3},
		{"unknown accept status", word(RPC_REPLY, 0, 0, 0, 1<<31), -kernel.EACCES, 3},
		{"64 K", func(call []byte) []byte { return append(reply(call, 5), make([]byte, 60000)...) }, 0, 1},
	} {
		for _, prot := range bothProts {
			t.Run(fmt.Sprint(tc.name, " ", prot), func(t *testing.T) {
				clntSim(t, 2, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
					last := 0
					p := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
						last = i
						if i > 100 {
							return answer{}
						}
						return answer{b: tc.fn(call)}
					})
					clnt := client(t, cur, rpc, net, prot, p.port, 0)
					res, err := call(cur, clnt, 5, 0)
					if err != tc.err || err == 0 && res != 5 {
						t.Errorf("%d, %s", res, kernel.ErrName(err))
					}
					if tc.calls > 0 && last+1 < tc.calls || tc.calls == 1 && last != 0 {
						t.Errorf("%d calls", last+1)
					}
					RpcShutdownClient(cur, clnt)
					p.end(cur)
				})
			})
		}
	}
}

// TestClntGarbage answers with random changes of a good answer, and then with the good one.
func TestClntGarbage(t *testing.T) {
	clntSim(t, 40, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		m := cur.Machine()
		for _, prot := range bothProts {
			p := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
				if i%8 == 7 {
					return echo(i, call)
				}
				b := record(append(reply(call, 5), words(6, 7, 8)...))
				if prot == IPPROTO_UDP {
					b = b[4:]
				}
				for range 1 + m.RandomU32()%4 {
					b[m.RandomU32()%uint32(len(b))] = byte(m.RandomU32())
				}
				return answer{b: b[:m.RandomU32()%uint32(len(b))], raw: true, close: m.RandomU32()%4 == 0}
			})
			clnt := client(t, cur, rpc, net, prot, p.port, 0)
			for i := range uint32(6) {
				call(cur, clnt, i, 0)
			}
			RpcShutdownClient(cur, clnt)
			p.end(cur)
		}
	})
}

// TestClntDecode reads random changes of good answers: a call goes on or is over, with a word or with an error.
func TestClntDecode(t *testing.T) {
	clntSim(t, 1, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		rnd := choosertest.NewRandom(1)
		clnt := client(t, cur, rpc, net, IPPROTO_UDP, 900, 0)
		var res uint32
		task := rpcNewTask(clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(1), RpcResp: &res}, 0, nil, nil)
		for range 100_000 {
			ws := []uint32{9, RPC_REPLY, RPC_MSG_ACCEPTED, RPC_AUTH_NULL, 0, RPC_SUCCESS, 7}
			for range rnd.N(3) {
				ws[rnd.N(len(ws))] = []uint32{0, 1, 2, 3, 4, 5, 13, 400, 401, 1 << 31, 1<<32 - 1}[rnd.N(11)]
			}
			b := words(ws...)
			b = b[:len(b)-rnd.N(2)*rnd.N(len(b)+1)]
			task.answer = b
			task.TkStatus, task.garbRetry, task.credRetry = 0, rnd.N(2), rnd.N(2)
			task.action = callDecode
			callDecode(cur, task)
			over := task.action == nil
			word, good := goodReply(b)
			if (over && task.TkStatus == 0) != good || good && res != word || task.TkStatus > 0 || !over && task.TkStatus != 0 {
				t.Errorf("%x: over %t, %s, %d", b, over, kernel.ErrName(task.TkStatus), res)
			}
		}
		kernel.Kfree(task)
		RpcShutdownClient(cur, clnt)
	})
}

// goodReply is the word that an answer to clntEcho with an AUTH_UNIX credential carries; false if there is none.
func goodReply(b []byte) (uint32, bool) {
	at := func(i int) uint32 {
		if i+4 > len(b) {
			return 1 << 30
		}
		return binary.BigEndian.Uint32(b[i:])
	}
	if len(b)%4 != 0 || at(4) != RPC_REPLY || at(8) != RPC_MSG_ACCEPTED || at(12) > RPC_AUTH_SHORT || at(16) > 400 {
		return 0, false
	}
	body := 20 + int(at(16))&^3
	return at(body + 4), at(body) == RPC_SUCCESS && body+8 <= len(b)
}

// TestClntRecords sends the answer in pieces and in fragments, behind records that nobody waits for.
func TestClntRecords(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fn    func(b []byte) []byte
		conns int
	}{
		{"one fragment", record, 1},
		{"two fragments", func(b []byte) []byte {
			return append(append(words(12), b[:12]...), record(b[12:])...)
		}, 1},
		{"a stranger's answer first", func(b []byte) []byte {
			return append(record(words(4711, RPC_REPLY, 0, 0, 0, 0, 9)), record(b)...)
		}, 1},
		{"a large record first", func(b []byte) []byte {
			return append(record(append(words(4711, RPC_REPLY), make([]byte, 50000)...)), record(b)...)
		}, 1},
		{"a call first", func(b []byte) []byte { return append(record(words(1, RPC_CALL, 2)), record(b)...) }, 2},
		{"neither call nor answer", func(b []byte) []byte { return append(record(words(1, 2, 3)), record(b)...) }, 2},
		{"an empty fragment", func(b []byte) []byte { return append(words(0), record(b)...) }, 2},
		{"a fragment of 7 octets", func(b []byte) []byte {
			return append(append(words(7), b[:7]...), record(b[7:])...)
		}, 2},
		{"an endless fragment", func(b []byte) []byte { return append(words(1<<31-1), b...) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clntSim(t, 10, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
				p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
					good := echo(i, call)
					if i == 0 {
						return answer{b: tc.fn(good.b), raw: true}
					}
					return good
				})
				clnt := client(t, cur, rpc, net, IPPROTO_TCP, p.port, 0)
				res, err := call(cur, clnt, 5, 0)
				want := 0
				if tc.name == "an endless fragment" {
					want = -kernel.EIO // what is sent later is part of it
				}
				if err != want || err == 0 && res != 5 || p.conns != tc.conns {
					t.Errorf("%d, %s, %d connections", res, kernel.ErrName(err), p.conns)
				}
				RpcShutdownClient(cur, clnt)
				p.end(cur)
			})
		})
	}
}

// TestClntReconnect has a peer that closes connections: behind an answer, and in the place of one.
func TestClntReconnect(t *testing.T) {
	clntEverywhere(t, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
			if i == 1 {
				return answer{close: true}
			}
			a := echo(i, call)
			a.close = true
			return a
		})
		clnt := client(t, cur, rpc, net, IPPROTO_TCP, p.port, 0)
		for i := range uint32(4) {
			if res, err := call(cur, clnt, i, 0); res != i || err != 0 {
				t.Errorf("call %d: %d, %s", i, res, kernel.ErrName(err))
			}
			kernel.Msleep(cur, 5)
		}
		RpcShutdownClient(cur, clnt)
		p.end(cur)
		if n := len(p.calls); n < 5 || n > 5 && cur.Machine().Sim() || p.conns < 5 {
			t.Errorf("%d calls over %d connections", len(p.calls), p.conns)
		}
	})
}

// TestClntPause has a peer that closes every connection without an answer: the client takes longer and longer between
// two of them.
func TestClntPause(t *testing.T) {
	clntSim(t, 3, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 0), func(int, []byte) answer {
			return answer{close: true}
		})
		clnt := client(t, cur, rpc, net, IPPROTO_TCP, p.port, 0)
		released := 0
		start := func() {
			RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(1), RpcResp: new(uint32)}, 0,
				&RpcCallOps{RpcRelease: func(*kernel.Task, any) { released++ }}, nil)
		}
		start()
		kernel.Msleep(cur, 50_000)
		var got []int
		for _, j := range p.times {
			got = append(got, int((j-p.times[0]+500)/kernel.HZ))
		}
		if want := []int{0, 0, 3, 9, 21, 45}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("called at %v, want %v", got, want)
		}
		if _, err := call(cur, clnt, 1, RPC_TASK_SOFTCONN); err != -kernel.ETIMEDOUT {
			t.Errorf("with a connection: %s", kernel.ErrName(err))
		}
		start()
		kernel.Msleep(cur, 50_000)
		now := cur.Machine().Jiffies()
		RpcShutdownClient(cur, clnt)
		if took := cur.Machine().Jiffies() - now; took > 10 || released != 2 {
			t.Errorf("shutdown took %d ms, released %d calls", took, released)
		}
		p.end(cur)
	})
}

// TestClntRefused calls where nobody listens: over TCP a soft call tries for a minute, one that needs a connection
// does not.
func TestClntRefused(t *testing.T) {
	clntSim(t, 3, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		for _, tc := range []struct {
			prot, port, flags uint32
			err, secs         int
		}{
			{IPPROTO_TCP, 5000, 0, -kernel.EIO, 60},
			{IPPROTO_TCP, 5000, RPC_TASK_SOFTCONN, -kernel.ECONNREFUSED, 0},
			{IPPROTO_TCP, 0, 0, -kernel.EIO, 60},
			{IPPROTO_TCP, 0, RPC_TASK_SOFTCONN, -kernel.ECONNREFUSED, 0},
			{IPPROTO_UDP, 5000, 0, -kernel.EIO, 70},
			{IPPROTO_UDP, 0, 0, -kernel.EIO, 70},
		} {
			clnt := client(t, cur, rpc, net, tc.prot, uint16(tc.port), 0)
			start := cur.Machine().Jiffies()
			_, err := call(cur, clnt, 1, tc.flags)
			secs := int((cur.Machine().Jiffies() - start) / kernel.HZ)
			if err != tc.err || secs < tc.secs || secs > tc.secs+5 {
				t.Errorf("%+v: %s after %d s", tc, kernel.ErrName(err), secs)
			}
			RpcShutdownClient(cur, clnt)
		}
	})
}

// TestClntRebind has a peer whose program is not there at first and then moves.
func TestClntRebind(t *testing.T) {
	clntSim(t, 5, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		at := func(port uint16) SockAddr { return sock.LoopbackAddr(sock.AF_INET, port) }
		rpcbind := newPeer(cur, net, sock.IPPROTO_UDP, at(RPCBIND_PORT), func(i int, call []byte) answer {
			return answer{b: reply(call, []uint32{0, 0, 901, 902, 0, 0, 0, 1 << 16}[i])}
		})
		a := newPeer(cur, net, sock.IPPROTO_UDP, at(901), echo)
		b := newPeer(cur, net, sock.IPPROTO_UDP, at(902), echo)
		clnt := client(t, cur, rpc, net, IPPROTO_UDP, 0, RPC_CLNT_CREATE_AUTOBIND)
		for i, want := range []int{0, 0, 0, -kernel.EIO, -kernel.EIO} {
			if i > 1 {
				RpcForceRebind(clnt)
				if RpcPeeraddr(clnt).Port != 0 {
					t.Error("port is still known")
				}
			}
			if _, err := call(cur, clnt, 3, 0); err != want {
				t.Errorf("call %d: %s, want %s", i, kernel.ErrName(err), kernel.ErrName(want))
			}
		}
		if len(a.calls) != 2 || len(b.calls) != 1 || len(rpcbind.calls) != 8 {
			t.Errorf("%d and %d calls, %d of rpcbind", len(a.calls), len(b.calls), len(rpcbind.calls))
		}
		RpcShutdownClient(cur, clnt)
		for _, p := range []*peer{a, b, rpcbind} {
			p.end(cur)
		}
	})
}

// TestClntRebind6 asks over IPv6, where versions 4 and 3 are spoken.
func TestClntRebind6(t *testing.T) {
	addr := func(s string) []byte {
		p := XdrPtr{Mem: make([]byte, 4+(len(s)+3)&^3)}
		XdrEncodeString(&p, s)
		return p.Mem[:p.Off]
	}
	clntSim(t, 5, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		at := func(port uint16) SockAddr { return sock.LoopbackAddr(sock.AF_INET6, port) }
		rpcbind := newPeer(cur, net, sock.IPPROTO_TCP, at(RPCBIND_PORT), func(i int, call []byte) answer {
			switch {
			case binary.BigEndian.Uint32(call[16:]) == RPCBVERS_4: // too old for that
				return answer{b: append(words(binary.BigEndian.Uint32(call), 1, 0, 0, 0, RPC_PROG_MISMATCH), words(2, 3)...)}
			case i < 2:
				return answer{b: append(reply(call), addr("::1.3.133")...)}
			case i == 2:
				return answer{b: append(reply(call), addr("nowhere")...)}
			}
			return answer{b: append(reply(call), addr("")...)}
		})
		p := newPeer(cur, net, sock.IPPROTO_TCP, at(3*256+133), echo)
		clnt, _ := RpcCreate(cur, &RpcCreateArgs{
			Rpc: rpc, Net: net, Protocol: IPPROTO_TCP, Address: at(0), Timeout: nlmTimeout, Program: clntTestProgram,
			Version: clntVers, Flags: RPC_CLNT_CREATE_AUTOBIND,
		})
		for i, want := range []int{0, -kernel.EIO, -kernel.EIO} {
			if _, err := call(cur, clnt, 3, 0); err != want {
				t.Errorf("call %d: %s, want %s", i, kernel.ErrName(err), kernel.ErrName(want))
			}
			RpcForceRebind(clnt)
		}
		for i, c := range rpcbind.calls {
			if !bytes.Contains(c, addr("::1.0.111")) {
				t.Errorf("call %d of rpcbind does not say where rpcbind is: %x", i, c)
			}
		}
		RpcShutdownClient(cur, clnt)
		p.end(cur)
		rpcbind.end(cur)
	})
}

// TestClntCalled has a peer that calls over the connection: no request is reserved for that, so the connection goes.
func TestClntCalled(t *testing.T) {
	clntEverywhere(t, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 0), func(i int, call []byte) answer {
			if i == 0 {
				return answer{b: words(7, RPC_CALL, RPC_VERSION, clntProg, clntVers, 0, 0, 0, 0, 0)}
			}
			return echo(i, call)
		})
		clnt := client(t, cur, rpc, net, IPPROTO_TCP, p.port, 0)
		if res, err := call(cur, clnt, 5, 0); res != 5 || err != 0 {
			t.Errorf("%d, %s", res, kernel.ErrName(err))
		}
		RpcShutdownClient(cur, clnt)
		p.end(cur)
		if p.conns < 2 {
			t.Error("the connection was kept")
		}
	})
}

// TestClntLateConnection has a peer that is not there at first and never answers: the time of a call begins when it is
// sent.
func TestClntLateConnection(t *testing.T) {
	clntSim(t, 3, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		clnt := client(t, cur, rpc, net, IPPROTO_TCP, 5000, 0)
		start, end, status := cur.Machine().Jiffies(), kernel.Jiffies(0), 0
		ops := &RpcCallOps{RpcCallDone: func(_ *kernel.Task, task *RpcTask, _ any) {
			end, status = task.Machine().Jiffies(), task.TkStatus
		}}
		RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(1), RpcResp: new(uint32)}, 0, ops, nil)
		kernel.Msleep(cur, 10_000)
		p := newPeer(cur, net, sock.IPPROTO_TCP, sock.LoopbackAddr(sock.AF_INET, 5000),
			func(int, []byte) answer { return answer{} })
		kernel.Msleep(cur, 150_000)
		var got []int
		for _, j := range append(p.times, end) {
			got = append(got, int((j-start+kernel.HZ/2)/kernel.HZ))
		}
		if want := []int{12, 62, 122}; fmt.Sprint(got) != fmt.Sprint(want) || status != -kernel.EIO {
			t.Errorf("sent and over at %v, want %v; %s", got, want, kernel.ErrName(status))
		}
		RpcShutdownClient(cur, clnt)
		p.end(cur)
	})
}

// TestClntUnsent has messages that do not go out: a call that needs a connection is over at once.
func TestClntUnsent(t *testing.T) {
	clntSim(t, 1, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		clnt := client(t, cur, rpc, net, IPPROTO_UDP, 900, 0)
		task := rpcNewTask(clnt, &RpcMessage{RpcProc: clntEcho}, RPC_TASK_SOFTCONN, nil, nil)
		for status, goesOn := range map[int]bool{
			-kernel.ECONNREFUSED: false, -kernel.EHOSTDOWN: false, -kernel.EHOSTUNREACH: false, -kernel.ENETUNREACH: false,
			-kernel.EPERM: false, -kernel.ECONNRESET: true, -kernel.ENOBUFS: true, -kernel.EPIPE: true,
		} {
			task.TkStatus, task.action = status, callStatus
			callStatus(cur, task)
			if goesOn != (task.action != nil) || !goesOn && task.TkStatus != status {
				t.Errorf("%s: goes on %v, %s", kernel.ErrName(status), task.action != nil, kernel.ErrName(task.TkStatus))
			}
		}
		kernel.Kfree(task)
		RpcShutdownClient(cur, clnt)
	})
}

// TestClntShutdown shuts a client down at any step of its calls: each is released once, and done once before.
func TestClntShutdown(t *testing.T) {
	clntSim(t, 400, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		for _, prot := range bothProts {
			rpcbind := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, RPCBIND_PORT),
				func(_ int, call []byte) answer { return answer{b: reply(call, 900)} })
			p := newPeer(cur, net, int(prot), sock.LoopbackAddr(sock.AF_INET, 900), echo)
			clnt := client(t, cur, rpc, net, prot, 0, RPC_CLNT_CREATE_HARDRTRY)
			var done, released [3]int
			for i := range done {
				ops := &RpcCallOps{
					RpcCallDone: func(_ *kernel.Task, task *RpcTask, _ any) {
						done[i]++
						if task.TkStatus != 0 && task.TkStatus != -kernel.EIO {
							t.Errorf("call %d: %s", i, kernel.ErrName(task.TkStatus))
						}
					},
					RpcRelease: func(*kernel.Task, any) {
						if released[i]++; done[i] != 1 {
							t.Errorf("call %d released, done %d times", i, done[i])
						}
					},
				}
				res := new(uint32)
				RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(i), RpcResp: res}, 0, ops, nil)
			}
			for range cur.Machine().RandomU32() % 3 {
				kernel.CondResched(cur)
			}
			start := cur.Machine().Jiffies()
			RpcShutdownClient(cur, clnt)
			if took := cur.Machine().Jiffies() - start; took > kernel.HZ {
				t.Errorf("shutdown took %d ms", took)
			}
			if released != [3]int{1, 1, 1} {
				t.Errorf("released %v", released)
			}
			p.end(cur)
			rpcbind.end(cur)
		}
	})
}

// TestClntRestart starts a call again from its RpcCallDone, after a pause, and ends its client in its RpcRelease.
func TestClntRestart(t *testing.T) {
	clntSim(t, 20, func(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
		p := newPeer(cur, net, sock.IPPROTO_UDP, sock.LoopbackAddr(sock.AF_INET, 0), echo)
		clnt := client(t, cur, rpc, net, IPPROTO_UDP, p.port, 0)
		rounds, over := 0, false
		ops := &RpcCallOps{
			RpcCallDone: func(_ *kernel.Task, task *RpcTask, _ any) {
				if rounds++; rounds < 3 {
					RpcDelay(task, 2*kernel.HZ)
					if !RpcRestartCall(task) {
						t.Error("is not restarted")
					}
				}
			},
			RpcRelease: func(cur *kernel.Task, _ any) {
				RpcShutdownClient(cur, clnt)
				over = true
			},
		}
		RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(1), RpcResp: new(uint32)}, 0, ops, nil)
		kernel.Msleep(cur, 10_000)
		if rounds != 3 || !over || len(p.calls) != 3 || p.times[2]-p.times[0] < 4*kernel.HZ {
			t.Errorf("%d rounds, over %t, called at %v", rounds, over, p.times)
		}
		p.end(cur)
	})
}

// TestClntFaults lets every step fail that can: the caller hears of it, a call is released once, nothing is left.
func TestClntFaults(t *testing.T) {
	choosertest.Failed(t, func(cur *kernel.Task, fail func(string, ...any)) {
		net := sock.NewNet(cur, cur.Machine(), "init_net")
		rpc := New(cur, cur.Machine())
		base := len(cur.Machine().LiveObjects())
		for _, prot := range bothProts {
			clntFault(t, cur, rpc, net, prot)
		}
		choosertest.NothingLeft(cur, base, fail, "over")
	}, "rpc_clnt", "rpc_task", "kthread", "sock", "bind", "sk_buff", "tcp_pair")
}

// clntFault makes a client and two calls. A peer that cannot start tries again.
func clntFault(t *testing.T, cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prot uint32) {
	at := func(port uint16) SockAddr { return sock.LoopbackAddr(sock.AF_INET, port) }
	rpcbind := newPeer(cur, net, int(prot), at(RPCBIND_PORT), func(_ int, call []byte) answer {
		return answer{b: reply(call, 900)}
	})
	p := newPeer(cur, net, int(prot), at(900), echo)
	clnt, err := RpcCreate(cur, &RpcCreateArgs{
		Rpc: rpc, Net: net, Protocol: prot, Address: sock.LoopbackAddr(sock.AF_INET, 0), Timeout: nlmTimeout,
		Program: clntTestProgram, Version: clntVers, Flags: RPC_CLNT_CREATE_AUTOBIND,
	})
	if err != 0 && err != -kernel.ENOMEM {
		t.Errorf("rpc_create: %s", kernel.ErrName(err))
	}
	if err == 0 {
		call(cur, clnt, 1, 0)
		var done, released kernel.Atomic
		done.Init(&net.Obj, "done")
		released.Init(&net.Obj, "released")
		ops := &RpcCallOps{
			RpcCallDone: func(*kernel.Task, *RpcTask, any) { done.Inc() },
			RpcRelease:  func(*kernel.Task, any) { released.Inc() },
		}
		err = RpcCallAsync(cur, clnt, &RpcMessage{RpcProc: clntEcho, RpcArgp: uint32(2), RpcResp: new(uint32)}, 0, ops, nil)
		for released.Read() == 0 {
			kernel.Msleep(cur, 1000)
		}
		if released.Read() != 1 || (done.Read() == 1) != (err == 0) {
			t.Errorf("%s, done %d times, released %d times", kernel.ErrName(err), done.Read(), released.Read())
		}
		RpcShutdownClient(cur, clnt)
	}
	p.end(cur)
	rpcbind.end(cur)
}
