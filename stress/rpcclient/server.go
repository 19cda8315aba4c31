// SPDX-License-Identifier: MIT

package rpcclient

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

// ServeOptions says where a server listens. The zero value is any free port of 127.0.0.1.
type ServeOptions struct {
	Host string // address; empty: 127.0.0.1
	Port int    // for TCP and UDP alike; 0: one that is free for both
	Unix string // path of a local socket to listen on as well; empty: none
	// MaxRecord is the longest record; a longer one ends its connection. 0: 1 MiB.
	MaxRecord int
}

// Request is a call as a handler sees it.
type Request struct {
	Call
	Network     string // tcp, udp or unix
	Local, Peer net.Addr
	Conn        net.Conn // the connection it came by; nil for a datagram
}

// Handler answers a call: with results, or with an error. A [*Refusal] is sent as it is, ErrNoReply and ErrHangUp are
// obeyed, any other error is SYSTEM_ERR. The calls of one connection come one after the other, and so do all datagrams.
type Handler func(r *Request) (results []byte, err error)

var (
	// ErrNoReply makes the server not answer.
	ErrNoReply = errors.New("no reply")
	// ErrHangUp makes the server close the connection instead of answering.
	ErrHangUp = errors.New("hang up")
)

// Server answers calls of any programs on one port, over TCP, UDP and a local socket if wanted. A program or version
// without handlers is refused as the law says, procedure 0 of one with handlers is answered by itself.
type Server struct {
	opt   ServeOptions
	addr  netip.AddrPort
	tcp   net.Listener
	udp   *net.UDPConn
	local net.Listener
	wg    sync.WaitGroup

	mu       sync.Mutex
	programs map[uint32]map[uint32]map[uint32]Handler // by program, version, procedure
	conns    map[net.Conn]bool
	closing  bool
}

// Serve listens and answers until Close.
func Serve(opt ServeOptions) (*Server, error) {
	s := NewServer()
	return s, s.Listen(opt)
}

// NewServer is a server that does not listen yet: what it handles when it begins to, it answers from the first call on.
func NewServer() *Server {
	return &Server{programs: map[uint32]map[uint32]map[uint32]Handler{}, conns: map[net.Conn]bool{}}
}

// Listen begins to answer. It is called once.
func (s *Server) Listen(opt ServeOptions) error {
	setDefault(&opt.Host, "127.0.0.1")
	setDefault(&opt.MaxRecord, maxRecord)
	host, err := netip.ParseAddr(opt.Host)
	if err != nil {
		return fmt.Errorf("listening on %q: it is no address", opt.Host)
	}
	s.opt = opt
	for try := 0; ; try++ {
		if err = s.listen(host); err == nil {
			break
		}
		if opt.Port != 0 || try == 16 {
			return err
		}
	}
	if opt.Unix != "" {
		os.Remove(opt.Unix)
		if s.local, err = net.Listen("unix", opt.Unix); err != nil {
			s.tcp.Close()
			s.udp.Close()
			return err
		}
	}
	s.wg.Add(2)
	go s.accept(s.tcp, "tcp")
	go s.datagrams()
	if s.local != nil {
		s.wg.Add(1)
		go s.accept(s.local, "unix")
	}
	return nil
}

// listen takes one port for TCP and UDP.
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

// Handle makes h answer a procedure from now on; nil: nobody does.
func (s *Server) Handle(prog, vers, proc uint32, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs[prog] == nil {
		s.programs[prog] = map[uint32]map[uint32]Handler{}
	}
	if s.programs[prog][vers] == nil {
		s.programs[prog][vers] = map[uint32]Handler{}
	}
	s.programs[prog][vers][proc] = h
}

// AddrPort is the address of the TCP and the UDP socket.
func (s *Server) AddrPort() netip.AddrPort { return s.addr }

// Addr is the address of the TCP and the UDP socket as text.
func (s *Server) Addr() string { return s.addr.String() }

// Close ends the server. It returns when nothing of it runs; it must not be called by a handler.
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

func (s *Server) accept(l net.Listener, network string) {
	defer s.wg.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors, say
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
		go s.serve(c, network)
	}
}

// serve answers the calls of one connection.
func (s *Server) serve(c net.Conn, network string) {
	defer s.wg.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	whole := Plan{}
	for {
		msg, err := ReadRecord(c, s.opt.MaxRecord)
		if err != nil {
			return
		}
		reply, err := s.answer(msg, &Request{Network: network, Local: c.LocalAddr(), Peer: c.RemoteAddr(), Conn: c})
		if err != nil {
			return
		}
		if reply == nil {
			continue
		}
		if _, err := c.Write(whole.Record(reply)); err != nil {
			return
		}
	}
}

// datagrams answers the calls of the UDP socket.
func (s *Server) datagrams() {
	defer s.wg.Done()
	buf := make([]byte, 1<<16)
	for {
		n, peer, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		msg := append([]byte(nil), buf[:n]...)
		req := &Request{Network: "udp", Local: s.udp.LocalAddr(), Peer: net.UDPAddrFromAddrPort(peer)}
		if reply, err := s.answer(msg, req); err == nil && reply != nil {
			_, _ = s.udp.WriteToUDPAddrPort(reply, peer)
		}
	}
}

// answer is the reply to a message, nil for none; with an error the connection ends. Octets that are no call deserve
// no answer and end their connection.
func (s *Server) answer(msg []byte, r *Request) ([]byte, error) {
	call, rpcvers, ok := parseCall(msg)
	if !ok {
		return nil, ErrHangUp
	}
	r.Call = call
	if rpcvers != rpcVersion {
		return appendReply(nil, call.Xid, nil, &Refusal{Status: RPCMismatch, Low: rpcVersion, High: rpcVersion}), nil
	}
	h, no := s.find(&call)
	if no != nil {
		return appendReply(nil, call.Xid, nil, no), nil
	}
	results, err := h(r)
	switch {
	case err == nil:
		return appendReply(nil, call.Xid, results, nil), nil
	case errors.As(err, &no):
		return appendReply(nil, call.Xid, nil, no), nil
	case errors.Is(err, ErrNoReply):
		return nil, nil
	case errors.Is(err, ErrHangUp):
		return nil, err
	}
	return appendReply(nil, call.Xid, nil, ErrSystemErr), nil
}

// find is the handler of a call, or why there is none.
func (s *Server) find(call *Call) (Handler, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.programs[call.Prog]
	if versions == nil {
		return nil, ErrProgUnavail
	}
	procs := versions[call.Vers]
	if procs == nil {
		var known []uint32
		for v := range versions {
			known = append(known, v)
		}
		return nil, &Refusal{Status: ProgMismatch, Low: slices.Min(known), High: slices.Max(known)}
	}
	switch h := procs[call.Proc]; {
	case h != nil:
		return h, nil
	case call.Proc == 0:
		return func(*Request) ([]byte, error) { return nil, nil }, nil
	}
	return nil, ErrProcUnavail
}
