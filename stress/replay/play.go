// SPDX-License-Identifier: MIT

package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Programs that the recordings speak to.
const (
	nlmProgram      = 100021
	callbackProgram = 0x40000000
)

// Pace is how long to wait for a server.
type Pace struct {
	First time.Duration // for what some recorded kernel did: an answer, the end of the connection, a call to the client
	Quiet time.Duration // until nothing more is believed to come
}

// Brisk suits a server on the same host; Patient is for a second look at a case that went wrong at a brisk pace; Steady
// is for cases that cannot be played twice.
var (
	Brisk   = Pace{First: 300 * time.Millisecond, Quiet: 20 * time.Millisecond}
	Patient = Pace{First: 5 * time.Second, Quiet: 500 * time.Millisecond}
	Steady  = Pace{First: 5 * time.Second, Quiet: 20 * time.Millisecond}
)

// Client addresses. The recorded guests knew the first client from their exports, the second one they did not.
const (
	usualClient   = "127.0.0.2"
	outsideClient = "127.0.0.3"
	localClient   = "127.0.0.1"
)

// errUnprivileged says that the process may not send from a port below 1024.
var errUnprivileged = errors.New("needs a port below 1024, which only root may use")

// from says which address, and which kind of port, a case is sent from.
func (c *Case) from() (ip string, privileged bool) {
	at, inside := strings.CutSuffix(c.Client, " (inside the guest)")
	switch {
	case inside:
		return localClient, !strings.HasSuffix(at, ":0")
	case c.Client == "10.99.0.3":
		return outsideClient, false
	}
	return usualClient, false
}

// player sends cases to one server and looks at what comes back.
type player struct {
	addr  func(c *Case) string // of the service that a case is for
	bound bool                 // cases are sent from the address that they need
	peer  *peer                // the client's own services; nil: nobody listens
	pace  Pace
	files map[string]string // handles in hex by name, to know them in calls
	lockd uint32            // process id of the server's lockd thread
	// ordered says that cases cannot be played twice, and that none of them is answered behind the call that follows it:
	// if that call is answered first, there is no answer to be waited for.
	ordered bool
}

// play sends a case over a connection of its own.
func (p *player) play(c *Case, t *Take) (Answer, error) {
	conn, err := p.dial(c)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	heard := 0
	if p.peer != nil {
		heard = p.peer.count()
	}
	if err := p.send(c, t, conn); err != nil {
		return Answer{}, err
	}
	a := p.reply(c, conn)
	switch {
	case a.Conn == "closed":
		a.After = "closed"
	case c.any(func(a Answer) bool { return a.After != "" }):
		a.After, a.Late = p.probe(c, conn)
		if p.ordered && len(a.Reply) == 0 {
			a.Reply, a.Late = a.Late, nil
		}
	}
	if p.peer != nil {
		a.Calls = p.calls(c, a.Reply, heard)
	}
	return a, nil
}

// step sends a step, and waits until the server is done with it: with its answer, and with what it calls at the client.
func (p *player) step(c *Case, t *Take) error {
	conn, err := p.dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := p.send(c, t, conn); err != nil {
		return err
	}
	read(conn, make([]byte, 1<<16), Brisk.First)
	if p.peer != nil && c.asynchronous(t) {
		for n := -1; n != p.peer.count(); p.peer.wait(n+1, 2*p.pace.Quiet) {
			n = p.peer.count()
		}
	}
	return nil
}

// asynchronous reports whether a request is one of those of NLM that are answered by a call.
func (c *Case) asynchronous(t *Take) bool {
	request := bytes.Join(t.Writes, nil)
	if !c.UDP {
		request = request[min(4, len(request)):]
	}
	h, ok := parseCall(request)
	return ok && h.prog == nlmProgram && h.proc >= nlmTestMsg && h.proc <= nlmGrantedMsg
}

// dial connects to the service of a case.
func (p *player) dial(c *Case) (net.Conn, error) {
	network := "tcp"
	if c.UDP {
		network = "udp"
	}
	if !p.bound {
		return net.DialTimeout(network, p.addr(c), Patient.First)
	}
	ip, privileged := c.from()
	if !privileged {
		return dialFrom(network, ip, 0, p.addr(c))
	}
	for port := 1023; port > 600; port-- {
		conn, err := dialFrom(network, ip, port, p.addr(c))
		switch {
		case errors.Is(err, syscall.EACCES):
			return nil, errUnprivileged
		case err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL):
			return conn, err
		}
	}
	return nil, fmt.Errorf("no port below 1024 is free at %s", ip)
}

// dialFrom connects from an address; port 0: any.
func dialFrom(network, ip string, port int, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: Patient.First, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip), Port: port}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(ip), Port: port}
	}
	return d.Dial(network, addr)
}

// send makes the writes of a case. An end of the stream comes with the last of them, as in the recordings, where the
// server saw both at once; it comes to a server that has nothing else to do for the connection by then, since one that
// is about to read finds the call before it learns of the end.
func (p *player) send(c *Case, t *Take, conn net.Conn) error {
	if c.HalfClose {
		time.Sleep(p.pace.Quiet)
	}
	for i, w := range t.Writes {
		if i > 0 {
			time.Sleep(c.Delay)
		}
		if c.HalfClose && i == len(t.Writes)-1 {
			if err := cork(conn.(*net.TCPConn)); err != nil {
				return err
			}
		}
		_ = conn.SetWriteDeadline(time.Now().Add(p.pace.First))
		if _, err := conn.Write(w); err != nil && !closedByPeer(err) {
			return err
		}
	}
	if c.HalfClose {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			return err
		}
	}
	return nil
}

// reply reads until the connection ends or nothing more comes. If a kernel left it at what has come so far, and the
// next thing is a call of ours, then the answer to that call shows what else the server had to say.
func (p *player) reply(c *Case, conn net.Conn) Answer {
	a := Answer{Conn: "open", Lockd: p.lockd}
	wait := p.pace.Quiet
	if c.any(func(a Answer) bool { return len(a.Reply) > 0 || a.Conn == "closed" }) {
		wait = p.pace.First
		if p.ordered && c.probed() {
			wait = Brisk.First
		}
	}
	buf := make([]byte, 1<<16)
	for {
		n, open := read(conn, buf, wait)
		a.Reply = append(a.Reply, buf[:n]...)
		if !open {
			a.Conn = "closed"
			return a
		}
		if n == 0 {
			return a
		}
		wait = p.pace.First
		if c.stops(a) {
			if c.probed() {
				return a
			}
			wait = p.pace.Quiet
		}
	}
}

// probe is the XID of the NULL call that follows a case.
const probe = 0x50524f42

// probe makes a good NULL call and says what became of it, and what else came.
func (p *player) probe(c *Case, conn net.Conn) (fate string, late []byte) {
	prog, vers := uint32(nlmProgram), uint32(4)
	if c.Target != "nlm" {
		prog, vers = callbackProgram, 1
	}
	call := words(probe, 0, 2, prog, vers, 0, 0, 0, 0, 0)
	want := words(probe, 1, 0, 0, 0, 0)
	if !c.UDP {
		call, want = marked(call), marked(want)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(p.pace.First))
	if _, err := conn.Write(call); err != nil {
		return "closed", nil
	}
	wait := p.pace.Quiet
	if c.any(func(a Answer) bool { return a.After == "answered" || a.After == "closed" }) {
		wait = p.pace.First
	}
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(wait); ; {
		n, open := read(conn, buf, time.Until(end))
		late = append(late, buf[:n]...)
		if before, rest, ok := bytes.Cut(late, want); ok {
			return "answered", append(before, rest...)
		}
		switch {
		case !open:
			return "closed", late
		case n == 0:
			return "silent", late
		}
	}
}

// calls waits for what the server calls at the client because of a case, behind the first heard ones: for as many calls
// as any kernel made that answered like this, but not for long once it has made those of one of them.
func (p *player) calls(c *Case, reply []byte, heard int) []string {
	var lists [][]string
	most := 0
	for _, t := range c.Takes {
		if bytes.Equal(t.Want.Reply, t.mask(reply, p.lockd)) {
			lists = append(lists, t.Want.Calls)
			most = max(most, len(t.Want.Calls))
		}
	}
	over := time.Now().Add(p.pace.First)
	for n := 1; n <= most; n++ {
		wait := time.Until(over)
		if got := p.named(p.peer.since(heard)); len(got) > 0 && slices.ContainsFunc(lists, func(l []string) bool { return slices.Equal(l, got) }) {
			wait = p.pace.Quiet
		}
		if !p.peer.wait(heard+n, wait) {
			break
		}
	}
	return p.named(p.peer.since(heard))
}

// named puts the names of files in the place of their handles.
func (p *player) named(calls []string) []string {
	for i, call := range calls {
		calls[i] = nameHandles(call, p.files)
	}
	return calls
}

// nameHandles puts names in the place of handles, both in hex.
func nameHandles(call string, handles map[string]string) string {
	for name, fh := range handles {
		if name != "root" {
			call = strings.ReplaceAll(call, fh, "<"+name+">")
		}
	}
	return call
}

// any reports whether any kernel did something like that.
func (c *Case) any(like func(Answer) bool) bool {
	for _, t := range c.Takes {
		if like(t.Want) {
			return true
		}
	}
	return false
}

// probed reports whether any kernel got the call of probe; it would end up inside an unfinished record otherwise.
func (c *Case) probed() bool {
	return c.any(func(a Answer) bool { return a.After != "" && a.Conn == "open" })
}

// stops reports whether what has come may be all: some kernel left it at that, or there are as many whole records as
// any kernel sent.
func (c *Case) stops(a Answer) bool {
	got := a.Reply
	most := 1
	for _, t := range c.Takes {
		if bytes.Equal(t.Want.Reply, t.mask(got, a.Lockd)) && t.Want.Conn != "closed" {
			return true
		}
		n, _ := records(t.Want.Reply)
		most = max(most, n)
	}
	n, rest := records(got)
	return c.UDP || n >= most && rest == 0
}

// records counts the whole records at the beginning of a stream, and the octets behind them.
func records(stream []byte) (n, rest int) {
	whole, more := rpcclient.SplitRecords(stream)
	return len(whole), len(more)
}

// read takes what comes within d; no octets and open: nothing came.
func read(conn net.Conn, buf []byte, d time.Duration) (n int, open bool) {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	n, err := conn.Read(buf)
	return n, err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func closedByPeer(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded)
}

// words puts numbers together in network order.
func words(all ...uint32) []byte {
	var b []byte
	for _, w := range all {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// marked puts the mark of a whole record before it.
func marked(record []byte) []byte {
	return append(words(1<<31|uint32(len(record))), record...)
}
