// SPDX-License-Identifier: MIT

// Package server runs lockd and the NFSv4 callback service of the port on real loopback sockets, on the free back
// end, for clients outside this process.
package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Config says where to serve, and what. The zero value takes any free ports, serves the usual files and knows no NFS
// server.
type Config struct {
	LockdUDP, LockdTCP uint16 // 0: any
	Callback           uint16 // 0: any
	RpcbindPort        uint16 // of the embedded rpcbind; 0: any
	// Rpcbind is a running rpcbind to register with instead: host:port, or the path of its local socket.
	Rpcbind string
	// Statd is a running rpc.statd to have clients watched by, host:port; "": the embedded one.
	Statd string
	// PeerRpcbindPort is where the rpcbind of a client listens that is called back, at the client's address; 0: 111.
	PeerRpcbindPort uint16
	Nodename        string     // of the machine, as it tells it to those that it calls; "": localhost
	MaxConnections  uint32     // that lockd keeps; 0: 1,024
	Grace           uint32     // seconds in which locks can only be reclaimed, 240 at most; 0: none
	Fsid            uint32     // of the export, as in its file handles
	Files           []File     // in the order of their inode numbers, from 2 on; nil: the usual ones
	Outside         netip.Addr // a loopback address that the export is not for; none: 127.0.0.3
	Mount           Mount      // what the callback service is about
	// Exposed listens on all addresses of the host instead of the loopback ones. Nothing here is fit for a real network:
	// it is meant for a network namespace of one's own.
	Exposed bool
	Clients []netip.Prefix // who may lock, besides the loopback addresses
	Handle  *Handle        // to be reached by while it serves; nil: nobody wants to
}

// Endpoint is one socket that answers.
type Endpoint struct {
	Service string // lockd, callback0, rpcbind
	Netid   string // udp, tcp, udp6, tcp6, local
	Addr    string // host:port, or a path
}

func (e Endpoint) String() string { return e.Service + " " + e.Netid + " " + e.Addr }

// Outcome is what a server left behind.
type Outcome struct {
	Calls    map[string]int64 // answered or dropped, by service
	Findings []*kernel.Finding
}

// UsageError is a configuration that this host cannot serve: one line with the thing, the reason and the remedy.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

// Run serves until ctx ends, and then stops everything in order. ready is called once with all endpoints, from
// another goroutine; it may be nil. The error is a [*UsageError] or a fault; what the oracles found, leaks included, is in
// the outcome.
func Run(ctx context.Context, cfg Config, ready func([]Endpoint)) (out *Outcome, err error) {
	defer cfg.Handle.close()
	s := &server{cfg: cfg, ctx: ctx, ready: ready, out: &Outcome{Calls: map[string]int64{}}}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := s.findRpcbind(); err != nil {
		return nil, err
	}
	if s.embedded != nil {
		defer func() { err = errors.Join(err, s.embedded.Close()) }()
	}
	m := kernel.NewFree()
	defer m.Close()
	s.subject.M = m
	opt := kernel.Options{ // it may serve for years
		Seed: rand.Uint64(), Watchdog: math.MaxInt64 / 2_000_000, ReusePages: true,
	}
	oracle.Install(&s.subject, &opt)
	res := m.Run(nil, opt, "main", s.main)
	s.out.Findings = res.Findings
	if s.err != nil {
		return nil, s.err
	}
	return s.out, nil
}

// server is one run of Run.
type server struct {
	cfg      Config
	ctx      context.Context
	ready    func([]Endpoint)
	out      *Outcome
	embedded *rpcbind.Server
	port     *port
	known    []Endpoint // of rpcbind
	subject  oracle.Subject
	err      error
}

// findRpcbind starts the embedded rpcbind or looks for the real one.
func (s *server) findRpcbind() error {
	if s.cfg.Rpcbind == "" {
		var err error
		s.embedded, err = rpcbind.Start(rpcbind.Options{Port: int(s.cfg.RpcbindPort)})
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return &UsageError{fmt.Sprintf("port %d for rpcbind is in use: give another --rpcbind-port, or 0 for any free one",
				s.cfg.RpcbindPort)}
		case errors.Is(err, syscall.EACCES):
			return &UsageError{fmt.Sprintf("port %d for rpcbind needs privileges: give a --rpcbind-port of 1024 or more, or 0",
				s.cfg.RpcbindPort)}
		case err != nil:
			return fmt.Errorf("rpcbind: %w", err)
		}
		addr := s.embedded.Addr()
		s.port = &port{network: "tcp", addr: addr}
		s.known = []Endpoint{{"rpcbind", "tcp", addr}, {"rpcbind", "udp", addr}}
		return nil
	}
	s.port = &port{network: "tcp", addr: s.cfg.Rpcbind}
	netid := "tcp"
	if strings.HasPrefix(s.cfg.Rpcbind, "/") {
		s.port.network, netid = "unix", "local"
	} else if a, err := netip.ParseAddrPort(s.cfg.Rpcbind); err != nil || !a.Addr().IsLoopback() {
		return &UsageError{fmt.Sprintf("--rpcbind %s: give a loopback address with a port (127.0.0.1:111) or the path of "+
			"a local socket (%s)", s.cfg.Rpcbind, rpcbind.DefaultSocket)}
	}
	c, err := s.port.dial()
	if err == nil {
		if err = c.Null(4); err != nil {
			err = c.Null(2)
		}
		c.Close()
	}
	if err != nil {
		return &UsageError{fmt.Sprintf("--rpcbind %s: no rpcbind answers there (%v): start one, or leave the flag out",
			s.cfg.Rpcbind, err)}
	}
	s.known = []Endpoint{{"rpcbind", netid, s.cfg.Rpcbind}}
	return nil
}

// main is the task that brings everything up and down.
func (s *server) main(cur *kernel.Task) {
	m := cur.Machine()
	rpc := sunrpc.New(cur, m)
	defer rpc.Exit(cur)
	net, errno := sock.NewRealNet(m)
	if errno != 0 {
		s.err = fmt.Errorf("no network: %s", kernel.ErrName(errno))
		return
	}
	net.Exposed = s.cfg.Exposed
	defer net.Put()
	if errno := sunrpc.SunrpcInitNet(cur, rpc, net); errno != 0 {
		s.err = fmt.Errorf("sunrpc: %s", kernel.ErrName(errno))
		return
	}
	defer sunrpc.SunrpcExitNet(cur, rpc, net)
	rpc.SunrpcNet(net).RpcbindPort = s.port
	w := s.world(cur, rpc, net)
	ld, nf := w.Lockd, w.Nfs
	s.subject.Rpc, s.subject.Lockd, s.subject.Nfs = rpc, ld, nf
	s.subject.AddNet(net)
	defer s.subject.DropNet(net)

	if errno := ld.LockdUp(cur, net); errno != 0 {
		s.err = s.startError("lockd", errno, "--lockd-udp-port", s.cfg.LockdUDP, "--lockd-tcp-port", s.cfg.LockdTCP)
		return
	}
	defer ld.LockdDown(cur, net)
	if s.cfg.Grace == 0 {
		w.endGrace()
	}
	if errno := w.mount(s.cfg.Mount); errno != 0 {
		s.err = fmt.Errorf("the mount: %s", kernel.ErrName(errno))
		return
	}
	defer w.umount()
	if errno := nf.NfsCallbackUp(cur, 0, nil, net); errno != 0 {
		s.err = s.startError("the callback service", errno, "", 0, "--callback-port", s.cfg.Callback)
		return
	}
	defer nf.NfsCallbackDown(cur, 0, net)

	lockdServ, cbServ := ld.NlmsvcRqst.RqServer, nf.NfsCallbackInfo[0].Serv
	all := append(endpoints(cur, "lockd", lockdServ, net), endpoints(cur, "callback0", cbServ, net)...)
	all = append(all, s.known...)
	m.Block(cur, func(<-chan struct{}) {
		if s.ready != nil {
			s.ready(all)
		}
	})
	for s.wait(w) {
	}
	s.out.Calls["lockd"] = lockdServ.SvStats.Rpccnt.Peek()
	s.out.Calls["callback0"] = cbServ.SvStats.Rpccnt.Peek()
}

// wait waits for the end, and then returns false, or does what the holder of the handle wants.
func (s *server) wait(w *World) bool {
	var ask *request
	w.Cur.Machine().Block(w.Cur, func(dead <-chan struct{}) {
		select {
		case ask = <-s.cfg.Handle.requests():
		case <-s.ctx.Done():
		case <-dead:
		}
	})
	if ask == nil {
		return false
	}
	ask.fn(w)
	close(ask.done)
	return true
}

// endpoints lists the sockets of a service.
func endpoints(cur *kernel.Task, name string, serv *sunrpc.SvcServ, net *sock.Net) []Endpoint {
	var out []Endpoint
	for _, family := range []int{sock.AF_INET, sock.AF_INET6} {
		for _, class := range []string{"udp", "tcp"} {
			xprt := sunrpc.SvcFindXprt(serv, class, net, family, 0)
			if xprt == nil {
				continue
			}
			netid, host := class, "127.0.0.1"
			if family == sock.AF_INET6 {
				netid, host = class+"6", "[::1]"
			}
			out = append(out, Endpoint{name, netid, fmt.Sprintf("%s:%d", host, sunrpc.SvcXprtLocalPort(xprt))})
			sunrpc.SvcXprtPut(cur, xprt)
		}
	}
	return out
}

// startError says in one line why a service did not start.
func (s *server) startError(name string, errno int, udpFlag string, udp uint16, tcpFlag string, tcp uint16) error {
	switch errno {
	case -kernel.EADDRINUSE:
		flag, proto, p := tcpFlag, "tcp", tcp
		if udp != 0 && busy("udp", udp) {
			flag, proto, p = udpFlag, "udp", udp
		}
		return &UsageError{fmt.Sprintf("%s port %d for %s is in use: give another %s, or 0 for any free one",
			proto, p, name, flag)}
	case -int(syscall.EACCES):
		if tcp > 0 && tcp < 1024 || udp > 0 && udp < 1024 {
			return &UsageError{fmt.Sprintf("the port for %s needs privileges: give one of 1024 or more, or 0", name)}
		}
		return &UsageError{fmt.Sprintf("rpcbind at %s refuses to register %s: somebody else has (rpcinfo -d removes it)",
			s.port.addr, name)}
	}
	return fmt.Errorf("%s does not start: %s", name, kernel.ErrName(errno))
}

// busy asks the host whether a loopback port is taken, in either family.
func busy(proto string, p uint16) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		var err error
		addr := net.JoinHostPort(host, fmt.Sprint(p))
		if proto == "udp" {
			var c net.PacketConn
			if c, err = net.ListenPacket("udp", addr); err == nil {
				c.Close()
			}
		} else {
			var l net.Listener
			if l, err = net.Listen("tcp", addr); err == nil {
				l.Close()
			}
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return true
		}
	}
	return false
}
