// SPDX-License-Identifier: MIT

package nlmclient

import (
	"context"
	"fmt"
	"sync"

	"github.com/xdrpp/goxdr/xdr"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/wire"
)

// Peer is the lock manager of the client's own host, and its port mapper, on one port: what servers call back. It keeps
// the calls that came in until somebody awaits them.
type Peer struct {
	srv  *rpcclient.Server
	opt  PeerOptions
	wg   sync.WaitGroup
	stop context.CancelFunc
	ctx  context.Context

	mu    sync.Mutex
	calls []*rpcclient.Call
	more  chan struct{} // closed when a call has come in; then there is another one
}

// PeerOptions says how a peer behaves. The zero value agrees to every GRANTED.
type PeerOptions struct {
	Serve rpcclient.ServeOptions
	// Granted is the answer to a GRANTED; nil: granted.
	Granted func(vers uint32, l Lock) Status
	// Back is a socket to the server, for the answer to a GRANTED that came by message; nil: it gets none.
	Back *rpcclient.Client
}

// Listen starts a peer.
func Listen(opt PeerOptions) (*Peer, error) {
	if opt.Granted == nil {
		opt.Granted = func(uint32, Lock) Status { return wire.NLM4_GRANTED }
	}
	p := &Peer{srv: rpcclient.NewServer(), opt: opt, more: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	const getport = 3
	p.srv.Handle(wire.Rpcbind, 2, getport, p.getport)
	for _, vers := range []uint32{1, 3, 4} {
		p.srv.Handle(wire.NLM, vers, procGranted, p.granted)
		p.srv.Handle(wire.NLM, vers, procGranted+toMsg, p.grantedMsg)
		for proc := uint32(procTest); proc <= procUnlock; proc++ {
			p.srv.Handle(wire.NLM, vers, proc+toRes, func(r *rpcclient.Request) ([]byte, error) {
				p.keep(&r.Call)
				return nil, nil
			})
		}
	}
	if err := p.srv.Listen(opt.Serve); err != nil {
		return nil, err
	}
	return p, nil
}

// Addr is where the peer listens, and Port its port, which is also that of its port mapper.
func (p *Peer) Addr() string { return p.srv.Addr() }

// Port is the port of the peer.
func (p *Peer) Port() uint16 { return p.srv.AddrPort().Port() }

// Close ends the peer. It returns when nothing of it runs.
func (p *Peer) Close() error {
	p.stop()
	err := p.srv.Close()
	p.wg.Wait()
	return err
}

// getport tells where the lock manager is: here.
func (p *Peer) getport(r *rpcclient.Request) ([]byte, error) {
	var m wire.Pmap_mapping
	if err := wire.Decode(r.Args, &m); err != nil {
		return nil, rpcclient.ErrGarbageArgs
	}
	var port uint32
	if m.Prog == wire.NLM {
		port = uint32(p.Port())
	}
	return wire.Encode(xdr.XDR_uint32(&port)), nil
}

// grantedArgs takes the arguments of a GRANTED apart.
func grantedArgs(c *rpcclient.Call) (cookie []byte, l Lock, err error) {
	if c.Vers == 4 {
		var a wire.Nlm4_testargs
		err = wire.Decode(c.Args, &a)
		return a.Cookie, Lock{a.Alock.Fh, a.Alock.Oh, a.Alock.Svid, a.Alock.L_offset, a.Alock.L_len, a.Exclusive}, err
	}
	var a wire.Nlm_testargs
	err = wire.Decode(c.Args, &a)
	return a.Cookie, Lock{a.Alock.Fh, a.Alock.Oh, a.Alock.Uppid, uint64(a.Alock.L_offset), uint64(a.Alock.L_len),
		a.Exclusive}, err
}

// answer is a cookie and a status as a version has them.
func answer(vers uint32, cookie []byte, s Status) []byte {
	if vers == 4 {
		return wire.Encode(&wire.Nlm4_res{Cookie: cookie, Stat: wire.Nlm4_stat{Stat: s}})
	}
	return wire.Encode(&wire.Nlm_res{Cookie: cookie, Stat: wire.Nlm_stat{Stat: wire.Nlm_stats(s)}})
}

func (p *Peer) granted(r *rpcclient.Request) ([]byte, error) {
	cookie, l, err := grantedArgs(&r.Call)
	if err != nil {
		return nil, rpcclient.ErrGarbageArgs
	}
	p.keep(&r.Call)
	return answer(r.Vers, cookie, p.opt.Granted(r.Vers, l)), nil
}

func (p *Peer) grantedMsg(r *rpcclient.Request) ([]byte, error) {
	cookie, l, err := grantedArgs(&r.Call)
	if err != nil {
		return nil, rpcclient.ErrGarbageArgs
	}
	p.keep(&r.Call)
	if p.opt.Back != nil {
		vers, res := r.Vers, answer(r.Vers, cookie, p.opt.Granted(r.Vers, l))
		p.wg.Go(func() {
			// Should this get lost the server will call again.
			_, _ = p.opt.Back.Call(p.ctx, wire.NLM, vers, procGranted+toRes, res)
		})
	}
	return nil, nil
}

// keep remembers a call for whoever awaits it.
func (p *Peer) keep(c *rpcclient.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
	close(p.more)
	p.more = make(chan struct{})
}

// await takes the first call that match wants.
func (p *Peer) await(ctx context.Context, match func(*rpcclient.Call) bool) (*rpcclient.Call, error) {
	for {
		p.mu.Lock()
		for i, c := range p.calls {
			if match(c) {
				p.calls = append(p.calls[:i:i], p.calls[i+1:]...)
				p.mu.Unlock()
				return c, nil
			}
		}
		more := p.more
		p.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return nil, fmt.Errorf("not called back: %w", ctx.Err())
		}
	}
}

// AwaitGranted waits until the server has granted a lock, by call or by message.
func (p *Peer) AwaitGranted(ctx context.Context, l Lock) error {
	_, err := p.await(ctx, func(c *rpcclient.Call) bool {
		if c.Prog != wire.NLM || c.Proc != procGranted && c.Proc != procGranted+toMsg {
			return false
		}
		_, got, err := grantedArgs(c)
		return err == nil && string(got.Fh) == string(l.Fh) && string(got.Owner) == string(l.Owner) && got.Svid == l.Svid &&
			got.Offset == l.Offset && got.Len == l.Len && got.Exclusive == l.Exclusive
	})
	if err != nil {
		return fmt.Errorf("GRANTED of %d+%d: %w", l.Offset, l.Len, err)
	}
	return nil
}
