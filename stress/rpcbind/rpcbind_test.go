// SPDX-License-Identifier: MIT

package rpcbind

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

func start(t *testing.T, opt Options) *Server {
	t.Helper()
	s, err := Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func dial(t *testing.T, network, addr string) *Client {
	t.Helper()
	c, err := Dial(network, addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRegisterOverEverySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpcbind.sock")
	s := start(t, Options{Unix: path})
	owner := unknownOwner
	if runtime.GOOS == "linux" {
		owner = strconv.Itoa(os.Getuid())
		if owner == "0" {
			owner = superuser
		}
	}
	for i, via := range []struct{ network, addr string }{{"tcp", s.Addr()}, {"udp", s.Addr()}, {"unix", path}} {
		t.Run(via.network, func(t *testing.T) {
			c := dial(t, via.network, via.addr)
			for vers := uint32(2); vers <= 4; vers++ {
				if err := c.Null(vers); err != nil {
					t.Errorf("Null(%d): %v", vers, err)
				}
			}
			e := Entry{Prog: 100021, Vers: uint32(i + 1), Netid: "tcp", Addr: "0.0.0.0.3.231", Owner: "0"}
			owned := e
			owned.Owner = "unknown"
			if via.network == "unix" {
				owned.Owner = owner
			}
			if err := c.Set(4, e); err != nil {
				t.Fatalf("SET: %v", err)
			}
			if err := c.Set(4, e); err != nil {
				t.Errorf("SET of the same entry: %v", err)
			}
			other := e
			other.Addr = "0.0.0.0.4.0"
			if err := c.Set(4, other); !errors.Is(err, ErrRefused) {
				t.Errorf("SET of a taken triple: %v, want %v", err, ErrRefused)
			}
			if port, err := c.GetPort(e.Prog, e.Vers, 6); err != nil || port != 999 {
				t.Errorf("GETPORT = %d, %v, want 999", port, err)
			}
			if port, err := c.GetPort(e.Prog, e.Vers, 17); err != nil || port != 0 {
				t.Errorf("GETPORT udp = %d, %v, want 0", port, err)
			}
			if port, err := c.GetPort(e.Prog, 77, 6); err != nil || port != 999 {
				t.Errorf("GETPORT of an unknown version = %d, %v, want any version's port, 999", port, err)
			}
			want := "127.0.0.1.3.231"
			if via.network != "tcp" {
				want = "" // the answer is for the transport of the question
			}
			for vers := uint32(3); vers <= 4; vers++ {
				got, err := c.GetAddr(vers, Entry{Prog: e.Prog, Vers: e.Vers, Netid: "tcp"})
				if err != nil || got != want {
					t.Errorf("GETADDR in version %d = %q, %v, want %q", vers, got, err, want)
				}
			}
			if got, err := c.GetVersAddr(Entry{Prog: e.Prog, Vers: 77, Netid: "tcp"}); err != nil || got != "" {
				t.Errorf("GETVERSADDR of an unknown version = %q, %v, want none", got, err)
			}
			dump, err := c.Dump(4)
			if err != nil || !slices.Contains(dump, owned) {
				t.Errorf("DUMP in version 4 = %v, %v, want %v in it", dump, err, owned)
			}
			dump, err = c.Dump(2)
			want2 := Entry{Prog: e.Prog, Vers: e.Vers, Netid: "tcp", Addr: e.Addr}
			if err != nil || !slices.Contains(dump, want2) {
				t.Errorf("DUMP in version 2 = %v, %v, want %v in it", dump, err, want2)
			}
			now, err := c.Time(3)
			if d := time.Since(now); err != nil || d < -time.Minute || d > time.Minute {
				t.Errorf("GETTIME = %v, %v", now, err)
			}
			if err := c.Unset(4, Entry{Prog: e.Prog, Vers: e.Vers}); err != nil {
				t.Errorf("UNSET: %v", err)
			}
			if err := c.Unset(4, Entry{Prog: e.Prog, Vers: e.Vers}); err != nil {
				t.Errorf("UNSET of nothing: %v", err)
			}
		})
	}
	for _, e := range s.Entries() {
		if e.Prog != Program {
			t.Errorf("left in the table: %v", e)
		}
	}
}

func TestOnlyTheOwnerRemoves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpcbind.sock")
	s := start(t, Options{Unix: path})
	inet, local := dial(t, "udp", s.Addr()), dial(t, "unix", path)
	e := Entry{Prog: 300002, Vers: 1, Netid: "tcp", Addr: "0.0.0.0.8.1"}
	if err := local.Set(4, e); err != nil {
		t.Fatal(err)
	}
	mine := s.Entries()[len(s.Entries())-1]
	if err := inet.Unset(4, e); mine.Owner != unknownOwner && !errors.Is(err, ErrRefused) {
		t.Errorf("UNSET over UDP of an entry of %s: %v, want %v", mine.Owner, err, ErrRefused)
	}
	if err := local.Unset(4, e); err != nil {
		t.Errorf("UNSET by the owner: %v", err)
	}
	if err := inet.Unset(4, Entry{Prog: Program, Vers: 4}); !errors.Is(err, ErrRefused) {
		t.Errorf("UNSET of rpcbind itself: %v, want %v", err, ErrRefused)
	}
}

func TestUnsetByNetid(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, "tcp", s.Addr())
	for _, netid := range []string{"udp", "tcp", "udp6", "tcp6"} {
		addr := "0.0.0.0.8.1"
		if netid == "udp6" || netid == "tcp6" {
			addr = "::.8.1"
		}
		if err := c.Set(4, Entry{Prog: 300000, Vers: 1, Netid: netid, Addr: addr}); err != nil {
			t.Fatalf("SET %s: %v", netid, err)
		}
	}
	if err := c.Unset(4, Entry{Prog: 300000, Vers: 1, Netid: "udp6"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Unset2(300000, 1); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range s.Entries() {
		if e.Prog == 300000 {
			left = append(left, e.Netid)
		}
	}
	if !slices.Equal(left, []string{"tcp6"}) {
		t.Errorf("left after UNSET udp6 and PMAP UNSET: %v, want tcp6", left)
	}
	for _, bad := range []Entry{
		{1, 1, "", "0.0.0.0.1.1", ""}, {1, 1, "tcp", "here", ""}, {1, 1, "x25", "0.0.0.0.1.1", ""},
	} {
		if err := c.Set(4, bad); !errors.Is(err, ErrRefused) {
			t.Errorf("SET %v: %v, want %v", bad, err, ErrRefused)
		}
	}
}

func TestFallBackToPortmapper(t *testing.T) {
	s := start(t, Options{V2Only: true})
	for _, network := range []string{"tcp", "udp"} {
		c := dial(t, network, s.Addr())
		var m *rpcclient.Refusal
		if err := c.Null(4); !errors.As(err, &m) || m.Low != 2 || m.High != 2 {
			t.Fatalf("Null(4) = %v, want a mismatch 2 to 2", err)
		}
		e := Entry{Prog: 100021, Vers: 4, Netid: network, Addr: "0.0.0.0.128.1", Owner: "0"}
		if err := c.Register(e); err != nil {
			t.Fatalf("Register: %v", err)
		}
		if port, err := c.GetPort(100021, 4, protOf(network)); err != nil || port != 0x8001 {
			t.Errorf("GETPORT = %d, %v", port, err)
		}
		e6 := Entry{Prog: 100021, Vers: 4, Netid: network + "6", Addr: "::.128.1", Owner: "0"}
		if err := c.Register(e6); !errors.As(err, &m) {
			t.Errorf("Register of %s: %v, want a mismatch", e6.Netid, err)
		}
		if err := c.Unregister(e); err != nil {
			t.Errorf("Unregister: %v", err)
		}
	}
}

// TestWire checks exact bytes, so that client and server cannot agree on something wrong.
func TestWire(t *testing.T) {
	s := start(t, Options{})
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const (
		head   = "00000000" + "00000002" + "000186a0" // call, RPC version 2, program 100000
		noAuth = "0000000000000000" + "0000000000000000"
		ok     = "00000001" + "00000000" + "0000000000000000" + "00000000"
	)
	self := Uaddr(netip.MustParseAddrPort(s.Addr()))
	uaddr := hex.EncodeToString(wire.Encode(wire.XDR_Rpcb_uaddr(&self)))
	for _, tc := range []struct{ name, call, reply string }{
		{"null v2", "00000007" + head + "00000002" + "00000000" + noAuth, "00000007" + ok},
		{"pmap set", "00000008" + head + "00000002" + "00000001" + noAuth +
			"000186b5" + "00000004" + "00000011" + "0000801f", "00000008" + ok + "00000001"},
		{"pmap getport", "00000009" + head + "00000002" + "00000003" + noAuth +
			"000186b5" + "00000004" + "00000011" + "00000000", "00000009" + ok + "0000801f"},
		{"rpcb getaddr", "0000000a" + head + "00000003" + "00000003" + noAuth +
			"000186a0" + "00000004" + "00000003" + "74637000" + "00000000" + "00000000",
			"0000000a" + ok + uaddr},
		{"version 0", "0000000b" + head + "00000000" + "00000000" + noAuth,
			"0000000b" + "00000001" + "00000000" + "0000000000000000" + "00000002" + "00000002" + "00000004"},
		{"program", "0000000c" + "00000000" + "00000002" + "000186a3" + "00000003" + "00000000" + noAuth,
			"0000000c" + "00000001" + "00000000" + "0000000000000000" + "00000001"},
		{"procedure", "0000000d" + head + "00000004" + "00000063" + noAuth,
			"0000000d" + "00000001" + "00000000" + "0000000000000000" + "00000003"},
		{"garbage", "0000000e" + head + "00000002" + "00000003" + noAuth + "000186b5",
			"0000000e" + "00000001" + "00000000" + "0000000000000000" + "00000004"},
		{"RPC version", "0000000f" + "00000000" + "00000003" + "000186a0" + "00000002" + "00000000" + noAuth,
			"0000000f" + "00000001" + "00000001" + "00000000" + "00000002" + "00000002"},
	} {
		call, _ := hex.DecodeString(tc.call)
		// Two fragments, cut in the middle of a word.
		var msg []byte
		msg = binary.BigEndian.AppendUint32(msg, 10)
		msg = append(msg, call[:10]...)
		msg = binary.BigEndian.AppendUint32(msg, 1<<31|uint32(len(call)-10))
		msg = append(msg, call[10:]...)
		if _, err := conn.Write(msg); err != nil {
			t.Fatal(err)
		}
		want, _ := hex.DecodeString(tc.reply)
		got := make([]byte, 4+len(want))
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if binary.BigEndian.Uint32(got) != 1<<31|uint32(len(want)) || !bytes.Equal(got[4:], want) {
			t.Errorf("%s: reply %x, want %x", tc.name, got, want)
		}
	}
}

func TestUselessMessagesGetNoReply(t *testing.T) {
	s := start(t, Options{})
	raw, err := rpcclient.DialRaw(t.Context(), "udp", s.Addr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	null := (&rpcclient.Call{Xid: 7, Prog: Program, Vers: 2}).Encode()
	if err := raw.Send(t.Context(), nil, []byte{1, 2, 3}, make([]byte, 8), append(make([]byte, 4), 0, 0, 0, 1), null); err != nil {
		t.Fatal(err)
	}
	if got, _ := raw.Read(5 * time.Second); len(got) != 24 || !bytes.HasPrefix(got, []byte{0, 0, 0, 7}) {
		t.Errorf("the first answer is %x, want that to the call behind the useless messages", got)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte{0x80 | 0x7f, 0xff, 0xff, 0xff})
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
		t.Errorf("read after an oversize record: %v, want the end of the connection", err)
	}
}

// errTimeout is err if it is a time-out, else an error that nothing is.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return errors.New("none")
}

func TestGetaddrlist(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, "tcp", s.Addr())
	for _, netid := range []string{"udp", "tcp"} {
		if err := c.Set(4, Entry{Prog: 300001, Vers: 1, Netid: netid, Addr: "0.0.0.0.8.1"}); err != nil {
			t.Fatal(err)
		}
	}
	// Of another family than the question comes by, so not in the answer.
	if err := c.Set(4, Entry{Prog: 300001, Vers: 1, Netid: "tcp6", Addr: "::.8.1"}); err != nil {
		t.Fatal(err)
	}
	arg := Entry{Prog: 300001, Vers: 1}.rpcb()
	var list *wire.Rpcb_entry_list
	if err := c.call(4, procGetaddrlist, &arg, wire.XDR_Rpcb_entry_list_ptr(&list)); err != nil {
		t.Fatal(err)
	}
	var got []wire.Rpcb_entry
	for ; list != nil; list = list.Next {
		got = append(got, list.Map)
	}
	want := []wire.Rpcb_entry{
		{R_maddr: "127.0.0.1.8.1", R_nc_netid: "udp", R_nc_semantics: 1, R_nc_protofmly: "inet", R_nc_proto: "udp"},
		{R_maddr: "127.0.0.1.8.1", R_nc_netid: "tcp", R_nc_semantics: 3, R_nc_protofmly: "inet", R_nc_proto: "tcp"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("GETADDRLIST = %v, want %v", got, want)
	}
	if err := c.call(3, procGetaddrlist, &arg, nil); !errors.Is(err, rpcclient.ErrProcUnavail) {
		t.Errorf("GETADDRLIST in version 3: %v, want %v", err, rpcclient.ErrProcUnavail)
	}
}

func TestUaddr(t *testing.T) {
	for _, tc := range []struct{ addr, uaddr string }{
		{"127.0.0.1:111", "127.0.0.1.0.111"},
		{"0.0.0.0:65535", "0.0.0.0.255.255"},
		{"[::]:2049", "::.8.1"},
		{"[fe80::1]:256", "fe80::1.1.0"},
	} {
		a := netip.MustParseAddrPort(tc.addr)
		if got := Uaddr(a); got != tc.uaddr {
			t.Errorf("Uaddr(%s) = %q, want %q", tc.addr, got, tc.uaddr)
		}
		if got, err := ParseUaddr(tc.uaddr); err != nil || got != a {
			t.Errorf("ParseUaddr(%q) = %v, %v, want %v", tc.uaddr, got, err, a)
		}
	}
	for _, bad := range []string{"", ".", "1.2", "127.0.0.1.0", "127.0.0.1.0.256", "127.0.0.1.0.-1", "host.0.1"} {
		if got, err := ParseUaddr(bad); err == nil {
			t.Errorf("ParseUaddr(%q) = %v, want an error", bad, got)
		}
	}
}

func TestCloseWithOpenConnections(t *testing.T) {
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, "tcp", s.Addr())
	if err := c.Null(4); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Null(4); err == nil {
		t.Error("a call after Close succeeded")
	}
}
