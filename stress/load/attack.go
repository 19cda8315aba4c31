// SPDX-License-Identifier: MIT

package load

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Target is the server of an attack.
type Target struct {
	TCP, UDP string
	Call     rpcclient.Call // one that it answers
}

// Attack is something that clients do to a server which it must put up with.
type Attack struct {
	Name string
	Doc  string
	// Run goes on until ctx ends, and until it has sent something. size is how many connections there are at a time, or
	// how many in all.
	Run func(ctx context.Context, at Target, size int, d *Damage)
}

// Damage is what an attack did and what it met. It is counted while it runs.
type Damage struct {
	Conns    atomic.Int64 // connections made
	Sent     atomic.Int64 // records, datagrams or connections' worth of garbage
	Answered atomic.Int64
	Closed   atomic.Int64 // connections that the server ended
	Wrong    atomic.Int64 // what should have happened did not

	mu  sync.Mutex
	why error
}

// damageText is a Damage on its way from one process to another.
type damageText struct {
	Conns, Sent, Answered, Closed, Wrong int64
	Why                                  string
}

// MarshalJSON writes it for another process.
func (d *Damage) MarshalJSON() ([]byte, error) {
	t := damageText{d.Conns.Load(), d.Sent.Load(), d.Answered.Load(), d.Closed.Load(), d.Wrong.Load(), ""}
	if why := d.Why(); why != nil {
		t.Why = why.Error()
	}
	return json.Marshal(t)
}

// UnmarshalJSON adds what another process wrote.
func (d *Damage) UnmarshalJSON(b []byte) error {
	var t damageText
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	d.Conns.Add(t.Conns)
	d.Sent.Add(t.Sent)
	d.Answered.Add(t.Answered)
	d.Closed.Add(t.Closed)
	if t.Wrong > 0 {
		d.wrong("%s", t.Why)
		d.Wrong.Add(t.Wrong - 1)
	}
	return nil
}

// wrong notes that something that should have happened did not.
func (d *Damage) wrong(format string, args ...any) {
	d.Wrong.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why == nil {
		d.why = fmt.Errorf(format, args...)
	}
}

// Why is the first thing that was wrong, nil if nothing was.
func (d *Damage) Why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

func (d *Damage) String() string {
	return fmt.Sprintf("%d connections, %d sent, %d answered, %d closed by the server, %d wrong",
		d.Conns.Load(), d.Sent.Load(), d.Answered.Load(), d.Closed.Load(), d.Wrong.Load())
}

// FindAttack returns the attack of that name, nil if there is none.
func FindAttack(name string) *Attack {
	for _, a := range Attacks() {
		if a.Name == name {
			return &a
		}
	}
	return nil
}

// Names of attacks: HalfOpen is the one whose connections stay.
const (
	HalfOpen = "half-open"
	Garbage  = "garbage"
)

// Attacks lists all attacks.
func Attacks() []Attack {
	list := []Attack{
		{"oversize", "records and sums of fragments longer than any call: the connection is closed", oversize},
		{"zero-fragments", "calls behind hundreds of empty fragments, and empty records", zeroFragments},
		{"slow-writers", "calls that come one octet a write", slowWriters},
		{HalfOpen, "connections that send half a record mark and no more", halfOpen},
		{Garbage, "random octets over TCP and random datagrams over UDP", garbage},
	}
	for i := range list {
		list[i].Run = begun(list[i].Run)
	}
	return list
}

// beginWithin is how long an attack may take to send something for the first time, if it was to be over by then.
const beginWithin = 5 * time.Second

// begun lets an attack go on until it has sent something, however soon ctx ends: where the machine is busy with something
// else it may not have come so far, and there would be nothing to judge.
func begun(run func(context.Context, Target, int, *Damage)) func(context.Context, Target, int, *Damage) {
	return func(ctx context.Context, at Target, size int, d *Damage) {
		going, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		defer context.AfterFunc(ctx, func() {
			for from := time.Now(); d.Sent.Load() == 0 && time.Since(from) < beginWithin; {
				time.Sleep(time.Millisecond)
			}
			end()
		})()
		run(going, at, size, d)
	}
}

// patience is how long an attack waits for what has to happen.
const patience = 20 * time.Second

// each runs n clients beside each other, each over and over until ctx ends.
func each(ctx context.Context, n int, client func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				client(i)
			}
		})
	}
	all.Wait()
}

// dial makes one connection of an attack; nil if the attack is over or the server's queue is full.
func (d *Damage) dial(ctx context.Context, at Target) *rpcclient.Raw {
	c, err := rpcclient.DialRaw(ctx, "tcp", at.TCP, "")
	if err != nil {
		rpcclient.Sleep(ctx, time.Millisecond)
		return nil
	}
	d.Conns.Add(1)
	return c
}

// over reads until the server ends the connection and reports whether it did.
func (d *Damage) over(ctx context.Context, c *rpcclient.Raw) bool {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; {
		if _, how := c.Read(100 * time.Millisecond); how != rpcclient.Open {
			d.Closed.Add(1)
			return true
		}
	}
	return ctx.Err() != nil
}

// oversize announces more than a service takes, in one fragment or in the sum of several.
func oversize(ctx context.Context, at Target, size int, d *Damage) {
	marks := [][]byte{
		{0xff, 0xff, 0xff, 0xff}, {0x7f, 0xff, 0xff, 0xff}, {0x80, 1, 0, 0},
		append(append([]byte{0, 0, 0x10, 0}, make([]byte, 0x1000)...), 0x80, 0, 0xf0, 0), // 4 KiB and 60 KiB more
	}
	each(ctx, size, func(i int) {
		c := d.dial(ctx, at)
		if c == nil {
			return
		}
		defer c.Close()
		mark := marks[(i+int(d.Sent.Add(1)))%len(marks)]
		_ = c.Send(ctx, mark, make([]byte, 64)) // it may fail half-way: the server need not wait for the rest
		if !d.over(ctx, c) {
			d.wrong("a connection with a record mark of % x was not closed", mark[max(0, len(mark)-4):])
		}
	})
}

// zeroFragments is calls whose octets come behind and between empty fragments, and then a record without any octets.
func zeroFragments(ctx context.Context, at Target, size int, d *Damage) {
	var sizes []int
	for i := range 300 {
		sizes = append(sizes, i%100/99*4) // 99 empty ones, then one of 4 octets
	}
	plan := rpcclient.Plan{Fragments: append(sizes, 8)}
	msg := at.Call.Encode()
	each(ctx, size, func(i int) {
		c := d.dial(ctx, at)
		if c == nil {
			return
		}
		defer c.Close()
		d.Sent.Add(1)
		err := c.SendRecord(ctx, msg, plan)
		if err == nil {
			_, err = c.ReadRecord(patience, 0)
		}
		if err != nil {
			if ctx.Err() == nil && c.End() == rpcclient.Open {
				d.wrong("a call in fragments, most of them empty: %w", err)
			}
			return
		}
		d.Answered.Add(1)
		// The receive of no octets goes through, and is found to be too short, when there are some behind it.
		_ = c.Send(ctx, []byte{0x80, 0, 0, 0}, (&rpcclient.Plan{}).Record(msg))
		if !d.over(ctx, c) {
			d.wrong("a connection with an empty record was not closed")
		}
	})
}

// slowWriters is calls in writes of one octet.
func slowWriters(ctx context.Context, at Target, size int, d *Damage) {
	plan := rpcclient.Plan{Writes: []int{1}, Delay: time.Millisecond}
	msg := at.Call.Encode()
	each(ctx, size, func(int) {
		c := d.dial(ctx, at)
		if c == nil {
			return
		}
		defer c.Close()
		for ctx.Err() == nil {
			d.Sent.Add(1)
			err := c.SendRecord(ctx, msg, plan)
			if err == nil {
				_, err = c.ReadRecord(patience, 0)
			}
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && c.End() == rpcclient.Open:
				d.wrong("a call of one octet a write: %w", err)
				return
			case err != nil: // pushed out by newer connections
				d.Closed.Add(1)
				return
			}
			d.Answered.Add(1)
		}
	})
}

// halfOpen makes size connections, which never say what they want, and keeps them. It leaves the server a moment now
// and then: a connection that finds the listener's queue full is tried again by the host after a second, not before.
func halfOpen(ctx context.Context, at Target, size int, d *Damage) {
	const width, breath = 4, 8
	conns := make([][]*rpcclient.Raw, width)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			for len(conns[i]) < (size+i)/width && ctx.Err() == nil {
				if len(conns[i])%breath == 0 {
					rpcclient.Sleep(ctx, time.Millisecond)
				}
				if c := d.dial(ctx, at); c != nil {
					conns[i] = append(conns[i], c)
					if c.Send(ctx, []byte{0x80, 0}) == nil {
						d.Sent.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	<-ctx.Done()
	for _, mine := range conns {
		for _, c := range mine {
			if _, how := c.Read(time.Millisecond); how != rpcclient.Open {
				d.Closed.Add(1)
			}
			c.Close()
		}
	}
}

// garbage is random octets and datagrams, and calls with some of their octets changed.
func garbage(ctx context.Context, at Target, size int, d *Damage) {
	rnd := rand.New(rand.NewPCG(1, 2))
	good := at.Call.Encode()
	heap := make([][]byte, 1024)
	for i := range heap {
		heap[i] = junk(good, rnd)
	}
	each(ctx, size, func(i int) {
		from := int(d.Sent.Load()) % len(heap)
		if i%2 == 0 && at.UDP != "" {
			d.datagrams(ctx, at, heap, from)
		} else {
			d.octets(ctx, at, heap, from)
		}
	})
}

// junk is random octets, or a call with some of its octets changed.
func junk(good []byte, rnd *rand.Rand) []byte {
	if rnd.IntN(2) == 0 {
		b := make([]byte, rnd.IntN(2000))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	b := append([]byte(nil), good...)
	for range 1 + rnd.IntN(4) {
		b[rnd.IntN(len(b))] = byte(rnd.Uint32())
	}
	return b[:rnd.IntN(len(b)+1)]
}

// burst is how many pieces of garbage one socket is good for.
const burst = 256

func (d *Damage) datagrams(ctx context.Context, at Target, heap [][]byte, from int) {
	c, err := rpcclient.DialRaw(ctx, "udp", at.UDP, "")
	if err != nil {
		rpcclient.Sleep(ctx, time.Millisecond)
		return
	}
	defer c.Close()
	for i := range burst {
		if ctx.Err() != nil || c.Send(ctx, heap[(from+i)%len(heap)]) != nil { // nobody listens between stop and start
			rpcclient.Sleep(ctx, time.Millisecond)
			return
		}
		d.Sent.Add(1)
	}
}

// octets sends garbage with a mark in front of every other piece that says how long it is.
func (d *Damage) octets(ctx context.Context, at Target, heap [][]byte, from int) {
	c := d.dial(ctx, at)
	if c == nil {
		return
	}
	defer c.Close()
	for i := range burst {
		b := heap[(from+i)%len(heap)]
		if i%2 == 0 {
			b = append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(b))), b...)
		}
		if ctx.Err() != nil || c.Send(ctx, b) != nil {
			d.Closed.Add(1)
			return
		}
		d.Sent.Add(1)
	}
}

// Churn makes n connections and drops them, width at a time: in order or by a reset, behind a call, half of one or
// none.
func Churn(ctx context.Context, at Target, n, width int, d *Damage) {
	msg := (&rpcclient.Plan{}).Record(at.Call.Encode())
	var next atomic.Int64
	var all sync.WaitGroup
	for range width {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				c := d.dial(ctx, at)
				if c == nil {
					next.Add(-1)
					continue
				}
				d.drop(ctx, c, int(i), msg)
			}
		})
	}
	all.Wait()
}

// drop does with a connection what its number says, and ends it.
func (d *Damage) drop(ctx context.Context, c *rpcclient.Raw, i int, msg []byte) {
	switch i % 4 {
	case 1:
		_ = c.Send(ctx, msg[:len(msg)/2])
	case 2, 3:
		err := c.Send(ctx, msg)
		if err == nil {
			_, err = c.ReadRecord(patience, 0)
		}
		switch {
		case err == nil:
			d.Answered.Add(1)
		case ctx.Err() == nil && c.End() == rpcclient.Open:
			d.wrong("a call on a fresh connection: %w", err)
		default:
			d.Closed.Add(1)
		}
	}
	d.Sent.Add(1)
	if i%8 < 4 {
		_ = c.Reset()
	} else {
		_ = c.Close()
	}
}

// Crowd makes n connections that stay, one after the other, and a call on each. It returns how many of them the server
// still answers at the end, and how many of the first n-keep it has dropped.
func Crowd(ctx context.Context, at Target, n, keep int, d *Damage) (alive, dropped int) {
	msg := (&rpcclient.Plan{}).Record(at.Call.Encode())
	var conns []*rpcclient.Raw
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	ask := func(c *rpcclient.Raw) bool {
		err := c.Send(ctx, msg)
		if err == nil {
			_, err = c.ReadRecord(patience, 0)
		}
		return err == nil
	}
	for len(conns) < n && ctx.Err() == nil {
		if c := d.dial(ctx, at); c != nil {
			if !ask(c) {
				d.wrong("connection %d of %d is not answered", len(conns)+1, n)
			}
			conns = append(conns, c)
		}
	}
	for i, c := range conns {
		switch {
		case ask(c):
			alive++
		case i < n-keep:
			dropped++
		default:
			d.wrong("connection %d of %d was dropped, which is among the newest %d", i+1, n, keep)
		}
	}
	return alive, dropped
}
