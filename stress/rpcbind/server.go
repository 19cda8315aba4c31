// SPDX-License-Identifier: MIT

package rpcbind

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xdrpp/goxdr/xdr"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// Options says where a Server listens.
type Options struct {
	// Host is the address to listen on, "127.0.0.1" if empty. Everybody who reaches the server may register, so it
	// should be a loopback address.
	Host string
	// Port is for TCP and UDP alike; 0 picks one that is free for both.
	Port int
	// Unix is the path of a local socket to listen on as well; empty: none.
	Unix string
	// V2Only makes it an old portmapper that knows version 2 alone.
	V2Only bool
}

// Server is an rpcbind. It serves versions 2, 3 and 4: NULL, SET, UNSET, GETPORT or GETADDR, DUMP, and from version 3
// on GETTIME, from version 4 on GETVERSADDR and GETADDRLIST. An entry can be removed by its owner and by the super-user
// on the local socket; over TCP and UDP all callers are one owner, "unknown".
type Server struct {
	rpc *rpcclient.Server

	mu    sync.Mutex
	table []Entry
}

// Start listens and serves until Close.
func Start(opt Options) (*Server, error) {
	s := &Server{rpc: rpcclient.NewServer()}
	s.handle2()
	if !opt.V2Only {
		s.handle(3)
		s.handle(4)
		s.handle4()
	}
	s.mu.Lock() // nobody sees the table before rpcbind itself stands in it
	defer s.mu.Unlock()
	if err := s.rpc.Listen(rpcclient.ServeOptions{Host: opt.Host, Port: opt.Port, Unix: opt.Unix}); err != nil {
		return nil, err
	}
	s.registerSelf(opt)
	return s, nil
}

// registerSelf enters rpcbind itself. The caller holds mu.
func (s *Server) registerSelf(opt Options) {
	addr := s.rpc.AddrPort()
	suffix := ""
	if addr.Addr().Is6() {
		suffix = "6"
	}
	low := uint32(4)
	if opt.V2Only {
		low = 2
	}
	for vers := low; vers >= 2; vers-- {
		for _, proto := range []string{"tcp", "udp"} {
			s.table = append(s.table, Entry{Program, vers, proto + suffix, Uaddr(addr), superuser})
		}
	}
	if opt.Unix != "" && !opt.V2Only {
		for vers := uint32(4); vers >= 3; vers-- {
			s.table = append(s.table, Entry{Program, vers, "local", opt.Unix, superuser})
		}
	}
}

// Addr is the address of the TCP and the UDP socket.
func (s *Server) Addr() string { return s.rpc.Addr() }

// Entries is the table as it is now.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.table...)
}

// Close ends the server and waits until nothing of it runs.
func (s *Server) Close() error { return s.rpc.Close() }

// unknownOwner owns what is registered over TCP and UDP. Whatever owner the caller claims, as in the real rpcbind only
// the local socket tells who it is.
const unknownOwner = "unknown"

// origin is where a call came in: the netid of that socket, its address, which stands in for the wild card in answers,
// and in whose name the caller changes the table.
type origin struct {
	netid string
	ip    netip.Addr
	owner string
}

func originOf(r *rpcclient.Request) origin {
	if local, ok := r.Conn.(*net.UnixConn); ok {
		return origin{netid: "local", owner: localOwner(local)}
	}
	o := origin{netid: r.Network, owner: unknownOwner}
	if ap, err := netip.ParseAddrPort(r.Local.String()); err == nil {
		o.ip = ap.Addr().Unmap()
		if o.ip.Is6() {
			o.netid += "6"
		}
	}
	return o
}

// on makes a handler of what a procedure does with its argument: it is called with the table locked, and returns the
// results.
func on[T any, P interface {
	*T
	wire.Value
}](s *Server, do func(from origin, arg P) wire.Value) rpcclient.Handler {
	return func(r *rpcclient.Request) ([]byte, error) {
		var arg T
		if err := wire.Decode(r.Args, P(&arg)); err != nil {
			return nil, rpcclient.ErrGarbageArgs
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return wire.Encode(do(originOf(r), &arg)), nil
	}
}

// handle makes the server answer the procedures that versions 3 and 4 share.
func (s *Server) handle(vers uint32) {
	s.rpc.Handle(Program, vers, procSet, on(s, func(from origin, arg *wire.Rpcb) wire.Value {
		e := entryOf(arg)
		e.Owner = from.owner
		return boolean(s.set(e))
	}))
	s.rpc.Handle(Program, vers, procUnset, on(s, func(from origin, arg *wire.Rpcb) wire.Value {
		return boolean(s.unset(arg.R_prog, arg.R_vers, arg.R_netid, from.owner))
	}))
	s.rpc.Handle(Program, vers, procGetaddr, on(s, func(from origin, arg *wire.Rpcb) wire.Value {
		return s.getaddr(from, arg, false)
	}))
	s.rpc.Handle(Program, vers, procDump, on(s, func(origin, *xdr.XdrVoid) wire.Value {
		var list *wire.Rpcb_list
		for _, x := range slices.Backward(s.table) {
			list = &wire.Rpcb_list{Map: x.rpcb(), Next: list}
		}
		return wire.XDR_Rpcb_list_ptr(&list)
	}))
	s.rpc.Handle(Program, vers, procGettime, on(s, func(origin, *xdr.XdrVoid) wire.Value {
		return number(uint32(time.Now().Unix()))
	}))
}

// handle4 makes the server answer what is new in version 4.
func (s *Server) handle4() {
	s.rpc.Handle(Program, 4, procGetversaddr, on(s, func(from origin, arg *wire.Rpcb) wire.Value {
		return s.getaddr(from, arg, true)
	}))
	s.rpc.Handle(Program, 4, procGetaddrlist, on(s, func(from origin, arg *wire.Rpcb) wire.Value {
		var list *wire.Rpcb_entry_list
		for _, x := range slices.Backward(s.table) {
			if x.Prog == arg.R_prog && x.Vers == arg.R_vers && family(x.Netid) == family(from.netid) {
				list = &wire.Rpcb_entry_list{Map: addrlistEntry(x, from), Next: list}
			}
		}
		return wire.XDR_Rpcb_entry_list_ptr(&list)
	}))
}

// getaddr is the address of a program. As in the real rpcbind the answer is for the transport of the question; the netid
// in it is not looked at.
func (s *Server) getaddr(from origin, arg *wire.Rpcb, sameVersion bool) wire.Value {
	var addr string
	if x, ok := s.find(arg.R_prog, arg.R_vers, from.netid); ok && (!sameVersion || x.Vers == arg.R_vers) {
		addr = from.merge(x.Addr)
	}
	return wire.XDR_Rpcb_uaddr(&addr)
}

func boolean(b bool) wire.Value { return xdr.XDR_bool(&b) }

func number(n uint32) wire.Value { return xdr.XDR_uint32(&n) }

// addrlistEntry is a struct rpcb_entry: address, netid, semantics, protocol family, protocol.
func addrlistEntry(x Entry, from origin) wire.Rpcb_entry {
	const tpiClts, tpiCotsOrd = 1, 3
	e := wire.Rpcb_entry{R_maddr: from.merge(x.Addr), R_nc_netid: x.Netid, R_nc_semantics: tpiCotsOrd,
		R_nc_protofmly: family(x.Netid), R_nc_proto: "tcp"}
	switch x.Netid {
	case "udp", "udp6":
		e.R_nc_semantics, e.R_nc_proto = tpiClts, "udp"
	case "local":
		e.R_nc_proto = "-"
	}
	return e
}

// family is the protocol family of a netid as /etc/netconfig has it.
func family(netid string) string {
	switch netid {
	case "tcp6", "udp6":
		return "inet6"
	case "local":
		return "loopback"
	}
	return "inet"
}

// handle2 makes the server answer version 2.
func (s *Server) handle2() {
	s.rpc.Handle(Program, 2, procSet, on(s, func(from origin, m *wire.Pmap_mapping) wire.Value {
		netid := netidOf(m.Prot)
		addr := fmt.Sprintf("0.0.0.0.%d.%d", m.Port>>8&0xff, m.Port&0xff)
		return boolean(netid != "" && m.Port <= 0xffff && s.set(Entry{m.Prog, m.Vers, netid, addr, from.owner}))
	}))
	s.rpc.Handle(Program, 2, procUnset, on(s, func(from origin, m *wire.Pmap_mapping) wire.Value {
		udp := s.unset(m.Prog, m.Vers, "udp", from.owner)
		tcp := s.unset(m.Prog, m.Vers, "tcp", from.owner)
		return boolean(udp || tcp)
	}))
	s.rpc.Handle(Program, 2, procGetaddr, on(s, func(_ origin, m *wire.Pmap_mapping) wire.Value {
		port := uint32(0)
		if x, ok := s.find(m.Prog, m.Vers, netidOf(m.Prot)); ok {
			if a, err := ParseUaddr(x.Addr); err == nil {
				port = uint32(a.Port())
			}
		}
		return number(port)
	}))
	s.rpc.Handle(Program, 2, procDump, on(s, func(origin, *xdr.XdrVoid) wire.Value {
		var list *wire.Pmap_list
		for _, x := range slices.Backward(s.table) {
			prot := protOf(x.Netid)
			a, err := ParseUaddr(x.Addr)
			if prot == 0 || err != nil {
				continue
			}
			list = &wire.Pmap_list{Map: wire.Pmap_mapping{Prog: x.Prog, Vers: x.Vers, Prot: prot, Port: uint32(a.Port())}, Next: list}
		}
		return wire.XDR_Pmap_list_ptr(&list)
	}))
}

// set adds an entry; a triple that is in the table already is only agreed to with the same address.
func (s *Server) set(e Entry) bool {
	switch e.Netid {
	case "tcp", "udp", "tcp6", "udp6":
		if _, err := ParseUaddr(e.Addr); err != nil {
			return false
		}
	case "local":
		if e.Addr == "" {
			return false
		}
	default:
		return false
	}
	for _, x := range s.table {
		if x.Prog == e.Prog && x.Vers == e.Vers && x.Netid == e.Netid {
			return x.Addr == e.Addr
		}
	}
	s.table = append(s.table, e)
	return true
}

// unset removes a program version under one netid, or under all if that is empty. False: it met an entry that owner may
// not remove, and stopped there. That there was nothing to remove is fine.
func (s *Server) unset(prog, vers uint32, netid, owner string) bool {
	for i := 0; i < len(s.table); {
		x := s.table[i]
		if x.Prog != prog || x.Vers != vers || netid != "" && x.Netid != netid {
			i++
			continue
		}
		if owner != superuser && owner != x.Owner {
			return false
		}
		s.table = slices.Delete(s.table, i, i+1)
	}
	return true
}

// find is the entry of that version, or else of any version of the program under that netid.
func (s *Server) find(prog, vers uint32, netid string) (Entry, bool) {
	var any Entry
	found := false
	for _, x := range s.table {
		if x.Prog != prog || x.Netid != netid {
			continue
		}
		if x.Vers == vers {
			return x, true
		}
		if !found {
			any, found = x, true
		}
	}
	return any, found
}

// merge puts the address the caller used in the place of a wild card.
func (o origin) merge(uaddr string) string {
	a, err := ParseUaddr(uaddr)
	if err != nil || !a.Addr().IsUnspecified() || !o.ip.IsValid() || o.ip.Is4() != a.Addr().Is4() {
		return uaddr
	}
	return Uaddr(netip.AddrPortFrom(o.ip, a.Port()))
}
