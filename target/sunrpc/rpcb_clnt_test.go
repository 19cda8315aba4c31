// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

func bootRpcb(cur *kernel.Task) (*Sunrpc, *sock.Net, *RpcbindTable) {
	m := cur.Machine()
	rpc, net := New(cur, m), sock.NewNet(cur, m, "init_net")
	SunrpcInitNet(cur, rpc, net)
	table := NewRpcbindTable(m)
	rpc.Rpcb.Port = table
	return rpc, net, table
}

// served counts the table's entries of a program.
func served(table *RpcbindTable, prog uint32) int {
	n := 0
	for _, e := range table.Peek() {
		if e.Prog == prog {
			n++
		}
	}
	return n
}

func TestRpcbRegister(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		rpc, net, table := bootRpcb(cur)
		any4, any6 := sock.AnyAddr(sock.AF_INET, 4045), sock.AnyAddr(sock.AF_INET6, 4045)
		if got := RpcbCreateLocal(cur, rpc, net); got != 0 {
			t.Errorf("create: %d", got)
		}
		for _, tc := range []struct {
			addr  *SockAddr
			netid string
			want  int
			n     int
		}{
			{&any4, "tcp", 0, 1},
			{&any4, "tcp", 0, 1},
			{&any6, "tcp6", 0, 2},
			{&SockAddr{Family: sock.AF_INET, Port: 4046}, "tcp", -kernel.EACCES, 2},
			{&SockAddr{Family: 1, Port: 4046}, "tcp", -kernel.EAFNOSUPPORT, 2},
			{&SockAddr{Family: sock.AF_INET}, "tcp", 0, 1},
			{nil, "", 0, 0},
			{nil, "", 0, 0},
		} {
			if got := RpcbV4Register(cur, rpc, net, 100021, 4, tc.addr, tc.netid); got != tc.want {
				t.Errorf("register %v %s: %d, want %d", tc.addr, tc.netid, got, tc.want)
			}
			if got := served(table, 100021); got != tc.n {
				t.Errorf("register %v %s: %d entries, want %d", tc.addr, tc.netid, got, tc.n)
			}
		}
		if got := RpcbRegister(cur, rpc, net, 100021, 3, IPPROTO_UDP, 4045); got != 0 || served(table, 100021) != 1 {
			t.Errorf("version 2: %d", got)
		}
		port, err := table.Call(cur, true, RPCBVERS_2, RPCBPROC_GETPORT, &RpcbindArgs{RProg: 100021, RVers: 1,
			RProt: IPPROTO_UDP})
		if port != 4045 || err != 0 {
			t.Errorf("GETPORT: %d, %d", port, err)
		}
		if got := RpcbRegister(cur, rpc, net, 100021, 3, 0, 0); got != 0 || served(table, 100021) != 0 {
			t.Errorf("version 2 UNSET: %d", got)
		}
		RpcbPutLocal(cur, rpc, net)
		SunrpcExitNet(cur, rpc, net)
		rpc.Exit(cur)
	})
}

func TestRpcbWithoutVersion4AndWithout(t *testing.T) {
	inSim(t, 1, kernel.Options{}, func(cur *kernel.Task) {
		rpc, net, table := bootRpcb(cur)
		any4 := sock.AnyAddr(sock.AF_INET, 4045)
		table.Portmapper()
		if got := RpcbCreateLocal(cur, rpc, net); got != 0 {
			t.Errorf("create: %d", got)
		}
		if got := RpcbV4Register(cur, rpc, net, 1, 1, &any4, "tcp"); got != -kernel.EPROTONOSUPPORT {
			t.Errorf("version 4 of a portmapper: %d", got)
		}
		if got := RpcbRegister(cur, rpc, net, 1, 1, IPPROTO_TCP, 4045); got != 0 {
			t.Errorf("version 2 of a portmapper: %d", got)
		}
		RpcbPutLocal(cur, rpc, net)

		rpc.Rpcb.Port = nil
		if got := RpcbCreateLocal(cur, rpc, net); got != 0 {
			t.Errorf("create without rpcbind: %d", got)
		}
		if got := RpcbV4Register(cur, rpc, net, 1, 1, &any4, "tcp"); got != -kernel.EPROTONOSUPPORT {
			t.Errorf("version 4 without rpcbind: %d", got)
		}
		if got := RpcbRegister(cur, rpc, net, 1, 1, IPPROTO_TCP, 4045); got != -kernel.ECONNREFUSED {
			t.Errorf("version 2 without rpcbind: %d", got)
		}
		RpcbPutLocal(cur, rpc, net)
		RpcbPutLocal(cur, rpc, net) // one too many, with nobody else to hurt
		if n := rpc.SunrpcNet(net).RpcbUsers.Peek(); n != 0 {
			t.Errorf("%d users", n)
		}
		SunrpcExitNet(cur, rpc, net)
		rpc.Exit(cur)
	})
}

// Services come and go in one namespace; the clients live as long as any of them, and all is gone at the end.
func TestRpcbUsers(t *testing.T) {
	inSim(t, 300, kernel.Options{}, func(cur *kernel.Task) {
		m := cur.Machine()
		rpc, net, table := bootRpcb(cur)
		var tasks []*kernel.Task
		for i := range uint32(3) {
			tasks = append(tasks, m.Spawn(cur, "service", func(cur *kernel.Task) {
				for range 2 {
					if got := RpcbCreateLocal(cur, rpc, net); got != 0 {
						t.Errorf("create: %d", got)
					}
					addr := sock.AnyAddr(sock.AF_INET, 4045)
					if got := RpcbV4Register(cur, rpc, net, 100021, i, &addr, "udp"); got != 0 {
						t.Errorf("register: %d", got)
					}
					if got := RpcbV4Register(cur, rpc, net, 100021, i, nil, ""); got != 0 {
						t.Errorf("unregister: %d", got)
					}
					RpcbPutLocal(cur, rpc, net)
				}
			}))
		}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		sn := rpc.SunrpcNet(net)
		if sn.RpcbUsers.Peek() != 0 || sn.RpcbLocalClnt.Peek() != nil || sn.RpcbLocalClnt4.Peek() != nil ||
			served(table, 100021) != 0 {
			t.Errorf("%d users, %d entries left", sn.RpcbUsers.Peek(), served(table, 100021))
		}
		SunrpcExitNet(cur, rpc, net)
		rpc.Exit(cur)
	})
}

func TestUniversalAddresses(t *testing.T) {
	ip6 := func(b ...byte) (ip [16]byte) {
		copy(ip[:], b)
		return
	}
	for _, tc := range []struct {
		addr SockAddr
		want string
	}{
		{sock.AnyAddr(sock.AF_INET, 65535), "0.0.0.0.255.255"},
		{sock.Addr4(127, 0, 0, 1, 111), "127.0.0.1.0.111"},
		{sock.AnyAddr(sock.AF_INET6, 2049), "::.8.1"},
		{sock.LoopbackAddr(sock.AF_INET6, 1), "::1.0.1"},
		{SockAddr{Family: sock.AF_INET6, IP: [16]byte{10: 0xff, 11: 0xff, 12: 1, 13: 2, 14: 3, 15: 4}, Port: 5},
			"::ffff:1.2.3.4.0.5"},
		{SockAddr{Family: sock.AF_INET6, IP: ip6(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x12, 0x34), Port: 256},
			"fe80::1234:0:0:0.1.0"},
		{SockAddr{Family: sock.AF_INET6, IP: ip6(0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3), Port: 256},
			"2001:db8:1:0:2::3.1.0"},
		{SockAddr{Family: sock.AF_INET6, IP: ip6(0x20, 1, 0xd, 0xb8, 0, 1), Port: 256}, "2001:db8:1::.1.0"},
	} {
		got := RpcSockaddr2uaddr(tc.addr)
		if got != tc.want {
			t.Errorf("%v: %q, want %q", tc.addr, got, tc.want)
		}
		if port, ok := uaddrPort(got); !ok || port != tc.addr.Port {
			t.Errorf("port of %q: %d, %t", got, port, ok)
		}
	}
	for _, bad := range []string{"", "1", "1.2", "a.b.c", "0.0.0.0.256.1", "0.0.0.0.-1.1"} {
		if port, ok := uaddrPort(bad); ok {
			t.Errorf("port of %q: %d", bad, port)
		}
	}
}
