// SPDX-License-Identifier: MIT

package nlmclient

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// manager is a lock manager of one lock, in all versions. It decodes calls strictly, as the laws have them.
type manager struct {
	t    *testing.T
	srv  *rpcclient.Server
	back *rpcclient.Client // to the peer

	mu      sync.Mutex
	holder  *Lock
	waiting []byte // GRANTED_MSG arguments for whoever is next
	vers    uint32
	calls   []string
	wg      sync.WaitGroup
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, srv: rpcclient.NewServer()}
	for _, vers := range []uint32{1, 3, 4} {
		for proc := uint32(1); proc <= 23; proc++ {
			if wire.Known(wire.NLM, vers, proc) {
				m.srv.Handle(wire.NLM, vers, proc, m.handle)
			}
		}
	}
	if err := m.srv.Listen(rpcclient.ServeOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.srv.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		m.wg.Wait()
	})
	return m
}

// handle checks the arguments and answers: TEST and LOCK by the one lock, all else with granted.
func (m *manager) handle(r *rpcclient.Request) ([]byte, error) {
	octets := r.Encode()
	if _, err := wire.DecodeCall(octets); err != nil {
		m.t.Errorf("%s: %v", wire.Name(wire.NLM, r.Vers, r.Proc), err)
		return nil, rpcclient.ErrGarbageArgs
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, wire.Name(wire.NLM, r.Vers, r.Proc))
	cookie := cookieOf(r.Args)
	switch {
	case r.Proc >= procTest+toMsg && r.Proc <= procUnlock+toMsg:
		res := m.do(r.Vers, r.Proc-toMsg, cookie, r.Args)
		m.callBack(r.Vers, r.Proc+toMsg, res)
		return nil, nil
	case r.Proc == 16, r.Proc == procFreeAll, r.Proc > procGranted && r.Proc < procShare:
		return nil, nil
	case r.Proc == procShare, r.Proc == procUnshare:
		return wire.Encode(&wire.Nlm4_shareres{Cookie: cookie}), nil
	}
	return m.do(r.Vers, r.Proc, cookie, r.Args), nil
}

// do is the result of a call, in octets. The caller holds mu.
func (m *manager) do(vers, proc uint32, cookie, args []byte) []byte {
	switch {
	case proc == procTest && m.holder != nil && vers == 4:
		res := wire.Nlm4_testres{Cookie: cookie}
		res.Test_stat.Stat = wire.NLM4_DENIED
		*res.Test_stat.Holder() = wire.Nlm4_holder{Svid: m.holder.Svid, Oh: m.holder.Owner, L_offset: m.holder.Offset, L_len: m.holder.Len}
		return wire.Encode(&res)
	case proc == procTest && m.holder != nil:
		res := wire.Nlm_testres{Cookie: cookie}
		res.Test_stat.Stat = wire.LCK_DENIED
		*res.Test_stat.Holder() = wire.Nlm_holder{Uppid: m.holder.Svid, Oh: m.holder.Owner, L_offset: uint32(m.holder.Offset),
			L_len: uint32(m.holder.Len)}
		return wire.Encode(&res)
	case proc == procUnlock && m.waiting != nil:
		m.callBack(m.vers, procGranted+toMsg, m.waiting)
		m.waiting = nil
	case proc == procLock && m.holder != nil:
		m.vers = vers
		if vers == 4 {
			var a wire.Nlm4_lockargs
			_ = wire.Decode(args, &a)
			m.waiting = wire.Encode(&wire.Nlm4_testargs{Cookie: []byte("g"), Exclusive: a.Exclusive, Alock: a.Alock})
		} else {
			var a wire.Nlm_lockargs
			_ = wire.Decode(args, &a)
			m.waiting = wire.Encode(&wire.Nlm_testargs{Cookie: []byte("g"), Exclusive: a.Exclusive, Alock: a.Alock})
		}
		return answer(vers, cookie, wire.NLM4_BLOCKED)
	}
	return answer(vers, cookie, wire.NLM4_GRANTED)
}

// callBack calls the peer. The caller holds mu.
func (m *manager) callBack(vers, proc uint32, args []byte) {
	back := m.back
	m.wg.Go(func() {
		if _, err := back.Call(context.Background(), wire.NLM, vers, proc, args); err != nil {
			m.t.Errorf("calling back: %v", err)
		}
	})
}

func (m *manager) seen(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Count(" "+strings.Join(m.calls, " ")+" ", " "+name+" ")
}

// session connects a client, a peer and a manager.
func session(t *testing.T, vers uint32, network string) (*manager, *Client, *Peer) {
	t.Helper()
	m := startManager(t)
	sock, err := rpcclient.Dial(t.Context(), network, m.srv.Addr(), rpcclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	c, err := New(sock, vers, "guest")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Listen(PeerOptions{Back: sock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	back, err := rpcclient.Dial(t.Context(), network, p.Addr(), rpcclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.wg.Wait() // what is called back has not been answered yet, perhaps
		back.Close()
	})
	m.mu.Lock()
	m.back = back
	m.mu.Unlock()
	return m, c, p
}

var mine = Lock{Fh: bytes.Repeat([]byte{7}, 32), Owner: []byte("me"), Svid: 11, Offset: 5, Len: 10, Exclusive: true}

func TestEveryProcedure(t *testing.T) {
	for _, vers := range []uint32{1, 3, 4} {
		for _, network := range []string{"tcp", "udp"} {
			m, c, p := session(t, vers, network)
			ctx := t.Context()
			granted := func(name string) func(Status, error) {
				return func(s Status, err error) {
					t.Helper()
					if err != nil || s != wire.NLM4_GRANTED {
						t.Errorf("version %d, %s, %s: %v, %v", vers, network, name, s, err)
					}
				}
			}
			granted("Lock")(c.Lock(ctx, mine, Options{}))
			granted("Unlock")(c.Unlock(ctx, mine))
			granted("Cancel")(c.Cancel(ctx, mine, Options{Block: true}))
			granted("LockMsg")(c.LockMsg(ctx, p, mine, Options{}))
			granted("UnlockMsg")(c.UnlockMsg(ctx, p, mine))
			granted("CancelMsg")(c.CancelMsg(ctx, p, mine, Options{}))
			if s, holder, err := c.Test(ctx, mine); err != nil || s != wire.NLM4_GRANTED || holder != nil {
				t.Errorf("version %d, Test: %v, %v, %v", vers, s, holder, err)
			}
			m.mu.Lock()
			m.holder = &Lock{Owner: []byte("other"), Svid: 9, Offset: 1, Len: 100}
			m.mu.Unlock()
			for _, test := range []func() (Status, *Lock, error){
				func() (Status, *Lock, error) { return c.Test(ctx, mine) },
				func() (Status, *Lock, error) { return c.TestMsg(ctx, p, mine) },
			} {
				s, holder, err := test()
				if err != nil || s != wire.NLM4_DENIED || holder == nil || string(holder.Owner) != "other" || holder.Svid != 9 ||
					holder.Offset != 1 || holder.Len != 100 {
					t.Errorf("version %d: Test of a held lock: %v, %v, %v", vers, s, holder, err)
				}
			}
			if err := c.Rebooted(ctx, "guest", 3, [16]byte{1}); err != nil {
				t.Errorf("version %d: Rebooted: %v", vers, err)
			}
			share := Share{Fh: mine.Fh, Owner: mine.Owner, Mode: 1, Access: 3}
			if vers == 1 {
				if _, err := c.Share(ctx, share); !errors.Is(err, rpcclient.ErrProcUnavail) {
					t.Errorf("Share in version 1: %v", err)
				}
				continue
			}
			m.mu.Lock()
			m.holder = nil
			m.mu.Unlock()
			granted("Share")(c.Share(ctx, share))
			granted("Unshare")(c.Unshare(ctx, share))
			granted("NmLock")(c.NmLock(ctx, mine, Options{}))
			if err := c.FreeAll(ctx, "guest", 2); err != nil {
				t.Errorf("version %d: FreeAll: %v", vers, err)
			}
		}
	}
}

// TestGranted waits for a lock until the manager grants it by message, and answers that.
func TestGranted(t *testing.T) {
	for _, vers := range []uint32{1, 4} {
		m, c, p := session(t, vers, "tcp")
		m.mu.Lock()
		m.holder = &Lock{Owner: []byte("other")}
		m.mu.Unlock()
		if s, err := c.Lock(t.Context(), mine, Options{Block: true}); err != nil || s != wire.NLM4_BLOCKED {
			t.Fatalf("version %d: LOCK: %v, %v", vers, s, err)
		}
		if _, err := c.Unlock(t.Context(), Lock{Fh: mine.Fh, Owner: []byte("other")}); err != nil {
			t.Fatal(err)
		}
		if err := p.AwaitGranted(t.Context(), mine); err != nil {
			t.Errorf("version %d: %v", vers, err)
		}
		name := wire.Name(wire.NLM, vers, procGranted+toRes)
		for end := time.Now().Add(10 * time.Second); m.seen(name) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no %s", name)
			}
		}
	}
}

// TestPeer calls the peer as servers do.
func TestPeer(t *testing.T) {
	denied := func(vers uint32, l Lock) Status {
		if vers != 4 || l.Svid != 11 {
			t.Errorf("granted in version %d: %+v", vers, l)
		}
		return wire.NLM4_DENIED
	}
	p, err := Listen(PeerOptions{Granted: denied})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	srv, err := rpcclient.Dial(t.Context(), "udp", p.Addr(), rpcclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	for prog, want := range map[uint32]uint32{wire.NLM: uint32(p.Port()), wire.SM: 0} {
		b, err := srv.Call(t.Context(), wire.Rpcbind, 2, 3, wire.Encode(&wire.Pmap_mapping{Prog: prog, Vers: 4, Prot: 17}))
		if err != nil || !bytes.Equal(b, []byte{0, 0, byte(want >> 8), byte(want)}) {
			t.Errorf("GETPORT of %d: %x, %v, want %d", prog, b, err, want)
		}
	}
	args := wire.Encode(&wire.Nlm4_testargs{Cookie: []byte("ck"), Exclusive: true, Alock: wire.Nlm4_lock{
		Fh: mine.Fh, Oh: mine.Owner, Svid: 11, L_offset: 5, L_len: 10}})
	b, err := srv.Call(t.Context(), wire.NLM, 4, procGranted, args)
	if err != nil || !bytes.Equal(b, answer(4, []byte("ck"), wire.NLM4_DENIED)) {
		t.Errorf("GRANTED: %x, %v", b, err)
	}
	if err := p.AwaitGranted(t.Context(), mine); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := p.AwaitGranted(ctx, mine); err == nil || !strings.Contains(err.Error(), "not called back") {
		t.Errorf("GRANTED that nobody sent: %v", err)
	}
	if _, err := srv.Call(t.Context(), wire.NLM, 4, procGranted, args[:len(args)-1]); !errors.Is(err, rpcclient.ErrGarbageArgs) {
		t.Errorf("GRANTED that is cut: %v", err)
	}
	if _, err := New(srv, 2, "guest"); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("version 2: %v", err)
	}
}

// TestWrongCookie: an answer to another request is an error.
func TestWrongCookie(t *testing.T) {
	m, c, _ := session(t, 4, "tcp")
	m.srv.Handle(wire.NLM, 4, procLock, func(*rpcclient.Request) ([]byte, error) {
		return answer(4, []byte("x"), wire.NLM4_GRANTED), nil
	})
	if _, err := c.Lock(t.Context(), mine, Options{}); err == nil || !strings.Contains(err.Error(), "NLM4_LOCK: cookie 78") {
		t.Errorf("a wrong cookie: %v", err)
	}
	m.srv.Handle(wire.NLM, 4, procLock, func(*rpcclient.Request) ([]byte, error) {
		return answer(4, nil, 10), nil
	})
	if _, err := c.Lock(t.Context(), mine, Options{}); err == nil || !strings.Contains(err.Error(), "10 is no Nlm4_stats") {
		t.Errorf("a wrong status: %v", err)
	}
}
