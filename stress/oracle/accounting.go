// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// The numbers that the target keeps are the numbers of the things they count. Invariants I14, I15, I17 to I20, I26 to
// I28 and I30, whenever the service mutex is free.
var accounting = &Oracle{
	Name:      "accounting",
	Doc:       "counts of threads, references, connections, reservations and users agree with what there is",
	Quiescent: checkAccounts,
}

func checkAccounts(s *Subject) {
	for _, v := range s.services() {
		if title, text := s.serviceAccounts(v); title != "" {
			s.fire("accounting", title, text+"\n"+s.M.DumpTasks())
			return
		}
	}
	title, text := s.lockdAccounts()
	if title == "" {
		title, text = s.callbackAccounts()
	}
	if title == "" {
		title, text = s.rpcbindAccounts()
	}
	if title != "" {
		s.fire("accounting", title, text+"\n"+s.M.DumpTasks())
	}
}

func (s *Subject) serviceAccounts(v view) (title, text string) {
	serv := v.serv
	if v.settled {
		threads := int64(0)
		for _, pool := range serv.SvPools {
			n := int64(0)
			pool.SpAllThreads.Each(func(*sunrpc.SvcRqst) bool { n++; return true })
			if n != int64(pool.SpNrthreads) {
				return "sp_nrthreads is not the number of threads of the pool",
					fmt.Sprintf("sp_nrthreads %d, threads %d", pool.SpNrthreads, n)
			}
			threads += n
		}
		if got := serv.SvNrthreads.Peek(); got != threads+v.refs {
			return "sv_nrthreads is not the number of threads and users",
				fmt.Sprintf("sv_nrthreads %d, threads %d, others %d", got, threads, v.refs)
		}
	}
	temp := int64(0)
	serv.SvTempsocks.Each(func(*sunrpc.SvcXprt) bool { temp++; return true })
	if got := serv.SvTmpcnt.Peek(); got != temp {
		return "sv_tmpcnt is not the number of connections", fmt.Sprintf("sv_tmpcnt %d, connections %d", got, temp)
	}
	check := func(xprt *sunrpc.SvcXprt) bool {
		if xprt.XptFlags.Peek(sunrpc.XPT_DEAD) {
			return true // somebody is about to take it off the list
		}
		refs, reserved := int64(1), int64(0)
		s.eachThread(serv, func(rqstp *sunrpc.SvcRqst) {
			if rqstp.RqXprt.Peek() == xprt {
				refs++
				reserved += int64(rqstp.RqReserved)
			}
		})
		s.Rpc.Cache.CacheDeferList.Each(func(d *sunrpc.CacheDeferredReq) bool {
			if dr, ok := d.Container.(*sunrpc.SvcDeferredReq); ok && dr.Xprt == xprt {
				refs++
			}
			return true
		})
		if s.Lockd != nil {
			s.Lockd.NlmBlocked.Each(func(b *lockd.NlmBlock) bool {
				if d := b.BDeferredReq; d != nil && d.Container.(*sunrpc.SvcDeferredReq).Xprt == xprt {
					refs++ // waits for the file system
				}
				return true
			})
		}
		switch {
		case xprt.XptRef.Peek() != refs:
			title = "the references of a transport do not add up"
			text = fmt.Sprintf("%s, want %d references", describeXprt(xprt), refs)
		case xprt.XptReserved.Peek() != reserved:
			title = "the reservations of a transport do not add up"
			text = fmt.Sprintf("%s, want %d octets reserved", describeXprt(xprt), reserved)
		}
		return title == ""
	}
	if serv.SvPermsocks.Each(check); title == "" {
		serv.SvTempsocks.Each(check)
	}
	return title, text
}

// transports counts the transports of a service in a namespace.
func transports(serv *sunrpc.SvcServ, net *sock.Net) int {
	n := 0
	count := func(xprt *sunrpc.SvcXprt) bool {
		if xprt.XptNet == net {
			n++
		}
		return true
	}
	serv.SvPermsocks.Each(count)
	serv.SvTempsocks.Each(count)
	return n
}

func (s *Subject) lockdAccounts() (title, text string) {
	l := s.Lockd
	if l == nil || l.NlmsvcMutex.PeekOwner() != nil {
		return "", ""
	}
	up := l.NlmsvcUsers > 0
	switch {
	case up != (l.NlmsvcTask != nil):
		return "lockd has users and no thread, or a thread and no users", fmt.Sprintf("%d users", l.NlmsvcUsers)
	case up != (l.NlmsvcRqst != nil):
		return "lockd has users and no svc_rqst, or one and no users", fmt.Sprintf("%d users", l.NlmsvcUsers)
	case up && l.NlmsvcTask.Exited():
		return "lockd has users and its thread has exited", fmt.Sprintf("%d users", l.NlmsvcUsers)
	}
	users := uint32(0)
	for _, ln := range l.Nets() {
		users += ln.NlmsvcUsers
		n := 0
		if up {
			n = transports(l.NlmsvcRqst.RqServer, ln.Net)
		}
		if ln.NlmsvcUsers == 0 && n > 0 {
			return "lockd has a transport in a namespace without users", fmt.Sprintf("net %s: %d", ln.Net.Name, n)
		}
		if ln.NlmsvcUsers > 0 && n == 0 {
			return "lockd has no transport in a namespace with users", fmt.Sprintf("net %s: %d", ln.Net.Name, ln.NlmsvcUsers)
		}
	}
	if users != l.NlmsvcUsers {
		return "nlmsvc_users is not the sum of the users of all namespaces", fmt.Sprintf("%d, sum %d", l.NlmsvcUsers, users)
	}
	return "", ""
}

func (s *Subject) callbackAccounts() (title, text string) {
	c := s.Nfs
	if c == nil || c.NfsCallbackMutex.PeekOwner() != nil {
		return "", ""
	}
	for minor := range c.NfsCallbackInfo {
		info := &c.NfsCallbackInfo[minor]
		up := info.Users > 0
		switch {
		case up != (info.Task != nil):
			return "a callback service has users and no thread, or a thread and no users", fmt.Sprintf("minor %d", minor)
		case up != (info.Serv != nil):
			return "a callback service has users and no svc_serv, or one and no users", fmt.Sprintf("minor %d", minor)
		case up && info.Task.Exited():
			return "a callback service has users and its thread has exited", fmt.Sprintf("minor %d", minor)
		}
		users := uint32(0)
		for _, nn := range c.Nets() {
			users += nn.CbUsers[minor]
			n := 0
			if up {
				n = transports(info.Serv, nn.Net)
			}
			if (nn.CbUsers[minor] > 0) != (n > 0) {
				return "a callback service has a namespace with users and no transport, or the other way round",
					fmt.Sprintf("minor %d, net %s: %d users, %d transports", minor, nn.Net.Name, nn.CbUsers[minor], n)
			}
		}
		if users != info.Users {
			return "the users of a callback service are not the sum of those of all namespaces",
				fmt.Sprintf("minor %d: %d, sum %d", minor, info.Users, users)
		}
	}
	return "", ""
}

// rpcbindAccounts compares, for each namespace, the users of rpcbind's clients with the services bound there. Hidden
// programs, such as the callback program, do not bind.
func (s *Subject) rpcbindAccounts() (title, text string) {
	if s.Rpc == nil || s.Lockd != nil && s.Lockd.NlmsvcMutex.PeekOwner() != nil {
		return "", ""
	}
	for _, net := range s.Nets {
		want := int64(0)
		if s.Lockd != nil {
			if ln := s.Lockd.LockdNet(net); ln != nil && ln.NlmsvcUsers > 0 {
				want++
			}
		}
		for i := range s.tracked {
			t := &s.tracked[i]
			if t.Mutex != nil && t.Mutex.PeekOwner() != nil {
				return "", ""
			}
			for _, bound := range t.Bound {
				if bound == net {
					want++
				}
			}
		}
		if got := s.Rpc.SunrpcNet(net).RpcbUsers.Peek(); got != want {
			return "the users of rpcbind's clients are not the services bound",
				fmt.Sprintf("net %s: rpcb_users %d, services %d", net.Name, got, want)
		}
	}
	return "", ""
}
