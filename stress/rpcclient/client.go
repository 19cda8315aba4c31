// SPDX-License-Identifier: MIT

package rpcclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Options of a client. The zero value is fit for use.
type Options struct {
	// Cred is the credential of calls that have none of their own.
	Cred Auth
	// Timeout bounds a call whose context has no deadline; 0: 10 s, negative: none.
	Timeout time.Duration
	// Retry is how long a datagram waits for its answer before it is sent again, the same octets; the wait doubles up
	// to MaxRetry. 0: 100 ms, and 5 s. Negative: it is sent once.
	Retry, MaxRetry time.Duration
	// Hard keeps on sending datagrams although the host says that nobody listens on the port.
	Hard bool
	// Local is the address to call from; empty: any.
	Local string
	// Plan cuts the records of a stream into fragments and writes.
	Plan Plan
	// MaxReply is the longest reply; 0: 1 MiB.
	MaxReply int
}

// Stats counts what a client has seen. All but Sent and Retransmitted are messages that came in.
type Stats struct {
	Sent, Retransmitted int64
	Answered            int64 // answers that a call waited for
	Duplicate           int64 // of which there had been one
	Late                int64 // to calls that had been given up
	Stray               int64 // to no call of this client, or too short to have an XID
}

// ErrClosed is the reason of calls on a client that was closed.
var ErrClosed = errors.New("the client was closed")

// Client is a socket with any number of calls in flight. All its methods may be called at the same time.
type Client struct {
	conn   net.Conn
	stream bool
	opt    Options
	peer   string

	writing chan struct{} // holds one token while somebody writes
	ended   chan struct{} // closed when the reader has gone

	mu      sync.Mutex
	err     error // why the connection is of no use; nil as long as it is
	xid     uint32
	pending map[uint32]*Pending
	past    map[uint32]bool // recent XIDs that are no longer pending: true if they were answered
	pastXid [1024]uint32    // ring of the keys of past
	pastAt  int
	stats   Stats
}

// Dial makes a client: network is "tcp", "udp" or "unix" (a stream), with 4 or 6 behind it if only that will do.
func Dial(ctx context.Context, network, addr string, opt Options) (*Client, error) {
	if err := opt.Plan.check(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", network, addr, err)
	}
	conn, err := dial(ctx, network, addr, opt.Local)
	if err != nil {
		return nil, err
	}
	return newClient(conn, network+" "+addr, opt), nil
}

func dial(ctx context.Context, network, addr, local string) (net.Conn, error) {
	var d net.Dialer
	if local != "" {
		at, err := resolve(network, local)
		if err != nil {
			return nil, fmt.Errorf("%s %s: calling from %s: %w", network, addr, local, err)
		}
		d.LocalAddr = at
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", network, addr, reason(err))
	}
	return conn, nil
}

func resolve(network, addr string) (net.Addr, error) {
	switch network {
	case "udp", "udp4", "udp6":
		return net.ResolveUDPAddr(network, addr)
	case "unix":
		return net.ResolveUnixAddr(network, addr)
	}
	return net.ResolveTCPAddr(network, addr)
}

// reason takes off what net puts around an error: the caller names the address itself.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func newClient(conn net.Conn, peer string, opt Options) *Client {
	setDefault(&opt.Timeout, 10*time.Second)
	setDefault(&opt.Retry, 100*time.Millisecond)
	setDefault(&opt.MaxRetry, 5*time.Second)
	setDefault(&opt.MaxReply, maxRecord)
	_, datagrams := conn.(*net.UDPConn)
	c := &Client{
		conn: conn, stream: !datagrams, opt: opt, peer: peer,
		writing: make(chan struct{}, 1), ended: make(chan struct{}),
		xid: rand.Uint32(), pending: map[uint32]*Pending{}, past: map[uint32]bool{},
	}
	go c.read()
	return c
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// LocalAddr is the address that the server sees.
func (c *Client) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// Stats is the count so far.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// CloseWrite tells the server that no more calls come, as a client does that only reads its answers. A stream only.
func (c *Client) CloseWrite() error {
	if h, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return fmt.Errorf("%s: only a stream has a half to close", c.peer)
}

// Close ends the connection; calls in flight fail with [ErrClosed]. It returns when nothing of the client runs.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	<-c.ended
	return nil
}

// fail ends the connection for a reason, which all calls in flight and all later ones will name.
func (c *Client) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	err = c.err
	c.failPending(err)
	c.mu.Unlock()
	if first {
		c.conn.Close()
	}
}

// failPending ends all calls in flight. The caller holds mu.
func (c *Client) failPending(err error) {
	for xid, p := range c.pending {
		c.settle(xid, false)
		p.err = err
		close(p.done)
	}
}

// settle takes a call out of those in flight, and remembers for a while whether it was answered. The caller holds mu.
func (c *Client) settle(xid uint32, answered bool) {
	delete(c.pending, xid)
	if _, ok := c.past[xid]; !ok {
		if len(c.past) == len(c.pastXid) {
			delete(c.past, c.pastXid[c.pastAt])
		}
		c.pastXid[c.pastAt] = xid
		c.pastAt = (c.pastAt + 1) % len(c.pastXid)
	}
	c.past[xid] = answered
}

// read is the goroutine that hands messages to the calls that wait for them.
func (c *Client) read() {
	defer close(c.ended)
	if c.stream {
		r := bufio.NewReaderSize(c.conn, 1<<16)
		for {
			msg, err := ReadRecord(r, c.opt.MaxReply)
			if err != nil {
				c.fail(readError(err))
				return
			}
			c.deliver(msg)
		}
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := c.conn.Read(buf)
		switch {
		case err == nil && n <= c.opt.MaxReply:
			c.deliver(append([]byte(nil), buf[:n]...))
		case err == nil:
			c.fail(fmt.Errorf("a datagram of more than %d octets", c.opt.MaxReply))
			return
		case errors.Is(err, syscall.ECONNREFUSED):
			c.refused(reason(err))
		default:
			c.fail(readError(err))
			return
		}
	}
}

// readError is why reading ended, in words.
func readError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server closed the connection within a reply: %w", err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed the connection: %w", err)
	}
	return reason(err)
}

// refused is what the host says about an earlier datagram: nobody listens there now.
func (c *Client) refused(err error) {
	if c.opt.Hard {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failPending(err)
}

// deliver hands a message to its call.
func (c *Client) deliver(msg []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(msg) < 4 {
		c.stats.Stray++
		return
	}
	xid := binary.BigEndian.Uint32(msg)
	if p := c.pending[xid]; p != nil {
		c.stats.Answered++
		c.settle(xid, true)
		p.msg = msg
		close(p.done)
		return
	}
	answered, known := c.past[xid]
	switch {
	case answered:
		c.stats.Duplicate++
	case known:
		c.stats.Late++
	default:
		c.stats.Stray++
	}
}

// Pending is a call in flight.
type Pending struct {
	c    *Client
	call Call
	wire []byte // what is sent

	done chan struct{} // closed when msg or err is there
	msg  []byte
	err  error
}

// Xid is that of the call.
func (p *Pending) Xid() uint32 { return p.call.Xid }

// Go sends a call and does not wait for the answer. Whoever calls it calls Wait too; that sends datagrams again. ctx
// bounds the sending alone.
func (c *Client) Go(ctx context.Context, call Call) (*Pending, error) {
	if call.Cred.Flavour == AuthNone && call.Cred.Body == nil {
		call.Cred = c.opt.Cred
	}
	p := &Pending{c: c, call: call, done: make(chan struct{})}
	if err := c.enlist(p); err != nil {
		return nil, c.wrap(&p.call, err)
	}
	p.wire = p.call.Encode()
	if c.stream {
		p.wire = c.opt.Plan.Record(p.wire)
	}
	if err := c.send(ctx, p.wire); err != nil {
		p.giveUp()
		return nil, c.wrap(&p.call, err)
	}
	c.mu.Lock()
	c.stats.Sent++
	c.mu.Unlock()
	return p, nil
}

// enlist gives the call an XID and puts it among those in flight.
func (c *Client) enlist(p *Pending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for p.call.Xid == 0 {
		c.xid++
		if c.pending[c.xid] == nil {
			p.call.Xid = c.xid
		}
	}
	if c.pending[p.call.Xid] != nil {
		return fmt.Errorf("XID %#x is in flight already", p.call.Xid)
	}
	c.pending[p.call.Xid] = p
	return nil
}

// giveUp takes the call out of those in flight; false: it has ended already.
func (p *Pending) giveUp() bool {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.c.pending[p.call.Xid] != p {
		return false
	}
	p.c.settle(p.call.Xid, false)
	return true
}

// send writes octets within the life of ctx. A stream on which it fails is of no use any more: nobody knows how much
// went out.
func (c *Client) send(ctx context.Context, b []byte) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return c.why()
	}
	defer func() { <-c.writing }()
	err := write(ctx, c.conn, c.stream, &c.opt.Plan, b)
	if err != nil && c.stream {
		c.fail(err)
	}
	if err != nil && c.why() != nil {
		return c.why() // the reader may have seen the reason before
	}
	return err
}

// why is the reason for which the connection is of no use; nil if it is.
func (c *Client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// write puts octets onto a socket as the plan says.
func write(ctx context.Context, conn net.Conn, stream bool, plan *Plan, b []byte) error {
	if ctx.Done() != nil {
		over := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = conn.SetWriteDeadline(time.Unix(1, 0))
			close(over)
		})
		defer func() {
			if !stop() {
				<-over
				_ = conn.SetWriteDeadline(time.Time{})
			}
		}()
	}
	pieces := [][]byte{b}
	if stream {
		pieces = plan.pieces(b)
	}
	for i, piece := range pieces {
		if i > 0 && plan.Delay > 0 && !Sleep(ctx, plan.Delay) {
			return ctx.Err()
		}
		if _, err := conn.Write(piece); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
				return fmt.Errorf("the server does not read: %w", ctx.Err())
			}
			return reason(err)
		}
	}
	return nil
}

// Sleep waits for a time, or for the end of ctx: false.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Wait returns the answer, whatever it says, or why there is none. When ctx ends the call is given up. It is called
// once.
func (p *Pending) Wait(ctx context.Context) (*Reply, error) {
	if err := p.await(ctx); err != nil {
		return nil, p.c.wrap(&p.call, err)
	}
	r, err := ParseReply(p.msg)
	if err != nil {
		return nil, p.c.wrap(&p.call, err)
	}
	return r, nil
}

// await waits for the end of the call, and sends it again as often as need be.
func (p *Pending) await(ctx context.Context) error {
	c := p.c
	wait := c.opt.Retry
	for {
		var again <-chan time.Time
		stop := func() {}
		if !c.stream && wait > 0 {
			t := time.NewTimer(wait)
			again, stop = t.C, func() { t.Stop() }
		}
		select {
		case <-p.done:
			stop()
			return p.err
		case <-ctx.Done():
			stop()
			if !p.giveUp() {
				<-p.done
				return p.err
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no answer in time: %w", ctx.Err())
			}
			return ctx.Err()
		case <-again:
		}
		if err := c.send(ctx, p.wire); err != nil && !(c.opt.Hard && errors.Is(err, syscall.ECONNREFUSED)) {
			if ctx.Err() == nil && p.giveUp() {
				return err
			}
			continue
		}
		c.mu.Lock()
		c.stats.Retransmitted++
		c.mu.Unlock()
		wait = min(2*wait, c.opt.MaxRetry)
	}
}

// Do makes a call and returns the answer, whatever it says, or why there is none.
func (c *Client) Do(ctx context.Context, call Call) (*Reply, error) {
	if _, ok := ctx.Deadline(); !ok && c.opt.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, c.opt.Timeout)
		defer cancel()
	}
	p, err := c.Go(ctx, call)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}

// Call makes a call and returns its results. A reply that is no success is an error that wraps a [*Refusal].
func (c *Client) Call(ctx context.Context, prog, vers, proc uint32, args []byte) ([]byte, error) {
	call := Call{Prog: prog, Vers: vers, Proc: proc, Args: args}
	r, err := c.Do(ctx, call)
	if err != nil {
		return nil, err
	}
	if err := r.Err(); err != nil {
		return nil, c.wrap(&call, err)
	}
	return r.Results, nil
}

// wrap names the thing that an error is about.
func (c *Client) wrap(call *Call, err error) error {
	return fmt.Errorf("%v at %s: %w", call, c.peer, err)
}
