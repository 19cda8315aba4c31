// SPDX-License-Identifier: MIT

package rpcbind

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
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
	opt   Options
	addr  netip.AddrPort
	tcp   net.Listener
	udp   *net.UDPConn
	local net.Listener
	wg    sync.WaitGroup

	mu      sync.Mutex
	table   []Entry
	conns   map[net.Conn]bool
	closing bool
}

// Start listens and serves until Close.
func Start(opt Options) (*Server, error) {
	if opt.Host == "" {
		opt.Host = "127.0.0.1"
	}
	host, err := netip.ParseAddr(opt.Host)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, conns: map[net.Conn]bool{}}
	for try := 0; ; try++ {
		if err = s.listen(host); err == nil {
			break
		}
		if opt.Port != 0 || try == 16 {
			return nil, err
		}
	}
	if opt.Unix != "" {
		os.Remove(opt.Unix)
		if s.local, err = net.Listen("unix", opt.Unix); err != nil {
			s.tcp.Close()
			s.udp.Close()
			return nil, err
		}
	}
	s.registerSelf()
	s.wg.Add(2)
	go s.accept(s.tcp)
	go s.datagrams()
	if s.local != nil {
		s.wg.Add(1)
		go s.accept(s.local)
	}
	return s, nil
}

func (s *Server) listen(host netip.Addr) error {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(host, uint16(s.opt.Port))))
	if err != nil {
		return err
	}
	addr := netip.AddrPortFrom(host, uint16(tcp.Addr().(*net.TCPAddr).Port))
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		tcp.Close()
		return err
	}
	s.tcp, s.udp, s.addr = tcp, udp, addr
	return nil
}

func (s *Server) registerSelf() {
	suffix := ""
	if s.addr.Addr().Is6() {
		suffix = "6"
	}
	low := uint32(4)
	if s.opt.V2Only {
		low = 2
	}
	for vers := low; vers >= 2; vers-- {
		for _, proto := range []string{"tcp", "udp"} {
			s.table = append(s.table, Entry{Program, vers, proto + suffix, Uaddr(s.addr), superuser})
		}
	}
	if s.local != nil && !s.opt.V2Only {
		for vers := uint32(4); vers >= 3; vers-- {
			s.table = append(s.table, Entry{Program, vers, "local", s.opt.Unix, superuser})
		}
	}
}

// Addr is the address of the TCP and the UDP socket.
func (s *Server) Addr() string { return s.addr.String() }

// Entries is the table as it is now.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.table...)
}

// Close ends the server and waits until nothing of it runs.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	if s.local != nil {
		err = errors.Join(err, s.local.Close())
	}
	s.wg.Wait()
	return err
}

func (s *Server) accept(l net.Listener) {
	defer s.wg.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			closing := s.closing
			s.mu.Unlock()
			if closing || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = true
		s.wg.Add(1)
		s.mu.Unlock()
		go s.stream(c)
	}
}

func (s *Server) stream(c net.Conn) {
	defer s.wg.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	from := s.origin("tcp", c.LocalAddr())
	if u, ok := c.(*net.UnixConn); ok {
		from.owner = localOwner(u)
	}
	for {
		rec, err := readRecord(c)
		if err != nil {
			return
		}
		reply := s.answer(rec, from)
		if reply == nil {
			return
		}
		if writeRecord(c, reply) != nil {
			return
		}
	}
}

func (s *Server) datagrams() {
	defer s.wg.Done()
	buf := make([]byte, 1<<16)
	from := s.origin("udp", s.udp.LocalAddr())
	for {
		n, peer, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if reply := s.answer(buf[:n], from); reply != nil {
			_, _ = s.udp.WriteToUDPAddrPort(reply, peer)
		}
	}
}

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

func (s *Server) origin(proto string, a net.Addr) origin {
	if a.Network() == "unix" {
		return origin{netid: "local", owner: unknownOwner}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return origin{netid: proto, owner: unknownOwner}
	}
	ip := ap.Addr().Unmap()
	if ip.Is6() {
		proto += "6"
	}
	return origin{netid: proto, ip: ip, owner: unknownOwner}
}

// answer is the reply to one call, nil for what deserves none.
func (s *Server) answer(msg []byte, from origin) []byte {
	d := &dec{b: msg}
	xid := d.u32()
	if d.u32() != msgCall || d.bad {
		return nil
	}
	var e enc
	e.u32(xid)
	e.u32(msgReply)
	rpcvers, prog, vers, proc := d.u32(), d.u32(), d.u32(), d.u32()
	d.u32()
	d.opaque(maxAuthBody)
	d.u32()
	d.opaque(maxAuthBody)
	if d.bad {
		return nil
	}
	if rpcvers != rpcVersion {
		e.u32(msgDenied)
		e.u32(rejectRPCMismatch)
		e.u32(rpcVersion)
		e.u32(rpcVersion)
		return e
	}
	e.u32(msgAccepted)
	e.u32(0) // an empty AUTH_NONE verifier
	e.u32(0)
	high := uint32(4)
	if s.opt.V2Only {
		high = 2
	}
	if prog != Program {
		e.u32(acceptProgUnavail)
		return e
	}
	if vers < 2 || vers > high {
		e.u32(acceptProgMismatch)
		e.u32(2)
		e.u32(high)
		return e
	}
	var res enc
	stat := s.call(vers, proc, d, from, &res)
	e.u32(stat)
	if stat == acceptSuccess {
		e = append(e, res...)
	}
	return e
}

// call does one procedure: arguments from d, results to res.
func (s *Server) call(vers, proc uint32, d *dec, from origin, res *enc) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if proc == procNull {
		return acceptSuccess
	}
	if vers == 2 {
		return s.call2(proc, d, from, res)
	}
	var arg Entry
	switch proc {
	case procSet, procUnset, procGetaddr:
		arg = d.entry()
	case procGetversaddr, procGetaddrlist:
		if vers != 4 {
			return acceptProcUnavail
		}
		arg = d.entry()
	case procDump, procGettime:
	default:
		return acceptProcUnavail
	}
	if d.bad {
		return acceptGarbageArgs
	}
	switch proc {
	case procSet:
		arg.Owner = from.owner
		res.bool(s.set(arg))
	case procUnset:
		res.bool(s.unset(arg.Prog, arg.Vers, arg.Netid, from.owner))
	case procGetaddr, procGetversaddr:
		// As in the real rpcbind the answer is for the transport of the question; the netid in it is not looked at.
		x, ok := s.find(arg.Prog, arg.Vers, from.netid)
		if ok && (proc == procGetaddr || x.Vers == arg.Vers) {
			res.str(from.merge(x.Addr))
		} else {
			res.str("")
		}
	case procDump:
		for _, x := range s.table {
			res.bool(true)
			res.entry(x)
		}
		res.bool(false)
	case procGettime:
		res.u32(uint32(time.Now().Unix()))
	case procGetaddrlist:
		for _, x := range s.table {
			if x.Prog == arg.Prog && x.Vers == arg.Vers && family(x.Netid) == family(from.netid) {
				res.bool(true)
				addrlistEntry(res, x, from)
			}
		}
		res.bool(false)
	}
	return acceptSuccess
}

// addrlistEntry writes a struct rpcb_entry: address, netid, semantics, protocol family, protocol.
func addrlistEntry(res *enc, x Entry, from origin) {
	const tpiClts, tpiCotsOrd = 1, 3
	res.str(from.merge(x.Addr))
	res.str(x.Netid)
	sem, proto := uint32(tpiCotsOrd), "tcp"
	switch x.Netid {
	case "udp", "udp6":
		sem, proto = tpiClts, "udp"
	case "local":
		proto = "-"
	}
	res.u32(sem)
	res.str(family(x.Netid))
	res.str(proto)
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

func (s *Server) call2(proc uint32, d *dec, from origin, res *enc) uint32 {
	var prog, vers, prot, port uint32
	switch proc {
	case procSet, procUnset, procGetaddr:
		prog, vers, prot, port = d.u32(), d.u32(), d.u32(), d.u32()
	case procDump:
	default:
		return acceptProcUnavail
	}
	if d.bad {
		return acceptGarbageArgs
	}
	switch proc {
	case procSet:
		netid := netidOf(prot)
		res.bool(netid != "" && port <= 0xffff && s.set(Entry{prog, vers, netid,
			fmt.Sprintf("0.0.0.0.%d.%d", port>>8&0xff, port&0xff), from.owner}))
	case procUnset:
		udp := s.unset(prog, vers, "udp", from.owner)
		tcp := s.unset(prog, vers, "tcp", from.owner)
		res.bool(udp || tcp)
	case procGetaddr:
		port := uint32(0)
		if x, ok := s.find(prog, vers, netidOf(prot)); ok {
			if a, err := ParseUaddr(x.Addr); err == nil {
				port = uint32(a.Port())
			}
		}
		res.u32(port)
	case procDump:
		for _, x := range s.table {
			prot := protOf(x.Netid)
			a, err := ParseUaddr(x.Addr)
			if prot == 0 || err != nil {
				continue
			}
			res.bool(true)
			res.u32(x.Prog)
			res.u32(x.Vers)
			res.u32(prot)
			res.u32(uint32(a.Port()))
		}
		res.bool(false)
	}
	return acceptSuccess
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
