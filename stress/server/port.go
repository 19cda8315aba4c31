// SPDX-License-Identifier: MIT

package server

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// port is the way from the machine to an rpcbind outside it. Each call has a connection of its own: they are few, and
// the rpcbind may have been started anew in between.
type port struct {
	network, addr string
}

// callTimeout bounds one call; the machine's own start and stop calls wait for it.
const callTimeout = 5 * time.Second

func (p *port) dial() (*rpcbind.Client, error) { return rpcbind.Dial(p.network, p.addr, callTimeout) }

// with makes one connection and calls fn with it; the result is what fn says, or -errno.
func (p *port) with(cur *kernel.Task, afLocal bool, fn func(c *rpcbind.Client) (uint32, error)) (uint32, int) {
	if afLocal != (p.network == "unix") {
		return 0, -kernel.ECONNREFUSED
	}
	var res uint32
	var err error
	cur.Machine().Block(cur, func(<-chan struct{}) {
		var c *rpcbind.Client
		if c, err = p.dial(); err != nil {
			return
		}
		defer c.Close()
		res, err = fn(c)
	})
	return res, errnoOf(err)
}

// Ping implements [sunrpc.RpcbindPort].
func (p *port) Ping(cur *kernel.Task, afLocal bool, vers uint32) int {
	_, errno := p.with(cur, afLocal, func(c *rpcbind.Client) (uint32, error) { return 0, c.Null(vers) })
	return errno
}

// Call implements [sunrpc.RpcbindPort].
func (p *port) Call(cur *kernel.Task, afLocal bool, vers, proc uint32, a *sunrpc.RpcbindArgs) (uint32, int) {
	return p.with(cur, afLocal, func(c *rpcbind.Client) (uint32, error) { return call(c, vers, proc, a) })
}

func call(c *rpcbind.Client, vers, proc uint32, a *sunrpc.RpcbindArgs) (uint32, error) {
	e := rpcbind.Entry{Prog: a.RProg, Vers: a.RVers, Netid: a.RNetid, Addr: a.RAddr, Owner: a.ROwner}
	var err error
	switch {
	case proc == sunrpc.RPCBPROC_SET && vers == sunrpc.RPCBVERS_2:
		err = c.Set2(a.RProg, a.RVers, a.RProt, a.RPort)
	case proc == sunrpc.RPCBPROC_SET:
		err = c.Set(vers, e)
	case proc == sunrpc.RPCBPROC_UNSET && vers == sunrpc.RPCBVERS_2:
		err = c.Unset2(a.RProg, a.RVers)
	case proc == sunrpc.RPCBPROC_UNSET:
		err = c.Unset(vers, e)
	case proc == sunrpc.RPCBPROC_GETPORT && vers == sunrpc.RPCBVERS_2:
		p, err := c.GetPort(a.RProg, a.RVers, a.RProt)
		return uint32(p), err
	case proc == sunrpc.RPCBPROC_GETADDR:
		uaddr, err := c.GetAddr(vers, e)
		if err != nil || uaddr == "" {
			return 0, err
		}
		ap, err := rpcbind.ParseUaddr(uaddr)
		return uint32(ap.Port()), err
	default:
		return 0, rpcclient.ErrProcUnavail
	}
	switch {
	case errors.Is(err, rpcbind.ErrRefused):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return 1, nil
}

// errnoOf is what the kernel's own RPC client would have said.
func errnoOf(err error) int {
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case err == nil:
		return 0
	case errors.Is(err, rpcclient.ErrProgMismatch), errors.Is(err, rpcclient.ErrProgUnavail):
		return -kernel.EPROTONOSUPPORT
	case errors.Is(err, rpcclient.ErrProcUnavail):
		return -kernel.EOPNOTSUPP
	case errors.Is(err, rpcclient.ErrAuthError), errors.Is(err, rpcclient.ErrRPCMismatch):
		return -int(syscall.EACCES)
	case errors.As(err, &errno):
		return -int(errno)
	case errors.As(err, &timeout) && timeout.Timeout():
		return -kernel.ETIMEDOUT
	}
	return -kernel.EIO
}
