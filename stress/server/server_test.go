// SPDX-License-Identifier: MIT

package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the end of the test body and returns its endpoints by "service netid".
func serve(t *testing.T, cfg Config, body func(map[string]string)) *Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ready := make(chan []Endpoint, 1)
	type result struct {
		out *Outcome
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := Run(ctx, cfg, func(all []Endpoint) { ready <- all })
		done <- result{out, err}
	}()
	select {
	case all := <-ready:
		m := map[string]string{}
		for _, e := range all {
			m[e.Service+" "+e.Netid] = e.Addr
		}
		body(m)
		cancel()
	case r := <-done:
		t.Fatalf("ended early: %+v, %v", r.out, r.err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	for _, f := range r.out.Findings {
		t.Errorf("%s\n%s", f, f.Text)
	}
	return r.out
}

func TestServe(t *testing.T) {
	out := serve(t, Config{}, func(at map[string]string) {
		for _, name := range []string{"lockd udp", "lockd tcp", "callback0 tcp", "rpcbind tcp", "rpcbind udp"} {
			if at[name] == "" {
				t.Errorf("no %s in %v", name, at)
			}
		}
		c, err := rpcbind.Dial("tcp", at["rpcbind tcp"], 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, vers := range []uint32{1, 3, 4} {
			for prot, name := range map[uint32]string{6: "lockd tcp", 17: "lockd udp"} {
				p, err := c.GetPort(100021, vers, prot)
				if err != nil || !strings.HasSuffix(at[name], ":"+strconv.Itoa(int(p))) {
					t.Errorf("rpcbind says port %d (%v) for %s version %d, want %s", p, err, name, vers, at[name])
				}
			}
		}
		for _, name := range []string{"lockd tcp", "callback0 tcp"} {
			conn, err := net.Dial("tcp", at[name])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
	})
	if out == nil {
		t.Fatal("no outcome")
	}
}

func TestTakenPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp := uint16(l.Addr().(*net.TCPAddr).Port)
	udp := uint16(u.LocalAddr().(*net.UDPAddr).Port)
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{LockdTCP: tcp}, "for lockd is in use: give another --lockd-tcp-port"},
		{Config{LockdUDP: udp}, "for lockd is in use: give another --lockd-udp-port"},
		{Config{Callback: tcp}, "for the callback service is in use: give another --callback-port"},
		{Config{RpcbindPort: tcp}, "for rpcbind is in use: give another --rpcbind-port"},
		{Config{Rpcbind: "127.0.0.1:1"}, "no rpcbind answers there"},
		{Config{Rpcbind: "/nonexistent"}, "no rpcbind answers there"},
		{Config{Rpcbind: "nonsense"}, "give a loopback address with a port"},
		{Config{Rpcbind: "192.0.2.1:111"}, "give a loopback address with a port"},
		{Config{Statd: "192.0.2.1:4047"}, "--statd 192.0.2.1:4047: give a loopback address with a port"},
		{Config{Statd: "127.0.0.1"}, "give a loopback address with a port"},
		{Config{Grace: 241}, "lockd takes 240 seconds at most"},
	} {
		_, err := Run(context.Background(), test.cfg, func([]Endpoint) { t.Errorf("%+v: serves", test.cfg) })
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want %s", test.cfg, err, test.want)
		}
	}
}

// TestOtherRpcbind registers with an rpcbind outside the server, and unregisters.
func TestOtherRpcbind(t *testing.T) {
	path := t.TempDir() + "/rpcbind.sock"
	for _, opt := range []rpcbind.Options{{}, {V2Only: true}, {Unix: path}} {
		other, err := rpcbind.Start(opt)
		if err != nil {
			t.Fatal(err)
		}
		before := len(other.Entries())
		addr := other.Addr()
		if opt.Unix != "" {
			addr = path
		}
		serve(t, Config{Rpcbind: addr}, func(map[string]string) {
			if n := len(other.Entries()) - before; n < 6 {
				t.Errorf("%+v: %d registrations, want three versions on two transports at least", opt, n)
			}
		})
		if n := len(other.Entries()) - before; n != 0 {
			t.Errorf("%+v: %d registrations left behind", opt, n)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
}

// lock takes a lock on a file over NLM version 4, from an address, and returns the status.
func lock(t *testing.T, addr, local string, fh []byte) (uint32, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := rpcclient.Dial(ctx, "tcp", addr, rpcclient.Options{Local: local, Cred: rpcclient.Sys(0, "tester", 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	opaque := func(b, data []byte) []byte {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
		return append(b, make([]byte, -len(data)&3)...)
	}
	args := append(opaque(nil, []byte("cook")), 0, 0, 0, 0, 0, 0, 0, 1)
	args = opaque(opaque(opaque(args, []byte("tester")), fh), []byte("owner"))
	args = append(args, 0, 0, 0, 9)
	args = append(args, make([]byte, 16+8)...) // the whole file, no reclaim, state 0
	res, err := c.Call(ctx, 100021, 4, 2, args)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(res[8:]), nil
}

// TestLocks takes locks: in the grace period, from outside the exports, and with a status monitor of another process.
func TestLocks(t *testing.T) {
	handleOf := func(h *Handle) (fh []byte) {
		if err := h.Do(func(w *World) { fh = w.HandleOf("f0") }); err != nil {
			t.Fatal(err)
		}
		return fh
	}
	watched := make(chan string, 1)
	statd := rpcclient.NewServer()
	statd.Handle(100024, 1, 2, func(r *rpcclient.Request) ([]byte, error) {
		n := binary.BigEndian.Uint32(r.Args)
		watched <- string(r.Args[4 : 4+n])
		return []byte{0, 0, 0, 0, 0, 0, 0, 1}, nil
	})
	statd.Handle(100024, 1, 3, func(*rpcclient.Request) ([]byte, error) { return []byte{0, 0, 0, 1}, nil })
	if err := statd.Listen(rpcclient.ServeOptions{}); err != nil {
		t.Fatal(err)
	}
	defer statd.Close()

	h := NewHandle()
	serve(t, Config{Statd: statd.Addr(), Handle: h}, func(at map[string]string) {
		fh := handleOf(h)
		if got := hex.EncodeToString(fh); got != "0100010100000000020000000300000000000000" {
			t.Errorf("f0 has the handle %s; the help of serve says another one", got)
		}
		if status, err := lock(t, at["lockd tcp"], "127.0.0.1:0", fh); status != 0 || err != nil {
			t.Errorf("status %d, %v", status, err)
		}
		select {
		case name := <-watched:
			if name != "127.0.0.1" {
				t.Errorf("statd is to watch %q", name)
			}
		default:
			t.Error("statd is not told of the client")
		}
		if _, err := lock(t, at["lockd tcp"], "127.0.0.3:0", fh); !errors.Is(err, rpcclient.ErrAuthError) {
			t.Errorf("a client outside the exports: %v", err)
		}
	})
	if err := h.Do(func(*World) { t.Error("something is done in a server that has ended") }); err == nil {
		t.Error("the handle reaches a server that has ended")
	}
	h = NewHandle()
	serve(t, Config{Grace: 200, Handle: h}, func(at map[string]string) {
		if status, err := lock(t, at["lockd tcp"], "127.0.0.3:0", handleOf(h)); !errors.Is(err, rpcclient.ErrAuthError) {
			t.Errorf("a client outside the exports: status %d, %v", status, err)
		}
		if status, err := lock(t, at["lockd tcp"], "127.0.0.1:0", handleOf(h)); status != 4 || err != nil {
			t.Errorf("in the grace period: status %d, %v", status, err)
		}
	})
}
