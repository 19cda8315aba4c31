// SPDX-License-Identifier: MIT

// Package load puts load on RPC servers: as many calls as they can answer, a steady client that measures what others do
// to it, and clients that mean no good.
package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Config is what calls to make. The loop is closed: each of Conns connections has Depth calls in flight, and the next
// call is made when one is answered. A latency is the time from the write that carried the call to the end of the read
// that brought its answer, so it contains the time that a call waits behind those before it. It does not contain the
// calls that a slow server kept from being made: for those see [Steady].
type Config struct {
	Network string // tcp or udp
	Addr    string
	Call    rpcclient.Call
	Conns   int
	Depth   int           // at most MaxDepth
	Warm    time.Duration // not counted
	For     time.Duration
}

// MaxDepth is how many calls a connection can have in flight.
const MaxDepth = 1 << slotBits

// An XID is the slot of the call, in its lower bits, and how many the slot has made before.
const slotBits = 10

// resend is how long a datagram waits for its answer before it is sent again.
const resend = 500 * time.Millisecond

// Result is what came of it.
type Result struct {
	Calls   int64 // answered with success within the measured time
	All     int64 // answered at any time
	Refused int64 // answered otherwise, at any time
	Resent  int64 // datagrams without an answer; their latency counts from the first time that they were sent
	Rate    float64
	Latency Histogram
}

// Run loads a server. The error says why a connection could not be made or was lost.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Conns < 1 || cfg.Depth < 1 || cfg.Depth > MaxDepth {
		return nil, fmt.Errorf("%d connections with %d calls in flight: both are at least 1, and at most %d are in flight",
			cfg.Conns, cfg.Depth, MaxDepth)
	}
	conns := make([]net.Conn, cfg.Conns)
	var d net.Dialer
	for i := range conns {
		c, err := d.DialContext(ctx, cfg.Network, cfg.Addr)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i+1, err)
		}
		defer c.Close()
		conns[i] = c
	}
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.Close()
		}
	})()
	from := time.Now().Add(cfg.Warm)
	flows := make([]flow, cfg.Conns)
	errs := make([]error, cfg.Conns)
	var all sync.WaitGroup
	for i, c := range conns {
		f := &flows[i]
		f.init(c, cfg, from)
		all.Go(func() { errs[i] = f.run() })
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r := &Result{}
	for i := range flows {
		f := &flows[i]
		r.Calls += int64(f.hist.Count())
		r.All += f.all
		r.Refused += f.refused
		r.Resent += f.resent
		r.Latency.Merge(&f.hist)
	}
	r.Rate = float64(r.Calls) / cfg.For.Seconds()
	return r, errors.Join(errs...)
}

// flow is one connection under load.
type flow struct {
	conn     net.Conn
	stream   bool
	call     []byte // with its mark on a stream; the XID is filled in
	at       int    // of the XID
	from, to time.Time

	slots   []slot
	out     []byte
	in      []byte
	have    int // octets in in
	due     []int
	hist    Histogram
	all     int64
	refused int64
	resent  int64
}

// slot is one call in flight.
type slot struct {
	xid   uint32
	first time.Time
	last  time.Time
}

func (f *flow) init(c net.Conn, cfg Config, from time.Time) {
	*f = flow{
		conn: c, stream: cfg.Network == "tcp", from: from, to: from.Add(cfg.For),
		slots: make([]slot, cfg.Depth), in: make([]byte, 1<<17), due: make([]int, 0, cfg.Depth),
	}
	msg := cfg.Call.Encode()
	if f.stream {
		f.call, f.at = (&rpcclient.Plan{}).Record(msg), 4
	} else {
		f.call = msg
	}
	for i := range f.slots {
		f.slots[i].xid = uint32(i)
		f.due = append(f.due, i)
	}
}

// run makes calls until the time is over.
func (f *flow) run() error {
	for {
		if err := f.send(); err != nil {
			return err
		}
		if err := f.receive(); err != nil {
			return err
		}
		now := time.Now()
		if now.After(f.to) {
			return nil
		}
		if f.stream {
			f.records(now)
		} else {
			f.answer(f.in[:f.have], now)
			f.have = 0
		}
	}
}

// send makes the calls of the slots that are due: all together on a stream.
func (f *flow) send() error {
	now := time.Now()
	f.out = f.out[:0]
	for _, i := range f.due {
		s := &f.slots[i]
		s.xid += 1 << slotBits
		s.first, s.last = now, now
		if err := f.put(s); err != nil {
			return err
		}
	}
	f.due = f.due[:0]
	if len(f.out) == 0 {
		return nil
	}
	if _, err := f.conn.Write(f.out); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// put appends the slot's call to what is to be written, or sends it as a datagram.
func (f *flow) put(s *slot) error {
	if f.stream {
		n := len(f.out)
		f.out = append(f.out, f.call...)
		binary.BigEndian.PutUint32(f.out[n+f.at:], s.xid)
		return nil
	}
	binary.BigEndian.PutUint32(f.call, s.xid)
	if _, err := f.conn.Write(f.call); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive reads what there is. A datagram that has no answer is sent again.
func (f *flow) receive() error {
	wait := 10 * time.Second
	if !f.stream {
		wait = resend
	}
	for {
		if err := f.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		n, err := f.conn.Read(f.in[f.have:])
		if err == nil {
			f.have += n
			return nil
		}
		if f.stream || !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read: %w", err)
		}
		now := time.Now()
		if now.After(f.to) {
			return nil
		}
		for i := range f.slots {
			if s := &f.slots[i]; now.Sub(s.last) >= resend {
				f.resent++
				s.last = now
				if err := f.put(s); err != nil {
					return err
				}
			}
		}
	}
}

// records takes the complete records out of what was read.
func (f *flow) records(now time.Time) {
	b := f.in[:f.have]
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b)&^(1<<31)) + 4
		if len(b) < n {
			break
		}
		f.answer(b[4:n], now)
		b = b[n:]
	}
	f.have = copy(f.in, b)
}

// answer takes one answer and makes its slot due. One that no slot waits for came twice.
func (f *flow) answer(b []byte, now time.Time) {
	if len(b) < 4 {
		return
	}
	xid := binary.BigEndian.Uint32(b)
	i := int(xid % MaxDepth)
	if i >= len(f.slots) || f.slots[i].xid != xid {
		return
	}
	f.due = append(f.due, i)
	f.all++
	if !success(b) {
		f.refused++
		return
	}
	if now.After(f.from) {
		f.hist.Record(now.Sub(f.slots[i].first), 1)
	}
}

// success reports whether a message is an accepted reply with status 0.
func success(b []byte) bool {
	if len(b) < 24 || binary.BigEndian.Uint32(b[4:]) != 1 || binary.BigEndian.Uint32(b[8:]) != 0 {
		return false
	}
	verf := (int(binary.BigEndian.Uint32(b[16:])) + 3) &^ 3
	return verf <= 400 && len(b) >= 24+verf && binary.BigEndian.Uint32(b[20+verf:]) == 0
}

// SteadyConfig is a client that behaves well: Rate calls a second at fixed times, over one connection, which it makes
// anew when the server drops it, sending again what was not answered.
type SteadyConfig struct {
	Network  string
	Addr     string
	Call     rpcclient.Call
	Rate     int
	For      time.Duration
	Patience time.Duration // for one call
}

// SteadyResult is what became of the calls of a steady client. A latency counts from the time when the call was due, be
// it that it could not even be sent then.
type SteadyResult struct {
	Due, Answered, Failed int64
	Redials, Resent       int64 // connections made anew, datagrams sent again
	Why                   error // of the first failure
	Latency               Histogram
}

// inFlight is how many calls of a steady client can wait for their answers. One that is due beyond that waits too, and
// is late.
const inFlight = 64

// Steady calls for cfg.For, and returns when every call has its answer or has failed. All that is left fails when ctx
// ends.
func Steady(ctx context.Context, cfg SteadyConfig) *SteadyResult {
	s := &steady{cfg: cfg}
	defer s.drop(nil)
	every := time.Second / time.Duration(cfg.Rate)
	places := make(chan struct{}, inFlight)
	var all sync.WaitGroup
	from := time.Now()
	for due := from; due.Before(from.Add(cfg.For)) && rpcclient.Sleep(ctx, time.Until(due)); due = due.Add(every) {
		places <- struct{}{}
		all.Go(func() {
			err := s.call(ctx, due)
			s.note(due, err)
			<-places
		})
	}
	all.Wait()
	return &s.SteadyResult
}

// steady is a client at work.
type steady struct {
	cfg SteadyConfig
	mu  sync.Mutex
	c   *rpcclient.Client
	SteadyResult
}

// note counts a call that was due and has ended.
func (s *steady) note(due time.Time, err error) {
	late := time.Since(due)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Due++
	if err != nil {
		s.Failed++
		if s.Why == nil {
			s.Why = err
		}
		return
	}
	s.Answered++
	s.Latency.Record(late, 1)
}

// call makes one call that was due, over as many connections as it takes.
func (s *steady) call(ctx context.Context, due time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, due.Add(s.cfg.Patience))
	defer cancel()
	for {
		c, err := s.conn(ctx)
		if err == nil {
			var reply *rpcclient.Reply
			if reply, err = c.Do(ctx, s.cfg.Call); err == nil {
				return reply.Err()
			}
			s.drop(c)
		}
		if !rpcclient.Sleep(ctx, time.Millisecond) {
			return err
		}
	}
}

// conn is the connection, a fresh one if there is none.
func (s *steady) conn(ctx context.Context) (*rpcclient.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		return s.c, nil
	}
	c, err := rpcclient.Dial(ctx, s.cfg.Network, s.cfg.Addr, rpcclient.Options{
		Hard: true, Retry: 50 * time.Millisecond, MaxRetry: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	s.c = c
	return c, nil
}

// drop gives a connection up that is of no use any more; nil stands for the present one, at the end.
func (s *steady) drop(c *rpcclient.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.c == nil || c != nil && c != s.c:
		return
	case c != nil:
		s.Redials++
	}
	s.Resent += s.c.Stats().Retransmitted
	s.c.Close()
	s.c = nil
}
