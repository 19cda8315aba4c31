// SPDX-License-Identifier: MIT

package server

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/rpcbind"
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
