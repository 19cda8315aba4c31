// SPDX-License-Identifier: MIT

// Package nlmclient talks to a lock manager as clients do, in versions 1, 3 and 4 of the protocol: a [Client] that
// tests, takes and releases locks, and a [Peer] that is called back: by *_RES, GRANTED and the port mapper's GETPORT.
package nlmclient

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// Procedures, the same numbers in every version. The message forms are 5 above the calls, their results 10.
const (
	procTest    = 1
	procLock    = 2
	procCancel  = 3
	procUnlock  = 4
	procGranted = 5
	procShare   = 20
	procUnshare = 21
	procNmLock  = 22
	procFreeAll = 23

	toMsg = 5
	toRes = 10
)

// Status is what a lock manager says. Versions 1 and 3 know the first five.
type Status = wire.Nlm4_stats

// Lock is a range of a file with who wants it.
type Lock struct {
	Fh        []byte // versions 1 and 3 of Linux take 32 octets only
	Owner     []byte
	Svid      int32
	Offset    uint64 // below 2^32 in versions 1 and 3
	Len       uint64 // 0: to the end
	Exclusive bool
}

// Options of a LOCK.
type Options struct {
	Block   bool // wait: the answer may be BLOCKED, and GRANTED is called later
	Reclaim bool
	State   int32 // of the caller's status monitor
}

// Share is a share reservation.
type Share struct {
	Fh, Owner    []byte
	Mode, Access uint32 // what others may not do, and what the owner does: 0 nothing, 1 read, 2 write, 3 both
	Reclaim      bool
}

// Client calls one lock manager in one version. Its methods may be called at the same time.
type Client struct {
	rpc    *rpcclient.Client
	vers   uint32
	caller string
	cookie atomic.Uint32
}

// New makes a client of a socket; caller is its name in all calls. The socket stays the caller's to close.
func New(rpc *rpcclient.Client, vers uint32, caller string) (*Client, error) {
	if vers != 1 && vers != 3 && vers != 4 {
		return nil, fmt.Errorf("version %d of the lock manager: there are 1, 3 and 4", vers)
	}
	return &Client{rpc: rpc, vers: vers, caller: caller}, nil
}

// call makes one call; res nil: it has no results.
func (c *Client) call(ctx context.Context, proc uint32, args, res wire.Value) error {
	b, err := c.rpc.Call(ctx, wire.NLM, c.vers, proc, wire.Encode(args))
	if err != nil || res == nil {
		return err
	}
	if err := wire.Decode(b, res); err != nil {
		return fmt.Errorf("the answer to %s: %w", wire.Name(wire.NLM, c.vers, proc), err)
	}
	return nil
}

// Cookie is a fresh one.
func (c *Client) Cookie() []byte { return binary.BigEndian.AppendUint32(nil, c.cookie.Add(1)) }

func (c *Client) lock4(l Lock) wire.Nlm4_lock {
	return wire.Nlm4_lock{Caller_name: c.caller, Fh: l.Fh, Oh: l.Owner, Svid: l.Svid, L_offset: l.Offset, L_len: l.Len}
}

func (c *Client) lock1(l Lock) wire.Nlm_lock {
	return wire.Nlm_lock{Caller_name: c.caller, Fh: l.Fh, Oh: l.Owner, Uppid: l.Svid,
		L_offset: uint32(l.Offset), L_len: uint32(l.Len)}
}

// args are the arguments of one of the first four procedures, or of their message forms.
func (c *Client) args(proc uint32, cookie []byte, l Lock, o Options) wire.Value {
	if c.vers == 4 {
		switch alock := c.lock4(l); proc {
		case procTest:
			return &wire.Nlm4_testargs{Cookie: cookie, Exclusive: l.Exclusive, Alock: alock}
		case procCancel:
			return &wire.Nlm4_cancargs{Cookie: cookie, Block: o.Block, Exclusive: l.Exclusive, Alock: alock}
		case procUnlock:
			return &wire.Nlm4_unlockargs{Cookie: cookie, Alock: alock}
		default:
			return &wire.Nlm4_lockargs{Cookie: cookie, Block: o.Block, Exclusive: l.Exclusive, Alock: alock,
				Reclaim: o.Reclaim, State: o.State}
		}
	}
	switch alock := c.lock1(l); proc {
	case procTest:
		return &wire.Nlm_testargs{Cookie: cookie, Exclusive: l.Exclusive, Alock: alock}
	case procCancel:
		return &wire.Nlm_cancargs{Cookie: cookie, Block: o.Block, Exclusive: l.Exclusive, Alock: alock}
	case procUnlock:
		return &wire.Nlm_unlockargs{Cookie: cookie, Alock: alock}
	default:
		return &wire.Nlm_lockargs{Cookie: cookie, Block: o.Block, Exclusive: l.Exclusive, Alock: alock,
			Reclaim: o.Reclaim, State: o.State}
	}
}

// plain makes a call whose result is a cookie and a status.
func (c *Client) plain(ctx context.Context, proc uint32, args wire.Value, cookie []byte) (Status, error) {
	res := result{vers: c.vers}
	if err := c.call(ctx, proc, args, res.value()); err != nil {
		return 0, err
	}
	got, status := res.read()
	return status, c.same(proc, got, cookie)
}

// same reports a cookie that came back as another.
func (c *Client) same(proc uint32, got, want []byte) error {
	if string(got) == string(want) {
		return nil
	}
	return fmt.Errorf("the answer to %s: cookie %x, sent %x", wire.Name(wire.NLM, c.vers, proc), got, want)
}

// result is a cookie and a status in either form.
type result struct {
	vers uint32
	v4   wire.Nlm4_res
	v1   wire.Nlm_res
}

func (r *result) value() wire.Value { return form(r.vers, &r.v4, &r.v1) }

// form is what a version has: v4, or what versions 1 and 3 do.
func form(vers uint32, v4, v1 wire.Value) wire.Value {
	if vers == 4 {
		return v4
	}
	return v1
}

func (r *result) read() (cookie []byte, status Status) {
	if r.vers == 4 {
		return r.v4.Cookie, r.v4.Stat.Stat
	}
	return r.v1.Cookie, Status(r.v1.Stat.Stat)
}

// Test asks whether a lock could be had. With DENIED comes who holds it; its Fh is empty.
func (c *Client) Test(ctx context.Context, l Lock) (Status, *Lock, error) {
	cookie := c.Cookie()
	t := testResult{vers: c.vers}
	if err := c.call(ctx, procTest, c.args(procTest, cookie, l, Options{}), t.value()); err != nil {
		return 0, nil, err
	}
	got, status, holder := t.read()
	return status, holder, c.same(procTest, got, cookie)
}

// testResult is the result of a TEST in either form.
type testResult struct {
	vers uint32
	v4   wire.Nlm4_testres
	v1   wire.Nlm_testres
}

func (r *testResult) value() wire.Value { return form(r.vers, &r.v4, &r.v1) }

func (r *testResult) read() (cookie []byte, status Status, holder *Lock) {
	if r.vers == 4 {
		if status = r.v4.Test_stat.Stat; status == wire.NLM4_DENIED {
			h := r.v4.Test_stat.Holder()
			holder = &Lock{Owner: h.Oh, Svid: h.Svid, Offset: h.L_offset, Len: h.L_len, Exclusive: h.Exclusive}
		}
		return r.v4.Cookie, status, holder
	}
	if status = Status(r.v1.Test_stat.Stat); status == wire.NLM4_DENIED {
		h := r.v1.Test_stat.Holder()
		holder = &Lock{Owner: h.Oh, Svid: h.Uppid, Offset: uint64(h.L_offset), Len: uint64(h.L_len), Exclusive: h.Exclusive}
	}
	return r.v1.Cookie, status, holder
}

// Lock takes a lock.
func (c *Client) Lock(ctx context.Context, l Lock, o Options) (Status, error) {
	cookie := c.Cookie()
	return c.plain(ctx, procLock, c.args(procLock, cookie, l, o), cookie)
}

// Cancel takes back a LOCK that was answered with BLOCKED.
func (c *Client) Cancel(ctx context.Context, l Lock, o Options) (Status, error) {
	cookie := c.Cookie()
	return c.plain(ctx, procCancel, c.args(procCancel, cookie, l, o), cookie)
}

// Unlock releases a lock.
func (c *Client) Unlock(ctx context.Context, l Lock) (Status, error) {
	cookie := c.Cookie()
	return c.plain(ctx, procUnlock, c.args(procUnlock, cookie, l, Options{}), cookie)
}

// NmLock takes a lock that nobody watches for a crash of the client. Not in version 1.
func (c *Client) NmLock(ctx context.Context, l Lock, o Options) (Status, error) {
	cookie := c.Cookie()
	return c.plain(ctx, procNmLock, c.args(procNmLock, cookie, l, o), cookie)
}

// Share reserves, Unshare gives back. Not in version 1.
func (c *Client) Share(ctx context.Context, s Share) (Status, error) {
	return c.share(ctx, procShare, s)
}

// Unshare gives a reservation back.
func (c *Client) Unshare(ctx context.Context, s Share) (Status, error) {
	return c.share(ctx, procUnshare, s)
}

func (c *Client) share(ctx context.Context, proc uint32, s Share) (Status, error) {
	cookie := c.Cookie()
	mode, access := wire.Fsh_mode(s.Mode), wire.Fsh_access(s.Access)
	if c.vers == 4 {
		var res wire.Nlm4_shareres
		err := c.call(ctx, proc, &wire.Nlm4_shareargs{Cookie: cookie, Reclaim: s.Reclaim, Share: wire.Nlm4_share{
			Caller_name: c.caller, Fh: s.Fh, Oh: s.Owner, Mode: mode, Access: access}}, &res)
		if err != nil {
			return 0, err
		}
		return res.Stat, c.same(proc, res.Cookie, cookie)
	}
	var res wire.Nlm_shareres
	err := c.call(ctx, proc, &wire.Nlm_shareargs{Cookie: cookie, Reclaim: s.Reclaim, Share: wire.Nlm_share{
		Caller_name: c.caller, Fh: s.Fh, Oh: s.Owner, Mode: mode, Access: access}}, &res)
	if err != nil {
		return 0, err
	}
	return Status(res.Stat), c.same(proc, res.Cookie, cookie)
}

// FreeAll releases all that a client holds which was not watched. Not in version 1.
func (c *Client) FreeAll(ctx context.Context, name string, state int32) error {
	if c.vers == 4 {
		return c.call(ctx, procFreeAll, &wire.Nlm4_notify{Name: name, State: state}, nil)
	}
	return c.call(ctx, procFreeAll, &wire.Nlm_notify{Name: name, State: state}, nil)
}

// Rebooted is what the status monitor of the server's host calls when a client has come up again; priv is what the
// server gave it. Linux believes it from privileged ports of its own host only.
func (c *Client) Rebooted(ctx context.Context, name string, state int32, priv [16]byte) error {
	const smNotify = 16
	return c.call(ctx, smNotify, &wire.Sm_status{Mon_name: name, State: state, Priv: priv}, nil)
}

// Message forms: what the server says to them comes as a call, to a peer that its port mapper names.

// TestMsg asks by message, and waits at p for the result.
func (c *Client) TestMsg(ctx context.Context, p *Peer, l Lock) (Status, *Lock, error) {
	call, err := c.message(ctx, p, procTest, l, Options{})
	if err != nil {
		return 0, nil, err
	}
	r := testResult{vers: c.vers}
	if err := wire.Decode(call.Args, r.value()); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", wire.Name(wire.NLM, c.vers, procTest+toRes), err)
	}
	_, status, holder := r.read()
	return status, holder, nil
}

// LockMsg takes a lock by message.
func (c *Client) LockMsg(ctx context.Context, p *Peer, l Lock, o Options) (Status, error) {
	return c.plainMessage(ctx, p, procLock, l, o)
}

// CancelMsg takes back a LOCK by message.
func (c *Client) CancelMsg(ctx context.Context, p *Peer, l Lock, o Options) (Status, error) {
	return c.plainMessage(ctx, p, procCancel, l, o)
}

// UnlockMsg releases a lock by message.
func (c *Client) UnlockMsg(ctx context.Context, p *Peer, l Lock) (Status, error) {
	return c.plainMessage(ctx, p, procUnlock, l, Options{})
}

func (c *Client) plainMessage(ctx context.Context, p *Peer, proc uint32, l Lock, o Options) (Status, error) {
	call, err := c.message(ctx, p, proc, l, o)
	if err != nil {
		return 0, err
	}
	r := result{vers: c.vers}
	if err := wire.Decode(call.Args, r.value()); err != nil {
		return 0, fmt.Errorf("%s: %w", wire.Name(wire.NLM, c.vers, proc+toRes), err)
	}
	_, status := r.read()
	return status, nil
}

// message sends the message form of a procedure, and waits for the result with its cookie.
func (c *Client) message(ctx context.Context, p *Peer, proc uint32, l Lock, o Options) (*rpcclient.Call, error) {
	cookie := c.Cookie()
	if err := c.call(ctx, proc+toMsg, c.args(proc, cookie, l, o), nil); err != nil {
		return nil, err
	}
	call, err := p.await(ctx, func(r *rpcclient.Call) bool {
		return r.Prog == wire.NLM && r.Vers == c.vers && r.Proc == proc+toRes && string(cookieOf(r.Args)) == string(cookie)
	})
	if err != nil {
		return nil, fmt.Errorf("%s for cookie %x: %w", wire.Name(wire.NLM, c.vers, proc+toRes), cookie, err)
	}
	return call, nil
}

// cookieOf is the cookie with which results begin; nil if there is none.
func cookieOf(args []byte) []byte {
	if len(args) < 4 {
		return nil
	}
	n := binary.BigEndian.Uint32(args)
	if uint64(n) > uint64(len(args)-4) {
		return nil
	}
	return args[4 : 4+n]
}
