// SPDX-License-Identifier: MIT

package rpcclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	echoProg = 300000
	echoVers = 2
	echoProc = 5
)

// serveEcho is a server whose one procedure returns its arguments.
func serveEcho(t *testing.T) *Server {
	t.Helper()
	s, err := Serve(ServeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	s.Handle(echoProg, echoVers, echoProc, func(r *Request) ([]byte, error) { return r.Args, nil })
	return s
}

func dialTest(t *testing.T, network, addr string, opt Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), network, addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCallOverEverySocket(t *testing.T) {
	path := t.TempDir() + "/s"
	s, err := Serve(ServeOptions{Unix: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Handle(echoProg, echoVers, echoProc, func(r *Request) ([]byte, error) {
		if want := Sys(7, "me", 1, 2, 3, 4); r.Cred.Flavour != want.Flavour || !bytes.Equal(r.Cred.Body, want.Body) {
			t.Errorf("credential %v, want %v", r.Cred, want)
		}
		return append([]byte(r.Network), make([]byte, -len(r.Network)&3)...), nil
	})
	for _, at := range []struct{ network, addr string }{{"tcp", s.Addr()}, {"udp", s.Addr()}, {"unix", path}} {
		c := dialTest(t, at.network, at.addr, Options{Cred: Sys(7, "me", 1, 2, 3, 4)})
		res, err := c.Call(t.Context(), echoProg, echoVers, echoProc, nil)
		if err != nil || strings.TrimRight(string(res), "\x00") != at.network {
			t.Errorf("%s: %q, %v", at.network, res, err)
		}
		if res, err := c.Call(t.Context(), echoProg, echoVers, 0, nil); err != nil || len(res) != 0 {
			t.Errorf("%s NULL: %q, %v", at.network, res, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: Close: %v", at.network, err)
		}
		if _, err := c.Call(t.Context(), echoProg, echoVers, 0, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: a call after Close: %v, want %v", at.network, err, ErrClosed)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := serveEcho(t)
	s.Handle(echoProg, 7, 1, func(*Request) ([]byte, error) { return nil, ErrGarbageArgs })
	s.Handle(echoProg, 7, 2, func(*Request) ([]byte, error) { return nil, errors.New("trouble") })
	s.Handle(echoProg, 7, 3, func(*Request) ([]byte, error) { return nil, &Refusal{Status: AuthError, AuthStat: 5} })
	c := dialTest(t, "tcp", s.Addr(), Options{})
	for _, tc := range []struct {
		prog, vers, proc uint32
		want             *Refusal
		text             string
	}{
		{1, 1, 1, ErrProgUnavail, "call 1.1.1 at tcp " + s.Addr() + ": program unavailable"},
		{echoProg, 3, 0, ErrProgMismatch, "program version mismatch: the server speaks 2 to 7"},
		{echoProg, 7, 9, ErrProcUnavail, "procedure unavailable"},
		{echoProg, 7, 1, ErrGarbageArgs, "garbage arguments"},
		{echoProg, 7, 2, ErrSystemErr, "system error"},
		{echoProg, 7, 3, ErrAuthError, "authentication error 5"},
	} {
		_, err := c.Call(t.Context(), tc.prog, tc.vers, tc.proc, nil)
		if !errors.Is(err, tc.want) || !strings.HasSuffix(err.Error(), tc.text) {
			t.Errorf("%d.%d.%d: %v, want %v", tc.prog, tc.vers, tc.proc, err, tc.text)
		}
	}
	// The RPC version is not the client's to choose: by hand.
	raw, err := DialRaw(t.Context(), "tcp", s.Addr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	msg := (&Call{Xid: 9, Prog: echoProg, Vers: echoVers}).Encode()
	msg[11] = 3
	if err := raw.SendRecord(t.Context(), msg, Plan{}); err != nil {
		t.Fatal(err)
	}
	rec, err := raw.ReadRecord(5*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseReply(rec)
	if err != nil || r.Xid != 9 || r.Status != RPCMismatch || r.Low != 2 || r.High != 2 {
		t.Errorf("RPC version 3: %+v, %v", r, err)
	}
}

// TestPipelining has many calls in flight on one connection, and a server that answers them in the opposite order.
func TestPipelining(t *testing.T) {
	const n = 64
	server := hostile(t, func(c net.Conn) {
		var replies []byte
		for range n {
			msg, err := ReadRecord(c, maxRecord)
			if err != nil {
				t.Error(err)
				return
			}
			call, _, _ := parseCall(msg)
			replies = append((&Plan{}).Record(appendReply(nil, call.Xid, call.Args, nil)), replies...)
		}
		c.Write(replies)
		io.Copy(io.Discard, c)
	})
	c := dialTest(t, "tcp", server, Options{})
	var all []*Pending
	for i := range n {
		p, err := c.Go(t.Context(), Call{Prog: 1, Args: appendWords(nil, uint32(i))})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for i, p := range all {
		r, err := p.Wait(t.Context())
		if err != nil || r.Xid != p.Xid() || binary.BigEndian.Uint32(r.Results) != uint32(i) {
			t.Fatalf("call %d: %v, %v", i, r, err)
		}
	}
	if got, want := c.Stats(), (Stats{Sent: n, Answered: n}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// TestManyCallers uses one client from many goroutines.
func TestManyCallers(t *testing.T) {
	s := serveEcho(t)
	for _, network := range []string{"tcp", "udp"} {
		c := dialTest(t, network, s.Addr(), Options{Plan: Plan{Fragments: []int{7}, Writes: []int{13}}})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 25 {
					arg := appendWords(nil, uint32(g), uint32(i))
					if res, err := c.Call(t.Context(), echoProg, echoVers, echoProc, arg); err != nil || !bytes.Equal(res, arg) {
						t.Errorf("%s: %x, %v, want %x", network, res, err, arg)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestPlan(t *testing.T) {
	msg := []byte("abcdefghij")
	for _, tc := range []struct {
		plan   Plan
		record string
		pieces []int
	}{
		{Plan{}, "8000000a" + "6162636465666768696a", []int{14}},
		{Plan{Fragments: []int{4, 0, 5}}, "00000004" + "61626364" + "00000000" + "00000005" + "6566676869" + "80000001" + "6a",
			[]int{26}},
		{Plan{Fragments: []int{5}, EmptyLast: true, Writes: []int{1, 6}},
			"00000005" + "6162636465" + "00000005" + "666768696a" + "80000000", []int{1, 6, 6, 6, 3}},
	} {
		b := tc.plan.Record(msg)
		if fmt.Sprintf("%x", b) != tc.record {
			t.Errorf("%+v: %x, want %s", tc.plan, b, tc.record)
		}
		var sizes []int
		for _, p := range tc.plan.pieces(b) {
			sizes = append(sizes, len(p))
		}
		if fmt.Sprint(sizes) != fmt.Sprint(tc.pieces) {
			t.Errorf("%+v: writes of %v, want %v", tc.plan, sizes, tc.pieces)
		}
		if got, err := ReadRecord(bytes.NewReader(b), 10); err != nil || !bytes.Equal(got, msg) {
			t.Errorf("%+v: read %q, %v", tc.plan, got, err)
		}
		if _, err := ReadRecord(bytes.NewReader(b), 9); err == nil {
			t.Errorf("%+v: a record of 10 octets was read with a limit of 9", tc.plan)
		}
	}
	for _, bad := range []Plan{{Fragments: []int{4, 0}}, {Writes: []int{0, 4}}, {Fragments: []int{-1}}} {
		if _, err := Dial(t.Context(), "tcp", "127.0.0.1:1", Options{Plan: bad}); err == nil ||
			!strings.Contains(err.Error(), "would never end") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestRetransmission loses the first two datagrams of each call; the answer comes twice.
func TestRetransmission(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := map[uint32]int{}
		var first []byte
		buf := make([]byte, 1000)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			call, _, _ := parseCall(buf[:n])
			if seen[call.Xid]++; seen[call.Xid] == 1 {
				first = append([]byte(nil), buf[:n]...)
				continue
			}
			if !bytes.Equal(buf[:n], first) {
				t.Errorf("sent again as %x, first %x", buf[:n], first)
			}
			if seen[call.Xid] == 3 {
				conn.WriteTo(appendReply(nil, call.Xid, nil, nil), peer)
				conn.WriteTo(appendReply(nil, call.Xid, nil, nil), peer)
			}
		}
	}()
	defer func() { conn.Close(); <-done }()
	c := dialTest(t, "udp", conn.LocalAddr().String(), Options{Retry: 5 * time.Millisecond})
	if _, err := c.Call(t.Context(), 1, 1, 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), 1, 1, 0, nil); err != nil { // behind the second answer to the first
		t.Fatal(err)
	}
	got := c.Stats()
	if got.Sent != 2 || got.Retransmitted < 4 || got.Answered != 2 || got.Duplicate < 1 || got.Stray != 0 {
		t.Errorf("stats %+v", got)
	}
}

// TestNobodyListens: the host's word counts at once, unless the client is a hard one.
func TestNobodyListens(t *testing.T) {
	for range 10 {
		if nobodyListens(t) {
			return
		}
	}
	t.Error("whenever nobody listened at a port, somebody else came to listen there")
}

// nobodyListens is one try. False if some other process of the host has taken the port meanwhile.
func nobodyListens(t *testing.T) bool {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.LocalAddr().String()
	l.Close()
	soft := dialTest(t, "udp", addr, Options{Timeout: time.Minute})
	if _, err := soft.Call(t.Context(), 1, 1, 0, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("soft: %v, want %v", err, syscall.ECONNREFUSED)
	}
	hard := dialTest(t, "udp", addr, Options{Hard: true, Retry: time.Millisecond, MaxRetry: 5 * time.Millisecond})
	p, err := hard.Go(t.Context(), Call{Prog: 1})
	if err != nil {
		t.Fatal(err)
	}
	var s *Server
	taken := make(chan error, 1)
	go func() {
		for hard.Stats().Retransmitted < 3 {
			time.Sleep(time.Millisecond)
		}
		var err error
		if s, err = Serve(ServeOptions{Port: l.LocalAddr().(*net.UDPAddr).Port}); err != nil {
			hard.Close()
		}
		taken <- err
	}()
	r, err := p.Wait(t.Context())
	switch begun := <-taken; {
	case errors.Is(begun, syscall.EADDRINUSE):
		return false
	case begun != nil:
		t.Fatal(begun)
	case err != nil || !errors.Is(r.Err(), ErrProgUnavail):
		t.Errorf("hard: %v, %v", r, err)
	}
	s.Close()
	_, err = Dial(t.Context(), "tcp", addr, Options{})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), "tcp "+addr+": ") {
		t.Errorf("tcp: %v", err)
	}
	return true
}

// TestHostileServers: whatever a server does, the call ends in time, with a reason.
func TestHostileServers(t *testing.T) {
	null := (&Plan{}).Record
	for _, tc := range []struct {
		name  string
		serve func(c net.Conn, xid uint32)
		want  string
		err   error
	}{
		{"short reply", func(c net.Conn, xid uint32) { c.Write(null(appendWords(nil, xid, 1, 0))) },
			"reply: 12 octets end within the header", nil},
		{"a call for an answer", func(c net.Conn, xid uint32) { c.Write(null(appendWords(nil, xid, 0, 0, 0, 0, 0))) },
			"reply: message type 0 is not REPLY", nil},
		{"reply status", func(c net.Conn, xid uint32) { c.Write(null(appendWords(nil, xid, 1, 2, 0, 0, 0))) },
			"reply: reply status 2 is unknown", nil},
		{"accept status", func(c net.Conn, xid uint32) { c.Write(null(appendWords(nil, xid, 1, 0, 0, 0, 6))) },
			"reply: accept status 6 is unknown", nil},
		{"verifier of 404 octets", func(c net.Conn, xid uint32) {
			c.Write(null(append(appendWords(nil, xid, 1, 0, 0, 404), make([]byte, 408)...)))
		}, "end within the header", nil},
		{"other XID, then silence", func(c net.Conn, xid uint32) { c.Write(null(appendReply(nil, xid+1, nil, nil))) },
			"no answer in time", context.DeadlineExceeded},
		{"two octets, then silence", func(c net.Conn, xid uint32) { c.Write(null([]byte{1, 2})) },
			"no answer in time", context.DeadlineExceeded},
		{"flood of strays", func(c net.Conn, xid uint32) {
			for c.SetWriteDeadline(time.Now().Add(10*time.Second)) == nil {
				if _, err := c.Write(null(appendReply(nil, xid+1, nil, nil))); err != nil {
					return
				}
			}
		}, "no answer in time", context.DeadlineExceeded},
		{"flood of empty fragments", func(c net.Conn, _ uint32) {
			for {
				if _, err := c.Write(make([]byte, 4000)); err != nil {
					return
				}
			}
		}, "a record of more than 5000 octets", nil},
		{"oversize record", func(c net.Conn, _ uint32) { c.Write(appendWords(nil, 1<<31|5001)) },
			"a record of more than 5000 octets", nil},
		{"cut within a mark", func(c net.Conn, _ uint32) { c.Write([]byte{0x80, 0}); c.Close() },
			"closed the connection within a reply", io.ErrUnexpectedEOF},
		{"cut within a record", func(c net.Conn, _ uint32) { c.Write(appendWords(nil, 1<<31|24, 1)); c.Close() },
			"closed the connection within a reply", io.ErrUnexpectedEOF},
		{"cut between fragments", func(c net.Conn, xid uint32) { c.Write(appendWords(nil, 4, xid)); c.Close() },
			"closed the connection within a reply", io.ErrUnexpectedEOF},
		{"hang up", func(c net.Conn, _ uint32) { c.Close() }, "the server closed the connection", io.EOF},
		{"reset", func(c net.Conn, _ uint32) { c.(*net.TCPConn).SetLinger(0); c.Close() }, "connection reset",
			syscall.ECONNRESET},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := hostile(t, func(c net.Conn) {
				msg, err := ReadRecord(c, maxRecord)
				if err != nil {
					t.Error(err)
					return
				}
				tc.serve(c, binary.BigEndian.Uint32(msg))
				io.Copy(io.Discard, c)
			})
			c, err := Dial(t.Context(), "tcp", server, Options{MaxReply: 5000})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := t.Context()
			if tc.err == context.DeadlineExceeded {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			_, err = c.Call(ctx, 1, 1, 1, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.err != nil && !errors.Is(err, tc.err) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestServerThatDoesNotRead: writing ends with the context, and the connection with it.
func TestServerThatDoesNotRead(t *testing.T) {
	over := make(chan struct{})
	server := hostile(t, func(net.Conn) { <-over })
	defer close(over)
	c := dialTest(t, "tcp", server, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for sent := int64(-1); sent != c.Stats().Sent; time.Sleep(100 * time.Millisecond) {
			sent = c.Stats().Sent
		}
		cancel() // it is stuck
	}()
	var err error
	for err == nil {
		_, err = c.Go(ctx, Call{Prog: 1, Args: make([]byte, 1<<19)})
	}
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the server does not read") {
		t.Errorf("a call: %v, want %v", err, context.Canceled)
	}
	if _, err := c.Go(t.Context(), Call{Prog: 1}); err == nil {
		t.Error("a call behind a cut one went out")
	}
}

// TestGivenUp: the answer to a call that was given up is counted, and disturbs nobody.
func TestGivenUp(t *testing.T) {
	s := serveEcho(t)
	gate := make(chan struct{})
	s.Handle(echoProg, echoVers, 6, func(r *Request) ([]byte, error) { <-gate; return nil, nil })
	for _, network := range []string{"tcp", "udp"} {
		c := dialTest(t, network, s.Addr(), Options{Retry: -1})
		ctx, cancel := context.WithCancel(t.Context())
		p, err := c.Go(ctx, Call{Prog: echoProg, Vers: echoVers, Proc: 6})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", network, err)
		}
		gate <- struct{}{}
		if _, err := c.Call(t.Context(), echoProg, echoVers, echoProc, nil); err != nil {
			t.Errorf("%s: the next call: %v", network, err)
		}
		if got, want := c.Stats(), (Stats{Sent: 2, Answered: 1, Late: 1}); got != want {
			t.Errorf("%s: stats %+v, want %+v", network, got, want)
		}
	}
}

func TestRaw(t *testing.T) {
	s := serveEcho(t)
	null := (&Call{Xid: 5, Prog: echoProg, Vers: echoVers}).Encode()
	open := func(network string) *Raw {
		t.Helper()
		r, err := DialRaw(t.Context(), network, s.Addr(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	r := open("tcp")
	plan := Plan{Fragments: []int{1}, Writes: []int{3}, Delay: time.Microsecond}
	if err := r.SendRecord(t.Context(), null, plan); err != nil {
		t.Fatal(err)
	}
	if err := r.SendRecord(t.Context(), null, Plan{}); err != nil {
		t.Fatal(err)
	}
	if err := r.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, end := r.ReadAll(5 * time.Second)
	records, rest := SplitRecords(all)
	want := appendReply(nil, 5, nil, nil)
	if end != FIN || len(records) != 2 || !bytes.Equal(records[0], want) || !bytes.Equal(records[1], want) || len(rest) != 0 {
		t.Errorf("two calls and a half close: %x, rest %x, %v", records, rest, end)
	}
	r = open("tcp")
	if err := r.Send(t.Context(), []byte{0x7f}, []byte{0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if b, end := r.Read(5 * time.Second); len(b) != 0 || end != FIN {
		t.Errorf("an oversize mark: %x, %v", b, end)
	}
	r = open("tcp")
	if b, end := r.Read(time.Millisecond); len(b) != 0 || end != Open {
		t.Errorf("silence: %x, %v", b, end)
	}
	if err := r.Reset(); err != nil {
		t.Errorf("Reset: %v", err)
	}
	r = open("udp")
	if err := r.Send(t.Context(), nil, []byte{1}, null); err != nil {
		t.Fatal(err)
	}
	if b, end := r.Read(5 * time.Second); !bytes.Equal(b, want) || end != Open {
		t.Errorf("a datagram: %x, %v", b, end)
	}
	if err := r.CloseWrite(); err == nil {
		t.Error("half of a datagram socket was closed")
	}
	reset := hostile(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		c.(*net.TCPConn).SetLinger(0)
	})
	r, err := DialRaw(t.Context(), "tcp", reset, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Send(t.Context(), []byte{1}); err != nil {
		t.Fatal(err)
	}
	if b, end := r.Read(5 * time.Second); len(b) != 0 || end != RST {
		t.Errorf("a reset: %x, %v", b, end)
	}
}

// TestServerErrors: what a server cannot do it says in a line.
func TestServerErrors(t *testing.T) {
	s := serveEcho(t)
	if _, err := Serve(ServeOptions{Host: "here"}); err == nil || !strings.Contains(err.Error(), `"here"`) {
		t.Errorf("a host that is no address: %v", err)
	}
	if _, err := Serve(ServeOptions{Port: int(s.AddrPort().Port())}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := Serve(ServeOptions{Unix: "/nonexistent/s"}); err == nil {
		t.Error("a local socket in no folder")
	}
}

// TestHandlersThatDoNotAnswer: one keeps silent, one hangs up.
func TestHandlersThatDoNotAnswer(t *testing.T) {
	s := serveEcho(t)
	s.Handle(echoProg, echoVers, 6, func(*Request) ([]byte, error) { return nil, ErrNoReply })
	s.Handle(echoProg, echoVers, 7, func(*Request) ([]byte, error) { return nil, ErrHangUp })
	c := dialTest(t, "tcp", s.Addr(), Options{})
	p, err := c.Go(t.Context(), Call{Prog: echoProg, Vers: echoVers, Proc: 6})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), echoProg, echoVers, 0, nil); err != nil {
		t.Errorf("a call behind one without a reply: %v", err)
	}
	if _, err := c.Call(t.Context(), echoProg, echoVers, 7, nil); !errors.Is(err, io.EOF) {
		t.Errorf("hang up: %v, want %v", err, io.EOF)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the call without a reply: %v, want %v", err, io.EOF)
	}
	same := Call{Xid: 77, Prog: echoProg, Vers: echoVers, Proc: 6}
	c = dialTest(t, "tcp", s.Addr(), Options{})
	if _, err := c.Go(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Go(t.Context(), same); err == nil || !strings.Contains(err.Error(), "in flight already") {
		t.Errorf("the same XID twice: %v", err)
	}
}

// hostile runs serve for each connection to a TCP server, until the test ends.
func hostile(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}
