// SPDX-License-Identifier: MIT

package sock

import (
	"slices"
	"sync/atomic"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Net is a network namespace: a port space of its own for each family and protocol, and the slots in which modules
// keep what they have per namespace. C: struct net
type Net struct {
	kernel.Obj
	Name string
	// NoIPv6 makes the namespace one of a kernel that was compiled without IPv6. Set before the namespace is used.
	NoIPv6 bool
	// Exposed lets the sockets of a real network have all addresses of this host, not the loopback ones alone: for a host
	// that is a namespace of our own. Set before the namespace is used.
	Exposed bool

	count kernel.Kref
	impl  network
	data  atomic.Pointer[[]slot] // replaced, never changed

	// The network in memory.
	lock  kernel.Spinlock     // what follows, and the datagram sockets
	ports map[portKey][]*Sock // bound sockets, oldest first; looked up, never walked
	next  uint16              // the port to try first when the network chooses
	hold  bool                // sent datagrams stay in the send buffer
	held  []heldTx
	await int // tasks in AwaitPort

	awaitq kernel.WaitQueueHead
}

// slot is what one module keeps for a namespace.
type slot struct {
	key string
	val any
}

// NewNet makes a namespace with the network in memory; it cannot fail. The caller holds the one reference. Process
// context.
//
// C: copy_net_ns, net/core/net_namespace.c
func NewNet(cur *kernel.Task, m *kernel.Machine, name string) *Net {
	net := newNet(m, name)
	net.impl = memNet{}
	net.lock.Init(&net.Obj, "net_hash")
	net.awaitq.Init(&net.Obj, "port_wait")
	net.ports = make(map[portKey][]*Sock)
	net.next = firstPort
	return net
}

func newNet(m *kernel.Machine, name string) *Net {
	net := kernel.StaticObj[Net](m, "net")
	net.Name = name
	net.count.Init(&net.Obj, "net.count")
	return net
}

// Get takes a reference; the caller holds one. Any context. C: get_net
func (net *Net) Get() { net.count.Get() }

// Put drops a reference. With the last one the namespace is gone, and its use is a use after free. Any context.
// C: put_net
func (net *Net) Put() {
	net.count.Put(func() {
		net.impl.free(net)
		kernel.Kfree(net)
	})
}

// Refs is the number of references, without a visible operation, for oracles.
func (net *Net) Refs() int64 { return net.count.Peek() }

// Data is what a module stored under key, nil if nothing. Any context; not a visible operation, because a slot is
// constant while its module uses the namespace. C: net_generic
func (net *Net) Data(key string) any {
	if slots := net.data.Load(); slots != nil {
		for _, s := range *slots {
			if s.key == key {
				return s.val
			}
		}
	}
	return nil
}

// SetData stores what a module keeps for this namespace. To be called while nothing else of that module uses the
// namespace, when the module is loaded or the namespace is made, and by one task at a time. C: ops_init,
// net/core/net_namespace.c
func (net *Net) SetData(key string, v any) {
	var slots []slot
	if old := net.data.Load(); old != nil {
		slots = slices.DeleteFunc(slices.Clone(*old), func(s slot) bool { return s.key == key })
	}
	slots = append(slots, slot{key, v})
	net.data.Store(&slots)
}

// AwaitPort sleeps until a socket is bound to port and, for TCP, listens there, on any address of either family: 0, or
// -ETIMEDOUT after timeout jiffies. For scenarios: in memory it wakes the moment that the socket is there. Process
// context.
func (net *Net) AwaitPort(cur *kernel.Task, protocol int, port uint16, timeout kernel.Jiffies) int {
	return net.impl.awaitPort(cur, net, protocol, port, timeout)
}

// HoldTx, while on, keeps every datagram sent in its sender's send buffer, as a network card does that has come to a
// standstill; turning it off completes them all and calls SkWriteSpace of the senders. In memory only; any context.
func (net *Net) HoldTx(on bool) {
	net.lock.LockBH()
	net.hold = on
	if !on {
		for _, h := range net.held {
			h.sk.SkWmemQueued.Sub(int64(h.n))
			h.sk.event(evSpace)
		}
		net.held = nil
	}
	net.lock.UnlockBH()
}

// heldTx is a datagram that HoldTx keeps in its sender's buffer.
type heldTx struct {
	sk *Sock
	n  int
}
