// SPDX-License-Identifier: MIT

package replay

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Ports of the recorded client's own services: its portmapper, and the lock manager that this one named.
const (
	rpcbindPort = 111
	clientPort  = 4145
)

// Call is a call that a server made at the client.
type Call struct {
	UDP     bool
	Rpcbind bool   // to the client's portmapper; otherwise to its lock manager
	Request []byte // without a record mark
}

// masked is what String shows in place of an octet that is the caller's own choice.
const masked = "--"

// String is the call with what its caller chooses by itself masked: the XID, the stamp of AUTH_SYS, and the cookie by
// which it will know the answer to a GRANTED call.
func (c Call) String() string {
	text := make([]string, len(c.Request))
	for i, b := range c.Request {
		text[i] = hex.EncodeToString([]byte{b})
	}
	mask := func(from, n int) {
		for i := from; i < min(from+n, len(text)); i++ {
			text[i] = masked
		}
	}
	mask(0, 4)
	if h, ok := parseCall(c.Request); ok {
		if h.flavour == 1 {
			mask(32, 4)
		}
		if h.prog == nlmProgram && (h.proc == nlmGranted || h.proc == nlmGrantedMsg) {
			mask(len(c.Request)-len(h.args)+4, int(h.word(0)))
		}
	}
	netid, port := "tcp", clientPort
	if c.UDP {
		netid = "udp"
	}
	if c.Rpcbind {
		port = rpcbindPort
	}
	return fmt.Sprintf("%s %d %s", netid, port, strings.Join(text, ""))
}

// Procedures that the recorded calls have.
const (
	nlmGranted     = 5
	nlmTestMsg     = 6
	nlmGrantedMsg  = 10
	portmapGetport = 3
	portmapProgram = 100000
)

// callHeader is what the client looks at in a call.
type callHeader struct {
	xid, prog, vers, proc, flavour uint32
	args                           []byte
}

// word is a word of the arguments, 0 if there is none.
func (h callHeader) word(i int) uint32 {
	if len(h.args) < 4*i+4 {
		return 0
	}
	return binary.BigEndian.Uint32(h.args[4*i:])
}

// parseCall takes a call apart; ok is false if it is none, or is cut.
func parseCall(b []byte) (h callHeader, ok bool) {
	at := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	if len(b) < 32 || at(4) != 0 {
		return h, false
	}
	h = callHeader{xid: at(0), prog: at(12), vers: at(16), proc: at(20), flavour: at(24)}
	rest := 24
	for range 2 { // credentials, verifier
		if len(b) < rest+8 || at(rest+4) > 400 {
			return h, false
		}
		rest += 8 + int(at(rest+4)+3)/4*4
	}
	if len(b) < rest {
		return h, false
	}
	h.args = b[rest:]
	return h, true
}

// peer is the client's side of the recordings: a portmapper and a lock manager that answer as the recorded client's
// did, with a port or with nothing but success, and write down what they are asked.
type peer struct {
	port    uint16 // of the portmappers
	lockd   uint16 // of the lock managers
	servers []*rpcclient.Server

	mu    sync.Mutex
	heard []Call
	grown chan struct{} // closed when heard grows
}

// listen starts a client's services at each of these addresses, all at the same ports.
func listen(ips ...string) (*peer, error) {
	var err error
	for range 20 { // somebody else may have the second port
		p := &peer{grown: make(chan struct{})}
		if err = errors.Join(p.open(&p.lockd, ips, p.lockManager), p.open(&p.port, ips, p.portmapper)); err == nil {
			return p, nil
		}
		p.close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("the client's own services: %w", err)
}

// open serves the same at all addresses, on a port that is free for the first of them.
func (p *peer) open(port *uint16, ips []string, handle func(*rpcclient.Server)) error {
	for _, ip := range ips {
		s := rpcclient.NewServer()
		handle(s)
		if err := s.Listen(rpcclient.ServeOptions{Host: ip, Port: int(*port)}); err != nil {
			return err
		}
		p.servers = append(p.servers, s)
		*port = s.AddrPort().Port()
	}
	return nil
}

// portmapper knows one port for everything.
func (p *peer) portmapper(s *rpcclient.Server) {
	s.Handle(portmapProgram, 2, portmapGetport, func(r *rpcclient.Request) ([]byte, error) {
		p.hear(r, true)
		return words(uint32(p.lockd)), nil
	})
}

// lockManager takes note of all procedures of NLM.
func (p *peer) lockManager(s *rpcclient.Server) {
	for _, vers := range []uint32{1, 3, 4} {
		for proc := uint32(1); proc < 24; proc++ {
			s.Handle(nlmProgram, vers, proc, func(r *rpcclient.Request) ([]byte, error) {
				p.hear(r, false)
				return nil, nil
			})
		}
	}
}

// hear writes a call down.
func (p *peer) hear(r *rpcclient.Request, rpcbind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, Call{UDP: r.Network == "udp", Rpcbind: rpcbind, Request: r.Encode()})
	close(p.grown)
	p.grown = make(chan struct{})
}

// close ends the services and all connections to them.
func (p *peer) close() {
	for _, s := range p.servers {
		_ = s.Close()
	}
}

// count is how many calls have come.
func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard)
}

// wait waits until n calls have come, or the time is over; then it returns false.
func (p *peer) wait(n int, most time.Duration) bool {
	over := time.NewTimer(most)
	defer over.Stop()
	for {
		p.mu.Lock()
		have, grown := len(p.heard), p.grown
		p.mu.Unlock()
		if have >= n {
			return true
		}
		select {
		case <-grown:
		case <-over.C:
			return false
		}
	}
}

// since lists the calls behind the first n, as text.
func (p *peer) since(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []string{}
	for _, c := range p.heard[n:] {
		list = append(list, c.String())
	}
	return list
}
