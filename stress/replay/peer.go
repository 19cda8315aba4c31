// SPDX-License-Identifier: MIT

package replay

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
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
// did, and write down what they are asked.
type peer struct {
	port    uint16 // of the portmappers
	lockd   uint16 // of the lock managers
	closing []io.Closer
	done    sync.WaitGroup

	mu    sync.Mutex
	heard []Call
	grown chan struct{} // closed when heard grows
}

// listen starts a client's services at each of these addresses, all at the same ports.
func listen(ips ...string) (*peer, error) {
	var err error
	for range 20 { // somebody else may have the second port
		p := &peer{grown: make(chan struct{})}
		if err = p.open(ips); err == nil {
			return p, nil
		}
		p.close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("the client's own services: %w", err)
}

// open opens all sockets and serves them.
func (p *peer) open(ips []string) error {
	for _, s := range []struct {
		port    *uint16
		rpcbind bool
	}{{&p.port, true}, {&p.lockd, false}} {
		for _, ip := range ips {
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, *s.port))
			if err != nil {
				return err
			}
			p.closing = append(p.closing, l)
			*s.port = uint16(l.Addr().(*net.TCPAddr).Port)
			u, err := net.ListenPacket("udp", l.Addr().String())
			if err != nil {
				return err
			}
			p.closing = append(p.closing, u)
			p.done.Go(func() { p.accept(l, s.rpcbind) })
			p.done.Go(func() { p.datagrams(u, s.rpcbind) })
		}
	}
	return nil
}

// close ends the services and all connections to them.
func (p *peer) close() {
	p.mu.Lock()
	closing := p.closing
	p.closing = nil
	p.mu.Unlock()
	for _, c := range closing {
		_ = c.Close()
	}
	p.done.Wait()
}

// accept serves connections until the listener is closed.
func (p *peer) accept(l net.Listener, rpcbind bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		open := p.closing != nil
		if open {
			p.closing = append(p.closing, conn)
			p.done.Go(func() { p.records(conn, rpcbind) })
		}
		p.mu.Unlock()
		if !open {
			_ = conn.Close()
		}
	}
}

// records serves a connection until its end. Callers put each call into one fragment.
func (p *peer) records(conn net.Conn, rpcbind bool) {
	defer conn.Close()
	for {
		var mark [4]byte
		if _, err := io.ReadFull(conn, mark[:]); err != nil {
			return
		}
		record := make([]byte, binary.BigEndian.Uint32(mark[:])&(1<<20-1))
		if _, err := io.ReadFull(conn, record); err != nil {
			return
		}
		if reply := p.serve(Call{Rpcbind: rpcbind, Request: record}); reply != nil {
			if _, err := conn.Write(marked(reply)); err != nil {
				return
			}
		}
	}
}

// datagrams serves a datagram socket until it is closed.
func (p *peer) datagrams(conn net.PacketConn, rpcbind bool) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		call := Call{UDP: true, Rpcbind: rpcbind, Request: bytes.Clone(buf[:n])}
		if reply := p.serve(call); reply != nil {
			_, _ = conn.WriteTo(reply, from)
		}
	}
}

// serve writes a call down and answers it, as the recorded client did: with a port, or with nothing but success.
func (p *peer) serve(call Call) []byte {
	p.mu.Lock()
	p.heard = append(p.heard, call)
	close(p.grown)
	p.grown = make(chan struct{})
	p.mu.Unlock()
	h, ok := parseCall(call.Request)
	if !ok {
		return nil
	}
	reply := words(h.xid, 1, 0, 0, 0, 0)
	if call.Rpcbind && h.prog == portmapProgram && h.proc == portmapGetport {
		reply = append(reply, words(uint32(p.lockd))...)
	}
	return reply
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
